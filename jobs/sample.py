"""A sample of what a recipe's sources hold: a few files of each, drawn by a key, read by the readers that ingest has.

Small files are read whole. Of a large one only its beginning is read where that can be read by itself (an archive, compressed, or a stream
of records), and a few members of a ZIP archive; what else is large is read to where the sample has enough. Of what was read a few items are
kept, drawn by a key. Every group of files says how many items and bytes each of its own stands for.
"""

from __future__ import annotations

import heapq
import math
import time
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from kernel.random import derive, uniform
from pipeline.readers import InputFile, PassedOver, Record, SourceConfig, Unreadable, read_file
from pipeline.readers.files import COMPRESSED, TAR, ZIP, is_archive, is_included
from pipeline.readers.streams import STREAM_ERRORS
from storage.inputs import open_input

GROUPS = 8  # of files, at most; how much they differ says how sure an estimate is
INPUT = 16  # bytes of files that are read for each byte of text that is kept
_ARCHIVE = 32 << 20  # bytes of an archive that are read at least: its beginning may be unlike the rest
_STREAMED = ("csv", "jsonl", "jats", "mediawiki", "s2orc", "tei", "warc", "wet")  # formats whose beginning can be read by itself
_CUT = 3  # items at the end of what was cut off, at most, that are unreadable only through that

Item = Record | Unreadable


@dataclass(frozen=True)
class Group:
    """Files that were sampled together. `bytes`: of the whole files, of which a `share` was read: `read` bytes, in `seconds` of CPU."""

    files: int
    bytes: int
    items: tuple[Item, ...]
    by_count: float  # items of the files for each that was kept
    by_size: float  # bytes of the files' text for each byte that was kept
    share: float
    read: int
    documents: int  # that were read
    unreadable: int
    text: int  # bytes of the documents that were read
    seconds: float
    passed: int
    is_beginning: bool  # of an archive, whose rest may be unlike it

    @property
    def is_whole(self) -> bool:
        """Whether every item of its files is in the sample."""
        return self.by_count == 1.0


@dataclass(frozen=True)
class Sample:
    """What was sampled of a source. `files` and `bytes`: of all its files; `is_remote`: whether they lie behind a URI."""

    source: SourceConfig
    files: int
    bytes: int
    groups: tuple[Group, ...]
    is_remote: bool

    @property
    def items(self) -> int:
        """Items in the sample."""
        return sum(len(group.items) for group in self.groups)

    @property
    def has_all_files(self) -> bool:
        """Whether no file was left out, so that one differing from another makes nothing uncertain."""
        return sum(group.files for group in self.groups) == self.files

    @property
    def is_all(self) -> bool:
        """Whether the sample is the source itself."""
        return self.has_all_files and all(group.is_whole for group in self.groups)


def keyed(files: Iterable[InputFile], seed: int, source: str) -> list[InputFile]:
    """The files in an order that depends on the seed and their names alone."""
    known = list(files)
    numbers = uniform(seed, f"plan/{source}", [file.relative for file in known])
    return [known[place] for place in numbers.argsort(kind="stable")]


def size_of(item: Item) -> int:
    """Bytes that an item counts for."""
    return len(item.text.encode("utf-8", "surrogatepass")) if isinstance(item, Record) else len(item.raw) + 256


def take(source: SourceConfig, files: list[InputFile], text: int, seed: int, folder: Path) -> Sample:
    """A sample of a source of about so many bytes of text. `folder`: for copies of parts of files, which are deleted."""
    order = deque(keyed(files, seed, source.name))
    count = min(GROUPS, len(order))
    groups: list[Group] = []
    kept = 0
    while order and len(groups) < count and (kept < text or len(groups) * 2 < count):
        groups.append(_group(source, order, text // count, seed + len(groups), folder))
        kept += sum(map(size_of, groups[-1].items))
    total = sum(file.bytes for file in files)
    return Sample(source, len(files), total, tuple(groups), "://" in source.path)


def _group(source: SourceConfig, order: deque[InputFile], text: int, seed: int, folder: Path) -> Group:
    """The next group of files: several small ones, or a large one."""
    most = INPUT * text
    kept, begin = _Kept(text, seed), time.process_time()
    files = whole = read = passed = 0
    share, is_beginning = 1.0, False
    while order and (not files or (read + order[0].bytes <= most and kept.seen_size < text)):
        file = order.popleft()
        files, whole = files + 1, whole + file.bytes
        part = _part(file, source, max(most, _ARCHIVE) if is_archive(file.relative) else most, folder)
        is_beginning = part.is_cut and is_archive(file.relative)
        limit = 4 * most if part.share is None else math.inf
        seen, seen_bytes, ended = 0, 0, True
        for item in _without_the_cut(read_file(part.file, source), part.is_cut):
            if isinstance(item, PassedOver):
                passed += 1
                continue
            kept.add(item)
            seen, seen_bytes = seen + 1, seen_bytes + size_of(item)
            if seen_bytes >= limit:
                ended = False
                break
        part.forget()
        if part.share is not None:
            share = part.share
        elif not ended:
            share = _share(file, seen, seen_bytes)
        read += part.file.bytes if part.share is not None or ended else max(1, int(file.bytes * share))
        if share < 1.0:
            break
    seconds = time.process_time() - begin
    items = kept.items()
    by_count = kept.seen / len(items) / share if items else 1.0 / share
    by_size = kept.seen_size / max(1, sum(map(size_of, items))) / share if items else 1.0 / share
    return Group(
        files,
        whole,
        items,
        by_count,
        by_size,
        share,
        max(1, read),
        kept.documents,
        kept.seen - kept.documents,
        kept.text,
        seconds,
        int(passed / share),
        is_beginning,
    )


class _Kept:
    """Items of so many bytes, the ones with the lowest keys of all that came."""

    def __init__(self, limit: int, seed: int) -> None:
        self._limit, self._seed = limit, seed
        self._heap: list[tuple[float, int, int, Item]] = []
        self._below = 1.0  # keys; or short ones that come late would be kept in the room that a long one leaves
        self.size = self.seen = self.seen_size = self.documents = self.text = 0

    def add(self, item: Item) -> None:
        size = size_of(item)
        key = derive(self._seed, "plan", self.seen) / 2**64
        self.seen, self.seen_size = self.seen + 1, self.seen_size + size
        if isinstance(item, Record):
            self.documents, self.text = self.documents + 1, self.text + size
        if key >= self._below:
            return
        heapq.heappush(self._heap, (-key, self.seen, size, item))
        self.size += size
        while self.size > self._limit and len(self._heap) > 1:
            highest, _, its, _ = heapq.heappop(self._heap)
            self._below, self.size = -highest, self.size - its

    def items(self) -> tuple[Item, ...]:
        """In the order in which they came."""
        return tuple(entry[3] for entry in sorted(self._heap, key=lambda entry: entry[1]))


class _Part(NamedTuple):
    """What of a file is read. `share` of its bytes; None: as far as need be. `copy`: the part, on this machine, of one that is cut."""

    file: InputFile
    share: float | None
    is_cut: bool = False
    copy: Path | None = None

    def forget(self) -> None:
        if self.copy is not None:
            self.copy.unlink(missing_ok=True)


def _part(file: InputFile, source: SourceConfig, most: int, folder: Path) -> _Part:
    name = file.relative.lower()
    if file.bytes <= most:
        return _Part(file, 1.0)
    if file.parts or type(file) is not InputFile:  # read with others, such as a repository
        return _Part(file, None)
    target = folder / f"part-{derive(0, file.uri):016x}"
    try:
        if name.endswith(ZIP) and source.format != "code":  # whose licences stand in members of their own
            return _Part(replace(file, uri=str(target), bytes=most), _members(file, source, most, target), copy=target)
        if name.endswith(TAR) or (source.format in _STREAMED and not name.endswith((".parquet", ".arrow", ".feather"))):
            with open_input(file.uri) as stream, target.open("wb") as copy:
                for size in (min(1 << 20, most - at) for at in range(0, most, 1 << 20)):
                    copy.write(stream.read(size))
            return _Part(replace(file, uri=str(target), bytes=most), most / file.bytes, True, target)
    except (*STREAM_ERRORS, ValueError, NotImplementedError):  # what is damaged is read as ingest would
        target.unlink(missing_ok=True)
    return _Part(file, None)


def _members(file: InputFile, source: SourceConfig, most: int, target: Path) -> float:
    """Copy members of a ZIP archive that are chosen, drawn by a key; returns the share of those chosen that they are, by bytes."""
    with open_input(file.uri) as stream, zipfile.ZipFile(stream) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        members = [info for info in archive.infolist() if not info.is_dir()]
        wanted = [info for info in members if is_included(source, info.filename) or is_archive(info.filename)]
        if not wanted:
            raise ValueError("no member is chosen")
        order = uniform(0, "plan/members", [info.filename for info in wanted]).argsort(kind="stable")
        taken = 0
        for place in order:
            if taken and taken + wanted[place].file_size > most:
                break
            with archive.open(wanted[place]) as member:
                copy.writestr(wanted[place].filename, member.read(source.max_record_bytes + 1))
            taken += wanted[place].file_size
    return float(taken / max(1, sum(info.file_size for info in wanted)))


def _share(file: InputFile, seen: int, size: int) -> float:
    """How much of a file has been read that was not read to its end: by its rows where it says how many it has, else by the text."""
    if file.relative.lower().endswith(".parquet"):
        try:
            with open_input(file.uri) as stream:
                return min(1.0, seen / max(1, int(pq.ParquetFile(pa.PythonFile(stream, mode="r")).metadata.num_rows)))
        except (*STREAM_ERRORS, pa.ArrowException):
            pass
    grown = 4 if file.relative.lower().endswith(COMPRESSED) else 1  # what text is compressed to
    return min(0.99, size / grown / max(1, file.bytes))


def _without_the_cut(items: Iterator[Item | PassedOver], is_cut: bool) -> Iterator[Item | PassedOver]:
    """The items of a file; of one that was cut off, without those at the end that were cut through."""
    if not is_cut:
        yield from items
        return
    last: deque[Item | PassedOver] = deque()
    for item in items:
        last.append(item)
        if len(last) > _CUT:
            yield last.popleft()
    whole = list(last)
    while whole and isinstance(whole[-1], Unreadable):
        whole.pop()
    yield from whole if len(whole) < len(last) else whole[:-1]

"""The streams of an input file: the file itself, or the members of an archive, with bounds on what hostile ones could inflate."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.readers import tar_members, zip_members
from pipeline.readers.config import SourceConfig
from pipeline.readers.entries import Entry
from pipeline.readers.files import COMPRESSED, ZIP, InputFile, is_archive, is_included
from pipeline.readers.record import Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, bounded, decompress, describe
from storage.inputs import open_input

_MAX_ARCHIVES = 2  # one within another
_ARCHIVES_ARE_DOCUMENTS = ("latex",)  # a paper's source is an archive


def members(file: InputFile, source: SourceConfig) -> Iterator[Member | Unreadable]:
    """The streams of an input file: itself, decompressed, or each regular file of an archive that the globs choose.

    An archive within an archive is opened too, one within that is not; papers' sources are not, since theirs is the unit.
    Members with absolute paths or `..`, links and devices are refused; they and whatever is damaged come out as `Unreadable`,
    and the rest is read: after damage in a tar, from the next header on.
    """
    try:
        with open_input(file.uri) as raw:
            if is_archive(file.relative):
                yield from _archive_members(file.relative, file.relative, file.bytes, raw, source, depth=1)
            else:
                yield _member(file.relative, file.relative, file.bytes, raw, source)
    except STREAM_ERRORS as error:
        yield Unreadable(file.relative, describe(error))


def _member(path: str, name: str, size: int, raw: BinaryIO, source: SourceConfig) -> Member:
    if source.format in ("warc", "wet"):
        return Member(path, name, raw, size)
    inner = name[: name.rindex(".")] if name.lower().endswith(COMPRESSED) and not is_archive(name) else name
    return Member(path, inner, decompress(raw, name, size, source), size)


def _archive_members(path: str, name: str, size: int, raw: BinaryIO, source: SourceConfig, *, depth: int) -> Iterator[Member | Unreadable]:
    """Members of an archive that is itself `depth` deep."""

    def is_wanted(entry: str) -> bool:  # archives are, as among files, unless they are the documents
        return is_included(source, entry) or _is_opened(entry, source)

    found: Iterator[Entry | Unreadable]
    if name.lower().endswith(ZIP):
        if not raw.seekable():  # the directory is at its end
            raw = io.BytesIO(bounded(raw, source.max_record_bytes))
        found = zip_members.entries(path, raw, is_wanted, source.max_expansion)
    else:
        found = tar_members.entries(path, decompress(raw, name, size, source), is_wanted)
    for item in found:
        if isinstance(item, Unreadable):
            yield item
            continue
        try:
            if not _is_opened(item.name, source):
                yield _member(item.path, item.name, item.size, item.stream, source)
            elif depth == _MAX_ARCHIVES:
                yield Unreadable(item.path, f"refused: an archive within {depth} archives")
            else:
                yield from _archive_members(item.path, item.name, item.size, item.stream, source, depth=depth + 1)
        except STREAM_ERRORS as error:
            yield Unreadable(item.path, describe(error))


def _is_opened(name: str, source: SourceConfig) -> bool:
    """Whether a member is an archive that is opened, too."""
    return is_archive(name) and source.format not in _ARCHIVES_ARE_DOCUMENTS

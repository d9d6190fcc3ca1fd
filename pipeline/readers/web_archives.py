"""Where the records of a web archive begin and end, in WARC (ISO 28500; plain, gzip, zstd) and its forerunner ARC.

They are found here and not by a library's iterator, which stops at the first damage, or trusts a length of a terabyte, and loses the
rest of the file: a record must end where its length says, with the next one there; where it does not, it is unreadable, and reading
goes on at the next place where one is seen to begin.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import zstandard

from pipeline.readers.config import SourceConfig
from pipeline.readers.gzip_members import MAGIC, GzipMembers
from pipeline.readers.media_types import PAGES, TEXTS, UNTOLD, declared_type
from pipeline.readers.record import RAW_BYTES, PassedOver, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, describe
from pipeline.readers.window import Window

_HEADER_BYTES = 1 << 16  # of a WARC or HTTP header, at most; Common Crawl's have about 1,000
_READ = 1 << 16

# A record's first line and the begin of its second; at most 60 bytes, every part bounded, no part follows another of its kind.
_WARC = re.compile(rb"WARC/[01]\.[0-9]{1,2}[ \t]?\r?\n[A-Za-z-]{1,40}:")
_WARC_LENGTH = 64
_BLANK_LINE = re.compile(rb"\n\r?\n")  # which ends a header, whether its lines end as the standard wants or not, whatever comes after it
# A length that is wrong by no more bytes than these is a miscount (of line ends, of characters instead of bytes): the record is kept.
_MISCOUNT = 64
_VERSION = re.compile(rb"WARC/[01]\.[0-9]{1,2}[ \t]?\r?\n")
# A line of ARC, versions 1 and 2: URL, address, date, type, (result, checksum, location, offset, file name,) length. It is tried
# at the begin of a line, over at most 3,100 bytes: at each of them a blank, and at a blank at most 32 more.
_ARC = re.compile(rb"(?:^|(?<=\n))[a-z][a-z0-9+.-]{1,20}:[^\n]{0,3000}? [0-9.]{7,15} [0-9]{14} ")
_ARC_LENGTH = 4096
_ARC_DATE = re.compile(rb" [0-9.]{7,15} ([0-9]{14}) ")


@dataclass(frozen=True)
class Block:
    """One record of an archive: its place in the (decompressed) stream, its headers in small letters, and its content."""

    offset: int
    headers: dict[str, str]
    content: bytes
    is_length_wrong: bool = False  # by some bytes, and the record ends where the next one begins


class _Archive:
    """The decompressed bytes of an archive. Where compression is damaged, it goes on with the next member that begins a record:
    `gaps` has what was lost there, by the offset in the decompressed stream.
    """

    def __init__(self, member: Member, source: SourceConfig) -> None:
        self._raw = Window.of(member.stream)
        self._allowed = max(1 << 20, member.size * source.max_expansion)
        self._given = 0
        self._ended = False
        self.gaps: list[tuple[int, str]] = []
        head = self._raw.get(0, 8)
        raw = cast(BinaryIO, io.BufferedReader(_Rest(self._raw), _READ))
        is_gzip = head.startswith(MAGIC) or (not _is_known(head) and _is_gzip_within(self._raw.get(0, _HEADER_BYTES)))
        self._gzip = GzipMembers(raw) if is_gzip else None
        if self._gzip is not None:
            self._stream = cast(BinaryIO, self._gzip)
        elif head.startswith(_ZSTD):
            self._stream = self._zstd(raw)
        else:
            self._stream = raw

    @property
    def is_compressed(self) -> bool:
        return self._gzip is not None

    @staticmethod
    def _zstd(raw: BinaryIO) -> BinaryIO:
        """Frames of zstd; a dictionary in a first, skippable frame as in IIPC's specification (1.0) of .warc.zst."""
        head = cast(Any, raw).peek(8)[:8]
        dictionary = None
        if head.startswith(b"\x5d\x2a\x4d\x18") and len(head) == 8:
            raw.read(8)
            stored = raw.read(min(int.from_bytes(head[4:], "little"), 16 << 20))
            if stored.startswith(b"\x28\xb5\x2f\xfd"):
                stored = zstandard.ZstdDecompressor().stream_reader(stored).read(16 << 20)
            dictionary = zstandard.ZstdCompressionDict(stored)
        decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=1 << 27)
        return cast(BinaryIO, decompressor.stream_reader(raw, read_across_frames=True))

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        if self._ended:
            return b""
        try:
            data = self._stream.read(size)
        except STREAM_ERRORS as error:
            return self._resume(describe(error))
        self._given += len(data)
        if self._given > self._allowed:
            self.gaps.append((self._given, f"expands to more than {self._allowed} bytes (max_expansion); the rest is not read"))
            self._ended = True
            return b""
        return data

    def _resume(self, why: str) -> bytes:
        damaged = self._gzip.member if self._gzip is not None else 0
        if self._gzip is not None and self._gzip.resume(_begins_a_record):
            gap = b"\r\n\r\n"  # so that the next record begins a line
            self.gaps.append((self._given, f"{why}; reading goes on at byte {self._gzip.member}, {self._gzip.member - damaged} on"))
            self._given += len(gap)
            return gap
        self.gaps.append((self._given, f"{why}; the rest cannot be read"))
        self._ended = True
        return b""

    def lost(self, before: int) -> str | None:
        """What was lost before an offset, once."""
        passed = [why for offset, why in self.gaps if offset <= before]
        self.gaps = [gap for gap in self.gaps if gap[0] > before]
        return "; ".join(passed) or None


_ZSTD = (b"\x28\xb5\x2f\xfd", b"\x5d\x2a\x4d\x18")  # a frame, a skippable frame


def _is_known(head: bytes) -> bool:
    return head.startswith((b"WARC/", b"filedesc", *_ZSTD))


def _is_gzip_within(head: bytes) -> bool:
    """Whether there is gzip in the first bytes of an archive whose very first are damaged, and no record that is not compressed."""
    return b"\x1f\x8b\x08" in head and _WARC.search(head) is None


class _Rest(io.RawIOBase):
    """A window as a stream, from its begin."""

    def __init__(self, window: Window) -> None:
        self._window, self._at = window, window.base

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._window.get(self._at, self._at + len(buffer))
        self._at += len(data)
        self._window.forget(self._at)
        buffer[: len(data)] = data
        return len(data)


def _begins_a_record(head: bytes) -> bool:
    return _VERSION.match(head) is not None or re.match(rb"[a-z][a-z0-9+.-]{1,20}:", head) is not None


def blocks(member: Member, source: SourceConfig) -> Iterator[Block | Unreadable | PassedOver]:
    """The records of an archive in their order, and what is unreadable. None is held that is over `max_record_bytes`."""
    archive = _Archive(member, source)
    window = Window(archive.read)
    unit = "byte {} of what it holds" if archive.is_compressed else "byte {}"

    def bad(offset: int, error: str, until: int, raw: bytes = b"") -> Unreadable:
        lost = archive.lost(until)
        first = raw[: min(RAW_BYTES, until - offset)]
        return Unreadable(f"{member.path} ({unit.format(offset)})", f"{error}: {lost}" if lost else error, first)

    is_arc = window.get(0, 11) == b"filedesc://"
    pattern, length = (_ARC, _ARC_LENGTH) if is_arc else (_WARC, _WARC_LENGTH)
    at = 0
    while True:
        at = _skip_blank(window, at)
        window.forget(at)
        head = window.get(at, at + _ARC_LENGTH)
        if not head:
            break
        if not is_arc and _BLANK_LINE.search(head) is None and b"\nWARC/" not in head:
            head = window.get(at, at + _HEADER_BYTES)
        found = _arc_header(head) if is_arc else _warc_header(head)
        if isinstance(found, str):
            following = window.search(pattern, at + 1, length)
            until = window.end if following is None else following
            yield bad(at, found, until, head)
            at = until
            continue
        headers, begin, size = found
        begin += at
        end = begin + size
        if size > source.max_record_bytes:
            error = f"a record of {size} bytes, over max_record_bytes ({source.max_record_bytes})"
            kind = declared_type(headers, window.get(begin, begin + _HEADER_BYTES))
            # it is passed by looking for the next one: where its length is wrong, that is not where it says
            following = window.search(pattern, begin, length)
            until = window.end if following is None else following
            wrong = _wrong_length(size, until - begin, following is not None)
            if wrong or kind in PAGES | TEXTS | UNTOLD:
                yield bad(at, wrong or error, until, head)
            elif kind is not None:
                yield PassedOver(kind)
            at = until
            continue
        content = window.get(begin, end)
        tail = window.get(end, end + _WARC_LENGTH)
        if len(content) == size and _ends_well(content, tail, is_arc):
            if archive.gaps and (lost := archive.lost(end)):  # between records
                yield Unreadable(f"{member.path} ({unit.format(at)})", lost)
            yield Block(at, headers, content)
            at = end
            continue
        following = window.search(pattern, at + 1, length)
        until = window.end if following is None else following
        is_seen = following is not None or until > end  # where the file just ends too early, it is cut off
        if is_seen and abs(until - end) <= _MISCOUNT and until >= begin and not archive.gaps:
            yield Block(at, headers, _without_end(window.get(begin, until)), is_length_wrong=True)
            at = until
            continue
        error = _wrong_length(size, until - begin, following is not None) or f"Content-Length is {size}, and no record begins there"
        yield bad(at, error, max(end, until), head)
        at = until
    for offset, why in archive.gaps:
        yield Unreadable(f"{member.path} ({unit.format(offset)})", why)


def _without_end(content: bytes) -> bytes:
    """A record that reaches to the next one, without the two line ends that come between them."""
    for _ in range(2):
        content = content.removesuffix(b"\n").removesuffix(b"\r")
    return content


def _ends_well(content: bytes, tail: bytes, is_arc: bool) -> bool:
    """Whether a record ends where its length says, by what follows: the next one, the file's end, or, in WARC, the blank line that
    ends a record, with something unreadable after it, and no record within the content. (The blank line after an HTTP header is
    no such end: a length too small may point there.)
    """
    following = tail.lstrip(b"\r\n")
    if not following or (_begins_a_record(following) if is_arc else following.startswith(b"WARC/")):
        return True
    if is_arc or not tail.startswith((b"\r\n\r\n", b"\n\n")) or _WARC.search(content) is not None:
        return False
    return not content.startswith(b"HTTP/") or _BLANK_LINE.search(content) is not None


def _wrong_length(size: int, until: int, is_record: bool) -> str | None:
    """What is wrong with a record's length, where the next record begins, or the file ends, `until` bytes on."""
    if until < size:
        return f"Content-Length is {size}, and {until} bytes on {'a record begins' if is_record else 'the file ends'}"
    return f"Content-Length is {size}, and the next record begins {until} bytes on" if is_record and until > size + 8 else None


def _skip_blank(window: Window, at: int) -> int:
    """The next byte that ends no line."""
    while True:
        data = window.get(at, at + 4096)
        blank = len(data) - len(data.lstrip(b"\r\n"))
        at += blank
        if blank < len(data) or not data:
            return at
        window.forget(at)


def _warc_header(head: bytes) -> tuple[dict[str, str], int, int] | str:
    """Headers in small letters, where the content begins, and its length; or what is wrong."""
    version = _VERSION.match(head)
    if version is None:
        return "not a WARC record"
    another = head.find(b"\nWARC/", version.end())
    limit = len(head) if another < 0 else another
    blank = _BLANK_LINE.search(head, version.end() - 1, limit)
    if blank is None:
        return "a header without an end" if another >= 0 or len(head) >= _HEADER_BYTES else "cut off in its header"
    headers: dict[str, str] = {}
    name = ""
    for line in head[version.end() : blank.start()].decode("utf-8", "replace").split("\n"):
        if line.startswith((" ", "\t")) and name:  # folded
            headers[name] += " " + line.strip()
            continue
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers[name] = value.strip()
    size = headers.get("content-length", "")
    if not (size.isascii() and size.isdigit() and len(size) < 19):
        return f"Content-Length is {size[:40]!r}" if size else "no Content-Length"
    return headers, blank.end(), int(size)


def _arc_header(head: bytes) -> tuple[dict[str, str], int, int] | str:
    """The same of an ARC record, its fields under WARC's names."""
    line = head[: max(0, head.find(b"\n", 0, _ARC_LENGTH))]
    middle = _ARC_DATE.search(line)
    fields = line[middle.end() :].split() if middle is not None else []
    if middle is None or not fields or not fields[-1].isdigit() or len(fields[-1]) > 18:
        return "not an ARC record"
    url, date = line[: middle.start()].decode("utf-8", "replace"), middle[1].decode()
    headers = {
        "warc-type": "warcinfo" if url.startswith("filedesc://") else "response",
        "warc-target-uri": url,
        "warc-date": f"{date[:4]}-{date[4:6]}-{date[6:8]}T{date[8:10]}:{date[10:12]}:{date[12:]}Z",
    }
    return headers, len(line) + 1, int(fields[-1])

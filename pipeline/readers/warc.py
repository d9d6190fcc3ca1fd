"""Web archives: WARC (ISO 28500; plain, gzip, zstd) and its forerunner ARC. Pages become documents as in html.py.

FastWARC reads the HTTP headers. Where a record begins and ends is found here, because an iterator
that stops at the first damage, or trusts a length of a terabyte, loses the rest of the file: a record must end where its
length says, with the next one there; where it does not, it is unreadable, and reading goes on at the next that is to be seen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import zstandard
from pydantic import Field

from pipeline.readers import html, http
from pipeline.readers.config import SourceConfig
from pipeline.readers.decode import decode
from pipeline.readers.files import STREAM_ERRORS, Member, describe
from pipeline.readers.gzip_members import MAGIC, GzipMembers
from pipeline.readers.record import RAW_BYTES, PassedOver, Record, Unreadable
from pipeline.readers.window import Window

Item = Record | Unreadable | PassedOver

_HEADER_BYTES = 1 << 16  # of a WARC or HTTP header, at most; Common Crawl's have about 1,000
_READ = 1 << 16

# A record's first line and the begin of its second; at most 60 bytes, every part bounded, no part follows another of its kind.
_WARC = re.compile(rb"WARC/[01]\.[0-9]{1,2}[ \t]?\r?\n[A-Za-z-]{1,40}:")
_WARC_LENGTH = 64
_VERSION = re.compile(rb"WARC/[01]\.[0-9]{1,2}[ \t]?\r?\n")
# A line of ARC, versions 1 and 2: URL, address, date, type, (result, checksum, location, offset, file name,) length. It is tried
# at the begin of a line, over at most 3,100 bytes: at each of them a blank, and at a blank at most 32 more.
_ARC = re.compile(rb"(?:^|(?<=\n))[a-z][a-z0-9+.-]{1,20}:[^\n]{0,3000}? [0-9.]{7,15} [0-9]{14} ")
_ARC_LENGTH = 4096
_ARC_DATE = re.compile(rb" [0-9.]{7,15} ([0-9]{14}) ")

_PAGES = {"text/html", "application/xhtml+xml"}
_TEXTS = {"text/plain", "text/markdown", "text/x-markdown", "text/x-rst"}
_UNTOLD = {"", "unknown", "application/octet-stream", "binary/octet-stream", "application/unknown", "unk", "no-type"}
_LOOKS_LIKE_A_PAGE = re.compile(rb"<(?:!doctype html|html|head|body|title|meta|p|div)[\s>]", re.IGNORECASE)


class WetSource(SourceConfig):
    """Web archives' text."""

    verify_digests: bool = Field(False, description="Put records whose declared digest is not that of their content into the quarantine.")


class WarcSource(WetSource, html.HtmlSource):
    """Web archives."""

    statuses: list[int] = Field(
        [200], min_length=1, description="HTTP statuses of the responses to read; others are passed over and counted."
    )


@dataclass(frozen=True)
class Block:
    """One record of an archive: its place in the (decompressed) stream, its headers in small letters, and its content."""

    offset: int
    headers: dict[str, str]
    content: bytes


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
        if not is_arc and b"\r\n\r\n" not in head and b"\nWARC/" not in head:
            head = window.get(at, at + _HEADER_BYTES)
        found = _arc_header(head) if is_arc else _warc_header(head)
        if isinstance(found, str):
            following = window.search(pattern, at + 1, length)
            yield bad(at, found, window.end if following is None else following, head)
            if following is None:
                break
            at = following
            continue
        headers, begin, size = found
        begin += at
        end = begin + size
        if size > source.max_record_bytes:
            error = f"a record of {size} bytes, over max_record_bytes ({source.max_record_bytes})"
            kind = _kind_of_head(headers, window.get(begin, begin + _HEADER_BYTES))
            # it is passed by looking for the next one: where its length is wrong, that is not where it says
            following = window.search(pattern, begin, length)
            until = window.end if following is None else following
            wrong = _wrong_length(size, until - begin, following is not None)
            if wrong or kind in _PAGES | _TEXTS | _UNTOLD:
                yield bad(at, wrong or error, until, head)
            elif kind is not None:
                yield PassedOver(kind)
            if following is None:
                break
            at = following
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
        error = _wrong_length(size, until - begin, following is not None) or f"Content-Length is {size}, and no record begins there"
        yield bad(at, error, max(end, until), head)
        if following is None:
            break
        at = following
    for offset, why in archive.gaps:
        yield Unreadable(f"{member.path} ({unit.format(offset)})", why)


def _ends_well(content: bytes, tail: bytes, is_arc: bool) -> bool:
    """Whether a record ends where its length says, by what follows: the next one, the file's end, or, in WARC, the blank line that
    ends a record, with something unreadable after it, and no record within the content. (The blank line after an HTTP header is
    no such end: a length too small may point there.)
    """
    following = tail.lstrip(b"\r\n")
    if not following or (_begins_a_record(following) if is_arc else following.startswith(b"WARC/")):
        return True
    if is_arc or not tail.startswith(b"\r\n\r\n") or _WARC.search(content) is not None:
        return False
    return not content.startswith(b"HTTP/") or b"\r\n\r\n" in content or b"\n\n" in content


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
    end, gap = head.find(b"\r\n\r\n", 0, limit), 4
    if end < 0:
        end, gap = head.find(b"\n\n", 0, limit), 2
    if end < 0:
        return "a header without an end" if another >= 0 or len(head) >= _HEADER_BYTES else "cut off in its header"
    headers: dict[str, str] = {}
    name = ""
    for line in head[version.end() : end].decode("utf-8", "replace").split("\n"):
        if line[:1] in " \t" and name:  # folded
            headers[name] += " " + line.strip()
            continue
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers[name] = value.strip()
    size = headers.get("content-length", "")
    if not (size.isascii() and size.isdigit() and len(size) < 19):
        return f"Content-Length is {size[:40]!r}" if size else "no Content-Length"
    return headers, end + gap, int(size)


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


def _kind_of_head(headers: dict[str, str], content: bytes) -> str | None:
    """The media type of a record by its headers and the first bytes; None where it is no document of any kind."""
    if headers.get("warc-type") not in ("response", "resource", "conversion"):
        return None
    if not content.startswith(b"HTTP/"):
        return headers.get("content-type", "").split(";")[0].strip().lower()
    found = re.search(rb"\ncontent-type:[ \t]{0,9}([^\s;]{0,100})", content.split(b"\r\n\r\n")[0], re.IGNORECASE)
    return found[1].decode("latin-1").lower() if found else ""


def read(member: Member, source: WarcSource) -> Iterator[Item]:
    """Web pages and plain text of an archive, one response (or `resource` record), one record.

    `url` and `date` are the record's, `meta` has its id, payload digest and status, and what the crawler cut off. Responses
    of other statuses than `statuses`, of other types (pictures, scripts, ...) and robots.txt are passed over, by kind.
    """
    for block in blocks(member, source):
        if not isinstance(block, Block):
            yield block
            continue
        kind = block.headers.get("warc-type", "").lower()
        if block.headers.get("warc-target-uri", "").lstrip("<").startswith("metadata:"):
            yield PassedOver("crawler's own notes")
        elif kind in ("response", "resource"):
            yield _response(block, member, source)
        elif kind in ("revisit", "conversion", "continuation"):
            yield PassedOver(f"{kind} record")


def read_text(member: Member, source: WetSource) -> Iterator[Item]:
    """WET: the text that a crawl's makers extracted (`conversion` records), one record each."""
    for block in blocks(member, source):
        if not isinstance(block, Block):
            yield block
        elif block.headers.get("warc-type", "").lower() == "conversion":
            yield _conversion(block, member, source)


def _conversion(block: Block, member: Member, source: WetSource) -> Item:
    place = f"{member.path}#{block.offset}"
    if source.verify_digests and (wrong := _wrong_digest(block, block.content, block.content)):
        return Unreadable(place, wrong, block.content[:RAW_BYTES])
    kind = block.headers.get("content-type", "text/plain").split(";")[0].strip().lower()
    if kind not in _TEXTS:
        return PassedOver(kind)
    try:
        text = decode(block.content)
    except UnicodeDecodeError as error:
        return Unreadable(f"{place} (byte {error.start} of its text)", f"not UTF-8: {error.reason}", block.content[:RAW_BYTES])
    return _record(block, place, text, None, None, {"languages": block.headers.get("warc-identified-content-language")})


def _record(block: Block, place: str, text: str, title: str | None, language: str | None, more: dict[str, Any]) -> Record:
    headers = block.headers
    meta = {
        "record_id": headers.get("warc-record-id", "").strip("<>"),
        "digest": headers.get("warc-payload-digest") or headers.get("warc-block-digest"),
        "truncated": headers.get("warc-truncated"),
        **more,
    }
    return Record(
        id=place,
        text=text,
        url=headers.get("warc-target-uri", "").removeprefix("<").removesuffix(">") or None,
        title=title,
        language=language,
        date=headers.get("warc-date"),
        meta={name: value for name, value in meta.items() if value},
    )


def _response(block: Block, member: Member, source: WarcSource) -> Item:
    """A response or resource as a document; passed over, or unreadable."""
    place = f"{member.path}#{block.offset}"
    url = block.headers.get("warc-target-uri", "")
    if block.content.startswith(b"HTTP/"):
        message = http.parse(block.content, source.max_record_bytes)
        if isinstance(message, str):
            return Unreadable(place, message, block.content[:RAW_BYTES])
        status, kind, charset, body = message
        if status not in source.statuses:
            return PassedOver(f"status {status}" if status is not None else "no status")
    else:
        declared = block.headers.get("content-type", "").lower()
        kind, _, parameters = declared.partition(";")
        if kind.startswith("application/http"):
            return Unreadable(place, "not an HTTP response", block.content[:RAW_BYTES])
        status, kind, body = None, kind.strip(), block.content
        charset = parameters.partition("charset=")[2].strip(" \"'") or None
    if source.verify_digests and (wrong := _wrong_digest(block, block.content, body)):
        return Unreadable(place, wrong, block.content[:RAW_BYTES])
    if kind in _UNTOLD:
        kind = block.headers.get("warc-identified-payload-type", "").lower() or kind
    if kind in _UNTOLD and _LOOKS_LIKE_A_PAGE.search(body[:1024]):
        kind = "text/html"
    more = {"status": status if status != 200 else None}
    if len(body) > source.max_record_bytes:
        return Unreadable(place, f"longer than max_record_bytes ({source.max_record_bytes}) when decoded", body[:RAW_BYTES])
    if kind in _PAGES:
        page = html.to_page(body, source, charset)
        if isinstance(page, str):
            return Unreadable(place, page, body[:RAW_BYTES])
        return _record(block, place, page.text, page.title, page.language, more)
    if kind in _TEXTS:
        if url.split("?")[0].endswith("/robots.txt"):
            return PassedOver("robots.txt")
        if b"\0" in body[:1024] and not body.startswith((b"\xff\xfe", b"\xfe\xff")):
            return PassedOver("binary data")
        return _record(block, place, html.to_text(body, charset, source.encoding), None, None, more)
    return PassedOver(kind or "no type")


def _wrong_digest(block: Block, content: bytes, body: bytes) -> str | None:
    """What is wrong with a record's digest; None where it is right, or there is none of an algorithm we know.

    The block's counts, where there is one; else the payload's, of the body as stored or decoded: writers differ in which.
    """
    for name, candidates in (("warc-block-digest", [content]), ("warc-payload-digest", [body, content.partition(b"\r\n\r\n")[2]])):
        algorithm, _, value = block.headers.get(name, "").partition(":")
        algorithm = algorithm.lower().replace("-", "")
        if algorithm in ("sha1", "sha256", "sha512", "md5"):
            found = [hashlib.new(algorithm, data, usedforsecurity=False).digest() for data in candidates]
            if _digest_bytes(value.strip(), len(found[0])) not in found:
                return f"{name} is {algorithm}:{value[:64]}, its content's is another"
            return None
    return None


def _digest_bytes(value: str, size: int) -> bytes:
    """A digest of so many bytes in base 16, 32 (WARC's custom) or 64; none where it is in none of them."""
    try:
        if len(value) == 2 * size:
            return bytes.fromhex(value)
        if len(value.rstrip("=")) == -(-size * 8 // 5):
            return base64.b32decode(value.rstrip("=").upper() + "=" * (-len(value.rstrip("=")) % 8))
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        return b""

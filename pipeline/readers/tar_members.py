"""Members of a tar, each found by its own header, so that damage costs what is damaged and not the rest."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from pipeline.readers.entries import Entry, is_unsafe
from pipeline.readers.record import Unreadable
from pipeline.readers.streams import STREAM_ERRORS
from pipeline.readers.window import Window

_BLOCK = 512
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_EXTENDED_BYTES = 1 << 20  # of one such header, at most; tarfile would read what it says into memory, and gzip makes that cheap
_NO_HEADER = (tarfile.HeaderError, ValueError, ArithmeticError)


def _pax(data: bytes) -> dict[str, str]:
    """The records of an extended header (POSIX 1003.1-2008, pax): `LENGTH KEY=VALUE\\n`, as far as they are sound."""
    found: dict[str, str] = {}
    while data:
        digits, blank, _ = data[:20].partition(b" ")
        if not blank or not digits.isdigit() or int(digits) <= len(digits) + 1:
            break
        key, _, value = data[len(digits) + 1 : int(digits)].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.removesuffix(b"\n").decode("utf-8", "replace")
        data = data[int(digits) :]
    return found


class _Content(io.RawIOBase):
    """The content of a tar's member. A tar that ends before it does is an `EOFError`."""

    def __init__(self, window: Window, begin: int, size: int) -> None:
        self._window, self._at, self._end = window, begin, begin + size
        self.failed = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._end - self._at)
        try:
            data = self._window.get(self._at, self._at + wanted)
            if wanted and not data:
                raise EOFError(f"the tar ends {self._end - self._at} bytes before this member does")
        except STREAM_ERRORS:
            self.failed = True
            raise
        self._at += len(data)
        self._window.forget(self._at)
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True)
class _Header:
    """What a tar says of one member: `begin` is where its content lies, `end` where the next header is."""

    name: str
    size: int
    begin: int
    end: int
    is_folder: bool
    is_regular: bool
    is_sparse: bool


def entries(path: str, plain: BinaryIO, is_wanted: Callable[[str], bool]) -> Iterator[Entry | Unreadable]:
    """The wanted members of a tar, one after the other, and what of it cannot be read. `path` names the tar for people.

    A member's stream is to be read before the next member is asked for.
    """
    window = Window.of(plain)
    for header in _headers(path, window):
        if isinstance(header, Unreadable):
            yield header
            continue
        name, inner = header.name, f"{path}!{header.name}"
        if header.is_folder or not is_wanted(name):
            continue
        if is_unsafe(name) or not header.is_regular or header.is_sparse:
            why = "path leaves the archive" if is_unsafe(name) else "a sparse file" if header.is_sparse else "a link or device"
            yield Unreadable(inner, f"refused: {why}")
            continue
        content = _Content(window, header.begin, header.size)
        yield Entry(inner, name, cast(BinaryIO, io.BufferedReader(content, 1 << 16)), header.size)
        if content.failed:
            return  # which its reader has reported


def _headers(path: str, window: Window) -> Iterator[_Header | Unreadable]:
    """The members' headers, read by tarfile. Where none is, the next block that is one is looked for (its checksum says so), after the
    end too: what follows there is another archive, or nothing but zeros.
    """
    at, damaged = 0, None
    own: dict[str, str] = {}  # what extended headers say of the next member
    while True:
        window.skip(at)
        block = window.get(at, at + _BLOCK)
        if len(block) < _BLOCK:
            break
        begin = at + _BLOCK
        if not block.strip(b"\0"):
            at = begin
            continue
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except _NO_HEADER:
            damaged = at if damaged is None else damaged
            at, own = begin, {}
            continue
        if damaged is not None:
            yield Unreadable(f"{path} (byte {damaged} of the tar)", f"no header; reading goes on {at - damaged} bytes on")
            damaged = None
        if header.type not in _EXTENDED:
            found = _member(header, own, block, begin, window)
            at, own = found.end, {}
            yield found
        elif header.size > _EXTENDED_BYTES:
            yield Unreadable(f"{path} (byte {at} of the tar)", f"an extended header of {header.size} bytes, over {_EXTENDED_BYTES}")
            at = begin
        else:
            own |= _said(header, window.get(begin, begin + header.size))
            at = begin + _padded(header.size)
    if damaged is not None:
        yield Unreadable(f"{path} (byte {damaged} of the tar)", "no header; the rest cannot be read")
    elif block or at > window.end:
        yield Unreadable(f"{path} (byte {window.end} of the tar)", "cut off within a member")


def _padded(size: int) -> int:
    """Bytes that a content of so many takes."""
    return -(-size // _BLOCK) * _BLOCK


def _said(header: tarfile.TarInfo, data: bytes) -> dict[str, str]:
    """What an extended header says of the next member."""
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", "replace")}
    return _pax(data) if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE) else {}


def _member(header: tarfile.TarInfo, own: dict[str, str], block: bytes, begin: int, window: Window) -> _Header:
    """A member by its header block and what extended headers say of it."""
    size = int(own["size"]) if own.get("size", "").isdigit() and len(own["size"]) < 19 else header.size
    is_sparse = header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in own)
    if header.type == tarfile.GNUTYPE_SPARSE:
        extended: object = block[482]
        while extended:
            extended = window.get(begin, begin + _BLOCK)[504:505] not in (b"", b"\0")
            begin += _BLOCK
    stored = size if header.isreg() or header.type not in tarfile.SUPPORTED_TYPES else 0
    return _Header(own.get("path") or header.name, size, begin, begin + _padded(stored), header.isdir(), header.isreg(), is_sparse)

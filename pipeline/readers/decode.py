"""Bytes to text, strictly: what is not valid in its declared charset is not guessed at."""

from __future__ import annotations

import codecs
import io
import re
from collections import deque
from typing import BinaryIO, Protocol, cast

from pipeline.readers.charsets import decode as decode_leniently
from pipeline.readers.charsets import decode_strictly, name_of
from pipeline.readers.streams import read_some, rejoin

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def describe_bytes(error: UnicodeDecodeError) -> str:
    """What is not valid, in the charset's usual name."""
    return f"not {error.encoding.upper()}: {error.reason}"


def decode(data: bytes, encoding: str | None = None) -> str:
    """Text by its byte order mark, else in `encoding` (by the tables that browsers have), else as UTF-8.

    Raises `UnicodeDecodeError`, which has the byte's offset.
    """
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return data.decode(charset)
    return data.decode() if encoding is None else decode_strictly(data, name_of(encoding) or encoding)


class _AsUtf8(io.RawIOBase):
    """A stream of text in another charset as UTF-8. Half of a pair of surrogates stays one, so that it costs its line alone."""

    def __init__(self, stream: BinaryIO, charset: str) -> None:
        self._stream, self._ready, self._ended = stream, b"", False
        self._decoder = codecs.getincrementaldecoder(charset)("surrogatepass")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            data = read_some(self._stream, 1 << 16)
            self._ended = not data
            try:
                self._ready = self._decoder.decode(data, final=self._ended).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                raise OSError(describe_bytes(error)) from error
        data, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def lines_of(stream: BinaryIO, encoding: str | None) -> tuple[BinaryIO, str | None]:
    """A stream that can be cut into lines at its bytes 0x0A, and the charset that these lines are in.

    Of UTF-16 and UTF-32, by their mark or by `encoding`, that byte is part of other characters, too: they are read as UTF-8. A stream
    that breaks off in a character raises `OSError` there.
    """
    head = stream.read(4)
    stream = rejoin(head, stream)
    charset = next((charset for mark, charset in _MARKS if head.startswith(mark)), encoding)
    if charset is None or charset == "utf-8-sig" or "\n".encode(charset)[-1:] == b"\n" == "\n".encode(charset)[:1]:
        return stream, encoding
    return cast(BinaryIO, io.BufferedReader(_AsUtf8(stream, charset), 1 << 16)), None


class Lines(Protocol):
    """What gives lines of text, with their ends (`\n`, `\r\n` or `\r`)."""

    def readline(self, size: int = -1, /) -> str:
        """The next line, at most `size` characters of it; empty at the end."""


class _OwnCharset:
    """Lines in one of the charsets of browsers. Of a line that is not valid, bytes beyond ASCII are halves of surrogates."""

    def __init__(self, stream: BinaryIO, charset: str) -> None:
        self._stream, self._charset = stream, charset
        self._ready: deque[str] = deque()

    def readline(self, size: int = -1, /) -> str:
        if not self._ready:
            data = self._stream.readline(size)
            try:
                text = decode_strictly(data, self._charset)
            except UnicodeDecodeError:
                text = data.decode("ascii", "surrogateescape")
            self._ready.extend(_LINES.findall(text))
        return self._ready.popleft() if self._ready else ""


_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


def text_lines(stream: BinaryIO, head: bytes, encoding: str | None) -> tuple[Lines, str, str]:
    """Lines of a stream that begins with `head`, those first characters as text, and the charset's name: by a byte order mark, else
    `encoding` (by the tables that browsers have), else UTF-8. Bytes that are not valid are halves of surrogates, as far as the charset
    lets lines be told."""
    charset = next((charset for mark, charset in _MARKS if head.startswith(mark)), None)
    if charset is None:
        own = name_of(encoding)
        if own is not None and not own.startswith("utf-"):
            sample = head[: head.rfind(b"\n") + 1] or head
            return _OwnCharset(rejoin(head, stream), own), decode_leniently(sample, own), own
        charset = encoding or "utf-8"
    return io.TextIOWrapper(rejoin(head, stream), charset, errors="surrogateescape", newline=""), head.decode(charset, "replace"), charset

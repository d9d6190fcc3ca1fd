"""Bytes to text, strictly: what is not valid in its declared charset is not guessed at."""

from __future__ import annotations

import codecs

from pipeline.readers.charsets import decode_strictly, name_of

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

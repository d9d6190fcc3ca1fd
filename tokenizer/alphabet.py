"""The visible characters that stand for the 256 bytes in a byte-level vocabulary (GPT-2's map, which all such files use)."""

from __future__ import annotations

from functools import cache

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


@cache
def visible_bytes() -> tuple[str, ...]:
    """The character for each byte: printable Latin-1 stands for itself, the rest for U+0100 and on, in order."""
    rest = [byte for byte in range(256) if byte not in _PRINTABLE]
    return tuple(chr(byte) if byte in _PRINTABLE else chr(0x100 + rest.index(byte)) for byte in range(256))

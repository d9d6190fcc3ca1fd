"""Which documents have allowed code points only: one pass over Arrow's UTF-8 buffer, no Python string is made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel import characters as char
from kernel.compile import leaf

CODE_POINTS = 0x110000
Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
_STRIDE = 32  # bytes that are looked at together, while all are ASCII
_REFUSED = np.int64(-1)


def buffers(texts: pa.LargeStringArray | pa.LargeBinaryArray) -> tuple[Offsets, Bytes]:
    """A large_string or large_binary array without nulls as `(offsets (texts + 1,), bytes)`, not copied."""
    if len(texts) == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, raw, data = texts.buffers()
    offsets = np.frombuffer(raw, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return offsets, np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)


@leaf
def _decode(data: Bytes, at: int, end: int) -> tuple[np.int64, int]:  # pragma: no cover - compiled
    """The code point that starts at byte `at` and its width in bytes; `_REFUSED` where the bytes are not UTF-8."""
    first = np.int64(data[at])
    if first < 0xC2 or first > 0xF4:
        return _REFUSED, 1
    width = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if at + width > end:
        return _REFUSED, 1
    code = first & (0x7F >> width)
    for index in range(1, width):
        byte = np.int64(data[at + index])
        if byte & 0xC0 != 0x80:
            return _REFUSED, 1
        code = (code << 6) | (byte & 0x3F)
    if width == 3 and (code < 0x800 or 0xD800 <= code < 0xE000):  # overlong, surrogate
        return _REFUSED, 1
    if width == 4 and not 0x10000 <= code < CODE_POINTS:
        return _REFUSED, 1
    return code, width


@leaf
def _all_allowed(offsets: Offsets, data: Bytes, allowed: Flags, out: Flags) -> None:  # pragma: no cover - compiled
    ascii_allowed = True
    for code in range(128):
        ascii_allowed &= allowed[code]
    for document in range(len(offsets) - 1):
        at, end, good = offsets[document], offsets[document + 1], True
        while at < end and good:
            if ascii_allowed and at + _STRIDE <= end:
                bits = np.uint8(0)
                for index in range(_STRIDE):
                    bits |= data[at + index]
                if bits < char.ASCII_END:
                    at += _STRIDE
                    continue
            # Some byte of the next stride is not ASCII: go through them one by one.
            stop = min(end, at + _STRIDE)
            while at < stop and good:
                if data[at] < char.ASCII_END:
                    good = allowed[data[at]]
                    at += 1
                else:
                    code, width = _decode(data, at, end)
                    good = code != _REFUSED and allowed[code]
                    at += width
        out[document] = good


def all_allowed(texts: pa.LargeStringArray, allowed: Flags) -> Flags:
    """Which texts are UTF-8 of allowed code points only: bool (texts,).

    `texts` is a large_string array without nulls; `allowed` is bool (0x110000,). Bytes that are not UTF-8 are refused, and
    never read past the end of their document.
    """
    out = np.ones(len(texts), bool)
    if len(texts):
        _all_allowed(*buffers(texts), allowed, out)
    return out

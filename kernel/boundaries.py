"""Where words begin in scripts that are written without spaces between them: Han, Kana, Thai, Lao, Khmer, Burmese.

Between two characters a word begins if the weights of seven features sum to more than 0. A feature is one to three characters among
the four next to that place, two on each side, hashed into one table of whole numbers, `data/boundaries.bin` (int8). So the method is
that of small linear segmenters such as TinySegmenter and BudouX, with the hashing trick (Weinberger et al. 2009, arXiv 0902.2206). The
weights were learnt from ICU's segmentation of real text, with which they agree on nine boundaries of ten; `benchmarks/words.py` does
that, and names the text.

Why no dictionary: whether a word begins at a place depends on these four characters alone. So a phrase has the same words wherever it
stands, but for the two characters next to what differs, and a copy with an edit has the shingles of its original around that edit. A
dictionary's longest matches or likeliest paths have no such bound.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np
import xxhash

from kernel.compile import kernel, leaf
from kernel.utf8 import UNSPACED, Bytes, decode, is_inside

BITS = 16  # of a feature's place in the table
REACH = 2  # characters on each side of a place that decide
TABLE = files("kernel") / "data" / "boundaries.bin"
# Of the table: kernels are compiled with its numbers in them, and anew when this file changes.
CHECKSUM = "7814f90485bbde3f2ea65047c70e9a3f"


def _weights() -> Any:
    raw = TABLE.read_bytes()
    found = xxhash.xxh3_128_hexdigest(raw)
    if found != CHECKSUM or len(raw) != 1 << BITS:
        raise ImportError(f"{TABLE}: its checksum is {found}, not {CHECKSUM}; install Encoder Foundry again")
    return np.frombuffer(raw, np.int8)


_WEIGHTS = _weights()
# Odd, and without structure: a feature's hash is the sum of its characters, each times the factor of its place, and of its own salt.
_X, _Y, _Z = np.uint64(0x9FB21C651E98DF25), np.uint64(0xD6E8FEB86659FD93), np.uint64(0xC2B2AE3D27D4EB4F)
_SALT = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(64 - BITS)


@kernel(inline="always")
def features(before: int, last: int, first: int, after: int) -> Any:  # pragma: no cover - compiled
    """Where the table has the seven features of a place, whose characters are `before` and `last`, then `first` and `after`.

    Code points; 0 for what is of no script without spaces.
    """
    p, q, r, s = np.uint64(before), np.uint64(last), np.uint64(first), np.uint64(after)
    qx, rx = q * _X, r * _X
    qxry, rxsy, pxqy = qx + r * _Y, rx + s * _Y, p * _X + q * _Y
    return (
        (qx + _SALT) >> _SHIFT,
        (rx + _SALT * np.uint64(2)) >> _SHIFT,
        (pxqy + _SALT * np.uint64(3)) >> _SHIFT,
        (qxry + _SALT * np.uint64(4)) >> _SHIFT,
        (rxsy + _SALT * np.uint64(5)) >> _SHIFT,
        (pxqy + r * _Z + _SALT * np.uint64(6)) >> _SHIFT,
        (qxry + s * _Z + _SALT * np.uint64(7)) >> _SHIFT,
    )


@leaf(inline="always")
def begins_word(before: int, last: int, first: int, after: int) -> Any:  # pragma: no cover - compiled
    """Whether a word begins with the character `first`, between these of its run; 0 for what lies outside of it."""
    a, b, c, d, e, f, g = features(before, last, first, after)
    total = np.int64(_WEIGHTS[a]) + _WEIGHTS[b] + _WEIGHTS[c] + _WEIGHTS[d] + _WEIGHTS[e] + _WEIGHTS[f] + _WEIGHTS[g]
    return total > 0


@leaf
def word_end(data: Bytes, at: int, start: int, end: int, classes: Bytes) -> int:  # pragma: no cover - compiled
    """Where the word ends that begins with the UNSPACED character at byte `at`, of a text that is `data[start:end]`.

    `classes`: those of `kernel.utf8.tables`. `at` is the beginning of a run of such characters, or where this function said before.
    """
    before = np.int64(0)
    if at > start:
        place = at - 1
        while is_inside(data[place]):
            place -= 1
        before = decode(data, place)[0]
        if classes[before] != UNSPACED:
            before = np.int64(0)
    last, at = decode(data, at)
    if at >= end:
        return at
    first, following = decode(data, at)
    while classes[first] == UNSPACED:
        after, beyond = np.int64(0), following
        if following < end:
            after, beyond = decode(data, following)
        if begins_word(before, last, first, after if classes[after] == UNSPACED else np.int64(0)):
            return at
        if following >= end:
            return end
        before, last, first = last, first, after
        at, following = following, beyond
    return at

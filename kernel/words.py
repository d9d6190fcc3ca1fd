"""The words of a text, as deduplication, contamination and linear classifiers see them: one 64-bit hash each.

A word is a maximal run of letters, marks and numbers, in lower case; in scripts written without spaces it ends where
`kernel.boundaries` says. Punctuation and spacing do not count, so that re-wrapped or re-punctuated copies are equal. The hashes are
part of indexes on disk and of classifiers' features: they stay as they are.

A run of consecutive words (a shingle, an n-gram) is hashed by a polynomial in its words' hashes, modulo 2^64, so that the next run
costs one step whatever its length.

(The statistics that published rules look at need the words of those rules' tokenizers, which keep some marks inside a word:
`pipeline.measure.scanner`. In scripts without spaces they are the same.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernel import characters as char
from kernel.boundaries import word_end
from kernel.compile import kernel
from kernel.hashing import FNV_OFFSET, FNV_PRIME, fmix64
from kernel.utf8 import LETTER, MARK, NUMBER, OTHER, UNSPACED, Bytes, Offsets, decode

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

BASE = np.uint64(0x9FB21C651E98DF25)  # of the polynomial that hashes runs of words: odd, and without structure


@kernel(inline="always")
def spell(data: Bytes, at: int, end: int, value: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    """64-bit FNV-1a over the code points of `data[at:end]`, begun with `value`."""
    while at < end:
        code, at = decode(data, at)
        value = (value ^ np.uint64(code)) * FNV_PRIME
    return value


@kernel
def word_units(data: Bytes, at: int, end: int, classes: Bytes, lower: U32, out: U64) -> int:  # pragma: no cover - compiled
    """64-bit FNV-1a over each word's lower-case code points, finished by a mixer; returns how many were written."""
    prime, count, start = FNV_PRIME, 0, at
    value, inside = FNV_OFFSET, False
    while at <= end:
        if at < end:
            code, following = decode(data, at)
            kind = classes[code]
        else:
            code, following, kind = char.SPACE, at + 1, OTHER
        if kind == LETTER or kind == NUMBER or kind == MARK:
            value = (value ^ np.uint64(lower[code])) * prime
            inside = True
        else:
            if inside:
                out[count] = fmix64(value)
                count += 1
                value, inside = FNV_OFFSET, False
            if kind == UNSPACED:
                following = word_end(data, at, start, end, classes)
                out[count] = fmix64(spell(data, at, following, value))
                count += 1
        at = following
    return count


@kernel
def word_spans(
    data: Bytes, at: int, end: int, classes: Bytes, lower: U32, out: U64, begin: Offsets, finish: Offsets
) -> int:  # pragma: no cover - compiled
    """As `word_units`, with the bytes at which each word begins and ends, counted from `at`."""
    prime, count, origin = FNV_PRIME, 0, at
    value, inside = FNV_OFFSET, False
    while at <= end:
        if at < end:
            code, following = decode(data, at)
            kind = classes[code]
        else:
            code, following, kind = char.SPACE, at + 1, OTHER
        if kind == LETTER or kind == NUMBER or kind == MARK:
            if not inside:
                begin[count] = at - origin
            value = (value ^ np.uint64(lower[code])) * prime
            inside = True
        else:
            if inside:
                out[count] = fmix64(value)
                finish[count] = at - origin
                count += 1
                value, inside = FNV_OFFSET, False
            if kind == UNSPACED:
                following = word_end(data, at, origin, end, classes)
                out[count] = fmix64(spell(data, at, following, value))
                begin[count], finish[count] = at - origin, following - origin
                count += 1
        at = following
    return count


@kernel(inline="always")
def most_units(offsets: Offsets, words: bool) -> int:  # pragma: no cover - compiled
    """The most units that any of the documents can have: a word and its separator have two bytes, and one without three, at least."""
    longest = 0
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    return longest // 2 + 2 if words else longest + 2


@kernel(inline="always")
def power(width: int) -> np.uint64:  # pragma: no cover - compiled
    """BASE to the power of `width`, modulo 2^64."""
    result = np.uint64(1)
    for _ in range(width):
        result *= BASE
    return result


@kernel
def shingles_of(units: U64, count: int, width: int, out: U64) -> int:  # pragma: no cover - compiled
    """64-bit hash of each run of `width` units (one of all units where there are fewer); returns how many."""
    if count == 0:
        return 0
    span = min(width, count)
    leaving = power(span)
    value = np.uint64(0)
    for unit in range(count):
        value = value * BASE + units[unit]
        if unit >= span:
            value -= units[unit - span] * leaving
        if unit >= span - 1:
            out[unit - span + 1] = fmix64(value)
    return count - span + 1

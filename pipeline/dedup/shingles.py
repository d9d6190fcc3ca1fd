"""Shingles and their MinHash signatures, straight from UTF-8 bytes.

A text is first a sequence of *units*, each a 64-bit hash. A unit is a word, or a character:

- words: those of `kernel.words`: runs of letters, marks and numbers, in lower case, and words of scripts without spaces.
- characters: the same words' characters, with one space between words.

A shingle is `width` consecutive units; a text with fewer is one shingle. Shingles are hashed by a polynomial
in the units' hashes, modulo 2^64, so that the next one costs one step whatever the width. Signatures are bit-equal to
`datasketch.MinHash(num_perm, seed, scheme="affine32")` fed with the same 32-bit shingle hashes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from kernel.compile import kernel
from kernel.hashing import fmix64
from kernel.utf8 import LETTER, MARK, NUMBER, UNSPACED, Bytes, Offsets, decode, tables, utf8_view
from kernel.words import U32, U64, most_units, shingles_of, word_units

Unit = Literal["words", "characters"]


@kernel
def _character_units(data: Bytes, at: int, end: int, classes: Bytes, lower: U32, out: U64) -> int:  # pragma: no cover - compiled
    """A hash of each character of the words, with one space between words; returns how many were written."""
    count, gap = 0, False
    while at < end:
        code, at = decode(data, at)
        kind = classes[code]
        if kind == LETTER or kind == NUMBER or kind == MARK or kind == UNSPACED:
            if gap and count:
                out[count] = fmix64(np.uint64(33))
                count += 1
            gap = False
            out[count] = fmix64(np.uint64(lower[code]) + np.uint64(1))
            count += 1
        else:
            gap = True
    return count


@kernel
def _signature(shingles: U64, count: int, a: U32, b: U32, out: U32) -> None:  # pragma: no cover - compiled
    """Column-wise minimum of a * fmix32(h) + b modulo 2^32; all ones for a document without a unit."""
    out[:] = np.uint32(0xFFFFFFFF)
    for shingle in range(count):
        h = np.uint32(shingles[shingle] >> np.uint64(32))
        # numba widens products of uint32 to 64 bits: each is cut back before its high bits are used
        h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        h = np.uint32(h ^ (h >> np.uint32(16)))
        for k in range(len(a)):
            value = np.uint32(a[k] * h + b[k])
            out[k] = min(out[k], value)


@kernel
def _signatures(
    offsets: Offsets, data: Bytes, classes: Bytes, lower: U32, words: bool, width: int, a: U32, b: U32, out: U32, counts: Offsets
) -> None:  # pragma: no cover - compiled
    units = np.empty(most_units(offsets, words), np.uint64)
    shingles = np.empty(len(units), np.uint64)
    for document in range(len(offsets) - 1):
        if words:
            count = word_units(data, offsets[document], offsets[document + 1], classes, lower, units)
        else:
            count = _character_units(data, offsets[document], offsets[document + 1], classes, lower, units)
        count = shingles_of(units, count, width, shingles)
        counts[document] = count
        _signature(shingles, count, a, b, out[document])


@kernel
def _sets(
    offsets: Offsets, data: Bytes, classes: Bytes, lower: U32, words: bool, width: int, out: U32, ends: Offsets
) -> None:  # pragma: no cover - compiled
    units = np.empty(most_units(offsets, words), np.uint64)
    shingles = np.empty(len(units), np.uint64)
    size = 0
    for document in range(len(offsets) - 1):
        if words:
            count = word_units(data, offsets[document], offsets[document + 1], classes, lower, units)
        else:
            count = _character_units(data, offsets[document], offsets[document + 1], classes, lower, units)
        count = shingles_of(units, count, width, shingles)
        part = out[size : size + count]
        for shingle in range(count):
            part[shingle] = np.uint32(shingles[shingle] >> np.uint64(32))
        part.sort()
        distinct = 0
        for shingle in range(count):
            if not distinct or part[shingle] != part[distinct - 1]:
                part[distinct] = part[shingle]
                distinct += 1
        size += distinct
        ends[document + 1] = size


def signatures(texts: pa.Array | pa.ChunkedArray, width: int, permutations: int, seed: int, unit: Unit = "words") -> tuple[U32, Offsets]:
    """MinHash signatures of a string column: `(signatures uint32 (documents, permutations), shingles int64 (documents,))`.

    The permutations are datasketch's own for `(permutations, seed)` under "affine32".
    """
    from datasketch import MinHash  # which imports much of scipy

    offsets, data = utf8_view(texts)
    a, b = MinHash(num_perm=permutations, seed=seed, scheme="affine32").permutations
    out = np.empty((len(offsets) - 1, permutations), np.uint32)
    counts = np.empty(len(offsets) - 1, np.int64)
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    _signatures(offsets, data, *tables(), unit == "words", width, a, b, out, counts)
    return out, counts


def shingle_sets(texts: pa.Array | pa.ChunkedArray, width: int, unit: Unit = "words") -> tuple[Offsets, U32]:
    """The set of 32-bit shingle hashes of each text: `(offsets int64 (documents + 1,), hashes uint32)`, each text's sorted.

    Two sets' Jaccard similarity differs from that of the shingles themselves by less than (larger set) / 2^32.
    """
    offsets, data = utf8_view(texts)
    sizes = np.diff(offsets)
    out = np.empty(int((sizes // 2 + 2 if unit == "words" else sizes + 2).sum()), np.uint32)
    ends = np.zeros(len(offsets), np.int64)
    _sets(offsets, data, *tables(), unit == "words", width, out, ends)
    return ends, out[: ends[-1]]

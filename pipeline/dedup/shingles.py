"""Shingles and their MinHash signatures, straight from UTF-8 bytes.

A text, in the form in which texts are compared (`kernel.fold`), is first a sequence of *units*, each a 64-bit hash: a word of
`kernel.words` (a run of letters, marks and numbers, in lower case), or a character: of the scripts that are written without spaces, or of
all words where `characters` are asked for, with one space between words.

A shingle is `width` consecutive units; a text with fewer is one shingle. In scripts without spaces a shingle of words begins where a word
begins, and has as many characters as `width` words have on average, `FIVE_WORDS`: so an edit changes as many shingles as it does
in English. Were it a run of `width` words, an edit would change one or two more, since it may move the boundary of the word beside it.

Shingles are hashed by a polynomial in the units' hashes, modulo 2^64, so that the next one costs one step whatever the width. Signatures
are bit-equal to `datasketch.MinHash(num_perm, seed, scheme="affine32")` fed with the same 32-bit shingle hashes.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from kernel.boundaries import word_end
from kernel.compile import kernel, leaf
from kernel.fold import Folded, fold, text_of
from kernel.hashing import FNV_OFFSET, FNV_PRIME, fmix64
from kernel.utf8 import LETTER, MARK, NUMBER, UNSPACED, Bytes, Offsets, decode, tables
from kernel.words import BASE, U32, U64, shingles_of

Unit = Literal["words", "characters"]

# Characters that five words have on average: of Han and Kana, of Thai, of the other scripts without spaces.
FIVE_WORDS = (7, 17, 20)
WORD = 7 * 17 * 20  # what a word weighs; and what such a character does
_HAN, _THAI, _OTHER = (5 * WORD // characters for characters in FIVE_WORDS)
_LONGEST = 4  # units that a word has at the most: the lightest characters


@kernel(inline="always")
def _weight(code: int) -> int:  # pragma: no cover - compiled
    """What a character of a script without spaces weighs."""
    if 0x2E80 <= code < 0xA4D0 or code >= 0xF900:
        return _HAN
    return _THAI if 0x0E00 <= code < 0x0E80 else _OTHER


class _Room(NamedTuple):
    """Where the units of one text are written, and what its shingles are made by."""

    units: U64
    weights: Offsets
    words: Offsets  # the units that begin words
    powers: U64  # of BASE


@kernel
def _room(sizes: Offsets, width: int, words: bool) -> _Room:  # pragma: no cover - compiled
    """Room for any of the texts with so many bytes: a word and its separator have two, and a character without any three, at least."""
    longest = sizes.max() if len(sizes) else 0
    most = longest // 2 + 2 if words else longest + 2
    powers = np.ones(_LONGEST * width + 2 if words else 1, np.uint64)
    for index in range(1, len(powers)):
        powers[index] = powers[index - 1] * BASE
    return _Room(np.empty(most, np.uint64), np.empty(most if words else 1, np.int64), np.empty(most if words else 1, np.int64), powers)


@leaf
def _weighed_shingles(room: _Room, count: int, words: int, width: int, out: U64) -> int:  # pragma: no cover - compiled
    """The shingles of a text that has words without spaces: each from the beginning of a word on, until it weighs as `width` words."""
    units, weights, begins = room.units, room.weights, room.words
    need, weight, value = width * WORD, np.int64(0), np.uint64(0)
    first = last = shingles = 0
    for word in range(words):
        while first < min(begins[word], last):  # what stood before this word
            value -= units[first] * room.powers[last - first - 1]
            weight -= weights[first]
            first += 1
        if first < begins[word]:  # a word that is longer than a shingle
            first = last = begins[word]
        while last < count and weight < need:
            value = value * BASE + units[last]
            weight += weights[last]
            last += 1
        if weight < need and shingles:
            break
        out[shingles] = fmix64(value)
        shingles += 1
        if weight < need:
            break
    return shingles


# Long: what is seen of a character is kept in registers.
@leaf
def _word_shingles(
    data: Bytes, at: int, end: int, classes: Bytes, lower: U32, width: int, room: _Room, out: U64
) -> Any:  # pragma: no cover - compiled
    """The hash of each shingle of a text; returns how many."""
    units, weights, begins = room.units, room.weights, room.words
    prime, start = FNV_PRIME, at
    count = words = 0
    spaced = True
    value, inside = FNV_OFFSET, False
    while at < end:
        code, following = decode(data, at)
        kind = classes[code]
        if kind == LETTER or kind == NUMBER or kind == MARK:
            value = (value ^ np.uint64(lower[code])) * prime
            inside = True
            at = following
            continue
        if inside:
            units[count], weights[count], begins[words] = fmix64(value), WORD, count
            count, words = count + 1, words + 1
            value, inside = FNV_OFFSET, False
        if kind == UNSPACED:
            spaced = False
            following = word_end(data, at, start, end, classes)
            begins[words] = count
            words += 1
            while at < following:
                code, at = decode(data, at)
                units[count], weights[count] = fmix64(np.uint64(code) + np.uint64(1)), _weight(code)
                count += 1
        at = following
    if inside:
        units[count], weights[count], begins[words] = fmix64(value), WORD, count
        count, words = count + 1, words + 1
    return shingles_of(units, count, width, out) if spaced else _weighed_shingles(room, count, words, width, out)


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


@leaf
def _shingles(
    folded: Folded, document: int, classes: Bytes, lower: U32, words: bool, width: int, room: _Room, out: U64
) -> Any:  # pragma: no cover - compiled
    """The hash of each shingle of a document; returns how many."""
    data, begin, end = text_of(folded, document)
    if words:
        return _word_shingles(data, begin, end, classes, lower, width, room, out)
    count = _character_units(data, begin, end, classes, lower, room.units)
    return shingles_of(room.units, count, width, out)


@kernel
def _signatures(
    folded: Folded, sizes: Offsets, classes: Bytes, lower: U32, words: bool, width: int, a: U32, b: U32, out: U32, counts: Offsets
) -> None:  # pragma: no cover - compiled
    room = _room(sizes, width, words)
    shingles = np.empty(len(room.units), np.uint64)
    for document in range(len(sizes)):
        count = _shingles(folded, document, classes, lower, words, width, room, shingles)
        counts[document] = count
        _signature(shingles, count, a, b, out[document])


@kernel
def _sets(
    folded: Folded, sizes: Offsets, classes: Bytes, lower: U32, words: bool, width: int, out: U32, ends: Offsets
) -> None:  # pragma: no cover - compiled
    room = _room(sizes, width, words)
    shingles = np.empty(len(room.units), np.uint64)
    size = 0
    for document in range(len(sizes)):
        count = _shingles(folded, document, classes, lower, words, width, room, shingles)
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

    folded = fold(texts, words=True)
    a, b = MinHash(num_perm=permutations, seed=seed, scheme="affine32").permutations
    out = np.empty((len(folded.changed), permutations), np.uint32)
    counts = np.empty(len(folded.changed), np.int64)
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    _signatures(folded, folded.sizes, *tables(), unit == "words", width, a, b, out, counts)
    return out, counts


def shingle_sets(texts: pa.Array | pa.ChunkedArray, width: int, unit: Unit = "words") -> tuple[Offsets, U32]:
    """The set of 32-bit shingle hashes of each text: `(offsets int64 (documents + 1,), hashes uint32)`, each text's sorted.

    Two sets' Jaccard similarity differs from that of the shingles themselves by less than (larger set) / 2^32.
    """
    folded = fold(texts, words=True)
    sizes = folded.sizes
    out = np.empty(int((sizes // 2 + 2 if unit == "words" else sizes + 2).sum()), np.uint32)
    ends = np.zeros(len(sizes) + 1, np.int64)
    _sets(folded, sizes, *tables(), unit == "words", width, out, ends)
    return ends, out[: ends[-1]]

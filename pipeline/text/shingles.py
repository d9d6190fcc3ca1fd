"""Word shingles and their MinHash signatures, straight from UTF-8 bytes.

A word is a maximal run of letters, marks and numbers, in lower case; a character of a script written without spaces is a
word; punctuation and spacing do not count, so that re-wrapped or re-punctuated copies are equal. A shingle is `width`
consecutive words, and a document of fewer words is one shingle of all it has. Signatures are bit-equal to
`datasketch.MinHash(num_perm, seed, scheme="affine32")` fed with the same 32-bit shingle hashes.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasketch import MinHash

from pipeline.text.utf8 import IDEOGRAPH, LETTER, MARK, NUMBER, Bytes, Offsets, decode, tables, utf8_view

U32 = npt.NDArray[np.uint32]

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3


@numba.njit(cache=True, nogil=True)
def _word_hashes(
    data: Bytes, at: int, end: int, classes: Bytes, lower: U32, out: npt.NDArray[np.uint64]
) -> int:  # pragma: no cover - compiled
    """64-bit FNV-1a over each word's lower-case code points, finished by a mixer; returns how many were written."""
    prime, count = np.uint64(_FNV_PRIME), 0
    value, inside = np.uint64(_FNV_OFFSET), False
    while at <= end:
        if at < end:
            code, following = decode(data, at)
            kind = classes[code]
        else:
            code, following, kind = 32, at + 1, 0
        if kind == LETTER or kind == NUMBER or kind == MARK:
            value = (value ^ np.uint64(lower[code])) * prime
            inside = True
        else:
            if inside:
                out[count] = _mix(value)
                count += 1
                value, inside = np.uint64(_FNV_OFFSET), False
            if kind == IDEOGRAPH:
                out[count] = _mix((value ^ np.uint64(code)) * prime)
                count += 1
        at = following
    return count


@numba.njit(cache=True, nogil=True, inline="always")
def _mix(value: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    """MurmurHash3's 64-bit finalizer: FNV's high bits are weak on short words."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@numba.njit(cache=True, nogil=True)
def _shingle_hashes(words: npt.NDArray[np.uint64], count: int, width: int, out: U32) -> int:  # pragma: no cover - compiled
    """32-bit hash of each run of `width` words (one of all words where there are fewer); returns how many."""
    if count == 0:
        return 0
    span = min(width, count)
    shingles = count - span + 1
    for first in range(shingles):
        value = np.uint64(0x9E3779B97F4A7C15)
        for word in range(first, first + span):
            value = (value ^ words[word]) * np.uint64(0x9FB21C651E98DF25)
            value ^= value >> np.uint64(32)
        out[first] = np.uint32(_mix(value) >> np.uint64(32))
    return shingles


@numba.njit(cache=True, nogil=True)
def _signature(shingles: U32, count: int, a: U32, b: U32, out: U32) -> None:  # pragma: no cover - compiled
    """Column-wise minimum of a * fmix32(h) + b modulo 2^32; all ones for a document without a word."""
    out[:] = np.uint32(0xFFFFFFFF)
    for shingle in range(count):
        h = shingles[shingle]
        # numba widens products of uint32 to 64 bits: each is cut back before its high bits are used
        h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        h = np.uint32(h ^ (h >> np.uint32(16)))
        for k in range(len(a)):
            value = np.uint32(a[k] * h + b[k])
            out[k] = min(out[k], value)


@numba.njit(cache=True, nogil=True)
def _signatures(
    offsets: Offsets, data: Bytes, classes: Bytes, lower: U32, width: int, a: U32, b: U32, out: U32, counts: Offsets
) -> None:  # pragma: no cover - compiled
    longest = 0
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    words = np.empty(longest + 1, np.uint64)
    shingles = np.empty(longest + 1, np.uint32)
    for document in range(len(offsets) - 1):
        count = _word_hashes(data, offsets[document], offsets[document + 1], classes, lower, words)
        count = _shingle_hashes(words, count, width, shingles)
        counts[document] = count
        _signature(shingles, count, a, b, out[document])


def shingle_hashes(text: str, width: int) -> U32:
    """The 32-bit shingle hashes of one text, in order, repeats kept: uint32 (shingles,)."""
    data = np.frombuffer(text.encode(), np.uint8)
    words = np.empty(len(data) + 1, np.uint64)
    count = _word_hashes(data, 0, len(data), *tables(), words)
    out = np.empty(max(1, count), np.uint32)
    hashes: U32 = out[: _shingle_hashes(words, count, width, out)]
    return hashes


def signatures(texts: pa.Array | pa.ChunkedArray, width: int, permutations: int, seed: int) -> tuple[U32, Offsets]:
    """MinHash signatures of a string column: `(signatures uint32 (documents, permutations), shingles int64 (documents,))`.

    The permutations are datasketch's own for `(permutations, seed)` under "affine32".
    """
    offsets, data = utf8_view(texts)
    a, b = MinHash(num_perm=permutations, seed=seed, scheme="affine32").permutations
    out = np.empty((len(offsets) - 1, permutations), np.uint32)
    counts = np.empty(len(offsets) - 1, np.int64)
    _signatures(offsets, data, *tables(), width, np.ascontiguousarray(a), np.ascontiguousarray(b), out, counts)
    return out, counts

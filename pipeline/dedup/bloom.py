"""A Bloom filter (Bloom 1970) of 64-bit hashes: it knows each hash that was added, and takes a small share of the others for added ones.

A filter is a bitmap: uint64 words, a power of two of them. The bits of a hash are chosen by double hashing (Kirsch and Mitzenmacher
2006), from the hash itself and an odd step made of it. Filters are kept on disk (`index/seen`), so neither may change.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from kernel.compile import leaf
from kernel.hashing import fmix64

U64 = npt.NDArray[np.uint64]


@leaf
def add(bits: U64, functions: int, hashes: U64) -> None:  # pragma: no cover - compiled
    """Add hashes to a filter by setting `functions` bits for each."""
    mask = np.uint64(len(bits) * 64 - 1)
    for value in hashes:
        step = fmix64(value) | np.uint64(1)
        at = value
        for _ in range(functions):
            bits[(at & mask) >> np.uint64(6)] |= np.uint64(1) << (at & np.uint64(63))
            at += step


@leaf
def has(bits: U64, functions: int, hashes: U64, out: npt.NDArray[np.bool_]) -> None:  # pragma: no cover - compiled
    """Write to `out`, bool (hashes,), whether the filter has each hash. `functions` is what the filter was made with."""
    mask = np.uint64(len(bits) * 64 - 1)
    for index in range(len(hashes)):
        step = fmix64(hashes[index]) | np.uint64(1)
        at = hashes[index]
        found = True
        for _ in range(functions):
            if not (bits[(at & mask) >> np.uint64(6)] >> (at & np.uint64(63))) & np.uint64(1):
                found = False
                break
            at += step
        out[index] = found


def bloom_size(hashes: int, false_positives: float) -> tuple[int, int]:
    """`(bits, functions)` of a filter for so many hashes that takes this share of others for added; bits is a power of two, 64 or more."""
    wanted = max(64.0, -hashes * math.log(false_positives) / math.log(2) ** 2)
    bits = 1 << math.ceil(math.log2(wanted))
    return bits, max(1, min(24, round(bits / max(1, hashes) * math.log(2))))

"""The hash functions of the project's kernels: one step over bytes, one mixer over words of 64 bits, one slot for tables.

`fnv` hashes bytes and code points; `mix` serves keyed randomness, `spread` the slots of hash tables. `fmix64` is another mixer like
`mix`; both stay, because the signatures and indexes of finished runs are made of it, and another one would make them useless. Where a
module has a hash of its own (bands, counted words, buckets of ordinals), that hash decides where rows are written, and so it stays as
it is too; its factors are those named here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernel.compile import kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / the golden ratio, made odd: the step of SplitMix64, and Fibonacci hashing's factor
SPLITMIX_FIRST, SPLITMIX_SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # the factors of `mix`
FMIX_FIRST, FMIX_SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # and those of `fmix64`
FNV_OFFSET = np.uint64(0xCBF29CE484222325)  # where an FNV-1a hash begins
FNV_PRIME = np.uint64(0x100000001B3)


@kernel(inline="always")
def mix(value: np.uint64) -> Any:  # pragma: no cover - compiled
    """SplitMix64's output function (Steele et al. 2014): a bijection on 64 bits in which every bit depends on every bit."""
    value = (value ^ (value >> np.uint64(30))) * SPLITMIX_FIRST
    value = (value ^ (value >> np.uint64(27))) * SPLITMIX_SECOND
    return value ^ (value >> np.uint64(31))


@kernel(inline="always")
def spread(value: np.uint64) -> Any:  # pragma: no cover - compiled
    """A number for a hash table's slots, of which the lowest bits count: Fibonacci hashing, the high half folded in before and after.

    Half the work of `mix`, which took 4 % of the time of measuring text when tables used it. Not for what is written down.
    """
    value = (value ^ (value >> np.uint64(32))) * GOLDEN
    return value ^ (value >> np.uint64(29))


@kernel(inline="always")
def fmix64(value: np.uint64) -> Any:  # pragma: no cover - compiled
    """MurmurHash3's finaliser (Appleby 2011): the bijection on 64 bits behind shingles, signatures and their bands."""
    value = (value ^ (value >> np.uint64(33))) * FMIX_FIRST
    value = (value ^ (value >> np.uint64(33))) * FMIX_SECOND
    return value ^ (value >> np.uint64(33))


@kernel(inline="always")
def fnv(value: np.uint64, part: np.uint64) -> Any:  # pragma: no cover - compiled
    """One step of FNV-1a, over a byte or a larger number: begin with FNV_OFFSET."""
    return (value ^ np.uint64(part)) * FNV_PRIME

"""The hash functions of the project's kernels: one step over bytes, one mixer over words of 64 bits.

`mix` serves keyed randomness and every hash table. `fmix64` is another bijection of the same kind; it stays beside it because the
signatures and indexes of finished runs are made of it, so that a different mixer would make them useless.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernel.compile import kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / the golden ratio, made odd: the step of SplitMix64, and Fibonacci hashing's factor
FNV_OFFSET = np.uint64(0xCBF29CE484222325)  # where an FNV-1a hash begins
FNV_PRIME = np.uint64(0x100000001B3)


@kernel(inline="always")
def mix(value: np.uint64) -> Any:  # pragma: no cover - compiled
    """SplitMix64's output function (Steele et al. 2014): a bijection on 64 bits in which every bit depends on every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel(inline="always")
def fmix64(value: np.uint64) -> Any:  # pragma: no cover - compiled
    """MurmurHash3's finaliser (Appleby 2011): the bijection on 64 bits behind shingles, signatures and their bands."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@kernel(inline="always")
def fnv(value: np.uint64, part: np.uint64) -> Any:  # pragma: no cover - compiled
    """One step of FNV-1a, over a byte or a larger number: begin with FNV_OFFSET."""
    return (value ^ np.uint64(part)) * FNV_PRIME

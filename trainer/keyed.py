"""Keyed randomness: functions of (seed, index), without state, the same on every rank and after every restart."""

from __future__ import annotations

import hashlib
from typing import Any

import numba
import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15


@numba.njit(cache=True, nogil=True, inline="always")
def mix(value: np.uint64) -> Any:  # pragma: no cover - compiled
    """SplitMix64's output function (Steele et al. 2014): a bijection on 64 bits in which every bit depends on every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@numba.njit(cache=True, nogil=True, inline="always")
def draw(key: np.uint64, index: np.uint64) -> Any:  # pragma: no cover - compiled
    """The index-th number of the stream `key`: 64 random bits."""
    return mix(key + (index + np.uint64(1)) * np.uint64(_GOLDEN))


def derive(seed: int, *parts: int | str) -> int:
    """A 64-bit seed for one purpose, from a seed and what tells the purpose apart."""
    name = "/".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")

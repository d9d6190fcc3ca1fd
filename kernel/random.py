"""Keyed randomness: functions of a seed and a stable name or number, the same on every worker, in any order, after every restart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from kernel.compile import kernel
from kernel.hashing import GOLDEN, mix

_UNIT = 1.0 / (1 << 53)


@kernel(inline="always")
def draw(key: np.uint64, index: np.uint64) -> Any:  # pragma: no cover - compiled
    """The index-th number of the stream `key`: 64 random bits (SplitMix64, entered at any place)."""
    return mix(key + (index + np.uint64(1)) * GOLDEN)


@kernel(inline="always")
def unit(bits: np.uint64) -> float:  # pragma: no cover - compiled
    """64 random bits as a number in [0, 1), of which the highest 53 decide."""
    return np.float64(bits >> np.uint64(11)) * _UNIT


def derive(seed: int, *parts: int | str) -> int:
    """A 64-bit seed for one purpose, from a seed and what tells the purpose apart."""
    name = "/".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def uniform(seed: int, purpose: str, ids: Iterable[str]) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each id: float64 (ids,). Different purposes give independent numbers for the same id."""
    key = xxhash.xxh3_64_intdigest(purpose.encode(), seed=seed & 0xFFFFFFFFFFFFFFFF)
    values = [xxhash.xxh3_64_intdigest(name.encode(), seed=key) for name in ids]
    return (np.array(values, np.uint64) >> np.uint64(11)).astype(np.float64) * _UNIT

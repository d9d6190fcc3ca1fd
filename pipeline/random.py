"""Randomness keyed by a seed and a stable id: the same number in any order, on any worker, at any time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import xxhash


def uniform(seed: int, purpose: str, ids: Iterable[str]) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each id: float64 (ids,). Different purposes give independent numbers for the same id."""
    key = xxhash.xxh3_64_intdigest(purpose.encode(), seed=seed & 0xFFFFFFFFFFFFFFFF)
    values = [xxhash.xxh3_64_intdigest(name.encode(), seed=key) for name in ids]
    return (np.array(values, np.uint64) >> np.uint64(11)).astype(np.float64) / float(1 << 53)

"""One hash table for kernels: keys of 64 bits, open addressing, a power of two of slots.

A table is an array of keys, in which 0 is an empty slot, and whatever arrays its user keeps beside it, of as many slots. The slot of
a key comes from `spread`, so keys need not be well mixed; what is 0 is kept as 1 (`key_of`). No slot's number leaves a kernel, so that
the layout may change without any data changing.

    slot = slot_of(keys, key)            # where the key is, or the empty slot where it belongs
    if keys[slot] == key: ...

Tables of other shapes say why beside them: n-grams within a document (`pipeline.measure.repetition`), pre-tokens (`tokenizer.count`)
and pairs (`tokenizer.merges`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernel.compile import kernel, leaf
from kernel.hashing import spread

Keys = npt.NDArray[np.uint64]
Values = npt.NDArray[np.int32]


class Table(NamedTuple):
    """A table that maps keys to numbers: `keys` uint64 (slots,), 0 where empty; `values` int32 (slots,), or (0,) of a set."""

    keys: Keys
    values: Values


@kernel(inline="always")
def key_of(value: np.uint64) -> Any:  # pragma: no cover - compiled
    """A hash as a table's key: 0, which is an empty slot, becomes 1."""
    return value if value != np.uint64(0) else np.uint64(1)


@leaf
def slots_for(keys: int) -> int:  # pragma: no cover - compiled
    """How many slots a table has that is to be at most half full with so many keys: a power of two, of at least 64."""
    slots = 64
    while slots < 2 * keys:
        slots *= 2
    return slots


@kernel(inline="always")
def slot_among(keys: Keys, slots: int, key: np.uint64) -> Any:  # pragma: no cover - compiled
    """`slot_of` in a table that is the first `slots` places of an array, a power of two of them."""
    mask = np.uint64(slots - 1)
    slot = spread(key) & mask
    while keys[slot] != np.uint64(0) and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@kernel(inline="always")
def slot_of(keys: Keys, key: np.uint64) -> Any:  # pragma: no cover - compiled
    """The slot that holds a key (not 0), or the empty slot in which it is to be put. Some slot of the table must be empty."""
    return slot_among(keys, len(keys), key)


@leaf
def _fill(keys: Keys, hashes: Keys, values: Values, kept: Values) -> None:  # pragma: no cover - compiled
    for index in range(len(hashes)):
        key = key_of(hashes[index])
        slot = slot_of(keys, key)
        if keys[slot] == np.uint64(0):
            keys[slot] = key
            if len(values):
                kept[slot] = values[index]


def table_of(hashes: Keys, values: Values | None = None, *, room: float = 4 / 3) -> Table:
    """A table of hashes, uint64 (n,), and their values, int32 (n,) or None; of equal hashes the first one's value stays.

    It has at least 16 slots, and `room` of them for each hash.
    """
    slots = 1 << max(4, int(len(hashes) * room).bit_length())
    keys = np.zeros(slots, np.uint64)
    kept = np.zeros(0 if values is None else slots, np.int32)
    _fill(keys, hashes, np.zeros(0, np.int32) if values is None else values, kept)
    return Table(keys, kept)

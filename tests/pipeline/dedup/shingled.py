"""The shingle hashes of one text."""

from __future__ import annotations

import numpy as np

from kernel.utf8 import tables
from kernel.words import U32, shingles_of, word_units
from pipeline.dedup.shingles import Unit, _character_units


def shingle_hashes(text: str, width: int, unit: Unit = "words") -> U32:
    """The 32-bit shingle hashes of one text, in order, repeats kept: uint32 (shingles,)."""
    data = np.frombuffer(text.encode(), np.uint8)
    units = np.empty(len(data) + 2, np.uint64)
    count = (word_units if unit == "words" else _character_units)(data, 0, len(data), *tables(), units)
    out = np.empty(max(1, count), np.uint64)
    return (out[: shingles_of(units, count, width, out)] >> np.uint64(32)).astype(np.uint32)

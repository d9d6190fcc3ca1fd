"""The order of samples: a keyed bijection over rows, evaluated in place, with no state but the sample's number.

A balanced Feistel network (Luby & Rackoff 1988) over the smallest even number of bits that holds all rows, walked until it
lands on a row (Black & Rogaway 2002): at most four tries on average, whatever the number of rows.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from trainer.keyed import derive, mix

ROUNDS = 6  # four are enough against a chosen-plaintext adversary; two to spare


@numba.njit(cache=True, nogil=True)
def _permute(
    indices: npt.NDArray[np.int64], rows: int, key: np.uint64, rounds: int, out: npt.NDArray[np.int64]
) -> None:  # pragma: no cover - compiled
    half = 1
    while (1 << (2 * half)) < rows:
        half += 1
    low = np.uint64((1 << half) - 1)
    shift = np.uint64(half)
    for position in range(len(indices)):
        value = np.uint64(indices[position])
        while True:
            left, right = value >> shift, value & low
            for turn in range(rounds):
                left, right = right, left ^ (mix(right ^ mix(key + np.uint64(turn))) & low)
            value = (left << shift) | right
            if value < np.uint64(rows):
                break
        out[position] = np.int64(value)


def rows_of(samples: npt.NDArray[np.int64], rows: int, seed: int) -> npt.NDArray[np.int64]:
    """The row of each sample: int64 (samples,). Every epoch of `rows` samples sees each row once, in its own order."""
    out = np.empty(len(samples), np.int64)
    epochs = samples // rows
    for epoch in np.unique(epochs):
        chosen = np.flatnonzero(epochs == epoch)
        place = np.empty(len(chosen), np.int64)
        _permute(samples[chosen] % rows, rows, np.uint64(derive(seed, "order", int(epoch))), ROUNDS, place)
        out[chosen] = place
    return out

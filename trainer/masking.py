"""Masking for masked language modelling, keyed by (seed, sample): the same on every rank, at any world size.

Of the ordinary words `rate` are to be predicted; of those 80 % become `[MASK]`, 10 % a random ordinary word, 10 % stay
(Devlin et al. 2018). Special tokens are neither predicted nor drawn.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from trainer.keyed import draw, mix

_UNIT = 1.0 / (1 << 53)


@numba.njit(cache=True, nogil=True)
def mask_row(
    ids: npt.NDArray[Any],
    key: np.uint64,
    rate: float,
    first: int,
    end: int,
    mask: int,
    out: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
) -> int:  # pragma: no cover - compiled
    """Mask one row: ids with replacements into `out`, which to predict into `positions` and `labels`; returns how many.

    `ids` (tokens,) of any unsigned kind; ordinary words are first <= id < end. The draws of token t are the numbers 2 t and
    2 t + 1 of the stream `key`, so they do not depend on the other tokens.
    """
    count = 0
    for token in range(len(ids)):
        word = np.int64(ids[token])
        out[token] = word
        if word < first or word >= end:
            continue
        chance = np.float64(draw(key, np.uint64(2 * token)) >> np.uint64(11)) * _UNIT
        if chance >= rate:
            continue
        positions[count] = token
        labels[count] = word
        count += 1
        bits = draw(key, np.uint64(2 * token + 1))
        kind = np.float64(bits >> np.uint64(11)) * _UNIT
        if kind < 0.8:
            out[token] = mask
        elif kind < 0.9:
            out[token] = first + np.int64(mix(bits) % np.uint64(end - first))
    return count

"""Intervals by the bootstrap: what another draw of the same size might have given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernel.compile import kernel
from kernel.random import derive, draw

Floats = npt.NDArray[np.float64]
DRAWS = 1000
LEVEL = 0.95


@kernel
def _resample(sums: Floats, key: np.uint64, out: Floats) -> None:  # pragma: no cover - compiled
    """Write to each row of `out` the sum of as many rows of `sums` as there are, drawn with replacement by the stream `key`."""
    units, columns = sums.shape
    for turn in range(len(out)):
        stream = draw(key, np.uint64(turn))
        for number in range(units):
            bits = draw(stream, np.uint64(number))
            chosen = np.int64(((bits >> np.uint64(32)) * np.uint64(units)) >> np.uint64(32))
            for column in range(columns):
                out[turn, column] += sums[chosen, column]


def resampled(sums: Floats, seed: int, *, draws: int = DRAWS) -> Floats:
    """The column sums of so many samples of the units, each as large and drawn with replacement: float64 (draws, columns).

    `sums`: float64 (units, columns), what each unit adds to each sum. The same seed draws the same units, whatever the columns are, so
    that differences of two models are taken on the same draw.
    """
    out = np.zeros((draws, sums.shape[1]))
    if len(sums):
        _resample(np.ascontiguousarray(sums, np.float64), np.uint64(derive(seed, "bootstrap")), out)
    return out


def interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The quantiles between which lies a share `level` of the draws, equally many beyond each."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ratio_interval(numerator: Floats, denominator: Floats, seed: int) -> tuple[float, float] | None:
    """The 95 % interval of sum(numerator) / sum(denominator) over units, both float64 (units,). None of fewer than two units.

    Percentiles of the bootstrap (Efron 1979), the units being what was drawn independently, such as documents and not their tokens.
    """
    if len(numerator) < 2:
        return None
    sums = resampled(np.stack([numerator, denominator], axis=1), seed)
    some = sums[:, 1] > 0
    return interval(sums[some, 0] / sums[some, 1])

"""Whether two models differ on the same items, and what so many items can show at all.

The difference of two metrics is a difference of ratios of sums over *groups* of items (documents), which are drawn independently; items of
one group are alike. Its standard error is the bootstrap's over groups (Efron 1979), drawn for both models alike, since they have answered
the same items: what makes an item hard for both falls out. Where a contestant has several runs, its metric is their mean, and the variance
between them is added, as of a factor nested in the contestant. From difference and standard error come, by Student's t distribution, an
interval, a test, a test of equivalence (two one-sided tests, Schuirmann 1987), and the difference that would be found four times in five.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from trainer.intervals import resampled

Floats = npt.NDArray[np.float64]
DRAWS = 2000
POWER = 0.8


@dataclass(frozen=True)
class Difference:
    """How a contestant's metric differs from the reference's, on the same items.

    `low`, `high`: the interval at the level asked for; `p`: of no difference; `detectable`: the smallest difference that so many items
    would show with a chance of 80 %; `equivalent`: whether it is less than the margin for all that the items say.
    """

    reference: float
    other: float
    low: float
    high: float
    p: float
    detectable: float
    equivalent: bool
    groups: int

    @property
    def value(self) -> float:
        """The contestant's metric less the reference's."""
        return self.other - self.reference


def difference(
    reference: Sequence[Floats], other: Sequence[Floats], weights: Floats, *, level: float, margin: float, seed: int
) -> Difference:
    """Compare two contestants, each of one run or more.

    `reference`, `other`: of each run the metric's sums over groups, float64 (groups,); `weights`: float64 (groups,), what they are divided
    by, the same for all runs. `level`: of the interval, such as 0.99. `margin`: a difference that does not matter. `seed`: of the draws.
    """
    runs = np.stack([*reference, *other])
    count, total = len(weights), weights.sum()
    values = runs.sum(axis=1) / total
    one, two = values[: len(reference)], values[len(reference) :]
    found = float(two.mean() - one.mean())
    contrast = np.concatenate([np.full(len(one), -1 / len(one)), np.full(len(two), 1 / len(two))])
    of_items = _variance(contrast @ runs, weights, seed)
    parts = [(of_items, count - 1), *((float(side.var(ddof=1)) / len(side), len(side) - 1) for side in (one, two) if len(side) > 1)]
    variance = sum(part for part, _ in parts)
    error = math.sqrt(variance)
    # the degrees of freedom of a sum of variances (Satterthwaite 1946)
    whole = 0 < variance < math.inf
    freedom = variance**2 / sum(part**2 / max(1, free) for part, free in parts) if whole else float(max(1, count - 1))
    width = student(1 - (1 - level) / 2, freedom) * error
    return Difference(
        float(one.mean()),
        float(two.mean()),
        found - width,
        found + width,
        two_sided(found, error, freedom),
        width + student(POWER, freedom) * error,
        bool(abs(found) + student(level, freedom) * error < margin),
        count,
    )


def _variance(sums: Floats, weights: Floats, seed: int) -> float:
    """The variance of sum(sums) / sum(weights) over draws of groups: the bootstrap's, with the factor that it lacks for few groups."""
    count = len(weights)
    if count < 2:
        return math.inf
    drawn = resampled(np.stack([sums, weights], axis=1), seed, draws=DRAWS)
    some = drawn[drawn[:, 1] > 0]
    return float((some[:, 0] / some[:, 1]).var()) * count / (count - 1)


def two_sided(value: float, error: float, freedom: float) -> float:
    """The chance of a value as far from zero, where there is none, by Student's t distribution."""
    if value == 0 or math.isinf(error):
        return 1.0
    return 2 * float(stdtr(freedom, -abs(value) / error)) if error else 0.0


def student(share: float, freedom: float) -> float:
    """The quantile of Student's t distribution."""
    return float(stdtrit(freedom, share))


def holm(values: Sequence[float]) -> list[float]:
    """The values of p of several tests, raised so that the chance of any false difference is as of one (Holm 1979)."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    raised, most = [0.0] * len(values), 0.0
    for number, place in enumerate(order):
        most = max(most, min(1.0, (len(values) - number) * values[place]))
        raised[place] = most
    return raised

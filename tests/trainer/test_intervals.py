"""Intervals by the bootstrap, against the formulas that hold for many units."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.intervals import interval, ratio_interval, resampled


def test_draws_have_the_mean_and_the_error_of_a_mean_of_independent_units() -> None:
    values = np.random.default_rng(0).normal(3, 2, (400, 2))
    sums = resampled(values, 1) / 400
    assert sums.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=4 * 2 / 20 / 31)
    assert sums.std(axis=0) == pytest.approx(values.std(axis=0) / 20, rel=0.1)
    low, high = interval(sums[:, 0])
    assert (high - low) / 2 == pytest.approx(1.96 * values[:, 0].std() / 20, rel=0.12)


def test_the_same_seed_draws_the_same_units_whatever_is_added_up() -> None:
    one = np.random.default_rng(0).random((50, 1))
    assert (resampled(np.hstack([one, 2 * one]), 3)[:, 1] == 2 * resampled(one, 3)[:, 0]).all()
    assert (resampled(one, 3) != resampled(one, 4)).any()


def test_an_interval_of_a_ratio_covers_the_truth_as_often_as_it_says() -> None:
    """Documents of very different sizes, each with a loss of its own."""
    random = np.random.default_rng(2)
    covered = 0
    for turn in range(200):
        sizes = random.geometric(0.02, 80).astype(float)
        losses = sizes * random.normal(4, 1, 80)
        found = ratio_interval(losses, sizes, turn)
        assert found is not None
        covered += found[0] <= 4 <= found[1]
    assert 0.88 <= covered / 200 <= 0.99  # 95 %, a little less with so few units


def test_one_unit_has_no_interval() -> None:
    assert ratio_interval(np.ones(1), np.ones(1), 0) is None
    assert ratio_interval(np.zeros(0), np.zeros(0), 0) is None

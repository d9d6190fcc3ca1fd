"""The comparison of models, by models that are planted equal or different."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.differences import Difference, difference, holm

GROUPS = 60


def planted(turn: int, gap: float = 0.0, *, runs: int = 1, between: float = 0.0, level: float = 0.99, margin: float = 0.01) -> Difference:
    """Two contestants on the same documents of very different sizes and difficulty, the second's loss more by `gap` in truth.

    `between`: the standard deviation of a run about its contestant.
    """
    random = np.random.default_rng(turn)
    weights = random.geometric(0.05, GROUPS).astype(float)
    hard = random.normal(4, 1, GROUPS)
    sides = [
        [weights * (hard + shift + random.normal(0, between) + random.normal(0, 0.2, GROUPS)) for _ in range(runs)] for shift in (0.0, gap)
    ]
    return difference(sides[0], sides[1], weights, level=level, margin=margin, seed=turn)


def test_models_that_are_planted_equal_differ_in_at_most_5_of_100_draws() -> None:
    found = [planted(turn).p for turn in range(200)]
    assert sum(p < 0.01 for p in found) <= 10
    # and the test is as strict as it says, no less and not much more
    assert 0.02 <= sum(p < 0.05 for p in found) / 200 <= 0.09


def test_seeds_of_equal_contestants_do_not_differ_though_each_run_does() -> None:
    """Runs that differ more than the items' noise: one run of each would tell them apart, three of each tell that it is the seed."""
    alone = [planted(turn, between=0.3).p < 0.01 for turn in range(100)]
    nested = [planted(turn, between=0.3, runs=3).p < 0.01 for turn in range(100)]
    assert sum(alone) > 50
    assert sum(nested) <= 5


def test_what_is_detectable_is_detected_four_times_in_five() -> None:
    least = float(np.mean([planted(turn).detectable for turn in range(100)]))
    assert sum(planted(turn, least).p < 0.01 for turn in range(200)) / 200 == pytest.approx(0.8, abs=0.1)
    assert sum(planted(turn, 3 * least).p < 0.01 for turn in range(50)) == 50


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    found = [planted(turn, 0.3, level=0.95) for turn in range(200)]
    assert 0.91 <= sum(each.low <= 0.3 <= each.high for each in found) / 200 <= 0.985
    assert found[0].value == pytest.approx(found[0].other - found[0].reference)


def test_equivalence_is_found_where_it_is_and_hardly_ever_where_the_difference_is_the_margin() -> None:
    assert sum(planted(turn, margin=0.3).equivalent for turn in range(50)) == 50
    assert sum(planted(turn, 0.2, margin=0.2).equivalent for turn in range(200)) <= 6
    assert not planted(0, margin=0.001).equivalent


def test_pairing_is_worth_it() -> None:
    """The same models on items that are not paired would need a far larger difference."""
    alone = planted(0)
    hard = 1.0 / np.sqrt(GROUPS) * np.sqrt(2)
    assert (alone.high - alone.low) / 2 < hard * 2.58 / 3


def test_one_group_shows_nothing_and_equal_answers_are_equal() -> None:
    one = difference([np.array([3.0])], [np.array([4.0])], np.array([1.0]), level=0.99, margin=0.1, seed=0)
    assert one.p == 1.0
    assert one.detectable == np.inf
    same = np.arange(5.0)
    equal = difference([same], [same], np.ones(5), level=0.99, margin=0.1, seed=0)
    assert (equal.p, equal.value, equal.equivalent) == (1.0, 0.0, True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_raises_as_its_paper_says(values: list[float]) -> None:
    """Step down: the smallest times all of them, the next times one fewer, and so on, never falling."""
    raised = holm(values)
    ordered = sorted(zip(values, raised, strict=True))
    for number, (value, found) in enumerate(ordered):
        expected = max(min(1.0, (len(values) - place) * ordered[place][0]) for place in range(number + 1))
        assert found == pytest.approx(expected)
        assert found >= value

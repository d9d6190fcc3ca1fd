"""Agreement with labels: kappa against scikit-learn, its interval against the delta method done by numbers and against chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, precision_score, recall_score

from pipeline.report.agreement import CONFIDENT, Agreement

COUNT = st.integers(0, 40)


@given(COUNT, COUNT, COUNT, COUNT)
def test_precision_recall_and_kappa_are_scikit_learns(a: int, b: int, c: int, d: int) -> None:
    kept = np.repeat([1, 1, 0, 0], [a, b, c, d])
    label = np.repeat([1, 0, 1, 0], [a, b, c, d])
    found = Agreement(a, b, c, d)
    assert found.documents == a + b + c + d
    if a + b:
        assert found.precision == pytest.approx(precision_score(label, kept, zero_division=0))
    else:
        assert found.precision is None
    if a + c:
        assert found.recall == pytest.approx(recall_score(label, kept, zero_division=0))
    if len(set(kept)) > 1 or len(set(label)) > 1:
        assert found.kappa is not None
        assert found.kappa[0] == pytest.approx(cohen_kappa_score(label, kept))
    else:
        assert found.kappa is None


def plain_kappa(shares: np.ndarray) -> float:
    table = shares.reshape(2, 2)
    chance = float(table.sum(axis=1) @ table.sum(axis=0))
    return float((np.trace(table) - chance) / (1 - chance))


@given(*[st.integers(1, 60)] * 4)
def test_the_interval_is_that_of_the_delta_method(a: int, b: int, c: int, d: int) -> None:
    """Variance of a smooth function of multinomial shares: gradient' (diag(p) - p p') gradient / n, the gradient by differences."""
    count = a + b + c + d
    shares = np.array([a, b, c, d]) / count
    step = 1e-6
    gradient = np.array([(plain_kappa(shares + step * unit) - plain_kappa(shares - step * unit)) / (2 * step) for unit in np.eye(4)])
    variance = float(gradient @ (np.diag(shares) - np.outer(shares, shares)) @ gradient) / count
    found = Agreement(a, b, c, d).kappa
    assert found is not None
    half = CONFIDENT * math.sqrt(variance)
    assume(found[0] - half > -1 and found[0] + half < 1)
    assert found[1] == pytest.approx(found[0] - half, abs=1e-5)
    assert found[2] == pytest.approx(found[0] + half, abs=1e-5)


def test_the_interval_holds_the_truth_about_nineteen_times_of_twenty() -> None:
    shares = np.array([0.5, 0.1, 0.15, 0.25])
    truth, draws = plain_kappa(shares), np.random.default_rng(0).multinomial(300, shares, 2000)
    ends = [found.kappa for found in (Agreement(*map(int, draw)) for draw in draws) if found.kappa is not None]
    assert 0.93 <= np.mean([low <= truth <= high for _, low, high in ends]) <= 0.97

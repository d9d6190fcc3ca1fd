"""The order of samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.order import rows_of


@given(st.integers(1, 3000), st.integers(0, 2**63 - 1), st.integers(0, 5))
def test_every_epoch_sees_every_row_once(rows: int, seed: int, epoch: int) -> None:
    samples = np.arange(epoch * rows, (epoch + 1) * rows)
    assert sorted(rows_of(samples, rows, seed).tolist()) == list(range(rows))


@given(st.integers(1, 3000), st.integers(1, 400), st.integers(0, 2**63 - 1), st.integers(0, 3))
def test_blocks_are_seen_one_after_the_other_and_every_row_once(rows: int, block: int, seed: int, epoch: int) -> None:
    order = rows_of(np.arange(epoch * rows, (epoch + 1) * rows), rows, seed, block)
    assert sorted(order.tolist()) == list(range(rows))
    if block < rows:
        numbers = order // block
        assert (np.diff(numbers) != 0).sum() == -(-rows // block) - 1
    shuffled = np.random.default_rng(0).permutation(rows)
    again = rows_of(shuffled + epoch * rows, rows, seed, block)
    assert (again == order[shuffled]).all()


@given(st.integers(2, 500), st.lists(st.integers(0, 10**12), min_size=1, max_size=20), st.integers(0, 9))
def test_a_sample_has_its_row_whatever_is_asked_beside_it(rows: int, samples: list[int], seed: int) -> None:
    together = rows_of(np.array(samples, np.int64), rows, seed)
    alone = [int(rows_of(np.array([sample], np.int64), rows, seed)[0]) for sample in samples]
    assert together.tolist() == alone


def test_epochs_and_seeds_have_their_own_orders() -> None:
    first, second = rows_of(np.arange(1000), 1000, 1), rows_of(np.arange(1000, 2000), 1000, 1)
    other = rows_of(np.arange(1000), 1000, 2)
    assert (first != second).mean() > 0.98
    assert (first != other).mean() > 0.98


@pytest.mark.slow
def test_order_is_unbiased() -> None:
    """Chi-square of position against time, and serial correlation, over 10 million samples.

    The reference's first run diverged on a sampler whose order was biased (arXiv 2412.13663, appendix C.1).
    """
    rows, bins = 10_000_019, 50
    order = rows_of(np.arange(rows), rows, 3)
    when, where = np.arange(rows) * bins // rows, order * bins // rows
    table = np.bincount(when * bins + where, minlength=bins * bins).astype(float)
    expected = rows / bins**2
    chi_square = ((table - expected) ** 2 / expected).sum()
    degrees = (bins - 1) ** 2
    assert abs(chi_square - degrees) < 5 * np.sqrt(2 * degrees)
    for lag in (1, 2, 7, 1024):
        correlation = np.corrcoef(order[:-lag], order[lag:])[0, 1]
        assert abs(correlation) < 5 / np.sqrt(rows)

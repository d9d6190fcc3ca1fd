"""Metrics against scikit-learn, SciPy and plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as peer

from trainer.tuning import metrics

CLASSES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=40)
NUMBERS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=40)


@settings(max_examples=25)
@given(CLASSES)
def test_classification_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    found, wanted = np.array(pairs, np.int64).T
    ours = metrics.classification(found, wanted, 3)
    assert ours["accuracy"] == pytest.approx(peer.accuracy_score(wanted, found))
    macro = peer.f1_score(wanted, found, average="macro", labels=[0, 1, 2], zero_division=0)
    assert ours["macro_f1"] == pytest.approx(macro)
    assert ours["f1"] == pytest.approx(peer.f1_score(wanted, found, average=None, labels=[0, 1, 2], zero_division=0)[-1])
    assert ours["matthews"] == pytest.approx(peer.matthews_corrcoef(wanted, found), abs=1e-12)


@settings(max_examples=25)
@given(NUMBERS)
def test_correlations_are_scipys(pairs: list[tuple[int, int]]) -> None:
    found, wanted = np.array(pairs, np.float64).T
    ours = metrics.regression(found, wanted)
    if found.std() and wanted.std():
        assert ours["pearson"] == pytest.approx(stats.pearsonr(found, wanted)[0], abs=1e-9)
        assert ours["spearman"] == pytest.approx(stats.spearmanr(found, wanted)[0], abs=1e-9)
    else:
        assert ours["pearson"] == 0


@settings(max_examples=25)
@given(st.lists(st.floats(-1, 1, width=32), min_size=12, max_size=30, unique=True), st.data())
def test_ndcg_is_scikit_learns_where_scores_differ(scores: list[float], data: st.DataObject) -> None:
    values = np.array(scores, np.float32)
    relevant = np.array(data.draw(st.lists(st.integers(0, len(scores) - 1), min_size=1, max_size=5, unique=True)), np.int64)
    grades = np.array([data.draw(st.integers(1, 3)) for _ in relevant], np.float64)
    rank, value = metrics.retrieval(values, relevant, grades)
    gain = np.zeros(len(values))
    gain[relevant] = grades
    assert value == pytest.approx(peer.ndcg_score([gain], [values], k=10))
    assert rank == 1 + min(list(np.argsort(-values)).index(place) for place in relevant)


def test_a_model_that_tells_nothing_apart_ranks_the_right_text_last() -> None:
    rank, value = metrics.retrieval(np.zeros(50, np.float32), np.array([3]), np.ones(1))
    assert (rank, value) == (50, 0.0)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-A I-A O B-B", {("A", 0, 2), ("B", 3, 4)}),
        ("I-A I-A I-B", {("A", 0, 2), ("B", 2, 3)}),
        ("B-A B-A I-A", {("A", 0, 1), ("A", 1, 3)}),
        ("O O", set()),
        ("O I-A O", {("A", 1, 2)}),
    ],
)
def test_entities_are_read_as_conll_reads_them(tags: str, expected: set[tuple[str, int, int]]) -> None:
    assert metrics.entities(tags.split()) == expected


def test_tagging_counts_whole_entities_alone() -> None:
    wanted, found = [["B-A", "I-A", "O", "B-B"]], [["B-A", "O", "O", "B-B"]]
    assert metrics.tagging(found, wanted) == {"f1": 0.5, "accuracy": 0.75}
    assert metrics.tagging([["N", "V"]], [["N", "N"]])["f1"] == 0.5  # labels without B- and I-: word by word


def test_answers_are_compared_as_squad_does() -> None:
    assert metrics.answer_scores("The  Cat!", "cat") == (1.0, 1.0)
    assert metrics.answer_scores("a big cat", "small cat") == (0.0, 0.5)
    assert metrics.answer_scores("", "") == (1.0, 1.0)
    assert metrics.answer_scores("", "cat") == (0.0, 0.0)

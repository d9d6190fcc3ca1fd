"""Segments as transformers makes them, cuts that are counted, micro-batches that lose nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tests.trainer.tuning.small import WORDS, sentences, tokens_of
from trainer.errors import TrainerError
from trainer.tuning.texts import Cutting, Ragged, joined, packs

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=9)


def rows_of(ragged: Ragged) -> list[list[int]]:
    return [ragged.values[begin:end].tolist() for begin, end in zip(ragged.bounds[:-1], ragged.bounds[1:], strict=True)]


@settings(max_examples=40)
@given(ROWS, st.data())
def test_ragged_rows_are_lists(rows: list[list[int]], data: st.DataObject) -> None:
    ragged = Ragged.of(rows)
    assert rows_of(ragged) == rows
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9))
    assert rows_of(ragged.take(np.array(chosen, np.int64))) == [rows[number] for number in chosen]
    most = data.draw(st.integers(0, 5))
    assert rows_of(ragged.head(np.full(len(rows), most))) == [row[:most] for row in rows]
    assert rows_of(joined(77, ragged, 88, ragged)) == [[77, *row, 88, *row] for row in rows]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 80))
def test_micro_batches_have_every_segment_once_and_keep_their_budget(lengths: list[int], budget: int) -> None:
    parts = list(packs(np.array(lengths), budget))
    assert [number for part in parts for number in range(len(lengths))[part]] == list(range(len(lengths)))
    sums = [sum(lengths[part]) for part in parts]
    assert all(total <= budget or part.stop - part.start == 1 for total, part in zip(sums, parts, strict=True))
    assert all(total + lengths[part.stop] > budget for total, part in zip(sums[:-1], parts[:-1], strict=True))


@pytest.mark.parametrize("longest", [64, 12, 9])
def test_segments_and_pairs_are_those_of_transformers_cut_too(start: Path, longest: int) -> None:
    tokens, theirs = tokens_of(start), AutoTokenizer.from_pretrained(start)
    one, other = sentences(20), sentences(20, 5)
    cut = {"truncation": True, "max_length": longest}
    assert rows_of(tokens.single(one, Cutting(longest, True))) == theirs(one, **cut)["input_ids"]
    ours = rows_of(tokens.paired(one, other, Cutting(longest, True)))
    expected = theirs(one, other, **cut)["input_ids"]
    assert [len(row) for row in ours] == [len(row) for row in expected]
    if longest == 64:
        assert ours == expected


def test_long_texts_are_counted_and_are_an_error_unless_they_may_be_cut(start: Path) -> None:
    tokens, texts = tokens_of(start), [*sentences(8), " ".join(WORDS * 3)]
    with pytest.raises(TrainerError, match=r"^task.max_length: 1 of 9 texts are longer than the 40 tokens .* set task.cut to true"):
        tokens.single(texts, Cutting(40, False))
    cutting = Cutting(40, True)
    assert tokens.single(texts, cutting).lengths.max() == 40
    assert (cutting.seen, cutting.over) == (9, 1)
    assert cutting.most > 40


def test_a_special_token_in_a_text_is_text(start: Path) -> None:
    tokens = tokens_of(start)
    row = rows_of(tokens.single(["red [SEP] dog"], Cutting(64, False)))[0]
    assert row.count(tokens.sep) == 1

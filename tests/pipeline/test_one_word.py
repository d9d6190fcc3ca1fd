"""One word everywhere: what deduplication, contamination and rules count and compare in scripts with and without spaces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.copies import RATES, recall
from kernel.fold import fold
from pipeline.contamination.ngrams import NgramSet, count_words, find_ngrams, ngram_hashes, ngrams_with_letters
from pipeline.dedup.lines import LinesConfig, find_lines
from pipeline.measure.statistics import measure
from tests.kernel.plain_words import plain_words
from tests.pipeline.measure.test_measures import science_of

ICU = json.loads((Path(__file__).parents[1] / "kernel" / "data" / "icu-words.json").read_text(encoding="utf-8"))
PAIRS = 200


@pytest.mark.parametrize("language", ["de", "ru", "ar", "hi", "zh", "zh-Hant", "ja", "th", "km", "lo", "my", "bo", "ko"])
def test_near_copies_are_found_as_in_english(language: str) -> None:
    theirs = np.mean([recall("en", rate, PAIRS) for rate in RATES])
    assert theirs > 0.9
    assert np.mean([recall(language, rate, PAIRS) for rate in RATES]) >= theirs - 0.02


@pytest.mark.parametrize("language", sorted(ICU))
def test_an_evaluation_item_is_found_inside_a_document(language: str) -> None:
    text = ICU[language]["text"]
    item = "".join(text.splitlines())
    assert 0.8 < count_words(item) / len(ICU[language]["words"]) < 1.2
    hashes = np.unique(ngram_hashes(item, 13))
    found = find_ngrams(pa.array([f"{ICU['en']['text']}\n{item}\nOf something else."]), NgramSet.of(hashes, np.array([13])))
    assert len(np.unique(found.ngram)) == len(hashes)


@given(st.text("漢字をไทยมาခွက် a1.-", max_size=40), st.integers(1, 6))
def test_ngrams_and_their_letters_are_of_the_same_words(text: str, length: int) -> None:
    words = plain_words(text)
    flags = ngrams_with_letters(text, length)
    span = min(length, len(words))
    runs = [words[at : at + span] for at in range(len(words) - span + 1)] if words else []
    assert flags.tolist() == [any(any(c.isalpha() or c in "าွ်" for c in word) for word in run) for run in runs]


@given(st.text("漢字をไทยมาခွက် a1.-", max_size=40))
def test_lines_count_the_same_words(text: str) -> None:
    words = len(plain_words(text))

    def is_long(least: int) -> bool:
        return len(find_lines(fold(pa.array([text]), words=True), LinesConfig.model_construct(min_words=least, numbers=True)).hash) > 0

    assert is_long(words)
    assert not is_long(words + 1)


@pytest.mark.parametrize("language", sorted(ICU))
def test_rules_for_papers_count_the_same_words(language: str) -> None:
    text = ICU[language]["text"] + " [1]"
    assert science_of(text)["citations_per_word"] == pytest.approx(1 / len(plain_words(text)))


@pytest.mark.parametrize("language", sorted(ICU))
def test_statistics_count_the_same_words(language: str) -> None:
    text = ICU[language]["text"]
    words = plain_words(text)
    row = measure(pa.array([text])).to_pylist()[0]
    assert row["words"] == len(words)
    assert row["mean_word_length"] == pytest.approx(sum(map(len, words)) / len(words))

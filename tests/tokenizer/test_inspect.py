"""Counts of a tokenizer's fit against counting by hand."""

from __future__ import annotations

import math

import pyarrow as pa

from tests.tokenizer.texts import SAMPLES, shipped
from tokenizer import Encoder, measure


def test_counts_are_those_of_counting_in_python(encoder: Encoder) -> None:
    texts = [*SAMPLES, *shipped()[:10], ""]
    ids = [number for text in texts for number in encoder.encode([text])[0].as_py()]
    found = measure(encoder, pa.array(texts))
    assert found.texts == len(texts)
    assert found.bytes == sum(len(text.encode()) for text in texts)
    assert found.tokens == len(ids)
    assert math.isclose(found.bytes_per_token, found.bytes / len(ids))
    assert found.used_share == len(set(ids)) / encoder.vocab_size


def test_words_are_what_white_space_parts(encoder: Encoder) -> None:
    found = measure(encoder, pa.array(["two words", " a\tb\nc ", "漢字 かな", "", "wide\u3000space"]))
    assert found.words == 2 + 3 + 2 + 0 + 2


def test_a_script_that_was_never_seen_is_all_fallback_and_ascii_is_none(encoder: Encoder) -> None:
    unseen = measure(encoder, pa.array(["\U00010400\U00010401", "\u1401\u1402"]))
    assert unseen.fallback_share > 0.7  # a few first bytes are shared with scripts that were seen
    assert measure(encoder, pa.array(["qzx!~^ {}", "plain text"])).fallback == 0


def test_measures_of_parts_add_up(encoder: Encoder) -> None:
    texts = list(shipped()[:20])
    whole, parts = measure(encoder, pa.array(texts)), measure(encoder, pa.array(texts[:7])) + measure(encoder, pa.array(texts[7:]))
    assert (whole.texts, whole.bytes, whole.words, whole.fallback) == (parts.texts, parts.bytes, parts.words, parts.fallback)
    assert (whole.used == parts.used).all()


def test_nothing_measured_is_nan_and_no_error(encoder: Encoder) -> None:
    nothing = measure(encoder, pa.array([], pa.string()))
    assert nothing.tokens == nothing.words == 0
    assert math.isnan(nothing.bytes_per_token)
    assert math.isnan(nothing.fallback_share)

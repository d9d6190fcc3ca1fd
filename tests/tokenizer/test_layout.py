"""Ids of added entries against ModernBERT's published layout."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tokenizer import TokenizerConfig, TokenizerError, train
from tokenizer.layout import layout, learned_size

REFERENCE = {"[UNK]": 50280, "[CLS]": 50281, "[SEP]": 50282, "[PAD]": 50283, "[MASK]": 50284, "[unused0]": 50285, "[unused82]": 50367}


def test_at_full_size_every_id_is_the_reference_s() -> None:
    config = TokenizerConfig()
    plan = layout(config, learned_size(config))
    entries = [*plan.words, *plan.specials, *plan.unused]
    ids = {word: plan.learned + index for index, word in enumerate(entries)}
    assert {word: ids[word] for word in REFERENCE} == REFERENCE
    assert ids[" " * 24] == 50254
    assert ids["  "] == 50276
    assert ids["|||EMAIL_ADDRESS|||"] == 50277
    assert plan.learned + len(entries) == 50_368
    assert [plan.id_of(word) for word in plan.specials] == list(range(50280, 50285))


def test_a_smaller_vocabulary_keeps_the_order_and_its_size_whatever_was_learnt() -> None:
    config = TokenizerConfig(vocab_size=1024)
    for learned in (256, 500, learned_size(config)):
        plan = layout(config, learned)
        assert learned + len(plan.words) + len(plan.specials) + len(plan.unused) == 1024
        assert plan.id_of("[UNK]") == plan.ordinary_end == learned + 26
        assert plan.unused[-1] == f"[unused{len(plan.unused) - 1}]"


def test_a_size_that_is_no_multiple_of_64_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match="50368"):
        TokenizerConfig(vocab_size=50_280 + 70)


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="vocab_sise"):
        TokenizerConfig(vocab_sise=4096)  # type: ignore[call-arg]


def test_a_prefix_space_is_refused_where_it_would_go_before_every_word() -> None:
    with pytest.raises(ValidationError, match="modernbert"):
        TokenizerConfig(pretokenizer="modern", add_prefix_space=True)


def test_a_vocabulary_too_small_for_bytes_and_added_entries_says_what_is_enough() -> None:
    with pytest.raises(TokenizerError, match="give at least 640") as error:
        train(["text"], TokenizerConfig(vocab_size=512, unused=300))
    assert "\n" not in str(error.value)
    assert train(["text"], TokenizerConfig(vocab_size=640, unused=300)).get_vocab_size() >= 256

"""Training against the library's own trainer, and against byte-pair merging written out."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.tokenizer.texts import SAMPLES, shipped
from tokenizer import TokenizerConfig, TokenizerError, train
from tokenizer.alphabet import visible_bytes
from tokenizer.splits import LONGEST_RUN
from tokenizer.train import pieces


def merges(tokenizer: Tokenizer) -> list[list[str]]:
    found: list[list[str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    return found


def test_the_byte_alphabet_is_the_library_s() -> None:
    assert sorted(visible_bytes()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for code in (0x20, 0x41, 0xE9, 0x2003, 0x1F600):
        expected = "".join(visible_bytes()[byte] for byte in chr(code).encode())
        assert cut.pre_tokenize_str(chr(code))[0][0] == expected


def test_without_runs_of_spaces_the_result_is_that_of_the_library_s_trainer() -> None:
    texts = [" ".join(text.split()) for text in shipped()]
    ours = train(texts, TokenizerConfig(vocab_size=2048))
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2048 - 26 - 5 - 83, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    theirs.train_from_iterator(texts, trainer)
    assert ours.get_vocab() == theirs.get_vocab()
    assert merges(ours) == merges(theirs)


def brute_force(words: Counter[tuple[str, ...]], ids: dict[str, int], size: int) -> list[list[str]]:
    """Byte-pair merging as first published: count all pairs anew, merge the most frequent; ties by the smaller ids."""
    made: list[list[str]] = []
    while len(ids) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]), default=None)
        if best is None or pairs[best] < 2:
            break
        made.append(list(best))
        ids.setdefault("".join(best), len(ids))
        merged: Counter[tuple[str, ...]] = Counter()
        for word, count in words.items():
            out: list[str] = []
            for symbol in word:
                if out and (out[-1], symbol) == best:
                    out[-1] += symbol
                else:
                    out.append(symbol)
            merged[tuple(out)] += count
        words = merged
    return made


def test_merges_are_those_of_counting_all_pairs_anew_each_time() -> None:
    chance = random.Random(7)
    words = ["".join(chance.choices("abcde", weights=(5, 4, 3, 2, 1), k=chance.randint(1, 9))) for _ in range(300)]
    config = TokenizerConfig(vocab_size=512, unused=12)
    alphabet = {symbol: index for index, symbol in enumerate(sorted(visible_bytes()))}
    expected = brute_force(Counter(map(tuple, words)), alphabet, 512 - 26 - 5 - 12)
    assert len(expected) > 100
    assert merges(train(words, config)) == expected


def test_indentation_that_is_a_token_of_its_own_teaches_no_merge() -> None:
    code = ["".join(f"{' ' * indent}return x{indent}\n" for indent in range(2, 25)) * 5]
    learnt = train(code, TokenizerConfig(vocab_size=512, unused=0))
    assert not [pair for pair in merges(learnt) if "ĠĠ" in "".join(pair)]
    assert "return" in learnt.get_vocab()
    assert "Ġreturn" not in learnt.get_vocab()


def test_the_order_of_the_texts_does_not_matter() -> None:
    texts = list(shipped()[:60])
    config = TokenizerConfig(vocab_size=1024)
    first = train(texts, config).to_str()
    random.Random(1).shuffle(texts)
    assert train(texts, config).to_str() == first


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_an_empty_corpus_is_one_clear_line(texts: list[str]) -> None:
    with pytest.raises(TokenizerError, match="no text to train on") as error:
        train(texts, TokenizerConfig(vocab_size=512))
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_long_document_without_a_space_is_learnt_from() -> None:
    """In time that does not grow with its square, which would be hours."""
    chance = random.Random(0)
    document = "".join(chance.choices("ACGT", k=2_000_000))
    learnt = train([document], TokenizerConfig(vocab_size=640))
    assert len(merges(learnt)) == 640 - 26 - 5 - 83 - 256


@given(st.lists(st.tuples(st.text("ab \n\u3042", max_size=4), st.integers(0, 2500))))
def test_pieces_make_up_the_text_and_hold_no_run_beyond_the_limit(parts: list[tuple[str, int]]) -> None:
    text = "".join(start + "x" * run for start, run in parts)
    cut = list(pieces(text))
    assert "".join(cut) == text
    assert all(len(word) <= LONGEST_RUN for piece in cut for word in piece.split())
    if all(len(word) <= LONGEST_RUN for word in text.split()):
        assert cut == [text]


def test_nothing_is_ever_unknown() -> None:
    learnt = train(["abc"], TokenizerConfig(vocab_size=512))
    for text in SAMPLES:
        assert learnt.decode(learnt.encode(text).ids) == learnt.normalizer.normalize_str(text)

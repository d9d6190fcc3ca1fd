"""Merges from counts against the library's own trainer, and against counting all pairs anew each time."""

from __future__ import annotations

import json
import resource
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.tokenizer.texts import SAMPLES, real, shipped
from tokenizer import TokenizerConfig, train
from tokenizer.alphabet import visible_bytes
from tokenizer.count import Counter as WordCounter
from tokenizer.count import merge_counts
from tokenizer.merges import byte_ranks, learn, prune
from tokenizer.train import train_by_library, train_from_counts

Words = dict[bytes, int]


def learnt(words: Words, size: int, least: int) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    offsets = np.cumsum([0, *map(len, words)]).astype(np.int64)
    data = np.frombuffer(b"".join(words) or b"", np.uint8)
    tokens, merges, uses = learn(offsets, data, np.array([*words.values()], np.int64), size, least)
    assert sum(int(use) * len(token) for use, token in zip(uses, tokens, strict=True)) == sum(len(w) * n for w, n in words.items())
    return tokens, [(tokens[left], tokens[right]) for left, right in merges]


def by_library(words: Words, size: int, least: int) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Words parted by spaces, which a pre-tokenizer removes; each as often as it counts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=least, initial_alphabet=sorted(visible_bytes()), special_tokens=[], show_progress=False
    )
    visible = visible_bytes()
    shown = ["".join(visible[byte] for byte in word) for word in words]
    tokenizer.train_from_iterator([" ".join([word] * count) for word, count in zip(shown, words.values(), strict=True)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    byte_of = {character: byte for byte, character in enumerate(visible)}

    def raw(token: str) -> bytes:
        return bytes(byte_of[character] for character in token)

    return [raw(token) for token in sorted(model["vocab"], key=model["vocab"].get)], [(raw(a), raw(b)) for a, b in model["merges"]]


def brute_force(words: Words, size: int, least: int) -> list[tuple[bytes, bytes]]:
    """Byte-pair merging as first published, in Python's integers; ties by the smaller ids. Tokens must each be made in one way."""
    ids = {bytes([byte]): int(rank) for byte, rank in enumerate(byte_ranks())}
    cut = {tuple(bytes([byte]) for byte in word): count for word, count in words.items()}
    made: list[tuple[bytes, bytes]] = []
    while len(ids) < size:
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, count in cut.items():
            for pair in pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]), default=None)
        if best is None or pairs[best] < least:
            break
        made.append(best)
        ids[b"".join(best)] = len(ids)
        merged: dict[tuple[bytes, ...], int] = {}
        for word, count in cut.items():
            out: list[bytes] = []
            index = 0
            while index < len(word):
                if word[index : index + 2] == best:
                    out.append(b"".join(best))
                    index += 2
                else:
                    out.append(word[index])
                    index += 1
            merged[tuple(out)] = merged.get(tuple(out), 0) + count
        cut = merged
    return made


SMALL = st.dictionaries(st.text("ab", min_size=1, max_size=9).map(str.encode), st.integers(1, 4), max_size=12)
MORE = st.dictionaries(st.text("abcd ", min_size=1, max_size=7).map(str.encode), st.integers(1, 9), max_size=40)


@given(st.one_of(SMALL, MORE), st.integers(256, 300), st.integers(1, 3))
@example({b"aaaaaaa": 1, b"aab": 2, b"baa": 2}, 300, 1)
def test_vocabulary_and_merges_are_the_library_s_ties_and_exhaustion_included(words: Words, size: int, least: int) -> None:
    assert learnt(words, size, least) == by_library(words, size, least)


@given(MORE, st.randoms(use_true_random=False))
def test_the_order_of_the_words_does_not_matter(words: Words, chance: object) -> None:
    shuffled = [*words.items()]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert learnt(dict(shuffled), 300, 1) == learnt(words, 300, 1)


def test_counts_past_32_bits_are_not_lost() -> None:
    """The library wraps past 2.1 billion; Python's integers do not."""
    words = {b"the": 7 * 2**32 + 1, b"then": 2**31, b"other": 2**33 + 5, b"hex": 2**62 // 64, b"xyz": 3, b"q": 2**40}
    expected = brute_force(words, 275, 1)
    assert expected[0] == (b"h", b"e")
    assert learnt(words, 275, 1)[1] == expected
    scaled = {word: max(1, count >> 32) for word, count in words.items()}
    assert learnt(scaled, 275, 1)[1] != expected  # so the low bits did count


@given(st.dictionaries(st.text("abcdefgh", min_size=1, max_size=6).map(str.encode), st.integers(1, 2**40), max_size=30))
def test_merges_of_large_counts_are_those_of_counting_anew(words: Words) -> None:
    merges = learnt(words, 290, 2)[1]
    made = [left + right for left, right in merges]
    if len(set(made)) == len(made):  # the plain version does not know a token that is made in two ways
        assert merges == brute_force(words, 290, 2)


CORPORA = {"shipped": lambda: [*shipped(), *SAMPLES * 3]} | {
    name: (lambda name=name, count=count: real(f"{name}.jsonl.zst", count))
    for name, count in (("code/multi-language", 400), ("science/arxiv-abstracts", 1500), ("dedup/wikipedia-en", 800))
}
KINDS = [
    {},
    {"space_runs": 1},
    {"add_prefix_space": True},
    {"pretokenizer": "modern"},
    {"pretokenizer": "modern", "digits": "left", "marks": True},
    {"pretokenizer": "modern", "digits": "one", "min_frequency": 20},
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("corpus", CORPORA)
def test_a_tokenizer_trained_from_counts_is_the_library_s_to_the_byte(corpus: str, kind: dict[str, Any]) -> None:
    texts = CORPORA[corpus]()
    for size in (1024, 16384):
        config = TokenizerConfig(vocab_size=size, **kind)
        assert train(texts, config).to_str() == train_by_library(texts, config).to_str()


def test_counts_taken_in_parts_and_merged_in_any_order_are_those_of_one_count() -> None:
    config = TokenizerConfig(vocab_size=2048)
    texts = [*shipped()[:80], *SAMPLES]
    whole = WordCounter(config)
    whole.add(texts)
    expected = merge_counts(whole.take()[0])
    parts, counter = [], WordCounter(config)
    for begin in range(0, len(texts), 7):
        counter.add(texts[begin : begin + 7])
        parts.append(counter.take()[0])
    assert merge_counts(pa.concat_tables(reversed(parts))).equals(expected)
    assert train_from_counts(expected, config)[0].to_str() == train(texts, config).to_str()


def test_a_weight_counts_a_text_as_often() -> None:
    config = TokenizerConfig(vocab_size=512)
    once, thrice = WordCounter(config), WordCounter(config)
    once.add([SAMPLES[0], SAMPLES[1], SAMPLES[1], SAMPLES[1]])
    size = thrice.add([SAMPLES[0], SAMPLES[1], SAMPLES[2]], np.array([1, 3, 0]))
    assert size == len(SAMPLES[0].encode()) + 3 * len(SAMPLES[1].encode())
    assert merge_counts(thrice.take()[0]).equals(merge_counts(once.take()[0]))


@given(MORE, st.integers(1, 30))
def test_pruning_takes_rare_tokens_alone_and_leaves_what_others_are_made_of(words: Words, least: int) -> None:
    offsets = np.cumsum([0, *map(len, words)]).astype(np.int64)
    data = np.frombuffer(b"".join(words), np.uint8)
    tokens, merges, uses = learn(offsets, data, np.array([*words.values()], np.int64), 300, 1)
    kept, left, after = prune(tokens, merges, uses, least)
    assert kept[:256] == tokens[:256]
    assert [token for token in tokens if token in set(kept)] == kept
    made = {kept[a] + kept[b] for a, b in left}
    assert made == set(kept[256:])  # each can still be made, and nothing else
    parts = {kept[index] for pair in left for index in pair}
    assert all(use >= least or token in parts for token, use in zip(kept[256:], after[256:], strict=True))
    assert all(use < least for token, use in zip(tokens, uses, strict=True) if token not in set(kept))
    visible = visible_bytes()
    shown = ["".join(visible[byte] for byte in token) for token in kept]
    model = models.BPE({token: index for index, token in enumerate(shown)}, [(shown[a], shown[b]) for a, b in left])
    used: Counter[int] = Counter()
    for word, count in words.items():
        for token in model.tokenize("".join(visible[byte] for byte in word)):
            used[token.id] += count
    if len({tokens[a] + tokens[b] for a, b in merges}) == len(merges):  # with two ways to make one, another may be taken
        assert {index: int(use) for index, use in enumerate(after) if use} == dict(used)


def test_tables_grow_as_the_pairs_do() -> None:
    """More pairs than the first tables hold, and words that alone make more than their first lists hold."""
    chance = np.random.default_rng(1)
    letters = np.array([*range(33, 127), *range(161, 200)], np.uint8)
    words = {chance.choice(letters, chance.integers(3, 12)).tobytes(): int(chance.integers(1, 4)) for _ in range(60_000)}
    words |= {chance.choice(letters, 3_000).tobytes(): 1, b"ab" * 3_000: 2}
    assert learnt(words, 6_000, 1) == by_library(words, 6_000, 1)


def test_a_long_word_takes_memory_in_proportion_to_what_comes_up_in_it() -> None:
    """A run of two million line ends has one pair; tables for all that a word of its length might have would take 400 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learnt({b"\n" * 2_000_000: 1}, 300, 0)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 250_000


def test_weights_that_are_not_one_a_text_are_refused() -> None:
    with pytest.raises(ValueError, match="1 weights for 2 texts"):
        WordCounter(TokenizerConfig()).add(["a", "b"], np.ones(1, np.int64))

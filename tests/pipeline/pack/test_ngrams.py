"""The n-gram models that say what a loss means, against counting by hand and sums over the whole vocabulary."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pack.ngrams import bigram_model, count_pairs, merge_pairs, score

CLS, SEP, VOCABULARY = 10, 11, 12
texts = st.lists(st.lists(st.integers(0, 9), max_size=30), min_size=1, max_size=8)


def laid(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents end to end, and where each begins and ends."""
    edges = np.concatenate([[0], np.cumsum([len(ids) for ids in documents])]).astype(np.int64)
    return np.array([token for ids in documents for token in ids], np.uint16), edges[:-1], edges[1:]


def counted(documents: list[list[int]]) -> Counter[tuple[int, int]]:
    return Counter(pair for ids in documents if ids for pair in zip([CLS, *ids], [*ids, SEP], strict=True))


@given(texts, texts)
def test_pairs_are_those_of_a_loop_also_after_a_merge(one: list[list[int]], other: list[list[int]]) -> None:
    found = [count_pairs(*laid(documents), CLS, SEP) for documents in (one, other)]
    pairs, counts = merge_pairs(*(np.concatenate(part) for part in zip(*found, strict=True)))
    expected = counted([*one, *other])
    assert {(int(pair) >> 32, int(pair) & 0xFFFFFFFF): int(count) for pair, count in zip(pairs, counts, strict=True)} == expected
    assert (np.diff(pairs.astype(np.int64)) > 0).all()


def test_a_table_that_grows_loses_nothing() -> None:
    ids = np.random.default_rng(0).integers(0, 4000, 50_000)
    pairs, counts = count_pairs(ids, np.array([0]), np.array([len(ids)]), 4000, 4001)
    assert counts.sum() == len(ids) + 1
    assert len(pairs) == len(set(zip([4000, *ids.tolist()], [*ids.tolist(), 4001], strict=True)))


@given(texts, texts)
def test_losses_are_those_of_witten_and_bell_and_of_bayes_rule(train: list[list[int]], held: list[list[int]]) -> None:
    """Each probability worked out anew, the sum over the vocabulary term by term."""
    pairs = counted(train)
    follows = Counter(right for _, right in pairs.elements())
    unigram = [(follows[x] + 1) / (follows.total() + VOCABULARY) for x in range(VOCABULARY)]

    def bigram(right: int, left: int) -> float:
        seen = sum(count for (one, _), count in pairs.items() if one == left)
        types = sum(one == left for one, _ in pairs)
        return (pairs[left, right] + types * unigram[right]) / (seen + types) if seen else unigram[right]

    ids, first, last = laid(held)
    found = score(
        bigram_model(*count_pairs(*laid(train), CLS, SEP), VOCABULARY), ids.astype(np.int64), np.append(first, last[-1:]), CLS, SEP
    )
    at = 0
    for document in held:
        for place, token in enumerate(document):
            left = document[place - 1] if place else CLS
            right = document[place + 1] if place + 1 < len(document) else SEP
            total = sum(bigram(x, left) * bigram(right, x) for x in range(VOCABULARY))
            expected = (unigram[token], bigram(token, left), bigram(token, left) * bigram(right, token) / total)
            assert [float(losses[at]) for losses in found] == pytest.approx([-np.log(p) for p in expected], rel=1e-9)
            at += 1


def test_a_chain_is_told_by_its_neighbours_the_better_the_more_of_them_are_seen() -> None:
    """A Markov chain's own entropies: of a token alone, after the one before, and between two (Cover and Thomas 2006, chapter 4)."""
    random = np.random.default_rng(1)
    move = random.dirichlet(np.full(10, 0.3), 10)
    still = np.linalg.matrix_power(move, 200)[0]
    ids = [int(random.choice(10, p=still))]
    for _ in range(120_000):
        ids.append(int(np.searchsorted(move[ids[-1]].cumsum(), random.random())))
    train, held = np.array(ids[:100_000]), np.array(ids[100_000:])
    edges = np.array([0, len(held)])
    losses = score(bigram_model(*count_pairs(train, np.array([0]), np.array([len(train)]), CLS, SEP), VOCABULARY), held, edges, CLS, SEP)
    alone = -(still * np.log(still)).sum()
    after = -(still[:, None] * move * np.log(move + 1e-300)).sum()
    twice = move @ move
    # H(x | l, r) = H(x | l) + H(r | x) - H(r | l)
    between = 2 * after + (still[:, None] * twice * np.log(twice)).sum()
    assert [float(each.mean()) for each in losses] == pytest.approx([alone, after, between], abs=0.03)

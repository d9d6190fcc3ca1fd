"""N-gram models of the training split, to say what a loss means: a unigram, a bigram, and a bigram that sees both neighbours.

Pairs of neighbours are counted by a hash table, partition by partition, and added up. The unigram model has one added to each count
(Laplace). The bigram model is smoothed with it after Witten and Bell (1991): a context that was followed by T different tokens gives the
unigram model the weight of T occurrences. The two-sided model is the same bigram model, asked for a token between two: by Bayes' rule

    p(x | l, r) = p(x | l) p(r | x) / sum over all x' of p(x' | l) p(r | x')

so it is exact for a text that is a Markov chain, and has no parameters of its own. The sum over the vocabulary is exact: what is not
smoothing in both factors is a sum over the pairs that were seen, and the rest is worked out once for each token.

The neighbours of a document's first and last token are [CLS] and [SEP].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernel.compile import kernel, leaf
from kernel.table import slot_of, slots_for

Pairs = npt.NDArray[np.uint64]  # the left token in the high half, the right one in the low half
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_HALF = np.uint64(32)


@leaf
def _add(keys: Pairs, counts: Ints, key: np.uint64) -> int:  # pragma: no cover - compiled
    """Count one key; returns 1 where it is new."""
    slot = slot_of(keys, key)
    counts[slot] += 1
    if keys[slot] != np.uint64(0):
        return 0
    keys[slot] = key
    return 1


@kernel
def _count(ids: npt.NDArray[Any], first: Ints, last: Ints, cls: int, sep: int) -> Any:  # pragma: no cover - compiled
    """`(keys, counts)` of the pairs of the documents `ids[first[d]:last[d]]`; keys are pairs plus one, since 0 is an empty slot."""
    slots = slots_for(1 << 12)
    keys, counts = np.zeros(slots, np.uint64), np.zeros(slots, np.int64)
    held = 0
    for document in range(len(first)):
        left = np.uint64(cls)
        for place in range(first[document], last[document] + 1):
            right = np.uint64(ids[place]) if place < last[document] else np.uint64(sep)
            held += _add(keys, counts, ((left << _HALF) | right) + np.uint64(1))
            left = right
            if 2 * held > len(keys):
                more, their = np.zeros(2 * len(keys), np.uint64), np.zeros(2 * len(keys), np.int64)
                for slot in range(len(keys)):
                    if keys[slot] != np.uint64(0):
                        new = slot_of(more, keys[slot])
                        more[new], their[new] = keys[slot], counts[slot]
                keys, counts = more, their
    return keys, counts


def count_pairs(ids: npt.NDArray[Any], first: Ints, last: Ints, cls: int, sep: int) -> tuple[Pairs, Ints]:
    """The pairs of neighbours in documents `ids[first[d]:last[d]]`, sorted, and how often each occurs. Empty documents count nothing."""
    some = first < last
    keys, counts = _count(ids, first[some], last[some], cls, sep)
    used = np.flatnonzero(keys)
    pairs = keys[used] - np.uint64(1)
    order = np.argsort(pairs)
    return pairs[order], counts[used][order]


def merge_pairs(pairs: Pairs, counts: Ints) -> tuple[Pairs, Ints]:
    """Pairs in any order, some of them more than once: sorted, with the sums of their counts."""
    order = np.argsort(pairs, kind="stable")
    pairs, counts = pairs[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]])) if len(pairs) else np.zeros(0, np.int64)
    return pairs[starts], np.add.reduceat(counts, starts) if len(pairs) else counts


class _Model(NamedTuple):
    """The smoothed bigram model. Tokens are numbered as in the vocabulary; pairs by their left and by their right token."""

    successors: Ints  # (vocabulary + 1,): the pairs of left token l are successors[l] .. successors[l + 1] in `right`
    right: Ints
    right_counts: Floats
    predecessors: Ints  # (vocabulary + 1,): those of right token r, in `left`
    left: Ints
    left_counts: Floats
    unigram: Floats  # (vocabulary,)
    seen: Floats  # (vocabulary,): how often a token was a left neighbour
    types: Floats  # (vocabulary,): how many different tokens followed it
    between: Floats  # (vocabulary,): the mean of p(r | x) over the unigram model's x, for each r
    kept: Floats  # (vocabulary,): of left token l, the sum of c(l, x) T(x) / (c(x) + T(x))


def bigram_model(pairs: Pairs, counts: Ints, vocabulary: int) -> _Model:
    """The model of sorted, distinct pairs."""
    left, right = (pairs >> _HALF).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
    weights = counts.astype(np.float64)
    followed = np.bincount(right, weights, vocabulary)
    unigram = (followed + 1) / (followed.sum() + vocabulary)
    seen = np.bincount(left, weights, vocabulary).astype(np.float64)
    types = np.bincount(left, minlength=vocabulary).astype(np.float64)
    whole = seen + types
    unknown = whole == 0  # a token that never was a left neighbour: the unigram model follows it
    whole = np.where(unknown, 1.0, whole)
    smoothed = np.where(unknown, 1.0, types / whole)  # the weight of the unigram model after each token
    between = np.bincount(right, unigram[left] * weights / whole[left], vocabulary) + unigram * (unigram * smoothed).sum()
    kept = np.bincount(left, weights * smoothed[right], vocabulary).astype(np.float64)
    order = np.argsort(right, kind="stable")
    return _Model(
        np.searchsorted(left, np.arange(vocabulary + 1)),
        right,
        weights,
        np.searchsorted(right[order], np.arange(vocabulary + 1)),
        left[order],
        weights[order],
        unigram,
        seen,
        types,
        between,
        kept,
    )


@leaf
def _of_pair(model: _Model, left: int, right: int) -> float:  # pragma: no cover - compiled
    """p(right | left)."""
    whole = model.seen[left] + model.types[left]
    if whole == 0:
        return float(model.unigram[right])
    begin, end = model.successors[left], model.successors[left + 1]
    at = begin + np.searchsorted(model.right[begin:end], right)
    count = model.right_counts[at] if at < end and model.right[at] == right else 0.0
    return float((count + model.types[left] * model.unigram[right]) / whole)


@kernel
def _score(
    model: _Model, left: Ints, token: Ints, right: Ints, order: Ints, one: Floats, two: Floats
) -> None:  # pragma: no cover - compiled
    """Write -log p(token | left) to `one`, and -log p(token | left, right) to `two`. `order` sorts the places by left token, then right."""
    vocabulary = len(model.unigram)
    after = np.zeros(vocabulary)  # c(l, x) / (c(x) + T(x)), of the present left token
    present, before, total = -1, -1, 0.0
    for index in range(len(order)):
        place = order[index]
        lhs, rhs = left[place], right[place]
        if lhs != present:
            if present >= 0:
                for pair in range(model.successors[present], model.successors[present + 1]):
                    after[model.right[pair]] = 0.0
            for pair in range(model.successors[lhs], model.successors[lhs + 1]):
                x = model.right[pair]
                whole = model.seen[x] + model.types[x]
                if whole > 0:
                    after[x] = model.right_counts[pair] / whole
            present, before = lhs, -1
        if rhs != before:
            total = 0.0
            for pair in range(model.predecessors[rhs], model.predecessors[rhs + 1]):
                total += after[model.left[pair]] * model.left_counts[pair]
            whole = model.seen[lhs] + model.types[lhs]
            total += model.unigram[rhs] * model.kept[lhs]
            total = (total + model.types[lhs] * model.between[rhs]) / whole if whole > 0 else model.between[rhs]
            before = rhs
        ahead = _of_pair(model, lhs, token[place])
        one[place] = -np.log(ahead)
        two[place] = -np.log(ahead * _of_pair(model, token[place], rhs) / total)


def score(model: _Model, ids: Ints, first: Ints, cls: int, sep: int) -> tuple[Floats, Floats, Floats]:
    """The losses of each token of pieces `ids[first[p]:first[p + 1]]`, under the unigram, left and two-sided model: float64 (tokens,)."""
    left, right = np.empty_like(ids), np.empty_like(ids)
    left[1:], right[:-1] = ids[:-1], ids[1:]
    some = np.diff(first) > 0
    left[first[:-1][some]], right[first[1:][some] - 1] = cls, sep
    one, two = np.empty(len(ids)), np.empty(len(ids))
    _score(model, left, ids, right, np.lexsort((right, left)), one, two)
    return -np.log(model.unigram[ids]), one, two

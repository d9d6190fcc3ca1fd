"""The held-out sample as a run is evaluated on it: cut to a length, masked, in micro-batches; and what the losses come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from kernel.random import derive
from pipeline.held_out import BASELINES, HeldOut
from trainer.batches import MicroBatch
from trainer.groups import LENGTHS, STARTS
from trainer.intervals import ratio_interval
from trainer.masking import mask_documents

MEANS = ("loss", "loss_low", "loss_high", "accuracy", "accuracy_low", "accuracy_high", "predicted_tokens")  # what each group has
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Part(NamedTuple):
    """A micro-batch of the sample, and of each predicted token the number of its segment: int64 (predicted,)."""

    batch: MicroBatch
    segments: Ints


class Validation:
    """The sample under masks that never change. `rate`: the share of the tokens to predict.

    A mask is keyed by the sample's seed, the token's document and its place there: neither the run nor the length changes it.
    """

    def __init__(self, held_out: HeldOut, rate: float) -> None:
        self.held_out = held_out
        info = held_out.info
        streams = np.array([derive(held_out.seed, "held-out mask", name) for name in held_out.names], np.uint64)
        self._masked, chosen = np.empty_like(held_out.ids), np.zeros(len(held_out.ids), bool)
        mask_documents(held_out.ids, held_out.first, held_out.place, streams, rate, info.ordinary, info.mask, self._masked, chosen)
        self._predicted = np.flatnonzero(chosen)  # places in the ids of all pieces

    def parts(self, length: int, tokens: int, rank: int, world: int) -> Iterator[Part]:
        """A rank's micro-batches of at most `tokens` tokens, at least one segment each, of segments of at most `length` tokens.

        Which segments are in one does not depend on the number of ranks. Every rank has as many, the last with nothing to predict if
        need be.
        """
        _, begin, end = self.held_out.segments(length)
        bounds = _chunks(end - begin + 2, tokens)
        for turn in range(0, len(bounds) - 1, world):
            number = turn + rank
            if number < len(bounds) - 1:
                yield self._part(begin, end, bounds[number], bounds[number + 1])
            else:
                first = self._part(begin, end, bounds[0], bounds[1])
                yield Part(first.batch.without_labels(), np.zeros(0, np.int64))

    def _part(self, begins: Ints, ends: Ints, first: int, last: int) -> Part:
        """Segments `first .. last - 1`, which lie end to end."""
        info = self.held_out.info
        sizes = ends[first:last] - begins[first:last]
        start, stop = int(begins[first]), int(ends[last - 1])
        edges = np.concatenate([[0], np.cumsum(sizes + 2)]).astype(np.int32)
        owner = np.repeat(np.arange(last - first), sizes)
        places = np.arange(stop - start) + 2 * owner + 1  # of the tokens among all, with the special ones
        ids = np.empty(int(edges[-1]), np.int64)
        ids[edges[:-1]], ids[edges[1:] - 1] = info.cls, info.sep
        ids[places] = self._masked[start:stop]
        low, high = np.searchsorted(self._predicted, [start, stop])
        chosen = self._predicted[low:high] - start
        none = torch.empty(0, dtype=torch.int64)
        batch = MicroBatch(
            torch.from_numpy(ids),
            torch.from_numpy(edges),
            int(sizes.max()) + 2,
            torch.from_numpy(places[chosen]),
            torch.from_numpy(self.held_out.ids[start + chosen]),
            none,
            none.expand(2, 0),
        )
        return Part(batch, first + owner[chosen])

    def values(self, length: int, sums: Floats) -> dict[str, Any]:
        """What a line of validation has of an evaluation at a length.

        `sums`: float64 (segments, 3), of each segment its sum of losses, how many tokens were predicted right, and how many there were.
        Intervals are of 95 %, by the bootstrap over documents, for other documents of the same kinds.
        """
        held = self.held_out
        piece, begin, end = held.segments(length)
        documents = np.unique(held.document, return_inverse=True)[1][piece]
        domains, sources = (np.array(names, object)[piece] for names in (held.domain, held.source))
        classes = np.array(LENGTHS, object)[np.searchsorted(STARTS, end - begin + 2, side="right") - 1]
        seed = derive(held.seed, "validation")
        return {
            **_means(sums, documents, seed),
            "length": length,
            "documents": len(np.unique(documents[sums[:, 2] > 0])),
            "by_domain": _table(sums, documents, domains, sorted(set(held.domain)), seed),
            "by_source": _table(sums, documents, sources, sorted(set(held.source)), seed),
            "by_length": _table(sums, documents, classes, LENGTHS, seed),
        }

    def baselines(self) -> dict[str, float]:
        """The mean losses of the n-gram models on the tokens that are predicted."""
        count = max(1, len(self._predicted))
        return {name: float(self.held_out.baselines[name][self._predicted].sum(dtype=np.float64)) / count for name in BASELINES}


def _chunks(sizes: Ints, most: int) -> list[int]:
    """The edges of runs of items with a sum of at most `most` each; a larger item is a run of its own."""
    edges, total = [0], 0
    for number, size in enumerate(sizes.tolist()):
        if total and total + size > most:
            edges.append(number)
            total = 0
        total += size
    return [*edges, len(sizes)] if len(sizes) else [0]


def _means(sums: Floats, documents: Ints, seed: int) -> dict[str, Any]:
    """Loss and accuracy of some segments, each with its interval, and how many tokens were predicted."""
    loss, right, predicted = sums.sum(axis=0).tolist()
    values: dict[str, Any] = {
        "loss": loss / max(1.0, predicted),
        "accuracy": right / max(1.0, predicted),
        "predicted_tokens": int(predicted),
    }
    number = np.unique(documents, return_inverse=True)[1]
    of_documents = np.stack([np.bincount(number, sums[:, column]) for column in range(3)], axis=1).astype(np.float64)
    of_documents = of_documents[of_documents[:, 2] > 0]
    for column, name in ((0, "loss"), (1, "accuracy")):
        found = ratio_interval(of_documents[:, column], of_documents[:, 2], seed)
        values[f"{name}_low"], values[f"{name}_high"] = found if found is not None else (None, None)
    return values


def _table(sums: Floats, documents: Ints, groups: npt.NDArray[np.object_], names: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
    """`_means` of each group of segments; those of which nothing was predicted are left out."""
    found = {}
    for name in names:
        of_group = groups == name
        if sums[of_group, 2].sum():
            found[name] = _means(sums[of_group], documents[of_group], derive(seed, name))
    return found

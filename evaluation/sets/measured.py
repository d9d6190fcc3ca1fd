"""Sets that need no tuning: masked tokens, the worth of far context, and the shape of the vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from evaluation.results import Metric
from evaluation.subject import batches, masked_losses, vectors
from kernel.random import derive, uniform
from model import MaskedLM
from pipeline.held_out import SPECIALS, HeldOut
from trainer.validation import Validation

Ints = npt.NDArray[np.int64]
MASK_RATE = 0.15
LOSS, ACCURACY = Metric("loss", "loss", less_is_better=True), Metric("accuracy", "right", less_is_better=False)
STARTS = (512, 4096)  # of the classes of a piece's place in its document, but the first
PLACES = ("0-511", "512-4095", "4096-")
TOLD = ("item", "document", "group", "domain", "source")  # of each row
SHORTEST_CONTEXT = 64
PREDICTED = 16  # tokens of a window that are predicted
MOST_WINDOWS = 1000
MOST_VECTORS, VECTOR_LENGTH = 1000, 512


@dataclass(frozen=True)
class Asked:
    """What a set is asked over: the sample, the longest sequences that the model takes, and how many tokens go through it at once."""

    sample: HeldOut
    longest: int
    tokens: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """128, 512, 2048 ... up to the longest, which is one of them too."""
        powers = [4**power * 128 for power in range(8) if 4**power * 128 < self.longest]
        return (*powers, self.longest)


class Measured(NamedTuple):
    """What a set has found: rows as `evaluation.results` has them, counts of what was passed over, and numbers that are no mean of rows."""

    rows: pa.Table
    passed_over: dict[str, int]
    numbers: dict[str, float]


@dataclass(frozen=True)
class MeasuredSet:
    """A set that needs no tuning.

    `scored`: whether a better value is a better model, so that two are compared; `by`: the columns by whose
    values scores are told, too; `settings`: what besides the sample must be equal for two results to be compared; `version` is raised when
    rows change.
    """

    name: str
    version: int
    metrics: tuple[Metric, ...]
    by: tuple[str, ...]
    settings: Callable[[Asked], Mapping[str, Any]]
    measure: Callable[[MaskedLM, Asked], Measured]
    scored: bool = True


def _rows(sample: HeldOut, pieces: Sequence[int], more: Mapping[str, Any]) -> pa.Table:
    """Rows about pieces of the sample, with what tells them apart."""
    kinds = {"main": pa.bool_(), "length": pa.int64(), "reach": pa.int64(), "place": pa.string()}
    return pa.table(
        {
            "item": [f"{sample.names[piece]}#{sample.place[piece]}" for piece in pieces],
            "document": [sample.names[piece] for piece in pieces],
            "group": [sample.names[piece] for piece in pieces],
            "domain": [sample.domain[piece] for piece in pieces],
            "source": [sample.source[piece] for piece in pieces],
            **{name: pa.array(values, kinds.get(name, pa.float64())) for name, values in more.items()},
        },
        schema=pa.schema([*((name, pa.string()) for name in TOLD), *((name, kinds.get(name, pa.float64())) for name in more)]),
    )


# --- mlm -------------------------------------------------------------------------------------------------------------


def _measure_mlm(model: MaskedLM, asked: Asked) -> Measured:
    """A row for each piece at each length: how many of its tokens are predicted, their losses, and how many are right."""
    validation, tables, unpredicted = Validation(asked.sample, MASK_RATE), [], 0
    for length in asked.lengths:
        segments = asked.sample.segments(length)
        sums = np.zeros((asked.sample.pieces, 3))
        for batch, numbers in validation.parts(length, asked.tokens, 0, 1):
            losses, right = masked_losses(model, batch.input_ids, batch.cu_seqlens, batch.max_seqlen, batch.positions, batch.labels)
            np.add.at(sums, segments.piece[numbers], np.stack([losses, right, np.ones_like(losses)], axis=1))
        some = np.flatnonzero(sums[:, 2])
        unpredicted = asked.sample.pieces - len(some)
        values = {"loss": sums[some, 0], "right": sums[some, 1], "weight": sums[some, 2]}
        place = asked.sample.place[some]
        classes = np.array(PLACES, object)[np.searchsorted(STARTS, place, side="right")]
        told = {"main": [length == asked.longest] * len(some), "place": classes.tolist(), "length": [length] * len(some)}
        tables.append(_rows(asked.sample, some.tolist(), {**told, **values}))
    return Measured(pa.concat_tables(tables), {"pieces without a masked token": unpredicted}, {})


# --- context ---------------------------------------------------------------------------------------------------------


def _windows(longest: int) -> list[int]:
    """64, 128, 256 ... the longest; special tokens are counted."""
    found = [SHORTEST_CONTEXT]
    while 2 * found[-1] <= longest:
        found.append(2 * found[-1])
    return [*found, longest] if longest > found[-1] else found


@dataclass(frozen=True)
class _Window:
    """One item of `context`: tokens to predict around a centre of a piece, and the widest window that lies within the piece."""

    piece: int
    centre: int  # in the ids of all pieces
    chosen: Ints  # (16,): in the ids of all pieces
    reach: int  # tokens, special ones counted


def windows(sample: HeldOut, longest: int, most: int = MOST_WINDOWS) -> tuple[list[_Window], int]:
    """At most `most` windows, one a piece, drawn by key; and how many pieces are too short for the narrowest."""
    info, sizes = sample.info, np.diff(sample.first)
    keys = uniform(sample.seed, "context", (f"{name}#{place}" for name, place in zip(sample.names, sample.place.tolist(), strict=True)))
    found: list[_Window] = []
    short = 0
    for piece in np.argsort(keys, kind="stable").tolist():
        fitting = [width for width in _windows(longest) if width - SPECIALS <= sizes[piece]]
        if not fitting:
            short += 1
            continue
        half = (fitting[-1] - SPECIALS + 1) // 2
        free = int(sizes[piece]) - (fitting[-1] - SPECIALS)
        centre = int(sample.first[piece]) + half + derive(sample.seed, "centre", sample.names[piece], int(sample.place[piece])) % (free + 1)
        near = np.arange(centre - (SHORTEST_CONTEXT - SPECIALS + 1) // 2, centre + (SHORTEST_CONTEXT - SPECIALS) // 2)
        ordinary = near[(sample.ids[near] >= info.ordinary[0]) & (sample.ids[near] < info.ordinary[1])]
        if len(ordinary) >= PREDICTED and len(found) < most:
            order = uniform(sample.seed, f"context of {sample.names[piece]}", map(str, (ordinary - sample.first[piece]).tolist()))
            found.append(_Window(piece, centre, np.sort(ordinary[np.argsort(order, kind="stable")[:PREDICTED]]), fitting[-1]))
    return found, short


def _measure_context(model: MaskedLM, asked: Asked) -> Measured:
    """A row for each window at each width: the losses of the same 16 tokens, and how much less that is than at the narrowest."""
    sample, info = asked.sample, asked.sample.info
    items, short = windows(sample, asked.longest)
    sums = {width: np.zeros((len(items), 2)) for width in _windows(asked.longest)}
    for width, of_width in sums.items():
        wide = [number for number, item in enumerate(items) if item.reach >= width]
        for first, last in batches([width] * len(wide), asked.tokens):
            segments, positions, labels = [], [], []
            for turn, number in enumerate(wide[first:last]):
                item = items[number]
                begin = item.centre - (width - SPECIALS + 1) // 2
                ids = sample.ids[begin : begin + width - SPECIALS].copy()
                labels.append(sample.ids[item.chosen])
                ids[item.chosen - begin] = info.mask
                segments.append(np.concatenate([[info.cls], ids, [info.sep]]))
                positions.append(turn * width + 1 + item.chosen - begin)
            edges = np.arange(0, (last - first + 1) * width, width, dtype=np.int32)
            given = [torch.from_numpy(np.concatenate(part)) for part in (segments, positions, labels)]
            losses, right = masked_losses(model, given[0], torch.from_numpy(edges), width, given[1], given[2])
            of_width[wide[first:last]] = np.stack([losses.reshape(-1, PREDICTED).sum(1), right.reshape(-1, PREDICTED).sum(1)], axis=1)
    tables = []
    for width, of_width in sums.items():
        wide = [number for number, item in enumerate(items) if item.reach >= width]
        gain = sums[SHORTEST_CONTEXT][wide, 0] - of_width[wide, 0]
        values = {"loss": of_width[wide, 0], "right": of_width[wide, 1], "gain": gain, "weight": np.full(len(wide), float(PREDICTED))}
        pieces = [items[number].piece for number in wide]
        reach = [items[number].reach for number in wide]
        told = {"main": [width == its for its in reach], "length": [width] * len(wide), "reach": reach}
        tables.append(_rows(sample, pieces, {**told, **values}))
    return Measured(pa.concat_tables(tables), {"pieces of fewer than 62 tokens": short}, {})


# --- shape -----------------------------------------------------------------------------------------------------------


def _measure_shape(model: MaskedLM, asked: Asked) -> Measured:
    """A row for each text: the mean cosine of its vector with all others'. Beside them the effective rank of all vectors."""
    sample, info = asked.sample, asked.sample.info
    keys = uniform(sample.seed, "shape", (f"{name}#{place}" for name, place in zip(sample.names, sample.place.tolist(), strict=True)))
    pieces = np.sort(np.argsort(keys, kind="stable")[:MOST_VECTORS])
    most = min(VECTOR_LENGTH, asked.longest) - SPECIALS
    texts = []
    for piece in pieces:
        begin, end = sample.first[piece], sample.first[piece + 1]
        texts.append(np.concatenate([[info.cls], sample.ids[begin : min(end, begin + most)], [info.sep]]))
    found = vectors(model, texts, asked.tokens).astype(np.float64)
    unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30)
    count = len(unit)
    cosines = (unit @ unit.sum(axis=0) - 1) / max(1, count - 1)
    rows = _rows(sample, pieces.tolist(), {"main": [True] * count, "cosine": cosines, "weight": np.ones(count)})
    numbers = {"effective rank": effective_rank(unit), "dimensions": float(unit.shape[1])}
    return Measured(rows, {"pieces that were not drawn": sample.pieces - count}, numbers)


def effective_rank(rows: npt.NDArray[np.float64]) -> float:
    """The exponential of the entropy of the singular values' shares (Roy and Vetterli 2007), of rows about their mean; 0 of equal rows."""
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    shares = values / values.sum() if values.sum() > 1e-12 else values[:0]
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


SETS: dict[str, MeasuredSet] = {
    each.name: each
    for each in (
        MeasuredSet(
            "mlm",
            1,
            (LOSS, ACCURACY),
            ("length", "domain", "source", "place"),
            lambda asked: {"lengths": list(asked.lengths), "mask_rate": MASK_RATE},
            _measure_mlm,
        ),
        MeasuredSet(
            "context",
            1,
            (Metric("gain", "gain", less_is_better=False, scale="loss"), LOSS, ACCURACY),
            ("length", "domain"),
            lambda asked: {"lengths": _windows(asked.longest), "predicted": PREDICTED},
            _measure_context,
        ),
        MeasuredSet(
            "shape",
            1,
            (Metric("mean cosine", "cosine", less_is_better=True),),
            ("domain",),
            lambda asked: {"lengths": [min(VECTOR_LENGTH, asked.longest)], "texts": MOST_VECTORS},
            _measure_shape,
            scored=False,
        ),
    )
}

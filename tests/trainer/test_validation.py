"""The held-out sample as a run is evaluated on it: the same tokens at every length, and sums that add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernel.random import derive
from pipeline.held_out import HeldOut, read_held_out
from tests.trainer.plain_random import plain_draw, plain_unit
from tests.trainer.synthetic import INFO, write_held_out
from trainer.groups import LENGTHS
from trainer.validation import Part, Validation


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> HeldOut:
    folder = tmp_path_factory.mktemp("sample") / "validation"
    write_held_out(folder, 30, seed=3)
    return read_held_out(folder, tokenizer="tokenizer")


def predicted(held_out: HeldOut, parts: list[Part], length: int) -> dict[tuple[str, int], tuple[int, int]]:
    """By document and place: the token to predict, and what stands in its place."""
    segments, found = held_out.segments(length), {}
    for batch, numbers in parts:
        edges = batch.cu_seqlens.numpy()
        for position, label, number in zip(batch.positions.tolist(), batch.labels.tolist(), numbers.tolist(), strict=True):
            local = position - edges[np.searchsorted(edges, position, side="right") - 1] - 1
            piece = segments.piece[number]
            place = held_out.place[piece] + segments.begin[number] - held_out.first[piece] + local
            found[held_out.names[piece], int(place)] = label, int(batch.input_ids[position])
    return found


@pytest.mark.parametrize("tokens", [1, 100, 10_000])
def test_every_length_and_micro_batch_predicts_the_same_tokens(held_out: HeldOut, tokens: int) -> None:
    validation = Validation(held_out, 0.15)
    first = predicted(held_out, list(validation.parts(64, 1, 0, 1)), 64)
    assert 0.12 < len(first) / len(held_out.ids) < 0.18
    for length in (16, 64, 190):
        parts = list(validation.parts(length, tokens, 0, 1))
        assert predicted(held_out, parts, length) == first
        assert sum(part.batch.tokens for part in parts) == len(held_out.ids) + 2 * len(held_out.segments(length).piece)
        assert all(part.batch.tokens <= max(tokens, length) for part in parts)
        assert all(part.batch.max_seqlen == part.batch.cu_seqlens.diff().max() <= length for part in parts)


def test_a_token_is_masked_by_its_document_and_place_alone(held_out: HeldOut) -> None:
    """The rule in plain Python: 15 % are predicted, of which 80 % are masked, 10 % are random, 10 % stay."""
    found = predicted(held_out, list(Validation(held_out, 0.15).parts(64, 500, 0, 1)), 64)
    for piece in range(held_out.pieces):
        stream = derive(7, "held-out mask", held_out.names[piece])
        for number, token in enumerate(held_out.ids[held_out.first[piece] : held_out.first[piece + 1]].tolist()):
            place = int(held_out.place[piece]) + number
            if plain_unit(plain_draw(stream, 2 * place)) >= 0.15:
                assert (held_out.names[piece], place) not in found
                continue
            label, shown = found[held_out.names[piece], place]
            kind = plain_unit(plain_draw(stream, 2 * place + 1))
            assert label == token
            assert shown == INFO.mask if kind < 0.8 else shown < 250 if kind < 0.9 else shown == token


@pytest.mark.parametrize("world", [2, 3, 7])
def test_ranks_share_the_sample_and_take_part_equally_often(held_out: HeldOut, world: int) -> None:
    validation = Validation(held_out, 0.15)
    ranks = [list(validation.parts(64, 300, rank, world)) for rank in range(world)]
    assert len({len(parts) for parts in ranks}) == 1
    together = sorted(number for parts in ranks for part in parts for number in part.segments.tolist())
    assert together == sorted(number for part in validation.parts(64, 300, 0, 1) for number in part.segments.tolist())


def test_values_are_means_over_tokens_by_every_group(held_out: HeldOut) -> None:
    validation, length = Validation(held_out, 0.15), 64
    segments = held_out.segments(length)
    random = np.random.default_rng(0)
    counts = random.integers(0, 9, len(segments.piece))
    sums = np.stack([counts * random.uniform(1, 9, len(counts)), random.integers(0, counts + 1), counts], axis=1).astype(float)
    values: dict[str, Any] = validation.values(length, sums)
    assert values["loss"] == pytest.approx(sums[:, 0].sum() / counts.sum())
    assert values["accuracy"] == pytest.approx(sums[:, 1].sum() / counts.sum())
    assert values["loss_low"] < values["loss"] < values["loss_high"]
    assert values["documents"] == 15
    kinds = {
        "by_domain": [held_out.domain[piece] for piece in segments.piece],
        "by_source": [held_out.source[piece] for piece in segments.piece],
        "by_length": [LENGTHS[0] for _ in segments.piece],
    }
    for table, groups in kinds.items():
        assert values[table].keys() == set(groups)
        for name, found in values[table].items():
            own = sums[np.array(groups) == name].sum(axis=0)
            assert (found["loss"], found["predicted_tokens"]) == (pytest.approx(own[0] / own[2]), own[2])


def test_the_models_that_count_neighbours_are_asked_for_the_same_tokens(held_out: HeldOut) -> None:
    validation = Validation(held_out, 0.15)
    found = predicted(held_out, list(validation.parts(64, 500, 0, 1)), 64)
    losses = []
    for piece in range(held_out.pieces):
        for number, at in enumerate(range(held_out.first[piece], held_out.first[piece + 1])):
            if (held_out.names[piece], int(held_out.place[piece]) + number) in found:
                losses.append(float(held_out.baselines["two_sided"][at]))
    assert validation.baselines()["two_sided"] == pytest.approx(np.mean(losses), rel=1e-6)

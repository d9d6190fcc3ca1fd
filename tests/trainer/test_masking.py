"""Masking: rates, replacements, and independence of everything but (seed, sample)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernel.random import derive, draw
from pipeline.shards import Shards
from tests.trainer.synthetic import write_shards
from trainer.batches import Source, ahead, load, share
from trainer.masking import MEAN_SPAN, MODES, Masking, mask_row, span_start


def mask(
    ids: np.ndarray, key: int, rate: float = 0.3, masking: Masking = "tokens", starts: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    out, positions, labels = (np.empty(len(ids), np.int64) for _ in range(3))
    begins = np.ones(1001, bool) if starts is None else starts
    count = mask_row(ids, np.uint64(key), rate, 100, 900, 999, MODES[masking], begins, out, positions, labels)
    return out, positions[:count], labels[:count]


@given(st.lists(st.integers(0, 1000), max_size=200), st.integers(0, 2**64 - 1), st.floats(0.01, 0.99), st.sampled_from(list(MODES)))
def test_special_tokens_are_neither_predicted_nor_drawn(ids: list[int], key: int, rate: float, masking: Masking) -> None:
    row = np.array(ids, np.uint16)
    out, positions, labels = mask(row, key, rate, masking, np.arange(1001) % 3 == 0)
    ordinary = (row >= 100) & (row < 900)
    assert ordinary[positions].all()
    np.testing.assert_array_equal(labels, row[positions])
    untouched = np.ones(len(row), bool)
    untouched[positions] = False
    np.testing.assert_array_equal(out[untouched], row[untouched])
    assert all(number == 999 or 100 <= number < 900 for number in out[positions])


def test_rates_are_30_percent_and_80_10_10() -> None:
    row = np.full(1_000_000, 500, np.uint16)
    out, positions, _ = mask(row, 42)
    n = len(positions)
    assert abs(n / 1e6 - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 1e6)
    masked, kept = (out[positions] == 999).mean(), (out[positions] == 500).mean()
    assert abs(masked - 0.8) < 4 * np.sqrt(0.16 / n)
    assert abs(kept - (0.1 + 0.1 / 800)) < 4 * np.sqrt(0.09 / n)
    drawn = out[positions][(out[positions] != 999) & (out[positions] != 500)]
    counts = np.bincount(drawn - 100, minlength=800)
    counts = np.delete(counts, 400)
    chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert abs(chi_square - 798) < 5 * np.sqrt(2 * 798)


def test_whole_words_are_predicted_whole_or_not_at_all() -> None:
    generator = np.random.default_rng(0)
    row = generator.integers(90, 910, 200_000).astype(np.uint16)
    starts = np.arange(1001) % 3 == 0
    _, positions, _ = mask(row, 5, 0.15, "words", starts)
    chosen = np.zeros(len(row), bool)
    chosen[positions] = True
    ordinary = (row >= 100) & (row < 900)
    continues = ordinary[1:] & ordinary[:-1] & ~starts[row[1:]]
    assert (chosen[1:] == chosen[:-1])[continues].all()
    assert abs(chosen[ordinary].mean() - 0.15) < 0.01


def test_spans_have_spanberts_lengths_and_cover_the_rate() -> None:
    row = np.full(1_000_000, 500, np.uint16)
    out, positions, _ = mask(row, 3, 0.15, "spans")
    assert abs(len(positions) / 1e6 - 0.15) < 0.003
    # runs of tokens that are masked alike; neighbouring spans merge, so compare runs of [MASK] with independent simulation
    edges = np.flatnonzero(np.diff(positions) > 1)
    lengths = np.diff(np.concatenate([[0], edges + 1, [len(positions)]]))
    assert abs(lengths.mean() - MEAN_SPAN / (1 - span_start(0.15))) < 0.1
    masked = out[positions] == 999
    alike = (masked[1:] == masked[:-1])[np.diff(positions) == 1].mean()
    assert alike > 0.97, "within a span all tokens are replaced alike: only neighbouring spans differ"
    assert (out[positions] == 999).mean() == pytest.approx(0.8, abs=0.01)


def test_a_token_is_masked_whatever_comes_after_it() -> None:
    row = np.arange(100, 900).astype(np.uint16)
    whole, part = mask(row, 7)[0], mask(row[:300], 7)[0]
    np.testing.assert_array_equal(whole[:300], part)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    write_shards(tmp_path / "s", 37)
    return Source(Shards(tmp_path / "s"), seed=5, rate=0.3)


@given(st.integers(1, 40), st.integers(0, 1000), st.integers(1, 6), st.integers(1, 9))
def test_a_batch_is_dealt_to_the_ranks_whole(size: int, first: int, world: int, micro: int) -> None:
    shares = [share(first, size, rank, world, micro) for rank in range(world)]
    assert len({len(pieces) for pieces in shares}) == 1, "collective steps need equally many micro-batches"
    dealt = [int(sample) for pieces in shares for piece in pieces for sample in piece]
    assert sorted(dealt) == list(range(first, first + size))
    assert all(len(piece) <= micro for pieces in shares for piece in pieces)


def test_samples_are_the_same_at_every_world_size(source: Source) -> None:
    """Which tokens are seen in a step, and how they are masked, does not depend on how many ranks share them."""
    seen = []
    for world in (1, 2, 3, 5):
        rows = []
        for rank in range(world):
            for batch in load(source, share(100, 15, rank, world, 4), 100):
                labels = dict(zip(batch.positions.tolist(), batch.labels.tolist(), strict=True))
                edges = batch.cu_seqlens.tolist()
                for begin, end in zip(edges, edges[1:], strict=False):
                    if batch.predicted:
                        rows.append((batch.input_ids[begin:end].tolist(), [labels.get(place) for place in range(begin, end)]))
        seen.append(sorted(map(str, rows)))
    assert seen[0] == seen[1] == seen[2] == seen[3]


def test_dropout_keys_are_those_of_the_sample_and_the_place_in_its_row_at_every_world_size(source: Source) -> None:
    """However a batch is cut into micro-batches and dealt to ranks; against the streams of `kernel.random`."""
    rows = {sample: source.micro_batch(np.array([sample])) for sample in range(100, 115)}
    stream = np.uint64(derive(5, "dropout"))
    for sample, row in rows.items():
        own = np.uint64(draw(stream, np.uint64(sample)))
        expected = np.array([draw(own, np.uint64(place)) for place in range(row.tokens)], np.uint64).view(np.int64)
        assert row.dropout_keys.dtype == torch.int64
        assert row.dropout_keys.tolist() == expected.tolist()
    for world in (1, 2, 3, 5):
        for micro in (1, 4):
            for rank in range(world):
                for samples in share(100, 15, rank, world, micro):
                    batch = source.micro_batch(samples)
                    assert batch.dropout_keys.tolist() == [key for sample in samples for key in rows[int(sample)].dropout_keys.tolist()]
    everything = [key for row in rows.values() for key in row.dropout_keys.tolist()]
    assert len(set(everything)) == len(everything)
    again = source.micro_batch(np.array([100 + 37]))  # the same rows in the next epoch
    assert not set(again.dropout_keys.tolist()) & set(everything)


def test_epochs_mask_the_same_row_anew(source: Source) -> None:
    one, other = (source.micro_batch(np.arange(37) + epoch * 37) for epoch in (0, 1))
    assert one.tokens == other.tokens
    assert sorted(one.labels.tolist()) != sorted(other.labels.tolist())


def test_a_micro_batch_is_its_rows_end_to_end(source: Source) -> None:
    batch = source.micro_batch(np.arange(6))
    edges = batch.cu_seqlens.numpy()
    assert edges[0] == 0
    assert edges[-1] == batch.tokens
    assert batch.max_seqlen == np.diff(edges).max()
    restored = batch.input_ids.clone()
    restored[batch.positions] = batch.labels
    assert all(restored[edge] == 251 for edge in edges[:-1])
    assert all(restored[edge - 1] == 252 for edge in edges[1:])


def test_a_loader_that_fails_says_so_at_once_and_never_hangs() -> None:
    def jobs() -> Iterator[Callable[[], float]]:
        yield lambda: 1
        yield lambda: 1 / 0
        yield lambda: 3

    stream = ahead(jobs())
    assert next(stream) == 1
    with pytest.raises(ZeroDivisionError):
        next(stream)

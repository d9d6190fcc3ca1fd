"""`foundry model check`: masks read off the kernels, the worth of unpadding, throughput."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from model import ModernBertConfig, ModernBertForMaskedLM
from model.check import keys_promised, keys_seen_by_kernel, patterns, picture, ragged, throughput, unpadding

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "layers": 4,
    "heads": 4,
    "intermediate_size": 96,
    "window": 16,
    "max_length": 512,
}
CPU = torch.device("cpu")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.sampled_from([None, 2, 16, 64]), st.sampled_from(["matmul", "sdpa"]))
def test_kernels_see_the_keys_of_their_segment_and_window_and_no_others(lengths: list[int], window: int | None, kernel: str) -> None:
    seen = keys_seen_by_kernel(kernel, lengths, window, 16, CPU, torch.float32)
    assert bool((seen == keys_promised(lengths, window)).all())


def test_the_alternating_pattern_is_told_by_layer_and_pairs() -> None:
    wide, near = patterns(ModernBertConfig(**SMALL), CPU)
    assert (wide.layers, near.layers) == ((0, 3), (1, 2))
    assert wide.right
    assert near.right
    assert wide.seen == 24**2 + 1 + 8**2 + 17**2
    assert near.seen == sum(abs(i - j) <= 8 for n in (24, 1, 8, 17) for i in range(n) for j in range(n))
    (only,) = patterns(ModernBertConfig(**{**SMALL, "global_every": 1}), CPU)
    assert only.layers == (0, 1, 2, 3)


def test_a_mask_is_drawn_small() -> None:
    assert picture(keys_promised([2, 1], None)) == ["██·", "██·", "··█"]
    assert {len(line) for line in picture(keys_promised([300], 16))} == {32}


def test_the_worth_of_unpadding_counts_real_tokens() -> None:
    torch.manual_seed(0)
    found = unpadding(ModernBertForMaskedLM(ModernBertConfig(**SMALL)), 64, 4, repeats=1)
    assert found.without.lengths == (28, 40, 52, 64) == tuple(ragged(64, 4))
    assert found.padded.lengths == (64,) * 4
    assert found.padding == pytest.approx(1 - 184 / 256)
    assert found.worth == found.without.tokens_per_second / found.padded.tokens_per_second


def test_throughput_is_timed_for_every_batch_size() -> None:
    model = ModernBertForMaskedLM(ModernBertConfig(**SMALL))
    timings = throughput(model, 16, [1, 3], repeats=1)
    assert [timing.lengths for timing in timings if timing is not None] == [(16,), (16, 16, 16)]


def test_the_command_refuses_what_cannot_be_in_one_line() -> None:
    from jobs.cli import app
    from model import ModelError

    for arguments, words in (
        (["--size", "huge"], "there are base, large"),
        (["--device", "abacus"], "--device"),
        (["--batches", "1,x"], "--batches"),
        (["--batches", "0"], "at least 1"),
        (["--device", "cpu", "--length", "9000"], "longer than model.max_length 8192"),
    ):
        result = CliRunner().invoke(app, ["model", "check", *arguments])
        assert isinstance(result.exception, ModelError)
        assert words in str(result.exception)
        assert "\n" not in str(result.exception)

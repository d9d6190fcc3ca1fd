"""Attention kernels against a dense mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model import ModelError, ModernBertConfig
from model.attention import KERNELS, attend, available, choose, prepare
from model.check import keys_promised, keys_seen_by_kernel
from model.modernbert import Layer
from model.rope import rotary_tables, rotate


def dense(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], window: int | None) -> Tensor:
    """Softmax over a dense mask, in float64."""
    segment = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(query.device)
    place = torch.arange(len(segment), device=query.device)
    seen = segment[:, None] == segment[None]
    if window is not None:
        seen &= (place[:, None] - place[None]).abs() <= window // 2
    scores = torch.einsum("ihd,jhd->hij", query.double(), key.double()) / query.shape[-1] ** 0.5
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return torch.einsum("hij,jhd->ihd", weights, value.double())


def compare(kernel: str, lengths: list[int], window: int | None, device: str, dtype: torch.dtype, tolerance: float) -> None:
    """Output and gradients of a kernel against the dense mask, on random inputs that are rotated."""
    generator = torch.Generator().manual_seed(sum(lengths))
    size, tokens = 32, sum(lengths)
    qkv = torch.randn(tokens, 3, 2, size, generator=generator).to(device, dtype).requires_grad_()
    slope = torch.randn(tokens, 2, size, generator=generator).to(device, dtype)
    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device=device)
    segments = prepare(kernel, edges, max(lengths), tokens, window or 16, dtype)
    rotary = rotary_tables(segments.position, size, 10_000.0)
    output = attend(kernel, qkv, rotary, segments, window)
    (gradient,) = torch.autograd.grad((output * slope).sum(), qkv)
    exact = qkv.detach().double().requires_grad_()
    query, key = rotate(exact[:, :2], (rotary[0].double(), rotary[1].double())).unbind(1)
    expected = dense(query, key, exact[:, 2], lengths, window)
    (expected_gradient,) = torch.autograd.grad((expected * slope.double()).sum(), exact)
    torch.testing.assert_close(output.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=tolerance, atol=tolerance * 4)


LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=6)


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.sampled_from([None, 2, 16, 32, 128, 256]))
def test_cpu_kernels_attend_within_segments_and_windows(kernel: str, lengths: list[int], window: int | None) -> None:
    compare(kernel, lengths, window, "cpu", torch.float32, 2e-5)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.sampled_from([None, 16]))
def test_flex_sees_the_keys_it_should(lengths: list[int], window: int | None) -> None:
    """Uncompiled, as it is on a CPU; its backward pass runs on a GPU alone."""
    seen = keys_seen_by_kernel("flex", lengths, window, 16, torch.device("cpu"), torch.float32)
    assert bool((seen == keys_promised(lengths, window)).all())


@pytest.mark.parametrize("scores", [1, 1 << 12, 1 << 16])
def test_working_in_small_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch, scores: int) -> None:
    from model import matmul

    monkeypatch.setattr(matmul, "SCORES", scores)
    for window in (None, 128):
        compare("matmul", [150, 40, 300], window, "cpu", torch.float32, 2e-5)
        compare("matmul", [100, 29], window, "cpu", torch.float32, 2e-5)


def test_half_precision_on_a_cpu_is_within_its_rounding() -> None:
    for window in (None, 16):
        compare("matmul", [90, 3, 65], window, "cpu", torch.bfloat16, 3e-2)


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@pytest.mark.parametrize("lengths", [[8192], [8191, 1], [64, 65, 66, 127, 128, 129, 130, 1000]])
@pytest.mark.parametrize("window", [None, 128])
def test_cpu_kernels_at_the_lengths_that_matter(kernel: str, lengths: list[int], window: int | None) -> None:
    if max(lengths) < 2000:
        compare(kernel, lengths, window, "cpu", torch.float32, 2e-5)
        return
    # the dense mask of float64 would not fit: check some rows against the keys they see alone
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(sum(lengths), 3, 1, 16, generator=generator)
    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    segments = prepare(kernel, edges, max(lengths), sum(lengths), 128, torch.float32)
    rotary = rotary_tables(segments.position, 16, 10_000.0)
    output = attend(kernel, qkv, rotary, segments, window)
    query, key = rotate(qkv[:, :2], rotary)[:, :, 0].unbind(1)
    for row in (0, 63, 64, 4000, lengths[0] - 1):
        near = slice(0, lengths[0]) if window is None else slice(max(0, row - 64), min(lengths[0], row + 65))
        weights = (key[near] @ query[row] / 4).softmax(0)
        torch.testing.assert_close(output[row, 0], weights @ qkv[near, 2, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kernel", list(KERNELS))
@pytest.mark.parametrize("window", [None, 16, 128])
def test_gpu_kernels_attend_as_the_dense_mask_does(kernel: str, window: int | None) -> None:
    if kernel not in available(torch.device("cuda")):
        pytest.skip(f"{kernel} is not installed, or not for this GPU")
    for lengths in ([1], [90, 3, 65], [700, 129, 128, 1], [4096, 1, 2000]):
        compare(kernel, lengths, window, "cuda", torch.bfloat16, 3e-2)


def test_a_kernel_that_cannot_run_is_refused_naming_those_that_can() -> None:
    assert choose("auto", torch.device("cpu"), torch.float32) == "matmul"
    with pytest.raises(ModelError, match="here can run: matmul, sdpa, flex"):
        choose("flash2", torch.device("cpu"), torch.bfloat16)
    with pytest.raises(ModelError, match="no kernel fast; there are: auto, flash3, flash2, varlen, flex, sdpa, matmul"):
        choose("fast", torch.device("cpu"), torch.float32)


def test_the_choice_is_made_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    choose.cache_clear()
    with caplog.at_level("INFO", logger="model.attention"):
        for _ in range(3):
            choose("auto", torch.device("cpu"), torch.float32)
    assert [record.getMessage() for record in caplog.records] == [
        "attention kernel: matmul (cpu, torch.float32; asked for: auto; can run here: matmul, sdpa, flex)"
    ]


@pytest.mark.parametrize("layer", [0, 1, 3], ids=["first", "local", "global"])
def test_a_layer_compiles_whole_and_once_for_all_lengths(layer: int) -> None:
    """Without a graph break (`fullgraph`) and without a second compilation, which the counting backend would see."""
    config = ModernBertConfig(vocab_size=64, hidden_size=64, layers=4, heads=2, intermediate_size=96, window=16, attention_out_dropout=0.0)
    module = Layer(config, layer)
    compilations = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        compilations.append(len(inputs))
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=count)
    for lengths in ([200, 30, 7], [141, 500], [150], [300, 2, 2, 2, 2]):
        edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
        segments = prepare("matmul", edges, max(lengths), sum(lengths), 16, torch.float32)
        rotary = rotary_tables(segments.position, config.head_size, 10_000.0)
        hidden = torch.randn(sum(lengths), 64)
        plain, fast = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
        expected = module(plain, segments, rotary, "matmul")
        output = compiled(fast, segments, rotary, "matmul")
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
        expected.sum().backward()
        output.sum().backward()
        torch.testing.assert_close(fast.grad, plain.grad, rtol=1e-4, atol=1e-4)
    assert len(compilations) == 1


@pytest.mark.parametrize("kernel", ["matmul"])
def test_the_backward_operator_is_registered_rightly(kernel: str) -> None:
    from model.matmul import matmul_attention

    qkv = torch.randn(40, 3, 2, 8, requires_grad=True)
    edges = torch.tensor([0, 10, 40], dtype=torch.int32)
    segments = prepare(kernel, edges, 30, 40, 16, torch.float32)
    cos, sin = rotary_tables(segments.position, 8, 10_000.0)
    for mask in (None, segments.near):
        torch.library.opcheck(
            matmul_attention, (qkv, cos, sin, edges, mask), test_utils=("test_schema", "test_faketensor", "test_autograd_registration")
        )

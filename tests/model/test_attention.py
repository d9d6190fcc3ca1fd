"""Attention kernels against a dense mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model import ModelError
from model.attention import KERNELS, attend, available, choose, prepare


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
    generator = torch.Generator().manual_seed(sum(lengths))
    parts = [torch.randn(sum(lengths), 2, 32, generator=generator).to(device, dtype).requires_grad_() for _ in range(4)]
    *inputs, slope = parts
    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device=device)
    segments = prepare(kernel, edges, max(lengths), sum(lengths), window or 16, dtype)
    output = attend(kernel, *inputs, segments, window)
    gradients = torch.autograd.grad((output * slope.detach()).sum(), inputs)
    expected = dense(*inputs, lengths, window)
    expected_gradients = torch.autograd.grad((expected * slope.detach()).sum(), inputs)
    torch.testing.assert_close(output.double(), expected, rtol=tolerance, atol=tolerance)
    for one, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=tolerance, atol=tolerance)


LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=6)


@settings(max_examples=60)
@given(LENGTHS, st.sampled_from([None, 2, 16, 32]))
def test_sdpa_attends_within_segments_and_windows(lengths: list[int], window: int | None) -> None:
    compare("sdpa", lengths, window, "cpu", torch.float32, 2e-5)


@pytest.mark.parametrize("lengths", [[8192], [8191, 1], [64, 65, 66, 127, 128, 129, 130, 1000]])
def test_sdpa_at_the_lengths_that_matter(lengths: list[int]) -> None:
    if max(lengths) > 2000:  # the dense mask of float64 would not fit: check a window of rows against the segment alone
        generator = torch.Generator().manual_seed(0)
        query, key, value = (torch.randn(sum(lengths), 1, 16, generator=generator) for _ in range(3))
        edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
        segments = prepare("sdpa", edges, max(lengths), sum(lengths), 128, torch.float32)
        output = attend("sdpa", query, key, value, segments, 128)
        for row in (0, 63, 64, 4000, lengths[0] - 1):
            near = slice(max(0, row - 64), min(lengths[0], row + 65))
            weights = (key[near, 0] @ query[row, 0] / 4).softmax(0)
            torch.testing.assert_close(output[row, 0], weights @ value[near, 0], rtol=1e-4, atol=1e-5)
    else:
        compare("sdpa", lengths, 128, "cpu", torch.float32, 2e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kernel", list(KERNELS))
@pytest.mark.parametrize("window", [None, 16, 128])
def test_gpu_kernels_attend_as_the_dense_mask_does(kernel: str, window: int | None) -> None:
    if kernel not in available(torch.device("cuda")):
        pytest.skip(f"{kernel} is not installed, or not for this GPU")
    for lengths in ([1], [90, 3, 65], [700, 129, 128, 1]):
        compare(kernel, lengths, window, "cuda", torch.bfloat16, 3e-2)


def test_a_kernel_that_cannot_run_is_refused_naming_those_that_can() -> None:
    assert choose("auto", torch.device("cpu"), torch.float32) == "sdpa"
    with pytest.raises(ModelError, match="here can run: sdpa"):
        choose("flash2", torch.device("cpu"), torch.bfloat16)
    with pytest.raises(ModelError, match="no kernel fast; there are: auto, flash3, flash2, varlen, sdpa"):
        choose("fast", torch.device("cpu"), torch.float32)

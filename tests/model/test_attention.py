"""Attention kernels against a dense mask."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from model import ModelError, ModernBertConfig, attention
from model.attention import _FLASH, KERNELS, attend, available, block_mask, choose, prepare, segment_of
from model.check import keys_promised, keys_seen_by_kernel
from model.modernbert import Layer
from model.rope import rotary_tables, rotate
from tests.profiles import share


def dense(qkv: Tensor, slope: Tensor, lengths: list[int], window: int | None) -> tuple[Tensor, Tensor]:
    """Output and gradient by the definition, in float64: softmax over a dense mask, 512 queries of a segment at a time.

    Args: rotated `qkv` (tokens, 3, heads, size), `slope` (tokens, heads, size).
    """
    output, gradient, begin = torch.empty_like(slope), torch.zeros_like(qkv), 0
    for length in lengths:
        segment = qkv[begin : begin + length].detach().requires_grad_()
        for first in range(0, length, 512):
            rows = slice(first, min(first + 512, length))
            scores = torch.einsum("ihd,jhd->hij", segment[rows, 0], segment[:, 1]) / qkv.shape[-1] ** 0.5
            if window is not None:
                place = torch.arange(length, device=qkv.device)
                scores = scores.masked_fill((place[rows, None] - place[None]).abs() > window // 2, float("-inf"))
            mixed = torch.einsum("hij,jhd->ihd", scores.softmax(-1), segment[:, 2])
            here = slice(begin + rows.start, begin + rows.stop)
            output[here] = mixed.detach()
            gradient[begin : begin + length] += torch.autograd.grad((mixed * slope[here]).sum(), segment)[0]
        begin += length
    return output, gradient


def compare(
    kernel: str, lengths: list[int], window: int | None, device: str, dtype: torch.dtype, tolerance: float, heads: int = 2, size: int = 32
) -> None:
    """Output and gradients of a kernel against the definition, on random inputs that are rotated."""
    generator = torch.Generator().manual_seed(sum(lengths))
    tokens = sum(lengths)
    qkv = torch.randn(tokens, 3, heads, size, generator=generator).to(device, dtype).requires_grad_()
    slope = torch.randn(tokens, heads, size, generator=generator).to(device, dtype)
    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device=device)
    segments = prepare(kernel, edges, max(lengths), tokens, window or 16, dtype)
    rotary = rotary_tables(segments.position, size, 10_000.0)
    output = attend(kernel, qkv, rotary, segments, window)
    (gradient,) = torch.autograd.grad((output * slope).sum(), qkv)
    exact = qkv.detach().double().requires_grad_()
    turned = torch.cat([rotate(exact[:, :2], (rotary[0].double(), rotary[1].double())), exact[:, 2:]], dim=1)
    expected, slope_of_turned = dense(turned.detach(), slope.double(), lengths, window)
    (expected_gradient,) = torch.autograd.grad(turned, exact, slope_of_turned)
    torch.testing.assert_close(output.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=tolerance, atol=tolerance * 4)


LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=6)
WINDOWS = st.sampled_from([None, 2, 16, 32, 128, 256])


def _up_to(tokens: int) -> st.SearchStrategy[list[int]]:
    """Lengths of every magnitude, from 1 to 8192, and of at most `tokens` in all."""
    lengths = st.lists(st.integers(0, 13).flatmap(lambda bits: st.integers(1 << bits >> 1 or 1, 1 << bits)), min_size=1, max_size=8)
    return lengths.filter(lambda found: sum(found) <= tokens)


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@settings(max_examples=share(0.6))
@given(LENGTHS, WINDOWS)
def test_cpu_kernels_attend_within_segments_and_windows(kernel: str, lengths: list[int], window: int | None) -> None:
    compare(kernel, lengths, window, "cpu", torch.float32, 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@settings(max_examples=share(0.12))
@given(_up_to(10_000), WINDOWS)
@example([8192], None)
@example([8191, 1], None)
@example([1, 8192, 130], 128)
def test_cpu_kernels_attend_rightly_up_to_8192_tokens(kernel: str, lengths: list[int], window: int | None) -> None:
    compare(kernel, lengths, window, "cpu", torch.float32, 2e-5, heads=1, size=16)


@settings(max_examples=share(0.1))
@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.sampled_from([None, 16]))
def test_flex_sees_the_keys_it_should(lengths: list[int], window: int | None) -> None:
    """Uncompiled, as it is on a CPU; its backward pass runs on a GPU alone."""
    seen = keys_seen_by_kernel("flex", lengths, window, 16, torch.device("cpu"), torch.float32)
    assert bool((seen == keys_promised(lengths, window)).all())


@settings(max_examples=share(0.4))
@given(LENGTHS, WINDOWS)
def test_the_block_mask_is_the_one_that_torch_works_out_pair_by_pair(lengths: list[int], window: int | None) -> None:
    from torch.nn.attention.flex_attention import create_block_mask

    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    segment = segment_of(edges, sum(lengths))

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (segment[query] == segment[key]) & ((query - key).abs() <= (10_000 if window is None else window // 2))

    ours, theirs = block_mask(edges, segment, window), create_block_mask(seen, None, None, len(segment), len(segment), device="cpu")
    torch.testing.assert_close(ours.to_dense(), theirs.to_dense())
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    assert theirs.full_kv_num_blocks is not None
    assert theirs.full_kv_indices is not None
    assert ours.full_kv_indices is not None
    for blocks, mine, others in zip(
        theirs.full_kv_num_blocks.flatten(), ours.full_kv_indices.flatten(0, 2), theirs.full_kv_indices.flatten(0, 2), strict=True
    ):
        assert set(mine[:blocks].tolist()) == set(others[:blocks].tolist())


def test_flex_says_that_it_cannot_train_on_a_cpu() -> None:
    with pytest.raises(ModelError, match="flex has no backward pass on a CPU"):
        compare("flex", [20], None, "cpu", torch.float32, 2e-5)


@pytest.mark.parametrize("scores", [1, 1 << 12, 1 << 16])
def test_working_in_small_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch, scores: int) -> None:
    from model import matmul

    monkeypatch.setattr(matmul, "SCORES", scores)
    for window in (None, 128):
        compare("matmul", [150, 40, 300], window, "cpu", torch.float32, 2e-5)
        compare("matmul", [100, 29], window, "cpu", torch.float32, 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@settings(max_examples=share(0.4))
@given(LENGTHS, WINDOWS, st.sampled_from([torch.bfloat16, torch.float16]))
@example([8192], None, torch.bfloat16)
@example([1, 4000, 130], None, torch.bfloat16)
@example([1, 4000, 130], 128, torch.bfloat16)
def test_half_precision_on_a_cpu_is_within_its_rounding(kernel: str, lengths: list[int], window: int | None, dtype: torch.dtype) -> None:
    compare(kernel, lengths, window, "cpu", dtype, 3e-2)


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@pytest.mark.parametrize("window", [None, 128])
def test_cpu_kernels_at_the_edges_of_windows_and_blocks(kernel: str, window: int | None) -> None:
    compare(kernel, [64, 65, 66, 127, 128, 129, 130, 1000], window, "cpu", torch.float32, 2e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kernel", list(KERNELS))
@pytest.mark.parametrize("window", [None, 16, 128])
def test_gpu_kernels_attend_as_the_dense_mask_does(kernel: str, window: int | None) -> None:
    if kernel not in available(torch.device("cuda")):
        pytest.skip(f"{kernel} is not installed, or not for this GPU")
    for lengths in ([1], [90, 3, 65], [700, 129, 128, 1], [8192, 1, 2000]):
        compare(kernel, lengths, window, "cuda", torch.bfloat16, 3e-2)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kernel", list(KERNELS))
@settings(max_examples=share(0.3))
@given(_up_to(10_000), WINDOWS)
def test_gpu_kernels_attend_within_segments_and_windows(kernel: str, lengths: list[int], window: int | None) -> None:
    if kernel not in available(torch.device("cuda")):
        pytest.skip(f"{kernel} is not installed, or not for this GPU")
    compare(kernel, lengths, window, "cuda", torch.bfloat16, 3e-2)


def test_a_kernel_that_cannot_run_is_refused_naming_those_that_can() -> None:
    assert choose("auto", torch.device("cpu"), torch.float32) == "matmul"
    with pytest.raises(ModelError, match="here can run: matmul, sdpa, flex"):
        choose("flash2", torch.device("cpu"), torch.bfloat16)
    with pytest.raises(ModelError, match="no kernel fast; there are: auto, flash4, flash3, flash2, varlen, flex, sdpa, matmul"):
        choose("fast", torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    ("capability", "head_size", "names"),
    [
        ((7, 5), 64, ["flex", "sdpa"]),
        ((8, 6), 64, ["flash2", "varlen", "flex", "sdpa"]),
        ((9, 0), 64, ["flash3", "flash4", "flash2", "varlen", "flex", "sdpa"]),
        ((10, 0), 64, ["flash4", "flash2", "varlen", "flex", "sdpa"]),
        ((12, 0), 256, ["flash2", "varlen", "flex", "sdpa"]),
        ((9, 0), 20, ["flex", "sdpa"]),
        ((9, 0), 8, ["flash3", "flash4", "flash2", "varlen", "sdpa"]),
        ((9, 0), 512, ["flex", "sdpa"]),
    ],
)
def test_what_a_gpu_can_run(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], head_size: int, names: list[str]) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(attention, "_importable", lambda kernel: True)
    assert available(torch.device("cuda"), head_size) == names
    choose.cache_clear()
    if "flash2" not in names and capability >= (8, 0):
        with pytest.raises(ModelError, match=f"flash2 cannot run on cuda in torch.bfloat16 with heads {head_size} wide"):
            choose("flash2", torch.device("cuda"), torch.bfloat16, head_size)
    assert choose("auto", torch.device("cuda"), torch.float32, 64) == "flex"
    choose.cache_clear()


def test_a_package_that_cannot_be_imported_is_said_and_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """flash-attn built for another torch is there for the finder, and fails with an undefined symbol."""

    def broken(name: str) -> None:
        raise ImportError("undefined symbol: _ZN3c105ErrorC2E", name=name)

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def without_parent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'flash_attn'", name="flash_attn")

    def without_need(name: str) -> None:
        raise ModuleNotFoundError("No module named 'cutlass'", name="cutlass")

    for importer, kernel, said in (
        (broken, "flash2", 1),
        (absent, "flash2", 0),
        (without_parent, "flash4", 0),
        (without_need, "flash4", 1),
    ):
        caplog.clear()
        attention._importable.cache_clear()
        monkeypatch.setattr(attention, "import_module", importer)
        assert not attention._importable(kernel)
        assert sum(f"{_FLASH[kernel][0]} is installed and cannot be imported" in record.getMessage() for record in caplog.records) == said
    monkeypatch.setattr(attention, "import_module", lambda name: SimpleNamespace(varlen_attn=lambda query, causal: None))
    assert not attention._importable("varlen")  # the first versions have no windows
    attention._importable.cache_clear()


@pytest.mark.parametrize("window", [None, 16])
def test_flash4_is_given_numbers_and_its_own_way_to_say_everything(monkeypatch: pytest.MonkeyPatch, window: int | None) -> None:
    """A tensor as max_seqlen makes its kernels compile for each batch anew; a side of -1 is not the same to it as None."""
    calls: list[dict[str, Any]] = []

    def recorded(query: Tensor, key: Tensor, value: Tensor, **given: Any) -> tuple[Tensor, None]:
        calls.append(given)
        return value, None

    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "flash_attn.cute", SimpleNamespace(flash_attn_varlen_func=recorded))
    edges = torch.tensor([0, 5, 12], dtype=torch.int32)
    qkv = torch.randn(12, 3, 2, 8)
    segments = prepare("flash4", edges, 7, 12, 16, torch.float32)
    rotary = rotary_tables(segments.position, 8, 10_000.0)
    torch.testing.assert_close(attend("flash4", qkv, rotary, segments, window), qkv[:, 2])
    (given,) = calls
    assert given["max_seqlen_q"] == given["max_seqlen_k"] == 7
    assert type(given["max_seqlen_q"]) is int
    assert given["cu_seqlens_q"] is given["cu_seqlens_k"] is segments.cu_seqlens
    assert given["window_size"] == ((None, None) if window is None else (8, 8))


def test_the_choice_is_made_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    choose.cache_clear()
    with caplog.at_level("INFO", logger="model.attention"):
        for _ in range(3):
            choose("auto", torch.device("cpu"), torch.float32)
    assert [record.getMessage() for record in caplog.records] == [
        "attention kernel: matmul (cpu, torch.float32; asked for: auto; can run here: matmul, sdpa, flex)"
    ]


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@pytest.mark.parametrize("layer", [0, 1, 3], ids=["first", "local", "last"])
def test_a_layer_compiles_whole_and_once_for_all_lengths(layer: int, kernel: str) -> None:
    """Without a graph break (`fullgraph`) and without a second compilation, which the counting backend would see."""
    config = ModernBertConfig(vocab_size=64, hidden_size=64, layers=4, heads=2, intermediate_size=96, window=16, attention_out_dropout=0.0)
    module = Layer(config, layer)
    compilations = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        compilations.append(len(inputs))
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=count)
    for lengths in ([200, 30, 7], [141, 500], [150], [300, 2, 2, 2, 2], [100, 129, 5], [60, 3, 3]):
        edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
        segments = prepare(kernel, edges, max(lengths), sum(lengths), 16, torch.float32)
        rotary = rotary_tables(segments.position, config.head_size, 10_000.0)
        hidden = torch.randn(sum(lengths), 64)
        plain, fast = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
        wanted = torch.arange(0, sum(lengths), 3) if layer == 3 else None  # as in the last layer
        expected = module(plain, segments, rotary, kernel, wanted)
        output = compiled(fast, segments, rotary, kernel, wanted)
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
        expected.sum().backward()
        output.sum().backward()
        torch.testing.assert_close(fast.grad, plain.grad, rtol=1e-4, atol=1e-4)
    assert len(compilations) == 1


def test_the_operators_are_registered_rightly() -> None:
    from model.attention import segment_attention
    from model.matmul import matmul_attention

    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    edges = torch.tensor([0, 10, 140], dtype=torch.int32)
    for dtype in (torch.float32, torch.bfloat16):
        qkv = torch.randn(140, 3, 2, 8, dtype=dtype, requires_grad=True)
        segments = prepare("matmul", edges, 130, 140, 16, dtype)
        cos, sin = rotary_tables(segments.position, 8, 10_000.0)
        for whole in (False, True):
            torch.library.opcheck(matmul_attention, (qkv, cos, sin, edges, segments.near, whole), test_utils=checks)
        torch.library.opcheck(segment_attention, (*qkv.unbind(1), edges), test_utils=checks)

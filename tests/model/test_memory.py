"""What activations take is what the CPU's allocator reports of a step, with an attention kernel that keeps what those of GPUs keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from model import ModernBertConfig, ModernBertForMaskedLM
from model.attention import KERNELS, AttentionKernel
from model.memory import activations


class Keeping(torch.autograd.Function):
    """Of flash attention what it keeps for its backward pass: queries, keys, values, outputs, and a log-sum-exp of each head and token."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = value.clone(memory_format=torch.contiguous_format)
        ctx.save_for_backward(query, key, value, output, torch.empty(query.shape[:2]))
        return output

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return tuple(torch.zeros_like(part, memory_format=torch.contiguous_format) for part in ctx.saved_tensors[:3])


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel above, and GeGLU as modules, not as the function by hand that CPUs have for float32."""
    kernel = AttentionKernel(lambda query, key, value, segments, window: Keeping.apply(query, key, value))  # type: ignore[no-untyped-call]
    monkeypatch.setattr(KERNELS, "built_in", {**KERNELS.built_in, "keeping": kernel})
    monkeypatch.setattr("model.geglu.runs_on", lambda hidden: False)


def allocated(work: Callable[[], Any]) -> tuple[Any, int, int]:
    """What the work returns, the bytes that are still allocated at its end, and the most at any time, by the allocator's own reports."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        result = work()
    assert watched.profiler is not None
    assert watched.profiler.kineto_results is not None
    events = [event for event in watched.profiler.kineto_results.events() if event.name() == "[memory]"]
    total = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        total += event.nbytes()
        most = max(most, total)
    return result, total, most


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_activations_are_what_the_allocator_reports(precision: str, checkpointing: bool) -> None:
    """Within 5 %.

    The peak is compared in float32 alone: CPUs work out some products of bfloat16 in float32, in memory that GPUs do not need, and the
    norm before the decoder is narrow on a CPU.
    """
    hidden, heads, inner = (128, 2, 328) if precision == "float32" else (96, 3, 144)  # shaped as large and as base
    config = ModernBertConfig(512, hidden, layers=8, heads=heads, intermediate_size=inner, max_length=512)
    generator = torch.Generator().manual_seed(1)
    tokens, predicted = 512, 153
    ids = torch.randint(512, (tokens,), generator=generator)
    places = torch.randperm(tokens, generator=generator)[:predicted].sort().values
    keys = torch.randint(1 << 40, (tokens,), generator=generator)
    model = ModernBertForMaskedLM(config, attention="keeping")
    model.model.activation_checkpointing = checkpointing
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(ids, torch.tensor([0, 150, tokens], dtype=torch.int32), 362, places, ids[places], keys).loss
        assert loss is not None
        return loss  # type: ignore[no-any-return]

    found = activations(config, tokens, predicted, precision=precision, checkpointing=checkpointing)
    loss, kept, _ = allocated(forward)
    assert found.kept == pytest.approx(kept, rel=0.05)
    loss.backward()
    if precision == "float32":
        _, _, most = allocated(lambda: forward().backward())
        assert found.peak == pytest.approx(most, rel=0.05)


def test_activations_grow_with_the_tokens_and_not_with_their_square() -> None:
    base = ModernBertConfig.base(max_length=1 << 20)
    one, two, four = (activations(base, n << 17, 0, precision="bfloat16").kept for n in (1, 2, 4))
    assert four - two == 2 * (two - one)


def test_float32_and_less_checkpointing_take_more() -> None:
    large = ModernBertConfig.large()
    kept = {
        (precision, c): activations(large, 8192, 2457, precision=precision, checkpointing=c)
        for precision in ("bfloat16", "float32")
        for c in (False, True)
    }
    assert kept["float32", False].peak > 1.5 * kept["bfloat16", False].peak > 1.5 * 2 * kept["bfloat16", True].peak
    assert all(found.peak >= found.kept for found in kept.values())

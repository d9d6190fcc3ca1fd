"""StableAdamW on one process, against textbook forms."""

from __future__ import annotations

import pytest
import torch

from tests.trainer.reference import ReferenceStableAdamW
from trainer.optimizer import StableAdamW


def parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((7, 5), (11,), (3, 4))]


def set_gradients(those: list[torch.nn.Parameter], step: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in those:
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale


def test_steps_are_those_of_the_published_algorithm() -> None:
    ours, theirs = parameters(), parameters()
    optimizer = StableAdamW([{"params": ours, "weight_decay": 0.1}], lr=0.01)
    reference = ReferenceStableAdamW(theirs, betas=(0.9, 0.98), eps=1e-6)
    for step in range(12):
        scale = 100.0 if step == 6 else 1.0  # a spike, which must be clipped
        set_gradients(ours, step, scale)
        set_gradients(theirs, step, scale)
        for group in optimizer.param_groups:
            group["lr"], group["max_lr"] = 0.01 / (1 + step), 0.01
        optimizer.step()
        reference.step(lr=0.01 / (1 + step), max_lr=0.01, weight_decay=0.1)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_without_clipping_it_is_adamw() -> None:
    """Gradients that shrink keep the RMS under one, and then the update is torch's AdamW without decay."""
    ours, theirs = parameters(), parameters()
    optimizer = StableAdamW([{"params": ours}], lr=0.01)
    adamw = torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0)
    for step in range(8):
        for those in (ours, theirs):
            generator = torch.Generator().manual_seed(step)
            for parameter in those:
                sign = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
                parameter.grad = sign * 0.9**step
        optimizer.step()
        adamw.step()
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-6)


def test_a_closure_is_refused() -> None:
    with pytest.raises(TypeError):
        StableAdamW([{"params": parameters()}], lr=1.0).step(lambda: 0.0)

"""StableAdamW on one process, against textbook forms."""

from __future__ import annotations

import pytest
import torch

from tests.trainer.reference import ReferenceMuon, ReferenceStableAdamW
from trainer.muon import Muon, orthogonalised
from trainer.optimizer import StableAdamW
from trainer.slices import Part, Slice, Whole


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


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (5, 7), (64, 64), (96, 32)])
def test_orthogonal_matrices_are_those_of_the_singular_values(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(sum(shape))) * 1e-3
    found = orthogonalised(matrices, 5)
    for one, other in zip(matrices, found, strict=True):
        expected = ReferenceMuon.orthogonal(one.double()) / (0.2 * max(shape) ** 0.5)
        torch.testing.assert_close(other.double(), expected, rtol=1e-3, atol=1e-4)
    assert bool((orthogonalised(torch.zeros(2, *shape), 5) == 0).all())


def test_muons_steps_are_those_of_the_published_algorithm() -> None:
    """Fused matrices are several, and what is not within a block is stepped by AdamW."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "m.layers.0.attn.Wqkv.weight": (24, 8),
        "m.layers.0.mlp.Wi.weight": (20, 8),
        "m.layers.0.mlp.Wo.weight": (8, 10),
    }
    shapes |= {"embeddings.weight": (30, 8), "m.layers.0.mlp_norm.weight": (8,)}
    start = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    ours, theirs = ({name: torch.nn.Parameter(value.clone()) for name, value in start.items()} for _ in range(2))
    kinds = {name: "vector" if value.dim() == 1 else "block" if ".layers." in name else "matrix" for name, value in start.items()}
    groups = [
        {"params": [ours[name] for name in ours if kinds[name] == kind], "kind": kind, "weight_decay": 0.0 if kind == "vector" else 0.1}
        for kind in ("block", "matrix", "vector")
    ]
    optimizer, reference = Muon(groups), ReferenceMuon(list(theirs.items()), (0.9, 0.98), 1e-6)
    slices = [Slice(value, (Whole(name, tuple(value.shape)),), (Part(0, 0, value.numel(), 0),)) for name, value in ours.items()]
    optimizer.set_slices(slices, None, False)
    for step in range(6):
        for name in start:
            gradient = torch.randn(start[name].shape, generator=torch.Generator().manual_seed(step))
            ours[name].grad = theirs[name].grad = gradient
        for group in optimizer.param_groups:
            group["lr"], group["max_lr"] = 0.01 / (1 + step), 0.01
        optimizer.step()
        reference.step(0.01 / (1 + step), 0.01, 0.1, decay_vectors=False)
    for name in start:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5)

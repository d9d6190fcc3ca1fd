"""Norms of gradients, updates and weights by kind of layer, right under every ZeRO stage and for any optimizer.

They are taken where the optimizer steps: there each rank has the gradients and the weights that are its own to step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from trainer.engine import Trainee
from trainer.slices import Slice

KINDS = ("embedding", "attention", "mlp", "norm", "head")
OF = ("gradient", "weight", "update")  # what has norms


def kind_of(name: str) -> str:
    """The kind of layer that a parameter of either architecture is of; every layer norm is a `norm`, wherever it stands."""
    if "norm" in name.lower():
        return "norm"
    if name.startswith(("head.", "decoder.", "cls.")):
        return "head"
    if "embeddings." in name:
        return "embedding"
    return "attention" if ".attn." in name or ".attention." in name else "mlp"


def measured_step(trainee: Trainee) -> Tensor:
    """Let the optimizer step, and return this rank's share of the squared norms: float64 (3, kinds), in the order of `OF` and `KINDS`.

    The sum over all ranks is that of the whole model. Beside the optimizer's own memory it takes that of the weights which the rank
    steps at once (under stage 0 its share of them), for as long as the step takes.
    """
    optimizer = trainee.optimizer
    step = optimizer.step
    shares = [_Share(one, trainee.stage == 0) for one in _own(trainee)]
    squares = torch.zeros(len(OF), len(KINDS), dtype=torch.float64)

    def watched(*_: Any) -> None:
        stepped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"] if parameter.grad is not None}
        now = [share for share in shares if id(share.one.tensor) in stepped]  # DeepSpeed steps them one by one
        before = [share.one.tensor.detach().clone() for share in now]
        for share in now:
            assert share.one.tensor.grad is not None, "it is stepped"
            squares[0] += share.squares(share.one.tensor.grad)
        step()
        for share, old in zip(now, before, strict=True):
            weight = share.one.tensor.detach()
            squares[1] += share.squares(weight)
            squares[2] += share.squares(old.sub_(weight))

    optimizer.__dict__["step"] = watched
    try:
        trainee.step()
    finally:
        del optimizer.__dict__["step"]
    return squares


def _own(trainee: Trainee) -> Sequence[Slice]:
    """What this rank measures: under stage 0, where each has all, the ranks take the parameters in turn."""
    if trainee.stage > 0:
        return trainee.slices
    rank = torch.distributed.get_rank() if trainee.world > 1 else 0
    return trainee.slices[rank :: trainee.world]


class _Share:
    """The parts of a slice, each with its kind."""

    def __init__(self, one: Slice, whole: bool) -> None:
        self.one = one
        self._parts = [(part.at, part.length) for part in one.parts]
        self._kinds = torch.zeros(len(self._parts), len(KINDS), dtype=torch.float64)
        for row, part in enumerate(one.parts):
            self._kinds[row, KINDS.index(kind_of(one.parameters[part.slot].name))] = 1

    def squares(self, values: Tensor) -> Tensor:
        """Squared norms of `values`, which lie as the slice does, by kind: float64 (kinds,) on the CPU."""
        if not self._parts:
            return torch.zeros(len(KINDS), dtype=torch.float64)
        flat = values.reshape(-1).float()
        norms = torch.stack(torch._foreach_norm([flat.narrow(0, at, length) for at, length in self._parts]))
        return norms.double().cpu().square() @ self._kinds


def table(squares: Sequence[float]) -> dict[str, dict[str, float]]:
    """The norms that sums over all ranks of `measured_step` come to, flattened, as lines of metrics have them."""
    rows = iter(squares)
    return {what: {kind: next(rows) ** 0.5 for kind in KINDS} for what in OF}

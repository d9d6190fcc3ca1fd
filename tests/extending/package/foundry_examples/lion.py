"""Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2): the sign of an averaged gradient is the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field

from trainer.optimizers import OptimizerConfig, Shared


class LionConfig(OptimizerConfig):
    """Lion. Its learning rate should be a third to a tenth of AdamW's."""

    zero_stages: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)  # each element's step is its own

    momentum: float = Field(0.99, ge=0, lt=1, description="How much of the average stays from step to step (paper: 0.99).")
    blend: float = Field(0.9, ge=0, lt=1, description="How much of the average is in the direction of a step (paper: 0.9).")

    def make(self, groups: list[dict[str, Any]], training: Shared) -> torch.optim.Optimizer:
        return Lion(groups, self.momentum, self.blend)


class Lion(torch.optim.Optimizer):
    """Lion over groups of parameters."""

    def __init__(self, groups: list[dict[str, Any]], momentum: float, blend: float) -> None:
        super().__init__(groups, {"lr": 1.0, "max_lr": 1.0, "weight_decay": 0.0})
        self.momentum, self.blend = momentum, blend

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad.to(parameter.dtype)
                average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
                parameter.mul_(1 - group["lr"] / group["max_lr"] * group["weight_decay"])
                parameter.sub_(group["lr"] * average.lerp(gradient, 1 - self.blend).sign_())
                average.lerp_(gradient, 1 - self.momentum)

"""An independent StableAdamW, written from the paper's algorithm with textbook bias correction, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class ReferenceStableAdamW:
    """Algorithm 2 of arXiv 2304.13013, with AdamW's m / (1 - beta1^t) and v / (1 - beta2^t), and decoupled decay."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], betas: tuple[float, float], eps: float) -> None:
        self.parameters, self.betas, self.eps = list(parameters), betas, eps
        self.m = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in self.parameters]
        self.v = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in self.parameters]
        self.t = 0

    @torch.no_grad()
    def step(self, lr: float, max_lr: float, weight_decay: float, *, decay_vectors: bool = True) -> None:
        self.t += 1
        beta1, beta2 = self.betas
        for index, parameter in enumerate(self.parameters):
            assert parameter.grad is not None
            g = parameter.grad.double()
            self.m[index] = beta1 * self.m[index] + (1 - beta1) * g
            self.v[index] = beta2 * self.v[index] + (1 - beta2) * g * g
            m, v = self.m[index] / (1 - beta1**self.t), self.v[index] / (1 - beta2**self.t)
            rms = (g * g / torch.maximum(v, torch.tensor(self.eps**2, dtype=v.dtype))).mean().sqrt()
            rate = lr / max(1.0, float(rms))
            decay = weight_decay if parameter.dim() > 1 or decay_vectors else 0.0
            new = parameter.double() * (1 - lr / max_lr * decay) - rate * m / (v.sqrt() + self.eps)
            parameter.copy_(new.to(parameter.dtype))

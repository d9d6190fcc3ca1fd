"""Independent optimizers, written from the papers' algorithms with textbook bias correction in float64, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class ReferenceStableAdamW:
    """Algorithm 2 of arXiv 2304.13013, with AdamW's m / (1 - beta1^t) and v / (1 - beta2^t), and decoupled decay."""

    clips = True

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
            rate = lr / max(1.0, float(rms)) if self.clips else lr
            decay = weight_decay if parameter.dim() > 1 or decay_vectors else 0.0
            new = parameter.double() * (1 - lr / max_lr * decay) - rate * m / (v.sqrt() + self.eps)
            parameter.copy_(new.to(parameter.dtype))


class ReferenceAdamW(ReferenceStableAdamW):
    """Without the clipping."""

    clips = False


class ReferenceMuon:
    """Muon for the blocks' matrices, each part of a fused one alone, and AdamW for all else, over a model's named parameters."""

    def __init__(self, named: Sequence[tuple[str, torch.nn.Parameter]], betas: tuple[float, float], eps: float) -> None:
        inside = [(name, parameter) for name, parameter in named if ".layers." in name and parameter.dim() == 2]
        self.inside = [(parameter, 3 if "Wqkv" in name else 2 if "Wi" in name else 1) for name, parameter in inside]
        known = {id(parameter) for parameter, _ in self.inside}
        self.others = ReferenceAdamW([parameter for _, parameter in named if id(parameter) not in known], betas, eps)
        self.momenta = [torch.zeros_like(parameter, dtype=torch.float64) for parameter, _ in self.inside]

    @torch.no_grad()
    def step(self, lr: float, max_lr: float, weight_decay: float, *, decay_vectors: bool = True) -> None:
        self.others.step(lr, max_lr, weight_decay, decay_vectors=decay_vectors)
        for (parameter, count), momentum in zip(self.inside, self.momenta, strict=True):
            assert parameter.grad is not None
            gradient = parameter.grad.double()
            momentum.mul_(0.95).add_(0.05 * gradient)
            direction = 0.05 * gradient + 0.95 * momentum
            new = torch.cat([self.orthogonal(piece) for piece in direction.chunk(count)])
            parameter.copy_((parameter.double() * (1 - lr / max_lr * weight_decay) - lr * new).to(parameter.dtype))

    @staticmethod
    def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
        """By the singular values, of which the iteration makes a polynomial each: another way to the same matrix."""
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        values = values / values.square().sum().sqrt()
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        found: torch.Tensor = 0.2 * max(matrix.shape) ** 0.5 * (left * values) @ right
        return found

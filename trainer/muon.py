"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for the matrices within the blocks, AdamW for all else.

The momentum of a matrix's gradient is made orthogonal by Newton-Schulz iterations, so that all its directions are stepped alike. Steps
are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982). What a matrix is, the model says and not its storage: a fused
query, key and value projection is three, and the two halves of a gated linear unit are two.

Under ZeRO a rank holds parts of matrices. They are brought together in buckets, each matrix is made orthogonal by one rank, and what came
of it is brought to all: sums over the ranks of tensors that are zero but for a rank's own, which no rounding touches. So the steps are
those of whole matrices under every stage, and the same for any number of ranks. With whole parameters on all ranks (stage 0) the work is
shared in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from trainer.optimizer import BLOCK, AdamW
from trainer.slices import Part, Slice, Whole

# Fused matrices, by the end of their names: into how many they are split, by rows.
FUSED = {"attn.Wqkv.weight": 3, "mlp.Wi.weight": 2}
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's: singular values end between about 0.7 and 1.2
BUCKET = 1 << 25  # elements that are brought together at once, unless one matrix has more


@dataclass(frozen=True)
class Matrix:
    """A matrix of the model, and the part of it that this rank steps, if any."""

    whole: Whole
    slice: Tensor
    part: Part | None

    @property
    def fused(self) -> int:
        """How many matrices it is."""
        return next((count for end, count in FUSED.items() if self.whole.name.endswith(end)), 1)

    @property
    def cost(self) -> int:
        """Multiplications of an iteration, up to a factor."""
        rows, columns = self.whole.shape[0] // self.fused, self.whole.shape[1]
        return self.fused * rows * columns * min(rows, columns)


@torch.no_grad()
def orthogonalised(matrices: Tensor, iterations: int) -> Tensor:
    """(n, rows, columns), each matrix with all its singular values brought near 1, by quintic Newton-Schulz iterations.

    In float32 on a CPU and in bfloat16, which suffices, on a GPU. A matrix of zeros stays one.
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    result: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return result


class Muon(AdamW):
    """Muon over the groups of kind `block`, AdamW over the others."""

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        momentum: float = 0.95,
        iterations: int = 5,
        scale: float = 0.2,
    ) -> None:
        super().__init__(groups, lr=lr, betas=betas, eps=eps)
        self.momentum, self.iterations, self.scale = momentum, iterations, scale
        self._matrices: dict[int, list[Matrix]] = {}
        self._sharded = False

    def set_slices(self, slices: Iterable[Slice], group: torch.distributed.ProcessGroup | None, sharded: bool) -> None:
        """Say what is stepped, which has to be known under every stage: a matrix's name tells whether it is fused."""
        known = list(slices)
        super().set_slices(known, group, sharded)
        self._sharded = sharded
        for one in known:
            parts = {part.slot: part for part in one.parts}
            self._matrices[id(one.tensor)] = [Matrix(whole, one.tensor, parts.get(slot)) for slot, whole in enumerate(one.parameters)]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step with the gradients that the parameters hold."""
        if closure is not None:
            raise TypeError("Muon takes no closure")
        for group in self.param_groups:
            stepped = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["kind"] == BLOCK:
                self._step_matrices(stepped, group)
            else:
                for parameter in stepped:
                    self._update(parameter, parameter.grad.to(parameter.dtype), group)

    def _step_matrices(self, stepped: list[Tensor], group: dict[str, Any]) -> None:
        directions = {}
        for parameter in stepped:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["momentum"] = torch.zeros_like(parameter)
            state["step"] += 1
            assert parameter.grad is not None
            gradient = parameter.grad.to(parameter.dtype)
            state["momentum"].lerp_(gradient, 1 - self.momentum)
            directions[id(parameter)] = gradient.lerp(state["momentum"], self.momentum)
            if group["weight_decay"]:
                parameter.mul_(1 - group["lr"] / group["max_lr"] * group["weight_decay"])
        bucket: list[Matrix] = []
        filled = 0
        for matrix in [matrix for parameter in stepped for matrix in self._matrices[id(parameter)]]:
            if bucket and filled + matrix.whole.size > BUCKET:
                self._step_bucket(bucket, directions, group["lr"])
                bucket, filled = [], 0
            bucket.append(matrix)
            filled += matrix.whole.size
        if bucket:
            self._step_bucket(bucket, directions, group["lr"])

    def _step_bucket(self, bucket: list[Matrix], directions: dict[int, Tensor], lr: float) -> None:
        whole = torch.zeros(sum(matrix.whole.size for matrix in bucket), dtype=bucket[0].slice.dtype, device=bucket[0].slice.device)
        places = []
        at = 0
        for matrix in bucket:
            places.append(whole.narrow(0, at, matrix.whole.size))
            at += matrix.whole.size
            if matrix.part is not None:
                own = directions[id(matrix.slice)].reshape(-1).narrow(0, matrix.part.at, matrix.part.length)
                places[-1].narrow(0, matrix.part.start, matrix.part.length).copy_(own)
        if self._group is not None and self._sharded:
            torch.distributed.all_reduce(whole, group=self._group)
        for matrix, place, mine in zip(bucket, places, self._mine(bucket), strict=True):
            if not mine:
                place.zero_()
                continue
            rows, columns = matrix.whole.shape[0] // matrix.fused, matrix.whole.shape[1]
            found = orthogonalised(place.view(matrix.fused, rows, columns), self.iterations)
            place.copy_(found.mul_(self.scale * max(rows, columns) ** 0.5).view(-1))
        if self._group is not None:
            torch.distributed.all_reduce(whole, group=self._group)
        for matrix, place in zip(bucket, places, strict=True):
            if matrix.part is not None:
                part = matrix.part
                matrix.slice.view(-1).narrow(0, part.at, part.length).sub_(place.narrow(0, part.start, part.length), alpha=lr)

    def _mine(self, bucket: list[Matrix]) -> list[bool]:
        """Which matrices this rank makes orthogonal: the dearest first, each goes to the rank with the least to do."""
        if self._group is None:
            return [True] * len(bucket)
        load = [0] * torch.distributed.get_world_size(self._group)
        owner = [0] * len(bucket)
        for index in sorted(range(len(bucket)), key=lambda index: -bucket[index].cost):
            owner[index] = load.index(min(load))
            load[owner[index]] += bucket[index].cost
        rank = torch.distributed.get_rank(self._group)
        return [one == rank for one in owner]

"""StableAdamW (Wortsman et al. 2023, arXiv 2304.13013), right under every ZeRO stage.

AdamW whose step is divided, for each parameter tensor, by max(1, RMS) with RMS = sqrt(mean(g^2 / max(v, eps^2))): AdaFactor's
update clipping in place of gradient clipping. Moments are debiased as they are averaged, and weight decay is fully decoupled
(`lr / max_lr * weight_decay`), both as in the optimi package, which the reference trains with.

Under ZeRO the optimizer is handed flat slices that hold parts of many parameters. The RMS is then taken over each parameter's
parts on all ranks (`Fragments`); over the flat slice it would be another optimizer, one that depends on the world size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor


@dataclass(frozen=True)
class Fragments:
    """Which parameters a flat slice holds: parameter `slot[i]` lies at start[i] : start[i] + length[i]."""

    start: tuple[int, ...]
    length: tuple[int, ...]
    slot: tuple[int, ...]
    sizes: Tensor  # float32 (slots,): elements of each parameter of the group, over all ranks
    group: torch.distributed.ProcessGroup | None  # the ranks that share the parameters


class StableAdamW(torch.optim.Optimizer):
    """StableAdamW over parameters, or, after `set_fragments`, over ZeRO's flat slices of them."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float] = (0.9, 0.98), eps: float = 1e-6
    ) -> None:
        super().__init__(list(groups), {"lr": lr, "max_lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        self._fragments: dict[int, Fragments] = {}

    def set_fragments(self, fragments: dict[int, Fragments]) -> None:
        """What each flat slice holds, by `id` of the slice's tensor."""
        self._fragments = fragments

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step with the gradients that the parameters hold."""
        if closure is not None:
            raise TypeError("StableAdamW takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad.to(parameter.dtype), group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = int(state["step"])
        beta1, beta2 = (beta * (1 - beta ** (step - 1)) / (1 - beta**step) for beta in group["betas"])
        mean, square, eps, lr = state["exp_avg"], state["exp_avg_sq"], group["eps"], group["lr"]
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        if group["weight_decay"]:
            parameter.mul_(1 - lr / group["max_lr"] * group["weight_decay"])
        ratio = gradient * square.clamp(min=eps * eps).rsqrt_()
        update = mean / square.sqrt().add_(eps)
        fragments = self._fragments.get(id(parameter))
        if fragments is None:
            rms = ratio.square_().mean().sqrt_()
            parameter.sub_(update.mul_(lr / rms.clamp(min=1.0)))
            return
        sums = torch.zeros_like(fragments.sizes)
        parts = [ratio.narrow(0, start, length) for start, length in zip(fragments.start, fragments.length, strict=True)]
        if parts:
            norms = torch.stack(torch._foreach_norm(parts))
            sums.index_add_(0, torch.tensor(fragments.slot, device=sums.device), norms.float().square())
        if fragments.group is not None:
            torch.distributed.all_reduce(sums, group=fragments.group)
        scales = lr / (sums / fragments.sizes).sqrt().clamp(min=1.0)
        for start, length, slot in zip(fragments.start, fragments.length, fragments.slot, strict=True):
            update.narrow(0, start, length).mul_(scales[slot])
        # padding between and after parameters has no gradient, hence no update
        parameter.sub_(update)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: matrices, which decay, and vectors, which do not."""
    matrices = [parameter for parameter in model.parameters() if _dims(parameter) >= 2]
    vectors = [parameter for parameter in model.parameters() if _dims(parameter) < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _dims(parameter: Any) -> int:
    """Dimensions of a parameter, of its whole shape where ZeRO 3 has taken it apart."""
    return len(getattr(parameter, "ds_shape", parameter.shape))


def zero_fragments(zero: Any, stage: int, group: torch.distributed.ProcessGroup | None) -> dict[int, Fragments]:
    """What each flat slice of a DeepSpeed ZeRO optimizer holds (seen in DeepSpeed 0.19).

    Stages 1 and 2 leave on each model parameter `_hp_mapping`, with the address of its part in the slice that this rank steps,
    or None where the rank holds none of it; stage 3 splits every parameter evenly over the ranks and records its place in
    `grad_position`.
    """
    found: dict[int, Fragments] = {}
    if stage in (1, 2):
        for index, parameters in enumerate(zero.bit16_groups):
            flat = zero.single_partition_of_fp32_groups[index]
            entries = []
            for slot, parameter in enumerate(parameters):
                mapping = getattr(parameter, "_hp_mapping", None)
                if mapping is not None:
                    address = mapping.hp_fragment_address
                    entries.append((address.start, address.numel, slot))
            sizes = torch.tensor([float(parameter.numel()) for parameter in parameters], device=flat.device)
            found[id(flat)] = _fragments(entries, sizes, group)
    elif stage == 3:
        for index, parameters in enumerate(zero.fp16_groups):
            flat = zero.fp32_partitioned_groups_flat[index]
            entries = []
            for slot, parameter in enumerate(parameters):
                _, offset, length = zero.grad_position[zero.get_param_id(parameter)]
                entries.append((int(offset), int(length), slot))
            sizes = torch.tensor([float(parameter.ds_numel) for parameter in parameters], device=flat.device)
            found[id(flat)] = _fragments(entries, sizes, group)
    return found


def _fragments(entries: list[tuple[int, int, int]], sizes: Tensor, group: torch.distributed.ProcessGroup | None) -> Fragments:
    start, length, slot = (tuple(column) for column in zip(*entries, strict=True)) if entries else ((), (), ())
    return Fragments(start, length, slot, sizes, group)

"""Which parts of which parameters this rank's optimizer steps, under every ZeRO stage.

Under stage 0 the optimizer is handed the parameters themselves. Under the others DeepSpeed hands it flat slices, each with parts of
many parameters, and says in its own structures where they come from (seen in DeepSpeed 0.19).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Whole:
    """A parameter as a whole, wherever its elements are."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many elements it has."""
        return prod(self.shape)


@dataclass(frozen=True)
class Part:
    """Elements `start` to `start + length` of a flattened parameter, which are elements `at` to `at + length` of a slice."""

    slot: int  # the parameter, as a place in `Slice.parameters`
    start: int
    length: int
    at: int


@dataclass(frozen=True)
class Slice:
    """A tensor that the optimizer steps, and what it holds. `parameters` is the same on all ranks; `parts` are those of this rank."""

    tensor: Tensor  # float32 (elements,), or under stage 0 a parameter in its own shape
    parameters: tuple[Whole, ...]
    parts: tuple[Part, ...]


def slices(model: nn.Module, zero: Any, stage: int) -> list[Slice]:
    """What this rank's optimizer steps. `zero` is DeepSpeed's optimizer, `stage` that of ZeRO; names are those in `model`."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    if stage == 0:
        wholes = [(Whole(name, tuple(parameter.shape)), parameter) for parameter, name in names.items()]
        return [Slice(parameter, (whole,), (Part(0, 0, whole.size, 0),)) for whole, parameter in wholes]
    return list(_of_stage_3(zero, names) if stage == 3 else _of_stages_1_and_2(zero, names))


def _of_stages_1_and_2(zero: Any, names: dict[nn.Parameter, str]) -> Iterator[Slice]:
    """Each parameter's `_hp_mapping` has the address of its part in the slice that this rank steps; None: the rank has no part of it."""
    for group, flat in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
        parts = []
        for slot, parameter in enumerate(group):
            mapping = getattr(parameter, "_hp_mapping", None)
            if mapping is not None:
                here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
                parts.append(Part(slot, int(here.start), int(there.numel), int(there.start)))
        yield Slice(flat, tuple(Whole(names[parameter], tuple(parameter.shape)) for parameter in group), tuple(parts))


def _of_stage_3(zero: Any, names: dict[nn.Parameter, str]) -> Iterator[Slice]:
    """Every parameter is split evenly over the ranks; the last parts are padded, and a rank may hold nothing but padding."""
    rank = torch.distributed.get_rank(group=zero.dp_process_group)
    for group, flat in zip(zero.fp16_groups, zero.fp32_partitioned_groups_flat, strict=True):
        parts = []
        for slot, parameter in enumerate(group):
            _, at, length = zero.grad_position[zero.get_param_id(parameter)]
            start = rank * int(length)
            held = min(int(length), parameter.ds_numel - start)
            if held > 0:
                parts.append(Part(slot, start, held, int(at)))
        yield Slice(flat, tuple(Whole(names[parameter], tuple(parameter.ds_shape)) for parameter in group), tuple(parts))

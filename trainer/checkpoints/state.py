"""The state of a training as named tensors, and the parts of them that this rank holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.averages import EMA
from trainer.checkpoints.manifest import WEIGHT
from trainer.engine import Trainee
from trainer.errors import TrainerError
from trainer.slices import Slice


@dataclass(frozen=True, order=True)
class Key:
    """A tensor of the state: the weight of a parameter, or one of the optimizer's tensors for it."""

    kind: str
    name: str


@dataclass(frozen=True)
class Held:
    """What this rank has of a tensor: elements from `start` on of the flattened whole, as a live view."""

    shape: tuple[int, ...]  # of the whole
    start: int
    values: Tensor  # (elements,)


@torch.no_grad()
def held(trainee: Trainee) -> dict[Key, Held]:
    """What this rank holds of all weights, of the optimizer's tensors, and of the weights' moving average.

    Up to stage 2 every rank has all weights whole; of the rest each has its parts. Raises `TrainerError` for an optimizer whose state
    cannot be told by parameter.
    """
    found: dict[Key, Held] = {}
    if trainee.stage < 3:
        for name, parameter in trainee.model.named_parameters():
            found[Key(WEIGHT, name)] = Held(tuple(parameter.shape), 0, parameter.detach().reshape(-1))
    for number, one in enumerate(trainee.slices):
        tensors, _ = split(trainee, one)
        if trainee.stage == 3:
            tensors = {WEIGHT: one.tensor.detach(), **tensors}
        if trainee.ema:
            tensors = {EMA: trainee.ema[number], **tensors}
        for kind, values in tensors.items():
            for part in one.parts:
                whole = one.parameters[part.slot]
                if trainee.stage == 0:
                    found[Key(kind, whole.name)] = Held(tuple(values.shape), 0, values.reshape(-1))
                else:
                    found[Key(kind, whole.name)] = Held(whole.shape, part.start, values.narrow(0, part.at, part.length))
    return found


def split(trainee: Trainee, one: Slice) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The optimizer's state for a slice: tensors by kind, and single values by kind."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, float] = {}
    for kind, value in trainee.optimizer.state.get(one.tensor, {}).items():
        if isinstance(value, Tensor) and value.shape == one.tensor.shape:
            tensors[kind] = value
        elif isinstance(value, int | float) or (isinstance(value, Tensor) and value.dim() == 0):
            values[kind] = float(value)
        elif isinstance(value, Tensor) and trainee.stage == 0:
            tensors[kind] = value
        else:
            raise TrainerError(
                f"training.optimizer: its state {kind!r} is neither a number nor a tensor of the parameters' shape, and cannot be saved "
                f"under zero_stage {trainee.stage}; use zero_stage 0, or another optimizer"
            )
    return tensors, values


def scalars(trainee: Trainee) -> dict[str, float]:
    """The optimizer's single values, which are the same for all parameters. Raises `TrainerError` where they are not."""
    found: dict[str, float] = {}
    for one in trainee.slices:
        for kind, value in split(trainee, one)[1].items():
            if found.setdefault(kind, value) != value:
                raise TrainerError(f"training.optimizer: its value {kind!r} differs between parameters, and cannot be saved")
    return found


def kinds(trainee: Trainee) -> frozenset[str]:
    """The kinds of tensors that there are beside the weights so far: the same on all ranks, whatever they hold."""
    return frozenset(kind for one in trainee.slices for kind in split(trainee, one)[0]) | ({EMA} if trainee.ema else set())

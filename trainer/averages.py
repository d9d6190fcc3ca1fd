"""Averages of the weights: the exponential moving one, which each rank keeps of what its optimizer steps, and how they are tried.

An average over steps would change what it means where the batch grows: at the same decay a step, 1,000 steps are 0.8 billion tokens at
ModernBERT's first batch and 4.7 billion at its last. So the horizon is one of tokens: a step of n tokens moves the average by
1 - exp(-n / horizon) of its distance to the weights, however they are cut into steps (Busbridge et al.
2023, arXiv 2307.13813, say the same as a power: the decay of a batch k times as large is the k-th power).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.engine import Trainee, World

EMA = "ema"  # the kind of its tensors in checkpoints


@torch.no_grad()
def begin(trainee: Trainee) -> None:
    """Begin the moving average with the weights of now, float32, of this rank's slices alone."""
    trainee.ema = [one.tensor.detach().to(torch.float32, copy=True) for one in trainee.slices]


@torch.no_grad()
def update(trainee: Trainee, tokens: int, horizon: int) -> None:
    """Move the average towards the weights after a step of so many tokens."""
    torch._foreach_lerp_(trainee.ema, [one.tensor.detach() for one in trainee.slices], -math.expm1(-tokens / horizon))


@contextmanager
def averaged(trainee: Trainee, world: World) -> Iterator[None]:
    """The model with the moving average as its weights; it has its own again afterwards, to the bit. On all ranks."""
    with torch.no_grad():
        own = [one.tensor.detach().clone() for one in trainee.slices]  # in some stages the model computes with them themselves
        put(trainee, wholes(trainee, trainee.ema, world))
        yield
        put(trainee, wholes(trainee, own, world))
        for one, values in zip(trainee.slices, own, strict=True):
            one.tensor.copy_(values)


def wholes(trainee: Trainee, tensors: Sequence[Tensor], world: World) -> Iterator[tuple[str, Tensor]]:
    """Every parameter whole, float32, on every rank's device, from tensors as the slices' are. On all ranks, one parameter at a time."""
    for one, flat in zip(trainee.slices, tensors, strict=True):
        if trainee.stage == 0:
            yield one.parameters[0].name, flat.view(one.parameters[0].shape)
            continue
        parts = {part.slot: part for part in one.parts}
        for slot, whole in enumerate(one.parameters):
            bits = torch.zeros(whole.size, dtype=torch.int32, device=world.device)  # as integers zeros and bits add up to the bits
            if slot in parts:
                part = parts[slot]
                bits.narrow(0, part.start, part.length).copy_(flat.narrow(0, part.at, part.length).view(torch.int32))
            yield whole.name, world.sum(bits).view(torch.float32).view(whole.shape)


@torch.no_grad()
def put(trainee: Trainee, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Let the model compute with these weights, the same on all ranks. What the optimizer steps may change by it."""
    parameters = dict(trainee.model.named_parameters())
    for name, value in weights:
        if trainee.stage < 3:
            parameters[name].copy_(value)
            continue
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameters[name]], modifier_rank=0):
            parameters[name].copy_(value)


def spread(weights: dict[str, Tensor], trainee: Trainee, world: World) -> Iterator[tuple[str, Tensor]]:
    """Weights that the first rank has, on every rank's device, one parameter at a time. On all ranks; the others give none."""
    for one in trainee.slices:
        for whole in one.parameters:
            value = weights[whole.name] if world.is_first else torch.empty(whole.shape)
            value = value.to(world.device, torch.float32).contiguous()
            if world.size > 1:
                dist.broadcast(value, 0)
            yield whole.name, value

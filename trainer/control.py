"""What all ranks must know alike: one small sum over them in every step, the control word.

It is taken after the step's gradients and before the optimizer's step, so that whatever it says, every rank does the same in the same
step. It carries the sums of the step as well, so that nothing else has to be reduced.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from trainer import faults
from trainer.engine import World
from trainer.errors import Elsewhere

Value = TypeVar("Value")

STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # a launcher's, Slurm's before its limit, Ctrl-C


class Signals:
    """Remembers that this process was asked to stop. To be made in the main thread."""

    def __init__(self) -> None:
        self.caught: str | None = None
        self._before = {number: signal.signal(number, self._catch) for number in STOPS}

    def _catch(self, number: int, frame: Any) -> None:
        self.caught = signal.Signals(number).name

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Word:
    """The control word of a step: sums over all ranks."""

    tally: Sequence[float]  # what was measured of the step's micro-batches (`trainer.groups.Groups.tally`)
    square: float  # of the gradients: their squared norm
    predicted: float  # tokens that the *next* step predicts, which are needed before its first loss
    stopped: bool  # a rank was asked to stop
    failed: bool  # a rank has an error to tell
    saved: bool  # every rank's thread has ended its part of a checkpoint

    @property
    def loss(self) -> float:
        """The sum of the losses of all predicted tokens."""
        return self.tally[0]


def exchange(
    world: World, *, tally: Tensor, square: Tensor | float = 0.0, predicted: int, stopped: bool, failed: bool, ready: bool
) -> Word:
    """Sum this rank's values over all ranks, `tally`, float64 (n,), among them. Called by all ranks at the same place of a step."""
    own = [predicted, stopped, failed, ready]
    word = torch.empty(5 + len(tally), dtype=torch.float64, device=world.device)
    word[0] = square
    word[1:5] = torch.tensor(own, dtype=torch.float64)
    word[5:] = tally
    values = world.sum(word).tolist()
    return Word(values[5:], values[0], values[1], values[2] > 0, values[3] > 0, values[4] == world.size)


def together(world: World, action: Callable[[], Value]) -> Value:
    """The result of `action`, which every rank runs. Where it raises on one, all raise: that one its error, the others `Elsewhere`."""
    error: Exception | None = None
    try:
        result = action()
    except Exception as problem:  # of any kind: the other ranks wait
        error = problem
    raise_together(world, error)
    return result


def raise_together(world: World, error: Exception | None) -> None:
    """Raise where any rank has an error: that rank its own, the others the first rank's as `Elsewhere`. Called by all ranks."""
    errors = world.gather((str(error) or type(error).__name__, faults.code_of(error)) if error is not None else None)
    if error is not None:
        raise error
    for rank, told in enumerate(errors):
        if told is not None:
            raise Elsewhere(f"rank {rank}: {told[0]}", told[1])

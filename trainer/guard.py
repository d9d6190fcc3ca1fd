"""Whether a step's gradients may be used: finite, and no spike.

A step whose loss or gradient is not finite is computed once more: a passing fault of the machine then leaves no trace. Where it is not
finite again, or its gradient's norm is a spike, it is left out. After several in a row the run goes back to its last checkpoint and
passes over the samples since; after several such returns it ends.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from trainer.config import TrainingConfig

WINDOW = 100  # norms that a spike is measured against
LEAST = 20  # norms before which nothing is a spike


class Verdict(Enum):
    """What is done with a step's gradients."""

    USE = "use"
    AGAIN = "again"  # compute them once more
    LEAVE_OUT = "leave out"
    RETURN = "return"  # to the last checkpoint


@dataclass
class Guard:
    """Judges steps one after the other. Its state goes into checkpoints, so that a resumed run judges alike."""

    settings: TrainingConfig
    norms: list[float] = field(default_factory=list)  # of the last steps that were used
    left_out: int = 0
    in_a_row: int = 0
    returns: int = 0

    @property
    def bound(self) -> float:
        """The largest norm of a gradient that is no spike."""
        if self.settings.spike_factor is None or len(self.norms) < LEAST:
            return math.inf
        return self.settings.spike_factor * statistics.median(self.norms)

    def judge(self, loss: float, norm: float, *, again: bool) -> tuple[Verdict, str]:
        """What to do with a step of this mean loss and norm of the gradient, and why. `again`: it was computed twice already."""
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite and norm <= self.bound:
            self.in_a_row = 0
            self.norms = [*self.norms[-(WINDOW - 1) :], norm]
            return Verdict.USE, ""
        if not finite and not again:
            return Verdict.AGAIN, f"{'the loss' if not math.isfinite(loss) else 'the gradient'} is not finite"
        reason = (
            f"the norm of the gradient is {norm:.3g}, and more than {self.bound:.3g} is a spike"
            if finite
            else (f"{'the loss' if not math.isfinite(loss) else 'the gradient'} is not finite, computed twice")
        )
        self.in_a_row += 1
        self.left_out += 1
        if self.in_a_row < self.settings.bad_steps:
            return Verdict.LEAVE_OUT, reason
        self.in_a_row = 0
        self.returns += 1
        return Verdict.RETURN, reason

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"norms": self.norms, "left_out": self.left_out, "in_a_row": self.in_a_row, "returns": self.returns}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's `state`."""
        self.norms, self.left_out = list(state["norms"]), int(state["left_out"])
        self.in_a_row, self.returns = int(state["in_a_row"]), int(state["returns"])

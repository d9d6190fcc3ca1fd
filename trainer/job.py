"""A run from its start to its end: what all its parts share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trainer.batches import Feed
from trainer.boards import Wandb
from trainer.checkpoints.store import Uploads
from trainer.config import RunConfig
from trainer.control import Signals, Word, exchange, raise_together
from trainer.data import Data
from trainer.engine import World
from trainer.events import Events
from trainer.progress import Progress
from trainer.schedule import Schedule
from trainer.timing import Timing
from trainer.watchdog import Watchdog


@dataclass(frozen=True)
class Job:
    """What a run is made of, from its start to its end."""

    config: RunConfig
    data: Data
    plan: Schedule
    identity: dict[str, Any]
    world: World
    signals: Signals
    watchdog: Watchdog
    progress: Progress
    events: Events
    timing: Timing
    wandb: Wandb | None  # of the first rank, where it is asked for
    uploads: Uploads | None  # of the first rank, where the run is on object storage, too

    def exchange(self, feed: Feed, tally: Tensor | None = None, square: Tensor | float = 0.0, *, ready: bool) -> Word:
        """The control word of a step. Raises what a rank could not make its next micro-batches for, on all ranks."""
        with self.timing.part("data"):
            predicted = feed.look()
        if tally is None:
            tally = self.data.groups.tally()
        stopped, failed = self.signals.caught is not None, feed.error is not None
        with self.timing.part("communication"):
            word = exchange(self.world, tally=tally, square=square, predicted=predicted, stopped=stopped, failed=failed, ready=ready)
        if word.failed:
            raise_together(self.world, feed.error)
        return word

    def event(self, step: int, kind: str, text: str) -> None:
        """Something that the user must know: shown, and added to events.jsonl."""
        self.events.add(step, kind, text)

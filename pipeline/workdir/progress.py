"""What the engine tells of its work, to whoever watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest


@dataclass(frozen=True)
class StageResult:
    """The result of a stage: its datasets' manifests, how many tasks were run, and how many were done already."""

    name: str
    manifests: dict[str, Manifest]
    ran: int
    kept: int
    seconds: float

    @property
    def summary(self) -> Summary:
        """The sum of its tasks' summaries."""
        return next(iter(self.manifests.values())).summary


@dataclass(frozen=True)
class TaskEvent:
    """Something that happened to a task. `again`: it is started once more, for `why`; `beside`: a copy is started on another node.

    `node` is its host, where that is known; `seconds` it took, and `memory` bytes its process held at most, where it is done.
    """

    stage: str
    task: str
    kind: Literal["begun", "done", "again", "beside"]
    node: str = ""
    seconds: float = 0.0
    memory: int = 0
    why: str = ""


class Progress(Protocol):
    """What the engine calls as a stage starts, goes on and finishes. Amounts are in the stage's `unit`.

    `done` of the `total`, and `kept` of the `tasks`, are what earlier runs had done.
    """

    def start(self, stage: str, total: int, done: int, unit: str, tasks: int, kept: int) -> None: ...
    def event(self, event: TaskEvent) -> None: ...
    def advance(self, amount: int) -> None: ...
    def finish(self, result: StageResult) -> None: ...


class NoProgress:
    """Shows nothing."""

    def start(self, stage: str, total: int, done: int, unit: str, tasks: int, kept: int) -> None: ...
    def event(self, event: TaskEvent) -> None: ...
    def advance(self, amount: int) -> None: ...
    def finish(self, result: StageResult) -> None: ...

"""When each task ran, where, and how long: a file of JSON lines a stage, `timeline/STAGE.jsonl` of the workdir.

It is no data: no dataset has it, nothing depends on it, and `report.html` draws it.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipeline.report.tasks import TIMELINE, file_of, read_stage
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError

if TYPE_CHECKING:
    from pipeline.workdir.progress import StageResult, TaskEvent


class Timeline:
    """Writes down what tasks of the stage that runs have done, once it is finished or given up."""

    def __init__(self, workdir: Workdir) -> None:
        self._workdir = workdir
        self._stage = ""
        self._begun: dict[str, tuple[float, str]] = {}  # by task: when, in seconds since 1970, and where
        self._lines: list[dict[str, Any]] = []

    def event(self, event: TaskEvent) -> None:
        if event.stage != self._stage:
            self._write()
            self._stage = event.stage
        if event.kind == "begun":
            self._begun[event.task] = (time.time(), event.node)
        elif event.kind in ("done", "again") and event.task in self._begun:
            begun, node = self._begun.pop(event.task)
            seconds = event.seconds or time.time() - begun
            line = {
                "stage": event.stage,
                "task": event.task,
                "node": node,
                "begun": round(begun, 3),
                "seconds": round(seconds, 3),
                "end": event.kind,
            }
            self._lines.append({**line, "memory": event.memory} if event.kind == "done" else {**line, "why": event.why})

    def advance(self, stage: str, amount: int, unit: str) -> None: ...

    def finish(self, result: StageResult) -> None:
        self._write()

    def close(self) -> None:
        self._write()

    def _write(self) -> None:
        if not self._lines:
            return
        now = {line["task"] for line in self._lines}
        with suppress(OSError, UserError):  # a picture less, and no run stops for one
            before = [line for line in read_stage(self._workdir, self._stage) if line["task"] not in now]
            raw = "".join(json.dumps(line) + "\n" for line in [*before, *self._lines])
            self._workdir.write(raw.encode(), TIMELINE, file_of(self._stage))
        self._lines, self._begun = [], {}

"""Metrics of the stages, by the Prometheus endpoint of Ray's nodes (`ray start --metrics-export-port`)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.workdir.progress import StageResult, TaskEvent


class Counters:
    """Counts by stage, where Ray runs: foundry_tasks, foundry_task_seconds, foundry_amount and foundry_again, of what is done."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def event(self, event: TaskEvent) -> None:
        if event.kind == "done":
            self._count("foundry_tasks", "Tasks that are done.", 1, stage=event.stage)
            self._count("foundry_task_seconds", "Seconds that tasks took.", event.seconds, stage=event.stage)
        elif event.kind == "again":
            self._count("foundry_again", "Tasks that were started again.", 1, stage=event.stage)

    def advance(self, stage: str, amount: int, unit: str) -> None:
        self._count("foundry_amount", "What is done, in the stage's unit: bytes, documents or buckets.", amount, stage=stage, unit=unit)

    def finish(self, result: StageResult) -> None: ...

    def close(self) -> None:
        self._made.clear()

    def _count(self, name: str, description: str, amount: float, **tags: str) -> None:
        ray = sys.modules.get("ray")  # a stage that runs in this process has none
        if amount <= 0 or ray is None or not ray.is_initialized():
            return
        if name not in self._made:
            from ray.util.metrics import Counter

            self._made[name] = Counter(name, description, tag_keys=tuple(tags))
        self._made[name].inc(amount, tags=tags)

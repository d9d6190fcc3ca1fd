"""Runs stages: what is missing or stale of each, on Ray or in this process, resumed by default.

A task's function is a generator: it gets the workdir and the task's payload, yields the files of its output one by one, and
returns a summary (nested dicts of numbers, which are added up over the tasks). Tasks write bulk data to the workdir themselves; it
never passes through the driver or the object store. Ray is not started while there is nothing to do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, cast

from pipeline.workdir import cluster
from pipeline.workdir.commit import Ledger, Summary, TaskRecord
from pipeline.workdir.dataset import Manifest, Partition, Workdir
from pipeline.workdir.errors import UserError
from pipeline.workdir.lock import WorkdirLock
from pipeline.workdir.progress import NoProgress, Progress, StageResult
from pipeline.workdir.scheduling import Schedule, StageFailed
from pipeline.workdir.tasks import Stage, Task, add_summaries, execute

Executor = Callable[[Ledger, str, Stage, list[Task]], dict[str, TaskRecord]]


def in_process(ledger: Ledger, folder: str, stage: Stage, tasks: list[Task]) -> dict[str, TaskRecord]:
    """An executor without Ray: runs tasks in this process, one by one. Returns their records by name; raises what they raise."""
    return {task.name: execute(ledger, folder, stage.function, task) for task in tasks}


class Engine:
    """Runs stages over a workdir.

    `address`: of a Ray cluster; None takes `RAY_ADDRESS`, or, if that is not set, starts Ray on this machine with `workers` CPUs
    (default: all). `executor`: runs a stage's missing tasks in place of Ray, as `in_process` does.
    """

    def __init__(
        self,
        workdir: Workdir,
        *,
        address: str | None = None,
        workers: int | None = None,
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.workdir = workdir
        self.executor = executor
        self.address = address or os.environ.get("RAY_ADDRESS") or None
        self.workers = workers
        self.progress: Progress = progress or NoProgress()
        self._lock = WorkdirLock(workdir)

    # --- Ray -------------------------------------------------------------------------------------------------------

    def connect(self, *, log_to_driver: bool = True) -> Any:
        """Ray, started or connected to on first use. `log_to_driver`: whether what workers print is printed here. Raises `UserError`."""
        return cluster.connect(self.address, self.workers, log_to_driver=log_to_driver)

    def close(self) -> None:
        """Stop Ray, or disconnect from the cluster, so that what comes next has the machine to itself; let others have the workdir."""
        self._lock.release()
        cluster.disconnect()

    # --- stages ----------------------------------------------------------------------------------------------------

    def run(self, stage: Stage) -> StageResult:
        """Run what is missing or stale of a stage, and write its manifests. Raises `UserError`, or `StageFailed`, which names the task."""
        begin = time.monotonic()
        keys = {task.name: task.key for task in stage.tasks}
        if len(keys) != len(stage.tasks):
            raise StageFailed(f"{stage.name}: two tasks have the same name")
        ledger = Ledger(self.workdir, stage.datasets)
        records = ledger.done(keys)
        missing = [task for task in stage.tasks if task.name not in records]
        manifests = None if missing else self._finished(stage)
        if manifests is None:
            taken = self._lock.hold()
            if ledger.recover() or taken:  # what is done may have changed until no other process was about it
                records = ledger.done(keys)
                missing = [task for task in stage.tasks if task.name not in records]
            records.update(self._execute(ledger, stage, missing))
            manifests = self._commit(ledger, stage, records)
        elif ledger.has_new() and self._lock.is_free():
            ledger.forget_new()
        result = StageResult(stage.name, manifests, len(missing), len(stage.tasks) - len(missing), time.monotonic() - begin)
        self.progress.finish(result)
        return result

    def _finished(self, stage: Stage) -> dict[str, Manifest] | None:
        manifests = {dataset: self.workdir.manifest(dataset) for dataset in stage.datasets}
        if any(manifest is None or manifest.fingerprint != stage.fingerprint for manifest in manifests.values()):
            return None
        finished = cast(dict[str, Manifest], manifests)
        if stage.index is not None and not all(self.workdir.has_index(*item, stage.index) for item in finished.items()):
            return None
        return finished

    def _execute(self, ledger: Ledger, stage: Stage, tasks: list[Task]) -> dict[str, TaskRecord]:
        if not tasks:
            return {}
        folder = ledger.folder()
        ledger.begin(folder, [task.name for task in tasks])
        total = sum(task.size for task in stage.tasks)
        kept, done = len(stage.tasks) - len(tasks), total - sum(task.size for task in tasks)
        self.progress.start(stage.name, total, done, stage.unit, len(stage.tasks), kept)
        if self.executor is not None:
            return self.executor(ledger, folder, stage, tasks)
        return Schedule(self.connect(), ledger, folder, stage, self.progress).run(tasks)

    def _commit(self, ledger: Ledger, stage: Stage, records: dict[str, TaskRecord]) -> dict[str, Manifest]:
        """Make the tasks' files the datasets. Raises `UserError` where the stage refuses to let the new replace the old."""
        summary: Summary = {}
        partitions: dict[str, list[Partition]] = {dataset: [] for dataset in stage.datasets}
        for name in sorted(records):
            add_summaries(summary, records[name].summary)
            for dataset, made in records[name].outputs.items():
                partitions[dataset].extend(made)
        manifests = {}
        for dataset in stage.datasets:
            parts = tuple(sorted(partitions[dataset], key=lambda partition: partition.name))
            manifests[dataset] = Manifest(dataset, stage.name, stage.fingerprint, parts, stage.configuration, summary)
        old = self._old(stage.datasets[0])
        why = None if old is None or stage.refusal is None else stage.refusal(old, manifests[stage.datasets[0]])
        if why is not None:
            place = self.workdir.path(stage.datasets[0])
            raise UserError(f"stage {stage.name}: {why}; {place} stays as it was. Correct the recipe, or delete that folder to have it so")
        self._lock.hold()
        changed = ledger.changed(records)
        if changed is not None:
            raise StageFailed(f"stage {stage.name}, task {changed}: its files were changed after it was done; run the same command again")
        ledger.commit(manifests, records, stage.index)
        return manifests

    def _old(self, dataset: str) -> Manifest | None:
        try:
            return self.workdir.manifest(dataset)
        except UserError:  # damaged, or another version's: nothing to be kept
            return None

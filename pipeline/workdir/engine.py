"""Runs stages on Ray: a plain function for each task, a bounded number of tasks at a time, resumed by default.

A task's function is a generator: it gets the workdir and the task's payload, yields the files of its output one by one, and
returns a summary (nested dicts of numbers, which are added up over the tasks). Tasks write bulk data to the workdir themselves; it
never passes through the driver or the object store. Ray is not started while there is nothing to do.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, cast

import pyarrow as pa
import xxhash

from pipeline.workdir.dataset import FORMAT, MANIFEST, TASKS, Manifest, Partition, Workdir, fingerprint
from pipeline.workdir.errors import UserError

Summary = dict[str, Any]


@dataclass(frozen=True)
class File:
    """One finished file of a task's output: `dataset/name`."""

    dataset: str
    name: str
    content: pa.Buffer | bytes
    rows: int


TaskFunction = Callable[[Workdir, Any], Generator[File, None, Summary]]


@dataclass(frozen=True)
class Task:
    """One unit of work. `key` is the fingerprint of all that determines its output, `size` its weight in the progress bar."""

    name: str
    key: str
    payload: Any
    size: int = 1


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline. No other stage writes to its folders, `datasets`; its task records lie in the first of them."""

    name: str
    datasets: tuple[str, ...]
    function: TaskFunction
    tasks: tuple[Task, ...]
    configuration: dict[str, Any] = field(default_factory=dict)
    memory: int = 1 << 30  # bytes that one task needs at most
    unit: str = "bytes"  # what the tasks' sizes count
    index: str | None = None  # a file that lists the dataset's partitions for readers that know no manifests

    @property
    def fingerprint(self) -> str:
        """The fingerprint of all that determines the stage's output."""
        return fingerprint(self.name, self.configuration, [(task.name, task.key) for task in self.tasks])


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


class Progress(Protocol):
    """What the engine calls as a stage starts, goes on and finishes. Amounts are in the stage's `unit`."""

    def start(self, stage: str, total: int, done: int, unit: str) -> None: ...
    def advance(self, amount: int) -> None: ...
    def finish(self, result: StageResult) -> None: ...


class NoProgress:
    """Shows nothing."""

    def start(self, stage: str, total: int, done: int, unit: str) -> None: ...
    def advance(self, amount: int) -> None: ...
    def finish(self, result: StageResult) -> None: ...


class StageFailed(Exception):
    """A task failed through a fault of the program or of a machine. The message names stage and task; the cause is chained."""


def add_summaries(into: Summary, other: Summary) -> Summary:
    """Add the numbers of `other` to those of `into`, key by key at every depth; returns `into`."""
    for key in sorted(other):
        value = other[key]
        if isinstance(value, dict):
            add_summaries(into.setdefault(key, {}), value)
        else:
            into[key] = into.get(key, 0) + value
    return into


Executor = Callable[[Workdir, Stage, list[Task]], dict[str, Summary]]


def in_process(workdir: Workdir, stage: Stage, tasks: list[Task]) -> dict[str, Summary]:
    """An executor without Ray: runs tasks in this process, one by one. Returns their records by name; raises what they raise."""
    return {task.name: execute_task(workdir, stage.datasets[0], stage.function, task) for task in tasks}


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

    # --- Ray -------------------------------------------------------------------------------------------------------

    def _ray(self) -> Any:
        """Ray, started or connected to on first use."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        if ray.is_initialized():
            return ray
        if self.address:
            try:
                ray.init(address=self.address, logging_level="ERROR")
            except ConnectionError as error:
                raise UserError(
                    f"Ray cluster {self.address}: cannot be reached ({_first_line(error)}); start it with `ray start --head`"
                ) from error
        else:
            ray.init(
                address="local",  # a cluster that runs on this machine is used where it is asked for
                num_cpus=self.workers or os.cpu_count() or 1,
                include_dashboard=False,
                object_store_memory=96 << 20,  # enough, since no bulk data passes through it
                logging_level="ERROR",
            )
        return ray

    def close(self) -> None:
        """Stop Ray, or disconnect from the cluster, so that what comes next has the machine to itself."""
        import ray

        if ray.is_initialized():
            ray.shutdown()

    # --- stages ----------------------------------------------------------------------------------------------------

    def run(self, stage: Stage) -> StageResult:
        """Run what is missing or stale of a stage, and write its manifests. Raises `UserError`, or `StageFailed`, which names the task."""
        begin = time.monotonic()
        names = [task.name for task in stage.tasks]
        if len(set(names)) != len(names):
            raise StageFailed(f"{stage.name}: two tasks have the same name")
        sizes = {dataset: self.workdir.sizes(dataset) for dataset in stage.datasets}
        records: dict[str, Summary] = {}
        for task in stage.tasks:
            record = self._record(stage, task.name)
            if record is not None and record["key"] == task.key and _is_whole(record, sizes):
                records[task.name] = record
        missing = [task for task in stage.tasks if task.name not in records]
        if not missing:
            manifests = self._finished(stage)
            if manifests is not None:
                result = StageResult(stage.name, manifests, 0, len(records), time.monotonic() - begin)
                self.progress.finish(result)
                return result
        for dataset in stage.datasets:  # from here on the datasets are unfinished, and say so
            self.workdir.delete(dataset, MANIFEST)
        total = sum(task.size for task in stage.tasks)
        if missing:
            self.progress.start(stage.name, total, total - sum(task.size for task in missing), stage.unit)
            records.update(self._execute(stage, missing))
        manifests = self._commit(stage, records)
        result = StageResult(stage.name, manifests, len(missing), len(stage.tasks) - len(missing), time.monotonic() - begin)
        self.progress.finish(result)
        return result

    def _record(self, stage: Stage, task: str) -> Summary | None:
        raw = self.workdir.read(stage.datasets[0], TASKS, f"{task}.json")
        if raw is None:
            return None
        try:
            record = json.loads(raw.to_pybytes())
        except ValueError:  # no task record, or damaged: the task is simply run again
            return None
        return record if record.get("format") == FORMAT else None

    def _finished(self, stage: Stage) -> dict[str, Manifest] | None:
        manifests = {dataset: self.workdir.manifest(dataset) for dataset in stage.datasets}
        if any(manifest is None or manifest.fingerprint != stage.fingerprint for manifest in manifests.values()):
            return None
        if stage.index is not None and any(stage.index not in self.workdir.sizes(dataset) for dataset in stage.datasets):
            return None
        return cast(dict[str, Manifest], manifests)

    def _execute(self, stage: Stage, tasks: list[Task]) -> dict[str, Summary]:
        if self.executor is not None:
            return self.executor(self.workdir, stage, tasks)
        ray = self._ray()
        available = ray.cluster_resources().get("memory", float(stage.memory))
        if stage.memory > available:
            raise UserError(
                f"stage {stage.name}: a task needs {stage.memory >> 20} MB of memory, and no node has that much; "
                f"make `partition_bytes` smaller or use a larger machine"
            )
        remote = ray.remote(num_cpus=1, memory=stage.memory, max_retries=3)(execute_task)
        in_flight = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting = deque(tasks)
        running: dict[Any, Task] = {}
        records: dict[str, Summary] = {}
        try:
            while waiting or running:
                while waiting and len(running) < in_flight:
                    task = waiting.popleft()
                    reference = remote.options(name=f"{stage.name}:{task.name}").remote(
                        self.workdir, stage.datasets[0], stage.function, task
                    )
                    running[reference] = task
                done, _ = ray.wait(list(running), num_returns=1)
                for reference in done:
                    task = running.pop(reference)
                    try:
                        records[task.name] = ray.get(reference)
                    except ray.exceptions.RayTaskError as error:
                        if isinstance(error.cause, UserError):
                            raise error.cause from None
                        raise StageFailed(f"stage {stage.name}, task {task.name}: {error}") from error
                    except ray.exceptions.RayError as error:
                        raise StageFailed(f"stage {stage.name}, task {task.name}: {_first_line(error)}") from error
                    self.progress.advance(task.size)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
        return records

    def _commit(self, stage: Stage, records: dict[str, Summary]) -> dict[str, Manifest]:
        """Write the manifests, and delete files and records that no task of this stage made."""
        summary: Summary = {}
        partitions: dict[str, list[Partition]] = {dataset: [] for dataset in stage.datasets}
        for name in sorted(records):
            add_summaries(summary, records[name]["summary"])
            for dataset, made in records[name]["outputs"].items():
                partitions[dataset].extend(Partition(**partition) for partition in made)
        manifests = {}
        for dataset in stage.datasets:
            parts = tuple(sorted(partitions[dataset], key=lambda partition: partition.name))
            manifest = Manifest(dataset, stage.name, stage.fingerprint, parts, stage.configuration, summary)
            keep = {partition.name for partition in parts} | {MANIFEST, stage.index}
            for name in self.workdir.sizes(dataset):
                if name not in keep:
                    self.workdir.delete(dataset, name)
            if stage.index is not None:
                self.workdir.write(manifest.to_index(), dataset, stage.index)
            self.workdir.write(manifest.to_json(), dataset, MANIFEST)
            manifests[dataset] = manifest
        for name in self.workdir.sizes(stage.datasets[0], TASKS):
            if name.removesuffix(".json") not in records:
                self.workdir.delete(stage.datasets[0], TASKS, name)
        return manifests


def _is_whole(record: Summary, sizes: dict[str, dict[str, int]]) -> bool:
    """Whether every file that a task record names is there and has the recorded size."""
    return all(
        sizes.get(dataset, {}).get(partition["name"]) == partition["bytes"]
        for dataset, partitions in record["outputs"].items()
        for partition in partitions
    )


def execute_task(workdir: Workdir, home: str, function: TaskFunction, task: Task) -> Summary:
    """Run one task: write each file that it yields, then its record, which is returned. Ray's workers call it; it needs no Ray."""
    outputs: dict[str, list[dict[str, Any]]] = {}
    generator = function(workdir, task.payload)
    while True:
        try:
            file = next(generator)
        except StopIteration as stop:
            summary = stop.value
            break
        content = file.content if isinstance(file.content, pa.Buffer) else pa.py_buffer(file.content)
        workdir.write(content, file.dataset, file.name)
        partition = Partition(file.name, file.rows, content.size, xxhash.xxh3_128_hexdigest(content))
        outputs.setdefault(file.dataset, []).append(asdict(partition))
    record = {"format": FORMAT, "key": task.key, "outputs": outputs, "summary": summary or {}}
    workdir.write(json.dumps(record, sort_keys=True).encode(), home, TASKS, f"{task.name}.json")
    return record


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def chunks_by_size(sizes: Iterable[int], limit: int) -> list[range]:
    """Consecutive runs of items, each of a total size of at most `limit`; a larger item is a run of its own."""
    runs: list[range] = []
    start, total, end = 0, 0, 0
    for size in sizes:
        if end > start and total + size > limit:
            runs.append(range(start, end))
            start, total = end, 0
        total += size
        end += 1
    if end > start:
        runs.append(range(start, end))
    return runs

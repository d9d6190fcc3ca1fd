"""What a stage is made of, and how one of its tasks is done. Nothing here needs Ray."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import xxhash

from pipeline.workdir.commit import Ledger, Summary, TaskRecord
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint


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
    refusal: Callable[[Manifest, Manifest], str | None] | None = None  # why the new must not replace the old, of the first dataset

    @property
    def fingerprint(self) -> str:
        """The fingerprint of all that determines the stage's output."""
        return fingerprint(self.name, self.configuration, [(task.name, task.key) for task in self.tasks])


def execute(ledger: Ledger, folder: str, function: TaskFunction, task: Task) -> TaskRecord:
    """Do one task: write each file that it yields, then its record, which is returned. `folder`: where, within its datasets' folders."""
    outputs: dict[str, list[Partition]] = {}
    generator = function(ledger.workdir, task.payload)
    while True:
        try:
            file = next(generator)
        except StopIteration as stop:
            summary = stop.value
            break
        content = file.content if isinstance(file.content, pa.Buffer) else pa.py_buffer(file.content)
        ledger.workdir.write(content, file.dataset, *filter(None, [folder]), file.name)
        partition = Partition(file.name, file.rows, content.size, xxhash.xxh3_128_hexdigest(content))
        outputs.setdefault(file.dataset, []).append(partition)
    record = TaskRecord(task.key, outputs, summary or {}, folder)
    ledger.write(task.name, record)
    return record


def add_summaries(into: Summary, other: Summary) -> Summary:
    """Add the numbers of `other` to those of `into`, key by key at every depth; returns `into`."""
    for key in sorted(other):
        value = other[key]
        if isinstance(value, dict):
            add_summaries(into.setdefault(key, {}), value)
        else:
            into[key] = into.get(key, 0) + value
    return into


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

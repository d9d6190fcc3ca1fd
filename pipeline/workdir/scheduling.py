"""Runs a stage's tasks on Ray: how many at a time, with how much memory, where, and what is done about those that fail or lag behind.

Ray's own retries are off, since it asks for as much memory again for a task that was ended for want of it. A task asks at first for the
most that its stage says, then for what tasks of its stage were seen to take, and for twice as much after each time that it ran out.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.workdir.commit import Ledger, TaskRecord
from pipeline.workdir.errors import UserError
from pipeline.workdir.progress import Progress, TaskEvent
from pipeline.workdir.tasks import Stage, Task, execute

TRIES = 4  # of a task whose process or node is lost
_SEEN = 3  # tasks that must be done before the others ask for what those took
_MARGIN, _LEAST = 1.25, 256 << 20  # times what was seen, and at least so many bytes
_MANY = 64  # submitted tasks
_LOOK = 2.0  # seconds between looks at the cluster, which may grow, and at tasks that lag behind


class StageFailed(Exception):
    """A task failed through a fault of the program or of a machine. The message names stage and task; the cause is chained."""


class Begun(NamedTuple):
    """What a task says first: the node that it is on."""

    node: str
    host: str


class Done(NamedTuple):
    """What a task says last. `memory`: bytes that its process held at most."""

    record: TaskRecord
    memory: int
    seconds: float


def remotely(ledger: Ledger, folder: str, stage: Stage, task: Task) -> Generator[Begun | Done, None, None]:
    """Do a task on a worker of Ray's: where it is, then its record."""
    import ray

    yield Begun(ray.get_runtime_context().get_node_id(), os.uname().nodename)
    _forget_peak()
    begin = time.monotonic()
    record = execute(ledger, folder, stage.function, task)
    yield Done(record, _peak(), time.monotonic() - begin)


def _forget_peak() -> None:
    """Let the kernel measure this process's peak of memory from now on."""
    with suppress(OSError):  # not allowed, or no Linux: the peak is of all that the process has done, and so too high
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory that this process has held, in bytes; 0 where that is not known."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return 0


@dataclass
class _Run:
    """A task that was submitted."""

    task: Task
    memory: int  # bytes that it asked for
    begin: float = 0.0  # when it began; 0 while it waits for a node
    node: str = ""


class _Nodes(NamedTuple):
    """What the cluster has for tasks: nodes without GPUs, where there are any."""

    cpus: float
    memory: tuple[int, ...]  # of each node, in bytes
    spared: tuple[str, ...]  # nodes with GPUs, which are left to those who need them

    def slots(self, memory: int) -> int:
        """How many tasks that ask for so much can run at a time."""
        return sum(node // memory for node in self.memory)


class Schedule:
    """The tasks of a stage that are to be done, on a cluster.

    `patience`: how many times the longest of what tasks usually take one may take before a copy of it is started on another node,
    and for how many seconds at least.
    """

    def __init__(
        self, ray: Any, ledger: Ledger, folder: str, stage: Stage, progress: Progress, *, patience: tuple[float, float] = (4.0, 60.0)
    ) -> None:
        self._ray, self._stage, self._progress, self._patience = ray, stage, progress, patience
        self._remote = ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")(remotely)
        self._fixed = (ray.put(ledger), folder, ray.put(_without_tasks(stage)))
        self._waiting: deque[Task] = deque()
        self._running: dict[Any, _Run] = {}
        self._tries: dict[str, int] = {}
        self._asked: dict[str, int] = {}  # by tasks that ran out of memory
        self._paces: list[float] = []  # of tasks that are done: seconds for each unit of size
        self._peak, self._peak_by_size, self._measured = 0, 0.0, True  # the most memory that one took, and that for each unit of size
        self._attempts: dict[str, list[Any]] = {}  # what runs of each task
        self._nodes = self._look()

    def run(self, tasks: Sequence[Task]) -> dict[str, TaskRecord]:
        """Do the tasks; returns their records by name. Raises `UserError` of a task's, and `StageFailed`."""
        records: dict[str, TaskRecord] = {}
        self._waiting.extend(tasks)
        looked = time.monotonic()
        try:
            while len(records) < len(tasks):
                self._submit()
                everything = list(self._running)
                ready, _ = self._ray.wait(everything, num_returns=1, timeout=_LOOK, fetch_local=False)
                if ready and len(everything) > _MANY:  # each look at all costs as much as they are, so that many are heard after one
                    ready, _ = self._ray.wait(everything, num_returns=len(everything), timeout=0, fetch_local=False)
                for generator in ready:
                    self._hear(generator, records)
                if time.monotonic() - looked >= _LOOK:
                    looked = time.monotonic()
                    self._nodes = self._look()
                    self._beside()
        finally:
            for generator in self._running:
                self._ray.cancel(generator, force=True)
        return records

    # --- the cluster ---------------------------------------------------------------------------------------------------

    def _look(self) -> _Nodes:
        alive = {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU")}
        plain = [node for node, has in alive.items() if not has.get("GPU")]
        chosen = plain or list(alive)
        memory = tuple(int(alive[node].get("memory", 0)) for node in chosen)
        return _Nodes(sum(alive[node]["CPU"] for node in chosen), memory, tuple(sorted(alive.keys() - set(chosen))))

    def _memory(self, task: Task) -> int:
        """What a task asks for, in bytes. Raises `UserError` where no node has so much."""
        stage, largest = self._stage, max(self._nodes.memory, default=0)
        asked = self._asked.get(task.name)
        if asked is None:
            asked = stage.memory
            if len(self._paces) >= _SEEN and self._measured:
                asked = min(asked, max(_LEAST, int(_MARGIN * max(self._peak, self._peak_by_size * task.size))))
        if asked > largest:
            raise UserError(
                f"stage {stage.name}: task {task.name} needs {asked >> 20:,} MB of memory, and no node has that much "
                f"(the largest has {largest >> 20:,} MB for tasks); make `ingest.partition_bytes` smaller, or use a larger machine"
            )
        return asked

    # --- starting tasks ------------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        """Submit twice as many tasks as can run, so that no core waits for this process, and a cluster that grows sees what is wanted."""
        room = max(4, int(2 * self._nodes.cpus)) - len(self._running)
        passed: list[Task] = []
        while room > 0 and self._waiting and len(passed) < 64:
            task = self._waiting.popleft()
            memory = self._memory(task)
            if self._is_large(memory) and sum(run.memory >= memory for run in self._running.values()) >= 2 * self._nodes.slots(memory):
                passed.append(task)  # smaller ones must not wait for memory that it waits for
                continue
            self._start(task, memory)
            room -= 1
        self._waiting.extendleft(reversed(passed))

    def _is_large(self, memory: int) -> bool:
        """Whether memory, and not cores, says how many tasks of this kind can run."""
        return self._nodes.slots(memory) < self._nodes.cpus

    def _start(self, task: Task, memory: int, avoid: str = "") -> None:
        ledger, folder, stage = self._fixed
        how: dict[str, Any] = {"name": f"{self._stage.name}:{task.name}", "memory": memory}
        if others := [*self._nodes.spared, *([avoid] if avoid else [])]:
            how["label_selector"] = {"ray.io/node-id": f"!in({','.join(others)})"}
        generator = self._remote.options(**how).remote(ledger, folder, stage, task)
        self._running[generator] = _Run(task, memory)
        self._attempts.setdefault(task.name, []).append(generator)

    def _beside(self) -> None:
        """Start copies of tasks that lag behind, on other nodes, once no other task waits. The first that is done counts."""
        if self._waiting or not self._paces or len(self._nodes.memory) < 2:
            return
        factor, least = self._patience
        usual = statistics.median(self._paces)
        now = time.monotonic()
        for run in list(self._running.values()):
            lags = run.begin and now - run.begin > max(least, factor * usual * run.task.size)
            if lags and len(self._attempts[run.task.name]) == 1:
                self._start(run.task, run.memory, avoid=run.node)
                self._tell(run.task, "beside", why=f"it has taken {now - run.begin:.0f} s")

    # --- what they say -------------------------------------------------------------------------------------------------

    def _hear(self, generator: Any, records: dict[str, TaskRecord]) -> None:
        run = self._running.get(generator)
        if run is None:  # a copy of one that is done
            return
        errors = self._ray.exceptions
        try:
            said = self._ray.get(next(generator))
        except errors.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise StageFailed(f"stage {self._stage.name}, task {run.task.name}: {error}") from error
        except errors.RayError as error:
            self._gone(generator, run)
            self._again(run, error)
            return
        if isinstance(said, Begun):
            run.begin, run.node = time.monotonic(), said.node
            self._progress.event(TaskEvent(self._stage.name, run.task.name, "begun", node=said.host))
            return
        for other in list(self._attempts[run.task.name]):
            self._gone(other, run)
            if other is not generator:
                self._ray.cancel(other, force=True)
        records[run.task.name] = said.record
        self._measured &= said.memory > 0
        self._peak = max(self._peak, said.memory)
        self._peak_by_size = max(self._peak_by_size, said.memory / max(1, run.task.size))
        self._paces.append(said.seconds / max(1, run.task.size))
        self._tell(run.task, "done", seconds=said.seconds, memory=said.memory)
        self._progress.advance(run.task.size)

    def _gone(self, generator: Any, run: _Run) -> None:
        del self._running[generator]
        attempts = self._attempts[run.task.name]
        attempts.remove(generator)
        if not attempts:
            del self._attempts[run.task.name]

    def _again(self, run: _Run, error: Exception) -> None:
        """Start a task once more whose process or node is lost. Raises `UserError` or `StageFailed` where that has no sense."""
        task, largest = run.task, max(self._nodes.memory, default=0)
        if task.name in self._attempts:
            return  # its copy goes on
        why = first_line(error)
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            if run.memory >= largest:
                raise UserError(
                    f"stage {self._stage.name}: task {task.name} ran out of memory though it had a whole node's for itself "
                    f"({largest >> 20:,} MB); make `ingest.partition_bytes` smaller, or use a larger machine"
                ) from error
            self._asked[task.name] = min(2 * run.memory, largest)
            why = f"it ran out of memory, and asks for {self._asked[task.name] >> 20:,} MB now"
        else:
            self._tries[task.name] = self._tries.get(task.name, 1) + 1
            if self._tries[task.name] > TRIES:
                raise StageFailed(f"stage {self._stage.name}, task {task.name}: lost {TRIES} times; the last time: {why}") from error
        self._tell(task, "again", why=why)
        self._waiting.appendleft(task)

    def _tell(self, task: Task, kind: Any, **what: Any) -> None:
        self._progress.event(TaskEvent(self._stage.name, task.name, kind, **what))


def _without_tasks(stage: Stage) -> Stage:
    """What a worker needs of a stage."""
    return Stage(stage.name, stage.datasets, stage.function, ())


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).splitlines()), type(error).__name__)

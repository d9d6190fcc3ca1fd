"""A simulation of scheduling: the pipeline's own `Schedule` over 100,000 partitions on 1,000 nodes that fail, with a Ray that pretends.

`python -m benchmarks.scheduling`. The clock is the simulation's, so that days pass in minutes; what is real is the driver: its code, its
seconds of CPU and its memory. Tasks take times drawn by a key (log-normal, with a few stragglers), nodes are lost at a rate and come back.
"""

from __future__ import annotations

import argparse
import heapq
import math
import resource
import time
from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import ray.exceptions

from benchmarks.results_file import Row, show, write
from pipeline.workdir import scheduling
from pipeline.workdir.commit import Ledger, TaskRecord
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.progress import NoProgress, TaskEvent
from pipeline.workdir.scheduling import Begun, Done, Schedule
from pipeline.workdir.tasks import Stage, Task

MB = 1 << 20


class Run:
    """A task that was submitted: an iterator, as Ray's generators are."""

    __slots__ = ("avoid", "begin", "memory", "node", "over", "said", "task")

    def __init__(self, task: Task, memory: int, avoid: str) -> None:
        self.task, self.memory, self.avoid = task, memory, avoid
        self.node, self.begin, self.over = -1, 0.0, False
        self.said: deque[Any] = deque()

    def __next__(self) -> Any:
        return self.said.popleft()


class Pretended:
    """A Ray of so many nodes, whose time goes from event to event.

    `lifetime`: mean seconds until a node is lost (exponential); `away`: seconds until it is back. Every task that runs on it is lost.
    """

    exceptions = ray.exceptions

    def __init__(self, nodes: int, cores: int, memory: int, seconds: np.ndarray[Any, Any], lifetime: float, away: float, seed: int) -> None:
        self.now, self._draw = 0.0, np.random.default_rng(seed)
        self._cores, self._memory = cores, memory
        self._free = [[float(cores), float(memory)] for _ in range(nodes)]
        self._alive = [True] * nodes
        self._on: list[dict[Run, None]] = [{} for _ in range(nodes)]  # in the order in which they began
        self._open = set(range(nodes))  # nodes with a free core
        self._queue: deque[Run] = deque()
        self._ready: deque[Run] = deque()
        self._events: list[tuple[float, int, str, Any]] = []
        self._count = 0
        self._seconds, self._lifetime, self._away = seconds, lifetime, away
        self.lost_nodes = self.lost_tasks = 0
        self.lost_seconds = self.worked = 0.0
        if math.isfinite(lifetime):
            for node in range(nodes):
                self._at(float(self._draw.exponential(lifetime)), "lost", node)

    def _at(self, when: float, what: str, whom: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what, whom))

    # --- what the schedule calls ---------------------------------------------------------------------------------------

    def nodes(self) -> list[dict[str, Any]]:
        has: dict[str, float] = {"CPU": float(self._cores), "memory": float(self._memory)}
        return [{"NodeID": str(node), "Alive": alive, "Resources": has} for node, alive in enumerate(self._alive)]

    def remote(self, **_: Any) -> Any:
        return lambda function: self

    def put(self, value: Any) -> Any:
        return value

    def options(self, *, memory: int, label_selector: dict[str, str] | None = None, **_: Any) -> Any:
        avoid = (label_selector or {}).get("ray.io/node-id", "")

        def submit(ledger: Any, folder: Any, stage: Any, task: Task) -> Run:
            run = Run(task, memory, avoid)
            self._queue.append(run)
            self._place()
            return run

        return SimpleNamespace(remote=submit)

    def wait(self, running: Sequence[Run], *, timeout: float, **how: Any) -> tuple[list[Run], list[Run]]:
        limit = self.now + timeout
        while not self._ready and self._events and self._events[0][0] <= limit:
            self.now, _, what, whom = heapq.heappop(self._events)
            getattr(self, f"_{what}")(whom)
        if not self._ready:
            self.now = limit
            return [], []
        return [self._ready.popleft()], []

    def get(self, said: Any) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    def cancel(self, run: Run, **_: Any) -> None:
        if not run.over:
            self._leave(run)

    # --- what happens --------------------------------------------------------------------------------------------------

    def _place(self) -> None:
        while self._queue and self._open:
            run = self._queue[0]
            if run.over:
                self._queue.popleft()
                continue
            node = next((node for node in self._open if self._free[node][1] >= run.memory and str(node) not in run.avoid), None)
            if node is None:
                return
            self._queue.popleft()
            free = self._free[node]
            free[0], free[1] = free[0] - 1, free[1] - run.memory
            if free[0] < 1:
                self._open.discard(node)
            self._on[node][run] = None
            run.node, run.begin = node, self.now
            run.said.append(Begun(str(node), f"node{node}"))
            self._ready.append(run)
            usual = float(self._seconds[int(run.task.name)])
            self._at(self.now + (usual if not run.avoid else float(np.median(self._seconds))), "done", run)

    def _leave(self, run: Run) -> None:
        run.over = True
        if run.node >= 0:
            self._on[run.node].pop(run, None)
            if self._alive[run.node]:
                free = self._free[run.node]
                free[0], free[1] = free[0] + 1, free[1] + run.memory
                self._open.add(run.node)
        self._place()

    def _done(self, run: Run) -> None:
        if run.over:
            return
        self.worked += self.now - run.begin
        self._leave(run)
        run.said.append(Done(TaskRecord(run.task.key, {}), 400 * MB, self.now - run.begin))
        self._ready.append(run)

    def _lost(self, node: int) -> None:
        self.lost_nodes += 1
        self._alive[node] = False
        self._open.discard(node)
        for run in list(self._on[node]):
            run.over = True
            self.lost_tasks, self.lost_seconds = self.lost_tasks + 1, self.lost_seconds + self.now - run.begin
            run.said.append(ray.exceptions.WorkerCrashedError())
            self._ready.append(run)
        self._on[node].clear()
        self._at(self.now + self._away, "back", node)

    def _back(self, node: int) -> None:
        self._alive[node], self._free[node] = True, [float(self._cores), float(self._memory)]
        self._open.add(node)
        self._at(self.now + float(self._draw.exponential(self._lifetime)), "lost", node)
        self._place()


class _Counting(NoProgress):
    def __init__(self) -> None:
        self.events: dict[str, int] = {}

    def event(self, event: TaskEvent) -> None:
        self.events[event.kind] = self.events.get(event.kind, 0) + 1


def simulate(tasks: int, nodes: int, cores: int, mean: float, node_hours: float, seed: int = 1) -> dict[str, float]:
    """One stage of so many tasks; `mean`: seconds of a task, `node_hours`: until a node is lost. What came of it, in seconds and bytes."""
    draw = np.random.default_rng(seed)
    seconds = draw.lognormal(math.log(mean) - 0.125, 0.5, tasks)
    seconds[draw.random(tasks) < 0.001] *= 20  # stragglers
    pretended = Pretended(nodes, cores, 64 << 30, seconds, node_hours * 3600, 300.0, seed)
    stage = Stage("simulated", ("made",), lambda workdir, payload: iter(()), (), memory=1 << 30)  # type: ignore[arg-type, return-value]
    work = [Task(str(number), "key", None, 64 * MB) for number in range(tasks)]
    progress, before = _Counting(), _resident()
    begin = time.process_time()
    with patch.object(scheduling, "time", SimpleNamespace(monotonic=lambda: pretended.now)):
        ledger = Ledger(Workdir("/nowhere"), stage.datasets)
        done = Schedule(pretended, ledger, "", stage, progress).run(work)
    assert len(done) == tasks
    return {
        "seconds": pretended.now,
        "ideal": float(seconds.sum()) / (nodes * cores),
        "lost_nodes": pretended.lost_nodes,
        "lost_tasks": pretended.lost_tasks,
        "lost_share": pretended.lost_seconds / max(1.0, pretended.worked),
        "beside": progress.events.get("beside", 0),
        "driver_seconds": time.process_time() - begin,
        "driver_bytes": _resident() - before,
    }


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0, help="mean of a task")
    parser.add_argument("--node-hours", type=float, default=24.0, help="mean until a node is lost; spot instances are lost more often")
    parser.add_argument("--quick", action="store_true", help="a hundredth of it, not written down")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.tasks, chosen.nodes = chosen.tasks // 100, chosen.nodes // 100
    what = f"{chosen.tasks:,} tasks of {chosen.seconds:g} s on {chosen.nodes:,} nodes of {chosen.cores} cores"
    rows = []
    for name, hours in (("no failures", math.inf), (f"a node is lost every {chosen.node_hours:g} h of its own", chosen.node_hours)):
        found = simulate(chosen.tasks, chosen.nodes, chosen.cores, chosen.seconds, hours)
        rows += [
            Row(f"{what}, {name}: until all are done", "s", found["seconds"]),
            Row("  if no core ever waited", "s", found["ideal"]),
            Row("  nodes lost", "", found["lost_nodes"]),
            Row("  tasks lost and done again", "", found["lost_tasks"]),
            Row("  work that was lost", "%", 100 * found["lost_share"]),
            Row("  copies of tasks that lagged behind", "", found["beside"]),
            Row("  the driver's CPU, of a task", "ms", 1000 * found["driver_seconds"] / chosen.tasks),
            Row("  the driver's memory grown, of which the records are a part", "MB", found["driver_bytes"] / 1e6),
        ]
    show(rows)
    if not chosen.quick:
        write("scheduling", rows, ("ray", "numpy"))


if __name__ == "__main__":
    main()

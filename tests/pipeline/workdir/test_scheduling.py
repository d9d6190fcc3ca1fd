"""Where and with what the tasks of a stage run: by a Ray that only notes what it is asked for, and on several nodes of a real one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray.exceptions

from pipeline.workdir.commit import Ledger, Summary, TaskRecord
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.engine import Engine
from pipeline.workdir.errors import UserError
from pipeline.workdir.progress import NoProgress, TaskEvent
from pipeline.workdir.scheduling import TRIES, Begun, Done, Schedule, StageFailed
from pipeline.workdir.tasks import File, Stage, Task

MB = 1 << 20


class Events(NoProgress):
    """Keeps what is told of tasks."""

    def __init__(self) -> None:
        self.all: list[TaskEvent] = []

    def event(self, event: TaskEvent) -> None:
        self.all.append(event)

    def of(self, kind: str) -> list[str]:
        return [event.task for event in self.all if event.kind == kind]


# --- what is asked of Ray --------------------------------------------------------------------------------------------


class Submitted:
    """A task that was submitted: an iterator, as Ray's generators are."""

    def __init__(self, how: dict[str, Any], task: Task) -> None:
        self.how, self.task = how, task
        self.said: deque[Any] = deque()

    def __next__(self) -> Any:
        return self.said.popleft()


class Noting:
    """A Ray whose nodes are given, on which tasks end as `ends` says: by what they held of memory, or by an error."""

    exceptions = ray.exceptions

    def __init__(self, nodes: list[dict[str, float]], ends: Callable[[Submitted], int | Exception]) -> None:
        self._nodes, self._ends = nodes, ends
        self.submitted: list[Submitted] = []
        self.cancelled: list[Submitted] = []
        self.most: list[list[str]] = []  # which tasks were there at each wait

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": f"node{number}", "Alive": True, "Resources": has} for number, has in enumerate(self._nodes)]

    def remote(self, **_: Any) -> Any:
        return lambda function: self

    def put(self, value: Any) -> Any:
        return value

    def options(self, **how: Any) -> Any:
        outer = self

        class Remote:
            def remote(self, ledger: Any, folder: Any, stage: Any, task: Task) -> Submitted:
                outer.submitted.append(Submitted(how, task))
                return outer.submitted[-1]

        return Remote()

    def wait(self, running: list[Submitted], **_: Any) -> tuple[list[Submitted], list[Submitted]]:
        self.most.append([one.task.name for one in running])
        first = running[0]
        end = self._ends(first)
        first.said.append(end if isinstance(end, Exception) else Done(TaskRecord(first.task.key, {}), end, 1.0))
        return [first], running[1:]

    def get(self, said: Any) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    def cancel(self, one: Submitted, **_: Any) -> None:
        self.cancelled.append(one)


def tasks(*sizes: int) -> list[Task]:
    return [Task(f"t{number}", "key", None, size) for number, size in enumerate(sizes)]


def schedule(noting: Noting, stage: Stage, progress: NoProgress | None = None) -> Schedule:
    return Schedule(noting, Ledger(Workdir("/nowhere"), stage.datasets), "", stage, progress or NoProgress())


STAGE = Stage("work", ("made",), lambda workdir, payload: iter(()), (), memory=1000 * MB)  # type: ignore[arg-type, return-value]


def test_memory_is_that_of_one_node_and_not_of_all(tmp_path: Path) -> None:
    two = [{"CPU": 4.0, "memory": 700.0 * MB}] * 2
    with pytest.raises(
        UserError, match=r"^stage work: task t0 needs 1,000 MB of memory, and no node has that much \(the largest has 700 MB"
    ):
        schedule(Noting(two, lambda _: 1), STAGE).run(tasks(1))


def test_tasks_ask_for_what_those_before_them_took() -> None:
    noting = Noting([{"CPU": 1.0, "memory": 8000.0 * MB}], lambda one: 400 * MB)
    schedule(noting, STAGE).run(tasks(10, 10, 10, 10, 10, 10, 10, 10, 10, 20))
    asked = [one.how["memory"] // MB for one in noting.submitted]
    assert asked[0] == 1000  # the stage's word
    assert asked[-2] == 500  # a quarter more than was seen
    assert asked[-1] == 1000  # twice as large


def test_a_task_that_ran_out_of_memory_asks_for_more_until_a_node_is_its_own() -> None:
    events = Events()

    def ends(one: Submitted) -> int | Exception:
        return MB if one.how["memory"] >= 4000 * MB else ray.exceptions.OutOfMemoryError("killed by the memory monitor")

    noting = Noting([{"CPU": 4.0, "memory": 5000.0 * MB}], ends)
    schedule(noting, STAGE, events).run(tasks(1))
    assert [one.how["memory"] // MB for one in noting.submitted] == [1000, 2000, 4000]
    assert events.of("again") == ["t0", "t0"]
    assert events.all[-2].why == "it ran out of memory, and asks for 4,000 MB now"
    with pytest.raises(UserError, match="ran out of memory though it had a whole node's for itself"):
        schedule(Noting([{"CPU": 4.0, "memory": 3000.0 * MB}], ends), STAGE).run(tasks(1))


def test_a_task_whose_process_is_lost_is_started_again_and_not_for_ever() -> None:
    left = [TRIES - 1]

    def ends(one: Submitted) -> int | Exception:
        left[0] -= 1
        return ray.exceptions.WorkerCrashedError() if left[0] >= 0 else 1

    assert len(schedule(Noting([{"CPU": 1.0, "memory": 8000.0 * MB}], ends), STAGE).run(tasks(1))) == 1
    left[0] = TRIES
    with pytest.raises(StageFailed, match=f"stage work, task t0: lost {TRIES} times"):
        schedule(Noting([{"CPU": 1.0, "memory": 8000.0 * MB}], ends), STAGE).run(tasks(1))


def test_tasks_that_need_much_memory_do_not_keep_out_small_ones() -> None:
    noting = Noting([{"CPU": 8.0, "memory": 4000.0 * MB}], lambda one: 1)
    plan = schedule(noting, replace(STAGE, memory=100 * MB))
    plan._asked = {f"t{number}": 3000 * MB for number in range(40)}  # as after each had run out of memory
    plan.run(tasks(*[1] * 60))
    assert sum(int(name[1:]) < 40 for name in noting.most[0]) == 2
    assert sum(int(name[1:]) >= 40 for name in noting.most[0]) == 14
    assert len(noting.submitted) == 60


def test_only_so_many_tasks_are_submitted_as_keep_the_cores_busy() -> None:
    noting = Noting([{"CPU": 8.0, "memory": 64000.0 * MB}] * 2, lambda one: 1)
    schedule(noting, STAGE).run(tasks(*[1] * 500))
    assert max(map(len, noting.most)) == 32


def test_nodes_with_gpus_are_left_to_those_who_need_them_where_there_are_others() -> None:
    plain, gpu = {"CPU": 2.0, "memory": 4000.0 * MB}, {"CPU": 64.0, "memory": 64000.0 * MB, "GPU": 8.0}
    noting = Noting([gpu, plain, gpu], lambda one: 1)
    schedule(noting, STAGE).run(tasks(1))
    assert noting.submitted[0].how["label_selector"] == {"ray.io/node-id": "!in(node0,node2)"}
    alone = Noting([gpu], lambda one: 1)
    schedule(alone, STAGE).run(tasks(1))
    assert "label_selector" not in alone.submitted[0].how


def test_a_copy_that_is_done_first_counts_and_the_other_is_ended() -> None:
    noting = Noting([{"CPU": 1.0, "memory": 8000.0 * MB}] * 2, lambda one: 1)
    events = Events()
    plan = Schedule(noting, Ledger(Workdir("/nowhere"), STAGE.datasets), "", STAGE, events, patience=(0.0, 0.0))
    plan._paces = [0.0]
    plan._start(tasks(1)[0], MB)
    first = noting.submitted[0]
    first.said.append(Begun("node1", "host"))
    records: dict[str, TaskRecord] = {}
    plan._hear(first, records)
    plan._beside()
    assert noting.submitted[1].how["label_selector"] == {"ray.io/node-id": "!in(node1)"}
    plan._beside()
    assert len(noting.submitted) == 2
    noting.submitted[1].said.append(Done(TaskRecord("key", {}), 1, 1.0))
    plan._hear(noting.submitted[1], records)
    assert list(records) == ["t0"]
    assert noting.cancelled == [first]
    assert events.of("beside") == ["t0"]


# --- several nodes ---------------------------------------------------------------------------------------------------


def once_slow(workdir: Workdir, payload: tuple[str, str]) -> Generator[File, None, Summary]:
    """Whoever comes first to task "b" waits until somebody else has done it; "k" kills its process once."""
    name, folder = payload
    first = Path(folder) / f"first-{name}"
    try:
        first.touch(exist_ok=False)
        alone = True
    except FileExistsError:
        alone = False
    if name == "k" and alone:
        os.kill(os.getpid(), signal.SIGKILL)
    while name == "b" and alone and not (Path(folder) / "copied").exists():
        time.sleep(0.05)
    if name == "b" and not alone:
        (Path(folder) / "on").write_text(ray.get_runtime_context().get_node_id())
    yield File("made", f"{name}.txt", name.encode(), 1)
    return {}


@pytest.fixture
def two_nodes() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    ray.shutdown()  # that of other tests; theirs starts again when it is wanted
    cluster = Cluster()
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=96 << 20)
    cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=96 << 20)
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.launch
@pytest.mark.skipif(sys.platform != "linux", reason="several nodes of Ray on one machine need Linux")
def test_on_several_nodes_laggards_are_copied_elsewhere_the_lost_start_again_and_gpus_are_spared(tmp_path: Path, two_nodes: Any) -> None:
    names = ["a", "b", "c", "d", "k"]
    stage = Stage("made", ("made",), once_slow, tuple(Task(name, name, (name, str(tmp_path))) for name in names), memory=64 << 20)
    ledger, events = Ledger(Workdir(str(tmp_path / "workdir")), stage.datasets), Events()
    records = Schedule(Engine(ledger.workdir).connect(), ledger, "", stage, events, patience=(1.0, 1.0)).run(stage.tasks)
    assert sorted(records) == names
    assert events.of("again") == ["k"]
    assert events.of("beside") == ["b"]
    gpu = next(node["NodeID"] for node in ray.nodes() if node["Resources"].get("GPU"))
    assert (tmp_path / "on").read_text() != gpu
    assert {event.node for event in events.all if event.kind == "begun"} == {os.uname().nodename}

"""Training by Ray Train, on a Ray cluster of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from jobs.ray_train import shares
from pipeline.workdir.errors import UserError
from tests.integration.small import ROOT
from tests.trainer.runs import assert_equal, losses, two_splits, weights
from tests.trainer.synthetic import run_config
from tests.trainer.zygote import fork_ranks

# Without Ray


@pytest.mark.parametrize(
    ("nodes", "processes", "workers"),
    [
        ([{"CPU": 64, "GPU": 8}], None, (8, {"GPU": 1, "CPU": 8})),
        ([{"CPU": 64, "GPU": 8}, {"CPU": 16}, {"CPU": 12, "GPU": 4}], None, (12, {"GPU": 1, "CPU": 3})),  # as many as every node has
        ([{"CPU": 2, "GPU": 4}], 3, (3, {"GPU": 1, "CPU": 1})),
        ([{"CPU": 2}], None, (2, {"CPU": 1})),
        ([{"CPU": 1}], None, (1, {"CPU": 1})),
        ([{"CPU": 8}, {"CPU": 8}], 3, (3, {"CPU": 4})),  # two on one node, one on the other
        ([{"CPU": 8}, {"CPU": 3}, {}], 2, (2, {"CPU": 4})),
    ],
)
def test_workers_share_the_gpus_and_cores_of_a_cluster(nodes: list[dict[str, float]], processes: int | None, workers: Any) -> None:
    assert shares(nodes, processes) == workers
    count, each = workers
    fit = sum(min(int(node.get(name, 0) // amount) for name, amount in each.items()) for node in nodes)
    assert fit >= count or each["CPU"] == 1


def test_more_workers_than_a_cluster_has_room_for_are_a_line() -> None:
    with pytest.raises(UserError, match="training.processes: 9, but the Ray cluster has 8 GPUs"):
        shares([{"CPU": 64, "GPU": 8}], 9)
    with pytest.raises(UserError, match="training.processes: 5, but the Ray cluster has 4 cores"):
        shares([{"CPU": 4}], 5)
    assert shares([{"CPU": 64, "GPU": 8}], None, gpus=False) == (2, {"CPU": 32})


@pytest.mark.skipif(find_spec("pandas") is not None, reason="Ray Train is installed")
@pytest.mark.launch
def test_where_ray_train_is_not_installed_a_line_says_so(tmp_path: Path) -> None:
    from jobs import launch

    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"--ray: Ray Train is not installed here \(.*\); pip install 'encoder-foundry\[ray-train\]'"):
        launch.launch(tmp_path / "run.json", ray=True)


# With Ray

needs_ray_train = pytest.mark.skipif(find_spec("pandas") is None, reason="Ray Train (encoder-foundry[ray-train]) is not installed")
HOLD = (
    "import ray, sys; ray.init(address='local', num_cpus=2, include_dashboard=False, object_store_memory=96 << 20, logging_level='ERROR')\n"
    "print(ray.get_runtime_context().gcs_address, flush=True); sys.stdin.read()"
)


# A token of this cluster's own, by which others than the process that started it may use it: Ray asks for one from 2.59 on.
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Ray cluster in processes of its own."""
    pipe, environment = subprocess.PIPE, {**os.environ, **TOKEN}
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment) as holder:
        assert holder.stdout is not None
        yield holder.stdout.readline().strip()


class Launched:
    """A launcher that trains on the cluster."""

    def __init__(self, run: Path, address: str, module: str = "tests.jobs.stub", restarts: int = 0) -> None:
        code = (
            "from pathlib import Path; from jobs import launch, cli\n"
            f"launch.MODULE = {module!r}\n"
            f"cli.app = lambda: launch.launch(Path({str(run)!r}) / 'run.json', ray=True, address={address!r}, restarts={restarts})\ncli.main()"
        )
        environment = {**os.environ, **TOKEN, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", code]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    def ends(self) -> tuple[int, str]:
        self.out, err = self.process.communicate()
        return self.process.returncode, err


def stubs(folder: Path, *rules: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"ranks": rules}))
    return folder


def told(run: Path, rank: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "pids" / str(rank)).read_text())
    return found


@needs_ray_train
def test_each_worker_has_a_rank_and_all_are_started_again_where_one_was_killed(address: str, tmp_path: Path) -> None:
    """And what the first prints comes here."""
    launched = Launched(run := stubs(tmp_path / "run", {"dies": 9, "heals": 1}, {"waits": True, "heals": 1}), address, restarts=2)
    assert launched.ends() == (0, "foundry: a rank was lost; Ray Train starts all again, from the last checkpoint (1 of 2 times)\n")
    assert launched.out == "stdout of 0\nstdout of 0\n"
    assert (run / "starts-0").read_text() == "xx"
    for rank in range(2):
        found = told(run, rank)
        assert (found["RANK"], found["LOCAL_RANK"], found["WORLD_SIZE"], found["LOCAL_SIZE"]) == (str(rank), str(rank), "2", "2")
        assert "stderr of" in (run / "logs" / f"rank-{rank}.txt").read_text()
    assert told(run, 0)["MASTER_PORT"] == told(run, 1)["MASTER_PORT"]


@needs_ray_train
@pytest.mark.thorough
def test_what_would_fail_again_is_not_started_again(address: str, tmp_path: Path) -> None:
    damaged = {"user": True, "text": "x.arrow: row 7 is damaged"}
    user = Launched(
        stubs(tmp_path / "user", {"code": 75, "fault": {"consequence": True}}, {"code": 2, "fault": damaged}), address, restarts=2
    )
    assert user.ends() == (2, "foundry: x.arrow: row 7 is damaged\n")
    assert (tmp_path / "user" / "starts-0").read_text() == "x"
    lost = Launched(stubs(tmp_path / "lost", {"dies": 9}, {"waits": True}), address)
    code, err = lost.ends()
    assert code == 75
    assert err.startswith("foundry: rank 0 was killed by SIGKILL")
    assert "--restarts N makes it do so of itself" in err


@needs_ray_train
@pytest.mark.thorough
def test_a_signal_waits_for_a_checkpoint(address: str, tmp_path: Path) -> None:
    launched = Launched(run := stubs(tmp_path / "run", {"waits": True, "writes": 0.3}), address)
    while not all((run / "pids" / str(rank)).is_file() for rank in range(2)):
        assert launched.process.poll() is None, launched.ends()
        time.sleep(0.05)
    launched.process.send_signal(signal.SIGINT)
    code, err = launched.ends()
    assert (code, err.splitlines()[-1]) == (130, "foundry: stopped by SIGINT, with a checkpoint; run the same command again to go on")
    assert (run / "checkpoint-1").exists()


@needs_ray_train
@pytest.mark.thorough
@pytest.mark.parametrize("what", ["rank", "worker"])
def test_a_training_of_which_a_rank_was_killed_ends_as_one_by_another_launcher(address: str, tmp_path: Path, what: str) -> None:
    """Its process, or the worker of Ray's above it, in the middle of a step: the weights are the same to the bit."""
    two_splits(tmp_path)
    runs = [tmp_path / name / "run" for name in ("whole", "lost")]
    for run in runs:
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({**run_config(tmp_path, log_every=3, zero_stage=2), "run": str(run)}))
    kind = "SIGKILL" if what == "rank" else "SIGSTOP"
    (runs[1].parent / "planned.json").write_text(json.dumps([{"kind": kind, "rank": 1, "step": 6, "once": True}]))
    ranks = fork_ranks("trainer", [str(runs[0] / "run.json")], 2, runs[0])
    assert [rank.wait() for rank in ranks] == [0, 0]
    launched = Launched(runs[1], address, "tests.jobs.planned", restarts=1)
    if what == "worker":
        while not (stopped := [pid for pid in pids("tests.jobs.planned") if state(pid) == "T"]):
            assert launched.process.poll() is None, launched.ends()
            time.sleep(0.05)
        os.kill(int(Path(f"/proc/{stopped[0]}/stat").read_text().rsplit(")", 1)[1].split()[1]), signal.SIGKILL)
    code, err = launched.ends()
    assert (code, len(err.splitlines())) == (0, 1), err
    assert "from step 4" in launched.out
    assert_equal(*map(weights, runs))
    assert losses(runs[0]) == losses(runs[1])


def pids(words: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if words in (path / "cmdline").read_bytes().decode().replace("\0", " "):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def state(pid: int) -> str:
    """A process's state, as /proc has it: T where it is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""

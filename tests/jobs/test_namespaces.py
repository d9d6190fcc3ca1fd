"""Launching over two hosts with names, networks, processes and sshds of their own, as Linux namespaces make them on one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.small import ROOT
from tests.jobs.namespaces import Network, missing
from tests.trainer.runs import assert_equal, lines_of, losses, two_splits, weights
from tests.trainer.synthetic import run_config
from tests.trainer.zygote import fork_ranks

pytestmark = [pytest.mark.launch, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


class Launched:
    """A launcher on a host: `launch` with ranks of a module's, in place of what the recipe's path would come to."""

    def __init__(self, network: Network, host: str, run: Path, module: str, arguments: str, patience: str = "") -> None:
        self.network, self.run = network, run
        code = (
            "import sys; from pathlib import Path; from jobs import launch, ranks; from jobs.faults import Stopped, TrainingFailed\n"
            f"from pipeline.workdir.errors import UserError; launch.MODULE = {module!r}; launch.PATIENCE = ranks.Patience({patience})\n"
            f"try: launch.launch(Path({str(run)!r}) / 'run.json', {arguments})\n"
            "except (UserError, TrainingFailed, Stopped) as error:\n"  # as the command line does, which takes longer to import
            "    print(f'foundry: {error}', file=sys.stderr); sys.exit(getattr(error, 'code', 2))"
        )
        pipe, command = (
            subprocess.PIPE,
            ["env", f"PYTHONPATH={ROOT}", "DS_ACCELERATOR=cpu", "OMP_NUM_THREADS=1", sys.executable, "-c", code],
        )
        self.process = network.start(host, *command, stdout=pipe, stderr=pipe)

    def until(self, *names: str) -> None:
        """Wait until a run has these files."""
        while not all((self.run / name).is_file() for name in names):
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def ends(self) -> tuple[int, str]:
        self.out, err = self.process.communicate()
        return self.process.returncode, err


def told(run: Path, rank: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "pids" / str(rank)).read_text())
    return found


# Ranks that do not train


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    made = Network(tmp_path_factory.mktemp("network") / "hosts", ["alpha", "beta"], daemon=f"Banner {__file__}")
    yield made
    made.close()


def stubs(folder: Path, *rules: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"ranks": rules}))
    return folder


def hostfile(folder: Path, *lines: str) -> Path:
    path = folder / "hosts"
    path.write_text("".join(f"{line}\n" for line in lines or ("alpha slots=1", "beta slots=1")))
    return path


def over(network: Network, run: Path, *lines: str, more: str = "", host: str = "alpha") -> Launched:
    return Launched(network, host, run, "tests.jobs.stub", f"hostfile=Path({str(hostfile(run.parent, *lines))!r}){more}", "2, 2, 30, 0.2")


def gone(network: Network) -> None:
    while any(network.pids(name, "tests.jobs.stub /") for name in network.names):
        time.sleep(0.02)


@pytest.mark.parametrize("by_ssh", [True, False])
def test_ranks_meet_where_all_hosts_reach_the_first(network: Network, tmp_path: Path, by_ssh: bool) -> None:
    """Not at 127.0.1.1, which is its name to itself, nor at an address that is another machine's on each host."""
    run = stubs(tmp_path / "run of é", {})
    if by_ssh:
        launched = [over(network, run)]
    else:
        launched = [over(network, run, more=f", node_rank={rank}", host=host) for rank, host in enumerate(network.names)]
    assert [one.ends() for one in launched] == [(0, "")] * len(launched)
    assert launched[0].out == "stdout of 0\n"
    for rank in range(2):
        found = told(run, rank)
        assert (found["RANK"], found["LOCAL_RANK"], found["WORLD_SIZE"], found["LOCAL_SIZE"]) == (str(rank), "0", "2", "1")
        assert found["MASTER_ADDR"] == ("10.213.0.1" if by_ssh else "alpha")
        assert found["GLOO_SOCKET_IFNAME"] == "eth0"
        assert f"stderr of {rank}" in (run / "logs" / f"rank-{rank}.txt").read_text()


def test_a_host_that_is_lost_ends_the_ranks_of_all(network: Network, tmp_path: Path) -> None:
    launched = over(network, run := stubs(tmp_path / "run", {"waits": True}))
    launched.until("pids/0", "pids/1")
    network.kill_all("beta")
    code, err = launched.ends()
    assert code == 75
    assert err.startswith("foundry: beta was lost (")
    assert "the same command goes on from the last checkpoint" in err
    assert (run / "checkpoint-0").exists()
    gone(network)


@pytest.mark.thorough
def test_a_host_whose_cable_is_out_does_not_hold_the_launcher(network: Network, tmp_path: Path) -> None:
    launched = over(network, stubs(tmp_path / "run", {"code": 75, "after": "go"}, {"waits": True, "deaf": True}))
    launched.until("pids/0", "pids/1")
    network.unplug("beta")
    (tmp_path / "run" / "go").touch()
    code, err = launched.ends()
    assert code == 75
    assert "rank 1 did not answer, and had to be killed" in err
    network.plug("beta")
    gone(network)


def test_no_rank_outlives_a_launcher_that_is_killed(network: Network, tmp_path: Path) -> None:
    """On whichever host it runs: here the second, which rank 0 is not on."""
    launched = over(network, stubs(tmp_path / "run", {"waits": True, "deaf": True}), host="beta")
    launched.until("pids/0", "pids/1")
    for pid in network.pids("beta", "import launch"):
        os.kill(pid, signal.SIGKILL)
    launched.ends()
    gone(network)


@pytest.mark.thorough
def test_a_signal_reaches_the_ranks_of_all_hosts(network: Network, tmp_path: Path) -> None:
    launched = over(network, run := stubs(tmp_path / "run", {"waits": True, "writes": 0.3}))
    launched.until("pids/0", "pids/1")
    launcher = next(pid for pid in network.pids("alpha", "import launch") if pid != launched.process.pid)
    os.kill(launcher, signal.SIGTERM)
    code, err = launched.ends()
    assert (code, err.splitlines()[-1]) == (0, "foundry: stopped by SIGTERM, with a checkpoint; run the same command again to go on")
    assert (run / "checkpoint-1").exists()


def test_a_fault_on_a_disk_of_another_hosts_is_told(tmp_path: Path) -> None:
    """Of the user's, with its line; the other host's disk has no RUN.json, either, before it is started."""
    damaged = {"user": True, "text": "x.arrow: row 7 is damaged"}
    run = stubs(tmp_path / "run", {"waits": True, "alone": True}, {"code": 2, "alone": True, "fault": damaged})
    network = Network(tmp_path / "network", ["alpha", "beta"], hidden={"beta": [run]})
    try:
        assert over(network, run).ends() == (2, "foundry: x.arrow: row 7 is damaged\n")
    finally:
        network.close()


@pytest.mark.thorough
def test_what_is_in_the_way_is_one_line_before_anything_is_started(network: Network, tmp_path: Path) -> None:
    run = stubs(tmp_path / "run", {})
    holder = network.start("alpha", sys.executable, "-c", "import socket,sys,time; s=socket.create_server(('', 23456)); print(flush=True); sys.stdin.read()", stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    lines = {
        ("nowhere slots=1", "beta slots=1"): "line 1: nowhere cannot be reached by `ssh -o BatchMode=yes HOST` (ssh: Could not resolve",
        ("alpha slots=1", "stranger@beta slots=1"): "line 2: stranger@beta cannot be reached .*Permission denied",
        ("beta slots=1", "alpha slots=1", "root@10.213.0.1 slots=1"): "line 3: root@10.213.0.1 cannot be reached .*Host key verification",
    }
    for those, message in lines.items():
        code, err = over(network, run, *those).ends()
        assert (code, len(err.splitlines())) == (2, 1), err
        assert all(part in err for part in message.split(" .*")), err
    code, err = over(network, run, more=", master_port=23456").ends()
    assert (code, err) == (
        2,
        "foundry: port 23456: taken on alpha; choose another by --master-port (the same on every host), or end what has it\n",
    )
    assert over(network, run, "beta slots=1", "alpha slots=1", more=", master_port=23456").ends() == (0, "")
    holder.communicate()


# Ranks that train


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_splits(tmp_path_factory.mktemp("shards"))


def write(shards: Path, folder: Path, *faults: dict[str, Any]) -> Path:
    run = folder / "run"
    run.mkdir(parents=True)
    body = {**run_config(shards, log_every=3, zero_stage=2, hang_seconds=30.0), "run": str(run)}
    (run / "run.json").write_text(json.dumps(body))
    (folder / "planned.json").write_text(json.dumps(faults))
    return run


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of two processes of one host."""
    run = write(shards, tmp_path_factory.mktemp("whole"))
    ranks = fork_ranks("trainer", [str(run / "run.json")], 2, run)
    assert [rank.wait() for rank in ranks] == [0, 0]
    return run


STOPS = {"kind": "SIGSTOP", "rank": 1, "step": 6, "once": True}  # so that what happens to its host happens in the middle of a step


@pytest.mark.thorough
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("what", ["killed", "unplugged"])
def test_a_training_that_lost_a_host_goes_on_bit_for_bit(shards: Path, whole: Path, tmp_path: Path, what: str, shared: bool) -> None:
    """With the run's folder on a disk that both hosts share, and where the second has another disk."""
    run = write(shards, tmp_path, STOPS)
    network = Network(tmp_path / "network", ["alpha", "beta"], hidden={} if shared else {"beta": [run]})
    arguments = f"hostfile=Path({str(hostfile(tmp_path))!r})"
    try:
        first = Launched(network, "alpha", run, "tests.jobs.planned", arguments)
        first.until("checkpoints/step-00000004/manifest.json")
        stopped: list[int] = []
        while not stopped:
            assert first.process.poll() is None, first.ends()
            stopped = [pid for pid in network.pids("beta", "tests.jobs.planned /") if state(pid) == "T"]
            time.sleep(0.05)
        if what == "killed":
            network.kill_all("beta")
        else:
            network.unplug("beta")
            os.kill(stopped[0], signal.SIGCONT)
        code, err = first.ends()
        assert code == 75, err
        # Without its cable each rank says what it met, and the first to say so is told: that it stood, or that its connection ended.
        said = err.splitlines()[0]
        assert said.startswith("foundry: beta was lost (" if what == "killed" else "foundry: rank "), err
        if what == "unplugged":
            while network.pids("beta", "tests.jobs.planned /"):  # its own watchdog ends it
                time.sleep(0.05)
            network.plug("beta")
        second = Launched(network, "alpha", run, "tests.jobs.planned", arguments)
        assert second.ends()[0] == 0
        assert "from step 4" in second.out
    finally:
        network.close()
    assert_equal(weights(whole), weights(run))
    assert losses(whole) == losses(run)
    assert lines_of(run / "events.jsonl") == [] or all(line["event"] == "start" for line in lines_of(run / "events.jsonl"))


def state(pid: int) -> str:
    """A process's state, as /proc has it: T where it is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""

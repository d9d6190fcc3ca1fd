"""jobs/slurm/pretrain.sbatch under a Slurm of one node that the tests start themselves, with ranks that do not train."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.small import ROOT
from trainer.environment import free_port

SCRIPT = ROOT / "jobs" / "slurm" / "pretrain.sbatch"
DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
KillWait=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE
"""

pytestmark = [
    pytest.mark.launch,
    pytest.mark.skipif(
        not all(map(shutil.which, DAEMONS)) or os.geteuid() != 0 or (os.cpu_count() or 1) < 2,
        reason="Slurm (Debian: slurmctld slurmd slurm-client munge) is not installed, or cannot be started by this user",
    ),
]


class Slurm:
    """A Slurm of this machine alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        host = socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(host=host, folder=folder, controller=free_port(), node=free_port())
        (folder / "slurm.conf").write_text(text)
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o600)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        places = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "seed"}
        munged = ["munged", "--foreground", "--force", *(f"--{name}={folder / value}" for name, value in places.items())]
        self.daemons: list[subprocess.Popen[bytes]] = []
        self._start(munged, folder / "munge.socket")
        self._start(["slurmctld", "-D", "-i", "-c"], folder / "slurmctld.pid")
        self._start(["slurmd", "-D"], folder / "slurmd.pid")
        while "idle" not in self.call("sinfo", "--noheader", "--format=%t"):
            time.sleep(0.1)

    def _start(self, command: list[str], sign: Path) -> None:
        quiet = subprocess.DEVNULL
        self.daemons.append(subprocess.Popen(command, env=self.environment, stdout=quiet, stderr=quiet, start_new_session=True))
        while not sign.exists():
            assert self.daemons[-1].poll() is None, command
            time.sleep(0.05)

    def call(self, *command: str) -> str:
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return result.stdout + result.stderr

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    made = Slurm(tmp_path_factory.mktemp("slurm"))
    yield made
    made.stop()


class Job:
    """A job by the script, of two ranks that do what RUN.json says."""

    def __init__(self, slurm: Slurm, folder: Path, *rules: dict[str, Any], more: Sequence[str] = ()) -> None:
        self.slurm, self.folder = slurm, folder
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({"ranks": rules}))
        programs = slurm.folder / "bin"
        programs.mkdir(exist_ok=True)
        stub = f"cd {ROOT} && exec {sys.executable} -m tests.jobs.stub $3"
        for name, line in {"foundry": 'echo "a line before"; echo "$2"', "python": stub}.items():
            (programs / name).write_text(f"#!/bin/bash\n{line}\n")
            (programs / name).chmod(0o755)
        options = ["--parsable", "--ntasks-per-node=2", f"--output={folder}/job.txt", "--overcommit", *more]
        self.number = slurm.call("sbatch", *options, str(SCRIPT), str(folder / "run.json")).strip()
        assert self.number.isdigit(), self.number

    def told(self, name: str) -> str:
        """A field of what Slurm says of the job."""
        found = re.search(rf"\b{name}=(\S+)", self.slurm.call("scontrol", "show", "job", self.number))
        return found[1] if found else ""

    def wait(self, *states: str) -> None:
        while self.told("JobState") not in states:
            time.sleep(0.1)

    def started(self) -> None:
        while not all((self.folder / "pids" / str(rank)).is_file() for rank in range(2)):
            time.sleep(0.05)


def test_ranks_find_their_places_by_slurms_variables(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path / "job", {})
    job.wait("COMPLETED", "FAILED")
    assert job.told("JobState") == "COMPLETED", (tmp_path / "job" / "job.txt").read_text()
    told = [json.loads((tmp_path / "job" / "pids" / str(rank)).read_text()) for rank in range(2)]
    for rank, each in enumerate(told):
        assert (each["RANK"], each["LOCAL_RANK"], each["WORLD_SIZE"], each["LOCAL_SIZE"]) == (str(rank), str(rank), "2", "2")
        assert each["MASTER_ADDR"] == "127.0.0.1"
    assert told[0]["MASTER_PORT"] == told[1]["MASTER_PORT"]


def test_a_job_whose_time_is_over_writes_a_checkpoint_and_comes_back(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path / "job", {"waits": True, "writes": 0.5})
    job.started()
    slurm.call("scancel", "--batch", "--signal=USR1", job.number)  # what --signal=B:USR1@300 does when it is time
    while job.told("Restarts") != "1":
        time.sleep(0.1)
    assert (tmp_path / "job" / "checkpoint-0").exists()
    assert (tmp_path / "job" / "checkpoint-1").exists()
    assert "it goes back into the queue" in (tmp_path / "job" / "job.txt").read_text()
    slurm.call("scancel", job.number)


@pytest.mark.parametrize("rule", [{"code": 75}, {"dies": 9}])
def test_a_job_that_lost_a_rank_comes_back(slurm: Slurm, tmp_path: Path, rule: dict[str, Any]) -> None:
    """One that stood, or that was killed; Slurm kills the other one, which does not listen."""
    lost = Job(slurm, tmp_path / "lost", rule, {"waits": True, "deaf": True})
    while lost.told("Restarts") != "1":
        assert lost.told("JobState") != "FAILED", (tmp_path / "lost" / "job.txt").read_text()
        time.sleep(0.1)
    slurm.call("scancel", lost.number)


def test_a_job_comes_back_so_often_and_no_more(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Coming back as the time is over is not counted."""
    folder = tmp_path / "job"
    monkeypatch.setitem(slurm.environment, "FOUNDRY_RESTARTS", "0")
    job = Job(slurm, folder, {"code": 75})
    job.wait("FAILED")
    assert job.told("Restarts") == "0"
    assert "processes were lost 1 times; submit it again" in (folder / "job.txt").read_text()


def test_a_job_that_failed_does_not_come_back(slurm: Slurm, tmp_path: Path) -> None:
    """By its code, or by the fault that a rank has told, where Slurm kills another that does not listen."""
    rules: dict[str, dict[str, Any]] = {"code": {"code": 1}, "fault": {"code": 1, "fault": {"text": "no space left"}}}
    for name, rule in rules.items():
        failed = Job(slurm, tmp_path / name, rule, {"waits": True, "deaf": name == "fault"})
        failed.wait("FAILED")
        assert failed.told("Restarts") == "0"


def test_each_process_has_the_cores_that_the_job_asks_for(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """srun does not take --cpus-per-task from sbatch, and is told of it again."""
    monkeypatch.delitem(slurm.environment, "OMP_NUM_THREADS", raising=False)  # which is the user's word, and holds
    job = Job(slurm, tmp_path / "job", {}, more=["--ntasks-per-node=1", "--cpus-per-task=2"])
    job.wait("COMPLETED", "FAILED")
    told = json.loads((tmp_path / "job" / "pids" / "0").read_text())
    assert (told["WORLD_SIZE"], told["OMP_NUM_THREADS"]) == ("1", "2")

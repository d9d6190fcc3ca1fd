"""Launching, with ranks that do not train: what they are given, how they end, and what is told of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import hosts, launch, ranks
from jobs.cli import main
from jobs.faults import Ended, Stopped, TrainingFailed, verdict
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from tests.integration.small import ROOT
from tests.jobs.stub import fault
from trainer.environment import PLACES, free_port

QUICK = ranks.Patience(0.3, 0.3)


@pytest.fixture(autouse=True)
def _stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MODULE", "tests.jobs.stub")
    monkeypatch.setattr(launch, "PATIENCE", QUICK)
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, *rules: dict[str, Any]) -> Path:
    """A run whose ranks do what these rules say; further ranks do what the last one says."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"ranks": rules}))
    return folder / "run.json"


def told(run: Path, rank: int) -> dict[str, Any]:
    """What a rank found in its environment."""
    found: dict[str, Any] = json.loads((run.parent / "pids" / str(rank)).read_text())
    return found


def gone(run: Path) -> bool:
    return not any(Path(f"/proc/{told(run, int(path.name))['pid']}").exists() for path in (run.parent / "pids").iterdir())


class Launcher:
    """A launcher in a process of its own, which can be sent signals."""

    def __init__(self, run: Path, arguments: str = "processes=2", before: str = "", patience: str = "ranks.Patience(30, 30)") -> None:
        code = (
            "import sys; from pathlib import Path; from jobs import hosts, launch, ranks, cli\n"
            f"launch.MODULE, launch.PATIENCE = 'tests.jobs.stub', {patience}\n"
            f"cli.app = lambda: launch.launch(Path({str(run)!r}), {arguments})\n{before}\ncli.main()"
        )
        self.run = run
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def started(self, count: int = 2) -> None:
        """Wait until that many ranks are there, and listen to signals; pytest's limit ends what never comes."""
        while not all((self.run.parent / "pids" / str(rank)).is_file() for rank in range(count)):
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)

    def ends(self) -> tuple[int, str]:
        out, err = self.process.communicate()
        self.out = out
        return self.process.returncode, err


@pytest.fixture
def launchers() -> Iterator[list[Launcher]]:
    made: list[Launcher] = []
    yield made
    for each in made:
        each.process.kill()


# Ranks on this machine


def test_each_rank_knows_its_place_and_has_a_log_and_a_session_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "run", {})
    launch.launch(run, processes=3)
    found = [told(run, rank) for rank in range(3)]
    for rank, each in enumerate(found):
        assert (each["RANK"], each["LOCAL_RANK"], each["WORLD_SIZE"]) == (str(rank), str(rank), "3")
        assert (each["LOCAL_WORLD_SIZE"], each["LOCAL_SIZE"], each["MASTER_ADDR"]) == ("3", "3", "127.0.0.1")
        assert each["session"] == each["pid"]
        assert f"stderr of {rank}" in (run.parent / "logs" / f"rank-{rank}.txt").read_text()
    assert len({each["MASTER_PORT"] for each in found}) == 1
    said = capfd.readouterr()
    assert said.out == "stdout of 0\n"
    assert "stderr of" not in said.err
    assert "stdout of 1" in (run.parent / "logs" / "rank-1.txt").read_text()
    launch.launch(run, processes=1)
    assert [path.name for path in (run.parent / "logs").iterdir()] == ["rank-0.txt"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGUSR1, 0)])
def test_a_signal_is_passed_on_once_and_waits_for_a_checkpoint(
    tmp_path: Path, launchers: list[Launcher], number: signal.Signals, code: int
) -> None:
    launcher = Launcher(write(tmp_path / "run", {"waits": True, "writes": 0.3}))
    launchers.append(launcher)
    launcher.started()
    os.killpg(launcher.process.pid, number)  # as a terminal does: all of its group
    ended, err = launcher.ends()
    assert ended == code
    waiting, stopped = err.splitlines()
    assert re.fullmatch(f"foundry: {number.name}: waiting for a checkpoint; a second .*Ctrl-C ends all ranks at once, without one", waiting)
    assert stopped == f"foundry: stopped by {number.name}, with a checkpoint; run the same command again to go on"
    assert (tmp_path / "run" / "checkpoint-0").exists()
    assert (tmp_path / "run" / "checkpoint-1").exists()


def test_a_signal_and_its_echo_are_one(tmp_path: Path, launchers: list[Launcher]) -> None:
    """`timeout` sends one to the process that it started, and one to the group that both are in."""
    launcher = Launcher(write(tmp_path / "run", {"waits": True, "writes": 0.5}))
    launchers.append(launcher)
    launcher.started()
    for _ in range(3):
        launcher.process.terminate()
    code, err = launcher.ends()
    assert code == 0
    assert "at once" not in err.splitlines()[-1]


def test_a_second_signal_ends_all_at_once(tmp_path: Path, launchers: list[Launcher]) -> None:
    run = write(tmp_path / "run", {"waits": True, "deaf": True})
    launcher = Launcher(run)
    launchers.append(launcher)
    launcher.started()
    launcher.process.send_signal(signal.SIGINT)
    assert launcher.process.stderr is not None
    assert "waiting for a checkpoint" in launcher.process.stderr.readline()
    time.sleep(2 * ranks._ECHO)
    launcher.process.send_signal(signal.SIGINT)
    code, err = launcher.ends()
    assert code == 130
    assert "without a new checkpoint" in err
    assert gone(run)


def test_a_rank_alone_that_is_stopped_is_ended_and_may_be_started_again(tmp_path: Path, launchers: list[Launcher]) -> None:
    """Whose own watchdog is stopped, too."""
    launcher = Launcher(write(tmp_path / "run", {"stopped": True}), "processes=1", before="ranks.HALTED = 0.3")
    launchers.append(launcher)
    code, err = launcher.ends()
    assert code == 75
    assert "the same command goes on from the last checkpoint" in err


def test_a_run_that_came_to_its_end_all_the_same_is_not_called_stopped(tmp_path: Path, launchers: list[Launcher]) -> None:
    run = write(tmp_path / "run", {"waits": True})
    (tmp_path / "run" / "summary.json").write_text("{}")
    launcher = Launcher(run)
    launchers.append(launcher)
    launcher.started()
    launcher.process.terminate()
    code, err = launcher.ends()
    assert code == 0
    assert "stopped by" not in err


def test_a_signal_that_was_ignored_from_the_start_stays_ignored(tmp_path: Path, launchers: list[Launcher]) -> None:
    """As SIGINT is in a command that a script starts in the background."""
    launcher = Launcher(write(tmp_path / "run", {"waits": True}), before="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)")
    launchers.append(launcher)
    launcher.started()
    launcher.process.send_signal(signal.SIGINT)
    launcher.process.send_signal(signal.SIGTERM)
    code, err = launcher.ends()
    assert code == 0
    assert "SIGINT" not in err


def test_ranks_end_with_a_launcher_that_is_killed(tmp_path: Path, launchers: list[Launcher]) -> None:
    run = write(tmp_path / "run", {"waits": True, "deaf": True})
    launcher = Launcher(run)
    launchers.append(launcher)
    launcher.started()
    launcher.process.kill()
    launcher.process.wait()
    while not gone(run):
        time.sleep(0.01)


@pytest.mark.parametrize("other", [{"waits": True}, {"waits": True, "deaf": True}, {"stopped": True}])
def test_once_a_rank_has_failed_the_others_are_ended(tmp_path: Path, other: dict[str, Any]) -> None:
    """One that listens, one that does not, and one that is stopped, which only SIGKILL reaches."""
    run = write(tmp_path / "run", {"code": 1, "says": "Traceback\nValueError: no"}, other)
    with pytest.raises(TrainingFailed, match="(?s)rank 0 ended with code 1.*ValueError: no") as failure:
        launch.launch(run, processes=2)
    assert failure.value.code == 1
    assert ("rank 1 did not answer, and had to be killed" in str(failure.value)) == ("deaf" in other or "stopped" in other)
    assert (run.parent / "checkpoint-1").exists() == (other == {"waits": True})
    assert gone(run)


def test_others_have_time_to_say_what_they_met(tmp_path: Path, launchers: list[Launcher]) -> None:
    late = {"user": True, "text": "x.arrow: row 7 is damaged"}
    run = write(tmp_path / "run", {"code": 75, "fault": {"consequence": True, "time": 1.0}}, {"code": 2, "fault": {**late, "time": 2.0}})
    launcher = Launcher(run)
    launchers.append(launcher)
    assert launcher.ends() == (2, "foundry: x.arrow: row 7 is damaged\n")


def test_faults_of_an_earlier_start_are_not_told(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {})
    fault(run.parent, 5, user=True, text="old")
    launch.launch(run, processes=1)
    write(tmp_path / "run", {"code": 1})
    with pytest.raises(TrainingFailed, match=r"stderr of 0"):
        launch.launch(run, processes=1)


@pytest.mark.parametrize("rule", [{"code": 75}, {"dies": 9}, {"code": 1, "fault": {"consequence": True}}])
def test_a_training_that_was_killed_or_lost_a_rank_is_started_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], rule: dict[str, Any]
) -> None:
    run = write(tmp_path / "run", {**rule, "heals": 2}, {"waits": True, "heals": 2})
    launch.launch(run, processes=2, restarts=3)
    assert (run.parent / "starts-0").read_text() == "xxx"
    said = [line for line in capfd.readouterr().err.splitlines() if "starting again from the last checkpoint" in line]
    assert [line[-14:] for line in said] == ["(1 of 3 times)", "(2 of 3 times)"]
    assert (run.parent / "logs" / "rank-0.txt").read_text().count("=== started again") == 2
    with pytest.raises(TrainingFailed, match="the same command goes on from the last checkpoint") as failure:
        launch.launch(write(tmp_path / "other", rule, {"waits": True}), processes=2, restarts=1)
    assert failure.value.code == 75
    assert (tmp_path / "other" / "starts-0").read_text() == "xx"


def test_what_would_fail_again_is_not_started_again(tmp_path: Path) -> None:
    rules: dict[str, dict[str, Any]] = {"error": {"code": 1}, "user": {"code": 2, "fault": {"user": True}}}
    for name, rule in rules.items():
        run = write(tmp_path / name, rule, {"code": 75, "fault": {"consequence": True}})
        with pytest.raises((TrainingFailed, UserError)):
            launch.launch(run, processes=2, restarts=3)
        assert (run.parent / "starts-0").read_text() == "x"


def test_the_first_fault_that_is_no_consequence_is_told(tmp_path: Path) -> None:
    lines = "\n".join(f"line {number}" for number in range(40))
    fault(tmp_path, 0, time=1.0, consequence=True, text="connection closed")
    fault(tmp_path, 2, time=3.0, text="later")
    fault(tmp_path, 1, time=2.0, text="disk full", traceback=lines, host="node7")
    (tmp_path / "logs").mkdir()
    codes = {0: 75, 1: 1, 2: 1}
    said = str(verdict(tmp_path, Ended(codes)))
    assert said.startswith("rank 1 on node7: disk full\nline 25\n")
    assert said.endswith(f"line 39\nlogs: {tmp_path / 'logs'}")
    fault(tmp_path, 4, time=9.0, user=True, text="a line for the user\n")
    fault(tmp_path, 5, time=8.0, user=True, text="an earlier one")
    (tmp_path / "faults" / "rank-6.json").write_text('{"time": 0')  # not written to its end
    told = verdict(tmp_path, Ended(codes))
    assert isinstance(told, UserError)
    assert str(told) == "an earlier one"


def test_a_killed_rank_is_told_before_those_that_lost_it(tmp_path: Path) -> None:
    fault(tmp_path, 0, consequence=True, text="connection closed")
    told = verdict(tmp_path, Ended({0: 75, 1: -9}))
    assert isinstance(told, TrainingFailed)
    assert told.again
    assert re.match("rank 1 was killed by SIGKILL; where nobody did that, memory ran out", str(told))


def test_faults_of_other_hosts_ranks_are_judged_too(tmp_path: Path) -> None:
    """Where each host has a launcher of its own, that of rank 0 knows of rank 1 what its fault says."""
    cases: list[tuple[int, dict[str, Any] | None, bool]] = [
        (75, None, True),
        (-9, None, True),
        (1, None, False),
        (75, {"code": 75}, True),  # it stood
        (-9, {}, False),
        (75, {"code": 1}, False),
        (75, {"consequence": True, "code": 1}, True),
        (0, {"consequence": True, "code": 75}, True),
    ]
    for code, changes, again in cases:
        if changes is not None:
            fault(tmp_path, 1, **changes)
        told = verdict(tmp_path, Ended({0: code}))
        assert isinstance(told, TrainingFailed)
        assert told.again == again, (code, changes)


def test_what_a_rank_says_of_a_consequence_is_told_before_warnings_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a warning of a library's\n")
    fault(tmp_path, 0, consequence=True, code=75, text="nothing was done for 5 seconds")
    assert "rank 0 on here: nothing was done for 5 seconds" in str(verdict(tmp_path, Ended({0: 75}, {0: log})))
    assert "a warning of a library's" in str(verdict(tmp_path, Ended({1: 75}, {1: log})))


# Hostfiles that cannot be trained on


def test_no_hostfile_and_no_such_place_in_one_are_a_line(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {})
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match="no such hostfile"):
            launch.launch(run, hostfile=path)
    hostfile = tmp_path / "hosts"
    hostfile.write_text("a slots=1\nb slots=1\n")
    with pytest.raises(UserError, match="--node-rank 2: .* names 2 hosts; they count from 0"):
        launch.launch(run, hostfile=hostfile, node_rank=2)
    with pytest.raises(UserError, match="--node-rank 0: is a place in a hostfile"):
        launch.launch(run, node_rank=0)


# Ports


def test_a_taken_port_is_a_line(tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write(tmp_path / "run", {})
    message = f"port {taken}: taken on this machine; choose another by --master-port"
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("localhost slots=1\n")
    two.write_text("a slots=1\nb slots=1\n")
    for arguments in ({"processes": 1}, {"hostfile": one}, {"hostfile": one, "node_rank": 0}):
        with pytest.raises(UserError, match=message):
            launch.launch(run, master_port=taken, **arguments)
    monkeypatch.setenv("MASTER_PORT", str(taken))
    with pytest.raises(UserError, match=message):
        launch.launch(run, processes=1)
    with pytest.raises(UserError, match=f"port {taken}: taken on this host, on which all meet"):
        launch.launch(run, hostfile=two, node_rank=0)
    monkeypatch.setenv("MASTER_PORT", "http")
    with pytest.raises(UserError, match="MASTER_PORT=http: is no port"):
        launch.launch(run, processes=1)


def test_ranks_meet_at_the_port_that_is_asked_for(tmp_path: Path) -> None:
    run, port = write(tmp_path / "run", {}), free_port()
    launch.launch(run, processes=1, master_port=port)
    assert told(run, 0)["MASTER_PORT"] == str(port)


# Hostfiles


@pytest.mark.parametrize("node_rank", [None, 0])
def test_a_hostfile_of_this_machine_alone_needs_no_ssh(tmp_path: Path, node_rank: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("# this one\n\nlocalhost slots=2 # both cores\n")
    monkeypatch.setattr(hosts, "SSH", ("false",))
    run = write(tmp_path / "run", {}, {"code": 1})
    with pytest.raises(TrainingFailed, match="rank 1 ended with code 1"):
        launch.launch(run, hostfile=hostfile, node_rank=node_rank)
    assert [told(run, rank)["LOCAL_RANK"] for rank in range(2)] == ["0", "1"]
    assert {told(run, rank)["WORLD_SIZE"] for rank in range(2)} == {"2"}
    assert "stderr of 1" in (run.parent / "logs" / "rank-1.txt").read_text()


def test_a_signal_reaches_ranks_of_a_hostfile(tmp_path: Path, launchers: list[Launcher]) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("localhost slots=2\n")
    run = write(tmp_path / "a (run)", {"waits": True, "writes": 0.3})
    launcher = Launcher(run, f"hostfile=Path({str(hostfile)!r})")
    launchers.append(launcher)
    launcher.started()
    launcher.process.terminate()
    code, err = launcher.ends()
    assert (code, err.splitlines()[-1]) == (0, "foundry: stopped by SIGTERM, with a checkpoint; run the same command again to go on")
    assert (run.parent / "checkpoint-0").exists()
    assert (run.parent / "checkpoint-1").exists()


def test_a_training_over_a_hostfile_is_started_again(tmp_path: Path) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("localhost slots=1\n")
    run = write(tmp_path / "run", {"dies": 9, "heals": 1})
    launch.launch(run, hostfile=hostfile, node_rank=0, restarts=1)
    assert (run.parent / "starts-0").read_text() == "xx"
    assert "=== started again" in (run.parent / "logs" / "rank-0.txt").read_text()


def tool(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an `ssh` that runs its command here, as on as many machines, but for hosts called `far`."""
    folder = tmp_path / "bin"
    tool(
        folder,
        "ssh",
        'while [ "$1" = -o ]; do shift 2; done; host=$1; shift; echo "$host" >> "$LOG"\n'
        'case "$host" in far*) echo "ssh: connect to host $host port 22: No route to host" >&2; exit 255;; esac\n'
        'export HOST_NAME=$host; echo "welcome to $host"; exec bash -c "$*"',
    )
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "reached"))
    return folder


def hosts_file(folder: Path, *lines: str) -> Path:
    path = folder / "hosts"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_hosts_are_reached_before_anything_is_started(tmp_path: Path, network: Path) -> None:
    hostfile = hosts_file(tmp_path, "near slots=1", "# spare", "far1 slots=1", "far2 slots=1")
    run = write(tmp_path / "run", {})
    with pytest.raises(UserError) as error:
        launch.launch(run, hostfile=hostfile)
    assert str(error.value) == (
        f"{hostfile}, line 3: far1 cannot be reached by `ssh -o BatchMode=yes HOST` "
        "(ssh: connect to host far1 port 22: No route to host); nor can far2; let it in by a key without a password, or take it out"
    )
    assert sorted((tmp_path / "reached").read_text().split()) == ["far1", "far2", "near"]
    assert not (run.parent / "pids").exists()
    tool(network, "ssh", "echo 'no such file or folder' >&2; exit 1")
    with pytest.raises(UserError, match=r"line 1: near cannot run .*no such file.*; nor can far1, far2; install the project at the same"):
        launch.launch(run, hostfile=hostfile)
    tool(network, "ssh", "echo 'This account is currently not available.'")
    with pytest.raises(UserError, match=r"line 1: near cannot run .* \(This account is currently not available.\)"):
        launch.launch(run, hostfile=hostfile)


def test_two_names_of_one_machine_are_a_line(tmp_path: Path, network: Path) -> None:
    hostfile = hosts_file(tmp_path, "one slots=1", "two slots=1")
    with pytest.raises(UserError, match="hosts, line 2: two is the same machine as one; give it one line, with the sum of its slots"):
        launch.launch(write(tmp_path / "run", {}), hostfile=hostfile)


def test_a_tool_that_is_not_here_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="ssh is not installed here, .*--node-rank 0, 1"):
        launch.launch(write(tmp_path / "run", {}), hostfile=hosts_file(tmp_path, "one slots=1", "two slots=1"))


def test_one_host_that_is_not_this_one_is_trained_on(tmp_path: Path, network: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By a single line; what its shell says is not what rank 0 prints."""
    run = write(tmp_path / "a (run) é", {}, {"code": 1, "says": "ValueError: no"})
    with pytest.raises(TrainingFailed, match="(?s)rank 1 ended with code 1.*ValueError: no") as failure:
        launch.launch(run, hostfile=hosts_file(tmp_path, "elsewhere slots=2"))
    assert failure.value.code == 1
    assert [told(run, rank)["LOCAL_RANK"] for rank in range(2)] == ["0", "1"]
    assert capfd.readouterr().out == "stdout of 0\n"
    assert set((tmp_path / "reached").read_text().split()) == {"elsewhere"}


def test_signals_go_by_ssh_too(tmp_path: Path, network: Path, launchers: list[Launcher]) -> None:
    """One asks for a checkpoint; a second ends all at once."""
    hostfile = hosts_file(tmp_path, "elsewhere slots=2")
    asked = Launcher(write(tmp_path / "asked", {"waits": True, "writes": 0.3}), f"hostfile=Path({str(hostfile)!r})")
    deaf = Launcher(write(tmp_path / "deaf", {"waits": True, "deaf": True}), f"hostfile=Path({str(hostfile)!r})")
    launchers += [asked, deaf]
    for launcher in (asked, deaf):
        launcher.started()
        launcher.process.terminate()
    code, err = asked.ends()
    assert (code, err.splitlines()[-1]) == (0, "foundry: stopped by SIGTERM, with a checkpoint; run the same command again to go on")
    assert (tmp_path / "asked" / "checkpoint-1").exists()
    assert deaf.process.stderr is not None
    deaf.process.stderr.readline()
    time.sleep(2 * ranks._ECHO)
    deaf.process.terminate()
    assert deaf.ends()[0] == 143
    while not gone(deaf.run):
        time.sleep(0.01)


def test_faults_of_other_hosts_that_are_not_cleared_yet_end_nothing(tmp_path: Path) -> None:
    """With --node-rank every host has a launcher, which clears what its own ranks wrote."""
    run = write(tmp_path / "run", {})
    fault(run.parent, 7, consequence=True)
    group = ranks.LocalRanks(["sleep", "60"], os.environ, ranks.Share(0, 1, 8), run.parent, 0)
    try:
        assert not group.failed()
        group._look = 0.0
        fault(run.parent, 6)
        assert group.failed()
    finally:
        group.kill()


def test_hosts_that_are_away_are_waited_for_before_a_training_is_started_again(
    tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As one that boots. At the first start they are an error, and in the end that is one that another start may not meet."""
    monkeypatch.setattr(launch, "PATIENCE", ranks.Patience(0.3, 0.3, 60.0, 0.1))
    away = "ssh: connect to host elsewhere port 22: No route to host"
    here = (network / "ssh").read_text()
    tool(network, "ssh-here", here.removeprefix("#!/bin/bash\n"))
    count = f"echo x >> {tmp_path}/count; n=$(wc -l < {tmp_path}/count)"  # look, agent, and after its failure two looks in vain
    tool(network, "ssh", f'{count}; if [ $n -gt 2 -a $n -lt 5 ]; then echo "{away}" >&2; exit 255; fi; exec {network}/ssh-here "$@"')
    hostfile = hosts_file(tmp_path, "elsewhere slots=1")
    launch.launch(write(tmp_path / "run", {"dies": 9, "heals": 1}), hostfile=hostfile, restarts=1)
    assert (tmp_path / "run" / "starts-0").read_text() == "xx"
    waited = [line for line in capfd.readouterr().err.splitlines() if "trying again" in line]
    assert len(waited) == 2
    assert away in waited[0]
    monkeypatch.setattr(launch, "PATIENCE", ranks.Patience(0.3, 0.3, 0.0, 0.1))
    (tmp_path / "count").unlink()
    with pytest.raises(TrainingFailed, match="cannot be reached.*\n.*the same command goes on") as failure:
        launch.launch(write(tmp_path / "other", {"dies": 9}), hostfile=hostfile, restarts=1)
    assert failure.value.code == 75


def test_ranks_of_an_earlier_start_that_still_run_on_a_host_are_a_line(tmp_path: Path, network: Path, launchers: list[Launcher]) -> None:
    run = write(tmp_path / "run", {"waits": True})
    launcher = Launcher(run, "processes=1")
    launchers.append(launcher)
    launcher.started(1)
    with pytest.raises(UserError, match=f"line 1: process {told(run, 0)['pid']} of elsewhere trains in this run's folder"):
        launch.launch(run, hostfile=hosts_file(tmp_path, "elsewhere slots=1"))
    launcher.process.terminate()
    assert launcher.ends()[0] == 0


def test_what_the_environment_and_a_file_of_deepspeeds_name_goes_to_all_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    monkeypatch.setenv("DISPLAY", ":0")
    (tmp_path / ".deepspeed_env").write_text('# ours\n\nNCCL_DEBUG=WARN\nexport TOKEN="a $b=c"\n')
    found = hosts.passed_on()
    assert (found["NCCL_DEBUG"], found["TOKEN"]) == ("WARN", "a $b=c")
    assert "DISPLAY" not in found
    (tmp_path / ".deepspeed_env").write_text("A=1\nnothing\n")
    with pytest.raises(UserError, match=r"\.deepspeed_env, line 2: `nothing` is no variable; write `NAME=VALUE`"):
        hosts.passed_on()


# Threads


@pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset is not installed")
@pytest.mark.parametrize(("given", "count"), [({}, "1"), ({"OMP_NUM_THREADS": "3"}, "3")])
def test_ranks_take_the_cores_that_they_may(tmp_path: Path, given: dict[str, str], count: str) -> None:
    """Under `taskset`, as under Slurm or in a container with a set of cores."""
    run = write(tmp_path / "run", {})
    code = (
        "from pathlib import Path; from jobs import launch; launch.MODULE = 'tests.jobs.stub'\n"
        f"print(launch.default_processes()); launch.launch(Path({str(run)!r}))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    core = str(min(os.sched_getaffinity(0)))
    command = ["taskset", "-c", core, sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=ROOT, env={**environment, "CUDA_VISIBLE_DEVICES": "", **given}, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[0] == "1"
    assert (told(run, 0)["OMP_NUM_THREADS"], told(run, 0)["WORLD_SIZE"]) == (count, "1")


# The command line


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (TrainingFailed("rank 0 broke\nline"), 1, "foundry: rank 0 broke\nline\n"),
        (TrainingFailed("lost", again=True), 75, "foundry: lost\n"),
        (Stopped("stopped"), 0, "foundry: stopped\n"),
        (Stopped("stopped", 130), 130, "foundry: stopped\n"),
    ],
)
def test_how_training_ended_is_the_commands_exit_code(
    raised: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        raise raised

    monkeypatch.setattr("jobs.cli.app", app)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code
    assert capsys.readouterr().err == said


def test_a_run_whose_ranks_ended_well_before_its_end_is_not_called_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Slurm sends its signal to the ranks, past the launcher."""
    from jobs import run as stages

    asked: dict[str, Any] = {}
    monkeypatch.setattr(stages, "write_run", lambda recipe, workdir: write(tmp_path / "run", {}))
    monkeypatch.setattr(stages, "launch", lambda path, **how: asked.update(how))
    recipe: Any = SimpleNamespace(name="run", phases=[], training=SimpleNamespace(processes=3))
    with pytest.raises(Stopped, match="run the same command again to go on"):
        stages.pretrain(recipe, Workdir(str(tmp_path)), stages.Launching(master_port=7, restarts=2))
    where = {"hostfile": None, "node_rank": None, "ray": False, "address": None}
    assert asked == {"processes": 3, "master_port": 7, "restarts": 2, **where}
    assert not (tmp_path / "run" / "trained.json").exists()
    done = {"steps": 1, "tokens": 5, "tokens_per_second": 2.0, "validation_before": None, "validation_after": None}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(done))
    monkeypatch.setattr(stages, "launch", lambda path, **how: None)
    assert stages.pretrain(recipe, Workdir(str(tmp_path))) == done
    assert (tmp_path / "run" / "trained.json").exists()

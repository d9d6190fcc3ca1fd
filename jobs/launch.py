"""Starting the training processes here, or on the hosts of a hostfile, and seeing them to their end."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jobs import hosts
from jobs.faults import Stopped, TrainingFailed, broken, clear, verdict
from jobs.hosts import Meeting
from jobs.ranks import FarRanks, Group, LocalRanks, Patience, Share, Signals, supervise
from pipeline.workdir.errors import UserError
from trainer.environment import PLACES, allowed_cores, interface_to, threads
from trainer.watch import LAUNCHER, launcher_name

__all__ = ["Stopped", "TrainingFailed", "default_processes", "launch"]

MODULE = "trainer"  # what a rank runs: `python -m trainer RUN.json`
PATIENCE = Patience()
Start = Callable[[int], Group]  # given how often the training was started before


def default_processes() -> int:
    """One process a GPU; two on a CPU, where this process may use two cores."""
    import torch

    return torch.cuda.device_count() or min(2, allowed_cores())


def launch(
    run_json: Path,
    *,
    processes: int | None = None,
    hostfile: Path | None = None,
    node_rank: int | None = None,
    master_port: int | None = None,
    restarts: int = 0,
    ray: bool = False,
    address: str | None = None,
) -> None:
    """Run `python -m trainer RUN_JSON` on `processes` local ranks, or on the hosts of a DeepSpeed hostfile, to its end.

    The hosts are reached by ssh, and everything is started from one. With `node_rank` nothing goes by ssh: the same call is made
    on every host, each with its own place in the hostfile, and the first host is the meeting point, at `master_port`: else
    MASTER_PORT of the environment, else 29500. Where all is started from here the default is a free port.

    With `ray` the ranks are Ray Train's workers, on the cluster at `address` (default: RAY_ADDRESS, else a Ray of this machine's own),
    which starts them again itself.

    What rank 0 prints goes to the console, and all else to `logs/` in the run's folder. A SIGINT, SIGTERM or SIGUSR1 is passed on to
    the ranks once, which then write a checkpoint and end; a second one ends them at once. A training whose ranks were killed or lost
    each other is started again, from its last checkpoint, at most `restarts` times.

    Raises `UserError` for what the user can mend, `TrainingFailed` for all else that goes wrong, and `Stopped` where a signal ended the
    training before its end.
    """
    if node_rank is not None and hostfile is None:
        raise UserError(f"--node-rank {node_rank}: is a place in a hostfile; name it by --hostfile")
    if ray and hostfile is not None:
        raise UserError("--ray and --hostfile: are two ways to start the same processes; leave one out")
    with Signals() as signals:
        if ray:
            start, attempts = _on_ray(run_json, processes, master_port, restarts, address), 1
        else:
            start = _over_hosts(run_json, hostfile, node_rank, master_port) if hostfile else _here(run_json, processes, master_port)
            attempts = restarts + 1
        for attempt in range(attempts):
            if signals.seen:
                raise _stopped(signals.seen[0], False)
            group = _begin(start, attempt, signals)
            supervise(group, signals, PATIENCE, _tell)
            failure = _failure(run_json.parent, group, signals)
            if failure is None:
                return
            if not isinstance(failure, TrainingFailed) or not failure.again:
                raise failure
            if attempt == attempts - 1:
                hint = "the same command goes on from the last checkpoint"
                raise TrainingFailed(f"{failure}\n{hint}" + ("" if restarts else "; --restarts N makes it do so of itself"), again=True)
            _tell(f"{str(failure).splitlines()[0]}; starting again from the last checkpoint ({attempt + 1} of {restarts} times)")


def _begin(start: Start, attempt: int, signals: Signals) -> Group:
    """Start the ranks. Before a training is started again, hosts that are away are waited for: one may be starting anew itself."""
    end = time.monotonic() + PATIENCE.away
    while True:
        try:
            return start(attempt)
        except hosts.Away as away:
            if not attempt:
                raise
            if time.monotonic() >= end:
                raise TrainingFailed(f"{away}\nthe same command goes on from the last checkpoint", again=True) from None
            _tell(f"{away}; trying again for {max(1.0, end - time.monotonic()):.0f} s")
        for _ in range(100):
            if signals.seen:
                raise _stopped(signals.seen[0], False)
            time.sleep(PATIENCE.between / 100)


def _tell(line: str) -> None:
    print(f"foundry: {line}", file=sys.stderr, flush=True)


def _environment(meeting: Meeting, count: int) -> dict[str, str]:
    """What the environment of every one of `count` ranks on this machine has."""
    own = {name: value for name, value in os.environ.items() if name not in PLACES}  # but those of a launcher that started this process
    return {"OMP_NUM_THREADS": str(threads(count)), **own, **_shared(meeting), LAUNCHER: launcher_name()}


def _shared(meeting: Meeting) -> dict[str, str]:
    """What every rank's environment has on all hosts."""
    return {**_path(), "MASTER_ADDR": meeting.address, "MASTER_PORT": str(meeting.port)}


def _path() -> dict[str, str]:
    path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"TOKENIZERS_PARALLELISM": os.environ.get("TOKENIZERS_PARALLELISM", "false"), "PYTHONPATH": os.pathsep.join(path)}


def _here(run_json: Path, processes: int | None, master_port: int | None) -> Start:
    count = processes or default_processes()
    asked = hosts.asked_port(master_port)
    folder = run_json.parent

    def start(attempt: int) -> Group:
        environment = _environment(hosts.meet_here(asked), count)
        clear(folder)
        for old in (folder / "logs").glob("rank-*.txt") if not attempt else ():  # of a start with more ranks
            old.unlink()
        return LocalRanks([sys.executable, "-m", MODULE, str(run_json)], environment, Share(0, count, count), folder, attempt)

    return start


def _over_hosts(run_json: Path, hostfile: Path, node_rank: int | None, master_port: int | None) -> Start:
    named = hosts.read_hostfile(hostfile)
    asked = hosts.asked_port(master_port)
    by_ssh = node_rank is None and not (len(named) == 1 and named[0].is_here)
    run_json = run_json.absolute()
    folder = run_json.parent
    size = sum(host.slots for host in named)
    firsts = itertools.accumulate((host.slots for host in named), initial=0)
    shares = [Share(first, host.slots, size) for first, host in zip(firsts, named, strict=False)]

    def start(attempt: int) -> Group:
        if by_ssh:
            meeting = hosts.meet_by_ssh(named, hostfile, asked, f"-m {MODULE} {run_json}", _tell)
            clear(folder)
            return FarRanks(MODULE, {**hosts.passed_on(), **_shared(meeting)}, named, run_json, attempt, shares)
        meeting = hosts.meet_apart(named, hostfile, node_rank or 0, asked)
        share = shares[node_rank or 0]
        # All that an earlier command left. Of a start that failed just now other hosts may not have told their own yet.
        clear(folder, share.ranks if attempt else None)
        environment = _environment(meeting, share.count)
        if len(named) > 1 and (interface := interface_to(named[0 if node_rank else 1].name)):
            environment.setdefault("GLOO_SOCKET_IFNAME", interface)
        return LocalRanks([sys.executable, "-m", MODULE, str(run_json)], environment, share, folder, attempt)

    return start


def _on_ray(run_json: Path, processes: int | None, master_port: int | None, restarts: int, address: str | None) -> Start:
    from jobs.ray_train import RayRanks

    asked = hosts.asked_port(master_port)
    environment = {**hosts.passed_on(), **_path()}
    if environment.get("CUDA_VISIBLE_DEVICES"):  # Ray gives each worker a GPU of its node
        del environment["CUDA_VISIBLE_DEVICES"]

    def start(attempt: int) -> Group:
        return RayRanks(
            MODULE, environment, run_json.absolute(), processes=processes, port=asked, restarts=restarts, address=address, tell=_tell
        )

    return start


def _failure(folder: Path, group: Group, signals: Signals) -> Exception | None:
    """What to raise once all ranks have ended; None where they have trained to the end, or ended well without being asked to."""
    ended = group.ended()
    if ended.well:
        return _stopped(signals.seen[0], True) if signals.seen and not (folder / "summary.json").is_file() else None
    failure = verdict(folder, ended)
    if signals.seen and isinstance(failure, TrainingFailed) and not broken(folder, ended):
        return _stopped(signals.seen[0], False)
    return failure


def _stopped(number: signal.Signals, checkpoint: bool) -> Stopped:
    """Of a training that was told to end. With a checkpoint that is no failure, but a Ctrl-C is never a success to a shell."""
    what = "with a checkpoint" if checkpoint else "without a new checkpoint"
    code = 0 if checkpoint and number != signal.SIGINT else 128 + number
    return Stopped(f"stopped by {number.name}, {what}; run the same command again to go on", code)

"""The processes of a training: started, told to end, and waited for, on this machine or by ssh on many."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol

from jobs.faults import START_LINE, Ended
from jobs.hosts import SSH, Host, python
from trainer.errors import AGAIN

_TICK = 0.05  # seconds between looks at the processes
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # the last is what Slurm sends before a job's time is over
_ECHO = 0.3  # seconds in which the same signal again is not a second one: `timeout` sends one to a process and to its group
_PR_SET_PDEATHSIG = 1
_FAREWELL = 5.0  # seconds for hosts that are to kill their ranks to say that they have
# What a launcher and a host's agent say to each other.
ASK, BEGIN, TOLD = "ask", "::foundry begin", "::foundry "


@dataclass(frozen=True)
class Patience:
    """Seconds that ranks get to end of themselves once another has failed, and that hosts get to come back."""

    lost: float = 15.0  # until they are asked to: so long they may take to meet the lost connection, and to say so
    asked: float = 15.0  # from then on until they are killed
    away: float = 900.0  # until a host that cannot train must be back before a training is started again: it may be booting
    between: float = 15.0  # looks whether it is


HALTED = 300.0  # seconds that a rank may be stopped (SIGSTOP): its own watchdog is stopped then, too


class Signals:
    """Within it, signals that ask this process to end are kept in `seen` instead of obeyed, but those that it was started to ignore."""

    def __init__(self) -> None:
        self.seen: list[signal.Signals] = []
        self._last = 0.0
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            for number in _STOPS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not (self.seen and self.seen[-1] == number and now - self._last < _ECHO):
            self.seen.append(signal.Signals(number))
        self._last = now

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Group(Protocol):
    """Processes that train together."""

    def running(self) -> bool:
        """Whether any of them is still there."""

    def failed(self) -> bool:
        """Whether any has ended with an error, of those whose end can be seen from here."""

    def ask(self) -> None:
        """Ask all that are there to write a checkpoint and end."""

    def kill(self) -> None:
        """End all at once."""

    def ended(self) -> Ended:
        """How they ended, or have ended so far."""


def _with_parent(number: signal.Signals) -> Callable[[], None]:
    """What a child does first: have itself sent a signal when this process ends, however that ends (Linux)."""
    parent = os.getpid()

    def call() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:  # it has ended already
                os._exit(1)

    return call


@dataclass(frozen=True)
class Share:
    """The ranks of one host among those of all."""

    first: int
    count: int
    size: int  # of all hosts

    @property
    def ranks(self) -> range:
        """Their numbers."""
        return range(self.first, self.first + self.count)

    def place(self, rank: int) -> dict[str, str]:
        """The variables that tell a rank where it stands, but for the meeting's."""
        names = {"RANK": rank, "LOCAL_RANK": rank - self.first, "WORLD_SIZE": self.size}
        sizes = {"LOCAL_WORLD_SIZE": self.count, "LOCAL_SIZE": self.count}
        return {name: str(value) for name, value in {**names, **sizes}.items()}


class LocalRanks:
    """Ranks on this machine, each in a session of its own, so that a terminal's signals reach the launcher alone.

    Where they are not all of a world, those of other hosts are told to have failed by their faults in the run's `folder`, if it is
    shared.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], share: Share, folder: Path, start: int, *, output: int | None = None
    ) -> None:
        """`output`: a handle that rank 0 prints to, in place of this process's."""
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._codes: dict[int, int] = {}
        self._ours: set[int] = set()
        self._deaf: set[int] = set()
        self._logs = {rank: log_of(folder, rank) for rank in share.ranks}
        self._others = [folder / "faults" / f"rank-{rank}.json" for rank in range(share.size) if rank not in share.ranks]
        self._stale, self._look, self._elsewhere = self._faults_elsewhere(), 0.0, False  # which other hosts are to clear
        self._stopped: dict[int, float] = {}  # ranks that were seen stopped, and since when
        try:
            for rank, path in self._logs.items():
                with open_log(path, start) as log:
                    self._running[rank] = subprocess.Popen(
                        command,
                        env={**share.place(rank), **environment},
                        stdin=subprocess.DEVNULL,
                        stdout=log if rank else output,
                        stderr=log,
                        start_new_session=True,
                        preexec_fn=_with_parent(signal.SIGKILL),
                    )
        except BaseException:
            self.kill()
            raise

    def running(self) -> bool:
        for rank, process in list(self._running.items()):
            code = process.poll()
            if code is not None:
                self._codes[rank] = code
                del self._running[rank]
                with suppress(OSError):  # what it may have started itself
                    os.killpg(process.pid, signal.SIGKILL)
            elif not _is_stopped(process.pid):
                self._stopped.pop(rank, None)
            elif time.monotonic() - self._stopped.setdefault(rank, time.monotonic()) > HALTED:
                with suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
        return bool(self._running)

    def failed(self) -> bool:
        if self._others and not self._elsewhere and time.monotonic() >= self._look:
            self._elsewhere = bool(self._faults_elsewhere() - self._stale)
            self._look = time.monotonic() + 1.0  # the storage may be far
        return self._elsewhere or any(self._codes.values())

    def _faults_elsewhere(self) -> set[tuple[str, int]]:
        """The faults of other hosts' ranks that are there, and when each was written."""
        found = set()
        for path in self._others:
            with suppress(OSError):
                found.add((path.name, path.stat().st_mtime_ns))
        return found

    def ask(self) -> None:
        if self.failed():
            self._ours |= self._running.keys()
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._ours |= self._running.keys()
        self._deaf |= self._running.keys()
        for process in self._running.values():
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # one that is stopped, too

    def ended(self) -> Ended:
        return Ended(dict(self._codes), self._logs, frozenset(self._ours), frozenset(self._deaf))


def _is_stopped(pid: int) -> bool:
    """Whether a signal has stopped a process (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    except (OSError, IndexError):
        return False


class FarRanks:
    """Ranks on hosts that are reached by ssh: on each runs `jobs.agent`, which starts its share and tells how each of them ended.

    An agent is asked by a word on its input, and ends its ranks once that ends: so they do not outlive this process, nor a connection.
    What rank 0 prints comes through its host's connection to this process's output.
    """

    def __init__(
        self, module: str, environment: Mapping[str, str], hosts: Sequence[Host], run_json: Path, start: int, shares: Sequence[Share]
    ) -> None:
        self._folder = run_json.parent
        self._hosts = dict(zip([host.name for host in hosts], shares, strict=True))
        self._links: dict[str, subprocess.Popen[bytes]] = {}
        self._listeners: dict[str, list[threading.Thread]] = {}
        self._said: dict[str, str] = {}  # the last line of each connection's errors
        self._codes: dict[int, int] = {}
        self._tails: dict[int, list[str]] = {}
        self._ours: set[int] = set()
        self._deaf: set[int] = set()
        self._lost: dict[str, str] = {}
        self._patience: float | None = None  # until when agents that are to kill their ranks are waited for
        self._log = open_log(self._folder / "logs" / "hosts.txt", start)
        run_text = run_json.read_text(encoding="utf-8")  # hosts that share no disk have none yet
        request = {"module": module, "run": str(run_json), "text": run_text, "environment": dict(environment), "start": start}
        try:
            for name, share in self._hosts.items():
                link = self._links[name] = subprocess.Popen(
                    [*SSH, name, python("jobs.agent")],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL if share.first else subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    preexec_fn=_with_parent(signal.SIGKILL),
                )
                threads = [threading.Thread(target=self._listen, args=(name, link.stderr), daemon=True)]
                if link.stdout is not None:
                    threads.append(threading.Thread(target=_relay, args=(link.stdout,), daemon=True))
                self._listeners[name] = threads
                for thread in threads:
                    thread.start()
                self._say(name, json.dumps({**request, "share": asdict(share)}))
        except BaseException:
            self.kill()
            raise

    def _say(self, name: str, line: str) -> None:
        stdin = self._links[name].stdin
        with suppress(OSError):  # it is gone, which `running` sees
            if stdin is not None and not stdin.closed:
                stdin.write(line.encode() + b"\n")
                stdin.flush()

    def _listen(self, name: str, errors: IO[bytes]) -> None:
        """A thread: take in what a host's agent tells, and write all else that its connection says into a log."""
        for raw in errors:
            line = raw.decode(errors="replace").rstrip()
            if line.startswith(TOLD):
                self._take(json.loads(line.removeprefix(TOLD)))
            elif line:
                self._said[name] = line
                self._log.write(f"{name}: {line}\n".encode())
                self._log.flush()

    def _take(self, told: dict[str, Any]) -> None:
        """How a rank ended. A fault that it left on a disk that is not this machine's is written here too."""
        rank = told["rank"]
        keep_fault(self._folder, rank, told["fault"])
        self._tails[rank] = told["tail"]
        self._codes[rank] = told["code"]

    def running(self) -> bool:
        for name, link in list(self._links.items()):
            code = link.poll()
            if code is None or any(thread.is_alive() for thread in self._listeners[name]):
                continue
            del self._links[name]
            missing = [rank for rank in self._hosts[name].ranks if rank not in self._codes]
            for rank in missing:
                self._codes[rank] = -signal.SIGKILL if rank in self._ours else 1 if code == 1 else AGAIN
            if not self._ours.issuperset(missing):
                self._lost[name] = self._said.get(name) or f"its connection ended with code {code}"
        return bool(self._links)

    def failed(self) -> bool:
        return any(self._codes.values())

    def _left(self) -> set[int]:
        return {rank for share in self._hosts.values() for rank in share.ranks} - self._codes.keys()

    def ask(self) -> None:
        if self.failed():
            self._ours |= self._left()
        for name in self._links:
            self._say(name, ASK)

    def kill(self) -> None:
        self._ours |= self._left()
        self._deaf |= self._left()
        if self._patience is None:
            self._patience = time.monotonic() + _FAREWELL
        over = time.monotonic() >= self._patience
        for link in self._links.values():
            with suppress(OSError):
                if link.stdin is not None:
                    link.stdin.close()
            if over:
                link.kill()  # where the host is still there, its agent hears the end of its input now

    def ended(self) -> Ended:
        logs = {rank: log_of(self._folder, rank) for rank in self._codes}
        return Ended(dict(self._codes), logs, frozenset(self._ours), frozenset(self._deaf), dict(self._tails), dict(self._lost))


def _relay(output: BufferedReader) -> None:
    """A thread: pass on what a rank prints, but not what the shell of its host said before."""
    for line in output:
        if line.rstrip() == BEGIN.encode():
            break
    while piece := output.read1(1 << 16):
        with suppress(OSError, ValueError):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


def log_of(folder: Path, rank: int) -> Path:
    """Where what a rank prints is kept in its run's folder."""
    return folder / "logs" / f"rank-{rank}.txt"


def fault_of(folder: Path, rank: int) -> Path:
    """Where a rank writes the error that it ends with."""
    return folder / "faults" / f"rank-{rank}.json"


def keep_fault(folder: Path, rank: int, text: str | None) -> None:
    """Write down a fault that a rank left on another host's disk; where the two share one it is there already."""
    path = fault_of(folder, rank)
    if text and not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def open_log(path: Path, start: int) -> IO[bytes]:
    """A log that is written anew, or, of a training that was started again, gone on with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not start:
        return open(path, "wb")
    with open(path, "ab") as log:
        log.write(f"{START_LINE}, {start}\n".encode())
    return open(path, "ab")


def supervise(group: Group, signals: Signals, patience: Patience, tell: Callable[[str], None]) -> None:
    """Wait until all ranks have ended.

    The first signal that asks this process to end is passed on, so that they write a checkpoint; a second one ends them at once. Once
    a rank has failed the others are waited for as long as `patience` says, then asked to end, then killed.
    """
    heeded = 0
    asked = False
    deadline: float | None = None
    with ExitStack() as stack:
        stack.callback(group.kill)  # whatever happens here
        while group.running():
            if len(signals.seen) > heeded:
                heeded = len(signals.seen)
                name = signals.seen[-1].name
                if asked:
                    tell(f"{name}: ending all ranks at once")
                    group.kill()
                else:
                    second = "Ctrl-C" if name == "SIGINT" else f"{name} or Ctrl-C"
                    tell(f"{name}: waiting for a checkpoint; a second {second} ends all ranks at once, without one")
                    group.ask()
                    asked = True
            if deadline is None and group.failed():
                deadline = time.monotonic() + patience.lost
                late, then = (group.kill, 0.0) if asked else (group.ask, patience.asked)
            elif deadline is not None and time.monotonic() >= deadline:
                late()
                late, deadline = group.kill, time.monotonic() + then
            time.sleep(_TICK)
        stack.pop_all()

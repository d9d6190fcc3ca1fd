"""How training ended, from what its processes left: files of faults, exit codes and logs."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobs.console import shown
from pipeline.workdir.errors import UserError
from trainer.errors import AGAIN

LINES = 15  # of a traceback or log that are shown
START_LINE = "=== started again"  # begins a line of a log, before what a new start writes


class TrainingFailed(Exception):
    """Training ended with an error that the user cannot mend by changing a recipe.

    The message is a line and what belongs to it; `again` says that a new start may well go further.
    """

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again

    @property
    def code(self) -> int:
        """The exit code of the command."""
        return AGAIN if self.again else 1


class Stopped(Exception):
    """Training was told to end before it had come to its end. The message is a line; `code` is the exit code of the command."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Fault:
    """What a rank wrote of the error that ended it, in `faults/rank-R.json`."""

    time: float
    rank: int
    host: str
    user: bool  # the text is a line for the user, who can mend it
    consequence: bool  # a connection to another rank was lost, whose fault it is
    text: str
    traceback: str
    code: int | None = None  # the exit code that the rank was about to end with


@dataclass(frozen=True)
class Ended:
    """How the processes that a launcher started ended."""

    codes: Mapping[int, int]  # exit codes by rank, negative for a signal, in the order in which they ended
    logs: Mapping[int, Path] = field(default_factory=dict)  # each rank's stderr, on its host
    ours: frozenset[int] = frozenset()  # ranks that the launcher ended, since another had failed
    deaf: frozenset[int] = frozenset()  # those of them that did not end when they were asked to
    tails: Mapping[int, list[str]] = field(default_factory=dict)  # the end of a log, as it was told by another host
    lost: Mapping[str, str] = field(default_factory=dict)  # hosts that were lost, and what was seen of that

    @property
    def well(self) -> bool:
        """Whether all ended without an error."""
        return not any(self.codes.values())


def clear(folder: Path, ranks: Iterable[int] | None = None) -> None:
    """Delete what an earlier start of a run left: all, or only some ranks', where other hosts start theirs."""
    paths = (folder / "faults").glob("rank-*.json") if ranks is None else [folder / "faults" / f"rank-{rank}.json" for rank in ranks]
    for path in paths:
        path.unlink(missing_ok=True)


def faults(folder: Path) -> list[Fault]:
    """The faults that ranks of a run wrote, in the order of time. A file that was not written to its end is passed over."""
    found = []
    for path in (folder / "faults").glob("rank-*.json"):
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            found.append(Fault(**{name: body[name] for name in Fault.__dataclass_fields__ if name != "code" or name in body}))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda fault: fault.time)


def verdict(folder: Path, ended: Ended) -> Exception:
    """What to tell of a training that failed: the first fault of the user's, else the first that is no consequence, else a log's end."""
    found = faults(folder)
    for fault in found:
        if fault.user:
            return UserError(fault.text.strip())
    failed = _failed(ended)
    again = bool(failed or found) and not broken(folder, ended)
    own = [fault for fault in found if not fault.consequence]
    killed = next((rank for rank in failed if ended.codes[rank] < 0), None)
    if own:
        message = _of_fault(own[0])
    elif ended.lost:
        message = "; ".join(f"{host} was lost ({why})" for host, why in ended.lost.items())
    elif killed is not None:
        name = _signal_name(-ended.codes[killed])
        message = f"rank {killed} was killed by {name}"
        if name == "SIGKILL":
            message += "; where nobody did that, memory ran out (`dmesg`)"
    elif told := _of_log(ended, {fault.rank for fault in found}):
        message = told
    elif found:
        message = _of_fault(found[0])
    else:
        message = f"training ended with {', '.join(f'code {code}' for code in sorted({code for code in ended.codes.values() if code}))}"
    deaf = sorted(ended.deaf)
    if deaf:
        message += f"\nrank{'s' * (len(deaf) > 1)} {', '.join(map(str, deaf))} did not answer, and had to be killed"
    if (logs := folder / "logs").is_dir():
        message += f"\nlogs: {shown(logs)}"
    return TrainingFailed(message, again=again)


def broken(folder: Path, ended: Ended) -> list[int]:
    """The ranks that failed for a reason of their own: they were not killed, did not stand, and had not lost another."""
    found = {fault.rank: fault for fault in faults(folder)}
    codes = {rank: fault.code or 1 for rank, fault in found.items() if rank not in ended.codes}  # of hosts with a launcher of their own
    codes |= {rank: ended.codes[rank] for rank in _failed(ended)}
    lost = {rank for rank, fault in found.items() if fault.consequence}
    return [rank for rank, code in codes.items() if code > 0 and code != AGAIN and rank not in lost]


def _failed(ended: Ended) -> list[int]:
    """The ranks that failed of themselves, in the order in which they ended."""
    return [rank for rank, code in ended.codes.items() if code and rank not in ended.ours]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _of_fault(fault: Fault) -> str:
    lines = fault.traceback.strip().splitlines()[-LINES:]
    return "\n".join([f"rank {fault.rank} on {fault.host}: {fault.text.strip()}", *lines])


def _of_log(ended: Ended, told: set[int]) -> str | None:
    """The end of the log of the rank that failed first, of those that wrote one and have not `told` more by a fault."""
    for rank in _failed(ended):
        path = ended.logs.get(rank)
        if path is not None and rank not in told and (lines := ended.tails.get(rank) or telling(path)):
            return f"rank {rank} ended with code {ended.codes[rank]}; the end of {shown(path)}:\n" + "\n".join(lines)
    return None


def telling(path: Path) -> list[str]:
    """The last lines of the first traceback in a log, else the log's last lines."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    begin = max((index for index, line in enumerate(lines) if line.startswith(START_LINE)), default=-1) + 1
    lines = lines[begin:]
    ends = [index for index, line in enumerate(lines) if "Error" in line and ":" in line]
    end = ends[0] + 1 if ends else len(lines)
    return lines[max(0, end - LINES) : end]

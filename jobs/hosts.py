"""The hosts that train together: what a hostfile says, and whether all of them can be reached before anything is started."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.probe import Found, answered, parse, probe
from pipeline.workdir.errors import UserError
from trainer.environment import free_port, port_state

ROOT = Path(__file__).parents[1]
DEFAULT_PORT = 29_500  # torch's and DeepSpeed's; where hosts are started apart they must agree on one without a word
# What a host prints before it lets one in is no error; a host that says nothing for two minutes is gone.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=5", "LogLevel=ERROR", "ServerAliveInterval=15", "ServerAliveCountMax=8")
SSH = ("ssh", *(word for option in _OPTIONS for word in ("-o", option)))
_FORM = "each of its lines is `HOST slots=N`"
_PATIENCE = 60.0  # seconds for a host that lets one in and then does not answer
_PASSED_ON = ("CUDA_", "DS_", "FOUNDRY_", "GLOO_", "HF_", "KMP_", "MKL_", "NCCL_", "OMP_", "PYTHON", "TORCH", "TRITON_", "UCX_")
_CLOCK = 5.0  # seconds by which a host's clock may be off without a word


class Away(UserError):
    """Hosts that cannot train now, as while one of them starts anew: the same may go well later."""


@dataclass(frozen=True)
class Host:
    """A line of a hostfile."""

    name: str
    slots: int  # processes on it
    line: int

    @property
    def is_here(self) -> bool:
        """Whether its name is one of this machine's."""
        return self.name in {"localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()}


@dataclass(frozen=True)
class Meeting:
    """Where all processes find each other: a port of the first host."""

    address: str
    port: int


def read_hostfile(path: Path) -> list[Host]:
    """The hosts of a hostfile in DeepSpeed's form: `HOST slots=N` lines; `#` begins a comment. Raises `UserError` with the line."""
    if not path.is_file():
        raise UserError(f"{path}: no such hostfile; {_FORM}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a hostfile ({error}); {_FORM}") from None
    hosts: dict[str, Host] = {}
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].split()
        if words:
            host = _host(words, number, f"{path}, line {number}")
            key = host.name.rsplit("@", 1)[-1].casefold()  # whoever is to log in there, in whichever letters
            if key in hosts:
                raise UserError(
                    f"{path}, line {number}: {host.name} stands in line {hosts[key].line} already; "
                    "give each host one line, with the sum of its slots"
                )
            hosts[key] = host
    if not hosts:
        raise UserError(f"{path}: names no host; {_FORM}")
    found = list(hosts.values())
    if len(found) > 1:
        for host in found:
            if host.name in {"localhost", "127.0.0.1", "::1"}:
                raise UserError(
                    f"{path}, line {host.line}: {host.name} is another machine on each host; "
                    f"write the name by which all others reach it, such as {socket.gethostname()} for this one"
                )
    return found


def _host(words: list[str], number: int, place: str) -> Host:
    """A line's host; `place` begins an error's message."""
    name, *settings = words
    if found := re.fullmatch(r"([^:\[\]]+|\[.*\]):[0-9]+", name):
        todo = f"write {found[1].strip('[]')}, and the port as `Port` of that Host in ~/.ssh/config"
        raise UserError(f"{place}: `{name}` has a port, which a hostfile does not; {todo}")
    if re.fullmatch(r"\[[0-9a-fA-F:.]+\]", name):
        raise UserError(f"{place}: `{name}` has brackets; write an IPv6 address without them")
    if not re.fullmatch(r"(\w[\w.-]*@)?\w[\w.:-]*|::[\w.:]*", name, re.ASCII):
        raise UserError(f"{place}: `{name}` is no host's name; write one host a line, as `HOST slots=N`")
    slots = None
    for word in settings:
        if not word.startswith("slots="):
            raise UserError(f"{place}: `{word}` is not known in a hostfile; write `{name} slots=N`")
        if slots is not None:
            raise UserError(f"{place}: slots stands there twice; write `{name} slots=N`")
        value = word.removeprefix("slots=")
        if not re.fullmatch(r"0*[1-9][0-9]{0,5}", value):
            raise UserError(f"{place}: slots={value} is no number of processes from 1 on; write `{name} slots=N`, or take the line out")
        slots = int(value)
    if slots is None:
        raise UserError(f"{place}: {name} has no slots; write `{name} slots=N`, N being its GPUs, or its processes on a CPU")
    return Host(name, slots, number)


def asked_port(option: int | None) -> int | None:
    """The port that the user asked for, by `--master-port` or by MASTER_PORT in the environment."""
    if option is not None:
        return option
    value = os.environ.get("MASTER_PORT", "").strip()
    if not value:
        return None
    if not value.isdecimal() or not 1 <= int(value) <= 65_535:
        raise UserError(f"MASTER_PORT={value}: is no port; set it to a number from 1 to 65535, or unset it for a free one")
    return int(value)


def ssh(host: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command on another host, without a question to the user."""
    told: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "errors": "replace", "check": False}
    try:
        return subprocess.run([*SSH, host, command], stdin=subprocess.DEVNULL, timeout=_PATIENCE, **told)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess([], 255, "", f"no answer within {_PATIENCE:.0f} s")


def python(module: str, *arguments: str) -> str:
    """A shell command that runs a module of ours on another host, by the Python and in the folder that it has here.

    `env`, since not every user's shell takes `NAME=VALUE command`; UTF-8, whatever the locale that ssh passes on is there.
    """
    words = ["env", "PYTHONUTF8=1", sys.executable, "-m", module, *arguments]
    return f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(words)}"


def passed_on() -> dict[str, str]:
    """The variables of this process's environment that hold on all hosts: what libraries are told by, and what a file of DeepSpeed's names.

    That is `~/.deepspeed_env`, lines of `NAME=VALUE`. Raises `UserError` for a line that is none.
    """
    found = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    path = Path.home() / ".deepspeed_env"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and name.isidentifier():
            found[name] = value.strip("\"'")
        elif name and not name.startswith("#"):
            raise UserError(f"{path}, line {number}: `{line.strip()}` is no variable; write `NAME=VALUE`, or take the line out")
    return found


def meet_here(port: int | None) -> Meeting:
    """A meeting on this machine, for what is started here alone."""
    if port is None:
        return Meeting("127.0.0.1", free_port())
    _check_port(Found(port=port, state=port_state(port)), "this machine")
    return Meeting("127.0.0.1", port)


def meet_apart(hosts: Sequence[Host], hostfile: Path, node_rank: int, port: int | None) -> Meeting:
    """The meeting of hosts on each of which the same command is given: nothing is asked of the others, but all do the same sum."""
    if node_rank >= len(hosts):
        raise UserError(f"--node-rank {node_rank}: {hostfile} names {len(hosts)} host{'s' * (len(hosts) != 1)}; they count from 0")
    if len(hosts) == 1:
        check_gpus(hosts[0], probe(), hostfile)
        return meet_here(port)
    chosen = port or DEFAULT_PORT
    found = probe(chosen if node_rank == 0 else None)
    check_gpus(hosts[node_rank], found, hostfile)
    if node_rank == 0:
        _check_port(found, "this host, on which all meet")
    return Meeting(hosts[0].name, chosen)


def meet_by_ssh(hosts: Sequence[Host], hostfile: Path, port: int | None, command: str | None, tell: Callable[[str], None]) -> Meeting:
    """The meeting of hosts that are reached by ssh, after each was reached and looked at, all at the same time.

    `command` ends the command of the ranks that are to be started; `tell` is given what the user should know. Raises `UserError`, and
    `Away` for what may pass by itself.
    """
    if shutil.which("ssh") is None:
        raise UserError(
            "ssh is not installed here, to reach the hosts; install it, or give the command on each host with --node-rank 0, 1, ..."
        )
    first = hosts[0]

    def look(host: Host) -> tuple[subprocess.CompletedProcess[str], float]:
        about = {"port": port if host is first else None, "command": command}
        begin = time.time()
        answer = ssh(host.name, python("jobs.probe", "look", json.dumps(about)))
        return answer, (begin + time.time()) / 2

    with ThreadPoolExecutor(min(64, len(hosts))) as pool:
        answers, clocks = zip(*pool.map(look, hosts), strict=True)
        found = [parse(answer.stdout) for answer in answers]
        _refuse(hosts, answers, found, hostfile)
        for host, one, clock in zip(hosts, found, clocks, strict=True):
            off = one.clock - clock
            if abs(off) > _CLOCK:
                late = "behind" if off < 0 else "ahead of"
                tell(f"{host.name}'s clock is {abs(off):,.0f} s {late} this machine's; set it, so that times in logs can be compared")
        _compare(hosts, found, hostfile)
        _check_port(found[0], first.name)
        chosen = found[0].port or port or DEFAULT_PORT
        names = [first.name.rsplit("@", 1)[-1], *found[0].addresses]
        if len(hosts) == 1:
            return Meeting(next(iter(found[0].addresses), names[0]), chosen)
        about = {"port": chosen, "word": secrets.token_hex(8)}
        listening = [*SSH, first.name, python("jobs.probe", "listen", json.dumps(about))]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(listening, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet) as listener:
            reach = python("jobs.probe", "reach", json.dumps({**about, "candidates": names}))
            heard = [answered(one.stdout).get("reached", []) for one in pool.map(lambda host: ssh(host.name, reach), hosts[1:])]
            with suppress(OSError):
                listener.communicate(timeout=_PATIENCE)
    common = [address for address in heard[0] if all(address in others for others in heard)]
    if not common:
        deaf = [host.name for host, reached in zip(hosts[1:], heard, strict=True) if not reached] or [host.name for host in hosts[1:]]
        raise Away(
            f"{hostfile}, line {first.line}: {', '.join(deaf)} cannot reach {first.name} at port {chosen} of {', '.join(names)}; "
            "open the ports between the hosts, or choose one that is open by --master-port"
        )
    return Meeting(common[0], chosen)


def _compare(hosts: Sequence[Host], found: Sequence[Found], hostfile: Path) -> None:
    """Refuse hosts that are the same machine, have other software than the first, too few GPUs, or ranks of an earlier start."""
    machines: dict[str, Host] = {}
    for host, one in zip(hosts, found, strict=True):
        place = f"{hostfile}, line {host.line}"
        check_gpus(host, one, hostfile)
        twin = machines.setdefault(one.machine, host)
        if twin is not host:
            raise UserError(f"{place}: {host.name} is the same machine as {twin.name}; give it one line, with the sum of its slots")
        if one.software != found[0].software:
            differing = [pair for pair in zip(one.software, found[0].software, strict=True) if pair[0] != pair[1]]
            theirs, ours = (" and ".join(words) for words in zip(*differing, strict=True))
            raise UserError(f"{place}: {host.name} has {theirs}, but {hosts[0].name} has {ours}; install the same on every host")
        if one.left is not None:
            raise Away(
                f"{place}: process {one.left} of {host.name} trains in this run's folder, of an earlier start; wait for its end, or end it"
            )


def _refuse(hosts: Sequence[Host], answers: Sequence[subprocess.CompletedProcess[str]], found: Sequence[Found], hostfile: Path) -> None:
    """Refuse hosts that ssh cannot reach, or that have not answered as they should have."""
    unreached = [place for place, answer in enumerate(answers) if answer.returncode == 255]
    silent = [place for place, answer in enumerate(answers) if answer.returncode or not found[place].machine]
    for those, kind, what, todo in (
        (unreached, Away, f"cannot be reached by `{' '.join(SSH[:3])} HOST`", "let it in by a key without a password, or take it out"),
        (silent, UserError, f"cannot run {sys.executable} in {ROOT}", "install the project at the same place on every host"),
    ):
        if those:
            host, answer = hosts[those[0]], answers[those[0]]
            said = [line.strip() for line in (answer.stderr or answer.stdout).splitlines() if line.strip()]
            why = f" ({said[-1]})" if said else ""
            more = f"; nor can {', '.join(hosts[other].name for other in those[1:])}" if len(those) > 1 else ""
            raise kind(f"{hostfile}, line {host.line}: {host.name} {what}{why}{more}; {todo}")


def check_gpus(host: Host, found: Found, hostfile: Path) -> None:
    """Refuse more slots than a host has GPUs, unless it has none or is told to use none: then it trains on its CPU."""
    on_cpu = os.environ.get("DS_ACCELERATOR") == "cpu" or os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}
    if 0 < found.gpus < host.slots and not on_cpu:
        raise UserError(
            f"{hostfile}, line {host.line}: slots={host.slots}, but {host.name} has {found.gpus} GPUs; write slots={found.gpus}"
        )


def _check_port(found: Found, where: str) -> None:
    if found.state is not None:
        raise UserError(
            f"port {found.port}: {found.state} on {where}; choose another by --master-port (the same on every host), or end what has it"
        )

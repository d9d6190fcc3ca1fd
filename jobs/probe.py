"""What a host says of itself before training starts, and whether others reach it: `python -m jobs.probe look|listen|reach JSON`.

Each is run on a host by ssh. `look` prints a `Found`; `listen` says a word to whoever connects to a port, until its input ends; `reach`
prints by which addresses it heard that word.
"""

from __future__ import annotations

import json
import platform
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xxhash

from trainer.environment import free_port, port_state

_NVIDIA = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU: quicker to read than any tool of the driver's is to start
_ROOT = Path(__file__).parents[1]
_TRIES = 5.0  # seconds in which a listener must be heard


@dataclass(frozen=True)
class Found:
    """What is known of a host."""

    addresses: tuple[str, ...] = ()  # of its network interfaces, but the loopback's
    gpus: int = 0  # NVIDIA's, as its driver sees them
    port: int | None = None  # the port that was asked about, else a free one
    state: str | None = None  # why nobody could listen at that port, or None where one could
    machine: str = ""  # tells apart hosts, whatever they are called
    clock: float = 0.0  # seconds since 1970, by its own clock
    software: tuple[str, ...] = ()  # what has to be the same on all hosts, in words
    left: int | None = None  # a process that trains in the run's folder now, of an earlier start


def probe(port: int | None = None, command: str | None = None) -> Found:
    """What is known of this host; of `port`, where it is given, whether it is free. `command`: of the ranks that are to be started."""
    try:
        addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        addresses = []
    gpus = sum(1 for _ in _NVIDIA.iterdir()) if _NVIDIA.is_dir() else 0
    state = port_state(port) if port else None
    left = _running(command) if command else None
    return Found(tuple(addresses), gpus, port or free_port(), state, _machine(), time.time(), _software(), left)


def _machine() -> str:
    """A name of this machine, or container, that no other has."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/net').readlink()}"
    return socket.gethostname()


def _software() -> tuple[str, ...]:
    """What has to be the same on all hosts."""
    code = xxhash.xxh3_64()
    for path in sorted(
        path for part in ("kernel", "storage", "pipeline", "model", "trainer", "jobs") for path in (_ROOT / part).rglob("*.py")
    ):
        code.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes())
    python = ".".join(platform.python_version_tuple()[:2])
    return f"Python {python}", f"torch {version('torch')}", f"deepspeed {version('deepspeed')}", f"encoder-foundry {code.hexdigest()}"


def _running(command: str) -> int | None:
    """A process of this host whose command ends so."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").replace("\0", " ").endswith(f" {command}"):
                return int(path.name)
    return None


def listen(port: int, word: str) -> None:
    """Say a word to whoever connects, until this process's input ends."""
    listeners: list[socket.socket] = []
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with suppress(OSError):  # a machine without this family, or the port was taken just now: then it is not heard
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, port))
            listener.listen(128)
            listeners.append(listener)
    while True:
        ready = set(select.select([sys.stdin, *(listener.fileno() for listener in listeners)], [], [])[0])
        if sys.stdin in ready:
            return
        for listener in listeners:
            if listener.fileno() in ready:
                with suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(word.encode())


def reach(port: int, word: str, candidates: Sequence[str]) -> list[str]:
    """The addresses at which the word is heard, of those that are given, by name or as numbers, in their order."""
    addresses: dict[str, None] = {}
    for candidate in candidates:
        with suppress(OSError):  # a name that is known to ssh alone
            found = [str(info[4][0]) for info in socket.getaddrinfo(candidate, port, type=socket.SOCK_STREAM)]
            addresses |= dict.fromkeys(sorted(found, key=lambda address: ":" in address))
    those = [address for address in addresses if not address.startswith(("127.", "::1", "fe80:"))]
    with ThreadPoolExecutor(max(1, len(those))) as pool:
        heard = list(pool.map(lambda address: _heard(address, port, word), those))
    return [address for address, one in zip(those, heard, strict=True) if one]


def _heard(address: str, port: int, word: str) -> bool:
    end = time.monotonic() + _TRIES
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection((address, port), timeout=_TRIES) as connection:
            said = b""
            while piece := connection.recv(len(word)):
                said += piece
            return said == word.encode()
        time.sleep(0.1)
    return False


def parse(output: str) -> Found:
    """What another host's probe printed; a Found that knows nothing where it printed none."""
    with suppress(TypeError):
        told: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in answered(output).items()}
        return Found(**told)
    return Found()


def answered(output: str) -> dict[str, Any]:
    """The last object of JSON in what another host printed: before it may come what the shell's start-up files print."""
    for line in reversed(output.splitlines()):
        with suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict):
                return told
    return {}


if __name__ == "__main__":
    what, arguments = sys.argv[1], json.loads(sys.argv[2])
    if what == "look":
        print(json.dumps(asdict(probe(**arguments))))
    elif what == "listen":
        listen(**arguments)
    else:
        print(json.dumps({"reached": reach(**arguments)}))

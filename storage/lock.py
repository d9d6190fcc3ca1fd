"""A lock file on a disk, which the kernel takes back when its holder ends, however that ends. The file names its holder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any


class Taken(Exception):
    """Another process holds the lock. The message names it."""


def take(path: Path | str) -> int:
    """A handle of the file that holds the lock. Raises `Taken`, and `OSError` where the file cannot be written."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raw = os.pread(handle, 1 << 12, 0)
        os.close(handle)
        raise Taken(described(raw)) from None
    return handle


def sign(handle: int) -> None:
    """Write into the file who holds it: this process."""
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(this_process()).encode(), 0)


def release(handle: int) -> None:
    """Let another process have it, though a forked one may have a copy of the handle."""
    fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def this_process() -> dict[str, Any]:
    """What a lock says of its holder."""
    return {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}


def described(raw: bytes | str) -> str:
    """The holder that a lock names, in words."""
    try:
        found = json.loads(raw)
        return f"process {found['process']} on {found['host']} (since {found['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"

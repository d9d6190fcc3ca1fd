"""What went wrong on a rank, where the launcher can find it: `faults/rank-R.json` in the run's folder."""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from pathlib import Path

from model import ModelError
from pipeline.shards import ShardError
from trainer.errors import AGAIN, FAILED, USER, Elsewhere, TrainerError

FOLDER = "faults"

# How torch, gloo and NCCL say that another rank is gone.
_LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Socket closed",
    "Timed out waiting",
    "remote process exited",
)


def users(error: BaseException) -> bool:
    """Whether an error's message is one line for the user, who can mend it."""
    return isinstance(error, TrainerError | ShardError | ModelError)


def code_of(error: BaseException) -> int:
    """The exit code of a rank that ends with this error."""
    if isinstance(error, Elsewhere):
        return error.code
    return USER if users(error) else AGAIN if lost(error) else FAILED


def lost(error: BaseException) -> bool:
    """Whether an error only says that another rank is gone."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _LOST)


def record(run: Path, error: BaseException) -> None:
    """Write down the error that this rank ends with."""
    trace = "".join(traceback.format_exception(error))
    second_hand = lost(error) or isinstance(error, Elsewhere)
    write(run, text=str(error) or type(error).__name__, user=users(error), consequence=second_hand, trace=trace, code=code_of(error))


def write(run: Path, *, text: str, user: bool, consequence: bool, trace: str, code: int) -> None:
    """Write down a fault of this rank. `consequence`: another rank's fault is the cause; `code`: the exit code that follows."""
    rank = int(os.environ.get("RANK", "0"))
    body = {
        "time": time.time(),
        "rank": rank,
        "host": socket.gethostname(),
        "user": user,
        "consequence": consequence,
        "text": text,
        "traceback": trace,
        "code": code,
    }
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rank-{rank}.json"
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(json.dumps(body), encoding="utf-8")
    os.replace(aside, path)

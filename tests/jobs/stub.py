"""A rank that does not train: `python -m tests.jobs.stub RUN.json` does what RUN.json's `ranks` has for its rank, and notes it.

It prints its pid to `RUN/pids/R`, and where it was given a SIGTERM to write a checkpoint, leaves `RUN/checkpoint-R`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from trainer.environment import place


def fault(folder: Path, rank: int, **changes: Any) -> None:
    body = {"time": 1.0, "rank": rank, "host": "here", "user": False, "consequence": False, "text": "it broke", "traceback": "Traceback"}
    (folder / "faults").mkdir(exist_ok=True)
    (folder / "faults" / f"rank-{rank}.json").write_text(json.dumps({**body, **changes}))


def main() -> int:
    os.environ.update(place())
    path = Path(sys.argv[1])
    folder, rank = path.parent, int(os.environ["RANK"])
    rules = json.loads(path.read_text())["ranks"]
    rule = rules[min(rank, len(rules) - 1)]
    stop: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN if rule.get("deaf") else lambda number, frame: stop.append(number))
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")
    told = {**{name: os.environ.get(name) for name in (*names, "GLOO_SOCKET_IFNAME")}, "session": os.getsid(0), "pid": os.getpid()}
    print(f"stdout of {rank}", flush=True)
    print(f"stderr of {rank}", file=sys.stderr, flush=True)
    starts = folder / f"starts-{rank}"
    starts.write_text((starts.read_text() if starts.is_file() else "") + "x")
    (folder / "pids").mkdir(exist_ok=True)
    (folder / "pids" / f".{rank}").write_text(json.dumps(told))
    (folder / "pids" / f".{rank}").rename(folder / "pids" / str(rank))
    others = () if rule.get("alone") else range(int(os.environ["WORLD_SIZE"]))  # whose disk is another does not see them
    while not all((folder / "pids" / str(other)).is_file() for other in others):
        time.sleep(0.01)
    if len(starts.read_text()) > rule.get("heals", 1 << 30):
        return 0
    while "after" in rule and not (folder / rule["after"]).is_file():
        time.sleep(0.01)
    if "fault" in rule:
        fault(folder, rank, **rule["fault"])
    if rule.get("stopped"):
        os.kill(os.getpid(), signal.SIGSTOP)
    if "dies" in rule:
        os.kill(os.getpid(), rule["dies"])
    if "says" in rule:
        print(rule["says"], file=sys.stderr, flush=True)
    while rule.get("waits") and not stop:
        time.sleep(0.01)
    if stop:
        time.sleep(rule.get("writes", 0))
        (folder / f"checkpoint-{rank}").touch()
    return int(rule.get("code", 0))


if __name__ == "__main__":
    sys.exit(main())

"""The launcher's part on a host that it reached by ssh: `python -m jobs.agent`, asked by lines on its input (`jobs.ranks.FarRanks`).

The first line is a JSON object that says which ranks to start. A line `ask` asks them to write a checkpoint and end. When the input
ends, as it does with the launcher or the connection, they are killed. How each ended is told by a line on the error stream.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.faults import telling
from jobs.ranks import ASK, BEGIN, TOLD, LocalRanks, Share, fault_of, log_of
from trainer.environment import PLACES, threads
from trainer.watch import LAUNCHER, launcher_name

_TICK = 0.05  # seconds between looks at the ranks


def main() -> None:
    """Start this host's ranks, and see them to their end."""
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    run_json, share = Path(request["run"]), Share(**request["share"])
    folder = run_json.parent
    folder.mkdir(parents=True, exist_ok=True)
    if not run_json.is_file() or run_json.read_text(encoding="utf-8") != request["text"]:
        run_json.write_text(request["text"], encoding="utf-8")
    for rank in share.ranks:  # of an earlier start, where the launcher's disk is another
        fault_of(folder, rank).unlink(missing_ok=True)
    environment = {
        "OMP_NUM_THREADS": str(threads(share.count)),
        **{name: value for name, value in os.environ.items() if name not in PLACES},
        **request["environment"],
        LAUNCHER: launcher_name(),
    }
    print(BEGIN, flush=True)
    ranks = LocalRanks([sys.executable, "-m", request["module"], str(run_json)], environment, share, folder, request["start"])
    asked: list[str] = []
    over = threading.Event()
    threading.Thread(target=_read, args=(asked, over), daemon=True).start()
    told: set[int] = set()
    while True:
        running = ranks.running()
        for rank, code in ranks.ended().codes.items():
            if rank not in told:
                told.add(rank)
                _tell(folder, rank, code)
        if not running:
            break
        if over.is_set():
            ranks.kill()
        elif asked:
            asked.clear()
            ranks.ask()
        time.sleep(_TICK)


def _read(asked: list[str], over: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == ASK:
            asked.append(line)
    over.set()


def _tell(folder: Path, rank: int, code: int) -> None:
    fault = None
    with suppress(OSError):
        fault = fault_of(folder, rank).read_text(encoding="utf-8")
    body = {"rank": rank, "code": code, "fault": fault, "tail": telling(log_of(folder, rank))}
    with suppress(OSError):  # nobody listens any more
        print(f"{TOLD}{json.dumps(body)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the thread that reads would otherwise hold this process

"""Many runs in one start of the processes: `tests.trainer.driver LIST.json` trains the RUN.json files that the list names, one by one.

Each goes through the entry of a training process, so that it leaves what it would leave alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.trainer.zygote import fork_ranks
from trainer.__main__ import main


def train_all(runs: Sequence[Path], folder: Path, processes: int = 2) -> None:
    """Train all runs by the same processes; a run that is refused leaves its `faults`, and the next is gone on with."""
    names = folder / "runs.json"
    names.write_text(json.dumps([str(run) for run in runs]), encoding="utf-8")
    ranks = fork_ranks("tests.trainer.driver", [str(names)], processes, folder)
    for rank, process in enumerate(ranks):
        assert process.wait() == 0, (folder / f"errors-{rank}.txt").read_text()


if __name__ == "__main__":
    for run in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        sys.argv[1] = run
        assert main() in (0, 2)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # as a training process ends

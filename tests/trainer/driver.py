"""Many runs in one launch: `torchrun -m tests.trainer.driver LIST.json` trains the RUN.json files that the list names, one after the other.

Each goes through the entry of a training process, so that it leaves what it would leave alone; what is saved is the start of the
processes, which takes far longer than a small run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.__main__ import main

ROOT = Path(__file__).parents[2]


def train_all(runs: Sequence[Path], folder: Path, processes: int = 2) -> None:
    """Train all runs in one launch; a run that is refused leaves its `error.txt`, and the next is gone on with."""
    names = folder / "runs.json"
    names.write_text(json.dumps([str(run) for run in runs]), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOCAL_SIZE": str(processes), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    result = subprocess.run(
        [*torchrun, "-m", "tests.trainer.driver", str(names)], env=environment, stderr=subprocess.PIPE, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


if __name__ == "__main__":
    for run in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        sys.argv[1] = run
        assert main() in (0, 2)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # as a training process ends

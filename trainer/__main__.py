"""One training process: `python -m trainer RUN.json`, under torchrun or DeepSpeed's launcher."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

import torch

from model import ModelError
from pipeline.shards import ShardError
from trainer.config import RunConfig
from trainer.errors import TrainerError


def main() -> int:
    """Train as RUN.json says. A user's error goes to `error.txt` in the run's folder and to stderr; exit code 2."""
    if sys.platform == "linux":  # do not outlive the launcher, however it ends
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    config = RunConfig.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    config.run.mkdir(parents=True, exist_ok=True)
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from trainer.engine import join_world
    from trainer.train import train

    try:
        train(config, join_world())
    except (TrainerError, ShardError, ModelError) as error:
        if os.environ.get("RANK", "0") == "0":
            (config.run / "error.txt").write_text(f"{error}\n", encoding="utf-8")
            print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's and DeepSpeed's threads would otherwise hold the process at its end

"""A training process with the faults of `planned.json` in the folder above its run's: `python -m tests.jobs.planned RUN.json`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.trainer.faulty import Faults, install
from trainer import __main__ as process

if __name__ == "__main__":
    install(Faults(Path(sys.argv[1]).parents[1] / "planned.json"))
    code = process.main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

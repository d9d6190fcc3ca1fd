"""Metrics: one JSON line a log step, and TensorBoard. A resumed run first takes back what lies past its checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

FILE = "metrics.jsonl"


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """All lines of a run's metrics; a last line that a crash has cut is left out."""
    path = run / FILE
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


class Metrics:
    """Writes metrics of one run, from step `resume` on: what was written for later steps is taken back."""

    def __init__(self, run: Path, resume: int) -> None:
        kept = [line for line in read_metrics(run) if line["step"] <= resume and (resume or line["kind"] == "never")]
        aside = run / f".{FILE}.tmp"
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(aside, run / FILE)
        self._file = open(run / FILE, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=resume + 1 if resume else None)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """One line: `kind` is train or validation, `step` how many steps are done."""
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        self._board.close()

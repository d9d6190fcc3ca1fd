"""What happens to a run besides its steps: shown, counted, and added to events.jsonl by the first rank."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from trainer.lines import Lines
from trainer.progress import Progress

FILE = "events.jsonl"


class Events:
    """The events of one start of a run. `run`: its folder, on the first rank; None on the others."""

    def __init__(self, run: Path | None, progress: Progress) -> None:
        self._progress = progress
        self._lines: Lines | None = None
        if run is None:
            return
        if (run / FILE).is_file():
            for line in (run / FILE).read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # one that a crash has cut short
                    progress.count(json.loads(line)["event"])
        self._lines = Lines(run / FILE)

    def __enter__(self) -> Events:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lines is not None:
            self._lines.close()

    def add(self, step: int, kind: str, text: str, *, shown: bool = True) -> None:
        """Something that the user must know, of a kind that programs know it by."""
        self._progress.count(kind)
        if shown:
            self._progress.say(f"step {step}: {text}")
        if self._lines is not None:
            self._lines.add({"time": round(time.time(), 3), "step": step, "event": kind, "text": text})

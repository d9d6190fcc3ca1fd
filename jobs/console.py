"""What the user watches: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from pipeline.workdir.engine import StageResult

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def size(count: float) -> str:
    """Bytes for people: 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(count: float) -> str:
    """A count for people: 12.3 M."""
    for unit in ("", " k", " M", " G"):
        if abs(count) < 1000:
            return f"{count:.0f}" if not unit else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f} T"


def shown(place: str | Path) -> str:
    """A path as one types it here: relative to the current folder where it lies in it; a URI as it is."""
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(place)


class StageProgress:
    """The engine's progress on the console: a bar with rate and time left, then one line of summary a stage."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._unit = "bytes"
        self._done = 0
        self._begin = 0.0

    def start(self, stage: str, total: int, done: int, unit: str) -> None:
        self._unit, self._done, self._begin = unit, 0, time.monotonic()
        if console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description:<16}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[rate]:>14}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(stage, total=total, completed=done, rate="")
            self._bar.start()

    def advance(self, amount: int) -> None:
        self._done += amount
        if self._bar is not None and self._task is not None:
            rate = self._done / max(1e-3, time.monotonic() - self._begin)
            speed = f"{size(rate)}/s" if self._unit == "bytes" else f"{number(rate)} {self._unit}/s"
            self._bar.update(self._task, advance=amount, rate=speed)

    def finish(self, result: StageResult) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        manifest = next(iter(result.manifests.values()))
        if result.ran == 0:
            what = "up to date"
        else:
            kept = f", {result.kept} kept" if result.kept else ""
            what = f"{result.ran} task{'s' * (result.ran != 1)} done{kept} in {result.seconds:.1f} s"
        rows = f"{manifest.rows:>12,} rows" if manifest.rows else " " * 17
        console.print(f"{result.name:<16} {rows}  {size(manifest.size):>9}  {what}")

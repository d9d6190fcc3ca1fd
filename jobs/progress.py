"""What a run tells of itself while it works: the stage's board, and who shows it: a screen on a terminal, plain lines, or lines of JSON.

A board goes from process to process as a line of JSON, so that whoever follows a job on a cluster sees what he would see at home.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from rich.live import Live

from jobs.board import Board
from jobs.console import console, emit, mode, printable, size, warn
from storage.location import scrub

if TYPE_CHECKING:  # pyarrow takes long to import, and what shows no stage has no use for it
    from pipeline.workdir.progress import StageResult, TaskEvent

EVERY = 1.0  # seconds between lines of JSON about a stage


class View(Protocol):
    """Shows boards. `changed` is called as often as something changes."""

    def begin(self, board: Board) -> None: ...
    def changed(self, board: Board) -> None: ...
    def end(self) -> None: ...


class Nothing:
    """Shows no board: the line that a stage ends with is enough where nobody watches."""

    def begin(self, board: Board) -> None: ...
    def changed(self, board: Board) -> None: ...
    def end(self) -> None: ...


class Screen:
    """A live panel below what is printed, gone when the stage has ended."""

    def __init__(self) -> None:
        self._live: Live | None = None

    def begin(self, board: Board) -> None:
        self.end()
        self._live = Live(board, console=console, refresh_per_second=4, transient=True, redirect_stderr=sys.stderr.isatty())
        self._live.start()

    def changed(self, board: Board) -> None:
        if self._live is not None and self._live.renderable is not board:
            self._live.update(board)

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class Lines:
    """Lines of JSON, one a second at most."""

    def __init__(self) -> None:
        self._last = 0.0

    def begin(self, board: Board) -> None:
        self._last = time.monotonic()
        emit("stage", **board.state())

    def changed(self, board: Board) -> None:
        if time.monotonic() - self._last >= EVERY or board.kept + board.done == board.tasks:
            self._last = time.monotonic()
            emit("progress", **board.state())

    def end(self) -> None: ...


def view() -> View:
    """The view for this process's output."""
    if mode() == "json":
        return Lines()
    return Screen() if console.is_terminal and mode() == "text" else Nothing()


@dataclass
class StageProgress:
    """The engine's progress, shown. It must be closed, so that the terminal is left as it was."""

    shown: View = field(default_factory=view)
    watchers: tuple[Watcher, ...] = ()
    _board: Board | None = None
    _node_of: dict[str, str] = field(default_factory=dict)

    def start(self, stage: str, total: int, done: int, unit: str, tasks: int, kept: int) -> None:
        self._board = Board(stage, unit, total, done, tasks, kept)
        self._node_of.clear()
        self.shown.begin(self._board)

    def event(self, event: TaskEvent) -> None:
        event = replace(event, why=scrub(event.why))
        for watcher in self.watchers:
            watcher.event(event)
        board = self._board
        if board is None:
            return
        if event.kind == "begun":
            self._node_of[event.task] = event.node
        else:
            if event.kind != "beside":
                self._node_of.pop(event.task, None)
            board.add(event.kind, event.task, event.why, event.memory)
        board.nodes = dict(Counter(self._node_of.values()))
        if event.kind in ("again", "beside"):
            repeat(event.stage, event.task, event.kind, event.why)
        self.shown.changed(board)

    def advance(self, amount: int) -> None:
        if self._board is not None:
            self._board.amount += amount
            self.shown.changed(self._board)
            for watcher in self.watchers:
                watcher.advance(self._board.stage, amount, self._board.unit)

    def finish(self, result: StageResult) -> None:
        self.shown.end()
        self._board = None
        manifest = next(iter(result.manifests.values()))
        finished(result.name, manifest.rows, manifest.size, result.ran, result.kept, result.seconds)
        for watcher in self.watchers:
            watcher.finish(result)

    def close(self) -> None:
        """Take the screen away, and have watchers keep what they have seen."""
        self.shown.end()
        for watcher in self.watchers:
            watcher.close()


class Watcher(Protocol):
    """Hears what the engine tells, beside the view."""

    def event(self, event: TaskEvent) -> None: ...
    def advance(self, stage: str, amount: int, unit: str) -> None: ...
    def finish(self, result: StageResult) -> None: ...
    def close(self) -> None: ...


def repeat(stage: str, task: str, kind: str, why: str) -> None:
    """Tell that a task is started once more."""
    if mode() == "json":
        emit(kind, stage=stage, task=task, why=why)
        return
    what = "started again" if kind == "again" else "a copy of it is started on another node"
    console.print(f"stage {stage}, task {task}: {what}: {printable(why)}", markup=False, soft_wrap=True)


def finished(stage: str, rows: int, bytes_: int, ran: int, kept: int, seconds: float) -> None:
    """Tell that a stage is finished: a line."""
    if mode() == "json":
        emit("finished", stage=stage, rows=rows, bytes=bytes_, ran=ran, kept=kept, seconds=round(seconds, 3))
        return
    how = f"{ran} task{'s' * (ran != 1)} done{f', {kept} kept' if kept else ''} in {seconds:.1f} s"
    what = how if ran else "up to date"
    counted = f"{rows:>12,} rows" if rows else " " * 17
    console.print(f"{stage:<16} {counted}  {size(bytes_):>9}  {what}")


@dataclass
class Replay:
    """Shows what another process tells in lines of JSON, as this process would have shown it."""

    shown: View = field(default_factory=view)
    _board: Board | None = None

    def hear(self, event: dict[str, Any]) -> None:
        """Show one line. What is of a newer version's kind is passed over."""
        what = {name: value for name, value in event.items() if name != "kind"}
        match event["kind"]:
            case "text":
                console.print(what["text"], markup=False, soft_wrap=True)
            case "warning":
                warn(what["text"])
            case "stage":
                self._board = Board.of(what)
                self.shown.begin(self._board)
            case "progress":
                if self._board is None or self._board.stage != what["stage"]:  # followed from the middle on
                    self._board = Board.of(what)
                    self.shown.begin(self._board)
                self._board.take(what)
                self.shown.changed(self._board)
            case "again" | "beside":
                repeat(what["stage"], what["task"], event["kind"], what["why"])
            case "finished":
                self.shown.end()
                finished(what["stage"], what["rows"], what["bytes"], what["ran"], what["kept"], what["seconds"])

    def close(self) -> None:
        """Take the screen away."""
        self.shown.end()

"""The board of a stage that runs: what is done of it, how fast, where, and what went wrong; drawn as a panel on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from jobs.console import number, printable, size
from trainer.words import clock, fields

NODES = 4  # that are named


@dataclass
class Board:
    """A stage that runs. Amounts are in its `unit`; `before` and `kept` are what an earlier run had done."""

    stage: str
    unit: str
    total: int
    before: int
    tasks: int
    kept: int
    amount: int = 0  # done by this run
    done: int = 0  # tasks of this run
    nodes: dict[str, int] = field(default_factory=dict)  # tasks that run, by the node's name
    memory: int = 0  # bytes that the largest task held
    again: int = 0  # tasks that were started again
    beside: int = 0  # copies of tasks that lag behind
    last: str = ""  # the last of these, and why
    begun: float = field(default_factory=time.monotonic)

    def add(self, kind: str, task: str, why: str, memory: int) -> None:
        """Something that happened to a task: done, again or beside."""
        if kind == "done":
            self.done += 1
            self.memory = max(self.memory, memory)
        elif kind == "again":
            self.again += 1
        else:
            self.beside += 1
        if why:
            self.last = f"{task}: {printable(why)}"

    # --- as JSON -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All of it, with the seconds since the stage began."""
        known = {name: value for name, value in vars(self).items() if name != "begun"}
        return {**known, "seconds": round(time.monotonic() - self.begun, 1)}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Board:
        """The board that another process has told of."""
        board = cls(*(state[name] for name in ("stage", "unit", "total", "before", "tasks", "kept")))
        board.take(state)
        return board

    def take(self, state: dict[str, Any]) -> None:
        """Be as another process's board is."""
        for name in ("total", "before", "tasks", "kept", "amount", "done", "nodes", "memory", "again", "beside", "last"):
            setattr(self, name, state[name])
        self.begun = time.monotonic() - state["seconds"]

    # --- as a panel ----------------------------------------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """What is done in a second."""
        return self.amount / max(1e-3, time.monotonic() - self.begun)

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="ellipsis", no_wrap=True)
        for name, shown in self._rows():
            table.add_row(name, shown)
        return Panel(Group(self._head(), table), border_style="dim", padding=(0, 1))

    def _head(self) -> RenderableType:
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True)
        at = self.before + self.amount
        share = at / self.total if self.total else 1.0
        bar = ProgressBar(total=max(1, self.total), completed=at, width=None)
        head.add_row(_SPINNER, Text(self.stage, style="bold"), bar, Text(f"{share:.0%}", style="bold"))
        return head

    def _rows(self) -> Iterator[tuple[str, RenderableType]]:
        running = sum(self.nodes.values())
        counted = f"{self.kept + self.done:,} of {self.tasks:,}"
        yield "tasks", fields(("", counted), ("running", f"{running:,}"), *([("kept", f"{self.kept:,}")] if self.kept else []))
        yield "speed", self._speed()
        if self.nodes:
            names = sorted(self.nodes)
            counts = [(name, f"×{self.nodes[name]}") for name in names[:NODES]]
            more = [("", f"and {len(names) - NODES} more")] if len(names) > NODES else []
            yield "nodes", fields(("", f"{len(names)}"), *counts, *more)
        if self.memory:
            yield "memory", fields(("", f"{size(self.memory)} in the largest task"))
        if self.again or self.beside:
            told = [("started again", f"{self.again}")] if self.again else []
            told += [("copied", f"{self.beside}")] if self.beside else []
            yield "events", Text.assemble(fields(*told), ("   " + self.last if self.last else "", "yellow"))

    def _speed(self) -> Text:
        if not self.amount:
            return Text(f"begun {clock(time.monotonic() - self.begun)} ago", style="dim")
        rate = self.rate
        speed = f"{size(rate)}/s" if self.unit == "bytes" else f"{number(rate)} {self.unit}/s"
        left = (self.total - self.before - self.amount) / rate
        return fields(("", speed), ("", f"{clock(left)} left"), ("since", clock(time.monotonic() - self.begun)))


_SPINNER = Spinner("dots", style="cyan")

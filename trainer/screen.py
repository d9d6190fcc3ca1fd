"""The screen that shows a training as it runs, as one panel on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trainer.timing import PARTS
from trainer.words import clock, fields, within

SPARKS = "▁▂▃▄▅▆▇█"
COLOURS: dict[str, str] = dict(zip(PARTS, ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_black"), strict=True))
BAR = 40  # cells of the bar of seconds
# Kinds of events, for people; others are shown as they are.
EVENTS = {"left out": "steps left out", "again": "steps computed again", "return": "returns", "start": "restarts"}


@dataclass
class Screen:
    """What the screen shows. Lines are those of metrics.jsonl; a value that is not there yet is None."""

    title: str  # what is trained, and where
    steps: int  # of the whole run
    tokens: int
    done: int = 0  # steps
    done_tokens: int = 0
    phase: str = ""
    losses: list[float] = field(default_factory=list)  # of the last lines
    trained: dict[str, Any] | None = None
    validations: list[dict[str, Any]] = field(default_factory=list)  # the first one, and the last
    events: Counter[str] = field(default_factory=Counter)

    def recall(self, lines: Iterable[dict[str, Any]]) -> None:
        """Forget all lines, and show these."""
        self.losses, self.trained, self.validations = [], None, []
        for line in lines:
            (self.add_trained if line["kind"] == "train" else self.add_validated)(line)

    def add_trained(self, line: dict[str, Any]) -> None:
        """A line of training."""
        self.trained, self.phase = line, line["phase"]
        if line["loss"] is not None:
            self.losses = [*self.losses[-199:], line["loss"]]

    def add_validated(self, line: dict[str, Any]) -> None:
        """A line of an evaluation."""
        self.validations = [*self.validations[:1], line]

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        for name, shown in self._rows():
            table.add_row(name, shown)
        return Panel(Group(self._head(), Text(), table), title=self.title, title_align="left", border_style="dim", padding=(0, 1))

    def _head(self) -> RenderableType:
        """The phase, and how far the run is."""
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True)
        share = self.done_tokens / self.tokens
        text = Text.assemble((f"{share:.1%}", "bold"), f"  step {self.done:,} of {self.steps:,}")
        if left := self.seconds_left:
            text.append(f"  {clock(left)} left")
        head.add_row(Text(self.phase, style="bold"), ProgressBar(total=self.tokens, completed=self.done_tokens, width=None), text)
        return head

    @property
    def seconds_left(self) -> float | None:
        """Until the last step, at the rate of the last line."""
        rate = self.trained["tokens_per_second"] if self.trained is not None else None
        return (self.tokens - self.done_tokens) / rate if rate else None

    def _rows(self) -> Iterator[tuple[str, RenderableType]]:
        line = self.trained
        if line is not None:
            yield "loss", Text.assemble((self._loss(line), "bold green"), "  ", (sparks(self.losses, BAR), "green"))
        if self.validations:
            yield "validation", self._validation()
        domains, split = self._domains()
        if domains:
            yield "by domain", fields(*((name, f"{loss:.3f}") for name, loss in domains), (f"in {split}", ""))
        if line is None:
            yield "", Text("the first line of metrics is still to come", style="dim")
        else:
            yield from self._of_line(line)
        if counted := self._counted():
            yield "events", fields(*((name, str(count)) for name, count in counted))

    def _of_line(self, line: dict[str, Any]) -> Iterator[tuple[str, RenderableType]]:
        """What a line of training has besides losses."""
        yield (
            "step",
            fields(
                ("learning rate", f"{line['lr']:.2e}"),
                ("batch", f"{line['batch_size']:,}"),
                ("gradient norm", shown(line["gradient_norm"], "{:.3g}")),
                *([("updates clipped", f"{line['clipped']:.1%}")] if line["clipped"] is not None else []),
            ),
        )
        yield (
            "speed",
            fields(
                ("", f"{line['tokens_per_second']:,.0f} tokens/s"),
                ("", "–" if line["flops_per_second"] is None else f"{large(line['flops_per_second'])}FLOP/s"),
                *([("utilisation", f"{line['utilisation']:.1%}")] if line["utilisation"] is not None else []),
                ("memory", f"{line['memory'] / 1e9:,.2f} GB"),
            ),
        )
        yield "time", time_bar(line["seconds"])

    def _loss(self, line: dict[str, Any]) -> str:
        return "steps left out" if line["loss"] is None else f"{line['loss']:.4f}"

    def _counted(self) -> list[tuple[str, int]]:
        """How often what happened: the first start is none of it, and what was stopped was started again."""
        counts = {**self.events, "start": self.events["start"] - 1, "stop": 0}
        return [(EVENTS.get(kind, kind), count) for kind, count in sorted(counts.items()) if count > 0]

    def _validation(self) -> Text:
        last, first = self.validations[-1], self.validations[0]
        text = Text.assemble((shown(last["loss"], "{:.4f}"), "bold"), f"{within(last, 3)}  accuracy {shown(last['accuracy'], '{:.1%}')}")
        text.append(f"  after step {last['step']:,}", style="dim")
        if first is not last:
            text.append(f"  ({shown(first['loss'], '{:.4f}')} after step {first['step']:,})", style="dim")
        return text

    def _domains(self) -> tuple[list[tuple[str, float]], str]:
        """The loss of each domain, the hardest first: of the last evaluation, or of the last line where there was none."""
        line = self.validations[-1] if self.validations else self.trained
        if line is None:
            return [], ""
        found = [(name, values["loss"]) for name, values in line["by_domain"].items() if values["loss"] is not None]
        return sorted(found, key=lambda one: -one[1]), "validation" if self.validations else "training"


def shown(value: float | None, form: str) -> str:
    """A number for people, a dash where there is none."""
    return "–" if value is None else form.format(value)


def large(value: float) -> str:
    """A large number for people, before its unit: 312 T."""
    prefixes = iter(("", "k", "M", "G", "T", "P"))
    while value >= 1000:
        value /= 1000
        next(prefixes)
    return f"{value:.3g} {next(prefixes)}"


def sparks(values: list[float], width: int) -> str:
    """A line of `width` small bars at most, each the mean of as many values in a row; the lowest is the shortest."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [number * len(values) // count for number in range(count + 1)]
    means = [sum(values[begin:end]) / (end - begin) for begin, end in pairwise(edges)]
    low, high = min(means), max(means)
    return "".join(SPARKS[round((mean - low) / (high - low) * (len(SPARKS) - 1)) if high > low else 0] for mean in means)


def time_bar(seconds: dict[str, float]) -> RenderableType:
    """The seconds of each part as one bar, and their shares: those of a hundredth and more."""
    total = sum(seconds.values()) or 1.0
    bar, at, before = Text(), 0.0, 0
    for part, value in seconds.items():
        at += value / total * BAR
        bar.append("█" * (round(at) - before), style=COLOURS.get(part))
        before = round(at)
    named = [(part, value / total) for part, value in seconds.items() if value / total >= 0.01]
    shares = Text("  ").join(Text.assemble((f"{part} ", COLOURS.get(part, "")), f"{share:.0%}") for part, share in named)
    return Group(bar, shares)

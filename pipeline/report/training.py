"""The report's part on training: a table of all runs, their curves, what happened in them, and their losses by domain and length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pipeline.report.curves import BASELINES, Plot, comparison, curves
from pipeline.report.runs import Run, column, last, names

SHOWN_EVENTS = 100  # of a run, the last ones


@dataclass(frozen=True)
class RunPart:
    """What the page shows of one run."""

    name: str
    open: bool  # it is the recipe's own
    notes: tuple[str, ...]
    plots: tuple[Plot, ...]
    events: tuple[tuple[str, str, str, str], ...]  # time, step, event, text
    counts: str  # of all events
    left_away: int  # events that are not shown
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]  # what they are of, and rows of the last evaluation


@dataclass(frozen=True)
class TrainingPart:
    """What the page shows of all runs."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    comparison: Plot | None
    runs: tuple[RunPart, ...]


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _range(values: Sequence[float | None], form: str) -> str:
    """From the first to the last value."""
    known = [value for value in values if value is not None]
    return "" if not known else format(known[0], form) if len(known) == 1 else f"{known[0]:{form}} to {known[-1]:{form}}"


def _duration(seconds: float) -> str:
    units = ((7200, 3600, "h"), (120, 60, "min"))
    size, unit = next(((size, unit) for least, size, unit in units if seconds >= least), (1, "s"))
    return f"{seconds / size:,.1f} {unit}"


HEADER = ("run", "steps", "tokens", "time", "training loss", "validation loss", "accuracy", "tokens/s", "peak memory", "left out")


def _median(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def _row(run: Run) -> tuple[str, ...]:
    """A run in numbers, as `HEADER` has them; what no line says is empty."""
    end = max((*run.train, *run.validation), key=lambda line: int(line["step"]))
    validation = column(run.validation, "loss")
    accuracy = column(run.validation, "accuracy")
    memory = column(run.train, "memory")
    seconds = run.seconds
    return (
        run.name,
        f"{end['step']:,}",
        f"{end['tokens']:,}",
        _duration(float(np.nansum(seconds))) if np.isfinite(seconds).any() else "",
        _range([last(column(run.train[:1], "loss")), last(column(run.train, "loss"))], ".3f"),
        _range([value if np.isfinite(value) else None for value in (*validation[:1], *validation[1:][-1:])], ".3f"),
        _range([value if np.isfinite(value) else None for value in (*accuracy[:1], *accuracy[1:][-1:])], ".1%"),
        _cell(_median(column(run.train, "tokens_per_second")), ",.0f"),
        f"{np.nanmax(memory) / 1e9:.1f} GB" if np.isfinite(memory).any() else "",
        f"{int(np.nansum(column(run.train, 'left_out'))):,}",
    )


def _groups(run: Run) -> tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]:
    """The last evaluation by domain, source, length of the segment, and length that all were cut to: for each its name, loss, the
    interval of that, accuracy and predicted tokens.
    """
    ending = run.validation[-1:]
    tables = []
    titles = {"by_domain": "domain", "by_source": "source", "by_length": "length in tokens", "at_length": "cut to a length"}
    values = ("loss", "loss_low", "loss_high", "accuracy", "predicted_tokens")
    for key, title in titles.items():
        rows = []
        for name in names(ending, key):
            loss, low, high, accuracy, count = (last(column(ending, key, name, value)) for value in values)
            if count:
                within = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
                rows.append((name, _cell(loss, ".3f"), within, _cell(accuracy, ".1%"), f"{count:,.0f}"))
        if rows:
            tables.append((title, tuple(rows)))
    return tuple(tables)


def _part(run: Run, own: str, colours: Mapping[str, str]) -> RunPart:
    kinds = [str(event["event"]) for event in run.events]
    counts = ", ".join(f"{kind}: {kinds.count(kind):,}" for kind in dict.fromkeys(kinds))
    notes = []
    baselines = {name: last(column(run.validation[-1:], "baselines", name)) for name in BASELINES}
    if any(value is not None for value in baselines.values()):
        told = ", ".join(f"{BASELINES[name]} {value:.2f}" for name, value in baselines.items() if value is not None)
        notes.append(f"On the tokens of the evaluation, models of the training split that count neighbours have these losses: {told}.")
    if run.unreadable:
        is_are = "line" if run.unreadable == 1 else "lines"
        notes.append(
            f"{run.unreadable:,} {is_are} of metrics.jsonl and events.jsonl could not be read; the last is cut while a run goes on."
        )
    shown = run.events[-SHOWN_EVENTS:]
    return RunPart(
        run.name,
        run.name == own,
        tuple(notes),
        tuple(curves(run, colours)),
        tuple(
            (
                datetime.fromtimestamp(float(event["time"]), UTC).strftime("%Y-%m-%d %H:%M:%S"),
                f"{event['step']:,}",
                str(event["event"]),
                str(event["text"]),
            )
            for event in shown
        ),
        counts,
        len(run.events) - len(shown),
        _groups(run),
    )


def training(runs: Sequence[Run], own: str, colours: Mapping[str, str]) -> TrainingPart | None:
    """The part on training; None where no run has a line. `own`: the run whose curves are shown open; `colours`: those of domains."""
    begun = [run for run in runs if run.train or run.validation]
    if not begun:
        return None
    rows = [_row(run) for run in begun]
    used = [place for place in range(len(HEADER)) if any(row[place] for row in rows)]
    return TrainingPart(
        tuple(HEADER[place] for place in used),
        tuple(tuple(row[place] for place in used) for row in rows),
        comparison(begun) if len(begun) > 1 else None,
        tuple(_part(run, own, colours) for run in sorted(begun, key=lambda run: run.name != own)),
    )

"""What the files of a workdir's runs say: `metrics.jsonl` and `events.jsonl`, line by line, and the numbers of a run as a whole.

Lines of earlier versions lack some keys, and the last line of a run that goes on may be cut: what is not there is NaN, and what cannot be
read is counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Lines = tuple[dict[str, Any], ...]


def column(lines: Sequence[dict[str, Any]], *keys: str) -> Values:
    """The number that each line has under the keys, one within the other: (lines,), NaN where it has none."""
    found = np.full(len(lines), np.nan)
    for place, line in enumerate(lines):
        value: Any = line
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, int | float):
            found[place] = value
    return found


def names(lines: Sequence[dict[str, Any]], *keys: str) -> list[str]:
    """The names that lines have in the table under the keys, in the order in which they come up."""
    found: dict[str, None] = {}
    for line in lines:
        value: Any = line
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        found.update(dict.fromkeys(value if isinstance(value, dict) else ()))
    return list(found)


@dataclass(frozen=True)
class Run:
    """A run's lines: `train` and `validation` of the metrics, and the events; `unreadable` counts those that are no such line."""

    name: str
    train: Lines
    validation: Lines
    events: Lines
    unreadable: int

    @property
    def seconds(self) -> Values:
        """Seconds that each line of training took, (lines,): all its parts, or, where it has none, its tokens by their rate."""
        tokens = column(self.train, "tokens")
        by_rate = np.diff(tokens, prepend=0.0) / column(self.train, "tokens_per_second")
        parts = [column(self.train, "seconds", part) for part in names(self.train, "seconds")]
        if not parts:
            return by_rate
        known = np.any([np.isfinite(part) for part in parts], axis=0)
        return np.where(known, np.nansum(parts, axis=0), by_rate)

    def tokens_at(self, steps: Values) -> Values:
        """Tokens that were trained on after so many steps, between lines in proportion."""
        known = sorted({0: 0.0, **{line["step"]: float(line["tokens"]) for line in (*self.validation, *self.train)}}.items())
        return np.interp(steps, [step for step, _ in known], [tokens for _, tokens in known])


def _lines(path: Path, keys: tuple[str, ...]) -> tuple[list[dict[str, Any]], int]:
    """The lines of a file that are objects with all of the keys, and how many lines are not. No file has none."""
    found, unreadable = [], 0
    for raw in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            line = json.loads(raw)
        except ValueError:
            line = None
        if isinstance(line, dict) and all(key in line for key in keys):
            found.append(line)
        else:
            unreadable += 1
    return found, unreadable


def read_run(folder: Path) -> Run:
    """Read a run's folder."""
    metrics, cut = _lines(folder / "metrics.jsonl", ("kind", "step", "tokens"))
    events, damaged = _lines(folder / "events.jsonl", ("time", "step", "event", "text"))
    by_kind = {kind: tuple(line for line in metrics if line["kind"] == kind) for kind in ("train", "validation")}
    return Run(folder.name, by_kind["train"], by_kind["validation"], tuple(events), cut + damaged)


def last(values: Values) -> float | None:
    """The last value that is one."""
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else None


def thinned(places: Values, values: Values, most: int = 500) -> tuple[Values, Values]:
    """A long curve as the means of at most `most` stretches of lines, equally long; a stretch without any value is NaN."""
    if len(places) <= most:
        return places, values
    edges = np.linspace(0, len(places), most + 1).astype(np.int64)[:-1]
    known = np.isfinite(values)
    counts = np.add.reduceat(known.astype(np.float64), edges)
    sums = np.add.reduceat(np.where(known, values, 0.0), edges)
    with np.errstate(invalid="ignore"):
        means = sums / counts
    return np.add.reduceat(places, edges) / np.diff([*edges, len(places)]), means

"""Results: one row an item, in a file a set, and beside it what it was made of. Only rows make pairs comparable.

    NAME.parquet   a row an item and setting: `item`, `document`, `group` (what the bootstrap draws: items of one group are alike), the
                   set's own columns that tell rows apart, such as `domain` and `length`, `main` (whether it is the row of its item
                   that counts where no setting is told), `weight`, and the values that metrics add up
    NAME.json      the key of all that determines it, the set's settings, what was passed over, and the scores

A metric is a sum of a column over a sum of `weight`. Both files are written whole; a set whose key is the same is not evaluated again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipeline.workdir.dataset import Workdir, to_parquet
from pipeline.workdir.errors import UserError
from trainer.intervals import ratio_interval

FOLDER = "evaluation"  # of a run, or of a workdir
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A number of a set: the sum of a column over the sum of `weight`.

    `scale`: the column whose mean a difference is measured by; its own, but where that may be near zero.
    """

    name: str
    column: str
    less_is_better: bool
    scale: str = ""


@dataclass(frozen=True)
class Score:
    """A metric over all of a set's items, or those with `value` in the column `by`: over their main rows, by length over all.

    The interval is of 95 %.
    """

    metric: str
    by: str
    value: str
    score: float
    low: float | None
    high: float | None
    items: int
    groups: int


@dataclass(frozen=True)
class Result:
    """A set's rows for one subject, and how they were made."""

    name: str
    key: str
    settings: dict[str, Any]  # all that must be equal for two results to be compared
    passed_over: dict[str, int]
    metrics: tuple[Metric, ...]
    rows: pa.Table
    scores: tuple[Score, ...]
    numbers: dict[str, float]  # that are no mean of rows
    scored: bool  # whether a better value is a better model


def by_group(rows: pa.Table, column: str) -> tuple[list[str], Floats, Floats]:
    """`(groups, numerator, denominator)` of a metric's column: its sum and that of `weight` over each group, float64 (groups,)."""
    names, place = np.unique(np.array(rows["group"].to_pylist(), object), return_inverse=True)
    sums = [np.bincount(place, np.asarray(rows[name], dtype=np.float64), len(names)).astype(np.float64) for name in (column, "weight")]
    return [str(name) for name in names], sums[0], sums[1]


def scores_of(rows: pa.Table, metrics: Sequence[Metric], by: Sequence[str], seed: int) -> tuple[Score, ...]:
    """The scores of all items, and of those of each value of the columns `by`."""
    found = []
    main = rows.filter(rows["main"])
    for metric in metrics:
        found.append(_score(main, metric, "", "", seed))
        for column in by:
            told = rows if column == "length" else main
            values = told[column].to_pylist()
            for value in sorted(set(values)):
                found.append(_score(told.filter(pa.array([each == value for each in values])), metric, column, str(value), seed))
    return tuple(found)


def _score(rows: pa.Table, metric: Metric, by: str, value: str, seed: int) -> Score:
    groups, numerator, denominator = by_group(rows, metric.column)
    total = denominator.sum()
    low, high = ratio_interval(numerator, denominator, seed) or (None, None)
    return Score(metric.name, by, value, float(numerator.sum() / total) if total else float("nan"), low, high, rows.num_rows, len(groups))


def write(folder: Path, result: Result) -> None:
    """Write a result: the rows first, so that what says they are there comes last."""
    place = Workdir(str(folder))
    raw = to_parquet(result.rows)
    place.write(raw, f"{result.name}.parquet")
    body = {
        "set": result.name,
        "key": result.key,
        "settings": result.settings,
        "passed_over": result.passed_over,
        "metrics": [asdict(metric) for metric in result.metrics],
        "rows": result.rows.num_rows,
        "checksum": xxhash.xxh3_128_hexdigest(raw),
        "scores": [asdict(score) for score in result.scores],
        "numbers": result.numbers,
        "scored": result.scored,
    }
    place.write(json.dumps(body, indent=1, sort_keys=True).encode(), f"{result.name}.json")


def read(folder: Path, name: str) -> Result | None:
    """A set's result; None where there is none, or it is not whole, or another version has written it."""
    place = Workdir(str(folder))
    body, raw = place.json(f"{name}.json"), place.read(f"{name}.parquet")
    if not isinstance(body, dict) or raw is None or body.get("checksum") != xxhash.xxh3_128_hexdigest(raw):
        return None
    try:
        return Result(
            name,
            str(body["key"]),
            dict(body["settings"]),
            dict(body["passed_over"]),
            tuple(Metric(**metric) for metric in body["metrics"]),
            pq.read_table(pa.BufferReader(raw)),
            tuple(Score(**score) for score in body["scores"]),
            dict(body["numbers"]),
            bool(body["scored"]),
        )
    except (KeyError, TypeError, ValueError):  # of another version
        return None


def read_all(folder: Path) -> list[Result]:
    """All results in a folder, by name. Raises `UserError` where there is none, or one is damaged or of another version."""
    found = []
    for path in sorted(folder.glob("*.json")):
        result = read(folder, path.stem)
        if result is None:
            raise UserError(f"{path}: is damaged, or of another version; make it again with `foundry evaluate`")
        found.append(result)
    if not found:
        raise UserError(f"{folder}: has no results; make them with `foundry evaluate`")
    return found

"""Runs beside one another on the same items: what may be compared, and what the comparison says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from evaluation.differences import Difference, difference, holm
from evaluation.results import FOLDER, Floats, Result, by_group, read_all
from kernel.random import derive
from pipeline.report.runs import Run, column, read_run
from pipeline.workdir.errors import UserError

LEVEL = 0.99
MARGIN = 0.01  # a share of the reference's value
NEAR = 0.01  # within which two budgets are equal


@dataclass(frozen=True)
class Budget:
    """What a run was trained with; NaN where its lines do not say."""

    tokens: float
    operations: float
    hours: float


@dataclass(frozen=True)
class Contestant:
    """What is compared: one run, or several of the same recipe under different seeds."""

    name: str
    runs: tuple[Run, ...]
    results: tuple[dict[str, Result], ...]  # of each run, by set

    @property
    def budget(self) -> Budget:
        """The mean budget of its runs."""
        each = np.array([(b.tokens, b.operations, b.hours) for b in map(budget_of, self.runs)])
        return Budget(*each.mean(axis=0).tolist())


@dataclass(frozen=True)
class Verdict:
    """What a set says of a contestant beside the reference. `p` is raised for the number of tests (Holm)."""

    set: str
    metric: str
    name: str
    difference: Difference
    scale: float  # what a difference is a share of: the reference's value, or another mean of the set's
    p: float
    said: str  # better, worse, equivalent or undecided


def spent(run: Run) -> tuple[Floats, Floats, Floats]:
    """At each line of training the tokens, floating-point operations and hours of training so far: float64 (lines,) each."""
    seconds = run.seconds - np.nan_to_num(column(run.train, "seconds", "evaluation"))
    operations = np.cumsum(column(run.train, "flops_per_second") * seconds)
    return column(run.train, "tokens"), operations, np.cumsum(seconds) / 3600


def budget_of(run: Run) -> Budget:
    """What a run has spent by its last line."""
    return Budget(*(float(each[-1]) if len(each) else float("nan") for each in spent(run)))


def read_contestant(text: str) -> Contestant:
    """A contestant by what names it on the command line: RUN, or NAME=RUN,RUN. Raises `UserError` where one has no results."""
    name, _, places = text.rpartition("=")
    folders = [Path(place) for place in places.split(",") if place]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; give a run's folder, WORKDIR/runs/NAME, or NAME=RUN,RUN for one under several seeds"
            )
        if not _results_place(folder).is_dir():
            raise UserError(f"{folder}: has no results; make them with `foundry evaluate {folder}`")
    if not folders:
        raise UserError(f"{text}: names no run; give a run's folder, WORKDIR/runs/NAME")
    found = tuple({result.name: result for result in read_all(_results_place(folder))} for folder in folders)
    return Contestant(name or folders[0].resolve().name, tuple(read_run(folder) for folder in folders), found)


def _results_place(folder: Path) -> Path:
    """Where the results of a run are; or the folder itself, that of a contestant which is no run and has nothing but results."""
    own = not (folder / "run.json").is_file() and any(folder.glob("*.parquet"))
    return folder if own else folder / FOLDER


def check_comparable(contestants: Sequence[Contestant], *, any_budget: bool = False) -> list[str]:
    """The sets that all have. Raises `UserError`, which names what differs: items, lengths, another setting of a set, or the budget."""
    if len(contestants) < 2:
        raise UserError("compare: give at least two runs")
    names = [contestant.name for contestant in contestants]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"compare: two contestants are named {name}; name them, as in one={name},...")
    common = set.intersection(*(set(results) for each in contestants for results in each.results))
    sets = sorted(name for name in common if contestants[0].results[0][name].scored)
    if not sets:
        raise UserError("compare: there is no set that all runs have results of; evaluate them with the same --set")
    reference = contestants[0]
    for name in sets:
        first = reference.results[0][name]
        for each in contestants:
            for run, results in zip(each.runs, each.results, strict=True):
                _check_result(name, reference.runs[0].name, first, run.name, results[name])
    if not any_budget:
        for each in contestants[1:]:
            _check_budget(reference, each)
    return sets


def _check_result(name: str, one: str, first: Result, other: str, second: Result) -> None:
    words = {
        "sample": "different items (their held-out samples differ; evaluate both in one workdir)",
        "items": "different items (they were made of other documents; evaluate both in one workdir)",
        "lengths": "different lengths",
        "tuning": "different budgets of tuning",
    }
    # who is not tuned at all, as BM25, has neither a budget nor a length
    free = {"tuning", "lengths"} if ("tuning" in first.settings) != ("tuning" in second.settings) else set()
    for key in sorted({*first.settings, *second.settings} - free):
        mine, theirs = first.settings.get(key), second.settings.get(key)
        if mine != theirs:
            shown = "" if key in ("sample", "items", "tuning") else f" ({mine} and {theirs})"
            raise UserError(f"set {name}: {one} and {other} have {words.get(key, f'another {key}')}{shown}; they cannot be compared")
    if first.rows["item"] != second.rows["item"] or first.rows["weight"] != second.rows["weight"]:
        raise UserError(f"set {name}: {one} and {other} have different items; evaluate both again")


def _check_budget(one: Contestant, other: Contestant) -> None:
    """Two must have been trained on as many tokens, or with as many operations."""
    mine, theirs = one.budget, other.budget
    pairs = ((mine.tokens, theirs.tokens), (mine.operations, theirs.operations))
    known = [(a, b) for a, b in pairs if np.isfinite(a) and np.isfinite(b)]
    if known and not any(abs(a - b) <= NEAR * max(a, b) for a, b in known):
        raise UserError(
            f"budgets differ: {one.name} was trained on {mine.tokens:,.0f} tokens ({mine.operations:.3g} FLOP), {other.name} on "
            f"{theirs.tokens:,.0f} ({theirs.operations:.3g} FLOP); add --any-budget to compare them all the same"
        )


def _sums(result: Result, column: str = "") -> tuple[Floats, Floats]:
    """The sums of a column, by default the first metric's, over groups, and those of the weights: those of main rows."""
    main: pa.Table = result.rows.filter(result.rows["main"])
    _, numerator, denominator = by_group(main, column or result.metrics[0].column)
    return numerator, denominator


def compare(contestants: Sequence[Contestant], sets: Sequence[str], *, level: float = LEVEL, margin: float = MARGIN) -> list[Verdict]:
    """What each set says of each contestant but the first, which is the reference; by the set's first metric, over its main rows.

    `level`: 0.99 means that where none differs, one in a hundred comparisons finds any difference at all. `margin`: a share of the
    reference's value (of `context` its loss) below which a difference does not matter.
    """
    reference, found = contestants[0], []
    for name in sets:
        metric = reference.results[0][name].metrics[0]
        own = [_sums(results[name]) for results in reference.results]
        weights = own[0][1]
        scale = abs(_sums(reference.results[0][name], metric.scale)[0].sum() / weights.sum())
        for other in contestants[1:]:
            theirs = [_sums(results[name])[0] for results in other.results]
            seed = derive(0, "compare", name)
            told = difference([sums for sums, _ in own], theirs, weights, level=level, margin=margin * scale, seed=seed)
            found.append((name, metric, other.name, told, scale))
    raised = holm([told.p for _, _, _, told, _ in found])
    return [
        Verdict(name, metric.name, who, told, scale, p, _said(told, p, level, less_is_better=metric.less_is_better))
        for (name, metric, who, told, scale), p in zip(found, raised, strict=True)
    ]


def _said(told: Difference, p: float, level: float, *, less_is_better: bool) -> str:
    if p < 1 - level:
        return "better" if (told.value < 0) == less_is_better else "worse"
    return "equivalent" if told.equivalent else "undecided"


def sentences(verdicts: Sequence[Verdict], reference: Contestant, contestants: Sequence[Contestant], level: float) -> Iterator[str]:
    """What the verdicts mean, for people."""
    for each in verdicts:
        told = each.difference
        what = {
            "better": f"{each.name} is better than {reference.name}",
            "worse": f"{each.name} is worse than {reference.name}",
            "equivalent": f"{each.name} and {reference.name} are equal to within the margin",
            "undecided": "no difference that these items show",
        }[each.said]
        yield (
            f"{each.set}, {each.metric}: {told.reference:.4f} and {told.other:.4f}, difference {told.value:+.4f} "
            f"({told.low:+.4f} to {told.high:+.4f}): {what}. {told.groups:,} documents could show {told.detectable:.4f}."
        )
    if all(len(each.runs) == 1 for each in contestants):
        yield "One run of each: what is said holds for these models, and not for their recipes under other seeds."
    yield f"Intervals are of {level:.0%}; differences hold for all comparisons together (Holm)."

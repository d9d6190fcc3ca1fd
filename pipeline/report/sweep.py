"""One limit at many values: what the filter would keep at each. The other rules are decided once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
from jinja2 import Environment

from pipeline.filters.check import Family, decide
from pipeline.filters.stage import Rules, by_language, pairs_of
from pipeline.measure.labels import Found
from pipeline.report.agreement import Agreement
from pipeline.report.figures import PALETTE, SOFT, drawing, standalone, svg
from pipeline.report.funnel import Count
from pipeline.report.whatif import Tried, check_lines, needed, tokens_per_byte
from pipeline.workdir.cuts import all_of, from_column, no_cuts
from pipeline.workdir.documents import STATISTICS


@dataclass(frozen=True)
class Point:
    """What would be kept of the documents that have the limit, at one value of it."""

    value: float | None  # None: no limit
    kept: Count
    tokens: int | None
    agreement: Agreement | None


@dataclass(frozen=True)
class Sweep:
    """A limit of the recipe at many values."""

    key: str
    now: float | None  # the recipe's own value
    came: Count
    points: tuple[Point, ...]


def sweep(tried: Tried, key: str, now: float | None, values: Sequence[float | None], rules: Sequence[Rules], labels: Found | None) -> Sweep:
    """What is kept at each value of a limit.

    `key`: `filter.NAME.FAMILY...`, the limit's place in the recipe; `tried` has its other settings. `rules`: those of NAME at each value.
    """
    _, name, family = key.split(".")[:3]
    fixed = [other for label, other in rules[0].named().items() if label != family]
    varied = [each.named().get(family) for each in rules]
    families = [*fixed, *(each for each in varied if each is not None)]
    columns = sorted(set().union({"domain", "source", "bytes"}, *(needed(tried.schema, name, [each]) for each in families)))
    came = np.zeros(2, np.int64)
    kept = np.zeros((len(values), 2), np.int64)
    tokens = np.zeros(len(values), np.float64)
    rates = tokens_per_byte(tried.workdir)
    agreements = [Agreement() for _ in values]
    for partition in tried.statistics.partitions:
        pairs = tried.workdir.read_table(STATISTICS, partition, ["domain", "source"])
        parts = [rows for domain, source, rows in pairs_of(pairs) if (source if source in tried.rules else domain) == name]
        rows = np.sort(np.concatenate([np.zeros(0, np.int64), *parts]))
        if not len(rows):
            continue
        table = tried.workdir.read_table(STATISTICS, partition, columns).take(pa.array(rows))
        check_lines(table, np.arange(len(rows)), name, families)
        sizes = table["bytes"].to_numpy()
        came += (len(rows), sizes.sum())
        each_rate = np.array([rates.get(domain, 0.0) for domain in table["domain"].to_pylist()])
        outcomes = _outcomes(table, fixed, varied)
        labelled, wanted = _labelled(labels, partition.name, rows)
        for place, (stays, cut) in enumerate(outcomes):
            left = (sizes - cut)[stays]
            kept[place] += (len(left), left.sum())
            tokens[place] += (left * each_rate[stays]).sum()
            for keep in (True, False):
                for outcome in (True, False):
                    agreements[place] = agreements[place].plus(keep, outcome, int(((wanted == keep) & (stays[labelled] == outcome)).sum()))
    points = [
        Point(value, Count(int(count[0]), int(count[1])), round(total) if rates else None, agreement if labels is not None else None)
        for value, count, total, agreement in zip(values, kept, tokens, agreements, strict=True)
    ]
    return Sweep(key, now, Count(int(came[0]), int(came[1])), tuple(points))


def _labelled(labels: Found | None, partition: str, rows: Any) -> tuple[Any, Any]:
    """Of some rows of a partition those that are labelled, by their places among them, and what the labels say."""
    nothing = np.zeros(0, np.int64), np.zeros(0, bool)
    found, keep = labels.rows.get(partition, nothing) if labels is not None else nothing
    there = np.isin(found, rows)
    return np.searchsorted(rows, found[there]), keep[there]


def _outcomes(table: pa.Table, fixed: Sequence[Family], varied: Sequence[Family | None]) -> list[tuple[Any, Any]]:
    """For each value which documents stay, bool, and the bytes that are cut out of each. Each language has its own limits."""
    outcomes = [(np.zeros(table.num_rows, bool), np.zeros(table.num_rows, np.int64)) for _ in varied]
    for rows, spoken in by_language(table["language"], (*fixed, *(family for family in varied if family is not None))):
        if not len(rows):
            continue
        rest = iter(spoken)
        theirs = [next(rest) for _ in fixed]
        found = _outcomes_alike(table.take(pa.array(rows)), theirs, [None if family is None else next(rest) for family in varied])
        for (stays, cut), (some_stay, some_cut) in zip(outcomes, found, strict=True):
            stays[rows], cut[rows] = some_stay, some_cut
    return outcomes


def _outcomes_alike(table: pa.Table, fixed: Sequence[Family], varied: Sequence[Family | None]) -> list[tuple[Any, Any]]:
    """The same of documents that have the same limits."""
    verdict = decide(table, fixed, in_words=False)
    stay = np.asarray(verdict["keep"], dtype=bool)
    candidates = np.flatnonzero(stay)
    left, cuts = table.take(pa.array(candidates)), from_column(verdict["cuts"])
    of_fixed = cuts.take(candidates)
    outcomes = []
    for family in varied:
        stays, cut = stay.copy(), cuts.sizes.copy()
        if family is not None:
            judged = family.apply(left)
            failed = np.logical_or.reduce([judgement.failed for judgement in judged.judgements] or [np.zeros(len(candidates), bool)])
            stays[candidates] = ~failed
            if judged.cuts is not None:
                cut[candidates] = all_of([of_fixed, judged.cuts], len(candidates)).sizes if len(candidates) else no_cuts(0).sizes
        outcomes.append((stays, cut))
    return outcomes


# --- drawing -----------------------------------------------------------------------------------------------------------


def draw(found: Sweep) -> str:
    """Shares of documents and text that are kept against the limit's value, as SVG for a page."""
    points = [point for point in found.points if point.value is not None]
    values = [float(point.value) for point in points if point.value is not None]
    with drawing(8.2, 3.6) as figure:
        axes = figure.add_subplot(1, 1, 1)
        documents = [100 * point.kept.documents / max(1, found.came.documents) for point in points]
        text = [100 * point.kept.bytes / max(1, found.came.bytes) for point in points]
        axes.plot(values, documents, color=PALETTE[0], marker="o", markersize=3, label="documents")
        axes.plot(values, text, color=PALETTE[1], marker="o", markersize=3, label="text")
        if found.now is not None:
            axes.axvline(float(found.now), color=SOFT, linestyle=(0, (4, 3)), linewidth=1, label=f"in the recipe: {found.now:g}")
        axes.set_xlabel(found.key)
        axes.set_ylabel("% kept")
        axes.set_ylim(bottom=0, top=max(1.0, *documents, *text) * 1.05)
        totals = [point.tokens for point in points if point.tokens is not None]
        if len(totals) == len(points) and max(totals, default=0):
            most = next(point for point in points if point.tokens == max(totals))
            per_share = max(totals) / max(1e-9, 100 * most.kept.bytes / max(1, found.came.bytes)) / 1e6

            def millions(share: Any) -> Any:
                return share * per_share

            def share(millions: Any) -> Any:
                return millions / per_share

            right = axes.secondary_yaxis("right", functions=(millions, share))
            right.set_ylabel("million tokens of text")
        axes.legend(loc="best")
        return svg(figure, f"Share of documents and of text that are kept, against {found.key}.")


def page(found: Sweep, rows: Sequence[Sequence[str]]) -> str:
    """The figure and a table, whose first row has the heads, as one page that needs nothing else."""
    text = files("pipeline.report").joinpath("sweep.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True).from_string(text)
    figure = standalone(draw(found))
    return template.render(key=found.key, came=f"{found.came.documents:,}", figure=figure, head=rows[0], rows=rows[1:])

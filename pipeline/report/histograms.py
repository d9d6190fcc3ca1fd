"""Histograms of every statistic, for each group of documents that has rules of its own, with the rules' limits drawn in.

One pass over `statistics/`: values are counted in bins that serve any statistic (200 up to 1, 24 a decade above; a bin includes its
upper end), so that the range that a plot shows is chosen afterwards, and memory does not depend on the number of documents. Years
are no amounts, and all of them would lie in a bin or two: each has a bin of its own.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.filters.check import Check
from pipeline.filters.stage import FILTER, Rules, pairs_of, read_back
from pipeline.measure.stage import FAMILIES
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.documents import STATISTICS

LINEAR, DECADE = 200, 24
EDGES = np.concatenate([np.linspace(0, 1, LINEAR + 1), np.logspace(0, 12, 12 * DECADE + 1)[1:]])
YEARS = np.arange(1799.5, 2101)  # what is earlier or later counts as the first or the last
LEFT_OUT = ("references_begin", "references_end")  # places, not amounts
KEPT, OTHER, HERE = range(3)  # what became of a document: kept, dropped by another rule, dropped by one of this statistic

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Histogram:
    """One statistic of one group: counts (3, bins) of documents kept, dropped by other rules, dropped by a rule on it."""

    group: str
    domain: str
    statistic: str
    description: str
    counts: Counts
    limits: tuple[float, ...]


def edges_of(statistic: str) -> npt.NDArray[np.float64]:
    """The edges of a statistic's bins, one more than there are bins."""
    return YEARS if statistic == "year" else EDGES


def checks_of(rules: Mapping[str, Rules]) -> dict[str, list[Check]]:
    """For each domain or source that has rules, its checks that have a number as a limit."""
    return {
        name: [check for family in given.families() for check in family.checks() if check.minimum is not None or check.maximum is not None]
        for name, given in rules.items()
    }


def histograms(workdir: Workdir) -> list[Histogram]:
    """All histograms of a workdir that has been filtered, those with limits first; none where it has not."""
    verdict = workdir.manifest(FILTER)
    if verdict is None:
        return []
    rules = read_back(workdir.path(FILTER), verdict.configuration)
    checks = checks_of(rules)
    counts: dict[tuple[str, str, str], Counts] = {}
    descriptions = {name: words for family in FAMILIES.values() for name, words in family.items()}
    for columns in workdir.require(STATISTICS).configuration.get("added", {}).values():
        descriptions.update(columns)
    for partition, table in workdir.tables(STATISTICS):
        dropped_by = workdir.read_table(FILTER, verdict.by_name[partition.name], ["rule"])["rule"]
        rows_of: dict[tuple[str, str], list[npt.NDArray[np.int64]]] = {}
        for domain, source, rows in pairs_of(table):
            rows_of.setdefault((source if source in rules else domain, domain), []).append(rows)
        for field in table.schema:
            if not (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)) or field.name in LEFT_OUT:
                continue
            column = table[field.name]
            valid = np.asarray(column.is_valid(), dtype=bool)
            values = np.asarray(column.fill_null(0), dtype=np.float64)
            edges = edges_of(field.name)
            bins = len(edges) - 1
            places = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, bins - 1)
            for (group, domain), parts in rows_of.items():
                here = [check.rule for check in checks.get(group, []) if check.statistic == field.name]
                rows = np.concatenate(parts)
                rows = rows[valid[rows]]
                if len(rows):
                    rule = dropped_by.take(pa.array(rows))
                    fate = np.where(rule.is_valid(), np.where(pc.is_in(rule, value_set=pa.array(here, pa.string())), HERE, OTHER), KEPT)
                    found = np.bincount(fate * bins + places[rows], minlength=3 * bins).reshape(3, bins)
                    key = (group, domain, field.name)
                    counts[key] = counts.get(key, np.zeros((3, bins), np.int64)) + found
    result = []
    for (group, domain, name), found in counts.items():
        limits = [
            limit
            for check in checks.get(group, [])
            if check.statistic == name
            for limit in (check.minimum, check.maximum)
            if limit is not None
        ]
        result.append(Histogram(group, domain, name, descriptions.get(name, name), found, tuple(sorted(set(limits)))))
    return sorted(result, key=lambda histogram: (histogram.domain, histogram.group, not histogram.limits))


# --- drawing -----------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, BARS = 232, 66, 46
_GREY, _RED = "var(--axis)", "#c0392b"  # the grey is the page's own, which has it by day and by night


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    if value >= 1e4:
        return f"{value / 1e3:.3g}k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class Scale:
    """The axis of a plot: values from `low` to `high`, by their logarithms or as they are, in so many bars; and what its ends say."""

    low: float
    high: float
    logarithmic: bool
    bars: int
    ends: tuple[str, str]

    def place(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Where values lie, 0 to 1."""
        if self.logarithmic:
            share: npt.NDArray[np.float64] = np.log(np.maximum(values, self.low) / self.low) / np.log(self.high / self.low)
            return share
        return (values - self.low) / (self.high - self.low)


def scale_of(histogram: Histogram) -> Scale:
    """The axis on which a histogram's values and limits lie."""
    used = np.flatnonzero(histogram.counts.sum(axis=0))
    limits = [limit for limit in histogram.limits if limit >= 0]
    edges = edges_of(histogram.statistic)
    low, high = float(edges[used[0]]), float(edges[used[-1] + 1])
    if edges is YEARS:  # each bar has the same whole number of years
        low, high = min([low, *(limit - 0.5 for limit in limits)]), max([high, *(limit + 0.5 for limit in limits)])
        each = -(-int(high - low) // BARS)
        bars = -(-int(high - low) // each)
        return Scale(low, low + each * bars, False, bars, (f"{low + 0.5:.0f}", f"{high - 0.5:.0f}"))
    # A share that may pass 1: the last bar has those that do.
    mostly_below = 2 * histogram.counts[:, :LINEAR].sum() > histogram.counts.sum()
    above = high > 1 and bool(limits) and max(limits) < 1 and mostly_below
    if above or (high <= 1 and all(limit <= 1 for limit in limits)):
        low, high = min([low, *limits]), 1.0 if above else max([high, *limits])
        high = max(high, low + 0.02)
        return Scale(low, high, False, BARS, (_short(low), f"{'≥ ' if above else ''}{_short(high)}"))
    low, high = max(1.0, min([low, *limits])), max([high, *limits, 2.0])
    return Scale(low, high, True, BARS, (_short(low) if low != 1 else "≤ 1", _short(high)))


def draw(histogram: Histogram, colour: str) -> str:
    """A histogram as SVG. Heights are square roots of counts, so that a thin tail shows; limits are dashed lines."""
    limits = [limit for limit in histogram.limits if limit >= 0]
    edges, scale = edges_of(histogram.statistic), scale_of(histogram)
    bars_drawn = scale.bars
    centres = (edges[:-1] + edges[1:]) / 2
    bars = np.clip((scale.place(centres) * bars_drawn).astype(np.int64), 0, bars_drawn - 1)
    heights = np.stack([np.bincount(bars, row, bars_drawn) for row in histogram.counts])
    most = np.sqrt(heights.sum(axis=0).max())
    step = WIDTH / bars_drawn
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 27}" role="img" aria-label="{html.escape(histogram.statistic)}">']
    for bar in range(bars_drawn):
        total = heights[:, bar].sum()
        if not total:
            continue
        full = HEIGHT * np.sqrt(total) / most
        base = float(HEIGHT + 12)
        for kind, fill in ((KEPT, colour), (OTHER, _GREY), (HERE, _RED)):
            size = full * heights[kind, bar] / total
            if size > 0:
                base -= size
                parts.append(
                    f'<rect x="{bar * step:.1f}" y="{base:.1f}" width="{step - 0.6:.1f}" height="{max(size, 0.7):.1f}" fill="{fill}"/>'
                )
    parts.append(f'<path d="M0 {HEIGHT + 12.5}H{WIDTH}" stroke="var(--axis)"/>')
    parts.append('<g class="limits">')
    for limit in limits:
        at = float(np.clip(scale.place(np.array([limit]))[0], 0, 1)) * WIDTH
        anchor = "end" if at > WIDTH * 0.7 else "start"
        parts.append(f'<path d="M{at:.1f} 2V{HEIGHT + 12}" stroke="{_RED}" stroke-dasharray="3 2"/>')
        parts.append(
            f'<text x="{at + (-3 if anchor == "end" else 3):.1f}" y="9" fill="{_RED}" text-anchor="{anchor}">{_short(limit)}</text>'
        )
    parts.append(f'</g><text x="0" y="{HEIGHT + 24}">{scale.ends[0]}</text>')
    parts.append(f'<text x="{WIDTH}" y="{HEIGHT + 24}" text-anchor="end">{scale.ends[1]}</text></svg>')
    return "".join(parts)


def by_group(found: Sequence[Histogram]) -> list[tuple[str, str, list[Histogram], list[Histogram]]]:
    """Histograms by group: its name, its domain, those with limits, and the others."""
    keys = list(dict.fromkeys((histogram.group, histogram.domain) for histogram in found))
    return [
        (
            group,
            domain,
            [h for h in found if (h.group, h.domain) == (group, domain) and h.limits],
            [h for h in found if (h.group, h.domain) == (group, domain) and not h.limits],
        )
        for group, domain in keys
    ]

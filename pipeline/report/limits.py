"""What the report's page needs so that limits can be moved on it, and what is kept is seen at once.

For each domain or source with rules: its limits with their keys in the recipe; of every limited rule, alone and over all documents, how
many lie in which bin; and a sample of documents, drawn by a hash, with the values of all rules at once, since which documents several
limits keep together is not in their histograms. `limits.js` does the sums.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.dedup.shuffle import hash_ordinals
from pipeline.filters.check import Check, Family
from pipeline.filters.stage import FILTER, Rules, pairs_of, read_back
from pipeline.filters.url.rules import RULES as URL_RULES
from pipeline.filters.url.rules import UrlRules
from pipeline.report.histograms import edges_of
from pipeline.workdir.cuts import from_column
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.documents import STATISTICS

SAMPLE = 2000  # documents of each domain or source with rules: a share of them is right to 2.2 points, 19 times of 20
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Limit:
    """A number in the recipe that bounds statistics. `key`: its place under `filter.NAME`; `bounds`: which rules, at which end."""

    key: str
    value: float
    whole: bool  # a number without a fraction
    least: float | None  # that the recipe allows
    most: float | None
    bounds: tuple[tuple[str, str], ...]  # rule, minimum or maximum


def _limits_of(name: str, family: Family) -> list[Limit]:
    """The limits of a family. Which field bounds which check is seen by giving it another value."""
    checks = family.checks()
    found = []
    for key, info in type(family).model_fields.items():
        value = getattr(family, key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        moved = family.model_copy(update={key: value + 1}).checks()
        if len(moved) != len(checks):
            continue
        bounds = [
            (check.rule, side)
            for check, other in zip(checks, moved, strict=True)
            for side in ("minimum", "maximum")
            if getattr(check, side) is not None and getattr(check, side) != getattr(other, side)
        ]
        ends: dict[str, float | None] = {"ge": None, "le": None}
        for mark in info.metadata:
            ends.update({end: getattr(mark, end) for end in ends if getattr(mark, end, None) is not None})
        if bounds:
            found.append(Limit(f"{name}.{key}", value, isinstance(value, int), ends["ge"], ends["le"], tuple(bounds)))
    return found


def limits_of(rules: Rules) -> list[Limit]:
    """The limits of a domain's or source's rules that can be moved: those that bound one statistic."""
    found = []
    for name, family in rules.named().items():
        if name == "limits":
            for statistic, bounds in rules.limits.items():
                for side, value in (("min", bounds.min), ("max", bounds.max)):
                    if value is not None:
                        bound = (f"limit_{statistic}", f"{side}imum")
                        found.append(Limit(f"limits.{statistic}.{side}", value, False, None, None, (bound,)))
        else:
            found += _limits_of(name, family)
    return found


@dataclass
class _Group:
    """What is gathered of the documents of one domain or source with rules."""

    families: tuple[Family, ...]  # but for lists of addresses, which are tried first: the verdict says whom they drop
    checks: list[Check]  # those that limits bound
    columns: list[str]
    spoken: Mapping[str, frozenset[str]]  # by rule: languages that have limits of their own, which are not moved
    domain: str = ""
    documents: int = 0
    bytes: int = 0
    kept: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))  # documents, bytes
    counts: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)  # by rule, over the bins of its statistic
    marks: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    sample: pa.Table | None = None

    def add(self, table: pa.Table, ordinals: npt.NDArray[np.int64], rule: pa.ChunkedArray, left: npt.NDArray[np.int64]) -> None:
        """Documents: their statistics, the rule that dropped each, if any, and what the filter left of their bytes."""
        keep = np.asarray(rule.is_null(), dtype=bool)
        self.documents += table.num_rows
        self.bytes += int(table["bytes"].to_numpy().sum())
        self.kept += (int(keep.sum()), int(left[keep].sum()))
        for check in self.checks:
            edges = _edges(check)
            values = _values(check, table, self.spoken[check.rule])
            places = np.searchsorted(edges, values[~np.isnan(values)], side="left")
            counts = self.counts.setdefault(check.rule, np.zeros(len(edges) + 1, np.int64))
            counts += np.bincount(places, minlength=len(counts))
        marks = hash_ordinals(ordinals)
        table = table.append_column("left", pa.array(left)).append_column("rule", rule)
        if self.sample is not None:
            marks, table = np.concatenate([self.marks, marks]), pa.concat_tables([self.sample, table])
        order = np.argsort(marks)[:SAMPLE]
        self.marks, self.sample = marks[order], table.take(pa.array(order))


def _in(languages: Iterable[str], statistics: pa.Table) -> npt.NDArray[np.bool_]:
    """Which documents are in one of the languages."""
    found = pc.is_in(statistics["language"], value_set=pa.array(sorted(languages), pa.string()))
    return np.asarray(found, dtype=bool)


def _values(check: Check, statistics: pa.Table, spoken: Iterable[str]) -> Numbers:
    """What a check looks at: float64 (documents,), NaN where it does not apply, or nothing was measured. It does not apply to documents
    in a language of `spoken`, which have limits of their own."""
    values = np.asarray(statistics[check.statistic].cast(pa.float64()).fill_null(np.nan), dtype=np.float64)
    return np.where(check.among(statistics) & ~_in(spoken, statistics), values, np.nan)


def _fixed(group: _Group, sample: pa.Table) -> npt.NDArray[np.bool_]:
    """Which documents something drops that is not moved: lists of addresses, rules without a number, limits of their own language."""
    moved = {check.rule for check in group.checks}
    fixed = np.asarray(pc.is_in(sample["rule"], value_set=pa.array(URL_RULES, pa.string())), dtype=bool)
    for family in group.families:
        variants = family.variants()
        others = ~_in(variants, sample)
        for judgement in family.apply(sample).judgements:
            if judgement.rule not in moved:
                fixed |= judgement.failed & others
        for language, own in variants.items():
            rows = np.flatnonzero(_in([language], sample))
            for judgement in own.apply(sample.take(pa.array(rows))).judgements if len(rows) else ():
                fixed[rows] |= judgement.failed
    return fixed


def _encoded(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _passes(check: Check, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which values a check lets pass, compared in the values' own precision, as the page compares them."""
    low = -math.inf if check.minimum is None else check.minimum
    high = math.inf if check.maximum is None else check.maximum
    passes: npt.NDArray[np.bool_] = ~(values < values.dtype.type(low)) & ~(values > values.dtype.type(high))
    return passes


def _column(check: Check, values: Numbers) -> dict[str, str]:
    """Values as the page has them: in single precision where that decides alike."""
    single = values.astype(np.float32)
    if (_passes(check, single) == _passes(check, values)).all():
        return {"type": "f4", "data": _encoded(single)}
    return {"type": "f8", "data": _encoded(values)}


def _as_page(name: str, group: _Group, limits: list[Limit]) -> dict[str, Any]:
    assert group.sample is not None, "it has documents"
    sample = group.sample
    return {
        "name": name,
        "domain": group.domain,
        "documents": group.documents,
        "bytes": group.bytes,
        "kept": {"documents": int(group.kept[0]), "bytes": int(group.kept[1])},
        "sample": sample.num_rows,
        "sizes": _encoded(sample["left"].to_numpy().astype(np.float64)),
        "fixed": _encoded(_fixed(group, sample).astype(np.uint8)),
        "rules": [
            {
                "rule": check.rule,
                "statistic": check.statistic,
                "minimum": check.minimum,
                "maximum": check.maximum,
                **_column(check, _values(check, sample, group.spoken[check.rule])),
                **_bins(check, group.counts[check.rule]),
            }
            for check in group.checks
        ],
        "limits": [
            {"key": each.key, "value": each.value, "whole": each.whole, "least": each.least, "most": each.most, "bounds": each.bounds}
            for each in limits
        ],
    }


def _edges(check: Check) -> Numbers:
    """The upper ends of the bins in which a rule's values are counted, ascending: a histogram's, rounded; 0 by itself, which many values
    are; and where the recipe's limits lie, so that what they do is exact. A value that is a minimum lies above the edge."""
    edges = np.array([float(f"{edge:.6g}") for edge in edges_of(check.statistic)])
    low = [] if check.minimum is None else [np.nextafter(check.minimum, -np.inf)]
    high = [] if check.maximum is None else [check.maximum]
    edges = np.concatenate([edges, [0.0]])
    return np.unique(np.concatenate([edges[edges != check.minimum], low, high]))


def _bins(check: Check, counts: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The bins that hold documents: where each begins and ends, and how many. What lies outside of all is at the nearest end."""
    edges = _edges(check)
    used = np.flatnonzero(counts)
    begins, ends = np.concatenate([edges[:1], edges]), np.concatenate([edges, edges[-1:]])
    return {"begins": begins[used].tolist(), "ends": ends[used].tolist(), "counts": counts[used].tolist()}


def movable(workdir: Workdir) -> list[dict[str, Any]]:
    """What the page needs of each domain or source with limits; none where nothing was filtered."""
    verdict, statistics = workdir.manifest(FILTER), workdir.manifest(STATISTICS)
    if verdict is None or statistics is None or not statistics.partitions or statistics.by_name.keys() != verdict.by_name.keys():
        return []
    names = pq.read_schema(pa.BufferReader(workdir.read_partition(STATISTICS, statistics.partitions[0]))).names
    rules = read_back(workdir.path(FILTER), verdict.configuration)
    limits = {name: limits_of(given) for name, given in rules.items()}
    groups = _groups(rules, limits, names)
    columns = sorted({"domain", "source", "bytes"}.union(*(group.columns for group in groups.values())))
    for partition in statistics.partitions if groups else ():
        table = workdir.read_table(STATISTICS, partition, columns)
        judged = workdir.read_table(FILTER, verdict.by_name[partition.name], ["rule", "cuts"])
        left = table["bytes"].to_numpy() - from_column(judged["cuts"]).sizes
        for domain, source, rows in pairs_of(table):
            group = groups.get(source if source in rules else domain)
            if group is not None:
                group.domain = domain
                part = table.take(pa.array(rows)).select(group.columns)
                group.add(part, statistics.starts[partition.name] + rows, judged["rule"].take(pa.array(rows)), left[rows])
    return [_as_page(name, group, limits[name]) for name, group in groups.items() if group.sample is not None]


def _groups(rules: Mapping[str, Rules], limits: Mapping[str, list[Limit]], names: list[str]) -> dict[str, _Group]:
    """Those that have limits which can be moved."""
    groups = {}
    for name, given in rules.items():
        families = tuple(family for family in given.families() if not isinstance(family, UrlRules))
        bounded = {rule for limit in limits[name] for rule, _ in limit.bounds}
        checks = [check for family in families for check in family.checks() if check.rule in bounded]
        wanted: set[str] = {"bytes", "language"}
        spoken = {check.rule: frozenset(family.variants()) for family in families for check in family.checks()}
        for family in families:
            columns = family.columns()
            wanted |= set(names) if columns is None else columns
        if checks:
            groups[name] = _Group(families, checks, sorted(wanted), spoken)
    return groups

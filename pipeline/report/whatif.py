"""What other limits would keep and drop, from `statistics/` and the verdicts that there are. Nothing is written.

What is there is read: of the documents whose rules are the same as before, what `verdicts/filter` says; of the others the statistics that
their rules look at, and no others. Text is read of a few samples, and of what would newly stay, to tell exact duplicates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.dedup.exact import HASHES, text_hashes
from pipeline.dedup.shuffle import bucket_of, buckets_for, gather
from pipeline.filters.check import Family
from pipeline.filters.stage import FILTER, Rules, families_of, groups_of, pairs_of, read_back, verdicts_of
from pipeline.measure.labels import Found
from pipeline.report.agreement import Agreement
from pipeline.report.funnel import Count
from pipeline.report.samples import Drawing, Place, Sample, read_samples
from pipeline.workdir.cuts import apply, from_column
from pipeline.workdir.dataset import Manifest, Partition, Workdir
from pipeline.workdir.documents import CODE, DOCUMENTS, STATISTICS, TOKENS
from pipeline.workdir.errors import UserError
from pipeline.workdir.verdicts import ORDER, verdict_dataset

AXES = ("domain", "source", "language")
STAYS, GOES = "stays", "goes"
DROPPED_WRONGLY, KEPT_WRONGLY = "dropped_wrongly", "kept_wrongly"  # by the tried rules, as labels say
MOST_TEXT = 256 << 20  # bytes of partitions of documents that are read to tell exact duplicates; of more, none is told
AHEAD = 2  # partitions that are read while one is judged
Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Change:
    """Documents of a domain, source or language: how many came in, and are kept before and after. Of a rule: are dropped by it."""

    name: str
    came: Count
    before: Count
    after: Count


@dataclass(frozen=True)
class Later:
    """What the stages after the filter say of documents whose verdict changes. They are not decided again."""

    goes: dict[str, int]  # by stage: documents that would go, and that this stage has dropped anyway
    freed: int  # duplicates that were dropped for a copy that would go
    duplicates: int | None  # of what would stay: exact duplicates of a document that stays too; None: not looked at
    unjudged: int  # documents that would stay, and that no later stage has seen


@dataclass(frozen=True)
class WhatIf:
    """What would change: documents that would newly stay and go, and what is kept and dropped before and after."""

    came: Count
    before: Count
    after: Count
    stays: Count
    goes: Count
    rules: tuple[Change, ...]
    axes: dict[str, tuple[Change, ...]]  # by domain, source and language
    later: Later
    samples: dict[str, tuple[Sample, ...]]  # of what would stay, as it is dropped now, of what would go, and of what labels contradict
    tokens_per_byte: dict[str, float]  # by domain, where documents were tokenised
    agreement: tuple[Agreement, Agreement] | None  # with labels, before and after


@dataclass(frozen=True)
class Judged:
    """A partition before and after: what decides, row for row."""

    partition: Partition
    statistics: pa.Table  # domain, source, language, bytes
    before: pa.Table  # keep, rule, cuts
    after: pa.Table
    changed: bool  # whether other rules apply to any of its documents

    @property
    def kept(self) -> tuple[Booleans, Booleans]:
        """Which rows are kept before and after."""
        before, after = (np.asarray(table["keep"].fill_null(False), dtype=bool) for table in (self.before, self.after))
        return before, after

    @property
    def sizes(self) -> tuple[Integers, Integers, Integers]:
        """Bytes of each document as it came, and of what the filter leaves of it before and after."""
        came = self.statistics["bytes"].to_numpy()
        return came, came - from_column(self.before["cuts"]).sizes, came - from_column(self.after["cuts"]).sizes


def needed(statistics: pa.Schema, name: str, families: Sequence[Family]) -> set[str]:
    """The columns of `statistics/` that the rules of a domain or source look at. Raises `UserError` where one was not measured."""
    found = {"language"}  # on which limits may depend
    for family in families:
        columns = family.columns()
        found |= set(statistics.names) if columns is None else columns
    if missing := sorted(found - set(statistics.names)):
        raise UserError(
            f"filter.{name}: {missing[0]} has not been measured in this workdir; `foundry curate` measures what a recipe asks for"
        )
    return found


def check_lines(statistics: pa.Table, rows: Integers, name: str, families: Sequence[Family]) -> None:
    """Raises `UserError` where rules look at lines, and the lines of these documents have not been measured."""
    if any(family.needs_lines for family in families) and not np.asarray(statistics["line_bytes"].is_valid())[rows].all():
        raise UserError(
            f"filter.{name}: its rules look at lines, which have not been measured of all its documents; `foundry curate` measures them "
            "for a recipe that has such a rule"
        )


class Tried:
    """A workdir, the rules that it was filtered by, and the rules that are tried. Raises `UserError` where it was not filtered."""

    def __init__(self, workdir: Workdir, rules: Mapping[str, Rules], base: Path | None = None) -> None:
        self.workdir, self.rules = workdir, rules
        self.verdict, self.statistics = workdir.require(FILTER), workdir.require(STATISTICS)
        self.before = read_back(workdir.path(FILTER), self.verdict.configuration)
        self.families = families_of(rules, base)
        names = self.verdict.by_name.keys() ^ self.statistics.by_name.keys()
        if names:
            raise UserError(
                f"{workdir.shown}: statistics/ and verdicts/filter are of different documents; `foundry curate` makes them whole"
            )
        self.schema = self._schema()

    def _schema(self) -> pa.Schema:
        if not self.statistics.partitions:
            raise UserError(f"{self.workdir.path(STATISTICS)}: there are no documents")
        return pq.read_schema(pa.BufferReader(self.workdir.read_partition(STATISTICS, self.statistics.partitions[0])))

    def _rules_of(self, domain: str, source: str) -> tuple[Rules | None, Rules | None, str]:
        before = self.before.get(source, self.before.get(domain))
        return before, self.rules.get(source, self.rules.get(domain)), source if source in self.rules else domain

    def is_changed(self, domain: str, source: str) -> bool:
        """Whether other rules apply to documents of a domain and source; lists of addresses may have changed by themselves."""
        before, after, _ = self._rules_of(domain, source)
        if before is None or after is None:
            return before is not after
        return after.url is not None or before.model_dump() != after.model_dump()

    def columns(self, table: pa.Table) -> list[str]:
        """The columns that the tried rules of the documents in a table look at."""
        found = {"domain", "source", "bytes"}
        for domain, source, _ in pairs_of(table):
            _, _, name = self._rules_of(domain, source)
            found |= needed(self.schema, name, self.families.get(name, ()))
        return sorted(found)

    def looked_at(self, partition: Partition, table: pa.Table) -> pa.Table:
        """The statistics that the tried rules look at, of a partition. Raises `UserError` where some have not been measured."""
        found = self.workdir.read_table(STATISTICS, self.statistics.by_name[partition.name], self.columns(table))
        named: dict[str, tuple[str, tuple[Family, ...]]] = {name: (name, families) for name, families in self.families.items()}
        for rows, (name, families) in groups_of(found, named):
            check_lines(found, rows, name, families)
        return found

    def after(self, partition: Partition) -> pa.Table:
        """The verdicts of the tried rules on a partition, with their details."""
        table = self.workdir.read_table(STATISTICS, partition, ["domain", "source"])
        return verdicts_of(self.looked_at(partition, table), self.families)

    def partitions(self) -> Iterator[Judged]:
        """Every partition before and after. What is next is read while one is judged."""
        with ThreadPoolExecutor(AHEAD) as readers:
            ahead: deque[Future[_Read]] = deque()
            for partition in self.statistics.partitions:
                ahead.append(readers.submit(self._read, partition))
                if len(ahead) > AHEAD:
                    yield self._judged(ahead.popleft().result())
            while ahead:
                yield self._judged(ahead.popleft().result())

    def _read(self, partition: Partition) -> _Read:
        names = ["domain", "source", "bytes", *({"language", "declared_language"} & set(self.schema.names))]
        table = self.workdir.read_table(STATISTICS, partition, names)
        before = self.workdir.read_table(FILTER, self.verdict.by_name[partition.name], ["keep", "rule", "cuts"])
        changed = any(self.is_changed(domain, source) for domain, source, _ in pairs_of(table))
        return _Read(partition, table, before, self.looked_at(partition, table) if changed else None)

    def _judged(self, read: _Read) -> Judged:
        if read.looked_at is None:
            return Judged(read.partition, read.statistics, read.before, read.before, False)
        after = verdicts_of(read.looked_at, self.families, in_words=False).select(["keep", "rule", "cuts"])
        return Judged(read.partition, read.statistics, read.before, after, True)


@dataclass(frozen=True)
class _Read:
    """What is read of a partition. `looked_at`: what the tried rules look at, where they are others than before."""

    partition: Partition
    statistics: pa.Table
    before: pa.Table
    looked_at: pa.Table | None


def languages(statistics: pa.Table) -> pa.ChunkedArray:
    """The language of each document: of programs the one that is declared, of others the one that was found."""
    found = pc.if_else(pc.equal(statistics["domain"], CODE), statistics["declared_language"], statistics["language"])
    return pc.fill_null(found, "unknown")


class _Sums:
    """Documents and bytes by name: how many came, and are kept (or dropped) before and after."""

    def __init__(self) -> None:
        self._found: dict[str, npt.NDArray[np.int64]] = {}

    def add(self, names: pa.ChunkedArray, column: int, chosen: Booleans, sizes: Integers) -> None:
        """Chosen rows. `column`: 0 came, 1 before, 2 after."""
        encoded = pc.dictionary_encode(names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names)
        codes = np.asarray(encoded.indices.fill_null(-1), dtype=np.int64)
        rows = np.flatnonzero(chosen & (codes >= 0))
        words = encoded.dictionary.to_pylist()
        counts = np.bincount(codes[rows], minlength=len(words))
        total = np.bincount(codes[rows], sizes[rows].astype(np.float64), minlength=len(words)).astype(np.int64)
        for place, name in enumerate(words):
            if counts[place]:
                self._found.setdefault(name, np.zeros((3, 2), np.int64))[column] += (counts[place], total[place])

    def changes(self) -> tuple[Change, ...]:
        """In the order of their names."""
        return tuple(
            Change(name, *(Count(int(documents), int(size)) for documents, size in self._found[name])) for name in sorted(self._found)
        )


def _total(chosen: Booleans, sizes: Integers) -> npt.NDArray[np.int64]:
    return np.array([chosen.sum(), sizes[chosen].sum()], np.int64)


def what_if(tried: Tried, examples: int = 3, labels: Found | None = None) -> WhatIf:
    """What the tried rules would change.

    `examples`: how many documents are shown of each rule that would newly keep or drop some. `labels`: documents with what a person says.
    """
    agreements = [Agreement(), Agreement()]
    sums = {axis: _Sums() for axis in (*AXES, "rule")}
    totals = {name: np.zeros(2, np.int64) for name in ("came", "before", "after", STAYS, GOES)}
    drawing: Drawing[tuple[str, str]] = Drawing(examples)
    later = _Later(tried.workdir, tried.statistics)
    for judged in tried.partitions():
        (before, after), (came, left, would) = judged.kept, judged.sizes
        names = {"domain": judged.statistics["domain"], "source": judged.statistics["source"], "language": languages(judged.statistics)}
        for axis, column in names.items():
            for place, (chosen, sizes) in enumerate(((np.ones(len(came), bool), came), (before, left), (after, would))):
                sums[axis].add(column, place, chosen, sizes)
        sums["rule"].add(judged.before["rule"], 1, ~before, came)
        sums["rule"].add(judged.after["rule"], 2, ~after, came)
        stays, goes = after & ~before, before & ~after
        for name, chosen, sizes in (
            ("came", np.ones(len(came), bool), came),
            ("before", before, left),
            ("after", after, would),
            (STAYS, stays, would),
            (GOES, goes, left),
        ):
            totals[name] += _total(chosen, sizes)
        if labels is not None and judged.partition.name in labels.rows:
            rows, keep = labels.rows[judged.partition.name]
            for place, kept in enumerate((before[rows], after[rows])):
                for says in (True, False):
                    for outcome in (True, False):
                        agreements[place] = agreements[place].plus(says, outcome, int(((keep == says) & (kept == outcome)).sum()))
            drawing.add((DROPPED_WRONGLY, ""), judged.partition.name, rows[keep & ~after[rows]].tolist())
            drawing.add((KEPT_WRONGLY, ""), judged.partition.name, rows[~keep & after[rows]].tolist())
        if judged.changed:
            later.add(judged, stays, goes)
            _draw(drawing, judged, stays, goes)
    counts = {name: Count(int(total[0]), int(total[1])) for name, total in totals.items()}
    return WhatIf(
        counts["came"],
        counts["before"],
        counts["after"],
        counts[STAYS],
        counts[GOES],
        sums["rule"].changes(),
        {axis: sums[axis].changes() for axis in AXES},
        later.told(),
        _samples(tried, drawing),
        tokens_per_byte(tried.workdir),
        None if labels is None else (agreements[0], agreements[1]),
    )


def _draw(drawing: Drawing[tuple[str, str]], judged: Judged, stays: Booleans, goes: Booleans) -> None:
    for kind, chosen, table in ((STAYS, stays, judged.before), (GOES, goes, judged.after)):
        rows = np.flatnonzero(chosen)
        if len(rows):
            rules = np.array(table["rule"].take(pa.array(rows)).to_pylist(), object)
            for rule in sorted(set(rules)):
                drawing.add((kind, rule), judged.partition.name, rows[rules == rule].tolist())


def _samples(tried: Tried, drawing: Drawing[tuple[str, str]]) -> dict[str, tuple[Sample, ...]]:
    places = drawing.places()

    def drawn(kind: str) -> list[Place]:
        return [place for key in sorted(places) if key[0] == kind for place in places[key]]

    stay = read_samples(tried.workdir, drawn(STAYS))
    verdicts = {}
    by_the_tried = [place for kind in (GOES, DROPPED_WRONGLY, KEPT_WRONGLY) for place in drawn(kind)]
    for name in sorted({name for name, _ in by_the_tried}):
        verdicts[name] = tried.after(tried.statistics.by_name[name])
    other = read_samples(tried.workdir, by_the_tried, verdicts)
    return {
        kind: tuple((stay if kind == STAYS else other)[place] for place in drawn(kind))
        for kind in (STAYS, GOES, DROPPED_WRONGLY, KEPT_WRONGLY)
    }


def tokens_per_byte(workdir: Workdir) -> dict[str, float]:
    """Tokens of a byte of each domain's text, of the documents that were tokenised; empty where none were."""
    tokens = workdir.manifest(TOKENS)
    domains = tokens.summary.get("domains", {}) if tokens else {}
    return {domain: counts["tokens"] / counts["bytes"] for domain, counts in domains.items() if counts["bytes"]}


class _Later:
    """Gathers what later stages say of what would stay and go."""

    def __init__(self, workdir: Workdir, statistics: Manifest) -> None:
        self.workdir, self.starts = workdir, statistics.starts
        found = {name: workdir.manifest(verdict_dataset(name)) for name in ORDER[1:]}
        self.manifests = {name: manifest for name, manifest in found.items() if manifest is not None}
        self.goes: dict[str, int] = {}
        self.gone: list[Integers] = []  # ordinals of what would go
        self.stays: dict[str, tuple[Integers, pa.Array]] = {}  # by partition: rows that would stay, and what would be cut out of them

    def add(self, judged: Judged, stays: Booleans, goes: Booleans) -> None:
        """The changed documents of a partition."""
        name = judged.partition.name
        if goes.any():
            rows = np.flatnonzero(goes)
            self.gone.append(self.starts[name] + rows)
            open_ = np.ones(len(rows), bool)
            for stage, manifest in self.manifests.items():
                keep = self.workdir.read_table(manifest.dataset, manifest.by_name[name], ["keep"])["keep"].take(pa.array(rows))
                dropped = open_ & ~np.asarray(keep.fill_null(True), dtype=bool)
                self.goes[stage] = self.goes.get(stage, 0) + int(dropped.sum())
                open_ &= ~dropped
        if stays.any():
            rows = np.flatnonzero(stays)
            self.stays[name] = rows, judged.after["cuts"].take(pa.array(rows))

    def told(self) -> Later:
        """What they say in all."""
        gone = np.concatenate(self.gone) if self.gone else np.zeros(0, np.int64)
        count = sum(len(rows) for rows, _ in self.stays.values())
        duplicates = self._duplicates(gone)
        return Later({stage: n for stage, n in self.goes.items() if n}, self._freed(gone), duplicates, count - (duplicates or 0))

    def _freed(self, gone: Integers) -> int:
        """Documents that were dropped as duplicates of one that would go, and would not go themselves."""
        freed = 0
        for stage in ("exact", "near"):
            manifest = self.manifests.get(stage)
            for partition in manifest.partitions if manifest is not None and len(gone) else ():
                table = self.workdir.read_table(verdict_dataset(stage), partition, ["keep", "duplicate_of", "component_size"])
                copies = np.asarray(table["duplicate_of"].fill_null(-1), dtype=np.int64)
                dropped = ~np.asarray(table["keep"].fill_null(True), dtype=bool)
                if manifest is not None and manifest.configuration.get("drop") == "all":  # a third copy would drop it all the same
                    dropped &= np.asarray(table["component_size"].fill_null(0), dtype=np.int64) == 2
                rows = np.flatnonzero(dropped & (copies >= 0))
                rows = rows[np.isin(copies[rows], gone)]
                freed += int((~np.isin(self.starts[partition.name] + rows, gone)).sum())
        return freed

    def _duplicates(self, gone: Integers) -> int | None:
        """How many of what would stay are exact duplicates of a document that is kept, or of another that would stay."""
        hashes, documents = self.workdir.manifest(HASHES), self.workdir.require(DOCUMENTS)
        if "exact" not in self.manifests or hashes is None or sum(documents.by_name[name].bytes for name in self.stays) > MOST_TEXT:
            return None
        marks = []
        for name, (rows, cuts) in self.stays.items():
            texts = self.workdir.read_table(DOCUMENTS, documents.by_name[name], ["text"])["text"].take(pa.array(rows))
            marks.append(text_hashes(apply(texts, from_column(cuts))))
        if not marks:
            return 0
        new = np.unique(np.concatenate(marks), axis=0, return_index=False)
        again = sum(map(len, marks)) - len(new)
        buckets = buckets_for(documents.rows)
        places = bucket_of(new[:, 0], buckets)
        pair = np.dtype([("high", np.uint64), ("low", np.uint64)])
        for bucket in np.unique(places):
            table = gather(self.workdir, hashes, int(bucket), buckets)
            if table is None:
                continue
            there = table.filter(pa.array(~np.isin(table["ordinal"].to_numpy(), gone)))
            known = np.empty(there.num_rows, pair)
            known["high"], known["low"] = there["high"].to_numpy(), there["low"].to_numpy()
            mine = np.ascontiguousarray(new[places == bucket]).view(pair).ravel()
            again += int(np.isin(mine, known).sum())
        return again

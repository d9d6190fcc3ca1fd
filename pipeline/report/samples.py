"""Samples of what rules dropped and cut, for a report: a few documents of each rule in each domain, the same ones every time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.filters.stage import FILTER
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.documents import DOCUMENTS, STATISTICS

PER_RULE = 3  # documents shown of each rule in each domain
PARTITIONS = 12  # from which they are drawn, spread evenly: a report does not read a corpus
SHOWN = 240  # characters of a document
K = TypeVar("K", bound=Hashable)
Place = tuple[str, int]  # a document: its partition's name, and its row there


@dataclass(frozen=True)
class Sample:
    """One document that a rule dropped, or (`cut`) that rules cut something out of; of one that is kept, `rule` is empty."""

    domain: str
    rule: str
    document: str
    value: float | None
    limit: float | None
    detail: str | None
    text: str
    cut: str | None = None

    @property
    def measured(self) -> str:
        """What decided, in words; empty where there is neither a number nor a detail."""
        if self.detail:
            return self.detail
        return f"{self.value:.3g}, limit {self.limit:.3g}" if self.value is not None and self.limit is not None else ""


class Drawing(Generic[K]):
    """A few documents of each kind: those with the smallest hashes of their places, whatever the order in which they come."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._drawn: dict[K, list[tuple[int, str, int]]] = {}

    def add(self, kind: K, partition: str, rows: Iterable[int]) -> None:
        """Documents of a kind."""
        place = self._drawn.setdefault(kind, [])
        place += [(xxhash.xxh3_64_intdigest(f"{partition}:{row}".encode()), partition, int(row)) for row in rows]
        place.sort()
        del place[self.most :]

    def places(self) -> dict[K, list[Place]]:
        """The documents that were drawn of each kind, in the order of their hashes."""
        return {kind: [(name, row) for _, name, row in drawn] for kind, drawn in self._drawn.items() if drawn}


def read_samples(workdir: Workdir, places: Iterable[Place], verdicts: Mapping[str, pa.Table] | None = None) -> dict[Place, Sample]:
    """Documents as samples, by their places. `verdicts`: by partition those to tell, of all its rows; default: `verdicts/filter`."""
    documents, verdict = workdir.require(DOCUMENTS), workdir.require(FILTER)
    rows_of: dict[str, set[int]] = {}
    for name, row in places:
        rows_of.setdefault(name, set()).add(row)
    found: dict[Place, Sample] = {}
    for name, wanted in sorted(rows_of.items()):
        rows = sorted(wanted)
        texts = workdir.read_table(DOCUMENTS, documents.by_name[name], ["id", "text", "domain"]).take(rows).to_pylist()
        table = workdir.read_table(FILTER, verdict.by_name[name]) if verdicts is None else verdicts[name]
        for row, text, judged in zip(rows, texts, table.take(rows).to_pylist(), strict=True):
            cut = None
            if judged["cuts"]:
                raw = text["text"].encode()
                cut = " … ".join(raw[span["begin"] : span["end"]].decode(errors="ignore").strip() for span in judged["cuts"][:4])[:SHOWN]
            said = (judged["rule"] or "", text["id"], judged["value"], judged["limit"], judged["detail"], text["text"][:SHOWN], cut)
            found[name, row] = Sample(text["domain"], *said)
    return found


def spread(partitions: Sequence[str], most: int = PARTITIONS) -> list[str]:
    """At most so many of some partitions, spread evenly."""
    count = len(partitions)
    chosen = {round(i * (count - 1) / max(1, min(most, count) - 1)) for i in range(min(most, count))}
    return [partitions[index] for index in sorted(chosen)]


def samples(workdir: Workdir) -> list[Sample]:
    """A few documents that each rule of `verdicts/filter` dropped, by domain and rule, then a few of each domain that were cut."""
    verdict = workdir.manifest(FILTER)
    statistics = workdir.manifest(STATISTICS)
    if verdict is None or workdir.manifest(DOCUMENTS) is None or statistics is None:
        return []
    drawing: Drawing[tuple[str, str]] = Drawing(PER_RULE)
    for name in spread([partition.name for partition in verdict.partitions]):
        table = workdir.read_table(FILTER, verdict.by_name[name], ["keep", "rule", "cuts"])
        domains = workdir.read_table(STATISTICS, statistics.by_name[name], ["domain"])["domain"].to_pylist()
        rules = table["rule"].to_pylist()
        is_cut = np.asarray(table["cuts"].is_valid(), dtype=bool)
        rows_of: dict[tuple[str, str], list[int]] = {}
        for row, (domain, rule) in enumerate(zip(domains, rules, strict=True)):
            if rule is not None or is_cut[row]:
                rows_of.setdefault((domain, rule or ""), []).append(row)
        for kind, rows in rows_of.items():
            drawing.add(kind, name, rows)
    places = drawing.places()
    found = read_samples(workdir, [place for drawn in places.values() for place in drawn])
    return [found[place] for kind in sorted(places, key=lambda kind: (kind[1] == "", kind)) for place in places[kind]]

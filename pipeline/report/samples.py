"""Samples of what rules dropped and cut, for a report: a few documents of each rule in each domain, the same ones every time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xxhash

from pipeline.filters.stage import FILTER
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.documents import DOCUMENTS, STATISTICS

PER_RULE = 3  # documents shown of each rule in each domain
PARTITIONS = 12  # from which they are drawn, spread evenly: a report does not read a corpus
SHOWN = 240  # characters of a document


@dataclass(frozen=True)
class Sample:
    """One document that a rule dropped, or (`cut`) that rules cut something out of."""

    domain: str
    rule: str
    document: str
    value: float | None
    limit: float | None
    detail: str | None
    text: str
    cut: str | None = None


def samples(workdir: Workdir) -> list[Sample]:
    """A few documents that each rule of `verdicts/filter` dropped, by domain and rule, then a few of each domain that were cut."""
    verdict = workdir.manifest(FILTER)
    documents = workdir.manifest(DOCUMENTS)
    statistics = workdir.manifest(STATISTICS)
    if verdict is None or documents is None or statistics is None:
        return []
    count = len(verdict.partitions)
    chosen = sorted({round(i * (count - 1) / max(1, min(PARTITIONS, count) - 1)) for i in range(min(PARTITIONS, count))})
    drawn: dict[tuple[str, str], list[tuple[int, str, int]]] = {}
    for index in chosen:
        name = verdict.partitions[index].name
        table = workdir.read_table(FILTER, verdict.partitions[index], ["keep", "rule", "cuts"])
        domains = workdir.read_table(STATISTICS, statistics.by_name[name], ["domain"])["domain"].to_pylist()
        rules = table["rule"].to_pylist()
        is_cut = np.asarray(table["cuts"].is_valid(), dtype=bool)
        for row, (domain, rule) in enumerate(zip(domains, rules, strict=True)):
            if rule is not None or is_cut[row]:
                place = drawn.setdefault((domain, rule or ""), [])
                place.append((xxhash.xxh3_64_intdigest(f"{name}:{row}".encode()), name, row))
                if len(place) > 4 * PER_RULE:
                    place.sort()
                    del place[PER_RULE:]
    wanted = {key: sorted(place)[:PER_RULE] for key, place in drawn.items()}
    found: dict[tuple[str, str, int], Sample] = {}
    for name in sorted({entry[1] for place in wanted.values() for entry in place}):
        rows = sorted({entry[2] for place in wanted.values() for entry in place if entry[1] == name})
        texts = workdir.read_table(DOCUMENTS, documents.by_name[name], ["id", "text"]).take(rows).to_pylist()
        verdicts = workdir.read_table(FILTER, verdict.by_name[name]).take(rows).to_pylist()
        domains = workdir.read_table(STATISTICS, statistics.by_name[name], ["domain"]).take(rows).to_pylist()
        for row, text, judged, domain in zip(rows, texts, verdicts, domains, strict=True):
            cut = None
            if judged["cuts"]:
                raw = text["text"].encode()
                cut = " … ".join(raw[span["begin"] : span["end"]].decode(errors="ignore").strip() for span in judged["cuts"][:4])[:SHOWN]
            found[domain["domain"], name, row] = Sample(
                domain["domain"],
                judged["rule"] or "",
                text["id"],
                judged["value"],
                judged["limit"],
                judged["detail"],
                text["text"][:SHOWN],
                cut,
            )
    order = sorted(wanted, key=lambda key: (key[1] == "", key))
    return [found[key[0], name, row] for key in order for _, name, row in wanted[key]]

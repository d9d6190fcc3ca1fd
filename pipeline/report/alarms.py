"""What deserves a look: a rule that drops nearly all of a language, a source or a site; an extractor that leaves pages all but empty; a
source that near deduplication takes most of. Each says its bound, and most have documents to look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.representatives import GROUPS
from pipeline.filters.stage import FILTER
from pipeline.report.samples import Drawing, Sample, read_samples
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.documents import CODE, DOCUMENTS, STATISTICS
from pipeline.workdir.verdicts import totals, verdict_dataset

LEAST_DOCUMENTS = 20  # of a language, source or site, for its losses to be called unusual
NEARLY_ALL = 0.9  # of its documents, dropped by one rule
OTHERS = 0.5  # of the other documents of its domain that the rule drops at most: it does not drop nearly all of everything
EMPTY, MOST_EMPTY = 50, 0.01  # characters under which a page is all but empty, and the share of a source's pages that may be
SHOWN = 3  # samples of each
MOST_OF_A_KIND = 5  # alarms over languages, sources or sites: the largest are told, the others counted
MOST_SITES = 1_000_000  # whose counts are held; past it, sites with few documents so far are forgotten
# What a rule is for is no alarm: those on languages drop languages, lists of addresses drop sites, and a site has one licence.
_MEANT: Mapping[str, tuple[str, ...]] = {
    "language": ("language", "code_language"),
    "site": ("language", "url_", "license", "code_license", "code_language"),
    "source": (),
}
_HOST = r"^[A-Za-z][A-Za-z0-9+.\-]*://(?:[^/?#@]*@)?(?:www\.)?(?P<host>[^/?#:]+)"
Kind = tuple[str, str, str, str]  # of an alarm on a rule: what it is about, the domain, the name, the rule


@dataclass(frozen=True)
class Alarm:
    """Something unusual in a sentence, and documents to look at."""

    text: str
    samples: tuple[Sample, ...] = ()


def alarms(workdir: Workdir, alarm_share: float | None = None) -> list[Alarm]:
    """All that is unusual in a workdir; of what has not been made yet nothing.

    `alarm_share`: of a source's documents that near deduplication may drop; by default the one that the run was made with.
    """
    return [*_of_rules(workdir), *_of_near(workdir, alarm_share)]


def _of_near(workdir: Workdir, alarm_share: float | None) -> Iterator[Alarm]:
    """Sources that near deduplication takes an unusual share of, and comparisons that it left out."""
    manifest = workdir.manifest(verdict_dataset("near"))
    if manifest is None:
        return
    limit = alarm_share if alarm_share is not None else manifest.configuration.get("alarm_share", 0.5)
    for name, counts in sorted(totals(manifest.summary, by="source").items()):
        looked_at = counts["kept"] + counts["dropped"]
        if looked_at >= LEAST_DOCUMENTS and counts["dropped"] > limit * looked_at:
            yield Alarm(
                f"near deduplication drops {counts['dropped']:,} of {looked_at:,} documents of source {name} "
                f"({counts['dropped'] / looked_at:.0%}, over near.alarm_share = {limit:g}); look at some with `foundry explain`"
            )
    groups = workdir.manifest(GROUPS)
    left_out = groups.summary.get("left_out", 0) if groups is not None else 0
    if left_out:
        yield Alarm(
            f"near deduplication: {left_out:,} documents that stay share a band with more than near.compare others that stay, so "
            "that later documents were not compared with all of them; raise near.compare to compare them"
        )


# --- rules and extractors ----------------------------------------------------------------------------------------------


def _of_rules(workdir: Workdir) -> tuple[Alarm, ...]:
    statistics, verdict = workdir.manifest(STATISTICS), workdir.manifest(FILTER)
    documents = workdir.manifest(DOCUMENTS)
    if statistics is None or verdict is None or documents is None or statistics.by_name.keys() != verdict.by_name.keys():
        return ()
    return _looked_for(workdir, (documents.content, statistics.content, verdict.content), tuple(sorted(_extractors(documents).items())))


@lru_cache(maxsize=4)  # the summary in the terminal and the report tell the same ones
def _looked_for(workdir: Workdir, contents: tuple[str, ...], extracted: tuple[tuple[str, str], ...]) -> tuple[Alarm, ...]:
    """The alarms on rules and extractors. `contents`: the fingerprints of what is looked at; `extracted`: sources and their extractors."""
    counts = _Counts()
    empty: dict[str, npt.NDArray[np.int64]] = {}
    extractors = dict(extracted)
    for _, table in _tables(workdir):
        counts.add(table)
        pages = table.filter(pc.is_in(table["source"], value_set=pa.array(sorted(extractors), pa.string())))
        for group in (
            pages.append_column("empty", pc.less(pages["characters"], EMPTY))
            .group_by("source")
            .aggregate([("empty", "sum"), ("empty", "count")])
            .to_pylist()
        ):
            empty.setdefault(group["source"], np.zeros(2, np.int64))[:] += (group["empty_sum"] or 0, group["empty_count"])
    wanted: dict[Any, tuple[str, Callable[[pa.Table], pa.Array]]] = {}
    for kind, text in counts.alarms():
        wanted[kind] = text, _rows_of(kind)
    for source, (few, pages) in sorted(empty.items()):
        if pages >= LEAST_DOCUMENTS and few > MOST_EMPTY * pages:
            text = (
                f"extractor {extractors[source]} leaves {few:,} of {pages:,} pages of source {source} under {EMPTY} characters "
                f"({few / pages:.1%}, over {MOST_EMPTY:.0%})"
            )
            wanted["empty", source] = text, _empty_of(source)
    return tuple(Alarm(text, shown) for (text, _), shown in zip(wanted.values(), _samples(workdir, wanted), strict=True))


def _extractors(documents: Manifest) -> dict[str, str]:
    """The extractor of each source that has one."""
    sources = documents.configuration.get("sources", [])
    return {source["name"]: source["extractor"] for source in sources if source.get("extractor")}


def _tables(workdir: Workdir) -> Iterator[tuple[str, pa.Table]]:
    """For each partition domain, source, language and site of its documents, their characters, and the rule that dropped each."""
    columns = ["domain", "source", "language", "declared_language", "url", "characters"]
    verdict = workdir.require(FILTER)
    for partition, table in workdir.tables(STATISTICS, columns):
        sites = pc.utf8_lower(pc.struct_field(pc.extract_regex(table["url"], _HOST), "host"))
        language = pc.if_else(pc.equal(table["domain"], CODE), table["declared_language"], table["language"])
        rule = workdir.read_table(FILTER, verdict.by_name[partition.name], ["rule"])["rule"]
        found = {"domain": table["domain"], "source": table["source"], "language": language, "site": sites, "rule": rule}
        yield partition.name, pa.table({**found, "characters": table["characters"]})


class _Counts:
    """How many documents of each language, source and site of a domain there are, and how many each rule dropped."""

    def __init__(self) -> None:
        self.found: dict[str, dict[tuple[str, str], dict[str | None, int]]] = {axis: {} for axis in _MEANT}
        self.domains: dict[str, dict[str | None, int]] = {}

    def add(self, table: pa.Table) -> None:
        for axis, places in self.found.items():
            for group in table.group_by(["domain", axis, "rule"]).aggregate([([], "count_all")]).to_pylist():
                if group[axis] is not None:
                    place = places.setdefault((group["domain"], group[axis]), {})
                    place[group["rule"]] = place.get(group["rule"], 0) + group["count_all"]
            if len(places) > MOST_SITES:
                self.found[axis] = {key: counts for key, counts in places.items() if sum(counts.values()) > 2}
        for group in table.group_by(["domain", "rule"]).aggregate([([], "count_all")]).to_pylist():
            place = self.domains.setdefault(group["domain"], {})
            place[group["rule"]] = place.get(group["rule"], 0) + group["count_all"]

    def alarms(self) -> Iterator[tuple[Kind, str]]:
        """Each with its words; of a kind of group the largest, with how many more there are."""
        for axis, places in self.found.items():
            found = []
            for (domain, name), counts in places.items():
                total = sum(counts.values())
                for rule, dropped in counts.items():
                    others = sum(self.domains[domain].values()) - total
                    elsewhere = self.domains[domain].get(rule, 0) - dropped
                    unusual = total >= LEAST_DOCUMENTS and dropped > NEARLY_ALL * total and others and elsewhere <= OTHERS * others
                    if rule is not None and unusual and not rule.startswith(_MEANT[axis] or ("\0",)):
                        found.append((-dropped, domain, name, rule, total, elsewhere / others))
            found.sort()
            for number, (dropped, domain, name, rule, total, share) in enumerate(found[:MOST_OF_A_KIND], 1):
                more = len(found) - MOST_OF_A_KIND if number == MOST_OF_A_KIND else 0
                text = (
                    f"rule {rule} drops {-dropped:,} of {total:,} documents of {axis} {name} in {domain} ({-dropped / total:.0%}, over "
                    f"{NEARLY_ALL:.0%}; of the others in {domain} {share:.0%})"
                )
                yield (axis, domain, name, rule), text + (f"; so it is with {more:,} more {axis}s" if more > 0 else "")


def _rows_of(kind: Kind) -> Callable[[pa.Table], pa.Array]:
    axis, domain, name, rule = kind

    def chosen(table: pa.Table) -> pa.Array:
        return pc.and_(pc.and_(pc.equal(table["rule"], rule), pc.equal(table["domain"], domain)), pc.equal(table[axis], name))

    return chosen


def _empty_of(source: str) -> Callable[[pa.Table], pa.Array]:
    return lambda table: pc.and_(pc.equal(table["source"], source), pc.less(table["characters"], EMPTY))


def _samples(workdir: Workdir, wanted: Mapping[Any, tuple[str, Callable[[pa.Table], pa.Array]]]) -> Sequence[tuple[Sample, ...]]:
    """Documents of each alarm, drawn by a hash from the first partitions that have enough of them."""
    drawing: Drawing[Any] = Drawing(SHOWN)
    left = dict(wanted)
    for name, table in _tables(workdir) if wanted else ():
        for kind, (_, chosen) in list(left.items()):
            rows = np.flatnonzero(np.asarray(pc.fill_null(chosen(table), False), dtype=bool))
            drawing.add(kind, name, rows.tolist())
            if len(drawing.places().get(kind, [])) == SHOWN:
                del left[kind]
        if not left:
            break
    places = drawing.places()
    found = read_samples(workdir, [place for drawn in places.values() for place in drawn])
    return [tuple(found[place] for place in places.get(kind, [])) for kind in wanted]

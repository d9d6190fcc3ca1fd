"""Verdicts: tables with a row for each document, which say whether it is kept; and the texts that are left when they are applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.workdir.commit import Summary
from pipeline.workdir.cuts import Cuts, all_of, apply, from_column
from pipeline.workdir.dataset import Manifest, Partition, Workdir
from pipeline.workdir.documents import DOCUMENTS, VERDICT_SCHEMA

ORDER = ("filter", "exact", "seen", "near", "lines", "substrings", "contamination")  # of the stages
CUTTING = ("filter", "lines", "substrings", "contamination")  # the stages that may cut


def verdict_dataset(name: str) -> str:
    """The dataset of a stage's verdicts."""
    return f"verdicts/{name}"


def verdict_table(rows: int, columns: Mapping[str, Any]) -> pa.Table:
    """A table of `VERDICT_SCHEMA` with so many rows; columns that are not given are null."""
    arrays = [columns[field.name] if field.name in columns else pa.nulls(rows, field.type) for field in VERDICT_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=VERDICT_SCHEMA)


def tally(verdict: pa.Table, statistics: pa.Table, *, sizes: npt.NDArray[np.int64] | None = None) -> Summary:
    """What a verdict did, for the funnel: documents and bytes kept, dropped by rule and cut, for each source of a domain.

    `statistics` has the same rows, with `domain`, `source` and `bytes`. `sizes` int64 (rows,): the documents' bytes as the stage
    read them, where earlier verdicts had cut something out.
    """
    came = np.asarray(statistics["bytes"], dtype=np.int64) if sizes is None else sizes
    cut = from_column(verdict["cuts"]).sizes if verdict["cuts"].null_count < verdict.num_rows else np.zeros(len(came), np.int64)
    table = pa.table(
        {
            "domain": statistics["domain"],
            "source": statistics["source"],
            "keep": verdict["keep"],
            "rule": pc.if_else(verdict["keep"], pa.scalar(None, pa.string()), verdict["rule"]),
            "bytes": came - cut,
            "cut": cut,
            "is_cut": pa.array((cut > 0).astype(np.int64)),
        }
    ).filter(pc.is_valid(verdict["keep"]))
    sums = [("bytes", "sum"), ("bytes", "count"), ("cut", "sum"), ("is_cut", "sum")]
    summary: Summary = {}
    for group in table.group_by(["domain", "source", "rule"]).aggregate(sums).to_pylist():
        counts = {"documents": group["bytes_count"], "bytes": group["bytes_sum"]}
        place = summary.setdefault(group["domain"], {}).setdefault(group["source"], {"kept": {}, "dropped": {}})
        if group["rule"] is None:
            place["kept"] = counts
            if group["is_cut_sum"]:
                place["cut"] = {"documents": group["is_cut_sum"], "bytes": group["cut_sum"]}
        else:
            place["dropped"][group["rule"]] = counts
    return {"domains": summary}


@dataclass(frozen=True)
class VerdictEntry:
    """One partition of one verdict, for a task that applies it."""

    dataset: str
    partition: Partition


def entries(verdicts: Sequence[Manifest], partition: str) -> tuple[VerdictEntry, ...]:
    """The entries of one partition in each of the given verdicts."""
    return tuple(VerdictEntry(manifest.dataset, manifest.by_name[partition]) for manifest in verdicts)


def kept(workdir: Workdir, verdicts: Sequence[VerdictEntry], rows: int) -> npt.NDArray[np.bool_]:
    """Which rows of a partition all of the given verdicts keep: bool (rows,)."""
    result = np.ones(rows, bool)
    for entry in verdicts:
        keep = workdir.read_table(entry.dataset, entry.partition, ["keep"])["keep"].fill_null(False)
        result &= np.asarray(keep, dtype=bool)
    return result


def cuts_of(workdir: Workdir, verdicts: Sequence[VerdictEntry], rows: int) -> Cuts:
    """What the given verdicts together cut out of each row of a partition."""
    cutting = [entry for entry in verdicts if entry.dataset.rsplit("/", 1)[-1] in CUTTING]
    return all_of([from_column(workdir.read_table(e.dataset, e.partition, ["cuts"])["cuts"]) for e in cutting], rows)


@dataclass(frozen=True)
class Remaining:
    """What some verdicts leave of a partition of documents: the rows that are kept, their texts without the cuts, and the cuts."""

    rows: npt.NDArray[np.int64]
    texts: pa.Array | pa.ChunkedArray
    cuts: Cuts
    total: int  # rows of the partition


def remaining(workdir: Workdir, partition: Partition, verdicts: Sequence[VerdictEntry]) -> Remaining:
    """Read the texts of a partition that the given verdicts keep, without what they cut."""
    texts = workdir.read_table(DOCUMENTS, partition, ["text"])["text"]
    rows = np.flatnonzero(kept(workdir, verdicts, len(texts)))
    cuts = cuts_of(workdir, verdicts, len(texts)).take(rows)
    left = texts if len(rows) == len(texts) else texts.take(rows)
    return Remaining(rows, apply(left, cuts) if len(cuts.begin) else left, cuts, len(texts))


def checksums(verdicts: Sequence[Manifest], partition: str) -> list[str]:
    """The checksums of one partition's verdicts, for the key of a task that applies them."""
    return [manifest.by_name[partition].checksum for manifest in verdicts]


def totals(summary: Summary, *, by: str = "domain") -> dict[str, dict[str, Any]]:
    """Sums of a tally by domain or source: for each name `kept`, `dropped` and `cut`, each also as `..._bytes`, and `rules`."""
    result: dict[str, dict[str, Any]] = {}
    for domain, sources in summary.get("domains", {}).items():
        for source, counts in sources.items():
            place = result.setdefault(
                domain if by == "domain" else source,
                {"kept": 0, "kept_bytes": 0, "dropped": 0, "dropped_bytes": 0, "cut": 0, "cut_bytes": 0, "rules": {}},
            )
            place["kept"] += counts["kept"].get("documents", 0)
            place["kept_bytes"] += counts["kept"].get("bytes", 0)
            place["cut"] += counts.get("cut", {}).get("documents", 0)
            place["cut_bytes"] += counts.get("cut", {}).get("bytes", 0)
            for rule, dropped in counts["dropped"].items():
                place["dropped"] += dropped["documents"]
                place["dropped_bytes"] += dropped["bytes"]
                place["rules"][rule] = place["rules"].get(rule, 0) + dropped["documents"]
    return result

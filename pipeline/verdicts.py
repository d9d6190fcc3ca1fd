"""Verdicts: tables that lie row for row beside the documents, and what is left when all are applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset import Manifest, Partition, Workdir
from pipeline.engine import Summary

ORDER = ("filter", "exact", "near")  # in which the stages drop


def verdict_dataset(name: str) -> str:
    """The folder of a verdict."""
    return f"verdicts/{name}"


def tally(verdict: pa.Table, statistics: pa.Table) -> Summary:
    """What a verdict did, for the funnel: documents and bytes in, kept, and dropped by rule, for each source of a domain.

    `statistics` lies row for row beside it, with `domain`, `source` and `bytes`.
    """
    table = pa.table(
        {
            "domain": statistics["domain"],
            "source": statistics["source"],
            "keep": verdict["keep"],
            "rule": verdict["rule"],
            "bytes": statistics["bytes"],
        }
    ).filter(pc.is_valid(verdict["keep"]))
    groups = table.group_by(["domain", "source", "rule"]).aggregate([("bytes", "sum"), ("bytes", "count")]).to_pylist()
    summary: Summary = {}
    for group in groups:
        counts = {"documents": group["bytes_count"], "bytes": group["bytes_sum"]}
        place = summary.setdefault(group["domain"], {}).setdefault(group["source"], {"kept": {}, "dropped": {}})
        if group["rule"] is None:
            place["kept"] = counts
        else:
            place["dropped"][group["rule"]] = counts
    return {"domains": summary}


@dataclass(frozen=True)
class VerdictEntry:
    """One partition of one verdict: what a task that applies it carries."""

    dataset: str
    partition: Partition


def entries(verdicts: Sequence[Manifest], partition: str) -> tuple[VerdictEntry, ...]:
    """The entries of one partition in each of the given verdicts."""
    return tuple(VerdictEntry(manifest.dataset, manifest.by_name[partition]) for manifest in verdicts)


def kept(workdir: Workdir, verdicts: Sequence[VerdictEntry], rows: int) -> npt.NDArray[np.bool_]:
    """Which of a partition's rows all the given verdicts keep: bool (rows,)."""
    result = np.ones(rows, bool)
    for entry in verdicts:
        keep = workdir.read_table(entry.dataset, entry.partition, ["keep"])["keep"].fill_null(False)
        result &= np.asarray(keep, dtype=bool)
    return result


def checksums(verdicts: Sequence[Manifest], partition: str) -> list[str]:
    """The checksums of one partition's verdicts: what a task that applies them depends on."""
    return [manifest.by_name[partition].checksum for manifest in verdicts]


def totals(summary: Summary, *, by: str = "domain") -> dict[str, dict[str, Any]]:
    """Sums of a tally by domain or by source: `{name: {"kept": n, "kept_bytes": b, "dropped": n, "rules": {...}}}`."""
    result: dict[str, dict[str, Any]] = {}
    for domain, sources in summary.get("domains", {}).items():
        for source, counts in sources.items():
            place = result.setdefault(
                domain if by == "domain" else source,
                {"kept": 0, "kept_bytes": 0, "dropped": 0, "dropped_bytes": 0, "rules": {}},
            )
            place["kept"] += counts["kept"].get("documents", 0)
            place["kept_bytes"] += counts["kept"].get("bytes", 0)
            for rule, dropped in counts["dropped"].items():
                place["dropped"] += dropped["documents"]
                place["dropped_bytes"] += dropped["bytes"]
                place["rules"][rule] = place["rules"].get(rule, 0) + dropped["documents"]
    return result

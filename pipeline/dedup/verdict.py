"""From groups of duplicates to verdicts: the last step of exact and near deduplication alike.

A *group file* (see `shuffle`) has one bucket for each partition of documents, and a row for each duplicate found there:
its ordinal, the ordinal of the copy that stays, the component, its size, and the measured similarity.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.dataset import Manifest, Partition, Workdir, fingerprint, to_parquet
from pipeline.dedup.shuffle import Columns, gather, scatter
from pipeline.documents import STATISTICS, VERDICT_SCHEMA
from pipeline.engine import File, Stage, Summary, Task
from pipeline.verdicts import VerdictEntry, checksums, entries, kept, tally

VERSION = 1


def scatter_groups(groups: Columns, documents: Manifest) -> pa.Buffer:
    """Rows with an `ordinal` column, scattered over the partitions of documents that hold them."""
    starts = np.fromiter(documents.starts.values(), np.int64)
    bucket = np.searchsorted(starts, groups["ordinal"], side="right") - 1
    return scatter(groups, bucket, len(starts))


def group_columns(
    ordinal: npt.NDArray[np.int64],
    duplicate_of: npt.NDArray[np.int64],
    component: npt.NDArray[np.int64],
    size: npt.NDArray[np.int64],
    similarity: npt.NDArray[np.float64],
) -> Columns:
    """The columns of a group file."""
    return {
        "ordinal": ordinal,
        "duplicate_of": duplicate_of,
        "component": component,
        "component_size": size,
        "similarity": similarity,
    }


@dataclass(frozen=True)
class _Work:
    rule: str
    dataset: str  # that it writes
    groups: str  # dataset of group files
    bucket: int
    start: int
    statistics: Partition
    before: tuple[VerdictEntry, ...]
    limit: float


def duplicate_verdicts(workdir: Workdir, work: _Work) -> Generator[File, None, Summary]:
    """One task: the verdicts of one partition of documents. Rows that an earlier verdict dropped have `keep` null."""
    statistics = workdir.read_table(STATISTICS, work.statistics, ["domain", "source", "bytes"])
    rows = statistics.num_rows
    looked_at = kept(workdir, work.before, rows)
    groups = gather(workdir, work.groups, work.bucket)
    local = groups["ordinal"].astype(np.int64) - work.start
    dropped = np.zeros(rows, bool)
    dropped[local] = True

    def spread(values: npt.NDArray[np.generic], kind: pa.DataType) -> pa.Array:
        column = np.zeros(rows, values.dtype)
        column[local] = values
        return pa.array(column, kind, mask=~dropped)

    verdict = pa.table(
        {
            "keep": pa.array(~dropped, mask=~looked_at),
            "rule": pa.array(np.where(dropped, work.rule, ""), pa.string(), mask=~dropped),
            "value": spread(groups["similarity"], pa.float64()),
            "limit": pa.array(np.full(rows, work.limit), mask=~dropped),
            "detail": pa.nulls(rows, pa.string()),
            "duplicate_of": spread(groups["duplicate_of"], pa.int64()),
            "component": spread(groups["component"], pa.int64()),
            "component_size": spread(groups["component_size"], pa.int64()),
        },
        schema=VERDICT_SCHEMA,
    )
    yield File(work.dataset, work.statistics.name, to_parquet(verdict), rows)
    return tally(verdict, statistics)


def duplicate_verdict_stage(
    name: str,
    dataset: str,
    groups: Manifest,
    documents: Manifest,
    statistics: Manifest,
    before: Sequence[Manifest],
    limit: float,
) -> Stage:
    """The stage that writes `verdicts/NAME`; `limit` is the similarity from which a document counts as a duplicate."""
    tasks = []
    for bucket, partition in enumerate(documents.partitions):
        start = documents.starts[partition.name]
        key = fingerprint(VERSION, name, limit, groups.content, bucket, start, checksums((*before, statistics), partition.name))
        entry = statistics.by_name[partition.name]
        work = _Work(name, dataset, groups.dataset, bucket, start, entry, entries(before, partition.name), limit)
        tasks.append(Task(partition.name, key, work, partition.rows))
    return Stage(name, (dataset,), duplicate_verdicts, tuple(tasks), {"limit": limit}, memory=512 << 20, unit="documents")

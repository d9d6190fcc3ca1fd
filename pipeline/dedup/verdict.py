"""From groups of duplicates to verdicts: the last step of exact and near deduplication alike.

A *group file* (see `shuffle`) has one bucket for each partition of documents, and a row for each member of a component there:
its ordinal, the ordinal of the copy that stays, the component, its size, the similarity, measured and estimated, whether it is
dropped, and a name of the component that does not change with the other documents of the corpus.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.dedup.index import Prior
from pipeline.dedup.shuffle import gather
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, to_parquet
from pipeline.workdir.documents import STATISTICS
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage
from pipeline.workdir.verdicts import cuts_of, kept, tally, verdict_dataset, verdict_table

VERSION = 3
_NONE = np.zeros(0, np.int64)


def group_columns(
    ordinal: npt.NDArray[np.int64] = _NONE,
    duplicate_of: npt.NDArray[np.int64] = _NONE,
    component: npt.NDArray[np.int64] = _NONE,
    size: npt.NDArray[np.int64] = _NONE,
    similarity: npt.NDArray[np.float64] | None = None,
    estimate: npt.NDArray[np.float64] | None = None,
    dropped: npt.NDArray[np.bool_] | None = None,
    cluster: npt.NDArray[np.uint64] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """The columns of a group file, as described above. `duplicate_of` is negative where the copy that stays is in an index."""
    return {
        "ordinal": ordinal,
        "duplicate_of": duplicate_of,
        "component": component,
        "component_size": size,
        "similarity": np.ones(len(ordinal)) if similarity is None else similarity,
        "estimate": np.ones(len(ordinal)) if estimate is None else estimate,
        "dropped": (np.ones(len(ordinal), np.uint8) if dropped is None else dropped.astype(np.uint8)),
        "cluster": np.zeros(len(ordinal), np.uint64) if cluster is None else cluster,
    }


@dataclass(frozen=True)
class _Settings:
    rule: str
    dataset: str  # the dataset that the stage writes
    groups: str  # the dataset of group files
    limit: float
    prior: tuple[Prior, ...]


def _details(duplicate_of: npt.NDArray[np.int64], prior: Sequence[Prior]) -> list[str | None]:
    """For those that are duplicates of an index's documents, which one, in words."""
    details: list[str | None] = [None] * len(duplicate_of)
    starts = np.array([each.start for each in prior], np.int64)
    where = np.searchsorted(starts, duplicate_of, side="right") - 1
    for place in np.unique(where[duplicate_of < 0]):
        each = prior[place]
        table = each.workdir.read_table(each.dataset, each.partition, ["row", "id"])
        hits = np.flatnonzero((where == place) & (duplicate_of < 0))
        rows = np.searchsorted(table["row"].to_numpy(), duplicate_of[hits] - each.start)
        for hit, name in zip(hits, table["id"].take(rows).to_pylist(), strict=True):
            details[hit] = f"seen before as {name}, in {each.workdir.shown}"
    return details


def duplicate_verdicts(workdir: Workdir, piece: Piece[_Settings]) -> Generator[File, None, Summary]:
    """One task: the verdicts of one partition of documents. Rows that an earlier verdict dropped have `keep` null."""
    settings = piece.settings
    statistics = workdir.read_table(STATISTICS, piece.partition, ["domain", "source", "bytes"])
    rows = statistics.num_rows
    looked_at = kept(workdir, piece.before, rows)
    groups = gather(workdir, settings.groups, piece.number, piece.pieces)
    columns = (
        {name: column.to_numpy() for name, column in zip(groups.column_names, groups.columns, strict=True)} if groups else group_columns()
    )
    members = columns["ordinal"] - piece.start
    cluster, in_cluster = np.zeros(rows, np.uint64), np.zeros(rows, bool)
    cluster[members], in_cluster[members] = columns["cluster"], columns["cluster"] > 0
    chosen = columns["dropped"] > 0
    columns = {name: values[chosen] for name, values in columns.items()}
    local = columns["ordinal"] - piece.start
    dropped = np.zeros(rows, bool)
    dropped[local] = True

    def spread(values: npt.NDArray[Any], kind: pa.DataType, present: npt.NDArray[np.bool_] | None = None) -> pa.Array:
        column = np.zeros(rows, values.dtype)
        column[local] = values
        mask = ~dropped
        if present is not None:
            mask[local[~present]] = True
        return pa.array(column, kind, mask=mask)

    details = np.full(rows, None, object)
    details[local] = _details(columns["duplicate_of"], settings.prior)
    verdict = verdict_table(
        rows,
        {
            "keep": pa.array(~dropped, mask=~looked_at),
            "rule": pa.array(np.where(dropped, settings.rule, ""), pa.string(), mask=~dropped),
            "value": spread(columns["similarity"], pa.float64()),
            "estimate": spread(columns["estimate"], pa.float64()),
            "limit": pa.array(np.full(rows, settings.limit), mask=~dropped),
            "detail": pa.array(details.tolist(), pa.string()),
            "duplicate_of": spread(columns["duplicate_of"], pa.int64(), columns["duplicate_of"] >= 0),
            "component": spread(columns["component"], pa.int64()),
            "component_size": spread(columns["component_size"], pa.int64()),
            "cluster": pa.array(cluster, mask=~in_cluster),
        },
    )
    yield File(settings.dataset, piece.name, to_parquet(verdict), rows)
    sizes = np.asarray(statistics["bytes"], dtype=np.int64) - cuts_of(workdir, piece.before, rows).sizes
    return tally(verdict, statistics, sizes=sizes)


def duplicate_verdict_stage(
    name: str,
    groups: Manifest,
    statistics: Manifest,
    before: Sequence[Manifest],
    limit: float,
    prior: Sequence[Prior] = (),
    configuration: dict[str, Any] | None = None,
) -> Stage:
    """The stage that writes `verdicts/NAME`; `limit` is the similarity from which a document counts as a duplicate."""
    dataset = verdict_dataset(name)
    return per_partition(
        name,
        (dataset,),
        duplicate_verdicts,
        statistics,
        _Settings(name, dataset, groups.dataset, limit, tuple(prior)),
        version=VERSION,
        before=before,
        ordinals=True,
        key=(name, limit, groups.content, [each.partition.checksum for each in prior]),
        configuration=configuration or {"limit": limit},
        memory=512 << 20,
        unit="documents",
    )

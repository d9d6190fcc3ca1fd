"""The members of components of near-duplicates: their signatures, shingle sets and ranks, together by component."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipeline.dedup.components import COMPONENTS
from pipeline.dedup.index import Prior
from pipeline.dedup.shingles import shingle_sets
from pipeline.dedup.shuffle import MOST_BUCKETS, bucket_of, gather, hash_ordinals, scatter
from pipeline.dedup.signing import SIGNATURES, Signing, matrix, signature_column
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, fingerprint
from pipeline.workdir.documents import DOCUMENTS, STATISTICS
from pipeline.workdir.errors import UserError
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage, Task
from pipeline.workdir.verdicts import remaining

VERSION = 4
MEMBERS = "dedup/near-members"
BYTES_IN_A_BUCKET = 256 << 20
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Which copy is preferred: by source, then by length or a statistic, then by place in the corpus."""

    keep: str
    statistic: str | None
    prefer: tuple[str, ...]

    @property
    def column(self) -> str | None:
        """The column of `statistics/` that decides, with a `-` before it where the lowest value is preferred. None: the place decides."""
        return "bytes" if self.keep == "longest" else self.statistic

    def check(self, workdir: Workdir, statistics: Manifest) -> None:
        """Raises `UserError` where `statistics` has no column of numbers with this name."""
        if self.column is None or not statistics.partitions:
            return
        schema = workdir.read_table(STATISTICS, statistics.partitions[0]).schema
        numbers = [field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]
        if self.column.removeprefix("-") not in numbers:
            name = self.column.removeprefix("-")
            raise UserError(f"near.statistic: no statistic that is a number is named {name}; there are: {', '.join(numbers)}")

    def scores(self, statistics: pa.Table) -> tuple[npt.NDArray[np.int32], Floats]:
        """Two numbers a row, the preferred smaller: its source's place in `prefer`, int32 (rows,), and its statistic, float64 (rows,)."""
        sources = statistics["source"].to_pylist()
        places = {name: place for place, name in enumerate(self.prefer)}
        source = np.array([places.get(name, len(places)) for name in sources], np.int32)
        if self.column is None:
            return source, np.zeros(len(source))
        values = np.asarray(statistics[self.column.removeprefix("-")], dtype=np.float64)
        values = np.nan_to_num(values if self.column.startswith("-") else -values, nan=np.inf)
        return source, values


@dataclass(frozen=True)
class _Shared:
    signing: Signing
    ranking: Ranking
    buckets: int
    places: int  # how many partitions the indexes and the documents have together


@dataclass(frozen=True)
class _Work:
    place: int  # the partition's number among those of the indexes and the documents
    of: Prior | Piece[None]
    shared: _Shared


def members_of_partition(workdir: Workdir, work: _Work) -> Generator[File, None, Summary]:
    """Signature, shingle set and rank of the members of one partition, scattered by component."""
    shared, signing = work.shared, work.shared.signing
    found = gather(workdir, COMPONENTS, work.place, shared.places)
    ordinal = np.zeros(0, np.int64) if found is None else found["ordinal"].to_numpy()
    root = np.zeros(0, np.int64) if found is None else found["root"].to_numpy()
    order = np.argsort(ordinal)
    ordinal, root = ordinal[order], root[order]
    rows = ordinal - work.of.start
    if len(rows) == 0:
        signature = np.zeros((0, signing.permutations), np.uint32)
        lists = pa.LargeListArray.from_arrays(pa.array([0], pa.int64()), pa.array([], pa.uint32()))
        source, score = np.zeros(0, np.int32), np.zeros(0)
        ids: list[str] = []
    elif isinstance(work.of, Prior):
        table = work.of.workdir.read_table(work.of.dataset, work.of.partition, ["row", "id", "signature", "shingles"])
        table = table.take(np.searchsorted(table["row"].to_numpy(), rows))
        signature, lists = matrix(table["signature"]), table["shingles"].combine_chunks()
        source, score = np.zeros(len(rows), np.int32), np.zeros(len(rows))
        ids = table["id"].to_pylist()
    else:
        left = remaining(workdir, work.of.partition, work.of.before)
        texts = left.texts.take(pa.array(np.searchsorted(left.rows, rows)))
        ends, sets = shingle_sets(texts, signing.width, signing.shingles)
        lists = pa.LargeListArray.from_arrays(pa.array(ends), pa.array(sets))
        signed = workdir.read_table(SIGNATURES, work.of.beside[SIGNATURES], ["row", "signature"])
        signature = matrix(signed["signature"])[np.searchsorted(signed["row"].to_numpy(), rows)]
        ids = workdir.read_table(DOCUMENTS, work.of.partition, ["id"])["id"].take(pa.array(rows)).to_pylist()
        source, score = shared.ranking.scores(workdir.read_table(STATISTICS, work.of.beside[STATISTICS]).take(rows))
    columns = {
        "ordinal": ordinal,
        "root": root,
        "key": np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in ids], np.uint64),
        "source": source,
        "score": score,
        "signature": signature_column(signature),
        "shingles": lists,
    }
    raw = scatter(columns, bucket_of(hash_ordinals(root), shared.buckets), shared.buckets)
    yield File(MEMBERS, f"{work.place:06d}.arrow", raw, len(rows))
    return {}


def members_stage(
    signing: Signing,
    ranking: Ranking,
    components: Manifest,
    signed: Manifest,
    documents: Manifest,
    statistics: Manifest,
    before: Sequence[Manifest],
    prior: Sequence[Prior],
) -> Stage:
    """Map over the partitions of documents, and of indexes. Its configuration has the number of `buckets`."""
    mean = signed.summary.get("shingles", 0) / max(1, signed.summary.get("documents", 0))
    size, buckets = components.rows * (4 * mean + 4 * signing.permutations + 32), 1
    while buckets * BYTES_IN_A_BUCKET < size and buckets < MOST_BUCKETS:
        buckets *= 2
    shared = _Shared(signing, ranking, buckets, len(prior) + len(documents.partitions))
    key = (components.content, shared)
    stage = per_partition(
        "near: members",
        (MEMBERS,),
        cast(Any, members_of_partition),  # its tasks get their payloads below, as those of the indexes' partitions do
        documents,
        None,
        version=VERSION,
        beside=(signed, statistics),
        before=before,
        ordinals=True,
        key=key,
        configuration={"buckets": buckets},
    )
    tasks = []
    for place, each in enumerate(prior):
        mark = fingerprint(VERSION, key, place, each.partition.checksum, each.start)
        tasks.append(Task(f"{place:06d}", mark, _Work(place, each, shared), each.partition.bytes))
    for place, task in enumerate(stage.tasks, len(prior)):
        tasks.append(replace(task, name=f"{place:06d}", payload=_Work(place, task.payload, shared)))
    return replace(stage, tasks=tuple(tasks))

"""Exact duplicates: documents whose normalised text has the same 128-bit xxh3.

Normalised means that the text is folded (`kernel.fold`: letters of full width, ligatures, accents written apart, kinds of quotes and
dashes), that each run of Unicode's white space becomes one space, and that none is left at the ends. Nothing else is changed: case,
accents and punctuation still tell documents apart. Of equal documents the first in corpus order stays, whatever its domain; or none,
where `drop: all` asks for that. Documents without any text are all equal to one another.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from pydantic import BaseModel, ConfigDict, Field

from kernel.compile import kernel
from kernel.fold import Folded, fold, text_of
from kernel.utf8 import SPACE, Bytes, Offsets, decode, tables
from pipeline.dedup.shuffle import Layout, bucket_of, buckets_for, gather, scatter
from pipeline.dedup.verdict import duplicate_verdict_stage, group_columns
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import Bucket, Piece, per_bucket, per_partition
from pipeline.workdir.tasks import File, Stage
from pipeline.workdir.verdicts import remaining, verdict_dataset

VERSION = 3
Drop = Literal["copies", "all"]


class ExactConfig(BaseModel):
    """Exact deduplication."""

    model_config = ConfigDict(extra="forbid")

    drop: Drop = Field("copies", description="copies: all of equal documents but the first; all: the first too, so that none stays.")


HASHES = "dedup/exact-hashes"
GROUPS = "dedup/exact-groups"


@kernel
def _collapse(folded: Folded, classes: Bytes, out: Bytes, ends: Offsets) -> None:  # pragma: no cover - compiled
    """Write every document with its white space collapsed into `out`; document i ends at `ends[i + 1]`."""
    size = 0
    for document in range(len(ends) - 1):
        data, at, end = text_of(folded, document)
        begin, gap = size, False
        while at < end:
            code, following = decode(data, at)
            if classes[code] == SPACE:
                gap = True
                at = following
                continue
            if gap and size > begin:
                out[size] = 32
                size += 1
            gap = False
            out[size] = data[at]
            size += 1
            at += 1
            while at < following:
                out[size] = data[at]
                size += 1
                at += 1
        ends[document + 1] = size


def text_hashes(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """128-bit xxh3 of each normalised text: uint64 (documents, 2), high half first."""
    folded = fold(texts)
    sizes = folded.sizes
    out = np.empty(int(sizes.sum()), np.uint8)
    ends = np.zeros(len(sizes) + 1, np.int64)
    _collapse(folded, tables()[0], out, ends)
    view = out.data
    hashes = np.empty((len(sizes), 2), np.uint64)
    for document in range(len(sizes)):
        digest = xxhash.xxh3_128_intdigest(view[ends[document] : ends[document + 1]])
        hashes[document] = digest >> 64, digest & 0xFFFFFFFFFFFFFFFF
    return hashes


def hash_partition(workdir: Workdir, piece: Piece[int]) -> Generator[File, None, Summary]:
    """Map: hashes of the documents that are still kept, scattered by hash."""
    buckets = piece.settings
    left = remaining(workdir, piece.partition, piece.before)
    hashes = text_hashes(left.texts)
    columns = {"high": hashes[:, 0], "low": hashes[:, 1], "ordinal": left.rows.astype(np.int64) + piece.start}
    scattered = scatter(columns, bucket_of(hashes[:, 0], buckets), buckets)
    yield File(HASHES, f"{piece.name}.arrow", scattered, len(left.rows))
    return {}


@dataclass(frozen=True)
class _Grouping:
    layout: Layout
    drop: Drop


def group_bucket(workdir: Workdir, bucket: Bucket[_Grouping]) -> Generator[File, None, Summary]:
    """Reduce: within one bucket, all of one hash but the first are duplicates of the first; with `drop: all` it is one of the next."""
    name, layout = f"{bucket.name}.arrow", bucket.settings.layout
    table = gather(workdir, HASHES, bucket.number, bucket.buckets)
    if table is None:
        yield File(GROUPS, name, layout.scatter(group_columns()), 0)
        return {}
    columns = {column: table[column].to_numpy() for column in table.column_names}
    ordinal = columns["ordinal"]
    order = np.lexsort((ordinal, columns["low"], columns["high"]))
    high, low, ordinal = columns["high"][order], columns["low"][order], ordinal[order]
    first = np.ones(len(order), bool)
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    group = np.cumsum(first) - 1
    leader = ordinal[first][group] if len(order) else ordinal
    size = np.bincount(group)[group].astype(np.int64) if len(order) else ordinal
    again = ~first
    copy_of = leader.copy()
    if bucket.settings.drop == "all":
        again = size > 1
        copy_of[:-1] = np.where(first[:-1], ordinal[1:], leader[:-1])
    groups = group_columns(ordinal[again], copy_of[again], leader[again], size[again])
    yield File(GROUPS, name, layout.scatter(groups), int(again.sum()))
    return {}


def hash_stage(documents: Manifest, before: Sequence[Manifest]) -> Stage:
    """The stage that hashes the documents of each partition."""
    buckets = buckets_for(documents.rows)
    return per_partition("exact: hash", (HASHES,), hash_partition, documents, buckets, version=VERSION, before=before, ordinals=True)


def group_stage(hashes: Manifest, documents: Manifest, drop: Drop) -> Stage:
    """The stage that finds equal hashes in each bucket."""
    grouping = _Grouping(Layout.of(documents), drop)
    return per_bucket("exact: group", (GROUPS,), group_bucket, buckets_for(documents.rows), grouping, version=VERSION, inputs=(hashes,))


def exact_deduplicate(
    engine: Engine, config: ExactConfig, documents: Manifest, statistics: Manifest, before: Sequence[Manifest]
) -> Manifest:
    """Run all stages; returns `verdicts/exact`."""
    hashes = engine.run(hash_stage(documents, before)).manifests[HASHES]
    groups = engine.run(group_stage(hashes, documents, config.drop)).manifests[GROUPS]
    configuration = {"limit": 1.0, **config.model_dump(mode="json")}
    stage = duplicate_verdict_stage("exact", groups, statistics, before, 1.0, configuration=configuration)
    return engine.run(stage).manifests[verdict_dataset("exact")]

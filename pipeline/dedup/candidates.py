"""Candidates: each document of a band is paired with the first one of the band, so that all of them end in one component."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.dedup.index import Index
from pipeline.dedup.shuffle import bucket_of, gather
from pipeline.dedup.signing import BANDS
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, to_ipc
from pipeline.workdir.stages import Bucket, per_bucket
from pipeline.workdir.tasks import File, Stage

VERSION = 2
PAIRS = "dedup/near-pairs"


def pair_up(hashes: npt.NDArray[np.uint64], ordinal: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Pairs of the first document of a band and another one of it, each pair once, sorted: int64 (pairs, 2).

    `hashes`, `ordinal`: uint64 and int64, an entry for each band of each document. Negative ordinals are documents of an index; a band
    of these alone gives no pair.
    """
    order = np.lexsort((ordinal, hashes))
    hashes, ordinal = hashes[order], ordinal[order]
    if not len(order):
        return np.zeros((0, 2), np.int64)
    first = np.ones(len(order), bool)
    first[1:] = hashes[1:] != hashes[:-1]
    group = np.cumsum(first) - 1
    last = ordinal[np.append(np.flatnonzero(first)[1:] - 1, len(order) - 1)]  # the largest ordinal of each band
    chosen = ~first & (last[group] >= 0)
    left, right = ordinal[first][group[chosen]], ordinal[chosen]
    if not len(left):
        return np.zeros((0, 2), np.int64)
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    new = np.ones(len(left), bool)
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return np.stack([left[new], right[new]], axis=1)


def pair_bucket(workdir: Workdir, bucket: Bucket[tuple[Index, ...]]) -> Generator[File, None, Summary]:
    """One task: the pairs in one bucket of band hashes, those of this run's documents and those of the indexes."""
    indexes = bucket.settings
    hashes, ordinals = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    own = gather(workdir, BANDS, bucket.number, bucket.buckets)
    if own is not None:
        hashes.append(own["hash"].to_numpy())
        ordinals.append(own["ordinal"].to_numpy())
    start = -sum(index.rows for index in indexes)
    for index in indexes:
        table = gather(index.workdir, index.bands, bucket.number, bucket.buckets, of=index.buckets)
        if table is not None:
            theirs = table["hash"].to_numpy()
            mine = bucket_of(theirs, bucket.buckets) == bucket.number
            hashes.append(theirs[mine])
            ordinals.append(table["ordinal"].to_numpy()[mine] + start)
        start += index.rows
    pairs = pair_up(np.concatenate(hashes), np.concatenate(ordinals))
    table = pa.table({"left": pairs[:, 0].copy(), "right": pairs[:, 1].copy()})
    yield File(PAIRS, f"{bucket.name}.arrow", to_ipc(table.to_batches(), table.schema), len(pairs))
    return {"pairs": len(pairs)}


def pair_stage(bands: Manifest, buckets: int, indexes: Sequence[Index]) -> Stage:
    """Reduce over the buckets of band hashes."""
    contents = [index.content for index in indexes]
    return per_bucket("near: pair", (PAIRS,), pair_bucket, buckets, tuple(indexes), version=VERSION, inputs=(bands,), key=contents)

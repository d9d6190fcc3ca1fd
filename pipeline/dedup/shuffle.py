"""All-to-all through the workdir: a task scatters its rows over buckets, another gathers one bucket from every task.

A scattered file is an Arrow IPC file with one record batch a bucket, so that a reader maps the file and touches only its
own batch. Each batch's checksum stands in the schema's metadata, because the file's own would have to be read whole by
every reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from kernel.hashing import FMIX_FIRST, GOLDEN
from pipeline.workdir.dataset import Manifest, Workdir, to_ipc
from pipeline.workdir.errors import CorruptData

Columns = Mapping[str, npt.NDArray[Any] | pa.Array | pa.ChunkedArray]

# About how many rows of the whole corpus a gathered bucket holds, which bounds the memory of the task that reads it.
ROWS_IN_A_BUCKET = 1 << 21
MOST_BUCKETS = 1 << 12  # beyond it buckets grow instead, since a file with more batches would be mostly headers


def buckets_for(rows: int) -> int:
    """How many buckets so many rows need: a power of two. It depends on the corpus alone, so that the output does too."""
    buckets = 1
    while buckets * ROWS_IN_A_BUCKET < rows and buckets < MOST_BUCKETS:
        buckets *= 2
    return buckets


def bucket_of(hashes: npt.NDArray[np.uint64], buckets: int) -> npt.NDArray[np.int64]:
    """The bucket of each hash, by its highest bits: int64 (hashes,). With twice the buckets, each bucket is split in two."""
    bits = buckets.bit_length() - 1
    if bits == 0:
        return np.zeros(len(hashes), np.int64)
    return (hashes >> np.uint64(64 - bits)).astype(np.int64)


def hash_ordinals(ordinals: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """A well mixed 64-bit hash of each number: Fibonacci hashing, and its high half folded in."""
    value = ordinals.astype(np.uint64) * GOLDEN
    value ^= value >> np.uint64(32)
    return value * FMIX_FIRST


def scatter(columns: Columns, bucket: npt.NDArray[np.integer[Any]], buckets: int) -> pa.Buffer:
    """Rows (equally long columns, of numbers or lists of numbers) as a scattered file: batch `b` has those with `bucket == b`.

    Within a batch the rows keep their order.
    """
    order = np.argsort(bucket, kind="stable")
    ends = np.searchsorted(bucket[order], np.arange(buckets + 1))
    arrays = []
    for values in columns.values():
        if isinstance(values, np.ndarray):
            arrays.append(pa.array(values[order]))
        else:
            taken = values.take(pa.array(order))
            arrays.append(taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken)
    whole = pa.RecordBatch.from_arrays(arrays, list(columns))
    batches = [whole.slice(ends[number], ends[number + 1] - ends[number]) for number in range(buckets)]
    schema = whole.schema.with_metadata({"checksums": json.dumps([_checksum(batch) for batch in batches])})
    return to_ipc([batch.replace_schema_metadata(schema.metadata) for batch in batches], schema)


@dataclass(frozen=True)
class Layout:
    """Which partition holds an ordinal: `starts` are the ordinals of the partitions' first rows, ascending."""

    starts: tuple[int, ...]

    @classmethod
    def of(cls, documents: Manifest) -> Layout:
        """The layout of a dataset's partitions."""
        return cls(tuple(documents.starts.values()))

    def scatter(self, columns: Mapping[str, npt.NDArray[Any]]) -> pa.Buffer:
        """Rows with an `ordinal`, scattered over the partitions that hold it."""
        bucket = np.searchsorted(np.asarray(self.starts, np.int64), columns["ordinal"], side="right") - 1
        return scatter(columns, bucket, len(self.starts))


def _numbers(column: pa.Array) -> Iterator[npt.NDArray[Any]]:
    """All numbers of a column, as flat arrays."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        yield np.asarray(pc.list_value_length(column), dtype=np.int64)
        yield from _numbers(column.flatten())
    elif pa.types.is_fixed_size_list(column.type):
        yield from _numbers(column.flatten())
    else:
        yield column.to_numpy(zero_copy_only=True)


def _checksum(batch: pa.RecordBatch) -> str:
    digest = xxhash.xxh3_128()
    for column in batch.columns:
        for values in _numbers(column):
            digest.update(values.view(np.uint8).data)
    return digest.hexdigest()


def _batches(workdir: Workdir, manifest: Manifest, first: int, last: int, buckets: int) -> Iterator[pa.RecordBatch]:
    for partition in manifest.partitions:
        raw = workdir.read(manifest.dataset, partition.name)
        path = workdir.path(manifest.dataset, partition.name)
        if raw is None or raw.size != partition.bytes:
            raise CorruptData(f"{path}: missing or of another size than its manifest says; delete it and run again")
        reader = pa.ipc.open_file(pa.BufferReader(raw))
        checksums = json.loads(reader.schema.metadata[b"checksums"])
        if len(checksums) != buckets:
            raise CorruptData(f"{path}: has {len(checksums)} buckets where {buckets} are expected; delete its folder and run again")
        for bucket in range(first, last):
            batch = reader.get_batch(bucket)
            if _checksum(batch) != checksums[bucket]:
                raise CorruptData(f"{path}: bucket {bucket} is not what was written (checksum differs); delete it and run again")
            yield batch.replace_schema_metadata(None)


def gather(workdir: Workdir, dataset: str | Manifest, bucket: int, buckets: int, *, of: int | None = None) -> pa.Table | None:
    """One of `buckets` buckets, from every scattered file of a finished dataset, in the order of its partitions.

    Columns are chunked and memory-mapped where the workdir is local. None where the dataset has no files. `of`: how many buckets the
    dataset was scattered over, where these are not `buckets`. If they are more, all that make up the bucket are joined; if they are
    fewer, the one that contains the bucket is returned, and the caller picks its rows. Raises `CorruptData` where a file is missing or
    damaged.
    """
    manifest = workdir.require(dataset) if isinstance(dataset, str) else dataset
    theirs = of or buckets
    first = bucket * theirs // buckets
    last = max(first + 1, (bucket + 1) * theirs // buckets)
    batches = list(_batches(workdir, manifest, first, last, theirs))
    return pa.Table.from_batches(batches) if batches else None

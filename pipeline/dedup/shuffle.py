"""All-to-all through the workdir: a task scatters its rows over buckets, another gathers one bucket from every task.

A scattered file is an Arrow IPC file with one record batch a bucket, so that a reader maps the file and touches only its
own batch. Each batch's checksum stands in the schema's metadata, because the file's own would have to be read whole by
every reader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipeline.dataset import Workdir, to_ipc
from pipeline.errors import CorruptData

Columns = dict[str, npt.NDArray[np.generic]]

# Rows that a gathered bucket holds, about, over the whole corpus: what bounds the memory of the task that reads it.
ROWS_IN_A_BUCKET = 1 << 24


def buckets_for(rows: int) -> int:
    """How many buckets keep each at a bounded size; a function of the corpus alone, so that the output is too."""
    return max(1, -(-rows // ROWS_IN_A_BUCKET))


def scatter(columns: Mapping[str, npt.NDArray[Any]], bucket: npt.NDArray[np.integer], buckets: int) -> pa.Buffer:
    """Rows (equally long columns) as a scattered file: batch `b` holds those with `bucket == b`, in their order."""
    order = np.argsort(bucket, kind="stable")
    ends = np.searchsorted(bucket[order], np.arange(buckets + 1))
    batches, checksums = [], []
    for number in range(buckets):
        rows = order[ends[number] : ends[number + 1]]
        arrays = {name: np.ascontiguousarray(values[rows]) for name, values in columns.items()}
        digest = xxhash.xxh3_128()
        for values in arrays.values():
            digest.update(values.view(np.uint8).data)
        checksums.append(digest.hexdigest())
        batches.append(pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in arrays.items()}))
    schema = batches[0].schema.with_metadata({"checksums": json.dumps(checksums)})
    return to_ipc([batch.replace_schema_metadata(schema.metadata) for batch in batches], schema)


def gather(workdir: Workdir, dataset: str, bucket: int) -> Columns:
    """One bucket of every scattered file of a finished dataset, in the order of its partitions. Raises `CorruptData`."""
    manifest = workdir.require(dataset)
    parts: dict[str, list[npt.NDArray[np.generic]]] = {}
    for partition in manifest.partitions:
        raw = workdir.read(manifest.dataset, partition.name)
        path = workdir.path(manifest.dataset, partition.name)
        if raw is None or raw.size != partition.bytes:
            raise CorruptData(f"{path}: missing or of another size than its manifest says; delete it and run again")
        reader = pa.ipc.open_file(pa.BufferReader(raw))
        batch = reader.get_batch(bucket)
        digest = xxhash.xxh3_128()
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            values = column.to_numpy(zero_copy_only=True)
            digest.update(values.view(np.uint8).data)
            parts.setdefault(name, []).append(values)
        if digest.hexdigest() != json.loads(reader.schema.metadata[b"checksums"])[bucket]:
            raise CorruptData(f"{path}: bucket {bucket} is not what was written (checksum differs); delete it and run again")
    return {name: np.concatenate(values) for name, values in parts.items()}

"""Rows as record batches of shards, one by one (packing builds columns at once)."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.shards import LISTS, Row, ShardInfo, row_checksums, schema


def record_batch(info: ShardInfo, rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows as one record batch of `schema(info)`; checksums included."""
    target = schema(info)
    columns = [pa.array([getattr(row, name) for row in rows], type=target.field(name).type) for name in LISTS]
    return pa.RecordBatch.from_arrays([*columns, pa.array(row_checksums(*columns))], schema=target)

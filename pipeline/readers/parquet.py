"""Parquet, Arrow IPC and Feather files, batch by batch."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.readers.config import SourceConfig
from pipeline.readers.files import STREAM_ERRORS, Member, describe
from pipeline.readers.json_records import to_record
from pipeline.readers.record import Record, Unreadable

BATCH_ROWS = 1024


def read(member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """One row, one record, fields mapped as in JSON. A file must end with its footer, so a truncated one is unreadable."""
    row = 0
    try:
        for batch in _batches(member):
            for record in _rows(batch):
                place = f"{member.path}#{row}"
                row += 1
                if isinstance(record, Unreadable):
                    yield Unreadable(place, record.error, record.raw)
                else:
                    yield to_record(record, place, source)
    except (*STREAM_ERRORS, UnicodeDecodeError) as error:  # the latter of a column's name
        yield Unreadable(f"{member.path}#{row}", f"the rest cannot be read: {describe(error)}")


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | Unreadable]:
    """A batch's rows; where a text is not UTF-8 (Parquet does not check), that row alone is unreadable."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield Unreadable("", f"not UTF-8: {error.reason}", bytes(error.object[:1024]))


def _batches(member: Member) -> Iterator[pa.RecordBatch]:
    stream = member.stream
    if not stream.seekable():  # compressed, or within an archive: the footer is at the end
        stream = cast(Any, io.BytesIO(stream.read()))
    file = pa.PythonFile(stream, mode="r")
    head = file.read(6)
    file.seek(0)
    if head[:4] == b"PAR1":
        yield from pq.ParquetFile(file).iter_batches(batch_size=BATCH_ROWS, use_threads=False)
    elif head == b"ARROW1":
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:  # Hugging Face datasets write the stream format
        yield from pa.ipc.open_stream(file)

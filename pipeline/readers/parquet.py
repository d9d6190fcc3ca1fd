"""Parquet, Arrow IPC and Feather files, batch by batch, each checked before a value of it is touched."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from pipeline.readers.arrow_messages import CheckedStream, check_file
from pipeline.readers.config import FieldsSource
from pipeline.readers.json_records import to_record
from pipeline.readers.record import Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, describe, rejoin

BATCH_ROWS = 1024
# Of a Parquet batch, if each of its rows were as long as all the row group: a dictionary makes that cheap to write.
_BATCH_BYTES = 64 << 20
_EXPANDED_BYTES = 256 << 20  # that a column of lists may take, if each of its values were as long as all of them
_BUFFER_BYTES = 1 << 20  # of a column are read at a time, else all of it in the row group
_ARROW_BATCH_BYTES = 512 << 20  # of an Arrow batch with what its compressed buffers become, at most: it is read whole
_JOINED_BYTES = 1 << 20
_IN_MEMORY = 32 << 20  # of a file that cannot be sought in; a longer one goes to a temporary file
_VALUE_BYTES = 8  # that any value counts for, since nulls and empty lists take none in Arrow, and some in Python

_Sizes = int | npt.NDArray[np.int64]  # bytes a row, one number where all have the same
# What a value of a row may raise as it becomes Python's: a date past the year 9999, a time zone that is none.
_VALUE_ERRORS = (ValueError, OverflowError, LookupError, TypeError, pa.ArrowException)

# A file may claim more bytes than there is memory for.
_DAMAGE = (*STREAM_ERRORS, MemoryError)


def read(member: Member, source: FieldsSource) -> Iterator[Record | Unreadable]:
    """One row, one record, fields mapped as in JSON. A file must end with its footer, so a truncated one is unreadable.

    A row longer than `max_record_bytes` is unreadable, as is a batch whose offsets or indices lead out of it; the others are read.
    """
    row = 0
    allowed = max(1 << 20, member.size * source.max_expansion)
    try:
        for batch in _batches(member, max(_ARROW_BATCH_BYTES, source.max_record_bytes)):
            if isinstance(batch, str):
                yield Unreadable(f"{member.path}#{row}", batch)
                continue
            try:
                _check(batch)
            except pa.ArrowException as error:
                yield Unreadable(f"{member.path}#{row}", f"a batch of {batch.num_rows} rows is not valid: {describe(error)}")
                row += max(0, batch.num_rows)
                continue
            if row + batch.num_rows > allowed:  # columns of nothing but nulls take no bytes
                raise OSError(f"{row + batch.num_rows} rows in a file of {member.size} bytes (max_expansion)")
            for record in _rows(batch, source.max_record_bytes):
                place = f"{member.path}#{row}"
                row += 1
                if isinstance(record, Unreadable):
                    yield Unreadable(place, record.error, record.raw)
                else:
                    yield to_record(record, place, source)
    except (*_DAMAGE, UnicodeDecodeError) as error:  # the latter of a column's name
        yield Unreadable(f"{member.path}#{row}", f"the rest cannot be read: {describe(error)}")


def _batches(member: Member, limit: int) -> Iterator[pa.RecordBatch | str]:
    """A file's batches, and why one of them cannot be read. None of Arrow's may take over `limit` bytes."""
    head = member.stream.read(6)
    stream = rejoin(head, member.stream)
    if head[:4] != b"PAR1" and head != b"ARROW1":  # Hugging Face datasets write the stream format
        checked = io.BufferedReader(CheckedStream(stream, limit), 1 << 16)
        yield from pa.ipc.open_stream(pa.PythonFile(checked, mode="r"))
        return
    with _seekable(member, stream) as whole:
        if head == b"ARROW1":
            check_file(whole, limit)
        file = pa.PythonFile(whole, mode="r")
        if head == b"ARROW1":
            reader = pa.ipc.open_file(file)
            for index in range(reader.num_record_batches):
                try:
                    yield reader.get_batch(index)
                except _DAMAGE as error:
                    yield f"batch {index} cannot be read: {describe(error)}"
            return
        table = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES)
        if shared := _may_expand(table.metadata):
            table = pq.ParquetFile(file, metadata=table.metadata, read_dictionary=shared, buffer_size=_BUFFER_BYTES)
        for index in range(table.num_row_groups):
            longest = table.metadata.row_group(index).total_byte_size
            rows = min(BATCH_ROWS, max(1, _BATCH_BYTES // max(1, longest)))
            try:
                yield from _joined(table.iter_batches(rows, row_groups=[index], use_threads=False))
            except _DAMAGE as error:
                yield f"the rest of row group {index} cannot be read: {describe(error)}"


def _joined(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Small batches joined, since each costs as much to look at as a large one; those before damage come before it is raised."""
    held: list[pa.RecordBatch] = []
    size = rows = 0
    try:
        for batch in batches:
            alone = not held and batch.nbytes >= _JOINED_BYTES
            if alone or "dictionary<" in str(batch.schema.types):  # nested ones too; all of them would have to be made one
                yield batch
                continue
            held.append(batch)
            size, rows = size + batch.nbytes, rows + batch.num_rows
            if size >= _JOINED_BYTES or rows >= BATCH_ROWS:
                yield pa.concat_batches(held)
                held, size, rows = [], 0, 0
    except _DAMAGE:
        if held:
            yield pa.concat_batches(held)
        raise
    if held:
        yield pa.concat_batches(held)


def _may_expand(metadata: pq.FileMetaData) -> list[str]:
    """The columns that hold lists of texts. They are read as dictionaries, since one row of them could repeat an entry for gigabytes."""
    found = set()
    for number in range(metadata.num_columns):
        column = metadata.schema.column(number)
        if column.max_repetition_level == 0 or column.physical_type != "BYTE_ARRAY" or column.logical_type.type not in ("STRING", "NONE"):
            continue
        for index in range(metadata.num_row_groups):
            chunk = metadata.row_group(index).column(number)
            if any("DELTA" in encoding for encoding in chunk.encodings):  # which pyarrow does not read as a dictionary
                found.discard(column.path)
                break
            if chunk.has_dictionary_page and chunk.num_values * chunk.total_uncompressed_size > _EXPANDED_BYTES:
                found.add(column.path)
    return sorted(found)


def _seekable(member: Member, stream: BinaryIO) -> BinaryIO:
    """The member, to seek in: its footer is at the end. A compressed one, or one within an archive, is copied.

    `stream` is the member's from its beginning. Closing what is returned closes the member's own stream or the copy.
    """
    if member.stream.seekable() and not isinstance(member.stream, zipfile.ZipExtFile):  # which reads all again to go back
        member.stream.seek(0)
        return member.stream
    copy = cast(BinaryIO, tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(stream, copy, 1 << 20)
    copy.seek(0)
    return copy


def _check(batch: pa.RecordBatch) -> None:
    """Raises `pa.ArrowInvalid` where offsets, indices or lengths lead out of the batch: to read it would end the process.

    Text that is not UTF-8 is no reason to: its row alone is unreadable.
    """
    batch.validate()
    for column in batch.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            column.view(_as_bytes(column.type)).validate(full=True)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """A type with bytes where it has text, nested ones too. Raises `pa.ArrowInvalid` for those that cannot be seen so."""
    if types.is_string(kind):
        return pa.binary()
    if types.is_large_string(kind):
        return pa.large_binary()
    if types.is_string_view(kind):
        return pa.binary_view()
    if types.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_as_bytes(kind.key_type), _as_bytes(kind.item_type))
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _as_bytes(kind.value_type), kind.ordered)
    return kind


def _rows(batch: pa.RecordBatch, limit: int) -> Iterator[dict[str, Any] | Unreadable]:
    """A batch's rows, of which no more than `limit` bytes become Python's at a time."""
    for begin in range(0, batch.num_rows, BATCH_ROWS):
        for part, size in _parts(batch.slice(begin, BATCH_ROWS), limit):
            if size > limit:
                yield Unreadable("", f"a row of {size} bytes or more, over max_record_bytes ({limit})")
                continue
            try:
                yield from part.to_pylist()
            except _VALUE_ERRORS:
                for index in range(part.num_rows):
                    yield _row(part.slice(index, 1))


def _row(batch: pa.RecordBatch) -> dict[str, Any] | Unreadable:
    """A batch's only row. Parquet does not check whether a text is UTF-8."""
    try:
        return cast(dict[str, Any], batch.to_pylist()[0])
    except UnicodeDecodeError as error:
        return Unreadable("", f"not UTF-8: {error.reason}", bytes(error.object[:1024]))
    except _VALUE_ERRORS as error:
        return Unreadable("", f"a value that cannot be read: {describe(error)}")


def _parts(batch: pa.RecordBatch, limit: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    """A batch in parts of at most `limit` bytes, with their sizes; a row that is longer is a part of its own."""
    rows = batch.num_rows
    try:
        sizes = sum((_sizes(column, limit) for column in batch.columns), np.zeros(rows, np.int64))
    except _TooMany as error:
        if rows == 1:
            yield batch, error.bytes
        else:
            yield from _parts(batch.slice(0, rows // 2), limit)
            yield from _parts(batch.slice(rows // 2), limit)
        return
    ends = np.cumsum(sizes)
    begin = before = 0
    while begin < rows:
        end = max(begin + 1, int(np.searchsorted(ends, before + limit, "right")))
        yield batch.slice(begin, end - begin), int(ends[end - 1]) - before
        begin, before = end, int(ends[end - 1])


class _TooMany(Exception):
    """More values than all rows together may have, to be looked at."""

    def __init__(self, size: int) -> None:
        self.bytes = size


def _sizes(array: pa.Array, limit: int) -> _Sizes:
    """Bytes of each row of a valid column. What rows share (an entry of a dictionary, a run, a view's bytes) counts for each of them.

    Raises `_TooMany` where lists have so many values that the rows cannot all be short, and `pa.ArrowInvalid` for a type whose rows
    could share lists, since each level of such lists multiplies what it holds.
    """
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _sizes(array.storage, limit)
    if types.is_dictionary(kind) and not types.is_nested(kind.value_type):
        return _shared(array.dictionary, array.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False), limit)
    if types.is_run_end_encoded(kind) and not types.is_nested(kind.value_type):
        if len(array) > BATCH_ROWS:  # within a list, where a run takes no bytes
            raise _TooMany(_VALUE_BYTES * len(array) + limit)
        ends = array.run_ends.to_numpy(zero_copy_only=False)
        return _shared(array.values, np.searchsorted(ends, np.arange(len(array)) + array.offset, "right"), limit)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        views = np.frombuffer(array.buffers()[1] or b"", np.int32, 4 * (array.offset + len(array)))[4 * array.offset :: 4]  # the lengths
        return _VALUE_BYTES + np.maximum(views, 0).astype(np.int64)
    if types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind) or types.is_large_binary(kind):
        return _VALUE_BYTES + np.asarray(pc.binary_length(array).fill_null(0), dtype=np.int64)
    if types.is_struct(kind):
        return sum((_sizes(array.field(index), limit) for index in range(kind.num_fields)), _VALUE_BYTES)
    if types.is_map(kind):
        array = array.view(pa.list_(pa.struct([kind.key_field, kind.item_field])))
        return _list_sizes(array, limit)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _list_sizes(array, limit)
    if types.is_nested(kind) or types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        raise pa.ArrowInvalid(f"a column of {str(kind)[:80]}, which is not read; write it as lists")
    if types.is_fixed_size_binary(kind) or types.is_decimal(kind):
        return _VALUE_BYTES + int(kind.byte_width)
    return _VALUE_BYTES


def _shared(values: pa.Array, indices: npt.NDArray[np.int64], limit: int) -> _Sizes:
    """Bytes of the values at those indices; the index of a null is -1."""
    sizes = _sizes(values, limit)
    return sizes if isinstance(sizes, int) else np.append(sizes, _VALUE_BYTES)[indices]


def _list_sizes(array: pa.Array, limit: int) -> _Sizes:
    lengths = np.asarray(pc.list_value_length(array).fill_null(0), dtype=np.int64)
    total = int(lengths.sum())
    if total * _VALUE_BYTES > limit:
        raise _TooMany(total * _VALUE_BYTES)
    sizes = _sizes(array.flatten(), limit)
    if isinstance(sizes, int):
        return _VALUE_BYTES + lengths * sizes
    ends = np.cumsum(lengths)
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    return cast(_Sizes, _VALUE_BYTES + sums[ends] - sums[ends - lengths])

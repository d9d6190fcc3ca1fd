"""Packed shards: the format that ends the pipeline and begins training. `docs/shards.md` is its page.

A shard folder holds Arrow IPC files of one record batch each and an `index.json`. One row is one packed sequence:

    input_ids    list<uint16 | uint32>  [CLS] ... [SEP] [CLS] ... [SEP]: real tokens only, at most `length` of them
    cu_seqlens   list<int32>            segment boundaries: 0, ..., len(input_ids)
    domain       list<uint8>            per segment: index into the metadata's `domains`
    document     list<int64>            per segment: the document's ordinal in `documents/`
    crc32        uint32                 of the bytes of the four lists, in this order

Nothing is padded: a row that is not quite full is simply shorter, so that nothing downstream can compute on padding.
The schema's metadata carries one JSON object under `foundry` (see `ShardInfo`). Any Arrow reader can read the files:

    >>> import pyarrow as pa                                               # doctest: +SKIP
    >>> table = pa.ipc.open_file(pa.memory_map("shards/stable/part-00000-000.arrow")).read_all()
    >>> table["input_ids"][0].as_py()

This module imports pyarrow and numpy only, so that a trainer's workers start fast.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

METADATA_KEY = b"foundry"
INDEX = "index.json"
FORMAT = 1
LISTS = ("input_ids", "cu_seqlens", "domain", "document")
CHECKSUM = "crc32"
MOST_OPEN = 256  # remote files that are mapped at once


class ShardError(Exception):
    """A shard that cannot be trusted. The message is one line: which file, what is wrong, what to do."""


@dataclass(frozen=True)
class ShardInfo:
    """What every shard file of a folder says of itself (schema metadata, JSON)."""

    length: int  # L: the most tokens that a row holds
    vocab_size: int
    cls: int
    sep: int
    pad: int
    mask: int
    ordinary: tuple[int, int]  # half-open range of ids that are ordinary words: what a random replacement may be
    domains: tuple[str, ...]
    tokenizer: str  # fingerprint of the tokenizer that made the ids
    plan: str  # fingerprint of the plan that chose the documents
    word_starts: str = ""  # hex of a bitmap, lowest bit first: which ids begin a word; empty where that is not known

    def begins_word(self) -> npt.NDArray[np.bool_]:
        """Which ids begin a word: bool (vocab_size,); all of them where that is not known."""
        if not self.word_starts:
            return np.ones(self.vocab_size, bool)
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(self.word_starts), np.uint8), bitorder="little")
        return bits[: self.vocab_size].astype(bool)

    def to_metadata(self) -> dict[bytes, bytes]:
        return {METADATA_KEY: json.dumps(asdict(self), sort_keys=True).encode()}

    @classmethod
    def from_metadata(cls, metadata: dict[bytes, bytes] | None, path: str) -> ShardInfo:
        raw = (metadata or {}).get(METADATA_KEY)
        if raw is None:
            raise ShardError(f"{path}: not a packed shard (no `foundry` metadata); point at a folder made by `foundry pack`")
        values: dict[str, Any] = json.loads(raw)
        values["ordinary"] = tuple(values["ordinary"])
        values["domains"] = tuple(values["domains"])
        return cls(**values)


class Row(NamedTuple):
    """One packed sequence; arrays are read-only views into the mapped file, nothing is copied."""

    input_ids: npt.NDArray[np.unsignedinteger[Any]]  # (tokens,)
    cu_seqlens: npt.NDArray[np.int32]  # (segments + 1,)
    domain: npt.NDArray[np.uint8]  # (segments,)
    document: npt.NDArray[np.int64]  # (segments,)


def checksum(row: Row) -> int:
    """CRC-32 (as zlib's) of a row's bytes."""
    value = 0
    for values in row:
        value = zlib.crc32(values, value)  # type: ignore[arg-type]
    return value


def row_checksums(*columns: pa.ListArray) -> npt.NDArray[np.uint32]:
    """The checksum of each row, from its four list columns: uint32 (rows,)."""
    lists = [_Lists(column) for column in columns]
    return np.array([checksum(Row(*(column[row] for column in lists))) for row in range(len(columns[0]))], np.uint32)


def schema(info: ShardInfo) -> pa.Schema:
    """The Arrow schema of a shard file; ids are uint16 while the vocabulary fits, else uint32."""
    id_type = pa.uint16() if info.vocab_size <= 1 << 16 else pa.uint32()
    items = {"input_ids": id_type, "cu_seqlens": pa.int32(), "domain": pa.uint8(), "document": pa.int64()}
    lists = [pa.field(name, pa.list_(pa.field("item", items[name], nullable=False)), nullable=False) for name in LISTS]
    return pa.schema([*lists, pa.field(CHECKSUM, pa.uint32(), nullable=False)], metadata=info.to_metadata())


class _Lists:
    """One list column of one mapped file, as numpy views."""

    def __init__(self, column: pa.ListArray) -> None:
        self.offsets = column.offsets.to_numpy()
        self.values = column.values.to_numpy()

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = self.values[self.offsets[row] : self.offsets[row + 1]]
        return values


class _File:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if reader.num_record_batches != 1:
                raise ShardError(f"{path}: {reader.num_record_batches} record batches where one is expected; pack again")
            batch = reader.get_batch(0)
        except (pa.ArrowInvalid, OSError) as error:
            raise ShardError(f"{path}: cannot be read as an Arrow file ({error}); delete it and pack again") from error
        self.info = ShardInfo.from_metadata(batch.schema.metadata, str(path))
        if not batch.schema.equals(schema(self.info)):
            raise ShardError(f"{path}: its columns are {', '.join(batch.schema.names)}, not those of a shard of this version; pack again")
        self.rows: int = batch.num_rows
        self.columns = [_Lists(batch.column(name)) for name in LISTS]
        self.checksums = batch.column(CHECKSUM).to_numpy()

    def row(self, number: int) -> Row:
        a, b, c, d = self.columns
        row = Row(a[number], b[number], c[number], d[number])
        if checksum(row) != self.checksums[number]:
            raise ShardError(f"{self.path}: row {number} is not what was written (checksum differs); delete the file and pack again")
        return row


class Place(Protocol):
    """Where a folder's files are kept: gives the path of each on this machine, fetching it if need be."""

    def path(self, name: str, size: int, xxh3_128: str) -> Path: ...
    def ahead(self, files: Iterable[tuple[str, int, str]]) -> None: ...
    def read(self, name: str) -> bytes | None: ...
    def __str__(self) -> str: ...


class Folder:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str, size: int, xxh3_128: str) -> Path:
        return self.folder / name

    def ahead(self, files: Iterable[tuple[str, int, str]]) -> None:
        return

    def read(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def __str__(self) -> str:
        return str(self.folder)


class Shards:
    """All rows of one shard folder, numbered 0 .. len - 1 in the index's order; files are mapped on first use.

    Every row is checked against its checksum as it is read. Raises `ShardError` where the folder is unfinished, a file is
    missing, of another size than the index's, unreadable, or says of itself something else than its siblings (another
    tokenizer, another length).

    `folder`: a path, or a `Place` such as `trainer.cache.Cached`. Opening it reads the index and one file, however many there are.
    """

    def __init__(self, folder: str | Path | Place, *, length: int | None = None, tokenizer: str | None = None) -> None:
        self.place: Place = Folder(Path(folder)) if isinstance(folder, str | Path) else folder
        raw = self.place.read(INDEX)
        if raw is None:
            raise ShardError(f"{self.place}: no {INDEX}; packing has not finished there, run it again")
        index: dict[str, Any] = json.loads(raw)
        if index.get("format") != FORMAT:
            raise ShardError(f"{self.place}/{INDEX}: of format {index.get('format')}, this version reads {FORMAT}; pack again")
        self.fingerprint: str = index["fingerprint"]
        self.files: list[dict[str, Any]] = index["files"]
        if not self.files or not index["rows"]:
            raise ShardError(f"{self.place}: holds no rows; the mix left nothing for this phase")
        self._starts = np.concatenate([[0], np.cumsum([file["rows"] for file in self.files])]).astype(np.int64)
        self._open: dict[int, _File] = {}
        if isinstance(self.place, Folder):
            self._check_sizes()
        first = int(np.searchsorted(self._starts, 0, side="right")) - 1
        self.info = self._file(first).info
        if length is not None and self.info.length != length:
            raise ShardError(f"{self.place}: packed to {self.info.length} tokens, asked for {length}; pack this phase again")
        if tokenizer is not None and self.info.tokenizer != tokenizer:
            raise ShardError(f"{self.place}: packed with another tokenizer than the one given; pack this phase again")

    def _check_sizes(self) -> None:
        for file in self.files:
            path = self.place.path(file["name"], file["bytes"], file["xxh3_128"])
            if not path.is_file() or path.stat().st_size != file["bytes"]:
                what = "is missing" if not path.is_file() else "has another size than the index says"
                raise ShardError(f"{path}: {what}; delete {self.place}/_manifest.json and pack again")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _file(self, index: int) -> _File:
        file = self._open.get(index)
        if file is None:
            entry = self.files[index]
            path = self.place.path(entry["name"], entry["bytes"], entry["xxh3_128"])
            if not isinstance(self.place, Folder):
                if not path.is_file():  # another process's cache was quicker to evict it than we to map it
                    path = self.place.path(entry["name"], entry["bytes"], entry["xxh3_128"])
                while len(self._open) >= MOST_OPEN:  # so that what is evicted gives its space back
                    del self._open[next(iter(self._open))]
            file = _File(path)
            if file.rows != entry["rows"]:
                raise ShardError(f"{path}: {file.rows} rows, the index says {entry['rows']}; pack again")
            if self._open and file.info != self.info:
                raise ShardError(f"{path}: made with other settings than its siblings; delete the folder and pack again")
            self._open[index] = file
        return file

    def locate(self, row: int) -> tuple[int, int]:
        """The number of the file that holds a row, and the row's place there."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        index = int(np.searchsorted(self._starts, row, side="right")) - 1
        return index, row - int(self._starts[index])

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file["bytes"] for file in self.files)

    def ahead(self, rows: npt.NDArray[np.int64]) -> None:
        """Begin to fetch the files of rows that will be read soon, where they are not on this machine."""
        if isinstance(self.place, Folder):
            return
        wanted = np.unique(np.searchsorted(self._starts, rows, side="right") - 1)
        self.place.ahead((f["name"], f["bytes"], f["xxh3_128"]) for f in (self.files[index] for index in wanted))

    def __getitem__(self, row: int) -> Row:
        index, local = self.locate(row)
        return self._file(index).row(local)


def record_batch(info: ShardInfo, rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows as one record batch of `schema(info)`; for tests and small tools (`pipeline.packing` builds columns at once)."""
    target = schema(info)
    columns = [pa.array([getattr(row, name) for row in rows], type=target.field(name).type) for name in LISTS]
    return pa.RecordBatch.from_arrays([*columns, pa.array(row_checksums(*columns))], schema=target)

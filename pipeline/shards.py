"""Packed shards: the format that ends the pipeline and begins training.

A shard folder holds Arrow IPC files of one record batch each and a `_manifest.json`. One row is one packed sequence:

    input_ids    list<uint16 | uint32>  [CLS] ... [SEP] [CLS] ... [SEP]: real tokens only, at most `length` of them
    cu_seqlens   list<int32>            segment boundaries: 0, ..., len(input_ids)
    domain       list<uint8>            per segment: index into the metadata's `domains`
    document     list<int64>            per segment: the document's ordinal in `documents/`

Nothing is padded: a row that is not quite full is simply shorter, so that nothing downstream can compute on padding.
The schema's metadata carries one JSON object under `foundry` (see `ShardInfo`). Any Arrow reader can read the files:

    >>> import pyarrow as pa                                               # doctest: +SKIP
    >>> table = pa.ipc.open_file(pa.memory_map("shards/stable/part-00000.arrow")).read_all()
    >>> table["input_ids"][0].as_py()

This module imports pyarrow and numpy only, so that a trainer's workers start fast.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

METADATA_KEY = b"foundry"


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


def schema(info: ShardInfo) -> pa.Schema:
    """The Arrow schema of a shard file; ids are uint16 while the vocabulary fits, else uint32."""
    id_type = pa.uint16() if info.vocab_size <= 1 << 16 else pa.uint32()
    return pa.schema(
        [
            pa.field("input_ids", pa.list_(pa.field("item", id_type, nullable=False)), nullable=False),
            pa.field("cu_seqlens", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False),
            pa.field("domain", pa.list_(pa.field("item", pa.uint8(), nullable=False)), nullable=False),
            pa.field("document", pa.list_(pa.field("item", pa.int64(), nullable=False)), nullable=False),
        ],
        metadata=info.to_metadata(),
    )


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
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if reader.num_record_batches != 1:
                raise ShardError(f"{path}: {reader.num_record_batches} record batches where one is expected; pack again")
            batch = reader.get_batch(0)
        except (pa.ArrowInvalid, OSError) as error:
            raise ShardError(f"{path}: cannot be read as an Arrow file ({error}); delete it and pack again") from error
        self.info = ShardInfo.from_metadata(batch.schema.metadata, str(path))
        self.rows: int = batch.num_rows
        self.columns = {name: _Lists(batch.column(name)) for name in ("input_ids", "cu_seqlens", "domain", "document")}


class Shards:
    """All rows of one shard folder, numbered 0 .. len - 1 in the manifest's order; files are mapped on first use.

    Raises `ShardError` where the folder is unfinished, a file is missing, of another size than the manifest's, unreadable,
    or says of itself something else than its siblings (another tokenizer, another length).
    """

    def __init__(self, folder: str | Path, *, length: int | None = None, tokenizer: str | None = None) -> None:
        self.folder = Path(folder)
        manifest_path = self.folder / "_manifest.json"
        if not manifest_path.is_file():
            raise ShardError(f"{self.folder}: no complete manifest; packing has not finished there, run it again")
        manifest: dict[str, Any] = json.loads(manifest_path.read_text())
        self.fingerprint: str = manifest["fingerprint"]
        self.partitions: list[dict[str, Any]] = manifest["partitions"]
        for partition in self.partitions:
            path = self.folder / partition["name"]
            if not path.is_file() or path.stat().st_size != partition["bytes"]:
                what = "is missing" if not path.is_file() else "has another size than the manifest says"
                raise ShardError(f"{path}: {what}; delete {manifest_path} and pack again")
        if not self.partitions:
            raise ShardError(f"{self.folder}: holds no rows; the mix left nothing for this phase")
        self._starts = np.concatenate([[0], np.cumsum([partition["rows"] for partition in self.partitions])]).astype(np.int64)
        self._files: dict[int, _File] = {}
        self.info = self._file(0).info
        if length is not None and self.info.length != length:
            raise ShardError(f"{self.folder}: packed to {self.info.length} tokens, asked for {length}; pack this phase again")
        if tokenizer is not None and self.info.tokenizer != tokenizer:
            raise ShardError(f"{self.folder}: packed with another tokenizer than the one given; pack this phase again")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _file(self, index: int) -> _File:
        file = self._files.get(index)
        if file is None:
            path = self.folder / self.partitions[index]["name"]
            file = _File(path)
            if file.rows != self.partitions[index]["rows"]:
                raise ShardError(f"{path}: {file.rows} rows, the manifest says {self.partitions[index]['rows']}; pack again")
            if self._files and file.info != self.info:
                raise ShardError(f"{path}: made with other settings than its siblings; delete the folder and pack again")
            self._files[index] = file
        return file

    def __getitem__(self, row: int) -> Row:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        index = int(np.searchsorted(self._starts, row, side="right")) - 1
        file, local = self._file(index), row - int(self._starts[index])
        return Row(*(file.columns[name][local] for name in ("input_ids", "cu_seqlens", "domain", "document")))


def record_batch(info: ShardInfo, rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows as one record batch of `schema(info)`; for tests and small tools (`pipeline.packing` builds columns at once)."""
    target = schema(info)
    columns = [pa.array([getattr(row, field.name) for row in rows], type=field.type) for field in target]
    return pa.RecordBatch.from_arrays(columns, schema=target)

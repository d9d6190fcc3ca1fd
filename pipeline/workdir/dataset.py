"""The workdir and its datasets: folders of partitions with a manifest.

A task of a stage writes its partitions, each whole or not at all. Then it writes a *task record*, which names the partitions with their
rows, bytes and checksums, and has the fingerprint (`key`) of everything that determined them. When all tasks of a stage are recorded,
the stage writes `_manifest.json` (`commit.py` has how). So a folder without a manifest is unfinished, a record with another key than
expected is stale, and running again makes only what is missing or stale.

Everything goes through `pyarrow.fs`, so a workdir is a local folder or any URI that pyarrow opens (s3://, gs://, hdfs://).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import xxhash

from pipeline.workdir.errors import CorruptData, UserError
from storage.errors import StorageError
from storage.folder import Folder
from storage.location import Location

FORMAT = 1  # of manifests and task records; raised when their meaning changes
MANIFEST = "_manifest.json"
TASKS = "_tasks"  # a folder: records of tasks, one by one, while a stage runs
RECORDS = "_tasks.json"  # the records of all tasks of a finished stage
NEW = "_new"  # a folder: what is made anew beside a finished dataset, until it is whole
COMMIT = "_commit.json"  # in that folder: all of it is there, and this is how it becomes the dataset


def fingerprint(*values: Any) -> str:
    """128-bit xxh3, in hex, of the values' canonical JSON: equal for equal content, whatever the order of dict keys."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_plain)
    return xxhash.xxh3_128_hexdigest(canonical.encode())


def _plain(value: Any) -> Any:
    """A JSON value for the values in configurations that JSON has no type for: pydantic models, dataclasses, paths, sets."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"cannot take the fingerprint of a {type(value).__name__}")


@dataclass(frozen=True)
class Partition:
    """One file of a dataset. `name` is relative to the dataset's folder; `checksum` is xxh3-128 of its bytes, in hex."""

    name: str
    rows: int
    bytes: int
    checksum: str

    @classmethod
    def from_entry(cls, entry: Any) -> Partition:
        """The partition that an entry of a manifest or task record describes. Raises `TypeError` where it describes none."""
        found = cls(**entry)
        numbers = (found.rows, found.bytes)
        if not all(isinstance(text, str) for text in (found.name, found.checksum)) or not all(type(n) is int and n >= 0 for n in numbers):
            raise TypeError(f"{entry!r:.200} is no partition")
        return found


@dataclass(frozen=True)
class Manifest:
    """A finished dataset. Partitions are sorted by name, and rows are numbered through them in that order (ordinals)."""

    dataset: str
    stage: str
    fingerprint: str
    partitions: tuple[Partition, ...]
    configuration: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def rows(self) -> int:
        """Rows of all partitions."""
        return sum(partition.rows for partition in self.partitions)

    @cached_property
    def size(self) -> int:
        """Bytes of all partitions."""
        return sum(partition.bytes for partition in self.partitions)

    @cached_property
    def content(self) -> str:
        """Fingerprint of the data itself, whatever made it: this is what later stages depend on."""
        return fingerprint([(partition.name, partition.checksum) for partition in self.partitions])

    @cached_property
    def by_name(self) -> dict[str, Partition]:
        """The partitions by their names."""
        return {partition.name: partition for partition in self.partitions}

    @cached_property
    def starts(self) -> dict[str, int]:
        """The ordinal of each partition's first row."""
        starts, start = {}, 0
        for partition in self.partitions:
            starts[partition.name] = start
            start += partition.rows
        return starts

    def to_json(self) -> bytes:
        """The content of `_manifest.json`."""
        body = {"format": FORMAT, "content": self.content, **asdict(self)}
        return json.dumps(body, indent=1, sort_keys=True, default=_plain).encode()

    def to_index(self) -> bytes:
        """The content of `index.json` of shards: what a reader of the partitions needs, without how they were made."""
        files = [{"name": p.name, "rows": p.rows, "bytes": p.bytes, "xxh3_128": p.checksum} for p in self.partitions]
        body = {"format": FORMAT, "rows": self.rows, "files": files, "info": self.configuration, "fingerprint": self.fingerprint}
        return json.dumps(body, indent=1, sort_keys=True, default=_plain).encode()

    @classmethod
    def from_json(cls, raw: bytes, path: str) -> Manifest:
        """The manifest in `raw`, read from `path`. Raises `UserError` for another format, `CorruptData` where it is no manifest."""
        try:
            body = json.loads(raw)
            if body["format"] != FORMAT:
                raise UserError(f"{path}: is of format {body['format']}, but this version reads format {FORMAT}; delete its folder")
            partitions = tuple(Partition.from_entry(entry) for entry in body["partitions"])
            if not (isinstance(body["configuration"], dict) and isinstance(body["summary"], dict)):
                raise TypeError("its configuration and summary are no mappings")
            return cls(body["dataset"], body["stage"], body["fingerprint"], partitions, body["configuration"], body["summary"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptData(f"{path}: not a manifest ({error}); delete its folder and run again") from error


@contextmanager
def _as_user_error() -> Iterator[None]:
    """What the storage does not grant is told as it is, in one line."""
    try:
        yield
    except StorageError as error:
        raise UserError(f"workdir {error}" if error.what.endswith("opened") else str(error)) from error


@dataclass(frozen=True)
class Workdir:
    """A folder, local or remote, in which a run keeps its datasets. It is cheap to pickle: each worker opens it by itself."""

    uri: str = field(repr=False)  # it may hold a password

    @cached_property
    def folder(self) -> Folder:
        """The folder itself, opened on first use."""
        return Folder(Location.parse(self.uri))

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri}

    @property
    def shown(self) -> str:
        """The folder or URI as people are told of it: without the password that it may have."""
        return str(self.folder)

    @property
    def filesystem(self) -> pa.fs.FileSystem:
        """The filesystem that it is on. Raises `UserError` where it cannot be opened."""
        with _as_user_error():
            return self.folder.filesystem

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        with _as_user_error():
            return self.folder.is_local

    def path(self, *parts: str) -> str:
        """The path of a file or folder in it, on its filesystem."""
        with _as_user_error():
            return self.folder.path(*parts)

    # --- files: each raises `UserError` for what the storage does not grant, after it was tried again -----------------

    def reach(self) -> None:
        """Ask for a remote one for the first time, so that what is wrong with its URI, or its server, is told within seconds."""
        if self.folder.location.is_uri:
            with _as_user_error():
                self.folder.reach()

    def write(self, raw: bytes | pa.Buffer, *parts: str) -> None:
        """Write a file whole or not at all, whatever happens meanwhile; on local disk it is durable afterwards."""
        with _as_user_error():
            self.folder.write(raw, *parts)

    def read(self, *parts: str) -> pa.Buffer | None:
        """The file's bytes (memory-mapped where local), or None where there is none."""
        with _as_user_error():
            return self.folder.read(*parts)

    def sizes(self, *parts: str) -> dict[str, int]:
        """Name and size of every file directly in a folder; empty where there is no such folder."""
        with _as_user_error():
            return self.folder.sizes(*parts)

    def folders(self, *parts: str) -> list[str]:
        """Names of the folders directly in a folder, sorted."""
        with _as_user_error():
            return self.folder.folders(*parts)

    def delete(self, *parts: str) -> None:
        """Delete a file, if it is there."""
        with _as_user_error():
            self.folder.delete(*parts)

    def delete_folder(self, *parts: str) -> None:
        """Delete a folder with all that is in it, if it is there."""
        with _as_user_error():
            self.folder.delete_folder(*parts)

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        """Move a file, over one that may be there."""
        with _as_user_error():
            self.folder.move(source, target)

    def json(self, *parts: str) -> Any:
        """What a JSON file says; None where there is none, or it is damaged. For what can be made again."""
        raw = self.read(*parts)
        try:
            return None if raw is None else json.loads(raw.to_pybytes())
        except (ValueError, RecursionError):
            return None

    # --- datasets --------------------------------------------------------------------------------------------------

    def datasets(self, folder: str = "") -> list[str]:
        """Names of all datasets below a folder, finished or not: folders with a manifest or task records."""
        found = []
        for name in self.folders(*filter(None, [folder])):
            if name in (TASKS, NEW):
                continue
            dataset = f"{folder}/{name}" if folder else name
            if {MANIFEST, RECORDS} & set(self.sizes(dataset)) or TASKS in self.folders(dataset):
                found.append(dataset)
            else:
                found.extend(self.datasets(dataset))
        return found

    def manifest(self, dataset: str) -> Manifest | None:
        """The dataset's manifest, or None where the dataset is missing or unfinished. Raises as `Manifest.from_json`."""
        raw = self.read(dataset, MANIFEST)
        return None if raw is None else Manifest.from_json(raw.to_pybytes(), self.path(dataset, MANIFEST))

    def require(self, dataset: str) -> Manifest:
        """The dataset's manifest. Raises `UserError`, which says what makes it, where the dataset is missing or unfinished."""
        manifest = self.manifest(dataset)
        if manifest is None:
            raise UserError(f"{self.path(dataset)}: is missing or unfinished; `foundry run RECIPE` makes it")
        return manifest

    def has_index(self, dataset: str, manifest: Manifest, name: str) -> bool:
        """Whether the file that lists a dataset's partitions for other readers is there, and says what the manifest says."""
        raw = self.read(dataset, name)
        return raw is not None and raw.to_pybytes() == manifest.to_index()

    def read_partition(self, dataset: str, partition: Partition) -> pa.Buffer:
        """A partition's bytes, verified against its checksum. Raises `CorruptData` naming the file."""
        raw = self.read(dataset, partition.name)
        path = self.path(dataset, partition.name)
        remedy = "delete that file and run again to make it again"
        if raw is None:
            raise CorruptData(f"{path}: is missing, though the manifest names it; run again to make it again")
        if raw.size != partition.bytes or xxhash.xxh3_128_hexdigest(raw) != partition.checksum:
            raise CorruptData(f"{path}: its bytes are not those that were written (checksum differs); {remedy}")
        return raw

    def read_table(self, dataset: str, partition: Partition, columns: Iterable[str] | None = None) -> pa.Table:
        """A partition as a table of all columns, or of those named. Raises `CorruptData` where its checksum differs."""
        raw = self.read_partition(dataset, partition)
        names = None if columns is None else list(columns)
        if partition.name.endswith(".parquet"):
            return pq.read_table(pa.BufferReader(raw), columns=names, use_threads=False)
        table = pa.ipc.open_file(pa.BufferReader(raw)).read_all()
        return table if names is None else table.select(names)

    def tables(self, dataset: str, columns: Iterable[str] | None = None) -> Iterator[tuple[Partition, pa.Table]]:
        """All partitions of a finished dataset with their tables, in order, one in memory at a time. Raises `UserError`, `CorruptData`."""
        names = None if columns is None else list(columns)
        for partition in self.require(dataset).partitions:
            yield partition, self.read_table(dataset, partition, names)


# --- encoding --------------------------------------------------------------------------------------------------------


def to_parquet(table: pa.Table) -> pa.Buffer:
    """A table as a Parquet file with zstd, for data that is kept or read by other tools. The same table gives the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=3, store_schema=True, row_group_size=1 << 20)
    return sink.getvalue()


def to_ipc(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Buffer:
    """Record batches as an uncompressed Arrow IPC file, for data that is memory-mapped and read without a copy."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()

"""Small corpora for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import xxhash
import zstandard

from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENT_SCHEMA


def write_documents(
    workdir: Workdir,
    texts: Sequence[str],
    parts: int = 2,
    domains: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    dates: Sequence[str | None] | None = None,
) -> Manifest:
    """A finished `documents/` of the given texts, in order, over several partitions (some perhaps empty)."""
    partitions = []
    for number in range(parts):
        begin, end = number * len(texts) // parts, (number + 1) * len(texts) // parts
        rows = [
            {
                "id": f"test:{index}",
                "text": texts[index],
                "domain": domains[index] if domains else "web",
                "source": sources[index] if sources else "test",
                "date": dates[index] if dates else None,
            }
            for index in range(begin, end)
        ]
        raw = to_parquet(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA))
        name = f"test-{number:05d}-000.parquet"
        workdir.write(raw, "documents", name)
        partitions.append(Partition(name, len(rows), raw.size, xxhash.xxh3_128_hexdigest(raw)))
    manifest = Manifest("documents", "ingest", "test", tuple(partitions))
    workdir.write(manifest.to_json(), "documents", "_manifest.json")
    return manifest


def write_dataset(workdir: Workdir, name: str, table: pa.Table, parts: int = 1) -> Manifest:
    """A finished dataset of a table, over several partitions (some perhaps empty)."""
    partitions = []
    for number in range(parts):
        begin, end = number * table.num_rows // parts, (number + 1) * table.num_rows // parts
        raw = to_parquet(table.slice(begin, end - begin))
        file = f"test-{number:05d}-000.parquet"
        workdir.write(raw, name, file)
        partitions.append(Partition(file, end - begin, raw.size, xxhash.xxh3_128_hexdigest(raw)))
    manifest = Manifest(name, "test", "test", tuple(partitions))
    workdir.write(manifest.to_json(), name, "_manifest.json")
    return manifest


def json_lines(path: Path, rows: int, field: str = "text") -> list[str]:
    """The field `field` of the first rows of a `.jsonl.zst` file."""
    values: list[str] = []
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            values.append(json.loads(line)[field])
            if len(values) == rows:
                break
    return values

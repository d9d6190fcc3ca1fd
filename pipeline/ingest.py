"""Ingest: raw files to documents. The only stage that writes text.

A source's files are cut into chunks, one task each; a task reads its files record by record and writes partitions of
bounded size. What cannot be read goes to `quarantine/` with its place and reason, and the rest goes through.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from pipeline.dataset import Workdir, fingerprint, to_parquet
from pipeline.documents import DOCUMENT_SCHEMA, DOCUMENTS, QUARANTINE, QUARANTINE_SCHEMA
from pipeline.engine import File, Stage, Summary, Task, chunks_by_size
from pipeline.readers import InputFile, PassedOver, Record, SourceConfig, Unreadable, list_files, read_file

VERSION = 3  # of what this stage does; raised when its output changes for the same input
_ROW_BYTES = 1 << 10  # of a row in quarantine, beside what it holds
_KINDS = 100  # of what is passed over that one task counts by name


class IngestConfig(BaseModel):
    """How raw files become documents."""

    model_config = ConfigDict(extra="forbid")

    chunk_bytes: int = Field(64 << 20, ge=1, description="Bytes of input files that one task reads, at least one file.")
    partition_bytes: int = Field(
        64 << 20,
        ge=1 << 10,
        le=1 << 30,
        description="Bytes of text in one partition of documents, at most (one document more).",
    )
    repair: bool = Field(
        True,
        description="Repair text as it is written: line ends, control characters, and Unicode composition (NFC; not for code).",
    )


@dataclass(frozen=True)
class _Chunk:
    name: str
    source: SourceConfig
    files: tuple[InputFile, ...]
    partition_bytes: int
    repair: bool


# C0 and C1 controls but for tab and line feed; DEL; the byte order mark; lone surrogates, which UTF-8 cannot hold.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")


def repair(text: str, *, compose: bool) -> str:
    """Line ends as `\\n`, no control characters, and with `compose` Unicode's composed form (NFC)."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROLS.sub("", text)
    return unicodedata.normalize("NFC", text) if compose and not text.isascii() else text


def _rows(chunk: _Chunk, record: Record) -> dict[str, Any]:
    source = chunk.source
    text = repair(record.text, compose=source.domain != "code") if chunk.repair else record.text
    row = {
        "id": f"{source.name}:{record.id}",
        "text": text,
        "domain": source.domain,
        "source": source.name,
        "url": record.url,
        "title": record.title,
        "language": record.language or source.language,
        "license": record.license or source.license,
        "path": record.path,
        "date": record.date,
        "meta": json.dumps(record.meta, sort_keys=True, ensure_ascii=False) if record.meta else None,
    }
    return {name: _sound(value) for name, value in row.items()}


def _sound(value: str | None) -> str | None:
    """Text that UTF-8 can hold: a lone surrogate, as JSON and file names may have, becomes `?`."""
    if value is None or value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode()
    return value


def ingest_chunk(workdir: Workdir, chunk: _Chunk) -> Generator[File, None, Summary]:
    """One task: read the chunk's files; yield partitions of documents, and one of quarantine if anything was unreadable."""
    rows: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    passed: Counter[str] = Counter()
    size = documents = total = partition = 0
    bad_size = quarantined = bad_partition = 0

    def flush() -> File:
        table = pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)  # which takes the texts as UTF-8, too
        return File(DOCUMENTS, f"{chunk.name}-{partition:03d}.parquet", to_parquet(table), len(rows))

    def flush_bad() -> File:
        table = pa.Table.from_pylist(bad, schema=QUARANTINE_SCHEMA)
        return File(QUARANTINE, f"{chunk.name}-{bad_partition:03d}.parquet", to_parquet(table), len(bad))

    for file in chunk.files:
        for item in read_file(file, chunk.source):
            if isinstance(item, PassedOver):
                passed[item.kind] += 1
                continue
            if isinstance(item, Unreadable):
                place, error = _sound(item.location), _sound(item.error)
                bad.append({"source": chunk.source.name, "location": place, "error": error, "raw": item.raw})
                bad_size += len(item.raw) + _ROW_BYTES
                if bad_size >= chunk.partition_bytes:
                    yield flush_bad()
                    quarantined, bad_partition = quarantined + len(bad), bad_partition + 1
                    bad, bad_size = [], 0
                continue
            row = _rows(chunk, item)
            del item  # a text of 32 MB may take 128 as Python holds it, so no more copies of it than need be
            row["text"] = row["text"].encode()
            rows.append(row)
            size += len(row["text"])
            del row
            if size >= chunk.partition_bytes:
                yield flush()
                documents, total, partition = documents + len(rows), total + size, partition + 1
                rows, size = [], 0
    if rows:
        yield flush()
        documents, total = documents + len(rows), total + size
    if bad:
        yield flush_bad()
        quarantined += len(bad)
    counts = {"documents": documents, "bytes": total, "quarantined": quarantined, "passed_over": passed.total()}
    kinds = dict(passed.most_common(_KINDS))
    if len(passed) > _KINDS:
        kinds["others"] = passed.total() - sum(kinds.values())
    return {
        "sources": {chunk.source.name: counts},
        "domains": {chunk.source.domain: counts},
        "passed_over": {chunk.source.name: kinds} if kinds else {},
    }


def ingest_stage(config: IngestConfig, sources: Sequence[SourceConfig], base: Path) -> Stage:
    """The stage for all sources; relative paths are relative to `base`. Raises `UserError` where a source has no files."""
    tasks = []
    for source in sources:
        files = list_files(source, base)
        for number, run in enumerate(chunks_by_size([file.bytes for file in files], config.chunk_bytes)):
            chosen = tuple(files[index] for index in run)
            name = f"{source.name}-{number:05d}"
            inputs = [(file.relative, file.fingerprint) for file in chosen]
            settings = source.model_dump(mode="json", exclude={"path"})  # where the files lie does not matter, what they hold does
            key = fingerprint(VERSION, settings, config.partition_bytes, config.repair, inputs)
            payload = _Chunk(name, source, chosen, config.partition_bytes, config.repair)
            tasks.append(Task(name, key, payload, size=max(1, sum(file.bytes for file in chosen))))
    configuration = {"ingest": config.model_dump(mode="json"), "sources": [s.model_dump(mode="json") for s in sources]}
    return Stage("ingest", (DOCUMENTS, QUARANTINE), ingest_chunk, tuple(tasks), configuration, memory=1 << 30)

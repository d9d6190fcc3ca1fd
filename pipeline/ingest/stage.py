"""Ingest: raw files to documents. The only stage that writes text.

A source's files are cut into chunks, one task each; a task reads its files record by record and writes partitions of
bounded size. What cannot be read goes to `quarantine/` with its place and reason, and the rest goes through.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.ingest.personal import PersonalDataConfig, change_strings, mask, strings
from pipeline.ingest.repair import LAYOUT, RepairConfig, repair, well_formed
from pipeline.ingest.secrets import SecretsConfig, mask_secrets
from pipeline.readers import FORMATS, InputFile, PassedOver, Record, SourceConfig, Unreadable, list_files, read_file
from pipeline.readers.facts import as_json, license_of
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, fingerprint, to_parquet
from pipeline.workdir.documents import CODE, DOCUMENT_SCHEMA, DOCUMENTS, QUARANTINE, QUARANTINE_SCHEMA
from pipeline.workdir.tasks import File, Stage, Task, chunks_by_size

VERSION = 10  # of what this stage does; raised when its output changes for the same input
_ROW_BYTES = 1 << 10  # that a row of quarantine counts for, beside its raw bytes
_KINDS = 100  # kinds of passed-over records, and of parts that are left out, that one task counts by name


def switch(value: Any) -> Any:
    """A plain true or false stands for the defaults or for nothing."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class IngestConfig(BaseModel):
    """How raw files become documents."""

    model_config = ConfigDict(extra="forbid")

    chunk_bytes: int = Field(64 << 20, ge=1, le=1 << 40, description="Bytes of input files that one task reads, at least one file.")
    partition_bytes: int = Field(
        64 << 20,
        ge=1 << 10,
        le=1 << 30,
        description="Bytes of text at which a partition of documents is full; its last document may go beyond.",
    )
    repair: Annotated[RepairConfig | None, BeforeValidator(switch, json_schema_input_type=RepairConfig | bool | None)] = Field(
        default_factory=RepairConfig, description="Repair text as it is written; true: as by default, false or null: leave it as it is."
    )
    personal: Annotated[PersonalDataConfig | None, BeforeValidator(switch, json_schema_input_type=PersonalDataConfig | bool | None)] = (
        Field(
            default_factory=PersonalDataConfig,
            description="Mask personal data as text is written, so that it is never stored; true: as by default, false or null: do not.",
        )
    )

    secrets: Annotated[SecretsConfig | None, BeforeValidator(switch, json_schema_input_type=SecretsConfig | bool | None)] = Field(
        default_factory=SecretsConfig,
        description="Mask keys and passwords in documents of the domain `code`; true: as by default, false or null: do not.",
    )


Mask = Callable[[str], tuple[str, dict[str, int]]]


def masks_of(config: IngestConfig, domain: str) -> tuple[Mask, ...]:
    """What is taken out of a domain's texts, in this order: each gives the text with placeholders, and how many of each kind."""
    masks: list[Mask] = []
    if config.secrets is not None and domain == CODE:  # first: the host of `user:password@host` may look like an address
        masks.append(partial(mask_secrets, config=config.secrets))
    if config.personal is not None:
        kinds = config.personal.kinds(domain)
        masks.append(partial(mask, kinds=kinds, public_only=config.personal.public_only, code=domain == CODE))
    return tuple(masks)


@dataclass(frozen=True)
class Chunk:
    """The files of a source that one task reads."""

    name: str
    source: SourceConfig
    files: tuple[InputFile, ...]
    config: IngestConfig

    @cached_property
    def masks(self) -> tuple[Mask, ...]:
        """What is taken out of its texts."""
        return masks_of(self.config, self.source.domain)

    def items(self) -> Iterator[Record | Unreadable | PassedOver]:
        """What its files hold."""
        for file in self.files:
            yield from read_file(file, self.source)


class _Counts:
    """What was done to a task's documents: how many the reader had to do something for, how many had each kind of repair, how many places
    were masked.
    """

    def __init__(self) -> None:
        self.noted: dict[str, int] = {}
        self.repaired: dict[str, int] = {}
        self.masked: dict[str, int] = {}
        self.left_out: Counter[str] = Counter()

    def summary(self) -> dict[str, dict[str, int]]:
        named = {"noted": self.noted, "repaired": self.repaired, "masked": self.masked}
        return {name: dict(sorted(counts.items())) for name, counts in named.items() if counts}


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for kind, count in more.items():
        counts[kind] = counts.get(kind, 0) + count


def _most(counts: Counter[str]) -> dict[str, int]:
    """The kinds that are counted most, and the rest as one; of as many the first by name, so that the order of reading does not matter."""
    kinds = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_KINDS])
    if len(counts) > _KINDS:
        kinds["others"] = counts.total() - sum(kinds.values())
    return kinds


def _masked(text: str, masks: Sequence[Mask], counts: dict[str, int]) -> str:
    for take_out in masks:
        text, found = take_out(text)
        _add(counts, found)
    return text


def _clean_meta(meta: dict[str, Any], masks: Sequence[Mask]) -> dict[str, Any]:
    """What else a record had, with every string in it masked."""
    hidden: dict[str, int] = {}
    _masked(well_formed("\n".join(strings(meta))), masks, hidden)  # one look at all of them: nearly always there is nothing
    if not hidden:
        return meta
    changed: dict[str, Any] = change_strings(meta, lambda value: _masked(well_formed(value), masks, {}))
    return changed


def _row(chunk: Chunk, record: Record, counts: _Counts) -> dict[str, Any]:
    """A record as a row of `documents/`: its text repaired, then masked (what is repaired may hide an address).

    The title and whatever else the record had are masked too. `meta` gets `noted` (the reader's notes),
    `repaired` (kinds, but for changes of layout) and `masked` (places of each kind in the text), where there are any.
    """
    source, config = chunk.source, chunk.config
    masks = chunk.masks
    text, title = record.text, record.title
    notes: dict[str, Any] = {}
    counts.left_out.update(record.left_out)
    _add(counts.noted, dict.fromkeys(record.notes, 1))
    if record.notes:
        notes["noted"] = list(record.notes)
    if config.repair is None:
        text, title = well_formed(text), None if title is None else well_formed(title)
    else:
        text, kinds = repair(text, config.repair, source.domain, from_markup=record.from_markup)
        title = None if title is None else repair(title, config.repair, source.domain, from_markup=record.from_markup).text
        _add(counts.repaired, dict.fromkeys(kinds, 1))
        if told := [kind for kind in kinds if kind not in LAYOUT]:
            notes["repaired"] = told
    masked: dict[str, int] = {}
    text = _masked(text, masks, masked)
    _add(counts.masked, masked)
    if masked:
        notes["masked"] = masked
    meta = {**_clean_meta(as_json(record.meta), masks), **notes}
    row = {
        "id": f"{source.name}:{record.id}",
        "domain": source.domain,
        "source": source.name,
        "url": record.url,
        "language": record.language or source.language,
        "license": license_of(record.license or source.license),
        "path": record.path,
        "date": record.date,
        "meta": json.dumps(meta, sort_keys=True, ensure_ascii=False, allow_nan=False) if meta else None,
    }
    row = {name: value if value is None else well_formed(value) for name, value in row.items()}
    return {**row, "text": text, "title": None if title is None else _masked(title, masks, {})}


def ingest_chunk(workdir: Workdir, chunk: Chunk) -> Generator[File, None, Summary]:
    """One task: read the chunk's files; yield partitions of documents, and one of quarantine if anything was unreadable."""
    rows: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    passed: Counter[str] = Counter()
    size = documents = total = partition = 0
    changes = _Counts()
    bad_size = quarantined = bad_partition = 0

    def flush() -> File:
        # all rows are of one source, on which `source_of` relies
        table = pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)  # which takes the texts as UTF-8, too
        return File(DOCUMENTS, f"{chunk.name}-{partition:03d}.parquet", to_parquet(table), len(rows))

    def flush_bad() -> File:
        table = pa.Table.from_pylist(bad, schema=QUARANTINE_SCHEMA)
        return File(QUARANTINE, f"{chunk.name}-{bad_partition:03d}.parquet", to_parquet(table), len(bad))

    for item in chunk.items():
        if isinstance(item, PassedOver):
            passed[item.kind] += 1
            continue
        if isinstance(item, Unreadable):
            place, error = well_formed(item.location), well_formed(item.error)
            bad.append({"source": chunk.source.name, "location": place, "error": error, "raw": item.raw})
            bad_size += len(item.raw) + _ROW_BYTES
            if bad_size >= chunk.config.partition_bytes:
                yield flush_bad()
                quarantined, bad_partition = quarantined + len(bad), bad_partition + 1
                bad, bad_size = [], 0
            continue
        row = _row(chunk, item, changes)
        del item  # a text of 32 MB may take 128 as Python holds it, so no more copies of it than need be
        row["text"] = row["text"].encode()
        rows.append(row)
        size += len(row["text"])
        del row
        if size >= chunk.config.partition_bytes:
            yield flush()
            documents, total, partition = documents + len(rows), total + size, partition + 1
            rows, size = [], 0
    if rows:
        yield flush()
        documents, total = documents + len(rows), total + size
    if bad:
        yield flush_bad()
        quarantined += len(bad)
    counts = {"documents": documents, "bytes": total, "quarantined": quarantined, "passed_over": passed.total(), **changes.summary()}
    kinds, parts = _most(passed), _most(changes.left_out)
    return {
        "sources": {chunk.source.name: counts},
        "domains": {chunk.source.domain: counts},
        "passed_over": {chunk.source.name: kinds} if kinds else {},
        **({"left_out": {chunk.source.name: parts}} if parts else {}),
    }


def _emptied(old: Manifest, new: Manifest) -> str | None:
    """Why new documents must not replace the old: a source that had some has none any more, as where a field's name is misspelt."""
    before, after = old.summary.get("sources", {}), new.summary.get("sources", {})
    for name, counts in after.items():
        had = before.get(name, {}).get("documents", 0)
        if had and not counts["documents"]:
            found = f"{counts['quarantined']:,} records that cannot be read" if counts["quarantined"] else "none"
            return f"source {name} had {had:,} documents, and as the recipe is now it has {found}"
    return None


def ingest_stage(config: IngestConfig, sources: Sequence[SourceConfig], base: Path) -> Stage:
    """The stage for all sources; relative paths are relative to `base`. Raises `UserError` where a source has no files."""
    tasks = []
    written = config.model_dump(mode="json", exclude={"chunk_bytes"})  # chunks are what `inputs` say
    for source in sources:
        files = list_files(source, base)
        for number, run in enumerate(chunks_by_size([file.bytes for file in files], config.chunk_bytes)):
            chosen = tuple(files[index] for index in run)
            name = f"{source.name}-{number:05d}"
            inputs = [(file.relative, file.fingerprint) for file in chosen]
            settings = source.model_dump(mode="json", exclude={"path"})  # where the files lie does not matter, what they hold does
            version = FORMATS[source.format].version
            key = fingerprint(VERSION, settings, written, inputs, *([version] if version else []))
            payload = Chunk(name, source, chosen, config)
            tasks.append(Task(name, key, payload, size=max(1, sum(file.bytes for file in chosen))))
    configuration = {"ingest": config.model_dump(mode="json"), "sources": [s.model_dump(mode="json") for s in sources]}
    return Stage("ingest", (DOCUMENTS, QUARANTINE), ingest_chunk, tuple(tasks), configuration, memory=1 << 30, refusal=_emptied)

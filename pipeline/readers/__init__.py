"""Readers: one module a format. A reader turns one member into records, and never stops for one that is bad."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.readers import code, csv_records, html, huggingface, jats, json_records, parquet, s2orc, text, warc
from pipeline.readers.config import Format, SourceConfig, names_differ
from pipeline.readers.files import STREAM_ERRORS, InputFile, Member, describe, is_archive, list_all, members
from pipeline.readers.record import PassedOver, Record, Unreadable

Reader = Callable[[Member, SourceConfig], Iterator[Record | Unreadable | PassedOver]]

READERS: dict[Format, Reader] = {
    "html": html.read,
    "warc": warc.read,
    "wet": warc.read_text,
    "jats": jats.read,
    "s2orc": s2orc.read,
    "json": json_records.read,
    "jsonl": json_records.read_lines,
    "parquet": parquet.read,
    "csv": csv_records.read,
    "huggingface": huggingface.read,
    "code": code.read,
    "text": text.read,
}


def list_files(source: SourceConfig, base: Path) -> list[InputFile]:
    """The files of a source, sorted by path. Raises `UserError` where there are none."""
    files = list_all(source, base)
    return huggingface.choose(files, source) if source.format == "huggingface" else files


def read_file(file: InputFile, source: SourceConfig) -> Iterator[Record | Unreadable | PassedOver]:
    """Everything in one input file: records, and what could not be read."""
    reader = READERS[source.format]
    if source.format == "code" and source.license is None and is_archive(file.relative):
        source = source.model_copy(update={"license": code.package_license(file, source)})
    for member in members(file, source):
        if isinstance(member, Unreadable):
            yield member
            continue
        try:
            yield from reader(member, source)
        except STREAM_ERRORS as error:
            yield Unreadable(member.path, describe(error))


__all__ = [
    "READERS",
    "InputFile",
    "PassedOver",
    "Reader",
    "Record",
    "SourceConfig",
    "Unreadable",
    "list_files",
    "names_differ",
    "read_file",
]

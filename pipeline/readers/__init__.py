"""Readers: one module a format. A reader turns one member into records, and never stops for one that is bad."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.readers import code, files, html, jats, json_records, parquet, s2orc, text
from pipeline.readers.config import Format, SourceConfig, names_differ
from pipeline.readers.files import STREAM_ERRORS, InputFile, Member, describe, members
from pipeline.readers.record import Record, Unreadable

Reader = Callable[[Member, SourceConfig], Iterator[Record | Unreadable]]

READERS: dict[Format, Reader] = {
    "html": html.read,
    "jats": jats.read,
    "s2orc": s2orc.read,
    "json": json_records.read,
    "jsonl": json_records.read_lines,
    "parquet": parquet.read,
    "text": text.read,
}


def list_files(source: SourceConfig, base: Path) -> list[InputFile]:
    """The input files of a source, sorted by path. Raises `UserError` where there are none."""
    return code.list_files(source, base) if source.format == "code" else files.list_files(source, base)


def read_file(file: InputFile, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """Everything in one input file: records, and what could not be read."""
    if source.format == "code":  # the only one that reads a file in the light of those around it
        yield from code.read_file(file, source)
        return
    reader = READERS[source.format]
    for member in members(file, source):
        if isinstance(member, Unreadable):
            yield member
            continue
        try:
            yield from reader(member, source)
        except STREAM_ERRORS as error:
            yield Unreadable(member.path, describe(error))


__all__ = ["READERS", "InputFile", "Reader", "Record", "SourceConfig", "Unreadable", "list_files", "names_differ", "read_file"]

"""Readers: one module a format. A reader turns one member into records, and never stops for one that is bad."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.readers import (
    code,
    csv_records,
    files,
    html,
    huggingface,
    jats,
    json_records,
    latex,
    markup,
    mediawiki,
    parquet,
    s2orc,
    text,
    warc,
)
from pipeline.readers.archives import members
from pipeline.readers.config import Format, SourceConfig, names_differ
from pipeline.readers.files import InputFile
from pipeline.readers.record import PassedOver, Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, describe

Reader = Callable[[Member, SourceConfig], Iterator[Record | Unreadable | PassedOver]]

READERS: dict[Format, Reader] = {
    "html": html.read,
    "warc": warc.read,
    "wet": warc.read_text,
    "jats": jats.read,
    "s2orc": s2orc.read,
    "mediawiki": mediawiki.read,
    "json": json_records.read,
    "jsonl": json_records.read_lines,
    "parquet": parquet.read,
    "csv": csv_records.read,
    "huggingface": huggingface.read,
    "text": text.read,
    "markdown": markup.read_markdown,
    "rst": markup.read_rst,
}

Lister = Callable[[SourceConfig, Path], list[InputFile]]
FileReader = Callable[[InputFile, SourceConfig], Iterator[Record | Unreadable]]

# Formats whose files are read in the light of those around them: how a source's are listed, and how one input is read.
TOGETHER: dict[Format, tuple[Lister, FileReader]] = {
    "code": (code.list_files, code.read_file),
    "latex": (latex.list_files, latex.read_file),
}


def list_files(source: SourceConfig, base: Path) -> list[InputFile]:
    """The inputs of a source, sorted by path. Raises `UserError` where there are none."""
    if source.format in TOGETHER:
        return TOGETHER[source.format][0](source, base)
    found = files.list_files(source, base)
    return huggingface.choose(found, source) if source.format == "huggingface" else found


def read_file(file: InputFile, source: SourceConfig) -> Iterator[Record | Unreadable | PassedOver]:
    """Everything in one input file: records, and what could not be read."""
    if source.format in TOGETHER:
        yield from TOGETHER[source.format][1](file, source)
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

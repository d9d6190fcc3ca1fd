"""Readers: one module a format. A reader turns one member into records, and never stops for one that is bad."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import UserError
from pipeline.readers import code, html, jats, json_records, latex, markup, mediawiki, parquet, s2orc, text
from pipeline.readers.config import Format, SourceConfig, names_differ
from pipeline.readers.files import STREAM_ERRORS, InputFile, Member, describe, is_archive, members
from pipeline.readers.files import list_files as _list_files
from pipeline.readers.record import Record, Unreadable

Reader = Callable[[Member, SourceConfig], Iterator[Record | Unreadable]]

READERS: dict[Format, Reader] = {
    "html": html.read,
    "jats": jats.read,
    "s2orc": s2orc.read,
    "latex": latex.read,
    "mediawiki": mediawiki.read,
    "json": json_records.read,
    "jsonl": json_records.read_lines,
    "parquet": parquet.read,
    "code": code.read,
    "text": text.read,
    "markdown": markup.read_markdown,
    "rst": markup.read_rst,
}


def list_files(source: SourceConfig, base: Path) -> list[InputFile]:
    """The inputs of a source, sorted by path: its files; of papers in TeX, whose files belong together, one a paper."""
    if source.format != "latex":
        return _list_files(source, base)
    everything = source.model_copy(update={"include": ["*"], "exclude": []})
    papers = latex.group(_list_files(everything, base))
    if not papers:
        raise UserError(f"source {source.name}: {source.path}: files there, none of them TeX or an archive; correct `path` or `format`")
    return sorted(papers, key=lambda file: file.relative)


def read_file(file: InputFile, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """Everything in one input file: records, and what could not be read."""
    if source.format == "latex":
        yield from latex.read_file(file, source)
        return
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


__all__ = ["READERS", "InputFile", "Reader", "Record", "SourceConfig", "Unreadable", "list_files", "names_differ", "read_file"]

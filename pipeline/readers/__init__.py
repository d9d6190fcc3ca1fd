"""Readers: one module a format. A reader turns one member into records, and never stops for one that is bad."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel

from kernel.extensions import Part, Registry
from kernel.sections import Chosen
from pipeline.readers import (
    code,
    code_inputs,
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
    tei,
    text,
    warc,
)
from pipeline.readers.archives import members
from pipeline.readers.config import EncodedSource, FieldsSource, SourceConfig, names_differ
from pipeline.readers.files import InputFile
from pipeline.readers.record import PassedOver, Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, describe, read_all
from pipeline.workdir.errors import UserError
from storage import inputs
from storage.errors import StorageError

Reader = Callable[[Member, Any], Iterator[Record | Unreadable | PassedOver]]
Lister = Callable[[Any, Path], list[InputFile]]
FileReader = Callable[[InputFile, Any], Iterator[Record | Unreadable | PassedOver]]


@dataclass(frozen=True)
class Format:
    """A format of sources: the model of its settings, and how it is read.

    `read` gets one member (a file, or a member of an archive, decompressed) and the settings. A format whose files can only be
    read together with those around them has `read_file` instead, which gets a whole input, and `list_files`, which says what the
    inputs of a source are. `version` is part of the keys of what is read where it is not 0: a package raises it when the records
    of the same bytes change.
    """

    settings: type[SourceConfig]
    read: Reader | None = None
    list_files: Lister | None = None
    read_file: FileReader | None = None
    version: int = 0

    def __post_init__(self) -> None:
        """Raises `TypeError` where it could read nothing."""
        if not (isinstance(self.settings, type) and issubclass(self.settings, SourceConfig)):
            raise TypeError("a Format's settings must be a class below SourceConfig")
        if self.read is None and self.read_file is None:
            raise TypeError("a Format needs `read` or `read_file`")


FORMATS: Registry[Format] = Registry(
    "readers",
    Format,
    {
        "html": Format(html.HtmlSource, html.read),
        "warc": Format(warc.WarcSource, warc.read),
        "wet": Format(warc.WetSource, warc.read_text),
        "jats": Format(SourceConfig, jats.read),
        "tei": Format(SourceConfig, tei.read),
        "s2orc": Format(EncodedSource, s2orc.read),
        "latex": Format(EncodedSource, list_files=latex.list_files, read_file=latex.read_file),
        "mediawiki": Format(mediawiki.MediawikiSource, mediawiki.read),
        "json": Format(json_records.RecordsSource, json_records.read),
        "jsonl": Format(json_records.RecordsSource, json_records.read_lines),
        "parquet": Format(FieldsSource, parquet.read),
        "csv": Format(csv_records.CsvSource, csv_records.read),
        "huggingface": Format(huggingface.HuggingfaceSource, huggingface.read, list_files=huggingface.list_files),
        "code": Format(code_inputs.CodeSource, list_files=code.list_files, read_file=code.read_file),
        "text": Format(EncodedSource, text.read),
        "markdown": Format(markup.MarkupSource, markup.read_markdown),
        "rst": Format(markup.MarkupSource, markup.read_rst),
    },
)


def _settings(form: Format) -> type[BaseModel]:
    return form.settings


BY_FORMAT = Chosen("format", Part(FORMATS, _settings), SourceConfig)
# A source of any format, as a recipe has it.
Source = Annotated[SourceConfig, BY_FORMAT]


def source_config(**keys: Any) -> SourceConfig:
    """The settings of a source, as the model of its format. Raises pydantic's `ValidationError` as a recipe's does."""
    return cast(SourceConfig, BY_FORMAT.validate(keys))


def list_files(source: SourceConfig, base: Path) -> list[InputFile]:
    """The inputs of a source, sorted by path. Raises `UserError` where there are none."""
    lister = FORMATS[source.format].list_files or files.list_files
    return lister(source, base)


def read_file(file: InputFile, source: SourceConfig) -> Iterator[Record | Unreadable | PassedOver]:
    """Everything in one input file: records, and what of it is damaged.

    Raises `UserError` where the file itself cannot be read, after it was tried again: of what was not read nothing is known.
    """
    uris = [each.uri for each in _with_parts(file)]
    inputs.forget(uris)
    try:
        for item in _items(file, source):
            if (failure := inputs.failure(uris)) is not None:
                raise failure
            yield item
        if (failure := inputs.failure(uris)) is not None:
            raise failure
    except StorageError as error:
        raise UserError(f"source {source.name}: {error}") from error


def _with_parts(file: InputFile) -> Iterator[InputFile]:
    yield file
    for part in file.parts:
        yield from _with_parts(part)


def _items(file: InputFile, source: SourceConfig) -> Iterator[Record | Unreadable | PassedOver]:
    form = FORMATS[source.format]
    if form.read_file is not None:
        yield from form.read_file(file, source)
        return
    assert form.read is not None, "a Format has one of the two"
    for member in members(file, source):
        if isinstance(member, Unreadable):
            yield member
            continue
        try:
            yield from form.read(member, source)
        except STREAM_ERRORS as error:
            yield Unreadable(member.path, describe(error))


__all__ = [
    "BY_FORMAT",
    "FORMATS",
    "EncodedSource",
    "FieldsSource",
    "Format",
    "InputFile",
    "Member",
    "PassedOver",
    "Reader",
    "Record",
    "Source",
    "SourceConfig",
    "Unreadable",
    "list_files",
    "names_differ",
    "read_all",
    "read_file",
    "source_config",
]

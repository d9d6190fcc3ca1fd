"""Evaluation sets: what is looked for in the corpus, from files of any format that sources have, or from an installed package."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from kernel.extensions import Part, Registry
from kernel.sections import Chosen
from pipeline.readers import (
    BY_FORMAT,
    FORMATS,
    FieldsSource,
    Format,
    InputFile,
    PassedOver,
    Record,
    SourceConfig,
    Unreadable,
    list_files,
    read_file,
    source_config,
)
from pipeline.workdir.dataset import fingerprint
from storage.location import scrub


class EvaluationSet(BaseModel):
    """An evaluation set: texts to look for, item by item. An installed package's set is a subclass, whose fields are its settings."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", pattern=r"^([a-z0-9][a-z0-9_-]*)?$", description="Name of the set; of an installed set, `format` by default.")
    format: str = Field(description="A format that sources have, or the name of an installed evaluation set.")

    @model_validator(mode="after")
    def _is_named(self) -> EvaluationSet:
        self.name = self.name or self.format
        return self

    def items(self) -> Iterator[Record | Unreadable | PassedOver]:
        """The items: their `id`, and the `text` that is looked for. Raises `UserError` where there are none."""
        raise NotImplementedError

    def resolved(self, base: Path) -> Self:
        """The same with absolute paths, where the settings name files; relative ones are relative to `base`."""
        return self

    def fingerprint(self) -> str:
        """Changes whenever the items may: with the settings, and with the contents of files that they name."""
        return fingerprint(type(self).__name__, self.model_dump(mode="json"))


class FileSet(SourceConfig):
    """An evaluation set: files of any format that sources have, with that format's keys, or an installed package's set."""

    domain: str = Field("evaluation", description="Not used.")

    def sources(self) -> list[tuple[str, SourceConfig]]:
        """The files as sources, one for each of `columns` with its name; without `columns`, one with an empty name."""
        own = FORMATS[self.format].settings.model_fields
        keys = {key: value for key, value in self.model_dump().items() if key in own and key not in RecordSet.OWN}
        columns = self.columns if isinstance(self, RecordSet) else []
        by_column = [(column, source_config(**{**keys, "fields": {**keys["fields"], "text": column}})) for column in columns]
        return by_column or [("", source_config(**keys))]


class RecordSet(FileSet):
    """An evaluation set in files of records with named fields."""

    OWN: ClassVar = frozenset(("columns",))  # of csv, the name is a source's key too

    columns: list[str] = Field(
        default_factory=list,
        description="The fields whose texts are looked for, each on its own, such as question and answer; dots reach into nested "
        "records. Empty: what `fields` says is the text.",
    )


@cache
def _in_files(settings: type[SourceConfig]) -> type[FileSet]:
    """The model of an evaluation set in files of a format with these settings."""
    base = RecordSet if issubclass(settings, FieldsSource) else FileSet
    if settings is SourceConfig:
        return base
    bases: tuple[Any, ...] = (base, settings)
    return cast(type[FileSet], create_model(f"Evaluation{settings.__name__}", __base__=bases, __doc__=base.__doc__))


EVALUATION_SETS: Registry[type[EvaluationSet]] = Registry("evaluation_sets", EvaluationSet, {}, taken=FORMATS)


def _of_format(form: Format) -> type[BaseModel]:
    return _in_files(form.settings)


def _itself(kind: type[EvaluationSet]) -> type[BaseModel]:
    return kind


# The model of each kind of evaluation set, by its `format`.
_KINDS = ChainMap[str, type[BaseModel]](Part(EVALUATION_SETS, _itself), Part(FORMATS, _of_format))  # type: ignore[arg-type]

AnySet = Annotated[FileSet | EvaluationSet, Chosen("format", _KINDS, FileSet, short=True, beside=BY_FORMAT)]


@dataclass(frozen=True)
class SetWork:
    """What reading a set needs: its files as sources by column, or an installed package's set; `key` changes whenever its items may."""

    name: str
    place: str
    key: Any
    sources: tuple[tuple[str, SourceConfig], ...] = ()
    files: tuple[InputFile, ...] = ()
    added: EvaluationSet | None = None


def prepared(config: FileSet | EvaluationSet, base: Path) -> SetWork:
    """A set ready to be read; relative paths are relative to `base`. Raises `UserError` where it has no files."""
    if isinstance(config, EvaluationSet):
        added = config.resolved(base)
        return SetWork(config.name, f"the installed set {config.format}", added.fingerprint(), added=added)
    sources = config.sources()
    files = tuple(list_files(sources[0][1], base))
    key = (config.model_dump(mode="json", exclude={"path"}), [(file.relative, file.fingerprint) for file in files])
    return SetWork(config.name, scrub(config.path), key, tuple(sources), files)


def items_of(work: SetWork) -> Iterator[tuple[str, Record | Unreadable | PassedOver]]:
    """The items of a set, each with the column that it is from."""
    if work.added is not None:
        for item in work.added.items():
            yield "", item
    for column, source in work.sources:
        for file in work.files:
            for item in read_file(file, source):
                yield column, item

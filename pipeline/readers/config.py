"""Where text comes from: one entry of a recipe's `sources`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

from kernel.sections import hint
from storage.location import Place

MOST_BYTES = 2**31 - 1  # of anything that is held whole: as many as an Arrow text may have


class _Named(Protocol):
    name: str


def names_differ(things: Sequence[_Named], what: str) -> None:
    """Raises `ValueError` where two of them have one name."""
    names = [thing.name for thing in things]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two {what} are named {name}; give each its own name")


class SourceConfig(BaseModel):
    """One source of documents: the keys of all formats; each format may have keys of its own besides."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the source: small letters, digits, `-`, `_`.")
    domain: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$", description="What it counts as in rules and mixes: web, code, science, or your own."
    )
    format: str = Field(
        description="html (pages), warc (web archives: WARC, ARC), wet (web archives' text), jats (papers as JATS, NLM or PubMed XML), "
        "tei (TEI XML: papers as GROBID writes them, editions), s2orc (papers as S2ORC, peS2o or s2orc-doc2json's JSON), latex (papers in "
        "TeX, as arXiv keeps them), mediawiki (XML dumps of wikis), json "
        "(an array, or an object of records), jsonl (one JSON object a line), parquet (Parquet or Arrow), csv (CSV, TSV), huggingface (a "
        "dataset as the Hub or `save_to_disk` lays it out), code (source trees, git repositories and bundles), text (as it is), markdown "
        "and rst (without what is not text)."
    )
    path: Place = Field(
        repr=False,  # it may hold a password
        description="A file, a folder, a glob, or a URI. Archives (tar, zip, wheel) and compressed files (gz, zst, bz2, xz) are opened.",
    )
    include: list[str] = Field(
        ["*"],
        min_length=1,
        description="Globs on the path within the source or archive; `*` crosses folders. Which files to read.",
    )
    exclude: list[str] = Field(default_factory=list, description="Globs of files to leave out, of those included.")
    language: str | None = Field(None, description="Language to declare for documents that do not say their own.")
    license: str | None = Field(None, description="Licence to declare for documents that do not say their own (SPDX).")
    max_record_bytes: int = Field(
        32 << 20,
        ge=1,
        le=MOST_BYTES,
        description="Longest record (line, row, page, member of an archive); longer ones go to the quarantine, and so do JSON of so many "
        "values that they would take over 400 MB as Python holds them, and Arrow batches of over 512 MB (or this, if it is more). The "
        "default keeps a worker under 1 GB whatever comes.",
    )
    max_expansion: int = Field(
        1000,
        ge=1,
        le=1_000_000_000,
        description="Most bytes that one byte of a compressed file may become (past the first megabyte); a bomb's limit.",
    )

    def check(self) -> None:
        """Raises `UserError` where something that this source's settings ask for is not installed."""


class EncodedSource(SourceConfig):
    """Files of text, whose charset may be told."""

    encoding: str | None = Field(
        None,
        description="The charset of the files, where it is not UTF-8 and nothing else says so: no byte order mark, nor a page's HTTP "
        "header or the page, nor a paper's own inputenc: `windows-1252`, `shift_jis`.",
    )

    @field_validator("encoding")
    @classmethod
    def _is_a_charset(cls, value: str | None) -> str | None:
        try:
            "".encode(value or "utf-8")
        except LookupError:
            raise ValueError(f"{value} is no charset that Python knows; write, for instance, utf-16, windows-1252 or shift_jis") from None
        return value


# The parts of a record that a field of a file may be.
RECORD_FIELDS = ("id", "text", "url", "title", "language", "license", "path", "date")


class FieldsSource(SourceConfig):
    """Files of records with named fields."""

    fields: dict[str, str] = Field(
        default_factory=dict,
        description="Which field of a record is our `text`, `id`, `title`, `url`, "
        "`language`, `license`, `date`, `path`; dots reach into nested records. A field that is not named has the same name there.",
        json_schema_extra={"propertyNames": {"enum": list(RECORD_FIELDS)}},
    )

    @field_validator("fields")
    @classmethod
    def _are_ours(cls, fields: dict[str, str]) -> dict[str, str]:
        for name in fields:
            if name not in RECORD_FIELDS:
                raise ValueError(f"a record has no `{name}`; {hint(name, RECORD_FIELDS)}")
        return fields

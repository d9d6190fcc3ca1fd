"""Where text comes from: one entry of a recipe's `sources`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Format = Literal["html", "jats", "s2orc", "json", "jsonl", "parquet", "code", "text"]


def names_differ(sources: Sequence[SourceConfig], what: str) -> None:
    """Raises `ValueError` where two of them have one name."""
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two {what} are named {name}; give each its own name")


class SourceConfig(BaseModel):
    """One source of documents."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the source: small letters, digits, `-`, `_`.")
    domain: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$", description="What it counts as in rules and mixes: web, code, science, or your own."
    )
    format: Format = Field(
        description="html (pages), jats (papers as JATS or NLM XML), s2orc (papers as S2ORC JSON), json (an array, or an object of "
        "records), jsonl (one JSON object a line), parquet (Parquet or Arrow), "
        "code (source trees, git repositories and bundles), text (plain, "
        "Markdown, reST)."
    )
    path: str = Field(
        description="A file, a folder, a glob, or a URI. Archives (tar, zip, wheel) and compressed files (gz, zst, bz2, xz) are opened."
    )
    include: list[str] = Field(
        ["*"],
        min_length=1,
        description="Globs on the path within the source or archive; `*` crosses folders. Which files to read.",
    )
    exclude: list[str] = Field(default_factory=list, description="Globs of files to leave out, of those included.")
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="For json, jsonl and parquet: which field of a record is our `text`, `id`, `title`, `url`, `language`, "
        "`license`, `date`; dots reach into nested records. A field that is not named has the same name there.",
    )
    language: str | None = Field(None, description="Language to declare for documents that do not say their own.")
    license: str | None = Field(None, description="Licence to declare for documents that do not say their own (SPDX).")
    revision: str | None = Field(
        None,
        description="For code from git repositories and bundles: the branch, tag or commit to read. None: HEAD, whatever is checked out.",
    )
    notebooks: Literal["script", "drop"] = Field(
        "script",
        description="For code: Jupyter notebooks as scripts, with text as comments and without outputs (The Stack v2), or left out.",
    )
    join: Literal["file", "repository"] = Field(
        "file",
        description="For code: one document a file, or files of one repository and licence joined, those imported first (DeepSeek-Coder). "
        "Generated and vendored files are never joined.",
    )
    max_joined_bytes: int = Field(
        1 << 20, ge=1, description="For code: most bytes of a joined document; a repository larger than that is split between files."
    )
    max_record_bytes: int = Field(
        64 << 20, ge=1, description="Longest record (line, page, member of an archive); longer ones go to the quarantine."
    )
    max_expansion: int = Field(
        1000,
        ge=1,
        description="Most bytes that one byte of a compressed file may become (past the first megabyte); a bomb's limit.",
    )

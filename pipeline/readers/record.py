"""What a reader yields: a record, or the fact that something could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RAW_BYTES = 1 << 16  # of an unreadable record are kept


@dataclass(frozen=True)
class Record:
    """One document as its source has it. `id` is unique within the source, and stable from run to run.

    `notes`: what had to be done to read it, by kind, each counted in the stage's summary. `from_markup`: entities are decoded already, so
    that what still looks like one was meant to. `left_out`: parts of the document that are not in its text, by kind (`<ref-list>`,
    `{{Infobox}}`), and how many of each.
    """

    id: str
    text: str
    url: str | None = None
    title: str | None = None
    language: str | None = None
    license: str | None = None
    path: str | None = None
    date: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    from_markup: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Unreadable:
    """Something that could not be read: where (file, member, line or byte offset), why, and its first bytes."""

    location: str
    error: str
    raw: bytes = b""


@dataclass(frozen=True)
class PassedOver:
    """Something that is no document and was not meant to be one (a picture in a web archive), by its kind, to be counted."""

    kind: str

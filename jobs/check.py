"""Whether a recipe can be run: its paths, permissions, formats, fields, lists, models and sets against what is really there.

Everything that is wrong is found in one go, and each is one line that begins with the recipe's own key.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.console import printable
from jobs.recipe import Recipe, resolve_workdir
from jobs.sample import keyed
from kernel.cache import expand_home
from kernel.sections import nearest
from pipeline.contamination.sets import FileSet, prepared
from pipeline.dedup.index import open_index
from pipeline.dedup.seen import open_seen
from pipeline.readers import FieldsSource, InputFile, Record, SourceConfig, Unreadable, list_files, read_file
from pipeline.readers.archives import members
from pipeline.readers.config import RECORD_FIELDS
from pipeline.readers.files import COMPRESSED
from pipeline.readers.streams import STREAM_ERRORS, describe
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from storage.errors import StorageError, why
from storage.inputs import open_input
from storage.location import scrub

_FILES, _RECORDS = 4, 64  # that are looked at: files of a source, records of a file
_MISSING = "no field "  # how readers begin to say that a record has no text
_ENDINGS = {
    ".parquet": "parquet",
    ".arrow": "parquet",
    ".feather": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".warc": "warc",
    ".arc": "warc",
    ".wet": "wet",
    ".tex": "latex",
    ".md": "markdown",
    ".rst": "rst",
    ".html": "html",
    ".htm": "html",
    ".nxml": "jats",
    ".json": "json",
    ".txt": "text",
}
_PLAIN = ("text", "markdown", "rst", "html")  # formats that take any text
_NEVER_PLAIN = ("parquet", "jsonl", "warc", "mediawiki")  # what nobody means to be read by them
_ALIKE = ({"warc", "wet"}, {"json", "jsonl", "s2orc"}, {"json", "code"}, {"parquet", "jsonl", "json", "csv", "huggingface"})


def check(recipe: Recipe, base: Path) -> tuple[list[list[InputFile]], list[str]]:
    """The files of each source, and what is wrong with the recipe, a line each. `base`: what relative paths are relative to."""
    listed: list[list[InputFile]] = []
    wrong: list[str] = []
    for number, source in enumerate(recipe.sources):
        files, lines = _source(f"sources.{number}", source, base, recipe.seed)
        listed.append(files)
        wrong += lines
    wrong += _workdir(recipe)
    for number, classifier in enumerate(recipe.classifiers):
        wrong += _tried(f"classifiers.{number}", classifier.resolved(base).fingerprint)
    for name, rules in recipe.filter.items():
        for family in rules.families():
            wrong += _tried(f"filter.{name}", family.resolved(base).fingerprint)
    if recipe.near is not None:
        near = recipe.near
        for number, uri in enumerate(near.against):
            wrong += _tried(f"near.against.{number}", lambda uri=uri: open_index(uri, near.signing))  # type: ignore[misc]
        for number, uri in enumerate(near.seen):
            wrong += _tried(f"near.seen.{number}", lambda uri=uri: open_seen(uri, near.signing))  # type: ignore[misc]
    if recipe.contamination is not None:
        for number, each in enumerate(recipe.contamination.sets):
            place = f"contamination.sets.{number}"
            if isinstance(each, FileSet):
                found = [line for _, source in each.sources() for line in _source(place, source, base, recipe.seed)[1]]
                wrong += list(dict.fromkeys(found))
            else:
                wrong += _tried(place, lambda each=each: prepared(each, base))  # type: ignore[misc]
    return listed, [printable(scrub(line)) for line in wrong]


def _tried(place: str, action: Callable[[], Any]) -> list[str]:
    """What is wrong where something cannot be done."""
    try:
        action()
    except UserError as error:
        text = str(error).removeprefix(f"{place.rpartition('.')[0]}: ")
        return [f"{place}: {text}"]
    except (OSError, pa.ArrowException, ValueError) as error:
        return [f"{place}: {describe(error)}"]
    return []


# --- the workdir -------------------------------------------------------------------------------------------------------


def _workdir(recipe: Recipe) -> list[str]:
    """Whether the workdir may be written: tried, and what was written is deleted."""
    place = resolve_workdir(recipe.workdir)
    name = f".plan-{uuid.uuid4().hex}"
    try:
        if "://" in place:
            workdir = Workdir(place)
            workdir.write(b"plan", name)
            workdir.delete(name)
        else:
            folder = Path(place)
            while not folder.exists():
                folder = folder.parent
            with tempfile.TemporaryFile(dir=folder):
                pass
    except UserError as error:
        return [f"workdir: {str(error).removeprefix('workdir ')}"]
    except (OSError, pa.ArrowException) as error:
        return [f"workdir: {place}: cannot be written ({why(error)}); correct the place or its permissions"]
    return []


# --- a source ----------------------------------------------------------------------------------------------------------


def _source(place: str, source: SourceConfig, base: Path, seed: int) -> tuple[list[InputFile], list[str]]:
    """A source's files, and what is wrong with it."""
    if (closed := _closed(source.path, base)) is not None:
        return [], [f"{place}.path: {source.path}: {closed}; correct its permissions"]
    try:
        files = list_files(source, base)
    except UserError as error:
        return [], [f"{place}.path: {str(error).removeprefix(f'source {source.name}: ')}"]
    except (OSError, pa.ArrowException) as error:
        return [], [f"{place}.path: {source.path}: cannot be listed ({describe(error)}); correct the path or its permissions"]
    some = keyed(files, seed, source.name)[:_FILES]
    unread = [line for file in some if (line := _unread(place, file)) is not None]
    if not unread:
        shut = [file for file in files if "://" not in file.uri and not os.access(file.uri, os.R_OK)]
        if shut:
            unread = [f"{place}.path: {shut[0].uri}: may not be read ({len(shut):,} of {len(files):,} files); correct its permissions"]
    try:
        return files, unread[:1] or list(_records(place, source, some))
    except UserError as error:
        return files, [f"{place}.path: {str(error).removeprefix(f'source {source.name}: ')}"]


def _closed(path: str, base: Path) -> str | None:
    """Why a folder of this machine cannot be listed, if it cannot; listing itself passes it over."""
    if "://" in path:
        return None
    root = expand_home(os.path.expandvars(path))
    root = root if root.is_absolute() else base / root
    try:
        if root.is_dir():
            os.scandir(root).close()
    except OSError as error:
        return f"may not be read ({why(error)})"
    return None


def _unread(place: str, file: InputFile) -> str | None:
    """Why a file cannot be opened, if it cannot."""
    if "://" not in file.uri and Path(file.uri).is_dir():  # a git repository
        return None
    try:
        with open_input(file.uri) as stream:
            stream.read(1)
    except StorageError as error:
        return f"{place}.path: {error}"
    except (*STREAM_ERRORS, ValueError) as error:
        return f"{place}.path: {file.uri}: cannot be read ({why(error)}); correct its permissions, or the path"
    return None


def _records(place: str, source: SourceConfig, files: list[InputFile]) -> Iterator[str]:
    """What first records say of a source's format and fields."""
    items = [item for file in files for item in islice(read_file(file, source), _RECORDS) if isinstance(item, Record | Unreadable)]
    records = [item for item in items if isinstance(item, Record)]
    bad = [item for item in items if isinstance(item, Unreadable)]
    looks = _looks(source, files)
    if source.format in _PLAIN and looks in _NEVER_PLAIN:
        yield f"{place}.format: the files are no {source.format}, they look like {looks}; set `format: {looks}`"
    elif not items:
        yield f"{place}: no record was found in the first {_files(len(files))} ({files[0].relative}{_hint(source, looks, '; ')}"
    elif len(records) * 20 <= len(bad):  # nearly none
        missing = [item for item in bad if item.error.startswith(_MISSING)]
        if 2 * len(missing) > len(bad) and isinstance(source, FieldsSource) and (_hint(source, looks, "") == ")" or looks is None):
            yield _field(place, source, missing)
        else:
            yield (
                f"{place}.format: none of the first {len(bad):,} records can be read as {source.format} (the first, {bad[0].location}: "
                f"{bad[0].error[:200]}{_hint(source, looks, '; ')}"
            )
    elif isinstance(source, FieldsSource):
        yield from _others(place, source, records, files)


def _files(count: int) -> str:
    return "file" if count == 1 else f"{count} files"


def _hint(source: SourceConfig, looks: str | None, before: str) -> str:
    """The end of a line about a format that does not fit: what the files look like, where that is another one."""
    if looks is None or looks == source.format or any({looks, source.format} <= alike for alike in _ALIKE[:1]):
        return f"){before and f'{before}correct `format` or `path`'}"
    return f"); they look like {looks}; set `format: {looks}`"


def _field(place: str, source: FieldsSource, missing: list[Unreadable]) -> str:
    """The line about a text field that the records do not have, with the one of theirs that looks right."""
    wanted = source.fields.get("text", "text")
    known: dict[str, int] = {}  # by name, the letters that it has
    for item in missing:
        try:
            raw = json.loads(item.raw)
        except ValueError:  # only its beginning was kept
            raw = dict.fromkeys(item.error.partition("it has: ")[2].split(", "), "")
        for name, value in raw.items() if isinstance(raw, dict) else ():
            known[name] = known.get(name, 0) + (len(value) if isinstance(value, str) else 0)
    near = nearest(wanted, [name for name in known if known[name]]) or max(known, key=lambda name: known[name], default=None)
    mean = f"; did you mean `{near}`?" if near is not None and known[near] else "; name the field that is the text"
    return f"{place}.fields.text: {_without(wanted, sorted(known))}{mean}"


def _without(wanted: str, names: list[str]) -> str:
    return f"no record has a field `{wanted}`; the records have: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"


def _others(place: str, source: FieldsSource, records: list[Record], files: list[InputFile]) -> Iterator[str]:
    """Fields that the recipe names and no record has, where one that the records have looks like it."""
    names = sorted({name for record in records for name in record.meta})
    used = {source.fields.get(name, name) for name in RECORD_FIELDS if any(getattr(record, name) is not None for record in records)}
    places = tuple(f"{file.relative}#" for file in files)
    if all(record.id.startswith(places) for record in records):
        used.discard(source.fields.get("id", "id"))
    for ours, theirs in source.fields.items():
        absent = all(record.id.startswith(places) if ours == "id" else getattr(record, ours) is None for record in records)
        near = nearest(theirs, names) if absent and theirs not in names else None
        if near is not None:
            yield f"{place}.fields.{ours}: {_without(theirs, sorted({*names, *used}))}; did you mean `{near}`?"


def _looks(source: SourceConfig, files: list[InputFile]) -> str | None:
    """The format that the first files look like, by their first bytes, else by their endings; None where neither tells."""
    found = {_look(source, file) for file in files}
    return found.pop() if len(found) == 1 else None


def _look(source: SourceConfig, file: InputFile) -> str | None:
    if "://" not in file.uri and Path(file.uri).is_dir():
        return "code"
    plain = source.model_copy(update={"format": "text"})
    name, head = file.relative.lower(), b""
    try:
        for member in members(file, plain):
            if not isinstance(member, Unreadable):
                name, head = member.name.lower(), member.stream.read(1 << 12)
                break
    except STREAM_ERRORS:
        return None
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return _by_bytes(head) or _ENDINGS.get(os.path.splitext(name)[1])


def _by_bytes(head: bytes) -> str | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if head.startswith((b"PAR1", b"ARROW1")):
        return "parquet"
    if head.startswith(b"WARC/"):
        return "wet" if b"wet" in head.lower()[:512] or b"conversion" in head.lower() else "warc"
    if start.startswith(b"<mediawiki"):
        return "mediawiki"
    if start.startswith((b"<!doctype html", b"<html")):
        return "html"
    if start.startswith((b"<?xml", b"<!doctype article", b"<article")) and b"<article" in head.lower():
        return "jats"
    if start.startswith((b"<?xml", b"<tei", b"<!doctype tei")) and re.search(rb"<(?:tei(?:\.2|corpus)?)[\s>]", head[:4096].lower()):
        return "tei"
    if start.startswith(b"{"):
        try:
            json.loads(head.split(b"\n", 1)[0])
            return "jsonl" if b"\n" in head.strip() else None
        except ValueError:
            return None
    return "json" if start.startswith((b"[{", b"[\n")) else None

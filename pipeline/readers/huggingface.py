"""Datasets as the Hugging Face Hub lays them out, and as `datasets` saves them: which files are the chosen split, and how each is read.

The rules are those of `datasets` (its documentation, "Structure your repository"): the card's `configs`, else folders and file
names that name a split, else everything is train. A folder of `save_to_disk` says in state.json which Arrow files are its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import Field

from pipeline.readers import csv_records, files, json_records, parquet, text
from pipeline.readers.files import InputFile
from pipeline.readers.record import PassedOver, Record, Unreadable
from pipeline.readers.remote import glob_pattern
from pipeline.readers.streams import Member
from pipeline.workdir.errors import UserError
from storage.errors import StorageError
from storage.inputs import open_input
from storage.location import scrub

_COMPRESSED = ("", ".gz", ".zst", ".bz2", ".xz")
_READERS: dict[str, Callable[[Member, Any], Iterator[Record | Unreadable | PassedOver]]] = {
    ".parquet": parquet.read,
    ".arrow": parquet.read,
    ".jsonl": json_records.read_lines,
    ".ndjson": json_records.read_lines,
    ".json": json_records.read_any,
    ".csv": csv_records.read,
    ".tsv": csv_records.read,
    ".txt": text.read,
}
_DATA = tuple(ending + compressed for ending in _READERS for compressed in _COMPRESSED)
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_CARD_BYTES = 4 << 20


class HuggingfaceSource(csv_records.CsvSource):
    """A dataset as the Hub or `save_to_disk` lays it out; its files may be CSV."""

    split: str = Field(
        "train",
        description="Which split to read (train, test, validation), or `all`. A dataset without splits is all train.",
    )
    subset: str | None = Field(
        None, description="Which configuration of the dataset (`config_name` in its card); default: its default, or all."
    )


def read(member: Member, source: HuggingfaceSource) -> Iterator[Record | Unreadable | PassedOver]:
    """One file of a dataset, by its ending."""
    reader = _READERS.get(PurePosixPath(member.name).suffix.lower())
    if reader is None:  # within an archive; of the files, `choose` takes only those it knows
        yield PassedOver(f"{PurePosixPath(member.name).suffix or 'a'} file")
    else:
        yield from reader(member, source)


def list_files(source: HuggingfaceSource, base: Path) -> list[InputFile]:
    """The files of the chosen split. Raises `UserError` where there are none."""
    return choose(files.list_files(source, base), source)


def choose(found: list[InputFile], source: HuggingfaceSource) -> list[InputFile]:
    """The files of a split. Raises `UserError` where the dataset has no such split or subset, and says which it has."""
    names = {file.relative: file for file in found}
    states = sorted(name for name in names if PurePosixPath(name).name == "state.json")
    if states:
        splits = _saved(names, states)
    else:
        every = [name for name in names if name.lower().endswith(_DATA)]  # of which a card may name any
        data = [name for name in every if not _is_beside(name)]
        splits = _of_card(names, every, source) or _by_name(data, source)
    wanted = sorted({name for split, chosen in splits.items() if source.split in ("all", split) for name in chosen})
    if not wanted:
        raise UserError(
            f"source {source.name}: {scrub(source.path)}: the dataset has no split {source.split}; "
            f"it has {', '.join(sorted(splits)) or 'no data files'}; set `split`"
        )
    return [names[name] for name in wanted]


def _load(file: InputFile, parse: Callable[[str], Any]) -> Any:
    try:
        with open_input(file.uri) as stream:
            return parse(stream.read(_CARD_BYTES).decode("utf-8"))
    except StorageError as error:
        raise UserError(str(error)) from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{scrub(file.uri)}: cannot be read ({' '.join(str(error).split())[:200]})") from error


# What lies beside data and is none of it: files of these names, with any ending or with this one.
_SIDE_NAMES = frozenset({"readme", "license", "licence", "copying", "notice", "citation", "changelog", "contributing", "requirements"})
_SIDE_FILES = frozenset({
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json", "package.json", "croissant.json",
    "metadata.json", "manifest.json", "stats.json", "schema.json",
})  # fmt: skip


def _is_beside(name: str) -> bool:
    file = PurePosixPath(name).name.lower()
    return file in _SIDE_FILES or file.partition(".")[0] in _SIDE_NAMES


def _saved(names: dict[str, InputFile], states: list[str]) -> dict[str, list[str]]:
    """Splits of `save_to_disk`: one folder with a state.json each, which names the folder's Arrow files (its cache's are no data)."""
    splits: dict[str, list[str]] = {}
    for state in states:
        folder = PurePosixPath(state).parent
        body = _load(names[state], json.loads)
        listed = body.get("_data_files") if isinstance(body, dict) else None
        parts = [(folder / str(part.get("filename"))).as_posix() for part in listed or [] if isinstance(part, dict)]
        missing = [part for part in parts if part not in names]
        if missing or not parts:
            raise UserError(
                f"{scrub(names[state].uri)}: names {missing[0] if missing else 'no data files'}, which is not there; copy the whole folder"
            )
        declared = body.get("_split")
        split = str(declared or folder.name or "train")
        splits.setdefault(split if len(states) > 1 or declared else "train", []).extend(parts)
    return splits


def _of_card(names: dict[str, InputFile], data: list[str], source: HuggingfaceSource) -> dict[str, list[str]]:
    """Splits as the `configs` of the dataset's card (README.md) give them; none where it gives none."""
    if "README.md" not in names:
        return {}
    front = re.match(r"---\r?\n(.*?)\r?\n---", _load(names["README.md"], str), re.DOTALL)
    card = _load(names["README.md"], lambda _: yaml.safe_load(front.group(1))) if front else None
    configs = card.get("configs") if isinstance(card, dict) else None
    configs = [config for config in configs or [] if isinstance(config, dict) and config.get("data_files")]
    if not configs:
        return {}
    known = [str(config.get("config_name", "default")) for config in configs]
    wanted = [config for config in configs if source.subset in (None, str(config.get("config_name", "default")))]
    if source.subset is None:
        wanted = [config for config in configs if config.get("default") or config.get("config_name") == "default"] or configs
    if not wanted:
        raise UserError(f"source {source.name}: the dataset has no subset {source.subset}; it has {', '.join(known)}; set `subset`")
    splits: dict[str, list[str]] = {}
    for config in wanted:
        files = config["data_files"]
        entries = (
            files if isinstance(files, list) and all(isinstance(entry, dict) for entry in files) else [{"split": "train", "path": files}]
        )
        for entry in entries:
            paths = entry.get("path")
            folder = str(config.get("data_dir") or "")
            for path in paths if isinstance(paths, list) else [paths]:
                pattern = re.compile(glob_pattern((PurePosixPath(folder) / str(path)).as_posix()))
                splits.setdefault(str(entry.get("split", "train")), []).extend(name for name in data if pattern.fullmatch(name))
    return splits


def _by_name(data: list[str], source: HuggingfaceSource) -> dict[str, list[str]]:
    """Splits by what files, or else folders, are called: `train` and its like as a word of the name."""
    if source.subset is not None:
        data = [name for name in data if source.subset in PurePosixPath(name).parts[:-1]]
        if not data:
            raise UserError(
                f"source {source.name}: the dataset has no subset {source.subset}: neither a folder nor a `config_name` has that "
                "name; set `subset`"
            )
    splits: dict[str, list[str]] = {}
    for name in data:
        parts = PurePosixPath(name).parts
        split = next((found for part in (parts[-1], *reversed(parts[:-1])) if (found := _split_of(part))), None)
        splits.setdefault(split or "", []).append(name)
    without = splits.pop("", [])
    return splits or {"train": without}


def _split_of(part: str) -> str | None:
    # data/NAME-00000-of-00005.parquet may name any split
    numbered = re.match(r"([A-Za-z0-9_]+)-[0-9]{5}-of-[0-9]{5}\b", part)
    words = re.split(r"[^A-Za-z]+", part.lower())
    known = next((split for split, spellings in _SPLITS.items() if any(word in spellings for word in words)), None)
    return known or (numbered.group(1) if numbered and numbered.group(1) not in ("part", "data", "file", "shard") else None)

"""Examples from files: JSON Lines, Parquet, CSV, TSV as GLUE has it, folders of `datasets`, and BEIR folders; by named columns."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kernel.random import uniform
from kernel.sections import hint
from trainer.errors import TrainerError
from trainer.tuning.config import TaskConfig

SPLITS = ("train", "validation", "test")
_ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "tsv",
}
_BEIR = {"train": "train", "validation": "dev", "test": "test"}


class DataConfig(BaseModel):
    """Where examples are, and how their columns are called."""

    model_config = ConfigDict(extra="forbid")

    path: str | None = Field(
        None, description="A file, a `datasets` folder (save_to_disk), or a BEIR folder, with all examples; or one of the keys below."
    )
    train: str | None = Field(None, description="The file of the training examples.")
    validation: str | None = Field(None, description="The file of the validation examples; null: some of the training ones, by key.")
    test: str | None = Field(None, description="The file of the test examples; null: none, or `test_share`.")
    format: Literal["jsonl", "parquet", "csv", "tsv", "datasets", "beir"] | None = Field(
        None, description="What the files are; null: as their names and folders say. TSV is read as GLUE's is: no quotes."
    )
    names: list[str] | None = Field(None, description="Names of the columns, of CSV and TSV files without a line that has them.")
    columns: dict[str, str] = Field(default_factory=dict, description="Our names to the files': `text: sentence`, `query: question` ...")
    split: str | None = Field(
        None, description="The column that has each example's split (train, validation, test); null: `split`, if any."
    )
    validation_share: float = Field(0.1, gt=0, lt=1, description="Share of the training texts that validate, where nothing else does.")
    test_share: float = Field(0.0, ge=0, lt=1, description="Share of them that test, where nothing else does.")
    most: int | None = Field(None, ge=1, description="Use about so many examples of each split, drawn by key; null: all.")

    @model_validator(mode="after")
    def _one_place(self) -> DataConfig:
        if (self.path is None) == (self.train is None):
            raise ValueError("give either path, of all examples, or train (and validation, test), a file for each split")
        return self


@dataclass(frozen=True)
class Examples:
    """A table as `tune` takes it; of retrieval `candidates`, all other texts to rank; and how many rows had no value and were left out."""

    table: pa.Table
    candidates: tuple[str, ...]
    left_out: int


def read_examples(config: DataConfig, task: TaskConfig, base: Path, seed: int = 0) -> Examples:
    """Read what a recipe names. `base`: what relative paths are relative to; `seed`: of the draws.

    Raises `TrainerError`, one line, for files that are not there or cannot be read, for a column that is missing, for an empty set, and
    for a BEIR folder without judgements.
    """
    if config.path is not None:
        place = _place(base, "path", config.path)
        kind = config.format or _kind(place)
        if kind == "beir":
            found, candidates = _beir(place)
            return Examples(_drawn(_split(found, config, seed), config, seed), candidates, 0)
        table = _datasets(place) if kind == "datasets" else _table(place, kind, config)
        split = config.split or "split"
        if config.split is not None and config.split not in table.column_names:
            raise TrainerError(f"data.split: {_lacks(place, config.split, table)}")
        splits = table[split] if split in table.column_names else None
        parts = [(place, _named(table, config, task, place), splits)]
    else:
        parts = []
        for name in SPLITS:
            if (given := getattr(config, name)) is not None:
                place = _place(base, name, given)
                table = _named(_table(place, config.format or _kind(place), config), config, task, place)
                parts.append((place, table, pa.array([name] * len(table), pa.string())))
    tables = [_with_split(table, splits) for _, table, splits in parts]
    try:
        whole = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TrainerError(f"data: the files' columns are of different types ({_first(error)}); make them alike") from error
    if not len(whole):
        raise TrainerError(f"data: {parts[0][0]} has no example; give some")
    kept = whole.drop_null()
    if not len(kept):
        raise TrainerError(f"data: every row of {parts[0][0]} lacks a value of {', '.join(task.columns)}; name other columns")
    return Examples(_drawn(_split(kept, config, seed), config, seed), (), len(whole) - len(kept))


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _place(base: Path, key: str, given: str) -> Path:
    place = Path(given).expanduser()
    place = place if place.is_absolute() else base / place
    if not place.exists():
        raise TrainerError(f"data.{key}: {place}: not there; correct the path")
    return place


def _kind(place: Path) -> str:
    """What a file or folder is, by its name and what is in it."""
    if place.is_dir():
        if (place / "corpus.jsonl").is_file() or (place / "queries.jsonl").is_file() or (place / "qrels").is_dir():
            return "beir"
        if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
            return "datasets"
        raise TrainerError(f"data: {place} is neither a BEIR folder (corpus.jsonl) nor one of `datasets` (dataset_dict.json, state.json)")
    ending = Path(place.name.removesuffix(".gz")).suffix.lower()
    if ending not in _ENDINGS:
        raise TrainerError(f"data: {place}: what is it? set data.format to jsonl, parquet, csv, tsv, datasets or beir")
    return _ENDINGS[ending]


def _lacks(place: Path, name: str, table: pa.Table) -> str:
    near = hint(name, table.column_names)
    there = ", ".join(table.column_names[:12])
    return f"{place} has no column {name!r}; {near}" if near.startswith("did") else f"{place} has no column {name!r}; it has: {there}"


# --- files ---------------------------------------------------------------------------------------------------------------


def _opened(place: Path) -> io.TextIOWrapper:
    how: Any = gzip.open if place.suffix == ".gz" else open
    return io.TextIOWrapper(how(place, "rb"), encoding="utf-8-sig", newline="")


def _table(place: Path, kind: str, config: DataConfig) -> pa.Table:
    """A file's rows, by its own names."""
    try:
        if kind == "parquet":
            return pq.read_table(place)
        if kind == "jsonl":
            return pa.Table.from_pylist(_with_all_keys(list(_json_lines(place))))
        if kind in ("csv", "tsv"):
            return _separated(place, kind, config.names)
    except (pa.ArrowException, UnicodeDecodeError, OSError, EOFError, csv.Error) as error:
        raise TrainerError(f"data: {place}: cannot be read as {kind} ({_first(error)}); correct data.format, or the file") from error
    raise TrainerError(f"data.format: {kind} is a folder, and {place} a file; name the folder as data.path")


def _json_lines(place: Path) -> Iterator[dict[str, Any]]:
    with _opened(place) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise TrainerError(f"data: {place}: line {number} is no JSON ({_first(error)}); mend it") from error
                if not isinstance(row, dict):
                    raise TrainerError(f"data: {place}: line {number} is no JSON object; give one a line")
                yield row


def _with_all_keys(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the keys of all of them: Arrow takes those of the first."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _separated(place: Path, kind: str, names: list[str] | None) -> pa.Table:
    """CSV, or TSV whose quotes are text."""
    csv.field_size_limit(1 << 30)
    with _opened(place) as lines:
        rows = csv.reader(lines) if kind == "csv" else csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        found = [row for row in rows if row]
    header = names if names is not None else found[0] if found else []
    body = found if names is not None else found[1:]
    for number, row in enumerate(body, start=1 if names is not None else 2):
        if len(row) != len(header):
            raise TrainerError(f"data: {place}: row {number} has {len(row)} fields, and there are {len(header)} columns; mend it")
    return pa.table({name: pa.array([row[place] for row in body], pa.string()) for place, name in enumerate(header)})


def _datasets(place: Path) -> pa.Table:
    """A folder that `datasets` saved; a split of its own becomes the column `split`. Classes come by their names."""
    if not (place / "dataset_dict.json").is_file():
        return _saved(place)
    parts = []
    for name in json.loads((place / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]:
        part = _saved(place / name)
        parts.append(part.append_column("split", pa.array([{"dev": "validation"}.get(name, name)] * len(part), pa.string())))
    return pa.concat_tables(parts, promote_options="permissive")


def _saved(place: Path) -> pa.Table:
    try:
        names = [entry["filename"] for entry in json.loads((place / "state.json").read_text(encoding="utf-8"))["_data_files"]]
        features = json.loads((place / "dataset_info.json").read_text(encoding="utf-8")).get("features") or {}
        table = pa.concat_tables([pa.ipc.open_stream(pa.OSFile(str(place / Path(name).name))).read_all() for name in names])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise TrainerError(f"data.path: {place}: no folder that `datasets` saved ({_first(error)}); save it again") from error
    for name, feature in features.items():
        many = feature.get("feature", {}) if isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List") else None
        of_class: Any = feature if many is None else many
        if isinstance(of_class, dict) and of_class.get("_type") == "ClassLabel":
            called = of_class["names"]
            values = table[name].to_pylist()
            named = [_called(value, called) if many is None else [_called(each, called) for each in value] for value in values]
            table = table.set_column(table.column_names.index(name), name, pa.array(named))
    return table


def _called(value: int | None, names: list[str]) -> str | None:
    """A class's name; -1 is none, as in GLUE's tests."""
    return None if value is None or value < 0 else names[value]


def _beir(place: Path) -> tuple[pa.Table, tuple[str, ...]]:
    """Queries with the texts that are judged to answer them, and all texts of the corpus, titles before them."""
    folder = place / "qrels"
    judged = {split: folder / f"{name}.tsv" for split, name in _BEIR.items() if (folder / f"{name}.tsv").is_file()}
    if not judged:
        raise TrainerError(
            f"data.path: {place} has no qrels/train.tsv, dev.tsv or test.tsv, so nothing says what answers a query; add them"
        )
    for name in ("corpus.jsonl", "queries.jsonl"):
        if not (place / name).is_file():
            raise TrainerError(f"data.path: {place / name}: not there; a BEIR folder has corpus.jsonl, queries.jsonl and qrels/")
    corpus = {
        str(row["_id"]): " ".join(part for part in (row.get("title"), row.get("text")) if part)
        for row in _json_lines(place / "corpus.jsonl")
    }
    queries = {str(row["_id"]): str(row["text"]) for row in _json_lines(place / "queries.jsonl")}
    found: dict[str, list[Any]] = {"query": [], "text": [], "label": [], "split": []}
    for split, path in judged.items():
        with _opened(path) as lines:
            for number, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
                if number == 1 and not row[-1].lstrip("-").isdigit():
                    continue
                if len(row) < 3 or row[0] not in queries or row[-2] not in corpus:
                    raise TrainerError(f"data.path: {path}: line {number} names a query or text that is not there: {' '.join(row)[:80]}")
                if int(row[-1]) > 0:
                    for name, value in zip(found, (queries[row[0]], corpus[row[-2]], float(row[-1]), split), strict=True):
                        found[name].append(value)
    if not found["query"]:
        raise TrainerError(f"data.path: {place}: no judgement is above 0, so no text answers a query; correct qrels/")
    return pa.table(found), tuple(corpus.values())


# --- columns and splits ---------------------------------------------------------------------------------------------------


def _named(table: pa.Table, config: DataConfig, task: TaskConfig, place: Path) -> pa.Table:
    """The task's columns by our names."""
    optional = {"query": "query" not in task.columns and "text" in task.columns, "negatives": "query" in task.columns, "label": True}
    wanted = [*task.columns, *(name for name, may in optional.items() if may and name not in task.columns)]
    if strange := config.columns.keys() - set(wanted):
        raise TrainerError(f"data.columns.{min(strange)}: {task.kind} has no such column; {hint(min(strange), wanted)}")
    found = {}
    for name in wanted:
        theirs = config.columns.get(name, name)
        if theirs in table.column_names:
            found[name] = _plain(table[theirs])
        elif name in task.columns or name in config.columns:
            raise TrainerError(f"data.columns.{name}: {_lacks(place, theirs, table)}")
    if "query" in found and "query" not in task.columns and task.kind != "regress":
        del found["query"]
    if task.columns[-1:] == ("start",):
        found["start"] = _integers(found["start"], place)
    return pa.table(found)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Large and dictionary types as plain ones, so that files agree."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type):
        column = column.cast(pa.string())
    return column


def _integers(column: pa.ChunkedArray, place: Path) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise TrainerError(f"data.columns.start: {place}: {_first(error)}; give the character at which the answer begins") from error


def _with_split(table: pa.Table, splits: Any) -> pa.Table:
    if splits is None:
        return table
    names = {"dev": "validation", "valid": "validation", "val": "validation"}
    called = [names.get(str(name), str(name)) for name in splits.to_pylist()]
    return table.append_column("split", pa.array(called, pa.string()))


def _split(table: pa.Table, config: DataConfig, seed: int) -> pa.Table:
    """The table with every split: what validates or tests is drawn of what trains where nothing is given, equal texts together."""
    given = table["split"].to_pylist() if "split" in table.column_names else ["train"] * len(table)
    for name, share, order in (("validation", config.validation_share, 0), ("test", config.test_share, 1)):
        if name not in given and share:
            numbers = uniform(seed, f"{name} {order}", _keys(table))
            given = [name if split == "train" and number < share else split for split, number in zip(given, numbers, strict=True)]
    column = pa.array(given, pa.string())
    return (
        table.set_column(table.column_names.index("split"), "split", column)
        if "split" in table.column_names
        else table.append_column("split", column)
    )


def _keys(table: pa.Table) -> list[str]:
    """What examples are kept together by: the query of those that have one, else the text or the words."""
    name = next(name for name in ("query", "text", "words") if name in table.column_names)
    values = table[name].to_pylist()
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def _drawn(table: pa.Table, config: DataConfig, seed: int) -> pa.Table:
    """About so many examples of each split, drawn by key, in their order: equal texts, and all texts of a query, stay together."""
    if config.most is None:
        return table
    kept: list[int] = []
    splits, keys = np.array(table["split"].to_pylist(), object), np.array(_keys(table), object)
    for name in dict.fromkeys(splits.tolist()):
        rows = np.flatnonzero(splits == name)
        different, group, counts = np.unique(keys[rows], return_inverse=True, return_counts=True)
        order = np.argsort(uniform(seed, "most", different.tolist()), kind="stable")
        chosen = order[np.cumsum(counts[order]) - counts[order] < config.most]
        kept += rows[np.isin(group, chosen)].tolist()
    return table.take(pa.array(sorted(kept), pa.int64()))

"""Whether two workdirs hold the same, to the byte; where they do not, what differs, by stage, domain, source and rule.

Datasets are compared by the checksums in their manifests, so that equal ones are not read (`verify` reads them). Documents of two
workdirs belong together by their ids. What is in memory at a time is a partition of each, and 16 bytes for each document of partitions
that differ.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import xxhash
from rich.markup import escape
from rich.table import Table

from jobs.console import console, printable, shown
from jobs.recipe import resolve_workdir
from kernel.hashing import GOLDEN
from pipeline.mix.plan import PLAN, phase_column
from pipeline.mix.split import SPLIT
from pipeline.workdir.dataset import Manifest, Partition, Workdir
from pipeline.workdir.documents import DOCUMENTS, QUARANTINE, STATISTICS, TOKENS
from pipeline.workdir.errors import UserError
from pipeline.workdir.verdicts import ORDER, verdict_dataset
from storage.errors import StorageError, why

# In the order of the flow; what else there is comes after them.
FLOW = (DOCUMENTS, QUARANTINE, STATISTICS, *map(verdict_dataset, ORDER), SPLIT, "tokenizer", TOKENS, PLAN)
VERDICTS = tuple(map(verdict_dataset, ORDER))
# What a verdict says of a document; its other columns name documents by ordinals, which a new source shifts.
SAID = ("keep", "rule", "value", "limit", "cuts")
SHARDS = "shards/"
NOT_JUDGED = "not judged"
SHOWN = 8  # kinds of change of a stage in the table; the rest is counted
Rows = npt.NDArray[np.int64]


@dataclass
class Compared:
    """One dataset of the two workdirs, or the weights of a run. `state`: equal, differs, or where it is missing or not finished."""

    name: str
    state: str
    rows: tuple[int | None, int | None]
    partitions: int = 0  # how many are not the same in both
    configuration: list[str] = field(default_factory=list)  # of shards: what of their configuration is not


@dataclass
class Change:
    """What became of some documents of one source: how many, and the ids of a few."""

    stage: str
    domain: str
    source: str
    what: str
    documents: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Comparison:
    """All that differs between two workdirs."""

    datasets: list[Compared]
    changes: list[Change]
    texts: dict[str, list[str]]  # a few documents whose text differs: the lines of a unified diff
    only_partitioned: bool = False  # the documents are the same, and lie in other partitions

    @property
    def equal(self) -> bool:
        return all(each.state == "equal" for each in self.datasets)


# --- datasets --------------------------------------------------------------------------------------------------------


def _finished(workdir: Workdir) -> tuple[dict[str, Manifest], set[str]]:
    """Every finished dataset of a workdir by its name, and the names of those that were begun and not finished."""
    manifests = {name: workdir.manifest(name) for name in workdir.datasets()}
    found = {name: manifest for name, manifest in manifests.items() if manifest is not None}
    return found, manifests.keys() - found.keys()


def _differing(one: Manifest, other: Manifest) -> set[str]:
    """Names of the partitions that are not the same in both."""
    mine, theirs = ({name: each.checksum for name, each in manifest.by_name.items()} for manifest in (one, other))
    return {name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)}


def _compare_dataset(name: str, manifests: Sequence[Manifest | None], begun: Sequence[set[str]]) -> Compared:
    one, other = manifests
    rows = (None if one is None else one.rows, None if other is None else other.rows)
    if one is None or other is None:
        side = 0 if one is None else 1
        where = ("the first", "the second")[side]
        return Compared(name, f"not finished in {where}" if name in begun[side] else f"not in {where}", rows)
    differing = _differing(one, other)
    keys = sorted(one.configuration.keys() | other.configuration.keys()) if name.startswith(SHARDS) else []
    configuration = [key for key in keys if one.configuration.get(key) != other.configuration.get(key)]
    return Compared(name, "differs" if differing or configuration else "equal", rows, len(differing), configuration)


def _weights(workdir: Workdir) -> dict[str, str]:
    """The checksum of the trained weights of each run."""
    found = {}
    for run in workdir.folders("runs"):
        path = ("runs", run, "model", "model.safetensors")
        try:
            raw = workdir.folder.read(*path)
        except OSError as error:
            raise UserError(f"{workdir.path(*path)}: cannot be read ({printable(why(error))}); it should be a file of weights") from error
        if raw is not None:
            found[f"runs/{run}/model"] = xxhash.xxh3_128_hexdigest(raw)
    return found


def _compare_weights(one: str | None, other: str | None) -> str:
    if one is None or other is None:
        return "missing in the first" if one is None else "missing in the second"
    return "equal" if one == other else "differs"


# --- documents -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """Rows of two partitions of documents that are the same documents, by id."""

    one: Partition
    other: Partition
    rows: tuple[Rows, Rows]
    whole: bool  # the two partitions are equal to the byte


def _marks(column: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    return np.array([xxhash.xxh3_64_intdigest((value or "").encode()) for value in column.to_pylist()], np.uint64)


def _ids(workdir: Workdir, partitions: Sequence[Partition]) -> tuple[npt.NDArray[np.uint64], Rows, Rows]:
    """Of all rows of some partitions of documents: the hash of the id, the partition's number, the row; sorted by hash."""
    marks = [_marks(workdir.read_table(DOCUMENTS, partition, ["id"])["id"]) for partition in partitions]
    numbers = [np.full(len(each), number) for number, each in enumerate(marks)]
    rows = [np.arange(len(each)) for each in marks]
    none = np.zeros(0, np.int64)
    mark = np.concatenate([none.astype(np.uint64), *marks])
    order = np.argsort(mark, kind="stable")
    mark = mark[order]
    first = np.searchsorted(mark, mark)  # of equal ids: the second of one workdir belongs to the second of the other
    again = np.arange(len(mark)) - first
    mark = mark + again.astype(np.uint64) * GOLDEN
    return mark, np.concatenate([none, *numbers])[order], np.concatenate([none, *rows])[order]


class _Documents:
    """The documents of both workdirs: which belong together, and which are in one alone."""

    def __init__(self, workdirs: tuple[Workdir, Workdir], manifests: tuple[Manifest, Manifest]) -> None:
        self.workdirs, self.manifests = workdirs, manifests
        one, other = manifests
        differing = _differing(one, other)
        self.same = [name for name in one.by_name if name not in differing]
        self.changed = tuple([p for p in manifest.partitions if p.name in differing] for manifest in manifests)
        self._index = tuple(_ids(workdir, changed) for workdir, changed in zip(workdirs, self.changed, strict=True))

    def pairs(self) -> Iterator[_Pair]:
        """Every document that is in both, partition by partition."""
        one, other = self.manifests
        for name in self.same:
            rows = np.arange(one.by_name[name].rows)
            yield _Pair(one.by_name[name], other.by_name[name], (rows, rows), True)
        (marks, numbers, rows), (their_marks, their_numbers, their_rows) = self._index
        _, mine, theirs = np.intersect1d(marks, their_marks, return_indices=True)
        places = numbers[mine] * len(self.changed[1]) + their_numbers[theirs]
        for place in np.unique(places):
            chosen = places == place
            first, second = divmod(int(place), len(self.changed[1]))
            both = rows[mine[chosen]], their_rows[theirs[chosen]]
            yield _Pair(self.changed[0][first], self.changed[1][second], both, False)

    def alone(self, side: int) -> Iterator[tuple[Partition, Rows]]:
        """The documents that the other workdir does not have: a partition of workdir `side`, and their rows."""
        marks, numbers, rows = self._index[side]
        missing = ~np.isin(marks, self._index[1 - side][0])
        for number in np.unique(numbers[missing]):
            yield self.changed[side][int(number)], np.sort(rows[missing & (numbers == number)])


# --- what differs ----------------------------------------------------------------------------------------------------


def _unequal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which rows of two equally long columns differ; two nulls are equal, and so are two values that are no number."""
    if one.type != other.type:
        return np.ones(len(one), bool)
    if pa.types.is_nested(one.type):
        pairs = zip(one.to_pylist(), other.to_pylist(), strict=True)
        return np.array([a != b for a, b in pairs], bool)
    differ = pc.if_else(pc.and_(pc.is_null(one), pc.is_null(other)), False, pc.fill_null(pc.not_equal(one, other), True))
    if pa.types.is_floating(one.type):
        nan = pc.and_(pc.fill_null(pc.is_nan(one), False), pc.fill_null(pc.is_nan(other), False))
        differ = pc.and_not(differ, nan)
    return np.asarray(differ, dtype=bool)


class _Changes:
    """Changes as they are found: counted by stage, domain, source and kind, with the ids of a few."""

    def __init__(self, examples: int) -> None:
        self._found: dict[tuple[str, str, str, str], Change] = {}
        self._examples = examples

    def add(self, stage: str, what: Sequence[str], documents: pa.Table) -> None:
        """A change of each document of a table with `id`, `domain` and `source`."""
        columns = (documents[name].to_pylist() for name in ("id", "domain", "source"))
        for kind, identifier, domain, source in zip(what, *columns, strict=True):
            change = self._found.setdefault((stage, domain, source, kind), Change(stage, domain, source, kind))
            change.documents += 1
            if len(change.examples) < self._examples:
                change.examples.append(identifier)

    def all(self) -> list[Change]:
        places = {name: place for place, name in enumerate(FLOW)}
        return sorted(self._found.values(), key=lambda c: (places.get(c.stage, len(places)), -c.documents, c.domain, c.source, c.what))


def _fate(keep: bool | None, rule: str | None) -> str:
    return NOT_JUDGED if keep is None else "kept" if keep else f"dropped by {rule}"


def _changed_verdicts(one: pa.Table, other: pa.Table) -> list[str | None]:
    """For each document what became of its verdict, None where nothing did."""
    differ = {name: _unequal(one[name], other[name]) for name in SAID}
    any_of = np.logical_or.reduce(list(differ.values()))
    what: list[str | None] = [None] * one.num_rows
    fates = [[_fate(k, r) for k, r in zip(t["keep"].to_pylist(), t["rule"].to_pylist(), strict=True)] for t in (one, other)]
    for row in np.flatnonzero(any_of):
        before, after = fates[0][row], fates[1][row]
        if NOT_JUDGED in (before, after):  # an earlier verdict dropped it in one of the two, and is told as what differs
            continue
        if before != after:
            what[row] = f"{before} -> {after}"
        else:
            what[row] = f"{before}, but by another " + ", ".join(name for name in SAID if differ[name][row])
    return what


def _changed_columns(one: pa.Table, other: pa.Table, names: Sequence[str]) -> list[str | None]:
    """For each document which columns differ, None where none does."""
    new = sorted(set(one.column_names) ^ set(other.column_names))
    shared = [name for name in names if name in one.column_names and name in other.column_names]
    differ = {name: _unequal(one[name], other[name]) for name in shared}
    what: list[str | None] = []
    for row in range(one.num_rows):
        found = [name for name in shared if differ[name][row]]
        more = [f"{name} is in one alone" for name in new]
        what.append(", ".join([*(found[:4]), *(["..."] if len(found) > 4 else []), *more]) or None)
    return what


def _changed_split(one: pa.Table, other: pa.Table) -> list[str | None]:
    kinds = [[value or "dropped" for value in table["split"].to_pylist()] for table in (one, other)]
    cut = _unequal(one["bytes"], other["bytes"])
    return [
        f"{a} -> {b}" if a != b else "other cuts" if differs and a != "dropped" else None for a, b, differs in zip(*kinds, cut, strict=True)
    ]


def _changed_plan(one: pa.Table, other: pa.Table) -> list[str | None]:
    phases = [name for name in one.column_names if name.startswith(phase_column(""))]
    return [None if what is None else "seen another number of times" for what in _changed_columns(one, other, phases)]


CHANGED = {STATISTICS: lambda one, other: _changed_columns(one, other, one.column_names), SPLIT: _changed_split, PLAN: _changed_plan}


def _token_marks(workdir: Workdir, partition: Partition, rows: Rows) -> npt.NDArray[np.uint64]:
    """A hash of each document's tokens; 0 where it has none."""
    table = workdir.read_table(TOKENS, partition)
    ids = table["ids"].combine_chunks()
    offsets, values = ids.offsets.to_numpy(), ids.values.to_numpy()
    marks = np.zeros(int(rows.max(initial=-1)) + 1, np.uint64)
    for place, row in enumerate(table["row"].to_numpy()):
        if row < len(marks):
            marks[row] = xxhash.xxh3_64_intdigest(values[offsets[place] : offsets[place + 1]].astype(np.uint32).tobytes())
    return marks[rows]


def _beside(manifest: Manifest, partition: Partition) -> Partition | None:
    """The partition that lies row for row beside one of documents; None where there is none of as many rows."""
    found = manifest.by_name.get(partition.name)
    if found is not None:
        return found if found.rows == partition.rows else None
    return manifest.by_name.get(f"{partition.name}.arrow")


def _named(one: Workdir, pair: _Pair) -> pa.Table:
    """What changes are told by, of the documents of a pair."""
    return one.read_table(DOCUMENTS, pair.one, ["id", "domain", "source"]).take(pa.array(pair.rows[0]))


def _compare_beside(
    documents: _Documents, datasets: tuple[dict[str, Manifest], dict[str, Manifest]], pair: _Pair, changes: _Changes
) -> None:
    """Everything that lies row for row beside the documents, of one pair of partitions."""
    one, other = documents.workdirs
    named: pa.Table | None = None
    for name in (STATISTICS, *VERDICTS, SPLIT, TOKENS, PLAN):
        if name not in datasets[0] or name not in datasets[1]:
            continue
        parts = _beside(datasets[0][name], pair.one), _beside(datasets[1][name], pair.other)
        if parts[0] is None or parts[1] is None:  # of tokens and plans, documents that are dropped have none
            if parts != (None, None) and name in (STATISTICS, *VERDICTS, SPLIT):
                where = "the first" if parts[0] is None else "the second"
                named = _named(one, pair) if named is None else named
                changes.add(name, [f"not there in {where}"] * named.num_rows, named)
            continue
        if pair.whole and parts[0].checksum == parts[1].checksum:
            continue
        what: list[str | None]
        if name == TOKENS:
            marks = [_token_marks(one, parts[0], pair.rows[0]), _token_marks(other, parts[1], pair.rows[1])]
            what = ["other tokens" if a != b and a and b else None for a, b in zip(*marks, strict=True)]
        else:
            tables = [
                w.read_table(name, p).take(pa.array(r)) for w, p, r in ((one, parts[0], pair.rows[0]), (other, parts[1], pair.rows[1]))
            ]
            what = CHANGED.get(name, _changed_verdicts)(tables[0], tables[1])
        hits = np.array([place for place, kind in enumerate(what) if kind is not None], np.int64)
        if len(hits):
            named = _named(one, pair) if named is None else named
            changes.add(name, [kind for kind in what if kind is not None], named.take(pa.array(hits)))


def _compare_documents(documents: _Documents, pair: _Pair, changes: _Changes, texts: dict[str, list[str]], examples: int) -> None:
    """The documents of a pair of partitions that are not equal to the byte."""
    parts = zip(documents.workdirs, (pair.one, pair.other), pair.rows, strict=True)
    one, other = (workdir.read_table(DOCUMENTS, partition).take(pa.array(rows)) for workdir, partition, rows in parts)
    what = _changed_columns(one, other, [name for name in one.column_names if name != "id"])
    hits = np.array([place for place, kind in enumerate(what) if kind is not None], np.int64)
    changes.add(DOCUMENTS, [f"another {kind}" for kind in what if kind is not None], one.take(pa.array(hits)))
    for place in hits:
        before, after = (table["text"][int(place)].as_py() for table in (one, other))
        if before != after and len(texts) < examples:
            lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "the first", "the second", lineterm="", n=1)
            texts[one["id"][int(place)].as_py()] = [line[:200] for line, _ in zip(lines, range(12), strict=False)]


def compare(one: Workdir, other: Workdir, *, verify: bool = False, examples: int = 3) -> Comparison:
    """All that differs between two workdirs. Raises `UserError` where one is none, `CorruptData` where a file that is read is damaged.

    `verify`: read every partition of both and check it against its checksum, instead of trusting the manifests.
    """
    (mine, my_begun), (theirs, their_begun) = _finished(one), _finished(other)
    datasets = mine, theirs
    for workdir, found in zip((one, other), datasets, strict=True):
        if not found:
            raise UserError(f"{workdir.shown}: no finished dataset is there; give the workdir of a run")
        if verify:
            for name, manifest in found.items():
                for partition in manifest.partitions:
                    workdir.read_partition(name, partition)
    places = {name: place for place, name in enumerate(FLOW)}
    names = sorted(datasets[0].keys() | datasets[1].keys(), key=lambda name: (places.get(name, len(places)), name))
    compared = [_compare_dataset(name, [found.get(name) for found in datasets], (my_begun, their_begun)) for name in names]
    weights = _weights(one), _weights(other)
    for run in sorted(weights[0].keys() | weights[1].keys()):
        compared.append(Compared(run, _compare_weights(weights[0].get(run), weights[1].get(run)), (None, None)))
    changes, texts = _Changes(examples), dict[str, list[str]]()
    if DOCUMENTS in datasets[0] and DOCUMENTS in datasets[1]:
        documents = _Documents((one, other), (datasets[0][DOCUMENTS], datasets[1][DOCUMENTS]))
        for side, where in enumerate(("the first", "the second")):
            for partition, rows in documents.alone(side):
                table = documents.workdirs[side].read_table(DOCUMENTS, partition, ["id", "domain", "source"]).take(pa.array(rows))
                changes.add(DOCUMENTS, [f"only in {where}"] * len(rows), table)
        for pair in documents.pairs():
            if not pair.whole:
                _compare_documents(documents, pair, changes, texts, examples)
            _compare_beside(documents, datasets, pair, changes)
    found_changes = changes.all()
    documents_differ = any(each.name == DOCUMENTS and each.state == "differs" for each in compared)
    only_partitioned = documents_differ and not any(change.stage == DOCUMENTS for change in found_changes)
    return Comparison(compared, found_changes, texts, only_partitioned)


# --- what the user sees ----------------------------------------------------------------------------------------------


def _table(changes: Sequence[Change]) -> list[tuple[str, str, str, str, str, str]]:
    """The changes as rows of text, the heads first; of each stage at most SHOWN, and how many more there are."""
    rows = [("stage", "domain", "source", "documents", "what differs", "such as")]
    for stage in dict.fromkeys(change.stage for change in changes):
        of_stage = [change for change in changes if change.stage == stage]
        for change in of_stage[:SHOWN]:
            example = printable(change.examples[0]) if change.examples else ""
            rows.append(
                (stage, printable(change.domain), printable(change.source), f"{change.documents:,}", printable(change.what), example)
            )
        if rest := of_stage[SHOWN:]:
            count = sum(change.documents for change in rest)
            rows.append((stage, "", "", f"{count:,}", f"{len(rest)} more kinds of change (all with --json)", ""))
    return rows


def show(comparison: Comparison) -> None:
    """Print a comparison: the datasets, then what differs, with documents as examples."""
    if comparison.equal:
        console.print(f"equal: {len(comparison.datasets)} datasets are the same to the byte")
        return
    table = Table("dataset", "first", "second", "", box=None, pad_edge=False, header_style="dim")
    for each in comparison.datasets:
        if each.state != "equal":
            counts = ["" if count is None else f"{count:,} rows" for count in each.rows]
            partitions = f" in {each.partitions} partition{'s' * (each.partitions != 1)}" if each.partitions else ""
            configuration = f" in its configuration ({', '.join(each.configuration)})" if each.configuration else ""
            table.add_row(each.name, *counts, each.state + " and".join(filter(None, [partitions, configuration])))
    console.print(table)
    same = sum(each.state == "equal" for each in comparison.datasets)
    console.print(f"{same} other dataset{'s are' if same != 1 else ' is'} the same to the byte\n")
    if comparison.changes:
        rows = _table(comparison.changes)
        widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
        for number, row in enumerate(rows):
            cells = [
                cell.rjust(width) if place == 3 else cell.ljust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=False))
            ]
            left = max(24, console.width - sum(widths) - 2 * len(widths))
            example = row[-1] if len(row[-1]) <= left else f"{row[-1][: left // 2 - 1]}…{row[-1][-(left - left // 2) :]}"
            console.print("  ".join([*cells, example]).rstrip(), markup=False, soft_wrap=True, style=None if number else "dim")
    if comparison.only_partitioned:
        console.print("the documents themselves are equal, and only partitioned otherwise (`ingest`: `partition_bytes`, `chunk_bytes`)")
    elif not comparison.changes and any(each.name == DOCUMENTS and each.state == "equal" for each in comparison.datasets):
        console.print(
            "no document differs in what both workdirs say of it: only numbers of documents, files that hold no documents, or what one "
            "of them lacks"
        )
    for identifier, lines in comparison.texts.items():
        console.print(f"\n{escape(printable(identifier))}", style="bold")
        for line in lines:
            console.print(escape(printable(line)), soft_wrap=True)


def _is_folder(workdir: Workdir) -> bool:
    if "://" not in workdir.uri:
        return Path(workdir.uri).is_dir()
    try:
        return bool(workdir.folder.info().type == pa.fs.FileType.Directory)
    except StorageError as error:
        raise UserError(printable(str(error))) from error


def diff(first: str, second: str, *, verify: bool = False, examples: int = 3, as_json: bool = False) -> bool:
    """Compare two workdirs, print what differs, and say whether they are equal."""
    workdirs = []
    for place in (first, second):
        workdir = Workdir(resolve_workdir(place))
        if not _is_folder(workdir):
            raise UserError(f"{shown(place)}: no such folder; give the workdirs of two runs")
        workdirs.append(workdir)
    try:
        comparison = compare(workdirs[0], workdirs[1], verify=verify, examples=examples)
    except (OSError, pa.ArrowException) as error:
        both = " and ".join(workdir.shown for workdir in workdirs)
        raise UserError(f"{both}: cannot be compared ({printable(why(error))}); `foundry inspect` says what is wrong with each") from error
    if as_json:
        console.print_json(json.dumps({"equal": comparison.equal, **asdict(comparison)}))
    else:
        show(comparison)
    return comparison.equal

"""Which documents are seen once more: a systematic draw that hits the tokens asked of each group, exact to half a document.

A document that is wanted `w` times over is taken floor(w) times, and perhaps once more. Who is, follows from one order of the whole
group: a number keyed by (seed, purpose, id), weighed by the fraction of `w` as Rosén's Pareto sampling has it (Rosén 1997), so that the
chance of being taken is close to that fraction. Along this order documents are taken until their tokens come nearest to what is asked. So
a group that has few and long documents gets its share too, where a draw for each document alone may miss it by any number of them.

The order is of all partitions, but nobody sorts all of it. *Draw*: a task writes the numbers of one partition's documents, and how many
tokens lie in each range of numbers. From the sums follows the one range in which the draw ends. *Edge*: a task writes the documents of its
partition in that range, which together are few, and from them follows the last document that is taken.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kernel.random import uniform
from pipeline.mix.config import group_of
from pipeline.mix.quality import groups_of, token_counts, weight_bins, weight_of
from pipeline.mix.split import SPLIT, TRAIN
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENTS, STATISTICS, TOKENS
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File

VERSION = 1
RANGE_BITS = 46  # of a number's 64, which do not tell ranges apart: its exponent and 6 bits more do, a range has at most 1 % of a group
WHOLE = 1e-9  # a document that is wanted so nearly a whole number of times is wanted that many times
_OUT = np.uint64(0xFFFFFFFFFFFFFFFF)  # the number of a document that is not drawn
Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Wanted:
    """How often the documents of a group are wanted, equally often or by a quality; `amount`: how many tokens (or bytes) that makes."""

    epochs: float
    amount: int
    statistic: str | None = None
    power: float = 1.0
    scale: float = 0.0
    most: float = 0.0


@dataclass(frozen=True)
class Pass:
    """One pass over a mix: what it names, and what it wants of each group. `purpose` tells its numbers from those of others."""

    purpose: str
    named: tuple[str, ...]
    groups: Mapping[str, Wanted]


Last = tuple[int, int]  # number and ordinal of the last document that is taken once more
NOBODY: Last = (-1, -1)
EVERYBODY: Last = (int(_OUT) - 1, np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Drawn:
    """A draw: the dataset with the documents' numbers, and for each pass and group the last document that is taken."""

    manifest: Manifest
    last: Mapping[str, Mapping[str, Last]]

    @property
    def by_place(self) -> bool:
        """Whether who is taken may depend on the place in the corpus, by which documents of equal numbers are ordered."""
        return any(ordinal not in (NOBODY[1], EVERYBODY[1]) for groups in self.last.values() for _, ordinal in groups.values())


# --- the law -----------------------------------------------------------------------------------------------------------


def parts(wanted: npt.NDArray[np.float64]) -> tuple[Ints, npt.NDArray[np.float64]]:
    """What is wanted, float64 (documents,), as whole times int64 (documents,) and fractions in [0, 1) float64 (documents,)."""
    whole = np.floor(wanted + WHOLE)
    fraction = np.where(wanted - whole > WHOLE, wanted - whole, 0.0)
    return whole.astype(np.int64), fraction


def numbers(chance: npt.NDArray[np.float64], fraction: npt.NDArray[np.float64]) -> Numbers:
    """The place of each document in the order of the draw: uint64 (documents,), the largest one where `fraction` is zero.

    `chance`: a number in [0, 1) of each document. Pareto sampling orders by the odds of the chance over the odds of the fraction; the
    bits of floating-point numbers that are not negative are ordered as they are.
    """
    chosen = fraction > 0
    odds = chance[chosen] / (1 - chance[chosen]) * ((1 - fraction[chosen]) / fraction[chosen])
    found = np.full(len(chance), _OUT)
    found[chosen] = odds.view(np.uint64)
    return found


def last_taken(number: Numbers, ordinal: Ints, sizes: Ints, need: int) -> Last:
    """The last document to take, along the order of (number, ordinal), that the sum of `sizes` comes nearest to `need`."""
    order = np.lexsort((ordinal, number))
    ends = np.cumsum(sizes[order])
    at = int(np.searchsorted(ends, need, side="right"))  # as many as fit
    fits = int(ends[at - 1]) if at else 0
    if at < len(order) and int(ends[at]) - need < need - fits:
        at += 1
    return (int(number[order[at - 1]]), int(ordinal[order[at - 1]])) if at else NOBODY


def is_taken(number: Numbers, ordinal: Ints, last: Last) -> npt.NDArray[np.bool_]:
    """Which documents stand no later in the order than the last that is taken: bool (documents,)."""
    if last == NOBODY:
        return np.zeros(len(number), bool)
    edge = np.uint64(last[0])
    before = (number < edge) | ((number == edge) & (ordinal <= last[1]))
    taken: npt.NDArray[np.bool_] = before & (number != _OUT)
    return taken


# --- draw --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Drawing:
    seed: int
    dataset: str
    passes: Mapping[str, Pass]
    unit: str  # tokens, or bytes


def _sizes(workdir: Workdir, piece: Piece[_Drawing], split: pa.Table) -> Ints:
    if piece.settings.unit == "tokens":
        return token_counts(workdir, piece.beside[TOKENS], split.num_rows)
    return np.asarray(split["bytes"], dtype=np.int64)


def _wanted(workdir: Workdir, piece: Piece[_Drawing], groups: npt.NDArray[Any], wants: Mapping[str, Wanted]) -> npt.NDArray[np.float64]:
    """How many times over each document is wanted: float64 (documents,)."""
    wanted = np.zeros(len(groups))
    for group, want in wants.items():
        rows = groups == group
        wanted[rows] = want.epochs
        if want.statistic is not None:
            column = workdir.read_table(STATISTICS, piece.beside[STATISTICS], [want.statistic])[want.statistic]
            weights = weight_of(weight_bins(np.asarray(column, dtype=np.float64), want.power), want.scale)
            wanted[rows] = np.minimum(weights, want.most)[rows]
    return wanted


def draw_partition(workdir: Workdir, piece: Piece[_Drawing]) -> Generator[File, None, Summary]:
    """One task: of each document its size, and for each pass how many times it is taken for certain and its place in the order."""
    settings = piece.settings
    columns = ["domain", "source", "split", *(["bytes"] if settings.unit == "bytes" else [])]
    split = workdir.read_table(SPLIT, piece.beside[SPLIT], columns)
    ids = workdir.read_table(DOCUMENTS, piece.partition, ["id"])["id"].to_pylist()
    train = np.asarray(pc.fill_null(pc.equal(split["split"], TRAIN), False), dtype=bool)
    sizes = _sizes(workdir, piece, split)
    domains, sources = split["domain"].to_pylist(), split["source"].to_pylist()
    found: dict[str, pa.Array] = {"size": pa.array(sizes)}
    summary: Summary = {}
    for name, each in settings.passes.items():
        groups = groups_of(domains, sources, each.named)
        wanted = np.where(train, _wanted(workdir, piece, groups, each.groups), 0.0)
        whole, fraction = parts(wanted)
        number = np.full(len(ids), _OUT)
        some = np.flatnonzero(fraction > 0)
        number[some] = numbers(uniform(settings.seed, each.purpose, (ids[row] for row in some)), fraction[some])
        found |= {f"whole_{name}": pa.array(whole.astype(np.uint16)), f"number_{name}": pa.array(number)}
        for group in each.groups:
            rows = np.flatnonzero(groups == group)
            place = summary.setdefault(name, {}).setdefault(group, {"whole": int((whole[rows] * sizes[rows]).sum()), "ranges": {}})
            drawn = rows[number[rows] != _OUT]
            ranges, where = np.unique(number[drawn] >> np.uint64(RANGE_BITS), return_inverse=True)
            held = np.zeros(len(ranges), np.int64)
            np.add.at(held, where, sizes[drawn])
            place["ranges"] = {str(one): int(size) for one, size in zip(ranges.tolist(), held.tolist(), strict=True)}
    yield File(settings.dataset, piece.name, to_parquet(pa.table(found)), len(ids))
    return summary


# --- edge --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Edges:
    dataset: str
    drawn: str
    ranges: Mapping[str, Mapping[str, int]]  # pass -> group -> the range in which its draw ends
    named: Mapping[str, tuple[str, ...]]


_EDGE = pa.schema([("pass", pa.string()), ("group", pa.string()), ("number", pa.uint64()), ("ordinal", pa.int64()), ("size", pa.int64())])


def edge_partition(workdir: Workdir, piece: Piece[_Edges]) -> Generator[File, None, Summary]:
    """One task: the documents of a partition in the ranges in which draws end."""
    settings = piece.settings
    split = workdir.read_table(SPLIT, piece.beside[SPLIT], ["domain", "source"])
    domains, sources = split["domain"].to_pylist(), split["source"].to_pylist()
    tables = [_EDGE.empty_table()]
    for name, ranges in settings.ranges.items():
        drawn = workdir.read_table(settings.drawn, piece.beside[settings.drawn], ["size", f"number_{name}"])
        number, sizes = drawn[f"number_{name}"].to_numpy(), drawn["size"].to_numpy()
        for group, wanted in ranges.items():
            near = np.flatnonzero((number >> np.uint64(RANGE_BITS) == wanted) & (number != _OUT))
            rows = np.array([row for row in near if group_of(domains[row], sources[row], settings.named[name]) == group], np.int64)
            values = {"number": number[rows], "ordinal": rows + piece.start, "size": sizes[rows]}
            words = {"pass": pa.array([name] * len(rows), pa.string()), "group": pa.array([group] * len(rows), pa.string())}
            tables.append(pa.table({**words, **values}, schema=_EDGE))
    table = pa.concat_tables(tables)
    yield File(settings.dataset, piece.name, to_parquet(table), table.num_rows)
    return {}


def _range_of(counts: Mapping[str, Any], amount: int) -> tuple[int | None, int]:
    """The range in which a draw ends, and what of it is still needed; None where it ends before the first, or behind the last."""
    need = amount - counts["whole"]
    for one, held in sorted(((int(one), held) for one, held in counts["ranges"].items()), key=lambda item: item[0]):
        if need < held:
            return one, need
        need -= held
    return None, need


def draw(
    engine: Engine,
    stage: str,
    folder: str,
    seed: int,
    passes: Mapping[str, Pass],
    documents: Manifest,
    split: Manifest,
    beside: Sequence[Manifest],
    unit: str,
) -> Drawn:
    """Draw for all passes. `folder`: of the datasets `drawn` and `edge`; `beside`: with tokens/ where `unit` is tokens."""
    drawing = _Drawing(seed, f"{folder}/drawn", passes, unit)
    shared: dict[str, Any] = {"memory": 512 << 20, "unit": "documents"}
    beside = [split, *beside]
    made = per_partition(f"{stage}: draw", (drawing.dataset,), draw_partition, documents, drawing, version=VERSION, beside=beside, **shared)
    manifest = engine.run(made).manifests[drawing.dataset]
    ranges: dict[str, dict[str, int]] = {}
    needs: dict[tuple[str, str], int] = {}
    last: dict[str, dict[str, Last]] = {}
    for name, each in passes.items():
        for group, want in each.groups.items():
            counts = manifest.summary.get(name, {}).get(group, {"whole": 0, "ranges": {}})
            where, need = _range_of(counts, want.amount)
            last.setdefault(name, {})[group] = EVERYBODY if need >= 0 else NOBODY
            if where is not None and need > 0:
                ranges.setdefault(name, {})[group], needs[name, group] = where, need
            elif where is not None:  # all that came before fits exactly, or nothing does
                last[name][group] = (where << RANGE_BITS, -1)
    if not ranges:
        return Drawn(manifest, last)
    edges = _Edges(f"{folder}/edge", drawing.dataset, ranges, {name: each.named for name, each in passes.items()})
    looked = per_partition(
        f"{stage}: edge",
        (edges.dataset,),
        edge_partition,
        documents,
        edges,
        version=VERSION,
        beside=(split, manifest),
        ordinals=True,
        **shared,
    )
    engine.run(looked)
    table = pa.concat_tables([_EDGE.empty_table(), *(part for _, part in engine.workdir.tables(edges.dataset))])
    for (name, group), need in needs.items():
        rows = table.filter((pc.field("pass") == name) & (pc.field("group") == group))
        found = last_taken(rows["number"].to_numpy(), rows["ordinal"].to_numpy(), rows["size"].to_numpy(), need)
        last[name][group] = found if found != NOBODY else (ranges[name][group] << RANGE_BITS, -1)
    return Drawn(manifest, last)


def times_taken(workdir: Workdir, drawn: Drawn, partition: Partition, start: int, groups: npt.NDArray[Any], name: str) -> tuple[Ints, Ints]:
    """How often a pass takes each document of a partition, and their sizes: int64 (documents,) each.

    `partition`: of the drawn dataset; `start`: the ordinal of its first row; `groups`: of its documents, as the pass names them.
    """
    table = workdir.read_table(drawn.manifest.dataset, partition, ["size", f"whole_{name}", f"number_{name}"])
    number, times = table[f"number_{name}"].to_numpy(), table[f"whole_{name}"].to_numpy().astype(np.int64)
    ordinal = np.arange(len(number), dtype=np.int64) + start
    for group, last in drawn.last[name].items():
        rows = groups == group
        times[rows] += is_taken(number[rows], ordinal[rows], last)
    return times, table["size"].to_numpy()

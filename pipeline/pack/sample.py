"""The held-out sample: what every run of a workdir is evaluated on, drawn by keyed numbers, whatever the packing. See `pipeline.held_out`.

Three stages. *Draw*: a task finds the held-out documents of one partition, cuts those that are longer than the longest sequences into
pieces, and keeps those of the lowest keyed numbers, some times as many as will be taken. *Count*: a task counts the pairs of neighbours
in the training documents of one partition. *Choose*: one task takes from the pieces until each source has its share of the tokens, and
scores them with the n-gram models. So the sample has the mix of the split: of each domain to the token, of each source to one piece.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.random import uniform
from pipeline.held_out import BASELINES, SPECIALS, schema
from pipeline.mix.split import SPLIT, TRAIN
from pipeline.pack.ngrams import bigram_model, count_pairs, merge_pairs, score
from pipeline.shards import INDEX, ShardInfo
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint, to_ipc
from pipeline.workdir.documents import DOCUMENTS, TOKENS, source_of
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage, Task

VERSION = 1
HELD_OUT = "held-out"  # the folder of the sample that runs are evaluated on while they train
PAIRS, SAMPLE = f"{HELD_OUT}/pairs", f"{HELD_OUT}/sample"
COUNTED_TOKENS = 1 << 26  # of the training split, that the n-gram models are made of at most: their pairs take a gigabyte at worst
_SPARE_TIMES, _SPARE_PIECES = 4, 64  # pieces are drawn so generously that too few come with a chance of less than 1e-14 (8 sigma)
_MERGE_ROWS = 1 << 25  # pairs that are held before they are added up
Sizes = Mapping[str, Mapping[str, int]]  # domain -> source -> tokens
Ints = npt.NDArray[np.int64]


def held_out_tokens(tokens: Manifest, split: str) -> dict[str, dict[str, int]]:
    """How many tokens each source has in a split, by domain and source."""
    found: dict[str, dict[str, int]] = {}
    for domain, sources in tokens.summary.get("sources", {}).items():
        sizes = {source: counts[split]["tokens"] for source, counts in sources.items() if counts.get(split, {}).get("tokens")}
        if sizes:
            found[domain] = sizes
    return found


def quotas(sizes: Sizes, budget: int) -> dict[str, dict[str, int]]:
    """How many tokens of each source a sample of `budget` tokens has: its share, rounded by largest remainders.

    All of them, where there are no more.
    """
    flat = [(domain, source, size) for domain in sorted(sizes) for source, size in sorted(sizes[domain].items())]
    total = sum(size for *_, size in flat)
    budget = min(budget, total)
    exact = [budget * size / total for *_, size in flat]
    whole = [int(value) for value in exact]
    order = sorted(range(len(flat)), key=lambda place: (whole[place] - exact[place], place))
    for place in order[: budget - sum(whole)]:
        whole[place] += 1
    found: dict[str, dict[str, int]] = {}
    for (domain, source, _), size in zip(flat, whole, strict=True):
        found.setdefault(domain, {})[source] = size
    return found


# --- draw ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Drawing:
    dataset: str
    seed: int
    split: str
    most: int  # tokens of a piece, without special ones
    shares: dict[str, float]  # of each source's pieces that are drawn


def _documents(workdir: Workdir, piece: Piece[Any], split: str | None) -> tuple[npt.NDArray[Any], Ints, Ints, Ints]:
    """`(ids, rows, first, last)` of a partition's documents of one split: document `d` is row `rows[d]`, `ids[first[d]:last[d]]`.

    None stands for no document.
    """
    none = np.zeros(0, np.int64)
    if split is None:
        return np.zeros(0, np.uint16), none, none, none
    kinds = np.array(workdir.read_table(SPLIT, piece.beside[SPLIT], ["split"])["split"].to_pylist(), object) == split
    if not kinds.any():
        return np.zeros(0, np.uint16), none, none, none
    table = workdir.read_table(TOKENS, piece.beside[TOKENS]).combine_chunks()
    rows = table["row"].to_numpy()
    lists = table["ids"].combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    bounds = lists.offsets.to_numpy().astype(np.int64)
    chosen = np.flatnonzero(kinds[rows])
    return lists.values.to_numpy(), rows[chosen], bounds[:-1][chosen], bounds[1:][chosen]


def draw_partition(workdir: Workdir, piece: Piece[_Drawing]) -> Generator[File, None, Summary]:
    """One task: the pieces of the partition's held-out documents with the lowest keyed numbers."""
    settings = piece.settings
    share = settings.shares.get(source_of(piece.partition.name), 0.0)
    ids, rows, first, last = _documents(workdir, piece, settings.split if share else None)
    counts = -(-(last - first) // settings.most)
    owner = np.repeat(np.arange(len(rows)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    sizes = (last - first)[owner]
    begin, end = sizes * number // np.maximum(1, counts[owner]), sizes * (number + 1) // np.maximum(1, counts[owner])
    names: list[str] = []
    if len(owner):
        names = workdir.read_table(DOCUMENTS, piece.partition, ["id"])["id"].take(pa.array(rows[owner])).to_pylist()
    places = (f"{name}#{place}" for name, place in zip(names, begin.tolist(), strict=True))
    keys = uniform(settings.seed, f"{settings.split} sample", places)
    drawn = np.flatnonzero(keys < share)
    table = pa.table(
        {
            "key": pa.array(keys[drawn], pa.float64()),
            "document": pa.array(piece.start + rows[owner[drawn]], pa.int64()),
            "id": pa.array([names[place] for place in drawn], pa.string()),
            "place": pa.array(begin[drawn], pa.int64()),
            "ids": pa.array([ids[first[owner[d]] + begin[d] : first[owner[d]] + end[d]] for d in drawn], pa.list_(pa.uint32())),
        }
    )
    yield File(settings.dataset, f"{piece.name}.arrow", to_ipc(table.combine_chunks().to_batches(), table.schema), len(drawn))
    return {"documents": len(rows), "pieces": len(owner), "drawn": len(drawn)}


# --- count -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Counting:
    seed: int
    share: float  # of the training documents
    cls: int
    sep: int


def count_partition(workdir: Workdir, piece: Piece[_Counting]) -> Generator[File, None, Summary]:
    """One task: the pairs of neighbours in the partition's training documents, sorted, with their counts."""
    settings = piece.settings
    ids, rows, first, last = _documents(workdir, piece, TRAIN)
    if settings.share < 1 and len(rows):
        names = workdir.read_table(DOCUMENTS, piece.partition, ["id"])["id"].take(pa.array(rows)).to_pylist()
        taken = uniform(settings.seed, "n-grams", names) < settings.share
        first, last = first[taken], last[taken]
    pairs, counts = count_pairs(ids, first, last, settings.cls, settings.sep)
    table = pa.table({"pair": pairs, "count": counts})
    yield File(PAIRS, f"{piece.name}.arrow", to_ipc(table.combine_chunks().to_batches(), table.schema), len(pairs))
    return {"documents": len(first), "tokens": int((last - first).sum())}


# --- choose ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Choosing:
    place: str  # the folder of its datasets
    quotas: dict[str, dict[str, int]]
    info: ShardInfo
    seed: int


def _all_drawn(workdir: Workdir, dataset: str) -> dict[str, list[dict[str, Any]]]:
    """All pieces that were drawn, by source, those of the lowest numbers first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for partition, table in workdir.tables(dataset):
        lists = table["ids"].combine_chunks()
        lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
        bounds, values = lists.offsets.to_numpy(), lists.values.to_numpy()
        pieces = table.drop_columns(["ids"]).to_pylist()
        for piece, begin, end in zip(pieces, bounds, bounds[1:], strict=False):
            piece["ids"] = values[begin:end]
        found.setdefault(source_of(partition.name.removesuffix(".arrow")), []).extend(pieces)
    for pieces in found.values():
        pieces.sort(key=lambda piece: (piece["key"], piece["id"], piece["place"]))
    return found


def choose(drawn: Mapping[str, list[dict[str, Any]]], wanted: Sizes) -> list[dict[str, Any]]:
    """The pieces of a sample: of each domain the tokens that are wanted, of each source those to within half a piece.

    `drawn`: pieces by source, in the order in which they are taken. A domain's last piece is shortened where it would have more.
    """
    chosen: list[dict[str, Any]] = []
    for domain in sorted(wanted):
        goal = taken = 0
        left: list[dict[str, Any]] = []
        for source in sorted(wanted[domain]):
            goal += wanted[domain][source]
            pieces = [{**piece, "domain": domain, "source": source} for piece in drawn.get(source, [])]
            count = 0
            while count < len(pieces) and taken + len(pieces[count]["ids"]) / 2 <= goal:
                taken += len(pieces[count]["ids"])
                count += 1
            chosen += pieces[:count]
            left += pieces[count : count + 1]
        if taken > goal:
            over = chosen.pop()
            left, taken = [over, *left], taken - len(over["ids"])
        for piece in sorted(left, key=lambda piece: (piece["key"], piece["id"])):
            if taken < goal:
                chosen.append({**piece, "ids": piece["ids"][: goal - taken]})
                taken += len(chosen[-1]["ids"])
    return sorted(chosen, key=lambda piece: (piece["document"], piece["place"]))


def _all_pairs(workdir: Workdir) -> tuple[npt.NDArray[np.uint64], Ints]:
    """The pairs of all partitions, added up."""
    pairs, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    waiting: list[tuple[npt.NDArray[np.uint64], Ints]] = []
    for _, table in workdir.tables(PAIRS):
        waiting.append((table["pair"].to_numpy(), table["count"].to_numpy()))
        if sum(len(part) for part, _ in waiting) > _MERGE_ROWS:
            pairs, counts = _added(pairs, counts, waiting)
            waiting = []
    return _added(pairs, counts, waiting)


def _added(pairs: npt.NDArray[np.uint64], counts: Ints, more: list[tuple[npt.NDArray[np.uint64], Ints]]) -> tuple[Any, Ints]:
    return merge_pairs(np.concatenate([pairs, *(part for part, _ in more)]), np.concatenate([counts, *(part for _, part in more)]))


def choose_sample(workdir: Workdir, settings: _Choosing) -> Generator[File, None, Summary]:
    """One task: the sample, with the n-gram models' losses."""
    pieces = choose(_all_drawn(workdir, f"{settings.place}/drawn"), settings.quotas)
    info = settings.info
    target = schema(info, settings.seed)
    sizes = np.array([len(piece["ids"]) for piece in pieces], np.int64)
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    ids = np.concatenate([np.zeros(0, np.int64), *(piece["ids"] for piece in pieces)]).astype(np.int64)
    losses = score(bigram_model(*_all_pairs(workdir), info.vocab_size), ids, first, info.cls, info.sep)
    columns: dict[str, Any] = {name: [piece[name] for piece in pieces] for name in ("document", "id", "domain", "source", "place")}
    bounds = pa.array(first, pa.int32())
    of_tokens = {"ids": ids, **dict(zip(BASELINES, losses, strict=True))}
    arrays = [
        pa.ListArray.from_arrays(bounds, pa.array(of_tokens[field.name], field.type.value_type), type=field.type)
        if field.name in of_tokens
        else pa.array(columns[field.name], field.type)
        for field in target
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=target)
    yield File(f"{settings.place}/sample", "part-00000.arrow", to_ipc([batch], target), len(pieces))
    table = pa.table({"domain": columns["domain"], "source": columns["source"], "tokens": sizes})
    summary: Summary = {"pieces": len(pieces), "documents": len(set(columns["document"])), "tokens": int(sizes.sum()), "sources": {}}
    for group in table.group_by(["domain", "source"]).aggregate([("tokens", "sum"), ("tokens", "count")]).to_pylist():
        summary["sources"].setdefault(group["domain"], {})[group["source"]] = {
            "pieces": group["tokens_count"],
            "tokens": group["tokens_sum"],
        }
    return summary


# --- all of it -------------------------------------------------------------------------------------------------------


def draw_sample(
    engine: Engine,
    split: str,
    budget: int,
    seed: int,
    info: ShardInfo,
    documents: Manifest,
    splits: Manifest,
    tokens: Manifest,
    place: str = HELD_OUT,
) -> Manifest:
    """Draw the held-out sample of `budget` tokens from a split, and score it with n-gram models of the training split.

    `info`: as of shards, its `length` that of the longest sequences, special tokens counted. `place`: the folder that `drawn` and `sample`
    are made in.
    """
    there = held_out_tokens(tokens, split)
    wanted = quotas(there, budget) if there else {}
    most = info.length - SPECIALS
    shares: dict[str, float] = {}
    for domain, sources in wanted.items():
        for source, quota in sources.items():
            shares[source] = min(1.0, (_SPARE_TIMES * quota + _SPARE_PIECES * most) / there[domain][source])

    def of_source(partition: Partition) -> Any:
        return seed, split, most, shares.get(source_of(partition.name), 0.0)

    drawing = per_partition(
        "held out: draw",
        (f"{place}/drawn",),
        draw_partition,
        documents,
        _Drawing(f"{place}/drawn", seed, split, most, shares),
        version=VERSION,
        beside=(splits, tokens),
        ordinals=True,
        key=of_source,
        memory=2 << 30,
    )
    drawn = engine.run(drawing).manifests[f"{place}/drawn"]
    trained = sum(sum(sources.values()) for sources in held_out_tokens(tokens, TRAIN).values())
    share = min(1.0, COUNTED_TOKENS / max(1, trained))
    counting = per_partition(
        "held out: pairs",
        (PAIRS,),
        count_partition,
        documents,
        _Counting(seed, share, info.cls, info.sep),
        version=VERSION,
        beside=(splits, tokens),
        memory=2 << 30,
    )
    counted = engine.run(counting).manifests[PAIRS]
    settings = _Choosing(place, wanted, info, seed)
    key = fingerprint(VERSION, settings, drawn.content, counted.content)
    task = Task("part-00000", key, settings, 1)
    described = {**asdict(info), "split": split, "seed": seed, "budget": budget, "counted_share": share}
    stage = Stage("held out", (f"{place}/sample",), choose_sample, (task,), described, memory=3 << 30, unit="samples", index=INDEX)
    return engine.run(stage).manifests[f"{place}/sample"]

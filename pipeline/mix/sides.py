"""On which side of the split each document stands, so that groups are held out whole and no text stands on two sides.

A document's side follows from one number, keyed by (seed, name of its group): the group that `hold_out_by` tells, else its cluster of
near-duplicates, else its text (white space aside, as `exact` compares it). So all of a group fall on one side, in whichever partition
they are. Two groups may share a text, or near-duplicates: a file that several packages carry. Which texts and clusters stand on more
than one side is found for all of the corpus at once. What of them would be held out is left out of every split instead: training then
has nothing of a group that is held out, and nothing that is held out stands in training.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.hashing import GOLDEN
from kernel.random import uniform
from pipeline.dedup.exact import text_hashes
from pipeline.dedup.shuffle import bucket_of, buckets_for, gather, scatter
from pipeline.mix.config import MixConfig
from pipeline.mix.groups import COLUMNS, KINDS
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENTS
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import Bucket, Piece, per_bucket, per_partition
from pipeline.workdir.tasks import File
from pipeline.workdir.verdicts import VerdictEntry, remaining, verdict_dataset

VERSION = 1
SIDES, KEYS, SHARED = "sides/drawn", "sides/keys", "sides/shared"
TRAIN, VALIDATION, TEST = "train", "validation", "test"
NAMES = (TRAIN, VALIDATION, TEST)  # of the sides 0, 1, 2; a text that stands on several stays on the first of them
DROPPED = 255  # the side of a document that a verdict dropped
Sides = npt.NDArray[np.uint8]
Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class _Sides:
    seed: int
    config: MixConfig
    buckets: int


def _clusters(workdir: Workdir, before: Sequence[VerdictEntry], rows: npt.NDArray[np.int64]) -> list[int | None]:
    """The cluster of near-duplicates that each of some rows is in."""
    for entry in before:
        if entry.dataset == verdict_dataset("near"):
            column = workdir.read_table(entry.dataset, entry.partition, ["cluster"])["cluster"]
            return list(column.take(pa.array(rows)).to_pylist())
    return [None] * len(rows)


def _groups(workdir: Workdir, partition: Partition, rows: npt.NDArray[np.int64], config: MixConfig) -> tuple[list[str], list[str | None]]:
    """Domain and group of each of some rows."""
    domains = workdir.read_table(DOCUMENTS, partition, ["domain"])["domain"].take(pa.array(rows)).to_pylist()
    kinds = [config.grouping(domain) for domain in domains]
    if set(kinds) <= {"document"}:
        return domains, [None] * len(rows)
    facts = workdir.read_table(DOCUMENTS, partition, COLUMNS).take(pa.array(rows)).to_pylist()
    return domains, [
        group and f"{kind} {group}" for kind, group in ((kind, KINDS[kind](row)) for kind, row in zip(kinds, facts, strict=True))
    ]


def draw_sides(workdir: Workdir, piece: Piece[_Sides]) -> Generator[File, None, Summary]:
    """One task: the side of each document of a partition; and for each side, the hashes of its texts and clusters, scattered."""
    settings = piece.settings
    left = remaining(workdir, piece.partition, piece.before)
    texts = text_hashes(left.texts)[:, 0]
    clusters = _clusters(workdir, piece.before, left.rows)
    domains, groups = _groups(workdir, piece.partition, left.rows, settings.config)
    names = [
        group or (f"cluster {cluster:016x}" if cluster is not None else f"text {text:016x}")
        for group, cluster, text in zip(groups, clusters, texts.tolist(), strict=True)
    ]
    chance = uniform(settings.seed, VALIDATION, names)
    shares = np.array([settings.config.held_out(domain) for domain in domains]).reshape(-1, 2)
    side = np.where(chance < shares[:, 0], 1, np.where(chance < shares.sum(axis=1), 2, 0)).astype(np.uint8)
    clustered = np.array([cluster is not None for cluster in clusters], bool)
    cluster_keys = np.array([cluster or 0 for cluster in clusters], np.uint64) ^ GOLDEN  # another key than a text of that hash
    columns = {name: np.zeros(left.total, np.uint64) for name in ("text", "cluster")}
    columns["text"][left.rows] = texts
    columns["cluster"][left.rows] = np.where(clustered, cluster_keys, texts)
    sides = np.full(left.total, DROPPED, np.uint8)
    sides[left.rows] = side
    table = pa.table({"side": sides, **columns})
    yield File(SIDES, piece.name, to_parquet(table), left.total)
    keys, of = np.concatenate([texts, cluster_keys[clustered]]), np.concatenate([side, side[clustered]])
    scattered = scatter({"key": keys, "side": of}, bucket_of(keys, settings.buckets), settings.buckets)
    yield File(KEYS, f"{piece.name}.arrow", scattered, len(keys))
    return {"groups": _count(groups, domains)}


def _count(groups: Sequence[str | None], domains: Sequence[str]) -> dict[str, int]:
    """How many documents of each domain have a group of whose kind more than one may be."""
    counts: dict[str, int] = {}
    for group, domain in zip(groups, domains, strict=True):
        if group is not None:
            counts[domain] = counts.get(domain, 0) + 1
    return counts


def shared_keys(workdir: Workdir, bucket: Bucket[None]) -> Generator[File, None, Summary]:
    """One task: the texts and clusters of one bucket that stand on more than one side, with the first of these sides."""
    table = gather(workdir, KEYS, bucket.number, bucket.buckets)
    keys = table["key"].to_numpy() if table is not None else np.zeros(0, np.uint64)
    sides = table["side"].to_numpy() if table is not None else np.zeros(0, np.uint8)
    order = np.lexsort((sides, keys))
    keys, sides = keys[order], sides[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    last = np.append(first[1:], len(keys))[: len(first)] - 1  # none where there are no documents
    several = sides[first] != sides[last]
    found = pa.table({"key": keys[first[several]], "side": sides[first[several]]})
    yield File(SHARED, f"{bucket.name}.parquet", to_parquet(found), found.num_rows)
    return {}


def make_sides(
    engine: Engine, config: MixConfig, seed: int, documents: Manifest, verdicts: Sequence[Manifest]
) -> tuple[Manifest, Manifest]:
    """The sides of all documents, and the keys that stand on several."""
    buckets = buckets_for(documents.rows)
    held_out: dict[str, Any] = config.model_dump(mode="json", exclude={"max_repetitions"})
    stage = per_partition(
        "split: sides",
        (SIDES, KEYS),
        draw_sides,
        documents,
        _Sides(seed, config, buckets),
        version=VERSION,
        before=verdicts,
        key=(seed, held_out, buckets),
        memory=1 << 30,
    )
    made = engine.run(stage).manifests
    shared = per_bucket("split: shared", (SHARED,), shared_keys, buckets, None, version=VERSION, inputs=(made[KEYS],))
    return made[SIDES], engine.run(shared).manifests[SHARED]


def sides_of(workdir: Workdir, partition: Partition) -> tuple[Sides, npt.NDArray[np.bool_]]:
    """The side of each document of a partition, and whether it is left out, since what stands before it has its text or a near copy."""
    table = workdir.read_table(SIDES, partition)
    sides: Sides = table["side"].to_numpy()
    left_out = np.zeros(len(sides), bool)
    held = (sides > 0) & (sides != DROPPED)
    for _, shared in workdir.tables(SHARED) if held.any() else ():
        keys, first = shared["key"].to_numpy(), shared["side"].to_numpy()
        for column in ("text", "cluster"):
            mine = table[column].to_numpy()
            at = np.minimum(np.searchsorted(keys, mine), max(0, len(keys) - 1))
            if len(keys):
                left_out |= held & (keys[at] == mine) & (first[at] < sides)
    return sides, left_out

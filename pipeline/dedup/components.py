"""Connected components of the graph of candidate pairs, on 64-bit document ordinals. Text is not looked at.

Where the edges fit in memory, one task does it by union-find. Where they do not, rounds of large-star and small-star over
hash partitions do it (Kiveris et al. 2014, Connected Components in MapReduce and Beyond, algorithm "alternating"). Both
give every member the smallest ordinal of its component.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.compile import kernel
from pipeline.dedup.candidates import PAIRS
from pipeline.dedup.shuffle import Layout, bucket_of, buckets_for, gather, hash_ordinals, scatter
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, fingerprint
from pipeline.workdir.engine import Engine
from pipeline.workdir.errors import CorruptData
from pipeline.workdir.stages import Bucket, Piece, per_bucket, per_partition
from pipeline.workdir.tasks import File, Stage, Task

VERSION = 1
COMPONENTS = "dedup/near-components"
ROUNDS = "dedup/near-rounds"
Ordinals = npt.NDArray[np.int64]


@kernel
def _union(left: Ordinals, right: Ordinals, parent: Ordinals) -> None:  # pragma: no cover - compiled
    """Union-find with path halving; the smaller index is always the root."""
    for pair in range(len(left)):
        a, b = left[pair], right[pair]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    for node in range(len(parent)):
        parent[node] = parent[parent[node]]  # parents come before their children, so one step reaches the root


def components(left: Ordinals, right: Ordinals, nodes: int) -> Ordinals:
    """The smallest node of each node's component: int64 (nodes,). `left`, `right`: the edges, as node numbers."""
    parent = np.arange(nodes, dtype=np.int64)
    _union(left, right, parent)
    return parent


# --- in memory -------------------------------------------------------------------------------------------------------


def union_pairs(workdir: Workdir, layout: Layout) -> Generator[File, None, Summary]:
    """One task over all pairs; it needs at most about 60 bytes of memory a pair."""
    tables = [table for _, table in workdir.tables(PAIRS)]
    left = np.concatenate([np.zeros(0, np.int64), *(table["left"].to_numpy() for table in tables)])
    right = np.concatenate([np.zeros(0, np.int64), *(table["right"].to_numpy() for table in tables)])
    members = np.unique(np.concatenate([left, right]))
    root = components(np.searchsorted(members, left), np.searchsorted(members, right), len(members))
    roots = int((root == np.arange(len(members))).sum())
    rows = {"ordinal": members, "root": members[root] if len(members) else members}
    yield File(COMPONENTS, "components.arrow", layout.scatter(rows), len(members))
    return {"members": len(members), "components": roots}


# --- by rounds -------------------------------------------------------------------------------------------------------


def _grouped(node: Ordinals, neighbour: Ordinals) -> tuple[Ordinals, Ordinals, Ordinals]:
    """Pairs sorted by (node, neighbour), without repeats, and where the pairs of each node begin."""
    pairs = np.unique(np.stack([node, neighbour], axis=1), axis=0) if len(node) else np.zeros((0, 2), np.int64)
    node, neighbour = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(node)), bool), node[1:] != node[:-1]]))
    return node, neighbour, first


def large_star(node: Ordinals, neighbour: Ordinals) -> tuple[Ordinals, Ordinals, int]:
    """Join the larger neighbours of each node to the smallest of the node and its neighbours: pairs (larger, smaller), and how many nodes
    changed.

    `node`, `neighbour`: every edge of the nodes, in both directions.
    """
    node, neighbour, first = _grouped(node, neighbour)
    counts = np.diff(np.append(first, len(node)))
    smallest = np.repeat(np.minimum(node[first], neighbour[first]) if len(node) else node, counts)
    larger = neighbour > node
    changed = len(np.unique(node[larger & (smallest < node)]))
    return neighbour[larger], smallest[larger], changed


def small_star(node: Ordinals, neighbour: Ordinals) -> tuple[Ordinals, Ordinals, int]:
    """Join each node and its smaller neighbours to the smallest of these: pairs (larger, smaller), and how many nodes changed.

    `node`, `neighbour`: every edge, from the larger end to the smaller.
    """
    node, neighbour, first = _grouped(node, neighbour)
    counts = np.diff(np.append(first, len(node)))
    smallest = np.repeat(neighbour[first] if len(node) else node, counts)
    others = neighbour > smallest
    left = np.concatenate([node[first], neighbour[others]])
    right = np.concatenate([neighbour[first], smallest[others]])
    return left, right, int((counts > 1).sum())


@dataclass(frozen=True)
class _Round:
    source: str
    target: str
    large: bool


def _both_ways(left: Ordinals, right: Ordinals, buckets: int) -> pa.Buffer:
    node, neighbour = np.concatenate([left, right]), np.concatenate([right, left])
    return scatter({"node": node, "neighbour": neighbour}, bucket_of(hash_ordinals(node), buckets), buckets)


def spread_pairs(workdir: Workdir, piece: Piece[tuple[str, int]]) -> Generator[File, None, Summary]:
    """Round 0: the pairs of one file, in both directions, to the buckets of their nodes."""
    target, buckets = piece.settings
    table = workdir.read_table(PAIRS, piece.partition)
    yield File(target, piece.name, _both_ways(table["left"].to_numpy(), table["right"].to_numpy(), buckets), 2 * len(table))
    return {}


def _edges(workdir: Workdir, source: str, bucket: Bucket[Any]) -> tuple[Ordinals, Ordinals]:
    """The edges of a bucket's nodes."""
    table = gather(workdir, source, bucket.number, bucket.buckets)
    none = np.zeros(0, np.int64)
    return (none, none) if table is None else (table["node"].to_numpy(), table["neighbour"].to_numpy())


def star(workdir: Workdir, bucket: Bucket[_Round]) -> Generator[File, None, Summary]:
    """One task: a large star or a small star over the edges in one bucket."""
    settings, buckets = bucket.settings, bucket.buckets
    larger, smaller, changed = (large_star if settings.large else small_star)(*_edges(workdir, settings.source, bucket))
    if settings.large:  # what follows is a small star, which wants edges from the larger end alone
        raw = scatter({"node": larger, "neighbour": smaller}, bucket_of(hash_ordinals(larger), buckets), buckets)
    else:
        raw = _both_ways(larger, smaller, buckets)
    yield File(settings.target, f"{bucket.name}.arrow", raw, len(larger))
    return {"changed": changed}


def end_rounds(workdir: Workdir, bucket: Bucket[tuple[str, Layout]]) -> Generator[File, None, Summary]:
    """All edges now lead from a member to its root: the members of one bucket, and the roots."""
    source, layout = bucket.settings
    node, neighbour, first = _grouped(*_edges(workdir, source, bucket))
    members = node[first]
    root = np.minimum(members, neighbour[first])
    yield File(COMPONENTS, f"{bucket.name}.arrow", layout.scatter({"ordinal": members, "root": root}), len(members))
    return {"members": len(members), "components": int((members == root).sum())}


def find_components(engine: Engine, pairs: Manifest, layout: Layout, pairs_in_memory: int) -> Manifest:
    """The root of every member of a pair, scattered over the partitions that hold the members (`COMPONENTS`).

    Up to `pairs_in_memory` pairs are worked on by one task, more by rounds. Raises `CorruptData` where the rounds come to no end.
    """
    if pairs.rows <= pairs_in_memory:
        task = Task("components", fingerprint(VERSION, pairs.content, layout), layout, max(1, pairs.rows))
        stage = Stage("near: components", (COMPONENTS,), union_pairs, (task,), memory=1 << 30, unit="pairs")
        return engine.run(stage).manifests[COMPONENTS]
    buckets = max(buckets_for(2 * pairs.rows), buckets_for(len(pairs.partitions)))
    target = f"{ROUNDS}/000-spread"
    stage = per_partition("near: spread", (target,), spread_pairs, pairs, (target, buckets), version=VERSION)
    current = engine.run(stage).manifests[target]
    for number in range(1, 200):
        large = _half_round(engine, "large star", number, buckets, current)
        current = _half_round(engine, "small star", number, buckets, large)
        if large.summary["changed"] == current.summary["changed"] == 0:
            break
    else:
        place = engine.workdir.shown
        raise CorruptData(f"{place}: components did not settle in 200 rounds; delete {PAIRS} and {ROUNDS} in it and run again")
    settings = current.dataset, layout
    stage = per_bucket("near: components", (COMPONENTS,), end_rounds, buckets, settings, version=VERSION, inputs=(current,))
    return engine.run(stage).manifests[COMPONENTS]


def _half_round(engine: Engine, kind: str, number: int, buckets: int, source: Manifest) -> Manifest:
    target = f"{ROUNDS}/{number:03d}-{kind.replace(' ', '-')}"
    settings = _Round(source.dataset, target, kind == "large star")
    stage = per_bucket(f"near: {kind} {number}", (target,), star, buckets, settings, version=VERSION, inputs=(source,))
    return engine.run(stage).manifests[target]

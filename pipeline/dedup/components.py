"""Connected components of the graph of candidate pairs, on 64-bit document ordinals. Text is not looked at.

Where the edges fit in memory, one task does it by union-find. Where they do not, rounds of large-star and small-star over
hash partitions do it (Kiveris et al. 2014, Connected Components in MapReduce and Beyond, algorithm "alternating"). Both
give every member the smallest ordinal of its component.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.compile import kernel
from pipeline.dedup.shuffle import bucket_of, buckets_for, gather, hash_ordinals, scatter, scatter_by_ordinal
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint
from pipeline.workdir.engine import Engine, File, Stage, Summary, Task
from pipeline.workdir.errors import CorruptData

VERSION = 1
COMPONENTS = "dedup/near-components"
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


# --- where documents lie ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Which partition holds an ordinal: `starts` are the ordinals of the partitions' first rows, ascending."""

    starts: tuple[int, ...]

    def scatter(self, columns: dict[str, npt.NDArray[Any]]) -> pa.Buffer:
        """Rows with an `ordinal`, scattered over the partitions that hold it."""
        return scatter_by_ordinal(columns, self.starts)


# --- in memory -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _UnionWork:
    pairs: str
    layout: Layout


def union_pairs(workdir: Workdir, work: _UnionWork) -> Generator[File, None, Summary]:
    """One task over all pairs: about 60 bytes a pair at the most."""
    tables = [table for _, table in workdir.tables(work.pairs)]
    left = np.concatenate([np.zeros(0, np.int64), *(table["left"].to_numpy() for table in tables)])
    right = np.concatenate([np.zeros(0, np.int64), *(table["right"].to_numpy() for table in tables)])
    members = np.unique(np.concatenate([left, right]))
    root = components(np.searchsorted(members, left), np.searchsorted(members, right), len(members))
    roots = int((root == np.arange(len(members))).sum())
    rows = {"ordinal": members, "root": members[root] if len(members) else members}
    yield File(COMPONENTS, "components.arrow", work.layout.scatter(rows), len(members))
    return {"members": len(members), "components": roots}


# --- by rounds -------------------------------------------------------------------------------------------------------


def _grouped(node: Ordinals, neighbour: Ordinals) -> tuple[Ordinals, Ordinals, Ordinals]:
    """Pairs sorted by (node, neighbour), without repeats, and where each node's begin."""
    pairs = np.unique(np.stack([node, neighbour], axis=1), axis=0) if len(node) else np.zeros((0, 2), np.int64)
    node, neighbour = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(node)), bool), node[1:] != node[:-1]]))
    return node, neighbour, first


def large_star(node: Ordinals, neighbour: Ordinals) -> tuple[Ordinals, Ordinals, int]:
    """Each node's larger neighbours join its smallest (itself included): pairs (larger, smaller), and how many nodes changed.

    `node`, `neighbour`: every edge of the nodes, in both directions.
    """
    node, neighbour, first = _grouped(node, neighbour)
    counts = np.diff(np.append(first, len(node)))
    smallest = np.repeat(np.minimum(node[first], neighbour[first]) if len(node) else node, counts)
    larger = neighbour > node
    changed = len(np.unique(node[larger & (smallest < node)]))
    return neighbour[larger], smallest[larger], changed


def small_star(node: Ordinals, neighbour: Ordinals) -> tuple[Ordinals, Ordinals, int]:
    """Each node and its smaller neighbours join the smallest of them: pairs (larger, smaller), and how many nodes changed.

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
class _StarWork:
    source: str
    target: str
    bucket: int
    buckets: int
    large: bool


def _both_ways(left: Ordinals, right: Ordinals, buckets: int) -> pa.Buffer:
    node, neighbour = np.concatenate([left, right]), np.concatenate([right, left])
    return scatter({"node": node, "neighbour": neighbour}, bucket_of(hash_ordinals(node), buckets), buckets)


def spread_pairs(workdir: Workdir, work: tuple[str, Partition, str, int]) -> Generator[File, None, Summary]:
    """Round 0: the pairs of one file, in both directions, to the buckets of their nodes."""
    source, partition, target, buckets = work
    table = workdir.read_table(source, partition)
    yield File(target, partition.name, _both_ways(table["left"].to_numpy(), table["right"].to_numpy(), buckets), 2 * len(table))
    return {}


def star(workdir: Workdir, work: _StarWork) -> Generator[File, None, Summary]:
    """One bucket of one half round."""
    table = gather(workdir, work.source, work.bucket, work.buckets)
    none = np.zeros(0, np.int64)
    node, neighbour = (none, none) if table is None else (table["node"].to_numpy(), table["neighbour"].to_numpy())
    larger, smaller, changed = (large_star if work.large else small_star)(node, neighbour)
    if work.large:  # what follows is a small star, which wants edges from the larger end alone
        raw = scatter({"node": larger, "neighbour": smaller}, bucket_of(hash_ordinals(larger), work.buckets), work.buckets)
    else:
        raw = _both_ways(larger, smaller, work.buckets)
    yield File(work.target, f"{work.bucket:05d}.arrow", raw, len(larger))
    return {"changed": changed}


@dataclass(frozen=True)
class _EndWork:
    source: str
    bucket: int
    buckets: int
    layout: Layout


def end_rounds(workdir: Workdir, work: _EndWork) -> Generator[File, None, Summary]:
    """All edges now lead from a member to its root: the members of one bucket, and the roots."""
    table = gather(workdir, work.source, work.bucket, work.buckets)
    none = np.zeros(0, np.int64)
    node, neighbour = (none, none) if table is None else (table["node"].to_numpy(), table["neighbour"].to_numpy())
    node, neighbour, first = _grouped(node, neighbour)
    members = node[first] if len(node) else none
    root = np.minimum(members, neighbour[first]) if len(node) else none
    yield File(COMPONENTS, f"{work.bucket:05d}.arrow", work.layout.scatter({"ordinal": members, "root": root}), len(members))
    return {"members": len(members), "components": int((members == root).sum())}


def find_components(engine: Engine, pairs: Manifest, layout: Layout, pairs_in_memory: int) -> Manifest:
    """The root of every member of a pair, scattered over the partitions that hold the members (`COMPONENTS`)."""
    key = fingerprint(VERSION, pairs.content, layout)
    if pairs.rows <= pairs_in_memory:
        task = Task("components", key, _UnionWork(pairs.dataset, layout), max(1, pairs.rows))
        stage = Stage("near: components", (COMPONENTS,), union_pairs, (task,), memory=1 << 30, unit="pairs")
        return engine.run(stage).manifests[COMPONENTS]
    buckets = max(buckets_for(2 * pairs.rows), buckets_for(len(pairs.partitions)))
    current = _run(engine, "spread", 0, buckets, [(pairs.dataset, partition) for partition in pairs.partitions], fingerprint(key, buckets))
    for number in range(1, 200):
        large = _run(engine, "large star", number, buckets, current, fingerprint(key, number))
        current = _run(engine, "small star", number, buckets, large, fingerprint(key, number))
        if large.summary["changed"] == current.summary["changed"] == 0:
            break
    else:
        raise CorruptData(f"{engine.workdir.path(current.dataset)}: components did not settle in 200 rounds; the pairs are damaged")
    tasks = tuple(
        Task(f"{bucket:05d}", fingerprint(key, current.content, bucket), _EndWork(current.dataset, bucket, buckets, layout))
        for bucket in range(buckets)
    )
    return engine.run(Stage("near: components", (COMPONENTS,), end_rounds, tasks, memory=1 << 30, unit="buckets")).manifests[COMPONENTS]


def _run(engine: Engine, kind: str, number: int, buckets: int, source: Manifest | Sequence[tuple[str, Partition]], key: str) -> Manifest:
    target = f"dedup/near-rounds/{number:03d}-{kind.replace(' ', '-')}"
    if isinstance(source, Manifest):
        tasks = tuple(
            Task(
                f"{bucket:05d}",
                fingerprint(key, source.content, bucket),
                _StarWork(source.dataset, target, bucket, buckets, kind[0] == "l"),
            )
            for bucket in range(buckets)
        )
        stage = Stage(f"near: {kind} {number}", (target,), star, tasks, memory=1 << 30, unit="buckets")
    else:
        tasks = tuple(
            Task(partition.name, fingerprint(key, partition.checksum), (dataset, partition, target, buckets))
            for dataset, partition in source
        )
        stage = Stage(f"near: {kind}", (target,), spread_pairs, tasks, memory=1 << 30, unit="files")
    return engine.run(stage).manifests[target]

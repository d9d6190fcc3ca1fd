"""Connected components of the graph of candidate pairs, and which of a component's documents stay."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Ordinals = npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def _anchor(
    order: Ordinals,
    root: Ordinals,
    signatures: npt.NDArray[np.uint32],
    threshold: float,
    anchor: Ordinals,
    similarity: npt.NDArray[np.float64],
) -> None:  # pragma: no cover - compiled
    """Walk each component in corpus order; a document joins the most similar one that stays, or stays itself."""
    leaders = np.empty(len(order), np.int64)
    count, current = 0, np.int64(-1)
    permutations = signatures.shape[1]
    for position in range(len(order)):
        node = order[position]
        if root[node] != current:
            current, count = root[node], 0
        best, best_similarity = np.int64(-1), -1.0
        for candidate in range(count):
            leader = leaders[candidate]
            equal = 0
            for k in range(permutations):
                equal += signatures[node, k] == signatures[leader, k]
            estimate = equal / permutations
            if estimate > best_similarity:
                best, best_similarity = leader, estimate
        if best >= 0 and best_similarity >= threshold:
            anchor[node], similarity[node] = best, best_similarity
        else:
            anchor[node] = node
            leaders[count] = node
            count += 1


def anchor(root: Ordinals, signatures: npt.NDArray[np.uint32], threshold: float) -> tuple[Ordinals, npt.NDArray[np.float64]]:
    """Which document each one is a duplicate of (itself where it stays), and how similar it is to that one.

    A document is dropped only if its estimated Jaccard similarity *to a document that stays* reaches `threshold`: a chain
    in which each link resembles the next does not pull in what no longer resembles its beginning.

    Args: `root` int64 (nodes,): the component of each node, nodes numbered in corpus order; `signatures` uint32 (nodes,
    permutations). Returns int64 (nodes,) and float64 (nodes,), the latter 0 for those that stay.
    """
    order = np.lexsort((np.arange(len(root)), root))
    anchors, similarity = np.empty(len(root), np.int64), np.zeros(len(root))
    _anchor(order, root, signatures, threshold, anchors, similarity)
    return anchors, similarity

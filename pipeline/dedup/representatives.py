"""Which documents of a component stay: each one that is not similar enough to one that stays already.

The members of a component are walked in order of preference. Each is compared with the documents that stay and share a band
with it; where the true Jaccard similarity of their shingle sets (or, unverified, the signatures' estimate) reaches the
threshold, it is a duplicate of the most similar one, else it stays itself. So a chain in which each link resembles the next
does not pull in what no longer resembles its beginning.

With `cluster: transitive`, all documents that are linked by similar enough pairs are one cluster instead, and its preferred member stays.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernel.compile import kernel, leaf
from kernel.utf8 import Offsets
from kernel.words import U32
from pipeline.dedup.exact import Drop
from pipeline.dedup.members import MEMBERS
from pipeline.dedup.shuffle import Layout, gather
from pipeline.dedup.signing import Signing, band_hashes, matrix
from pipeline.dedup.verdict import group_columns
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.stages import Bucket, per_bucket
from pipeline.workdir.tasks import File, Stage

VERSION = 2
GROUPS = "dedup/near-groups"
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


# --- who stays -------------------------------------------------------------------------------------------------------


@leaf
def jaccard(sets: U32, a: int, a_end: int, b: int, b_end: int) -> float:  # pragma: no cover - compiled
    """Jaccard similarity of two sorted sets, `sets[a:a_end]` and `sets[b:b_end]`; 0 where both are empty."""
    total, both = (a_end - a) + (b_end - b), 0
    while a < a_end and b < b_end:
        x, y = sets[a], sets[b]
        both += x == y
        a += x <= y
        b += y <= x
    similarity: float = both / max(1, total - both)
    return similarity


@leaf
def _agreement(signatures: U32, a: int, b: int) -> float:  # pragma: no cover - compiled
    equal = 0
    for k in range(signatures.shape[1]):
        equal += signatures[a, k] == signatures[b, k]
    share: float = equal / signatures.shape[1]
    return share


class _Members(NamedTuple):
    """The members of some components; see `decide`."""

    order: Offsets
    fixed: Flags
    bands: Offsets  # (members, bands): the number of each band, -1 where no other member has it
    signatures: U32
    begin: Offsets
    end: Offsets
    sets: U32


class _Comparing(NamedTuple):
    """How they are compared; see `Rule`."""

    threshold: float
    floor: float
    verify: bool
    transitive: bool
    compare: int


class _Outcome(NamedTuple):
    """What is decided of each member; see `Decided`."""

    representative: Offsets
    similarity: Floats
    estimate: Floats


@leaf
def _root(parent: Offsets, place: int) -> int:  # pragma: no cover - compiled
    """The root of a cluster's tree, paths halved on the way."""
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


@leaf
def _lead(members: _Members, verify: bool, parent: Offsets, outcome: _Outcome) -> None:  # pragma: no cover - compiled
    """Transitive: each member of a cluster becomes a duplicate of the preferred one."""
    for position in range(len(members.order)):
        node, root = members.order[position], position
        while parent[root] != root:
            root = parent[root]
        if root != position and not members.fixed[node]:
            leader = members.order[root]
            outcome.representative[node] = leader
            outcome.estimate[node] = _agreement(members.signatures, node, leader)
            outcome.similarity[node] = outcome.estimate[node]
            if verify:
                begin, end = members.begin, members.end
                outcome.similarity[node] = jaccard(members.sets, begin[node], end[node], begin[leader], end[leader])


@kernel
def _decide(members: _Members, rule: _Comparing, outcome: _Outcome) -> tuple[int, int]:  # pragma: no cover - compiled
    """Fill `outcome`; returns comparisons of sets, and documents left out of a full band's list."""
    order, fixed, bands, signatures = members.order, members.fixed, members.bands, members.signatures
    begin, end, sets = members.begin, members.end, members.sets
    threshold, floor, verify, transitive = rule.threshold, rule.floor, rule.verify, rule.transitive
    representative, similarity, estimate = outcome.representative, outcome.similarity, outcome.estimate
    width = bands.shape[1]
    lists = bands.max() + 1 if bands.size else 0
    head, tail = np.full(lists, -1, np.int64), np.full(lists, -1, np.int64)
    length = np.zeros(lists, np.int64)
    entry = np.empty(1024, np.int64)  # members in the bands' lists
    following = np.empty(1024, np.int64)
    entries_used = 0
    looked_at = np.full(len(order), -1, np.int64)
    parent = np.arange(len(order))  # transitive: places in `order`
    place = np.empty(len(order), np.int64)
    compared = left_out = 0
    for position in range(len(order)):
        node = order[position]
        place[node] = position
        representative[node] = node
        if not fixed[node]:
            best, best_similarity, best_estimate = np.int64(-1), -1.0, 0.0
            for band in range(width):
                at = head[bands[node, band]] if bands[node, band] >= 0 else -1
                while at >= 0:
                    other = entry[at]
                    at = following[at]
                    if looked_at[other] == node:
                        continue
                    looked_at[other] = node
                    if transitive:
                        one, two = _root(parent, position), _root(parent, place[other])
                        if one == two:
                            continue
                    guess = _agreement(signatures, node, other)
                    if guess < floor:
                        continue
                    value = guess
                    if verify:
                        value = jaccard(sets, begin[node], end[node], begin[other], end[other])
                        compared += 1
                    if transitive:
                        if value >= threshold:
                            parent[max(one, two)] = min(one, two)
                    elif value > best_similarity:
                        best, best_similarity, best_estimate = other, value, guess
            if best >= 0 and best_similarity >= threshold:
                representative[node], similarity[node], estimate[node] = best, best_similarity, best_estimate
        if representative[node] == node:  # it stays, or (transitive) its cluster is not known yet: later ones are compared with it
            full = False
            for band in range(width):
                number = bands[node, band]
                if number < 0:
                    continue
                if length[number] >= rule.compare:
                    full = True
                    continue
                if entries_used == len(entry):
                    entry = np.append(entry, np.empty(len(entry), np.int64))
                    following = np.append(following, np.empty(len(following), np.int64))
                entry[entries_used], following[entries_used] = node, -1
                if tail[number] >= 0:
                    following[tail[number]] = entries_used
                else:
                    head[number] = entries_used
                tail[number] = entries_used
                length[number] += 1
                entries_used += 1
            left_out += full
    if transitive:
        _lead(members, verify, parent, outcome)
    return compared, left_out


@dataclass(frozen=True)
class Rule:
    """How members are compared; see `NearConfig`."""

    threshold: float
    verify: bool
    transitive: bool
    compare: int

    def floor(self, permutations: int) -> float:
        """The estimated similarity below which sets are not compared: four standard deviations of the estimate below the threshold."""
        if not self.verify:
            return self.threshold
        deviation = math.sqrt(self.threshold * (1 - self.threshold) / permutations)
        return max(0.0, self.threshold - 4 * deviation - 1 / permutations)


@dataclass(frozen=True)
class Decided:
    """What became of each member.

    `representative`, int64 (members,): the member that it is a duplicate of; itself where it stays. `similarity` and `estimate`, float64
    (members,): how similar the two are, as decided and by their signatures. `compared`: how many pairs of sets were compared.
    `left_out`: how many members that stay share a band with `Rule.compare` others, so that later ones were not compared with them there.
    """

    representative: Offsets
    similarity: Floats
    estimate: Floats
    compared: int
    left_out: int


def decide(
    order: Offsets,
    fixed: Flags,
    hashes: npt.NDArray[np.uint64],
    signatures: U32,
    begin: Offsets,
    end: Offsets,
    sets: U32,
    rule: Rule,
) -> Decided:
    """Decide which members of some whole components stay.

    Args: `order` int64 (members,): the members, those of a component together and the preferred ones first; `fixed` bool (members,):
    members that stay whatever they resemble, and come first in their component; `hashes` uint64 (members, bands); `signatures` uint32
    (members, permutations); the shingle set of member `i` is `sets[begin[i]:end[i]]`, uint32, sorted.
    """
    _, numbers, counts = np.unique(hashes.reshape(-1), return_inverse=True, return_counts=True)
    shared = np.cumsum(counts > 1) - 1
    bands = np.where(counts[numbers] > 1, shared[numbers], -1).reshape(hashes.shape).astype(np.int64)
    members = len(order)
    representative, similarity, estimate = np.empty(members, np.int64), np.zeros(members), np.zeros(members)
    floor = rule.floor(signatures.shape[1])
    compared, left_out = _decide(
        _Members(order, fixed, bands, signatures, begin, end, sets),
        _Comparing(rule.threshold, floor, rule.verify, rule.transitive, rule.compare),
        _Outcome(representative, similarity, estimate),
    )
    return Decided(representative, similarity, estimate, compared, left_out)


def without_representatives(decided: Decided, order: Offsets, own: Flags) -> Decided:
    """The same where no copy stays: a member of `own` of which others are duplicates becomes one of the most similar of them.

    Of equally similar ones it is the preferred, by `order` (see `decide`).
    """
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    copies = np.flatnonzero(decided.representative != np.arange(len(order)))
    copies = copies[np.lexsort((rank[copies], -decided.similarity[copies]))]
    leaders, first = np.unique(decided.representative[copies], return_index=True)
    nearest, leaders = copies[first][own[leaders]], leaders[own[leaders]]
    representative, similarity, estimate = decided.representative.copy(), decided.similarity.copy(), decided.estimate.copy()
    representative[leaders], similarity[leaders], estimate[leaders] = nearest, similarity[nearest], estimate[nearest]
    return replace(decided, representative=representative, similarity=similarity, estimate=estimate)


@dataclass(frozen=True)
class _Settings:
    rule: Rule
    signing: Signing
    layout: Layout
    drop: Drop


def choose_representatives(workdir: Workdir, bucket: Bucket[_Settings]) -> Generator[File, None, Summary]:
    """One task: which members of the components of one bucket stay."""
    name, settings = f"{bucket.name}.arrow", bucket.settings
    table = gather(workdir, MEMBERS, bucket.number, bucket.buckets)
    if table is None or table.num_rows == 0:
        yield File(GROUPS, name, settings.layout.scatter(group_columns()), 0)
        return {}
    ordinal, root, key = table["ordinal"].to_numpy(), table["root"].to_numpy(), table["key"].to_numpy()
    order = np.lexsort((ordinal, table["score"].to_numpy(), table["source"].to_numpy(), ordinal >= 0, root))
    signature = matrix(table["signature"])
    lists = table["shingles"].combine_chunks()
    offsets = lists.offsets.to_numpy()
    del table
    hashes = band_hashes(signature, settings.signing.bands, settings.signing.rows)
    decided = decide(order, ordinal < 0, hashes, signature, offsets[:-1], offsets[1:], lists.values.to_numpy(), settings.rule)
    own = ordinal >= 0  # the index's documents get no verdict
    if settings.drop == "all":
        decided = without_representatives(decided, order, own)
    _, place, counts = np.unique(root, return_inverse=True, return_counts=True)
    size = counts[place]
    smallest = np.full(len(counts), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, place, key)
    dropped = decided.representative != np.arange(len(ordinal))
    groups = group_columns(
        ordinal[own],
        ordinal[decided.representative[own]],
        root[own],
        size[own].astype(np.int64),
        decided.similarity[own],
        decided.estimate[own],
        dropped[own],
        smallest[place][own],
    )
    yield File(GROUPS, name, settings.layout.scatter(groups), int(dropped.sum()))
    return {"members": len(ordinal), "dropped": int(dropped.sum()), "compared": decided.compared, "left_out": decided.left_out}


def representatives_stage(rule: Rule, signing: Signing, members: Manifest, documents: Manifest, drop: Drop) -> Stage:
    """Reduce over the buckets of components."""
    return per_bucket(
        "near: decide",
        (GROUPS,),
        choose_representatives,
        members.configuration["buckets"],
        _Settings(rule, signing, Layout.of(documents), drop),
        version=VERSION,
        inputs=(members,),
        memory=1536 << 20,
    )

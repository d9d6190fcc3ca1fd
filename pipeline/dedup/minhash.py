"""Near duplicates by MinHash and locality-sensitive hashing (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3).

1. signatures: MinHash of each document's word shingles; each band of a signature is hashed, and band hashes are scattered.
2. pairs: documents that share a band are candidates, each paired with the first of its band.
3. groups: components of the candidate graph; within each, anchored on documents that stay (`components.anchor`).
4. verdicts: `dedup.verdict`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasketch.lsh import _optimal_param
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.dataset import Manifest, Partition, Workdir, fingerprint, to_ipc
from pipeline.dedup.components import anchor, components
from pipeline.dedup.shuffle import buckets_for, gather, scatter
from pipeline.dedup.verdict import group_columns, scatter_groups
from pipeline.documents import DOCUMENTS
from pipeline.engine import File, Stage, Summary, Task
from pipeline.text.shingles import signatures
from pipeline.verdicts import VerdictEntry, checksums, entries, kept

VERSION = 1
SIGNATURES = "dedup/near-signatures"
BANDS = "dedup/near-bands"
PAIRS = "dedup/near-pairs"
GROUPS = "dedup/near-groups"


class NearConfig(BaseModel):
    """Near deduplication by MinHash LSH over word shingles; the defaults are FineWeb's."""

    model_config = ConfigDict(extra="forbid")

    shingle_words: int = Field(5, ge=1, le=64, description="Words in a shingle (FineWeb: 5).")
    bands: int | None = Field(14, ge=1, le=1024, description="Bands of the signature (FineWeb: 14); null: chosen from the threshold.")
    rows: int | None = Field(8, ge=1, le=1024, description="Rows of a band (FineWeb: 8); null: chosen from the threshold.")
    permutations: int = Field(
        128,
        ge=2,
        le=4096,
        description="Permutations to choose bands and rows from, where those are null (datasketch: 128).",
    )
    threshold: float = Field(0.7, gt=0, le=1, description="Jaccard similarity, to a document that stays, from which a document is dropped.")
    seed: int = Field(1, ge=0, le=2**32 - 1, description="Seed of the permutations (datasketch: 1).")

    @model_validator(mode="after")
    def _choose_bands(self) -> NearConfig:
        if (self.bands is None) != (self.rows is None):
            raise ValueError("give both `bands` and `rows`, or set both to null and let `threshold` choose")
        return self

    @property
    def layout(self) -> tuple[int, int]:
        """`(bands, rows)`: as given, or datasketch's optimum for the threshold."""
        if self.bands is not None and self.rows is not None:
            return self.bands, self.rows
        bands, rows = _optimal_param(self.threshold, self.permutations, 0.5, 0.5)
        return int(bands), int(rows)


def band_hashes(signature: npt.NDArray[np.uint32], bands: int, rows: int) -> npt.NDArray[np.uint64]:
    """64-bit hash of each band of each signature: uint64 (documents, bands). The band's number is part of the hash."""
    documents = len(signature)
    hashes = np.empty((documents, bands), np.uint64)
    for band in range(bands):
        part = np.ascontiguousarray(signature[:, band * rows : (band + 1) * rows]).astype(np.uint64)
        value = np.full(documents, 0x9E3779B97F4A7C15 * (band + 1) & 0xFFFFFFFFFFFFFFFF, np.uint64)
        for column in range(rows):
            value = (value ^ part[:, column]) * np.uint64(0x9FB21C651E98DF25)
            value ^= value >> np.uint64(32)
        value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        hashes[:, band] = value ^ (value >> np.uint64(33))
    return hashes


@dataclass(frozen=True)
class _SignWork:
    partition: Partition
    start: int
    before: tuple[VerdictEntry, ...]
    config: NearConfig
    buckets: int


def sign_partition(workdir: Workdir, work: _SignWork) -> Generator[File, None, Summary]:
    """Map: signatures of the documents that are still kept, and their band hashes scattered by hash."""
    documents = workdir.read_table(DOCUMENTS, work.partition, ["text"])
    rows = np.flatnonzero(kept(workdir, work.before, documents.num_rows))
    bands, width = work.config.layout
    signature, shingles = signatures(documents["text"].take(rows), work.config.shingle_words, bands * width, work.config.seed)
    ordinal = rows.astype(np.int64) + work.start
    has_words = shingles > 0  # documents without a word are no near-duplicates of one another; exact deduplication saw them
    table = pa.table(
        {
            "ordinal": ordinal,
            "signature": pa.FixedSizeListArray.from_arrays(pa.array(signature.reshape(-1)), bands * width),
        }
    )
    yield File(SIGNATURES, f"{work.partition.name}.arrow", to_ipc(table.combine_chunks().to_batches(), table.schema), len(rows))
    hashes = band_hashes(signature[has_words], bands, width).reshape(-1)
    owners = np.repeat(ordinal[has_words], bands)
    bucket = (hashes % np.uint64(work.buckets)).astype(np.int64)
    yield File(
        BANDS,
        f"{work.partition.name}.arrow",
        scatter({"hash": hashes, "ordinal": owners}, bucket, work.buckets),
        len(hashes),
    )
    return {}


@dataclass(frozen=True)
class _PairWork:
    bucket: int


def pair_bucket(workdir: Workdir, work: _PairWork) -> Generator[File, None, Summary]:
    """Reduce: every document of a band with the first document of that band, each pair once."""
    columns = gather(workdir, BANDS, work.bucket)
    ordinal = columns["ordinal"].astype(np.int64)
    order = np.lexsort((ordinal, columns["hash"]))
    value, ordinal = columns["hash"][order], ordinal[order]
    first = np.ones(len(order), bool)
    first[1:] = value[1:] != value[:-1]
    leader = ordinal[first][np.cumsum(first) - 1] if len(order) else ordinal
    pairs = np.unique(np.stack([leader, ordinal], axis=1)[~first], axis=0) if len(order) else np.zeros((0, 2), np.int64)
    table = pa.table({"left": pairs[:, 0].copy(), "right": pairs[:, 1].copy()})
    yield File(PAIRS, f"{work.bucket:05d}.arrow", to_ipc(table.to_batches(), table.schema), len(pairs))
    return {"pairs": len(pairs)}


@dataclass(frozen=True)
class _GroupWork:
    threshold: float


def group_pairs(workdir: Workdir, work: _GroupWork) -> Generator[File, None, Summary]:
    """Components of all pairs, and within each the documents that stay. Memory: 24 bytes a pair, a signature a member."""
    tables = [table for _, table in workdir.tables(PAIRS)]
    left = np.concatenate([np.zeros(0, np.int64), *(table["left"].to_numpy() for table in tables)])
    right = np.concatenate([np.zeros(0, np.int64), *(table["right"].to_numpy() for table in tables)])
    members = np.unique(np.concatenate([left, right]))
    root = components(np.searchsorted(members, left), np.searchsorted(members, right), len(members))
    signature: npt.NDArray[np.uint32] | None = None
    for _, table in workdir.tables(SIGNATURES):
        ordinal = table["ordinal"].to_numpy()
        lists = table["signature"].combine_chunks()
        width = lists.type.list_size
        matrix = lists.flatten().to_numpy().reshape(-1, width)
        if signature is None:
            signature = np.empty((len(members), width), np.uint32)
        wanted = np.isin(ordinal, members, assume_unique=True)
        signature[np.searchsorted(members, ordinal[wanted])] = matrix[wanted]
    if signature is None:
        signature = np.empty((0, 1), np.uint32)
    anchors, similarity = anchor(root, signature, work.threshold)
    sizes = np.bincount(root, minlength=len(members)).astype(np.int64)
    dropped = anchors != np.arange(len(members))
    groups = group_columns(members[dropped], members[anchors[dropped]], members[root[dropped]], sizes[root[dropped]], similarity[dropped])
    yield File(GROUPS, "groups.arrow", scatter_groups(groups, workdir.require(DOCUMENTS)), int(dropped.sum()))
    return {
        "pairs": len(left),
        "components": len(np.unique(root)),
        "members": len(members),
        "dropped": int(dropped.sum()),
    }


def sign_stage(config: NearConfig, documents: Manifest, before: Sequence[Manifest]) -> Stage:
    """Map over the partitions of documents."""
    bands, width = config.layout
    buckets = buckets_for(documents.rows * bands)
    settings = (config.shingle_words, bands, width, config.seed)
    tasks = []
    for partition in documents.partitions:
        start = documents.starts[partition.name]
        key = fingerprint(VERSION, settings, partition.checksum, checksums(before, partition.name), start, buckets)
        tasks.append(
            Task(
                partition.name,
                key,
                _SignWork(partition, start, entries(before, partition.name), config, buckets),
                partition.bytes,
            )
        )
    return Stage("near: sign", (SIGNATURES, BANDS), sign_partition, tuple(tasks), config.model_dump(mode="json"), memory=1 << 30)


def pair_stage(config: NearConfig, bands: Manifest, documents: Manifest) -> Stage:
    """Reduce over the buckets of band hashes."""
    tasks = tuple(
        Task(f"{bucket:05d}", fingerprint(VERSION, bands.content, bucket), _PairWork(bucket))
        for bucket in range(buckets_for(documents.rows * config.layout[0]))
    )
    return Stage("near: pair", (PAIRS,), pair_bucket, tasks, memory=2 << 30, unit="buckets")


def group_stage(config: NearConfig, pairs: Manifest, signed: Manifest, documents: Manifest) -> Stage:
    """One task over all pairs."""
    key = fingerprint(VERSION, pairs.content, signed.content, config.threshold, list(documents.starts.items()))
    work = _GroupWork(config.threshold)
    return Stage("near: group", (GROUPS,), group_pairs, (Task("groups", key, work),), memory=4 << 30, unit="tasks")

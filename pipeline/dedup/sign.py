"""Sign: MinHash signatures of documents, and their bands, scattered by hash."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.hashing import FMIX_FIRST, GOLDEN
from kernel.words import BASE
from pipeline.dedup.shingles import Unit
from pipeline.dedup.shingles import signatures as minhash
from pipeline.dedup.shuffle import bucket_of, buckets_for, scatter
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint, to_ipc
from pipeline.workdir.engine import File, Stage, Summary, Task
from pipeline.workdir.verdicts import VerdictEntry, checksums, entries, remaining

if TYPE_CHECKING:
    from pipeline.dedup.index import Seen

VERSION = 3
SIGNATURES = "dedup/near-signatures"
BANDS = "dedup/near-bands"


@dataclass(frozen=True)
class Signing:
    """All that determines a document's signature and bands."""

    shingles: Unit
    width: int
    bands: int
    rows: int
    seed: int

    @property
    def permutations(self) -> int:
        return self.bands * self.rows

    def __str__(self) -> str:
        return f"{self.width} {self.shingles}, {self.bands} bands of {self.rows}, seed {self.seed}"


def band_hashes(signature: npt.NDArray[np.uint32], bands: int, rows: int) -> npt.NDArray[np.uint64]:
    """64-bit hash of each band of each signature: uint64 (documents, bands). The band's number is part of the hash."""
    documents = len(signature)
    hashes = np.empty((documents, bands), np.uint64)
    for band in range(bands):
        part = np.ascontiguousarray(signature[:, band * rows : (band + 1) * rows]).astype(np.uint64)
        value = np.full(documents, int(GOLDEN) * (band + 1) & 0xFFFFFFFFFFFFFFFF, np.uint64)
        for column in range(rows):
            value = (value ^ part[:, column]) * BASE
            value ^= value >> np.uint64(32)
        value = (value ^ (value >> np.uint64(33))) * FMIX_FIRST
        hashes[:, band] = value ^ (value >> np.uint64(33))
    return hashes


def matrix(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.uint32]:
    """A column of signatures as uint32 (documents, permutations)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    signatures: npt.NDArray[np.uint32] = array.flatten().to_numpy().reshape(len(array), array.type.list_size)
    return signatures


def signature_column(signature: npt.NDArray[np.uint32]) -> pa.Array:
    """uint32 (documents, permutations) as a column."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(signature).reshape(-1)), signature.shape[1])


def band_buckets(signing: Signing, documents: Manifest) -> int:
    """Over how many buckets band hashes are scattered."""
    return buckets_for(documents.rows * signing.bands)


@dataclass(frozen=True)
class _Work:
    partition: Partition
    start: int
    before: tuple[VerdictEntry, ...]
    signing: Signing
    buckets: int
    seen: tuple[Seen, ...]


def sign_partition(workdir: Workdir, work: _Work) -> Generator[File, None, Summary]:
    """Signatures of the documents that are still kept, and the band hashes of those that were not seen before."""
    signing = work.signing
    left = remaining(workdir, work.partition, work.before)
    signature, shingles = minhash(left.texts, signing.width, signing.permutations, signing.seed, signing.shingles)
    hashes = band_hashes(signature, signing.bands, signing.rows)
    has_shingles = shingles > 0  # documents without a word are no near-duplicates of one another; exact deduplication saw them
    known = np.zeros(len(hashes), np.uint16)
    which = np.full(len(hashes), -1, np.int16)
    for number, seen in enumerate(work.seen):
        found = seen.count(hashes).astype(np.uint16) * has_shingles
        which[(found > known)] = number
        known = np.maximum(known, found)
    columns = {
        "row": left.rows.astype(np.int32),
        "shingles": shingles,
        "known_bands": known,
        "known_in": which,
        "signature": signature_column(signature),
    }
    table = pa.table(columns)
    yield File(SIGNATURES, f"{work.partition.name}.arrow", to_ipc(table.combine_chunks().to_batches(), table.schema), len(table))
    new = has_shingles & (known == 0)
    flat = hashes[new].reshape(-1)
    owners = np.repeat(left.rows[new].astype(np.int64) + work.start, signing.bands)
    raw = scatter({"hash": flat, "ordinal": owners}, bucket_of(flat, work.buckets), work.buckets)
    yield File(BANDS, f"{work.partition.name}.arrow", raw, len(flat))
    return {"documents": len(table), "shingles": int(shingles.sum())}


def sign_stage(signing: Signing, seen: Sequence[Seen], documents: Manifest, before: Sequence[Manifest]) -> Stage:
    """Map over the partitions of documents."""
    buckets = band_buckets(signing, documents)
    tasks = []
    for partition in documents.partitions:
        start = documents.starts[partition.name]
        known = [each.content for each in seen]
        key = fingerprint(VERSION, signing, known, partition.checksum, checksums(before, partition.name), start, buckets)
        work = _Work(partition, start, entries(before, partition.name), signing, buckets, tuple(seen))
        tasks.append(Task(partition.name, key, work, partition.bytes))
    return Stage("near: sign", (SIGNATURES, BANDS), sign_partition, tuple(tasks), asdict(signing), memory=1 << 30)

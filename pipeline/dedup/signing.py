"""Signatures and their bands: what determines them, how they are stored, and over how many buckets bands are scattered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.hashing import FMIX_FIRST, GOLDEN
from kernel.words import BASE
from pipeline.dedup.shingles import Unit
from pipeline.dedup.shuffle import buckets_for
from pipeline.workdir.dataset import Manifest

SIGNATURES = "dedup/near-signatures"
BANDS = "dedup/near-bands"


@dataclass(frozen=True)
class Signing:
    """All that determines a document's signature and bands; see `NearConfig`."""

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

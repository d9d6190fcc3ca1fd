"""Sign: MinHash signatures of documents, and their bands, scattered by hash."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from pipeline.dedup.seen import Seen
from pipeline.dedup.shingles import signatures as minhash
from pipeline.dedup.shuffle import bucket_of, scatter
from pipeline.dedup.signing import BANDS, SIGNATURES, Signing, band_buckets, band_hashes, signature_column
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, to_ipc
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage
from pipeline.workdir.verdicts import remaining

VERSION = 5


@dataclass(frozen=True)
class _Settings:
    signing: Signing
    buckets: int
    seen: tuple[Seen, ...]  # Bloom indexes of earlier runs


def sign_partition(workdir: Workdir, piece: Piece[_Settings]) -> Generator[File, None, Summary]:
    """Signatures of the documents that are still kept, and the band hashes of those that were not seen before."""
    signing, buckets = piece.settings.signing, piece.settings.buckets
    left = remaining(workdir, piece.partition, piece.before)
    signature, shingles = minhash(left.texts, signing.width, signing.permutations, signing.seed, signing.shingles)
    hashes = band_hashes(signature, signing.bands, signing.rows)
    has_shingles = shingles > 0  # documents without a word are no near-duplicates of one another; exact deduplication saw them
    known = np.zeros(len(hashes), np.uint16)
    which = np.full(len(hashes), -1, np.int16)
    for number, seen in enumerate(piece.settings.seen):
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
    yield File(SIGNATURES, f"{piece.name}.arrow", to_ipc(table.combine_chunks().to_batches(), table.schema), len(table))
    new = has_shingles & (known == 0)
    flat = hashes[new].reshape(-1)
    owners = np.repeat(left.rows[new].astype(np.int64) + piece.start, signing.bands)
    raw = scatter({"hash": flat, "ordinal": owners}, bucket_of(flat, buckets), buckets)
    yield File(BANDS, f"{piece.name}.arrow", raw, len(flat))
    return {"documents": len(table), "shingles": int(shingles.sum())}


def sign_stage(signing: Signing, seen: Sequence[Seen], documents: Manifest, before: Sequence[Manifest]) -> Stage:
    """Map over the partitions of documents."""
    buckets = band_buckets(signing, documents)
    return per_partition(
        "near: sign",
        (SIGNATURES, BANDS),
        sign_partition,
        documents,
        _Settings(signing, buckets, tuple(seen)),
        version=VERSION,
        before=before,
        ordinals=True,
        key=(signing, buckets, [each.content for each in seen]),
        configuration=asdict(signing),
    )

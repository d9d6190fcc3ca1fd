"""Whether a document was seen before: a Bloom filter of the bands of earlier runs.

`index/seen` is one filter for all bands (Khan et al. 2024, LSHBloom, arXiv 2411.04257, which has one for each; here a band's number is
part of its hash). It takes about 30 bytes a document, and tells whether a document was seen, not which one it resembles. The folder can
be copied anywhere. It is never changed once written, and a run may use several.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.bloom import add, bloom_size, has
from pipeline.dedup.index import check_signing, open_parts
from pipeline.dedup.shuffle import bucket_of, gather
from pipeline.dedup.signing import BANDS, SIGNATURES, Signing
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, to_ipc, to_parquet
from pipeline.workdir.documents import STATISTICS
from pipeline.workdir.stages import Bucket, Piece, per_bucket, per_partition
from pipeline.workdir.tasks import File, Stage
from pipeline.workdir.verdicts import kept, tally, verdict_dataset, verdict_table

VERSION = 1
SEEN = "index/seen"
SEEN_VERDICT = verdict_dataset("seen")


@dataclass(frozen=True)
class Seen:
    """An opened `index/seen`: one filter for each bucket of hashes."""

    workdir: Workdir
    manifest: Manifest
    uri: str

    @property
    def content(self) -> str:
        return self.manifest.content

    def count(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """How many bands of each document the filter holds: int64 (documents,). `hashes`: uint64 (documents, bands)."""
        flat = np.ascontiguousarray(hashes).reshape(-1)
        found = np.zeros(len(flat), bool)
        bucket = bucket_of(flat, len(self.manifest.partitions))
        for number, partition in enumerate(self.manifest.partitions):
            rows = np.flatnonzero(bucket == number)
            if len(rows):
                bits = self.workdir.read_table(self.manifest.dataset, partition)["bits"].combine_chunks().to_numpy()
                out = np.empty(len(rows), bool)
                has(bits, self.manifest.configuration["functions"], flat[rows], out)
                found[rows] = out
        counts: npt.NDArray[np.int64] = found.reshape(hashes.shape).sum(axis=1)
        return counts


def open_seen(uri: str, signing: Signing) -> Seen:
    """Open a Bloom index. Raises `UserError` where there is none, or where it was made with other parameters than `signing`."""
    workdir, (manifest,) = open_parts(uri, SEEN, ("",))
    check_signing(uri, manifest, signing)
    return Seen(workdir, manifest, uri)


@dataclass(frozen=True)
class _Filter:
    bits: int
    functions: int


def save_seen_bucket(workdir: Workdir, bucket: Bucket[_Filter]) -> Generator[File, None, Summary]:
    """One task: the filter of one bucket of band hashes."""
    bits = np.zeros(bucket.settings.bits // 64, np.uint64)
    table = gather(workdir, BANDS, bucket.number, bucket.buckets)
    if table is not None:
        add(bits, bucket.settings.functions, table["hash"].to_numpy())
    out = pa.table({"bits": bits})
    yield File(SEEN, f"{bucket.name}.arrow", to_ipc(out.to_batches(), out.schema), 0 if table is None else table.num_rows)
    return {"hashes": 0 if table is None else table.num_rows}


def save_seen_stage(signing: Signing, false_positives: float, bands: Manifest, buckets: int) -> Stage:
    """The stage that writes `index/seen`."""
    bits, functions = bloom_size(-(-bands.rows // buckets), false_positives / signing.bands)
    settings = {"signing": asdict(signing), "functions": functions, "bits": bits, "false_positives": false_positives}
    shape = _Filter(bits, functions)
    return per_bucket(
        "near: save seen", (SEEN,), save_seen_bucket, buckets, shape, version=VERSION, inputs=(bands,), configuration=settings
    )


def seen_verdicts(workdir: Workdir, piece: Piece[None]) -> Generator[File, None, Summary]:
    """`verdicts/seen` of one partition: dropped where a band of the document is in a Bloom index."""
    statistics = workdir.read_table(STATISTICS, piece.partition, ["domain", "source", "bytes"])
    rows = statistics.num_rows
    signed = workdir.read_table(SIGNATURES, piece.beside[SIGNATURES], ["row", "known_bands"])
    bands = np.zeros(rows, np.float64)
    bands[signed["row"].to_numpy()] = signed["known_bands"].to_numpy()
    dropped = bands > 0
    verdict = verdict_table(
        rows,
        {
            "keep": pa.array(~dropped, mask=~kept(workdir, piece.before, rows)),
            "rule": pc.if_else(pa.array(dropped), "seen", pa.scalar(None, pa.string())),
            "value": pa.array(bands, mask=~dropped),
            "limit": pa.array(np.zeros(rows), mask=~dropped),
            "detail": pc.if_else(pa.array(dropped), "bands that are in an index of earlier documents", pa.scalar(None, pa.string())),
        },
    )
    yield File(SEEN_VERDICT, piece.name, to_parquet(verdict), rows)
    return tally(verdict, statistics)


def seen_stage(signed: Manifest, statistics: Manifest, before: Sequence[Manifest]) -> Stage:
    """The stage that writes `verdicts/seen`."""
    return per_partition(
        "seen",
        (SEEN_VERDICT,),
        seen_verdicts,
        statistics,
        None,
        version=VERSION,
        beside=(signed,),
        before=before,
        memory=512 << 20,
        unit="documents",
    )

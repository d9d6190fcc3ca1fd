"""Indexes of documents seen before, so that a new crawl is deduplicated against them without reading them again.

`index/near`: of each document that stayed, its id, signature and shingle set (`entries`), and its bands, scattered
(`bands`). A new run pairs its bands with these, and verifies against the sets. Documents of indexes have negative ordinals,
so that they come first, and are never dropped.

`index/seen`: a Bloom filter of all bands (Khan et al. 2024, LSHBloom, arXiv 2411.04257, with one filter for all bands, since
a band's number is part of its hash): says "seen or not", in about 30 bytes a document, and not what was seen.

Both are folders that can be copied anywhere; they are never changed once written, and a run may use several.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.bloom import add, bloom_size, has
from pipeline.dedup.shingles import shingle_sets
from pipeline.dedup.shuffle import bucket_of, buckets_for, gather, scatter
from pipeline.dedup.sign import SIGNATURES, Signing, band_hashes, matrix, signature_column
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint, to_ipc, to_parquet
from pipeline.workdir.documents import DOCUMENTS, STATISTICS
from pipeline.workdir.engine import File, Stage, Summary, Task
from pipeline.workdir.errors import UserError
from pipeline.workdir.verdicts import VerdictEntry, checksums, entries, kept, remaining, tally, verdict_dataset, verdict_table

VERSION = 1
INDEX = "index/near"
ENTRIES, INDEX_BANDS = f"{INDEX}/entries", f"{INDEX}/bands"
SEEN = "index/seen"
SEEN_VERDICT = verdict_dataset("seen")


@dataclass(frozen=True)
class Index:
    """An opened `index/near`."""

    workdir: Workdir
    entries: Manifest
    bands: Manifest
    buckets: int

    @property
    def content(self) -> str:
        return fingerprint(self.entries.content, self.bands.content)

    @property
    def rows(self) -> int:
        """Documents of the run that saved it, of which those that stayed have entries."""
        rows: int = self.entries.configuration["documents"]
        return rows


def _open(uri: str, folder: str, parts: tuple[str, ...]) -> tuple[Workdir, list[Manifest]]:
    """The manifests of an index, in a run's workdir or in a copy of the index's folder."""
    workdir = Workdir(uri)
    for prefix in (f"{folder}/", ""):
        found = [workdir.manifest(f"{prefix}{part}".rstrip("/") or ".") for part in parts]
        named = [replace(m, dataset=f"{prefix}{part}".rstrip("/") or ".") for m, part in zip(found, parts, strict=True) if m is not None]
        if len(named) == len(parts):
            return workdir, named
    raise UserError(f"{uri}: no `{folder}` there; a run with `near.save_{'index' if folder == INDEX else 'seen'}: true` saves one")


def _check(uri: str, manifest: Manifest, signing: Signing) -> None:
    theirs = manifest.configuration.get("signing")
    if theirs != asdict(signing):
        other = str(Signing(**theirs)) if theirs and set(theirs) == set(asdict(signing)) else "parameters of another version"
        raise UserError(f"{uri}: its index is of {other}; this recipe's `near` has {signing}. Use the same parameters, or another index")


def open_index(uri: str, signing: Signing) -> Index:
    """Open an index. Raises `UserError` where there is none, or where it is of other parameters (both are named)."""
    workdir, (found, bands) = _open(uri, INDEX, ("entries", "bands"))
    _check(uri, found, signing)
    return Index(workdir, found, bands, bands.configuration["buckets"])


@dataclass(frozen=True)
class Prior:
    """One partition of an index's entries, at its place among the ordinals."""

    workdir: Workdir
    dataset: str
    partition: Partition
    start: int


def place(indexes: Sequence[Index], documents: Manifest) -> tuple[tuple[int, ...], tuple[Prior, ...]]:
    """The ordinals of the first rows of all partitions, indexes' first, and the indexes' partitions."""
    prior: list[Prior] = []
    start = -sum(index.rows for index in indexes)
    for index in indexes:
        for partition in index.entries.partitions:
            own = index.entries.configuration["starts"][partition.name]
            prior.append(Prior(index.workdir, index.entries.dataset, partition, start + own))
        start += index.rows
    return (*(each.start for each in prior), *documents.starts.values()), tuple(prior)


# --- save ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SaveWork:
    partition: Partition
    signatures: Partition
    start: int
    before: tuple[VerdictEntry, ...]
    signing: Signing
    buckets: int


def save_partition(workdir: Workdir, work: _SaveWork) -> Generator[File, None, Summary]:
    """The entries and bands of the documents of one partition that stayed."""
    signing = work.signing
    left = remaining(workdir, work.partition, work.before)
    signed = workdir.read_table(SIGNATURES, work.signatures)
    place = np.searchsorted(signed["row"].to_numpy(), left.rows)
    signature = matrix(signed["signature"])[place]
    ends, sets = shingle_sets(left.texts, signing.width, signing.shingles)
    ids = workdir.read_table(DOCUMENTS, work.partition, ["id"])["id"].take(left.rows)
    lists = pa.LargeListArray.from_arrays(pa.array(ends), pa.array(sets))
    table = pa.table({"row": left.rows.astype(np.int32), "id": ids, "signature": signature_column(signature), "shingles": lists})
    yield File(ENTRIES, f"{work.partition.name}.arrow", to_ipc(table.combine_chunks().to_batches(), table.schema), len(table))
    some = np.diff(ends) > 0
    hashes = band_hashes(signature[some], signing.bands, signing.rows).reshape(-1)
    owners = np.repeat(left.rows[some] + work.start, signing.bands)
    raw = scatter({"hash": hashes, "ordinal": owners}, bucket_of(hashes, work.buckets), work.buckets)
    yield File(INDEX_BANDS, f"{work.partition.name}.arrow", raw, len(hashes))
    return {"documents": len(table)}


def index_stage(signing: Signing, signed: Manifest, documents: Manifest, verdicts: Sequence[Manifest]) -> Stage:
    """The stage that writes `index/near`."""
    buckets = buckets_for(documents.rows * signing.bands)
    tasks = []
    for partition in documents.partitions:
        entry, start = signed.by_name[f"{partition.name}.arrow"], documents.starts[partition.name]
        key = fingerprint(VERSION, signing, buckets, partition.checksum, entry.checksum, start, checksums(verdicts, partition.name))
        work = _SaveWork(partition, entry, start, entries(verdicts, partition.name), signing, buckets)
        tasks.append(Task(partition.name, key, work, partition.bytes))
    starts = {f"{name}.arrow": start for name, start in documents.starts.items()}
    settings = {"signing": asdict(signing), "buckets": buckets, "documents": documents.rows, "starts": starts}
    return Stage("near: save index", (ENTRIES, INDEX_BANDS), save_partition, tuple(tasks), settings, memory=1 << 30)


# --- seen or not -----------------------------------------------------------------------------------------------------


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
    """Open a Bloom index. Raises `UserError` where there is none, or where it is of other parameters (both are named)."""
    workdir, (manifest,) = _open(uri, SEEN, ("",))
    _check(uri, manifest, signing)
    return Seen(workdir, manifest, uri)


@dataclass(frozen=True)
class _BloomWork:
    bands: Manifest
    bucket: int
    buckets: int
    bits: int
    functions: int


def save_seen_bucket(workdir: Workdir, work: _BloomWork) -> Generator[File, None, Summary]:
    """The filter of one bucket of band hashes."""
    bits = np.zeros(work.bits // 64, np.uint64)
    table = gather(workdir, work.bands, work.bucket, work.buckets)
    if table is not None:
        add(bits, work.functions, table["hash"].to_numpy())
    out = pa.table({"bits": bits})
    yield File(SEEN, f"{work.bucket:05d}.arrow", to_ipc(out.to_batches(), out.schema), 0 if table is None else table.num_rows)
    return {"hashes": 0 if table is None else table.num_rows}


def save_seen_stage(signing: Signing, false_positives: float, bands: Manifest, buckets: int) -> Stage:
    """The stage that writes `index/seen`."""
    bits, functions = bloom_size(-(-bands.rows // buckets), false_positives / signing.bands)
    tasks = tuple(
        Task(
            f"{bucket:05d}",
            fingerprint(VERSION, bands.content, bucket, bits, functions),
            _BloomWork(bands, bucket, buckets, bits, functions),
        )
        for bucket in range(buckets)
    )
    settings = {"signing": asdict(signing), "functions": functions, "bits": bits, "false_positives": false_positives}
    return Stage("near: save seen", (SEEN,), save_seen_bucket, tasks, settings, memory=1 << 30, unit="buckets")


@dataclass(frozen=True)
class _SeenWork:
    signatures: Partition
    statistics: Partition
    before: tuple[VerdictEntry, ...]


def seen_verdicts(workdir: Workdir, work: _SeenWork) -> Generator[File, None, Summary]:
    """`verdicts/seen` of one partition: dropped where a band of the document is in a Bloom index."""
    statistics = workdir.read_table(STATISTICS, work.statistics, ["domain", "source", "bytes"])
    rows = statistics.num_rows
    signed = workdir.read_table(SIGNATURES, work.signatures, ["row", "known_bands"])
    bands = np.zeros(rows, np.float64)
    bands[signed["row"].to_numpy()] = signed["known_bands"].to_numpy()
    dropped = bands > 0
    verdict = verdict_table(
        rows,
        {
            "keep": pa.array(~dropped, mask=~kept(workdir, work.before, rows)),
            "rule": pc.if_else(pa.array(dropped), "seen", pa.scalar(None, pa.string())),
            "value": pa.array(bands, mask=~dropped),
            "limit": pa.array(np.zeros(rows), mask=~dropped),
            "detail": pc.if_else(pa.array(dropped), "bands that are in an index of earlier documents", pa.scalar(None, pa.string())),
        },
    )
    yield File(SEEN_VERDICT, work.statistics.name, to_parquet(verdict), rows)
    return tally(verdict, statistics)


def seen_stage(signed: Manifest, documents: Manifest, statistics: Manifest, before: Sequence[Manifest]) -> Stage:
    """The stage that writes `verdicts/seen`."""
    tasks = []
    for partition in documents.partitions:
        entry, signatures = statistics.by_name[partition.name], signed.by_name[f"{partition.name}.arrow"]
        key = fingerprint(VERSION, entry.checksum, signatures.checksum, checksums(before, partition.name))
        tasks.append(Task(partition.name, key, _SeenWork(signatures, entry, entries(before, partition.name)), partition.rows))
    return Stage("seen", (SEEN_VERDICT,), seen_verdicts, tuple(tasks), memory=512 << 20, unit="documents")

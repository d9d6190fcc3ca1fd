"""Indexes of documents seen before, so that a new crawl is deduplicated against them without reading them again.

The folder `index/near` has the id, signature and shingle set of each document that stayed (`entries`), and the hashes of its bands,
scattered (`bands`). A new run pairs its own bands with these and verifies the pairs by the shingle sets. The documents of an index
have negative ordinals in the new run, so they come first, and they are never dropped.

The folder can be copied anywhere. It is never changed once written, and a run may use several.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.dedup.shingles import shingle_sets
from pipeline.dedup.shuffle import bucket_of, buckets_for, scatter
from pipeline.dedup.signing import SIGNATURES, Signing, band_hashes, matrix, signature_column
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint, to_ipc
from pipeline.workdir.documents import DOCUMENTS
from pipeline.workdir.errors import UserError
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage
from pipeline.workdir.verdicts import remaining
from storage.location import scrub

VERSION = 3
INDEX = "index/near"
ENTRIES, INDEX_BANDS = f"{INDEX}/entries", f"{INDEX}/bands"


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
        """How many documents the run that saved it had. Only those that stayed have entries."""
        rows: int = self.entries.configuration["documents"]
        return rows


def open_parts(uri: str, folder: str, parts: tuple[str, ...]) -> tuple[Workdir, list[Manifest]]:
    """The manifests of the parts of an index, in a run's workdir or in a copy of the index's folder. Raises `UserError` without them."""
    workdir = Workdir(uri)
    for prefix in (f"{folder}/", ""):
        found = [workdir.manifest(f"{prefix}{part}".rstrip("/") or ".") for part in parts]
        named = [replace(m, dataset=f"{prefix}{part}".rstrip("/") or ".") for m, part in zip(found, parts, strict=True) if m is not None]
        if len(named) == len(parts):
            return workdir, named
    key, saving = ("against", "save_index") if folder == INDEX else ("seen", "save_seen")
    raise UserError(f"near.{key}: {scrub(uri)} has no `{folder}`; a run with `near.{saving}: true` saves one")


def check_signing(uri: str, manifest: Manifest, signing: Signing) -> None:
    """Raises `UserError` where an index was made with other parameters than `signing`; the message names both."""
    theirs = manifest.configuration.get("signing")
    if theirs != asdict(signing):
        other = str(Signing(**theirs)) if theirs and set(theirs) == set(asdict(signing)) else "parameters of another version"
        raise UserError(
            f"{scrub(uri)}: its index was made with {other}, but this recipe's `near` has {signing}; use the same parameters, or another "
            "index"
        )


def open_index(uri: str, signing: Signing) -> Index:
    """Open an index. Raises `UserError` where there is none, or where it was made with other parameters than `signing`."""
    workdir, (found, bands) = open_parts(uri, INDEX, ("entries", "bands"))
    check_signing(uri, found, signing)
    return Index(workdir, found, bands, bands.configuration["buckets"])


@dataclass(frozen=True)
class Prior:
    """One partition of an index's entries, at its place among the ordinals."""

    workdir: Workdir
    dataset: str
    partition: Partition
    start: int


def place(indexes: Sequence[Index], documents: Manifest) -> tuple[tuple[int, ...], tuple[Prior, ...]]:
    """Number the documents of indexes below zero, before those of this run: `(starts, prior)`.

    `starts`: the ordinal of the first row of each partition, first those of the indexes, then those of `documents`. `prior`: the
    partitions of the indexes.
    """
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
class _Settings:
    signing: Signing
    buckets: int


def save_partition(workdir: Workdir, piece: Piece[_Settings]) -> Generator[File, None, Summary]:
    """One task: the entries and bands of those documents of a partition that stayed."""
    signing, buckets = piece.settings.signing, piece.settings.buckets
    left = remaining(workdir, piece.partition, piece.before)
    signed = workdir.read_table(SIGNATURES, piece.beside[SIGNATURES])
    place = np.searchsorted(signed["row"].to_numpy(), left.rows)
    signature = matrix(signed["signature"])[place]
    ends, sets = shingle_sets(left.texts, signing.width, signing.shingles)
    ids = workdir.read_table(DOCUMENTS, piece.partition, ["id"])["id"].take(left.rows)
    lists = pa.LargeListArray.from_arrays(pa.array(ends), pa.array(sets))
    table = pa.table({"row": left.rows.astype(np.int32), "id": ids, "signature": signature_column(signature), "shingles": lists})
    yield File(ENTRIES, f"{piece.name}.arrow", to_ipc(table.combine_chunks().to_batches(), table.schema), len(table))
    some = np.diff(ends) > 0
    hashes = band_hashes(signature[some], signing.bands, signing.rows).reshape(-1)
    owners = np.repeat(left.rows[some] + piece.start, signing.bands)
    raw = scatter({"hash": hashes, "ordinal": owners}, bucket_of(hashes, buckets), buckets)
    yield File(INDEX_BANDS, f"{piece.name}.arrow", raw, len(hashes))
    return {"documents": len(table)}


def index_stage(signing: Signing, signed: Manifest, documents: Manifest, verdicts: Sequence[Manifest]) -> Stage:
    """The stage that writes `index/near`."""
    buckets = buckets_for(documents.rows * signing.bands)
    starts = {f"{name}.arrow": start for name, start in documents.starts.items()}
    return per_partition(
        "near: save index",
        (ENTRIES, INDEX_BANDS),
        save_partition,
        documents,
        _Settings(signing, buckets),
        version=VERSION,
        beside=(signed,),
        before=verdicts,
        ordinals=True,
        configuration={"signing": asdict(signing), "buckets": buckets, "documents": documents.rows, "starts": starts},
    )

"""Spans of text that occur elsewhere, and the verdict that cuts them: what repeated lines and substrings have in common.

A *span file* (see `shuffle`) has one bucket for each partition of documents, and a row for each span to cut: the document's
ordinal, the bytes where it begins and ends in `documents/`, how often it occurs, and the ordinal of the first document that
has it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from kernel.fold import Folded, fold
from kernel.utf8 import Offsets
from pipeline.dedup.shuffle import Layout, gather
from pipeline.workdir.commit import Summary
from pipeline.workdir.cuts import Cuts, original, unite
from pipeline.workdir.dataset import Manifest, Workdir, to_parquet
from pipeline.workdir.documents import STATISTICS
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage
from pipeline.workdir.verdicts import cuts_of, kept, remaining, tally, verdict_dataset, verdict_table

VERSION = 1
Ordinals = npt.NDArray[np.int64]


class RepeatConfig(BaseModel):
    """Settings that repeated lines and repeated substrings share."""

    model_config = ConfigDict(extra="forbid")

    domains: list[str] | None = Field(None, description="Domains whose repeats are cut; null: all. Lines of code repeat for good reasons.")
    keep: int = Field(1, ge=0, description="How many occurrences stay, the first in corpus order; 0: none.")
    drop_share: float = Field(
        1.0, gt=0, le=1, description="A document is dropped, not cut, where this share of its bytes or more would be cut."
    )


def repeated(
    hashes: npt.NDArray[np.uint64], ordinal: Ordinals, begin: Ordinals, least: int, keep: int
) -> tuple[npt.NDArray[np.intp], Ordinals, Ordinals]:
    """The rows whose hash occurs at least `least` times, but for the first `keep` of each hash: `(rows, occurrences, first)`.

    `hashes` uint64, `ordinal` and `begin` int64: an entry a row; the order of the corpus is by `ordinal`, then `begin`. For each of
    `rows`, `occurrences` says how often its hash occurs, and `first` is the ordinal of the document that has it first.
    """
    order = np.lexsort((begin, ordinal, hashes))
    if not len(order):
        return order, np.zeros(0, np.int64), np.zeros(0, np.int64)
    value = hashes[order]
    first = np.ones(len(order), bool)
    first[1:] = value[1:] != value[:-1]
    starts = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    counts = np.diff(np.append(starts, len(order)))
    rank = np.arange(len(order)) - starts[group]
    chosen = (counts[group] >= least) & (rank >= keep)
    return order[chosen], counts[group[chosen]].astype(np.int64), ordinal[order][starts[group[chosen]]]


def span_file(layout: Layout, ordinal: Ordinals, begin: Ordinals, end: Ordinals, occurrences: Ordinals, first: Ordinals) -> pa.Buffer:
    """A span file of these spans; each array is int64 with an entry a span, as described above."""
    return layout.scatter({"ordinal": ordinal, "begin": begin, "end": end, "occurrences": occurrences, "first": first})


@dataclass(frozen=True)
class _Settings:
    name: str
    spans: str  # the dataset of span files
    drop_share: float


def cut_verdicts(workdir: Workdir, piece: Piece[_Settings]) -> Generator[File, None, Summary]:
    """One task: the verdicts of one partition. A document keeps what is not cut, or is dropped where too much would be."""
    settings = piece.settings
    statistics = workdir.read_table(STATISTICS, piece.partition, ["domain", "source", "bytes"])
    rows = statistics.num_rows
    looked_at = kept(workdir, piece.before, rows)
    sizes = np.asarray(statistics["bytes"], dtype=np.int64) - cuts_of(workdir, piece.before, rows).sizes
    spans = gather(workdir, settings.spans, piece.number, piece.pieces)
    details = np.full(rows, None, object)
    if spans is None or spans.num_rows == 0:
        cuts = unite(rows, *[np.zeros(0, np.int64)] * 3)
    else:
        local = spans["ordinal"].to_numpy() - piece.start
        begin, end = spans["begin"].to_numpy(), spans["end"].to_numpy()
        cuts = unite(rows, local, begin, end)
        order = np.lexsort((begin, begin - end, local))  # the longest span of each document, the first of equal ones
        for span in order[np.unique(local[order], return_index=True)[1]]:
            row = local[span]
            count = int(cuts.offsets[row + 1] - cuts.offsets[row])
            occurrences, first = spans["occurrences"][span].as_py(), spans["first"][span].as_py()
            elsewhere = f"in document {first}" if first != row + piece.start else "earlier in it"
            what = f"{count} span{'s' * (count > 1)} of {int(cuts.sizes[row]):,} bytes"
            details[row] = f"{what}; one occurs {occurrences:,} times, first {elsewhere}"
    cut = np.minimum(cuts.sizes, sizes)
    share = cut / np.maximum(1, sizes)
    dropped = (cut > 0) & (share >= settings.drop_share) & looked_at
    cuts = _without(cuts, dropped)
    touched = cut > 0
    verdict = verdict_table(
        rows,
        {
            "keep": pa.array(~dropped, mask=~looked_at),
            "rule": pa.array(np.where(dropped, settings.name, ""), pa.string(), mask=~dropped),
            "value": pa.array(share, mask=~touched),
            "limit": pa.array(np.full(rows, settings.drop_share), mask=~touched),
            "detail": pa.array(details.tolist(), pa.string()),
            "cuts": cuts.to_column(),
        },
    )
    yield File(verdict_dataset(settings.name), piece.name, to_parquet(verdict), rows)
    return tally(verdict, statistics, sizes=sizes)


def _without(cuts: Cuts, rows: npt.NDArray[np.bool_]) -> Cuts:
    """The cuts of the other rows alone."""
    owner = np.repeat(np.arange(cuts.documents), np.diff(cuts.offsets))
    left = ~rows[owner]
    return unite(cuts.documents, owner[left], cuts.begin[left], cuts.end[left])


def cut_verdict_stage(name: str, config: RepeatConfig, spans: Manifest, statistics: Manifest, before: Sequence[Manifest]) -> Stage:
    """The stage that writes `verdicts/NAME`."""
    return per_partition(
        name,
        (verdict_dataset(name),),
        cut_verdicts,
        statistics,
        _Settings(name, spans.dataset, config.drop_share),
        version=VERSION,
        before=before,
        ordinals=True,
        key=(name, config.drop_share, spans.content),
        configuration=config.model_dump(mode="json"),
        memory=512 << 20,
        unit="documents",
    )


@dataclass(frozen=True)
class Texts:
    """The texts of a partition in which repeats are looked for, as they are compared; their rows; and their earlier cuts."""

    folded: Folded
    rows: npt.NDArray[np.int64]
    cuts: Cuts

    def original(self, document: Ordinals, at: Offsets, *, is_end: bool = False) -> Offsets:
        """Byte positions in the texts of `documents/`, for positions `at` in the folds of documents `document`: int64, as `at`."""
        return original(self.cuts, document, self.folded.original(document, at, is_end=is_end), is_end=is_end)


def texts_of_domains(workdir: Workdir, piece: Piece[Any], domains: Sequence[str] | None) -> Texts:
    """The texts that earlier verdicts leave of a partition, of all domains or of those named. The stage has statistics/ beside it."""
    left = remaining(workdir, piece.partition, piece.before)
    texts, rows, cuts = left.texts, left.rows.astype(np.int64), left.cuts
    if domains is not None:
        column = workdir.read_table(STATISTICS, piece.beside[STATISTICS], ["domain"])["domain"].take(pa.array(rows))
        wanted = np.asarray(pc.is_in(column, value_set=pa.array(list(domains), pa.string())), dtype=bool)
        texts, rows, cuts = texts.filter(pa.array(wanted)), rows[wanted], cuts.take(np.flatnonzero(wanted))
    return Texts(fold(texts, words=True, traced=True), rows, cuts)


def text_bytes(documents: Manifest) -> int:
    """About how many bytes of text there are; the number of buckets follows from it."""
    return sum(counts["bytes"] for counts in documents.summary.get("domains", {}).values()) or documents.size

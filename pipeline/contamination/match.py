"""Where n-grams of evaluation sets occur in the documents, and which of them occur too often to be evidence."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kernel.utf8 import Offsets, utf8_view
from pipeline.contamination.index import NGRAMS
from pipeline.contamination.ngrams import NgramSet, find_ngrams, lines_around
from pipeline.workdir.commit import Summary
from pipeline.workdir.cuts import original
from pipeline.workdir.dataset import Partition, Workdir, to_ipc, to_parquet
from pipeline.workdir.stages import Piece
from pipeline.workdir.tasks import File
from pipeline.workdir.verdicts import remaining

MATCHES = "contamination/matches"
COMMON = "contamination/common"


@dataclass(frozen=True)
class Looking:
    """What is looked for: the table of n-grams, their length, and whether whole lines are judged."""

    ngrams: Partition
    by_line: bool
    ngram: int


def match_partition(workdir: Workdir, piece: Piece[Looking]) -> Generator[File, None, Summary]:
    """Map: every occurrence of an n-gram in the documents that are still kept."""
    looking = piece.settings
    index = workdir.read_table(NGRAMS, looking.ngrams, ["hash", "length"])
    lengths = np.unique(index["length"].to_numpy()).astype(np.int64)
    left = remaining(workdir, piece.partition, piece.before)
    found = find_ngrams(left.texts, NgramSet.of(index["hash"].to_numpy(), lengths))
    document = found.document.astype(np.int64)

    def place(at: Offsets, *, is_end: bool = False) -> Offsets:
        """Where bytes of the folds lie in the documents."""
        return original(left.cuts, document, found.folded.original(document, at, is_end=is_end), is_end=is_end)

    columns: dict[str, Any] = {
        "row": left.rows[document].astype(np.int32),
        "ngram": found.ngram,
        "begin": place(found.begin),
        "end": place(found.end, is_end=True),
    }
    if looking.by_line:
        begin, end, runs = lines_around(found, looking.ngram)
        columns["line_begin"], columns["line_end"] = place(begin), place(end, is_end=True)
        columns["line_ngrams"] = np.where(found.end <= end, runs, 0)  # 0: the n-gram goes on in the next line
    yield File(MATCHES, piece.name, to_parquet(pa.table(columns)), len(document))
    return {"matches": len(document), "bytes": int(utf8_view(left.texts)[0][-1])}


@dataclass(frozen=True)
class CommonWork:
    """What the one task that counts documents gets: n-grams in more than `most` of them are common."""

    most: int
    ngrams: int


def common_ngrams(workdir: Workdir, work: CommonWork) -> Generator[File, None, Summary]:
    """Reduce: the n-grams that occur in more documents than `CommonWork.most`."""
    documents = np.zeros(work.ngrams, np.int64)
    for _, table in workdir.tables(MATCHES, ["row", "ngram"]):
        pairs = np.unique(np.stack([table["ngram"].to_numpy(), table["row"].to_numpy()], axis=1), axis=0)
        documents += np.bincount(pairs[:, 0], minlength=work.ngrams)
    common = np.flatnonzero(documents > work.most).astype(np.int32)
    table = pa.table({"ngram": common, "documents": documents[common]})
    yield File(COMMON, "common.arrow", to_ipc(table.to_batches(), table.schema), len(common))
    return {"common": len(common)}

"""The n-grams of all evaluation sets, each once, and the items that have them: one small table that every later task maps."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.contamination.ngrams import count_words, ngram_hashes, ngrams_with_letters
from pipeline.contamination.sets import SetWork, items_of
from pipeline.readers import PassedOver, Record
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Workdir, to_ipc, to_parquet
from pipeline.workdir.errors import UserError
from pipeline.workdir.tasks import File

NGRAMS = "contamination/ngrams"
ITEMS = "contamination/items"
MOST_EXAMPLES = 20  # items that could not be read, told by name


@dataclass(frozen=True)
class IndexWork:
    """What the one task that makes the index gets."""

    sets: tuple[SetWork, ...]
    ngram: int
    shortest: int
    numbers: bool


def index_sets(workdir: Workdir, work: IndexWork) -> Generator[File, None, Summary]:
    """One task: the n-grams of all evaluation sets, each once, and the items that have them."""
    hashes: list[npt.NDArray[np.uint64]] = []
    owners: list[npt.NDArray[np.int64]] = []
    lengths: list[npt.NDArray[np.int64]] = []
    items: list[dict[str, Any]] = []
    summary: Summary = {"sets": {}}
    unreadable: list[str] = []
    for number, each in enumerate(work.sets):
        counts = {"items": 0, "too_short": 0, "ngrams": 0, "unreadable": 0}
        for column, record in items_of(each):
            if isinstance(record, PassedOver):
                continue
            if not isinstance(record, Record):
                counts["unreadable"] += 1
                if len(unreadable) < MOST_EXAMPLES:
                    unreadable.append(f"{record.location}: {record.error}")
                continue
            words = count_words(record.text)
            counts["items"] += 1
            if words < work.shortest:
                counts["too_short"] += 1
                continue
            found = ngram_hashes(record.text, work.ngram)
            if not work.numbers:
                found = found[ngrams_with_letters(record.text, work.ngram)]
            found = np.unique(found)
            counts["ngrams"] += len(found)
            hashes.append(found)
            owners.append(np.full(len(found), len(items)))
            lengths.append(np.full(len(found), min(words, work.ngram)))
            items.append({"set": number, "item": f"{record.id}, {column}" if column else record.id, "words": words})
        if counts["items"] == 0:
            why = f": {unreadable[0]}" if unreadable else ""
            raise UserError(f"contamination.sets: {each.name}: no item could be read from {each.place}{why}; correct its settings")
        summary["sets"][each.name] = counts
    none = np.zeros(0, np.int64)
    every = np.concatenate([none.astype(np.uint64), *hashes])
    distinct, first, inverse = np.unique(every, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    offsets = np.searchsorted(inverse[order], np.arange(len(distinct) + 1))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate([none, *owners])[order].astype(np.int32)))
    table = pa.table({"hash": distinct, "length": np.concatenate([none, *lengths])[first].astype(np.uint8), "items": lists})
    yield File(NGRAMS, "ngrams.arrow", to_ipc(table.to_batches(), table.schema), len(distinct))
    schema = pa.schema([("set", pa.int32()), ("item", pa.string()), ("words", pa.int64())])
    yield File(ITEMS, "items.parquet", to_parquet(pa.Table.from_pylist(items, schema=schema)), len(items))
    return summary

"""The n-grams of all evaluation sets, each once, and the items that have them: one small table that every later task maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipeline.contamination.ngrams import count_words, ngram_hashes, ngrams_with_letters
from pipeline.contamination.sets import SetWork, items_of
from pipeline.ingest.canonical import Ingesting
from pipeline.readers import PassedOver, Record
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Workdir, to_ipc, to_parquet
from pipeline.workdir.errors import UserError
from pipeline.workdir.tasks import File

NGRAMS = "contamination/ngrams"
ITEMS = "contamination/items"
U64 = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
MOST_EXAMPLES = 20  # items that could not be read, told by name


FEW, MANY = 5, 100  # items of a set that may always share an n-gram, and that never may, if it is to be evidence


@dataclass(frozen=True)
class IndexWork:
    """What the one task that makes the index gets: see `ContaminationConfig`; `ingesting`: what was done to the documents."""

    sets: tuple[SetWork, ...]
    ngram: int
    shortest: int
    numbers: bool
    instruction: float | None
    ingesting: Ingesting


class _Items:
    """The n-grams of the items of a set, an entry an n-gram of an item: its hash, the item's number in the set, its length in words."""

    def __init__(self) -> None:
        self.hashes: list[U64] = [np.zeros(0, np.uint64)]
        self.lengths: list[Integers] = [np.zeros(0, np.int64)]
        self.kinds: list[int] = []  # equal of items that read the same
        self.names: list[str] = []
        self.words: list[int] = []

    def add(self, name: str, forms: Sequence[str], work: IndexWork) -> bool:
        """Take the n-grams of an item, in each form in which it may stand in a document; false where all are too short."""
        words = [count_words(form) for form in forms]
        found, lengths = [], []
        for form, count in zip(forms, words, strict=True):
            if count < work.shortest:
                continue
            own = ngram_hashes(form, work.ngram)
            own = own if work.numbers else own[ngrams_with_letters(form, work.ngram)]
            found.append(own)
            lengths.append(np.full(len(own), min(count, work.ngram)))
        if not found:
            return False
        distinct, first = np.unique(np.concatenate(found), return_index=True)
        self.kinds.append(xxhash.xxh3_64_intdigest(np.unique(found[0]).tobytes()))
        self.hashes.append(distinct)
        self.lengths.append(np.concatenate(lengths)[first])
        self.names.append(name)
        self.words.append(words[0])
        return True

    def without_instructions(self, share: float | None, items: int) -> tuple[U64, Integers, Integers, int, int]:
        """Hashes, owners and lengths of the n-grams that are evidence; how many instructions were left out, and items with nothing else.

        `items`: how many items the set has, of one column. An item that stands in the set more than once counts once.
        """
        every, lengths = np.concatenate(self.hashes), np.concatenate(self.lengths)
        sizes = np.array([len(each) for each in self.hashes[1:]], np.int64)
        owners = np.repeat(np.arange(len(sizes)), sizes)
        _, kinds = np.unique(np.array(self.kinds, np.uint64), return_inverse=True)
        distinct, inverse = np.unique(every, return_inverse=True)
        pairs = np.unique(np.stack([inverse, kinds[owners]], axis=1), axis=0)
        counts = np.bincount(pairs[:, 0], minlength=len(distinct))
        most = len(sizes) if share is None else min(MANY, max(FEW, int(share * items)))
        kept = counts[inverse] <= most
        emptied = int(((np.bincount(owners[kept], minlength=len(sizes)) == 0) & (sizes > 0)).sum())
        return every[kept], owners[kept], lengths[kept], int((counts > most).sum()), emptied


def index_sets(workdir: Workdir, work: IndexWork) -> Generator[File, None, Summary]:
    """One task: the n-grams of all evaluation sets, each once, and the items that have them."""
    none = np.zeros(0, np.int64)
    hashes, owners, lengths = [none.astype(np.uint64)], [none], [none]
    items: list[dict[str, Any]] = []
    summary: Summary = {"sets": {}}
    for number, each in enumerate(work.sets):
        found, counts, of_a_column = _read(each, work)
        own, owner, length, shared, emptied = found.without_instructions(work.instruction, of_a_column)
        hashes.append(own)
        owners.append(owner + len(items))
        lengths.append(length)
        items += [{"set": number, "item": name, "words": words} for name, words in zip(found.names, found.words, strict=True)]
        summary["sets"][each.name] = {**counts, "ngrams": len(own), "instructions": shared, "instructions_alone": emptied}
    every = np.concatenate(hashes)
    distinct, first, inverse = np.unique(every, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    offsets = np.searchsorted(inverse[order], np.arange(len(distinct) + 1))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(owners)[order].astype(np.int32)))
    table = pa.table({"hash": distinct, "length": np.concatenate(lengths)[first].astype(np.uint8), "items": lists})
    yield File(NGRAMS, "ngrams.arrow", to_ipc(table.to_batches(), table.schema), len(distinct))
    schema = pa.schema([("set", pa.int32()), ("item", pa.string()), ("words", pa.int64())])
    yield File(ITEMS, "items.parquet", to_parquet(pa.Table.from_pylist(items, schema=schema)), len(items))
    return summary


def _read(each: SetWork, work: IndexWork) -> tuple[_Items, dict[str, int], int]:
    """The items of a set, its counts, and how many items it has of the column that has most. Raises `UserError` where it has none."""
    found = _Items()
    counts = {"items": 0, "too_short": 0, "unreadable": 0}
    columns: Counter[str] = Counter()
    unreadable: list[str] = []
    for column, record in items_of(each):
        if isinstance(record, PassedOver):
            continue
        if not isinstance(record, Record):
            counts["unreadable"] += 1
            if len(unreadable) < MOST_EXAMPLES:
                unreadable.append(f"{record.location}: {record.error}")
            continue
        columns[column] += 1
        counts["items"] += 1
        forms = work.ingesting.forms(record.text, from_markup=record.from_markup)
        counts["too_short"] += not found.add(f"{record.id}, {column}" if column else record.id, forms, work)
    if counts["items"] == 0:
        why = f": {unreadable[0]}" if unreadable else ""
        raise UserError(f"contamination.sets: {each.name}: no item could be read from {each.place}{why}; correct its settings")
    return found, counts, max(columns.values())

"""Substrings that occur elsewhere in the corpus, as cuts (Lee et al. 2022, arXiv 2107.06499: "exact substring", 50 tokens).

Tokens here are words (see `kernel.words`) of texts as they are compared (`kernel.fold`): what is cut does not depend on a tokenizer that
is yet to be trained.
Where Lee et al. build a suffix array of the whole corpus, ours finds the same repeats by hashes, in two rounds over hash
partitions, so that memory is bounded by the partition:

1. Winnowing (Schleimer et al. 2003) chooses about one in 14 of the runs of `words / 2` words, in such a way that two equal runs of
   `words` words hold the same chosen run. Chosen runs that occur once need no further work.
2. Around each chosen run that occurs again, every run of `words` words is hashed whole, and those whose hashes occur again are
   repeats. Hashes have 64 bits: with a billion candidates, one corpus in 40 has a false repeat.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from kernel.compile import kernel
from kernel.fold import Folded, text_of
from kernel.utf8 import Bytes, Offsets, tables
from kernel.words import shingles_of, word_spans, word_units
from pipeline.dedup.shuffle import Layout, bucket_of, buckets_for, gather, scatter
from pipeline.dedup.spans import RepeatConfig, cut_verdict_stage, repeated, span_file, text_bytes, texts_of_domains
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import Bucket, Piece, per_bucket, per_partition
from pipeline.workdir.tasks import File
from pipeline.workdir.verdicts import verdict_dataset

VERSION = 3
CHOSEN = "dedup/substring-chosen"
AROUND = "dedup/substring-around"
RUNS = "dedup/substring-runs"
SPANS = "dedup/substring-spans"
BYTES_A_CHOSEN = 64  # about how much text gives one chosen run; the number of buckets follows from it


class SubstringsConfig(RepeatConfig):
    """Repeated substrings."""

    words: int = Field(50, ge=8, le=4096, description="Fewest words of a repeat that is cut (Lee et al.: 50 tokens).")


@kernel
def _choose(hashes: npt.NDArray[np.uint64], count: int, window: int, out: Offsets) -> int:  # pragma: no cover - compiled
    """Winnowing: the places of the last smallest hash of every `window` consecutive ones; returns how many."""
    chosen = 0
    smallest = -1
    for last in range(window - 1, count):
        first = last - window + 1
        if smallest < first:
            smallest = first
            for place in range(first + 1, last + 1):
                if hashes[place] <= hashes[smallest]:
                    smallest = place
        elif hashes[last] <= hashes[smallest]:
            smallest = last
        if not chosen or out[chosen - 1] != smallest:
            out[chosen] = smallest
            chosen += 1
    return chosen


@kernel
def _choose_all(
    folded: Folded,
    room: int,
    classes: Bytes,
    lower: npt.NDArray[np.uint32],
    words: int,
    hashes: npt.NDArray[np.uint64],
    document: Offsets,
    place: Offsets,
) -> int:  # pragma: no cover - compiled
    units, runs, chosen = np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room, np.int64)
    size = 0
    half = words // 2
    for index in range(len(folded.changed)):
        data, at, end = text_of(folded, index)
        count = word_units(data, at, end, classes, lower, units)
        if count < words:
            continue
        count = shingles_of(units, count, half, runs)
        found = _choose(runs, count, words - half + 1, chosen)
        for number in range(found):
            hashes[size], document[size], place[size] = runs[chosen[number]], index, chosen[number]
            size += 1
    return size


@kernel
def _runs_around(
    folded: Folded,
    room: int,
    classes: Bytes,
    lower: npt.NDArray[np.uint32],
    words: int,
    first: Offsets,
    places: Offsets,
    hashes: npt.NDArray[np.uint64],
    document: Offsets,
    begins: Offsets,
    ends: Offsets,
) -> int:  # pragma: no cover - compiled
    """Every run of `words` words that holds one of a document's places: hash, document, bytes. The places are ascending."""
    units, runs = np.empty(room, np.uint64), np.empty(room, np.uint64)
    begin, end = np.empty(room, np.int64), np.empty(room, np.int64)
    size = 0
    half = words // 2
    for index in range(len(folded.changed)):
        if first[index] == first[index + 1]:
            continue
        data, at, stop = text_of(folded, index)
        count = word_spans(data, at, stop, classes, lower, units, begin, end)
        total = shingles_of(units, count, words, runs)
        done = 0
        for number in range(first[index], first[index + 1]):
            for start in range(max(done, places[number] + half - words), min(places[number], total - 1) + 1):
                hashes[size], document[size] = runs[start], index
                begins[size], ends[size] = begin[start], end[start + words - 1]
                size += 1
            done = max(done, places[number] + 1)
    return size


@dataclass(frozen=True)
class _Mapping:
    config: SubstringsConfig
    buckets: int


@dataclass(frozen=True)
class _Reducing:
    layout: Layout
    keep: int


def choose_runs(workdir: Workdir, piece: Piece[_Mapping]) -> Generator[File, None, Summary]:
    """Map 1: the chosen runs of each document, scattered by hash."""
    config, buckets = piece.settings.config, piece.settings.buckets
    texts = texts_of_domains(workdir, piece, config.domains)
    folded, rows = texts.folded, texts.rows
    most = int(folded.sizes.sum()) // 2 + 2 * len(rows) + 2
    hashes = np.empty(most, np.uint64)
    document, place = np.empty(most, np.int64), np.empty(most, np.int64)
    count = _choose_all(folded, folded.most_words, *tables(), config.words, hashes, document, place)
    hashes, ordinal = hashes[:count].copy(), rows[document[:count]] + piece.start
    columns = {"hash": hashes, "ordinal": ordinal, "place": place[:count].astype(np.uint32)}
    yield File(CHOSEN, f"{piece.name}.arrow", scatter(columns, bucket_of(hashes, buckets), buckets), count)
    return {"chosen": count}


def repeated_places(workdir: Workdir, bucket: Bucket[_Reducing]) -> Generator[File, None, Summary]:
    """Reduce 1: the places of the chosen runs that occur again, scattered over the partitions of documents."""
    table = gather(workdir, CHOSEN, bucket.number, bucket.buckets)
    assert table is not None, "there is a file for each partition of documents"
    ordinal, place = table["ordinal"].to_numpy(), table["place"].to_numpy()
    rows, _, _ = repeated(table["hash"].to_numpy(), ordinal, place.astype(np.int64), 2, 0)
    raw = bucket.settings.layout.scatter({"ordinal": ordinal[rows], "place": place[rows]})
    yield File(AROUND, f"{bucket.name}.arrow", raw, len(rows))
    return {"places": len(rows)}


def runs_around(workdir: Workdir, piece: Piece[_Mapping]) -> Generator[File, None, Summary]:
    """Map 2: every run of `words` words around the places of reduce 1, scattered by hash."""
    config, buckets = piece.settings.config, piece.settings.buckets
    found = gather(workdir, AROUND, piece.number, piece.pieces)
    ordinal = np.zeros(0, np.int64) if found is None else found["ordinal"].to_numpy()
    place = np.zeros(0, np.int64) if found is None else found["place"].to_numpy().astype(np.int64)
    if not len(ordinal):
        none = np.zeros(0, np.int64)
        columns = {"hash": none.astype(np.uint64), "ordinal": none, "begin": none, "end": none}
        yield File(RUNS, f"{piece.name}.arrow", scatter(columns, none, buckets), 0)
        return {"runs": 0}
    texts = texts_of_domains(workdir, piece, config.domains)
    folded, rows = texts.folded, texts.rows
    order = np.lexsort((place, ordinal))
    index, place = np.searchsorted(rows, ordinal[order] - piece.start), place[order]
    first = np.searchsorted(index, np.arange(len(rows) + 1))
    most = len(place) * (config.words - config.words // 2 + 1)
    hashes = np.empty(most, np.uint64)
    document, begin, end = (np.empty(most, np.int64) for _ in range(3))
    count = _runs_around(folded, folded.most_words, *tables(), config.words, first, place, hashes, document, begin, end)
    hashes, document = hashes[:count].copy(), document[:count]
    columns = {
        "hash": hashes,
        "ordinal": rows[document] + piece.start,
        "begin": texts.original(document, begin[:count]),
        "end": texts.original(document, end[:count], is_end=True),
    }
    yield File(RUNS, f"{piece.name}.arrow", scatter(columns, bucket_of(hashes, buckets), buckets), count)
    return {"runs": count}


def repeated_runs(workdir: Workdir, bucket: Bucket[_Reducing]) -> Generator[File, None, Summary]:
    """Reduce 2: the spans of the runs that are repeated, all but the first occurrences."""
    table = gather(workdir, RUNS, bucket.number, bucket.buckets)
    assert table is not None, "there is a file for each partition of documents"
    ordinal, begin, end = (table[name].to_numpy() for name in ("ordinal", "begin", "end"))
    rows, occurrences, first = repeated(table["hash"].to_numpy(), ordinal, begin, 2, bucket.settings.keep)
    raw = span_file(bucket.settings.layout, ordinal[rows], begin[rows], end[rows], occurrences, first)
    yield File(SPANS, f"{bucket.name}.arrow", raw, len(rows))
    return {"spans": len(rows)}


def repeated_substrings_as_cuts(
    engine: Engine, config: SubstringsConfig, documents: Manifest, statistics: Manifest, before: Sequence[Manifest]
) -> Manifest:
    """Run all stages; returns `verdicts/substrings`."""
    reducing = _Reducing(Layout.of(documents), config.keep)

    def mapped(name: str, dataset: str, function: Any, buckets: int, around: str, memory: int) -> Manifest:
        stage = per_partition(
            f"substrings: {name}",
            (dataset,),
            function,
            documents,
            _Mapping(config, buckets),
            version=VERSION,
            beside=(statistics,),
            before=before,
            ordinals=True,
            key=(config.words, config.domains, buckets, around),
            memory=memory,
        )
        return engine.run(stage).manifests[dataset]

    def reduced(name: str, dataset: str, function: Any, buckets: int, source: Manifest) -> Manifest:
        stage = per_bucket(f"substrings: {name}", (dataset,), function, buckets, reducing, version=VERSION, inputs=(source,))
        return engine.run(stage).manifests[dataset]

    buckets = buckets_for(text_bytes(documents) // BYTES_A_CHOSEN)
    chosen = mapped("choose", CHOSEN, choose_runs, buckets, "", 1 << 30)
    around = reduced("again", AROUND, repeated_places, buckets, chosen)
    buckets = buckets_for(around.summary["places"] * (config.words // 4))
    runs = mapped("runs", RUNS, runs_around, buckets, around.content, 2 << 30)
    spans = reduced("repeats", SPANS, repeated_runs, buckets, runs)
    return engine.run(cut_verdict_stage("substrings", config, spans, statistics, before)).manifests[verdict_dataset("substrings")]

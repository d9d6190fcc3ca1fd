"""Substrings that occur elsewhere in the corpus, as cuts (Lee et al. 2022, arXiv 2107.06499: "exact substring", 50 tokens).

Tokens here are words (see `kernel.words`): what is cut does not depend on a tokenizer that is yet to be trained.
Where Lee et al. build a suffix array of the whole corpus, ours finds the same repeats by hashes, in two rounds over hash
partitions, so that memory is bounded by the partition:

1. Winnowing (Schleimer et al. 2003) chooses about one run of `words / 2` words in 14 so that two equal runs of `words` words
   hold the same chosen one. Those that occur once are done with.
2. Around each that occurs again, every run of `words` words is hashed whole, and those hashes that occur again are repeats.
   64-bit hashes: of a billion candidates, one in 40 corpora has a false one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from kernel.compile import kernel
from kernel.utf8 import Bytes, Offsets, tables
from kernel.words import most_units, shingles_of, word_spans, word_units
from pipeline.dedup.shuffle import bucket_of, buckets_for, gather, scatter
from pipeline.dedup.spans import RepeatConfig, Texts, cut_verdict_stage, repeated, span_file, text_bytes, texts_of_domains
from pipeline.dedup.verdict import scatter_groups
from pipeline.workdir.cuts import original
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint
from pipeline.workdir.engine import Engine, File, Stage, Summary, Task
from pipeline.workdir.verdicts import VerdictEntry, checksums, entries, verdict_dataset

VERSION = 1
CHOSEN = "dedup/substring-chosen"
AROUND = "dedup/substring-around"
RUNS = "dedup/substring-runs"
SPANS = "dedup/substring-spans"
BYTES_A_CHOSEN = 64  # bytes of text for one chosen run, about: for the number of buckets


class SubstringsConfig(RepeatConfig):
    """Repeated substrings."""

    words: int = Field(50, ge=8, le=4096, description="Length in words from which a repeat is cut (Lee et al.: 50 tokens).")


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
    offsets: Offsets,
    data: Bytes,
    classes: Bytes,
    lower: npt.NDArray[np.uint32],
    words: int,
    hashes: npt.NDArray[np.uint64],
    document: Offsets,
    place: Offsets,
) -> int:  # pragma: no cover - compiled
    room = most_units(offsets, True)
    units, runs, chosen = np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room, np.int64)
    size = 0
    half = words // 2
    for index in range(len(offsets) - 1):
        count = word_units(data, offsets[index], offsets[index + 1], classes, lower, units)
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
    offsets: Offsets,
    data: Bytes,
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
    room = most_units(offsets, True)
    units, runs = np.empty(room, np.uint64), np.empty(room, np.uint64)
    begin, end = np.empty(room, np.int64), np.empty(room, np.int64)
    size = 0
    half = words // 2
    for index in range(len(offsets) - 1):
        if first[index] == first[index + 1]:
            continue
        count = word_spans(data, offsets[index], offsets[index + 1], classes, lower, units, begin, end)
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
class _MapWork:
    partition: Partition
    statistics: Partition
    start: int
    before: tuple[VerdictEntry, ...]
    config: SubstringsConfig
    buckets: int
    around: Manifest | None = None
    place: int = 0
    places: int = 0


def _texts(workdir: Workdir, work: _MapWork) -> Texts:
    return texts_of_domains(workdir, work.partition, work.statistics, work.before, work.config.domains)


def choose_runs(workdir: Workdir, work: _MapWork) -> Generator[File, None, Summary]:
    """Map 1: the chosen runs of each document, scattered by hash."""
    texts = _texts(workdir, work)
    offsets, data, rows = texts.offsets, texts.data, texts.rows
    most = int(offsets[-1] - offsets[0]) // 2 + 2 * len(offsets)
    hashes = np.empty(most, np.uint64)
    document, place = np.empty(most, np.int64), np.empty(most, np.int64)
    count = _choose_all(offsets, data, *tables(), work.config.words, hashes, document, place)
    hashes, ordinal = hashes[:count].copy(), rows[document[:count]] + work.start
    columns = {"hash": hashes, "ordinal": ordinal, "place": place[:count].astype(np.uint32)}
    yield File(CHOSEN, f"{work.partition.name}.arrow", scatter(columns, bucket_of(hashes, work.buckets), work.buckets), count)
    return {"chosen": count}


@dataclass(frozen=True)
class _ReduceWork:
    source: Manifest
    bucket: int
    buckets: int
    documents: Manifest
    keep: int


def repeated_places(workdir: Workdir, work: _ReduceWork) -> Generator[File, None, Summary]:
    """Reduce 1: the places of the chosen runs that occur again, scattered over the partitions of documents."""
    table = gather(workdir, work.source, work.bucket, work.buckets)
    assert table is not None, "there is a file for each partition of documents"
    ordinal, place = table["ordinal"].to_numpy(), table["place"].to_numpy()
    rows, _, _ = repeated(table["hash"].to_numpy(), ordinal, place.astype(np.int64), 2, 0)
    raw = scatter_groups({"ordinal": ordinal[rows], "place": place[rows]}, work.documents)
    yield File(AROUND, f"{work.bucket:05d}.arrow", raw, len(rows))
    return {"places": len(rows)}


def runs_around(workdir: Workdir, work: _MapWork) -> Generator[File, None, Summary]:
    """Map 2: every run of `words` words around those places, scattered by hash."""
    assert work.around is not None, "given by the stage"
    found = gather(workdir, work.around, work.place, work.places)
    ordinal = np.zeros(0, np.int64) if found is None else found["ordinal"].to_numpy()
    place = np.zeros(0, np.int64) if found is None else found["place"].to_numpy().astype(np.int64)
    if not len(ordinal):
        none = np.zeros(0, np.int64)
        columns = {"hash": none.astype(np.uint64), "ordinal": none, "begin": none, "end": none}
        yield File(RUNS, f"{work.partition.name}.arrow", scatter(columns, none, work.buckets), 0)
        return {"runs": 0}
    texts = _texts(workdir, work)
    offsets, data, rows, cuts = texts.offsets, texts.data, texts.rows, texts.cuts
    order = np.lexsort((place, ordinal))
    index, place = np.searchsorted(rows, ordinal[order] - work.start), place[order]
    first = np.searchsorted(index, np.arange(len(offsets)))
    most = len(place) * (work.config.words - work.config.words // 2 + 1)
    hashes = np.empty(most, np.uint64)
    document, begin, end = (np.empty(most, np.int64) for _ in range(3))
    count = _runs_around(offsets, data, *tables(), work.config.words, first, place, hashes, document, begin, end)
    hashes, document = hashes[:count].copy(), document[:count]
    columns = {
        "hash": hashes,
        "ordinal": rows[document] + work.start,
        "begin": original(cuts, document, begin[:count]),
        "end": original(cuts, document, end[:count], is_end=True),
    }
    yield File(RUNS, f"{work.partition.name}.arrow", scatter(columns, bucket_of(hashes, work.buckets), work.buckets), count)
    return {"runs": count}


def repeated_runs(workdir: Workdir, work: _ReduceWork) -> Generator[File, None, Summary]:
    """Reduce 2: the spans of the runs that are repeated, all but the first occurrences."""
    table = gather(workdir, work.source, work.bucket, work.buckets)
    assert table is not None, "there is a file for each partition of documents"
    ordinal, begin, end = (table[name].to_numpy() for name in ("ordinal", "begin", "end"))
    rows, occurrences, first = repeated(table["hash"].to_numpy(), ordinal, begin, 2, work.keep)
    raw = span_file(work.documents, ordinal[rows], begin[rows], end[rows], occurrences, first)
    yield File(SPANS, f"{work.bucket:05d}.arrow", raw, len(rows))
    return {"spans": len(rows)}


def repeated_substrings_as_cuts(
    engine: Engine, config: SubstringsConfig, documents: Manifest, statistics: Manifest, before: Sequence[Manifest]
) -> Manifest:
    """Run all stages; returns `verdicts/substrings`."""
    layout = list(documents.starts.items())

    def mapped(buckets: int, around: Manifest | None) -> tuple[Task, ...]:
        tasks = []
        for number, partition in enumerate(documents.partitions):
            start, entry = documents.starts[partition.name], statistics.by_name[partition.name]
            shape = (config.words, config.domains, buckets, number if around else 0, around.content if around else "")
            key = fingerprint(VERSION, shape, partition.checksum, entry.checksum, start, checksums(before, partition.name))
            verdicts = entries(before, partition.name)
            work = _MapWork(partition, entry, start, verdicts, config, buckets, around, number, len(documents.partitions))
            tasks.append(Task(partition.name, key, work, partition.bytes))
        return tuple(tasks)

    def reduced(source: Manifest, buckets: int) -> tuple[Task, ...]:
        return tuple(
            Task(
                f"{bucket:05d}",
                fingerprint(VERSION, source.content, bucket, config.keep, layout),
                _ReduceWork(source, bucket, buckets, documents, config.keep),
            )
            for bucket in range(buckets)
        )

    buckets = buckets_for(text_bytes(documents) // BYTES_A_CHOSEN)
    chosen = engine.run(Stage("substrings: choose", (CHOSEN,), choose_runs, mapped(buckets, None), memory=1 << 30)).manifests[CHOSEN]
    stage = Stage("substrings: again", (AROUND,), repeated_places, reduced(chosen, buckets), memory=1 << 30, unit="buckets")
    around = engine.run(stage).manifests[AROUND]
    buckets = buckets_for(around.summary["places"] * (config.words // 4))
    runs = engine.run(Stage("substrings: runs", (RUNS,), runs_around, mapped(buckets, around), memory=2 << 30)).manifests[RUNS]
    stage = Stage("substrings: repeats", (SPANS,), repeated_runs, reduced(runs, buckets), memory=1 << 30, unit="buckets")
    spans = engine.run(stage).manifests[SPANS]
    return engine.run(cut_verdict_stage("substrings", config, spans, documents, statistics, before)).manifests[
        verdict_dataset("substrings")
    ]

"""The tokenizer: pre-tokens of the first phase's mix are counted by all workers, merges learnt from the counts.

Three stages. *Count*: a task reads one partition of documents and writes its pre-tokens with their counts, scattered over
buckets by hash; where there are too many different ones to hold, it writes what it has and goes on. *Merge*: a task adds up one
bucket of all partitions, in 64 bits, and leaves out words that are too rare. *Learn*: one task reads what is left, learns the
merges, proves the fast engine and writes the artifact. Memory is bounded by a partition in the first, a bucket in the second,
and `max_words` in the third.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import tokenizer
from kernel.utf8 import utf8_view
from pipeline.dedup.shuffle import bucket_of, buckets_for, gather, scatter
from pipeline.mix.config import MixConfig, PhaseMix
from pipeline.mix.draw import Drawn, Pass, Wanted, draw, times_taken
from pipeline.mix.plan import plan_phase
from pipeline.mix.quality import groups_of
from pipeline.mix.split import SPLIT, trainable
from pipeline.mix.tokens import TOKENIZER, cut_texts
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint, to_ipc
from pipeline.workdir.documents import DOCUMENTS
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import Bucket, Piece, per_bucket, per_partition
from pipeline.workdir.tasks import File, Stage, Task, chunks_by_size
from tokenizer import TokenizerConfig
from tokenizer.count import WORDS, Counter, merge_counts
from tokenizer.train import train_from_counts

VERSION = 8
COUNTED, MERGED = "words/counted", "words/merged"
SPILL = 1 << 21  # about the most different pre-tokens that a counting task holds (200 MB)
_LONG = 32  # mean bytes of a word for which the memory of `max_words` words is meant
_BATCH = 16 << 20  # bytes of text that are counted before the next look at how many pre-tokens are held
_BYTES_A_ROW = 100  # of text, for one row of counts: a low estimate, from web text in partitions of 256 MB
_EXACT = 1024  # counts below this are counted one by one in the histogram, those above by powers of two
_PASS = "mix"  # the only one that is drawn for it
_LIST = pa.large_list(pa.field("item", pa.uint8(), nullable=False))


@dataclass(frozen=True)
class _Mix:
    """Which documents are trained on, and how often: those that were drawn, by bytes."""

    named: tuple[str, ...]  # what the phase's mix names
    drawn: Drawn


@dataclass(frozen=True)
class _Counting:
    mix: _Mix
    config: TokenizerConfig
    buckets: int


@dataclass(frozen=True)
class _LearnWork:
    config: TokenizerConfig
    least: int  # count of the rarest word that is learnt from
    made_from: dict[str, Any]


# --- the mix ---------------------------------------------------------------------------------------------------------


def _mixed(workdir: Workdir, mix: _Mix, partition: Partition, entry: Partition, start: int) -> tuple[Any, npt.NDArray[np.int64]]:
    """Texts of a partition that are trained on, and how often each is. `start`: the ordinal of its first row."""
    split = workdir.read_table(SPLIT, entry, ["domain", "source", "cuts"])
    groups = groups_of(split["domain"].to_pylist(), split["source"].to_pylist(), mix.named)
    drawn = mix.drawn.manifest.by_name[partition.name]
    repeats, _ = times_taken(workdir, mix.drawn, drawn, start, groups, _PASS)
    rows = np.flatnonzero(repeats)
    return cut_texts(workdir, partition, split["cuts"], rows), repeats[rows]


# --- count -----------------------------------------------------------------------------------------------------------


def _scattered(counter: Counter, buckets: int) -> tuple[pa.Buffer, int]:
    table, hashes = counter.take()
    words = table["word"].chunk(0) if table.num_rows else pa.array([], pa.large_binary())
    _, offsets, data = words.buffers()
    size = len(data) if data is not None else 0
    values = pa.Array.from_buffers(pa.uint8(), size, [None, data if data is not None else pa.py_buffer(b"")])
    starts = pa.Array.from_buffers(pa.int64(), len(words) + 1, [None, offsets]) if len(words) else pa.array([0], pa.int64())
    lists = pa.LargeListArray.from_arrays(starts, values, type=_LIST)
    columns = {"word": lists, "count": table["count"].to_numpy()}
    return scatter(columns, bucket_of(hashes, buckets), buckets), table.num_rows


def count_partition(workdir: Workdir, piece: Piece[_Counting]) -> Generator[File, None, Summary]:
    """One task: pre-tokens of a partition with their counts, in as many scattered files as memory asks for."""
    texts, repeats = _mixed(workdir, piece.settings.mix, piece.partition, piece.beside[SPLIT], piece.start)
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    sizes = np.diff(utf8_view(array)[0])
    counter, buckets = Counter(piece.settings.config), piece.settings.buckets
    counted, files = 0, 0
    for rows in chunks_by_size(sizes.tolist(), _BATCH):
        counted += counter.add(array.slice(rows.start, len(rows)), repeats[rows.start : rows.stop])
        if len(counter) >= SPILL:
            content, found = _scattered(counter, buckets)
            yield File(COUNTED, f"{piece.name}-{files:04d}.arrow", content, found)
            files += 1
    content, found = _scattered(counter, buckets)
    yield File(COUNTED, f"{piece.name}-{files:04d}.arrow", content, found)
    return {"documents": int(repeats.sum()), "bytes": counted}


# --- merge -----------------------------------------------------------------------------------------------------------


def _level(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each count, or the power of two below it where it is large."""
    large = 1 << np.floor(np.log2(np.maximum(counts, 1).astype(np.float64))).astype(np.int64)
    return np.where(counts < _EXACT, counts, np.minimum(large, counts))


def _as_words(batch: pa.RecordBatch) -> pa.Table:
    """A scattered batch, whose words are lists of bytes, as `WORDS`; not copied."""
    if not batch.num_rows:
        return WORDS.empty_table()
    lists = batch["word"]
    buffers = [None, lists.buffers()[1], lists.values.buffers()[1]]
    return pa.table(
        [pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(lists), buffers, offset=lists.offset), batch["count"]], schema=WORDS
    )


def merge_bucket(workdir: Workdir, bucket: Bucket[int]) -> Generator[File, None, Summary]:
    """One task: counts of one bucket's words added up over all partitions, without the rare ones."""
    least = bucket.settings
    table = gather(workdir, COUNTED, bucket.number, bucket.buckets)
    words = merge_counts(pa.concat_tables([WORDS.empty_table(), *map(_as_words, table.to_batches() if table is not None else [])]))
    counts = words["count"].to_numpy()
    kept = words.filter(pa.array(counts >= least)).combine_chunks()
    yield File(MERGED, f"{bucket.name}.arrow", to_ipc(kept.to_batches(), WORDS), kept.num_rows)
    levels, place, numbers = np.unique(_level(kept["count"].to_numpy()), return_inverse=True, return_counts=True)
    sizes = np.bincount(place, pc.binary_length(kept["word"]).to_numpy(zero_copy_only=False), len(levels)).astype(np.int64)
    return {
        "words": int(counts.sum()),
        "different_words": len(counts),
        "rare_words": int(counts[counts < least].sum()),
        "levels": {str(level): int(number) for level, number in zip(levels, numbers, strict=True)},
        "level_bytes": {str(level): int(size) for level, size in zip(levels, sizes, strict=True)},
    }


def cut_at(levels: dict[str, int], most: int) -> int:
    """The least count at which no more than `most` words are left; `levels` says how many words (or bytes) have each count."""
    top = max(map(int, levels), default=0)
    left, least = 0, top + 1 if top < _EXACT else 2 * top
    for level in sorted(map(int, levels), reverse=True):
        if left + levels[str(level)] > most:
            return least
        left += levels[str(level)]
        least = level
    return 1


# --- learn -----------------------------------------------------------------------------------------------------------


def _written(trained: Any, uses: Any, work: _LearnWork, made_from: dict[str, Any]) -> Generator[File, None, Summary]:
    with tempfile.TemporaryDirectory() as folder:
        plan = tokenizer.write(trained, work.config, Path(folder), made_from, uses)
        for path in sorted(Path(folder).iterdir()):
            yield File(TOKENIZER, path.name, path.read_bytes(), 0)
    return {"documents": made_from["documents"], "bytes": made_from["bytes"], "learned": plan.learned, "unused": len(plan.unused)}


def learn_tokenizer(workdir: Workdir, work: _LearnWork) -> Generator[File, None, Summary]:
    """One task: merges from the merged counts, and the artifact."""
    tables = []
    for _, table in workdir.tables(MERGED):
        tables.append(table.filter(pa.array(table["count"].to_numpy() >= work.least)) if work.least > 1 else table)
    words = pa.concat_tables(tables) if tables else WORDS.empty_table()
    learnt = {"learnt_from_words": int(pc.sum(words["count"]).as_py() or 0), "learnt_from_different_words": words.num_rows}
    return (yield from _written(*train_from_counts(words, work.config), work, {**work.made_from, **learnt}))


@dataclass(frozen=True)
class _LibraryWork:
    mix: _Mix
    learn: _LearnWork


def train_by_library(workdir: Workdir, work: _LibraryWork) -> Generator[File, None, Summary]:
    """One task: the trainer of the tokenizers library over all texts, one partition in memory at a time."""
    documents, seen = workdir.require(DOCUMENTS), {"documents": 0, "bytes": 0}

    def texts() -> Iterator[str]:
        for entry in workdir.require(SPLIT).partitions:
            found, repeats = _mixed(workdir, work.mix, documents.by_name[entry.name], entry, documents.starts[entry.name])
            for text, times in zip(found, repeats, strict=True):
                value = text.as_py()
                seen["documents"] += int(times)
                seen["bytes"] += int(times) * len(value.encode())
                for _ in range(int(times)):
                    yield value

    trained = tokenizer.train(texts(), work.learn.config)
    return (yield from _written(trained, None, work.learn, {**work.learn.made_from, **seen}))


# --- all of it -------------------------------------------------------------------------------------------------------


def make_tokenizer(
    engine: Engine, config: TokenizerConfig, seed: int, phase: str, mix: PhaseMix, mixing: MixConfig, documents: Manifest, split: Manifest
) -> Manifest:
    """Run all stages; returns the tokenizer of the mix of `phase`, whose shares are of bytes.

    Raises `UserError` for a mix that the corpus cannot give, and `TokenizerError` where the tokenizer cannot be made.
    """
    plan = plan_phase(phase, mix, mixing, trainable(split, "bytes"), unit="bytes")
    size = sum(group.wanted for group in plan)
    share = 1.0 if config.sample_bytes is None else min(1.0, config.sample_bytes / max(1, size))
    groups = {group.group: Wanted(group.epochs * share, round(group.wanted * share)) for group in plan}
    one = Pass("tokenizer mix", mix.named, groups)
    which = _Mix(mix.named, draw(engine, "tokenizer", "words", seed, {_PASS: one}, documents, split, (), "bytes"))
    chosen = seed, one, which.drawn.last
    settings = config.model_dump(mode="json")
    made_from: dict[str, Any] = {"phase": phase, "corpus": split.content, "recipe": fingerprint(VERSION, config, phase, chosen)}
    if config.method == "huggingface":
        key = fingerprint(VERSION, config, chosen, split.content)
        work = _LibraryWork(which, _LearnWork(config, 1, made_from))
        task = Task("tokenizer", key, work, max(1, int(size * share)))
        return engine.run(Stage("tokenizer", (TOKENIZER,), train_by_library, (task,), settings, memory=3 << 30)).manifests[TOKENIZER]
    buckets = buckets_for(int(size * share) // _BYTES_A_ROW)
    cut = {name: settings[name] for name in ("pretokenizer", "digits", "marks", "space_runs", "add_prefix_space")}
    largest = max((partition.bytes for partition in documents.partitions), default=0)
    count = per_partition(
        "tokenizer: count",
        (COUNTED,),
        count_partition,
        documents,
        _Counting(which, config, buckets),
        version=VERSION,
        beside=(split, which.drawn.manifest),
        ordinals=which.drawn.by_place,
        key=(cut, chosen, buckets),
        configuration=cut,
        memory=(512 << 20) + 8 * largest,
    )
    counted = engine.run(count).manifests[COUNTED]
    merge = per_bucket(
        "tokenizer: merge",
        (MERGED,),
        merge_bucket,
        buckets,
        config.min_word_count,
        version=VERSION,
        inputs=(counted,),
        configuration={"buckets": buckets, "min_word_count": config.min_word_count},
        memory=(256 << 20) + 6 * counted.size // buckets,
    )
    merged = engine.run(merge).manifests[MERGED]
    summary = merged.summary
    sizes = summary["level_bytes"]
    least = max(config.min_word_count, cut_at(summary["levels"], config.max_words), cut_at(sizes, _LONG * config.max_words))
    kept_bytes = sum(size for level, size in sizes.items() if int(level) >= least)
    made_from |= {name: counted.summary[name] for name in ("documents", "bytes")}
    made_from |= {"words": summary["words"], "different_words": summary["different_words"], "words_cut_below_count": least}
    key = fingerprint(VERSION, config, merged.content, least, made_from)
    memory = (1 << 30) + 32 * kept_bytes + 64 * min(merged.rows, config.max_words)
    task = Task("tokenizer", key, _LearnWork(config, least, made_from), 1)
    return engine.run(Stage("tokenizer", (TOKENIZER,), learn_tokenizer, (task,), settings, memory=memory, unit="tokenizers")).manifests[
        TOKENIZER
    ]

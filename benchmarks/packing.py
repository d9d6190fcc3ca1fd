"""Packing: how full rows are, and how fast documents become shards.

    python -m benchmarks.packing [--quick] [--texts FILE.jsonl[.zst]]

Documents are those of the demo corpus, and of the file given. Beside ours, the way that ModernBERT's training packed on line,
restated from its description: sequences of at most L tokens come in random order into a buffer of five for each row of a
micro-batch of 96 rows (at 1024; 12 at 8192), and each goes into the fullest row that has room for it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

import tokenizer
from benchmarks.planted import demo_texts, read_texts
from benchmarks.results_file import Row, show, write
from pipeline.mix.plan import PLAN
from pipeline.mix.split import SPLIT
from pipeline.mix.tokens import TOKENIZER, tokenize_stage
from pipeline.pack.stage import PackConfig, pack_stage
from pipeline.shards import ShardInfo
from pipeline.workdir.commit import Ledger
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENT_SCHEMA, DOCUMENTS
from pipeline.workdir.tasks import Stage, execute
from tokenizer import TokenizerConfig

PART_BYTES = 32_000_000


def run_here(workdir: Workdir, stage: Stage) -> tuple[Manifest, float]:
    """A stage's tasks one after the other in this process: its first manifest, and seconds."""
    begin = time.perf_counter()
    ledger = Ledger(workdir, stage.datasets)
    records = [execute(ledger, "", stage.function, task) for task in stage.tasks]
    seconds = time.perf_counter() - begin
    partitions: list[Partition] = []
    summary: dict[str, Any] = {}
    for record in records:
        partitions += record.outputs.get(stage.datasets[0], [])
        for name, value in record.summary.items():
            if not isinstance(value, dict):
                summary[name] = summary.get(name, 0) + value
    return Manifest(stage.datasets[0], stage.name, "benchmark", tuple(sorted(partitions, key=lambda p: p.name)), {}, summary), seconds


def prepare(workdir: Workdir, texts: list[str]) -> tuple[Manifest, Manifest, Manifest, Manifest]:
    """Documents, a split and a plan that take each once, and a tokenizer trained on some of them."""
    parts: dict[str, list[Partition]] = {DOCUMENTS: [], SPLIT: [], PLAN: []}
    begin = 0
    while begin < len(texts):
        end, size = begin, 0
        while end < len(texts) and size < PART_BYTES:
            size += len(texts[end].encode())
            end += 1
        rows = end - begin
        columns: dict[str, Any] = {
            "id": [str(n) for n in range(begin, end)],
            "text": texts[begin:end],
            "domain": ["web"] * rows,
            "source": ["b"] * rows,
        }
        document = pa.table(
            [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(rows, f.type) for f in DOCUMENT_SCHEMA],
            schema=DOCUMENT_SCHEMA,
        )
        split = pa.table(
            {
                "domain": columns["domain"],
                "split": ["train"] * rows,
                "source": ["b"] * rows,
                "cuts": pa.nulls(rows, pa.list_(pa.struct([("begin", pa.int64()), ("end", pa.int64())]))),
            }
        )
        plan = pa.table({"domain": columns["domain"], "split": ["train"] * rows, "repeats_main": pa.array(np.ones(rows, np.uint16))})
        name = f"part-{len(parts[DOCUMENTS]):05d}.parquet"
        for dataset, table in ((DOCUMENTS, document), (SPLIT, split), (PLAN, plan)):
            raw = to_parquet(table)
            workdir.write(raw, dataset, name)
            parts[dataset].append(Partition(name, rows, raw.size, xxhash.xxh3_128_hexdigest(raw)))
        begin = end
    config = TokenizerConfig(vocab_size=32_768)
    rows_of = np.random.default_rng(0).permutation(len(texts))
    chosen, size = [], 0
    for row in rows_of:
        chosen.append(texts[row])
        size += len(texts[row])
        if size > 8_000_000:
            break
    folder = Path(workdir.path(TOKENIZER))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.write(tokenizer.train(chosen, config), config, folder, {})
    manifests = [Manifest(dataset, "benchmark", "", tuple(found)) for dataset, found in parts.items()]
    return manifests[0], manifests[1], manifests[2], Manifest(TOKENIZER, "benchmark", "", ())


def reference_efficiency(lengths: npt.NDArray[np.int64], capacity: int, rows: int) -> float:
    """The on-line packer, restated: each sequence of a buffer, in its order, into the fullest row of the micro-batch that has room.

    Generously: the buffer is filled up again and again, until none of its sequences fits any row of the micro-batch.
    """
    waiting = lengths.tolist()[::-1]
    buffer: list[int] = []
    used = slots = 0
    while waiting:
        room = np.full(rows, capacity)
        placed = True
        while placed and waiting:
            while waiting and len(buffer) < 5 * rows:
                buffer.append(waiting.pop())
            left = []
            for length in buffer:
                fitting = np.where(room >= length, room, capacity + 1)
                best = int(fitting.argmin())
                if fitting[best] > capacity:
                    left.append(length)
                else:
                    room[best] -= length
            placed = len(left) < len(buffer)
            buffer = left
        if waiting:  # the last, unfinished micro-batch is no measure
            used += int(capacity * rows - room.sum())
            slots += capacity * rows
    return used / max(1, slots)


def measure(name: str, texts: list[str], times: int) -> list[Row]:
    """Efficiency at 1024 and 8192, and megabytes a second from documents to shards at 1024."""
    rows = []
    size = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(folder)
        documents, split, plan, made = prepare(workdir, texts)
        for manifest in (documents, split, plan):
            workdir.write(manifest.to_json(), manifest.dataset, "_manifest.json")
        ids = tokenizer.special_ids(Path(workdir.path(TOKENIZER)))
        flags = tokenizer.break_flags(Path(workdir.path(TOKENIZER)))
        seconds: list[float] = []
        for _ in range(times + 1):
            tokens, first = run_here(workdir, tokenize_stage(documents, split, made))
            for capacity in (8192, 1024):
                info = ShardInfo(capacity, ids.vocab_size, ids.cls, ids.sep, ids.pad, ids.mask, ids.ordinary, ("web",), "t", "p")
                packed, second = run_here(
                    workdir, pack_stage(PackConfig(), f"shards/{capacity}", "main", info, flags, tokens, plan, documents)
                )
                if len(seconds) == 0:
                    efficiency = packed.summary["tokens"] / packed.summary["slots"]
                    lengths = segment_lengths(workdir, packed)
                    np.random.default_rng(0).shuffle(lengths)
                    batch = 96 * 1024 // capacity
                    theirs = reference_efficiency(lengths[:100_000], capacity, batch)
                    filled = f"{name}: slots filled at {capacity}, in {packed.summary['rows']:,} rows"
                    rows.append(Row(filled, "%", 100 * efficiency, goal=99.9))
                    rows.append(Row("  by the on-line packer, restated", "%", 100 * theirs))
            seconds.append(first + second)
        rows.append(Row(f"{name}: documents to shards, {size:.0f} MB", "MB/s a core", size / statistics.median(seconds[1:]), goal=30))
    return rows


def segment_lengths(workdir: Workdir, packed: Manifest) -> npt.NDArray[np.int64]:
    """Tokens of each segment, [CLS] and [SEP] included."""
    found = []
    for partition in packed.partitions:
        table = workdir.read_table(packed.dataset, partition, ["cu_seqlens"])
        for chunk in table["cu_seqlens"].chunks:
            edges, offsets = chunk.values.to_numpy(), chunk.offsets.to_numpy()
            inside = np.ones(len(edges) - 1, bool)
            inside[offsets[1:-1] - 1] = False
            found.append(np.diff(edges)[inside])
    return np.concatenate(found).astype(np.int64)


def main() -> None:
    """Run all, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs; nothing is written")
    parser.add_argument("--texts", type=Path, help="JSON Lines with `text` (.zst or not), beside the demo corpus")
    options = parser.parse_args()
    times = 1 if options.quick else 5
    rows = measure("demo corpus", demo_texts(code=True), times)
    if options.texts is not None:
        rows += measure(options.texts.name.split(".")[0], read_texts(options.texts), times)
    show(rows)
    if not options.quick:
        print(write("packing", rows, ("gigatoken", "tokenizers", "numba", "pyarrow")))


if __name__ == "__main__":
    main()

"""Small shard folders and run configurations for the trainer's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.held_out import BASELINES
from pipeline.held_out import schema as held_out_schema
from pipeline.shards import Row, ShardInfo, schema
from pipeline.workdir.dataset import Manifest, Partition, to_ipc
from tests.shard_batches import record_batch

INFO = ShardInfo(64, 256, 251, 252, 253, 254, (0, 250), ("web", "code"), "tokenizer", "plan")


def make_rows(rows: int, seed: int, info: ShardInfo = INFO) -> list[Row]:
    """Rows of one to five segments of learnable text, of each domain in turn: each word follows from the one before."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(rows):
        lengths: list[int] = []
        while sum(lengths) + 3 <= info.length and len(lengths) < 5:
            lengths.append(int(random.integers(3, info.length - sum(lengths) + 1)))
        segments = []
        for length in lengths:
            words = (random.integers(0, 250) + 7 * np.arange(length - 2)) % 250
            segments.append(np.concatenate([[info.cls], words, [info.sep]]))
        ids = np.concatenate(segments).astype(np.uint16)
        edges = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        domains = (np.arange(len(lengths)) % len(info.domains)).astype(np.uint8)
        made.append(Row(ids, edges, domains, np.arange(len(lengths), dtype=np.int64)))
    return made


def write_shards(folder: Path, rows: int, *, seed: int = 0, files: int = 2, info: ShardInfo = INFO) -> list[Row]:
    """A finished shard folder; returns its rows."""
    folder.mkdir(parents=True)
    made = make_rows(rows, seed, info)
    partitions = []
    for number in range(files):
        part = made[number * rows // files : (number + 1) * rows // files]
        raw = to_ipc([record_batch(info, part)], schema(info))
        name = f"part-{number:05d}-000.arrow"
        (folder / name).write_bytes(raw)
        partitions.append(Partition(name, len(part), raw.size, xxhash.xxh3_128_hexdigest(raw)))
    manifest = Manifest(folder.name, "pack", f"seed {seed}", tuple(partitions))
    (folder / "index.json").write_bytes(manifest.to_index())
    (folder / "_manifest.json").write_bytes(manifest.to_json())
    return made


def write_held_out(folder: Path, pieces: int, *, seed: int = 0, info: ShardInfo = INFO) -> pa.RecordBatch:
    """A finished held-out sample of documents of up to three times the length, each of a domain and source in turn; returns its rows."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    ids = [((random.integers(0, 250) + 7 * np.arange(random.integers(1, 3 * info.length))) % 250).tolist() for _ in range(pieces)]
    domains = [info.domains[number % len(info.domains)] for number in range(pieces)]
    columns: dict[str, list[Any]] = {
        "document": [number // 2 for number in range(pieces)],  # two pieces of each
        "id": [f"source:{number // 2}" for number in range(pieces)],
        "domain": domains,
        "source": [f"{domain}-{number % 3}" for number, domain in enumerate(domains)],
        "place": [1000 * (number % 2) for number in range(pieces)],
        "ids": ids,
        **{name: [random.uniform(1, 9, len(part)).tolist() for part in ids] for name in BASELINES},
    }
    target = held_out_schema(info, 7)
    batch = pa.RecordBatch.from_arrays([pa.array(columns[field.name], field.type) for field in target], schema=target)
    raw = to_ipc([batch], target)
    (folder / "part-00000.arrow").write_bytes(raw)
    partition = Partition("part-00000.arrow", pieces, raw.size, xxhash.xxh3_128_hexdigest(raw))
    (folder / "index.json").write_bytes(Manifest(folder.name, "held out", f"seed {seed}", (partition,)).to_index())
    return batch


BERT: dict[str, Any] = {
    "architecture": "bert",
    "vocab_size": 2048,
    "hidden_size": 64,
    "layers": 3,
    "heads": 2,
    "intermediate_size": 96,
    "max_length": 64,
}


def run_config(folder: Path, **training: Any) -> dict[str, Any]:
    """A RUN.json over shards `stable` and a held-out sample `validation` beside it: two phases, a few steps each."""
    shared = {
        "precision": "float32",
        "micro_batch_tokens": 256,
        "checkpoint_every": 4,
        "evaluate_every": 100,
        "log_every": 1,
        **training,
    }
    phase = {"length": 64, "shards": str(folder / "stable"), "learning_rate": 3e-3}
    return {
        "run": str(folder / "run"),
        "seed": 1,
        "model": {
            "vocab_size": 2048,  # its embedding is over the size that ZeRO 3 leaves whole
            "hidden_size": 64,
            "layers": 3,
            "heads": 2,
            "intermediate_size": 48,
            "window": 16,
            "max_length": 64,
        },
        "tokenizer": "tokenizer",
        "phases": [
            {**phase, "name": "stable", "tokens": 6 * 16 * 64, "batch_size": 16, "warmup_tokens": 2 * 16 * 64},
            {
                **phase,
                "name": "decay",
                "tokens": 4 * 16 * 64,
                "batch_size": 16,
                "decay_tokens": 4 * 16 * 64,
                "global_theta": 20_000.0,
            },
        ],
        "validation": str(folder / "validation"),
        "training": shared,
    }

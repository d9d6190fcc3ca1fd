"""The tokenizer stage: train on the mix of the first phase, and write the artifact into the workdir."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

import tokenizer
from pipeline.dataset import Manifest, Workdir, fingerprint
from pipeline.documents import DOCUMENTS
from pipeline.engine import File, Stage, Summary, Task
from pipeline.mixing import PLAN, SPLIT, phase_column
from pipeline.random import uniform
from pipeline.tokens import TOKENIZER, cut_texts
from tokenizer import TokenizerConfig

VERSION = 3


@dataclass(frozen=True)
class _Work:
    config: TokenizerConfig
    phase: str
    seed: int
    share: float  # of the documents, where the mix is larger than `sample_bytes`


def _texts(workdir: Workdir, work: _Work, seen: dict[str, int]) -> Iterator[str]:
    """The training texts of the mix, each as often as the plan has it; one partition in memory at a time."""
    documents, split = workdir.require(DOCUMENTS), workdir.require(SPLIT)
    for partition, plan in workdir.tables(PLAN, [phase_column(work.phase)]):
        repeats = plan[phase_column(work.phase)].to_numpy()
        rows = np.flatnonzero(repeats)
        ids = workdir.read_table(DOCUMENTS, documents.by_name[partition.name], ["id"])["id"].take(pa.array(rows))
        chosen = uniform(work.seed, "tokenizer", ids.to_pylist()) < work.share
        cuts = workdir.read_table(SPLIT, split.by_name[partition.name], ["cuts"])["cuts"]
        for row, text in enumerate(cut_texts(workdir, documents.by_name[partition.name], cuts, rows)):
            if chosen[row]:
                for _ in range(int(repeats[rows[row]])):
                    value = text.as_py()
                    seen["documents"] += 1
                    seen["bytes"] += len(value.encode())
                    yield value


def train_tokenizer(workdir: Workdir, work: _Work) -> Generator[File, None, Summary]:
    """One task: train, write the folder, prove the fast engine, and hand over the files."""
    seen = {"documents": 0, "bytes": 0}
    trained = tokenizer.train(_texts(workdir, work, seen), work.config)
    made_from = {**seen, "phase": work.phase, "plan": workdir.require(PLAN).content}
    with tempfile.TemporaryDirectory() as folder:
        plan = tokenizer.write(trained, work.config, Path(folder), made_from)
        for path in sorted(Path(folder).iterdir()):
            yield File(TOKENIZER, path.name, path.read_bytes(), 0)
    return {**seen, "learned": plan.learned, "unused": len(plan.unused)}


def tokenizer_stage(config: TokenizerConfig, seed: int, phase: str, plan: Manifest, split: Manifest) -> Stage:
    """The stage; one task. Merges are learnt from the mix of `phase`, at most `sample_bytes` of it."""
    size = sum(counts["bytes"] for counts in plan.summary["phases"][phase].values())
    share = min(1.0, config.sample_bytes / max(1, size))
    key = fingerprint(VERSION, config, seed, phase, share, plan.content, split.content)
    task = Task("tokenizer", key, _Work(config, phase, seed, share), max(1, int(size * share)))
    return Stage("tokenizer", (TOKENIZER,), train_tokenizer, (task,), config.model_dump(mode="json"), memory=3 << 30)

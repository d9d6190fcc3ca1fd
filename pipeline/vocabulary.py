"""The tokenizer stage: train on the mix of the first phase, and write the artifact into the workdir."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tokenizer
from pipeline.dataset import Manifest, Workdir, fingerprint
from pipeline.documents import DOCUMENTS
from pipeline.engine import File, Stage, Summary, Task
from pipeline.mixing import SPLIT, TRAIN, MixConfig, PhaseMix, group_of, plan_phase, repetitions, trainable
from pipeline.random import uniform
from pipeline.tokens import TOKENIZER, cut_texts
from tokenizer import TokenizerConfig

VERSION = 4


@dataclass(frozen=True)
class _Work:
    config: TokenizerConfig
    phase: str
    named: tuple[str, ...]  # what the phase's mix names
    epochs: dict[str, float]  # of each group
    seed: int
    share: float  # of the documents, where the mix is larger than `sample_bytes`


def _texts(workdir: Workdir, work: _Work, seen: dict[str, int]) -> Iterator[str]:
    """The training texts of the mix, each as often as it has it; one partition in memory at a time."""
    documents = workdir.require(DOCUMENTS)
    for partition, split in workdir.tables(SPLIT, ["domain", "source", "split", "cuts"]):
        places = zip(split["domain"].to_pylist(), split["source"].to_pylist(), split["split"].to_pylist(), strict=True)
        wanted = np.array([work.epochs.get(group_of(d, s, work.named) or "", 0.0) if kind == TRAIN else 0.0 for d, s, kind in places])
        ids = workdir.read_table(DOCUMENTS, documents.by_name[partition.name], ["id"])["id"].to_pylist()
        repeats = repetitions(work.seed, "tokenizer mix", ids, wanted)
        repeats[uniform(work.seed, "tokenizer", ids) >= work.share] = 0
        rows = np.flatnonzero(repeats)
        for row, text in zip(rows, cut_texts(workdir, documents.by_name[partition.name], split["cuts"], rows), strict=True):
            value = text.as_py()
            for _ in range(int(repeats[row])):
                seen["documents"] += 1
                seen["bytes"] += len(value.encode())
                yield value


def train_tokenizer(workdir: Workdir, work: _Work) -> Generator[File, None, Summary]:
    """One task: train, write the folder, prove the fast engine, and hand over the files."""
    seen = {"documents": 0, "bytes": 0}
    trained = tokenizer.train(_texts(workdir, work, seen), work.config)
    made_from = {**seen, "phase": work.phase, "split": workdir.require(SPLIT).content}
    with tempfile.TemporaryDirectory() as folder:
        plan = tokenizer.write(trained, work.config, Path(folder), made_from)
        for path in sorted(Path(folder).iterdir()):
            yield File(TOKENIZER, path.name, path.read_bytes(), 0)
    return {**seen, "learned": plan.learned, "unused": len(plan.unused)}


def tokenizer_stage(config: TokenizerConfig, seed: int, phase: str, mix: PhaseMix, mixing: MixConfig, split: Manifest) -> Stage:
    """The stage; one task. Merges are learnt from the mix of `phase`, by bytes of text, at most `sample_bytes` of it."""
    plan = plan_phase(phase, mix, mixing, trainable(split, "bytes"), unit="bytes")
    epochs = {group.group: group.epochs for group in plan}
    size = sum(group.wanted for group in plan)
    share = min(1.0, config.sample_bytes / max(1, size))
    key = fingerprint(VERSION, config, seed, phase, mix.named, epochs, share, split.content)
    task = Task("tokenizer", key, _Work(config, phase, mix.named, epochs, seed, share), max(1, int(size * share)))
    return Stage("tokenizer", (TOKENIZER,), train_tokenizer, (task,), config.model_dump(mode="json"), memory=3 << 30)

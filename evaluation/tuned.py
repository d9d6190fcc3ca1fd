"""Item sets as a model is judged on them: tuned first, on a small grid that is the same for all, and then asked for every test item.

A contestant is the model, random weights of its shape, or another folder's model. Each is tuned with every learning rate and seed of
`GRID` on the same training items; the rate is the one whose seeds do best on the validation items in the mean, and the test items are
asked once for all that. A result row has the mean over the seeds of that rate, so that the luck of one seed is no difference of models.

Items to tune on, and those to choose by, are the first of the set's keyed order: as many as `MOST` says. Texts longer than `LENGTH` tokens
lose their ends, the same for all; BM25 reads them whole.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evaluation import results
from evaluation.results import Metric, Result
from evaluation.retrieval import METRICS, SEARCHED, comparable, judged
from evaluation.sets.items import MAKERS
from evaluation.sets.making import ITEMS, Item, items_of
from evaluation.subject import Subject
from kernel.random import derive
from kernel.sections import check_name
from model import ModelError
from model.bridge import from_transformers_config
from model.config import ModernBertConfig
from pipeline.workdir.dataset import Workdir, fingerprint
from pipeline.workdir.errors import UserError
from tokenizer import Encoder, special_ids
from trainer.tuning.config import ClassifyConfig, DenseConfig, TaskConfig, TuningConfig
from trainer.tuning.texts import TextTokens
from trainer.tuning.tune import Tried, tune

VERSION = 1
LENGTH = 128  # tokens of a text, or all that a model takes where that is less
LEAST = {"train": 32, "validation": 8, "test": 20}  # items, below which a set says nothing
MOST = {"train": 300, "validation": 100}  # so that the demo takes minutes on two cores
GRID = TuningConfig(learning_rates=[3e-4, 1e-3], seeds=[0, 1], epochs=2, micro_batch_tokens=8192, patience=None)
ACCURACY = (Metric("accuracy", "right", less_is_better=False),)


@dataclass(frozen=True)
class Tunable:
    """A contestant. `start`: a folder of a model, or a configuration, for random weights; `tokenizer`: the folder of its tokenizer.

    `made_of`: a fingerprint of the weights, or of the shape; `folder`: where its results are.
    """

    name: str
    start: Path | ModernBertConfig
    tokenizer: Path
    made_of: str
    folder: Path

    @property
    def longest(self) -> int:
        """The longest sequences that the model takes."""
        return (self.start if isinstance(self.start, ModernBertConfig) else _config(self.start)).max_length


def of_subject(subject: Subject, tokenizer: Path, folder: Path) -> Tunable:
    """A model that is to be tuned. Raises `ModelError` where it is none that tuning takes."""
    _config(subject.folder)
    return Tunable(subject.name, subject.folder, tokenizer, fingerprint(subject.weights, subject.tokenizer), folder)


def random_of(model: Tunable, folder: Path) -> Tunable:
    """Random weights of a model's shape, drawn anew for each seed."""
    assert isinstance(model.start, Path), "a model of weights"
    config = _config(model.start)
    return replace(model, name="random", start=config, made_of=fingerprint("random", repr(config)), folder=folder)


def _config(folder: Path) -> ModernBertConfig:
    try:
        found = from_transformers_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: is no model (its config.json cannot be read); give a folder with config.json") from error
    if not isinstance(found, ModernBertConfig):
        raise ModelError(f"{folder}: is no ModernBERT, and no other architecture can be tuned; leave --tune out")
    return found


def tuned_sets(names: Sequence[str]) -> list[str]:
    """The sets of these names; all where there is none. Raises `UserError` for a name that is none."""
    for name in names:
        try:
            check_name(name, MAKERS, "set of items")
        except ValueError as error:
            raise UserError(f"--set {name}: {error}") from error
    return list(dict.fromkeys(names)) or list(MAKERS)


@dataclass(frozen=True)
class Chosen:
    """The items of a set that are used, in their keyed order, training first; how many of each split, and what was passed over."""

    name: str
    checksum: str  # of all the set's items
    items: tuple[Item, ...]
    counts: dict[str, int]
    passed_over: dict[str, int]

    @property
    def lacking(self) -> str:
        """What the set has too little of, in words; empty where it has enough."""
        few = [f"{self.counts[split]:,} {split} items of {least:,}" for split, least in LEAST.items() if self.counts[split] < least]
        few += ["one label alone"] if self.name not in SEARCHED and len({item["label"] for item in self.items}) == 1 else []
        return ", ".join(few)


def choose(workdir: Workdir, name: str) -> Chosen:
    """The items of a set that models are tuned on and judged by. Raises `UserError` where they have not been made."""
    found = {split: items_of(workdir, name, split).to_pylist() for split in LEAST}
    passed = Counter[str]()
    for split, most in MOST.items():
        passed[f"{split} items over {most:,}"] = max(0, len(found[split]) - most)
        found[split] = found[split][:most]
    if name not in SEARCHED:  # a label that was never seen cannot be told
        known = {item["label"] for item in found["train"]}
        for split in ("validation", "test"):
            kept = [item for item in found[split] if item["label"] in known]
            passed[f"{split} items of a label that no training item has"] = len(found[split]) - len(kept)
            found[split] = kept
    checksum = workdir.require(ITEMS).by_name[f"{name}.parquet"].checksum
    items = tuple(item for split in LEAST for item in found[split])
    return Chosen(name, checksum, items, {split: len(of) for split, of in found.items()}, {what: n for what, n in passed.items() if n})


def tune_on(
    chosen: Chosen, model: Tunable, seed: int, *, grid: TuningConfig = GRID, said: Callable[[str], None] = lambda _: None
) -> Result:
    """A contestant's result on a set, made where it is not in its folder yet. `said` gets a line of what is done.

    A killed one goes on where it was: trials are kept in `tuning/` beside the results until the set is done. Raises `TrainerError` and
    `ModelError` for what cannot be tuned.
    """
    name, length = chosen.name, min(LENGTH, model.longest)
    searched = name in SEARCHED
    common: dict[str, Any] = {"max_length": length, "cut": True}
    task: TaskConfig = DenseConfig(**common) if searched else ClassifyConfig(**common)
    metrics = METRICS if searched else ACCURACY
    budget = {**grid.model_dump(mode="json"), **{split: chosen.counts[split] for split in MOST}, "version": VERSION}
    settings = {**comparable(chosen.checksum), "lengths": [length], "tuning": budget}
    key = fingerprint(settings, model.made_of, task.model_dump(mode="json"))
    known = results.read(model.folder, name)
    if known is not None and known.key == key:
        said(f"{name}, {model.name}: up to date")
        return known
    said(f"{name}, {model.name}: tuning, {len(grid.learning_rates)} learning rates times {len(grid.seeds)} seeds")
    table = pa.Table.from_pylist(list(chosen.items)).select([*task.columns, "split"])
    tokens = TextTokens(Encoder(model.tokenizer), special_ids(model.tokenizer))
    trials = model.folder / "tuning" / name
    found = tune(model.start, tokens, task, table, grid, folder=trials)
    rows = _rows(chosen.items, found.seeds, searched=searched)
    scores = results.scores_of(rows, metrics, (), derive(seed, name))
    of_seeds = [one.test[task.chosen_metric] for one in found.seeds]
    numbers = {
        "learning_rate": found.chosen.learning_rate,
        "seeds": float(len(of_seeds)),
        "spread_over_seeds": float(np.std(of_seeds)),
        "validation": float(np.mean([one.validation[task.chosen_metric] for one in found.seeds if one.validation])),
        **{f"{split}_items": float(count) for split, count in chosen.counts.items()},
        "cut_texts": float(sum(counts["over"] for counts in found.counts.values())),
    }
    result = Result(name, key, settings, chosen.passed_over, metrics, rows, scores, numbers, True)
    results.write(model.folder, result)
    shutil.rmtree(trials)
    return result


def _rows(items: Sequence[Item], seeds: Sequence[Tried], *, searched: bool) -> pa.Table:
    """The result rows of the test items: each value is the mean over seeds."""
    tables = []
    for one in seeds:
        asked = [items[row] for row in one.outputs["item"].to_pylist()]
        if searched:
            tables.append(judged(asked, one.outputs["rank"].to_numpy()))
        else:
            told = {
                name: [item[column] for item in asked] for name, column in (("item", "id"), ("document", "document"), ("group", "group"))
            }
            right = one.outputs["score"].to_numpy()
            tables.append(pa.table({**told, "main": [True] * len(asked), "right": right, "weight": np.ones(len(asked))}))
    first = tables[0]
    for place, field in enumerate(first.schema):
        if pa.types.is_floating(field.type):
            mean = np.mean([table[field.name].to_numpy() for table in tables], axis=0)
            first = first.set_column(place, field.name, pa.array(mean))
    return first

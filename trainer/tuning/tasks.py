"""What a task is to the loop of tuning: a model to begin with, data from examples, gradients of a batch, outputs of each item."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from torch import nn

from model import HeadConfig, ModernBert, bridge
from model.config import ModernBertConfig
from trainer.errors import TrainerError
from trainer.tuning.config import TaskConfig
from trainer.tuning.passes import Passes
from trainer.tuning.texts import Cutting, Ints, Ragged, TextTokens

C = TypeVar("C", bound=TaskConfig)
SPLITS = ("train", "validation", "test")
# What tuning begins with: a folder that has a model; an encoder whose weights are copied; or a configuration, for random weights.
Start = Path | ModernBert | ModernBertConfig


@dataclass(frozen=True)
class Data:
    """The examples of one split, ready for the model."""

    segments: Ragged  # of retrieval, the queries; else the items
    items: Ints  # int64 (items,): the row of the table that each item is
    more: dict[str, Any] = field(default_factory=dict)  # the task's own

    def __len__(self) -> int:
        return len(self.items)


class Task(ABC, Generic[C]):
    """A task by its configuration. `labels` are known once the training examples have been seen."""

    def __init__(self, config: C) -> None:
        self.config = config
        self.labels: tuple[str, ...] = ()

    def check(self, examples: pa.Table) -> None:
        """Look at all examples once, before any is used. Raises `TrainerError` for what is wrong with them."""
        columns(examples, (*self.config.columns, "split"))
        present = set(examples["split"].to_pylist())
        if strange := present - set(SPLITS):
            raise TrainerError(f"split: {sorted(map(str, strange))[0]!r} is none; there are: {', '.join(SPLITS)}")
        for name in SPLITS[:2]:
            if name not in present:
                raise TrainerError(f"examples: none is of the split {name}; give some, since it is what {PURPOSE[name]}")

    @abstractmethod
    def module(self, start: Start) -> nn.Module:
        """The model to tune; new layers are drawn from torch's global generator."""

    @abstractmethod
    def data(self, examples: pa.Table, split: str, tokens: TextTokens, cutting: Cutting, candidates: Sequence[str]) -> Data:
        """The examples of a split. `candidates`: further texts, of retrieval."""

    @abstractmethod
    def learn(self, module: nn.Module, data: Data, batch: Ints, first: int, passes: Passes) -> float:
        """Add the gradients of a batch's mean loss; returns the loss.

        `batch`: the items; they are samples `first` and on, by which dropout is keyed.
        """

    @abstractmethod
    def outputs(self, module: nn.Module, data: Data, passes: Passes) -> dict[str, Any]:
        """A column for each thing that there is to say of each item."""

    @abstractmethod
    def scores(self, outputs: dict[str, Any]) -> dict[str, float]:
        """The task's metrics, by name, of all items' outputs."""


def make(config: TaskConfig) -> Task[Any]:
    """The task of a configuration."""
    module, _, name = config.made_by.partition(":")
    task: Task[Any] = getattr(import_module(module), name)(config)
    return task


PURPOSE = {"train": "is learnt", "validation": "chooses between learning rates and steps"}


def columns(examples: pa.Table, names: Sequence[str]) -> None:
    """Raises `TrainerError` where a column is missing, or a value of it."""
    for name in names:
        if name not in examples.column_names:
            raise TrainerError(f"examples: there is no column {name}; there are: {', '.join(examples.column_names)}")
        if lacking := examples[name].null_count:
            raise TrainerError(f"examples: {lacking:,} of {len(examples):,} rows have no {name}; leave them out, or fill them in")


def with_head(start: Start, kind: type[nn.Module], head: HeadConfig) -> nn.Module:
    """A model of a class with a new classifier, and all else that `start` has of it."""
    made: Any = kind
    if isinstance(start, Path):
        return bridge.load_as(start, kind, head, anew=True)
    model: Any = made(start.config if isinstance(start, ModernBert) else start, head)
    return _with_weights(model, start)


def _with_weights(model: Any, start: Start) -> nn.Module:
    if isinstance(start, ModernBert):
        model.model.load_state_dict(start.state_dict())
    result: nn.Module = model
    return result


def encoder_of(start: Start, kind: type[nn.Module], **settings: Any) -> nn.Module:
    """An `Embedding` or `LateInteraction` of a configuration or an encoder in memory."""
    assert not isinstance(start, Path), "folders are read by the bridge"
    made: Any = kind
    return _with_weights(made(start.config if isinstance(start, ModernBert) else start, **settings), start)


def rows_of_split(examples: pa.Table, split: str) -> Ints:
    """The rows of a split: int64."""
    return np.flatnonzero(np.array(examples["split"].to_pylist(), object) == split).astype(np.int64)


def texts_of(examples: pa.Table, name: str, rows: Ints) -> list[str]:
    """A column's texts in these rows. Raises `TrainerError` where they are no texts."""
    column = examples[name]
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise TrainerError(f"examples: column {name} is of {column.type}; give texts")
    found: list[str] = column.take(pa.array(rows)).to_pylist()
    return found


def known_labels(given: Sequence[str] | None, trained: Sequence[str], all_of_them: Sequence[str]) -> tuple[str, ...]:
    """The classes: those given, or those of the training examples. Raises `TrainerError` for labels that are none, and for one alone."""
    labels = tuple(given) if given is not None else tuple(sorted(set(trained), key=_by_number))
    if len(set(trained)) < 2:
        raise TrainerError(
            f"examples: all training examples have the label {trained[0]!r}; there is nothing to tell apart, give two at least"
        )
    counts: dict[str, int] = {}
    for label in all_of_them:
        if label not in labels:
            counts[label] = counts.get(label, 0) + 1
    if counts:
        first = min(counts)
        where = "of task.labels" if given is not None else "that a training example has"
        raise TrainerError(
            f"examples: {sum(counts.values()):,} labels are none {where}, such as {first!r}; the labels are: {', '.join(labels[:12])}"
        )
    return labels


def _by_number(label: str) -> tuple[int, float, str]:
    """Numbers in their order, and before words."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label

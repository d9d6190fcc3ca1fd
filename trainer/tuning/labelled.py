"""Tasks with an answer for each item: a class or a number, of a text or of a pair."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import HeadConfig, SequenceClassification
from trainer.errors import TrainerError
from trainer.tuning import metrics
from trainer.tuning.config import ClassifyConfig, PairConfig, RegressConfig
from trainer.tuning.passes import Passes
from trainer.tuning.tasks import C, Data, Start, Task, columns, known_labels, rows_of_split, texts_of, with_head
from trainer.tuning.texts import Cutting, Ints, TextTokens


class ByItem(Task[C], Generic[C]):
    """A task whose loss is a sum over items, so that micro-batches need not know of one another."""

    @abstractmethod
    def loss(self, output: Any, data: Data, items: Ints) -> Tensor:
        """The sum of the losses of a micro-batch, float32 ()."""

    def weight(self, data: Data, batch: Ints) -> float:
        """How many losses a batch has, by which their sum is divided."""
        return len(batch)

    def learn(self, module: nn.Module, data: Data, batch: Ints, first: int, passes: Passes) -> float:
        total, scale = 0.0, 1 / max(1.0, self.weight(data, batch))
        segments = data.segments.take(batch)
        for part in passes.packed(segments):
            output = passes.run(module, segments.take(part), first + part)
            loss = self.loss(output, data, batch[part]) * scale
            loss.backward()
            total += float(loss.detach())
        return total


class Labelled(ByItem[C], Generic[C]):
    """A text or a pair, and one target."""

    @property
    @abstractmethod
    def head(self) -> HeadConfig:
        """What the head is."""

    @property
    @abstractmethod
    def paired(self) -> bool:
        """Whether an item has two texts."""

    @abstractmethod
    def targets(self, examples: pa.Table, rows: Ints) -> npt.NDArray[Any]:
        """What is to be found for each row."""

    def module(self, start: Start) -> nn.Module:
        return with_head(start, SequenceClassification, self.head)

    def data(self, examples: pa.Table, split: str, tokens: TextTokens, cutting: Cutting, candidates: Sequence[str]) -> Data:
        rows = rows_of_split(examples, split)
        texts = texts_of(examples, "text", rows)
        cutting.what = "pairs" if self.paired else "texts"
        segments = tokens.paired(texts_of(examples, "query", rows), texts, cutting) if self.paired else tokens.single(texts, cutting)
        return Data(segments, rows, {"targets": self.targets(examples, rows)})

    def logits(self, module: nn.Module, data: Data, passes: Passes) -> npt.NDArray[np.float32]:
        """float32 (items, labels)."""
        found = np.empty((len(data), self.head.labels), np.float32)

        def gather(part: Ints, output: Any) -> None:
            found[part] = output.logits.float().cpu().numpy()

        passes.all(module, data.segments, gather)
        return found


class Classify(Labelled[ClassifyConfig]):
    """Classes: of texts, or of pairs."""

    @property
    def head(self) -> HeadConfig:
        problem = "single_label_classification"
        return HeadConfig(len(self.labels), self.config.pooling, self.config.dropout, problem, self.labels)

    @property
    def paired(self) -> bool:
        return isinstance(self.config, PairConfig)

    def check(self, examples: pa.Table) -> None:
        super().check(examples)
        named = examples["label"].cast(pa.string()).to_pylist()
        self.labels = known_labels(self.config.labels, [named[row] for row in rows_of_split(examples, "train")], named)

    def targets(self, examples: pa.Table, rows: Ints) -> npt.NDArray[Any]:
        numbers = {label: number for number, label in enumerate(self.labels)}
        named = examples["label"].cast(pa.string()).take(pa.array(rows)).to_pylist()
        return np.array([numbers[label] for label in named], np.int64)

    def loss(self, output: Any, data: Data, items: Ints) -> Tensor:
        logits = output.logits.float()
        return F.cross_entropy(logits, torch.from_numpy(data.more["targets"][items]).to(logits.device), reduction="sum")

    def outputs(self, module: nn.Module, data: Data, passes: Passes) -> dict[str, Any]:
        logits = self.logits(module, data, passes).astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        found, wanted = logits.argmax(1), data.more["targets"]
        names = np.array(self.labels, object)
        return {
            "prediction": names[found].tolist(),
            "label": names[wanted].tolist(),
            "score": (found == wanted).astype(np.float64),
            "log_likelihood": logs[np.arange(len(wanted)), wanted],
        }

    def scores(self, outputs: dict[str, Any]) -> dict[str, float]:
        numbers = {label: number for number, label in enumerate(self.labels)}
        found, wanted = (np.array([numbers[label] for label in outputs[name]], np.int64) for name in ("prediction", "label"))
        likelihood = {"negative_loss": float(np.mean(outputs["log_likelihood"]))}
        return {**metrics.classification(found, wanted, len(self.labels)), **likelihood}


class Regress(Labelled[RegressConfig]):
    """Numbers: of texts, or of pairs where the examples have a column `query`."""

    _has_queries = False

    @property
    def head(self) -> HeadConfig:
        return HeadConfig(1, self.config.pooling, self.config.dropout, "regression")

    @property
    def paired(self) -> bool:
        return self._has_queries

    def check(self, examples: pa.Table) -> None:
        super().check(examples)
        self._has_queries = "query" in examples.column_names and examples["query"].null_count < len(examples)
        if self._has_queries:
            columns(examples, ["query"])
        values = _numbers(examples)
        trained = values[rows_of_split(examples, "train")]
        if trained.min() == trained.max():
            raise TrainerError(
                f"examples: all training examples have the label {trained[0]:g}; there is nothing to learn, give two at least"
            )

    def targets(self, examples: pa.Table, rows: Ints) -> npt.NDArray[Any]:
        return _numbers(examples)[rows]

    def loss(self, output: Any, data: Data, items: Ints) -> Tensor:
        found = output.logits.float()[:, 0]
        wanted = torch.from_numpy(data.more["targets"][items]).to(found)
        return F.mse_loss(found, wanted, reduction="sum")

    def outputs(self, module: nn.Module, data: Data, passes: Passes) -> dict[str, Any]:
        found, wanted = self.logits(module, data, passes)[:, 0].astype(np.float64), data.more["targets"]
        return {"prediction": found, "label": wanted, "score": -((found - wanted) ** 2)}

    def scores(self, outputs: dict[str, Any]) -> dict[str, float]:
        return metrics.regression(np.asarray(outputs["prediction"]), np.asarray(outputs["label"]))


def _numbers(examples: pa.Table) -> npt.NDArray[np.float64]:
    """The labels as finite numbers. Raises `TrainerError`."""
    try:
        values = pc.cast(examples["label"], pa.float64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise TrainerError(f"examples: a label is no number ({str(error).splitlines()[0]}); regression has numbers") from error
    if not np.isfinite(values).all():
        raise TrainerError("examples: a label is not finite; leave such examples out")
    return np.asarray(values, np.float64)

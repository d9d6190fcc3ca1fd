"""What is fine-tuned and how: the tasks by their keys, and the settings that all of them share.

Defaults of rates and warm-up are those of ModernBERT's own tuning (arXiv 2412.13663, appendix E) where it states them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kernel.extensions import Registry
from kernel.sections import Chosen, check_name
from trainer.config import Precision
from trainer.optimizers import AnyOptimizer, StableAdamWConfig


class TaskConfig(BaseModel):
    """The base of all tasks' configurations: a key, and the task's own. A package adds a task by a subclass."""

    model_config = ConfigDict(extra="forbid")

    columns: ClassVar[tuple[str, ...]] = ("text", "label")  # that the examples must have
    metrics: ClassVar[tuple[str, ...]] = ()  # that it is judged by; the first is what validation chooses by
    made_by: ClassVar[str] = ""  # MODULE:CLASS of the `trainer.tuning.tasks.Task`, imported when it is wanted, since it needs torch

    kind: str = Field(description="What is learnt.")
    max_length: int | None = Field(None, ge=4, description="Most tokens of an example; null: as many as the model takes.")
    cut: bool = Field(False, description="Cut texts that are longer; otherwise they are an error, which says how many there are.")
    metric: str | None = Field(None, description="What validation chooses by; null: the task's first one.")

    @model_validator(mode="after")
    def _metric_is_known(self) -> TaskConfig:
        if self.metric is not None:
            check_name(self.metric, self.metrics, f"metric of {self.kind}")
        return self

    @property
    def chosen_metric(self) -> str:
        """What validation chooses by; larger is better."""
        return self.metric or self.metrics[0]


class ClassifyConfig(TaskConfig):
    """One class for each text."""

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1", "macro_f1", "matthews")

    kind: str = Field("classify", description="What is learnt.")
    labels: list[str] | None = Field(
        None, min_length=2, description="The classes, in the order of their numbers; null: those of the training examples, sorted."
    )
    pooling: Literal["cls", "mean"] = Field("mean", description="How a text becomes one vector.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the classifier.")

    made_by: ClassVar[str] = "trainer.tuning.labelled:Classify"


class PairConfig(ClassifyConfig):
    """One class for each pair of texts, `query` and `text`."""

    columns: ClassVar[tuple[str, ...]] = ("query", "text", "label")

    kind: str = Field("pair", description="What is learnt.")


class RegressConfig(TaskConfig):
    """A number for each text, or pair of texts where there is a column `query`."""

    metrics: ClassVar[tuple[str, ...]] = ("spearman", "pearson", "negative_mse")

    kind: str = Field("regress", description="What is learnt.")
    pooling: Literal["cls", "mean"] = Field("mean", description="How a text becomes one vector.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the last layer.")

    made_by: ClassVar[str] = "trainer.tuning.labelled:Regress"


class TagConfig(TaskConfig):
    """One class for each word: `words` and `labels` are lists, word for word.

    Words are joined by blanks, as text that was trained on has them; a word's class is that of its first token.
    """

    columns: ClassVar[tuple[str, ...]] = ("words", "labels")
    metrics: ClassVar[tuple[str, ...]] = ("f1", "accuracy")

    kind: str = Field("tag", description="What is learnt.")
    labels: list[str] | None = Field(
        None, min_length=2, description="The classes, in the order of their numbers; null: those of the training examples, sorted."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the classifier.")

    made_by: ClassVar[str] = "trainer.tuning.tokens:Tag"


class AnswerConfig(TaskConfig):
    """The span of `text` that answers `query`: `answer` is its text, and `start` the character it begins at."""

    columns: ClassVar[tuple[str, ...]] = ("query", "text", "answer", "start")
    metrics: ClassVar[tuple[str, ...]] = ("f1", "exact")

    kind: str = Field("answer", description="What is learnt.")
    longest_answer: int = Field(30, ge=1, description="Most tokens of an answer.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the last layer.")

    made_by: ClassVar[str] = "trainer.tuning.tokens:Answer"


class RetrievalConfig(TaskConfig):
    """What dense retrieval and late interaction share: each `query` is nearest to its `text`, among all texts of the batch.

    A column `negatives` (lists of texts) adds texts to the batch that answer no query of it.
    """

    columns: ClassVar[tuple[str, ...]] = ("query", "text")
    metrics: ClassVar[tuple[str, ...]] = ("ndcg_at_10", "mrr", "recall_at_1", "recall_at_10")

    query_length: int | None = Field(None, ge=4, description="Most tokens of a query; null: as of a text.")
    query_prompt: str = Field("", description="What stands before each query, as part of its text.")
    text_prompt: str = Field("", description="What stands before each text.")
    both_ways: bool = Field(False, description="Let each text look for its query too.")
    validation_candidates: int | None = Field(
        1000, ge=1, description="Validation ranks its texts among so many others at most, drawn by key; null: among all. Tests always do."
    )


class DenseConfig(RetrievalConfig):
    """One vector for a query or a text, compared by cosine (or product, where they are not of unit length)."""

    kind: str = Field("dense", description="What is learnt.")
    pooling: Literal["cls", "mean"] = Field("mean", description="How a text becomes one vector.")
    unit: bool = Field(True, description="Whether vectors have unit length.")
    temperature: float = Field(0.05, gt=0, description="What similarities are divided by (sentence-transformers: 1 / 20).")

    made_by: ClassVar[str] = "trainer.tuning.contrastive:Dense"


class LateInteractionConfig(RetrievalConfig):
    """One short vector for each token: for each of a query's tokens its best match in a text, summed (ColBERT)."""

    kind: str = Field("late_interaction", description="What is learnt.")
    size: int = Field(128, ge=1, description="Numbers of a token's vector (ColBERT: 128).")
    temperature: float = Field(1.0, gt=0, description="What sums of similarities are divided by (PyLate: 1).")

    made_by: ClassVar[str] = "trainer.tuning.contrastive:Late"


TASKS: Registry[type[TaskConfig]] = Registry(
    "tasks",
    TaskConfig,
    {
        "classify": ClassifyConfig,
        "pair": PairConfig,
        "regress": RegressConfig,
        "tag": TagConfig,
        "answer": AnswerConfig,
        "dense": DenseConfig,
        "late_interaction": LateInteractionConfig,
    },
)

AnyTask = Annotated[TaskConfig, Chosen("kind", TASKS, TaskConfig, short=True)]


class TuningConfig(BaseModel):
    """How a task is learnt: a grid of learning rates times seeds, each early stopped, of which validation chooses."""

    model_config = ConfigDict(extra="forbid")

    learning_rates: list[float] = Field(
        default=[1e-5, 3e-5, 5e-5, 8e-5], min_length=1, description="Peak learning rates that are tried (paper, GLUE: these)."
    )
    seeds: list[int] = Field(
        default=[0], min_length=1, description="Seeds that each rate is tried with: of the new layers, the order and dropout."
    )
    epochs: float = Field(3, gt=0, description="How often each training example is seen (paper, GLUE: 1 to 10).")
    batch_size: int = Field(32, ge=1, description="Examples in a batch; of retrieval each is a negative to all others.")
    micro_batch_tokens: int = Field(
        16_384, ge=1, description="Tokens that go through the model at once, at least one text; the batch does not depend on it."
    )
    warmup: float = Field(0.06, ge=0, lt=1, description="Share of the steps in which the rate rises from 0 (paper: 6 %).")
    final_factor: float = Field(0.0, ge=0, le=1, description="Rate at the end, as a share of the peak; it falls in a straight line.")
    weight_decay: float = Field(1e-5, ge=0, description="Fully decoupled weight decay, as in pretraining (paper: 1e-6 to 1e-5).")
    optimizer: AnyOptimizer = Field(default_factory=StableAdamWConfig, description="The optimizer, as in pretraining.")
    beta1: float = Field(0.9, ge=0, lt=1, description="The optimizer's first beta.")
    beta2: float = Field(0.98, ge=0, lt=1, description="The optimizer's second beta.")
    epsilon: float = Field(1e-6, gt=0, description="The optimizer's epsilon.")
    precision: Precision = Field("float32", description="Autocast to bfloat16 over float32 weights, or all in float32.")
    evaluate_every: int | None = Field(None, ge=1, description="Steps between validations; null: one an epoch. The last step has one too.")
    patience: int | None = Field(3, ge=1, description="Stop after so many validations without a better one; null: never.")
    checkpoint_every: int = Field(200, ge=1, description="Steps between checkpoints, from which a killed run goes on.")
    log_every: int = Field(10, ge=1, description="Steps between lines of metrics.")

    @model_validator(mode="after")
    def _no_twins(self) -> TuningConfig:
        for name, values in (("learning_rates", self.learning_rates), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name}: {_twin(values)} is there twice; leave one out")
        if min(self.learning_rates) <= 0:
            raise ValueError(f"learning_rates: {min(self.learning_rates)} is not above 0")
        return self


def _twin(values: Sequence[float]) -> float:
    return next(value for place, value in enumerate(values) if value in values[:place])

"""Heads for tasks: sequence and token classification, question answering, multiple choice, embedding, late interaction.

Each is the encoder, transformers' prediction head where transformers has one, and a linear layer, with transformers' parameter
names. Input is unpadded, as everywhere: outputs have a row a segment, or a row a token. Losses are means, as in transformers, and
a label of -100 counts for nothing. Labels of another shape or dtype are refused (`ModelError`), and, on a CPU alone, values that are
no class: to look would make the host wait for another device. Dropout in training goes by `dropout_keys`, int64 (tokens,), alone where
they are given, as the encoder's does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import POOLINGS, ModernBertConfig
from model.dropout import dropout, layer_keys
from model.errors import ModelError
from model.init import initialise
from model.loss import check_labels
from model.modernbert import ModernBert, PredictionHead

# The label of what has none, as in transformers.
IGNORED = -100


@dataclass(frozen=True)
class HeadConfig:
    """What a head adds to the encoder's configuration.

    `labels`: how many classes; `pooling`: "cls" or "mean", how a segment becomes one vector; `dropout`: before the classifier;
    `problem`: "regression", "single_label_classification" or "multi_label_classification", None: as the labels say, which is
    transformers' rule; `names`: what the classes are called, None: LABEL_0 and so on.
    """

    labels: int = 2
    pooling: str = "cls"
    dropout: float = 0.0
    problem: str | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.labels < 1:
            raise ModelError(f"head.labels is {self.labels}; it must be at least 1")
        if self.pooling not in POOLINGS:
            raise ModelError(f"head.pooling is {self.pooling!r}; there are: {', '.join(POOLINGS)}")
        if not 0 <= self.dropout < 1:
            raise ModelError(f"head.dropout is {self.dropout}; it must be in [0, 1)")
        if self.problem not in (None, "regression", "single_label_classification", "multi_label_classification"):
            raise ModelError(f"head.problem is {self.problem!r}; see the documentation of `HeadConfig`")
        if self.names is not None and len(set(self.names)) != self.labels:
            raise ModelError(f"head.names: {len(set(self.names))} different names for {self.labels} labels; give one for each")


@dataclass(frozen=True)
class HeadOutput:
    """`logits`, and with labels the mean `loss` (scalar)."""

    logits: Tensor
    loss: Tensor | None


def pooled(
    encoder: nn.Module, input_ids: Tensor, cu_seqlens: Tensor, max_seqlen: int, pooling: str, dropout_keys: Tensor | None = None
) -> Tensor:
    """The encoder's one vector a segment, (segments, hidden size): its first token's, or the mean of all."""
    if pooling == "cls":
        first: Tensor = encoder(input_ids, cu_seqlens, max_seqlen, cu_seqlens[:-1].long(), dropout_keys)
        return first
    return mean_of(encoder(input_ids, cu_seqlens, max_seqlen, None, dropout_keys), cu_seqlens)


def _thinned(hidden: Tensor, model: nn.Module, keys: Tensor | None) -> Tensor:
    """What the classifier of a head gets in training: with elements dropped, by `keys` (rows of hidden,) where they are given."""
    head: HeadConfig = model.settings  # type: ignore[assignment]
    config: ModernBertConfig = model.config  # type: ignore[assignment]
    return dropout(hidden, head.dropout, model.training, layer_keys(keys, config.layers), 0)


def mean_of(hidden: Tensor, cu_seqlens: Tensor) -> Tensor:
    """The mean over each segment, (segments, hidden size), worked out in float32."""
    lengths = cu_seqlens.diff().long()
    segment = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), lengths, output_size=len(hidden))
    total = torch.zeros(len(lengths), hidden.shape[1], dtype=torch.float32, device=hidden.device)
    return (total.index_add(0, segment, hidden.float()) / lengths[:, None]).to(hidden.dtype)


def of_segments(keys: Tensor | None, cu_seqlens: Tensor) -> Tensor | None:
    """The keys of segments' first tokens, of those of all tokens."""
    return None if keys is None else keys[cu_seqlens[:-1].long()]


class SequenceClassification(nn.Module):
    """One answer a segment: logits (segments, labels)."""

    def __init__(self, config: ModernBertConfig, head: HeadConfig | None = None, *, attention: str = "auto") -> None:
        super().__init__()
        self.config, self.settings = config, head or HeadConfig()
        self.model = ModernBert(config, attention=attention)
        self.head = PredictionHead(config)
        self.classifier = nn.Linear(config.hidden_size, self.settings.labels)
        initialise(self, config)

    def forward(
        self,
        input_ids: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        labels: Tensor | None = None,
        dropout_keys: Tensor | None = None,
    ) -> HeadOutput:
        """`labels`: int64 (segments,) classes, -100 where there is none; or float (segments, labels) or, of one label, (segments,)."""
        vectors = pooled(self.model, input_ids, cu_seqlens, max_seqlen, self.settings.pooling, dropout_keys)
        logits = self.classifier(_thinned(self.head(vectors), self, of_segments(dropout_keys, cu_seqlens)))
        return HeadOutput(logits, None if labels is None else self._loss(logits, labels))

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        problem = self.settings.problem
        if problem is None and self.settings.labels == 1:
            problem = "regression"
        elif problem is None:
            problem = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
        if problem == "single_label_classification":
            check_labels(labels, (len(logits),), self.settings.labels, "segment", ignore=IGNORED)
            return F.cross_entropy(logits, labels, ignore_index=IGNORED)
        alone = self.settings.labels == 1 and labels.shape == (len(logits),)
        if not (alone and problem == "regression") and labels.shape != logits.shape:
            raise ModelError(f"labels: {tuple(labels.shape)}; give {tuple(logits.shape)}, a row for each segment, a number for each label")
        if problem == "regression":
            return F.mse_loss(logits.view(labels.shape), labels.to(logits.dtype))
        if not labels.is_floating_point():
            raise ModelError(f"labels: {labels.dtype}; give floats from 0 to 1 where a segment may have many labels")
        return F.binary_cross_entropy_with_logits(logits, labels)


class TokenClassification(nn.Module):
    """One answer a token: logits (tokens, labels)."""

    def __init__(self, config: ModernBertConfig, head: HeadConfig | None = None, *, attention: str = "auto") -> None:
        super().__init__()
        self.config, self.settings = config, head or HeadConfig()
        self.model = ModernBert(config, attention=attention)
        self.head = PredictionHead(config)
        self.classifier = nn.Linear(config.hidden_size, self.settings.labels)
        initialise(self, config)

    def forward(
        self,
        input_ids: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        labels: Tensor | None = None,
        dropout_keys: Tensor | None = None,
    ) -> HeadOutput:
        """`labels`: int64 (tokens,), -100 where there is none."""
        hidden = self.head(self.model(input_ids, cu_seqlens, max_seqlen, None, dropout_keys))
        logits = self.classifier(_thinned(hidden, self, dropout_keys))
        if labels is None:
            return HeadOutput(logits, None)
        check_labels(labels, (len(logits),), self.settings.labels, "token", ignore=IGNORED)
        return HeadOutput(logits, F.cross_entropy(logits, labels, ignore_index=IGNORED))


@dataclass(frozen=True)
class SpanOutput:
    """Logits (tokens,) of each token being where the answer begins, and where it ends; with labels the mean `loss`."""

    start_logits: Tensor
    end_logits: Tensor
    loss: Tensor | None


class QuestionAnswering(nn.Module):
    """Where in each segment the answer begins and ends."""

    def __init__(self, config: ModernBertConfig, head: HeadConfig | None = None, *, attention: str = "auto") -> None:
        super().__init__()
        self.config, self.settings = config, head or HeadConfig()
        if self.settings.labels != 2:
            raise ModelError(f"head.labels is {self.settings.labels}; question answering has 2, where an answer begins and ends")
        self.model = ModernBert(config, attention=attention)
        self.head = PredictionHead(config)
        self.classifier = nn.Linear(config.hidden_size, 2)
        initialise(self, config)

    def forward(
        self,
        input_ids: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        dropout_keys: Tensor | None = None,
    ) -> SpanOutput:
        """`start_positions`, `end_positions`: int64 (segments,), places within the segment.

        One past its end counts for nothing, as in transformers, and so does -100. Another negative one is refused on a CPU, where
        transformers takes it for 0; one of the two without the other always.
        """
        if (start_positions is None) != (end_positions is None):
            lacking = "start_positions" if start_positions is None else "end_positions"
            raise ModelError(f"{lacking}: not given; give both, or neither for no loss")
        hidden = self.head(self.model(input_ids, cu_seqlens, max_seqlen, None, dropout_keys))
        start, end = self.classifier(_thinned(hidden, self, dropout_keys)).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            begins = _pointing("start_positions", start, cu_seqlens, start_positions)
            loss = (begins + _pointing("end_positions", end, cu_seqlens, end_positions)) / 2
        return SpanOutput(start, end, loss)


def _pointing(name: str, logits: Tensor, cu_seqlens: Tensor, positions: Tensor) -> Tensor:
    """Mean cross-entropy of a softmax over each segment's tokens against the right one. `name` is for errors."""
    shape = (len(cu_seqlens) - 1,)
    if positions.dtype != torch.int64 or positions.shape != shape:
        raise ModelError(f"{name}: {positions.dtype} {tuple(positions.shape)}; give int64 {shape}, one for each segment")
    if positions.device.type == "cpu" and (wrong := (positions < 0) & (positions != IGNORED)).any():
        raise ModelError(f"{name}: {int(positions[wrong][0])} is no place; give 0 or more, or {IGNORED} where there is no answer")
    lengths = cu_seqlens.diff().long()
    rows = torch.nn.utils.rnn.pad_sequence(list(torch.split(logits, lengths.tolist())), batch_first=True, padding_value=float("-inf"))
    return F.cross_entropy(rows, torch.where(positions < lengths, positions, IGNORED), ignore_index=IGNORED)


class MultipleChoice(nn.Module):
    """Which of a question's choices is right: logits (questions, choices)."""

    def __init__(self, config: ModernBertConfig, head: HeadConfig | None = None, *, attention: str = "auto") -> None:
        super().__init__()
        self.config, self.settings = config, head or HeadConfig(labels=1)
        self.model = ModernBert(config, attention=attention)
        self.head = PredictionHead(config)
        self.classifier = nn.Linear(config.hidden_size, 1)
        initialise(self, config)

    def forward(
        self,
        input_ids: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        choices: int,
        labels: Tensor | None = None,
        dropout_keys: Tensor | None = None,
    ) -> HeadOutput:
        """Segments are the choices, those of one question side by side; `labels`: int64 (questions,), the right one's number.

        Raises: `ModelError` where the segments are not a multiple of `choices`.
        """
        segments = len(cu_seqlens) - 1
        if choices < 1 or segments % choices:
            raise ModelError(f"choices: {segments} segments are not so many questions of {choices} choices each")
        vectors = pooled(self.model, input_ids, cu_seqlens, max_seqlen, self.settings.pooling, dropout_keys)
        logits = self.classifier(_thinned(self.head(vectors), self, of_segments(dropout_keys, cu_seqlens))).view(-1, choices)
        if labels is None:
            return HeadOutput(logits, None)
        check_labels(labels, (len(logits),), choices, "question", ignore=IGNORED)
        return HeadOutput(logits, F.cross_entropy(logits, labels, ignore_index=IGNORED))


class Embedding(nn.Module):
    """One vector a segment, (segments, hidden size): sentence-transformers' Transformer, Pooling and, if `unit`, Normalize."""

    def __init__(self, config: ModernBertConfig, *, pooling: str = "mean", unit: bool = True, attention: str = "auto") -> None:
        super().__init__()
        self.settings = HeadConfig(pooling=pooling)
        self.config, self.unit = config, unit
        self.model = ModernBert(config, attention=attention)
        initialise(self, config)

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_keys: Tensor | None = None) -> Tensor:
        vectors = pooled(self.model, input_ids, cu_seqlens, max_seqlen, self.settings.pooling, dropout_keys)
        return F.normalize(vectors, dim=-1) if self.unit else vectors


class LateInteraction(nn.Module):
    """One short unit vector a token, (tokens, size), compared token by token (ColBERT: Khattab and Zaharia 2020, arXiv 2004.12832)."""

    def __init__(self, config: ModernBertConfig, *, size: int = 128, attention: str = "auto") -> None:
        super().__init__()
        if size < 1:
            raise ModelError(f"late interaction: size is {size}; it must be at least 1")
        self.config = config
        self.model = ModernBert(config, attention=attention)
        self.linear = nn.Linear(config.hidden_size, size, bias=False)
        initialise(self, config)

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor, max_seqlen: int, dropout_keys: Tensor | None = None) -> Tensor:
        return F.normalize(self.linear(self.model(input_ids, cu_seqlens, max_seqlen, None, dropout_keys)), dim=-1)


def late_interaction_scores(queries: Tensor, query_bounds: Tensor, documents: Tensor, document_bounds: Tensor) -> Tensor:
    """How well each document answers each query, (queries, documents): for each of the query's tokens its best match, summed.

    Args: vectors (tokens, size) of all segments end to end, and their bounds (`cu_seqlens`).
    """
    rows = []
    for query in torch.split(queries, query_bounds.diff().tolist()):
        similar = query @ documents.T
        best = [part.amax(1).sum() for part in torch.split(similar, document_bounds.diff().tolist(), dim=1)]
        rows.append(torch.stack(best))
    return torch.stack(rows)

"""Retrieval: each query is to be nearest to its text, among all texts of the batch (van den Oord et al. 2018; Karpukhin et al. 2020).

A text of the batch that is known to answer a query, as its own or as another example's, is no negative to it: its softmax leaves it out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernel.random import uniform
from model import Embedding, HeadConfig, LateInteraction, bridge
from model.bridge.modules import listed
from trainer.errors import TrainerError
from trainer.tuning import metrics
from trainer.tuning.config import DenseConfig, LateInteractionConfig, RetrievalConfig
from trainer.tuning.passes import Passes, accumulated
from trainer.tuning.tasks import Data, Start, Task, columns, encoder_of, rows_of_split, texts_of
from trainer.tuning.texts import Cutting, Ints, Ragged, TextTokens

R = TypeVar("R", bound=RetrievalConfig)
_SIDES = 1 << 10  # segments that a sample may have: its query, its text, negatives


class Retrieval(Task[R], Generic[R]):
    """What dense retrieval and late interaction share."""

    by_token = False  # whether the module's output has a row a token

    @abstractmethod
    def similar(self, queries: Tensor, query_bounds: Ints, texts: Tensor, text_bounds: Ints) -> Tensor:
        """Similarities (queries, texts) of vectors end to end; bounds are of segments within them."""

    def check(self, examples: pa.Table) -> None:
        super().check(examples)
        if "label" in examples.column_names:
            columns(examples, ["label"])
            try:
                grades = examples["label"].cast(pa.float64()).to_numpy()
            except pa.ArrowInvalid as error:
                raise TrainerError(
                    "examples: a label is no number; of retrieval it says how well a text answers, leave it out for 1"
                ) from error
            if not (grades > 0).all():
                raise TrainerError("examples: a label is not above 0; of retrieval an example is a query and a text that answers it")
        if "negatives" in examples.column_names:
            columns(examples, ["negatives"])

    def data(self, examples: pa.Table, split: str, tokens: TextTokens, cutting: Cutting, candidates: Sequence[str]) -> Data:
        config, rows = self.config, rows_of_split(examples, split)
        queries, texts = texts_of(examples, "query", rows), texts_of(examples, "text", rows)
        learnt = split == "train"
        extra = examples["negatives"].take(pa.array(rows)).to_pylist() if learnt and "negatives" in examples.column_names else []
        if any(len(each) > _SIDES - 2 for each in extra):
            raise TrainerError(f"examples: a query has more than {_SIDES - 2} negatives; leave some out")
        query_at: dict[str, int] = {}
        text_at: dict[str, int] = {}
        of_query = np.array([query_at.setdefault(query, len(query_at)) for query in queries], np.int64)
        of_text = np.array([text_at.setdefault(text, len(text_at)) for text in texts], np.int64)
        against = [np.array([text_at.setdefault(text, len(text_at)) for text in each], np.int64) for each in extra]
        if not learnt:
            others = list(dict.fromkeys(text for text in candidates if text not in text_at))
            most = config.validation_candidates
            if split == "validation" and most is not None and len(others) > most:
                drawn = np.argsort(uniform(0, "candidates", others), kind="stable")[:most]
                others = [others[number] for number in np.sort(drawn)]
            for text in others:
                text_at[text] = len(text_at)
        room = config.query_length or cutting.longest
        cutting.what = "queries"
        shorter = Cutting(min(room, cutting.longest), cutting.cut, "queries")
        asked = tokens.single([config.query_prompt + query for query in query_at], shorter)
        cutting.seen, cutting.over, cutting.most = (
            cutting.seen + shorter.seen, cutting.over + shorter.over, max(cutting.most, shorter.most))  # fmt: skip
        cutting.what = "texts"
        given = tokens.single([config.text_prompt + text for text in text_at], cutting)
        grades = (
            examples["label"].take(pa.array(rows)).cast(pa.float64()).to_numpy() if "label" in examples.column_names else np.ones(len(rows))
        )
        known = np.unique(of_query * len(text_at) + of_text)
        more = {"texts": given, "of_query": of_query, "of_text": of_text, "negatives": against, "known": known, "grades": grades}
        # an item of learning is a query with a text, of judging a query with all its texts
        if learnt:
            return Data(asked, rows, more)
        return Data(asked, rows[np.unique(of_query, return_index=True)[1]], more)

    def learn(self, module: nn.Module, data: Data, batch: Ints, first: int, passes: Passes) -> float:
        more = data.more
        queries, own = more["of_query"][batch], more["of_text"][batch]
        extra = [
            (row, text, number)
            for row, item in enumerate(batch)
            if more["negatives"]
            for number, text in enumerate(more["negatives"][item])
        ]
        texts = np.concatenate([own, np.array([text for _, text, _ in extra], np.int64)])
        samples = first + np.arange(len(batch))
        numbers = [
            samples * _SIDES,
            samples * _SIDES + 1,
            np.array([(first + row) * _SIDES + 2 + number for row, _, number in extra], np.int64),
        ]
        segments = _stacked(data.segments.take(queries), more["texts"].take(texts))
        hidden = torch.from_numpy(_no_negatives(queries, texts, more["known"], len(more["texts"]))).to(passes.device)
        count, temperature = len(batch), self.config.temperature  # type: ignore[attr-defined]
        right = torch.arange(count, device=passes.device)

        def loss_of(vectors: Tensor, segments: Ragged) -> Tensor:
            at = int(segments.bounds[count]) if self.by_token else count
            bounds = segments.bounds
            scores = self.similar(vectors[:at], bounds[: count + 1], vectors[at:], bounds[count:] - bounds[count]) / temperature
            scores = scores.masked_fill(hidden, float("-inf"))
            loss = F.cross_entropy(scores, right)
            return (loss + F.cross_entropy(scores[:, :count].T, right)) / 2 if self.config.both_ways else loss

        return accumulated(module, segments, np.concatenate(numbers), passes, self.by_token, loss_of)

    @torch.no_grad()
    def outputs(self, module: nn.Module, data: Data, passes: Passes) -> dict[str, Any]:
        texts: Ragged = data.more["texts"]
        asked, given = self.vectors(module, data.segments, passes), self.vectors(module, texts, passes)
        rank, value = np.empty(len(data), np.int64), np.empty(len(data), np.float64)
        of_query, of_text, grades = data.more["of_query"], data.more["of_text"], data.more["grades"]
        for begin in range(0, len(data), 64):
            chosen = np.arange(begin, min(begin + 64, len(data)))
            scores = self._scores(asked, data.segments, chosen, given, texts)
            for query, row in zip(chosen.tolist(), scores, strict=True):
                mine = np.flatnonzero(of_query == query)
                places, first = np.unique(of_text[mine], return_index=True)
                rank[query], value[query] = metrics.retrieval(row, places, grades[mine][first])
        return {"rank": rank, "score": value}

    def _scores(self, asked: Tensor, queries: Ragged, chosen: Ints, given: Tensor, texts: Ragged) -> npt.NDArray[np.float32]:
        """Similarities of some queries to all texts: float32 (chosen, texts)."""
        if not self.by_token:
            every = np.arange(len(texts) + 1)
            found: npt.NDArray[np.float32] = self.similar(asked[chosen], np.arange(len(chosen) + 1), given, every).numpy()
            return found
        bounds = queries.bounds[chosen[0] : chosen[-1] + 2]
        parts = []
        for begin in range(0, len(texts), 256):  # memory is bounded by so many texts' tokens
            edges = texts.bounds[begin : begin + 257]
            parts.append(self.similar(asked[bounds[0] : bounds[-1]], bounds - bounds[0], given[edges[0] : edges[-1]], edges - edges[0]))
        return torch.cat(parts, 1).numpy()

    def vectors(self, module: nn.Module, segments: Ragged, passes: Passes) -> Tensor:
        """float32 (segments or tokens, size), on the CPU."""
        found: list[Tensor] = [torch.empty(0)]
        place = Ragged(np.arange(len(segments.values)), segments.bounds)

        def gather(part: Ints, output: Tensor) -> None:
            if not found[0].numel():
                found[0] = torch.empty(len(segments.values) if self.by_token else len(segments), output.shape[1])
            rows = place.take(part).values if self.by_token else part
            found[0][torch.from_numpy(rows)] = output.float().cpu()

        passes.all(module, segments, gather)
        return found[0]

    def scores(self, outputs: dict[str, Any]) -> dict[str, float]:
        rank = np.asarray(outputs["rank"], np.float64)
        return {
            "ndcg_at_10": float(np.mean(outputs["score"])),
            "mrr": float(np.mean(1 / rank)),
            "recall_at_1": float(np.mean(rank <= 1)),
            "recall_at_10": float(np.mean(rank <= 10)),
        }


def _stacked(one: Ragged, other: Ragged) -> Ragged:
    """The rows of both, one after the other."""
    return Ragged(np.concatenate([one.values, other.values]), np.concatenate([one.bounds, other.bounds[1:] + one.bounds[-1]]))


def _no_negatives(queries: Ints, texts: Ints, known: Ints, count: int) -> npt.NDArray[np.bool_]:
    """Which texts of a batch answer which queries besides their own: bool (queries, texts). `known`: query * count + text, sorted."""
    found = np.isin(queries[:, None] * count + texts[None], known)
    found[np.arange(len(queries)), np.arange(len(queries))] = False
    return found


class Dense(Retrieval[DenseConfig]):
    """One vector a text."""

    def module(self, start: Start) -> nn.Module:
        config: Any = self.config
        if not hasattr(start, "joinpath"):
            return encoder_of(start, Embedding, pooling=config.pooling, unit=config.unit)
        model: Any = bridge.load_as(start, Embedding, HeadConfig(pooling=config.pooling))  # type: ignore[arg-type]
        model.unit = config.unit
        result: nn.Module = model
        return result

    def similar(self, queries: Tensor, query_bounds: Ints, texts: Tensor, text_bounds: Ints) -> Tensor:
        return queries @ texts.T


class Late(Retrieval[LateInteractionConfig]):
    """A vector a token."""

    by_token = True

    def module(self, start: Start) -> nn.Module:
        size = self.config.size
        if not hasattr(start, "joinpath"):
            return encoder_of(start, LateInteraction, size=size)
        folder: Any = start
        if {kind for kind, _ in listed(folder)} >= {"Dense"}:
            model: Any = bridge.load_as(folder, LateInteraction)
            if model.linear.out_features == size:
                result: nn.Module = model
                return result
        return bridge.load_as(folder, LateInteraction, size=size)

    def similar(self, queries: Tensor, query_bounds: Ints, texts: Tensor, text_bounds: Ints) -> Tensor:
        """MaxSim. Texts are padded to the longest, so that the best match is one reduction."""
        lengths = torch.from_numpy(np.diff(text_bounds)).to(texts.device)
        most = int(lengths.max())
        real = torch.arange(most, device=texts.device)[None] < lengths[:, None]
        place = torch.from_numpy(text_bounds[:-1]).to(texts.device)[:, None] + torch.arange(most, device=texts.device)
        each = (queries @ texts.T)[:, place.clamp(max=len(texts) - 1)].masked_fill(~real, float("-inf")).amax(2)  # (query tokens, texts)
        of_query = torch.from_numpy(np.repeat(np.arange(len(query_bounds) - 1), np.diff(query_bounds))).to(texts.device)
        return torch.zeros(len(query_bounds) - 1, len(lengths), device=texts.device).index_add(0, of_query, each)

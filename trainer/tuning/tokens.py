"""Tasks with an answer for tokens: tags of words, and the span that answers a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import HeadConfig, QuestionAnswering, TokenClassification
from trainer.errors import TrainerError
from trainer.tuning import metrics
from trainer.tuning.config import AnswerConfig, TagConfig
from trainer.tuning.labelled import ByItem
from trainer.tuning.passes import Passes
from trainer.tuning.tasks import Data, Start, known_labels, rows_of_split, texts_of, with_head
from trainer.tuning.texts import Cutting, Ints, Ragged, TextTokens, joined

IGNORED = -100


class Tag(ByItem[TagConfig]):
    """A class for each word, learnt and read at its first token."""

    @property
    def head(self) -> HeadConfig:
        """What the head is."""
        return HeadConfig(len(self.labels), dropout=self.config.dropout, names=self.labels)

    def module(self, start: Start) -> nn.Module:
        return with_head(start, TokenClassification, self.head)

    def check(self, examples: pa.Table) -> None:
        super().check(examples)
        for name in self.config.columns:
            kind = examples[name].type
            if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
                raise TrainerError(f"examples: column {name} is of {kind}; give a list for each example, an entry for each word")
        named = _lists(examples, "labels")
        for row, (words, labels) in enumerate(zip(examples["words"].to_pylist(), named, strict=True)):
            if len(words) != len(labels):
                raise TrainerError(f"examples: row {row} has {len(words)} words and {len(labels)} labels; give one for each word")
            if not words or not all(word and not word.isspace() for word in words):
                raise TrainerError(f"examples: row {row} has no words, or an empty one; leave such out")
        trained = [label for row in rows_of_split(examples, "train") for label in named[row]]
        self.labels = known_labels(self.config.labels, trained, [label for labels in named for label in labels])

    def data(self, examples: pa.Table, split: str, tokens: TextTokens, cutting: Cutting, candidates: Sequence[str]) -> Data:
        rows = rows_of_split(examples, split)
        words = [examples["words"][int(row)].as_py() for row in rows]
        named = _lists(examples.select(["labels"]).take(pa.array(rows)), "labels")
        ids, _, ends = tokens.located([" ".join(each) for each in words])
        cutting.look(ids.lengths + 2)
        kept = ids.head(np.full(len(ids), cutting.longest - 2))
        segments = joined(tokens.cls, kept, tokens.sep)
        numbers = {label: number for number, label in enumerate(self.labels)}
        targets, first = np.full(len(segments.values), IGNORED, np.int64), []
        for item, labels in enumerate(named):
            length = int(kept.lengths[item])
            # a token is of the word that its last character stands in; a blank is of the word after it, as in pretraining
            bounds = np.cumsum([len(word) + 1 for word in words[item]]) - 1
            of_word = np.searchsorted(bounds, np.maximum(ends.values[ends.bounds[item] :][:length] - 1, 0), side="right")
            found, places = np.unique(of_word, return_index=True)
            at = np.full(len(labels), -1, np.int64)
            at[found] = segments.bounds[item] + 1 + places
            targets[at[found]] = [numbers[labels[word]] for word in found]
            first.append(at)
        return Data(segments, rows, {"targets": targets, "first": first, "labels": named})

    def weight(self, data: Data, batch: Ints) -> float:
        return float(sum(int((data.more["first"][item] >= 0).sum()) for item in batch))

    def loss(self, output: Any, data: Data, items: Ints) -> Tensor:
        logits = output.logits.float()
        targets = Ragged(data.more["targets"], data.segments.bounds).take(items).values
        return F.cross_entropy(logits, torch.from_numpy(targets).to(logits.device), ignore_index=IGNORED, reduction="sum")

    def outputs(self, module: nn.Module, data: Data, passes: Passes) -> dict[str, Any]:
        found = np.zeros(len(data.segments.values), np.int64)

        def gather(part: Ints, output: Any) -> None:
            best = output.logits.argmax(-1).cpu().numpy()
            places = Ragged(np.arange(len(found)), data.segments.bounds).take(part).values
            found[places] = best

        passes.all(module, data.segments, gather)
        # what was cut off is said to be outside, or else of the first class
        absent = self.labels.index("O") if "O" in self.labels else 0
        said = [[self.labels[found[at] if at >= 0 else absent] for at in places] for places in data.more["first"]]
        right = [
            float(np.mean([a == b for a, b in zip(one, other, strict=True)])) for one, other in zip(said, data.more["labels"], strict=True)
        ]
        return {"prediction": said, "label": data.more["labels"], "score": np.array(right)}

    def scores(self, outputs: dict[str, Any]) -> dict[str, float]:
        return metrics.tagging(outputs["prediction"], outputs["label"])


def _lists(examples: pa.Table, name: str) -> list[list[str]]:
    """A column of lists, as texts."""
    return [[str(label) for label in labels] for labels in examples[name].to_pylist()]


class Answer(ByItem[AnswerConfig]):
    """Where in the text the answer begins and ends. An empty answer is that there is none: both point to `[CLS]`."""

    def module(self, start: Start) -> nn.Module:
        return with_head(start, QuestionAnswering, HeadConfig(2, dropout=self.config.dropout))

    def check(self, examples: pa.Table) -> None:
        super().check(examples)
        for row, (text, answer, start) in enumerate(
            zip(*(examples[name].to_pylist() for name in ("text", "answer", "start")), strict=True)
        ):
            if answer and text[int(start) : int(start) + len(answer)] != answer:
                raise TrainerError(f"examples: row {row}: the answer {answer[:40]!r} does not stand at character {start} of its text")

    def data(self, examples: pa.Table, split: str, tokens: TextTokens, cutting: Cutting, candidates: Sequence[str]) -> Data:
        rows = rows_of_split(examples, split)
        texts, answers = texts_of(examples, "text", rows), texts_of(examples, "answer", rows)
        starts = examples["start"].take(pa.array(rows)).to_pylist()
        questions = tokens.ids(texts_of(examples, "query", rows))
        ids, begins, ends = tokens.located(texts)
        cutting.what = "questions with their texts"
        cutting.look(questions.lengths + ids.lengths + 3)
        if (long := questions.lengths > cutting.longest - 4).any():
            raise TrainerError(f"task.max_length: {int(long.sum()):,} questions leave no room for their text; raise it, or leave them out")
        kept = ids.head(cutting.longest - 3 - questions.lengths)
        segments = joined(tokens.cls, questions, tokens.sep, kept, tokens.sep)
        targets = np.zeros((len(rows), 2), np.int64)
        for item, (answer, start) in enumerate(zip(answers, starts, strict=True)):
            if answer:
                length = int(kept.lengths[item])
                first, last = (part.values[part.bounds[item] :][:length] for part in (begins, ends))
                within = np.flatnonzero((last > start) & (first < start + len(answer)))
                whole = len(within) and last[within[-1]] >= start + len(answer)
                shift = int(questions.lengths[item]) + 2
                targets[item] = (within[0] + shift, within[-1] + shift) if whole else IGNORED
        return Data(segments, rows, {"targets": targets, "texts": texts, "answers": answers, "questions": questions.lengths,
                                     "begins": begins, "ends": ends, "kept": kept.lengths})  # fmt: skip

    def weight(self, data: Data, batch: Ints) -> float:
        return float((data.more["targets"][batch, 0] != IGNORED).sum())

    def loss(self, output: Any, data: Data, items: Ints) -> Tensor:
        lengths = data.segments.lengths[items].tolist()
        wanted = torch.from_numpy(data.more["targets"][items]).to(output.start_logits.device)
        losses = []
        for logits, places in ((output.start_logits, wanted[:, 0]), (output.end_logits, wanted[:, 1])):
            rows = torch.nn.utils.rnn.pad_sequence(
                list(torch.split(logits.float(), lengths)), batch_first=True, padding_value=float("-inf")
            )
            losses.append(F.cross_entropy(rows, places, ignore_index=IGNORED, reduction="sum"))
        return (losses[0] + losses[1]) / 2

    def outputs(self, module: nn.Module, data: Data, passes: Passes) -> dict[str, Any]:
        said: list[str] = [""] * len(data)

        def gather(part: Ints, output: Any) -> None:
            lengths = data.segments.lengths[part].tolist()
            pieces = (torch.split(logits.float().cpu(), lengths) for logits in (output.start_logits, output.end_logits))
            for item, begin, end in zip(part.tolist(), *pieces, strict=True):
                said[item] = self._span(data, item, begin.numpy(), end.numpy())

        passes.all(module, data.segments, gather)
        pairs = [metrics.answer_scores(one, other) for one, other in zip(said, data.more["answers"], strict=True)]
        exact, f1 = (np.array([pair[which] for pair in pairs], np.float64) for which in (0, 1))
        return {"prediction": said, "label": data.more["answers"], "score": f1, "exact": exact}

    def _span(self, data: Data, item: int, begin: Any, end: Any) -> str:
        """The best span of the text, or "" where `[CLS]` is better."""
        shift, length = int(data.more["questions"][item]) + 2, int(data.more["kept"][item])
        best, first, last = begin[0] + end[0], 0, -1
        for more in range(min(length, self.config.longest_answer)):  # spans of more + 1 tokens
            scores = begin[shift : shift + length - more] + end[shift + more : shift + length]
            place = int(scores.argmax())
            if scores[place] > best:
                best, first, last = scores[place], place, place + more
        if last < 0:
            return ""
        at = data.more["begins"].bounds[item]
        text: str = data.more["texts"][item][data.more["begins"].values[at + first] : data.more["ends"].values[at + last]]
        return text.strip()

    def scores(self, outputs: dict[str, Any]) -> dict[str, float]:
        return {"f1": float(np.mean(outputs["score"])), "exact": float(np.mean(outputs["exact"]))}

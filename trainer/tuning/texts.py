"""Texts as segments of ids laid end to end, and how they are put into micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from trainer.errors import TrainerError

Ints = npt.NDArray[np.int64]


class Encodes(Protocol):
    """What a tokenizer must do: `tokenizer.Encoder` does."""

    @property
    def tokenizer(self) -> Any:
        """`tokenizers.Tokenizer`, without special tokens: it tells where in a text a token stands."""

    def encode(self, texts: list[str]) -> Any:
        """Ids of each text, as an Arrow list array, without special tokens."""


class Specials(Protocol):
    """The special ids that a segment has: `tokenizer.SpecialIds` does."""

    @property
    def cls(self) -> int: ...
    @property
    def sep(self) -> int: ...


@dataclass(frozen=True)
class Ragged:
    """Rows of numbers of different lengths: `values` int64 (all,), and `bounds` int64 (rows + 1,)."""

    values: Ints
    bounds: Ints

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> Ints:
        """Numbers in each row: int64 (rows,)."""
        return np.diff(self.bounds)

    def take(self, rows: Ints) -> Ragged:
        """These rows, in this order."""
        lengths = self.lengths[rows]
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(bounds[-1]) + np.repeat(self.bounds[:-1][rows] - bounds[:-1], lengths)
        return Ragged(self.values[places], bounds)

    def head(self, lengths: Ints) -> Ragged:
        """The first so many numbers of each row, or all where it has fewer."""
        lengths = np.minimum(lengths, self.lengths)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        return Ragged(self.values[np.arange(bounds[-1]) + np.repeat(self.bounds[:-1] - bounds[:-1], lengths)], bounds)

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | Ints]) -> Ragged:
        """From lists."""
        parts = [np.asarray(row, np.int64) for row in rows]
        lengths = [len(part) for part in parts]
        return cls(np.concatenate([np.zeros(0, np.int64), *parts]), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def joined(*columns: Ragged | int) -> Ragged:
    """Rows that are the columns' rows end to end; a number stands in every row."""
    rows = next(len(column) for column in columns if isinstance(column, Ragged))
    lengths = sum(
        (column.lengths if isinstance(column, Ragged) else np.ones(rows, np.int64) for column in columns), np.zeros(rows, np.int64)
    )
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    values, at = np.empty(bounds[-1], np.int64), bounds[:-1].copy()
    for column in columns:
        if isinstance(column, Ragged):
            values[np.arange(len(column.values)) + np.repeat(at - column.bounds[:-1], column.lengths)] = column.values
            at += column.lengths
        else:
            values[at] = column
            at += 1
    return Ragged(values, bounds)


@dataclass
class Cutting:
    """The longest that a segment may be, and what becomes of longer ones: counted, and cut only where that is asked for."""

    longest: int  # tokens of a segment, its special tokens included
    cut: bool
    what: str = "texts"
    seen: int = 0  # segments looked at
    over: int = 0  # of them longer
    most: int = 0  # tokens of the longest

    def look(self, lengths: Ints) -> None:
        """Count segments by their tokens, special ones included. Raises `TrainerError` where some are too long and must not be cut."""
        self.seen += len(lengths)
        self.over += int((lengths > self.longest).sum())
        self.most = max(self.most, int(lengths.max(initial=0)))
        if self.over and not self.cut:
            raise TrainerError(
                f"task.max_length: {self.over:,} of {self.seen:,} {self.what} are longer than the {self.longest:,} tokens that are taken "
                f"(the longest has {self.most:,}); set task.cut to true, or leave them out"
            )


class TextTokens:
    """A tokenizer as tuning uses it: texts to segments `[CLS] text [SEP]`, or `[CLS] one [SEP] other [SEP]`.

    `encoder`: a `tokenizer.Encoder`; `specials`: the folder's `tokenizer.special_ids`. No text brings in a special token.
    """

    def __init__(self, encoder: Encodes, specials: Specials) -> None:
        self.encoder, self.cls, self.sep = encoder, specials.cls, specials.sep

    def ids(self, texts: Sequence[str]) -> Ragged:
        """Ids of each text alone."""
        found = self.encoder.encode(list(texts))
        offsets = np.asarray(found.offsets, np.int64)
        values = np.asarray(found.values, np.int64)
        return Ragged(values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def single(self, texts: Sequence[str], cutting: Cutting) -> Ragged:
        """A segment for each text; one too long loses its end."""
        ids = self.ids(texts)
        cutting.look(ids.lengths + 2)
        return joined(self.cls, ids.head(np.full(len(ids), cutting.longest - 2)), self.sep)

    def paired(self, one: Sequence[str], other: Sequence[str], cutting: Cutting) -> Ragged:
        """A segment for each pair; where it is too long, the longer text of the two loses its end first."""
        first, second = self.ids(one), self.ids(other)
        cutting.look(first.lengths + second.lengths + 3)
        room = cutting.longest - 3
        a, b = first.lengths, second.lengths
        short = np.minimum(np.minimum(a, b), room // 2)  # what the shorter one has left
        fits = a + b <= room
        keep_a = np.where(fits, a, np.where(a <= b, short, room - short))
        keep_b = np.where(fits, b, np.where(a <= b, room - short, short))
        return joined(self.cls, first.head(keep_a), self.sep, second.head(keep_b), self.sep)

    def located(self, texts: Sequence[str]) -> tuple[Ragged, Ragged, Ragged]:
        """Ids of each text alone, and the characters at which each token begins and ends."""
        found = self.encoder.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        begins = [[begin for begin, _ in one.offsets] for one in found]
        ends = [[end for _, end in one.offsets] for one in found]
        return Ragged.of([one.ids for one in found]), Ragged.of(begins), Ragged.of(ends)


def packs(lengths: Ints, budget: int) -> Iterator[slice]:
    """Consecutive segments that go through the model at once: as many as have `budget` tokens together, at least one."""
    ends = np.cumsum(lengths)
    begin = 0
    while begin < len(lengths):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + budget, side="right")))
        yield slice(begin, end)
        begin = end

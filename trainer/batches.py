"""Batches: from the number of a sample to tensors. The loader's only state is that number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.shards import Shards
from trainer.keyed import derive
from trainer.masking import MODES, Masking, mask_row
from trainer.order import rows_of

Item = TypeVar("Item")


@dataclass(frozen=True)
class MicroBatch:
    """What goes through the model at once: segments of several rows end to end. All on the CPU."""

    input_ids: Tensor  # int64 (tokens,)
    cu_seqlens: Tensor  # int32 (segments + 1,)
    max_seqlen: int
    positions: Tensor  # int64 (predicted,)
    labels: Tensor  # int64 (predicted,)
    key: int  # of its dropout

    @property
    def tokens(self) -> int:
        return len(self.input_ids)

    @property
    def predicted(self) -> int:
        return len(self.labels)

    def without_labels(self) -> MicroBatch:
        """The same with nothing to predict: what a rank runs that has no samples of its own in a collective step."""
        none = torch.empty(0, dtype=torch.int64)
        return MicroBatch(self.input_ids, self.cu_seqlens, self.max_seqlen, none, none, self.key)


class Source:
    """Samples of one phase: sample i is a row of its shards, by a keyed bijection, masked by a key of its own."""

    def __init__(
        self, shards: Shards, *, seed: int, rate: float, shuffled: bool = True, masking: Masking = "tokens", block: int | None = None
    ) -> None:
        self.shards, self.seed, self.rate, self.shuffled = shards, seed, rate, shuffled
        self.mode, self.block = MODES[masking], block
        self.starts = shards.info.begins_word()

    def rows(self, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The row of each sample."""
        return rows_of(samples, len(self.shards), self.seed, self.block) if self.shuffled else samples

    def ahead(self, samples: npt.NDArray[np.int64]) -> None:
        """Begin to fetch what samples will need, where it is not on this machine."""
        self.shards.ahead(self.rows(samples))

    def micro_batch(self, samples: npt.NDArray[np.int64]) -> MicroBatch:
        """The given samples as one micro-batch."""
        info = self.shards.info
        rows = self.rows(samples)
        self.shards.ahead(rows)
        found = [self.shards[int(row)] for row in rows]
        sizes = [len(row.input_ids) for row in found]
        total = sum(sizes)
        ids = np.empty(total, np.int64)
        positions, labels = np.empty(total, np.int64), np.empty(total, np.int64)
        edges: list[npt.NDArray[np.int32]] = [np.zeros(1, np.int32)]
        at = count = longest = 0
        first, end = info.ordinary
        for sample, row, size in zip(samples, found, sizes, strict=True):
            key = np.uint64(derive(self.seed, "mask", int(sample)))
            span = slice(count, count + size)
            made = mask_row(
                row.input_ids, key, self.rate, first, end, info.mask, self.mode, self.starts,
                ids[at : at + size], positions[span], labels[span],
            )  # fmt: skip
            positions[count : count + made] += at
            edges.append(row.cu_seqlens[1:] + np.int32(at))
            longest = max(longest, int(np.diff(row.cu_seqlens).max()))
            at, count = at + size, count + made
        return MicroBatch(
            torch.from_numpy(ids),
            torch.from_numpy(np.concatenate(edges)),
            longest,
            torch.from_numpy(positions[:count].copy()),
            torch.from_numpy(labels[:count].copy()),
            derive(self.seed, "dropout", int(samples[0])),
        )


def share(first: int, size: int, rank: int, world: int, micro_rows: int) -> list[npt.NDArray[np.int64]]:
    """Which samples of the batch [first, first + size) a rank has, micro-batch by micro-batch.

    The batch is cut, in order, into as few equal pieces of at most `micro_rows` as give every rank equally many, and the pieces
    are dealt to the ranks in turn. A batch of fewer samples than ranks leaves some ranks' micro-batch empty.
    """
    each = -(-size // (world * micro_rows))
    pieces = np.array_split(np.arange(first, first + size, dtype=np.int64), each * world)
    return pieces[rank::world]


def load(source: Source, shares: Sequence[npt.NDArray[np.int64]], first: int) -> list[MicroBatch]:
    """A rank's micro-batches of one batch; where it has no samples, sample `first` with nothing to predict."""
    alone = np.array([first], np.int64)
    return [source.micro_batch(part) if len(part) else source.micro_batch(alone).without_labels() for part in shares]


def ahead(jobs: Iterator[Callable[[], Item]]) -> Iterator[Item]:
    """Run jobs in order on a thread, one ahead of the consumer. What a job raises is raised here, at its turn."""
    with ThreadPoolExecutor(1, thread_name_prefix="loader") as pool:
        waiting: Future[Item] | None = None
        for job in jobs:
            following = pool.submit(job)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()

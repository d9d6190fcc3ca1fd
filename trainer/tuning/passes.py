"""Segments through a model: packed to a budget of tokens, with dropout keyed by segment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.dropout import fold
from trainer.tuning.texts import Ints, Ragged, packs


@dataclass(frozen=True)
class Passes:
    """How segments go through a model: where, in what precision, and how many tokens at once."""

    device: torch.device
    budget: int
    precision: str = "float32"
    key: int = 0  # of dropout, 64 bits with a sign

    def run(self, module: nn.Module, segments: Ragged, numbers: Ints | None = None) -> Any:
        """The module's output of these segments, all at once.

        `numbers`: int64 (segments,), by which alone, and by the place in the segment, dropout goes in training; None: no dropout keys.
        """
        bounds = torch.from_numpy(segments.bounds.astype(np.int32)).to(self.device)
        ids = torch.from_numpy(segments.values).to(self.device)
        keys = None
        if numbers is not None and module.training:
            of_segment = fold(torch.full((len(numbers),), self.key), torch.from_numpy(numbers))
            places = np.arange(len(segments.values)) - np.repeat(segments.bounds[:-1], segments.lengths)
            keys = fold(of_segment.repeat_interleave(torch.from_numpy(segments.lengths)), torch.from_numpy(places)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return module(ids, bounds, int(segments.lengths.max()), dropout_keys=keys)

    def packed(self, segments: Ragged, order: Ints | None = None) -> Iterator[Ints]:
        """Numbers of the segments of each micro-batch, in order, or in the given one."""
        order = np.arange(len(segments)) if order is None else order
        for part in packs(segments.lengths[order], self.budget):
            yield order[part]

    @torch.no_grad()
    def all(self, module: nn.Module, segments: Ragged, gather: Callable[[Ints, Any], None]) -> None:
        """Run all segments without gradients, long ones first and like beside like; `gather` gets their numbers and the output."""
        module.eval()
        for part in self.packed(segments, np.argsort(-segments.lengths, kind="stable")):
            gather(part, self.run(module, segments.take(part)))


def accumulated(
    module: nn.Module, segments: Ragged, numbers: Ints, passes: Passes, by_token: bool, loss_of: Callable[[Tensor, Ragged], Tensor]
) -> float:
    """Gradients of a loss over the vectors of all segments at once, whatever number of them the memory holds; returns the loss.

    Where all segments are one micro-batch, that is plain backpropagation. Otherwise the vectors are worked out without a graph, the loss
    gives the slope of each, and every micro-batch runs again, with the same dropout, to carry its slopes on (GradCache: Gao et al. 2021,
    arXiv 2101.06983).

    Args:
        by_token: the module's output has a row a token, not a segment.
        loss_of: the loss () of vectors (segments or tokens, size), in the order of the segments, which it gets too.
    """
    parts = list(passes.packed(segments))
    if len(parts) == 1:
        loss = loss_of(passes.run(module, segments, numbers).float(), segments)
        loss.backward()
        return float(loss.detach())
    with torch.no_grad():
        vectors = [passes.run(module, segments.take(part), numbers[part]).float() for part in parts]
    leaf = torch.cat(vectors).requires_grad_()
    loss = loss_of(leaf, segments)
    loss.backward()
    assert leaf.grad is not None, "the loss is of these vectors"
    sizes = [int(segments.lengths[part].sum()) if by_token else len(part) for part in parts]
    for part, slope in zip(parts, torch.split(leaf.grad, sizes), strict=True):
        found = passes.run(module, segments.take(part), numbers[part])
        torch.autograd.backward(found, slope.to(found.dtype))
    return float(loss.detach())

"""By what losses are told apart: the domain of a token's segment, and the class of the segment's length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

STARTS = (1, 128, 512, 2048, 8192)  # the shortest segment of each class, in tokens
LENGTHS = (*(f"{start}-{end - 1}" for start, end in pairwise(STARTS)), f"{STARTS[-1]}-")


@dataclass(frozen=True)
class Groups:
    """All groups of a run, numbered: first its domains, then the classes of length. A token is of two, one of each kind."""

    domains: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many groups there are."""
        return len(self.domains) + len(LENGTHS)

    def of_segments(self, domains: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """The two groups of each segment, from its domain's number and its length: int64 (2, segments)."""
        classes = np.searchsorted(STARTS, lengths, side="right") - 1
        return np.stack([domains, len(self.domains) + classes])

    def sums(self, values: Tensor, groups: Tensor) -> Tensor:
        """The sums over each group of `values` (rows, n) or (n,) of n tokens, whose groups are int64 (2, n): float64 (..., groups).

        By a product of matrices, which adds in the same order each time, as adding by an index does not on a GPU.
        """
        numbers = torch.arange(self.size, device=values.device)
        members = ((groups[0, :, None] == numbers) | (groups[1, :, None] == numbers)).double()
        return values.double() @ members

    def tally(self, losses: Tensor | None = None, predicted: Tensor | None = None, operations: int = 0) -> Tensor:
        """What a rank has measured of a step, whose sum over ranks is that of the whole step: float64 (2 + 2 groups,).

        That is the sum of all losses, the floating-point operations, then for each group its sum of losses and how many tokens were
        predicted. Without arguments: zeros, on the CPU.
        """
        if losses is None or predicted is None:
            return torch.zeros(2 + 2 * self.size, dtype=torch.float64)
        head = torch.stack([losses[: len(self.domains)].sum(), losses.new_tensor(operations)])  # each token is of one domain
        return torch.cat([head, losses, predicted.to(losses)])

    def total(self, sums: Sequence[float]) -> float:
        """The sum over all tokens, of sums over each group."""
        return sum(sums[: len(self.domains)])

    def tables(self, predicted: Sequence[float], **sums: Sequence[float]) -> dict[str, dict[str, dict[str, float]]]:
        """Means over the predicted tokens of each group, as lines of metrics have them; groups of which none was predicted are left out.

        `predicted`: how many there were of each group; `sums`: by name, the sums over each.
        """
        found: dict[str, dict[str, dict[str, float]]] = {"by_domain": {}, "by_length": {}}
        for number, name in enumerate((*self.domains, *LENGTHS)):
            if count := predicted[number]:
                means: dict[str, Any] = {what: values[number] / count for what, values in sums.items()}
                place = found["by_domain" if number < len(self.domains) else "by_length"]
                place[name] = {**means, "predicted_tokens": int(count)}
        return found

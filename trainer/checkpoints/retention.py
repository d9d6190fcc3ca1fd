"""Which checkpoints are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.checkpoints.manifest import Manifest


@dataclass(frozen=True)
class Retention:
    """Keeps the `last` newest, the `best` of the lowest validation loss, and the first of every `tokens` tokens."""

    last: int
    best: int = 0
    tokens: int | None = None

    def kept(self, manifests: Sequence[Manifest]) -> set[int]:
        """The steps of those to keep. The newest always is."""
        ordered = sorted(manifests, key=lambda one: one.step)
        kept = {one.step for one in ordered[-max(1, self.last) :]}
        rated = sorted((one.validation, one.step) for one in ordered if one.validation is not None)
        kept.update(step for _, step in rated[: self.best])
        if self.tokens is not None:
            passed = 0
            for one in ordered:
                if one.tokens // self.tokens > passed:
                    passed = one.tokens // self.tokens
                    kept.add(one.step)
        return kept

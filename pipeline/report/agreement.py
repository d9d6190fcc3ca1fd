"""How far a filter agrees with a person's labels: counts, precision and recall of what is kept, and Cohen's kappa."""

from __future__ import annotations

import math
from dataclasses import dataclass

CONFIDENT = 1.959963984540054  # deviations of a normal distribution within which 95 % lie


@dataclass(frozen=True)
class Agreement:
    """Labelled documents by what the filter does and what the label says."""

    kept_rightly: int = 0
    kept_wrongly: int = 0  # the label drops them
    dropped_wrongly: int = 0  # the label keeps them
    dropped_rightly: int = 0

    @property
    def documents(self) -> int:
        """All that are labelled."""
        return self.kept_rightly + self.kept_wrongly + self.dropped_wrongly + self.dropped_rightly

    @property
    def precision(self) -> float | None:
        """The share of what is kept that the labels keep; None where nothing is kept."""
        kept = self.kept_rightly + self.kept_wrongly
        return self.kept_rightly / kept if kept else None

    @property
    def recall(self) -> float | None:
        """The share of what the labels keep that is kept; None where they keep nothing."""
        wanted = self.kept_rightly + self.dropped_wrongly
        return self.kept_rightly / wanted if wanted else None

    @property
    def kappa(self) -> tuple[float, float, float] | None:
        """Cohen's kappa (1960), and the ends of its 95 % interval by the large-sample variance of Fleiss, Cohen and Everitt (1969).

        None where filter and labels each say one and the same of everything, since agreement by chance is then certain.
        """
        count = self.documents
        if not count:
            return None
        table = ((self.kept_rightly / count, self.kept_wrongly / count), (self.dropped_wrongly / count, self.dropped_rightly / count))
        filters = [sum(row) for row in table]
        labels = [table[0][side] + table[1][side] for side in (0, 1)]
        observed = table[0][0] + table[1][1]
        chance = filters[0] * labels[0] + filters[1] * labels[1]
        if chance >= 1:
            return None
        kappa = (observed - chance) / (1 - chance)
        agreed = sum(table[i][i] * (1 - (filters[i] + labels[i]) * (1 - kappa)) ** 2 for i in (0, 1))
        others = (1 - kappa) ** 2 * sum(table[i][1 - i] * (labels[i] + filters[1 - i]) ** 2 for i in (0, 1))
        variance = (agreed + others - (kappa - chance * (1 - kappa)) ** 2) / (count * (1 - chance) ** 2)
        half = CONFIDENT * math.sqrt(max(0.0, variance))
        return kappa, max(-1.0, kappa - half), min(1.0, kappa + half)

    def plus(self, keep: bool, kept: bool, count: int) -> Agreement:
        """With so many documents more that a label keeps or drops, and the filter keeps or drops."""
        counts = [self.kept_rightly, self.kept_wrongly, self.dropped_wrongly, self.dropped_rightly]
        counts[(0 if keep else 1) if kept else (2 if keep else 3)] += count
        return Agreement(*counts)

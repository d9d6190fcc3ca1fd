"""Metrics of tasks, from outputs of items. Each is defined as its source has it, and larger is better."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def f1_of(right: float, said: float, there: float) -> float:
    """Harmonic mean of precision right / said and recall right / there; 0 where nothing was right."""
    return 2 * right / (said + there) if right else 0.0


def classification(found: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], classes: int) -> dict[str, float]:
    """Accuracy; F1 of the last class, which of two is the positive one; the classes' mean F1; Matthews' correlation (Gorodkin 2004)."""
    table = np.zeros((classes, classes))
    np.add.at(table, (wanted, found), 1)
    right, said, there, total = np.diag(table), table.sum(0), table.sum(1), table.sum()
    each = [f1_of(*values) for values in zip(right.tolist(), said.tolist(), there.tolist(), strict=True)]
    covariance = right.sum() * total - said @ there
    spread = np.sqrt((total**2 - said @ said) * (total**2 - there @ there))
    return {
        "accuracy": float(right.sum() / total),
        "f1": each[-1],
        "macro_f1": float(np.mean(each)),
        "matthews": float(covariance / spread) if spread else 0.0,
    }


def ranks(values: Floats) -> Floats:
    """Ranks from 1 on; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: Floats = (ends - (counts - 1) / 2)[group]
    return mean


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's; 0 where one of the two is constant."""
    a, b = one - one.mean(), other - other.mean()
    spread = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / spread) if spread else 0.0


def regression(found: Floats, wanted: Floats) -> dict[str, float]:
    """Spearman's and Pearson's correlation, and the mean squared error with its sign changed."""
    return {
        "spearman": correlation(ranks(found), ranks(wanted)),
        "pearson": correlation(found, wanted),
        "negative_mse": -float(np.mean((found - wanted) ** 2)),
    }


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(type, first word, end) of each entity, as CoNLL's own script reads B-, I-, E-, S- and O (Sang and Buchholz 2000).

    An entity ends where another type or `B-` begins, and begins at an `I-` that follows none of its type.
    """
    found: set[tuple[str, int, int]] = set()
    kind, begin, before = "", 0, "O"
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, now = tag.partition("-")
        now = now or prefix
        outside = prefix == "O"
        if before != "O" and (outside or prefix in "BS" or before in "ES" or now != kind):
            found.add((kind, begin, place))
            before = "O"
        if not outside and before == "O":
            kind, begin = now, place
        before = "O" if outside else prefix
    return found


def tagging(found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> dict[str, float]:
    """F1 of whole entities (micro), and the share of words that are right. Labels without B- and I- are each word's own entity."""
    plain = not any(tag[:2] in ("B-", "I-", "E-", "S-") for tags in wanted for tag in tags)
    right = said = there = same = words = 0
    for one, other in zip(found, wanted, strict=True):
        mine, theirs = ((_words(tags) if plain else entities(tags)) for tags in (one, other))
        right, said, there = right + len(mine & theirs), said + len(mine), there + len(theirs)
        same, words = same + sum(a == b for a, b in zip(one, other, strict=True)), words + len(other)
    return {"f1": f1_of(right, said, there), "accuracy": same / max(1, words)}


def _words(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    return {(tag, place, place + 1) for place, tag in enumerate(tags) if tag != "O"}


_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(answer: str) -> str:
    """An answer as SQuAD compares it (Rajpurkar et al. 2016): small letters, no punctuation, no articles, single blanks."""
    bare = "".join(character for character in answer.lower() if character not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def answer_scores(found: str, wanted: str) -> tuple[float, float]:
    """Whether an answer is exactly right, and the F1 of its words."""
    one, other = normalised(found), normalised(wanted)
    if not one or not other:
        return float(one == other), float(one == other)
    common = sum((Counter(one.split()) & Counter(other.split())).values())
    return float(one == other), f1_of(common, len(one.split()), len(other.split()))


def retrieval(scores: npt.NDArray[np.float32], relevant: npt.NDArray[np.int64], grades: Floats) -> tuple[int, float]:
    """Of one query the rank of the first relevant text, from 1 on, and nDCG@10 (Jarvelin and Kekalainen 2002; linear gains).

    `scores`: float32 (texts,); `relevant`: places of the relevant ones, with their `grades`. Of equal scores the relevant come last, so
    that a model that tells nothing apart scores nothing.
    """
    gain = np.zeros(len(scores))
    gain[relevant] = grades
    order = np.lexsort((gain, -scores))[:10]
    discounts = 1 / np.log2(np.arange(2, 12))
    ideal = np.sort(grades)[::-1][:10]
    found = float(gain[order] @ discounts[: len(order)]) / float(ideal @ discounts[: len(ideal)])
    best = scores[relevant].max()
    others = np.ones(len(scores), bool)
    others[relevant] = False
    return 1 + int((scores[others] >= best).sum()), found

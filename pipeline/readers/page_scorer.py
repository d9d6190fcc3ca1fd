"""How likely each block of a page is to be content: a sum of small trees over its features, learnt from pages with truth.

`data/page-scorer.json` has the trees, and what words of class names and of text weigh; `python -m benchmarks.extraction_training` makes
it. The trees are gradient-boosted (Friedman 2001), fitted by LightGBM (Ke et al. 2017), and are read here without it.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from kernel.compile import leaf
from pipeline.readers.page_tags import WordTable

Array = npt.NDArray[Any]


@leaf
def _add_up(features: Array, roots: Array, column: Array, limit: Array, left: Array, right: Array, value: Array, out: Array) -> None:
    """The chance of each row: the logistic function of the sum of the leaves that it comes to."""
    for row in range(len(features)):
        total = 0.0
        for tree in range(len(roots)):
            node = roots[tree]
            while column[node] >= 0:
                node = left[node] if features[row, column[node]] <= limit[node] else right[node]
            total += value[node]
        out[row] = 1.0 / (1.0 + math.exp(-total))


class Scorer:
    """A scorer as its file has it. `names` and `cues`: what words of class names and of text weigh; `limit`: the chance from which a
    block is content.
    """

    def __init__(self, stored: dict[str, Any]) -> None:
        self.names, self.cues = WordTable(stored["names"]), WordTable(stored["cues"])
        self.limit = float(stored["limit"])
        trees = stored["trees"]
        self._columns = tuple(np.array(trees[name], np.int32) for name in ("roots", "column"))
        self._limits = np.array(trees["limit"], np.float64)
        self._branches = tuple(np.array(trees[name], np.int32) for name in ("left", "right"))
        self._values = np.array(trees["value"], np.float64)

    def __call__(self, features: Array) -> Array:
        """The chance of each row of features, float32."""
        likely = np.empty(len(features), np.float32)
        _add_up(features, *self._columns, self._limits, *self._branches, self._values, likely)
        return likely


@cache
def scorer() -> Scorer:
    """The scorer that comes with the package."""
    stored = files("pipeline.readers.data").joinpath("page-scorer.json").read_text(encoding="utf-8")
    return Scorer(json.loads(stored))

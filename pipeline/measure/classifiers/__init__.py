"""Quality classifiers: a score for each document, which is a statistic like any other.

Two kinds: a fastText model given as a file, as DCLM (Li et al. 2024, arXiv 2406.11794) filters by one, and as FineWeb-edu's and
other published classifiers have been distilled into; and a linear one that `foundry classifier train` makes of two sets of
documents, in the manner of GPT-3's filter (Brown et al. 2020, appendix A: logistic regression over hashed words).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from kernel.cache import expand_home
from pipeline.measure.classifiers import fasttext_model, linear
from pipeline.workdir.dataset import fingerprint
from storage.location import Place


class ClassifierConfig(BaseModel):
    """A classifier whose score becomes the column `classifier_NAME` of `statistics/`."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$", description="Name of the classifier: small letters, digits, `_`.")
    path: Place = Field(repr=False, description="A fastText model file (.bin, .ftz), or the folder that `foundry classifier train` wrote.")
    kind: Literal["fasttext", "linear"] = Field(
        "linear", description="fasttext: a fastText model file; linear: what `foundry classifier train` wrote."
    )
    label: str | None = Field(
        None,
        description="fastText: the label whose probability is the score, with or without `__label__` (DCLM's model: `hq`). "
        "Linear models have none: their score is the probability of the positive set.",
    )
    domains: list[str] | None = Field(None, description="Domains whose documents are scored; others have no score. Null: all.")

    @property
    def column(self) -> str:
        return f"classifier_{self.name}"

    def resolved(self, base: Path) -> ClassifierConfig:
        """The same with an absolute path; a relative one is relative to `base`."""
        path = expand_home(os.path.expandvars(self.path))
        return self.model_copy(update={"path": str(path if path.is_absolute() else base / path)})

    def fingerprint(self) -> str:
        """Changes whenever the scores may: with the model's bytes and the settings. Raises `UserError` where the model cannot be read."""
        content = fasttext_model.content(self.path) if self.kind == "fasttext" else linear.content(self.path)
        return fingerprint(self.name, self.kind, self.label, self.domains, content)


def scores(texts: pa.Array | pa.ChunkedArray, config: ClassifierConfig) -> npt.NDArray[np.float64]:
    """The score of each text, 0 to 1: float64 (texts,). Raises `UserError` where the model is missing, damaged, or lacks the label."""
    if config.kind == "fasttext":
        return fasttext_model.scores(texts, config.path, config.label)
    return linear.scores(texts, config.path)

"""Length bounds in words, for domains whose other rules set none."""

from __future__ import annotations

from pydantic import Field

from pipeline.filters.check import Check
from pipeline.filters.spoken import SpokenFamily


class LengthRules(SpokenFamily):
    """Bounds on a document's words."""

    min_words: int = Field(50, ge=0, description="Fewest words (peS2o: 50 for abstracts, 500 for full texts).")
    max_words: int = Field(1_000_000, ge=1, description="Most words.")

    def checks(self) -> list[Check]:
        return [Check("length_words", "words", self.min_words, self.max_words)]

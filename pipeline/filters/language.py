"""Language: keep what is written in one of the given languages, with enough certainty."""

from __future__ import annotations

from pydantic import Field

from pipeline.filters.check import Check, Family


class LanguageRules(Family):
    """The fastText language of a document (as FineWeb, CCNet and RefinedWeb have it)."""

    allow: list[str] = Field(["en"], min_length=1, description="Languages to keep, as fastText names them (en, de, zh ...).")
    min_score: float = Field(0.65, ge=0, le=1, description="Least probability of that language (FineWeb: 0.65).")

    def checks(self) -> list[Check]:
        return [
            Check("language", "language", allowed=tuple(self.allow)),
            Check("language_score", "language_score", minimum=self.min_score),
        ]

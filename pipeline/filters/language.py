"""Language: keep what is written in one of the given languages, with enough certainty.

The language and its probability are those of fastText's model for 176 languages (Joulin et al. 2016, arXiv 1607.01759 and
1612.03651), `lid.176.ftz`: the compressed form of the model that CCNet, RefinedWeb and FineWeb use. Departure: the first 20,000
characters are classified (`pipeline.measure.language.MAX_CHARACTERS`), where the peers classify whole documents.
"""

from __future__ import annotations

from pydantic import Field, field_validator

from pipeline.filters.check import Check, Family
from pipeline.measure.languages import check_language


class LanguageRules(Family):
    """Rules on the natural language that fastText finds in a document (as FineWeb, CCNet and RefinedWeb have them)."""

    allow: list[str] = Field(["en"], min_length=1, description="Languages to keep, as fastText names them (en, de, zh ...).")
    min_score: float = Field(0.65, ge=0, le=1, description="Least probability of that language (FineWeb: 0.65).")

    @field_validator("allow")
    @classmethod
    def _are_labels(cls, allow: list[str]) -> list[str]:
        for name in allow:
            check_language(name)
        return allow

    def checks(self) -> list[Check]:
        return [
            Check("language", "language", allowed=tuple(self.allow)),
            Check("language_score", "language_score", minimum=self.min_score),
        ]

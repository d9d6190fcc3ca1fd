"""Gopher's repetition rules (Rae et al. 2021, arXiv 2112.11446, table A1), with datatrove's reading (`GopherRepetitionFilter`).

Departures: lines of nothing but white space are no lines; only the first 2^20 lines and paragraphs of a document are looked at
(`pipeline.measure.statistics.MAX_LINES`); n-grams are of the first two million tokens, as `pipeline.measure.scanner` finds them.
"""

from __future__ import annotations

from pydantic import Field

from pipeline.filters.check import Check
from pipeline.filters.spoken import SpokenFamily


class GopherRepetition(SpokenFamily):
    """Limits of Gopher's repetition rules, as shares; the defaults are the published ones."""

    max_duplicate_paragraphs: float = Field(0.3, ge=0, le=1, description="Greatest share of paragraphs that occurred before (Gopher: 0.3).")
    max_duplicate_paragraph_characters: float = Field(
        0.2, ge=0, le=1, description="Greatest share of characters in paragraphs that occurred before (Gopher: 0.2)."
    )
    max_duplicate_lines: float = Field(0.3, ge=0, le=1, description="Greatest share of lines that occurred before (Gopher: 0.3).")
    max_duplicate_line_characters: float = Field(
        0.2, ge=0, le=1, description="Greatest share of characters in lines that occurred before (Gopher: 0.2)."
    )
    max_top_2gram: float = Field(0.2, ge=0, description="Greatest share of characters in the most frequent 2-gram (Gopher: 0.2).")
    max_top_3gram: float = Field(0.18, ge=0, description="The same for 3-grams (Gopher: 0.18).")
    max_top_4gram: float = Field(0.16, ge=0, description="The same for 4-grams (Gopher: 0.16).")
    max_duplicate_5grams: float = Field(0.15, ge=0, le=1, description="Greatest share of characters in repeated 5-grams (Gopher: 0.15).")
    max_duplicate_6grams: float = Field(0.14, ge=0, le=1, description="The same for 6-grams (Gopher: 0.14).")
    max_duplicate_7grams: float = Field(0.13, ge=0, le=1, description="The same for 7-grams (Gopher: 0.13).")
    max_duplicate_8grams: float = Field(0.12, ge=0, le=1, description="The same for 8-grams (Gopher: 0.12).")
    max_duplicate_9grams: float = Field(0.11, ge=0, le=1, description="The same for 9-grams (Gopher: 0.11).")
    max_duplicate_10grams: float = Field(0.10, ge=0, le=1, description="The same for 10-grams (Gopher: 0.10).")

    def checks(self) -> list[Check]:
        names = [name.removeprefix("max_") for name in type(self).model_fields if name != "languages"]
        return [Check(f"gopher_{name}", name, maximum=getattr(self, f"max_{name}")) for name in names]

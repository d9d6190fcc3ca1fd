"""FineWeb's own rules (Penedo et al. 2024, arXiv 2406.17557, section 3.6), with datatrove's reading (`FineWebQualityFilter`).

Departures: a line's last mark is looked for before white space at its end; statistics are of the document as it was ingested, before
any rule cuts lines out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from pipeline.filters.check import Check
from pipeline.filters.spoken import SpokenFamily


class FineWebRules(SpokenFamily):
    """Limits of FineWeb's three rules, and of the list rule in its code; the defaults are the published ones."""

    # Thai and Lao have no mark at the end of a sentence; 30 characters of Chinese or Japanese are a sentence, and no short line.
    OWN: ClassVar[Mapping[str, Mapping[str, float]]] = {
        **{language: {"min_terminal_lines": 0} for language in ("th", "lo")},
        **{language: {"max_short_lines": 1} for language in ("zh", "yue", "wuu", "ja")},
    }

    min_terminal_lines: float = Field(0.12, ge=0, le=1, description="Least share of lines that end in a terminal mark (FineWeb: 0.12).")
    max_short_lines: float = Field(0.67, ge=0, le=1, description="Greatest share of lines of at most 30 characters (FineWeb: 0.67).")
    max_duplicate_characters: float = Field(
        0.01, ge=0, le=1, description="Greatest share of characters in lines that occurred before (FineWeb: 0.01; its paper: 0.1)."
    )
    max_newlines: float = Field(0.3, ge=0, description="Most line ends per token (datatrove: 0.3).")

    def checks(self) -> list[Check]:
        return [
            Check("fineweb_terminal_lines", "terminal_lines", minimum=self.min_terminal_lines),
            Check("fineweb_short_lines", "short_lines", maximum=self.max_short_lines),
            Check("fineweb_duplicate_characters", "fineweb_duplicate_characters", maximum=self.max_duplicate_characters),
            Check("fineweb_newlines", "newlines", maximum=self.max_newlines),
        ]

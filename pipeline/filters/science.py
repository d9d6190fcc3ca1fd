"""Rules for papers, after peS2o (Soldaini and Lo 2023) and its limits for full texts; for abstracts set `min_words: 50`.

peS2o's rule on language is that of `language`. Its rule that a paper has a title and an abstract is left out, since sources other than
S2ORC may keep neither apart from the text. The most frequent word must be made of letters and not be too frequent. Citation
density, mathematics and damage by character recognition are limits of our own, off by default where nobody has published any. The
section of references is cut.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.filters.check import Check, Family, Judged, columns_of
from pipeline.workdir.cuts import unite


class ScienceRules(Family):
    """Limits for papers; the defaults are peS2o's for full texts."""

    min_words: int = Field(500, ge=0, description="Fewest words (peS2o: 500; for abstracts 50).")
    max_words: int = Field(1_000_000, ge=1, description="Most words (peS2o: any; for abstracts 1000).")
    min_paragraphs: int = Field(5, ge=0, description="Fewest paragraphs (peS2o: 5; for abstracts 1).")
    min_year: int = Field(1970, description="Earliest year of publication (peS2o: after 1969); papers of unknown year stay.")
    max_top_word: float = Field(0.075, ge=0, le=1, description="Greatest share of the most frequent word (peS2o: 0.075; for abstracts 1).")
    alphabetic_top_word: bool = Field(True, description="Drop papers whose most frequent word is not made of letters (peS2o: yes).")
    max_spaced_letters: int | None = Field(
        None, ge=0, description="Most runs of s p a c e d letters, as bad recognition leaves (peS2o: 4 in abstracts). Null: any."
    )
    max_single_letters: float | None = Field(
        None, ge=0, le=1, description="Greatest share of words of one letter, a and I left out. Null: any."
    )
    max_replacement_characters: float = Field(0.001, ge=0, le=1, description="Greatest share of U+FFFD, which stands for lost characters.")
    max_broken_lines: float | None = Field(None, ge=0, le=1, description="Greatest share of lines that end in a hyphen. Null: any.")
    min_citations: float | None = Field(None, ge=0, description="Least citations per word. Null: any.")
    max_citations: float | None = Field(None, ge=0, description="Most citations per word, as in lists of references. Null: any.")
    max_mathematics: float | None = Field(None, ge=0, le=1, description="Greatest share of characters in formulas. Null: any.")
    cut_references: bool = Field(True, description="Cut the section of references, up to an appendix or the end.")

    def checks(self) -> list[Check]:
        checks = [
            Check("science_words", "words", self.min_words, self.max_words),
            Check("science_paragraphs", "paragraphs", minimum=self.min_paragraphs),
            Check("science_year", "year", minimum=self.min_year),
            Check("science_top_word", "top_word", maximum=self.max_top_word),
            *([Check("science_alphabetic_top_word", "top_word_alphabetic", minimum=1)] if self.alphabetic_top_word else []),
            Check("science_spaced_letters", "spaced_letters", maximum=self.max_spaced_letters),
            Check("science_single_letters", "single_letters", maximum=self.max_single_letters),
            Check("science_replacement_characters", "replacement_characters", maximum=self.max_replacement_characters),
            Check("science_broken_lines", "broken_lines", maximum=self.max_broken_lines),
            Check("science_citations", "citations_per_word", self.min_citations, self.max_citations),
            Check("science_mathematics", "mathematics", maximum=self.max_mathematics),
        ]
        return [check for check in checks if check.minimum is not None or check.maximum is not None]

    def columns(self) -> frozenset[str]:
        return columns_of(self.checks()) | {"references_begin", "references_end"}

    def apply(self, statistics: pa.Table) -> Judged:
        judged = super().apply(statistics)
        if not self.cut_references:
            return judged
        begin, end = (np.asarray(statistics[f"references_{name}"].fill_null(-1), dtype=np.int64) for name in ("begin", "end"))
        rows = np.flatnonzero(begin >= 0)
        words = [""] * statistics.num_rows
        for row in rows:
            words[row] = "science: references"
        return Judged(judged.judgements, unite(statistics.num_rows, rows, begin[rows], end[rows]), words)

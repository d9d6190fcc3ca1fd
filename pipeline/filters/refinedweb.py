"""RefinedWeb's line rules (Penedo et al. 2023, arXiv 2306.01116, appendix G.2), as cuts, and its rule on how much they cut.

The paper describes its rules in words; the limits are DCLM's (Li et al. 2024, arXiv 2406.11794), which rebuilt them: lines mostly
of upper case, of numbers alone, that are counters ("3 likes"), of one word, and short ones that begin with an invitation to sign in,
end in "read more" or have "items in cart". Departure: DCLM takes the phrase out of such a short line, ours the line.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.filters.check import Judged, Judgement
from pipeline.filters.lines import LINE_COLUMNS, LineColumns, line_cuts, reasons_in_words
from pipeline.filters.spoken import SpokenFamily
from pipeline.measure.lines import COUNTER, IN_CART, NUMERIC, READ_MORE, SIGN_IN

_REASONS = ("", "in upper case", "of numbers", "that count something", "of too few words", "to sign in, read more or buy")


class RefinedWebLines(SpokenFamily):
    """Cut lines that are no running text; drop documents that would lose too much. The defaults are DCLM's."""

    max_upper: float = Field(0.5, ge=0, le=1, description="Greatest share of upper-case characters in a line (DCLM: 0.5).")
    numeric: bool = Field(True, description="Cut lines that have nothing but numbers (RefinedWeb: yes).")
    counters: bool = Field(True, description='Cut lines such as "3 likes" (RefinedWeb: yes).')
    min_line_words: int = Field(2, ge=0, description="Fewest words of a line (RefinedWeb cuts lines of one word: 2).")
    phrases: bool = Field(True, description='Cut short lines with "sign in", "read more" or "items in cart" (RefinedWeb: yes).')
    max_phrase_words: int = Field(10, ge=1, description="Most words of a line that is cut for such a phrase (RefinedWeb: 10).")
    max_cut_words: float = Field(0.05, ge=0, le=1, description="Greatest share of a document's words that may be cut (RefinedWeb: 0.05).")

    @property
    def needs_lines(self) -> bool:
        return True

    def columns(self) -> frozenset[str]:
        return LINE_COLUMNS

    def apply(self, statistics: pa.Table) -> Judged:
        lines = LineColumns.of(statistics)
        reason = np.zeros(len(lines.bytes), np.uint8)
        some = lines.words > 0
        flags = lines.flags
        tests = [
            lines.upper > self.max_upper,
            (flags & NUMERIC != 0) & self.numeric,
            (flags & COUNTER != 0) & self.counters,
            lines.words < self.min_line_words,
            (flags & (SIGN_IN | READ_MORE | IN_CART) != 0) & (lines.words <= self.max_phrase_words) & self.phrases,
        ]
        for number, test in enumerate(tests, start=1):
            reason[(reason == 0) & some & test] = number
        row = np.repeat(np.arange(statistics.num_rows), np.diff(lines.offsets))
        words = lines.words.astype(np.int64)
        total = np.bincount(row, words, statistics.num_rows)
        share = np.bincount(row, words * (reason > 0), statistics.num_rows) / np.maximum(1, total)
        limit = np.full(statistics.num_rows, self.max_cut_words)
        judgement = Judgement("refinedweb_cut_words", lines.measured & (share > self.max_cut_words), share, limit)
        return Judged([judgement], line_cuts(lines, reason > 0), lambda: reasons_in_words("refinedweb", lines, reason, _REASONS))

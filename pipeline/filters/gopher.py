"""Gopher's quality rules (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1), with datatrove's reading of them.

As in datatrove's `GopherQualityFilter`, punctuation marks are tokens: shares of tokens are taken over words and marks
together, the word count and the mean length over words alone. Departures: words are found by Unicode classes instead of a
tokenizer for each language; shares of lines are of those that are not blank; stop words count in any case (`The`), where
datatrove counts them in small letters alone.

The stop words are English (the, be, to, of, and, that, have, with): for text in other languages set `min_stop_words: 0`; a recipe whose
`language` rule allows others is refused until it does.

`OWN`: for languages whose words are much shorter than those of English, or have no spaces between them. Gopher's bounds of the mean
length are multiplied by how long that language's words are, beside those of English, where both tell the same (the texts of our own in
`tests/kernel/data/icu-words.json`), and rounded to a tenth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from pipeline.filters.check import Check
from pipeline.filters.spoken import SpokenFamily


class GopherQuality(SpokenFamily):
    """Limits of Gopher's quality rules; the defaults are the published ones."""

    OWN: ClassVar[Mapping[str, Mapping[str, float]]] = {
        **{language: {"min_stop_words": 0} for language in ("km", "lo", "my")},
        **{language: {"min_stop_words": 0, "min_mean_word_length": 1.1, "max_mean_word_length": 3.7} for language in ("zh", "yue", "wuu")},
        "ja": {"min_stop_words": 0, "min_mean_word_length": 1.1, "max_mean_word_length": 3.6},
        "ko": {"min_stop_words": 0, "min_mean_word_length": 2.0, "max_mean_word_length": 6.8},
        "bo": {"min_stop_words": 0, "min_mean_word_length": 1.9, "max_mean_word_length": 6.4},
        "th": {"min_stop_words": 0, "min_mean_word_length": 2.7, "max_mean_word_length": 9.1},
    }

    min_words: int = Field(50, ge=0, description="Fewest words (Gopher: 50).")
    max_words: int = Field(100_000, ge=1, description="Most words (Gopher: 100,000).")
    min_mean_word_length: float = Field(3, ge=0, description="Least mean length of a word, in characters (Gopher: 3).")
    max_mean_word_length: float = Field(10, ge=0, description="Greatest mean length of a word, in characters (Gopher: 10).")
    max_symbol_ratio: float = Field(0.1, ge=0, description="Most number signs, and most ellipses, per token (Gopher: 0.1).")
    max_bullet_lines: float = Field(0.9, ge=0, le=1, description="Greatest share of lines with a bullet (Gopher: 0.9).")
    max_ellipsis_lines: float = Field(0.3, ge=0, le=1, description="Greatest share of lines ending in an ellipsis (Gopher: 0.3).")
    min_alphabetic_words: float = Field(0.8, ge=0, le=1, description="Least share of tokens with a letter (Gopher: 0.8).")
    min_stop_words: int = Field(
        2, ge=0, le=8, description="Fewest of the eight stop words that occur (Gopher: 2). They are English: set 0 for other languages."
    )

    def checks(self) -> list[Check]:
        return [
            Check("gopher_words", "words", self.min_words, self.max_words),
            Check("gopher_mean_word_length", "mean_word_length", self.min_mean_word_length, self.max_mean_word_length),
            Check("gopher_hash_ratio", "hashes", maximum=self.max_symbol_ratio),
            Check("gopher_ellipsis_ratio", "ellipses", maximum=self.max_symbol_ratio),
            Check("gopher_bullet_lines", "bullet_lines", maximum=self.max_bullet_lines),
            Check("gopher_ellipsis_lines", "ellipsis_lines", maximum=self.max_ellipsis_lines),
            Check("gopher_alphabetic_words", "alphabetic_words", minimum=self.min_alphabetic_words),
            Check("gopher_stop_words", "stop_words", minimum=self.min_stop_words),
        ]

"""C4's rules (Raffel et al. 2020, arXiv 1910.10683, section 2.2), with datatrove's reading of them (`C4QualityFilter`).

Line rules become cuts; document rules look at the lines that stay, in C4's order: a line that is cut for its last mark or its
length is not searched for lorem ipsum or curly brackets. Departures from datatrove: lines are what lies between line feeds; a
blank line stays if the line before it stays, so that paragraphs do too; sentences are counted by their marks instead of by spaCy's
sentencizer. The marks of C4's list are those of English; those of other scripts (。！？। ؟ ។ ...) and quotes that close after
them count likewise, and words are told in scripts without spaces, too.

The paper's rule on a list of bad words is not applied, nor is it by datatrove's filter of this name: no statistic counts the words
of a list. Such a list drops text on health and law, and by and about minorities, along with what it is for (Dodge et al. 2021, arXiv
2104.08758); a classifier's score (`limits`) tells them apart, and lists of addresses (`url`) drop the sites. The words that lines
are searched for (javascript, cookies, lorem ipsum) are English.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from kernel.compile import leaf
from pipeline.filters.check import Judged, Judgement
from pipeline.filters.lines import LINE_COLUMNS, LineColumns, line_cuts, reasons_in_words
from pipeline.filters.spoken import SpokenFamily
from pipeline.measure.lines import CURLY_BRACKET, ELLIPSIS, JAVASCRIPT, LOREM_IPSUM, POLICY, TERMINAL_MARK
from pipeline.workdir.cuts import Cuts, unite

_STAYS, _LONG_WORD, _NO_MARK, _FEW_WORDS, _SCRIPT, _ABOUT_POLICIES = range(6)  # why a line is cut; `_REASONS` says it in words
_REASONS = ("", "with too long a word", "without terminal punctuation", "of too few words", "with javascript", "about policies")


_SENTENCES, _LOREM_IPSUM, _CURLY_BRACKETS = range(3)  # what is found in the lines that stay


class _Lines(NamedTuple):
    """The columns of `pipeline.measure.lines` that are looked at: an entry a line."""

    words: npt.NDArray[np.uint16]
    longest: npt.NDArray[np.uint16]
    sentences: npt.NDArray[np.uint16]
    flags: npt.NDArray[np.uint16]


class _Settings(NamedTuple):
    """The fields of `C4Rules` of these names."""

    terminal_punctuation: bool
    min_line_words: int
    max_word_length: int
    javascript: bool
    policy: bool
    lorem_ipsum: bool
    curly_bracket: bool


@leaf
def _judge(
    offsets: npt.NDArray[np.int64], lines: _Lines, rules: _Settings, reason: npt.NDArray[np.uint8], found: npt.NDArray[np.int64]
) -> None:  # pragma: no cover - compiled
    """`reason` (lines,): why each line is cut, 0 where it stays; `found` (documents, 3): sentences, lorem ipsum, curly brackets."""
    words, longest, sentences, flags = lines.words, lines.longest, lines.sentences, lines.flags
    for document in range(len(offsets) - 1):
        stays = True  # whether the last line that is not blank stays
        for line in range(offsets[document], offsets[document + 1]):
            mark = flags[line]
            if words[line] == 0:
                reason[line] = _STAYS if stays and line > offsets[document] else _FEW_WORDS
                continue
            why = _STAYS
            if longest[line] > rules.max_word_length:
                why = _LONG_WORD
            elif rules.terminal_punctuation and (not mark & TERMINAL_MARK or mark & ELLIPSIS):
                why = _NO_MARK
            elif words[line] < rules.min_line_words:
                why = _FEW_WORDS
            elif rules.lorem_ipsum and mark & LOREM_IPSUM:
                found[document, _LOREM_IPSUM] += 1
            elif rules.javascript and mark & JAVASCRIPT:
                why = _SCRIPT
            elif rules.curly_bracket and mark & CURLY_BRACKET:
                found[document, _CURLY_BRACKETS] += 1
            elif rules.policy and mark & POLICY:
                why = _ABOUT_POLICIES
            else:
                found[document, _SENTENCES] += sentences[line]
            reason[line] = why
            stays = why == _STAYS


class C4Rules(SpokenFamily):
    """C4's line rules, as cuts, and its document rules; the defaults are the published ones."""

    # Thai and Lao have no mark at the end of a sentence, so that neither lines nor sentences can be told by it.
    OWN: ClassVar[Mapping[str, Mapping[str, float]]] = {
        language: {"terminal_punctuation": False, "min_sentences": 0} for language in ("th", "lo")
    }

    terminal_punctuation: bool = Field(
        True, description="Cut lines that do not end in . ? ! or a quote, or such marks of other scripts (C4: yes; FineWeb: no)."
    )
    min_line_words: int = Field(3, ge=0, description="Fewest words of a line (C4: 3; 0: any).")
    max_word_length: int = Field(1000, ge=1, le=65534, description="Most characters of a word in a line (C4's code: 1000).")
    javascript: bool = Field(True, description="Cut lines with the word javascript (C4: yes).")
    policy: bool = Field(True, description="Cut lines with phrases about cookies, privacy and terms of use (C4's code: yes).")
    citations: bool = Field(True, description="Cut [12], [edit] and [citation needed] out of lines (C4's code: yes).")
    lorem_ipsum: bool = Field(True, description="Drop documents with lorem ipsum (C4: yes).")
    curly_bracket: bool = Field(True, description="Drop documents with a curly bracket (C4: yes).")
    min_sentences: int = Field(5, ge=0, description="Fewest sentences in the lines that stay (C4: 5; 0: any).")

    @property
    def needs_lines(self) -> bool:
        return True

    def columns(self) -> frozenset[str]:
        return LINE_COLUMNS

    def apply(self, statistics: pa.Table) -> Judged:
        lines = LineColumns.of(statistics)
        reason = np.zeros(len(lines.bytes), np.uint8)
        found = np.zeros((statistics.num_rows, 3), np.int64)
        columns = _Lines(lines.words, lines.longest_word, lines.sentences, lines.flags)
        settings = _Settings(*(getattr(self, name) for name in _Settings._fields))
        _judge(lines.offsets, columns, settings, reason, found)
        measured = lines.measured
        nothing = np.full(statistics.num_rows, np.nan)
        sentences = found[:, _SENTENCES].astype(np.float64)
        judgements = [
            Judgement("c4_lorem_ipsum", measured & (found[:, _LOREM_IPSUM] > 0), nothing, nothing, ["lorem ipsum"] * statistics.num_rows),
            Judgement(
                "c4_curly_bracket", measured & (found[:, _CURLY_BRACKETS] > 0), nothing, nothing, ["a curly bracket"] * statistics.num_rows
            ),
            Judgement(
                "c4_sentences",
                measured & (sentences < self.min_sentences),
                sentences,
                np.full(statistics.num_rows, float(self.min_sentences)),
            ),
        ]
        cuts = line_cuts(lines, reason != _STAYS)
        if self.citations:
            document = np.repeat(np.arange(statistics.num_rows), np.diff(lines.citation_offsets))
            all_rows = np.concatenate([np.repeat(np.arange(statistics.num_rows), np.diff(cuts.offsets)), document])
            begin = np.concatenate([cuts.begin, lines.citation_begin])
            cuts = unite(statistics.num_rows, all_rows, begin, np.concatenate([cuts.end, lines.citation_end]))
        return Judged(judgements, cuts, lambda: self._words(lines, reason, cuts))

    def _words(self, lines: LineColumns, reason: npt.NDArray[np.uint8], cuts: Cuts) -> list[str]:
        words = reasons_in_words("c4", lines, np.where(lines.words > 0, reason, 0), _REASONS)
        return [text or ("c4: citations" if size else "") for text, size in zip(words, cuts.sizes, strict=True)]

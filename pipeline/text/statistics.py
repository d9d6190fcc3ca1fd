"""Every number that the rules look at, for a column of documents, in one pass over its UTF-8 bytes.

Words are maximal runs of letters, marks and numbers, joined by an apostrophe or underscore between two of them; a character
of a script written without spaces is a word. Every punctuation mark or symbol is a token of its own, as the word tokenizers
behind the published rules have it, so `tokens = words + punctuation`.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.text.utf8 import (
    IDEOGRAPH,
    LETTER,
    MARK,
    NUMBER,
    PUNCTUATION,
    SPACE,
    Bytes,
    Offsets,
    decode,
    tables,
    utf8_view,
)

# The eight stop words of Gopher (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1).
GOPHER_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3


def _fnv(word: str) -> int:
    value = _FNV_OFFSET
    for character in word:
        value = ((value ^ ord(character)) * _FNV_PRIME) & 0xFFFFFFFFFFFFFFFF
    return value


_STOP_HASHES = np.array([_fnv(word) for word in GOPHER_STOP_WORDS], dtype=np.uint64)

COLUMNS = {
    "bytes": "UTF-8 bytes",
    "characters": "code points",
    "words": "words",
    "punctuation": "punctuation marks and symbols",
    "mean_word_length": "characters in words / words",
    "alphabetic_words": "words with a letter / tokens",
    "stop_words": "how many of Gopher's eight stop words occur",
    "hashes": "number signs / tokens",
    "ellipses": "ellipses / tokens",
    "lines": "lines that are not blank",
    "bullet_lines": "lines that begin with a bullet or a hyphen / lines",
    "ellipsis_lines": "lines that end in an ellipsis / lines",
    "longest_line": "characters of the longest line",
    "mean_line": "characters / lines, line ends left out",
    "alphanumeric": "letters and numbers / characters",
    "letters": "letters / characters",
}
_INTEGERS = ("bytes", "characters", "words", "punctuation", "stop_words", "lines", "longest_line")


@numba.njit(cache=True, nogil=True)
def _measure(
    offsets: Offsets,
    data: Bytes,
    classes: Bytes,
    lower: npt.NDArray[np.uint32],
    stops: npt.NDArray[np.uint64],
    out: npt.NDArray[np.float64],
) -> None:  # pragma: no cover - compiled
    """Fill `out` (documents, len(COLUMNS)) in the order of COLUMNS."""
    prime = np.uint64(_FNV_PRIME)
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        characters = words = punctuation = word_characters = alphabetic = 0
        number_signs = ellipses = dots = letters = alphanumeric = 0
        stop_mask = 0
        lines = bullets = ellipsis_lines = longest = line_characters = all_line_characters = 0
        first_visible = last_visible = before_last = third_last = 0  # of the current line
        length = 0  # of the current word
        has_letter = False
        joiner = False  # an apostrophe or underscore after a word, which may turn out to be inside it
        word_hash = np.uint64(_FNV_OFFSET)
        while at <= end:
            if at < end:
                code, following = decode(data, at)
                kind = classes[code]
            else:  # one step past the end closes the last word and line
                code, following, kind = 10, at + 1, SPACE
            in_word = kind == LETTER or kind == NUMBER or kind == MARK
            if length and not in_word and not (not joiner and (code == 0x27 or code == 0x2019 or code == 0x5F)):
                words += 1
                word_characters += length
                alphabetic += has_letter
                if length <= 4:
                    for stop in range(len(stops)):
                        if stops[stop] == word_hash:
                            stop_mask |= 1 << stop
                length = 0
                if joiner:
                    punctuation += 1
                joiner = False
                has_letter = False
                word_hash = np.uint64(_FNV_OFFSET)
            if in_word:
                if joiner:  # it was inside the word
                    length += 1
                    joiner = False
                length += 1
                has_letter |= kind == LETTER
                word_hash = (word_hash ^ np.uint64(lower[code])) * prime
            elif kind == IDEOGRAPH:
                words += 1
                word_characters += 1
                alphabetic += 1
            elif kind == PUNCTUATION:
                if length:
                    joiner = True
                    word_hash = (word_hash ^ np.uint64(code)) * prime
                else:
                    punctuation += 1
                if code == 0x23:
                    number_signs += 1
                elif code == 0x2026:
                    ellipses += 1
            if code == 0x2E:
                dots += 1
                if dots == 3:
                    ellipses += 1
                    dots = 0
            else:
                dots = 0
            if code == 10:
                if first_visible:
                    lines += 1
                    bullets += first_visible == 0x2022 or first_visible == 0x2D
                    ellipsis_lines += last_visible == 0x2026 or (last_visible == 0x2E and before_last == 0x2E and third_last == 0x2E)
                longest = max(longest, line_characters)
                all_line_characters += line_characters
                line_characters = first_visible = last_visible = before_last = third_last = 0
            else:
                line_characters += 1
                if kind != SPACE:
                    if not first_visible:
                        first_visible = code
                    third_last, before_last, last_visible = before_last, last_visible, code
            if at < end:
                characters += 1
                is_letter = kind == LETTER or kind == IDEOGRAPH
                letters += is_letter
                alphanumeric += is_letter or kind == NUMBER
            at = following
        stop_words = 0
        while stop_mask:
            stop_words += stop_mask & 1
            stop_mask >>= 1
        tokens = max(1, words + punctuation)
        row = out[document]
        row[0] = end - offsets[document]
        row[1] = characters
        row[2] = words
        row[3] = punctuation
        row[4] = word_characters / max(1, words)
        row[5] = alphabetic / tokens
        row[6] = stop_words
        row[7] = number_signs / tokens
        row[8] = ellipses / tokens
        row[9] = lines
        row[10] = bullets / max(1, lines)
        row[11] = ellipsis_lines / max(1, lines)
        row[12] = longest
        row[13] = all_line_characters / max(1, lines)
        row[14] = alphanumeric / max(1, characters)
        row[15] = letters / max(1, characters)


def measure(texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Statistics of a string column: one row a document, one column for each name in `COLUMNS` (int64 or float64)."""
    offsets, data = utf8_view(texts)
    classes, lower = tables()
    out = np.empty((len(offsets) - 1, len(COLUMNS)), np.float64)
    _measure(offsets, data, classes, lower, _STOP_HASHES, out)
    assert not math.isnan(float(out.sum())), "a statistic is not a number"
    columns = {
        name: pa.array(out[:, index].astype(np.int64) if name in _INTEGERS else np.ascontiguousarray(out[:, index]))
        for index, name in enumerate(COLUMNS)
    }
    return pa.table(columns)

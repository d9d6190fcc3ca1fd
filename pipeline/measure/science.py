"""What rules for papers look at: citations, mathematics, damage by optical character recognition, where the references begin.

The ideas are peS2o's (Soldaini and Lo 2023) and S2ORC's; how each is found here stands beside its column.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel import characters as char
from kernel.boundaries import word_end
from kernel.compile import kernel
from kernel.utf8 import CLASS, LETTER, MARK, NUMBER, SPACE, UNSPACED, Bytes, Offsets, decode
from pipeline.measure.columns import places

COLUMNS = {
    "citations_per_word": "citations such as [12], [3, 4-6], (Name et al., 2010) / words",
    "mathematics": "characters in $...$, $$...$$, \\(...\\), \\[...\\], and mathematical symbols / characters",
    "spaced_letters": "runs of four and more single letters with a space between (s p a c e d)",
    "single_letters": "words of one letter, a and I left out / words",
    "replacement_characters": "U+FFFD / characters",
    "broken_lines": "lines that end in a letter and a hyphen / lines that are not blank",
    "references_begin": "byte where a section of references begins, its heading included; -1 where there is none",
    "references_end": "byte where that section ends: at an appendix, or at the end; -1 where there is none",
}
_INTEGERS = ("spaced_letters", "references_begin", "references_end")

_AT = places(COLUMNS)
_ROUND, _SQUARE = range(2)  # brackets of formulas: \(...\) and \[...\]

MATHEMATICS_LIMIT = 2000  # bytes that a formula may have; a dollar sign without a second one is a price

_HEADINGS = (
    "references",
    "bibliography",
    "works cited",
    "literature cited",
    "literature",
    "references and notes",
    "reference list",
    "cited references",
)
_AFTER = ("appendix", "appendices", "supplementary", "supplemental", "supporting information", "annex")


def _word_table(words: tuple[str, ...]) -> tuple[Bytes, npt.NDArray[np.int64]]:
    return np.frombuffer("".join(words).encode(), np.uint8), np.cumsum([0, *(len(word) for word in words)])


_HEADING_TEXT, _HEADING_STARTS = _word_table(_HEADINGS)
_AFTER_TEXT, _AFTER_STARTS = _word_table(_AFTER)


@kernel
def _heading(
    data: Bytes, at: int, end: int, text: Bytes, starts: npt.NDArray[np.int64], whole: bool
) -> bool:  # pragma: no cover - compiled
    """Whether a line is one of the headings, in any case, behind a number or hash signs, and with `whole` nothing after it."""
    while at < end and (data[at] in (char.SPACE, char.TAB, char.NUMBER_SIGN, char.ASTERISK, char.FULL_STOP) or char.is_digit(data[at])):
        at += 1
    for word in range(len(starts) - 1):
        size = starts[word + 1] - starts[word]
        if at + size > end:
            continue
        same = True
        for index in range(size):
            if (data[at + index] | char.CASE) != (text[starts[word] + index] | char.CASE):
                same = False
                break
        if not same:
            continue
        rest = at + size
        if not whole:
            return bool(rest >= end or not char.is_letter(data[rest]))
        while rest < end and data[rest] in (char.SPACE, char.TAB, char.COLON, char.FULL_STOP, char.ASTERISK, char.NUMBER_SIGN):
            rest += 1
        if rest == end:
            return True
    return False


@kernel
def _bracket_citation(data: Bytes, at: int, end: int) -> bool:  # pragma: no cover - compiled
    """[12], [3, 4], [5-7], [5–7]: within 40 bytes."""
    place, digits = at + 1, 0
    stop = min(end, at + 40)
    while place < stop:
        byte = data[place]
        if char.is_digit(byte):
            digits += 1
        elif byte == char.RIGHT_BRACKET:
            return digits > 0
        elif byte not in (char.COMMA, char.SPACE, char.HYPHEN, char.SEMICOLON, 0xE2, 0x80, 0x93):  # the last three: an en dash
            return False
        place += 1
    return False


@kernel
def _author_citation(data: Bytes, at: int, end: int) -> bool:  # pragma: no cover - compiled
    """(Name, 2010), (see Name et al. 1999a; Other 2001): a year of 1800 to 2099 in parentheses with a letter before it, or alone."""
    place = at + 1
    stop = min(end - 3, at + 160)
    while place < stop:
        byte = data[place]
        if byte == char.RIGHT_PARENTHESIS or byte == char.LEFT_PARENTHESIS or byte == char.LINE_FEED:
            return False
        year = (byte == char.ONE and data[place + 1] in (char.EIGHT, char.NINE)) or (byte == char.TWO and data[place + 1] == char.ZERO)
        if year and char.is_digit(data[place + 2]) and char.is_digit(data[place + 3]) and not char.is_digit(data[place - 1]):
            after = data[place + 4] if place + 4 < end else char.RIGHT_PARENTHESIS
            return bool(
                after == char.RIGHT_PARENTHESIS
                or after == char.SEMICOLON
                or after == char.COMMA
                or after == char.COLON
                or char.a <= after <= char.f
            )
        place += 1
    return False


@kernel
def _formula_end(data: Bytes, start: int, at: int, end: int, closed: npt.NDArray[np.int64]) -> int:  # pragma: no cover - compiled
    """Where a formula that begins at `at` ends, or -1: $...$ (no blank line, no space inside its dollars), $$...$$, and brackets."""
    stop = min(end, at + MATHEMATICS_LIMIT)
    if data[at] == char.DOLLAR_SIGN:
        if at > start and data[at - 1] == char.BACKSLASH:
            return -1
        if at + 1 < end and data[at + 1] == char.DOLLAR_SIGN:
            place = at + 2
            while place + 1 < stop:
                if data[place] == char.DOLLAR_SIGN and data[place + 1] == char.DOLLAR_SIGN:
                    return place + 2
                place += 1
            return -1
        place = at + 1
        if place >= end or data[place] in (char.SPACE, char.LINE_FEED):
            return -1
        while place < stop:
            if data[place] == char.DOLLAR_SIGN and data[place - 1] != char.BACKSLASH:
                price = place + 1 < end and char.is_digit(data[place + 1])
                return -1 if data[place - 1] == char.SPACE or price else place + 1
            if data[place] == char.LINE_FEED and data[place - 1] == char.LINE_FEED:
                return -1
            place += 1
        return -1
    if at + 1 >= end or (data[at + 1] != char.LEFT_PARENTHESIS and data[at + 1] != char.LEFT_BRACKET):
        return -1
    kind = _ROUND if data[at + 1] == char.LEFT_PARENTHESIS else _SQUARE
    close = char.RIGHT_PARENTHESIS if kind == _ROUND else char.RIGHT_BRACKET
    place = max(at + 2, closed[kind])  # where the next end is, is looked for once, however many beginnings there are
    while place + 1 < end and not (data[place] == char.BACKSLASH and data[place + 1] == close):
        place += 1
    closed[kind] = place
    return place + 2 if place + 1 < end and place < at + MATHEMATICS_LIMIT else -1


@kernel
def _science(
    offsets: Offsets, data: Bytes, classes: Bytes, symbols: Bytes, wanted: npt.NDArray[np.bool_], out: npt.NDArray[np.float64]
) -> None:  # pragma: no cover - compiled
    closed = np.zeros(2, np.int64)
    for document in range(len(offsets) - 1):
        if not wanted[document]:
            continue
        start, end = offsets[document], offsets[document + 1]
        closed[:] = start
        characters = words = citations = mathematics = spaced = singles = replaced = lines = broken = 0
        references, references_end = -1, -1
        length = letters = run = 0  # of the current word; single letters before it
        ended = start  # where the last word of a script without spaces ends
        line = start
        formula = start  # where the last formula ends
        at = start
        while at <= end:
            if at < end:
                code, following = decode(data, at)
                kind = classes[code] & CLASS
            else:
                code, following, kind = char.LINE_FEED, at + 1, SPACE
            if kind == LETTER or kind == NUMBER or kind == MARK:
                length += 1
                letters += kind == LETTER
            elif length:
                words += 1
                if length == 1 and letters == 1:
                    last = data[at - 1]
                    singles += last != char.a and last != char.A and last != char.I
                    run += 1
                    spaced += run == 4
                else:
                    run = 0
                length = letters = 0
            if kind == UNSPACED and at >= ended:
                words += 1
                ended = word_end(data, at, start, end, classes)
            if kind != SPACE and kind != LETTER:
                run = 0
            if code == char.LINE_FEED:
                run = 0
                visible = at
                while visible > line and data[visible - 1] in (char.SPACE, char.TAB, char.CARRIAGE_RETURN):
                    visible -= 1
                if visible > line:
                    lines += 1
                    broken += data[visible - 1] == char.HYPHEN and visible - 2 >= line and char.is_letter(data[visible - 2])
                    if visible - line <= 80:
                        if _heading(data, line, visible, _HEADING_TEXT, _HEADING_STARTS, True):
                            references, references_end = line - start, end - start
                        elif (
                            references >= 0
                            and references_end == end - start
                            and _heading(data, line, visible, _AFTER_TEXT, _AFTER_STARTS, False)
                        ):
                            references_end = line - start
                line = following
            elif code == char.LEFT_BRACKET:
                citations += _bracket_citation(data, at, end)
            elif code == char.LEFT_PARENTHESIS:
                citations += _author_citation(data, at, end)
            if code == char.REPLACEMENT_CHARACTER:
                replaced += 1
            if at < end:
                characters += 1
                if at >= formula and (code == char.DOLLAR_SIGN or code == char.BACKSLASH):
                    stop = _formula_end(data, start, at, end, closed)
                    if stop > 0:
                        formula = stop
                mathematics += at < formula or symbols[code] != 0
            at = following
        row = out[document]
        row[_AT.citations_per_word] = citations / max(1, words)
        row[_AT.mathematics] = mathematics / max(1, characters)
        row[_AT.spaced_letters] = spaced
        row[_AT.single_letters] = singles / max(1, words)
        row[_AT.replacement_characters] = replaced / max(1, characters)
        row[_AT.broken_lines] = broken / max(1, lines)
        row[_AT.references_begin] = references
        row[_AT.references_end] = references_end


def measure_science(offsets: Offsets, data: Bytes, classes: Bytes, symbols: Bytes, wanted: npt.NDArray[np.bool_]) -> dict[str, pa.Array]:
    """The columns of `COLUMNS`, an entry a document; null where not `wanted`, bool (documents,).

    `symbols`: 1 for Unicode's mathematical symbols, as `utf8.mathematical_symbols()` gives them.
    """
    out = np.zeros((len(offsets) - 1, len(COLUMNS)), np.float64)
    _science(offsets, data, classes, symbols, wanted, out)
    return {
        name: pa.array(out[:, index].astype(np.int64 if name in _INTEGERS else np.float64), mask=~wanted)
        for index, name in enumerate(COLUMNS)
    }

"""Every number that the rules look at, for a column of documents, from its UTF-8 bytes.

A *token* is a word or a mark, as near as plain rules come to the word tokenizers behind the published rules (spaCy's English
one, for datatrove): a word is a run of letters, marks and numbers, together with the marks inside it where those tokenizers leave
them inside (`o'clock`, `3.14`, `COVID-19`, `example.com`, `word(s`, `f(x=1`, `http://...`), contractions apart (`do` `n't`); a
character of a script written without spaces is a word; every other punctuation mark or symbol is a token of its own, but for runs
of full stops and of hyphens. `tokens = words + punctuation`.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.compile import kernel
from kernel.utf8 import (
    IDEOGRAPH,
    LETTER,
    MARK,
    NUMBER,
    PUNCTUATION,
    SPACE,
    TERMINAL,
    Bytes,
    Offsets,
    decode,
    tables,
    terminal_marks,
    utf8_view,
)
from pipeline.measure.repetition import BITS, DUPLICATE, TOP, duplicates, intern, ngram_repetition

# The eight stop words of Gopher (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1).
GOPHER_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
SHORT_LINE = 30  # characters, FineWeb's (Penedo et al. 2024, arXiv 2406.17557, section 3.6)
# n-grams are looked for in the first so many tokens, which bounds a worker's memory. Gopher drops what has over 100,000 words.
MAX_TOKENS = 1 << BITS
# ... and duplicate lines in the first so many lines.
MAX_LINES = 1 << 20

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
    "mean_line": "characters / lines, blank ones too, line ends left out",
    "alphanumeric": "letters and numbers / characters",
    "letters": "letters / characters",
    "terminal_lines": "lines that end in a mark that ends sentences / lines",
    "short_lines": f"lines of at most {SHORT_LINE} characters / lines",
    "newlines": "line ends / tokens",
    "paragraphs": "blocks between empty lines",
    "duplicate_lines": "lines that occurred before / lines",
    "duplicate_line_characters": "characters of lines that occurred before / characters",
    "duplicate_paragraphs": "paragraphs that occurred before / paragraphs",
    "duplicate_paragraph_characters": "characters of paragraphs that occurred before / characters",
    **{f"top_{n}gram": f"characters of all occurrences of the most frequent {n}-gram of tokens / characters" for n in TOP},
    **{f"duplicate_{n}grams": f"characters of {n}-grams of tokens that occurred before / characters" for n in DUPLICATE},
    "fineweb_duplicate_characters": "characters of lines that occurred before / characters that are no line ends",
    "top_word": "occurrences of the most frequent word / words",
    "top_word_alphabetic": "1 where the most frequent word is made of letters alone, else 0",
}
_INTEGERS = ("bytes", "characters", "words", "punctuation", "stop_words", "lines", "longest_line", "paragraphs", "top_word_alphabetic")
_AT = {name: index for index, name in enumerate(COLUMNS)}
_REPEATS = _AT["duplicate_lines"]
_TOP = _AT["top_2gram"]
_DUPLICATE = _AT["duplicate_5grams"]

_FNV_PRIME = 0x100000001B3
_SEED = 0xCBF29CE484222325


def _packed(word: str) -> int:
    """A short ASCII word in one integer, as `_scan` packs the last four characters of a word."""
    value = 0
    for character in word.encode():
        value = (value << 8) | character
    return value


_STOPS = np.array([_packed(word) for word in GOPHER_STOP_WORDS], dtype=np.int64)
# Words whose full stop is theirs and ends no sentence; up to four letters.
ABBREVIATIONS = (
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "inc", "ltd", "co", "corp", "fig", "eq", "ref", "vol", "pp", "ed",
    "eds", "rev", "gen", "gov", "sen", "rep", "hon", "capt", "sgt", "col", "lt", "maj", "mt", "ave", "jan", "feb", "mar", "apr", "jun",
    "jul", "aug", "sep", "sept", "oct", "nov", "dec", "al", "cf", "dept", "est", "univ", "ph", "resp", "sec", "chap", "viz",
)  # fmt: skip
_ABBREVIATIONS = np.array(sorted(_packed(word) for word in ABBREVIATIONS if len(word) <= 4), dtype=np.int64)


@kernel(inline="always")
def _is_word(kind: int) -> bool:  # pragma: no cover - compiled
    return kind == LETTER or kind == NUMBER or kind == MARK


@kernel(inline="always")
def _kind_at(data: Bytes, at: int, end: int, classes: Bytes) -> int:  # pragma: no cover - compiled
    if at >= end:
        return SPACE
    code = np.int64(data[at]) if data[at] < 0x80 else decode(data, at)[0]
    return int(classes[code])


@kernel
def is_abbreviation(packed: int) -> bool:  # pragma: no cover - compiled
    """Whether the last four letters of a word, in lower case and packed, are an abbreviation's."""
    return bool(np.any(packed == _ABBREVIATIONS))


@kernel
def _contraction(data: Bytes, at: int, end: int, classes: Bytes) -> int:  # pragma: no cover - compiled
    """Bytes of an English contraction's ending whose apostrophe ends just before `at` ('s, 'm, 'd, 't, 're, 've, 'll), or 0."""
    if at >= end:
        return 0
    first = data[at] | 0x20
    second = (data[at + 1] | 0x20) if at + 1 < end else 0
    if (first == 0x73 or first == 0x6D or first == 0x64 or first == 0x74) and not _is_word(_kind_at(data, at + 1, end, classes)):
        return 1
    two = (first == 0x72 and second == 0x65) or (first == 0x76 and second == 0x65) or (first == 0x6C and second == 0x6C)
    if two and not _is_word(_kind_at(data, at + 2, end, classes)):
        return 2
    return 0


@kernel
def _marks_inside(data: Bytes, at: int, end: int, classes: Bytes) -> int:  # pragma: no cover - compiled
    """How many marks of ASCII stand at `at` before a word goes on, two to six, as in `super().x`; 0 where it does not go on there.

    Two hyphens, two full stops, and a full stop before a quote end a word.
    """
    place = at
    while place < end and place < at + 6 and data[place] < 0x80 and classes[data[place]] & 7 == PUNCTUATION:
        first, second = data[place], data[place + 1] if place + 1 < end else 0
        if (first == 0x2D and second == 0x2D) or (first == 0x2E and (second == 0x2E or second == 0x22 or second == 0x27)):
            return 0
        place += 1
    return place - at if place > at + 1 and _is_word(_kind_at(data, place, end, classes)) else 0


@kernel
def _address_end(data: Bytes, at: int, end: int) -> int:  # pragma: no cover - compiled
    """Where a web address that has begun ends: before white space or a mark that closes, trailing marks left out."""
    start = at
    while at < end:
        byte = data[at]
        if byte <= 0x20 or byte == 0x3C or byte == 0x3E or byte == 0x22 or byte == 0x29 or byte == 0x5D:
            break
        at += 1
    while at > start and (data[at - 1] in (0x2E, 0x2C, 0x3B, 0x3A, 0x21, 0x3F, 0x27)):
        at -= 1
    return at


@kernel
def _measure(
    offsets: Offsets,
    data: Bytes,
    classes: Bytes,
    upper: Bytes,
    token_keys: npt.NDArray[np.uint64],
    token_sizes: npt.NDArray[np.int32],
    token_alphabetic: Bytes,
    token_ids: npt.NDArray[np.int32],
    token_times: npt.NDArray[np.int32],
    token_ends: npt.NDArray[np.int64],
    grams: npt.NDArray[np.int32],
    times: npt.NDArray[np.int32],
    seen: npt.NDArray[np.int32],
    places: npt.NDArray[np.int32],
    line_keys: npt.NDArray[np.uint64],
    line_sizes: npt.NDArray[np.int32],
    paragraph_keys: npt.NDArray[np.uint64],
    paragraph_sizes: npt.NDArray[np.int32],
    table: npt.NDArray[np.uint64],
    owner: npt.NDArray[np.int32],
    out: npt.NDArray[np.float64],
) -> None:  # pragma: no cover - compiled
    """Fill `out` (documents, len(COLUMNS)) in the order of COLUMNS. `classes` has the bit TERMINAL on marks that end sentences."""
    prime = np.uint64(_FNV_PRIME)
    seed = np.uint64(_SEED)
    top = np.zeros(len(TOP), np.float64)
    duplicate = np.zeros(len(DUPLICATE), np.float64)
    most_tokens, most_lines = len(token_keys), len(line_keys)
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        characters = words = punctuation = word_characters = alphabetic = 0
        number_signs = ellipses = letters = alphanumeric = 0
        stop_mask = 0
        tokens = kept_lines = kept_paragraphs = 0
        lines = bullets = ellipsis_lines = terminal_lines = short_lines = longest = newlines = 0
        # of the current line
        line_start = characters
        first_visible = 0
        last_terminal = ends_in_ellipsis = False
        line_key = seed
        # of the current paragraph
        paragraph_key, paragraph_size, paragraph_lines = seed, 0, 0
        while at <= end:
            if at < end:
                code, following = decode(data, at)
                kind = classes[code]
            else:  # one step past the end closes the last line
                code, following, kind = 10, at + 1, SPACE
            if kind == LETTER or kind == NUMBER or kind == MARK or kind == IDEOGRAPH:
                if not first_visible:
                    first_visible = code
                begin_characters = characters
                key = seed
                has_letter = False
                only_letters = True
                stopped = False  # with a full stop of its own, or another mark that ends a sentence
                trails_off = False  # an address with an ellipsis at its end
                if kind == IDEOGRAPH:
                    key = (key ^ np.uint64(code)) * prime
                    characters += 1
                    letters += 1
                    alphanumeric += 1
                    has_letter = True
                    at = following
                else:
                    packed = np.int64(0)
                    piece = 0  # characters since the last mark inside the word
                    stops = 0
                    while True:
                        # a run of letters, marks and numbers
                        while True:
                            key = (key ^ np.uint64(code)) * prime
                            characters += 1
                            piece += 1
                            if kind == LETTER:
                                letters += 1
                                alphanumeric += 1
                                has_letter = True
                            else:
                                only_letters = False
                                if kind == NUMBER:
                                    alphanumeric += 1
                            # letters of ASCII in lower case; anything else spoils the word for the tables of short words
                            packed = ((packed << 8) | (code | 0x20 if code < 0x80 else 0x01)) & 0xFFFFFFFFFF
                            previous_code, previous_kind = code, kind
                            at = following
                            if at >= end:
                                kind = SPACE
                                code = 10
                                break
                            code, following = decode(data, at)
                            kind = classes[code]
                            if not (kind == LETTER or kind == NUMBER or kind == MARK):
                                break
                        if at >= end or kind & 7 != PUNCTUATION:
                            break
                        # a mark follows: is it inside the word?
                        after = _kind_at(data, following, end, classes)
                        after_word = after == LETTER or after == NUMBER or after == MARK
                        inside = False
                        if code == 0x2E:
                            if after_word:
                                inside = not (
                                    previous_kind == LETTER
                                    and not upper[previous_code]
                                    and after == LETTER
                                    and upper[decode(data, following)[0]]
                                )
                            elif (
                                (following >= end or data[following] != 0x2E)
                                and previous_kind == LETTER
                                and (piece == 1 or (piece <= 4 and stops == 0 and is_abbreviation(packed)))
                            ):
                                # an initial or an abbreviation takes its full stop along, and ends there
                                key = (key ^ np.uint64(code)) * prime
                                characters += 1
                                at = following
                                stopped = True
                                only_letters = False
                                break
                            stops += 1
                        elif not after_word:
                            if code == 0x3A and following + 1 < end and data[following] == 0x2F and data[following + 1] == 0x2F:
                                stop = _address_end(data, at, end)
                                while at < stop:
                                    code, following = decode(data, at)
                                    key = (key ^ np.uint64(code)) * prime
                                    characters += 1
                                    kind = classes[code]
                                    if kind == LETTER or kind == IDEOGRAPH:
                                        letters += 1
                                        has_letter = True
                                    alphanumeric += kind == LETTER or kind == NUMBER or kind == IDEOGRAPH
                                    number_signs += code == 0x23
                                    if kind & 7 == PUNCTUATION:
                                        stopped = (kind & TERMINAL) != 0
                                    elif kind == LETTER or kind == NUMBER or kind == MARK or kind == IDEOGRAPH:
                                        stopped = False
                                    trails_off = code == 0x2026
                                    ellipses += trails_off
                                    at = following
                                only_letters = False
                                break
                            run = _marks_inside(data, at, end, classes)
                            if run == 0:
                                break
                            for _ in range(run):
                                code = np.int64(data[at])
                                key = (key ^ np.uint64(code)) * prime
                                characters += 1
                                number_signs += code == 0x23
                                at += 1
                            packed = np.int64(1)
                            piece = 0
                            only_letters = False
                            code, following = decode(data, at)
                            kind = classes[code]
                            continue
                        elif code == 0x27 or code == 0x2019:
                            ending = _contraction(data, following, end, classes) if previous_kind != MARK else 0
                            if ending:
                                # the ending is a word of its own: n't, 's, 're
                                shared = 0
                                if ending == 1 and (data[following] | 0x20) == 0x74 and (packed & 0xFF) == 0x6E and piece > 1:
                                    shared = 1
                                if tokens < most_tokens:
                                    token_keys[tokens] = key
                                    token_sizes[tokens] = characters - begin_characters - shared
                                    token_alphabetic[tokens] = 2 if only_letters else 1
                                    tokens += 1
                                words += 1
                                word_characters += characters - begin_characters - shared
                                alphabetic += 1
                                if shared == 0:
                                    stop_mask = _mark_stop(packed, characters - begin_characters, stop_mask)
                                line_key = (line_key ^ key) * prime
                                begin_characters = characters - shared
                                key = (seed ^ np.uint64(0x27)) * prime
                                characters += 1
                                at = following
                                for _ in range(ending):
                                    code = np.int64(data[at])
                                    key = (key ^ np.uint64(code)) * prime
                                    characters += 1
                                    letters += 1
                                    alphanumeric += 1
                                    at += 1
                                packed = np.int64(0)
                                only_letters = False
                                has_letter = True
                                break
                            inside = True
                        elif code == 0x2D or code == 0x2013 or code == 0x2014 or code == 0x7E:  # hyphen, dashes, tilde
                            inside = after != LETTER and not (code == 0x2D and previous_kind == NUMBER and after == NUMBER)
                        elif code == 0x2B or code == 0x2A or code == 0x5E:  # + * ^
                            inside = not (previous_kind == NUMBER and after == NUMBER)
                        elif code == 0x3A or code == 0x3C or code == 0x3D or code == 0x3E or code == 0x2F:  # : < = > /
                            inside = after != LETTER
                        elif code == 0x2C:
                            inside = not (previous_kind == LETTER and after == LETTER)
                        else:
                            inside = code < 0x80 or code == 0x201C or code == 0x201D or code == 0x2018
                        if not inside:
                            break
                        key = (key ^ np.uint64(code)) * prime
                        characters += 1
                        number_signs += code == 0x23
                        packed = np.int64(1)
                        piece = 0
                        only_letters = False
                        at = following
                        code, following = decode(data, at)
                        kind = classes[code]
                    stop_mask = _mark_stop(packed, characters - begin_characters, stop_mask)
                last_terminal, ends_in_ellipsis = stopped, trails_off
                if tokens < most_tokens:
                    token_keys[tokens] = key
                    token_sizes[tokens] = characters - begin_characters
                    token_alphabetic[tokens] = 2 if only_letters and has_letter else 1
                    tokens += 1
                words += 1
                word_characters += characters - begin_characters
                alphabetic += has_letter
                line_key = (line_key ^ key) * prime
                continue
            if code == 10:
                size = characters - line_start
                longest = max(longest, size)
                if first_visible:
                    lines += 1
                    bullets += first_visible == 0x2022 or first_visible == 0x2D
                    ellipsis_lines += ends_in_ellipsis
                    terminal_lines += last_terminal
                    short_lines += size <= SHORT_LINE
                    if kept_lines < most_lines:
                        line_keys[kept_lines] = line_key
                        line_sizes[kept_lines] = size
                        kept_lines += 1
                    paragraph_key = (paragraph_key ^ line_key) * prime
                    paragraph_size += size + (paragraph_lines > 0)
                    paragraph_lines += 1
                if paragraph_lines and (size == 0 or at >= end):
                    if kept_paragraphs < most_lines:
                        paragraph_keys[kept_paragraphs] = paragraph_key
                        paragraph_sizes[kept_paragraphs] = paragraph_size
                        kept_paragraphs += 1
                    paragraph_key, paragraph_size, paragraph_lines = seed, 0, 0
                first_visible = 0
                last_terminal = ends_in_ellipsis = False
                line_key = seed
                if at < end:
                    characters += 1
                    newlines += 1
                line_start = characters
                at = following
                continue
            if kind & 7 == PUNCTUATION:
                if not first_visible:
                    first_visible = code
                key = (seed ^ np.uint64(code)) * prime
                begin_characters = characters
                characters += 1
                number_signs += code == 0x23
                ellipses += code == 0x2026
                last_terminal = (kind & TERMINAL) != 0
                ends_in_ellipsis = code == 0x2026
                at = following
                if code == 0x2E or code == 0x2D:  # runs of full stops and of hyphens are one token
                    run = 1
                    while at < end and data[at] == code:
                        key = (key ^ np.uint64(code)) * prime
                        run += 1
                        at += 1
                        characters += 1
                    if code == 0x2E and run >= 3:
                        ellipses += run // 3
                        ends_in_ellipsis = True
                punctuation += 1
                if tokens < most_tokens:
                    token_keys[tokens] = key
                    token_sizes[tokens] = characters - begin_characters
                    token_alphabetic[tokens] = 0
                    tokens += 1
                line_key = (line_key ^ key) * prime
                continue
            line_key = (line_key ^ np.uint64(code)) * prime
            characters += 1
            at = following
        stop_words = 0
        while stop_mask:
            stop_words += stop_mask & 1
            stop_mask >>= 1
        all_tokens = max(1, words + punctuation)
        row = out[document]
        row[0] = end - offsets[document]
        row[1] = characters
        row[2] = words
        row[3] = punctuation
        row[4] = word_characters / max(1, words)
        row[5] = alphabetic / all_tokens
        row[6] = stop_words
        row[7] = number_signs / all_tokens
        row[8] = ellipses / all_tokens
        row[9] = lines
        row[10] = bullets / max(1, lines)
        row[11] = ellipsis_lines / max(1, lines)
        row[12] = longest
        row[13] = (characters - newlines) / (newlines + 1)
        row[14] = alphanumeric / max(1, characters)
        row[15] = letters / max(1, characters)
        row[16] = terminal_lines / max(1, lines)
        row[17] = short_lines / max(1, lines)
        row[18] = newlines / all_tokens
        row[19] = kept_paragraphs
        repeated, repeated_characters = duplicates(line_keys, line_sizes, kept_lines, table, owner, grams, times)
        row[_REPEATS] = repeated / max(1, kept_lines)
        row[_REPEATS + 1] = repeated_characters / max(1, characters)
        row[_AT_FINEWEB] = repeated_characters / max(1, characters - newlines)
        repeated, repeated_characters = duplicates(paragraph_keys, paragraph_sizes, kept_paragraphs, table, owner, grams, times)
        row[_REPEATS + 2] = repeated / max(1, kept_paragraphs)
        row[_REPEATS + 3] = repeated_characters / max(1, characters)
        intern(token_keys, tokens, table, owner, token_ids, token_times)
        total = 0
        best_times, is_alphabetic = 0, 0
        for index in range(tokens):
            total += token_sizes[index]
            token_ends[index] = total
            if token_alphabetic[index] and token_times[token_ids[index]] > best_times:
                best_times, is_alphabetic = token_times[token_ids[index]], token_alphabetic[index] == 2
        row[_AT_TOP_WORD] = best_times / max(1, words)
        row[_AT_TOP_WORD + 1] = is_alphabetic
        ngram_repetition(token_ids, token_times, token_ends, tokens, grams, times, places, table, seen, top, duplicate)
        for index in range(len(top)):
            row[_TOP + index] = top[index] / max(1, characters)
        for index in range(len(duplicate)):
            row[_DUPLICATE + index] = duplicate[index] / max(1, characters)


_AT_FINEWEB = _AT["fineweb_duplicate_characters"]
_AT_TOP_WORD = _AT["top_word"]


@kernel(inline="always")
def _mark_stop(packed: int, characters: int, mask: int) -> int:  # pragma: no cover - compiled
    """Set the bit of a stop word, where a word of so many characters is one."""
    if characters <= 4:
        for stop in range(len(_STOPS)):
            if _STOPS[stop] == packed:
                mask |= 1 << stop
    return mask


@cache
def character_classes() -> tuple[Bytes, Bytes]:
    """`(classes, upper)`: classes with the bit TERMINAL where a mark ends sentences; 1 where a letter is an upper-case one."""
    classes, lower = tables()
    marked = classes.copy()
    marked[terminal_marks()] |= TERMINAL
    return marked, ((lower != np.arange(len(lower), dtype=np.uint32)) & (classes == LETTER)).astype(np.uint8)


def measure(texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Statistics of a string column: one row a document, one column for each name in `COLUMNS` (int64 or float64)."""
    offsets, data = utf8_view(texts)
    classes, upper = character_classes()
    documents = len(offsets) - 1
    longest = int(np.diff(offsets).max(initial=0))
    tokens = max(1, min(MAX_TOKENS, longest))
    lines = max(1, min(MAX_LINES, longest + 1))
    slots = 64
    while slots < 2 * max(tokens, lines):
        slots *= 2
    out = np.empty((documents, len(COLUMNS)), np.float64)
    units = max(tokens, lines)
    numbers = [np.empty(units + 1, np.int32) for _ in range(6)]
    _measure(
        offsets,
        data,
        classes,
        upper,
        np.empty(tokens, np.uint64),
        np.empty(tokens, np.int32),
        np.empty(tokens, np.uint8),
        numbers[0],
        numbers[1],
        np.empty(tokens, np.int64),
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
        np.empty(lines, np.uint64),
        np.empty(lines, np.int32),
        np.empty(lines, np.uint64),
        np.empty(lines, np.int32),
        np.empty(slots, np.uint64),
        np.empty(slots, np.int32),
        out,
    )
    assert not math.isnan(float(out.sum())), "a statistic is not a number"
    columns = {
        name: pa.array(out[:, index].astype(np.int64) if name in _INTEGERS else np.ascontiguousarray(out[:, index]))
        for index, name in enumerate(COLUMNS)
    }
    return pa.table(columns)

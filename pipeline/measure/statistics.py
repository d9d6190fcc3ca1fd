"""Every number that the rules look at, for a column of documents, from its UTF-8 bytes.

`pipeline.measure.scanner` says what a token, a word and a mark are. Here they are counted, and lines and paragraphs with them;
`pipeline.measure.repetition` counts what repeats. `tokens = words + punctuation`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel import characters as char
from kernel.boundaries import word_end
from kernel.compile import leaf
from kernel.hashing import FNV_OFFSET, fnv
from kernel.utf8 import CLASS, PUNCTUATION, SPACE, TERMINAL, UNSPACED, Bytes, Offsets, decode, utf8_view
from pipeline.measure.columns import places
from pipeline.measure.repetition import BITS, DUPLICATE, TOP, Grams, Interned, duplicates, intern, ngram_repetition
from pipeline.measure.scanner import Tables, character_classes, ending_key, in_word, pack, scan_mark, scan_word

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
    "alphanumeric": "letters and numbers / characters (in scripts without spaces marks of vowels and tones count as letters)",
    "letters": "letters / characters (likewise)",
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
_AT = places(COLUMNS)
_STOPS = np.array([pack(word) for word in GOPHER_STOP_WORDS], dtype=np.int64)
_MARK, _WORD, _LETTERS = range(3)  # kinds of tokens: a mark, a word, a word of letters alone


class Tokens(NamedTuple):
    """The first MAX_TOKENS tokens of a document."""

    keys: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.int32]  # characters
    kinds: Bytes
    ends: npt.NDArray[np.int64]  # characters of the tokens up to and with each


class Units(NamedTuple):
    """The first MAX_LINES lines, or paragraphs, of a document."""

    keys: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.int32]  # characters


class Scratch(NamedTuple):
    """Room for the units of one document, and for finding those that repeat."""

    tokens: Tokens
    lines: Units
    paragraphs: Units
    interned: Interned
    grams: Grams


class Counts(NamedTuple):
    """What is counted in one document."""

    characters: int
    words: int
    punctuation: int
    word_characters: int
    alphabetic: int  # words with a letter
    stop_words: int  # a bit for each that occurs
    number_signs: int
    ellipses: int
    letters: int
    alphanumeric: int
    lines: int  # that are not blank; so are the next
    bullets: int
    ellipsis_lines: int
    terminal_lines: int
    short_lines: int
    longest_line: int
    newlines: int
    kept_tokens: int  # how many tokens, lines and paragraphs are in the scratch arrays
    kept_lines: int
    kept_paragraphs: int


@leaf(inline="always")
def _stop_word(packed: int, characters: int) -> int:  # pragma: no cover - compiled
    """The bit of a stop word, where a word of so many characters is one; else 0."""
    if characters <= 4:
        for stop in range(len(_STOPS)):
            if _STOPS[stop] == packed:
                return 1 << stop
    return 0


@leaf(inline="always")
def _keep(tokens: Tokens, count: int, key: np.uint64, size: int, kind: int) -> int:  # pragma: no cover - compiled
    """Write a token down, where there is room; how many there are then."""
    if count < len(tokens.keys):
        tokens.keys[count], tokens.sizes[count], tokens.kinds[count] = key, size, kind
        count += 1
    return count


# Long: the scanner's parts are inlined, and what they count is kept in registers.
@leaf
def _count(data: Bytes, at: int, end: int, tables: Tables, scratch: Scratch) -> Counts:  # pragma: no cover - compiled
    """Scan the text of one document, `data[at:end]`: its counts, and its tokens, lines and paragraphs into `scratch`."""
    classes, tokens = tables.classes, scratch.tokens
    begin = at
    line_keys, line_sizes = scratch.lines.keys, scratch.lines.sizes
    paragraph_keys, paragraph_sizes = scratch.paragraphs.keys, scratch.paragraphs.sizes
    characters = words = punctuation = word_characters = alphabetic = 0
    number_signs = ellipses = letters = alphanumeric = 0
    stop_words = 0
    kept_tokens = kept_lines = kept_paragraphs = 0
    lines = bullets = ellipsis_lines = terminal_lines = short_lines = longest = newlines = 0
    # of the current line
    line_start = characters
    first_visible = 0
    last_terminal = ends_in_ellipsis = False
    line_key = FNV_OFFSET
    # of the current paragraph
    paragraph_key, paragraph_size, paragraph_lines = FNV_OFFSET, 0, 0
    while at <= end:
        if at < end:
            code, following = decode(data, at)
            kind = classes[code]
        else:  # one step past the end closes the last line
            code, following, kind = char.LINE_FEED, at + 1, SPACE
        if in_word(kind):
            if not first_visible:
                first_visible = code
            word = scan_word(data, at, end, (code, following, kind), tables)
            at = word.at
            size = word.characters
            key = word.key
            has_letter, only_letters = word.has_letter, word.only_letters
            letters += word.letters
            alphanumeric += word.alphanumeric
            number_signs += word.number_signs
            ellipses += word.ellipses
            if word.shared == 0:
                stop_words |= _stop_word(word.packed, size)
            characters += size
            if word.ending:
                kept_tokens = _keep(tokens, kept_tokens, key, size - word.shared, _LETTERS if only_letters else _WORD)
                words += 1
                word_characters += size - word.shared
                alphabetic += 1
                line_key = fnv(line_key, key)
                key = ending_key(data, at, word.ending)
                at += word.ending
                size = word.shared + 1 + word.ending
                characters += 1 + word.ending
                letters += word.ending
                alphanumeric += word.ending
                has_letter, only_letters = True, False
            last_terminal, ends_in_ellipsis = word.stopped, word.trails_off
            kept_tokens = _keep(tokens, kept_tokens, key, size, _LETTERS if only_letters and has_letter else _WORD)
            words += 1
            word_characters += size
            alphabetic += has_letter
            line_key = fnv(line_key, key)
        elif kind == UNSPACED:
            if not first_visible:
                first_visible = code
            stop = word_end(data, at, begin, end, classes)
            key, size = FNV_OFFSET, 0
            while at < stop:
                code, at = decode(data, at)
                key = fnv(key, np.uint64(code))
                size += 1
            characters += size
            letters += size
            alphanumeric += size
            last_terminal = ends_in_ellipsis = False
            kept_tokens = _keep(tokens, kept_tokens, key, size, _LETTERS)
            words += 1
            word_characters += size
            alphabetic += 1
            line_key = fnv(line_key, key)
        elif code == char.LINE_FEED:
            size = characters - line_start
            longest = max(longest, size)
            if first_visible:
                lines += 1
                bullets += first_visible == char.BULLET or first_visible == char.HYPHEN
                ellipsis_lines += ends_in_ellipsis
                terminal_lines += last_terminal
                short_lines += size <= SHORT_LINE
                if kept_lines < len(line_keys):
                    line_keys[kept_lines], line_sizes[kept_lines] = line_key, size
                    kept_lines += 1
                paragraph_key = fnv(paragraph_key, line_key)
                paragraph_size += size + (paragraph_lines > 0)
                paragraph_lines += 1
            if paragraph_lines and (size == 0 or at >= end):
                if kept_paragraphs < len(paragraph_keys):
                    paragraph_keys[kept_paragraphs], paragraph_sizes[kept_paragraphs] = paragraph_key, paragraph_size
                    kept_paragraphs += 1
                paragraph_key, paragraph_size, paragraph_lines = FNV_OFFSET, 0, 0
            first_visible = 0
            last_terminal = ends_in_ellipsis = False
            line_key = FNV_OFFSET
            if at < end:
                characters += 1
                newlines += 1
            line_start = characters
            at = following
        elif kind & CLASS == PUNCTUATION:
            if not first_visible:
                first_visible = code
            mark = scan_mark(data, end, code, following)
            at = mark.at
            characters += mark.characters
            number_signs += code == char.NUMBER_SIGN
            ellipses += mark.ellipses
            last_terminal, ends_in_ellipsis = (kind & TERMINAL) != 0, mark.trails_off
            kept_tokens = _keep(tokens, kept_tokens, mark.key, mark.characters, _MARK)
            punctuation += 1
            line_key = fnv(line_key, mark.key)
        else:
            line_key = fnv(line_key, np.uint64(code))
            characters += 1
            at = following
    return Counts(
        characters, words, punctuation, word_characters, alphabetic, stop_words, number_signs, ellipses, letters, alphanumeric,
        lines, bullets, ellipsis_lines, terminal_lines, short_lines, longest, newlines, kept_tokens, kept_lines, kept_paragraphs,
    )  # fmt: skip


@leaf
def _shares(counts: Counts, size: int, row: npt.NDArray[np.float64]) -> None:  # pragma: no cover - compiled
    """The columns that are counts and shares of counts, of a document of `size` bytes."""
    characters, lines = max(1, counts.characters), max(1, counts.lines)
    tokens = max(1, counts.words + counts.punctuation)
    stop_words, left = 0, counts.stop_words
    while left:
        stop_words += left & 1
        left >>= 1
    row[_AT.bytes] = size
    row[_AT.characters] = counts.characters
    row[_AT.words] = counts.words
    row[_AT.punctuation] = counts.punctuation
    row[_AT.mean_word_length] = counts.word_characters / max(1, counts.words)
    row[_AT.alphabetic_words] = counts.alphabetic / tokens
    row[_AT.stop_words] = stop_words
    row[_AT.hashes] = counts.number_signs / tokens
    row[_AT.ellipses] = counts.ellipses / tokens
    row[_AT.lines] = counts.lines
    row[_AT.bullet_lines] = counts.bullets / lines
    row[_AT.ellipsis_lines] = counts.ellipsis_lines / lines
    row[_AT.longest_line] = counts.longest_line
    row[_AT.mean_line] = (counts.characters - counts.newlines) / (counts.newlines + 1)
    row[_AT.alphanumeric] = counts.alphanumeric / characters
    row[_AT.letters] = counts.letters / characters
    row[_AT.terminal_lines] = counts.terminal_lines / lines
    row[_AT.short_lines] = counts.short_lines / lines
    row[_AT.newlines] = counts.newlines / tokens
    row[_AT.paragraphs] = counts.kept_paragraphs


@leaf
def _repeats(counts: Counts, scratch: Scratch, row: npt.NDArray[np.float64]) -> None:  # pragma: no cover - compiled
    """The columns of what repeats: lines, paragraphs, words, n-grams."""
    tokens, interned, grams = scratch.tokens, scratch.interned, scratch.grams
    characters = max(1, counts.characters)
    repeated, size = duplicates(scratch.lines.keys, scratch.lines.sizes, counts.kept_lines, interned)
    row[_AT.duplicate_lines] = repeated / max(1, counts.kept_lines)
    row[_AT.duplicate_line_characters] = size / characters
    row[_AT.fineweb_duplicate_characters] = size / max(1, counts.characters - counts.newlines)
    repeated, size = duplicates(scratch.paragraphs.keys, scratch.paragraphs.sizes, counts.kept_paragraphs, interned)
    row[_AT.duplicate_paragraphs] = repeated / max(1, counts.kept_paragraphs)
    row[_AT.duplicate_paragraph_characters] = size / characters
    intern(tokens.keys, counts.kept_tokens, interned)
    total = 0
    most, kind = 0, _WORD
    for index in range(counts.kept_tokens):
        total += tokens.sizes[index]
        tokens.ends[index] = total
        if tokens.kinds[index] != _MARK and interned.times[interned.ids[index]] > most:
            most, kind = interned.times[interned.ids[index]], tokens.kinds[index]
    row[_AT.top_word] = most / max(1, counts.words)
    row[_AT.top_word_alphabetic] = kind == _LETTERS
    ngram_repetition(interned, tokens.ends, counts.kept_tokens, grams)
    for index in range(len(TOP)):
        row[_AT.top_2gram + index] = grams.top[index] / characters
    for index in range(len(DUPLICATE)):
        row[_AT.duplicate_5grams + index] = grams.duplicate[index] / characters


@leaf
def _measure(offsets: Offsets, data: Bytes, tables: Tables, scratch: Scratch, out: npt.NDArray[np.float64]) -> None:  # pragma: no cover
    """Fill `out` (documents, len(COLUMNS)) in the order of COLUMNS."""
    for document in range(len(offsets) - 1):
        begin, end = offsets[document], offsets[document + 1]
        row = out[document]
        counts = _count(data, begin, end, tables, scratch)
        _shares(counts, end - begin, row)
        _repeats(counts, scratch, row)


def _scratch(longest: int) -> Scratch:
    """Room for documents of at most so many bytes."""
    tokens = max(1, min(MAX_TOKENS, longest))
    lines = max(1, min(MAX_LINES, longest + 1))
    units = max(tokens, lines)
    return Scratch(
        Tokens(np.empty(tokens, np.uint64), np.empty(tokens, np.int32), np.empty(tokens, np.uint8), np.empty(tokens, np.int64)),
        Units(np.empty(lines, np.uint64), np.empty(lines, np.int32)),
        Units(np.empty(lines, np.uint64), np.empty(lines, np.int32)),
        Interned.of(units),
        Grams.of(units),
    )


def measure(texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Statistics of a string column: one row a document, one column for each name in `COLUMNS` (int64 or float64)."""
    offsets, data = utf8_view(texts)
    out = np.empty((len(offsets) - 1, len(COLUMNS)), np.float64)
    _measure(offsets, data, character_classes(), _scratch(int(np.diff(offsets).max(initial=0))), out)
    assert not math.isnan(float(out.sum())), "a statistic is not a number"
    columns = {
        name: pa.array(out[:, index].astype(np.int64) if name in _INTEGERS else np.ascontiguousarray(out[:, index]))
        for index, name in enumerate(COLUMNS)
    }
    return pa.table(columns)

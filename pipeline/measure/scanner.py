"""The scanner of tokens: where a word or a mark of a text ends, and what it is made of.

A *token* is a word or a mark, as near as plain rules come to the word tokenizers behind the published rules (spaCy's English
one, for datatrove): a word is a run of letters, marks and numbers, together with the marks inside it where those tokenizers leave
them inside (`o'clock`, `3.14`, `COVID-19`, `example.com`, `word(s`, `f(x=1`, `http://...`), contractions apart (`do` `n't`); every
other punctuation mark or symbol is a token of its own, but for runs of full stops and of hyphens. In scripts written without spaces a
word is what `kernel.boundaries` says, and has no mark inside it.

`scan_word` and `scan_mark` are given the first character, decoded, and return all there is to count. It is counted in
`pipeline.measure.statistics`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from kernel import characters as char
from kernel.compile import leaf
from kernel.hashing import FNV_OFFSET, fnv
from kernel.utf8 import CLASS, LETTER, MARK, NUMBER, PUNCTUATION, SPACE, TERMINAL, UNSPACED, Bytes, decode, tables, terminal_marks


class Tables(NamedTuple):
    """What is known of each code point: uint8 (0x110000,) each."""

    classes: Bytes  # as `kernel.utf8` numbers them, with the bit TERMINAL where a mark ends sentences
    upper: Bytes  # 1 where a letter is a capital


class Word(NamedTuple):
    """A word as it was scanned."""

    at: int  # the byte behind it
    key: np.uint64  # FNV-1a of its code points
    characters: int
    letters: int
    alphanumeric: int  # letters and numbers
    number_signs: int
    ellipses: int
    has_letter: bool
    only_letters: bool
    stopped: bool  # it ends with a full stop of its own, or another mark that ends a sentence
    trails_off: bool  # it is an address that ends in an ellipsis
    packed: int  # its last letters, as `pack` has them
    ending: int  # bytes from `at` on of a contraction's ending, whose apostrophe stands before them; 0 where there is none
    shared: int  # characters at the word's end that belong to that ending (the n of n't)


class Mark(NamedTuple):
    """A mark, or a run of full stops or hyphens, as it was scanned."""

    at: int  # the byte behind it
    key: np.uint64
    characters: int
    ellipses: int
    trails_off: bool  # it is an ellipsis


@cache
def character_classes() -> Tables:
    """The tables of the running Python's Unicode."""
    classes, lower = tables()
    marked = classes.copy()
    marked[terminal_marks()] |= TERMINAL
    upper = ((lower != np.arange(len(lower), dtype=np.uint32)) & (classes == LETTER)).astype(np.uint8)
    return Tables(marked, upper)


def pack(word: str) -> int:
    """A short ASCII word in one integer, as `push` packs a word's last characters."""
    value = 0
    for character in word.encode():
        value = (value << 8) | character
    return value


@leaf(inline="always")
def push(packed: int, code: int) -> Any:  # pragma: no cover - compiled
    """The last five characters of a word in one integer, after one more: ASCII letters in lower case, and 1 for what is not ASCII, which
    no word in the tables of short words has."""
    return ((packed << 8) | (code | char.CASE if code < char.ASCII_END else 0x01)) & 0xFFFFFFFFFF


# Words of up to four letters whose full stop belongs to them and ends no sentence.
ABBREVIATIONS = (
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "inc", "ltd", "co", "corp", "fig", "eq", "ref", "vol", "pp", "ed",
    "eds", "rev", "gen", "gov", "sen", "rep", "hon", "capt", "sgt", "col", "lt", "maj", "mt", "ave", "jan", "feb", "mar", "apr", "jun",
    "jul", "aug", "sep", "sept", "oct", "nov", "dec", "al", "cf", "dept", "est", "univ", "ph", "resp", "sec", "chap", "viz",
)  # fmt: skip
_ABBREVIATIONS = np.array(sorted(pack(word) for word in ABBREVIATIONS if len(word) <= 4), dtype=np.int64)


@leaf
def is_abbreviation(packed: int) -> bool:  # pragma: no cover - compiled
    """Whether the last letters of a word, packed, are those of an abbreviation."""
    for index in range(len(_ABBREVIATIONS)):  # noqa: SIM110 - numba compiles loops, not generators
        if packed == _ABBREVIATIONS[index]:
            return True
    return False


@leaf(inline="always")
def in_word(kind: int) -> Any:  # pragma: no cover - compiled
    """Whether characters of a class make up words together: letters, numbers and marks."""
    return kind == LETTER or kind == NUMBER or kind == MARK


@leaf(inline="always")
def _kind_at(data: Bytes, at: int, end: int, classes: Bytes) -> int:  # pragma: no cover - compiled
    if at >= end:
        return SPACE
    code = np.int64(data[at]) if data[at] < char.ASCII_END else decode(data, at)[0]
    return int(classes[code])


@leaf
def _contraction(data: Bytes, at: int, end: int, classes: Bytes) -> int:  # pragma: no cover - compiled
    """Bytes of an English contraction's ending whose apostrophe ends just before `at` ('s, 'm, 'd, 't, 're, 've, 'll), or 0."""
    if at >= end:
        return 0
    first = data[at] | char.CASE
    second = (data[at + 1] | char.CASE) if at + 1 < end else 0
    one = first == char.s or first == char.m or first == char.d or first == char.t
    if one and not in_word(_kind_at(data, at + 1, end, classes)):
        return 1
    two = (first == char.r and second == char.e) or (first == char.v and second == char.e) or (first == char.l and second == char.l)
    if two and not in_word(_kind_at(data, at + 2, end, classes)):
        return 2
    return 0


@leaf
def _marks_inside(data: Bytes, at: int, end: int, classes: Bytes) -> int:  # pragma: no cover - compiled
    """How many marks of ASCII stand at `at` before a word goes on, two to six, as in `super().x`; 0 where it does not go on there.

    Two hyphens, two full stops, and a full stop before a quote end a word.
    """
    place = at
    while place < end and place < at + 6 and data[place] < char.ASCII_END and classes[data[place]] & CLASS == PUNCTUATION:
        first, second = data[place], data[place + 1] if place + 1 < end else 0
        if first == char.HYPHEN and second == char.HYPHEN:
            return 0
        if first == char.FULL_STOP and (second == char.FULL_STOP or second == char.QUOTATION_MARK or second == char.APOSTROPHE):
            return 0
        place += 1
    return place - at if place > at + 1 and in_word(_kind_at(data, place, end, classes)) else 0


@leaf
def _address_end(data: Bytes, at: int, end: int) -> int:  # pragma: no cover - compiled
    """Where a web address that has begun ends: before white space or a mark that closes, trailing marks left out."""
    start = at
    while at < end:
        byte = data[at]
        if byte <= char.SPACE or byte == char.LESS_THAN or byte == char.GREATER_THAN:
            break
        if byte == char.QUOTATION_MARK or byte == char.RIGHT_PARENTHESIS or byte == char.RIGHT_BRACKET:
            break
        at += 1
    trailing = (char.FULL_STOP, char.COMMA, char.SEMICOLON, char.COLON, char.EXCLAMATION_MARK, char.QUESTION_MARK, char.APOSTROPHE)
    while at > start and data[at - 1] in trailing:
        at -= 1
    return at


@leaf(inline="always")
def _is_inside(code: int, before: int, after: int) -> Any:  # pragma: no cover - compiled
    """Whether a mark between two characters of a word, of classes `before` and `after`, is inside the word.

    Full stops and apostrophes have rules of their own.
    """
    if code == char.HYPHEN or code == char.EN_DASH or code == char.EM_DASH or code == char.TILDE:
        return after != LETTER and not (code == char.HYPHEN and before == NUMBER and after == NUMBER)
    if code == char.PLUS_SIGN or code == char.ASTERISK or code == char.CIRCUMFLEX:
        return not (before == NUMBER and after == NUMBER)
    if code == char.COLON or code == char.LESS_THAN or code == char.EQUALS_SIGN or code == char.GREATER_THAN or code == char.SLASH:
        return after != LETTER
    if code == char.COMMA:
        return not (before == LETTER and after == LETTER)
    quote = code == char.LEFT_DOUBLE_QUOTE or code == char.RIGHT_DOUBLE_QUOTE or code == char.LEFT_SINGLE_QUOTE
    return code < char.ASCII_END or quote


@leaf
def _scan_address(data: Bytes, at: int, end: int, classes: Bytes, word: Word) -> Word:  # pragma: no cover - compiled
    """A word that goes on as a web address, at its colon, to the address's end."""
    key, characters, letters, alphanumeric = word.key, word.characters, word.letters, word.alphanumeric
    number_signs, ellipses, has_letter = word.number_signs, word.ellipses, word.has_letter
    stopped = trails_off = False
    stop = _address_end(data, at, end)
    while at < stop:
        code, following = decode(data, at)
        key = fnv(key, np.uint64(code))
        characters += 1
        kind = classes[code]
        if kind == LETTER or kind == UNSPACED:
            letters += 1
            has_letter = True
        alphanumeric += kind == LETTER or kind == NUMBER or kind == UNSPACED
        number_signs += code == char.NUMBER_SIGN
        if kind & CLASS == PUNCTUATION:
            stopped = (kind & TERMINAL) != 0
        elif in_word(kind) or kind == UNSPACED:
            stopped = False
        trails_off = code == char.ELLIPSIS or (trails_off and kind == SPACE)  # a no-break space is no end of an address
        ellipses += code == char.ELLIPSIS
        at = following
    return Word(
        at, key, characters, letters, alphanumeric, number_signs, ellipses, has_letter, False, stopped, trails_off, word.packed, 0, 0
    )  # fmt: skip


@leaf(inline="always")
def scan_word(data: Bytes, at: int, end: int, first: tuple[Any, Any, Any], tables: Tables) -> Word:  # pragma: no cover - compiled
    """The word that begins at byte `at` of a text that ends at `end`. `first`: its first character's code point, the byte behind that,
    and its class, which is one of words.
    """
    code, following, kind = first
    classes, upper = tables.classes, tables.upper
    key = FNV_OFFSET
    characters = letters = alphanumeric = number_signs = ellipses = 0
    has_letter, only_letters, stopped, trails_off = False, True, False, False
    packed = np.int64(0)
    piece = stops = 0  # characters since the last mark inside the word; full stops inside it
    ending = shared = 0
    while True:
        # a run of letters, marks and numbers
        while True:
            key = fnv(key, np.uint64(code))
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
            packed = push(packed, code)
            previous_code, previous_kind = code, kind
            at = following
            if at >= end:
                kind = SPACE
                code = char.LINE_FEED
                break
            code, following = decode(data, at)
            kind = classes[code]
            if not in_word(kind):
                break
        if at >= end or kind & CLASS != PUNCTUATION:
            break
        # a mark follows: is it inside the word?
        after = _kind_at(data, following, end, classes)
        goes_on = in_word(after)
        inside = False
        if code == char.FULL_STOP:
            if goes_on:
                sentence = previous_kind == LETTER and not upper[previous_code] and after == LETTER
                inside = not (sentence and upper[decode(data, following)[0]])
            elif (
                (following >= end or data[following] != char.FULL_STOP)
                and previous_kind == LETTER
                and (piece == 1 or (piece <= 4 and stops == 0 and is_abbreviation(packed)))
            ):
                # an initial or an abbreviation takes its full stop along, and ends there
                key = fnv(key, np.uint64(code))
                characters += 1
                at = following
                stopped = True
                only_letters = False
                break
            stops += 1
        elif not goes_on:
            if code == char.COLON and following + 1 < end and data[following] == char.SLASH and data[following + 1] == char.SLASH:
                so_far = Word(
                    at, key, characters, letters, alphanumeric, number_signs, ellipses, has_letter, False, False, False, packed, 0, 0
                )  # fmt: skip
                word: Word = _scan_address(data, at, end, classes, so_far)
                return word
            run = _marks_inside(data, at, end, classes)
            if run == 0:
                break
            for _ in range(run):
                code = np.int64(data[at])
                key = fnv(key, np.uint64(code))
                characters += 1
                number_signs += code == char.NUMBER_SIGN
                at += 1
            packed = np.int64(1)
            piece = 0
            only_letters = False
            code, following = decode(data, at)
            kind = classes[code]
            continue
        elif code == char.APOSTROPHE or code == char.RIGHT_SINGLE_QUOTE:
            ending = _contraction(data, following, end, classes) if previous_kind != MARK else 0
            if ending:
                at = following
                shared = int(ending == 1 and (data[following] | char.CASE) == char.t and (packed & 0xFF) == char.n and piece > 1)
                break
            inside = True
        else:
            inside = _is_inside(code, previous_kind, after)
        if not inside:
            break
        key = fnv(key, np.uint64(code))
        characters += 1
        number_signs += code == char.NUMBER_SIGN
        packed = np.int64(1)
        piece = 0
        only_letters = False
        at = following
        code, following = decode(data, at)
        kind = classes[code]
    return Word(
        at, key, characters, letters, alphanumeric, number_signs, ellipses, has_letter, only_letters, stopped, trails_off, packed,
        ending, shared,
    )  # fmt: skip


@leaf(inline="always")
def ending_key(data: Bytes, at: int, ending: int) -> Any:  # pragma: no cover - compiled
    """The key of a contraction's ending of so many bytes from `at` on: a word of its own, with its apostrophe as ASCII has it."""
    key = fnv(FNV_OFFSET, np.uint64(char.APOSTROPHE))
    for index in range(ending):
        key = fnv(key, np.uint64(data[at + index]))
    return key


@leaf(inline="always")
def scan_mark(data: Bytes, end: int, code: int, following: int) -> Mark:  # pragma: no cover - compiled
    """The mark `code`, after which the text goes on at byte `following`; a run of full stops or of hyphens is one token."""
    at, characters = following, 1
    key = fnv(FNV_OFFSET, np.uint64(code))
    ellipses = int(code == char.ELLIPSIS)
    trails_off = code == char.ELLIPSIS
    if code == char.FULL_STOP or code == char.HYPHEN:
        while at < end and data[at] == code:
            key = fnv(key, np.uint64(code))
            characters += 1
            at += 1
        if code == char.FULL_STOP and characters >= 3:
            ellipses = characters // 3
            trails_off = True
    return Mark(at, key, characters, ellipses, trails_off)

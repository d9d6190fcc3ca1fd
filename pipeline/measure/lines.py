"""What line rules look at: one entry a line, so that a new limit re-decides, and re-cuts, without reading text again.

The lines of a document are what lies between its line ends, blank ones too. C4's rules (Raffel et al. 2020, arXiv 1910.10683,
section 2.2) and RefinedWeb's (Penedo et al. 2023, arXiv 2306.01116, appendix G.2) are judged from these columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel import characters as char
from kernel.boundaries import word_end
from kernel.compile import leaf
from kernel.utf8 import LETTER, NUMBER, OTHER, SPACE, TERMINAL, UNSPACED, Bytes, Offsets, decode
from pipeline.measure.scanner import Tables, in_word, is_abbreviation, push

# What a line has or is.
TERMINAL_MARK = 1  # ends in one of . ? ! " ' (C4's list as datatrove has it) or of other scripts' such marks, once its citations are out
ELLIPSIS = 2  # ends in three full stops
JAVASCRIPT = 4  # has "javascript", in any case of letters; so with the other phrases
LOREM_IPSUM = 8  # has "lorem ipsum"
CURLY_BRACKET = 16  # has a {
POLICY = 32  # has one of C4's phrases about cookies and policies
NUMERIC = 64  # has nothing but numbers and marks
COUNTER = 128  # is a count, such as "3 likes"
SIGN_IN = 256  # begins with an invitation to sign in or out
READ_MORE = 512  # ends in "read more"
IN_CART = 1024  # has "items in cart"

MOST = 65535  # the largest number that a column of 16 bits holds

COLUMNS = {
    "line_bytes": pa.list_(pa.int32()),  # without the line end
    # between white space; in scripts without spaces those of `kernel.boundaries`. MOST stands for that many and more
    "line_words": pa.list_(pa.uint16()),
    "line_longest_word": pa.list_(pa.uint16()),  # characters
    "line_sentences": pa.list_(pa.uint16()),
    "line_upper": pa.list_(pa.float32()),  # upper-case letters / characters
    "line_flags": pa.list_(pa.uint16()),
    "citations": pa.list_(pa.struct([("begin", pa.int32()), ("end", pa.int32())])),  # bytes of [12], [edit], [citation needed]
}

_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")  # C4's
_SIGN_INS = ("sign-in", "sign in", "signin", "sign-out", "sign out", "signout")  # DCLM's reading of RefinedWeb's "sign-in"
_COUNTED = (
    "likes",
    "shares",
    "comments",
    "retweets",
    "reposts",
    "quotes",
    "bookmarks",
    "upvotes",
    "downvotes",
    "downloads",
    "views",
    "followers",
)
_JAVASCRIPT, _LOREM_IPSUM, _POLICY, _SIGN_IN, _READ_MORE, _IN_CART, _COUNT, _BRACKETED = range(8)  # groups of phrases
_ANYWHERE = _IN_CART  # groups up to this one are looked for anywhere in a line
_PHRASES = (
    ("javascript",),
    ("lorem ipsum",),
    _POLICIES,
    _SIGN_INS,
    ("read more",),
    ("items in cart",),
    _COUNTED,
    ("edit]", "citation needed]"),
)


def _phrase_table() -> tuple[Bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All phrases end to end, where each begins, and which group each is of."""
    phrases = [(phrase, group) for group, members in enumerate(_PHRASES) for phrase in members]
    starts = np.cumsum([0, *(len(phrase) for phrase, _ in phrases)])
    return np.frombuffer("".join(phrase for phrase, _ in phrases).encode(), np.uint8), starts, np.array([group for _, group in phrases])


_TEXT, _STARTS, _GROUPS = _phrase_table()
_FIRST = np.zeros((256, 2), np.int64)  # of a lower-case byte: the first and last phrase that may begin with it
for _byte in range(256):
    _with = [index for index in range(len(_GROUPS)) if _TEXT[_STARTS[index]] == _byte]
    _FIRST[_byte] = (min(_with), max(_with) + 1) if _with else (0, 0)


@leaf
def _group_at(data: Bytes, at: int, end: int) -> int:  # pragma: no cover - compiled
    """The group of the phrase that begins at a byte, in any case of ASCII letters; -1 where none does."""
    byte = char.lower(data[at])
    for phrase in range(_FIRST[byte, 0], _FIRST[byte, 1]):
        begin, size = _STARTS[phrase], _STARTS[phrase + 1] - _STARTS[phrase]
        if at + size > end or _TEXT[begin] != byte:
            continue
        same = True
        for index in range(1, size):
            if char.lower(data[at + index]) != _TEXT[begin + index]:
                same = False
                break
        if same:
            return int(_GROUPS[phrase])
    return -1


# The letter after the first one of a phrase that a line may have anywhere: no two of them begin alike.
_NEXT = np.zeros(128, np.uint8)
for _phrase, _group in zip(range(len(_GROUPS)), _GROUPS, strict=True):
    if _group <= _ANYWHERE:
        _NEXT[[_TEXT[_STARTS[_phrase]], _TEXT[_STARTS[_phrase]] - char.CASE]] = _TEXT[_STARTS[_phrase] + 1]


@leaf
def _phrase_flag(data: Bytes, at: int, end: int, first: int) -> int:  # pragma: no cover - compiled
    """The flag of the phrase that begins at a byte, if one does; `first`: the first byte of the line that is no white space."""
    group = _group_at(data, at, end)
    if group == _JAVASCRIPT:
        return JAVASCRIPT
    if group == _LOREM_IPSUM:
        return LOREM_IPSUM
    if group == _POLICY:
        return POLICY
    if group == _SIGN_IN and first == at:
        return SIGN_IN
    if group == _READ_MORE:
        rest = at + 9
        while rest < end and data[rest] in (char.FULL_STOP, char.SPACE, char.TAB, 0xE2, 0x80, 0xA6):  # the last three: an ellipsis
            rest += 1
        return READ_MORE if rest >= end or data[rest] == char.LINE_FEED else 0
    return IN_CART if group == _IN_CART else 0


@leaf
def _citation_end(data: Bytes, at: int, end: int) -> int:  # pragma: no cover - compiled
    """Where a citation that begins with the bracket at `at` ends, or -1: [12], [], [edit], [citation needed]."""
    place = at + 1
    while place < end and char.is_digit(data[place]):
        place += 1
    if place < end and data[place] == char.RIGHT_BRACKET:
        return place + 1
    edit = place < end and data[place] == char.e
    if place == at + 1 and place < end and (edit or data[place] == char.c) and _group_at(data, place, end) == _BRACKETED:
        return place + len("edit]") if edit else place + len("citation needed]")
    return -1


@leaf
def _is_counter(data: Bytes, at: int, end: int) -> bool:  # pragma: no cover - compiled
    """Whether a line, white space around it gone, is a count: a number (1,234 or 1.2K) and what is counted."""
    if at >= end or not char.is_digit(data[at]):
        return False
    while at < end and (char.is_digit(data[at]) or data[at] == char.COMMA or data[at] == char.FULL_STOP):
        at += 1
    if at < end and (data[at] | char.CASE) in (char.k, char.m, char.b):
        at += 1
    space = at
    while at < end and data[at] == char.SPACE:
        at += 1
    if at == space or at >= end or _group_at(data, at, end) != _COUNT:
        return False
    while at < end and data[at] >= char.A:
        at += 1
    return bool(at == end)


# White space splits [citation needed] into two words.
_TWO_WORDS, _SECOND_WORD = len("[citation needed]"), len("needed]")


class _Lines(NamedTuple):
    """The columns of COLUMNS as they are filled, an entry a line; `offsets` int64 (documents + 1,)."""

    offsets: Offsets
    bytes: npt.NDArray[np.int32]
    words: npt.NDArray[np.uint16]
    longest_word: npt.NDArray[np.uint16]
    sentences: npt.NDArray[np.uint16]
    upper: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint16]


class _Citations(NamedTuple):
    """The bytes of citations, counted from the document's first."""

    offsets: Offsets
    begin: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]


class _Last(NamedTuple):
    """The last three characters of a line so far, the last one first."""

    one: int
    two: int
    three: int


class _Line(NamedTuple):
    """A line as it was scanned."""

    end: int  # its line end, or the text's
    words: int
    longest_word: int
    sentences: int
    upper: float
    flags: int
    citations: int  # how many there are in the document, up to here


@leaf(inline="always")
def _ends_sentence(
    data: Bytes, following: int, end: int, tables: Tables, before: int, word: tuple[int, int, int]
) -> Any:  # pragma: no cover - compiled
    """Whether a full stop ends a sentence: not that of an abbreviation, nor one inside a word (but for `end.Next`).

    `before`: the code point before it; `word`: the last letters of the word before it, packed, how many characters that has since the
    last mark inside it, and the full stops inside it.
    """
    packed, piece, stops = word
    if piece == 1 or (0 < piece <= 4 and not stops and is_abbreviation(packed)):
        return False
    after = tables.classes[decode(data, following)[0]] if following < end else SPACE
    inside = in_word(after) and piece > 0
    if inside and piece > 1 and not tables.upper[before] and after == LETTER:
        inside = tables.upper[decode(data, following)[0]] == 0
    return not inside


@leaf(inline="always")
def _ends_line(last: _Last, classes: Bytes) -> Any:  # pragma: no cover - compiled
    """Whether a line that ends in a character beyond ASCII ends in terminal punctuation: a mark that ends sentences, of any script, or,
    where such a mark or a script without spaces stands before it, a quote that closes, or an ellipsis."""
    mark = last.one
    if classes[mark] & TERMINAL:
        return True
    closes = mark == char.RIGHT_DOUBLE_QUOTE or mark == char.RIGHT_SINGLE_QUOTE or mark == char.ELLIPSIS
    closes |= mark == char.RIGHT_CORNER_BRACKET or mark == char.RIGHT_WHITE_CORNER_BRACKET
    before = classes[last.two]
    wide = before == UNSPACED or (before & TERMINAL and last.two >= char.ASCII_END) or last.two == char.ELLIPSIS
    return closes and wide


@leaf(inline="always")
def _end_flags(last: _Last, classes: Bytes) -> Any:  # pragma: no cover - compiled
    """What a line's last characters say."""
    mark = last.one
    terminal = mark == char.FULL_STOP or mark == char.QUESTION_MARK or mark == char.EXCLAMATION_MARK
    flags = TERMINAL_MARK if terminal or mark == char.QUOTATION_MARK or mark == char.APOSTROPHE else 0
    if mark >= char.ASCII_END and _ends_line(last, classes):
        flags |= TERMINAL_MARK
    if mark == char.FULL_STOP and last.two == char.FULL_STOP and last.three == char.FULL_STOP:
        flags |= ELLIPSIS
    return flags


# Long: what is seen of a character is kept in registers.
@leaf
def _scan_line(
    data: Bytes, start: int, begin: int, end: int, tables: Tables, citations: _Citations, found: int
) -> _Line:  # pragma: no cover - compiled
    """The line that begins at `begin`, of a document that is `data[start:end]` and has `found` citations before it."""
    classes, upper = tables.classes, tables.upper
    at = begin
    flags = words = longest = sentences = capitals = characters = run = 0
    unspaced = spaced = 0  # since the last white space: words of scripts without spaces, and runs of others' letters and numbers
    visible = numbers = word_characters = 0
    first_byte = last_byte = at
    # the last characters of the line; and those without white space after them, and without citations
    last = before = third = 0
    kept = _Last(0, 0, 0)
    # of sentences
    pending = False  # a mark that ends a sentence was seen, and no word since
    packed, piece, stops = np.int64(0), 0, 0
    fresh = True  # nothing of a sentence yet
    while at < end and data[at] != char.LINE_FEED:
        code, following = decode(data, at)
        kind = classes[code]
        if code == char.LEFT_BRACKET:
            stop = _citation_end(data, at, end)
            if stop >= 0:
                citations.begin[found], citations.end[found] = at - start, stop - start
                found += 1
                characters += stop - at
                run += stop - at
                if stop - at == _TWO_WORDS:
                    words += 1
                    longest = max(longest, run - _SECOND_WORD - 1)
                    run = _SECOND_WORD
                visible += stop - at
                if visible == stop - at:
                    first_byte = at
                at = last_byte = stop
                kept = _Last(last, before, third)
                piece, stops = 0, 0
                continue
        if kind == UNSPACED:
            sentences += pending or fresh
            pending = fresh = False
            if not visible:
                first_byte = at
            stop = word_end(data, at, start, end, classes)
            size = 0
            while at < stop:
                code, at = decode(data, at)
                third, before, last = before, last, code
                size += 1
            characters += size
            word_characters += size
            visible += size
            unspaced += 1
            longest = max(longest, size, run)
            run = 0  # what is spaced begins anew
            piece, stops, packed = 0, 0, np.int64(0)
            last_byte = at
            kept = _Last(last, before, third)
            continue
        if in_word(kind):
            sentences += pending or fresh
            pending = fresh = False
            if not visible:
                first_byte = at
            spaced += 1
            begin_word = characters
            while True:
                characters += 1
                third, before, last = before, last, code
                packed = push(packed, code)
                capitals += upper[code]
                numbers += kind == NUMBER
                if code < char.ASCII_END and _NEXT[code] and following < end and data[following] | char.CASE == _NEXT[code]:
                    flags |= _phrase_flag(data, at, end, first_byte)
                at = following
                if at >= end:
                    break
                code, following = decode(data, at)
                kind = classes[code]
                if not in_word(kind):
                    break
            size = characters - begin_word
            word_characters += size
            piece += size
            run += size
            visible += size
            last_byte = at
            kept = _Last(last, before, third)
            continue
        characters += 1
        third, before, last = before, last, code
        if kind == SPACE or (kind == OTHER and char.TSHEG <= code <= char.TSHEG + 1):
            if unspaced:
                words += unspaced + spaced
            elif run:
                words += 1
            longest = max(longest, run)
            run = unspaced = spaced = 0
            piece, stops, packed = 0, 0, np.int64(0)
            at = following
            continue
        run += 1
        if not visible:
            first_byte = at
        visible += 1
        last_byte = following
        kept = _Last(last, before, third)
        if kind & TERMINAL:
            if code == char.FULL_STOP:
                pending |= _ends_sentence(data, following, end, tables, before, (packed, piece, stops))
                stops += 1
            else:
                pending = True
        elif code == char.LEFT_BRACE:
            flags |= CURLY_BRACKET
        piece, packed = 0, np.int64(0)
        at = following
    if unspaced:
        words += unspaced + spaced
    elif run:
        words += 1
    longest = max(longest, run)
    flags |= _end_flags(kept, classes)
    if numbers and numbers == word_characters:
        flags |= NUMERIC
    if last_byte - first_byte < 64 and _is_counter(data, first_byte, last_byte):
        flags |= COUNTER
    return _Line(at, words, longest, max(sentences, 1 if visible else 0), capitals / max(1, characters), flags, found)


@leaf
def _measure_lines(
    offsets: Offsets, data: Bytes, wanted: npt.NDArray[np.bool_], tables: Tables, lines: _Lines, citations: _Citations
) -> None:  # pragma: no cover - compiled
    line = found = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        at = start
        while wanted[document] and at <= end:
            scanned = _scan_line(data, start, at, end, tables, citations, found)
            lines.bytes[line] = scanned.end - at
            lines.words[line] = min(scanned.words, MOST)
            lines.longest_word[line] = min(scanned.longest_word, MOST)
            lines.sentences[line] = min(scanned.sentences, MOST)
            lines.upper[line] = scanned.upper
            lines.flags[line] = scanned.flags
            found = scanned.citations
            line += 1
            at = scanned.end + 1
        lines.offsets[document + 1] = line
        citations.offsets[document + 1] = found


def measure_lines(offsets: Offsets, data: Bytes, classes: Bytes, upper: Bytes, wanted: npt.NDArray[np.bool_]) -> dict[str, pa.Array]:
    """The columns of `COLUMNS`, an entry a document; null where not `wanted`, bool (documents,).

    `offsets`, `data`: the documents as `utf8_view` gives them; `classes`, `upper`: as `scanner.character_classes()` gives them.
    """
    documents = len(offsets) - 1
    part = data[offsets[0] : offsets[-1]]
    most = documents + int(np.count_nonzero(part == char.LINE_FEED)) if documents else 0
    brackets = int(np.count_nonzero(part == char.LEFT_BRACKET)) if documents else 0
    lines = _Lines(
        np.zeros(documents + 1, np.int64),
        np.empty(most, np.int32),
        np.empty(most, np.uint16),
        np.empty(most, np.uint16),
        np.empty(most, np.uint16),
        np.empty(most, np.float32),
        np.empty(most, np.uint16),
    )
    citations = _Citations(np.zeros(documents + 1, np.int64), np.empty(brackets, np.int32), np.empty(brackets, np.int32))
    _measure_lines(offsets, data, wanted, Tables(classes, upper), lines, citations)
    lists = [pa.array(array[: lines.offsets[-1]]) for array in lines[1:]]
    spans = pa.StructArray.from_arrays([pa.array(each[: citations.offsets[-1]]) for each in citations[1:]], ["begin", "end"])
    mask = pa.array(~wanted)
    columns = {}
    for name, values in zip(COLUMNS, [*lists, spans], strict=True):
        ends = citations.offsets if name == "citations" else lines.offsets
        columns[name] = pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), values, mask=mask).cast(COLUMNS[name])
    return columns

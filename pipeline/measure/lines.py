"""What line rules look at: one entry a line, so that a new limit re-decides, and re-cuts, without reading text again.

The lines of a document are what lies between its line ends, blank ones too. C4's rules (Raffel et al. 2020, arXiv 1910.10683,
section 2.2) and RefinedWeb's (Penedo et al. 2023, arXiv 2306.01116, appendix G.2) are judged from these columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.compile import kernel
from kernel.utf8 import IDEOGRAPH, LETTER, MARK, NUMBER, SPACE, TERMINAL, Bytes, Offsets, decode
from pipeline.measure.scanner import is_abbreviation

# What a line has or is.
TERMINAL_MARK = 1  # ends in one of . ? ! " ' once its citations are out (C4's list as datatrove has it)
ELLIPSIS = 2  # ends in three full stops
JAVASCRIPT = 4  # has the word, in any case; so the next ones
LOREM_IPSUM = 8
CURLY_BRACKET = 16
POLICY = 32  # one of C4's phrases about cookies and policies
NUMERIC = 64  # nothing but numbers and marks
COUNTER = 128  # "3 likes"
SIGN_IN = 256  # begins with an invitation to sign in or out
READ_MORE = 512  # ends in "read more"
IN_CART = 1024  # has "items in cart"

COLUMNS = {
    "line_bytes": pa.list_(pa.int32()),  # without the line end
    "line_words": pa.list_(pa.uint16()),  # between white space; 65535 stands for that many and more
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


@kernel
def _group_at(data: Bytes, at: int, end: int) -> int:  # pragma: no cover - compiled
    """The group of the phrase that begins at a byte, in any case of ASCII letters; -1 where none does."""
    byte = data[at] | 0x20 if 0x41 <= data[at] <= 0x5A else data[at]
    for phrase in range(_FIRST[byte, 0], _FIRST[byte, 1]):
        begin, size = _STARTS[phrase], _STARTS[phrase + 1] - _STARTS[phrase]
        if at + size > end or _TEXT[begin] != byte:
            continue
        same = True
        for index in range(1, size):
            other = data[at + index]
            if 0x41 <= other <= 0x5A:
                other |= 0x20
            if other != _TEXT[begin + index]:
                same = False
                break
        if same:
            return int(_GROUPS[phrase])
    return -1


# The letter after the first one of a phrase that a line may have anywhere: no two of them begin alike.
_NEXT = np.zeros(128, np.uint8)
for _phrase, _group in zip(range(len(_GROUPS)), _GROUPS, strict=True):
    if _group <= 5:
        _NEXT[[_TEXT[_STARTS[_phrase]], _TEXT[_STARTS[_phrase]] - 0x20]] = _TEXT[_STARTS[_phrase] + 1]


@kernel
def _phrase_flag(data: Bytes, at: int, end: int, first: int) -> int:  # pragma: no cover - compiled
    """The flag of the phrase that begins at a byte, if one does; `first`: the first byte of the line that is no white space."""
    group = _group_at(data, at, end)
    if group == 0:
        return JAVASCRIPT
    if group == 1:
        return LOREM_IPSUM
    if group == 2:
        return POLICY
    if group == 3 and first == at:
        return SIGN_IN
    if group == 4:
        rest = at + 9
        while rest < end and data[rest] in (0x2E, 0x20, 9, 0xE2, 0x80, 0xA6):  # full stops, spaces, an ellipsis
            rest += 1
        return READ_MORE if rest >= end or data[rest] == 10 else 0
    return IN_CART if group == 5 else 0


@kernel
def _citation_end(data: Bytes, at: int, end: int) -> int:  # pragma: no cover - compiled
    """Where a citation that begins with the bracket at `at` ends, or -1: [12], [], [edit], [citation needed]."""
    place = at + 1
    while place < end and 0x30 <= data[place] <= 0x39:
        place += 1
    if place < end and data[place] == 0x5D:
        return place + 1
    if place == at + 1 and place < end and (data[place] == 0x65 or data[place] == 0x63) and _group_at(data, place, end) == 7:
        return place + (5 if data[place] == 0x65 else 16)
    return -1


@kernel
def _is_counter(data: Bytes, at: int, end: int) -> bool:  # pragma: no cover - compiled
    """Whether a line, white space around it gone, is a count: a number (1,234 or 1.2K) and what is counted."""
    if at >= end or not 0x30 <= data[at] <= 0x39:
        return False
    while at < end and (0x30 <= data[at] <= 0x39 or data[at] == 0x2C or data[at] == 0x2E):
        at += 1
    if at < end and (data[at] | 0x20) in (0x6B, 0x6D, 0x62):  # K, M, B
        at += 1
    space = at
    while at < end and data[at] == 0x20:
        at += 1
    if at == space or at >= end or _group_at(data, at, end) != 6:
        return False
    while at < end and data[at] >= 0x41:
        at += 1
    return bool(at == end)


@kernel
def _lines(
    offsets: Offsets,
    data: Bytes,
    wanted: npt.NDArray[np.bool_],
    classes: Bytes,
    upper: Bytes,
    line_offsets: Offsets,
    line_bytes: npt.NDArray[np.int32],
    line_words: npt.NDArray[np.uint16],
    line_longest: npt.NDArray[np.uint16],
    line_sentences: npt.NDArray[np.uint16],
    line_upper: npt.NDArray[np.float32],
    line_flags: npt.NDArray[np.uint16],
    citation_offsets: Offsets,
    citation_begin: npt.NDArray[np.int32],
    citation_end: npt.NDArray[np.int32],
) -> None:  # pragma: no cover - compiled
    line = citations = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        at = start
        while wanted[document] and at <= end:
            begin = at
            flags = words = longest = sentences = capitals = characters = run = 0
            visible = numbers = word_characters = 0
            first_byte = last_byte = at
            # the last characters of the line, white space after them and citations left out
            last = before = third = 0
            kept_last = kept_before = kept_third = 0
            # of sentences
            pending = False  # a mark that ends a sentence was seen, and no word since
            packed, piece, stops = np.int64(0), 0, 0
            fresh = True  # nothing of a sentence yet
            while at < end and data[at] != 10:
                code, following = decode(data, at)
                kind = classes[code]
                if code == 0x5B:
                    stop = _citation_end(data, at, end)
                    if stop >= 0:
                        citation_begin[citations], citation_end[citations] = at - start, stop - start
                        citations += 1
                        characters += stop - at
                        run += stop - at
                        if stop - at == 17:  # [citation needed] is two words
                            words += 1
                            longest = max(longest, run - 8)
                            run = 7
                        visible += stop - at
                        if visible == stop - at:
                            first_byte = at
                        at = last_byte = stop
                        kept_last, kept_before, kept_third = last, before, third
                        piece, stops = 0, 0
                        continue
                if kind == LETTER or kind == NUMBER or kind == MARK or kind == IDEOGRAPH:
                    sentences += pending or fresh
                    pending = fresh = False
                    if not visible:
                        first_byte = at
                    begin_word = characters
                    while True:
                        characters += 1
                        third, before, last = before, last, code
                        packed = ((packed << 8) | (code | 0x20 if code < 0x80 else 0x01)) & 0xFFFFFFFFFF
                        capitals += upper[code]
                        numbers += kind == NUMBER
                        if code < 0x80 and _NEXT[code] and following < end and data[following] | 0x20 == _NEXT[code]:
                            flags |= _phrase_flag(data, at, end, first_byte)
                        at = following
                        if at >= end:
                            break
                        code, following = decode(data, at)
                        kind = classes[code]
                        if not (kind == LETTER or kind == NUMBER or kind == MARK or kind == IDEOGRAPH):
                            break
                    size = characters - begin_word
                    word_characters += size
                    piece += size
                    run += size
                    visible += size
                    last_byte = at
                    kept_last, kept_before, kept_third = last, before, third
                    continue
                characters += 1
                third, before, last = before, last, code
                if kind == SPACE:
                    if run:
                        words += 1
                        longest = max(longest, run)
                        run = 0
                    piece, stops, packed = 0, 0, np.int64(0)
                    at = following
                    continue
                run += 1
                if not visible:
                    first_byte = at
                visible += 1
                last_byte = following
                kept_last, kept_before, kept_third = last, before, third
                if kind & TERMINAL:
                    after = classes[decode(data, following)[0]] if following < end else SPACE
                    if code == 0x2E:
                        abbreviation = piece == 1 or (0 < piece <= 4 and not stops and is_abbreviation(packed))
                        inside = (after == LETTER or after == NUMBER or after == MARK) and piece > 0
                        if inside and piece > 1 and not upper[before] and after == LETTER:  # "end.Next"
                            inside = upper[decode(data, following)[0]] == 0
                        stops += 1
                        pending |= not abbreviation and not inside
                    else:
                        pending = True
                elif code == 0x7B:
                    flags |= CURLY_BRACKET
                piece, packed = 0, np.int64(0)
                at = following
            if run:
                words += 1
                longest = max(longest, run)
            if kept_last == 0x2E or kept_last == 0x3F or kept_last == 0x21 or kept_last == 0x22 or kept_last == 0x27:
                flags |= TERMINAL_MARK
            if kept_last == 0x2E and kept_before == 0x2E and kept_third == 0x2E:
                flags |= ELLIPSIS
            if numbers and numbers == word_characters:
                flags |= NUMERIC
            if last_byte - first_byte < 64 and _is_counter(data, first_byte, last_byte):
                flags |= COUNTER
            line_bytes[line] = at - begin
            line_words[line] = min(words, 65535)
            line_longest[line] = min(longest, 65535)
            line_sentences[line] = min(max(sentences, 1 if visible else 0), 65535)
            line_upper[line] = capitals / max(1, characters)
            line_flags[line] = flags
            line += 1
            at += 1
        line_offsets[document + 1] = line
        citation_offsets[document + 1] = citations


def measure_lines(offsets: Offsets, data: Bytes, classes: Bytes, upper: Bytes, wanted: npt.NDArray[np.bool_]) -> dict[str, pa.Array]:
    """The columns of `COLUMNS` for documents as kernels see them; null where not `wanted`.

    `classes` and `upper` as `statistics.character_classes()` gives them.
    """
    documents = len(offsets) - 1
    most = documents + int(np.count_nonzero(data[offsets[0] : offsets[-1]] == 10)) if documents else 0
    brackets = int(np.count_nonzero(data[offsets[0] : offsets[-1]] == 0x5B)) if documents else 0
    line_offsets, citation_offsets = np.zeros(documents + 1, np.int64), np.zeros(documents + 1, np.int64)
    arrays = [np.empty(most, kind) for kind in (np.int32, np.uint16, np.uint16, np.uint16, np.float32, np.uint16)]
    begin, end = np.empty(brackets, np.int32), np.empty(brackets, np.int32)
    _lines(offsets, data, wanted, classes, upper, line_offsets, *arrays, citation_offsets, begin, end)
    lists = [pa.array(array[: line_offsets[-1]]) for array in arrays]
    spans = pa.StructArray.from_arrays([pa.array(e[: citation_offsets[-1]]) for e in (begin, end)], ["begin", "end"])
    mask = pa.array(~wanted)
    columns = {}
    for name, values in zip(COLUMNS, [*lists, spans], strict=True):
        ends = citation_offsets if name == "citations" else line_offsets
        columns[name] = pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), values, mask=mask).cast(COLUMNS[name])
    return columns

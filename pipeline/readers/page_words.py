"""The words of a page: those of its tags' names and attributes, and those of its text, counted into a block's row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernel import characters as char
from kernel.compile import kernel, leaf
from pipeline.readers import page_columns as c
from pipeline.readers import page_tags as tag

Array = npt.NDArray[Any]


# What a byte of text is.
_PLAIN, _SPACE, _LOWER, _UPPER, _DIGIT, _COMMA, _STOP, _MARK, _BEYOND = range(9)
CLASSES = np.zeros(256, np.uint8)
CLASSES[:0x21] = _SPACE
CLASSES[ord("a") : ord("z") + 1] = _LOWER
CLASSES[ord("A") : ord("Z") + 1] = _UPPER
CLASSES[ord("0") : ord("9") + 1] = _DIGIT
CLASSES[list(b",;:")] = _COMMA
CLASSES[list(b".!?")] = _STOP
CLASSES[list(b"()[]{}\"'|/\\<>=+*@#$%^~`_-&")] = _MARK
CLASSES[0x80:] = _BEYOND

HASH = np.uint64(tag.HASH)
SHIFT = np.uint64(29)
MASK = np.uint64(tag.SLOTS - 1)
NONE, ONE = np.uint64(0), np.uint64(1)
TITLE_SLOTS = 128
TITLE_MASK = np.uint64(TITLE_SLOTS - 1)


@kernel(inline="always")
def mixed(state: Any, byte: Any) -> Any:
    found = (state ^ np.uint64(byte)) * HASH
    return found ^ (found >> SHIFT)


@leaf
def lookup(keys: Array, values: Array, key: Any) -> Any:
    """The number of a word in a `page_tags.WordTable`, or 0."""
    slot = key & MASK
    while keys[slot] != NONE:
        if keys[slot] == key:
            return values[slot]
        slot = (slot + ONE) & MASK
    return 0.0


@leaf
def words_of(
    page: Array, at: int, end: int, kind_keys: Array, kind_values: Array, word_keys: Array, word_values: Array, found: Array
) -> None:
    """Adds what the words in an attribute's value say to `found`: kinds (bits), and sum, least and most of their weights.

    A word is a run of letters, begun anew by a capital after a small letter: `navBar-top2` has three.
    """
    state = NONE
    was_lower: Any = False
    for place in range(at, min(end, at + 400) + 1):
        byte = page[place] if place < end else np.uint8(char.SPACE)
        is_lower = char.a <= byte <= char.z
        is_upper = char.A <= byte <= char.Z
        if state != NONE and (not (is_lower or is_upper) or (is_upper and was_lower)):
            found[0] = float(int(found[0]) | int(lookup(kind_keys, kind_values, state)))
            weight = lookup(word_keys, word_values, state)
            found[1] += weight
            found[2] = min(found[2], weight)
            found[3] = max(found[3], weight)
            state = NONE
        if is_lower or is_upper:
            state = mixed(state, byte | char.CASE)
        was_lower = is_lower


@leaf
def _says(page: Array, at: int, end: int, word: Array) -> bool:
    """Whether a word of small letters stands in `page[at:end]`, white space aside; looks at 400 bytes."""
    same = 0
    for place in range(at, min(end, at + 400)):
        byte = page[place]
        if byte <= char.SPACE:
            continue
        if byte | char.CASE == word[same] | char.CASE:
            same += 1
            if same == len(word):
                return True
        else:
            same = 1 if byte | char.CASE == word[0] else 0
    return False


NO_DISPLAY = np.frombuffer(b"display:none", np.uint8)
LINKED_DATA = np.frombuffer(b"ld+json", np.uint8)


@leaf
def attributes(page: Array, at: int, keys: Array, values: Array, kind_keys: Array, kind_values: Array, word_keys: Array, word_values: Array,
                no_display: Array, linked_data: Array, found: Array) -> int:  # fmt: skip
    """Reads a tag's attributes from `at` on; returns where the tag ends, behind its `>`.

    `found`: kinds, sum, least and most weight of its words; whether it ends in `/>`, and whether its type is linked data.
    """
    size = len(page)
    found[:] = 0.0
    while at < size:
        byte = page[at]
        if byte == char.GREATER_THAN:
            found[4] = 1.0 if page[at - 1] == char.SLASH else 0.0
            return at + 1
        if byte <= char.SPACE or byte == char.SLASH:
            at += 1
            continue
        begin, state = at, NONE
        while at < size:
            byte = page[at]
            if byte <= char.SPACE or byte == char.GREATER_THAN or byte == char.SLASH or (byte == char.EQUALS_SIGN and at > begin):
                break
            state = mixed(state, byte + char.CASE if char.A <= byte <= char.Z else byte)
            at += 1
        kind = int(lookup(keys, values, state))
        place = at
        while place < size and page[place] <= char.SPACE:
            place += 1
        if place >= size or page[place] != char.EQUALS_SIGN:
            if kind == tag.HIDDEN:
                found[0] = float(int(found[0]) | tag.NOT_SHOWN)
            continue
        at = place + 1
        while at < size and page[at] <= char.SPACE:
            at += 1
        if at >= size:
            return size
        mark = page[at]
        if mark == char.QUOTATION_MARK or mark == char.APOSTROPHE:
            at += 1
            begin = at
            while at < size and page[at] != mark:
                at += 1
            end = at
            at += 1
        else:
            begin = at
            while at < size and page[at] > char.SPACE and page[at] != char.GREATER_THAN:
                at += 1
            end = at
        if kind == tag.NAMED:
            words_of(page, begin, end, kind_keys, kind_values, word_keys, word_values, found)
        elif kind == tag.HIDDEN or (kind == tag.STYLE and _says(page, begin, end, no_display)):
            found[0] = float(int(found[0]) | tag.NOT_SHOWN)
        elif kind == tag.TYPE and _says(page, begin, end, linked_data):
            found[5] = 1.0
    return size


@leaf
def _is_in(words: Array, key: Any) -> bool:
    """Whether a word is one of those whose hashes `fill_words` put down."""
    slot = key & TITLE_MASK
    while words[slot] != NONE:
        if words[slot] == key:
            return True
        slot = (slot + ONE) & TITLE_MASK
    return False


@leaf
def fill_words(text: Array, words: Array) -> None:
    """Puts the hashes of a title's words, half as many as there is room for at most, into `words` (TITLE_SLOTS, all 0)."""
    state, count = NONE, 0
    for place in range(len(text) + 1):
        byte = text[place] if place < len(text) else np.uint8(char.SPACE)
        if char.is_letter(byte) or byte >= char.ASCII_END:
            state = mixed(state, byte + char.CASE if char.A <= byte <= char.Z else byte)
        elif state != NONE:
            if count < TITLE_SLOTS // 2 and not _is_in(words, state):
                slot = state & TITLE_MASK
                while words[slot] != NONE:
                    slot = (slot + ONE) & TITLE_MASK
                words[slot] = state
                count += 1
            state = NONE


# Many arguments: tables, which a leaf cannot hold, and the state of the run before.
@leaf
def read_text(page: Array, at: int, end: int, classes: Array, cue_keys: Array, cue_values: Array, title: Array, row: Array, cues: Array,
              word: int, linked: bool, bold: bool) -> int:  # fmt: skip
    """Counts what stands in `page[at:end]` into a block's row; returns the letters of the word that is open at its end."""
    before = row[c.LENGTH]
    state = NONE
    known = word == 0  # a word that began in another run is not looked up
    wide = 0
    while at < end:
        byte = page[at]
        kind = classes[byte]
        if byte == char.AMPERSAND:
            stop = at + 1
            while (
                stop < end
                and stop < at + 10
                and (char.is_letter(page[stop]) or char.is_digit(page[stop]) or page[stop] == char.NUMBER_SIGN)
            ):
                stop += 1
            if stop < end and page[stop] == char.SEMICOLON and stop > at + 1:
                is_space = (stop == at + 5 and page[at + 1] == char.n and page[at + 2] == char.b and page[at + 3] == char.s) or (
                    stop == at + 5 and page[at + 1] == char.NUMBER_SIGN and page[at + 2] == char.ONE and page[at + 3] == char.SIX
                )
                kind = _SPACE if is_space else _MARK
                at = stop
        if kind == _LOWER or kind == _UPPER or kind == _BEYOND:
            if kind == _BEYOND and byte & 0xC0 == 0x80:
                if known:
                    state = mixed(state, byte)
                at += 1
                continue
            if kind == _BEYOND and byte == 0xC2 and at + 1 < end and page[at + 1] == 0xA0:  # a no-break space
                kind = _SPACE
                at += 1
            elif kind == _BEYOND and byte >= 0xE3:
                wide += 1
                row[c.LENGTH] += 2
                if at + 2 < end and ((byte == 0xE3 and page[at + 1] == 0x80) or (byte == 0xEF and page[at + 1] == 0xBC)):
                    mark = page[at + 2]
                    if mark == 0x82 or (mark == 0x81 and byte == 0xEF) or (mark == 0x9F and byte == 0xEF):
                        row[c.STOPS] += 1
                        row[c.LAST] = _STOP
                    elif mark == 0x81 or mark == 0x8C:
                        row[c.COMMAS] += 1
                        row[c.LAST] = _COMMA
                else:
                    row[c.LAST] = _BEYOND
                if row[c.LENGTH] <= 2:
                    row[c.BEGINS] = _BEYOND
                word = 0
                state = NONE
                at += 1
                continue
            else:
                row[c.LENGTH] += 1
                row[c.CAPITALS] += kind == _UPPER
                row[c.LAST] = kind
                if row[c.LENGTH] == 1:
                    row[c.BEGINS] = kind
                word += 1
                if known:
                    state = mixed(state, byte + char.CASE if kind == _UPPER else byte)
                at += 1
                continue
        if word:
            row[c.WORDS] += 1
            row[c.LONGEST] = max(row[c.LONGEST], word)
            if known:
                row[c.DIGEST] = (row[c.DIGEST] * 31 + int(state & np.uint64(0xFFFFFF))) & 0xFFFFFFF
                if row[c.WORDS] <= 40:
                    weight = lookup(cue_keys, cue_values, state)
                    cues[0] += weight
                    cues[1] = min(cues[1], weight)
                    cues[2] += _is_in(title, state)
            word = 0
        state = NONE
        known = True
        if kind != _SPACE:
            row[c.LENGTH] += 1
            row[c.LAST] = kind
            if row[c.LENGTH] == 1:
                row[c.BEGINS] = kind
            row[c.DIGITS] += kind == _DIGIT
            row[c.COMMAS] += kind == _COMMA
            row[c.STOPS] += kind == _STOP
            if kind == _DIGIT:
                row[c.DIGEST] = (row[c.DIGEST] * 31 + int(byte)) & 0xFFFFFFF
        at += 1
    row[c.WORDS] += wide // 2
    row[c.DIGEST] = (row[c.DIGEST] + wide * 7919) & 0xFFFFFFF
    if word and known:  # at the end of a run: the word may go on in the next
        row[c.DIGEST] = (row[c.DIGEST] * 31 + int(state & np.uint64(0xFFFFFF))) & 0xFFFFFFF
        if row[c.WORDS] < 40:
            weight = lookup(cue_keys, cue_values, state)
            cues[0] += weight
            cues[1] = min(cues[1], weight)
            cues[2] += _is_in(title, state)
    if linked:
        row[c.LINKED] += row[c.LENGTH] - before
    if bold:
        row[c.BOLD] += row[c.LENGTH] - before
    return word

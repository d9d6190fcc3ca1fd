"""A page's markup as blocks of text and the elements that they lie in, found in one pass over its bytes.

No tree is made, so nothing here grows faster than the page, however deep it nests: open elements are a stack, and which of them a tag
ends is known from the place of the last one of each kind. What the HTML standard closes is closed here (paragraphs, items, cells,
rows, headings), and cells are walls to all end tags but a table's own; what it moves (text in tables before the table, formatting
that is opened again) stays where it stands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernel import characters as char
from kernel.compile import kernel, leaf
from pipeline.readers import page_tags as tag

Array = npt.NDArray[Any]

# Columns of an element. `NEAR_*` is the number of the nearest such element around it, itself counted, or -1.
(PARENT, TAG, AT, KINDS, ORDINAL, DEPTH, FIRST, END, NEAR_ITEM, NEAR_CELL, NEAR_ROW, NEAR_TABLE, NEAR_PRE, LISTS, TAGS_AROUND, SHAPE) = range(16)  # fmt: skip
ELEMENT_COLUMNS = 16
# Columns of a block. Lengths are in characters that are no white space; one of East Asia's counts for two.
(ELEMENT, RUN, RUN_END, LENGTH, LINKED, WORDS, COMMAS, STOPS, DIGITS, CAPITALS, LINKS, BOLD, LAST, BEGINS, BREAKS, DIGEST, BLOCK_KINDS, LONGEST) = range(18)  # fmt: skip
BLOCK_COLUMNS = 18
# Columns of a run of text: begin and end in the page, and how many line breaks stand before it.
RUN_COLUMNS = 3

# What a byte of text is.
_PLAIN, _SPACE, _LOWER, _UPPER, _DIGIT, _COMMA, _STOP, _MARK, _BEYOND = range(9)
_CLASS = np.zeros(256, np.uint8)
_CLASS[: 0x21] = _SPACE
_CLASS[ord("a") : ord("z") + 1] = _LOWER
_CLASS[ord("A") : ord("Z") + 1] = _UPPER
_CLASS[ord("0") : ord("9") + 1] = _DIGIT
_CLASS[list(b",;:")] = _COMMA
_CLASS[list(b".!?")] = _STOP
_CLASS[list(b"()[]{}\"'|/\\<>=+*@#$%^~`_-&")] = _MARK
_CLASS[0x80:] = _BEYOND

HASH = np.uint64(tag.HASH)
SHIFT = np.uint64(29)
MASK = np.uint64(tag.SLOTS - 1)
NONE, ONE = np.uint64(0), np.uint64(1)
TITLE_SLOTS = 128
TITLE_MASK = np.uint64(TITLE_SLOTS - 1)


@kernel(inline="always")
def _mixed(state: Any, byte: Any) -> Any:
    found = (state ^ np.uint64(byte)) * HASH
    return found ^ (found >> SHIFT)


@leaf
def lookup(keys: Array, values: Array, key: Any) -> float:
    """The number of a word in a `page_tags.Table`, or 0."""
    slot = key & MASK
    while keys[slot] != NONE:
        if keys[slot] == key:
            return values[slot]
        slot = (slot + ONE) & MASK
    return 0.0


@leaf
def words_of(page: Array, at: int, end: int, kind_keys: Array, kind_values: Array, word_keys: Array, word_values: Array, found: Array) -> None:
    """Adds what the words in an attribute's value say to `found`: kinds (bits), and sum, least and most of their weights.

    A word is a run of letters, begun anew by a capital after a small letter: `navBar-top2` has three.
    """
    state = NONE
    was_lower = False
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
            state = _mixed(state, byte | char.CASE)
        was_lower = is_lower


@leaf
def _find(page: Array, at: int, first: int, second: int, third: int) -> int:
    """Where three bytes stand together from `at` on, or the page's length."""
    size = len(page)
    while at + 2 < size:
        if page[at] == first and page[at + 1] == second and page[at + 2] == third:
            return at
        at += 1
    return size


@leaf
def _end_of_raw(page: Array, at: int, begin: int, name_end: int) -> int:
    """Where the end tag of the element that is named in `page[begin:name_end]` begins, from `at` on; the page's length where none does."""
    size, length = len(page), name_end - begin
    while at + 2 + length <= size:
        if page[at] == char.LESS_THAN and page[at + 1] == char.SLASH:
            same = 0
            while same < length and page[at + 2 + same] | char.CASE == page[begin + same] | char.CASE:
                same += 1
            if same == length:
                return at
        at += 1
    return size


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


_NO_DISPLAY = np.frombuffer(b"display:none", np.uint8)
_LINKED_DATA = np.frombuffer(b"ld+json", np.uint8)


@leaf
def _attributes(page: Array, at: int, keys: Array, values: Array, kind_keys: Array, kind_values: Array, word_keys: Array, word_values: Array,
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
            state = _mixed(state, byte + char.CASE if char.A <= byte <= char.Z else byte)
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
            state = _mixed(state, byte + char.CASE if char.A <= byte <= char.Z else byte)
        elif state != NONE:
            if count < TITLE_SLOTS // 2 and not _is_in(words, state):
                slot = state & TITLE_MASK
                while words[slot] != NONE:
                    slot = (slot + ONE) & TITLE_MASK
                words[slot] = state
                count += 1
            state = NONE


@leaf
def _read_text(page: Array, at: int, end: int, classes: Array, cue_keys: Array, cue_values: Array, title: Array, row: Array, cues: Array, word: int,
               linked: bool, bold: bool) -> int:  # fmt: skip
    """Counts what stands in `page[at:end]` into a block's row; returns the letters of the word that is open at its end."""
    before = row[LENGTH]
    state = NONE
    known = word == 0  # a word that began in another run is not looked up
    wide = 0
    while at < end:
        byte = page[at]
        kind = classes[byte]
        if byte == char.AMPERSAND:
            stop = at + 1
            while stop < end and stop < at + 10 and (char.is_letter(page[stop]) or char.is_digit(page[stop]) or page[stop] == char.NUMBER_SIGN):
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
                    state = _mixed(state, byte)
                at += 1
                continue
            if kind == _BEYOND and byte == 0xC2 and at + 1 < end and page[at + 1] == 0xA0:  # a no-break space
                kind = _SPACE
                at += 1
            elif kind == _BEYOND and byte >= 0xE3:
                wide += 1
                row[LENGTH] += 2
                if at + 2 < end and ((byte == 0xE3 and page[at + 1] == 0x80) or (byte == 0xEF and page[at + 1] == 0xBC)):
                    mark = page[at + 2]
                    if mark == 0x82 or mark == 0x81 and byte == 0xEF or mark == 0x9F and byte == 0xEF:
                        row[STOPS] += 1
                        row[LAST] = _STOP
                    elif mark == 0x81 or mark == 0x8C:
                        row[COMMAS] += 1
                        row[LAST] = _COMMA
                else:
                    row[LAST] = _BEYOND
                if row[LENGTH] <= 2:
                    row[BEGINS] = _BEYOND
                word = 0
                state = NONE
                at += 1
                continue
            else:
                row[LENGTH] += 1
                row[CAPITALS] += kind == _UPPER
                row[LAST] = kind
                if row[LENGTH] == 1:
                    row[BEGINS] = kind
                word += 1
                if known:
                    state = _mixed(state, byte + char.CASE if kind == _UPPER else byte)
                at += 1
                continue
        if word:
            row[WORDS] += 1
            row[LONGEST] = max(row[LONGEST], word)
            if known:
                row[DIGEST] = (row[DIGEST] * 31 + int(state & np.uint64(0xFFFFFF))) & 0xFFFFFFF
                if row[WORDS] <= 40:
                    weight = lookup(cue_keys, cue_values, state)
                    cues[0] += weight
                    cues[1] = min(cues[1], weight)
                    cues[2] += _is_in(title, state)
            word = 0
        state = NONE
        known = True
        if kind != _SPACE:
            row[LENGTH] += 1
            row[LAST] = kind
            if row[LENGTH] == 1:
                row[BEGINS] = kind
            row[DIGITS] += kind == _DIGIT
            row[COMMAS] += kind == _COMMA
            row[STOPS] += kind == _STOP
            if kind == _DIGIT:
                row[DIGEST] = (row[DIGEST] * 31 + int(byte)) & 0xFFFFFFF
        at += 1
    row[WORDS] += wide // 2
    row[DIGEST] = (row[DIGEST] + wide * 7919) & 0xFFFFFFF
    if word and known:  # at the end of a run: the word may go on in the next
        row[DIGEST] = (row[DIGEST] * 31 + int(state & np.uint64(0xFFFFFF))) & 0xFFFFFFF
        if row[WORDS] < 40:
            weight = lookup(cue_keys, cue_values, state)
            cues[0] += weight
            cues[1] = min(cues[1], weight)
            cues[2] += _is_in(title, state)
    if linked:
        row[LINKED] += row[LENGTH] - before
    if bold:
        row[BOLD] += row[LENGTH] - before
    return word


@leaf
def _scan(page: Array, classes: Array, group: Array, ends_p: Array, tag_keys: Array, tag_values: Array, attribute_keys: Array,
          attribute_values: Array, kind_keys: Array, kind_values: Array, word_keys: Array, word_values: Array, cue_keys: Array, cue_values: Array, title: Array,
          no_display: Array, linked_data: Array, elements: Array, weights: Array, blocks: Array, cues: Array, runs: Array, stack: Array,
          last: Array, data: Array, found: Array) -> tuple[int, int, int, int]:  # fmt: skip
    """Fills `elements`, `weights` (three a row: sum, least, most), `blocks`, `cues` (two a row), `runs` and `data` (begin and end of what is
    linked data); returns how many rows of each there are, `weights` and `cues` beside their elements and blocks.

    `stack` has three columns: the element; the place of the open one of its group before it; and of the wall before it.
    """
    size = len(page)
    elements[0, :] = 0
    elements[0, PARENT] = -1
    for column in (NEAR_ITEM, NEAR_CELL, NEAR_ROW, NEAR_TABLE, NEAR_PRE):
        elements[0, column] = -1
    weights[0, :] = 0
    last[:] = -1
    count, block, run, linked_data_count = 1, 0, 0, 0
    top, wall = 1, 0  # how many are open; the place of the innermost cell or table
    stack[0, 0] = 0
    stack[0, 1] = -1
    stack[0, 2] = 0
    link_top, link_run = 0, 0  # how many were open where a link began, or 0
    bold, button = False, False
    no_more_skipped = False
    breaks, word = 0, 0
    begun = False  # whether the block has a row
    at = 0
    while at < size:
        # --- text up to the next tag
        begin = at
        while True:
            while at < size and page[at] != char.LESS_THAN:
                at += 1
            if at + 1 >= size:
                at = size
                break
            following = page[at + 1]
            if char.is_letter(following) or following == char.SLASH or following == char.EXCLAMATION_MARK or following == char.QUESTION_MARK:
                break
            at += 1
        if at > begin:
            place = begin
            in_pre = elements[stack[top - 1, 0], NEAR_PRE] >= 0
            if not begun and not in_pre:
                while place < at and page[place] <= char.SPACE:
                    place += 1
            if place < at:
                if not begun:
                    begun = True
                    blocks[block, :] = 0
                    cues[block, :] = 0
                    blocks[block, ELEMENT] = stack[top - 1, 0]
                    blocks[block, RUN] = run
                    breaks = 0
                    word = 0
                elif breaks >= 2 and not in_pre and blocks[block, LENGTH] > 0:  # two line breaks are the end of a paragraph
                    some = False
                    for inner in range(place, at):
                        if page[inner] > char.SPACE:
                            some = True
                            break
                    if some:
                        blocks[block, RUN_END] = run
                        blocks[block, WORDS] += word > 0
                        block += 1
                        blocks[block, :] = 0
                        cues[block, :] = 0
                        blocks[block, ELEMENT] = stack[top - 1, 0]
                        blocks[block, RUN] = run
                        blocks[block, BEGINS] = 0
                        breaks = 0
                        word = 0
                before = blocks[block, LENGTH]
                word = _read_text(page, place, at, classes, cue_keys, cue_values, title, blocks[block], cues[block], word, link_top > 0 or button, bold)
                short = blocks[block, LENGTH] - before
                if link_top > 0 and 0 < short <= 2 and at - place <= 6 and (page[place] == char.NUMBER_SIGN or (page[place] == 0xC2 and page[place + 1] == 0xB6)):
                    blocks[block, LENGTH] = before  # the sign of a heading's own address
                    blocks[block, LINKED] -= short
                else:
                    runs[run, 0], runs[run, 1], runs[run, 2] = place, at, breaks
                    if short:
                        breaks = 0
                    run += 1
        if at >= size:
            break
        # --- the tag
        opened_at = at
        following = page[at + 1]
        if following == char.EXCLAMATION_MARK or following == char.QUESTION_MARK:
            if at + 3 < size and page[at + 2] == char.HYPHEN and page[at + 3] == char.HYPHEN:
                at = _find(page, at + 2, char.HYPHEN, char.HYPHEN, char.GREATER_THAN) + 3
            else:
                while at < size and page[at] != char.GREATER_THAN:
                    at += 1
                at += 1
            continue
        closing = following == char.SLASH
        at += 1 + closing
        name, state = at, NONE
        while at < size:
            byte = page[at]
            if byte <= char.SPACE or byte == char.GREATER_THAN or byte == char.SLASH:
                break
            state = _mixed(state, byte + char.CASE if char.A <= byte <= char.Z else byte)
            at += 1
        code = int(lookup(tag_keys, tag_values, state))
        name_end = at
        if closing:
            while at < size and page[at] != char.GREATER_THAN:
                at += 1
            at += 1
        else:
            at = _attributes(page, at, attribute_keys, attribute_values, kind_keys, kind_values, word_keys, word_values, no_display, linked_data, found)
        if code >= tag.SCRIPT:
            if closing or (code == tag.SKIPPED and (found[4] or no_more_skipped)):
                continue
            end = _end_of_raw(page, at, name, name_end)
            if code == tag.SKIPPED and end >= size:
                no_more_skipped = True  # so that what never ends is looked for once
                continue
            if code == tag.SCRIPT and found[5] and linked_data_count < len(data):
                data[linked_data_count, 0], data[linked_data_count, 1] = at, end
                linked_data_count += 1
            at = end
            continue
        if code == tag.OTHER:
            if not closing and begun:
                blocks[block, BLOCK_KINDS] |= int(found[0])
            continue
        if code == tag.LINK:
            link_top = 0 if closing else top
            if not closing and begun:
                blocks[block, LINKS] += 1
                blocks[block, BLOCK_KINDS] |= int(found[0])
            continue
        if code == tag.BREAK:
            breaks += 1
            if word:
                blocks[block, WORDS] += 1
                word = 0
            continue
        if code == tag.BOLD:
            bold = not closing
            continue
        if code == tag.BUTTON:
            button = not closing
            continue
        # --- an element of blocks: whatever text is open is a block
        if begun:
            blocks[block, RUN_END] = run
            blocks[block, WORDS] += word > 0
            if blocks[block, LENGTH] > 0:
                block += 1
            begun = False
        bold = button = False
        if code == tag.RULE:
            continue
        kin = group[code]
        target = -1  # the place down to which elements are ended
        if closing:
            target = last[kin]
            if kin == tag.TD or kin == tag.TR or code == tag.SECTION_OF_ROWS:
                if target < last[tag.TABLE]:
                    target = -1
            elif kin == tag.LI:
                if target < max(last[tag.UL], wall):
                    target = -1
            elif kin != tag.TABLE and target < wall:
                target = -1
            if kin == tag.FORM and target >= 0 and target != top - 1:
                target = -1  # it lies across others, and ends with them
            if target < 0:
                continue
        else:
            if code == tag.LI:
                if last[tag.LI] > max(last[tag.UL], wall):
                    target = last[tag.LI]
            elif kin == tag.DT:
                if last[tag.DT] > max(last[tag.DL], wall):
                    target = last[tag.DT]
            elif kin == tag.TD:
                if last[tag.TD] > last[tag.TABLE]:
                    target = last[tag.TD]
            elif code == tag.TR:
                lowest = last[tag.TABLE]
                if last[tag.TR] > lowest:
                    target = last[tag.TR]
                elif last[tag.TD] > lowest:
                    target = last[tag.TD]
            elif code == tag.SECTION_OF_ROWS:
                lowest = last[tag.TABLE]
                if last[tag.SECTION_OF_ROWS] > lowest:
                    target = last[tag.SECTION_OF_ROWS]
                elif last[tag.TR] > lowest:
                    target = last[tag.TR]
            elif kin == tag.H1 and last[tag.H1] == top - 1 and top > 1:
                target = top - 1
            if target < 0 and ends_p[code] and last[tag.P] > wall:
                target = last[tag.P]
        if target >= 1:
            while top > target:
                top -= 1
                inner = stack[top, 0]
                elements[inner, END] = block
                last[group[elements[inner, TAG]]] = stack[top, 1]
                wall = stack[top, 2]
            if link_top > top:
                link_top = 0
        if closing:
            continue
        # --- a new one
        parent = stack[top - 1, 0]
        row = elements[count]
        row[PARENT], row[TAG], row[AT], row[KINDS] = parent, code, opened_at, int(found[0])
        row[ORDINAL] = 0
        row[DEPTH], row[FIRST], row[END] = elements[parent, DEPTH] + 1, block, -1
        row[SHAPE] = 0  # how many items, rows or cells it has had
        for column in (NEAR_ITEM, NEAR_CELL, NEAR_ROW, NEAR_TABLE, NEAR_PRE, LISTS):
            row[column] = elements[parent, column]
        row[TAGS_AROUND] = elements[parent, TAGS_AROUND]
        if code == tag.LI:
            row[NEAR_ITEM] = count
            owner = stack[last[tag.UL], 0] if last[tag.UL] > wall else parent
            elements[owner, SHAPE] += 1
            row[ORDINAL] = elements[owner, SHAPE]
            row[AT] = opened_at
        elif code == tag.UL or code == tag.OL:
            row[LISTS] += 1
        elif kin == tag.TD:
            row[NEAR_CELL], row[NEAR_ITEM], row[LISTS] = count, -1, 0
            owner = stack[last[tag.TR], 0] if last[tag.TR] > last[tag.TABLE] else parent
            elements[owner, SHAPE] += 1
            row[ORDINAL] = elements[owner, SHAPE]
        elif code == tag.TR:
            row[NEAR_ROW] = count
        elif code == tag.TABLE:
            row[NEAR_TABLE], row[NEAR_ROW], row[NEAR_CELL] = count, -1, -1
        elif code == tag.PRE:
            row[NEAR_PRE] = count
        weights[count, 0], weights[count, 1], weights[count, 2] = found[1], found[2], found[3]
        stack[top, 0], stack[top, 1], stack[top, 2] = count, last[kin], wall
        last[kin] = top
        if kin == tag.TD or code == tag.TABLE or code == tag.CAPTION:
            wall = top
        top += 1
        count += 1
    if begun:
        blocks[block, RUN_END] = run
        blocks[block, WORDS] += word > 0
        if blocks[block, LENGTH] > 0:
            block += 1
    for place in range(top):
        elements[stack[place, 0], END] = block
    return count, block, run, linked_data_count


class Blocks(NamedTuple):
    """A page's blocks. `elements` (n, ELEMENT_COLUMNS) int32, in the order in which they begin, the first the page itself; `weights`
    (n, 3) float32, what the words of their names weigh; `blocks` (m, BLOCK_COLUMNS) int32; `cues` (m, 3) float32, what the
    words of their text weigh (sum and least), and how many of them the title has; `runs` (r, RUN_COLUMNS) int32; `data` (k, 2) int64, where linked data stands in the page.
    """

    elements: Array
    weights: Array
    blocks: Array
    cues: Array
    runs: Array
    data: Array


KINDS_OF_WORDS = tag.Table({word: float(bits) for word, bits in tag.KIND_BITS.items()})


def scan(page: Array, names: tag.Table, cues: tag.Table, title: bytes = b"") -> Blocks:
    """The blocks of a page (uint8, UTF-8). `names` and `cues`: what words of class names and of text weigh."""
    room = int(np.count_nonzero(page == char.LESS_THAN)) + 2
    elements = np.empty((room, ELEMENT_COLUMNS), np.int32)
    weights = np.empty((room, 3), np.float32)
    blocks = np.empty((room, BLOCK_COLUMNS), np.int32)
    weighed = np.zeros((room, 3), np.float32)
    words = np.zeros(TITLE_SLOTS, np.uint64)
    fill_words(np.frombuffer(title, np.uint8), words)
    runs = np.empty((room, RUN_COLUMNS), np.int32)
    stack = np.empty((room, 3), np.int32)
    data = np.empty((16, 2), np.int64)
    counts = _scan(
        page, _CLASS, tag.GROUP, tag.ENDS_P, tag.TAGS.keys, tag.TAGS.values, tag.ATTRIBUTES.keys, tag.ATTRIBUTES.values, KINDS_OF_WORDS.keys,
        KINDS_OF_WORDS.values, names.keys, names.values, cues.keys, cues.values, words, _NO_DISPLAY, _LINKED_DATA, elements, weights, blocks, weighed, runs,
        stack, np.empty(64, np.int32), data, np.empty(6),
    )  # fmt: skip
    elements_, blocks_, runs_, data_ = counts
    return Blocks(elements[:elements_], weights[:elements_], blocks[:blocks_], weighed[:blocks_], runs[:runs_], data[:data_])

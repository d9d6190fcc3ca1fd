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
from kernel.compile import leaf
from pipeline.readers import page_columns as c
from pipeline.readers import page_tags as tag
from pipeline.readers import page_words as w

Array = npt.NDArray[Any]


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


# Long: one loop over bytes, whose state (the stack, the open block, the walls) is its locals.
# Many arguments: tables, which a leaf cannot hold, and the arrays it fills.
@leaf
def _scan(
    page: Array, classes: Array, group: Array, ends_p: Array, tag_keys: Array, tag_values: Array, attribute_keys: Array,
    attribute_values: Array, kind_keys: Array, kind_values: Array, word_keys: Array, word_values: Array, cue_keys: Array,
    cue_values: Array, title: Array, no_display: Array, linked_data: Array, elements: Array, weights: Array, blocks: Array, cues: Array,
    runs: Array, stack: Array, last: Array, data: Array, found: Array,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Fills `elements`, `weights` (three a row: sum, least, most), `blocks`, `cues` (three a row), `runs` and `data` (begin and end of
    what is linked data); returns how many elements, blocks, runs and rows of data there are.

    `stack` has three columns: the element; the place of the open one of its group before it; and of the wall before it.
    """
    size = len(page)
    elements[0, :] = 0
    elements[0, c.PARENT] = -1
    for column in (c.NEAR_ITEM, c.NEAR_CELL, c.NEAR_ROW, c.NEAR_TABLE, c.NEAR_PRE):
        elements[0, column] = -1
    weights[0, :] = 0
    last[:] = -1
    count, block, run, linked_data_count = 1, 0, 0, 0
    top, wall = 1, 0  # how many are open; the place of the innermost cell or table
    stack[0, 0] = 0
    stack[0, 1] = -1
    stack[0, 2] = 0
    link_top = 0  # how many were open where a link began, or 0
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
            if (
                char.is_letter(following)
                or following == char.SLASH
                or following == char.EXCLAMATION_MARK
                or following == char.QUESTION_MARK
            ):
                break
            at += 1
        if at > begin:
            place = begin
            in_pre = elements[stack[top - 1, 0], c.NEAR_PRE] >= 0
            if not begun and not in_pre:
                while place < at and page[place] <= char.SPACE:
                    place += 1
            if place < at:
                if not begun:
                    begun = True
                    blocks[block, :] = 0
                    cues[block, :] = 0
                    blocks[block, c.ELEMENT] = stack[top - 1, 0]
                    blocks[block, c.RUN] = run
                    breaks = 0
                    word = 0
                elif breaks >= 2 and not in_pre and blocks[block, c.LENGTH] > 0:  # two line breaks are the end of a paragraph
                    some = False
                    for inner in range(place, at):
                        if page[inner] > char.SPACE:
                            some = True
                            break
                    if some:
                        blocks[block, c.RUN_END] = run
                        blocks[block, c.WORDS] += word > 0
                        block += 1
                        blocks[block, :] = 0
                        cues[block, :] = 0
                        blocks[block, c.ELEMENT] = stack[top - 1, 0]
                        blocks[block, c.RUN] = run
                        blocks[block, c.BEGINS] = 0
                        breaks = 0
                        word = 0
                before = blocks[block, c.LENGTH]
                word = w.read_text(
                    page, place, at, classes, cue_keys, cue_values, title, blocks[block], cues[block], word, link_top > 0 or button, bold
                )
                short = blocks[block, c.LENGTH] - before
                if (
                    link_top > 0
                    and 0 < short <= 2
                    and at - place <= 6
                    and (page[place] == char.NUMBER_SIGN or (page[place] == 0xC2 and page[place + 1] == 0xB6))
                ):
                    blocks[block, c.LENGTH] = before  # the sign of a heading's own address
                    blocks[block, c.LINKED] -= short
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
        name, state = at, w.NONE
        while at < size:
            byte = page[at]
            if byte <= char.SPACE or byte == char.GREATER_THAN or byte == char.SLASH:
                break
            state = w.mixed(state, byte + char.CASE if char.A <= byte <= char.Z else byte)
            at += 1
        code = int(w.lookup(tag_keys, tag_values, state))
        name_end = at
        if closing:
            while at < size and page[at] != char.GREATER_THAN:
                at += 1
            at += 1
        else:
            at = w.attributes(
                page, at, attribute_keys, attribute_values, kind_keys, kind_values, word_keys, word_values, no_display, linked_data, found
            )
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
                blocks[block, c.BLOCK_KINDS] |= int(found[0])
            continue
        if code == tag.LINK:
            link_top = 0 if closing else top
            if not closing and begun:
                blocks[block, c.LINKS] += 1
                blocks[block, c.BLOCK_KINDS] |= int(found[0])
            continue
        if code == tag.BREAK:
            breaks += 1
            if word:
                blocks[block, c.WORDS] += 1
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
            blocks[block, c.RUN_END] = run
            blocks[block, c.WORDS] += word > 0
            if blocks[block, c.LENGTH] > 0:
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
                elements[inner, c.END] = block
                last[group[elements[inner, c.TAG]]] = stack[top, 1]
                wall = stack[top, 2]
            if link_top > top:
                link_top = 0
        if closing:
            continue
        # --- a new one
        parent = stack[top - 1, 0]
        row = elements[count]
        row[c.PARENT], row[c.TAG], row[c.AT], row[c.KINDS] = parent, code, opened_at, int(found[0])
        row[c.ORDINAL] = 0
        row[c.DEPTH], row[c.FIRST], row[c.END] = elements[parent, c.DEPTH] + 1, block, -1
        row[c.HAD] = 0  # how many items, rows or cells it has had
        for column in (c.NEAR_ITEM, c.NEAR_CELL, c.NEAR_ROW, c.NEAR_TABLE, c.NEAR_PRE, c.LISTS):
            row[column] = elements[parent, column]
        if code == tag.LI:
            row[c.NEAR_ITEM] = count
            owner = stack[last[tag.UL], 0] if last[tag.UL] > wall else parent
            elements[owner, c.HAD] += 1
            row[c.ORDINAL] = elements[owner, c.HAD]
        elif code == tag.UL or code == tag.OL:
            row[c.LISTS] += 1
        elif kin == tag.TD:
            row[c.NEAR_CELL], row[c.NEAR_ITEM], row[c.LISTS] = count, -1, 0
            owner = stack[last[tag.TR], 0] if last[tag.TR] > last[tag.TABLE] else parent
            elements[owner, c.HAD] += 1
            row[c.ORDINAL] = elements[owner, c.HAD]
        elif code == tag.TR:
            row[c.NEAR_ROW] = count
        elif code == tag.TABLE:
            row[c.NEAR_TABLE], row[c.NEAR_ROW], row[c.NEAR_CELL] = count, -1, -1
        elif code == tag.PRE:
            row[c.NEAR_PRE] = count
        weights[count, 0], weights[count, 1], weights[count, 2] = found[1], found[2], found[3]
        stack[top, 0], stack[top, 1], stack[top, 2] = count, last[kin], wall
        last[kin] = top
        if kin == tag.TD or code == tag.TABLE or code == tag.CAPTION:
            wall = top
        top += 1
        count += 1
    if begun:
        blocks[block, c.RUN_END] = run
        blocks[block, c.WORDS] += word > 0
        if blocks[block, c.LENGTH] > 0:
            block += 1
    for place in range(top):
        elements[stack[place, 0], c.END] = block
    return count, block, run, linked_data_count


class Blocks(NamedTuple):
    """A page's blocks. `elements` (n, ELEMENT_COLUMNS) int32, in the order in which they begin, the first the page itself; `weights`
    (n, 3) float32, what the words of their names weigh; `blocks` (m, BLOCK_COLUMNS) int32; `cues` (m, 3) float32, what the words of
    their text weigh (sum and least), and how many of them the title has; `runs` (r, RUN_COLUMNS) int32; `data` (k, 2) int64, where
    linked data stands in the page.
    """

    elements: Array
    weights: Array
    blocks: Array
    cues: Array
    runs: Array
    data: Array


KINDS_OF_WORDS = tag.WordTable({word: float(bits) for word, bits in tag.KIND_BITS.items()})


def scan(page: Array, names: tag.WordTable, cues: tag.WordTable, title: bytes = b"") -> Blocks:
    """The blocks of a page (uint8, UTF-8). `names` and `cues`: what words of class names and of text weigh."""
    room = int(np.count_nonzero(page == char.LESS_THAN)) + 2
    elements = np.empty((room, c.ELEMENT_COLUMNS), np.int32)
    weights = np.empty((room, 3), np.float32)
    blocks = np.empty((room, c.BLOCK_COLUMNS), np.int32)
    weighed = np.zeros((room, 3), np.float32)
    words = np.zeros(w.TITLE_SLOTS, np.uint64)
    w.fill_words(np.frombuffer(title, np.uint8), words)
    runs = np.empty((room, c.RUN_COLUMNS), np.int32)
    stack = np.empty((room, 3), np.int32)
    data = np.empty((16, 2), np.int64)
    counts = _scan(
        page, w.CLASSES, tag.GROUP, tag.ENDS_P, tag.TAGS.keys, tag.TAGS.values, tag.ATTRIBUTES.keys, tag.ATTRIBUTES.values,
        KINDS_OF_WORDS.keys, KINDS_OF_WORDS.values, names.keys, names.values, cues.keys, cues.values, words, w.NO_DISPLAY, w.LINKED_DATA,
        elements, weights, blocks, weighed, runs, stack, np.empty(64, np.int32), data, np.empty(6),
    )  # fmt: skip
    elements_, blocks_, runs_, data_ = counts
    return Blocks(elements[:elements_], weights[:elements_], blocks[:blocks_], weighed[:blocks_], runs[:runs_], data[:data_])

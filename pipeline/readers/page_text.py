"""The kept blocks of a page as light text."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import numpy as np
import numpy.typing as npt

from kernel import characters as char
from kernel.compile import leaf
from pipeline.readers import page_blocks as b
from pipeline.readers import page_columns as c
from pipeline.readers import page_tags as tag

Array = npt.NDArray[Any]

# A cell with no more than so many blocks and characters is one of data; any other is part of a page that is laid out by a table.
_CELL_BLOCKS, _CELL_LENGTH = 4, 600
_DEEPEST = 12  # levels of lists that are indented
_TABS = 32  # empty cells in a row that are written, at most
_ROOM = 2 * _DEEPEST + 2 * _TABS + 32  # bytes that stand before a block, at most

_INLINE_SPACE = re.compile(r"(?<![ \t])[ \t]*+[\xa0\u2007\u202f][ \t\xa0\u2007\u202f]*")


@leaf
def cells_of_data(elements: Array, blocks: Array, lengths: Array, flat: Array) -> None:
    """Marks in `flat` (a bool an element) the cells that hold data, and no code. `lengths` (blocks + 1): characters before each block."""
    for number in range(len(elements)):
        if elements[number, c.TAG] == tag.TD or elements[number, c.TAG] == tag.TH:
            first, end = elements[number, c.FIRST], elements[number, c.END]
            flat[number] = end - first <= _CELL_BLOCKS and lengths[end] - lengths[first] <= _CELL_LENGTH
    for number in range(len(blocks)):
        element = elements[blocks[number, c.ELEMENT]]
        if element[c.NEAR_PRE] >= 0 and element[c.NEAR_CELL] >= 0:
            flat[element[c.NEAR_CELL]] = False


@leaf
def _put(out: Array, at: int, byte: int, times: int) -> int:
    for _ in range(times):
        out[at] = byte
        at += 1
    return at


@leaf
def _number(out: Array, at: int, number: int) -> int:
    scale = 1
    while scale * 10 <= number:
        scale *= 10
    while scale:
        out[at] = char.ZERO + number // scale % 10
        at += 1
        scale //= 10
    return at


@leaf
def _verbatim(page: Array, runs: Array, first: int, end: int, out: Array, at: int, begins: bool) -> int:
    """Writes runs as they are, but for the line break with which `<pre>` may begin, and empty lines at the end."""
    start = at
    for run in range(first, end):
        at = _put(out, at, char.LINE_FEED, min(runs[run, 2], runs[run, 1] - runs[run, 0] + 1) if run > first else 0)
        place = runs[run, 0]
        if begins and at == start:
            while place < runs[run, 1] and (page[place] == char.LINE_FEED or page[place] == char.CARRIAGE_RETURN):
                place += 1
        for here in range(place, runs[run, 1]):
            if page[here] != char.CARRIAGE_RETURN:
                out[at] = page[here]
                at += 1
    while at > start and out[at - 1] <= char.SPACE:
        at -= 1
    return at


@leaf
def _flowing(page: Array, runs: Array, first: int, end: int, out: Array, at: int, indent: int, flat: bool) -> int:
    """Writes runs with each stretch of white space as one space, and line breaks as such (in a cell: a space)."""
    start, space = at, False
    for run in range(first, end):
        if runs[run, 2] and at > start:
            if flat:
                space = True
            else:
                at = _put(out, at, char.LINE_FEED, min(2, runs[run, 2]))
                at = _put(out, at, char.SPACE, indent)
                space = False
                start = at
        for place in range(runs[run, 0], runs[run, 1]):
            byte = page[place]
            if byte <= char.SPACE:
                space = True
                continue
            if space and at > start:
                out[at] = char.SPACE
                at += 1
            space = False
            out[at] = byte
            at += 1
    return at


@leaf
def _write(page: Array, elements: Array, blocks: Array, runs: Array, keep: Array, flat: Array, out: Array) -> int:
    """Writes the blocks that are kept into `out`; returns how many bytes.

    What stands before a block follows from the one written before it: a cell of the same row, an item, a line of the same code,
    or else a paragraph.
    """
    at = 0
    row, cell, column, item, table, pre, owner = -1, -1, 0, -1, -1, -1, -1
    lists = 0
    for number in range(len(blocks)):
        if not keep[number]:
            continue
        element = elements[blocks[number, c.ELEMENT]]
        first, end = blocks[number, c.RUN], blocks[number, c.RUN_END]
        its_cell = element[c.NEAR_CELL]
        is_data = its_cell >= 0 and flat[its_cell]
        its_pre = element[c.NEAR_PRE]
        its_item = element[c.NEAR_ITEM]
        indent = 0
        if is_data:
            its_row, its_table = element[c.NEAR_ROW], element[c.NEAR_TABLE]
            its_column = elements[its_cell, c.ORDINAL]
            if at and its_cell == cell:
                at = _put(out, at, char.SPACE, 1)
            elif at and its_row == row and its_row >= 0:
                at = _put(out, at, char.TAB, 2 * max(1, min(_TABS, its_column - column)))
            else:
                at = _put(out, at, char.LINE_FEED, (1 if its_table == table else 2) if at else 0)
                at = _put(out, at, char.TAB, 2 * max(0, min(_TABS, its_column - 1)))
            row, cell, column, table = its_row, its_cell, its_column, its_table
            item, pre, owner, lists = -1, -1, -1, 0
            at = _flowing(page, runs, first, end, out, at, 0, True)
            continue
        row = cell = table = -1
        if its_item >= 0 and its_pre < 0:
            depth = min(_DEEPEST, element[c.LISTS])
            indent = 2 * depth if depth else 2
            begins = its_item != item
            at = _put(out, at, char.LINE_FEED, (1 if lists else 2) if at else 0)
            at = _put(out, at, char.SPACE, indent)
            if begins:
                above = elements[its_item, c.PARENT]
                if elements[above, c.TAG] == tag.OL:
                    at = _number(out, at, elements[its_item, c.ORDINAL])
                    at = _put(out, at, char.FULL_STOP, 1)
                else:  # a bullet, U+2022
                    out[at], out[at + 1], out[at + 2] = 0xE2, 0x80, 0xA2
                    at += 3
                at = _put(out, at, char.SPACE, 1)
            else:
                at = _put(out, at, char.SPACE, 2)
            item, lists = its_item, element[c.LISTS]
            pre = owner = -1
            at = _flowing(page, runs, first, end, out, at, indent + 2, False)
            continue
        is_term = element[c.TAG] == tag.DT or element[c.TAG] == tag.DD
        together = (its_pre >= 0 and its_pre == pre) or (is_term and owner == element[c.PARENT])
        at = _put(out, at, char.LINE_FEED, (1 if together else 2) if at else 0)
        if its_pre >= 0:
            at = _verbatim(page, runs, first, end, out, at, its_pre != pre)
        else:
            at = _flowing(page, runs, first, end, out, at, 0, False)
        lists, item, pre = 0, -1, its_pre
        owner = element[c.PARENT] if is_term else -1
    return at


def light_text(page: Array, found: b.Blocks, keep: Array, flat: Array) -> str:
    """The blocks of a page for which `keep` (a bool each) is set. `flat`: see `cells_of_data`."""
    chosen = found.blocks[keep]
    if not len(chosen):
        return ""
    held = found.runs[:, 1].astype(np.int64) - found.runs[:, 0] + 2 * min(_DEEPEST, 12) + 6
    held = np.concatenate([np.zeros(1, np.int64), np.cumsum(held)])
    room = int((held[chosen[:, c.RUN_END]] - held[chosen[:, c.RUN]]).sum()) + _ROOM * len(chosen)
    verbatim = int(np.minimum(found.runs[:, 2], found.runs[:, 1] - found.runs[:, 0] + 1).clip(0).sum())
    out = np.empty(room + verbatim, np.uint8)
    size = _write(page, found.elements, found.blocks, found.runs, keep, flat, out)
    text = out[:size].tobytes().decode("utf-8", "replace")
    if "&" in text:
        text = unescape(text)
    if "\xa0" in text or "\u202f" in text or "\u2007" in text:
        text = _INLINE_SPACE.sub(_spaces, text)
    return text


def _spaces(found: re.Match[str]) -> str:
    """No-break spaces as spaces: as many at the begin of a line, where they indent, and else one."""
    before = found.string[found.start() - 1 : found.start()] if found.start() else "\n"
    return " " * len(found[0]) if before in ("\n", "\t") else " "

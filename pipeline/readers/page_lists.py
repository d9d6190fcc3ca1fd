"""One pass over a page's markup before it is parsed: which lists are content, and whether a table's cells hold paragraphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tokenizer.kernels import kernel

LINKED = 0.5  # share of a list's characters that are links, over which it is navigation
_LISTS = 2_000  # put deeper in one page, at most: each costs five elements
_DEEPEST = 64  # lists in lists that are looked at

# resiliparse takes a list for navigation where it lies within four levels of <body>. A list of content is put so much deeper.
_DEEPER, _BACK = b"<div>" * 5, b"</div>" * 5


@kernel
def _look(page: npt.NDArray[np.uint8], share: float) -> tuple[list[tuple[int, int]], bool]:
    """Begin and end of the outermost lists (`<ul>` to its `</ul>`) of which no more than `share` of the bytes of text, white
    space aside, are in links; and whether a paragraph begins a cell.

    It knows nothing of comments, scripts and attributes that look like lists; there, one taken for content is no harm.
    """
    found = [(0, 0)]
    found.pop()
    begins = np.zeros(_DEEPEST, np.int64)
    texts = np.zeros(_DEEPEST, np.int64)
    links = np.zeros(_DEEPEST, np.int64)
    depth, text, linked, place, size = 0, 0, 0, 0, len(page)
    in_link, after_cell, cells = False, False, False
    while place < size:
        if page[place] != 0x3C:
            begin_text = text
            while place < size and page[place] != 0x3C:
                text += page[place] > 0x20
                place += 1
            if in_link:
                linked += text - begin_text
            after_cell = after_cell and text == begin_text
            continue
        tag = place
        place += 1
        closing = place < size and page[place] == 0x2F
        place += closing
        first = page[place] | 0x20 if place < size else 0
        second = page[place + 1] if place + 1 < size else 0
        third = page[place + 2] if place + 2 < size else 0
        while place < size and page[place] != 0x3E and page[place] != 0x3C:
            place += 1
        if place < size and page[place] == 0x3E:
            place += 1
        if first == 0x61 and (second <= 0x20 or second == 0x3E):  # a
            in_link = not closing
        elif first == 0x70 and (second <= 0x20 or second == 0x3E):  # p
            cells = cells or (after_cell and not closing)
        elif first == 0x75 and second | 0x20 == 0x6C and (third <= 0x20 or third == 0x3E):  # ul
            if not closing:
                if depth < _DEEPEST:
                    begins[depth], texts[depth], links[depth] = tag, text, linked
                depth += 1
            elif depth:
                depth -= 1
                if depth < _DEEPEST:
                    while len(found) and found[-1][0] > begins[depth]:
                        found.pop()
                    held = text - texts[depth]
                    if held and linked - links[depth] <= share * held:
                        found.append((begins[depth], place))
        after_cell = not closing and first == 0x74 and (second | 0x20 == 0x64 or second | 0x20 == 0x68) and (third <= 0x20 or third == 0x3E)
    return found, cells


def sink_lists(markup: bytes) -> tuple[bytes, bool]:
    """The markup with each list of content put deeper, so that the extractor does not take it for navigation; and whether
    there are cells that begin with a paragraph.
    """
    lists, cells = _look(np.frombuffer(markup, np.uint8), LINKED)
    parts: list[bytes] = []
    last = 0
    for begin, end in lists[:_LISTS]:
        parts += [markup[last:begin], _DEEPER, markup[begin:end], _BACK]
        last = end
    return b"".join([*parts, markup[last:]]) if parts else markup, cells

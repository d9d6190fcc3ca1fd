"""One pass over a page's markup before it is parsed: which lists are content, whether a table's cells hold paragraphs, and how
many tags open.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernel import characters as char
from kernel.compile import kernel

LINKED = 0.5  # share of a list's characters that are links, over which it is navigation
_LISTS = 2_000  # put deeper in one page, at most: each costs five elements
_DEEPEST = 64  # lists in lists that are looked at

# resiliparse takes a list for navigation where it lies within four levels of <body>. A list of content is put so much deeper.
_DEEPER, _BACK = b"<div>" * 5, b"</div>" * 5


class Look(NamedTuple):
    """What was seen of a page. `markup`: the page with its lists of content put deeper. `cells`: whether a cell of a table begins with
    a paragraph. `opening`: how many `<` are not followed by a slash; the elements of the page nest no deeper than that.
    """

    markup: bytes
    cells: bool
    opening: int


@kernel
def _look(page: npt.NDArray[np.uint8], tags: npt.NDArray[np.int64], share: float) -> tuple[list[tuple[int, int]], bool, int]:
    """Begin and end of the outermost lists (`<ul>` to its `</ul>`) of which no more than `share` of the bytes of text, white
    space aside, are in links; whether a paragraph begins a cell; and the tags that open. `tags`: the places of all `<`.

    Text is gone through only where it counts, in lists and after the begin of a cell: a fifth of a usual page. It knows
    nothing of comments, scripts and attributes that look like lists; there, one taken for content is no harm.
    """
    found = [(0, 0)]
    found.pop()
    begins = np.zeros(_DEEPEST, np.int64)
    texts = np.zeros(_DEEPEST, np.int64)
    links = np.zeros(_DEEPEST, np.int64)
    depth, text, linked, opening, size = 0, 0, 0, 0, len(page)
    in_link, after_cell, cells = False, False, False
    for number in range(len(tags)):
        tag = tags[number]
        following = tags[number + 1] if number + 1 < len(tags) else size
        name = tag + 1
        closing = name < size and page[name] == char.SLASH
        name += closing
        opening += not closing
        first = page[name] | char.CASE if name < size else 0
        second = page[name + 1] if name + 1 < size else 0
        third = page[name + 2] if name + 2 < size else 0
        is_list = first == char.u and second | char.CASE == char.l and (third <= char.SPACE or third == char.GREATER_THAN)  # ul
        is_cell = (
            not closing
            and first == char.t
            and (second | char.CASE == char.d or second | char.CASE == char.h)
            and (third <= char.SPACE or third == char.GREATER_THAN)
        )
        if first == char.a and (second <= char.SPACE or second == char.GREATER_THAN):  # a
            in_link = not closing
        elif first == char.p and (second <= char.SPACE or second == char.GREATER_THAN):  # p
            cells = cells or (after_cell and not closing)
        after_cell = is_cell
        if not depth and not is_list and not is_cell:
            continue
        end = name
        while end < following and page[end] != char.GREATER_THAN:
            end += 1
        end += end < following
        if is_list and not closing:
            if depth < _DEEPEST:
                begins[depth], texts[depth], links[depth] = tag, text, linked
            depth += 1
        elif is_list and depth:
            depth -= 1
            if depth < _DEEPEST:
                while len(found) and found[-1][0] > begins[depth]:
                    found.pop()
                held = text - texts[depth]
                if held and linked - links[depth] <= share * held:
                    found.append((begins[depth], end))
        begin_text = text
        for place in range(end, following):
            text += page[place] > char.SPACE
        if in_link:
            linked += text - begin_text
        after_cell = after_cell and text == begin_text
    return found, cells, opening


def look(markup: bytes) -> Look:
    """Looks at a page in an encoding that holds ASCII; its lists of content are put deeper, so that the extractor does not take
    them for navigation. What is put in stands beside a `<` or `>`: what was valid UTF-8 still is, what was not is not.
    """
    page = np.frombuffer(markup, np.uint8)
    lists, cells, opening = _look(page, np.flatnonzero(page == char.LESS_THAN), LINKED)
    parts: list[bytes] = []
    last = 0
    for begin, end in lists[:_LISTS]:
        parts += [markup[last:begin], _DEEPER, markup[begin:end], _BACK]
        last = end
    return Look(b"".join([*parts, markup[last:]]) if parts else markup, cells, opening)

"""What a page would cost to parse, before it is: linear in its bytes, and never less than the truth, whatever the markup.

An HTML parser compares each attribute of a tag with those before it, and keeps some hundred bytes for each element and attribute;
so a hostile page of a megabyte can take minutes, and one of 60 MB all the memory there is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernel import characters as char
from kernel.compile import kernel


class Bounds(NamedTuple):
    """Upper bounds of a page: `attributes`, how many the tag with the most of them has; `memory`, bytes of the page's parse tree."""

    attributes: int
    memory: int


# Bytes a parse tree takes, measured with resiliparse 2.0.1 on pages of nothing else (the worst of each, rounded up).
_PER_TAG, _PER_ATTRIBUTE, _PER_BYTE = 600, 130, 10

# What a byte does within a tag: nothing; white space; / > = " ' <
_OTHER, _SPACE, _SLASH, _END, _EQUALS, _DOUBLE, _SINGLE, _BEGIN = range(8)
_CLASS = np.zeros(256, np.uint8)
_CLASS[list(b" \t\n\f\r")] = _SPACE
for _byte, _class in zip(b"/>=\"'<", range(_SLASH, _BEGIN + 1), strict=True):
    _CLASS[_byte] = _class


@kernel
def _count(page: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    """Tags, the most attributes of one, and all attributes.

    Whether a `<a` opens a tag depends on all that stands before it (comments, scripts, values), and hostile markup can make
    anyone lose track of that. Where the tag would end, and how many attributes it would have, depends on what follows alone.
    So the page is read from its end, and for each place and each state of the tokenizer (WHATWG HTML 13.2.5, the states from
    "tag name" on) it is known how many attributes are still to come; any `<` before a letter or a slash counts as a tag.
    """
    tag = before = name = after = value = unquoted = double = single = quoted = 0
    closing = 0  # as `tag`, one byte on
    tags = most = total = 0
    place = len(page) - 1
    while place >= 0:
        kind = classes[page[place]]
        if kind == _OTHER or kind == _BEGIN:
            before = after = quoted = name + 1
            value = unquoted
            if kind == _BEGIN and place + 1 < len(page):
                letter = page[place + 1] | char.CASE
                found = -1
                if char.a <= letter <= char.z:
                    found = tag
                elif page[place + 1] == char.SLASH:  # end tags too: </p> and </br> make elements
                    found = closing
                if found >= 0:
                    tags += 1
                    most = max(most, found)
                    total += found
            place -= 1
            while place >= 0 and classes[page[place]] == _OTHER:  # another one changes nothing
                place -= 1
            continue
        if kind == _SPACE:
            tag, name, unquoted, quoted = before, after, before, before
        elif kind == _SLASH:
            closing = tag
            tag = name = after = quoted = before
            value = unquoted
        elif kind == _END:
            tag = before = name = after = value = unquoted = quoted = 0
        elif kind == _EQUALS:
            begun = name + 1
            name = after = value
            before = quoted = begun
            value = unquoted
        elif kind == _DOUBLE:
            value, double = double, quoted
            before = after = quoted = name + 1
        else:
            value, single = single, quoted
            before = after = quoted = name + 1
        place -= 1
    return tags, most, total


def bounds(page: bytes) -> Bounds:
    """The page's bounds."""
    tags, most, total = _count(np.frombuffer(page, np.uint8), _CLASS)
    return Bounds(most, _PER_TAG * tags + _PER_ATTRIBUTE * total + _PER_BYTE * len(page))

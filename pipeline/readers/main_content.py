"""A page's main content: its blocks are scored, those that are likely are kept, and the result is held against a looser one."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernel.compile import leaf
from pipeline.readers import page_blocks as b
from pipeline.readers import page_columns as c
from pipeline.readers import page_tags as tag
from pipeline.readers.page_features import Features
from pipeline.readers.page_scorer import Scorer, scorer
from pipeline.readers.page_text import cells_of_data, light_text

Array = npt.NDArray[Any]

LOOSER, LINKED_DATA = "looser pass", "articleBody of linked data"

_GAP, _IN_GAP = 3, 0.1  # so many blocks between two that are kept are kept, too, where each has at least this chance
_LOOSELY = 0.2  # the chance from which the looser pass keeps a block that is not in what is beside the content
_LEAST = 140  # characters: a looser result of fewer is no sign that anything was lost
_DATA_BYTES = 4 << 20  # of linked data in a page, at most, that are parsed


class Content(NamedTuple):
    """A page's main content as light text, and how it was found where that was not the usual way: LOOSER or LINKED_DATA."""

    text: str
    how: str | None


@leaf
def _share(elements: Array, blocks: Array, near: int, flat: Array, sums: Array, likely: Array) -> None:
    """Gives all blocks in one table of data (or in one piece of code, by the column `near`) the mean chance of its characters.

    `sums` (elements, 2), all 0.
    """
    for number in range(len(blocks)):
        element = elements[blocks[number, c.ELEMENT]]
        whole, cell = element[near], element[c.NEAR_CELL]
        if whole >= 0 and (near != c.NEAR_TABLE or (cell >= 0 and flat[cell])):
            sums[whole, 0] += likely[number] * blocks[number, c.LENGTH]
            sums[whole, 1] += blocks[number, c.LENGTH]
    for number in range(len(blocks)):
        element = elements[blocks[number, c.ELEMENT]]
        whole, cell = element[near], element[c.NEAR_CELL]
        if whole >= 0 and (near != c.NEAR_TABLE or (cell >= 0 and flat[cell])):
            likely[number] = sums[whole, 0] / sums[whole, 1]


@leaf
def _fill_gaps(elements: Array, blocks: Array, likely: Array, keep: Array) -> None:
    """Keeps what stands between two kept blocks, where there is little of it and it lies in the same element as one of them."""
    before = -1
    for number in range(len(blocks)):
        if not keep[number]:
            continue
        if before >= 0 and 1 < number - before <= _GAP + 1:
            first = elements[blocks[before, c.ELEMENT], c.PARENT]
            last = elements[blocks[number, c.ELEMENT], c.PARENT]
            for place in range(before + 1, number):
                around = elements[blocks[place, c.ELEMENT], c.PARENT]
                if likely[place] > _IN_GAP and (around == first or around == last):
                    keep[place] = True
        before = number


@leaf
def _drop_line_numbers(elements: Array, blocks: Array, keep: Array) -> None:
    """Leaves out numbers beside code: cells and lists that are named so and hold nothing else."""
    for number in range(len(blocks)):
        element = blocks[number, c.ELEMENT]
        if blocks[number, c.DIGITS] == blocks[number, c.LENGTH] and elements[element, c.NEAR_PRE] >= 0:
            named = blocks[number, c.BLOCK_KINDS] | elements[element, c.KINDS]
            if elements[element, c.PARENT] >= 0:
                named |= elements[elements[element, c.PARENT], c.KINDS]
            if named & tag.NUMBERS:
                keep[number] = False


def choose(found: b.Blocks, features: Features, likely: Array, limit: float, flat: Array) -> tuple[Array, bool]:
    """Which blocks are content, by their chances, and whether the looser pass said so."""
    elements, blocks = found.elements, found.blocks
    likely = likely.copy()
    for near in (c.NEAR_TABLE, c.NEAR_PRE):
        _share(elements, blocks, near, flat, np.zeros((len(elements), 2)), likely)
    keep = likely > limit
    _fill_gaps(elements, blocks, likely, keep)
    loosely = (likely > _LOOSELY) & ~features.beside
    if not loosely.any():
        loosely = features.prose
    lengths = blocks[:, c.LENGTH]
    held, there = int(lengths[keep].sum()), int(lengths[loosely].sum())
    is_looser = there >= _LEAST and 2 * held < there
    if not held and not is_looser:  # a page of a few words
        keep = ~features.beside & (blocks[:, c.LINKED] * 2 < lengths)
    elif is_looser:
        keep = loosely
        _fill_gaps(elements, blocks, likely, keep)
    _drop_line_numbers(elements, blocks, keep)
    return keep, is_looser


def main_content(markup: bytes, title: bytes = b"", by: Scorer | None = None) -> Content:
    """The main content of a page in UTF-8. `title`: the text of its <title>; `by`: another scorer than the package's own."""
    by = by or scorer()
    page = np.frombuffer(markup, np.uint8)
    found = b.scan(page, by.names, by.cues, title)
    text, how = "", None
    if len(found.blocks):
        features = Features(found)
        flat = np.zeros(len(found.elements), np.bool_)
        cells_of_data(found.elements, found.blocks, features.before[:, 0].copy(), flat)
        keep, is_looser = choose(found, features, by(features.matrix), by.limit, flat)
        text, how = light_text(page, found, keep, flat), LOOSER if is_looser else None
    if len(found.data):
        body = _article_body(markup, found.data)
        if len(body) >= _LEAST and 2 * len(text) < len(body):
            return Content(body, LINKED_DATA)
    return Content(text, how)


def _article_body(markup: bytes, places: Array) -> str:
    """The longest `articleBody` in a page's linked data (JSON-LD, https://schema.org/articleBody), or nothing; what is no JSON counts for
    nothing.
    """
    longest, left = "", _DATA_BYTES
    for begin, end in places.tolist():
        part = markup[begin:end]
        left -= len(part)
        if b'"articleBody"' not in part or left < 0:
            continue
        try:
            waiting: list[Any] = [json.loads(part, strict=False)]
        except (ValueError, RecursionError):
            continue
        while waiting:
            value = waiting.pop()
            if isinstance(value, list):
                waiting += value
            elif isinstance(value, dict):
                body = value.get("articleBody")
                if isinstance(body, str) and len(body) > len(longest):
                    longest = body
                waiting += [inner for inner in value.values() if isinstance(inner, dict | list)]
    return "\n".join(" ".join(line.split()) for line in longest.strip().splitlines())

"""What a scorer looks at of each block of a page: numbers of its text, its neighbours, and the elements around it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from kernel.compile import leaf
from pipeline.readers import page_blocks as b
from pipeline.readers import page_columns as c
from pipeline.readers import page_tags as tag

Array = npt.NDArray[Any]

# Prose: what is not links, with marks of sentences. A block of so many characters, with at most this share of links, counts as such.
_PROSE_LENGTH, _PROSE_LINKS = 60, 0.35
# An element with more than this share of a page's prose is no part of the page but the page, whatever it is called.
_COVERS = 0.6
# Tags around a block that are evidence, by bit.
_BITS = np.full(64, -1, np.int64)
for _bit, _codes in enumerate((
    (tag.HEADER,), (tag.FOOTER,), (tag.NAV,), (tag.ASIDE,), (tag.FIGURE,), (tag.FIGCAPTION,), (tag.FORM,), (tag.BLOCKQUOTE,), (tag.TABLE,),
    (tag.UL, tag.OL), (tag.ARTICLE,), (tag.MAIN,), (tag.SECTION,), (tag.DETAILS,), (tag.ADDRESS,), (tag.NOSCRIPT,),
)):  # fmt: skip
    for _code in _codes:
        _BITS[_code] = _bit
_TAG_BITS, _KIND_BITS = 16, len(tag.KINDS) + 1
_ANCESTORS, _AROUND = 4, 3
OWN = 24 + _TAG_BITS + _KIND_BITS + 5
COLUMNS = OWN + 10 + 2 * _AROUND * 4 + _ANCESTORS * 6 + 5
_BESIDE_TAGS = 0b111  # header, footer, navigation
_BESIDE_KINDS = sum(1 << tag.KINDS.index(kind) for kind in ("comment", "navigation", "footer", "related", "consent", "advert", "share"))
PREFIXES = 4  # sums before each block: length, linked, prose, words


@leaf
def sums_before(blocks: Array, out: Array) -> None:
    """Fills `out` (blocks + 1, PREFIXES): what stands before each block."""
    out[0, :] = 0.0
    for number in range(len(blocks)):
        length, linked = blocks[number, c.LENGTH], blocks[number, c.LINKED]
        marks = blocks[number, c.STOPS] + blocks[number, c.COMMAS]
        prose = (
            length - linked
            if length >= _PROSE_LENGTH and linked <= _PROSE_LINKS * length and marks >= 1 and blocks[number, c.WORDS] >= 8
            else 0
        )
        out[number + 1, 0] = out[number, 0] + length
        out[number + 1, 1] = out[number, 1] + linked
        out[number + 1, 2] = out[number, 2] + prose
        out[number + 1, 3] = out[number, 3] + blocks[number, c.WORDS]


@leaf
def evidence(elements: Array, weights: Array, before: Array, bits: Array, kinds: Array, tags: Array, chain: Array) -> None:
    """What the names and tags around an element say: `kinds` and `tags` (bits), `chain` (four: sum, least, most, own)."""
    last = len(before) - 1
    prose, length = before[last, 2], before[last, 0]
    for number in range(len(elements)):
        first, end = elements[number, c.FIRST], elements[number, c.END]
        whole, held = (prose, before[end, 2] - before[first, 2]) if prose > 0 else (length, before[end, 0] - before[first, 0])
        covers = held > _COVERS * whole
        parent = elements[number, c.PARENT]
        if parent >= 0:
            kinds[number], tags[number] = kinds[parent], tags[parent]
            for column in range(3):
                chain[number, column] = chain[parent, column] * (0.8 if column == 0 else 1.0)
        chain[number, 3] = weights[number, 0]
        bit = bits[elements[number, c.TAG]]
        if bit >= 0 and (not covers or bit >= 10):
            tags[number] |= 1 << bit
        if not covers:
            kinds[number] |= elements[number, c.KINDS]
            chain[number, 0] += weights[number, 0]
            chain[number, 1] = min(chain[number, 1], weights[number, 1])
            chain[number, 2] = max(chain[number, 2], weights[number, 2])


@leaf
def shapes(elements: Array, blocks: Array, keys: Array) -> None:
    """Fills `keys` (a number a block): equal for blocks that look alike by the tags and names of the three elements around them."""
    for number in range(len(blocks)):
        element, key = blocks[number, c.ELEMENT], 17
        for _ in range(3):
            key = (key * 1000003 + elements[element, c.TAG] * 131071 + elements[element, c.KINDS]) & 0x7FFFFFFFFFFF
            if elements[element, c.PARENT] >= 0:
                element = elements[element, c.PARENT]
        keys[number] = key


@leaf
def add_up(slots: Array, before: Array, sums: Array) -> None:
    """Adds what blocks hold (count, length, linked, prose) to the row of `sums` of their group, as `slots` numbers them."""
    for number in range(len(slots)):
        row = sums[slots[number]]
        row[0] += 1.0
        for column in range(3):
            row[column + 1] += before[number + 1, column] - before[number, column]


@leaf
def fill(elements: Array, blocks: Array, cues: Array, before: Array, kinds: Array, tags: Array, chain: Array, sums: Array, slots: Array,
         repeats: Array, out: Array) -> None:  # fmt: skip
    """Fills the columns of `out` (a row a block)."""
    count, last = len(blocks), len(before) - 1
    length, linked, prose = max(1.0, before[last, 0]), before[last, 1], before[last, 2]
    heading, main_heading, since = -1, -1, 0
    for number in range(count):
        row, found = blocks[number], out[number]
        element = row[c.ELEMENT]
        own, words = float(row[c.LENGTH]), float(max(1, row[c.WORDS]))
        code = elements[element, c.TAG]
        is_heading = tag.H1 <= code <= tag.H6
        if code == tag.H1:
            main_heading = number
        at = 0
        found[at] = math.log1p(own)
        found[at + 1] = row[c.LINKED] / own
        found[at + 2] = math.log1p(words)
        found[at + 3] = own / words
        found[at + 4] = (row[c.STOPS] + row[c.COMMAS]) / words
        found[at + 5] = row[c.STOPS]
        found[at + 6] = row[c.LAST]
        found[at + 7] = row[c.BEGINS]
        found[at + 8] = row[c.DIGITS] / own
        found[at + 9] = row[c.CAPITALS] / own
        found[at + 10] = row[c.LINKS]
        found[at + 11] = row[c.BOLD] / own
        found[at + 12] = row[c.RUN_END] - row[c.RUN]
        found[at + 13] = cues[number, 0]
        found[at + 14] = cues[number, 1]
        found[at + 15] = code
        found[at + 16] = elements[element, c.DEPTH]
        found[at + 17] = elements[element, c.LISTS]
        found[at + 18] = elements[elements[element, c.PARENT], c.TAG] if elements[element, c.PARENT] >= 0 else -1
        found[at + 19] = row[c.LONGEST]
        found[at + 20] = repeats[number]
        found[at + 21] = elements[element, c.NEAR_PRE] >= 0
        found[at + 22] = cues[number, 2] / words
        found[at + 23] = cues[number, 2]
        at = 24
        for bit in range(_TAG_BITS):
            found[at + bit] = (tags[element] >> bit) & 1
        at += _TAG_BITS
        its_kinds = kinds[element] | row[c.BLOCK_KINDS]
        for bit in range(_KIND_BITS):
            found[at + bit] = (its_kinds >> bit) & 1
        at += _KIND_BITS
        for column in range(4):
            found[at + column] = chain[element, column]
        parent = elements[element, c.PARENT]
        found[at + 4] = chain[parent, 3] if parent >= 0 else 0.0
        at += 5
        found[at] = before[number, 0] / length
        found[at + 1] = before[number, 2] / max(1.0, prose)
        found[at + 2] = number - main_heading if main_heading >= 0 else -1
        found[at + 3] = number - heading if heading >= 0 else -1
        found[at + 4] = since
        found[at + 5] = math.log1p(length)
        found[at + 6] = math.log1p(prose)
        found[at + 7] = linked / length
        found[at + 8] = count
        found[at + 9] = prose / length
        at += 10
        for step in range(-_AROUND, _AROUND + 1):
            if step == 0:
                continue
            other = number + step
            if 0 <= other < count:
                found[at] = math.log1p(blocks[other, c.LENGTH])
                found[at + 1] = blocks[other, c.LINKED] / blocks[other, c.LENGTH]
                found[at + 2] = elements[blocks[other, c.ELEMENT], c.PARENT] == parent
                found[at + 3] = blocks[other, c.STOPS] + blocks[other, c.COMMAS]
            else:
                found[at] = found[at + 1] = found[at + 2] = found[at + 3] = -1.0
            at += 4
        above = element
        for _ in range(_ANCESTORS):
            if elements[above, c.PARENT] >= 0:
                above = elements[above, c.PARENT]
            first, end = elements[above, c.FIRST], elements[above, c.END]
            held = before[end, 0] - before[first, 0]
            found[at] = math.log1p(held)
            found[at + 1] = (before[end, 1] - before[first, 1]) / max(1.0, held)
            found[at + 2] = (before[end, 2] - before[first, 2]) / max(1.0, prose)
            found[at + 3] = end - first
            found[at + 4] = held / max(1, end - first)
            found[at + 5] = (before[end, 2] - before[first, 2]) / max(1.0, held)
            at += 6
        alike = sums[slots[number]]
        found[at] = alike[0]
        found[at + 1] = alike[1] / alike[0]
        found[at + 2] = alike[2] / max(1.0, alike[1])
        found[at + 3] = alike[3] / max(1.0, prose)
        found[at + 4] = alike[1] / length
        since += 1
        if is_heading:
            heading, since = number, 0


def covers(elements: Array, before: Array) -> Array:
    """Whether each element is nearly all of its page, so that its names say nothing."""
    column = 2 if before[-1, 2] > 0 else 0
    held = before[elements[:, c.END], column] - before[elements[:, c.FIRST], column]
    most: Array = held > _COVERS * before[-1, column]
    return most


class Features:
    """The features of a page's blocks: `matrix` (blocks, COLUMNS) float32. `before`: sums before each block, as `sums_before` has them;
    `prose` and `beside` (a bool each): blocks of prose, and those that lie in what tags or names say is beside the content.
    """

    def __init__(self, found: b.Blocks) -> None:
        elements, blocks = found.elements, found.blocks
        self.before = np.empty((len(blocks) + 1, PREFIXES))
        sums_before(blocks, self.before)
        kinds, tags = np.zeros(len(elements), np.int64), np.zeros(len(elements), np.int64)
        chain = np.zeros((len(elements), 4), np.float32)
        evidence(elements, found.weights, self.before, _BITS, kinds, tags, chain)
        keys = np.empty(len(blocks), np.int64)
        shapes(elements, blocks, keys)
        _, slots = np.unique(keys, return_inverse=True)
        sums = np.zeros((len(blocks), 4))
        add_up(slots, self.before, sums)
        _, same, counts = np.unique(blocks[:, c.DIGEST], return_inverse=True, return_counts=True)
        self.matrix = np.zeros((len(blocks), COLUMNS), np.float32)
        fill(elements, blocks, found.cues, self.before, kinds, tags, chain, sums, slots, counts[same], self.matrix)
        self.prose = np.diff(self.before[:, 2]) > 0
        own = blocks[:, c.ELEMENT]
        self.beside = ((tags[own] & _BESIDE_TAGS) | (kinds[own] & _BESIDE_KINDS)) > 0

"""Cutting text into pre-tokens, compiled: what the regular expressions of the two pre-tokenizers do, over UTF-8 buffers.

Each function finds the end of the pre-token that begins at a place, as the pattern's alternatives do in their order. All look
at each byte a bounded number of times, whatever the text. Equality with the library's cuts is tested for every code point and
by search, and the classes are the library's own (`classes.py`).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from kernel import characters as char
from kernel.compile import leaf
from kernel.utf8 import decode, width_at
from tokenizer.classes import LETTER, NUMBER, OTHER, SPACE

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Place: TypeAlias = Any  # an int of compiled code, which is untyped outside

# The kinds of pre-tokenizer.
GPT2, MODERN = 0, 1
# How `modern` groups digits.
RIGHT, LEFT, ONE = 0, 1, 2
GROUPS = 8  # of three digits that are counted from the right
# From the right, as Singh and Strouse (arXiv 2402.14903) ask and SuperBPE does, but with a bounded look ahead, so that the time
# for a run of digits does not grow with its square: past 27 digits, groups are taken from the left until 27 or fewer remain.
LEFT_GROUPS = r"\p{N}{1,3}"
RIGHT_GROUPS = rf"{LEFT_GROUPS}(?=(?:\p{{N}}{{3}}){{0,{GROUPS}}}(?!\p{{N}}))|{LEFT_GROUPS}"

# The library looks through a whole pre-token for every merge that it makes in it: the time for one without end (DNA, encoded
# data, a script without spaces) grows with its square. In training, no word is as long as this many characters.
LONGEST_RUN = 1000


@leaf
def code_at(data: Bytes, at: int) -> Place:  # pragma: no cover - compiled
    """The code point that starts here, in valid UTF-8."""
    return decode(data, at)[0]


@leaf
def _class_at(data: Bytes, at: int, classes: Bytes) -> Place:  # pragma: no cover - compiled
    return classes[code_at(data, at)]


@leaf
def _run(data: Bytes, at: int, end: int, classes: Bytes, kind: int) -> Place:  # pragma: no cover - compiled
    """The end of the run of one class from here."""
    while at < end and _class_at(data, at, classes) == kind:
        at += width_at(data, at)
    return at


@leaf
def _contraction(data: Bytes, at: int, end: int, any_case: bool) -> Place:  # pragma: no cover - compiled
    """The end of 's, 't, 'm, 'd, 're, 've or 'll behind the apostrophe at `at`; -1 where there is none."""
    if at + 1 >= end:
        return -1
    first = data[at + 1]
    if any_case:
        if code_at(data, at + 1) == char.LONG_S:
            return at + 3
        first |= char.CASE
        if data[at + 1] >= char.ASCII_END:
            return -1
    if first == char.s or first == char.t or first == char.m or first == char.d:
        return at + 2
    if at + 2 >= end or data[at + 2] >= char.ASCII_END:
        return -1
    second = data[at + 2]
    if any_case:
        second |= char.CASE
    if (first == char.r and second == char.e) or (first == char.v and second == char.e) or (first == char.l and second == char.l):
        return at + 3
    return -1


@leaf
def _spaces(data: Bytes, at: int, end: int, classes: Bytes) -> Place:  # pragma: no cover - compiled
    r"""`\s+(?!\S)|\s+`: a run of spaces, without its last one where a character follows and the run has more than one."""
    start, last = at, at
    while at < end and _class_at(data, at, classes) == SPACE:
        last = at
        at += width_at(data, at)
    return at if at == end or last == start else last


@leaf
def gpt2_end(data: Bytes, at: int, end: int, classes: Bytes) -> Place:  # pragma: no cover - compiled
    r"""`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+` (marks are classed with the others)."""
    if data[at] == char.APOSTROPHE:
        found = _contraction(data, at, end, False)
        if found >= 0:
            return found
    begin = at
    if data[at] == char.SPACE and at + 1 < end:
        begin = at + 1
    kind = _class_at(data, begin, classes)
    if kind == SPACE:
        return _spaces(data, at, end, classes)
    return _run(data, begin, end, classes, kind)


@leaf
def _digits(data: Bytes, at: int, end: int, classes: Bytes, digits: int) -> Place:  # pragma: no cover - compiled
    """The end of a group of digits. From the right, the rest of a number is counted no further than `GROUPS` groups."""
    one = at + width_at(data, at)
    if digits == ONE:
        return one
    two, three, count, stop = one, one, 0, at
    most = 3 if digits == LEFT else 3 * GROUPS + 4
    while count < most and stop < end and _class_at(data, stop, classes) == NUMBER:
        stop += width_at(data, stop)
        count += 1
        if count == 2:
            two = stop
        elif count == 3:
            three = stop
    size = min(count, 3) if digits == LEFT or count == most or count % 3 == 0 else count % 3
    return one if size == 1 else two if size == 2 else three


@leaf
def modern_end(data: Bytes, at: int, end: int, classes: Bytes, digits: int) -> Place:  # pragma: no cover - compiled
    """The alternatives of `train.modern_pattern`, in their order (marks are classed with letters or with the others)."""
    if data[at] == char.APOSTROPHE:
        found = _contraction(data, at, end, True)
        if found >= 0:
            return found
    kind = _class_at(data, at, classes)
    if kind == LETTER:
        return _run(data, at, end, classes, LETTER)
    if kind == NUMBER:
        return _digits(data, at, end, classes, digits)
    following = at + width_at(data, at)
    after = _class_at(data, following, classes) if following < end else -1
    if after == LETTER and data[at] != char.CARRIAGE_RETURN and data[at] != char.LINE_FEED:
        return _run(data, following, end, classes, LETTER)
    if kind == OTHER or (data[at] == char.SPACE and after == OTHER):
        stop = _run(data, following, end, classes, OTHER)
        while stop < end and (data[stop] == char.CARRIAGE_RETURN or data[stop] == char.LINE_FEED):
            stop += 1
        return stop
    stop, line_end = at, -1
    while stop < end and _class_at(data, stop, classes) == SPACE:
        if data[stop] == char.CARRIAGE_RETURN or data[stop] == char.LINE_FEED:
            line_end = stop + 1
        stop += width_at(data, stop)
    return line_end if line_end >= 0 else _spaces(data, at, end, classes)


@leaf
def pre_token_end(data: Bytes, at: int, end: int, classes: Bytes, kind: int, digits: int) -> Place:  # pragma: no cover - compiled
    """The end of the pre-token that begins at `at`, in a text that ends at `end`."""
    if kind == GPT2:
        return gpt2_end(data, at, end, classes)
    return modern_end(data, at, end, classes, digits)


@leaf
def piece_end(data: Bytes, at: int, end: int, classes: Bytes) -> Place:  # pragma: no cover - compiled
    """Where the next piece of a text ends: behind `LONGEST_RUN` characters without a space, where yet another follows.

    Most text is passed in strides: a space or line end among that many bytes shows that no such run lies over it.
    """
    safe = at  # no run without a space reaches over this place
    looked = at  # up to here there is no ASCII space behind `safe`: nothing is looked at twice
    while True:
        if safe + LONGEST_RUN >= end:
            return end
        last = safe + LONGEST_RUN - 1
        back = last
        while back >= safe and back >= looked and data[back] != char.SPACE and data[back] != char.LINE_FEED:
            back -= 1
        looked = last + 1
        if back >= safe and back >= 0 and (data[back] == char.SPACE or data[back] == char.LINE_FEED):
            safe = back + 1
            continue
        count, place = 0, safe
        while place < end:
            if _class_at(data, place, classes) == SPACE:
                break
            if count == LONGEST_RUN:
                return place
            count += 1
            place += width_at(data, place)
        if place >= end:
            return end
        safe = place + width_at(data, place)


@leaf
def removed_end(
    data: Bytes, at: int, end: int, space_runs: int, placeholders: Bytes, ends: npt.NDArray[np.int64]
) -> Place:  # pragma: no cover - compiled
    """The end of the added word that begins at `at` (a run of 2 to `space_runs` spaces, a placeholder); -1 where none does."""
    if data[at] == char.SPACE:
        stop = at
        while stop < end and stop - at < space_runs and data[stop] == char.SPACE:
            stop += 1
        return stop if stop - at > 1 else -1
    if data[at] == placeholders[0]:
        start = 0
        for index in range(len(ends)):
            size = ends[index] - start
            if at + size <= end:
                same = True
                for offset in range(size):
                    if data[at + offset] != placeholders[start + offset]:
                        same = False
                        break
                if same:
                    return at + size
            start = ends[index]
    return -1


@leaf
def segment_end(
    data: Bytes, at: int, end: int, space_runs: int, placeholders: Bytes, ends: npt.NDArray[np.int64]
) -> Place:  # pragma: no cover - compiled
    """Where the text that begins at `at` stops before an added word, or ends."""
    while at < end:
        if (data[at] == char.SPACE or data[at] == placeholders[0]) and removed_end(data, at, end, space_runs, placeholders, ends) >= 0:
            return at
        at += 1
    return end


@leaf
def in_normal_form(
    offsets: npt.NDArray[np.int64], data: Bytes, composition: Bytes, ask: int, out: Flags
) -> None:  # pragma: no cover - compiled
    """Which texts are in NFC for certain (`classes.composition`)."""
    for text in range(len(offsets) - 1):
        at, end, before, good = offsets[text], offsets[text + 1], 0, True
        while at < end and good:
            if data[at] < char.ASCII_END:
                before = 0
                at += 1
                continue
            kind = composition[code_at(data, at)]
            good = kind != ask and (kind == 0 or before <= kind)
            before = kind
            at += width_at(data, at)
        out[text] = good


@leaf
def _cut_numbers(
    offsets: npt.NDArray[np.int64], data: Bytes, classes: Bytes, cuts: npt.NDArray[np.int64], first: npt.NDArray[np.int64]
) -> int:  # pragma: no cover - compiled
    """`cut_numbers`, into arrays: how many offsets there are, or would be if there were room."""
    room, used = len(cuts), 1
    cuts[0], first[0] = offsets[0], 0
    most = 3 * GROUPS + 3
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        while at < end:
            byte = data[at]
            if byte < char.ASCII_END and (byte < char.ZERO or byte > char.NINE):
                at += 1
                continue
            start, digits = at, 0
            while at < end and _class_at(data, at, classes) == NUMBER:
                at += width_at(data, at)
                digits += 1
            if digits == 0:
                at += width_at(data, at)
            elif digits > 3 and digits % 3:
                rest = digits % 3
                if digits > most:
                    rest += 3 * ((digits - most + 2) // 3)
                place = start
                for _ in range(rest):
                    place += width_at(data, place)
                if used < room:
                    cuts[used] = place
                used += 1
        if used < room:
            cuts[used] = end
        first[text + 1] = used
        used += 1
    return used


def cut_numbers(offsets: npt.NDArray[np.int64], data: Bytes, classes: Bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Texts cut within numbers, so that groups of three from the left are those of three from the right.

    `(offsets, first)`: the pieces' offsets, and the number of each text's first piece (texts + 1,). In valid UTF-8.
    """
    first = np.zeros(len(offsets), np.int64)
    cuts = np.empty(len(offsets) + int(offsets[-1] - offsets[0]) // 64, np.int64)
    used = _cut_numbers(offsets, data, classes, cuts, first)
    if used > len(cuts):
        cuts = np.empty(used, np.int64)
        _cut_numbers(offsets, data, classes, cuts, first)
    return cuts[:used], first

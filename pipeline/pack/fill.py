"""Fill rows of exactly L tokens with segments: the kernel of packing.

Documents that fit a row are segments as they are. Rows are filled one at a time, the longest segment first. This is best fit
decreasing turned round: segments are looked for that fit a row, not a row that fits a segment, so that those that fill it exactly
can be found. What goes into a row next is, in this order:

1. a segment, or a pair of segments, that fills the row exactly (the pair with the longest member);
2. the longest segment that fits and leaves room for a piece, then again from 1;
3. a piece of a document that is too long for one row, ended exactly there, where the text has a paragraph, a line or a sentence
   end just there (some hundred such documents are open at a time, so one nearly always has);
4. such a piece ended anywhere.

So a document too long for a row is split where a piece of it fills a row and, mostly, where a reader would split it. A piece has at
least `least` ids; a document's last piece is a segment like any other. When no segments are left, a row begins with a piece of the
next long document, ended at the best place in the row's second half.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernel.compile import kernel, leaf
from tokenizer.breaks import BEGINS_WITH_SPACE, ENDS_LINE, ENDS_PARAGRAPH, ENDS_SENTENCE

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.uint8]

PARAGRAPH, LINE, SENTENCE, ANYWHERE = 3, 2, 1, 0
OPEN = 256  # long documents that are open at a time: each may end a piece where a row is full
SPECIALS = 2  # [CLS] and [SEP] of a segment


@leaf
def rank(ids: npt.NDArray[Any], first: int, last: int, place: int, flags: Flags) -> int:  # pragma: no cover - compiled
    """How good it is to end a segment before `ids[place]`, in a document that is `ids[first:last]`; see the names above."""
    before = flags[ids[place - 1]]
    if before & ENDS_PARAGRAPH:
        return PARAGRAPH
    if before & ENDS_LINE:  # two line ends, one in each of two tokens, are a paragraph's too
        return PARAGRAPH if place - 2 >= first and flags[ids[place - 2]] & (ENDS_LINE | ENDS_PARAGRAPH) else LINE
    if before & ENDS_SENTENCE and (place == last or flags[ids[place]] & BEGINS_WITH_SPACE):
        return SENTENCE  # a terminal mark, and white space after it
    return ANYWHERE


@leaf
def _best_end(ids: npt.NDArray[Any], first: int, last: int, low: int, high: int, flags: Flags) -> int:  # pragma: no cover - compiled
    """The best place to end a segment in low .. high; of equals, the last one."""
    best, best_rank = high, -1
    for place in range(high, low - 1, -1):
        found = rank(ids, first, last, place, flags)
        if found > best_rank:
            best, best_rank = place, found
            if found == PARAGRAPH:
                break
    return best


@leaf
def _at_most(tree: npt.NDArray[np.uint64], top: int) -> int:  # pragma: no cover - compiled
    """The longest length present that is at most `top`; 0 where there is none. 64 lengths a step."""
    word = top >> 6
    bits = tree[word] & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(63 - (top & 63)))
    while bits == 0:
        word -= 1
        if word < 0:
            return 0
        bits = tree[word]
    at = 63
    while not (bits >> np.uint64(at)) & np.uint64(1):
        at -= 1
    return (word << 6) + at


@leaf(inline="always")
def _is_awkward(rest: int, most: int, least: int) -> bool:  # pragma: no cover - compiled
    """Whether a last piece of `rest` ids would fill a row but for a gap too small for any other piece."""
    return most - least - SPECIALS < rest < most


class _Documents(NamedTuple):
    """What is packed; see `fill_rows`."""

    first: Ints
    sizes: Ints
    repeats: Ints
    ids: npt.NDArray[Any]
    flags: Flags


class _Segments(NamedTuple):
    """What is written, row by row."""

    owner: Ints  # its document
    start: Ints  # in `ids`
    length: Ints  # ids, the special tokens not counted
    row: Ints


class _Waiting(NamedTuple):
    """Segments that wait for a row, in stacks by their lengths (the special tokens counted)."""

    present: npt.NDArray[np.uint64]  # a bit for each length of which there are some
    head: Ints  # of each length: the segment on top, -1 where there is none
    link: Ints  # of each segment: the one under it
    owner: Ints
    start: Ints


class _Open(NamedTuple):
    """Long documents that are looked through for a place to end."""

    owner: Ints
    at: Ints  # from which id on they are still to be packed


@leaf
def _put(waiting: _Waiting, item: int, owner: int, start: int, length: int) -> None:  # pragma: no cover - compiled
    waiting.owner[item], waiting.start[item], waiting.link[item] = owner, start, waiting.head[length]
    waiting.head[length] = item
    waiting.present[length >> 6] |= np.uint64(1) << np.uint64(length & 63)


@leaf
def _take(waiting: _Waiting, length: int) -> int:  # pragma: no cover - compiled
    """The first waiting segment of a length, which waits no longer."""
    item: int = waiting.head[length]
    waiting.head[length] = waiting.link[item]
    if waiting.head[length] < 0:
        waiting.present[length >> 6] &= ~(np.uint64(1) << np.uint64(length & 63))
    return item


@leaf
def _pair(waiting: _Waiting, room: int, longest: int) -> tuple[int, int]:  # pragma: no cover - compiled
    """The lengths of two waiting segments that fill a room exactly, the longest member first; zeros where there are none."""
    one = longest
    while one > 0 and 2 * one >= room:
        two = room - one
        if two > 0 and waiting.head[two] >= 0 and (two != one or waiting.link[waiting.head[one]] >= 0):
            return one, two
        one = _at_most(waiting.present, one - 1) if one > 1 else 0
    return 0, 0


@leaf
def _first_piece(documents: _Documents, long: _Open, opened: int, turn: int, limits: tuple[int, int]) -> Any:  # pragma: no cover
    """`(piece, end)`: with which open document an empty row begins, and where that piece ends: the best place in its second half.

    `turn`: where the search begins; `limits`: the most and the least ids of a piece.
    """
    most, least = limits
    piece, end = -1, 0
    for step in range(opened):
        piece = (turn + step) % opened
        document, at = long.owner[piece], long.at[piece]
        first = documents.first[document]
        last, half = first + documents.sizes[document], at + (most + 1) // 2
        end = _best_end(documents.ids, first, last, half, max(half, at + most - least - SPECIALS), documents.flags)
        full = rank(documents.ids, first, last, at + most, documents.flags)
        if full >= rank(documents.ids, first, last, end, documents.flags):
            end = at + most  # the row is full at once
        if not _is_awkward(last - end, most, least):
            break
    return piece, end


@leaf
def _filling_piece(
    documents: _Documents, long: _Open, opened: int, turn: int, wanted: int, limits: tuple[int, int]
) -> Any:  # pragma: no cover - compiled
    """`(piece, end)`: which open document gives `wanted` ids, and ends them at the best place; the first of equals."""
    most, least = limits
    piece, end, best = -1, 0, -5
    for step in range(opened):
        candidate = (turn + step) % opened
        document, place = long.owner[candidate], long.at[candidate] + wanted
        first = documents.first[document]
        last = first + documents.sizes[document]
        found = rank(documents.ids, first, last, place, documents.flags)
        if _is_awkward(last - place, most, least):
            found -= 4
        if found > best:
            best, piece, end = found, candidate, place
            if found == PARAGRAPH:
                break
    return piece, end


@kernel
def _fill(documents: _Documents, capacity: int, least: int, segments: _Segments) -> Any:  # pragma: no cover - compiled
    """Write the segments row by row; returns how many segments and rows. Lengths in here include the special tokens."""
    first, sizes, repeats = documents.first, documents.sizes, documents.repeats
    room_for = 0
    for document in range(len(sizes)):
        if repeats[document]:
            room_for += repeats[document]
    waiting = _Waiting(
        np.zeros(capacity // 64 + 1, np.uint64),
        np.full(capacity + 1, -1, np.int64),
        np.empty(room_for, np.int64),
        np.empty(room_for, np.int64),
        np.empty(room_for, np.int64),
    )
    long_owner = np.empty(room_for, np.int64)
    items = longs = 0
    for document in range(len(sizes) - 1, -1, -1):  # lists are stacks: the first document comes out first
        size = sizes[document]
        if size == 0:
            continue
        for _ in range(repeats[document]):
            if size > capacity - SPECIALS:
                long_owner[longs] = document
                longs += 1
            else:
                _put(waiting, items, document, first[document], size + SPECIALS)
                items += 1
    long = _Open(np.empty(OPEN, np.int64), np.empty(OPEN, np.int64))
    return _fill_rows(documents, waiting, items, long, long_owner[:longs], segments, capacity, least)


@leaf
def _fill_rows(
    documents: _Documents, waiting: _Waiting, free: int, long: _Open, longs: Ints, segments: _Segments, capacity: int, least: int
) -> tuple[int, int]:  # pragma: no cover - compiled
    """`_fill`, with all segments waiting but for the documents `longs`, which are opened from the last on.

    `free`: the first place of `waiting` that no segment has; the last pieces of long documents get them.
    """
    most = capacity - SPECIALS  # ids in a segment
    limits = most, least
    left, opened = len(longs), 0
    count = rows = 0
    turn = 0  # where the search among open documents begins, so that none is always the first
    while True:
        while opened < OPEN and left:
            left -= 1
            long.owner[opened], long.at[opened] = longs[left], documents.first[longs[left]]
            opened += 1
        room = capacity
        longest = _at_most(waiting.present, capacity)
        if longest == 0 and opened == 0:
            break
        take, take_too, piece, end = longest, 0, -1, 0
        if longest == 0:  # no whole segments are left: the best piece of a long document
            piece, end = _first_piece(documents, long, opened, turn, limits)
        while True:
            # what was chosen goes into the row
            for chosen in (take, take_too):
                if chosen:
                    item = _take(waiting, chosen)
                    segments.owner[count], segments.start[count] = waiting.owner[item], waiting.start[item]
                    segments.length[count], segments.row[count] = chosen - SPECIALS, rows
                    count += 1
                    room -= chosen
            if piece >= 0:
                document, at = long.owner[piece], long.at[piece]
                segments.owner[count], segments.start[count] = document, at
                segments.length[count], segments.row[count] = end - at, rows
                count += 1
                room -= end - at + SPECIALS
                long.at[piece] = end
                turn = piece + 1
                rest = documents.first[document] + documents.sizes[document] - end
                if rest <= most:  # its last piece is a segment like any other
                    _put(waiting, free, document, end, rest + SPECIALS)
                    free += 1
                    opened -= 1
                    long.owner[piece], long.at[piece] = long.owner[opened], long.at[opened]
            if room <= SPECIALS:
                break
            take, take_too, piece = 0, 0, -1
            fits = _at_most(waiting.present, room)
            if fits == room:
                take = room
                continue
            take, take_too = _pair(waiting, room, fits)
            if take:
                continue
            wanted = room - SPECIALS
            if opened == 0 or wanted < least:
                if fits == 0:
                    break
                take = fits
                continue
            # a long document's piece could fill the row: a segment must leave room for one
            take = _at_most(waiting.present, wanted - least) if wanted > least else 0
            if not take:
                piece, end = _filling_piece(documents, long, opened, turn, wanted, limits)
        rows += 1
    return count, rows


def fill_rows(
    first: Ints, sizes: Ints, repeats: Ints, ids: npt.NDArray[Any], flags: Flags, capacity: int
) -> tuple[Ints, Ints, Ints, Ints, int]:
    """Rows of at most `capacity` tokens: `(owner, start, length, row, rows)`, each int64 (segments,) but the last, the number of rows.

    Segments come row by row. Segment `s` is `ids[start[s]:start[s] + length[s]]` of document `owner[s]`, in row `row[s]`; its special
    tokens are not in `length`.

    Args: document `i` is `ids[first[i]:first[i] + sizes[i]]`, wanted `repeats[i]` times; `flags` uint8 (vocabulary,) are those of
    `tokenizer.break_flags`. Every id is in one segment of each repetition; an empty document has none.
    """
    least = max(1, min(64, (capacity - SPECIALS) // 8))
    most = capacity - SPECIALS
    # pieces of a long document have at least `least` ids each but the last
    bound = int((repeats * np.where(sizes > most, sizes // least + 2, 1)).sum()) + 1
    owner, start, length, row = (np.empty(bound, np.int64) for _ in range(4))
    count, rows = _fill(_Documents(first, sizes, repeats, ids, flags), capacity, least, _Segments(owner, start, length, row))
    return owner[:count], start[:count], length[:count], row[:count], rows

"""Fill rows of exactly L tokens with segments: the kernel of packing.

Documents that fit a row are segments as they are. Rows are filled one at a time, the longest segment first, best fit
decreasing turned round: instead of a row for each segment, segments for each row, so that what would leave a row exactly full
can be looked for. In this order:

1. a segment, or a pair of segments, that fills the row exactly (the pair with the longest member);
2. the longest segment that fits and leaves room for a piece, then again from 1;
3. a piece of a document that is too long for one row, ended exactly there, where the text has a paragraph, a line or a sentence
   end just there (some hundred such documents are open at a time, so one nearly always has);
4. such a piece ended anywhere.

Documents too long for a row are so split at the best places that fill rows: pieces are at least `least` ids, and a document's
last piece is a segment like any other. When no segments are left, a row begins with the best piece of the next long document,
ended in its second half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernel.compile import kernel

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.uint8]

PARAGRAPH, LINE, SENTENCE, ANYWHERE = 3, 2, 1, 0
OPEN = 256  # long documents that are looked through for a place to end
SPECIALS = 2  # [CLS] and [SEP] of a segment


@kernel
def rank(ids: npt.NDArray[Any], first: int, last: int, place: int, flags: Flags) -> int:  # pragma: no cover - compiled
    """How good it is to end a segment before `ids[place]`, in a document that is `ids[first:last]`; see the names above."""
    before = flags[ids[place - 1]]
    if before & 4 or (before & 2 and place - 2 >= first and flags[ids[place - 2]] & 6):
        return PARAGRAPH  # two line ends, in one token or in two
    if before & 2:
        return LINE
    if before & 1 and (place == last or flags[ids[place]] & 8):
        return SENTENCE  # a terminal mark, and white space after it
    return ANYWHERE


@kernel
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


@kernel(inline="always")
def _set(tree: npt.NDArray[np.uint64], leaf: int) -> None:  # pragma: no cover - compiled
    """Mark a length as present: a bitmap with a bitmap over its words above it."""
    tree[leaf >> 6] |= np.uint64(1) << np.uint64(leaf & 63)


@kernel(inline="always")
def _clear(tree: npt.NDArray[np.uint64], leaf: int) -> None:  # pragma: no cover - compiled
    tree[leaf >> 6] &= ~(np.uint64(1) << np.uint64(leaf & 63))


@kernel
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


@kernel(inline="always")
def _is_awkward(rest: int, most: int, least: int) -> bool:  # pragma: no cover - compiled
    """Whether a last piece of `rest` ids would fill a row but for a gap too small for any other piece."""
    return most - least - SPECIALS < rest < most


@kernel
def _fill(
    first: Ints,
    sizes: Ints,
    repeats: Ints,
    ids: npt.NDArray[Any],
    flags: Flags,
    capacity: int,
    least: int,
    owner: Ints,
    start: Ints,
    length: Ints,
    row: Ints,
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Write the segments row by row; returns how many segments and rows. Lengths here include the special tokens."""
    most = capacity - SPECIALS  # ids in a segment
    present = np.zeros(capacity // 64 + 1, np.uint64)
    head = np.full(capacity + 1, -1, np.int64)  # waiting segments by length, as lists
    room_for = 0
    for document in range(len(sizes)):
        if repeats[document]:
            room_for += repeats[document]
    link, item_owner, item_start = np.empty(room_for, np.int64), np.empty(room_for, np.int64), np.empty(room_for, np.int64)
    long_owner = np.empty(room_for, np.int64)
    items = longs = 0
    for document in range(len(sizes) - 1, -1, -1):  # lists are stacks: the first document comes out first
        size = sizes[document]
        if size == 0:
            continue
        for _ in range(repeats[document]):
            if size > most:
                long_owner[longs] = document
                longs += 1
            else:
                item_owner[items], item_start[items], link[items] = document, first[document], head[size + SPECIALS]
                head[size + SPECIALS] = items
                _set(present, size + SPECIALS)
                items += 1
    free = items  # places of items, given to the last pieces of long documents
    open_owner, open_at = np.empty(OPEN, np.int64), np.empty(OPEN, np.int64)
    opened = 0
    count = rows = 0
    turn = 0  # where the search among open documents begins, so that none is always the first
    while True:
        while opened < OPEN and longs:
            longs -= 1
            open_owner[opened], open_at[opened] = long_owner[longs], first[long_owner[longs]]
            opened += 1
        room = capacity
        longest = _at_most(present, capacity)
        if longest == 0 and opened == 0:
            break
        take, take2, piece, end = longest, 0, -1, 0
        if longest == 0:  # no whole segments are left: the best piece of a long document
            for step in range(opened):
                piece = (turn + step) % opened
                document, at = open_owner[piece], open_at[piece]
                last, half = first[document] + sizes[document], at + (most + 1) // 2
                end = _best_end(ids, first[document], last, half, max(half, at + most - least - SPECIALS), flags)
                if rank(ids, first[document], last, at + most, flags) >= rank(ids, first[document], last, end, flags):
                    end = at + most  # the row is full at once
                if not _is_awkward(last - end, most, least):
                    break
        while True:
            # what was chosen goes into the row
            for chosen in (take, take2):
                if chosen:
                    item = head[chosen]
                    head[chosen] = link[item]
                    if head[chosen] < 0:
                        _clear(present, chosen)
                    owner[count], start[count] = item_owner[item], item_start[item]
                    length[count], row[count] = chosen - SPECIALS, rows
                    count += 1
                    room -= chosen
            if piece >= 0:
                document, at = open_owner[piece], open_at[piece]
                owner[count], start[count], length[count], row[count] = document, at, end - at, rows
                count += 1
                room -= end - at + SPECIALS
                open_at[piece] = end
                turn = piece + 1
                rest = first[document] + sizes[document] - end
                if rest <= most:  # its last piece is a segment like any other
                    item_owner[free], item_start[free], link[free] = document, end, head[rest + SPECIALS]
                    head[rest + SPECIALS] = free
                    _set(present, rest + SPECIALS)
                    free += 1
                    opened -= 1
                    open_owner[piece], open_at[piece] = open_owner[opened], open_at[opened]
            if room <= SPECIALS:
                break
            take, take2, piece = 0, 0, -1
            fits = _at_most(present, room)
            if fits == room:
                take = room
                continue
            # a pair: the longest member first
            a = fits
            while a > 0 and 2 * a >= room:
                b = room - a
                if b > 0 and head[b] >= 0 and (b != a or link[head[a]] >= 0):
                    take, take2 = a, b
                    break
                a = _at_most(present, a - 1) if a > 1 else 0
            if take:
                continue
            wanted = room - SPECIALS
            if opened == 0 or wanted < least:
                if fits == 0:
                    break
                take = fits
                continue
            # a long document's piece could fill the row: a segment must leave room for one
            take = _at_most(present, wanted - least) if wanted > least else 0
            if take:
                continue
            best_rank = -5
            for step in range(opened):
                candidate = (turn + step) % opened
                document, place = open_owner[candidate], open_at[candidate] + wanted
                last = first[document] + sizes[document]
                found = rank(ids, first[document], last, place, flags)
                if _is_awkward(last - place, most, least):
                    found -= 4
                if found > best_rank:
                    best_rank, piece, end = found, candidate, place
                    if found == PARAGRAPH:
                        break
        rows += 1
    return count, rows


def fill_rows(
    first: Ints, sizes: Ints, repeats: Ints, ids: npt.NDArray[Any], flags: Flags, capacity: int
) -> tuple[Ints, Ints, Ints, Ints, int]:
    """Rows of at most `capacity` tokens: `(owner, start, length, row, rows)`, each int64 (segments,) but the last.

    Segments come row by row: which document, from which of `ids`, how many ids (the special tokens not counted).

    Args: document `i` is `ids[first[i]:first[i] + sizes[i]]`, wanted `repeats[i]` times; `flags` uint8 (vocabulary,) are those of
    `tokenizer.break_flags`. Every id is in one segment of each repetition; an empty document has none.
    """
    least = max(1, min(64, (capacity - SPECIALS) // 8))
    most = capacity - SPECIALS
    # pieces of a long document have at least `least` ids each but the last
    bound = int((repeats * np.where(sizes > most, sizes // least + 2, 1)).sum()) + 1
    owner, start, length, row = (np.empty(bound, np.int64) for _ in range(4))
    count, rows = _fill(first, sizes, repeats, ids, flags, capacity, least, owner, start, length, row)
    return owner[:count], start[:count], length[:count], row[:count], rows

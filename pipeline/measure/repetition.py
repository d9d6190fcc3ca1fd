"""How much of a document repeats: lines, paragraphs, and word n-grams, for Gopher's repetition rules.

Rae et al. 2021 (arXiv 2112.11446, table A1), in datatrove's reading (`GopherRepetitionFilter`): the *top* n-gram is the most
frequent one (the first of equals), and counts for all its occurrences; *duplicate* n-grams are found by a walk that jumps over
each repeated one, so that no character is counted twice.

Units are interned: equal tokens get equal numbers, an n-gram is the pair of its first n-1 tokens' number and its last token's.
An n-gram can only repeat where both (n-1)-grams inside it do, so each longer n is looked up at a shrinking share of positions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernel.compile import leaf
from kernel.hashing import spread
from kernel.table import key_of, slot_among, slots_for

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]

TOP = (2, 3, 4)  # n of Gopher's top n-grams
DUPLICATE = (5, 6, 7, 8, 9, 10)  # n of its duplicate n-grams

BITS = 21  # of the number of a token or n-gram


class Interned(NamedTuple):
    """Units (tokens, lines, paragraphs) as numbers, equal units as equal ones, in the order of their first occurrence."""

    ids: Numbers  # of each unit
    times: Numbers  # how often each number occurs
    keys: Hashes  # a table of the units' keys (`kernel.table`), and each one's number
    owners: Numbers

    @classmethod
    def of(cls, units: int) -> Interned:
        """Room for so many units."""
        slots = slots_for(units)
        return cls(np.empty(units + 1, np.int32), np.empty(units + 1, np.int32), np.empty(slots, np.uint64), np.empty(slots, np.int32))


class Grams(NamedTuple):
    """Room for the n-grams of a document, and what is found."""

    numbers: Numbers  # of the n-gram at each token, -1 where it occurs once
    times: Numbers  # how often each n-gram occurs
    seen: Numbers  # 1 where the walk has met an n-gram
    places: Numbers  # the tokens at which an n-gram stands that occurs again
    slots: Hashes  # a slot holds an n-gram's two numbers and its own, of BITS bits each, and a bit that says that it is taken
    top: npt.NDArray[np.float64]  # (len(TOP),): characters
    duplicate: npt.NDArray[np.float64]  # (len(DUPLICATE),)

    @classmethod
    def of(cls, units: int) -> Grams:
        """Room for so many tokens."""
        numbers, times, seen, places = (np.empty(units + 1, np.int32) for _ in range(4))
        slots = np.empty(slots_for(units), np.uint64)
        return cls(numbers, times, seen, places, slots, np.zeros(len(TOP)), np.zeros(len(DUPLICATE)))


@leaf
def intern(keys: Hashes, count: int, interned: Interned) -> int:  # pragma: no cover - compiled
    """Number equal keys of `keys[:count]` alike; returns how many numbers there are. What `interned` held before is forgotten."""
    ids, times, table, owners = interned.ids, interned.times, interned.keys, interned.owners
    slots = slots_for(count)
    table[:slots] = 0
    found = 0
    for index in range(count):
        key = key_of(keys[index])
        slot = slot_among(table, slots, key)
        if table[slot] == 0:
            table[slot], owners[slot] = key, found
            times[found] = 0
            found += 1
        number = owners[slot]
        ids[index] = number
        times[number] += 1
    return found


@leaf
def duplicates(keys: Hashes, sizes: Numbers, count: int, interned: Interned) -> tuple[int, int]:  # pragma: no cover - compiled
    """How many units (lines, paragraphs) occurred before, and how many characters they have. `sizes`: the characters of each unit."""
    intern(keys, count, interned)
    ids = interned.ids
    units = characters = seen = 0
    for index in range(count):
        if ids[index] < seen:
            units += 1
            characters += sizes[index]
        else:
            seen += 1
    return units, characters


@leaf
def ngram_repetition(interned: Interned, ends: Integers, count: int, grams: Grams) -> None:  # pragma: no cover - compiled
    """Characters of the top 2- to 4-grams (a space between words) and of the duplicate 5- to 10-grams (none), as datatrove counts them,
    into `grams.top` and `grams.duplicate`.

    `interned` has the document's `count` tokens; `ends`: the characters of the tokens up to and with each, nothing between them.
    The table of n-grams is one of its own: a slot holds key and number in 64 bits, half of what a common table takes, and the key is
    exact.
    """
    tokens, token_times = interned.ids, interned.times
    numbers, times, seen, places, table = grams.numbers, grams.times, grams.seen, grams.places, grams.slots
    top, duplicate = grams.top, grams.duplicate
    top[:] = 0
    duplicate[:] = 0
    bits = np.uint64(BITS)
    used = np.uint64(1) << np.uint64(63)
    low = (np.uint64(1) << bits) - np.uint64(1)
    left = 0
    for index in range(count):
        if token_times[tokens[index]] > 1:
            numbers[index] = tokens[index]
            places[left] = index
            left += 1
        else:
            numbers[index] = -1
    for n in range(2, DUPLICATE[-1] + 1):
        positions = count - n + 1
        if positions <= 0:
            return
        size = slots_for(left)
        mask = np.uint64(size - 1)
        table[:size] = 0
        found = most = candidates = 0
        for place in range(left):
            index = places[place]
            if index >= positions or numbers[index + 1] < 0:
                numbers[index] = -1
                continue
            key = (np.uint64(numbers[index]) << bits) | np.uint64(tokens[index + n - 1])
            slot = spread(key) & mask
            while table[slot] and (table[slot] & ~used) >> bits != key:
                slot = (slot + np.uint64(1)) & mask
            if not table[slot]:
                table[slot] = used | (key << bits) | np.uint64(found)
                times[found] = 0
                found += 1
            number = np.int64(table[slot] & low)
            numbers[index] = number
            times[number] += 1
            most = max(most, times[number])
            places[candidates] = index
            candidates += 1
        left = 0
        for place in range(candidates):  # what turned out to occur once repeats no more
            index = places[place]
            if times[numbers[index]] > 1:
                places[left] = index
                left += 1
            else:
                numbers[index] = -1
        if n <= TOP[-1]:
            if most < 2:
                top[n - 2] = ends[n - 1] + n - 1  # every one occurs once: the first of them
            for place in range(left):
                index = places[place]
                if times[numbers[index]] == most:
                    before = ends[index - 1] if index else 0
                    top[n - 2] = (ends[index + n - 1] - before + n - 1) * most
                    break
        elif most < 2:
            return
        else:
            seen[:found] = 0
            free = repeated = 0
            for place in range(left):
                index = places[place]
                if index < free:
                    continue
                if seen[numbers[index]]:
                    before = ends[index - 1] if index else 0
                    repeated += ends[index + n - 1] - before
                    free = index + n
                else:
                    seen[numbers[index]] = 1
            duplicate[n - DUPLICATE[0]] = repeated

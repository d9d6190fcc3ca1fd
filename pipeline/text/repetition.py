"""How much of a document repeats: lines, paragraphs, and word n-grams, for Gopher's repetition rules.

Rae et al. 2021 (arXiv 2112.11446, table A1), in datatrove's reading (`GopherRepetitionFilter`): the *top* n-gram is the most
frequent one (the first of equals), and counts for all its occurrences; *duplicate* n-grams are found by a walk that jumps over
each repeated one, so that no character is counted twice.

Units are interned: equal tokens get equal numbers, an n-gram is the pair of its first n-1 tokens' number and its last token's.
An n-gram can only repeat where both (n-1)-grams inside it do, so each longer n is looked up at a shrinking share of positions.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]

TOP = (2, 3, 4)  # n of Gopher's top n-grams
DUPLICATE = (5, 6, 7, 8, 9, 10)  # n of its duplicate n-grams

_MIX = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True, nogil=True, inline="always")
def _slot(key: np.uint64, mask: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    mixed = (key ^ (key >> np.uint64(32))) * _MIX
    return (mixed ^ (mixed >> np.uint64(29))) & mask


@numba.njit(cache=True, nogil=True)
def intern(keys: Hashes, count: int, table: Hashes, owner: Numbers, ids: Numbers, times: Numbers) -> int:  # pragma: no cover - compiled
    """Number equal keys alike, in the order of their first occurrence: `ids[:count]`; how often each occurs: `times`.

    `table` and `owner` have a power of two of slots, more than `count`; they need not be clean. Returns how many numbers there are.
    """
    size = 64
    while size < 2 * count:
        size *= 2
    mask = np.uint64(size - 1)
    owner[:size] = -1
    found = 0
    for index in range(count):
        key = keys[index]
        slot = _slot(key, mask)
        while owner[slot] >= 0 and table[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if owner[slot] < 0:
            owner[slot], table[slot] = found, key
            times[found] = 0
            found += 1
        ids[index] = owner[slot]
        times[owner[slot]] += 1
    return found


@numba.njit(cache=True, nogil=True)
def duplicates(
    keys: Hashes, sizes: Numbers, count: int, table: Hashes, owner: Numbers, ids: Numbers, times: Numbers
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Of units (lines, paragraphs) those that occurred before: how many, and their characters."""
    intern(keys, count, table, owner, ids, times)
    units = characters = seen = 0
    for index in range(count):
        if ids[index] < seen:
            units += 1
            characters += sizes[index]
        else:
            seen += 1
    return units, characters


@numba.njit(cache=True, nogil=True)
def ngram_repetition(
    tokens: Numbers,  # interned
    token_times: Numbers,
    ends: Integers,  # characters of the tokens up to and with each, nothing between them
    count: int,
    grams: Numbers,
    times: Numbers,
    table: Hashes,
    owner: Numbers,
    seen: Numbers,
    top: npt.NDArray[np.float64],
    duplicate: npt.NDArray[np.float64],
) -> None:  # pragma: no cover - compiled
    """Characters of the top 2- to 4-grams (a space between words) and of the duplicate 5- to 10-grams (none), as datatrove counts them."""
    top[:] = 0
    duplicate[:] = 0
    for index in range(count):
        grams[index] = tokens[index] if token_times[tokens[index]] > 1 else -1
    largest = TOP[-1]
    for n in range(2, DUPLICATE[-1] + 1):
        positions = count - n + 1
        if positions <= 0:
            return
        size = 64
        candidates = 0
        for index in range(positions):
            candidates += grams[index] >= 0 and grams[index + 1] >= 0
        while size < 2 * candidates:
            size *= 2
        mask = np.uint64(size - 1)
        owner[:size] = -1
        found = 0
        most = 0
        for index in range(positions):
            if grams[index] < 0 or grams[index + 1] < 0:
                grams[index] = -1
                continue
            key = (np.uint64(grams[index]) << np.uint64(32)) | np.uint64(tokens[index + n - 1])
            slot = _slot(key, mask)
            while owner[slot] >= 0 and table[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            if owner[slot] < 0:
                owner[slot], table[slot] = found, key
                times[found] = 0
                found += 1
            number = owner[slot]
            grams[index] = number
            times[number] += 1
            most = max(most, times[number])
        for index in range(positions):  # what turned out to occur once repeats no more
            if grams[index] >= 0 and times[grams[index]] < 2:
                grams[index] = -1
        if n <= largest:
            if most < 2:
                top[n - 2] = ends[n - 1] + n - 1  # every one occurs once: the first of them
            else:
                for index in range(positions):
                    if grams[index] >= 0 and times[grams[index]] == most:
                        before = ends[index - 1] if index else 0
                        top[n - 2] = (ends[index + n - 1] - before + n - 1) * most
                        break
            continue
        if most < 2 and n >= DUPLICATE[0]:
            return
        if n >= DUPLICATE[0]:
            seen[:found] = 0
            index = 0
            repeated = 0
            while index < positions:
                number = grams[index]
                if number < 0:
                    index += 1
                elif seen[number]:
                    before = ends[index - 1] if index else 0
                    repeated += ends[index + n - 1] - before
                    index += n
                else:
                    seen[number] = 1
                    index += 1
            duplicate[n - DUPLICATE[0]] = repeated

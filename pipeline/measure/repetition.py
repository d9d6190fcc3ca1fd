"""How much of a document repeats: lines, paragraphs, and word n-grams, for Gopher's repetition rules.

Rae et al. 2021 (arXiv 2112.11446, table A1), in datatrove's reading (`GopherRepetitionFilter`): the *top* n-gram is the most
frequent one (the first of equals), and counts for all its occurrences; *duplicate* n-grams are found by a walk that jumps over
each repeated one, so that no character is counted twice.

Units are interned: equal tokens get equal numbers, an n-gram is the pair of its first n-1 tokens' number and its last token's.
An n-gram can only repeat where both (n-1)-grams inside it do, so each longer n is looked up at a shrinking share of positions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernel.compile import kernel

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]

TOP = (2, 3, 4)  # n of Gopher's top n-grams
DUPLICATE = (5, 6, 7, 8, 9, 10)  # n of its duplicate n-grams

BITS = 21  # of the number of a token or n-gram

_MIX = np.uint64(0x9E3779B97F4A7C15)


@kernel(inline="always")
def _slot(key: np.uint64, mask: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    mixed = (key ^ (key >> np.uint64(32))) * _MIX
    return (mixed ^ (mixed >> np.uint64(29))) & mask


@kernel
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


@kernel
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


@kernel
def ngram_repetition(
    tokens: Numbers,  # interned
    token_times: Numbers,
    ends: Integers,  # characters of the tokens up to and with each, nothing between them
    count: int,
    grams: Numbers,
    times: Numbers,
    places: Numbers,
    table: Hashes,
    seen: Numbers,
    top: npt.NDArray[np.float64],
    duplicate: npt.NDArray[np.float64],
) -> None:  # pragma: no cover - compiled
    """Characters of the top 2- to 4-grams (a space between words) and of the duplicate 5- to 10-grams (none), as datatrove counts them.

    `grams[i]` is the number of the n-gram at token `i`, -1 where it occurs once; `places` are the tokens where it occurs again.
    A slot of `table` holds an n-gram's two numbers and its own, of BITS bits each, and a bit that says so.
    """
    top[:] = 0
    duplicate[:] = 0
    bits = np.uint64(BITS)
    used = np.uint64(1) << np.uint64(63)
    low = (np.uint64(1) << bits) - np.uint64(1)
    left = 0
    for index in range(count):
        if token_times[tokens[index]] > 1:
            grams[index] = tokens[index]
            places[left] = index
            left += 1
        else:
            grams[index] = -1
    for n in range(2, DUPLICATE[-1] + 1):
        positions = count - n + 1
        if positions <= 0:
            return
        size = 64
        while size < 2 * left:
            size *= 2
        mask = np.uint64(size - 1)
        table[:size] = 0
        found = most = candidates = 0
        for place in range(left):
            index = places[place]
            if index >= positions or grams[index + 1] < 0:
                grams[index] = -1
                continue
            key = (np.uint64(grams[index]) << bits) | np.uint64(tokens[index + n - 1])
            slot = _slot(key, mask)
            while table[slot] and (table[slot] & ~used) >> bits != key:
                slot = (slot + np.uint64(1)) & mask
            if not table[slot]:
                table[slot] = used | (key << bits) | np.uint64(found)
                times[found] = 0
                found += 1
            number = np.int64(table[slot] & low)
            grams[index] = number
            times[number] += 1
            most = max(most, times[number])
            places[candidates] = index
            candidates += 1
        left = 0
        for place in range(candidates):  # what turned out to occur once repeats no more
            index = places[place]
            if times[grams[index]] > 1:
                places[left] = index
                left += 1
            else:
                grams[index] = -1
        if n <= TOP[-1]:
            if most < 2:
                top[n - 2] = ends[n - 1] + n - 1  # every one occurs once: the first of them
            for place in range(left):
                index = places[place]
                if times[grams[index]] == most:
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
                if seen[grams[index]]:
                    before = ends[index - 1] if index else 0
                    repeated += ends[index + n - 1] - before
                    free = index + n
                else:
                    seen[grams[index]] = 1
            duplicate[n - DUPLICATE[0]] = repeated

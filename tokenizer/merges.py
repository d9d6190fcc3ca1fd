"""Byte-pair merges from counted words, compiled: a priority queue of pairs, as the `tokenizers` library's trainer has it.

The result is the library's, ties included (of equally frequent pairs the one with the smaller ids comes first), also where its
bookkeeping is peculiar: the count of a merged pair stays as it was, and occurrences that come up later, because one token was
made in two ways, are queued on their own. Where the library adds counts in 32 bits, which wrap past 2.1 billion, these are of 64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tokenizer.alphabet import visible_bytes
from tokenizer.count import hash_bytes
from tokenizer.kernels import kernel

Array = npt.NDArray[Any]
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


def byte_ranks() -> npt.NDArray[np.int32]:
    """The id of each byte: bytes are sorted by the characters that stand for them, as the library sorts its alphabet."""
    visible = visible_bytes()
    ranks = np.empty(256, np.int32)
    ranks[sorted(range(256), key=lambda byte: visible[byte])] = np.arange(256)
    return ranks


@kernel
def _slot_of(keys: Array, key: np.uint64) -> Any:  # pragma: no cover - compiled
    mask = len(keys) - 1
    value = key * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64((value ^ (value >> np.uint64(32))) & np.uint64(mask))
    while keys[slot] != _EMPTY and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@kernel
def _rehash(keys: Array, values: Array) -> tuple[Array, Array]:  # pragma: no cover - compiled
    bigger, moved = np.full(2 * len(keys), _EMPTY, np.uint64), np.empty(2 * len(keys), np.int32)
    for slot in range(len(keys)):
        if keys[slot] != _EMPTY:
            place = _slot_of(bigger, keys[slot])
            bigger[place] = keys[slot]
            moved[place] = values[slot]
    return bigger, moved


@kernel
def _longer(array: Array) -> Array:  # pragma: no cover - compiled
    bigger = np.empty(2 * len(array), array.dtype)
    bigger[: len(array)] = array
    return bigger


@kernel
def _before(counts: Array, pairs: Array, one: int, two: int) -> Any:  # pragma: no cover - compiled
    """Whether entry `one` of the queue is to be merged before `two`; the one that was queued first, where all else is equal."""
    if counts[one] != counts[two]:
        return counts[one] > counts[two]
    if pairs[one] != pairs[two]:
        return pairs[one] < pairs[two]
    return one < two


@kernel
def _sift_up(heap: Array, size: int, counts: Array, pairs: Array) -> None:  # pragma: no cover - compiled
    place = size - 1
    entry = heap[place]
    while place > 0:
        parent = (place - 1) // 4
        if not _before(counts, pairs, entry, heap[parent]):
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = entry


@kernel
def _sift_down(heap: Array, size: int, counts: Array, pairs: Array) -> None:  # pragma: no cover - compiled
    place = 0
    entry = heap[0]
    while True:
        first = 4 * place + 1
        if first >= size:
            break
        best = first
        for child in range(first + 1, min(first + 4, size)):
            if _before(counts, pairs, heap[child], heap[best]):
                best = child
        if not _before(counts, pairs, heap[best], entry):
            break
        heap[place] = heap[best]
        place = best
    heap[place] = entry


@kernel
def _learn(
    starts: Array, symbols: Array, times: Array, text_starts: Array, text: Array, size: int, least: int
) -> tuple[Array, Array, Array, Array]:  # pragma: no cover - compiled
    """`(merges, token offsets, token bytes, how often each token is used)`: merges are `left, right, made`, int32 (n, 3)."""
    words = len(times)
    lengths = np.empty(words, np.int32)
    # Pairs: a hash table to numbers; of each its count, and the word and the merge in which it was last seen.
    keys, numbers = np.full(1 << 17, _EMPTY, np.uint64), np.empty(1 << 17, np.int32)
    pair_keys, pair_counts = np.empty(1 << 16, np.uint64), np.zeros(1 << 16, np.int64)
    pair_stamp, pair_entry = np.full(1 << 16, -1, np.int32), np.zeros(1 << 16, np.int32)
    pairs = 0
    # The queue's entries: count, pair, and a chain of the words in which it occurs.
    entry_counts, entry_pairs = np.zeros(1 << 16, np.int64), np.zeros(1 << 16, np.uint64)
    entry_number, entry_chain = np.zeros(1 << 16, np.int32), np.full(1 << 16, -1, np.int64)
    entries = 0
    heap, queued = np.empty(1 << 16, np.int32), 0
    # Chains: links of a word and the next link.
    link_word, link_next, links, free = np.empty(1 << 18, np.int32), np.empty(1 << 18, np.int64), 0, np.int64(-1)
    for word in range(words):
        begin = starts[word]
        lengths[word] = starts[word + 1] - begin
        for index in range(begin, starts[word + 1] - 1):
            key = (np.uint64(symbols[index]) << np.uint64(32)) | np.uint64(symbols[index + 1])
            slot = _slot_of(keys, key)
            if keys[slot] == _EMPTY:
                keys[slot], numbers[slot] = key, pairs
                pair_keys[pairs], pair_counts[pairs], pair_stamp[pairs], pair_entry[pairs] = key, 0, -1, pairs
                entry_pairs[pairs], entry_number[pairs] = key, pairs  # at most 65,536 pairs of bytes: no room is wanting
                pairs += 1
            number = numbers[slot]
            pair_counts[number] += times[word]
            if pair_stamp[number] != word:
                pair_stamp[number] = word
                if links == len(link_word):
                    link_word, link_next = _longer(link_word), _longer(link_next)
                link_word[links], link_next[links] = word, entry_chain[number]
                entry_chain[number] = links
                links += 1
    entries = pairs
    for number in range(pairs):
        pair_stamp[number] = -1
        entry_counts[number] = pair_counts[number]
        heap[queued] = number
        queued += 1
        _sift_up(heap, queued, entry_counts, entry_pairs)
    # Tokens: their bytes, and a table of their hashes, since one may be made in two ways.
    made, merged = np.empty((max(0, size - 256) + 16, 3), np.int32), 0
    token_slots = np.full(1024, -1, np.int32)
    while len(token_slots) < 4 * size:
        token_slots = np.full(2 * len(token_slots), -1, np.int32)
    token_mask = len(token_slots) - 1
    token_starts, token_bytes = np.zeros(size + 257, np.int64), np.empty(max(1 << 16, 16 * size), np.uint8)
    tokens = len(text_starts) - 1
    for token in range(tokens):
        token_starts[token + 1] = text_starts[token + 1]
        for index in range(text_starts[token], text_starts[token + 1]):
            token_bytes[index] = text[index]
        slot = np.int64(hash_bytes(token_bytes, token_starts[token], token_starts[token + 1]) & np.uint64(token_mask))
        while token_slots[slot] >= 0:
            slot = (slot + 1) & token_mask
        token_slots[slot] = token
    fresh = np.empty(1 << 10, np.int32)  # pairs that a merge has made
    while tokens < size and queued > 0:
        top = heap[0]
        number = entry_number[top]
        count = pair_counts[number]
        if entry_counts[top] != count:
            entry_counts[top] = count
            _sift_down(heap, queued, entry_counts, entry_pairs)
            continue
        if count < 1 or count < least:
            break
        queued -= 1
        heap[0] = heap[queued]
        if queued:
            _sift_down(heap, queued, entry_counts, entry_pairs)
        left, right = np.int32(entry_pairs[top] >> np.uint64(32)), np.int32(entry_pairs[top] & np.uint64(0xFFFFFFFF))
        # The new token's bytes, written where it would stand; if they are a token's already, it is that one.
        begin = token_starts[tokens]
        long = token_starts[left + 1] - token_starts[left] + token_starts[right + 1] - token_starts[right]
        while begin + long > len(token_bytes):
            token_bytes = _longer(token_bytes)
        end = begin
        for part in (left, right):
            for index in range(token_starts[part], token_starts[part + 1]):
                token_bytes[end] = token_bytes[index]
                end += 1
        slot = np.int64(hash_bytes(token_bytes, begin, end) & np.uint64(token_mask))
        new = np.int32(-1)
        while token_slots[slot] >= 0:
            other = token_slots[slot]
            if token_starts[other + 1] - token_starts[other] == long:
                same = True
                for index in range(long):
                    if token_bytes[token_starts[other] + index] != token_bytes[begin + index]:
                        same = False
                        break
                if same:
                    new = other
                    break
            slot = (slot + 1) & token_mask
        if new < 0:
            new = np.int32(tokens)
            token_slots[slot] = new
            token_starts[tokens + 1] = end
            tokens += 1
        if merged == len(made):
            more = np.empty((2 * len(made), 3), np.int32)
            more[:merged] = made
            made = more
        made[merged, 0], made[merged, 1], made[merged, 2] = left, right, new
        merged += 1
        new_pairs = 0
        link = entry_chain[top]
        while link >= 0:
            word = link_word[link]
            following = link_next[link]
            link_next[link] = free
            free = link
            link = following
            base, long, read, write = starts[word], np.int64(lengths[word]), np.int64(0), np.int64(0)
            weight = times[word]
            while read < long:
                if symbols[base + read] != left or read + 1 >= long or symbols[base + read + 1] != right:
                    symbols[base + write] = symbols[base + read]
                    read += 1
                    write += 1
                    continue
                for side in range(2):
                    if side == 0:
                        if write == 0:
                            continue
                        near = np.uint64(symbols[base + write - 1]) << np.uint64(32)
                        old, key = near | np.uint64(left), near | np.uint64(new)
                    else:
                        if read + 2 >= long:
                            continue
                        near = np.uint64(symbols[base + read + 2])
                        old, key = (np.uint64(right) << np.uint64(32)) | near, (np.uint64(new) << np.uint64(32)) | near
                    place = _slot_of(keys, old)
                    if keys[place] != _EMPTY:
                        pair_counts[numbers[place]] -= weight
                    place = _slot_of(keys, key)
                    if keys[place] == _EMPTY:
                        if 2 * pairs >= len(keys):
                            keys, numbers = _rehash(keys, numbers)
                            place = _slot_of(keys, key)
                        if pairs == len(pair_keys):
                            pair_keys, pair_counts = _longer(pair_keys), _longer(pair_counts)
                            pair_stamp, pair_entry = _longer(pair_stamp), _longer(pair_entry)
                        keys[place], numbers[place] = key, pairs
                        pair_keys[pairs], pair_counts[pairs], pair_stamp[pairs] = key, 0, -1
                        pairs += 1
                    number = numbers[place]
                    pair_counts[number] += weight
                    if pair_stamp[number] != merged:  # the first time in this merge: an entry, queued when it is done
                        pair_stamp[number] = merged
                        if entries == len(entry_counts):
                            entry_counts, entry_pairs = _longer(entry_counts), _longer(entry_pairs)
                            entry_number, entry_chain = _longer(entry_number), _longer(entry_chain)
                        entry_pairs[entries], entry_number[entries], entry_chain[entries] = key, number, -1
                        pair_entry[number] = entries
                        if new_pairs == len(fresh):
                            fresh = _longer(fresh)
                        fresh[new_pairs] = entries
                        new_pairs += 1
                        entries += 1
                    entry = pair_entry[number]
                    if entry_chain[entry] < 0 or link_word[entry_chain[entry]] != word:
                        if free >= 0:
                            spot = free
                            free = link_next[spot]
                        else:
                            if links == len(link_word):
                                link_word, link_next = _longer(link_word), _longer(link_next)
                            spot = np.int64(links)
                            links += 1
                        link_word[spot], link_next[spot] = word, entry_chain[entry]
                        entry_chain[entry] = spot
                symbols[base + write] = new
                write += 1
                read += 2
            lengths[word] = write
        for index in range(new_pairs):
            entry = fresh[index]
            entry_counts[entry] = pair_counts[entry_number[entry]]
            if entry_counts[entry] > 0:
                if queued == len(heap):
                    heap = _longer(heap)
                heap[queued] = entry
                queued += 1
                _sift_up(heap, queued, entry_counts, entry_pairs)
    uses = np.zeros(tokens, np.int64)
    for word in range(words):
        for index in range(starts[word], starts[word] + lengths[word]):
            uses[symbols[index]] += times[word]
    return made[:merged], token_starts[: tokens + 1], token_bytes[: token_starts[tokens]], uses


def learn(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64], size: int, least: int
) -> tuple[list[bytes], list[tuple[int, int]], npt.NDArray[np.int64]]:
    """Learn merges: `(tokens, merges, uses)`; tokens by id, merges as pairs of ids in their order, how often the words use each token.

    Words are `data[offsets[i]:offsets[i + 1]]`, each `counts[i]` times; the order of the words does not matter. It goes on
    until there are `size` tokens, or the best pair occurs less often than `least`. Memory: some ten bytes for each byte of the
    words, and as much again for the pairs that merges make.
    """
    ranks = byte_ranks()
    symbols = ranks[data]
    text = np.empty(256, np.uint8)
    text[ranks] = np.arange(256)
    made, token_starts, token_bytes, uses = _learn(offsets, symbols, counts, np.arange(257, dtype=np.int64), text, size, least)
    raw = token_bytes.tobytes()
    found = [raw[token_starts[token] : token_starts[token + 1]] for token in range(len(uses))]
    ranked: dict[tuple[int, int], None] = {}
    for left, right, _ in made.tolist():
        ranked.pop((left, right), None)  # one that is merged again has its later rank, as in the library's map
        ranked[left, right] = None
    return found, list(ranked), uses


def prune(
    tokens: list[bytes], merges: list[tuple[int, int]], uses: npt.NDArray[np.int64], least: int
) -> tuple[list[bytes], list[tuple[int, int]], npt.NDArray[np.int64]]:
    """Without the tokens that are used less often than `least` and that no token that stays is made of; bytes always stay.

    What used a token is then written with its two parts, whose uses grow by that; so tokens are looked at from the last.
    """
    number = {token: index for index, token in enumerate(tokens)}
    made = [number[tokens[left] + tokens[right]] for left, right in merges]
    ways: dict[int, list[int]] = {}
    for index, token in enumerate(made):
        ways.setdefault(token, []).append(index)
    needed, left_over, gone = np.zeros(len(tokens), np.int64), uses.copy(), set()
    for left, right in merges:
        needed[left] += 1
        needed[right] += 1
    for token in range(len(tokens) - 1, 255, -1):
        if left_over[token] >= least or needed[token]:
            continue
        gone.add(token)
        for index in ways.get(token, []):
            for part in merges[index]:
                needed[part] -= 1
        for part in merges[ways[token][0]]:
            left_over[part] += left_over[token]
    stay = [token for token in range(len(tokens)) if token not in gone]
    place = {token: index for index, token in enumerate(stay)}
    kept = [(place[left], place[right]) for (left, right), token in zip(merges, made, strict=True) if token not in gone]
    return [tokens[token] for token in stay], kept, left_over[stay]

"""Byte-pair merges from counted words, compiled: a priority queue of pairs, as the `tokenizers` library's trainer has it.

The result is the library's, ties included (of equally frequent pairs the one with the smaller ids comes first), also where its
bookkeeping is peculiar: the count of a merged pair stays as it was, and occurrences that come up later, because one token was
made in two ways, are queued on their own. Where the library adds counts in 32 bits, which wrap past 2.1 billion, these are of 64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernel.compile import kernel, leaf, prefetch
from kernel.hashing import GOLDEN
from tokenizer.alphabet import visible_bytes
from tokenizer.count import hash_bytes
from tokenizer.errors import TokenizerError

Array = npt.NDArray[Any]
_EMPTY = np.int64(-1)
_HEAD = 3  # numbers before the symbols of a word
_AHEAD = 8  # words that are fetched into the cache before they are looked at
_MOST_CELLS = 1 << 32  # places are kept in 32 bits


def byte_ranks() -> npt.NDArray[np.int32]:
    """The id of each byte: bytes are sorted by the characters that stand for them, as the library sorts its alphabet."""
    visible = visible_bytes()
    ranks = np.empty(256, np.int32)
    ranks[sorted(range(256), key=lambda byte: visible[byte])] = np.arange(256)
    return ranks


# A table of pairs is int64 (slots, 4), two pairs to a cache line: the pair (left << 32 | right; `_EMPTY` where there is none), its
# count, the merge that last made it with its number among the pairs of that merge, and the word in which that was. It is no
# `kernel.table`, since all four are read and written together, from one line.


@leaf
def _slot_of(pairs: Array, pair: int) -> Any:  # pragma: no cover - compiled
    mask = len(pairs) - 1
    value = np.uint64(pair) * GOLDEN
    slot = np.int64((value ^ (value >> np.uint64(32))) & np.uint64(mask))
    while pairs[slot, 0] != _EMPTY and pairs[slot, 0] != pair:
        slot = (slot + 1) & mask
    return slot


@kernel
def _rehash(pairs: Array) -> Array:  # pragma: no cover - compiled
    bigger = np.empty((2 * len(pairs), 4), np.int64)
    bigger[:, 0] = _EMPTY
    for slot in range(len(pairs)):
        if pairs[slot, 0] != _EMPTY:
            place = _slot_of(bigger, pairs[slot, 0])
            for column in range(4):
                bigger[place, column] = pairs[slot, column]
    return bigger


@kernel
def _longer(array: Array, least: int) -> Array:  # pragma: no cover - compiled
    bigger = np.empty((max(2 * len(array), least), *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


@leaf
def _before(heap: Array, place: int, count: int, pair: int, entry: int) -> Any:  # pragma: no cover - compiled
    """Whether what is in the queue is to be merged before another entry; the one that was queued first, where all else is equal."""
    if heap[place, 0] != count:
        return heap[place, 0] > count
    if heap[place, 1] != pair:
        return heap[place, 1] < pair
    return heap[place, 2] < entry


@leaf
def _sift_up(heap: Array, place: int, count: int, pair: int, entry: int) -> None:  # pragma: no cover - compiled
    """Put an entry into the free place at the queue's end."""
    while place > 0:
        parent = (place - 1) // 4
        if _before(heap, parent, count, pair, entry):
            break
        heap[place, 0], heap[place, 1], heap[place, 2] = heap[parent, 0], heap[parent, 1], heap[parent, 2]
        place = parent
    heap[place, 0], heap[place, 1], heap[place, 2] = count, pair, entry


@leaf
def _sift_down(heap: Array, size: int, count: int, pair: int, entry: int) -> None:  # pragma: no cover - compiled
    """Put an entry in place of the first of the queue."""
    place = 0
    while True:
        first = 4 * place + 1
        if first >= size:
            break
        best = first
        for child in range(first + 1, min(first + 4, size)):
            if _before(heap, child, heap[best, 0], heap[best, 1], heap[best, 2]):
                best = child
        if not _before(heap, best, count, pair, entry):
            break
        heap[place, 0], heap[place, 1], heap[place, 2] = heap[best, 0], heap[best, 1], heap[best, 2]
        place = best
    heap[place, 0], heap[place, 1], heap[place, 2] = count, pair, entry


@leaf
def _count_pairs(starts: Array, symbols: Array, times: Array, counts: Array, found: Array, last: Array) -> None:  # pragma: no cover
    for word in range(len(times)):
        for index in range(starts[word], starts[word + 1] - 1):
            pair = np.int64(symbols[index]) * 256 + symbols[index + 1]
            counts[pair] += times[word]
            if last[pair] != word:
                last[pair] = word
                found[pair + 1] += 1


@leaf
def _link_pairs(starts: Array, symbols: Array, words: Array, place: Array, last: Array) -> None:  # pragma: no cover - compiled
    for word in range(len(starts) - 1):
        for index in range(starts[word], starts[word + 1] - 1):
            pair = np.int64(symbols[index]) * 256 + symbols[index + 1]
            if last[pair] != word:
                last[pair] = word
                words[place[pair]] = starts[word] + _HEAD * word
                place[pair] += 1


def _first_pairs(starts: Array, symbols: Array, times: Array) -> tuple[Array, Array, Array]:
    """Pairs of bytes, by `left * 256 + right`: their counts; and the words of each, as the words' places, with offsets."""
    counts, found = np.zeros(1 << 16, np.int64), np.zeros((1 << 16) + 1, np.int64)
    _count_pairs(starts, symbols, times, counts, found, np.full(1 << 16, -1, np.int64))
    found = np.cumsum(found)
    words = np.empty(found[-1], np.uint32)
    _link_pairs(starts, symbols, words, found.copy(), np.full(1 << 16, -1, np.int64))
    return counts, words, found


@leaf
def _fill_cells(starts: Array, symbols: Array, times: Array, cells: Array) -> None:  # pragma: no cover - compiled
    """Words, each behind the number of its symbols and its count, in two halves."""
    for word in range(len(times)):
        begin, end = starts[word], starts[word + 1]
        base = begin + _HEAD * word
        cells[base] = end - begin
        cells[base + 1], cells[base + 2] = times[word] & 0xFFFFFFFF, times[word] >> 32
        for index in range(begin, end):
            cells[base + _HEAD + index - begin] = symbols[index]


@leaf
def _count_uses(starts: Array, times: Array, cells: Array, uses: Array) -> None:  # pragma: no cover - compiled
    """How often the words use each token."""
    for word in range(len(times)):
        base = starts[word] + _HEAD * word
        for index in range(base + _HEAD, base + _HEAD + cells[base]):
            uses[cells[index]] += times[word]


class _Words(NamedTuple):
    """The words that are merged in."""

    cells: Array  # uint32: of each word its number of symbols, its count in two halves, and its symbols
    chains: Array  # uint32: places of words in `cells`, those of a pair one after the other


class _Merge(NamedTuple):
    """A merge: what is merged, into what, and its number, from 1 on."""

    left: Any  # these are int64
    right: Any
    new: Any
    number: Any


class _Fresh(NamedTuple):
    """The pairs that a merge makes, and the words in which they are met."""

    pairs: Array  # int64
    words: Array  # int64: in how many words each is
    met_pair: Array  # int32: the number among `pairs` of a pair that was met
    met_word: Array  # uint32: in which word


@leaf
def _merge_words(
    words: _Words, link: int, end: int, merge: _Merge, pairs: Array, fresh: _Fresh, counts: tuple[int, int, int], most_pairs: int
) -> tuple[int, int, int, int]:  # pragma: no cover - compiled
    """Merge a pair in the words of a chain, from a link on: `(link, used, new_pairs, met)`.

    `counts`: the pairs in the table, those that the merge has made so far, and how often they were met (the last three of what is
    returned). It returns where the room may not do for one more word: no array is made anew in here, since numba counts the
    references to an array that is, at each use, with an atomic instruction that takes longer than all else.
    """
    cells, chains = words.cells, words.chains
    left, right, new, merged = merge.left, merge.right, merge.new, merge.number
    used, new_pairs, met = counts
    limit = 2 * len(pairs) // 3
    while link < end:
        word = np.int64(chains[link])
        long = np.int64(cells[word])
        most: Any = min(long, most_pairs)
        if used + most > limit or new_pairs + most > len(fresh.pairs) or met + most > len(fresh.met_pair):
            break
        prefetch(cells, np.int64(chains[min(link + _AHEAD, end - 1)]))
        link += 1
        weight = np.int64(cells[word + 1]) | (np.int64(cells[word + 2]) << 32)
        base, read, write = word + _HEAD, np.int64(0), np.int64(0)
        while read < long:
            if cells[base + read] != left or read + 1 >= long or cells[base + read + 1] != right:
                cells[base + write] = cells[base + read]
                read += 1
                write += 1
                continue
            for side in range(2):
                if side == 0:
                    if write == 0:
                        continue
                    near = np.int64(cells[base + write - 1]) << 32
                    old, pair = near | left, near | new
                else:
                    if read + 2 >= long:
                        continue
                    near = np.int64(cells[base + read + 2])
                    old, pair = (right << 32) | near, (new << 32) | near
                slot = _slot_of(pairs, old)
                if pairs[slot, 0] != _EMPTY:
                    pairs[slot, 1] -= weight
                slot = _slot_of(pairs, pair)
                if pairs[slot, 0] == _EMPTY:
                    pairs[slot, 0], pairs[slot, 1], pairs[slot, 2] = pair, 0, -1
                    used += 1
                pairs[slot, 1] += weight
                if pairs[slot, 2] >> 32 != merged:  # the first time in this merge: an entry, queued when it is done
                    fresh.pairs[new_pairs], fresh.words[new_pairs] = pair, 0
                    pairs[slot, 2], pairs[slot, 3] = (merged << 32) | new_pairs, -1
                    new_pairs += 1
                if pairs[slot, 3] != word:
                    pairs[slot, 3] = word
                    number = pairs[slot, 2] & 0xFFFFFFFF
                    fresh.words[number] += 1
                    fresh.met_pair[met], fresh.met_word[met] = number, word
                    met += 1
            cells[base + write] = new
            write += 1
            read += 2
        cells[word] = write
    return link, used, new_pairs, met


@leaf
def _settle(pairs: Array, heap: Array, queued: int) -> None:  # pragma: no cover - compiled
    """Bring an entry with its true count to the head of the queue."""
    while True:
        count = pairs[_slot_of(pairs, heap[0, 1]), 1]
        if heap[0, 0] == count:
            return
        _sift_down(heap, queued, count, heap[0, 1], heap[0, 2])


@leaf
def _queue(
    pairs: Array, heap: Array, queued: int, chain: Array, chains: Array, entries: int, fresh: _Fresh, new_pairs: int, met: int
) -> int:  # pragma: no cover - compiled
    """Queue the pairs that a merge has made, with their words; how many entries the queue then has."""
    for number in range(new_pairs):
        begin = chain[entries + number]
        chain[entries + number + 1] = begin + fresh.words[number]
        fresh.words[number] = begin
        count = pairs[_slot_of(pairs, fresh.pairs[number]), 1]
        if count > 0:
            _sift_up(heap, queued, count, fresh.pairs[number], entries + number)
            queued += 1
    for index in range(met):
        number = fresh.met_pair[index]
        chains[fresh.words[number]] = fresh.met_word[index]
        fresh.words[number] += 1
    return queued


@leaf
def _token_slot(slots: Array, starts: Array, text: Array, begin: int, end: int) -> Any:  # pragma: no cover - compiled
    """The slot of the token whose bytes are `text[begin:end]`, or the empty one where it belongs; a slot has a token's number."""
    mask = len(slots) - 1
    slot = np.int64(hash_bytes(text, begin, end) & np.uint64(mask))
    while slots[slot] >= 0:
        other = np.int64(slots[slot])
        if starts[other + 1] - starts[other] == end - begin:
            same = True
            for index in range(end - begin):
                if text[starts[other] + index] != text[begin + index]:
                    same = False
                    break
            if same:
                break
        slot = (slot + 1) & mask
    return slot


@kernel
def _roomier(fresh: _Fresh, pairs: int, met: int) -> _Fresh:  # pragma: no cover - compiled
    """The same with room for so many pairs and meetings, or more."""
    return _Fresh(_longer(fresh.pairs, pairs), _longer(fresh.words, pairs), _longer(fresh.met_pair, met), _longer(fresh.met_word, met))


@kernel
def _learn(
    cells: Array, counts: Array, chains: Array, found: Array, text_starts: Array, text: Array, size: int, least: int
) -> tuple[Array, Array, Array]:  # pragma: no cover - compiled
    """`(merges, token offsets, token bytes)`: merges are `left, right, made`, int32 (n, 3). `cells` has the words when it is done."""
    # The queue's entries are count, pair and number; the words in which entry n occurs are `chains[chain[n]:chain[n + 1]]`.
    chain, entries, filled = np.zeros(1 << 17, np.int64), 0, len(chains)
    pairs, used = np.empty((1 << 18, 4), np.int64), 0
    pairs[:, 0] = _EMPTY
    heap, queued = np.empty((1 << 17, 3), np.int64), 0
    for number in range(1 << 16):
        if found[number + 1] > found[number]:
            pair = ((number >> 8) << 32) | (number & 255)
            slot = _slot_of(pairs, pair)
            pairs[slot, 0], pairs[slot, 1], pairs[slot, 2], pairs[slot, 3] = pair, counts[number], -1, -1
            used += 1
            _sift_up(heap, queued, counts[number], pair, entries)
            queued += 1
            entries += 1
            chain[entries] = found[number + 1]
    # Tokens: their bytes, and a table of their hashes, since one may be made in two ways.
    made, merged = np.empty((max(0, size - 256) + 16, 3), np.int32), 0
    token_slots = np.full(1024, -1, np.int32)
    while len(token_slots) < 4 * size:
        token_slots = np.full(2 * len(token_slots), -1, np.int32)
    token_starts, token_bytes = np.zeros(size + 257, np.int64), np.empty(max(1 << 16, 16 * size), np.uint8)
    tokens = len(text_starts) - 1
    for token in range(tokens):
        token_starts[token + 1] = text_starts[token + 1]
        for index in range(text_starts[token], text_starts[token + 1]):
            token_bytes[index] = text[index]
        token_slots[_token_slot(token_slots, token_starts, token_bytes, token_starts[token], token_starts[token + 1])] = token
    # The pairs that a merge makes, in how many words each, and those words in the order in which they are met.
    fresh = _Fresh(np.empty(1 << 10, np.int64), np.empty(1 << 10, np.int64), np.empty(1 << 12, np.int32), np.empty(1 << 12, np.uint32))
    words = _Words(cells, chains)
    while tokens < size and queued > 0:
        _settle(pairs, heap, queued)
        count, pair, entry = heap[0, 0], heap[0, 1], heap[0, 2]
        if count < 1 or count < least:
            break
        queued -= 1
        if queued:
            _sift_down(heap, queued, heap[queued, 0], heap[queued, 1], heap[queued, 2])
        left, right = pair >> 32, pair & 0xFFFFFFFF
        # The new token's bytes, written where it would stand; if they are a token's already, it is that one.
        begin = token_starts[tokens]
        long = token_starts[left + 1] - token_starts[left] + token_starts[right + 1] - token_starts[right]
        if begin + long > len(token_bytes):
            token_bytes = _longer(token_bytes, begin + long)
        end = begin
        for part in (left, right):
            for index in range(token_starts[part], token_starts[part + 1]):
                token_bytes[end] = token_bytes[index]
                end += 1
        slot = _token_slot(token_slots, token_starts, token_bytes, begin, end)
        new = np.int64(token_slots[slot])
        if new < 0:
            new = np.int64(tokens)
            token_slots[slot] = new
            token_starts[tokens + 1] = end
            tokens += 1
        if merged == len(made):
            made = _longer(made, 0)
        made[merged, 0], made[merged, 1], made[merged, 2] = left, right, new
        merged += 1
        merge = _Merge(left, right, new, np.int64(merged))
        new_pairs, met, link, end = 0, 0, chain[entry], chain[entry + 1]
        most_pairs = np.int64(2 * tokens + 1)  # all have the new token
        while link < end:
            most: Any = min(np.int64(cells[words.chains[link]]), most_pairs)  # pairs that come up in the next word, at most
            if 3 * (used + most) >= 2 * len(pairs):
                pairs = _rehash(pairs)
            if new_pairs + most > len(fresh.pairs) or met + most > len(fresh.met_pair):
                fresh = _roomier(fresh, new_pairs + most, met + most)
            counts_so_far = used, new_pairs, met
            link, used, new_pairs, met = _merge_words(words, link, end, merge, pairs, fresh, counts_so_far, most_pairs)
        if filled + met > len(words.chains):
            words = _Words(cells, _longer(words.chains, filled + met))
        if entries + new_pairs >= len(chain):
            chain = _longer(chain, entries + new_pairs + 1)
        if queued + new_pairs > len(heap):
            heap = _longer(heap, queued + new_pairs)
        queued = _queue(pairs, heap, queued, chain, words.chains, entries, fresh, new_pairs, met)
        entries += new_pairs
        filled += met
    return made[:merged], token_starts[: tokens + 1], token_bytes[: token_starts[tokens]]


def learn(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64], size: int, least: int
) -> tuple[list[bytes], list[tuple[int, int]], npt.NDArray[np.int64]]:
    """Learn merges: `(tokens, merges, uses)`; tokens by id, merges as pairs of ids in their order, how often the words use each token.

    Words are `data[offsets[i]:offsets[i + 1]]`, each `counts[i]` times; the order of the words does not matter. It goes on
    until there are `size` tokens, or the best pair occurs less often than `least`. Memory: some thirty bytes for each byte of the
    words and of the pairs that merges make. Raises `TokenizerError` where there are more words than places can be kept of.
    """
    if len(data) + _HEAD * len(counts) > _MOST_CELLS:
        raise TokenizerError(f"{len(counts):,} different words of {len(data):,} bytes are too many to learn from; lower max_words")
    ranks = byte_ranks()
    symbols = ranks[data]
    text = np.empty(256, np.uint8)
    text[ranks] = np.arange(256)
    cells = np.empty(len(symbols) + _HEAD * len(counts), np.uint32)
    _fill_cells(offsets, symbols, counts, cells)
    first = _first_pairs(offsets, symbols, counts)
    del symbols
    made, token_starts, token_bytes = _learn(cells, *first, np.arange(257, dtype=np.int64), text, size, least)
    uses = np.zeros(len(token_starts) - 1, np.int64)
    _count_uses(offsets, counts, cells, uses)
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
    """Remove tokens that are used less often than `least`, unless a token that stays is made of them; the 256 bytes always stay.

    Where a removed token was used, its two parts are used instead, and their counts grow by that; so tokens are looked at from the last.
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

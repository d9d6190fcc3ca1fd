"""N-grams of words of texts as they are compared (`kernel.fold`): their hashes, and a search of texts for those of a set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel import characters as char
from kernel.boundaries import word_end
from kernel.compile import kernel, leaf
from kernel.fold import Folded, fold, fold_text, text_of
from kernel.hashing import fmix64
from kernel.table import Table, key_of, slot_of, table_of
from kernel.utf8 import LETTER, MARK, NUMBER, UNSPACED, Bytes, Offsets, decode, tables
from kernel.words import BASE, power, shingles_of, word_spans, word_units

U64 = npt.NDArray[np.uint64]


def _bytes(text: str) -> Bytes:
    return np.frombuffer(fold_text(text).encode(), np.uint8)


def ngram_hashes(text: str, length: int) -> U64:
    """64-bit hashes of the runs of `length` words of one text, in order; one of all its words where it has fewer."""
    data = _bytes(text)
    units = np.empty(len(data) // 2 + 2, np.uint64)
    count = word_units(data, 0, len(data), *tables(), units)
    out = np.empty(max(1, count), np.uint64)
    hashes: U64 = out[: shingles_of(units, count, length, out)].copy()
    return hashes


def count_words(text: str) -> int:
    """How many words a text has."""
    data = _bytes(text)
    count: int = word_units(data, 0, len(data), *tables(), np.empty(len(data) // 2 + 2, np.uint64))
    return count


@kernel
def _word_letters(data: Bytes, classes: Bytes, out: npt.NDArray[np.bool_]) -> int:  # pragma: no cover - compiled
    """For each word (as `word_units` has them) whether it has a letter; returns how many."""
    count, at, inside = 0, 0, False
    out[0] = False
    while at < len(data):
        code, following = decode(data, at)
        kind = classes[code]
        if kind == LETTER or kind == NUMBER or kind == MARK:
            inside = True
            out[count] |= kind == LETTER
        else:
            if inside:
                count += 1
                out[count] = False
                inside = False
            if kind == UNSPACED:
                following = word_end(data, at, 0, len(data), classes)
                out[count] = True
                count += 1
                out[count] = False
        at = following
    return count + inside


def ngrams_with_letters(text: str, length: int) -> npt.NDArray[np.bool_]:
    """Whether any word of each n-gram of `ngram_hashes` has a letter: bool (n-grams,). Counting to 15 is in many texts, and no copy."""
    data = _bytes(text)
    flags = np.empty(len(data) // 2 + 3, bool)
    count = _word_letters(data, tables()[0], flags)
    span = min(length, count)
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(flags[:count])])
    some: npt.NDArray[np.bool_] = total[span:] > total[: len(total) - span] if count else np.zeros(0, bool)
    return some


@dataclass(frozen=True)
class NgramSet:
    """A set of n-grams to look up: a table of their hashes and numbers, and a sieve before it.

    `sieve` uint64 is a bitmap over some of the hash's bits that fits a core's cache; it rules out most n-grams of most texts.
    `lengths` int64: the n that occur, in words.
    """

    table: Table
    sieve: U64
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, hashes: U64, lengths: npt.NDArray[np.int64]) -> NgramSet:
        """The set of these n-grams (each once); n-gram `i` is number `i`. `lengths`: those that occur, in words."""
        bits = 1 << min(23, max(9, int(8 * len(hashes)).bit_length()))
        sieve = np.zeros(bits // 64, np.uint64)
        _mark(hashes, sieve)
        return cls(table_of(hashes, np.arange(len(hashes), dtype=np.int32), room=2), sieve, np.sort(lengths))


@leaf
def _mark(hashes: U64, sieve: U64) -> None:  # pragma: no cover - compiled
    bits = np.uint64(len(sieve) * 64 - 1)
    for index in range(len(hashes)):
        bit = (hashes[index] >> np.uint64(40)) & bits
        sieve[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@kernel
def _find(
    folded: Folded,
    room: int,
    classes: Bytes,
    lower: npt.NDArray[np.uint32],
    lengths: Offsets,
    table: Table,
    sieve: U64,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Offsets, Offsets]:  # pragma: no cover - compiled
    units, begin, end = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    powers = np.empty(len(lengths), np.uint64)
    for index in range(len(lengths)):
        powers[index] = power(lengths[index])
    keys, numbers = table.keys, table.values
    bits = np.uint64(len(sieve) * 64 - 1)
    documents, found = np.empty(256, np.int32), np.empty(256, np.int32)
    begins, ends = np.empty(256, np.int64), np.empty(256, np.int64)
    size = 0
    for document in range(len(folded.changed)):
        data, at, stop = text_of(folded, document)
        count = word_spans(data, at, stop, classes, lower, units, begin, end)
        for index in range(len(lengths)):
            length = lengths[index]
            value = np.uint64(0)
            for word in range(count):
                value = value * BASE + units[word]
                if word >= length:
                    value -= units[word - length] * powers[index]
                if word < length - 1:
                    continue
                key = fmix64(value)
                bit = (key >> np.uint64(40)) & bits
                if not (sieve[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
                    continue
                key = key_of(key)
                slot = slot_of(keys, key)
                if keys[slot] != key:
                    continue
                if size == len(found):
                    documents, found = np.append(documents, documents), np.append(found, found)
                    begins, ends = np.append(begins, begins), np.append(ends, ends)
                documents[size], found[size] = document, numbers[slot]
                begins[size], ends[size] = begin[word - length + 1], end[word]
                size += 1
    return documents[:size].copy(), found[:size].copy(), begins[:size].copy(), ends[:size].copy()


@dataclass(frozen=True)
class Matches:
    """Where n-grams of a set occur in some texts, an entry an occurrence: the document, the n-gram's number, and its first byte and end.

    Bytes are of the folds; `folded.original` traces them back to the texts.
    """

    folded: Folded
    document: npt.NDArray[np.int32]
    ngram: npt.NDArray[np.int32]
    begin: Offsets
    end: Offsets


def find_ngrams(texts: pa.Array | pa.ChunkedArray, ngrams: NgramSet) -> Matches:
    """Every occurrence in the texts of an n-gram of the set, by document, then length, then place."""
    folded = fold(texts, words=True, traced=True)
    return Matches(folded, *_find(folded, folded.most_words, *tables(), ngrams.lengths, ngrams.table, ngrams.sieve))


@kernel
def _lines_around(
    folded: Folded,
    room: int,
    classes: Bytes,
    lower: npt.NDArray[np.uint32],
    length: int,
    document: npt.NDArray[np.int32],
    begin: Offsets,
    line_begin: Offsets,
    line_end: Offsets,
    runs: Offsets,
) -> None:  # pragma: no cover - compiled
    units = np.empty(room, np.uint64)
    for index in range(len(document)):
        data, start, stop = text_of(folded, document[index])
        at = start + begin[index]
        if index and document[index] == document[index - 1] and line_begin[index - 1] <= begin[index] < line_end[index - 1]:
            line_begin[index], line_end[index], runs[index] = line_begin[index - 1], line_end[index - 1], runs[index - 1]
            continue
        first = at
        while first > start and data[first - 1] != char.LINE_FEED:
            first -= 1
        last = at
        while last < stop and data[last] != char.LINE_FEED:
            last += 1
        last = min(stop, last + 1)
        count = word_units(data, first, last, classes, lower, units)
        line_begin[index], line_end[index], runs[index] = first - start, last - start, max(1, count - length + 1)


def lines_around(matches: Matches, length: int) -> tuple[Offsets, Offsets, Offsets]:
    """The line in which each match begins: its first byte and its end (past the line end), and how many runs of `length` words it has."""
    folded = matches.folded
    line_begin, line_end, runs = (np.empty(len(matches.begin), np.int64) for _ in range(3))
    _lines_around(folded, folded.most_words, *tables(), length, matches.document, matches.begin, line_begin, line_end, runs)
    return line_begin, line_end, runs

"""Counting pre-tokens: a hash table over Arrow's UTF-8 buffers, in which no Python string is made.

Its memory is that of the different pre-tokens; whoever counts a corpus takes them out with `take` when there are too many, and
adds up later (`merge_counts`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import normalizers

from tokenizer.classes import ASK, LETTER, MARK, OTHER, classes, composition
from tokenizer.config import TokenizerConfig
from tokenizer.errors import TokenizerError
from tokenizer.kernels import kernel
from tokenizer.layout import PLACEHOLDERS
from tokenizer.scan import buffers
from tokenizer.splits import GPT2, LEFT, MODERN, ONE, RIGHT, in_normal_form, piece_end, pre_token_end, removed_end, segment_end

Array = npt.NDArray[Any]
WORDS = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])
_FIRST = 1 << 16  # slots of an empty table
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@kernel
def hash_bytes(data: Array, begin: int, end: int) -> np.uint64:  # pragma: no cover - compiled
    """A 64-bit hash of some bytes: multiply and fold, eight bytes at a time; the high bits are the well mixed ones."""
    value = np.uint64(end - begin)
    at = begin
    while at < end:
        stop = min(at + 8, end)
        word = np.uint64(0)
        while at < stop:
            word = (word << np.uint64(8)) | np.uint64(data[at])
            at += 1
        value = (value ^ word) * _PRIME
        value ^= value >> np.uint64(29)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    return value ^ (value >> np.uint64(32))


# A table of words is uint64 (slots, 4), two words' entries to a cache line: the first 16 bytes of the word in two numbers, its
# count (0: empty), its length. Of a longer word the first two are its hash and where its bytes begin in the arena.
_SHORT = 16


@kernel
def _key(data: Array, begin: int, end: int) -> tuple[np.uint64, np.uint64]:  # pragma: no cover - compiled
    """The bytes of a short word as two numbers."""
    one, two = np.uint64(0), np.uint64(0)
    middle = min(begin + 8, end)
    for at in range(begin, middle):
        one = (one << np.uint64(8)) | np.uint64(data[at])
    for at in range(middle, end):
        two = (two << np.uint64(8)) | np.uint64(data[at])
    return one, two


@kernel
def _mix(one: np.uint64, two: np.uint64, size: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    value = (one ^ (two * np.uint64(0xFF51AFD7ED558CCD)) ^ size) * _PRIME
    value ^= value >> np.uint64(29)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    return value ^ (value >> np.uint64(32))


@kernel
def _hash_of(table: Array, slot: int) -> Any:  # pragma: no cover - compiled
    return table[slot, 0] if table[slot, 3] > _SHORT else _mix(table[slot, 0], table[slot, 1], table[slot, 3])


@kernel
def _grow(table: Array) -> Array:  # pragma: no cover - compiled
    bigger = np.zeros((2 * len(table), 4), np.uint64)
    mask = len(bigger) - 1
    for old in range(len(table)):
        if table[old, 2]:
            slot = np.int64(_hash_of(table, old) & np.uint64(mask))
            while bigger[slot, 2]:
                slot = (slot + 1) & mask
            bigger[slot] = table[old]
    return bigger


@kernel
def _count(
    offsets: Array,
    data: Array,
    weights: Array,
    classed: Array,
    kind: int,
    digits: int,
    prefix: bool,
    space_runs: int,
    placeholders: Array,
    ends: Array,
    table: Array,
    arena: Array,
    used: int,
    filled: int,
) -> tuple[Array, Array, int, int]:  # pragma: no cover - compiled
    """The table and the arena with the texts' words added, the words there are, and the bytes of the arena that are filled."""
    scratch = np.empty(0, np.uint8)
    for text in range(len(offsets) - 1):
        at, last, weight = offsets[text], offsets[text + 1], np.uint64(weights[text])
        if weight == 0:
            continue
        while at < last:
            piece = piece_end(data, at, last, classed)
            while at < piece:
                stop = segment_end(data, at, piece, space_runs, placeholders, ends)
                source, place, limit = data, at, stop
                if prefix and stop > at and data[at] != 0x20:
                    if stop - at + 1 > len(scratch):
                        scratch = np.empty(2 * (stop - at + 1), np.uint8)
                    scratch[0] = 0x20
                    scratch[1 : stop - at + 1] = data[at:stop]
                    source, place, limit = scratch, 0, stop - at + 1
                while place < limit:
                    end = pre_token_end(source, place, limit, classed, kind, digits)
                    size = end - place
                    mask = len(table) - 1
                    if size <= _SHORT:
                        one, two = _key(source, place, end)
                        slot = np.int64(_mix(one, two, np.uint64(size)) & np.uint64(mask))
                        while table[slot, 2]:
                            if table[slot, 0] == one and table[slot, 1] == two and table[slot, 3] == np.uint64(size):
                                break
                            slot = (slot + 1) & mask
                    else:
                        one, two = hash_bytes(source, place, end), np.uint64(filled)
                        slot = np.int64(one & np.uint64(mask))
                        while table[slot, 2]:
                            if table[slot, 0] == one and table[slot, 3] == np.uint64(size):
                                begin, same = np.int64(table[slot, 1]), True
                                for offset in range(size):
                                    if arena[begin + offset] != source[place + offset]:
                                        same = False
                                        break
                                if same:
                                    break
                            slot = (slot + 1) & mask
                    if table[slot, 2]:
                        table[slot, 2] += weight
                    else:
                        table[slot, 0], table[slot, 1], table[slot, 2], table[slot, 3] = one, two, weight, np.uint64(size)
                        if size > _SHORT:
                            if filled + size > len(arena):
                                more = np.empty(max(2 * len(arena), filled + size), np.uint8)
                                more[:filled] = arena[:filled]
                                arena = more
                            for offset in range(size):
                                arena[filled + offset] = source[place + offset]
                            filled += size
                        used += 1
                        if 2 * used > len(table):
                            table = _grow(table)
                    place = end
                at = stop
                if at < piece:
                    at = removed_end(data, at, piece, space_runs, placeholders, ends)
    return table, arena, used, filled


@kernel
def _taken(table: Array, arena: Array, used: int) -> tuple[Array, Array, Array, Array]:  # pragma: no cover - compiled
    """The words as `(offsets, bytes, counts, hashes)`."""
    offsets, counts, hashes = np.zeros(used + 1, np.int64), np.empty(used, np.int64), np.empty(used, np.uint64)
    total = np.int64(0)
    for slot in range(len(table)):
        if table[slot, 2]:
            total += np.int64(table[slot, 3])
    data = np.empty(total, np.uint8)
    word, at = 0, np.int64(0)
    for slot in range(len(table)):
        if not table[slot, 2]:
            continue
        size = np.int64(table[slot, 3])
        if size > _SHORT:
            begin = np.int64(table[slot, 1])
            data[at : at + size] = arena[begin : begin + size]
        else:
            first = size if size < 8 else np.int64(8)
            for index in range(first):
                data[at + index] = np.uint8(table[slot, 0] >> np.uint64(8 * (first - 1 - index)))
            for index in range(first, size):
                data[at + index] = np.uint8(table[slot, 1] >> np.uint64(8 * (size - 1 - index)))
        at += size
        counts[word], hashes[word] = table[slot, 2], _hash_of(table, slot)
        word += 1
        offsets[word] = at
    return offsets, data, counts, hashes


def class_table(config: TokenizerConfig) -> npt.NDArray[np.uint8]:
    """The classes as the pre-tokenizer sees them: marks are letters where it keeps them together, else like others."""
    table = classes().copy()
    table[table == MARK] = LETTER if config.marks else OTHER
    return table


def checked(texts: pa.Array | pa.ChunkedArray | list[str]) -> pa.LargeStringArray:
    """Texts as one large_string array without nulls, of valid UTF-8. Raises `TokenizerError`."""
    try:
        array = pa.array(texts, pa.large_string()) if isinstance(texts, list) else texts.cast(pa.large_string())
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        array = pc.fill_null(array, "") if array.null_count else array
        array.validate(full=True)
    except (UnicodeEncodeError, pa.ArrowInvalid) as error:
        raise TokenizerError(f"a text to train on is not UTF-8 ({' '.join(str(error).split())[:80]}); repair it first") from error
    return array


def normalised(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Texts in NFC, as the library's normaliser makes it; what is in it for certain is not touched."""
    good = np.ones(len(texts), bool)
    in_normal_form(*buffers(texts), composition(), ASK, good)
    if good.all():
        return texts
    nfc = normalizers.NFC()
    rows = np.flatnonzero(~good)
    changed = pa.array([nfc.normalize_str(texts[int(row)].as_py()) for row in rows], pa.large_string())
    return pc.replace_with_mask(texts, pa.array(~good), changed)


class Counter:
    """Counts the pre-tokens of texts, as training with `config` sees them (`train.training_pretokenizer`)."""

    def __init__(self, config: TokenizerConfig) -> None:
        words = [word.encode() for word in PLACEHOLDERS]
        self._placeholders = np.frombuffer(b"".join(words), np.uint8)
        self._ends = np.cumsum([len(word) for word in words])
        self._kind = GPT2 if config.pretokenizer == "modernbert" else MODERN
        self._digits = {"right": RIGHT, "left": LEFT, "one": ONE}[config.digits]
        self._prefix, self._space_runs = config.add_prefix_space, config.space_runs
        self._classes = class_table(config)
        self._clear()

    def _clear(self) -> None:
        self._table, self._arena = np.zeros((_FIRST, 4), np.uint64), np.empty(1 << 16, np.uint8)
        self._used, self._filled = 0, 0

    def __len__(self) -> int:
        """Different pre-tokens."""
        return self._used

    def add(self, texts: pa.Array | pa.ChunkedArray | list[str], weights: npt.NDArray[np.int64] | None = None) -> int:
        """Count texts, each `weights` times (once); returns their bytes of UTF-8, so weighted. Raises `TokenizerError`."""
        array = checked(texts)
        times = np.ones(len(array), np.int64) if weights is None else weights.astype(np.int64)
        size = int((np.diff(buffers(array)[0]) * times).sum())
        offsets, data = buffers(normalised(array))
        self._table, self._arena, self._used, self._filled = _count(
            offsets,
            data,
            times,
            self._classes,
            self._kind,
            self._digits,
            self._prefix,
            self._space_runs,
            self._placeholders,
            self._ends,
            self._table,
            self._arena,
            self._used,
            self._filled,
        )
        return size

    def take(self) -> tuple[pa.Table, npt.NDArray[np.uint64]]:
        """All counts so far as a table (`WORDS`), with the hash of each word; begins anew."""
        offsets, data, counts, hashes = _taken(self._table, self._arena, self._used)
        words = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(counts), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
        self._clear()
        return pa.table([words, pa.array(counts)], schema=WORDS), hashes


def merge_counts(table: pa.Table) -> pa.Table:
    """Counts of equal words added up, in 64 bits, and sorted by word: the same whatever the order of the rows."""
    summed = table.group_by("word", use_threads=False).aggregate([("count", "sum")])
    return pa.table([summed["word"], summed["count_sum"]], schema=WORDS).sort_by("word").combine_chunks()

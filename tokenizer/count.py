"""Counting pre-tokens: a hash table over Arrow's UTF-8 buffers, in which no Python string is made.

Its memory is that of the different pre-tokens; whoever counts a corpus takes them out with `take` when there are too many, and
adds up later (`merge_counts`).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import normalizers

from tokenizer.classes import ASK, LETTER, MARK, OTHER, classes, composition
from tokenizer.config import TokenizerConfig
from tokenizer.errors import TokenizerError
from tokenizer.layout import PLACEHOLDERS
from tokenizer.scan import buffers
from tokenizer.splits import GPT2, LEFT, MODERN, ONE, RIGHT, in_normal_form, piece_end, pre_token_end, removed_end, segment_end

Array = npt.NDArray[Any]
WORDS = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])
_FIRST = 1 << 16  # slots of an empty table
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def _grow_slots(slots: Array, hashes: Array, used: int) -> Array:  # pragma: no cover - compiled
    bigger = np.full(2 * len(slots), -1, np.int32)
    mask = len(bigger) - 1
    for index in range(used):
        slot = np.int64(hashes[index] & np.uint64(mask))
        while bigger[slot] >= 0:
            slot = (slot + 1) & mask
        bigger[slot] = index
    return bigger


@numba.njit(cache=True, nogil=True)
def _longer(array: Array, size: int) -> Array:  # pragma: no cover - compiled
    bigger = np.empty(size, array.dtype)
    bigger[: len(array)] = array
    return bigger


@numba.njit(cache=True, nogil=True)
def _count(
    offsets: Array,
    data: Array,
    weights: Array,
    table: Array,
    kind: int,
    digits: int,
    prefix: bool,
    space_runs: int,
    placeholders: Array,
    ends: Array,
    slots: Array,
    hashes: Array,
    counts: Array,
    starts: Array,
    arena: Array,
    used: int,
) -> tuple[Array, Array, Array, Array, Array, int]:  # pragma: no cover - compiled
    scratch = np.empty(0, np.uint8)
    for text in range(len(offsets) - 1):
        at, last, weight = offsets[text], offsets[text + 1], weights[text]
        if weight == 0:
            continue
        while at < last:
            piece = piece_end(data, at, last, table)
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
                    end = pre_token_end(source, place, limit, table, kind, digits)
                    size = end - place
                    value = hash_bytes(source, place, end)
                    mask = len(slots) - 1
                    slot = np.int64(value & np.uint64(mask))
                    while True:
                        index = slots[slot]
                        if index < 0:
                            if used + 2 > len(counts):
                                hashes, counts = _longer(hashes, 2 * len(hashes)), _longer(counts, 2 * len(counts))
                                starts = _longer(starts, 2 * len(starts))
                            if starts[used] + size > len(arena):
                                arena = _longer(arena, max(2 * len(arena), starts[used] + size))
                            begin = starts[used]
                            for offset in range(size):
                                arena[begin + offset] = source[place + offset]
                            starts[used + 1] = begin + size
                            hashes[used], counts[used], slots[slot] = value, weight, used
                            used += 1
                            if 2 * used > len(slots):
                                slots = _grow_slots(slots, hashes, used)
                            break
                        if hashes[index] == value and starts[index + 1] - starts[index] == size:
                            begin, same = starts[index], True
                            for offset in range(size):
                                if arena[begin + offset] != source[place + offset]:
                                    same = False
                                    break
                            if same:
                                counts[index] += weight
                                break
                        slot = (slot + 1) & mask
                    place = end
                at = stop
                if at < piece:
                    at = removed_end(data, at, piece, space_runs, placeholders, ends)
    return slots, hashes, counts, starts, arena, used


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
        self._table = class_table(config)
        self._clear()

    def _clear(self) -> None:
        self._slots = np.full(_FIRST, -1, np.int32)
        self._hashes, self._counts = np.empty(_FIRST, np.uint64), np.empty(_FIRST, np.int64)
        self._starts, self._arena, self._used = np.zeros(_FIRST, np.int64), np.empty(8 * _FIRST, np.uint8), 0

    def __len__(self) -> int:
        """Different pre-tokens."""
        return self._used

    @property
    def bytes(self) -> int:
        """Bytes of the different pre-tokens."""
        return int(self._starts[self._used])

    def add(self, texts: pa.Array | pa.ChunkedArray | list[str], weights: npt.NDArray[np.int64] | None = None) -> int:
        """Count texts, each `weights` times (once); returns their bytes of UTF-8, so weighted. Raises `TokenizerError`."""
        array = checked(texts)
        times = np.ones(len(array), np.int64) if weights is None else weights.astype(np.int64)
        size = int((np.diff(buffers(array)[0]) * times).sum())
        offsets, data = buffers(normalised(array))
        self._slots, self._hashes, self._counts, self._starts, self._arena, self._used = _count(
            offsets,
            data,
            times,
            self._table,
            self._kind,
            self._digits,
            self._prefix,
            self._space_runs,
            self._placeholders,
            self._ends,
            self._slots,
            self._hashes,
            self._counts,
            self._starts,
            self._arena,
            self._used,
        )
        return size

    def take(self) -> tuple[pa.Table, npt.NDArray[np.uint64]]:
        """All counts so far as a table (`WORDS`), with the hash of each word; begins anew."""
        used = self._used
        offsets, data = self._starts[: used + 1].copy(), self._arena[: self._starts[used]].copy()
        words = pa.LargeBinaryArray.from_buffers(pa.large_binary(), used, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
        table = pa.table([words, pa.array(self._counts[:used].copy())], schema=WORDS)
        hashes = self._hashes[:used].copy()
        self._clear()
        return table, hashes


def merge_counts(table: pa.Table) -> pa.Table:
    """Counts of equal words added up, in 64 bits, and sorted by word: the same whatever the order of the rows."""
    summed = table.group_by("word", use_threads=False).aggregate([("count", "sum")])
    return pa.table([summed["word"], summed["count_sum"]], schema=WORDS).sort_by("word").combine_chunks()

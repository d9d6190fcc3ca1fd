"""Counting pre-tokens: a hash table over Arrow's UTF-8 buffers, in which no Python string is made.

Its memory is that of the different pre-tokens; whoever counts a corpus takes them out with `take` when there are too many, and
adds up later (`merge_counts`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import normalizers

from kernel import characters as char
from kernel.compile import kernel, leaf, load64, prefetch
from kernel.hashing import FMIX_FIRST, GOLDEN, SPLITMIX_FIRST
from tokenizer.classes import ASK, LETTER, MARK, OTHER, classes, composition
from tokenizer.config import TokenizerConfig
from tokenizer.errors import TokenizerError
from tokenizer.layout import PLACEHOLDERS
from tokenizer.scan import buffers
from tokenizer.splits import GPT2, LEFT, MODERN, ONE, RIGHT, in_normal_form, piece_end, pre_token_end, removed_end, segment_end

Array = npt.NDArray[Any]
WORDS = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])
_FIRST = 1 << 16  # slots of an empty table


@leaf
def hash_bytes(data: Array, begin: int, end: int) -> np.uint64:  # pragma: no cover - compiled
    """A 64-bit hash of some bytes: multiply and fold, eight bytes at a time; the high bits are the well mixed ones.

    Counted words are scattered over files by it: it stays as it is.
    """
    value = np.uint64(end - begin)
    at = begin
    while at + 8 <= end:
        value = (value ^ load64(data, at)) * GOLDEN
        value ^= value >> np.uint64(29)
        at += 8
    if at < end:
        word = np.uint64(0)
        for place in range(end - 1, at - 1, -1):
            word = (word << np.uint64(8)) | np.uint64(data[place])
        value = (value ^ word) * GOLDEN
        value ^= value >> np.uint64(29)
    value *= SPLITMIX_FIRST
    return value ^ (value >> np.uint64(32))


# A table of words is uint64 (slots, 4), two words' entries to a cache line: the first 16 bytes of the word in two numbers, its
# count (0: empty), its length. Of a longer word the first two are its hash and where its bytes begin in the arena. It is no
# `kernel.table`: what is compared, the words themselves, and what is counted are fetched from memory at once, and ahead of time.
_SHORT = 16
# Words that are cut before they are counted: the table's lines for them are on their way meanwhile. Of each its two numbers
# (a longer one's place in the text for the second), length, hash and how often it comes.
_PENDING = 64
# What `_cut` goes on from: text, place in it, end of the piece, place and end of what is cut, whether that is in the scratch array.
_STATE = 6


@leaf
def _key(data: Array, begin: int, end: int) -> tuple[np.uint64, np.uint64]:  # pragma: no cover - compiled
    """The bytes of a short word as two numbers, the first byte lowest."""
    size = end - begin
    if size > 8:
        return load64(data, begin), load64(data, end - 8) >> np.uint64(8 * (16 - size))
    if begin + 8 <= len(data):
        return load64(data, begin) & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(8 * (8 - size))), np.uint64(0)
    one = np.uint64(0)
    for at in range(end - 1, begin - 1, -1):
        one = (one << np.uint64(8)) | np.uint64(data[at])
    return one, np.uint64(0)


@leaf
def _hash_short(one: np.uint64, two: np.uint64, size: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    """The hash of a short word; it decides, like `hash_bytes`, where counted words are written."""
    value = (one ^ (two * FMIX_FIRST) ^ size) * GOLDEN
    value ^= value >> np.uint64(29)
    value *= SPLITMIX_FIRST
    return value ^ (value >> np.uint64(32))


@leaf
def _hash_of(table: Array, slot: int) -> Any:  # pragma: no cover - compiled
    return table[slot, 0] if table[slot, 3] > _SHORT else _hash_short(table[slot, 0], table[slot, 1], table[slot, 3])


@kernel
def _grow(table: Array) -> Array:  # pragma: no cover - compiled
    bigger = np.zeros((2 * len(table), 4), np.uint64)
    mask = len(bigger) - 1
    for old in range(len(table)):
        if table[old, 2]:
            slot = np.int64(_hash_of(table, old) & np.uint64(mask))
            while bigger[slot, 2]:
                slot = (slot + 1) & mask
            for column in range(4):
                bigger[slot, column] = table[old, column]
    return bigger


class _Texts(NamedTuple):
    """What is counted: text `i` is `data[offsets[i]:offsets[i + 1]]`, `weights[i]` times."""

    offsets: Array
    data: Array
    weights: Array


class _Rules(NamedTuple):
    """How text is cut into words; see `tokenizer.splits`."""

    classes: Array
    kind: int
    digits: int
    prefix: bool  # a space is put before a text, and behind what is taken out of one
    space_runs: int
    placeholders: Array
    ends: Array  # of each placeholder, in `placeholders`


@leaf
def _cut_some(
    source: Array, place: int, limit: int, rules: _Rules, weight: int, table: Array, pending: Array, count: int
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Words of a stretch, added to those that are pending: where it ends, and how many there are."""
    mask = np.uint64(len(table) - 1)
    while place < limit and count < _PENDING:
        end = pre_token_end(source, place, limit, rules.classes, rules.kind, rules.digits)
        size = np.uint64(end - place)
        if size <= _SHORT:
            one, two = _key(source, place, end)
            hashed = _hash_short(one, two, size)
        else:
            hashed = hash_bytes(source, place, end)
            one, two = hashed, np.uint64(place)
        prefetch(table, np.int64(hashed & mask) * 4)
        pending[count, 0], pending[count, 1], pending[count, 2] = one, two, size
        pending[count, 3], pending[count, 4] = hashed, np.uint64(weight)
        count += 1
        place = end
    return place, count


@leaf
def _cut(texts: _Texts, rules: _Rules, scratch: Array, state: Array, table: Array, pending: Array) -> int:  # pragma: no cover
    """The next words of the texts, as many as may be pending; how many there are.

    `scratch` has room for a text with a space before it. No array is made in here (see `merges`).
    """
    offsets, data, weights, classed = texts.offsets, texts.data, texts.weights, rules.classes
    space_runs, placeholders, ends = rules.space_runs, rules.placeholders, rules.ends
    text, at, piece, place, limit, copied = state[0], state[1], state[2], state[3], state[4], state[5]
    count = 0
    while True:
        if copied:
            place, count = _cut_some(scratch, place, limit, rules, weights[text], table, pending, count)
        elif place < limit:
            place, count = _cut_some(data, place, limit, rules, weights[text], table, pending, count)
        if place < limit or count == _PENDING or (rules.prefix and count):  # a copy is kept until its words are counted
            break
        if at < piece:
            at = removed_end(data, at, piece, space_runs, placeholders, ends)
        while at >= piece:
            if text >= 0 and at < offsets[text + 1]:
                piece = piece_end(data, at, offsets[text + 1], classed)
                continue
            text += 1
            while text < len(weights) and weights[text] == 0:
                text += 1
            if text >= len(weights):
                state[0] = text
                return count
            at = piece = offsets[text]
            if at == offsets[text + 1]:
                continue
        place = at
        at = limit = segment_end(data, at, piece, space_runs, placeholders, ends)
        copied = np.int64(rules.prefix and limit > place and data[place] != char.SPACE)
        if copied:
            scratch[0] = char.SPACE
            for index in range(place, limit):
                scratch[index - place + 1] = data[index]
            place, limit = 0, limit - place + 1
    state[0], state[1], state[2], state[3], state[4], state[5] = text, at, piece, place, limit, copied
    return count


@leaf
def _insert(pending: Array, count: int, source: Array, table: Array, arena: Array, used: int, filled: Any) -> Any:  # pragma: no cover
    """Count pending words, for which there is room: the words there then are, and the bytes of the arena that are filled."""
    mask = len(table) - 1
    for number in range(count):
        one, two, size, weight = pending[number, 0], pending[number, 1], pending[number, 2], pending[number, 4]
        slot = np.int64(pending[number, 3] & np.uint64(mask))
        if size <= _SHORT:
            while table[slot, 2]:
                if table[slot, 0] == one and table[slot, 1] == two and table[slot, 3] == size:
                    break
                slot = (slot + 1) & mask
        else:
            while table[slot, 2]:
                if table[slot, 0] == one and table[slot, 3] == size:
                    begin, same = np.int64(table[slot, 1]), True
                    for offset in range(np.int64(size)):
                        if arena[begin + offset] != source[np.int64(two) + offset]:
                            same = False
                            break
                    if same:
                        break
                slot = (slot + 1) & mask
        if table[slot, 2]:
            table[slot, 2] += weight
            continue
        if size > _SHORT:
            for offset in range(np.int64(size)):
                arena[filled + offset] = source[np.int64(two) + offset]
            two = np.uint64(filled)
            filled += np.int64(size)
        table[slot, 0], table[slot, 1], table[slot, 2], table[slot, 3] = one, two, weight, size
        used += 1
    return used, filled


@kernel
def _count(
    texts: _Texts, rules: _Rules, scratch: Array, table: Array, arena: Array, used: int, filled: int
) -> tuple[Array, Array, int, int]:  # pragma: no cover - compiled
    """The table and the arena with the texts' words added, the words there are, and the bytes of the arena that are filled."""
    pending, state = np.empty((_PENDING, 5), np.uint64), np.zeros(_STATE, np.int64)
    state[0] = -1
    while state[0] < len(texts.weights):
        count = _cut(texts, rules, scratch, state, table, pending)
        wanted: Any = np.int64(0)
        for number in range(count):
            if pending[number, 2] > _SHORT:
                wanted += np.int64(pending[number, 2])
        if filled + wanted > len(arena):
            more = np.empty(max(2 * len(arena), filled + wanted), np.uint8)
            more[:filled] = arena[:filled]
            arena = more
        if 2 * (used + count) > len(table):
            table = _grow(table)
        if state[5]:
            used, filled = _insert(pending, count, scratch, table, arena, used, filled)
        else:
            used, filled = _insert(pending, count, texts.data, table, arena, used, filled)
    return table, arena, used, filled


@leaf
def _put(table: Array, arena: Array, offsets: Array, data: Array, counts: Array, hashes: Array) -> None:  # pragma: no cover - compiled
    word, at = 0, np.int64(0)
    for slot in range(len(table)):
        if not table[slot, 2]:
            continue
        size = np.int64(table[slot, 3])
        if size > _SHORT:
            begin = np.int64(table[slot, 1])
            for index in range(size):
                data[at + index] = arena[begin + index]
        else:
            for index in range(8 if size > 8 else size):
                data[at + index] = np.uint8(table[slot, 0] >> np.uint64(8 * index))
            for index in range(8, size):
                data[at + index] = np.uint8(table[slot, 1] >> np.uint64(8 * (index - 8)))
        at += size
        counts[word], hashes[word] = table[slot, 2], _hash_of(table, slot)
        word += 1
        offsets[word] = at


def _taken(table: Array, arena: Array, used: int) -> tuple[Array, Array, Array, Array]:
    """The words as `(offsets, bytes, counts, hashes)`."""
    offsets, counts, hashes = np.zeros(used + 1, np.int64), np.empty(used, np.int64), np.empty(used, np.uint64)
    data = np.empty(int(table[table[:, 2] > 0, 3].sum()), np.uint8)
    _put(table, arena, offsets, data, counts, hashes)
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
        self._rules = _Rules(
            class_table(config),
            GPT2 if config.pretokenizer == "modernbert" else MODERN,
            {"right": RIGHT, "left": LEFT, "one": ONE}[config.digits],
            config.add_prefix_space,
            config.space_runs,
            np.frombuffer(b"".join(words), np.uint8),
            np.cumsum([len(word) for word in words]),
        )
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
        if weights is not None and len(weights) != len(array):
            raise ValueError(f"{len(weights)} weights for {len(array)} texts")
        times = np.ones(len(array), np.int64) if weights is None else weights.astype(np.int64)
        size = int((np.diff(buffers(array)[0]) * times).sum())
        offsets, data = buffers(normalised(array))
        scratch = np.empty(1 + int(np.diff(offsets).max(initial=0)) if self._rules.prefix else 0, np.uint8)
        self._table, self._arena, self._used, self._filled = _count(
            _Texts(offsets, data, times), self._rules, scratch, self._table, self._arena, self._used, self._filled
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

"""What a URL is dropped for, found in one pass over its bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernel import characters as char
from kernel.compile import kernel, leaf
from kernel.hashing import FNV_OFFSET, fnv
from kernel.table import Table, key_of, slot_of
from kernel.utf8 import Bytes, Offsets
from pipeline.filters.url.address import parts, path_end, path_step, percent

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]

# What a URL is dropped for; OTHER_HOST: it cannot be told, since its host is not ASCII (`address.with_ascii_host`).
NONE, DOMAIN, URL, HARD, SOFT, SUBWORD, OTHER_HOST = range(7)
MOST_SOFT = 32  # soft words are counted up to this
_HARD_WORD = 0  # the value of a hard word; those of soft ones are 1 and more


class Automaton(NamedTuple):
    """Aho and Corasick's, over 0-9 and a-z."""

    moves: I32  # (states, 36)
    ends: I32  # (states,): the number of the word that ends there, -1 for none


class Tables(NamedTuple):
    """The lists, as kernels look them up: sets of hashes (`kernel.table`), words with their kinds, subwords."""

    exempt: U64
    domains: U64
    urls: U64
    words: Table  # 0 for a hard word, 1 and more the number of a soft one
    subwords: Automaton


class Verdicts(NamedTuple):
    """One row a URL."""

    rule: Bytes
    value: I32  # how much there is of what it is dropped for
    spans: Offsets  # (urls, 2): begin and end of the bytes that say so; for a subword its number and 0


class _Blocked(NamedTuple):
    """What lists of domains and URLs say of a URL."""

    exempt: bool
    rule: int
    begin: int
    end: int


class _Words(NamedTuple):
    """The words in a URL."""

    hard: int  # how many
    soft: int  # how many different ones, up to MOST_SOFT
    subword: int  # the first one's number, or -1
    begin: int  # of the first hard word
    end: int


@leaf(inline="always")
def _contains(keys: U64, value: np.uint64) -> Any:  # pragma: no cover - compiled
    key = key_of(value)
    return keys[slot_of(keys, key)] == key


@leaf
def _blocked(data: Bytes, where: tuple[int, int, int], end: int, tables: Tables) -> _Blocked:  # pragma: no cover - compiled
    """Looks up a host with every domain above it, then its path from the front; `where` is what `parts` gives."""
    host, host_end, path = where
    rule, first, stop, exempt = NONE, 0, 0, False
    total = FNV_OFFSET
    for at in range(host_end - 1, host - 1, -1):
        total = fnv(total, np.uint64(char.lower(data[at])))
        if at == host or data[at - 1] == char.FULL_STOP:
            exempt = exempt or _contains(tables.exempt, total)
            if rule == NONE and _contains(tables.domains, total):
                rule, first, stop = DOMAIN, at, host_end
    last = path_end(data, path, end)
    at = path
    while at < last and not exempt:
        total, at = path_step(total, data, at, last)
        if at == last or data[at] == char.SLASH or data[at] == char.QUESTION_MARK:
            exempt = _contains(tables.exempt, total)
            if rule == NONE and _contains(tables.urls, total):
                rule, first, stop = URL, host, at
    return _Blocked(exempt, rule, first, stop)


@leaf
def _find_words(data: Bytes, begin: int, end: int, tables: Tables, seen: I32) -> _Words:  # pragma: no cover - compiled
    """The words in a URL; `seen` has room for MOST_SOFT numbers of soft ones."""
    words, kinds, moves, ends = tables.words.keys, tables.words.values, tables.subwords.moves, tables.subwords.ends
    hard, soft, state, subword = 0, 0, 0, -1
    first, stop = 0, 0
    total, at, word = FNV_OFFSET, begin, -1
    while at <= end:
        byte, following = np.int64(0), at + 1
        if at < end:
            code = percent(data, at, end)
            byte = np.int64(data[at])
            if code >= 0:
                byte, following = code, at + 3
            byte = char.lower(byte)
        if char.is_digit(byte) or char.a <= byte <= char.z:
            if word < 0:
                word, total = at, FNV_OFFSET
            total = fnv(total, np.uint64(byte))
            state = moves[state, byte - char.ZERO if byte <= char.NINE else byte - char.a + 10]
            if subword < 0:
                subword = ends[state]
        elif word >= 0:
            key = key_of(total)
            slot = slot_of(words, key)
            if words[slot] == key:
                kind = kinds[slot]
                if kind == _HARD_WORD:
                    if not hard:
                        first, stop = word, at
                    hard += 1
                elif soft < len(seen):
                    known = False
                    for other in range(soft):
                        known |= seen[other] == kind
                    if not known:
                        seen[soft] = kind
                        soft += 1
            word = -1
        at = following
    return _Words(hard, soft, subword, first, stop)


@leaf
def _judge(data: Bytes, begin: int, end: int, tables: Tables, soft_limit: int, seen: I32) -> Any:  # pragma: no cover - compiled
    """`(rule, value, first, stop)`: a row of `Verdicts`."""
    while begin < end and data[begin] <= char.SPACE:
        begin += 1
    while end > begin and data[end - 1] <= char.SPACE:
        end -= 1
    if begin == end:
        return NONE, 0, 0, 0
    where = parts(data, begin, end)
    if where[0] < 0:
        return OTHER_HOST, 0, 0, 0
    blocked = _blocked(data, where, end, tables)
    if blocked.exempt:
        return NONE, 0, 0, 0
    if blocked.rule:
        return blocked.rule, 1, blocked.begin, blocked.end
    words = _find_words(data, begin, end, tables, seen)
    if words.hard:
        return HARD, words.hard, words.begin, words.end
    if words.soft >= soft_limit:
        return SOFT, words.soft, begin, end
    if words.subword >= 0:
        return SUBWORD, 1, words.subword, 0
    return NONE, 0, 0, 0


@kernel
def judge_all(offsets: Offsets, data: Bytes, tables: Tables, soft_limit: int, verdicts: Verdicts) -> None:  # pragma: no cover
    """Fill `verdicts` for the URLs of a column; from `soft_limit` different soft words on a URL is dropped for them."""
    seen = np.empty(MOST_SOFT, np.int32)
    for row in range(len(offsets) - 1):
        rule, value, first, stop = _judge(data, offsets[row], offsets[row + 1], tables, soft_limit, seen)
        verdicts.rule[row], verdicts.value[row] = rule, value
        verdicts.spans[row, 0], verdicts.spans[row, 1] = first, stop

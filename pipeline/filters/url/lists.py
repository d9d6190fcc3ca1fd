"""Lists of domains, URLs and words: found, read, and made into what can be looked up."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
import zstandard

from kernel.cache import expand_home
from kernel.table import table_of
from pipeline.filters.url.address import DOMAIN, OTHER_HOST, URL, hash_lines, with_ascii_host, word_hash
from pipeline.filters.url.judging import Automaton, Tables
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError

U64 = npt.NDArray[np.uint64]

ROLES = ("domains", "urls", "hard_words", "soft_words", "subwords", "exempt")
_MOST_BYTES = 4 << 30


def absolute(path: str, base: Path) -> str:
    """The path with variables and `~` expanded; a relative one is relative to `base`."""
    expanded = expand_home(os.path.expandvars(path))
    return str(expanded if expanded.is_absolute() else base / expanded)


def stamp(path: str) -> tuple[int, int]:
    """Size in bytes and time of change in ns: a list is read again only where these differ. Raises `UserError` where there is no file."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: this list of URL rules cannot be read ({error.strerror}); correct its path") from error
    return status.st_size, status.st_mtime_ns


def category_files(folder: str, categories: frozenset[str]) -> list[tuple[str, str]]:
    """`(role, path)` of the lists in a folder of categories; no categories: all. Raises `UserError` where there are none."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{folder}: no such folder of block lists; unpack UT1's archive there, or correct `folders`")
    found = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    if missing := sorted(categories - set(found)):
        raise UserError(f"{folder}: no category {missing[0]}, which `categories` names; there are: {', '.join(sorted(found)) or 'none'}")
    chosen = [path for name, path in found.items() if not categories or name in categories]
    lists = [(role, str(path / role)) for path in chosen for role in ("domains", "urls") if (path / role).is_file()]
    if not lists:
        raise UserError(f"{folder}: no file CATEGORY/domains or CATEGORY/urls in it; unpack UT1's archive there, or correct `folders`")
    return lists


def _read_list(path: str) -> bytes:
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".zst": zstandard.open, ".bz2": bz2.open, ".xz": lzma.open}
    try:
        with openers.get(Path(path).suffix.lower(), open)(path, "rb") as stream:
            data: bytes = stream.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise UserError(f"{path}: this list of URL rules cannot be read ({error}); fetch it again, or correct its path") from error
    if len(data) > _MOST_BYTES:
        raise UserError(f"{path}: this list of URL rules is over {_MOST_BYTES >> 30} GB; split it")
    return data


@dataclass(frozen=True)
class Lists:
    """All lists, ready to look up."""

    content: str  # fingerprint of what the files say
    tables: Tables
    subwords: tuple[str, ...]  # by their numbers in `tables.subwords`
    soft: frozenset[str]


@lru_cache(maxsize=4)
def read_lists(files: tuple[tuple[str, str, int, int], ...]) -> Lists:
    """The lists in some files, each (role, path, *stamp). Raises `UserError` where one cannot be read."""
    data = [(role, _read_list(path)) for role, path, _, _ in files]
    content = fingerprint([(role, xxhash.xxh3_128_hexdigest(raw)) for role, raw in data])
    keys: dict[str, list[U64]] = {"exempt": [], "domains": [], "urls": []}
    words: dict[str, set[str]] = {"hard_words": set(), "soft_words": set(), "subwords": set()}
    for role, raw in data:
        if role in words:
            words[role] |= _words(raw)
            continue
        hosts, paths = _entries(raw)
        keys[role if role == "exempt" else "domains"].append(hosts)
        keys["exempt" if role == "exempt" else "urls"].append(paths)
    hard, soft = sorted(words["hard_words"]), sorted(words["soft_words"] - words["hard_words"])
    hashes = np.array([word_hash(np.frombuffer(word.encode(), np.uint8)) for word in (*hard, *soft)], np.uint64)
    kinds = np.concatenate([np.zeros(len(hard), np.int32), np.arange(1, len(soft) + 1, dtype=np.int32)])
    sets = {name: table_of(np.concatenate(parts) if parts else np.zeros(0, np.uint64)).keys for name, parts in keys.items()}
    automaton, subwords = _automaton(sorted(words["subwords"]))
    tables = Tables(sets["exempt"], sets["domains"], sets["urls"], table_of(hashes, kinds), automaton)
    return Lists(content, tables, subwords, frozenset(words["soft_words"]))


def _words(raw: bytes) -> set[str]:
    """Words of a list, one a line: letters and digits in lower case, whatever stands between them left out."""
    lines = raw.decode("utf-8", "replace").splitlines()
    words = {"".join(c for c in line if c.isascii() and c.isalnum()).lower() for line in lines if not line.startswith("#")}
    return words - {""}


def _automaton(words: list[str]) -> tuple[Automaton, tuple[str, ...]]:
    """Aho and Corasick's automaton (1975) over 0-9 and a-z, and its words by their numbers."""
    trie: list[dict[int, int]] = [{}]
    ends = [-1]
    for number, word in enumerate(words):
        state = 0
        for letter in word:
            symbol = int(letter, 36)
            if symbol not in trie[state]:
                trie[state][symbol] = len(trie)
                trie.append({})
                ends.append(-1)
            state = trie[state][symbol]
        ends[state] = number
    moves = np.zeros((len(trie), 36), np.int32)
    failure = [0] * len(trie)
    waiting: deque[int] = deque([0])
    while waiting:
        state = waiting.popleft()
        for symbol in range(36):
            back = int(moves[failure[state], symbol]) if state else 0
            child = trie[state].get(symbol)
            if child is None:
                moves[state, symbol] = back
                continue
            moves[state, symbol] = child
            failure[child] = back
            if ends[child] < 0:
                ends[child] = ends[back]
            waiting.append(child)
    return Automaton(moves, np.array(ends, np.int32)), tuple(words)


def _entries(raw: bytes) -> tuple[U64, U64]:
    """Hashes of the entries of a list of domains or URLs: those that are a host, and those that have a path."""
    data = np.frombuffer(raw, np.uint8)
    lines = raw.count(b"\n") + 1
    hashes, kinds, starts = np.zeros(lines, np.uint64), np.zeros(lines, np.uint8), np.zeros(lines, np.int64)
    hash_lines(data, hashes, kinds, starts)
    for line in np.flatnonzero(kinds == OTHER_HOST).tolist():  # written in other letters than ASCII
        text = raw[starts[line] : raw.find(b"\n", starts[line]) % (len(raw) + 1)].strip()
        mended = np.frombuffer(with_ascii_host(text), np.uint8)
        hash_lines(mended, hashes[line : line + 1], kinds[line : line + 1], np.zeros(1, np.int64))
    return hashes[kinds == DOMAIN], hashes[kinds == URL]

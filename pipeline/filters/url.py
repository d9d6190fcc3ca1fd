"""URL rules: block lists of domains and URLs, and RefinedWeb's words (Penedo et al. 2023, arXiv 2306.01116, appendix G.1).

The lists are files; none comes with us (the field's is UT1's, https://dsi.ut-capitole.fr/blacklists/, CC BY-SA; datatrove ships
one of its states and three lists of words). A URL is judged in this order, and the first that speaks decides: exempt domains,
blocked domains, blocked URLs, hard words (one is enough), soft words (two), subwords (anywhere in what remains of the URL
without punctuation: RefinedWeb's strict matching). Order, word boundaries and thresholds are those of datatrove's `URLFilter`.

Departures from `URLFilter`, by which ours drops more:

- A domain is blocked with all that lies under it. datatrove looks at the host and at its registered domain (by the public suffix
  list, which it downloads), and not at what stands between: `b.example.co.uk` in a list does not block `a.b.example.co.uk`.
- URLs are compared without scheme, user, port, `www.`, fragment and final slash, with hosts in lower case and punycode and
  with needless percent-encoding undone; a listed URL blocks what lies under it, as in the squidGuard lists that UT1's are.
  datatrove compares the characters as they are.
- Words are found in any case (datatrove: lower case alone) and percent-encoding is undone first (`%20` ends a word there only
  by accident: `free%20word` has the word `20word`). A word of UT1's comment lines (`#`) is none, as there.

Domains and words are compared by 64-bit hashes: with five million entries one URL in 10^12 finds another's entry. Time is linear
in the URLs' lengths: the host is hashed once from its end, the path once from its beginning, the rest is one automaton.
"""

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
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
import zstandard
from pydantic import Field

from kernel.compile import kernel
from kernel.hashing import FNV_OFFSET, FNV_PRIME, fmix64
from kernel.utf8 import Bytes, Offsets, utf8_view
from pipeline.filters.check import Family, Judged, Judgement
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]

RULES = ("url_domain", "url_list", "url_hard_word", "url_soft_words", "url_subword")
_NONE, _DOMAIN, _URL, _HARD, _SOFT, _SUBWORD, _OTHER_HOST = range(7)

_MOST_SOFT = 32  # soft words are counted up to this


class UrlRules(Family):
    """Lists by which documents are dropped for their URL. A document without a URL is kept."""

    domains: list[str] = Field(
        default_factory=list,
        description="Files of domains to block with all their subdomains, one a line (hosts files too); plain, .gz, .zst, .bz2 or .xz.",
    )
    urls: list[str] = Field(default_factory=list, description="Files of URLs to block with all that lies under them, one a line.")
    folders: list[str] = Field(
        default_factory=list, description="Folders as UT1's: one folder a category, with files `domains` and `urls` in it."
    )
    categories: list[str] = Field(
        default_factory=list,
        description="Which categories of those folders (RefinedWeb: adult, phishing, dating, gambling ...); none: all.",
    )
    hard_words: list[str] = Field(default_factory=list, description="Files of words of which one is enough (RefinedWeb's hard words).")
    soft_words: list[str] = Field(default_factory=list, description="Files of words of which `soft_limit` different ones are needed.")
    soft_limit: int = Field(2, ge=1, le=_MOST_SOFT, description="Fewest different soft words that drop a document (RefinedWeb: 2).")
    subwords: list[str] = Field(
        default_factory=list,
        description="Files of words that drop a document wherever they stand, within others too (RefinedWeb's strict).",
    )
    exempt: list[str] = Field(
        default_factory=list, description="Files of domains that nothing here drops: high-quality sources (RefinedWeb G.1.4)."
    )

    def resolved(self, base: Path) -> Self:
        """The same with absolute paths; relative ones are relative to `base`."""
        names = ("domains", "urls", "folders", "hard_words", "soft_words", "subwords", "exempt")
        return self.model_copy(update={name: [_absolute(path, base) for path in getattr(self, name)] for name in names})

    def fingerprint(self) -> str:
        """Changes where the rules or what the lists say change. Raises `UserError` where a list cannot be read."""
        return fingerprint(self.soft_limit, self._lists().content)

    def judge(self, urls: pa.Array | pa.ChunkedArray) -> UrlJudgement:
        """What each URL of a string column is dropped for. Raises `UserError` where a list cannot be read."""
        return _judge(urls, self._lists(), self.soft_limit)

    def apply(self, statistics: pa.Table) -> Judged:
        found = self.judge(statistics["url"])
        rules = np.array(found.rule, object)
        return Judged([Judgement(rule, found.failed & (rules == rule), found.value, found.limit, found.detail) for rule in RULES])

    def _lists(self) -> _Lists:
        paths = [(role, path) for role in _ROLES for path in getattr(self, role)]
        for folder in self.folders:
            paths += _category_files(folder, frozenset(self.categories))
        return _read_lists(tuple((role, path, *_stamp(path)) for role, path in paths))


class UrlJudgement(NamedTuple):
    """One row a URL. `limit` is the most of `value` that is kept; `detail` names the entry, `rule` is of `RULES`."""

    failed: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float64]
    limit: npt.NDArray[np.float64]
    detail: list[str | None]
    rule: list[str | None]


# --- lists -------------------------------------------------------------------------------------------------------------

_ROLES = ("domains", "urls", "hard_words", "soft_words", "subwords", "exempt")
_MOST_BYTES = 4 << 30


def _absolute(path: str, base: Path) -> str:
    expanded = Path(os.path.expandvars(path)).expanduser()
    return str(expanded if expanded.is_absolute() else base / expanded)


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of a file: what is read once is read again only where these change."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: this list of URL rules cannot be read ({error.strerror}); correct its path") from error
    return status.st_size, status.st_mtime_ns


def _category_files(folder: str, categories: frozenset[str]) -> list[tuple[str, str]]:
    """`(role, path)` of the lists of a folder of categories."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{folder}: no such folder of block lists; unpack UT1's archive there, or correct `folders`")
    found = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    if missing := sorted(categories - set(found)):
        raise UserError(f"{folder}: no category {missing[0]}; there are: {', '.join(sorted(found)) or 'none'}")
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
class _Lists:
    """All lists, ready to look up. Hash tables are uint64 slots, a power of two of them, 0 where empty."""

    content: str  # fingerprint of what the files say
    exempt: U64
    domains: U64
    urls: U64
    words: U64
    word_kinds: I32  # of each slot of `words`: 0 for hard, 1 and more the number of a soft word
    moves: I32  # of the automaton of subwords: (states, 36)
    ends: I32  # of each state: which subword ends there, -1 for none
    subwords: tuple[str, ...]
    soft: frozenset[str]


@lru_cache(maxsize=4)
def _read_lists(files: tuple[tuple[str, str, int, int], ...]) -> _Lists:
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
    hashes = np.array([_word_hash(np.frombuffer(word.encode(), np.uint8)) for word in (*hard, *soft)], np.uint64)
    kinds = np.concatenate([np.zeros(len(hard), np.int32), np.arange(1, len(soft) + 1, dtype=np.int32)])
    word_slots, word_kinds = _slots(hashes, kinds)
    moves, ends, subwords = _automaton(sorted(words["subwords"]))
    tables = {name: _slots(np.concatenate(parts) if parts else np.zeros(0, np.uint64))[0] for name, parts in keys.items()}
    return _Lists(
        content,
        tables["exempt"],
        tables["domains"],
        tables["urls"],
        word_slots,
        word_kinds,
        moves,
        ends,
        subwords,
        frozenset(words["soft_words"]),
    )


def _words(raw: bytes) -> set[str]:
    """Words of a list, one a line: letters and digits in lower case, whatever stands between them left out."""
    lines = raw.decode("utf-8", "replace").splitlines()
    words = {"".join(c for c in line if c.isascii() and c.isalnum()).lower() for line in lines if not line.startswith("#")}
    return words - {""}


def _automaton(words: list[str]) -> tuple[I32, I32, tuple[str, ...]]:
    """Aho and Corasick's automaton (1975) over 0-9 and a-z: moves (states, 36), and the word that ends at each state."""
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
    return moves, np.array(ends, np.int32), tuple(words)


def _slots(hashes: U64, values: I32 | None = None) -> tuple[U64, I32]:
    """Open addressing, at most three quarters full; of equal hashes the first value stays."""
    size = 1 << max(4, (len(hashes) * 4 // 3).bit_length())
    slots, kept = np.zeros(size, np.uint64), np.zeros(size if values is not None else 1, np.int32)
    _fill(hashes, np.zeros(0, np.int32) if values is None else values, slots, kept)
    return slots, kept


def _entries(raw: bytes) -> tuple[U64, U64]:
    """Hashes of the entries of a list of domains or URLs: those that are a host, and those that have a path."""
    data = np.frombuffer(raw, np.uint8)
    lines = raw.count(b"\n") + 1
    hashes, kinds, starts = np.zeros(lines, np.uint64), np.zeros(lines, np.uint8), np.zeros(lines, np.int64)
    _hash_lines(data, hashes, kinds, starts)
    for line in np.flatnonzero(kinds == _OTHER_HOST).tolist():  # written in other letters than ASCII
        text = raw[starts[line] : raw.find(b"\n", starts[line]) % (len(raw) + 1)].strip()
        mended = np.frombuffer(_with_ascii_host(text), np.uint8)
        _hash_lines(mended, hashes[line : line + 1], kinds[line : line + 1], np.zeros(1, np.int64))
    return hashes[kinds == _DOMAIN], hashes[kinds == _URL]


def _with_ascii_host(url: bytes) -> bytes:
    """A URL whose host is in punycode and not percent-encoded; empty where that cannot be."""
    scheme, mark, rest = url.rpartition(b"://") if b"://" in url[:32] else (b"", b"", url)
    ends = [at for at in map(rest.find, (b"/", b"?", b"#", b"\\")) if at >= 0]
    end = min(ends, default=len(rest))
    host = rest[:end].rpartition(b"@")[2]
    if len(host) > 1024:
        return b""
    try:
        plain = bytes.fromhex("".join(f"{byte:02x}" for byte in _unquoted(host))).decode("utf-8")
        labels = [label if label.isascii() else label.encode("idna").decode("ascii") for label in plain.lower().split(".")]
    except UnicodeError:  # not UTF-8, or not a name
        return b""
    encoded = ".".join(labels).encode("ascii", "ignore")
    return b"" if not encoded or any(byte in b"%/?#\\@ \n" for byte in encoded) else scheme + mark + encoded + rest[end:]


def _unquoted(host: bytes) -> bytes:
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(host)


# --- kernels -----------------------------------------------------------------------------------------------------------


@kernel(inline="always")
def _contains(slots: U64, key: np.uint64) -> np.int64:  # pragma: no cover - compiled
    """The slot of a hash, or -1."""
    mask = np.uint64(len(slots) - 1)
    at = key & mask
    while slots[at] != 0:
        if slots[at] == key:
            return np.int64(at)
        at = (at + np.uint64(1)) & mask
    return np.int64(-1)


@kernel
def _fill(hashes: U64, values: I32, slots: U64, kept: I32) -> None:  # pragma: no cover - compiled
    mask = np.uint64(len(slots) - 1)
    for index in range(len(hashes)):
        at = hashes[index] & mask
        while slots[at] != 0 and slots[at] != hashes[index]:
            at = (at + np.uint64(1)) & mask
        if slots[at] == 0:
            slots[at] = hashes[index]
            if len(values):
                kept[at] = values[index]


@kernel(inline="always")
def _step(value: np.uint64, byte: int) -> np.uint64:  # pragma: no cover - compiled
    return (value ^ np.uint64(byte)) * FNV_PRIME


@kernel(inline="always")
def _key(value: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    key: np.uint64 = fmix64(value) | np.uint64(1)  # 0 is an empty slot
    return key


@kernel(inline="always")
def _lower(byte: int) -> int:  # pragma: no cover - compiled
    return byte + 32 if 65 <= byte <= 90 else byte


@kernel(inline="always")
def _nibble(byte: int) -> int:  # pragma: no cover - compiled
    """The value of a hexadecimal digit, or -1."""
    if 48 <= byte <= 57:
        return byte - 48
    if 65 <= byte <= 70:
        return byte - 55
    if 97 <= byte <= 102:
        return byte - 87
    return -1


@kernel(inline="always")
def _percent(data: Bytes, at: int, end: int) -> int:  # pragma: no cover - compiled
    """The byte that `%XX` at `at` stands for, or -1 where it is none."""
    if data[at] != 0x25 or at + 2 >= end:
        return -1
    high, low = _nibble(np.int64(data[at + 1])), _nibble(np.int64(data[at + 2]))
    return high * 16 + low if high >= 0 and low >= 0 else -1


@kernel
def _word_hash(word: Bytes) -> np.uint64:  # pragma: no cover - compiled
    value = FNV_OFFSET
    for byte in word:
        value = _step(value, np.int64(byte))
    key: np.uint64 = _key(value)
    return key


@kernel
def _parts(data: Bytes, begin: int, end: int) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """Where the host begins and ends and where the path begins. Host without user, port, final dots and `www.`; begin is -1
    where the host is not ASCII or is percent-encoded."""
    at = begin
    while at < end and (48 <= data[at] <= 57 or 65 <= data[at] <= 90 or 97 <= data[at] <= 122 or data[at] in (43, 45, 46)):
        at += 1  # a scheme, or already the host
    if at + 2 < end and data[at] == 58 and data[at + 1] == 47 and data[at + 2] == 47:
        begin = at + 3
    elif begin + 1 < end and data[begin] == 47 and data[begin + 1] == 47:
        begin += 2
    at, colon, bracket = begin, -1, False
    plain = True
    while at < end and data[at] != 47 and data[at] != 63 and data[at] != 35 and data[at] != 92:
        byte = data[at]
        if byte == 64:
            begin, colon, bracket, plain = at + 1, -1, False, True
        elif byte == 91:
            bracket = True
        elif byte == 93:
            bracket = False
        elif byte == 58 and not bracket:
            colon = at if colon < 0 else colon
        elif byte >= 128 or byte == 37:
            plain = False
        at += 1
    path = at
    host = at if colon < 0 else colon
    while host > begin and data[host - 1] == 46:
        host -= 1
    if host - begin > 4 and data[begin + 3] == 46 and _lower(data[begin]) == _lower(data[begin + 1]) == _lower(data[begin + 2]) == 119:
        for place in range(begin + 4, host):
            if data[place] == 46:  # `www.com` is a domain
                begin += 4
                break
    return (begin if plain else -1), host, path


@kernel
def _host_hash(data: Bytes, begin: int, end: int) -> np.uint64:  # pragma: no cover - compiled
    """From the end, so that every domain above it is hashed on the way."""
    value: np.uint64 = FNV_OFFSET
    for at in range(end - 1, begin - 1, -1):
        value = _step(value, _lower(np.int64(data[at])))
    return value


@kernel(inline="always")
def _path_step(value: np.uint64, data: Bytes, at: int, end: int) -> tuple[np.uint64, int]:  # pragma: no cover - compiled
    """One character of a path: needless percent-encoding undone, the needed one in upper case."""
    byte = np.int64(data[at])
    code = _percent(data, at, end)
    if code < 0:
        return _step(value, byte), at + 1
    if 48 <= code <= 57 or 65 <= code <= 90 or 97 <= code <= 122 or code == 45 or code == 46 or code == 95 or code == 126:
        return _step(value, code), at + 3
    value = _step(value, 0x25)
    for place in (at + 1, at + 2):
        byte = np.int64(data[place])
        value = _step(value, byte - 32 if byte >= 97 else byte)
    return value, at + 3


@kernel
def _path_end(data: Bytes, path: int, end: int) -> int:  # pragma: no cover - compiled
    """Where a URL ends without fragment and final slashes."""
    for at in range(path, end):
        if data[at] == 35:
            end = at
            break
    while end > path and data[end - 1] == 47:
        end -= 1
    return end


@kernel
def _hash_lines(data: Bytes, hashes: U64, kinds: Bytes, starts: Offsets) -> None:  # pragma: no cover - compiled
    """Each line's kind and hash; lines that are comments, empty, or no name with a dot are of kind NONE."""
    line, begin = 0, 0
    for stop in range(len(data) + 1):
        if stop < len(data) and data[stop] != 10:
            continue
        at, end = begin, stop
        starts[line] = begin
        kinds[line] = 0
        while at < end and data[at] <= 32:
            at += 1
        space = at
        while space < end and data[space] > 32:
            space += 1
        word = space
        while word < end and data[word] <= 32:
            word += 1
        # a hosts file: an address, then the name
        if word < end and data[word] != 35 and 48 <= data[at] <= 57:
            at, space = word, word
            while space < end and data[space] > 32:
                space += 1
        end = space
        if at < end and data[at] != 35:
            if data[at] == 42:
                at += 1
            if at < end and data[at] == 46:
                at += 1
            host, host_end, path = _parts(data, at, end)
            if host < 0:
                kinds[line] = 6
            else:
                dot = False
                for place in range(host, host_end):
                    dot |= data[place] == 46
                if dot:
                    last = _path_end(data, path, end)
                    value = _host_hash(data, host, host_end)
                    kinds[line] = 1
                    if last > path:
                        kinds[line] = 2
                        place = path
                        while place < last:
                            value, place = _path_step(value, data, place, last)
                    hashes[line] = _key(value)
        line += 1
        begin = stop + 1
        if line == len(kinds):
            return


@kernel
def _judge_all(
    offsets: Offsets,
    data: Bytes,
    exempt: U64,
    domains: U64,
    urls: U64,
    words: U64,
    word_kinds: I32,
    moves: I32,
    ends: I32,
    soft_limit: int,
    rule: Bytes,
    value: npt.NDArray[np.int32],
    spans: Offsets,
) -> None:  # pragma: no cover - compiled
    """For each URL the rule that drops it (0 for none), how much of it there is, and the bytes that it is about; for a subword
    its number instead of the first byte."""
    seen = np.empty(32, np.int32)
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        rule[row], value[row] = 0, 0
        while begin < end and data[begin] <= 32:
            begin += 1
        while end > begin and data[end - 1] <= 32:
            end -= 1
        if begin == end:
            continue
        host, host_end, path = _parts(data, begin, end)
        if host < 0:
            rule[row] = 6
            continue
        found, free = 0, False
        total = FNV_OFFSET
        for at in range(host_end - 1, host - 1, -1):
            total = _step(total, _lower(np.int64(data[at])))
            if at == host or data[at - 1] == 46:
                key = _key(total)
                if _contains(exempt, key) >= 0:
                    free = True
                if not found and _contains(domains, key) >= 0:
                    found = 1
                    spans[row, 0], spans[row, 1] = at, host_end
        last = _path_end(data, path, end)
        at = path
        while at < last and not free:
            total, at = _path_step(total, data, at, last)
            if at == last or data[at] == 47 or data[at] == 63:
                key = _key(total)
                if _contains(exempt, key) >= 0:
                    free = True
                if not found and _contains(urls, key) >= 0:
                    found = 2
                    spans[row, 0], spans[row, 1] = host, at
        if free:
            continue
        if found:
            rule[row], value[row] = found, 1
            continue
        hard, soft, state, subword = 0, 0, 0, -1
        total, at, word = FNV_OFFSET, begin, -1
        while at <= end:
            byte, following = 0, at + 1
            if at < end:
                code = _percent(data, at, end)
                byte = int(data[at])
                if code >= 0:
                    byte, following = code, at + 3
                byte = _lower(byte)
            if 48 <= byte <= 57 or 97 <= byte <= 122:
                if word < 0:
                    word, total = at, FNV_OFFSET
                total = _step(total, byte)
                state = moves[state, byte - 48 if byte <= 57 else byte - 87]
                if subword < 0:
                    subword = ends[state]
            elif word >= 0:
                slot = _contains(words, _key(total))
                if slot >= 0:
                    kind = word_kinds[slot]
                    if kind == 0:
                        if not hard:
                            spans[row, 0], spans[row, 1] = word, at
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
        if hard:
            rule[row], value[row] = 3, hard
        elif soft >= soft_limit:
            rule[row], value[row] = 4, soft
            spans[row, 0], spans[row, 1] = begin, end
        elif subword >= 0:
            rule[row], value[row] = 5, 1
            spans[row, 0] = subword


def _run(offsets: Offsets, data: Bytes, lists: _Lists, soft_limit: int) -> tuple[Bytes, npt.NDArray[np.int32], Offsets]:
    rows = len(offsets) - 1
    rule, value, spans = np.zeros(rows, np.uint8), np.zeros(rows, np.int32), np.zeros((rows, 2), np.int64)
    tables = (lists.exempt, lists.domains, lists.urls, lists.words, lists.word_kinds, lists.moves, lists.ends)
    _judge_all(offsets, data, *tables, soft_limit, rule, value, spans)
    return rule, value, spans


def _judge(urls: pa.Array | pa.ChunkedArray, lists: _Lists, soft_limit: int) -> UrlJudgement:
    offsets, data = utf8_view(urls)
    rule, value, spans = _run(offsets, data, lists, soft_limit)
    detail: list[str | None] = [None] * len(rule)
    for row in np.flatnonzero(rule).tolist():
        if rule[row] != _OTHER_HOST:
            detail[row] = _detail(rule[row], spans[row], data, lists)
            continue
        # a host in other letters than ASCII is judged as punycode; one that is no name at all by its words alone
        raw = data[offsets[row] : offsets[row + 1]].tobytes()
        mended = np.frombuffer(_with_ascii_host(raw) or b"/" + raw, np.uint8)
        one_rule, one_value, one_span = _run(np.array([0, len(mended)]), mended, lists, soft_limit)
        rule[row], value[row] = one_rule[0], one_value[0]
        detail[row] = _detail(one_rule[0], one_span[0], mended, lists) if one_rule[0] else None
    limits = np.array([np.nan, 0, 0, 0, soft_limit - 1, 0])
    names = (None, *RULES)
    failed = rule != _NONE
    return UrlJudgement(
        failed,
        np.where(failed, value.astype(np.float64), np.nan),
        limits[rule],
        detail,
        [names[index] for index in rule.tolist()],
    )


def _detail(rule: int, span: Offsets, data: Bytes, lists: _Lists) -> str:
    if rule == _SUBWORD:
        return lists.subwords[int(span[0])]
    text: str = data[span[0] : span[1]].tobytes().decode("utf-8", "replace")
    if rule == _SOFT:
        from urllib.parse import unquote

        words = "".join(c if c.isascii() and c.isalnum() else " " for c in unquote(text, "latin-1").lower()).split()
        return " ".join(dict.fromkeys(word for word in words if word in lists.soft))
    return text if rule == _URL else text.lower()

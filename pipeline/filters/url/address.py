"""The address in a URL: where its host and its path are, and their hashes, which are equal for all spellings of one address.

Scheme, user, port, `www.`, fragment and final slash do not count; hosts are hashed in lower case, from their end, so that every domain
above a host is hashed on the way; a path's needless percent-encoding is undone. Hashes are FNV-1a in 64 bits: with five million entries
one URL in 10^12 matches an entry by accident. Hashes are never stored.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt

from kernel import characters as char
from kernel.compile import leaf
from kernel.hashing import FNV_OFFSET, fnv
from kernel.utf8 import Bytes, Offsets

U64 = npt.NDArray[np.uint64]

# What a line of a list is: nothing, a domain, a URL with a path; or one whose host is not ASCII, which kernels leave to
# `with_ascii_host`.
NONE, DOMAIN, URL, OTHER_HOST = range(4)


def with_ascii_host(url: bytes) -> bytes:
    """A URL whose host is in punycode and not percent-encoded; empty where that cannot be."""
    scheme, mark, rest = url.rpartition(b"://") if b"://" in url[:32] else (b"", b"", url)
    ends = [at for at in map(rest.find, (b"/", b"?", b"#", b"\\")) if at >= 0]
    end = min(ends, default=len(rest))
    host = rest[:end].rpartition(b"@")[2]
    if len(host) > 1024:
        return b""
    try:
        plain = bytes.fromhex("".join(f"{byte:02x}" for byte in unquote_to_bytes(host))).decode("utf-8")
        labels = [label if label.isascii() else label.encode("idna").decode("ascii") for label in plain.lower().split(".")]
    except UnicodeError:  # not UTF-8, or not a name
        return b""
    encoded = ".".join(labels).encode("ascii", "ignore")
    return b"" if not encoded or any(byte in b"%/?#\\@ \n" for byte in encoded) else scheme + mark + encoded + rest[end:]


@leaf(inline="always")
def _nibble(byte: int) -> int:  # pragma: no cover - compiled
    """The value of a hexadecimal digit, or -1."""
    if char.is_digit(byte):
        return byte - char.ZERO
    if char.A <= byte <= char.F:
        return byte - char.A + 10
    if char.a <= byte <= char.f:
        return byte - char.a + 10
    return -1


@leaf(inline="always")
def _is_plain(byte: int) -> Any:  # pragma: no cover - compiled
    """Whether a byte is a letter or digit of ASCII."""
    return char.is_digit(byte) or char.A <= byte <= char.Z or char.a <= byte <= char.z


@leaf(inline="always")
def _is_www(data: Bytes, at: int) -> Any:  # pragma: no cover - compiled
    return char.lower(data[at]) == char.w and char.lower(data[at + 1]) == char.w and char.lower(data[at + 2]) == char.w


@leaf(inline="always")
def percent(data: Bytes, at: int, end: int) -> int:  # pragma: no cover - compiled
    """The byte that `%XX` at `at` stands for, or -1 where it is none."""
    if data[at] != char.PERCENT_SIGN or at + 2 >= end:
        return -1
    high, low = _nibble(np.int64(data[at + 1])), _nibble(np.int64(data[at + 2]))
    return high * 16 + low if high >= 0 and low >= 0 else -1


@leaf
def word_hash(word: Bytes) -> np.uint64:  # pragma: no cover - compiled
    """FNV-1a of the bytes of a word, in 64 bits."""
    value: np.uint64 = FNV_OFFSET
    for byte in word:
        value = fnv(value, np.uint64(byte))
    return value


@leaf
def parts(data: Bytes, begin: int, end: int) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """Where the host begins and ends and where the path begins. Host without user, port, final dots and `www.`; begin is -1
    where the host is not ASCII or is percent-encoded."""
    at = begin
    while at < end and (_is_plain(data[at]) or data[at] in (char.PLUS_SIGN, char.HYPHEN, char.FULL_STOP)):
        at += 1  # a scheme, or already the host
    if at + 2 < end and data[at] == char.COLON and data[at + 1] == char.SLASH and data[at + 2] == char.SLASH:
        begin = at + 3
    elif begin + 1 < end and data[begin] == char.SLASH and data[begin + 1] == char.SLASH:
        begin += 2
    at, colon, bracket = begin, -1, False
    plain = True
    while at < end:
        byte = data[at]
        if byte == char.SLASH or byte == char.QUESTION_MARK or byte == char.NUMBER_SIGN or byte == char.BACKSLASH:
            break
        if byte == char.AT_SIGN:
            begin, colon, bracket, plain = at + 1, -1, False, True
        elif byte == char.LEFT_BRACKET:
            bracket = True
        elif byte == char.RIGHT_BRACKET:
            bracket = False
        elif byte == char.COLON and not bracket:
            colon = at if colon < 0 else colon
        elif byte >= char.ASCII_END or byte == char.PERCENT_SIGN:
            plain = False
        at += 1
    path = at
    host = at if colon < 0 else colon
    while host > begin and data[host - 1] == char.FULL_STOP:
        host -= 1
    if host - begin > 4 and data[begin + 3] == char.FULL_STOP and _is_www(data, begin):
        for place in range(begin + 4, host):
            if data[place] == char.FULL_STOP:  # `www.com` is a domain
                begin += 4
                break
    return (begin if plain else -1), host, path


@leaf
def host_hash(data: Bytes, begin: int, end: int) -> np.uint64:  # pragma: no cover - compiled
    """The hash of a host from its end, so that every domain above it is hashed on the way."""
    value: np.uint64 = FNV_OFFSET
    for at in range(end - 1, begin - 1, -1):
        value = fnv(value, np.uint64(char.lower(data[at])))
    return value


@leaf(inline="always")
def path_step(value: np.uint64, data: Bytes, at: int, end: int) -> tuple[np.uint64, int]:  # pragma: no cover - compiled
    """The hash after one more character of a path, and the place of the next: needless percent-encoding undone, the rest in upper case."""
    code = percent(data, at, end)
    if code < 0:
        return fnv(value, np.uint64(data[at])), at + 1
    if _is_plain(code) or code == char.HYPHEN or code == char.FULL_STOP or code == char.UNDERSCORE or code == char.TILDE:
        return fnv(value, np.uint64(code)), at + 3
    value = fnv(value, np.uint64(char.PERCENT_SIGN))
    for place in (at + 1, at + 2):
        byte = data[place]
        value = fnv(value, np.uint64(byte - char.CASE if byte >= char.a else byte))
    return value, at + 3


@leaf
def path_end(data: Bytes, path: int, end: int) -> int:  # pragma: no cover - compiled
    """Where a URL ends without fragment and final slashes."""
    for at in range(path, end):
        if data[at] == char.NUMBER_SIGN:
            end = at
            break
    while end > path and data[end - 1] == char.SLASH:
        end -= 1
    return end


@leaf
def hash_lines(data: Bytes, hashes: U64, kinds: Bytes, starts: Offsets) -> None:  # pragma: no cover - compiled
    """Each line's kind and hash; lines that are comments, empty, or no name with a dot are of kind NONE."""
    line, begin = 0, 0
    for stop in range(len(data) + 1):
        if stop < len(data) and data[stop] != char.LINE_FEED:
            continue
        at, end = begin, stop
        starts[line] = begin
        kinds[line] = NONE
        while at < end and data[at] <= char.SPACE:
            at += 1
        space = at
        while space < end and data[space] > char.SPACE:
            space += 1
        word = space
        while word < end and data[word] <= char.SPACE:
            word += 1
        # a hosts file: an address, then the name
        if word < end and data[word] != char.NUMBER_SIGN and char.is_digit(data[at]):
            at, space = word, word
            while space < end and data[space] > char.SPACE:
                space += 1
        end = space
        if at < end and data[at] != char.NUMBER_SIGN:
            if data[at] == char.ASTERISK:
                at += 1
            if at < end and data[at] == char.FULL_STOP:
                at += 1
            host, host_end, path = parts(data, at, end)
            if host < 0:
                kinds[line] = OTHER_HOST
            else:
                dot = False
                for place in range(host, host_end):
                    dot |= data[place] == char.FULL_STOP
                if dot:
                    last = path_end(data, path, end)
                    value = host_hash(data, host, host_end)
                    kinds[line] = DOMAIN
                    if last > path:
                        kinds[line] = URL
                        place = path
                        while place < last:
                            value, place = path_step(value, data, place, last)
                    hashes[line] = value
        line += 1
        begin = stop + 1
        if line == len(kinds):
            return

"""Personal data masked as text is ingested: e-mail addresses, IP addresses, telephone numbers.

The placeholders are those of Dolma and OLMo (Soldaini et al. 2024, arXiv 2402.00159, section 5.3 and its taggers). What counts as an e-mail
address is told in `emails.py`, what as a telephone number in `telephones.py`. Of IP addresses:

- Public ones only, as in datatrove; version 6 too, within 2000::/3, where all public ones are, and with a second group (`2004::07:48` is a
  date and a time). An address neither touches letters (`v1.2.3.4`) nor is part of a longer run of numbers (`1.2.3.4.5`).
- Four numbers with dots are versions, sections, enzymes and dental formulas, too. Where most of them are small, as those are and few
  addresses, a word or mark beside it must say that it is an address; else none may say that it is a version, a section or the like. The
  references mask all.

A kernel finds candidates in the bytes (a sign, dotted numbers, runs of digits), and what they are is decided by short,
bounded expressions: time is linear.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kernel import characters as char
from kernel.compile import kernel
from kernel.utf8 import Bytes, Offsets, decode
from pipeline.ingest.data import rows
from pipeline.ingest.emails import email
from pipeline.ingest.telephones import telephones

Kind = Literal["email", "ip", "phone"]

TOKENS: dict[Kind, str] = {
    "email": "|||EMAIL_ADDRESS|||",
    "ip": "|||IP_ADDRESS|||",
    "phone": "|||PHONE_NUMBER|||",
}


class PersonalDataConfig(BaseModel):
    """Which personal data is masked as text is written, with Dolma's placeholders."""

    model_config = ConfigDict(extra="forbid")

    mask: list[Kind] = Field(["email", "ip", "phone"], description="What to mask.")
    domains: dict[str, list[Kind]] = Field(
        {"code": ["email"]},
        description="What to mask in these domains instead. Code: e-mail alone (authors' addresses), since dotted numbers there are "
        "versions, masks and test data, and runs of digits constants that the code needs.",
    )
    public_only: bool = Field(True, description="Mask only those IP addresses that are routed on the Internet (datatrove: true).")

    def kinds(self, domain: str) -> tuple[Kind, ...]:
        """What to mask in a domain."""
        return tuple(self.domains.get(domain, self.mask))


class Span(NamedTuple):
    """Personal data at bytes `begin` to `end` of a text in UTF-8."""

    begin: int
    end: int
    kind: Kind


# --- candidates --------------------------------------------------------------------------------------------------------

_DIGIT, _HEX, _WORD, _BEFORE_SIGN, _AFTER_SIGN, _IN_NUMBER, _LEAD, _NOTABLE = (1 << bit for bit in range(8))
_EMAIL, _V4, _V6, _PHONE = range(4)


def _table() -> Bytes:
    """What a byte can be part of. Bytes over 127 are of no word: scripts without spaces stand right beside addresses."""
    table = np.zeros(256, np.uint8)
    other = bytes(range(0x80, 0x100))
    digits, letters = b"0123456789", b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for characters, bit in (
        (digits, _DIGIT),
        (digits + b"ABCDEFabcdef", _HEX),
        (digits + letters + b"_", _WORD),
        (digits + letters + b"_%+-\\" + other, _BEFORE_SIGN),
        (digits + letters + other, _AFTER_SIGN),
        (b"\xc2\xd9\xdb\xe0\xe2\xe3\xef", _LEAD),  # bytes that begin digits and separators of other scripts
        (digits + b"+(@:\xc2\xd9\xdb\xe0\xe2\xe3\xef", _NOTABLE),  # what something may begin with
        (digits + b" -./()+", _IN_NUMBER),
    ):
        table[list(characters)] |= bit
    return table


_TABLE = _table()


# What a code point over 127 is in a run of digits: those that `telephones.PLAIN` makes digits and marks of ASCII.
_SEPARATOR, _OTHER_DIGIT, _OPENING = 1, 2, 3


@kernel
def _in_number(code: int) -> int:  # pragma: no cover - compiled
    """What a code point over 127 is in a run of digits: a digit, what a number may begin with, a separator, or nothing (0)."""
    if 0x660 <= code <= 0x669 or 0x6F0 <= code <= 0x6F9 or 0x966 <= code <= 0x96F or 0x9E6 <= code <= 0x9EF or 0xFF10 <= code <= 0xFF19:
        return _OTHER_DIGIT
    if code == 0xA0 or 0x2000 <= code <= 0x200B or 0x2010 <= code <= 0x2015 or code == 0x202F or code == 0x2212 or code == 0x3000:
        return _SEPARATOR
    if code == 0xFF09 or 0xFF0D <= code <= 0xFF0F:
        return _SEPARATOR
    return _OPENING if code == 0xFF08 or code == 0xFF0B else 0


@kernel
def _candidates(data: Bytes, table: Bytes, out: Offsets) -> int:  # pragma: no cover - compiled
    """Where personal data may be: rows of `out` (kind, begin, end), as many as fit; returns how many there are.

    E-mail: the sign, between what may stand beside it. IP: where four numbers and three dots begin, or a group of four
    hexadecimal digits, of which the first is 2 or 3, with a colon. Telephone: a run of digits, with what may stand between
    them, of at least seven digits; it begins with a digit, a plus or a bracket.
    """
    count, run, digits, size = 0, -1, 0, len(data)
    at = 0
    while at <= size:
        byte = data[at] if at < size else np.uint8(char.LINE_FEED)
        bits = table[byte]
        if run < 0 and not bits & _NOTABLE:
            at += 1
            continue
        kind, begin, width, wide = -1, at, 1, 0
        if bits & _LEAD:
            code, behind = decode(data, at)
            wide = _in_number(code)
            width = behind - at if wide else 1
        if bits & _IN_NUMBER or wide:
            if run < 0 and (bits & _NOTABLE) and wide != _SEPARATOR:
                run, digits = at, 0
            if bits & _DIGIT or wide == _OTHER_DIGIT:
                digits += 1
            elif byte == char.FULL_STOP and at and at + 1 < size and table[data[at - 1]] & _DIGIT and table[data[at + 1]] & _DIGIT:
                begin = at - 1
                while begin and at - begin < 4 and table[data[begin - 1]] & _DIGIT:
                    begin -= 1
                if at - begin < 4 and (begin == 0 or not (table[data[begin - 1]] & _WORD or data[begin - 1] == char.FULL_STOP)):
                    dots, place = 0, at
                    while place < size and place - begin < 16 and (table[data[place]] & _DIGIT or data[place] == char.FULL_STOP):
                        dots += data[place] == char.FULL_STOP
                        place += 1
                    if dots >= 3:
                        kind = _V4
        else:
            if run >= 0 and digits >= 7:
                if count < len(out):
                    out[count, 0], out[count, 1], out[count, 2] = _PHONE, run, at
                count += 1
            run = -1
            if byte == char.AT_SIGN:
                if at and at + 1 < size and table[data[at - 1]] & _BEFORE_SIGN and table[data[at + 1]] & _AFTER_SIGN:
                    kind = _EMAIL
            elif byte == 0xEF and at and at + 3 < size and data[at + 1] == 0xBC and data[at + 2] == 0xA0:  # a full-width sign
                if table[data[at - 1]] & _BEFORE_SIGN and table[data[at + 3]] & _AFTER_SIGN:
                    kind = _EMAIL
            elif byte == char.COLON and at >= 4 and (data[at - 4] == char.TWO or data[at - 4] == char.THREE):
                begin = at - 4
                if table[data[at - 3]] & table[data[at - 2]] & table[data[at - 1]] & _HEX and (
                    begin == 0 or not (table[data[begin - 1]] & _WORD or data[begin - 1] == char.COLON or data[begin - 1] == char.FULL_STOP)
                ):
                    kind = _V6
        if kind >= 0:
            if count < len(out):
                out[count, 0], out[count, 1], out[count, 2] = kind, begin, at
            count += 1
        at += width
    return count


# --- IP addresses --------------------------------------------------------------------------------------------------------

# All are matched at a candidate, or search a bounded stretch before it: linear.
_FOUR = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z_]|\.[0-9])")
_EIGHT = re.compile(rb"[0-9A-Fa-f]{4}:[0-9A-Fa-f][0-9A-Fa-f:]{1,33}(?![0-9A-Za-z_:])")
_WORDS = {row[0]: row[1] for row in rows("address-words.tsv")}
_ADDRESS_ENDS, _OTHER_ENDS = (tuple(word for word, kind in _WORDS.items() if kind == what) for what in ("address end", "other end"))
_LETTERS = re.compile(r"[^\W\d_]+")
_ATTACHED = re.compile(r"[\w.)][-/+~]$")  # libfoo-1.2.3.4, Chrome/1.2.3.4
_GOES_ON = re.compile(rb"[-+~][0-9A-Za-z]|/[0-9]{1,3}\.[0-9]|/[A-Za-z]|\.[A-Za-z]")  # 1.2.3.4-beta, 2.1.2.3/2.1.2.3
_PORT = re.compile(rb":[0-9]{2,5}(?![0-9]|\.[0-9])|/(?:8|9|[12][0-9]|3[0-2])(?![0-9]|\.[0-9])")  # ..., or a network
_LOG = re.compile(rb" - - \[|\s(?:GET|POST|HEAD|PUT) /| \(talk")  # of a server's log, of a wiki's
# Of the numbers of an address: of all addresses 5 in 100 have less than two large ones, and 2 in 100 begin with two small ones; of sections
# and versions nearly all do.
_LARGE, _SMALL = 64, 32
_BEFORE = 48  # bytes before an address that are looked at


def _is_address(raw: bytes, begin: int, end: int, numbers: list[int]) -> bool:
    """Whether four public numbers are an address, by their size and by what stands beside them."""
    before = raw[max(0, begin - _BEFORE) : begin].decode("utf-8", "ignore").rpartition("\n")[2]
    after = raw[end : end + 8]
    if not before.endswith("//") and (_ATTACHED.search(before) or _GOES_ON.match(after)):
        return False
    if before.endswith(("//", "@")) or _PORT.match(after):
        return True
    words = _LETTERS.findall(before.lower())
    told = before.lower().rstrip(" \t\u00a0.:：=#\"'([")
    if told.endswith(_OTHER_ENDS) or (words and _WORDS.get(words[-1]) == "other" and told.endswith(words[-1])):
        return False
    if sum(number >= _LARGE for number in numbers) >= 2 and max(numbers[:2]) >= _SMALL:
        return True
    if _LOG.match(after) or any(_WORDS.get(word) == "address" for word in words):
        return True
    return not before.isascii() and any(word in before for word in _ADDRESS_ENDS)


def _ip(raw: bytes, begin: int, pattern: re.Pattern[bytes], public_only: bool) -> Span | None:
    match = pattern.match(raw, begin)
    if match is None:
        return None
    address = match[0].decode("ascii")
    if address[-1] == ":" and not address.endswith("::"):  # a colon of the sentence
        address = address[:-1]
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    end = begin + len(address)
    if (public_only and (not ip.is_global or ip.is_multicast)) or (
        ip.version == 4 and ip.is_global and not _is_address(raw, begin, end, list(ip.packed))
    ):
        return None
    return Span(begin, end, "ip")


# --- the whole -----------------------------------------------------------------------------------------------------------


def find(raw: bytes, kinds: tuple[Kind, ...], *, public_only: bool = True, code: bool = False) -> list[Span]:
    """Personal data of these kinds in UTF-8, in order, not overlapping; of two that overlap the earlier, then the longer, stays.

    `code`: the text is source code, where what looks like an address is a member of an object sooner.
    """
    data = np.frombuffer(raw, np.uint8)
    places = np.empty((64, 3), np.int64)
    count = _candidates(data, _TABLE, places)
    if count == 0:
        return []
    if count > len(places):
        places = np.empty((count, 3), np.int64)
        _candidates(data, _TABLE, places)
    spans: list[Span] = []
    last = 0  # where the last e-mail address ends
    named = -1  # where the last telephone number ends that may have others beside it
    for candidate, begin, end in places[:count].tolist():
        span: Span | None = None
        if candidate == _EMAIL and "email" in kinds and begin >= last:
            found = email(raw, begin, last, code)
            if found is not None:
                span, last = Span(*found, "email"), found[1]
        elif candidate == _PHONE and "phone" in kinds:
            numbers = [Span(*place, "phone") for place in telephones(raw, begin, end, named)]
            named = numbers[-1].end if numbers else -1
            spans += numbers
        elif candidate in (_V4, _V6) and "ip" in kinds:
            span = _ip(raw, begin, _FOUR if candidate == _V4 else _EIGHT, public_only)
        if span is not None:
            spans.append(span)
    spans.sort(key=lambda span: (span.begin, -span.end))
    kept: list[Span] = []
    for span in spans:
        if not kept or span.begin >= kept[-1].end:
            kept.append(span)
    return kept


def mask(text: str, kinds: tuple[Kind, ...], public_only: bool = True, code: bool = False) -> tuple[str, dict[str, int]]:
    """The text with placeholders, and how many of each kind there were. The text must have no lone surrogates. `code`: as for `find`."""
    raw = text.encode()
    spans = find(raw, kinds, public_only=public_only, code=code)
    if not spans:
        return text, {}
    pieces: list[bytes] = []
    counts: dict[str, int] = {}
    at = 0
    for span in spans:
        pieces += [raw[at : span.begin], TOKENS[span.kind].encode()]
        counts[span.kind] = counts.get(span.kind, 0) + 1
        at = span.end
    return b"".join([*pieces, raw[at:]]).decode(), counts


def strings(value: Any) -> list[str]:
    """All strings in a JSON value, keys left out."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    return found


def change_strings(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every string in it changed; keys stay. What is nested deeper than 100 is left out (None)."""

    def walk(part: Any, depth: int) -> Any:
        if isinstance(part, str):
            return change(part)
        if isinstance(part, dict | list) and depth == 100:
            return None
        if isinstance(part, dict):
            return {key: walk(item, depth + 1) for key, item in part.items()}
        return [walk(item, depth + 1) for item in part] if isinstance(part, list) else part

    return walk(value, 0)

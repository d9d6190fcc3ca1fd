"""Personal data masked as text is ingested: e-mail addresses, IP addresses, telephone numbers.

The placeholders are those of Dolma and OLMo (Soldaini et al. 2024, arXiv 2402.00159, section 5.3 and its taggers); what counts as
an address follows Dolma and datatrove's `PIIFormatter`, with these departures:

- E-mail. An address is found after any character that cannot be in one (datatrove needs a word boundary, and misses addresses
  that follow a letter of a script without spaces). The local part has the characters that mail providers allow, not all that
  RFC 5322 does, so that `mailto=`, `/` and quotes before it stay. The last label is letters (or punycode), and no image's or
  script's file name ending: `icon@2x.png`, `lodash@4.17.21` are no addresses. `git@host:path` is where a repository lies.
- IP. Public addresses only, as in datatrove; version 6 too, within 2000::/3, where all public ones are,
  and with a second group (`2004::07:48` is a date and a time). An address
  neither touches letters (`v1.2.3.4`) nor is part of a longer run of numbers (`1.2.3.4.5`). A four-part version number that
  stands alone cannot be told from an address, and is masked, as the references do.
- Telephone. Dolma masks any ten digits after a space, which are mostly identifiers. Here a number has an international prefix
  (`+`, 8 to 15 digits, E.164), or is written as in North America with valid codes and more than spaces between them, or
  follows a word that says what it is (`Tel.`, `Fax:`, `Mobile` and their kin in six languages).

A kernel finds candidates in the bytes (a sign, dotted numbers, runs of digits), and what they are is decided by short,
bounded expressions: time is linear.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kernel import characters as char
from kernel.compile import kernel
from kernel.utf8 import Bytes, Offsets

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

_DIGIT, _HEX, _WORD, _LOCAL, _IN_NUMBER = (1 << bit for bit in range(5))
_EMAIL, _V4, _V6, _PHONE = range(4)


def _table() -> Bytes:
    """What a byte can be part of. Bytes over 127 are of no word: scripts without spaces stand right beside addresses."""
    table = np.zeros(256, np.uint8)
    digits, letters = b"0123456789", b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for characters, bit in (
        (digits, _DIGIT),
        (digits + b"ABCDEFabcdef", _HEX),
        (digits + letters + b"_", _WORD),
        (digits + letters + b"_%+-", _LOCAL),
        (digits + b" -./()+\xc2\xa0", _IN_NUMBER),  # the last two: a no-break space
    ):
        table[list(characters)] |= bit
    return table


_TABLE = _table()


@kernel
def _candidates(data: Bytes, table: Bytes, out: Offsets) -> int:  # pragma: no cover - compiled
    """Where personal data may be: rows of `out` (kind, begin, end), as many as fit; returns how many there are.

    E-mail: the sign, between what may stand beside it. IP: where four numbers and three dots begin, or a group of four
    hexadecimal digits, of which the first is 2 or 3, with a colon. Telephone: a run of digits, with what may stand between
    them, of at least seven digits.
    """
    count, run, digits, size = 0, -1, 0, len(data)
    for at in range(size + 1):
        byte = data[at] if at < size else np.uint8(char.LINE_FEED)
        kind, begin = -1, at
        if table[byte] & _IN_NUMBER:
            if run < 0:
                run, digits = at, 0
            if table[byte] & _DIGIT:
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
                if at and at + 1 < size and table[data[at - 1]] & _LOCAL and table[data[at + 1]] & _WORD:
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
    return count


# --- grammar -----------------------------------------------------------------------------------------------------------

_LOCAL_PART = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+'-"
# All are matched at a candidate and bounded in length, or search a run of digits and separators from beginnings that a
# look-behind fixes: linear.
_DOMAIN = re.compile(rb"[A-Za-z0-9.-]{3,253}")  # RFC 1035: 253 at most
_TOP = re.compile(rb"[A-Za-z]{2,24}|[Xx][Nn]--[A-Za-z0-9-]{2,59}")
_FILES = frozenset(b"png jpg jpeg gif svg webp ico bmp pdf css scss less js mjs jsx ts tsx json html htm xml txt zip gz".split())
_FOUR = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z_]|\.[0-9])")
_EIGHT = re.compile(rb"[0-9A-Fa-f]{4}:[0-9A-Fa-f][0-9A-Fa-f:]{1,33}(?![0-9A-Za-z_:])")
_GAP = rb"(?:[ ./-]|\xc2\xa0)"
_INTERNATIONAL = re.compile(rb"(?<![0-9A-Za-z_+])\+[1-9](?:[0-9 .()/-]|\xc2\xa0){6,26}(?<=[0-9])(?![0-9])")
_AMERICAN = re.compile(
    rb"(?<![0-9A-Za-z_.+/:=#-])(?:1" + _GAP + rb")?"
    rb"(?:\([2-9][0-9]{2}\)" + _GAP + rb"?[2-9][0-9]{2}" + _GAP + rb"|[2-9][0-9]{2}" + _GAP + rb"[2-9][0-9]{2}[.-]"
    rb"|[2-9][0-9]{2}[./-][2-9][0-9]{2} )[0-9]{4}(?![0-9A-Za-z_/-]|\.[0-9])"
)
_NAME = re.compile(
    rb"(?i)(?<![a-z])(?:tel|telephone|phone|telefon|telefono|tel\xc3\xa9fono|telefone|t\xc3\xa9l\xc3\xa9phone|t\xc3\xa9l|fax|mobile|mobil|cell"
    rb"|whatsapp|handy|ph)(?:[.: ]{0,3}(?:no|nr|number))?[.: ]{0,3}$"
)
_NAMED = re.compile(rb"[+(]?[0-9](?:[0-9 .()/-]|\xc2\xa0){5,26}(?<=[0-9])(?![0-9])")
_LEADING = b" .-/()\xc2\xa0"


def _email(raw: bytes, sign: int, last: int) -> Span | None:
    """The address around the sign at byte `sign`, none of it before `last`."""
    window = raw[max(last, sign - 64) : sign]
    local = window[len(window.rstrip(_LOCAL_PART)) :]
    local = local[local.rfind(b"..") + 2 :] if b".." in local else local
    local = local.lstrip(b".'-+%")
    found = _DOMAIN.match(raw, sign + 1)
    if not local or local[-1:] == b"." or found is None:
        return None
    labels = _labels(found[0])
    end = sign + 1 + len(b".".join(labels))
    if not labels or (local == b"git" and raw[end : end + 1] in (b":", b"/")):
        return None
    return Span(sign - len(local), end, "email")


def _labels(run: bytes) -> list[bytes]:
    """The labels of the longest domain name that a run of its characters begins with, or none."""
    labels: list[bytes] = []
    for label in run.split(b"."):
        if not 0 < len(label) < 64 or label[:1] == b"-":
            break
        labels.append(label.rstrip(b"-"))
        if label[-1:] == b"-":
            break
    while labels and not _TOP.fullmatch(labels[-1]):
        labels.pop()
    return labels if len(labels) > 1 and labels[-1].lower() not in _FILES else []


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
    return Span(begin, begin + len(address), "ip") if ip.is_global or not public_only else None


def _phones(raw: bytes, begin: int, end: int) -> Iterator[Span]:
    """The telephone numbers in a run of digits and separators."""
    edge = min(len(raw), end + 2)  # what look-aheads see
    if b"+" in raw[begin:end]:
        for match in _INTERNATIONAL.finditer(raw, begin, edge):
            yield from _fitting(match, 8)
    for match in _AMERICAN.finditer(raw, begin, edge):
        yield Span(match.start(), match.end(), "phone")
    if _NAME.search(raw[max(0, begin - 24) : begin]):
        start = end - len(raw[begin:end].lstrip(_LEADING))
        start -= raw[start - 1 : start] == b"("
        named = _NAMED.match(raw, start, edge)
        if named is not None:
            yield from _fitting(named, 7)


def _fitting(match: re.Match[bytes], least: int) -> Iterator[Span]:
    """A match of `least` to 15 digits (E.164's most); of a longer run the groups at its beginning that fit."""
    number = match[0]
    while sum(number.count(digit) for digit in _DIGITS) > 15:
        head = number.rstrip(b"0123456789").rstrip(_LEADING)
        number = head if len(head) < len(number) else b""
    if sum(number.count(digit) for digit in _DIGITS) >= least:
        yield Span(match.start(), match.start() + len(number), "phone")


_DIGITS = b"0123456789"

# --- the whole -----------------------------------------------------------------------------------------------------------


def find(raw: bytes, kinds: tuple[Kind, ...], *, public_only: bool = True) -> list[Span]:
    """Personal data of these kinds in UTF-8, in order, not overlapping; of two that overlap the earlier, then the longer, stays."""
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
    for candidate, begin, end in places[:count].tolist():
        span: Span | None = None
        if candidate == _EMAIL and "email" in kinds and begin >= last:
            span = _email(raw, begin, last)
            last = span.end if span else last
        elif candidate == _PHONE and "phone" in kinds:
            spans += _phones(raw, begin, end)
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


def mask(text: str, kinds: tuple[Kind, ...], public_only: bool = True) -> tuple[str, dict[str, int]]:
    """The text with placeholders, and how many of each kind there were. The text must have no lone surrogates."""
    raw = text.encode()
    spans = find(raw, kinds, public_only=public_only)
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

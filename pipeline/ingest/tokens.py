"""Secrets that have a form of their own: tokens that begin as their issuer says, and values after the name of what they open.

The forms are the union of what gitleaks, betterleaks and detect-secrets publish (`data/secret-kinds.tsv` says of each kind who has it), but
for what identifies and opens nothing (client ids, publishable keys). No library serves: detect-secrets runs its expressions on each line at
1 MB/s and knows 21 of these kinds, the other two are programs in Go. So a kernel looks for the *needle* of every form, the longest text
that is fixed in it, in one pass over the bytes (a hash of three bytes, then the whole needle), and an expression is matched there alone.
Every form is bounded in length, so time is linear. Departures from those rules:

- A form stands alone: neither letters nor digits before it, nothing of its alphabet behind it.
- What is drawn must look drawn: enough different characters, hardly any that follow their neighbour in the alphabet (`abcdef`,
  `000000`), no words that say that it is an example, and a digit, or letters as no word has them.
- A value after a name must be assigned to it (`=`, `:`, `=>`) within a few words, and be no hash.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import detect_secrets.filters.gibberish
import numpy as np
import numpy.typing as npt
from detect_secrets.filters.heuristic import is_potential_uuid, is_sequential_string, is_templated_secret
from detect_secrets.plugins.jwt import JwtTokenDetector
from gibberish_detector import serializer
from gibberish_detector.detector import Detector

from kernel import characters as char
from kernel.compile import kernel
from kernel.utf8 import Bytes, Offsets
from pipeline.ingest.data import rows

ALPHABETS = {
    "digit": "0-9",
    "hex": "0-9A-Fa-f",
    "lower": "0-9a-z",
    "upper": "0-9A-Z",
    "letter": "A-Za-z",
    "alnum": "0-9A-Za-z",
    "word": r"0-9A-Za-z_\-",
    "wordeq": r"0-9A-Za-z_=\-",
    "token": r"0-9A-Za-z_.=\-",
    "base64": "0-9A-Za-z+/=",
    "base64url": r"0-9A-Za-z+/_=\-",
    "bech32": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
    "azure": r"0-9A-Za-z_~.\-",
    "percent": "0-9A-Za-z%",
    "slack": "0-9A-Za-z+/_",
}
_CHOICE = re.compile(r"\[([^\[\]]+)\]")
_PART = re.compile(r"\{([a-z0-9]+):([0-9]+)(?:-([0-9]+))?\}|([^{]+)")
_FOLLOW = 12  # drawn characters that the kernel looks for behind a needle, at most


class Secret(NamedTuple):
    """A secret at bytes `begin` to `end`, and what stands in its place."""

    begin: int
    end: int
    kind: str
    placeholder: str


# --- what is drawn, and what only stands for it ---------------------------------------------------------------------------

_EXAMPLE = re.compile(
    r"(?i)example|your[-_]?|placeholder|changeme|dummy|redacted|replace|sample|xxxx|0000000|1234567890|abcdefgh|insert|t?here[-_]|secretkey"
    r"|fixme|todo"
)

_PIECES = re.compile(r"[_.\-/=]+")


@lru_cache(1)
def gibberish() -> Detector:
    """detect-secrets' model of pairs of letters."""
    model = Path(detect_secrets.filters.gibberish.__file__).parent / "rfc.model"
    return Detector(serializer.deserialize(model.read_text()), 0.0)


def entropy(value: str) -> float:
    """Bits a character, by how often each is in the value."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())


def is_placeholder(value: str) -> bool:
    """Whether a value stands for something that is no secret: an identifier, a template's variable, an alphabet."""
    return bool(is_potential_uuid(value) or is_templated_secret(value) or is_sequential_string(value))


def is_drawn(value: str) -> bool:
    """Whether a value looks drawn at random, rather than written."""
    if len(value) < 8:
        return True
    steps = sum(ord(b) - ord(a) in (0, 1) for a, b in pairwise(value))
    if 2 * steps >= len(value) or _EXAMPLE.search(value) or entropy(value) < min(0.55 * math.log2(len(value)), 2.6):
        return False
    if any(character.isdigit() for character in value):
        return True
    if len(pieces := _PIECES.split(value)) > 2 and max(map(len, pieces)) < 12:  # words with hyphens
        return False
    return bool(gibberish().calculate_probability_of_being_gibberish(value) > 3.7)  # detect-secrets' limit


# --- forms ---------------------------------------------------------------------------------------------------------------


class Form(NamedTuple):
    """What a kind of secret looks like."""

    pattern: re.Pattern[bytes]  # its groups are what is drawn
    needle: str
    least: int  # characters before the needle
    most: int
    follow: int  # drawn characters behind the needle, at least


def chosen(text: str) -> Iterator[str]:
    """A form in the notation of the table for each character of its choices: `gh[po]_` is `ghp_` and `gho_`."""
    pieces = _CHOICE.split(text)
    for choice in product(*(piece if number % 2 else [piece] for number, piece in enumerate(pieces))):
        yield "".join(choice)


def parsed(text: str) -> tuple[str, list[tuple[str, str, int, int]]]:
    """An expression for a form in the notation of the table, and its parts: (fixed text, alphabet, least, most)."""
    parts: list[tuple[str, str, int, int]] = []
    for match in _PART.finditer(text):
        alphabet, least, most, fixed = match.groups()
        parts.append((fixed, "", len(fixed), len(fixed)) if fixed else ("", ALPHABETS[alphabet], int(least), int(most or least)))
    expression = "".join(re.escape(fixed) if fixed else f"([{alphabet}]{{{least},{most}}})" for fixed, alphabet, least, most in parts)
    behind = parts[-1][1] or ALPHABETS["word"]
    return f"{expression}(?![{behind}])", parts


def form(text: str) -> Form:
    """A form in the notation of the table."""
    expression, parts = parsed(text)
    first = parts[0][1] or ("A-Za-z0-9" if parts[0][0][0].isalnum() else "")
    at = max(range(len(parts)), key=lambda number: len(parts[number][0]))
    follow = parts[at + 1][2] if at + 1 < len(parts) and "." not in parts[at + 1][1] else 0
    before = parts[:at]
    pattern = re.compile((f"(?<![{first}])" if first else "") + expression, re.ASCII)
    return Form(
        re.compile(pattern.pattern.encode()),
        parts[at][0],
        sum(part[2] for part in before),
        sum(part[3] for part in before),
        min(follow, _FOLLOW),
    )


# --- rules: what is done at a needle ---------------------------------------------------------------------------------------

Found = Iterator[Secret]


@dataclass(frozen=True)
class Rule:
    """What is looked for at a needle. `folded`: whatever its case."""

    needle: str
    folded: bool
    follow: int
    find: Callable[[bytes, int], Found]


def _alone(kind: str, shape: Form) -> Rule:
    """A form that says by itself what it is."""

    def find(raw: bytes, at: int) -> Found:
        for start in range(at - shape.most, at - shape.least + 1):
            match = shape.pattern.match(raw, start) if start >= 0 else None
            if match:
                drawn = max(match.groups(), key=len).decode()
                if is_drawn(drawn):
                    yield Secret(match.start(), match.end(), kind, "<KEY>")
                return

    return Rule(shape.needle, False, shape.follow, find)


_ASSIGNED = rb"[\w .\-]{0,30}[\"'`\])>]{0,3}\s{0,3}(?:=>|:=|:|=|,)\s{0,3}[\"'`(]{0,2}"
_HASHED = re.compile(rb"(?i)sha|md5|hash|checksum|digest|integrity|commit|revision|\brev\b|uuid|url|host|path|_id\b|\bid\b|name|version")


def _is_word_start(raw: bytes, at: int) -> bool:
    return at == 0 or not raw[at - 1 : at].isalpha() or (raw[at - 1 : at].islower() and raw[at : at + 1].isupper())


def after_name(name: str, forms: list[str]) -> re.Pattern[bytes]:
    """An expression for forms after a name and an assignment; its groups are what stands `between`, and the `value`."""
    values = "|".join(parsed(text)[0] for text in forms).encode()
    value = rb"(?P<value>(?:" + values + rb"))(?![\w+/=-]|\.\w)"
    return re.compile(re.escape(name.encode()) + rb"(?P<between>" + _ASSIGNED + rb")" + value, re.IGNORECASE)


def _named(kind: str, name: str, forms: list[str]) -> Rule:
    """Forms that say too little by themselves, after a name and an assignment."""
    pattern = after_name(name, forms)

    def find(raw: bytes, at: int) -> Found:
        match = pattern.match(raw, at) if _is_word_start(raw, at) else None
        if match and not _HASHED.search(match["between"]):
            value = match["value"].decode()
            if is_drawn(value) and (len(value) == 36 or not is_placeholder(value)):
                yield Secret(match.start("value"), match.end("value"), kind, "<KEY>")

    return Rule(name, True, 0, find)


GENERIC = "Assigned Secret"  # the kind of a value whose name says that it is a secret, and not whose
_GENERIC = ("secret", "token", "api_key", "apikey", "api-key", "access_key", "accesskey", "auth_key", "private_key", "passwd", "password")
_GENERIC_VALUE = re.compile(rb"(?P<between>" + _ASSIGNED + rb")(?P<value>[A-Za-z0-9_+/=.\-]{20,150})(?![A-Za-z0-9_+/=.\-(\[])")
_RUNS = re.compile(r"[0-9]+")


def _generic(name: str) -> Rule:
    """A value after a word for secrets, in quotes or not, that has one long piece of letters among digits."""

    def find(raw: bytes, at: int) -> Found:
        match = _GENERIC_VALUE.match(raw, at + len(name))
        if match is None or _HASHED.search(match["between"]):
            return
        value = match["value"].decode()
        longest = max(_PIECES.split(value), key=len)
        hexadecimal = set(value) <= set("0123456789abcdef")
        mixed = len(longest) >= 16 and len(_RUNS.findall(longest)) >= 3 and not longest.isdigit() and entropy(longest) >= 3.2
        if mixed and is_drawn(value) and not is_placeholder(value) and not (hexadecimal and len(value) not in (32, 40, 48, 64)):
            yield Secret(match.start("value"), match.end("value"), GENERIC, "<KEY>")

    return Rule(name, True, 0, find)


_JWT = re.compile(rb"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,4000}={0,2}\.[A-Za-z0-9_-]{2,8000}={0,2}(?:\.[A-Za-z0-9_+/-]{0,4000}={0,2})?")


def _json_web_token(raw: bytes, at: int) -> Found:
    match = _JWT.match(raw, at)
    if match:
        value = match[0].rstrip(b".").decode()
        if JwtTokenDetector.is_formally_valid(".".join(value.split(".")[:2])):
            yield Secret(at, at + len(value), "JSON Web Token", "<KEY>")


_BASE64_USER = re.compile(
    rb"auth(?:orization)?[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:Basic )?(?P<value>[A-Za-z0-9+/]{10,400}={0,2})(?![A-Za-z0-9+/=])", re.IGNORECASE
)


def _encoded_user(raw: bytes, at: int) -> Found:
    """`user:password` in base64: Docker's and npm's `auth`, HTTP's `Basic`."""
    match = _BASE64_USER.match(raw, at)
    if match is None or len(match["value"]) % 4:
        return
    try:
        user, colon, password = base64.b64decode(match["value"], validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return
    if user and colon and (user + password).isprintable() and not is_example(password):
        yield Secret(match.start("value"), match.end("value"), "Encoded Password", "<KEY>")


# --- passwords in URLs -----------------------------------------------------------------------------------------------------

_EXAMPLES = frozenset(
    re.findall(
        r"\S+",
        "pass password passwd pwd passw0rd secret example user username test pw mypassword your_password yourpassword pass123 xxx guest"
        " admin root postgres changeme token foo bar baz qux pa55word hunter2 1234 12345 123456 p4ssw0rd my-password api_key apikey key"
        " x-oauth-basic hidden none default docker mysql redis mongo rabbitmq",
    )
)
_USER_INFO = re.compile(rb"://[^\s/?#@:\"'`<>\\(){}\[\]|,;]{0,100}:(?P<password>[^\s/@\"'`<>\\]{1,200})@(?=[A-Za-z0-9\[_%${*<-])")
_VARIABLE = re.compile(r"[$%{<\[(]|^\*+$|^\.+$|^x+$|^-+$|^_+$|:", re.IGNORECASE)


def is_example(password: str) -> bool:
    """Whether a password is one of examples, or a variable in its place."""
    return password.lower() in _EXAMPLES or bool(_EXAMPLE.search(password)) or is_templated_secret(password) or len(set(password)) == 1


def _in_url(raw: bytes, at: int) -> Found:
    match = _USER_INFO.match(raw, at)
    if match is None:
        return
    password = match["password"].decode("utf-8", "replace")
    if is_example(password) or _VARIABLE.match(password) or ("${" in password) or (password.isdigit() and len(password) < 6):
        return
    yield Secret(match.start("password"), match.end("password"), "Basic Auth Credentials", "<PASSWORD>")


# --- the table, and the kernel that finds needles ---------------------------------------------------------------------------


@lru_cache(1)
def rules() -> tuple[Rule, ...]:
    """All rules; a needle has at least three characters."""
    found: list[Rule] = []
    for kind, near, cell, _ in rows("secret-kinds.tsv"):
        forms = [each for text in cell.split(" ") for each in chosen(text)]
        if near == "-":
            found += [_alone(kind, form(text)) for text in forms]
        else:
            found += [_named(kind, name, forms) for name in near.split(" ")]
    found += [_generic(name) for name in _GENERIC]
    found += [Rule("eyJ", False, 5, _json_web_token), Rule("auth", True, 0, _encoded_user), Rule("://", False, 0, _in_url)]
    return tuple(found)


_BITS = 14


class _Table(NamedTuple):
    """Needles for the kernel: by the hash of their first three bytes the first rule, and from each rule the next of the same hash."""

    first: npt.NDArray[np.int16]
    following: npt.NDArray[np.int16]
    starts: npt.NDArray[np.int32]
    letters: Bytes
    folded: npt.NDArray[np.bool_]
    follow: Bytes


def _hash(window: int) -> int:
    return ((window * 0x9E3779B1) & 0xFFFFFFFF) >> (32 - _BITS)


@lru_cache(1)
def _table() -> _Table:
    first = np.full(1 << _BITS, -1, np.int16)
    following, starts, folded, follow, letters = [], [0], [], [], b""
    for number, rule in enumerate(rules()):
        needle = rule.needle.encode()
        place = _hash(int.from_bytes(bytes(byte | 0x20 for byte in needle[:3]), "big"))
        following.append(int(first[place]))
        first[place] = number
        letters += bytes(byte | 0x20 for byte in needle) if rule.folded else needle
        starts.append(len(letters))
        folded.append(rule.folded)
        follow.append(rule.follow)
    return _Table(
        first,
        np.array(following, np.int16),
        np.array(starts, np.int32),
        np.frombuffer(letters, np.uint8),
        np.array(folded),
        np.array(follow, np.uint8),
    )


def _classes() -> Bytes:
    """Which bytes are letters and digits (1), and which may be drawn (2)."""
    table = np.zeros(256, np.uint8)
    table[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")] = 3
    table[list(b"+/_=-~%")] = 2
    return table


_CLASSES = _classes()


# Many arguments: the parts of the table.
@kernel
def _needles(
    data: Bytes,
    classes: Bytes,
    first: npt.NDArray[np.int16],
    following: npt.NDArray[np.int16],
    starts: npt.NDArray[np.int32],
    letters: Bytes,
    folded: npt.NDArray[np.bool_],
    follow: Bytes,
    out: Offsets,
) -> int:  # pragma: no cover - compiled
    """Where needles are, with as many characters behind them as need be that may be drawn: rows of `out` (place, rule), as many as fit;
    returns how many there are."""
    count, size = 0, len(data)
    window = np.uint32(0)
    for at in range(size):
        window = ((window << np.uint32(8)) | np.uint32(data[at] | char.CASE)) & np.uint32(0xFFFFFF)
        if at < 2:
            continue
        rule = first[((np.uint64(window) * np.uint64(0x9E3779B1)) & np.uint64(0xFFFFFFFF)) >> np.uint64(32 - _BITS)]
        while rule >= 0:
            begin, length = starts[rule], starts[rule + 1] - starts[rule]
            place = at - 2
            same = place + length + follow[rule] <= size
            step = 0
            while same and step < length:
                byte = data[place + step]
                same = letters[begin + step] == (byte | char.CASE if folded[rule] else byte)
                step += 1
            step = 0
            while same and step < follow[rule]:
                same = classes[data[place + length + step]] > 0
                step += 1
            if same:
                if count < len(out):
                    out[count, 0], out[count, 1] = place, rule
                count += 1
            rule = following[rule]
    return count


def needles(data: bytes) -> list[Any]:
    """Where the needles of rules are: (place, number of the rule), in the order of their places."""
    array = np.frombuffer(data, np.uint8)
    out = np.empty((max(64, len(data) // 100), 2), np.int64)
    count = _needles(array, _CLASSES, *_table(), out)
    if count > len(out):
        out = np.empty((count, 2), np.int64)
        _needles(array, _CLASSES, *_table(), out)
    return out[:count].tolist()  # type: ignore[no-any-return]


def tokens(data: bytes, passwords: bool) -> Iterator[Secret]:
    """All secrets with a form of their own, by where their needles are; they may overlap. `passwords`: those in URLs, too."""
    known = rules()
    for place, number in needles(data):
        for secret in known[number].find(data, place):
            if passwords or secret.placeholder != "<PASSWORD>":
                yield secret

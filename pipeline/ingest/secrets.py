"""Secrets in source code, found by detect-secrets' own plugins and masked.

The plugins are given every line, as in detect-secrets; lines of more than PIECE bytes are given in pieces. Python runs two dozen
regular expressions on each line at about 1 MB/s, so a compiled pass over the bytes finds first which plugins could find anything
in which line: each plugin has a trigger that every text it matches holds (a literal, or a run of characters of some least length).
Lines without a trigger are not given to it, and nothing is lost: the tests compare with every plugin on every line.

Plugins, limits and filters are BigCode's (StarCoder, Li et al. 2023, arXiv 2305.06161, section 4.3, and its `pii/utils/keys_detection.py`):
no keyword plugin; entropies of 4.5 (base64) and 3.0 (hex) bits; identifiers, UUIDs, templates, sequences, hashes and what is no
gibberish are no secrets. `<KEY>` and `<PASSWORD>` are StarCoder's placeholders (section 4.3). Departures:
- Tokens that detect-secrets has learnt since (GitLab, OpenAI, PyPI, Square, Telegram), passwords in URLs and whole blocks of private
  keys are looked for too.
- Filters for gibberish and hashes apply to the entropy plugins alone: a GitHub token is one whatever its letters.
- Gibberish is judged by the model and limit that come with detect-secrets, not by a model trained on a downloaded text. Hexadecimal
  strings are not judged so, as in detect-secrets, since they hold no words.
- A file counts as one of hashes where more than `hash_share` of its lines, and at least three, name a hash or checksum; BigCode counts
  each `sha`, as in `shape`.
- Tokens are masked whole. detect-secrets 1.5 reports the prefix of GitHub's and GitLab's alone (its patterns' first group), leaves out a
  JWT's signature, and takes what stands around Artifactory's.
- No verification over the network. No parsing of configuration files, so unquoted values in them are found by the token plugins alone.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import detect_secrets.filters.gibberish
import numpy as np
import numpy.typing as npt
from detect_secrets.filters.heuristic import is_potential_uuid, is_sequential_string, is_templated_secret
from detect_secrets.plugins import (
    artifactory,
    aws,
    azure_storage_key,
    basic_auth,
    cloudant,
    discord,
    github_token,
    gitlab_token,
    high_entropy_strings,
    ibm_cloud_iam,
    ibm_cos_hmac,
    jwt,
    mailchimp,
    npm,
    openai,
    private_key,
    pypi_token,
    sendgrid,
    slack,
    softlayer,
    square_oauth,
    stripe,
    telegram_token,
    twilio,
)
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin
from gibberish_detector import serializer
from gibberish_detector.detector import Detector
from pydantic import BaseModel, ConfigDict, Field

from kernel import characters as char
from kernel.compile import kernel
from kernel.utf8 import decode, is_inside

PIECE = 4096  # bytes of a line that are looked at together; longer lines are data, and patterns on them slow
OVERLAP = 512  # bytes that two pieces of a line share, so that a secret is whole in one of them
_BUDGET = 1 << 31  # characters that may be searched for further occurrences of what was found


class SecretsConfig(BaseModel):
    """How secrets in source code are found and masked. The defaults are BigCode's, but for the plugins it did not have."""

    model_config = ConfigDict(extra="forbid")

    base64_limit: float = Field(
        4.5, ge=0, le=8, description="Bits of entropy above which a quoted base64 string is a secret (detect-secrets: 4.5)."
    )
    hex_limit: float = Field(
        3.0, ge=0, le=8, description="Bits of entropy above which a quoted hexadecimal string is a secret (detect-secrets: 3.0)."
    )
    hex_least: int = Field(
        9, ge=9, description="Fewest characters of a hexadecimal string that is a secret; 9 is what the entropy limit of 3.0 implies."
    )
    gibberish_limit: float = Field(
        3.7,
        ge=0,
        description="Mean surprise of letter pairs above which a string is gibberish, not words "
        "(detect-secrets' model and limit: 3.7). 0: all strings count as gibberish.",
    )
    hash_share: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Share of lines that name hashes above which a file's high-entropy strings are hashes (BigCode: 0.02).",
    )
    passwords: bool = Field(True, description="Mask passwords in URLs (`://user:password@`) too; BigCode left them to its model.")
    private_keys: bool = Field(True, description="Mask blocks of private keys too.")


# --- triggers: which plugin could find something in which piece of which line ----------------------------------------------

_HEX, _BASE64, _UPPER, _ARTIFACTORY, _WORD24, _WORD32, _AZURE, _JWT, _SLACK, _NPM, _PRIVATE, _URL = (1 << bit for bit in range(12))
_EVERY = (1 << 12) - 1

_IS_HEX, _IS_BASE64, _IS_UPPER, _IS_ALNUM, _IS_WORD, _IS_QUOTE = 1, 2, 4, 8, 16, 32


def _classes() -> npt.NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for kind, members in (
        (_IS_HEX, string.hexdigits),
        (_IS_BASE64, string.ascii_letters + string.digits + "+/\\-_="),
        (_IS_UPPER, string.ascii_uppercase + string.digits),
        (_IS_ALNUM, string.ascii_letters + string.digits),
        (_IS_WORD, string.ascii_letters + string.digits + "_-\\"),
        (_IS_QUOTE, "'\""),
    ):
        for member in members:
            table[ord(member)] |= kind
    return table


_CLASSES = _classes()


def _window(literal: str) -> int:
    """A literal of 8 bytes at most as the number that the kernel's window of folded bytes (bit 5 set) makes of it."""
    value = 0
    for byte in literal.encode():
        value = value << 8 | byte | 0x20
    return value


# What the kernel looks for as literals; folding makes them match more than they say, which loses nothing.
_XOX, _EYJ, _SCHEME, _AKC, _AP = (_window(literal) for literal in ("xox", "eyJ", "://", "AKC", "AP"))
_KS_SLACK, _AUTH, _KEY, _PUTTY = (_window(literal) for literal in ("ks.slack", ":_authTo", "VATE KEY", "TTY-User"))


@lru_cache(1)
def _odd() -> npt.NDArray[np.bool_]:
    """By code point: what Python's expressions take for a digit or, without regard to case, for k or s, and is not ASCII. A piece with
    one is given to every plugin, so that the kernel need not count it in runs."""
    table = np.zeros(0x110000, np.bool_)
    table[[code for code in range(0x80, 0x110000) if chr(code).isdecimal()]] = True
    table[[0x17F, 0x212A]] = True
    return table


@kernel
def _scan(
    data: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.uint8],
    odd: npt.NDArray[np.bool_],
    piece: int,
    overlap: int,
    out: npt.NDArray[np.int64],
) -> int:  # pragma: no cover - compiled
    """Pieces with a trigger, as (start, end, triggers) in `out` (n, 3); how many there are, which may be more than `out` holds.

    A piece ends at a line feed, or at the first character after `piece` bytes; the next then begins `overlap` bytes before that.
    """
    count = 0
    start = 0
    size = len(data)
    mask3, mask8 = np.uint64(0xFFFFFF), np.uint64(0xFFFFFFFFFFFFFFFF)
    while start < size:
        triggers = 0
        hexes = base64 = upper = alnum = word = 0  # lengths of the runs that end here
        first3 = np.uint64(0)  # the first three bytes of the run of letters and digits, folded
        quoted = False  # a quote stands before the run of base64
        url = colon = False
        window = np.uint64(0)
        at = start
        cut = False
        while at < size:
            byte = data[at]
            if byte == char.LINE_FEED:
                break
            if at - start >= piece and not is_inside(byte):
                cut = True
                break
            if byte >= 0xC0 and odd[decode(data, at)[0]]:
                triggers = _EVERY
            kind = classes[byte]
            window = ((window << np.uint64(8)) | np.uint64(byte | char.CASE)) & mask8
            if kind & _IS_QUOTE and quoted:
                if base64 >= 9 and hexes == base64:
                    triggers |= _HEX
                if base64 >= 23:
                    triggers |= _BASE64
            if kind & _IS_QUOTE:
                quoted = True
                base64 = hexes = 0
            elif kind & _IS_BASE64:
                base64 += 1
                hexes = hexes + 1 if kind & _IS_HEX else 0
                if base64 >= 88:
                    triggers |= _AZURE
            else:
                quoted = False
                base64 = hexes = 0
            if kind & _IS_UPPER:
                upper += 1
                if upper == 20:
                    triggers |= _UPPER
            else:
                upper = 0
            if kind & _IS_ALNUM:
                alnum += 1
                if alnum <= 3:
                    first3 = window & mask3
                if alnum >= 11 and (first3 == np.uint64(_AKC) or (first3 >> np.uint64(8)) == np.uint64(_AP)):
                    triggers |= _ARTIFACTORY
            else:
                alnum = 0
            if kind & _IS_WORD:
                word += 1
                if word == 24:
                    triggers |= _WORD24
                elif word == 32:
                    triggers |= _WORD32
            else:
                word = 0
            if byte == char.COLON:
                if url:
                    colon = True
            elif byte == char.AT_SIGN and colon:
                triggers |= _URL
            last3 = window & mask3
            if last3 == np.uint64(_SCHEME):
                url = True
            elif last3 == np.uint64(_XOX):
                triggers |= _SLACK
            elif last3 == np.uint64(_EYJ):
                triggers |= _JWT
            if byte == char.k or byte == char.K:  # of hooks.slack
                if window == np.uint64(_KS_SLACK):
                    triggers |= _SLACK
            elif window == np.uint64(_AUTH):
                triggers |= _NPM
            elif window == np.uint64(_KEY) or window == np.uint64(_PUTTY):
                triggers |= _PRIVATE
            at += 1
        if triggers:
            if count < len(out):
                out[count, 0], out[count, 1], out[count, 2] = start, at, triggers
            count += 1
        if cut:
            start = at - overlap
            while is_inside(data[start]):
                start -= 1
        else:
            start = at + 1
    return count


def _pieces(data: bytes) -> list[tuple[int, int, int]]:
    """Pieces that some plugin could find something in, as (start, end, triggers)."""
    array = np.frombuffer(data, np.uint8)
    out = np.empty((max(64, len(data) // 200), 3), np.int64)
    count = _scan(array, _CLASSES, _odd(), PIECE, OVERLAP, out)
    if count > len(out):
        out = np.empty((count, 3), np.int64)
        _scan(array, _CLASSES, _odd(), PIECE, OVERLAP, out)
    return [(start, end, triggers) for start, end, triggers in out[:count].tolist()]


# --- plugins, some behind a form of theirs that takes linear time --------------------------------------------------------

Finder = Callable[[str], Iterator[str]]
_SPACES = re.compile(" {2,}")


def _plain(plugin: RegexBasedDetector) -> Finder:
    return plugin.analyze_string


def _whole(plugin: RegexBasedDetector) -> Finder:
    """Patterns whose groups hold only the token's prefix, which is all that detect-secrets 1.5 then reports: here the whole token."""

    def find(line: str) -> Iterator[str]:
        return (match.group() for pattern in plugin.denylist for match in pattern.finditer(line))

    return find


def _bare(plugin: RegexBasedDetector) -> Finder:
    """Patterns that match the space, sign or quote on either side of a token too."""

    def find(line: str) -> Iterator[str]:
        return (value.strip().strip('=:"') for value in plugin.analyze_string(line))

    return find


def _assignment(plugin: RegexBasedDetector) -> Finder:
    """Patterns of `name = value` have three runs of spaces in a row, which take cubic time on many spaces. They match the same values
    where each run of spaces is one."""

    def find(line: str) -> Iterator[str]:
        return plugin.analyze_string(_SPACES.sub(" ", line))

    return find


def _npm(plugin: RegexBasedDetector) -> Finder:
    """The pattern begins `//.+`. If it does not match from the first `//` of a line on, it matches from no later one either; if it does,
    the match reaches to the end of the line. So it is tried once a line."""
    (pattern,) = plugin.denylist

    def find(line: str) -> Iterator[str]:
        start = line.find("//")
        match = pattern.match(line, start) if start >= 0 else None
        yield from filter(None, match.groups()) if match else ()

    return find


def _jwt(plugin: RegexBasedDetector) -> Finder:
    """The pattern begins with `eyJ` and a run of letters. If it does not match from the first `eyJ` of a run on, it matches from no later
    one of that run either. So it is tried once a run."""
    run = r"[A-Za-z0-9\-_=]"
    pattern = re.compile(rf"(?<!{run})(?>{run}*?(?=eyJ))(eyJ{run}++\.{run}++\.?)")

    rest = re.compile(r"[A-Za-z0-9\-_.+/=]*")  # the signature, which the plugin's pattern leaves out since it ends in `*?`

    def find(line: str) -> Iterator[str]:
        for match in pattern.finditer(line):
            if jwt.JwtTokenDetector.is_formally_valid(match.group(1)):
                yield match.group(1) + rest.match(line, match.end()).group()  # type: ignore[union-attr]

    return find


def _openai(plugin: RegexBasedDetector) -> Finder:
    """The pattern begins with `sk-` and a run of letters. If it does not match from the first `sk-` of a run on, it matches from no later
    one of that run either. So it is tried once a run."""
    (pattern,) = plugin.denylist
    run = re.compile(r"[A-Za-z0-9\-_]*")

    def find(line: str) -> Iterator[str]:
        at = line.find("sk-") if "T3BlbkFJ" in line else -1
        while at >= 0:
            match = pattern.match(line, at)
            if match:
                yield match.group()
            beyond = match.end() if match else run.match(line, at).end()  # type: ignore[union-attr]
            at = line.find("sk-", beyond)

    return find


_TOKENS: tuple[tuple[int, RegexBasedDetector, Finder], ...] = tuple(
    (triggers, plugin, wrap(plugin))
    for triggers, plugin, wrap in (
        (_ARTIFACTORY, artifactory.ArtifactoryDetector(), _bare),
        (_UPPER | _BASE64, aws.AWSKeyDetector(), _plain),
        (_AZURE, azure_storage_key.AzureStorageKeyDetector(), _plain),
        (_WORD24, cloudant.CloudantDetector(), _assignment),
        (_WORD24, discord.DiscordBotTokenDetector(), _plain),
        (_WORD32, github_token.GitHubTokenDetector(), _whole),
        (_WORD24, gitlab_token.GitLabTokenDetector(), _whole),
        (_WORD32, ibm_cloud_iam.IbmCloudIamDetector(), _assignment),
        (_WORD32, ibm_cos_hmac.IbmCosHmacDetector(), _assignment),
        (_JWT, jwt.JwtTokenDetector(), _jwt),
        (_WORD32, mailchimp.MailchimpDetector(), _plain),
        (_NPM, npm.NpmDetector(), _npm),
        (_WORD32, openai.OpenAIDetector(), _openai),
        (_WORD32, pypi_token.PypiTokenDetector(), _plain),
        (_WORD32, sendgrid.SendGridDetector(), _plain),
        (_SLACK, slack.SlackDetector(), _plain),
        (_WORD32, softlayer.SoftlayerDetector(), _assignment),
        (_WORD32, square_oauth.SquareOAuthDetector(), _plain),
        (_WORD32, stripe.StripeDetector(), _plain),
        (_WORD32, telegram_token.TelegramBotTokenDetector(), _plain),
        (_WORD32, twilio.TwilioKeyDetector(), _plain),
    )
)
_PASSWORD = basic_auth.BasicAuthDetector()
_PEM = private_key.PrivateKeyDetector()
_ENTROPY = (
    (_BASE64, high_entropy_strings.Base64HighEntropyString(0)),
    (_HEX, high_entropy_strings.HexHighEntropyString(0)),
)


# --- what is no secret ---------------------------------------------------------------------------------------------------

# Passwords of examples.
_EXAMPLES = frozenset(
    [
        "pass",
        "password",
        "passwd",
        "pwd",
        "passw0rd",
        "secret",
        "example",
        "user",
        "username",
        "test",
        "pw",
        "mypassword",
        "your_password",
        "yourpassword",
        "pass123",
        "xxx",
    ]
)

# As detect-secrets' heuristic.is_likely_id_string has it; its first match ends first, so one search a line does for all.
# Linear: a few literals and one more character.
_IDENTIFIER = re.compile(r"(^(id|myid|userid)|_id)s?[^a-z0-9]", re.IGNORECASE)
# Linear: alternatives of literals and bounded numbers; nothing is repeated without end.
_HASHES = re.compile(r"(?<![a-z])(?:sha[-_]?(?:1|2|3|224|256|384|512)|md5|hash|checksum|digest|integrity)(?![a-z]{3})", re.IGNORECASE)
_HASH_NEAR = ("sha", "md5", "hash", "byte", "checksum", "digest", "integrity")  # BigCode has the first four
_HASH_VALUE = re.compile(r"(?:sha\d{1,3}|md5)[-:=_]", re.IGNORECASE)
_HASH_LENGTHS = (32, 40, 56, 64, 96, 128)  # BigCode: 32, 40, 64


@lru_cache(1)
def _gibberish() -> Detector:
    model = Path(detect_secrets.filters.gibberish.__file__).parent / "rfc.model"
    return Detector(serializer.deserialize(model.read_text()), 0.0)


def _is_words(value: str, limit: float) -> bool:
    if not limit or not set(value) - set(string.hexdigits + "-"):
        return False
    return bool(_gibberish().calculate_probability_of_being_gibberish(value) <= limit)


def _is_hash(value: str, before: str) -> bool:
    if _HASH_VALUE.match(value):
        return True
    return len(value) in _HASH_LENGTHS and any(word in before.lower() for word in _HASH_NEAR)


def _names_hashes(text: str, share: float) -> bool:
    return sum(1 for _ in _HASHES.finditer(text)) > max(2, share * (text.count("\n") + 1))


# --- finding and masking -------------------------------------------------------------------------------------------------


def _is_placeholder(value: str) -> bool:
    """Whether a value stands for something that is no secret: an identifier, a template's variable, an alphabet."""
    return bool(is_potential_uuid(value) or is_templated_secret(value) or is_sequential_string(value))


def _tokens(line: str, triggers: int) -> Iterator[tuple[str, str, str]]:
    """Secrets that have a form of their own."""
    for needed, plugin, find in _TOKENS:
        if triggers & needed:
            for value in find(line):
                if value and not _is_placeholder(value):
                    yield plugin.secret_type, value, "<KEY>"


def _passwords(line: str) -> Iterator[tuple[str, str, str]]:
    """Passwords in addresses."""
    for value in _PASSWORD.analyze_string(line):
        if not (is_templated_secret(value) or value.startswith(("$", "%")) or value.lower() in _EXAMPLES or set(value) <= set("*.x-_")):
            yield _PASSWORD.secret_type, value, "<PASSWORD>"


def _random_strings(
    line: str, needed: int, entropy: HighEntropyStringsPlugin, config: SecretsConfig, hashes: Callable[[], bool]
) -> Iterator[tuple[str, str, str]]:
    """Quoted strings that look drawn at random, and neither like words nor like hashes."""
    first_id: int | None = None
    limit, least = (config.base64_limit, 0) if needed == _BASE64 else (config.hex_limit, config.hex_least)
    for value in dict.fromkeys(entropy.analyze_string(line)):
        if len(value) < least or len(set(value)) < 2**limit or entropy.calculate_shannon_entropy(value) <= limit:
            continue
        if _is_placeholder(value):
            continue
        if first_id is None:  # where the line begins to speak of identifiers
            match = _IDENTIFIER.search(line)
            first_id = match.end() if match else len(line) + 1
        if line.find(value) >= first_id:
            continue
        if _is_words(value, config.gibberish_limit) or _is_hash(value, line[: line.find(value)]) or hashes():
            continue
        yield entropy.secret_type, value, "<KEY>"


def _found(line: str, triggers: int, config: SecretsConfig, hashes: Callable[[], bool]) -> Iterator[tuple[str, str, str]]:
    """Secrets of one piece, as (kind, value, placeholder), for the plugins that could find something."""
    yield from _tokens(line, triggers)
    if config.passwords and triggers & _URL:
        yield from _passwords(line)
    for needed, entropy in _ENTROPY:
        if triggers & needed:
            yield from _random_strings(line, needed, entropy, config, hashes)


# Linear: the first and the last line are literals with three bounded words; a body is matched once for each first line (27 bytes at least),
# 20,000 bytes far, and the search goes on behind it.
_PEM_BLOCK = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(rb"-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(rb"[A-Za-z0-9+/=:,.\- \t\r\n\\\"'#*>|]{0,20000}")
_PEM_LEAST = 64  # bytes of a body, below which it is a mention or an ellipsis


def _keys(data: bytes) -> Iterator[tuple[int, int]]:
    """The bodies of PEM blocks, from the end of the first line to the start of the last, or to where the body ends to be one."""
    at = 0
    while match := _PEM_BLOCK.search(data, at):
        body = _PEM_BODY.match(data, match.end())
        assert body is not None, "the pattern matches the empty text"
        end = _PEM_END.search(data, match.end(), min(len(data), body.end() + 64))
        stop = end.start() if end else body.end()
        while stop > match.end() and data[stop - 1 : stop] in (b" ", b"\n", b"\r", b"\t"):
            stop -= 1
        if stop - match.end() >= _PEM_LEAST:
            yield match.end(), stop
        at = max(match.end(), stop)


def _occurrences(data: bytes, value: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    at = data.find(value, start, end)
    while at >= 0:
        yield at, at + len(value)
        at = data.find(value, at + len(value), end)


def mask_secrets(text: str, config: SecretsConfig | None = None) -> tuple[str, dict[str, int]]:
    """The text with its secrets replaced by `<KEY>` and `<PASSWORD>`, and how many places of each kind (detect-secrets' names)
    were masked. A secret is masked wherever it stands in the text, as BigCode does, not only where a plugin saw it (for as many
    different secrets as can be searched for in a bounded time)."""
    config = config or SecretsConfig()
    data = text.encode("utf-8", "surrogatepass")
    pieces = _pieces(data)
    if not pieces:
        return text, {}
    known: list[bool] = []

    def hashes() -> bool:
        if not known:
            known.append(_names_hashes(text, config.hash_share))
        return known[0]

    spans: list[tuple[int, int, str, str]] = []
    everywhere: dict[bytes, tuple[str, str]] = {}
    most = max(16, _BUDGET // max(1, len(data)))
    pem = False
    for start, end, triggers in pieces:
        pem |= bool(triggers & _PRIVATE)
        if triggers == _PRIVATE:
            continue
        line = data[start:end].decode("utf-8", "surrogatepass")
        for kind, value, placeholder in _found(line, triggers, config, hashes):
            raw = value.encode("utf-8", "surrogatepass")
            if raw in everywhere:
                continue
            if len(everywhere) < most and placeholder == "<KEY>":
                everywhere[raw] = kind, placeholder
            else:
                spans += [(*place, kind, placeholder) for place in _occurrences(data, raw, start, end)]
    for raw, (kind, placeholder) in everywhere.items():
        spans += [(*place, kind, placeholder) for place in _occurrences(data, raw, 0, len(data))]
    if pem and config.private_keys and any(_PEM.analyze_string(text)):
        spans += [(start, end, _PEM.secret_type, "\n<KEY>\n") for start, end in _keys(data)]
    if not spans:
        return text, {}
    spans.sort(key=lambda span: (span[0], -span[1]))
    parts: list[bytes] = []
    counts: dict[str, int] = {}
    at = 0
    for start, end, kind, placeholder in spans:
        if start < at:  # within one that is masked already; what hangs over is masked with it
            at = max(at, end)
            continue
        parts += (data[at:start], placeholder.encode())
        counts[kind] = counts.get(kind, 0) + 1
        at = end
    parts.append(data[at:])
    return b"".join(parts).decode("utf-8", "surrogatepass"), dict(sorted(counts.items()))

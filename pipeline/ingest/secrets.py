"""Secrets in source code, found and masked: those with a form of their own (`tokens.py`), quoted strings drawn at random, private keys.

Quoted strings are judged by detect-secrets' plugins for entropy, as in BigCode (StarCoder, Li et al. 2023, arXiv 2305.06161, section 4.3,
and its `pii/utils/keys_detection.py`): no keyword plugin; entropies of 4.5 (base64) and 3.0 (hex) bits; identifiers, UUIDs, templates,
sequences, hashes and what is no gibberish are no secrets. `<KEY>` and `<PASSWORD>` are StarCoder's placeholders (section 4.3). The plugins
are given every line that a compiled pass found a quoted run of such characters in, long enough to have the entropy; the tests compare with
all lines. Lines of more than PIECE bytes are given in pieces. Departures:
- Of tokens there are ten times as many kinds as detect-secrets has; passwords in URLs and blocks of private keys are looked for, too.
- Filters for hashes apply to quoted strings alone: a GitHub token is one whatever its letters.
- Gibberish is judged by the model and limit that come with detect-secrets, not by a model trained on a downloaded text. Hexadecimal
  strings are not judged so, as in detect-secrets, since they hold no words.
- A file counts as one of hashes where more than `hash_share` of its lines, and at least three, name a hash or checksum; BigCode counts
  each `sha`, as in `shape`.
- Decimal numbers, and strings that encode readable text or compressed data, are no secrets.
- No verification over the network. No parsing of configuration files: unquoted values are found where their name says what they are.
"""

from __future__ import annotations

import base64
import binascii
import re
import string
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from detect_secrets.plugins import high_entropy_strings
from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin
from pydantic import BaseModel, ConfigDict, Field

from kernel import characters as char
from kernel.compile import kernel
from kernel.utf8 import is_inside
from pipeline.ingest.tokens import GENERIC, Secret, gibberish, is_placeholder, tokens

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


# --- triggers: in which pieces of which lines a quoted string may be a secret ------------------------------------------------

_HEX, _BASE64 = 1, 2
_EVERY = _HEX | _BASE64

_IS_HEX, _IS_BASE64, _IS_QUOTE = 1, 2, 4


def _classes() -> npt.NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for kind, members in (
        (_IS_HEX, string.hexdigits),
        (_IS_BASE64, string.ascii_letters + string.digits + "+/\\-_="),
        (_IS_QUOTE, "'\""),
    ):
        for member in members:
            table[ord(member)] |= kind
    return table


_CLASSES = _classes()


@kernel
def _scan(
    data: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8], piece: int, overlap: int, out: npt.NDArray[np.int64]
) -> int:  # pragma: no cover - compiled
    """Pieces with a trigger, as (start, end, triggers) in `out` (n, 3); how many there are, which may be more than `out` holds.

    A piece ends at a line feed, or at the first character after `piece` bytes; the next then begins `overlap` bytes before that.
    """
    count = 0
    start = 0
    size = len(data)
    while start < size:
        triggers = 0
        hexes = base64 = 0  # lengths of the runs that end here
        quoted = False  # a quote stands before the run of base64
        at = start
        cut = False
        while at < size:
            byte = data[at]
            if byte == char.LINE_FEED:
                break
            if at - start >= piece and not is_inside(byte):
                cut = True
                break
            kind = classes[byte]
            if kind & _IS_QUOTE:
                if quoted:
                    if base64 >= 9 and hexes == base64:
                        triggers |= _HEX
                    if base64 >= 23:
                        triggers |= _BASE64
                quoted = True
                base64 = hexes = 0
            elif kind & _IS_BASE64:
                base64 += 1
                hexes = hexes + 1 if kind & _IS_HEX else 0
            else:
                quoted = False
                base64 = hexes = 0
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
    """Pieces in which some quoted string may be a secret, as (start, end, triggers)."""
    array = np.frombuffer(data, np.uint8)
    out = np.empty((max(64, len(data) // 200), 3), np.int64)
    count = _scan(array, _CLASSES, PIECE, OVERLAP, out)
    if count > len(out):
        out = np.empty((count, 3), np.int64)
        _scan(array, _CLASSES, PIECE, OVERLAP, out)
    return [(start, end, triggers) for start, end, triggers in out[:count].tolist()]


_ENTROPY = (
    (_BASE64, high_entropy_strings.Base64HighEntropyString(0)),
    (_HEX, high_entropy_strings.HexHighEntropyString(0)),
)

# --- quoted strings drawn at random ----------------------------------------------------------------------------------------

# As detect-secrets' heuristic.is_likely_id_string has it; its first match ends first, so one search a line does for all.
# Linear: a few literals and one more character.
_IDENTIFIER = re.compile(r"(^(id|myid|userid)|_id)s?[^a-z0-9]", re.IGNORECASE)
# Linear: alternatives of literals and bounded numbers; nothing is repeated without end.
_HASHES = re.compile(r"(?<![a-z])(?:sha[-_]?(?:1|2|3|224|256|384|512)|md5|hash|checksum|digest|integrity)(?![a-z]{3})", re.IGNORECASE)
_HASH_NEAR = ("sha", "md5", "hash", "byte", "checksum", "digest", "integrity")  # BigCode has the first four
_HASH_VALUE = re.compile(r"(?:sha\d{1,3}|md5)[-:=_]", re.IGNORECASE)
_HASH_LENGTHS = (32, 40, 56, 64, 96, 128)  # BigCode: 32, 40, 64


def _is_words(value: str, limit: float) -> bool:
    if not limit or not set(value) - set(string.hexdigits + "-"):
        return False
    return bool(gibberish().calculate_probability_of_being_gibberish(value) <= limit)


_PACKED = (b"\x1f\x8b\x08", b"\x78\x9c", b"\x89PNG", b"PK\x03\x04", b"BZh", b"\x28\xb5\x2f\xfd")  # of gzip, zlib, PNG, zip, bzip2, zstd


def _is_readable(value: str, hexadecimal: bool) -> bool:
    """Whether a value is a number, or encodes text or compressed data that begin as such do."""
    if value.isdecimal():
        return True
    try:
        raw = bytes.fromhex(value) if hexadecimal else base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (ValueError, binascii.Error):
        return False
    return raw.startswith(_PACKED) or all(0x20 <= byte < 0x7F or byte in b"\t\r\n" for byte in raw)


def _is_hash(value: str, before: str) -> bool:
    if _HASH_VALUE.match(value) or before.lower().rstrip("w/\"'\\:, ").endswith("etag"):
        return True
    return len(value) in _HASH_LENGTHS and any(word in before.lower() for word in _HASH_NEAR)


def _names_hashes(text: str, share: float) -> bool:
    return sum(1 for _ in _HASHES.finditer(text)) > max(2, share * (text.count("\n") + 1))


def _random_strings(
    line: str, needed: int, entropy: HighEntropyStringsPlugin, config: SecretsConfig, hashes: Callable[[], bool]
) -> Iterator[tuple[str, str]]:
    """Quoted strings that look drawn at random, and neither like words nor like hashes."""
    first_id: int | None = None
    limit, least = (config.base64_limit, 0) if needed == _BASE64 else (config.hex_limit, config.hex_least)
    for value in dict.fromkeys(entropy.analyze_string(line)):
        if len(value) < least or len(set(value)) < 2**limit or entropy.calculate_shannon_entropy(value) <= limit:
            continue
        if is_placeholder(value) or _is_readable(value, needed == _HEX):
            continue
        if first_id is None:  # where the line begins to speak of identifiers
            match = _IDENTIFIER.search(line)
            first_id = match.end() if match else len(line) + 1
        if line.find(value) >= first_id:
            continue
        if _is_words(value, config.gibberish_limit) or _is_hash(value, line[: line.find(value)]) or hashes():
            continue
        yield entropy.secret_type, value


# --- private keys -----------------------------------------------------------------------------------------------------------

# Linear: the first and the last line are literals with three bounded words; a body is matched once for each first line (27 bytes at least),
# 20,000 bytes far, and the search goes on behind it.
_PEM_BLOCK = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[23]: [a-z0-9-]{1,40}")
_PEM_END = re.compile(rb"-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----|Private-MAC:")
_PEM_BODY = re.compile(rb"[A-Za-z0-9+/=:,.\- \t\r\n\\\"'#*>|()@_]{0,20000}")
_PEM_LEAST = 64  # bytes of a body, below which it is a mention or an ellipsis


def _private_keys(data: bytes) -> Iterator[Secret]:
    """The bodies of PEM blocks, from the end of the first line to the start of the last, or to where the body ends to be one."""
    at = 0
    while match := _PEM_BLOCK.search(data, at):
        body = _PEM_BODY.match(data, match.end())
        assert body is not None, "the pattern matches the empty text"
        end = _PEM_END.search(data, match.end(), min(len(data), body.end() + 64))
        begin, stop = match.end(), end.start() if end else body.end()
        while begin < stop and data[begin : begin + 1].isspace():
            begin += 1
        while stop > begin and data[stop - 1 : stop].isspace():
            stop -= 1
        if stop - begin >= _PEM_LEAST and _KEY_LINE.search(data, begin, stop):
            yield Secret(begin, stop, "Private Key", "<KEY>")
        at = max(match.end(), stop)


_KEY_LINE = re.compile(rb"[A-Za-z0-9+/]{40}")  # what no mention of a key in a sentence has

# --- finding and masking ------------------------------------------------------------------------------------------------------


def _occurrences(data: bytes, value: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    at = data.find(value, start, end)
    while at >= 0:
        yield at, at + len(value)
        at = data.find(value, at + len(value), end)


def _random_in(data: bytes, config: SecretsConfig) -> Iterator[tuple[int, int, str, bytes]]:
    """Quoted strings that look drawn at random, as (start and end of the piece that has it, kind, value)."""
    known: list[bool] = []

    def hashes() -> bool:
        if not known:
            known.append(_names_hashes(data.decode("utf-8", "surrogatepass"), config.hash_share))
        return known[0]

    for start, end, triggers in _pieces(data):
        line = data[start:end].decode("utf-8", "surrogatepass")
        for needed, entropy in _ENTROPY:
            if triggers & needed:
                for kind, value in _random_strings(line, needed, entropy, config, hashes):
                    yield start, end, kind, value.encode("utf-8", "surrogatepass")


def find_secrets(data: bytes, config: SecretsConfig) -> list[Secret]:
    """The secrets in UTF-8 (lone surrogates may be in it), in order; those that overlap are one.

    A secret is found wherever it stands in the text, as in BigCode, not only where a rule saw it (for as many different secrets as can be
    searched for in a bounded time).
    """
    found = list(tokens(data, config.passwords))
    if config.private_keys and (b"PRIVATE KEY" in data or b"PuTTY-User" in data):
        found += _private_keys(data)
    everywhere: dict[bytes, str] = {}
    most = max(16, _BUDGET // max(1, len(data)))
    for secret in found:
        if secret.placeholder == "<KEY>" and secret.end - secret.begin < PIECE and len(everywhere) < most:
            everywhere.setdefault(data[secret.begin : secret.end], secret.kind)
    for start, end, kind, value in _random_in(data, config):
        if len(everywhere) < most:
            everywhere.setdefault(value, kind)
        elif value not in everywhere:
            found += [Secret(*place, kind, "<KEY>") for place in _occurrences(data, value, start, end)]
    for value, kind in everywhere.items():
        found += [Secret(*place, kind, "<KEY>") for place in _occurrences(data, value, 0, len(data))]
    found.sort(key=lambda secret: (secret.begin, -secret.end, secret.kind == GENERIC))
    kept: list[Secret] = []
    for secret in found:
        if kept and secret.begin < kept[-1].end:  # within one that is masked already; what hangs over is masked with it
            kept[-1] = kept[-1]._replace(end=max(kept[-1].end, secret.end))
        else:
            kept.append(secret)
    return kept


def mask_secrets(text: str, config: SecretsConfig | None = None) -> tuple[str, dict[str, int]]:
    """The text with its secrets replaced by `<KEY>` and `<PASSWORD>`, and how many places of each kind were masked (the names of
    `data/secret-kinds.tsv`, and of detect-secrets' plugins)."""
    data = text.encode("utf-8", "surrogatepass")
    found = find_secrets(data, config or SecretsConfig())
    if not found:
        return text, {}
    parts: list[bytes] = []
    counts: dict[str, int] = {}
    at = 0
    for secret in found:
        parts += (data[at : secret.begin], secret.placeholder.encode())
        counts[secret.kind] = counts.get(secret.kind, 0) + 1
        at = secret.end
    parts.append(data[at:])
    return b"".join(parts).decode("utf-8", "surrogatepass"), dict(sorted(counts.items()))

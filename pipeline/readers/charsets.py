"""Bytes of the web to text, by the tables of the WHATWG Encoding Standard (encoding.spec.whatwg.org), as browsers have them.

Python's codecs of the same names are older standards: its `shift_jis` and `euc_kr` lack characters that every page uses (the circled
digits, a third of the Hangul syllables), its `gbk` has no euro, and at a byte that is wrong some of them lose their place in the text.
Here a byte that is wrong costs one character (U+FFFD), and reading goes on where the standard says.

Departures, where the standard guards against scripts that hide in a page: hz-gb-2312 and iso-2022-kr, which browsers refuse, are read by
Python's codecs, and in ISO-2022-JP an escape right after another is no fault.
"""

from __future__ import annotations

import codecs
import json
import re
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from chardetng_py import EncodingDetector
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from kernel.compile import leaf

Codes = npt.NDArray[np.int32]

_REPLACEMENT = 0xFFFD
_WRONG, _LEAD, _THREE = -1, -2, -3  # what a byte begins that is no character by itself: nothing, two bytes, three (EUC-JP's 0x8F)
_TWO_CODES = 0x110000  # and the three numbers after it: Big5's four pairs of bytes that are a letter and an accent
_LETTERS, _ACCENTS = "ÊÊêê", "\u0304\u030c\u0304\u030c"
_BEYOND_BMP = 189_000  # the pointer of U+10000 among the four-byte sequences of gb18030
_LAST_POINTER = 1_237_575  # of U+10FFFF
_BY_PYTHON = {"hz-gb-2312": "hz", "iso-2022-kr": "iso2022_kr", "utf-8": "utf-8", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be"}
_PAIRS = {"gbk": "gb18030", "gb18030": "gb18030", "big5": "big5", "euc-kr": "euc-kr", "euc-jp": "euc-jp", "shift_jis": "shift_jis"}
_DETECT_WITHIN = 1 << 18  # bytes of a page that its charset is guessed from
_ESCAPES = re.compile(rb"\x1b(\([BJI]|\$[@B])")  # of ISO-2022-JP, from which on its bytes are in another set
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_HIGH_BITS = bytes(byte | 0x80 if 0x21 <= byte <= 0x7E else 0xFF for byte in range(256))


class _Pairs(NamedTuple):
    """A charset of one to four bytes a character, as arrays of code points."""

    singles: Codes  # (256,): of a byte alone, or what it begins
    pairs: Codes  # (128, 256): of a byte from 0x80 on and the one after it; _WRONG where it is none
    triples: Codes  # (128, 256): of the two bytes after 0x8F in EUC-JP; empty elsewhere
    pointers: Codes  # (ranges,): gb18030's four-byte sequences by their number, the first of each range; empty elsewhere
    codes: Codes  # (ranges,): the code point of each


@leaf
def _decode(data: npt.NDArray[np.uint8], table: Any, out: Codes, said: npt.NDArray[np.int64]) -> int:  # pragma: no cover - compiled
    """Write the code points of `data` to `out` (as long as it) and return their number; `said[0]`: where the first is wrong, or -1."""
    at, count, size = 0, 0, len(data)
    said[0] = -1
    while at < size:
        begin = at
        byte = data[at]
        at += 1
        code = table.singles[byte]
        if code <= _LEAD and at == size:  # cut off in a character
            code = _WRONG
        elif code <= _LEAD:
            trail = data[at]
            is_three = code == _THREE and 0xA1 <= trail <= 0xFE
            code = _WRONG
            if is_three:
                at += 1
                if at < size:
                    code = table.triples[trail - 128, data[at]]
                    at += code >= 0 or data[at] >= 128
            elif len(table.pointers) and 0x30 <= trail <= 0x39:
                if at + 1 == size or (0x81 <= data[at + 1] <= 0xFE and at + 2 == size):  # cut off: one character, whatever of it is there
                    at = size
                elif 0x81 <= data[at + 1] <= 0xFE and 0x30 <= data[at + 2] <= 0x39:
                    pointer = (((byte - 0x81) * 10 + trail - 0x30) * 126 + data[at + 1] - 0x81) * 10 + data[at + 2] - 0x30
                    at += 3
                    if pointer >= _BEYOND_BMP:
                        code = pointer - _BEYOND_BMP + 0x10000 if pointer <= _LAST_POINTER else _WRONG
                    elif pointer < 39420:
                        place = np.searchsorted(table.pointers, pointer, "right") - 1
                        code = table.codes[place] + pointer - table.pointers[place]
            else:
                code = table.pairs[byte - 128, trail]
                at += code >= 0 or trail >= 128  # of a pair that is wrong an ASCII byte is read again, by itself
        if code == _WRONG and said[0] < 0:
            said[0] = begin
        out[count] = code if code != _WRONG else _REPLACEMENT
        count += 1
    return count


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(resources.files("pipeline.readers").joinpath("data/charsets.json").read_text(encoding="utf-8"))
    return tables


@cache
def _labels() -> dict[str, str]:
    return {label: name for name, labels in _tables()["labels"].items() for label in labels}


def name_of(label: str | None) -> str | None:
    """The standard's name of a charset by one of its 228 labels (`latin1` is `windows-1252`); None where it knows no such label."""
    return _labels().get(label.strip("\t\n\f\r ").lower()) if label else None


def _rows(rows: list[str], leads: range | list[int], trails: list[int]) -> Codes:
    """The rows of an index as an array of (lead - 128, trail)."""
    table = np.full((128, 256), _WRONG, np.int32)
    for lead, row in zip(leads, rows, strict=True):
        codes = np.frombuffer(row.encode("utf-32-le"), np.int32)
        table[lead - 128, trails[: len(codes)]] = np.where(codes == ord(" "), _WRONG, codes)
    return table


def _shift_jis() -> Codes:
    """The pairs of Shift_JIS: two rows of JIS X 0208 for each first byte; rows 95 to 114 are for private use."""
    table = np.full((128, 256), _WRONG, np.int32)
    trails = [*range(0x40, 0x7F), *range(0x80, 0xFD)]
    for number, lead in enumerate([*range(0x81, 0xA0), *range(0xE0, 0xFD)]):
        for half in range(2):
            row = 2 * number + half
            codes = np.frombuffer(_tables()["jis0208"][row].ljust(94).encode("utf-32-le"), np.int32)
            if 94 <= row < 114:
                codes = np.arange(94, dtype=np.int32) + 0xE000 + (row - 94) * 94
            table[lead - 128, trails[94 * half : 94 * half + 94]] = np.where(codes == ord(" "), _WRONG, codes)
    return table


@cache
def _pairs(name: str) -> _Pairs:
    singles = np.arange(256, dtype=np.int32)
    singles[128:] = _WRONG
    triples, pointers = np.empty((0, 256), np.int32), np.empty((0, 2), np.int32)
    if name == "shift_jis":
        singles[0x80], singles[0x81:0xA0], singles[0xE0:0xFD] = 0x80, _LEAD, _LEAD
        singles[0xA1:0xE0] = np.arange(0xFF61, 0xFFA0)
        pairs = _shift_jis()
    elif name == "euc-jp":
        rows = [*range(0xA1, 0xFF)]
        pairs = _rows(_tables()["jis0208"][:94], rows, rows)
        pairs[0x8E - 128, 0xA1:0xE0] = np.arange(0xFF61, 0xFFA0)
        triples = _rows(_tables()["jis0212"], rows, rows)
        singles[0xA1:0xFF], singles[0x8E], singles[0x8F] = _LEAD, _LEAD, _THREE
    else:
        singles[0x81:0xFF] = _LEAD
        trails = {
            "euc-kr": [*range(0x41, 0xFF)],
            "big5": [*range(0x40, 0x7F), *range(0xA1, 0xFF)],
            "gb18030": [*range(0x40, 0x7F), *range(0x80, 0xFF)],
        }[name]
        pairs = _rows(_tables()[name], range(0x81, 0xFF), trails)
        if name == "big5":
            pairs[(pairs >= 0xE000) & (pairs < 0xE004)] += _TWO_CODES - 0xE000
        if name == "gb18030":
            singles[0x80] = ord("€")
            pointers = np.array(_tables()["gb18030_ranges"], np.int32)
    return _Pairs(singles, pairs, triples, np.ascontiguousarray(pointers[:, 0]), np.ascontiguousarray(pointers[:, 1]))


def _by_pairs(data: bytes, name: str) -> tuple[str, int]:
    """The text, and the place of the first byte that is wrong, or -1."""
    out, said = np.empty(len(data), np.int32), np.empty(1, np.int64)
    count = _decode(np.frombuffer(data, np.uint8), _pairs(name), out, said)
    codes = out[:count]
    if name == "big5" and count and codes.max() >= _TWO_CODES:
        parts = [_LETTERS[code - _TWO_CODES] + _ACCENTS[code - _TWO_CODES] if code >= _TWO_CODES else chr(code) for code in codes.tolist()]
        return "".join(parts), int(said[0])
    return codes.tobytes().decode("utf-32-le"), int(said[0])


def _iso_2022_jp(data: bytes) -> str:
    """Escapes choose the set of what follows: ASCII, JIS's Roman letters, half-width katakana, or pairs of JIS X 0208."""
    parts, chosen = [], b"(B"
    for number, part in enumerate(_ESCAPES.split(data)):
        if number % 2:
            chosen = part
        elif chosen in (b"(B", b"(J"):
            text = part.decode("ascii", "replace").replace("\x0e", "\ufffd").replace("\x0f", "\ufffd").replace("\x1b", "\ufffd")
            parts.append(text if chosen == b"(B" else text.replace("\\", "¥").replace("~", "‾"))
        elif chosen == b"(I":
            parts.append("".join(chr(byte + 0xFF61 - 0x21) if 0x21 <= byte <= 0x5F else "\ufffd" for byte in part))
        else:  # pairs of EUC-JP, without their high bits
            parts.append(_by_pairs(part.translate(_HIGH_BITS), "euc-jp")[0])
    return "".join(parts)


@cache
def _singles(name: str) -> str:
    return "".join(map(chr, range(128))) + str(_tables()["single"][name])


def decode(data: bytes, name: str) -> str:
    """Text in a charset by the standard's name (of `name_of`), or by one of Python's. What is wrong becomes U+FFFD; nothing is raised.

    Byte order marks are text here. Raises `LookupError` where neither knows the name.
    """
    if name in _PAIRS:
        return _by_pairs(data, _PAIRS[name])[0]
    if name in _tables()["single"]:
        return codecs.charmap_decode(data, "replace", _singles(name))[0]
    if name == "iso-2022-jp":
        return _iso_2022_jp(data)
    return data.decode(_BY_PYTHON.get(name, name), "replace")


def decode_strictly(data: bytes, name: str) -> str:
    """The same. Raises `UnicodeDecodeError`, which has the byte's offset, for what is wrong, and `LookupError` for the name."""
    if name in _PAIRS:
        text, wrong = _by_pairs(data, _PAIRS[name])
    elif name in _tables()["single"] or name == "iso-2022-jp":
        text = decode(data, name)
        wrong = text.find("\ufffd")  # of ISO-2022-JP, whose escapes are no text, at most so far
    else:
        return data.decode(_BY_PYTHON.get(name, name))
    if wrong >= 0:
        raise UnicodeDecodeError(name, data, wrong, wrong + 1, "no character of this charset")
    return text


def detect(data: bytes, domain: str | None = None) -> str:
    """The charset that bytes look like, by Firefox's detector (chardetng), which weighs what top-level `domain` they are from.

    It falls back on windows-1252. Where hardly a byte beyond ASCII stands alone, as in no language of Latin letters, Mozilla's earlier one
    (uchardet) is asked, too: it knows Thai by more of its words.
    """
    detector = EncodingDetector()
    head = data[:_DETECT_WITHIN]
    detector.feed(head, last=len(head) == len(data))
    hint = domain.encode("ascii") if domain and domain.isascii() and domain.isalnum() and domain.islower() else None
    found = name_of(detector.guess(tld=hint, allow_utf8=True)) or "windows-1252"
    runs = _BEYOND_ASCII.findall(head) if found == "windows-1252" else []
    if sum(map(len, runs)) > 3 * len(runs):
        other = detect_encoding(head, from_html_meta=False)
        found = (name_of(map_encoding_to_html5(other, fallback_utf8=False)) if other else None) or found
    return found

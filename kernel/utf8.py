"""UTF-8 in Arrow buffers: views for kernels, one decoder, one table of character classes.

Kernels see a column as two numpy arrays, `offsets` int64 (n + 1,) and `data` uint8: document `i` is
`data[offsets[i]:offsets[i + 1]]`. No Python string is made.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.compile import kernel, leaf

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

# Classes of code points. UNSPACED are letters and marks of the scripts that are written without spaces between words.
OTHER, SPACE, LETTER, NUMBER, MARK, PUNCTUATION, UNSPACED = range(7)
TERMINAL = 8  # a bit that statistics add to marks that end sentences
CLASS = 7  # the bits of a class, without it


def utf8_view(column: pa.Array | pa.ChunkedArray) -> tuple[Offsets, Bytes]:
    """A string or large_string column as `(offsets, data)`, without copying the text; nulls read as empty."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # what combine_chunks gives where one array could not hold it all
        array = pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in array.chunks])
    if array.null_count:
        array = array.fill_null("")
    width: Any = np.int64 if pa.types.is_large_string(array.type) else np.int32
    if len(array) == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, offsets, data = array.buffers()
    view = np.frombuffer(offsets, dtype=width)[array.offset : array.offset + len(array) + 1]
    text = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, np.uint8)
    return view.astype(np.int64), text


# Scripts without spaces between words, by how the names of their letters and marks begin: Han, Kana, and all that Unicode's line breaking
# leaves to dictionaries (class SA of UAX #14), with a few that are written alike. Hangul has spaces.
_UNSPACED = (
    "CJK", "IDEOGRAPHIC", "VERTICAL IDEOGRAPHIC", "OLD CHINESE ITERATION", "BOPOMOFO",
    "HIRAGANA", "KATAKANA", "HENTAIGANA", "HALFWIDTH KATAKANA", "COMBINING KATAKANA",
    "THAI", "LAO", "KHMER", "MYANMAR", "TAI ", "NEW TAI LUE", "AHOM", "JAVANESE", "BALINESE", "YI SYLLABLE",
)  # fmt: skip
_TSHEGS = (0x0F0B, 0x0F0C, 0x0FD2)  # they stand between the syllables of Tibetan, as spaces do between words
_ZERO = 0x3007  # of Han, a number by its category


def _class_of(code: int) -> int:
    category = unicodedata.category(chr(code))
    if (category[0] in "LM" and unicodedata.name(chr(code), "").startswith(_UNSPACED)) or code == _ZERO:
        return UNSPACED
    if code in _TSHEGS:
        return OTHER
    if category in ("Zs", "Zl", "Zp") or chr(code) in "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85":
        return SPACE
    return {"L": LETTER, "N": NUMBER, "M": MARK, "P": PUNCTUATION, "S": PUNCTUATION}.get(category[0], OTHER)


@cache
def tables() -> tuple[Bytes, npt.NDArray[np.uint32]]:
    """`(classes, lower)` over all 0x110000 code points: the class of each, and its one-to-one lower case.

    From the running Python's Unicode database. What is UNSPACED is divided into words by `kernel.boundaries`.
    """
    classes = np.zeros(0x110000, np.uint8)
    lower = np.arange(0x110000, dtype=np.uint32)
    for code in range(0x110000):
        if 0x33480 <= code < 0xE0000 or code >= 0xF0000:  # unassigned or private: OTHER
            continue
        classes[code] = _class_of(code)
        lowered = chr(code).lower()
        if len(lowered) == 1:
            lower[code] = ord(lowered)
    return classes, lower


def terminal_marks() -> npt.NDArray[np.int64]:
    """Code points of marks that end sentences (Unicode's Sentence_Terminal, as far as their names tell, and the shads of Tibetan).

    Full stop, question and exclamation mark in all scripts: what FineWeb's rule takes for the end of a sentence.
    """
    names = ("FULL STOP", "QUESTION MARK", "EXCLAMATION MARK", "DANDA", "INTERROBANG", "PERIOD", "SENTENCE")
    more = ("LITTLE SECTION", "MYANMAR SIGN SECTION", "SIGN KHAN", "SIGN BARIYOOSAN", "MARK SHAD", "MARK NYIS SHAD", "ANGKHANKHU")
    found = [
        code
        for code in range(0x21, 0x20000)
        if unicodedata.category(chr(code)) == "Po"
        and unicodedata.name(chr(code), "").replace("INVERTED", "").endswith((*names, *more))
        and not unicodedata.name(chr(code)).startswith("INVERTED")
    ]
    return np.array(found, np.int64)


@cache
def mathematical_symbols() -> Bytes:
    """1 for each code point that Unicode calls a mathematical symbol (Sm), those of ASCII left out; else 0."""
    marks = np.zeros(0x110000, np.uint8)
    for code in range(0x80, 0x20000):
        marks[code] = unicodedata.category(chr(code)) == "Sm"
    return marks


@kernel(inline="always")
def is_inside(byte: int) -> Any:  # pragma: no cover - compiled
    """Whether a byte goes on with a character that began before it; all others begin one."""
    return byte & 0xC0 == 0x80


@leaf
def width_at(data: Bytes, at: int) -> Any:  # pragma: no cover - compiled
    """How many bytes the character has that starts at byte `at`. The text is valid UTF-8."""
    first = data[at]
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


@kernel(inline="always")
def decode(data: Bytes, at: int) -> tuple[np.int64, int]:  # pragma: no cover - compiled
    """The code point that starts at byte `at`, and where the next one starts. The text is valid UTF-8."""
    first = data[at]
    if first < 0x80:
        return np.int64(first), at + 1
    if first < 0xE0:
        return (np.int64(first & 0x1F) << 6) | np.int64(data[at + 1] & 0x3F), at + 2
    if first < 0xF0:
        code = (np.int64(first & 0x0F) << 12) | (np.int64(data[at + 1] & 0x3F) << 6) | np.int64(data[at + 2] & 0x3F)
        return code, at + 3
    code = (np.int64(first & 0x07) << 18) | (np.int64(data[at + 1] & 0x3F) << 12)
    return code | (np.int64(data[at + 2] & 0x3F) << 6) | np.int64(data[at + 3] & 0x3F), at + 4

"""What each code point is to the `tokenizers` library: a letter, number, space or mark, and whether it may change under NFC.

The library is asked, not a table of our own: engines built on different Unicode versions class characters differently, and
what is counted here has to be what the library would have cut.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = 0x110000
Classes = npt.NDArray[np.uint8]

OTHER, LETTER, NUMBER, SPACE, MARK = range(5)
# Of normalisation: a character without a combining class; one that must not come behind a mark of a higher class; one that a
# look at its neighbours cannot judge.
STARTER, ASK = 0, 255
_ASSIGNED = (range(0xD800), range(0xE000, 0x40000), range(0xE0000, 0xE1000))  # beyond, no version of Unicode has letters or spaces
_TOGETHER = 4096  # code points in one question: the library's time for a text grows faster than its length


def _members(pattern: str) -> npt.NDArray[np.bool_]:
    """Which code points a class of the library's regular expressions has: bool (0x110000,)."""
    split = pre_tokenizers.Split(Regex(f"{pattern}+"), behavior="removed")
    found = np.zeros(CODE_POINTS, bool)
    for plane in _ASSIGNED:
        for begin in range(plane.start, plane.stop, _TOGETHER):
            end = min(begin + _TOGETHER, plane.stop)
            found[begin:end] = True
            for _, (start, stop) in split.pre_tokenize_str("".join(map(chr, range(begin, end)))):
                found[begin + start : begin + stop] = False
    return found


@cache
def classes() -> Classes:
    """The class of each code point: uint8 (0x110000,)."""
    table = np.full(CODE_POINTS, OTHER, np.uint8)
    for pattern, number in ((r"\p{M}", MARK), (r"\s", SPACE), (r"\p{N}", NUMBER), (r"\p{L}", LETTER)):
        table[_members(pattern)] = number
    return table


@cache
def composition() -> Classes:
    """For each code point its canonical combining class where order alone decides, or `ASK`: uint8 (0x110000,).

    A text whose code points are all starters, or marks in ascending order of their class, is in NFC. `ASK` stands for what may
    compose with what is before it, is decomposed, or has a class that the library's older tables do not know.
    """
    nfc = normalizers.NFC()
    table = np.zeros(CODE_POINTS, np.uint8)
    ask = [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]  # vowels and finals of Hangul
    for code in range(0x80, CODE_POINTS):
        character = chr(code)
        kind = unicodedata.combining(character)
        if kind:
            # Behind a mark of class 240, any mark that the library knows changes places; one of 240 itself stays.
            known = kind == 240 or nfc.normalize_str(f"a\u0345{character}") == f"a{character}\u0345"
            table[code] = kind if known else ASK
        decomposed = unicodedata.normalize("NFD", character)
        if decomposed != character and not 0xAC00 <= code < 0xD7A4:
            if unicodedata.normalize("NFC", character) != character or nfc.normalize_str(character) != character:
                ask.append(code)
            else:
                ask += map(ord, decomposed[1:])  # whatever composes as a second is found in some composite
    table[ask] = ASK
    return table

"""The shingle hashes of one text in plain Python: slow, and independent of the kernels but for the words that they find."""

from __future__ import annotations

import unicodedata

import numpy as np

from kernel.fold import fold_text
from kernel.words import BASE, U32
from pipeline.dedup.shingles import Unit
from tests.kernel.plain_words import is_unspaced, plain_words

WHOLE = (1 << 64) - 1


def mixed(value: int) -> int:
    """MurmurHash3's finaliser."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ (value >> 33)) * factor & WHOLE
    return value ^ (value >> 33)


def lowered(character: str) -> int:
    small = character.lower()
    return ord(small if len(small) == 1 else character)


def spelt(word: str) -> int:
    """FNV-1a over the code points of a word in lower case, mixed."""
    value = 0xCBF29CE484222325
    for character in word:
        value = (value ^ lowered(character)) * 0x100000001B3 & WHOLE
    return mixed(value)


def five_words(character: str) -> int:
    """How many characters of its script are about five words."""
    if "\u0e00" <= character < "\u0e80":
        return 17
    return 7 if unicodedata.name(character, "CJK").split()[0].split("-")[0] in ASIAN else 20


ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "IDEOGRAPHIC", "HALFWIDTH", "COMBINING", "HENTAIGANA", "YI", "VERTICAL", "OLD"}


def units_of(text: str, unit: Unit) -> list[tuple[int, float, bool]]:
    """Of each unit of a text its hash, how many words it is, and whether a shingle may begin with it."""
    if unit == "characters":
        runs = "".join(character if unicodedata.category(character)[0] in "LNM" else " " for character in text).split(" ")
        return [(mixed(33 if each == " " else lowered(each) + 1), 1.0, True) for each in " ".join(run for run in runs if run)]
    units: list[tuple[int, float, bool]] = []
    for word in plain_words(text):
        if is_unspaced(word[0]):
            units += [(mixed(ord(character) + 1), 5 / five_words(character), place == 0) for place, character in enumerate(word)]
        else:
            units.append((spelt(word), 1.0, True))
    return units


def shingle_hashes(text: str, width: int, unit: Unit = "words") -> U32:
    """The 32-bit shingle hashes of one text, in order, repeats kept: uint32 (shingles,)."""
    units = units_of(fold_text(text), unit)
    found: list[int] = []
    for first, (_, _, begins) in enumerate(units):
        if not begins:
            continue
        value, weight, last = 0, 0.0, first
        while last < len(units) and weight < width - 1e-9:
            value = (value * int(BASE) + units[last][0]) & WHOLE
            weight += units[last][1]
            last += 1
        if weight >= width - 1e-9 or not found:
            found.append(mixed(value) >> 32)
        if weight < width - 1e-9:
            break
    return np.array(found, np.uint32)

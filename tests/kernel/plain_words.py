"""The words of scripts without spaces in plain Python, from the table as it lies on disk: slow, and independent of the kernels."""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.resources import files

import numpy as np
import regex

TABLE = np.frombuffer((files("kernel") / "data" / "boundaries.bin").read_bytes(), np.int8)
X, Y, Z, SALT = 0x9FB21C651E98DF25, 0xD6E8FEB86659FD93, 0xC2B2AE3D27D4EB4F, 0x9E3779B97F4A7C15
# of which character, and by which factor, each of the seven features is made: those before the place are -2 and -1, those after it 0 and 1
FEATURES: tuple[dict[int, int], ...] = (
    {-1: X}, {0: X}, {-2: X, -1: Y}, {-1: X, 0: Y}, {0: X, 1: Y}, {-2: X, -1: Y, 0: Z}, {-1: X, 0: Y, 1: Z},
)  # fmt: skip

SCRIPTS = (
    "Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Ahom",
    "Javanese", "Balinese", "Yi",
)  # fmt: skip
_OF_SCRIPTS = regex.compile("[" + "".join(rf"\p{{Script={name}}}" for name in SCRIPTS) + "]")
# of no script of their own in Unicode, for two of these use them; and a zero that is a number by its category
_SHARED = frozenset("\u3006\u30fc\uff70\u3099\u309a\uff9e\uff9f\u302a\u302b\u302c\u302d\u3007\ua9cf")
_OTHERS = frozenset("\U00016ff0\U00016ff1")  # marks of Vietnamese beside Han


@cache
def is_unspaced(character: str) -> bool:
    """Whether a character is a letter or mark of a script that is written without spaces between words."""
    if character in _SHARED:
        return True
    return character not in _OTHERS and unicodedata.category(character)[0] in "LM" and _OF_SCRIPTS.match(character) is not None


def begins_word(run: str, place: int) -> bool:
    """Whether a word begins at a place inside a run of such characters."""
    total = 0
    for number, feature in enumerate(FEATURES, start=1):
        value = number * SALT
        for step, factor in feature.items():
            at = place + step
            value += (ord(run[at]) if 0 <= at < len(run) else 0) * factor
        total += int(TABLE[(value & 0xFFFFFFFFFFFFFFFF) >> 48])
    return total > 0


def words_of_run(run: str) -> list[str]:
    """The words of a run of such characters."""
    places = [0, *(place for place in range(1, len(run)) if begins_word(run, place)), len(run)]
    return [run[a:b] for a, b in zip(places, places[1:], strict=False) if b > a]


def plain_words(text: str) -> list[str]:
    """The words of a text as `kernel.words` has them, as they are written."""
    found: list[str] = []
    at = 0
    while at < len(text):
        end = at
        if is_unspaced(text[at]):
            while end < len(text) and is_unspaced(text[end]):
                end += 1
            found += words_of_run(text[at:end])
        else:
            while end < len(text) and unicodedata.category(text[end])[0] in "LNM" and not is_unspaced(text[end]):
                end += 1
            if end > at:
                found.append(text[at:end])
        at = max(end, at + 1)
    return found

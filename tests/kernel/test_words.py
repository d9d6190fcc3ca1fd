"""Words of scripts without spaces: beside ICU's, beside a plain version, and local."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.boundaries import REACH, word_end
from kernel.utf8 import UNSPACED, tables
from kernel.words import word_spans, word_units
from tests.kernel.plain_words import is_unspaced, plain_words

# Texts of our own in fourteen languages, and the words that ICU 77 finds in them (its word iterator for that language, of what has letters
# or numbers).
ICU = json.loads((Path(__file__).parent / "data" / "icu-words.json").read_text(encoding="utf-8"))
SPACED = ("en", "de", "ru", "ko", "hi", "ar", "bo")  # Tibetan has a mark between syllables, which are its words here as for ICU
UNTAUGHT = ("zh", "zh-Hant", "ja", "th", "km", "lo", "my")

MIXED = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("的是一不了在人有我他这中大来上国の会学はをにコーヒーでプログラムไทยภาษาเรียนกำลังខ្មែរមានលາວພາສາမြန်မာ၊ཚa1 。"),
    max_size=80,
)  # fmt: skip
RUN = st.text(st.sampled_from("的是一不了在人有我他这中大来上国のはをにコーヒーでไทยภาษาเรียนกขแមានខ្ລາວພສမြန်"), max_size=30)


def words(text: str) -> list[str]:
    """The words of a text by `word_spans`."""
    raw = text.encode()
    data = np.frombuffer(raw, np.uint8)
    hashes = np.empty(len(data) // 2 + 2, np.uint64)
    begin, end = (np.empty(len(hashes), np.int64) for _ in range(2))
    count = word_spans(data, 0, len(data), *tables(), hashes, begin, end)
    again = np.empty(len(hashes), np.uint64)
    assert word_units(data, 0, len(data), *tables(), again) == count
    np.testing.assert_array_equal(hashes[:count], again[:count])
    return [raw[a:b].decode() for a, b in zip(begin[:count], end[:count], strict=True)]


def ends(found: list[str], text: str) -> set[int]:
    """Where the words end in their text."""
    places, at = set(), 0
    for word in found:
        at = text.index(word, at) + len(word)
        places.add(at)
    return places


@pytest.mark.parametrize("language", sorted(ICU))
def test_there_are_as_many_words_as_icu_has(language: str) -> None:
    text, theirs = ICU[language]["text"], ICU[language]["words"]
    ours = words(text)
    if language in SPACED:
        assert ours == theirs
    assert 0.85 <= len(ours) / len(theirs) <= 1.15


@pytest.mark.parametrize("language", UNTAUGHT)
def test_words_end_mostly_where_icus_do(language: str) -> None:
    text = ICU[language]["text"]
    ours, theirs = ends(words(text), text), ends(ICU[language]["words"], text)
    assert 2 * len(ours & theirs) / (len(ours) + len(theirs)) > 0.8


@given(MIXED)
def test_words_are_those_of_a_plain_version(text: str) -> None:
    assert words(text) == plain_words(text)


@given(RUN, RUN, RUN, RUN, RUN)
def test_a_phrase_has_the_same_words_wherever_it_stands(phrase: str, before: str, after: str, other: str, another: str) -> None:
    """Boundaries that have REACH characters of the phrase on both sides do not depend on what is around it."""

    def inner(left: str, right: str) -> set[int]:
        whole = left + phrase + right
        places = {place - len(left) for place in ends(words(whole), whole)}
        return {place for place in places if REACH <= place <= len(phrase) - REACH}

    assert inner(before, after) == inner(other, another) == inner("", "") == inner("word ", " word.")


@given(MIXED, st.integers(0, 40))
def test_a_text_that_begins_in_the_middle_of_a_buffer_has_the_words_that_it_has_alone(text: str, size: int) -> None:
    data = np.frombuffer(("漢" * size + text).encode(), np.uint8)
    hashes, alone = np.empty(len(data) // 2 + 2, np.uint64), np.empty(len(data) // 2 + 2, np.uint64)
    count = word_units(data, 3 * size, len(data), *tables(), hashes)
    assert word_units(data[3 * size :], 0, len(data) - 3 * size, *tables(), alone) == count
    np.testing.assert_array_equal(hashes[:count], alone[:count])


def test_letters_and_marks_of_scripts_without_spaces_are_told_as_unicode_tells_them() -> None:
    classes = tables()[0]
    wrong = [
        chr(code)
        for code in range(0x33480)
        if not 0xD800 <= code < 0xE000 and (classes[code] == UNSPACED) != is_unspaced(chr(code)) and unicodedata.category(chr(code)) != "Cn"
    ]
    assert wrong == []


def test_a_run_without_an_end_is_no_endless_word_and_takes_no_longer_than_its_length() -> None:
    data = np.frombuffer(("漢" * 200_000).encode(), np.uint8)
    assert 0 < word_end(data, 0, 0, len(data), tables()[0]) <= len(data)
    assert word_units(data, 0, len(data), *tables(), np.empty(len(data), np.uint64)) >= 1

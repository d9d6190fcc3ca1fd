"""Kernels over UTF-8 against slow, plain Python."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text import utf8
from pipeline.text.shingles import shingle_hashes, signatures
from pipeline.text.statistics import COLUMNS, GOPHER_STOP_WORDS, measure
from pipeline.text.utf8 import tables, utf8_view

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text("aA .,'\n-•…#_é漢1", max_size=60)


def words_of(text: str) -> tuple[list[str], int]:
    """Words and number of punctuation marks, by the definition in `statistics`, one character at a time."""
    classes = tables()[0]
    words: list[str] = []
    marks = 0
    at = 0
    while at < len(text):
        kind = classes[ord(text[at])]
        if kind == utf8.IDEOGRAPH:
            words.append(text[at])
            at += 1
        elif kind in (utf8.LETTER, utf8.NUMBER, utf8.MARK):
            end = at + 1
            while end < len(text):
                if classes[ord(text[end])] in (utf8.LETTER, utf8.NUMBER, utf8.MARK):
                    end += 1
                elif (
                    text[end] in "'\u2019_" and end + 1 < len(text) and classes[ord(text[end + 1])] in (utf8.LETTER, utf8.NUMBER, utf8.MARK)
                ):
                    end += 2
                else:
                    break
            words.append(text[at:end])
            at = end
        else:
            marks += kind == utf8.PUNCTUATION
            at += 1
    return words, marks


def by_hand(text: str) -> dict[str, float]:
    classes, lower = tables()
    words, marks = words_of(text)
    tokens = max(1, len(words) + marks)
    has_letter = [any(classes[ord(c)] in (utf8.LETTER, utf8.IDEOGRAPH) for c in word) for word in words]
    lowered = {"".join(chr(lower[ord(c)]) for c in word) for word in words}
    raw_lines = text.split("\n")
    visible = ["".join(c for c in line if classes[ord(c)] != utf8.SPACE) for line in raw_lines]
    lines = [line for line in visible if line]
    letters = sum(classes[ord(c)] in (utf8.LETTER, utf8.IDEOGRAPH) for c in text)
    numbers = sum(classes[ord(c)] == utf8.NUMBER for c in text)
    dots = ellipses = 0
    for c in text:
        dots = dots + 1 if c == "." else 0
        ellipses += c == "…"
        if dots == 3:
            ellipses, dots = ellipses + 1, 0
    return {
        "bytes": len(text.encode()),
        "characters": len(text),
        "words": len(words),
        "punctuation": marks,
        "mean_word_length": sum(map(len, words)) / max(1, len(words)),
        "alphabetic_words": sum(has_letter) / tokens,
        "stop_words": len(lowered & set(GOPHER_STOP_WORDS)),
        "hashes": text.count("#") / tokens,
        "ellipses": ellipses / tokens,
        "lines": len(lines),
        "bullet_lines": sum(line[0] in "•-" for line in lines) / max(1, len(lines)),
        "ellipsis_lines": sum(line.endswith(("…", "...")) for line in lines) / max(1, len(lines)),
        "longest_line": max(map(len, raw_lines)),
        "mean_line": sum(map(len, raw_lines)) / max(1, len(lines)),
        "alphanumeric": (letters + numbers) / max(1, len(text)),
        "letters": letters / max(1, len(text)),
    }


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_statistics_are_those_of_plain_python(texts: list[str]) -> None:
    rows = measure(pa.array(texts)).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        assert row == pytest.approx(by_hand(text)), repr(text)
    assert list(rows[0]) == list(COLUMNS)


@given(TEXT)
def test_the_decoder_reads_every_code_point(text: str) -> None:
    data = np.frombuffer(text.encode(), np.uint8)
    at, codes = 0, []
    while at < len(data):
        code, at = utf8.decode(data, at)
        codes.append(chr(code))
    assert "".join(codes) == text


def test_classes_follow_unicode() -> None:
    classes, lower = tables()
    for character, kind in {"a": utf8.LETTER, "7": utf8.NUMBER, "\u0301": utf8.MARK, "漢": utf8.IDEOGRAPH, "あ": utf8.IDEOGRAPH}.items():
        assert classes[ord(character)] == kind
    assert classes[ord(".")] == classes[ord("€")] == utf8.PUNCTUATION
    assert all(classes[ord(c)] == utf8.SPACE for c in " \t\n\u00a0\u2003\u3000")
    assert all(chr(lower[ord(c)]) == c.lower() for c in "AÉΩЖ")
    assert all(classes[code] in (utf8.LETTER, utf8.IDEOGRAPH) for code in range(0x3000) if unicodedata.category(chr(code))[0] == "L")


@given(st.lists(st.none() | TEXT, max_size=6), st.integers(0, 3), st.booleans())
def test_views_see_slices_nulls_and_both_kinds_of_strings(texts: list[str | None], skip: int, large: bool) -> None:
    column = pa.array(texts, pa.large_string() if large else pa.string()).slice(skip)
    offsets, data = utf8_view(column)
    seen = [bytes(data[offsets[i] : offsets[i + 1]]).decode() for i in range(len(column))]
    assert seen == [text or "" for text in texts[skip:]]
    chunked_offsets, _ = utf8_view(pa.chunked_array([column, column]))
    assert len(chunked_offsets) == 2 * len(column) + 1


@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(1, 7), st.integers(2, 130), st.integers(0, 5))
def test_signatures_are_datasketchs_own(texts: list[str], width: int, permutations: int, seed: int) -> None:
    ours, counts = signatures(pa.array(texts), width, permutations, seed)
    for index, text in enumerate(texts):
        theirs = MinHash(num_perm=permutations, seed=seed, scheme="affine32", hashfunc=int)
        hashes = shingle_hashes(text, width)
        theirs.update_batch(hashes.tolist())
        assert counts[index] == len(hashes)
        np.testing.assert_array_equal(ours[index], theirs.hashvalues)


@given(st.lists(st.sampled_from(["one", "two", "drei", "Ünï", "漢"]), max_size=30), st.integers(1, 6))
def test_shingles_are_runs_of_words_whatever_stands_between_them(words: list[str], width: int) -> None:
    plain = shingle_hashes(" ".join(words), width)
    assert len(plain) == (0 if not words else max(1, len(words) - width + 1))
    np.testing.assert_array_equal(plain, shingle_hashes(" ,\n".join(word.upper() for word in words) + "!", width))
    runs = [tuple(words[i : i + width]) for i in range(len(plain))]
    assert len(set(runs)) == len(set(plain.tolist()))

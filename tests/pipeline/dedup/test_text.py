"""Kernels over UTF-8 against slow, plain Python."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernel import utf8
from kernel.utf8 import tables, terminal_marks, utf8_view
from pipeline.dedup.shingles import shingle_sets, signatures
from pipeline.measure.statistics import COLUMNS, measure
from tests.pipeline.dedup.shingled import shingle_hashes
from tests.pipeline.measure.plain_statistics import plain_statistics
from tests.profiles import share

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text("aA .,'\n-•…#_é漢1", max_size=60)


TERMINAL_MARKS = {chr(code) for code in terminal_marks()}
# what repeats, joins, abbreviates and breaks lines
RUNNING = st.lists(
    st.sampled_from(
        ["the", "Dr.", "U.S.", "don't", "it's", "3.14", "1,000", "COVID-19", "well-known", "1990–95", "a/b", "1/2", "http://x.org/a?b=c#d.",
         "e-mail@x.org", "...", "--", "—", "漢字", "ภาษาไทย", "コーヒーを飲む", "བོད་ཡིག", "é", "R&D", "f(x=1)", "super().x", "a=b", "[0]", "(s)", "+", "=", ":", "\"", ",", "--x", "etc.", "end.Next", "\u0301", "•", "-", "#1", ".", "!", "?", "…", "。", "can't've"]
    )
    | st.sampled_from([" ", " ", " ", "\n", "\n\n", "\t", "\u00a0"]),
    max_size=80,
).map("".join)  # fmt: skip


@settings(max_examples=share(4))
@given(st.lists(TEXT | RUNNING, min_size=1, max_size=5))
@example(["0://A"])  # an address that begins with a number has its letters after it
@example(["http://a…b x\nhttp://a…"])
@example(["0://…\u00a0"])
def test_statistics_are_those_of_plain_python(texts: list[str]) -> None:
    rows = measure(pa.array(texts)).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        assert row == pytest.approx(plain_statistics(text, TERMINAL_MARKS)), repr(text)
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
    for character, kind in {"a": utf8.LETTER, "7": utf8.NUMBER, "\u0301": utf8.MARK, "漢": utf8.UNSPACED, "あ": utf8.UNSPACED}.items():
        assert classes[ord(character)] == kind
    assert classes[ord(".")] == classes[ord("€")] == utf8.PUNCTUATION
    assert all(classes[ord(c)] == utf8.SPACE for c in " \t\n\u00a0\u2003\u3000")
    assert all(chr(lower[ord(c)]) == c.lower() for c in "AÉΩЖ")
    assert all(classes[code] in (utf8.LETTER, utf8.UNSPACED) for code in range(0x3000) if unicodedata.category(chr(code))[0] == "L")


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


UNSPACED = [
    "汉",
    "汉字",
    "ひらがな",
    "アイスクリームパーラー",
    "ภาษาไทย",
    "ประเทศไทยเป็นเมืองใหญ่",
    "ភាសាខ្មែរ",
    "word",
    " ",
    "。",
    "ꀀꀁ",
    "𠀀",
    "ｶﾞ",
]


@given(st.lists(st.sampled_from(UNSPACED), max_size=30).map("".join), st.integers(1, 9))
def test_shingles_of_scripts_without_spaces_begin_with_words_and_have_as_many_characters_as_words_have(text: str, width: int) -> None:
    ends, sets = shingle_sets(pa.array([text]), width)
    assert sets[: ends[1]].tolist() == sorted(set(shingle_hashes(text, width).tolist()))


@given(st.lists(st.sampled_from(["one", "two", "drei", "Ünï", "4"]), max_size=30), st.integers(1, 6))
def test_shingles_are_runs_of_words_whatever_stands_between_them(words: list[str], width: int) -> None:
    plain = shingle_hashes(" ".join(words), width)
    assert len(plain) == (0 if not words else max(1, len(words) - width + 1))
    np.testing.assert_array_equal(plain, shingle_hashes(" ,\n".join(word.upper() for word in words) + "!", width))
    runs = [tuple(words[i : i + width]) for i in range(len(plain))]
    assert len(set(runs)) == len(set(plain.tolist()))

"""The form in which texts are compared, beside Python's NFKC."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.fold import LONGEST, MOST, Folded, fold, fold_text, text_of

QUOTES = dict.fromkeys(map(ord, "\u00b4ʹʻʼ‘’‚‛′‵‹›՚「」『』"), "'") | dict.fromkeys(map(ord, "«»ʺ“”„‟⹂〝〞〟"), '"')
UNSEEN = [0xAD, 0x200B, 0x2060, 0xFEFF, 0x180B, 0x180C, 0x180D, 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
OWN = QUOTES | dict.fromkeys(UNSEEN, "") | dict.fromkeys((0x85, 0x1680, 0x2028, 0x2029), " ") | dict.fromkeys((0x2212, 0x2043), "-")
OWN |= {code: "-" for code in range(0x80, 0x20000) if unicodedata.category(chr(code)) == "Pd"}

# what composes, decomposes, moves, grows and goes
RICH = st.sampled_from(
    "aAeoux1 \n.<=¨´½²ﬁﬃ™℃①㍿㈱ｆＡ１　，ｶﾞﾟだがはẹ̛̤̥̦̱̲̳̰̹̺̻̼͇͈͉͍͎͓͖͙͚́̀́̂̃̄̇̈̊̓̔́̕̚̕͜͝ệợ̛가각각ᄂ힣กำํา้่ຳໍາ்ொொിீ്ൊ়ড়য়़क़ऩיִַּשׁﷺﷻآٓأإئیًٌٍ\u00ad\u200b\u2060\ufeff\ufe0f\u200d\u200c“”‘’«»—–‑−…「」豈樂⺀Ⅷ漢字𝐀𝕏𝑥🄰☺Å≠≮̸ͅᾳΐσςßﬀıİ\u2028\u0085\u3000\u0344\u0f73\u0f75\u0f81\u0f71\u0f72\u0f74\U0001d15e\U000e0100"
)
TEXT = st.text(RICH, max_size=30) | st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.lists(RICH | st.just("word "), max_size=40).map("".join)  # fmt: skip


def plain_fold(text: str) -> str:
    """The same by Python's NFKC: our own changes before it and after it, and sara am whole again."""
    text = unicodedata.normalize("NFKC", text.translate(OWN)).translate(OWN)
    text = unicodedata.normalize("NFKC", text)
    return text.replace("\u0e4d\u0e32", "\u0e33").replace("\u0ecd\u0eb2", "\u0eb3")


def runs_are_short(text: str) -> bool:
    """Whether no character is joined by so many that they are two units."""
    longest = run = 0
    for letter in unicodedata.normalize("NFKD", text):
        run = 0 if unicodedata.combining(letter) == 0 and letter.isascii() else run + 1
        longest = max(longest, run)
    return longest < MOST - 1


def whole(folded: Folded, document: int) -> str:
    """The fold of one of the documents."""
    data, begin, end = text_of(folded, document)
    raw: bytes = data[begin:end].tobytes()
    return raw.decode()


@given(TEXT)
def test_folds_are_nfkc_with_one_quote_dash_and_space(text: str) -> None:
    folded = fold_text(text)
    if runs_are_short(text):
        assert folded == plain_fold(text)
        assert fold_text(folded) == folded
        assert fold_text(unicodedata.normalize("NFD", text)) == folded
        if "\u00b4" not in text:  # a space and an accent for Unicode, an apostrophe for those who type it
            assert fold_text(unicodedata.normalize("NFKD", text)) == folded


def test_every_character_alone_and_between_others_folds_as_plain() -> None:
    codes = [code for code in range(0x33480) if not 0xD800 <= code < 0xE000] + list(range(0xE0100, 0xE01F0))
    texts = [f"{chr(code)}a{chr(code)}\u0301b" for code in codes]
    folded = fold(pa.array(texts))
    wrong = [hex(code) for number, (code, text) in enumerate(zip(codes, texts, strict=True)) if whole(folded, number) != plain_fold(text)]
    assert wrong == []
    assert max(len(unicodedata.normalize("NFKD", chr(code))) for code in codes) == LONGEST


@given(st.lists(TEXT, max_size=4), st.integers(0, 2))
def test_places_are_traced_back_to_what_was_folded(texts: list[str], skip: int) -> None:
    column = pa.array(texts, pa.string()).slice(skip)
    folded = fold(column, traced=True)
    for number, text in enumerate(texts[skip:]):
        raw, form = text.encode(), whole(folded, number)
        assert form == fold_text(text)
        assert folded.sizes[number] == len(form.encode())
        places = [len(form[:end].encode()) for end in range(len(form) + 1)]
        for at, end in zip(places, places[1:], strict=False):
            document = np.array([number])
            begin = int(folded.original(document, np.array([at]))[0])
            finish = int(folded.original(document, np.array([end]), is_end=True)[0])
            assert begin < finish, "each character of the fold is of some text"
            assert form.encode()[at:end].decode() in fold_text(raw[begin:finish].decode()), "which has it in its own fold"


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Ｆｕｌｌ　ｗｉｄｔｈ！", "Full width!"),
        ("eﬃcient ﬁsh", "efficient fish"),
        ("cafe\u0301", "café"),
        ("\u1106\u1162\u110b\u1175\u11af", "매일"),
        ("“don’t” — he said…", '"don\'t" - he said...'),
        ("soft\u00adly", "softly"),
        ("ทํางาน", "ทำงาน"),
        ("ｶﾞｷﾞ", "ガギ"),
        ("naïve", "naïve"),
        ("ÉCOLE", "ÉCOLE"),
    ],
)
def test_what_reads_the_same_is_one(written: str, folded: str) -> None:
    assert fold_text(written) == folded


def test_a_character_that_very_many_join_takes_no_longer_than_its_length() -> None:
    text = "e" + "\u0301\u0316" * 200_000
    folded = fold_text(text)
    assert len(folded) <= len(text)
    assert fold_text("a" * 100_000 + "ﷺ" * 50_000).startswith("a" * 100_000 + "صلى")

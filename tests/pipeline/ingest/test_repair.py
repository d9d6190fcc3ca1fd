"""Repair: what ftfy and Unicode say, kind by kind, and in linear time on hostile text."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import ftfy
import pytest
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.repair import RepairConfig, _classes, _members, _scan_lines, compose, fix_text, repair
from tests.pipeline.corpus import json_lines
from tests.profiles import share
from tests.work import in_proportion

# datatrove's settings of ftfy
PEER = ftfy.TextFixerConfig(
    fix_latin_ligatures=False, fix_character_width=False, uncurl_quotes=False, fix_line_breaks=False, normalization=None
)
MOJIBAKE = "".join(chr(code) for characters in MOJIBAKE_CATEGORIES.values() for code in _members(characters))
PIECES = [
    "â€™",
    "Ã©",
    "Ã ",
    "Â ",
    "вЂ",
    "β€™",
    "à²",
    "œ ",
    "œu",
    "√©",
    "ÃƒÂ©",
    "&amp;",
    "&lt;",
    "&#233;",
    "&EACUTE;",
    "&#xd800;",
    "\x1b[31m",
    "\x85",
    "\x81",
    "\ufffd",
    "\ufffc",
    " ",
    "\n",
    "a",
    "é",
    "漢",
    "'",
    "<",
    "ГўВЂВ",
    "â€\ufffd",
    "Ð¡Ð²ÑÐ·ÑŒ",
    "&amp;amp;eacute;",
    "\x00",
]
DAMAGED = st.lists(st.sampled_from(PIECES) | st.text(MOJIBAKE + "aZ .", max_size=6), max_size=8).map("".join)
ENCODED_WRONG = st.builds(
    lambda text, charset, times: _twice(text, charset, times),
    st.text("aé–“”’ñ漢ж😀 \n", max_size=20),
    st.sampled_from(["latin-1", "cp1252", "cp1251", "macroman"]),
    st.integers(1, 2),
)
ANY = st.text(st.characters(exclude_categories=["Cs"])) | DAMAGED | ENCODED_WRONG


def _twice(text: str, charset: str, times: int) -> str:
    for _ in range(times):
        text = text.encode().decode(charset, "replace")
    return text


@settings(max_examples=share(15))
@given(ANY, st.booleans())
def test_the_result_is_ftfys_own(text: str, entities: bool) -> None:
    assert fix_text(text, encoding=True, entities=entities) == ftfy.fix_text(text, PEER._replace(unescape_html=entities))


def suspects(text: str) -> list[int]:
    import numpy as np

    flags = np.zeros(text.count("\n") + 1, np.uint8)
    _scan_lines(np.frombuffer(text.encode(), np.uint8), _classes(), flags)
    return flags.tolist()


def test_no_bad_pair_or_triple_passes_the_cheap_test() -> None:
    """All pairs of the characters that mojibake is made of, between letters, spaces and marks."""
    alphabet = sorted(set(MOJIBAKE) - {"\n"})
    contexts = [("", ""), ("a", "a"), (" ", " "), ("Z.", "1")]
    for before, after in contexts:
        lines = [f"{before}{x}{y}{after}" for x in alphabet for y in alphabet]
        for line, flags in zip(lines, suspects("\n".join(lines)), strict=True):
            assert flags & 1 or not is_bad(line), repr(line)


@settings(max_examples=share(20))
@given(st.text(MOJIBAKE + "aZœŒÃÂ .,?!1", min_size=1, max_size=8).filter(lambda text: "\n" not in text))
def test_the_cheap_test_sees_whatever_ftfy_takes_for_bad(text: str) -> None:
    assert suspects(text)[0] & 1 or not is_bad(text)


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("eéa\u0301\u0323\u0316\u1112\u1161\u11ab각\u0958\u2126", max_size=70))
def test_composition_is_unicodes_but_in_long_runs_of_marks(text: str) -> None:
    import re

    long = any(len(run) > 30 for run in re.findall("[\u0301\u0323\u0316]+", unicodedata.normalize("NFD", text)))
    repaired = repair(text, RepairConfig(encoding=False, entities="never", zero_width=False, trailing_spaces=False), "web")
    plain = repair(text, RepairConfig(encoding=False, entities="never", zero_width=False, trailing_spaces=False, compose=False), "web").text
    if not long:
        assert repaired.text == unicodedata.normalize("NFC", plain)
    assert ("composed" in repaired.kinds) == (repaired.text != plain)


def test_a_run_of_marks_stays_and_what_stands_around_it_is_composed() -> None:
    run = "\u0301\u0316" * 20
    assert compose(f"e\u0301 x{run}y e\u0301") == f"é x{run}y é"


@pytest.mark.parametrize(
    ("text", "repaired", "kinds"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd", ["line_ends"]),
        ("itâ€™s", "it’s", ["encoding"]),
        ("fish &amp; chips", "fish & chips", ["entities"]),
        ("write <b> as &lt;b&gt;", "write <b> as &lt;b&gt;", []),
        ("a\x00b\x0cc\ufeff", "abc", ["controls"]),
        ("pass\u00adword zero\u200bwidth\u2060", "password zerowidth", ["zero_width"]),
        ("ภาษา\u200bไทย \u0645\u06cc\u200c\u062e", "ภาษา\u200bไทย \u0645\u06cc\u200c\u062e", []),
        ("a  \nb\t\n c ", "a\nb\n c", ["trailing_spaces"]),
        ("e\u0301", "é", ["composed"]),
        ("\ud83d\ude00 \ud800", "😀 \ufffd", ["surrogates"]),
        ("“Der Müller” l’École cœur", "“Der Müller” l’École cœur", []),
        ("", "", []),
    ],
)
def test_each_kind_of_damage_is_repaired_and_named(text: str, repaired: str, kinds: list[str]) -> None:
    assert repair(text, RepairConfig(), "web") == (repaired, tuple(kinds))


def test_code_is_neither_unescaped_nor_composed_nor_trimmed() -> None:
    code = 's = "&amp; e\u0301 â€™ \u200b"   \n'
    assert repair(code, RepairConfig(), "code") == (code, ())
    assert repair("a\r\n\x00\ud800", RepairConfig(), "code").text == "a\n\ufffd"


@given(ANY)
def test_what_is_written_has_no_control_characters_and_encodes(text: str) -> None:
    for domain in ("web", "code"):
        result = repair(text, RepairConfig(), domain).text
        result.encode()
        assert not any(unicodedata.category(character) == "Cc" and character not in "\t\n" for character in result)
        assert "\ufeff" not in result


@pytest.mark.parametrize(
    "text",
    [
        "&" + "amp;" * 250_000,
        "Ã" + "ƒ" * 1_000_000 + "😀",
        "a" + "\u0301\u0316" * 500_000,
        " " * 1_000_000 + "x",
        "\x1b[" * 500_000,
        "\u200b" * 1_000_000,
        "é\x80" * 500_000 + "Ã©",
        "â€" * 500_000 + "😀",
        "\ud800" * 1_000_000,
        "&#" * 500_000,
        "@" * 1_000_000,
    ],
    ids=["entities", "continuations", "marks", "spaces", "escapes", "zero-width", "c1", "mojibake", "surrogates", "references", "at"],
)
def test_a_hostile_megabyte_takes_steps_in_proportion(text: str) -> None:
    """ftfy takes hours for the first two, Unicode's own normalisation for the third."""
    repair("é", RepairConfig(), "web")
    in_proportion(lambda part: repair(part, RepairConfig(), "web"), text)


def test_real_pages_are_repaired_as_ftfy_does(real_data: Path) -> None:
    texts = json_lines(real_data / "dedup" / "wikipedia-en.jsonl.zst", 1500) + json_lines(
        real_data / "science" / "arxiv-abstracts.jsonl.zst", 1500
    )
    for text in texts:
        assert fix_text(text, encoding=True, entities=False) == ftfy.fix_text(text, PEER._replace(unescape_html=False))

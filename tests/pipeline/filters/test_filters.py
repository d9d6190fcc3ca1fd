"""Rules: each limit at its edge, verdicts beside documents, new thresholds without reading text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filters.check import Check, Family, decide
from pipeline.filters.code import CodeRules
from pipeline.filters.gopher import GopherQuality
from pipeline.filters.language import LanguageRules
from pipeline.filters.length import LengthRules
from pipeline.filters.license import LicenseRules, judge_licenses
from pipeline.filters.stage import Rules, filter_stage
from pipeline.measure.language import detect
from pipeline.measure.stage import measure_stage, measure_text
from pipeline.workdir.dataset import Workdir
from tests.conftest import run_task
from tests.pipeline.corpus import write_documents

PROSE = (
    "The house stood at the end of the road, and nobody had lived in it for many years. When the first of the spring storms came, "
    "the roof gave way with a noise that could be heard in the village. It was then that the people began to talk of it again, and "
    "to remember those who had built it, with their own hands, to be a home for all that they loved. "
)


class Only(Family):
    """Checks, as a family of their own."""

    given: list[Check]

    def __init__(self, given: list[Check]) -> None:
        super().__init__(**{"given": given})

    def checks(self) -> list[Check]:
        return self.given


def verdicts(workdir: Workdir, texts: list[str], rules: dict[str, Rules], domains: list[str] | None = None) -> list[dict[str, Any]]:
    documents = write_documents(workdir, texts, 2, domains)
    statistics = run_task(workdir, measure_stage(documents))["statistics"]
    run_task(workdir, filter_stage(rules, statistics))
    rows: list[dict[str, Any]] = pa.concat_tables(table for _, table in workdir.tables("verdicts/filter")).to_pylist()
    return rows


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (PROSE, None),
        ("The cat sat with the dog.", "gopher_words"),
        ("Incomprehensibilities internationalization the to " * 30, "gopher_mean_word_length"),
        ("a b of to " * 30, "gopher_mean_word_length"),
        (PROSE + "# " * 40, "gopher_hash_ratio"),
        (PROSE + "... " * 40, "gopher_ellipsis_ratio"),
        ("\n".join(f"- {line} and the house of the people with words" for line in range(20)), "gopher_bullet_lines"),
        ("\n".join(PROSE.replace(". ", "...\n").splitlines()), "gopher_ellipsis_lines"),
        (PROSE + "1999 2000 " * 60, "gopher_alphabetic_words"),
        ("Lorem ipsum dolor sit amet consectetur adipiscing elit " * 10, "gopher_stop_words"),
    ],
)
def test_each_of_gophers_rules_drops_what_it_is_for(workdir: Workdir, text: str, rule: str | None) -> None:
    (verdict,) = verdicts(workdir, [text], {"web": Rules(gopher_quality=GopherQuality())})
    assert verdict["rule"] == rule
    assert verdict["keep"] == (rule is None)
    assert (verdict["value"] is None) == (rule is None)


def test_code_rules_and_licences(workdir: Workdir) -> None:
    rules = {"code": Rules(code=CodeRules())}
    code = "def f(x):\n    return x + 1\n" * 10
    texts = [code, "x = 1\n", "x = '" + "a" * 2000 + "'\n", ("a" * 150 + "\n") * 5, "+-*/=<>()[]{};:,.\n" * 20]
    found = verdicts(workdir, texts, rules, ["code"] * 5)
    assert [verdict["rule"] for verdict in found] == [None, "code_characters", "code_longest_line", "code_mean_line", "code_alphanumeric"]
    names = ["MIT", "GPL-3.0-only", None, "MIT OR GPL-2.0-only", "MIT AND GPL-2.0-only"]
    licensed = judge_licenses("code_license", pa.table({"license": names}), "permissive")
    assert licensed.failed.tolist() == [False, True, True, False, True]
    assert licensed.detail is not None
    assert licensed.detail[2] == "unknown"


@pytest.mark.parametrize(("unknown", "keeps"), [(False, [True, False, False]), (True, [True, False, True])])
def test_licences_of_any_domain(unknown: bool, keeps: list[bool]) -> None:
    table = pa.table({"license": ["CC-BY-4.0", "CC-BY-NC-4.0", None]})
    verdict = decide(table, [LicenseRules(allow=["CC-BY-4.0"], unknown=unknown)])
    assert verdict["keep"].to_pylist() == keeps
    assert verdict["detail"].to_pylist()[1] == "CC-BY-NC-4.0"


@pytest.mark.parametrize(
    ("code", "language", "rule"),
    [
        ("x = 1  # a comment\n" * 20, "Python", None),
        ("<?xml version='1.0'?>\n" + "<a>text of it</a>\n" * 20, "XML", "code_xml"),
        ("<?xml version='1.0'?>\n" + "<a>text of it</a>\n" * 20, "XSLT", None),
        ("<div class='some long name' id='another'></div>\n" * 20 + "text " * 30, "HTML", "code_markup_text"),
        ("value: 1\n" * 600, "YAML", "code_data_lines"),
        ("value = 1\n" * 600, "Python", None),
        ("word " * 1000, "Markdown", None),
        ("word " * 1000, "Python", "code_longest_line"),
        ("x = '" + "aGVsbG8x" * 13 + "'\n", "Python", "code_encoded"),
        ("#" * 3 + "\n" + ("key = 'x'\n" * 300) + "QUJD" * 300, "INI", "code_longest_line"),
        (("QUJD" * 19 + "\n") * 16 + "key = 'some value here'\n" * 100, "INI", "code_longest_encoded"),
    ],
)
def test_each_of_the_stacks_rules_drops_what_it_is_for(code: str, language: str, rule: str | None) -> None:
    column = pa.array([code])
    table = measure_text(column, np.ones(1, bool), [language])
    empty = pa.array([None], pa.string())
    for name in ("generated", "vendored", "license"):
        table = table.append_column(name, empty)
    table = table.append_column("declared_language", pa.array([language]))
    assert decide(table, [CodeRules()])["rule"].to_pylist() == [rule]
    for name in ("generated", "vendored"):
        marked = table.set_column(table.column_names.index(name), name, pa.array(["said so in line 1"]))
        verdict = decide(marked, [CodeRules()])
        assert (verdict["rule"][0].as_py(), verdict["detail"][0].as_py()) == (f"code_{name}", "said so in line 1")
        assert decide(marked, [CodeRules(generated=True, vendored=True)])["rule"].to_pylist() == [rule]


def test_language_names_what_it_found(workdir: Workdir) -> None:
    german = (
        "Das Haus stand am Ende der Straße, und niemand hatte seit vielen Jahren darin gewohnt, bis der Sturm kam und das Dach einstürzte."
    )
    found = verdicts(workdir, [PROSE, german, ""], {"web": Rules(language=LanguageRules(allow=["en"]))})
    assert [verdict["rule"] for verdict in found] == [None, "language", "language"]
    assert [verdict["detail"] for verdict in found] == [None, "de", "und"]


def test_languages_and_scores_are_in_their_ranges() -> None:
    names, scores = detect([PROSE, "漢字かな交じり文で書かれた日本語の文章です。", "   ", "\x00\n"])
    assert names[:2] == ["en", "ja"]
    assert ((scores >= 0) & (scores <= 1)).all()


def test_code_may_be_of_the_languages_that_are_named() -> None:
    code = "def f(x):\n    return x + 1\n" * 10
    table = measure_text(pa.array([code] * 4), np.ones(4, bool), ["Python", "C", "C++", None])
    table = table.append_column("declared_language", pa.array(["Python", "C", "C++", None]))
    for name in ("generated", "vendored"):
        table = table.append_column(name, pa.nulls(4, pa.string()))
    for languages, rules in (
        (None, [None] * 4),
        (["Python", "C"], [None, None, "code_language", "code_language"]),
    ):
        verdict = decide(table, [CodeRules(languages=languages)])
        assert verdict["rule"].to_pylist() == rules
    assert verdict["detail"].to_pylist() == [None, None, "C++", "unknown"]


def test_rules_are_of_their_domain_alone(workdir: Workdir) -> None:
    rules = {"web": Rules(length=LengthRules(min_words=10)), "code": Rules(code=CodeRules(min_characters=1))}
    found = verdicts(workdir, ["two words"] * 4, rules, ["web", "code", "science", "web"])
    assert [verdict["keep"] for verdict in found] == [False, True, True, False]


def test_a_new_threshold_reads_no_text(workdir: Workdir) -> None:
    import shutil

    documents = write_documents(workdir, [PROSE, "short"])
    statistics = run_task(workdir, measure_stage(documents))["statistics"]
    shutil.rmtree(workdir.path("documents"))
    for words, kept in ((0, 2), (10, 1), (10_000, 0)):
        rules = {"web": Rules(length=LengthRules(min_words=words, max_words=100_000))}
        summary = run_task(workdir, filter_stage(rules, statistics))["verdicts/filter"].summary
        assert summary["domains"]["web"]["test"]["kept"].get("documents", 0) == kept


LIMITS = st.none() | st.integers(0, 10)


@given(st.lists(st.integers(0, 10), min_size=1), st.lists(st.tuples(LIMITS, LIMITS), max_size=4))
def test_the_first_check_that_fails_decides(values: list[int], limits: list[tuple[int | None, int | None]]) -> None:
    checks = [Check(f"rule{i}", "n", low, high) for i, (low, high) in enumerate(limits)]
    rows = decide(pa.table({"n": values}), [Only(checks)]).to_pylist()
    for value, row in zip(values, rows, strict=True):
        failing = [c for c in checks if (c.minimum is not None and value < c.minimum) or (c.maximum is not None and value > c.maximum)]
        assert row["keep"] == (not failing)
        if failing:
            assert row["rule"] == failing[0].rule
            assert row["value"] == value
            assert row["limit"] in (failing[0].minimum, failing[0].maximum)

"""Repeated lines and substrings against brute force."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.lines import LinesConfig, repeated_lines_as_cuts
from pipeline.dedup.substrings import SubstringsConfig, repeated_substrings_as_cuts
from pipeline.filters.stage import filter_stage
from pipeline.measure.stage import measure_stage
from pipeline.workdir.cuts import from_column
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.verdicts import entries, remaining
from tests.conftest import here
from tests.pipeline.corpus import write_documents
from tests.profiles import share


def left_of(
    workdir: Workdir, texts: list[str], *configs: LinesConfig | SubstringsConfig, parts: int = 3, domains: list[str] | None = None
) -> tuple[list[str | None], list[dict[str, Any]]]:
    """What the verdicts leave of each text (None where it is dropped), and the last one's rows."""
    engine = here(workdir)
    documents = write_documents(workdir, texts, parts, domains)
    statistics = engine.run(measure_stage(documents)).manifests["statistics"]
    verdicts = [engine.run(filter_stage({}, statistics)).manifests["verdicts/filter"]]
    for config in configs:
        if isinstance(config, LinesConfig):
            verdicts.append(repeated_lines_as_cuts(engine, config, documents, statistics, verdicts))
        else:
            verdicts.append(repeated_substrings_as_cuts(engine, config, documents, statistics, verdicts))
    left: list[str | None] = []
    rows: list[dict[str, Any]] = []
    for partition in documents.partitions:
        found = remaining(workdir, partition, entries(verdicts, partition.name))
        texts_left: list[str | None] = [None] * found.total
        for row, text in zip(found.rows, found.texts.to_pylist(), strict=True):
            texts_left[row] = text
        left += texts_left
        rows += workdir.read_table(verdicts[-1].dataset, verdicts[-1].by_name[partition.name]).to_pylist()
    return left, rows


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def is_row(line: str) -> bool:
    """Whether a line is a row of numbers."""
    return sum(letter.isdigit() for letter in line) > sum(letter.isalpha() for letter in line)


def plain_lines(texts: list[str], least: int, occurrences: int, keep: int, numbers: bool = False) -> list[str]:
    """The same by a look at all lines for each."""
    split = [re.findall(r"[^\n]*\n|[^\n]+$", text) for text in texts]
    result = []
    for number, lines in enumerate(split):
        left = ""
        for place, line in enumerate(lines):
            whole = words(line)
            key = [re.sub(r"\d", "0", word) for word in whole]
            row = is_row(line)

            def is_equal(other: str, in_own: bool, whole: list[str] = whole, key: list[str] = key, row: bool = row) -> bool:
                if row or is_row(other) or in_own:
                    return words(other) == whole and is_row(other) == row
                return [re.sub(r"\d", "0", word) for word in words(other)] == key

            before = [is_equal(other, False) for each in split[:number] for other in each]
            before += [is_equal(other, True) for other in lines[:place]]
            after = [is_equal(other, True) for other in lines[place:]]
            after += [is_equal(other, False) for each in split[number + 1 :] for other in each]
            is_long = len(whole) >= least and (numbers or not row)
            if not is_long or sum(before) + sum(after) < occurrences or sum(before) < keep:
                left += line
        result.append(left)
    return result


LINE = st.lists(st.sampled_from(["a", "b", "C", "7", "12", "1.", "-", "é"]), max_size=4).map(" ".join)
TEXTS = st.lists(st.lists(LINE, max_size=6).map("\n".join), min_size=1, max_size=6)


@settings(max_examples=share(0.6))
@given(TEXTS, st.integers(1, 3), st.integers(2, 3), st.integers(0, 2), st.booleans())
def test_lines_that_stay_are_those_of_a_look_at_all(texts: list[str], least: int, occurrences: int, keep: int, numbers: bool) -> None:
    import tempfile

    config = LinesConfig(min_words=least, occurrences=occurrences, keep=keep, numbers=numbers)
    with tempfile.TemporaryDirectory() as folder:
        left, rows = left_of(Workdir(folder), texts, config)
    for text, ours, plain, row in zip(texts, left, plain_lines(texts, least, occurrences, keep, numbers), rows, strict=True):
        if plain == "" and text:
            assert ours is None, "nothing is left: dropped"
            assert row["rule"] == "lines"
        else:
            assert ours == plain


def test_tables_stay_and_lines_that_other_documents_have_are_cut_whatever_their_numbers(workdir: Workdir) -> None:
    rainfall = "Rainfall by station in millimetres\n" + "".join(f"{1990 + year} {year * 37} {year * 11} 214 376\n" for year in range(9))
    verses = "".join(f"Chapter {number} verse {7 * number} of this book is on page {number * 9}\n" for number in range(9))
    code = "".join(f"x[{number}] = 5{number}, 14{number}, 506, 605\n" for number in range(9))
    menu = "All rights reserved by the owners, 2019\n"
    texts = [rainfall, verses, code, rainfall + menu, menu.replace("2019", "2024") + "second", "Said twice here, it is one too many\n" * 2]
    left, rows = left_of(workdir, texts, LinesConfig())
    assert left[:3] == texts[:3]
    assert left[3:] == ["\n".join(rainfall.splitlines()[1:]) + "\n" + menu, "second", texts[5][: len(texts[5]) // 2]]
    assert "occurs 2 times, first in document 3" in rows[4]["detail"]
    left, _ = left_of(Workdir(workdir.uri + "-numbers"), texts, LinesConfig(numbers=True))
    assert left[:3] == texts[:3]
    assert left[3] == menu


def test_repeats_are_found_however_they_are_written_and_cut_where_they_stand(workdir: Workdir) -> None:
    texts = [
        "The eﬃcient oﬃce of my café closes early\nfirst",
        "Ｔｈｅ　ｅｆｆｉｃｉｅｎｔ　ｏｆｆｉｃｅ of my cafe\u0301 closes early\nsecond ½ ﬁn",
        "½ ﬁrst\nThe efficient office of my caf\u00ad\u00e9 closes early\nthird ﬀ",
    ]
    left, _ = left_of(workdir, texts, LinesConfig())
    assert left == [texts[0], "second ½ ﬁn", "½ ﬁrst\nthird ﬀ"]
    shared = " ".join(f"ﬁle{number} naïve" for number in range(30))
    texts = [f"½ {shared} ¼", "ﬁrst " + shared.replace("ﬁ", "fi").replace("ï", "i\u0308") + " ﬀ"]
    left, rows = left_of(Workdir(workdir.uri + "-substrings"), texts, SubstringsConfig())
    assert left[1] == "ﬁrst  ﬀ"
    raw = texts[1].encode()
    assert [raw[span["begin"] : span["end"]].decode() for span in rows[1]["cuts"]] == [texts[1][5:-2]]


def test_paragraphs_are_cut_with_the_blank_lines_after_them(workdir: Workdir) -> None:
    boilerplate = "All rights reserved by\nthe owners of this site."
    texts = [f"first page\n\n{boilerplate}\n\n\nmore of it", f"{boilerplate}\n \nsecond page", f"third page\n\n{boilerplate}"]
    left, rows = left_of(workdir, texts, LinesConfig(unit="paragraph"))
    assert left == [texts[0], "second page", "third page\n\n"]
    assert "occurs 3 times, first in document 0" in rows[1]["detail"]


def test_only_the_named_domains_are_cut_and_count(workdir: Workdir) -> None:
    line = "import os, sys, re, json, time, math"
    left, _ = left_of(workdir, [line + "\nx"] * 4, LinesConfig(domains=["web"]), domains=["code", "web", "code", "web"])
    assert left == [line + "\nx", line + "\nx", line + "\nx", "x"]


def test_a_document_that_would_lose_too_much_is_dropped_whole(workdir: Workdir) -> None:
    line = "the same old line of words\n"
    left, rows = left_of(workdir, [line, line + "new", line + "new " * 40], LinesConfig(drop_share=0.5))
    assert left == [line, None, "new " * 40]
    assert rows[1]["value"] == pytest.approx(len(line) / (len(line) + 3))
    assert rows[1]["cuts"] is None


def plain_substrings(texts: list[str], length: int) -> list[set[int]]:
    """Words of each text that lie in a run of `length` words that occurred before."""
    seen: set[tuple[str, ...]] = set()
    result = []
    for text in texts:
        found = words(text)
        marked = set()
        for start in range(len(found) - length + 1):
            run = tuple(found[start : start + length])
            if run in seen:
                marked |= set(range(start, start + length))
            seen.add(run)
        result.append(marked)
    return result


@settings(max_examples=share(0.4))
@given(st.integers(0, 2**32 - 1), st.integers(8, 13))
def test_cut_substrings_are_those_of_a_dictionary_of_all_runs(seed: int, length: int) -> None:
    import tempfile

    generator = random.Random(seed)
    pool = [f"w{number}" for number in range(generator.choice([2, 40, 400]))]
    pieces = [generator.choices(pool, k=generator.randrange(1, 2 * length)) for _ in range(6)]
    texts = [" ".join(word for piece in generator.choices(pieces, k=generator.randrange(1, 5)) for word in piece) for _ in range(5)]
    with tempfile.TemporaryDirectory() as folder:
        left, _ = left_of(Workdir(folder), texts, SubstringsConfig(words=length))
    for text, ours, marked in zip(texts, left, plain_substrings(texts, length), strict=True):
        plain = [word for place, word in enumerate(words(text)) if place not in marked]
        assert words(ours or "") == plain


def test_a_repeat_of_49_words_stays_and_one_of_50_is_cut(workdir: Workdir) -> None:
    shared = [f"s{number}" for number in range(50)]
    own = [[f"{name}{number}" for number in range(30)] for name in "abcd"]
    texts = [" ".join(own[0] + shared + own[1]), " ".join(own[2] + shared[:49]), "Ä. " + " ".join(shared).upper() + "! " + " ".join(own[3])]
    left, rows = left_of(workdir, texts, SubstringsConfig())
    assert left[:2] == texts[:2]
    assert left[2] == "Ä. ! " + " ".join(own[3])
    assert "first in document 0" in rows[2]["detail"]


def test_of_one_word_repeated_a_hundred_thousand_times_one_period_stays(workdir: Workdir) -> None:
    left, _ = left_of(workdir, ["word " * 100_000, "other"], SubstringsConfig())
    assert words(left[0] or "") == ["word"]
    assert left[1] == "other"


def test_lines_cut_first_are_not_seen_by_substrings_and_all_cuts_are_in_the_original_text(workdir: Workdir) -> None:
    line = "a menu of links that every page has, home, about, contact\n"
    shared = " ".join(f"s{number}" for number in range(60))
    texts = [line + shared + "\nfirst", "other\n" + line + "so " + shared + "\n" + line + "second é"]
    left, rows = left_of(workdir, texts, LinesConfig(), SubstringsConfig(words=50))
    assert left[0] == texts[0]
    assert left[1] == "other\nso \nsecond é"
    raw = texts[1].encode()
    spans = [raw[span["begin"] : span["end"]].decode() for span in rows[1]["cuts"]]
    assert spans == [shared]


def test_results_do_not_depend_on_partitions(tmp_path: Path) -> None:
    generator = random.Random(5)
    lines = [" ".join(generator.choices("abcdefgh", k=8)) for _ in range(30)]
    texts = ["\n".join(generator.choices(lines, k=12)) for _ in range(40)]
    results = [
        left_of(Workdir(str(tmp_path / str(parts))), texts, LinesConfig(keep=1), SubstringsConfig(words=10), parts=parts)[0]
        for parts in (1, 7)
    ]
    assert results[0] == results[1]


def test_cuts_columns_are_null_where_nothing_is_cut(workdir: Workdir) -> None:
    _, rows = left_of(workdir, ["one line of five words", "another line of six words here"], LinesConfig())
    assert [row["cuts"] for row in rows] == [None, None]
    assert from_column(workdir.read_table("verdicts/lines", workdir.require("verdicts/lines").partitions[0])["cuts"]).sizes.sum() == 0

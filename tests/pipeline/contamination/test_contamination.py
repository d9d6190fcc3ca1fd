"""Contamination against brute force over sets of n-grams."""

from __future__ import annotations

import json
import random
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.copies import SPELLINGS
from kernel.fold import fold_text
from pipeline.contamination.config import ContaminationConfig
from pipeline.contamination.index import _Items
from pipeline.contamination.ngrams import NgramSet, find_ngrams, ngram_hashes, ngrams_with_letters
from pipeline.contamination.stage import decontaminate
from pipeline.contamination.verdict import REPORT
from pipeline.filters.stage import filter_stage
from pipeline.ingest.canonical import Ingesting, canonical
from pipeline.ingest.stage import IngestConfig, ingest_stage
from pipeline.measure.stage import measure_stage
from pipeline.readers import source_config
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from pipeline.workdir.verdicts import entries, remaining
from tests.conftest import here, run_task
from tests.pipeline.corpus import write_documents
from tests.profiles import share

QUESTION = "Which planet of the solar system has the most moons, and who of the astronomers first saw four of them?"
NONE = {"instructions": 0, "instructions_alone": 0}
ANSWER = "Saturn, with one hundred and forty six moons; but the four were seen around Jupiter by Galileo in 1610."


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def run(
    workdir: Workdir, texts: list[str], sets: dict[str, list[dict[str, Any]]], parts: int = 3, **config: Any
) -> tuple[list[dict[str, Any]], list[str | None], list[dict[str, Any]]]:
    """The verdicts, what is left of each text, and the report."""
    base = Path(workdir.uri)
    base.mkdir(parents=True, exist_ok=True)
    for name, records in sets.items():
        (base / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    columns = config.pop("columns", [])
    listed = [{"name": name, "format": "jsonl", "path": f"{name}.jsonl", "columns": columns} for name in sets]
    engine = here(workdir)
    documents = write_documents(workdir, texts, parts)
    statistics = engine.run(measure_stage(documents)).manifests["statistics"]
    verdicts = [engine.run(filter_stage({}, statistics)).manifests["verdicts/filter"]]
    ingesting = Ingesting(config.pop("ingest", IngestConfig()), ("web",))
    verdicts.append(decontaminate(engine, ContaminationConfig(sets=listed, **config), ingesting, base, documents, statistics, verdicts))
    left: list[str | None] = []
    for partition in documents.partitions:
        found = remaining(workdir, partition, entries(verdicts, partition.name))
        texts_left: list[str | None] = [None] * found.total
        for row, text in zip(found.rows, found.texts.to_pylist(), strict=True):
            texts_left[row] = text
        left += texts_left
    rows, report = (pa.concat_tables(t for _, t in workdir.tables(name)).to_pylist() for name in ("verdicts/contamination", REPORT))
    return rows, left, report


@settings(max_examples=share(0.4))
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_documents_with_any_known_ngram_are_dropped_and_no_others(seed: int, ngram: int) -> None:
    generator = random.Random(seed)
    pool = "ab1" if generator.random() < 0.3 else [f"w{number}" for number in range(12)]
    items = [" ".join(generator.choices(pool, k=generator.randrange(1, 9))) for _ in range(4)]
    texts = [", ".join(generator.choices(pool, k=generator.randrange(0, 30))).upper() for _ in range(8)]
    shortest = min(ngram, 2)
    with tempfile.TemporaryDirectory() as folder:
        rows, _, report = run(Workdir(folder), texts, {"quiz": [{"text": item} for item in items]}, ngram=ngram, shortest=shortest)
    known = set()
    for item in items:
        found = words(item)
        if len(found) >= shortest:
            width = min(len(found), ngram)
            runs = (tuple(found[start : start + width]) for start in range(len(found) - width + 1))
            known |= {run for run in runs if not all(word.isdigit() for word in run)}
    widths = {len(each) for each in known}
    for number, (text, row) in enumerate(zip(texts, rows, strict=True)):
        found = words(text)
        hits = [(w, s) for w in widths for s in range(len(found) - w + 1) if tuple(found[s : s + w]) in known]
        assert row["keep"] == (not hits)
        assert (row["value"] or 0) == len(hits)
        assert bool(hits) == any(line["ordinal"] == number for line in report)


def test_the_report_names_set_item_and_span(workdir: Workdir) -> None:
    texts = ["About planets. " + QUESTION.replace(",", "").upper() + " Nobody knows.", "Saturn has moons.", "He wrote: " + ANSWER]
    sets = {
        "science": [{"id": "q1", "question": QUESTION, "answer": {"text": ANSWER}}],
        "other": [{"question": "a " * 20, "answer": {"text": "b " * 20}}],
    }
    rows, _, report = run(workdir, texts, sets, columns=["question", "answer.text"])
    assert [row["keep"] for row in rows] == [False, True, False]
    assert rows[0]["rule"] == "contamination_science"
    assert "science: item q1, question: “WHICH PLANET" in rows[0]["detail"]
    first, second = report
    assert (first["set"], first["document"], first["items"], first["item"]) == ("science", "test:0", 1, "q1, question")
    assert texts[0].encode()[first["begin"] : first["end"]].decode() == first["span"] == QUESTION.replace(",", "").upper()[:-1]
    assert first["ngrams"] == len(words(QUESTION)) - 12
    assert second["item"] == "q1, answer.text"
    counts = workdir.require("contamination/ngrams").summary["sets"]
    assert counts["science"] == {
        "items": 2,
        "too_short": 0,
        "unreadable": 0,
        "ngrams": len(words(QUESTION)) + len(words(ANSWER)) - 24,
        **NONE,
    }
    assert workdir.require("verdicts/contamination").summary["sets"] == {"science": {"documents": 2}}


def test_short_items_are_looked_for_whole_and_shorter_ones_counted(workdir: Workdir) -> None:
    eight, seven = "one two three four five six seven eight", "red orange yellow green blue indigo violet"
    rows, _, _ = run(workdir, [f"so {eight} so", f"so {seven} so", eight.replace("three", "3")], {"s": [{"text": eight}, {"text": seven}]})
    assert [row["keep"] for row in rows] == [False, True, True]
    assert workdir.require("contamination/ngrams").summary["sets"]["s"]["too_short"] == 1


def test_cuts_take_some_text_around_on_character_boundaries_and_small_pieces_go_too(workdir: Workdir) -> None:
    before, after = "é" * 300, "中" * 300
    rows, left, _ = run(workdir, [f"{before} {QUESTION} {after}", QUESTION], {"s": [{"text": QUESTION}]}, preset="gpt3")
    assert left[0] is not None
    assert left[0].strip("é中") == ""
    assert abs(left[0].count("é") - 200) <= 1
    assert abs(left[0].count("中") - (300 - 66)) <= 1
    assert rows[0]["keep"]
    assert left[1] is None, "nothing would be left of it"
    assert rows[1]["rule"] == "contamination_s"


def test_gpt3s_pieces_and_common_phrases(tmp_path: Path) -> None:
    filler = [" ".join(random.Random(seed).choices([f"x{n}" for n in range(500)], k=300)) for seed in range(12)]
    ten, eleven = (f" {QUESTION} ".join(filler[:count]) for count in (10, 12))
    rows, left, _ = run(Workdir(str(tmp_path / "pieces")), [ten, eleven], {"s": [{"text": QUESTION}]}, preset="gpt3", common=None)
    assert [row["keep"] for row in rows] == [True, False], "cut into 10 pieces it is kept, into 12 dropped"
    assert QUESTION not in (left[0] or "")
    texts = [f"{filler[number]} {QUESTION}" for number in range(11)] + [f"{filler[11]} {ANSWER} {filler[0]}"]
    rows, _, _ = run(Workdir(str(tmp_path / "common")), texts, {"s": [{"text": QUESTION}, {"text": ANSWER}]}, preset="gpt3")
    assert [row["cuts"] is None for row in rows] == [True] * 11 + [False]
    rows, _, _ = run(Workdir(str(tmp_path / "rare")), texts[1:], {"s": [{"text": QUESTION}, {"text": ANSWER}]}, preset="gpt3")
    assert [row["cuts"] is None for row in rows] == [False] * 11


def test_by_lines_the_share_of_known_ngrams_decides(tmp_path: Path) -> None:
    line = " ".join(f"t{number}" for number in range(32))  # 20 13-grams
    mostly, partly = line.replace("t1 ", "other "), line.replace("t20", "other")
    texts = [f"a title\n{line}\nthe end", f"a title\n{mostly}\nthe end", f"{partly}\nthe end"]
    sets = {"s": [{"text": line}]}
    rows, left, _ = run(Workdir(str(tmp_path / "dclm")), texts, sets, preset="dclm")
    assert left == ["a title\nthe end", "a title\nthe end", texts[2]]
    rows, left, _ = run(Workdir(str(tmp_path / "dolma")), texts, sets, preset="dolma")
    assert [row["keep"] for row in rows] == [False, True, True]


def test_presets_give_way_to_what_is_named() -> None:
    sets = [{"name": "s", "format": "jsonl", "path": "x"}]
    config = ContaminationConfig(sets=sets, preset="gpt3", around=50)
    assert (config.action, config.around, config.common) == ("cut", 50, 10)
    assert ContaminationConfig.model_validate(config.model_dump()) == config
    with pytest.raises(ValueError, match="shortest"):
        ContaminationConfig(sets=sets, ngram=5)
    with pytest.raises(ValueError, match="two evaluation sets are named s"):
        ContaminationConfig(sets=sets * 2)


def test_a_set_that_cannot_be_read_is_an_error_with_the_reason(workdir: Workdir) -> None:
    with pytest.raises(UserError, match=r"s: no item could be read from s\.jsonl.*no field question; it has: prompt"):
        run(workdir, ["text"], {"s": [{"prompt": "x"}]}, columns=["question"])


def test_results_do_not_depend_on_partitions(tmp_path: Path) -> None:
    generator = random.Random(3)
    texts = [" ".join(generator.choices([f"w{n}" for n in range(30)], k=60)) for _ in range(30)]
    sets = {"s": [{"text": " ".join(text.split()[10:30])} for text in texts[::4]]}
    one, other = (run(Workdir(str(tmp_path / str(parts))), texts, sets, parts, preset="gpt3") for parts in (1, 6))
    assert one == other


@given(st.lists(st.text(alphabet="ab é中.\n", max_size=40), min_size=1, max_size=5), st.integers(1, 4))
def test_every_ngram_of_a_text_is_found_in_it(texts: list[str], length: int) -> None:
    hashes = [ngram_hashes(text, length) for text in texts]
    lengths = np.array([length])
    every = np.unique(np.concatenate(hashes))
    found = find_ngrams(pa.array(texts), NgramSet.of(every, lengths))
    for number, text in enumerate(texts):
        of_text = every[found.ngram[found.document == number]]
        if len(words_of(text)) >= length:
            assert of_text.tolist() == hashes[number].tolist()


@given(st.lists(st.sampled_from(["12", "ab", "中", "3c", "é"]), max_size=9), st.integers(1, 4))
def test_ngrams_with_letters_are_those_with_a_word_that_is_no_number(found: list[str], length: int) -> None:
    span = min(length, len(found))
    runs = [found[start : start + span] for start in range(len(found) - span + 1)] if found else []
    assert ngrams_with_letters(" ".join(found), length).tolist() == [any(not word.isdigit() for word in run) for run in runs]


def test_counting_is_no_contamination_unless_asked_for(tmp_path: Path) -> None:
    counting = " ".join(map(str, range(20)))
    for numbers in (False, True):
        rows, _, _ = run(Workdir(str(tmp_path / str(numbers))), [counting, "a"], {"s": [{"text": f"Go on: {counting}"}]}, numbers=numbers)
        assert rows[0]["keep"] is not numbers


def words_of(text: str) -> list[str]:
    return re.findall(r"[abé]+|中", text)


@pytest.mark.parametrize(
    ("preset", "repaired"), [("gpt3", True), ("dolma", True), ("dclm", True), ("datatrove", True), (None, True), (None, False)]
)
def test_items_are_found_in_every_spelling(tmp_path: Path, preset: str | None, repaired: bool) -> None:
    """Documents that hold an item's bytes, or those that it should have had, beside items in other spellings."""
    filler = [" ".join(random.Random(seed).choices([f"x{n}" for n in range(500)], k=60)) for seed in range(4)]
    held = [text for pair in SPELLINGS.values() for text in (pair if repaired else pair[:1])]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"{filler[0]}\n{text}\n{filler[1]}"}) + "\n" for text in [*held, "so"]))
    config = IngestConfig() if repaired else IngestConfig(repair=False, personal=False)
    workdir = Workdir(str(tmp_path / "workdir"))
    source = source_config(name="s", domain="web", format="jsonl", path=str(tmp_path / "in.jsonl"))
    run_task(workdir, ingest_stage(config, [source], tmp_path))
    texts = pa.concat_tables(table for _, table in workdir.tables("documents"))["text"].to_pylist()
    items = [{"text": spelt, "id": name} for name, (spelt, _) in SPELLINGS.items()]
    rows, left, _ = run(Workdir(str(tmp_path / "judged")), texts, {"s": items}, preset=preset, common=None, ingest=config)
    missed = [text for text, row in zip(held, rows, strict=False) if row["keep"] and row["cuts"] is None]
    assert missed == []
    assert rows[-1]["keep"]
    assert left[-1] == texts[-1]


def test_code_has_the_items_as_it_keeps_them_and_as_prose_has_them(workdir: Workdir) -> None:
    key = "AKIA" + "Q3EGRPZ7XN4WLD2M"
    item = f'first set aws_access_key_id = "{key}" and write to anna.baker@bakery-example.org before you run the twelve tests of the bakery'
    ingesting = Ingesting(IngestConfig(), ("code", "science", "web"))
    assert ingesting.treatments == ("code", "science"), "science and web are treated alike"
    forms = ingesting.forms(item)
    assert len(forms) == 3
    assert [key in form for form in forms] == [False, True, True]
    assert canonical(item, "code", IngestConfig()) == fold_text(forms[0])


def test_instructions_that_many_items_share_are_no_evidence(tmp_path: Path) -> None:
    task = "Read the passage below with care and choose the one answer that follows from what it says. "
    own = [" ".join(random.Random(seed).choices([f"x{n}" for n in range(500)], k=30)) for seed in range(40)]
    passage = " ".join(random.Random(99).choices([f"p{n}" for n in range(500)], k=30)) + " "
    items = [{"text": task + (passage if number < 4 else "") + text} for number, text in enumerate(own)]
    texts = [f"He said: {task}", f"a quiz, {own[7]}", f"a book, {passage}", task + own[8]]
    rows, _, _ = run(Workdir(str(tmp_path / "default")), texts, {"s": items})
    assert [row["keep"] for row in rows] == [True, False, False, False]
    counts = workdir_counts(tmp_path / "default")
    assert counts["instructions"] == len(words(task)) - 12
    assert counts["instructions_alone"] == 0
    rows, _, _ = run(Workdir(str(tmp_path / "all")), texts, {"s": items}, instruction=None)
    assert [row["keep"] for row in rows] == [False] * 4
    rows, _, _ = run(Workdir(str(tmp_path / "few")), texts, {"s": items[:5]})
    assert [row["keep"] for row in rows[:1]] == [False], "of a handful of items nothing is said to be shared by many"
    run(Workdir(str(tmp_path / "alone")), texts, {"s": [*items, {"text": task}]})
    assert workdir_counts(tmp_path / "alone")["instructions_alone"] == 1


def workdir_counts(path: Path) -> dict[str, int]:
    counts: dict[str, int] = Workdir(str(path)).require("contamination/ngrams").summary["sets"]["s"]
    return counts


@given(st.lists(st.lists(st.integers(0, 30), max_size=6, unique=True), min_size=1, max_size=40), st.sampled_from([0.1, 0.3, None]))
def test_shared_ngrams_are_those_of_a_count(items: list[list[int]], share: float | None) -> None:
    found = _Items()
    found.hashes += [np.array(sorted(item), np.uint64) for item in items]
    found.kinds += [hash(tuple(item)) % 2**64 if number % 3 else 7 for number, item in enumerate(items)]
    found.lengths += [np.full(len(item), 13) for item in items]
    hashes, owners, lengths, shared, alone = found.without_instructions(share, len(items))
    counts = Counter(value for value, _ in {(value, kind) for item, kind in zip(items, found.kinds, strict=True) for value in item})
    most = len(items) if share is None else min(100, max(5, int(share * len(items))))
    kept = {(number, value) for number, item in enumerate(items) for value in item if counts[value] <= most}
    assert set(zip(owners.tolist(), hashes.tolist(), strict=True)) == kept
    assert len(lengths) == len(hashes)
    assert shared == sum(count > most for count in counts.values())
    assert alone == sum(bool(item) and all(counts[value] > most for value in item) for item in items)

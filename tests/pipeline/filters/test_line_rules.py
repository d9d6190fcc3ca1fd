"""C4's, RefinedWeb's, FineWeb's and Gopher's rules on whole documents: what is dropped, what is cut, what is left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.c4 import C4Rules
from pipeline.filters.check import Family, decide
from pipeline.filters.fineweb import FineWebRules
from pipeline.filters.limits import Bounds
from pipeline.filters.refinedweb import RefinedWebLines
from pipeline.filters.repetition import GopherRepetition
from pipeline.filters.science import ScienceRules
from pipeline.filters.stage import Rules, filter_stage
from pipeline.ingest.stage import IngestConfig, ingest_stage
from pipeline.measure.stage import measure_stage, measure_text
from pipeline.readers import source_config
from pipeline.workdir.cuts import apply, from_column
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.documents import source_of
from pipeline.workdir.verdicts import entries, remaining
from tests.conftest import run_task
from tests.pipeline.corpus import write_documents
from tests.profiles import share

PROSE = "The house stood at the end of the road, and nobody had lived in it for many years. When the storms came, the roof gave way."


def judge(texts: list[str], family: Family) -> tuple[list[dict[str, Any]], list[str]]:
    """Verdicts, and what is left of each text."""
    verdict = decide(measure_text(pa.array(texts)), [family])
    return verdict.to_pylist(), apply(pa.array(texts), from_column(verdict["cuts"])).to_pylist()


# --- C4 ----------------------------------------------------------------------------------------------------------------

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]", re.IGNORECASE)
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def c4_by_hand(text: str, rules: C4Rules) -> tuple[str | None, list[str]]:
    """C4's steps one by one: the rule that drops the document, and the lines that stay, blank ones left out."""
    sentences, dropped, kept = 0, None, []
    for line in text.split("\n"):
        rest = CITATION.sub("", line.strip())
        words = line.split()
        if not words or any(len(word) > rules.max_word_length for word in words):
            continue
        if rules.terminal_punctuation and (not rest.endswith((".", "?", "!", '"', "'")) or rest.endswith("...")):
            continue
        if len(words) < rules.min_line_words:
            continue
        if "lorem ipsum" in line.lower():
            dropped = "c4_lorem_ipsum"
        elif "javascript" in line.lower():
            continue
        elif "{" in line:
            dropped = dropped or "c4_curly_bracket"
        elif any(policy in line.lower() for policy in POLICIES):
            continue
        sentences += (
            max(1, len(re.findall(r"[.!?]+(?=[^.!?\w]*(?:\w|$))", rest))) if "{" not in rest and "lorem ipsum" not in rest.lower() else 0
        )
        kept.append(rest)
    return dropped or ("c4_sentences" if sentences < rules.min_sentences else None), kept


LINE = st.sampled_from(
    ["The first line of all.", "Another one that asks?", "no mark here", "Too short.", "We use javascript here.", "This site uses cookies now.", "",
     "Lorem ipsum dolor sit.", "A { bracket is here.", "It ends in dots...", "Cited it was.[12]", "w" * 1001 + " is a word.", "One here. Two here. Three here!"]
)  # fmt: skip


@settings(max_examples=share(3))
@given(st.lists(LINE, max_size=14), st.booleans(), st.integers(0, 4))
def test_c4_is_what_its_steps_give_one_by_one(lines: list[str], terminal: bool, least: int) -> None:
    rules = C4Rules(terminal_punctuation=terminal, min_line_words=least)
    text = "\n".join(lines)
    (verdict,), (left,) = judge([text], rules)
    rule, kept = c4_by_hand(text, rules)
    assert verdict["rule"] == rule
    if rule is None:
        assert [line.strip() for line in left.split("\n") if line.strip()] == kept
        assert "\n\n\n" not in left or "\n\n\n" in text


def test_c4_keeps_paragraphs_apart_and_says_what_it_cut() -> None:
    text = f"{PROSE}\n\nHome | About\n\n{PROSE}\nclick here\n{PROSE}[3]"
    (verdict,), (left,) = judge([text], C4Rules())
    assert left == f"{PROSE}\n\n{PROSE}\n{PROSE}"
    assert verdict["detail"] == "c4: 2 lines without terminal punctuation"
    assert verdict["keep"]


# --- RefinedWeb --------------------------------------------------------------------------------------------------------


def test_refinedweb_cuts_what_is_no_running_text_and_drops_what_would_lose_too_much() -> None:
    body = "\n".join([PROSE] * 5)
    lines = [
        "ALL OF THIS IS SHOUTED",
        "123 456 789",
        "35 likes",
        "Word",
        "Sign in to see more",
        "The rest is here: Read more...",
        "2 items in cart",
    ]
    for line in lines:
        (verdict,), (left,) = judge([f"{body}\n{line}\n{PROSE}"], RefinedWebLines())
        assert verdict["keep"], line
        assert left == f"{body}\n{PROSE}", line
    (verdict,), (left,) = judge([PROSE + "\n" + "\n".join(lines)], RefinedWebLines())
    assert (verdict["rule"], verdict["limit"], verdict["cuts"]) == ("refinedweb_cut_words", 0.05, None)
    (verdict,), (left,) = judge(
        [f"{PROSE}\nNothing is cut from this line, 123 and Sign in or not, as it has more words than ten"], RefinedWebLines()
    )
    assert left.endswith("than ten")


# --- Gopher's repetition and FineWeb -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("\n\n".join([PROSE, "Again and again.", "Again and again.", "Again and again."]), "gopher_duplicate_paragraphs"),
        (PROSE + "\n" + "\n".join(["Ever and ever."] * 4), "gopher_duplicate_lines"),
        ("A line that is long enough to weigh, said twice or more.\n" * 2 + "\n".join(map(str, range(9))), "gopher_duplicate_line_characters"),
        ("so long " * 12 + PROSE, "gopher_top_2gram"),
        (PROSE, None),
        (PROSE + " and so " + PROSE, "gopher_duplicate_5grams"),
    ],
)  # fmt: skip
def test_each_repetition_drops_what_it_is_for(text: str, rule: str | None) -> None:
    (verdict,), _ = judge([text], GopherRepetition())
    assert verdict["rule"] == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (PROSE, None),
        ("\n".join(["A line without an end that is long enough to be no short one"] * 1 + ["Another line that is long enough, yet without it"]), "fineweb_terminal_lines"),
        ("\n".join(["Short one.", "Short two.", "Short three.", PROSE]), "fineweb_short_lines"),
        (f"{PROSE}\nA line that comes twice, for some reason.\n{PROSE}. \nA line that comes twice, for some reason.", "fineweb_duplicate_characters"),
        (PROSE + "\n" * 20, "fineweb_newlines"),
    ],
)  # fmt: skip
def test_each_of_finewebs_rules_drops_what_it_is_for(text: str, rule: str | None) -> None:
    (verdict,), _ = judge([text], FineWebRules())
    assert verdict["rule"] == rule


# --- the stage ---------------------------------------------------------------------------------------------------------


def test_cuts_of_rules_are_left_out_by_all_that_reads_text_later(workdir: Workdir) -> None:
    texts = [f"{PROSE}\nclick here\n{PROSE}\n{PROSE}", "short", f"{PROSE} {PROSE}"]
    documents = write_documents(workdir, texts, 2)
    stage = measure_stage(documents, {"web": True})
    measured = run_task(workdir, stage)["statistics"]
    verdict = run_task(workdir, filter_stage({"web": Rules(c4=C4Rules(min_sentences=2))}, measured))["verdicts/filter"]
    left = [
        text
        for partition in documents.partitions
        for text in remaining(workdir, partition, entries([verdict], partition.name)).texts.to_pylist()
    ]
    assert left == [f"{PROSE}\n{PROSE}\n{PROSE}", f"{PROSE} {PROSE}"]
    counts = verdict.summary["domains"]["web"]["test"]
    assert counts["cut"] == {"documents": 1, "bytes": len("click here\n")}


def test_a_new_line_rule_reads_no_text(workdir: Workdir) -> None:
    import shutil

    documents = write_documents(workdir, [f"{PROSE}\nclick here now please\n{PROSE}\n{PROSE}"], 1)
    measured = run_task(workdir, measure_stage(documents, {"web": True}))["statistics"]
    shutil.rmtree(workdir.path("documents"))
    for rules, cut in (
        (C4Rules(), 22),
        (C4Rules(terminal_punctuation=False), 0),
        (C4Rules(terminal_punctuation=False, min_line_words=5), 22),
    ):
        verdict = run_task(workdir, filter_stage({"web": Rules(c4=rules)}, measured))["verdicts/filter"]
        assert verdict.summary["domains"]["web"]["test"].get("cut", {}).get("bytes", 0) == cut


def test_rules_for_a_source_measure_no_other_source_again(workdir: Workdir, tmp_path: Path) -> None:
    sources = []
    for name, domain in (("a", "web"), ("b", "web"), ("c", "science")):
        (tmp_path / f"{name}.txt").write_text(PROSE)
        sources.append(source_config(name=name, domain=domain, format="text", path=f"{name}.txt"))
    documents = run_task(workdir, ingest_stage(IngestConfig(), sources, tmp_path))["documents"]

    def keys(line_rules: dict[str, bool]) -> dict[str, str]:
        return {source_of(task.name): task.key for task in measure_stage(documents, line_rules).tasks}

    first = keys({"web": True})
    assert set(first) == {"a", "b", "c"}
    assert keys({"web": True, "science": False}) == first
    assert keys({"web": True, "b": True}) == first
    assert keys({"a": True, "b": True}) == first
    for rules, other in (({"web": True, "b": False}, "b"), ({"web": True, "science": True}, "c"), ({"web": True, "c": True}, "c")):
        again = keys(rules)
        assert {name for name in first if again[name] != first[name]} == {other}
    run_task(workdir, measure_stage(documents, {"web": True, "b": False}))
    measured = {table["source"][0].as_py(): table["line_flags"].null_count == 0 for _, table in workdir.tables("statistics")}
    assert measured == {"a": True, "b": False, "c": False}


def test_a_source_has_its_own_rules_instead_of_its_domains(workdir: Workdir) -> None:
    documents = write_documents(workdir, ["one two", "one two", "one two"], 1, sources=["a", "b", "a"])
    measured = run_task(workdir, measure_stage(documents))["statistics"]
    rules = {"web": Rules(limits={"words": Bounds(min=3)}), "b": Rules(limits={"words": Bounds(min=2)})}
    run_task(workdir, filter_stage(rules, measured))
    (table,) = [table for _, table in workdir.tables("verdicts/filter")]
    assert table["keep"].to_pylist() == [False, True, False]
    assert table["rule"].to_pylist() == ["limit_words", None, "limit_words"]


def test_references_are_cut_and_papers_judged(workdir: Workdir) -> None:
    body = "\n\n".join([f"{PROSE} {number}" for number in range(30)])
    documents = write_documents(
        workdir, [f"{body}\n\nReferences\n\n[1] A. Someone. 1999.", "Too short.", "the " * 600 + "\n\nx" * 5], 1, domains=["science"] * 3
    )
    measured = run_task(workdir, measure_stage(documents))["statistics"]
    run_task(workdir, filter_stage({"science": Rules(science=ScienceRules(max_top_word=0.3))}, measured))
    (table,) = [table for _, table in workdir.tables("verdicts/filter")]
    assert table["rule"].to_pylist() == [None, "science_words", "science_top_word"]
    assert pc.list_value_length(table["cuts"]).to_pylist() == [1, None, None]
    assert table["detail"].to_pylist()[0] == "science: references"

"""Decisions beside datatrove's own filters: those recorded on a small set of texts, and, where it is installed, on real documents."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.filters import FAMILIES
from pipeline.filters.check import decide
from pipeline.measure.stage import measure_text
from pipeline.readers import Record, list_files, read_file, source_config

DATA = Path(__file__).with_name("data")
# Texts of the set on which a decision differs, and why.
DIFFER = {
    "Gopher quality": {},
    "Gopher repetition": {
        "blank-1": "without a word there is nothing that repeats; the quality rules drop it",
        "blank-3": "likewise",
    },
    "C4": {
        "symbols-5": "marks alone, as in `!!! ???`, are no sentences",
        "chinese-1": "。 ends a line and a sentence, and Chinese has words; datatrove's list of marks is that of English",
        "apostrophes-1": "the full stop after `n't` or `'s` is taken for one of an initial",
    },
    "FineWeb": {
        "repeated-10": "spaces after its last mark do not hide the mark; ingest leaves none",
        "russian-1": "likewise",
        "greek-1": "likewise",
    },
}


@pytest.mark.parametrize("name", FAMILIES)
def test_decisions_on_the_set_are_those_that_datatrove_was_seen_to_make(name: str) -> None:
    """`record_datatrove.py` recorded them; the set has texts on both sides of the limits."""
    rows = [json.loads(line) for line in (DATA / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    recorded = json.loads((DATA / "datatrove.json").read_text(encoding="utf-8"))
    assert recorded["versions"]["datatrove"] == "0.10.1"
    peer, family = FAMILIES[name]
    reasons = [recorded["decisions"][row["id"]][peer] for row in rows]
    verdicts = decide(measure_text(pa.array([row["text"] for row in rows])), [family]).to_pylist()
    different = {row["id"] for row, reason, verdict in zip(rows, reasons, verdicts, strict=True) if (reason is None) != verdict["keep"]}
    assert different == set(DIFFER[name])
    assert reasons.count(None) >= 40
    assert len(reasons) - reasons.count(None) >= 20


@pytest.fixture
def _datatrove() -> None:
    for package in ("datatrove", "spacy"):
        pytest.importorskip(package, reason=f"{package} is not installed (pip install -e .[bench])")


@pytest.mark.usefixtures("_datatrove")
def test_decisions_agree_on_wikipedia(real_data: Path) -> None:
    from benchmarks.filters import agreement, english
    from benchmarks.planted import read_texts

    texts = english(read_texts(real_data / "dedup" / "wikipedia-en.jsonl.zst")[:24_000:30])
    for row in agreement("articles", texts, causes=False):
        assert row.value >= 98, row


@pytest.mark.usefixtures("_datatrove")
def test_decisions_agree_on_web_pages(real_data: Path) -> None:
    from benchmarks.filters import agreement, english

    texts = []
    for name in ("articles-with-truth.tar.zst",):
        source = source_config(name="web", domain="web", format="html", path=str(real_data / "web" / name), include=["*.html.gz"])
        for file in list_files(source, Path("/")):
            texts += [record.text for record in read_file(file, source) if isinstance(record, Record)]
    for row in agreement("pages", english(texts), causes=False):
        assert row.value >= 98, row

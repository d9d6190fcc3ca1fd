"""Decisions beside datatrove's own filters, where it is installed (`pip install -e .[bench]`), on real documents."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("datatrove", reason="datatrove is not installed (pip install -e .[bench])")
pytest.importorskip("spacy", reason="spacy is not installed (pip install -e .[bench])")

from benchmarks.filters import agreement, english
from benchmarks.planted import read_texts
from pipeline.readers import Record, list_files, read_file, source_config


def test_decisions_agree_on_wikipedia(real_data: Path) -> None:
    texts = english(read_texts(real_data / "dedup" / "wikipedia-en.jsonl.zst")[:24_000:30])
    for row in agreement("articles", texts, causes=False):
        assert row.value >= 98, row


def test_decisions_agree_on_web_pages(real_data: Path) -> None:
    texts = []
    for name in ("articles-with-truth.tar.zst",):
        source = source_config(name="web", domain="web", format="html", path=str(real_data / "web" / name), include=["*.html.gz"])
        for file in list_files(source, Path("/")):
            texts += [record.text for record in read_file(file, source) if isinstance(record, Record)]
    for row in agreement("pages", english(texts), causes=False):
        assert row.value >= 98, row

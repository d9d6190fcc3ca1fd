"""The labelled texts: how many there are, that they are what their templates say, and how well they are masked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.ingest.labelled import scores, write

ROOT = Path(__file__).parents[3]
PRECISION, RECALL = 0.98, 0.95
ENOUGH = 20  # labels of a kind, below which its share says nothing


@pytest.mark.parametrize("name", scores.SETS)
def test_the_files_are_what_the_templates_say(name: str) -> None:
    assert (scores.HERE / f"{name}.jsonl").read_text(encoding="utf-8") == write.lines(name)


def test_there_are_enough_labelled_texts_of_every_kind() -> None:
    rows = [row for name in scores.SETS for row in scores.read(name)]
    assert sum(len(row["spans"]) for row in rows) >= 600
    assert sum(not row["spans"] for row in rows) >= 1500
    assert len({row["text"] for row in rows}) >= 0.99 * len(rows)
    assert {row["domain"] for row in rows} == {"web", "code", "science"}
    assert {span["kind"] for row in rows for span in row["spans"]} == set(scores.KINDS)


@pytest.mark.parametrize("name", scores.SETS)
def test_masks_are_precise_and_complete_for_every_kind(name: str) -> None:
    for kind, score in scores.scores(scores.read(name)).items():
        assert score.right + score.missed >= ENOUGH, kind
        assert score.precision >= PRECISION, (kind, score, list(scores.wrong(name)))
        assert score.recall >= RECALL, (kind, score, list(scores.wrong(name)))


def test_masks_of_the_labelled_texts_are_in_the_documentation() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert "\n".join(scores.table()) in text, "python -m tests.pipeline.ingest.labelled.scores prints the table"

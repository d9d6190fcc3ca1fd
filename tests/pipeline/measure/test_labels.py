"""Labels of one's own: whom they are of, what is wrong with a line, and a classifier that is trained on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from jobs.cli import app
from pipeline.measure.classifiers.linear import CONFIG, WEIGHTS
from pipeline.measure.classifiers.training import train
from pipeline.measure.labels import Label, find, read_labels, texts
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from tests.pipeline.corpus import write_documents
from tests.profiles import share


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_labels_find_documents_by_id_or_by_text(workdir: Workdir, tmp_path: Path) -> None:
    write_documents(workdir, [f"text {number % 4}" for number in range(8)], 3)
    labels = [
        {"id": "test:1", "keep": True},
        {"id": "test:6", "keep": False},
        {"id": "nosuch", "keep": False},
        {"text": "text 3", "keep": True},
    ]
    found = find(workdir, read_labels(write(tmp_path / "l.jsonl", labels)))
    ids = [identifier for _, table in workdir.tables("documents", ["id"]) for identifier in table["id"].to_pylist()]
    starts = workdir.require("documents").starts
    said = {
        ids[starts[name] + row]: bool(keep) for name, (rows, keeps) in found.rows.items() for row, keep in zip(rows, keeps, strict=True)
    }
    assert said == {"test:1": True, "test:6": False, "test:3": True, "test:7": True}
    assert (found.missing, found.contradicted) == (1, 0)
    both = [*read_labels(tmp_path / "l.jsonl"), Label(False, "id", "test:1"), Label(False, "text", "text 3", "text 3")]
    assert find(workdir, both).contradicted == 3


@settings(max_examples=share(0.2))
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=20))
def test_each_document_has_what_all_its_labels_agree_on(said: list[tuple[int, bool]]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        workdir = Workdir(folder)
        write_documents(workdir, [f"text {number}" for number in range(8)], 2)
        found = find(workdir, [Label(keep, "id", f"test:{number}") for number, keep in said])
    wanted = {n: {keep for number, keep in said if number == n} for n in range(8)}
    starts = {"test-00000-000.parquet": 0, "test-00001-000.parquet": 4}
    got = {starts[name] + int(row): bool(keep) for name, (rows, keeps) in found.rows.items() for row, keep in zip(rows, keeps, strict=True)}
    assert got == {n: next(iter(keeps)) for n, keeps in wanted.items() if len(keeps) == 1}
    assert found.contradicted == sum(len(keeps) == 2 for keeps in wanted.values())
    assert found.missing == sum(number > 7 for number, _ in said)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('{"id": "a", "keep": true}\n{"id": "b"}', ":2: does not say `keep` as true or false"),
        ('{"id": "a", "keep": "yes"}', ":1: does not say `keep` as true or false"),
        ("[1]", ":1: does not say `keep`"),
        ('\n{"keep": true}', ":2: has none of id, url and text"),
        ('{"id": 7, "keep": true}', ":1: has none of id, url and text as a text"),
        ("{", ":1: is not JSON"),
        ("\n", "has no labels; write lines such as"),
    ],
)
def test_what_is_no_label_is_one_line_with_its_number(tmp_path: Path, lines: str, told: str) -> None:
    (tmp_path / "l.jsonl").write_text(lines)
    with pytest.raises(UserError) as error:
        read_labels(tmp_path / "l.jsonl")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def labelled(count: int) -> list[dict[str, Any]]:
    good = [{"text": f"The proof of lemma {n} follows by induction over the length of words.", "keep": True} for n in range(count)]
    return good + [{"text": f"Cheap watches number {n}, click here to order now.", "keep": False} for n in range(count)]


def test_a_classifier_is_the_same_from_labels_as_from_two_sets(tmp_path: Path) -> None:
    rows = labelled(30)
    file = write(tmp_path / "labels.jsonl", rows)
    for name, keep in (("good", True), ("bad", False)):
        write(tmp_path / f"{name}.jsonl", [row for row in rows if row["keep"] == keep])
    train(str(file), None, tmp_path / "a", bits=12)
    train(str(tmp_path / "good.jsonl"), str(tmp_path / "bad.jsonl"), tmp_path / "b", bits=12)
    for name in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    result = CliRunner().invoke(app, ["classifier", "train", str(file), "--output", str(tmp_path / "c"), "--bits", "12"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "c" / WEIGHTS).read_bytes() == (tmp_path / "a" / WEIGHTS).read_bytes()


def test_labels_without_a_text_are_of_documents_of_a_workdir(workdir: Workdir, tmp_path: Path) -> None:
    rows = labelled(25)
    write_documents(workdir, [row["text"] for row in rows])
    named = [{"id": f"test:{number}", "keep": row["keep"]} for number, row in enumerate(rows)] + [{"id": "nosuch", "keep": True}]
    file = write(tmp_path / "labels.jsonl", named)
    trained = train(str(file), None, tmp_path / "model", bits=12, workdir=workdir.uri)
    assert (trained.positive + trained.held_out.positive, trained.unreadable) == (25, 1)
    with pytest.raises(UserError, match="51 have an id and no text; give --workdir, where the documents are"):
        train(str(file), None, tmp_path / "model", bits=12)
    assert texts(read_labels(write(tmp_path / "t.jsonl", rows[:1])), None) == {True: [rows[0]["text"]], False: []}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["labels.jsonl", "--field", "body"], "--format and --field are of two sets of documents"),
        (["labels.jsonl"], "labels to drop: 3 documents with text, at least 20 are needed; label more documents"),
        (["nosuch.jsonl"], "nosuch.jsonl: cannot be read (No such file or directory); give a file of labels"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("labels.jsonl"), labelled(30)[:33])
    with pytest.raises(UserError) as error:
        CliRunner().invoke(app, ["classifier", "train", *arguments], catch_exceptions=False)
    assert told in str(error.value)

"""`foundry diff`: equal workdirs, and every way in which two may differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.diff import compare
from pipeline.filters.stage import Rules, filter_stage
from pipeline.ingest.stage import IngestConfig, ingest_stage
from pipeline.measure.stage import measure_stage
from pipeline.mix.config import MixConfig
from pipeline.mix.split import split_stage
from pipeline.readers import source_config
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import CorruptData, UserError
from tests.conftest import run_task

TEXTS = {f"d{number}": f"Document {number} says that the river was {'very ' * (3 * number)}wide and that it froze." for number in range(12)}


def made(folder: Path, texts: dict[str, str], least: int = 20, more: dict[str, str] | None = None, partition: int = 1024) -> Workdir:
    """A workdir of documents, statistics, one rule (at least so many words) and a split; `more`: a second source, read first."""
    sources = []
    folder.mkdir(parents=True)
    for name, content in (("another", more), ("mine", texts)):
        if content is not None:
            path = folder / f"{name}.jsonl"
            path.write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in content.items()))
            sources.append(source_config(name=name, domain="web", format="jsonl", path=str(path)))
    workdir = Workdir(str(folder / "workdir"))
    documents = run_task(workdir, ingest_stage(IngestConfig(partition_bytes=partition), sources, folder))["documents"]
    statistics = run_task(workdir, measure_stage(documents))["statistics"]
    rules = {"web": Rules.model_validate({"length": {"min_words": least}})}
    verdict = run_task(workdir, filter_stage(rules, statistics))["verdicts/filter"]
    run_task(workdir, split_stage(MixConfig(validation_share=0), 0, documents, statistics, [verdict]))
    return workdir


def said(comparison: Any, stage: str) -> list[tuple[str, str, int]]:
    return [(each.source, each.what, each.documents) for each in comparison.changes if each.stage == stage]


def words(text: str) -> int:
    return len(text.replace(".", " ").split())


def test_equal_workdirs_are_equal_and_the_command_exits_with_0(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS), made(tmp_path / "other", TEXTS)
    comparison = compare(one, other, verify=True)
    assert comparison.equal
    assert not comparison.changes
    result = CliRunner().invoke(app, ["diff", one.uri, other.uri])
    assert result.exit_code == 0
    assert "equal: 5 datasets" in result.stdout
    assert CliRunner().invoke(app, ["diff", f"file://{one.uri}", other.uri]).exit_code == 0, "a workdir may be a URI"


def test_a_threshold_is_told_by_rule_with_documents_as_examples(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS, least=24), made(tmp_path / "other", TEXTS, least=32)
    comparison = compare(one, other)
    newly = sorted(key for key, text in TEXTS.items() if 24 <= words(text) < 32)
    assert newly
    found = next(each for each in comparison.changes if each.stage == "verdicts/filter" and each.what.startswith("kept -> dropped by"))
    assert found.documents == len(newly)
    assert sorted(found.examples) == [f"mine:{key}" for key in newly][:3]
    assert said(comparison, "split") == [("mine", "train -> dropped", len(newly))]
    assert {each.name: each.state for each in comparison.datasets}["documents"] == "equal"


def test_a_new_source_shifts_ordinals_and_nothing_else(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS), made(tmp_path / "other", TEXTS, more={"x": TEXTS["d3"] + " More."})
    comparison = compare(one, other)
    assert said(comparison, "documents") == [("another", "only in the second", 1)]
    assert {each.stage for each in comparison.changes} == {"documents"}


@pytest.mark.parametrize("partition", [1024, 100_000])
def test_documents_belong_together_by_id_wherever_they_lie(tmp_path: Path, partition: int) -> None:
    changed = {**TEXTS, "d4": TEXTS["d4"].replace("river", "lake\nor the sea"), "new": "Something else that is new here."}
    del changed["d7"]
    turned = dict(reversed(changed.items()))
    comparison = compare(made(tmp_path / "one", TEXTS), made(tmp_path / "other", turned, partition=partition))
    found = said(comparison, "documents")
    assert ("mine", "only in the first", 1) in found
    assert ("mine", "only in the second", 1) in found
    assert ("mine", "another text", 1) in found
    assert len(found) == 3
    assert list(comparison.texts) == ["mine:d4"]
    assert any(line.startswith("+") and "lake" in line for line in comparison.texts["mine:d4"])


def test_of_equal_ids_each_belongs_to_one(tmp_path: Path) -> None:
    def lines(folder: Path, texts: Sequence[str]) -> Workdir:
        folder.mkdir()
        (folder / "in.jsonl").write_text("".join(json.dumps({"id": "same", "text": text}) + "\n" for text in texts))
        source = source_config(name="s", domain="web", format="jsonl", path=str(folder / "in.jsonl"))
        workdir = Workdir(str(folder / "workdir"))
        run_task(workdir, ingest_stage(IngestConfig(), [source], folder))
        return workdir

    one, other = lines(tmp_path / "one", ["first text", "second text"]), lines(tmp_path / "other", ["first text", "changed text", "third"])
    assert sorted(said(compare(one, other), "documents")) == [("s", "another text", 1), ("s", "only in the second", 1)]


def test_a_flipped_byte_is_found_when_files_are_read(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS), made(tmp_path / "other", TEXTS)
    path = next(Path(other.uri, "documents").glob("*.parquet"))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert compare(one, other).equal, "manifests are trusted"
    with pytest.raises(CorruptData, match=path.name):
        compare(one, other, verify=True)


def test_an_unfinished_stage_is_told(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS), made(tmp_path / "other", TEXTS)
    Path(other.uri, "split", "_manifest.json").unlink()
    comparison = compare(one, other)
    assert not comparison.equal
    assert {each.name: each.state for each in comparison.datasets if each.state != "equal"} == {"split": "not finished in the second"}


def test_the_command_prints_a_table_or_json_and_exits_with_1(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS, least=24), made(tmp_path / "other", TEXTS, least=32)
    result = CliRunner().invoke(app, ["diff", one.uri, other.uri])
    assert result.exit_code == 1
    assert "kept -> dropped by" in result.stdout
    result = CliRunner().invoke(app, ["diff", one.uri, other.uri, "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["equal"] is False


def test_what_is_no_workdir_is_one_line(tmp_path: Path) -> None:
    one = made(tmp_path / "one", TEXTS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no finished dataset"):
        compare(one, Workdir(str(tmp_path / "empty")))
    result = CliRunner().invoke(app, ["diff", one.uri, str(tmp_path / "nowhere")])
    assert isinstance(result.exception, UserError)

"""`foundry diff`: equal workdirs, and every way in which two may differ."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
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
from pipeline.workdir.dataset import Manifest, Workdir
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


def test_weights_that_one_side_alone_has_are_a_difference(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS), made(tmp_path / "other", TEXTS)
    one.write(b"weights", "runs", "mine", "model", "model.safetensors")
    Path(other.uri, "runs", "mine").mkdir(parents=True)  # begun, and not trained
    for first, second, lacks in ((one, other, "second"), (other, one, "first")):
        comparison = compare(first, second)
        assert not comparison.equal
        assert {each.name: each.state for each in comparison.datasets if each.state != "equal"} == {
            "runs/mine/model": f"missing in the {lacks}"
        }
        result = CliRunner().invoke(app, ["diff", first.uri, second.uri])
        assert result.exit_code == 1
        assert f"missing in the {lacks}" in result.stdout
    for raw, state in ((b"weights", "equal"), (b"WEIGHTS", "differs")):
        other.write(raw, "runs", "mine", "model", "model.safetensors")
        assert compare(one, other).datasets[-1].state == state


def test_the_command_prints_a_table_or_json_and_exits_with_1(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS, least=24), made(tmp_path / "other", TEXTS, least=32)
    result = CliRunner().invoke(app, ["diff", one.uri, other.uri])
    assert result.exit_code == 1
    assert "kept -> dropped by" in result.stdout
    result = CliRunner().invoke(app, ["diff", one.uri, other.uri, "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["equal"] is False


def test_a_stage_that_was_never_begun_is_not_called_unfinished(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS), made(tmp_path / "other", TEXTS)
    shutil.rmtree(Path(other.uri, "split"))
    assert {each.name: each.state for each in compare(one, other).datasets if each.state != "equal"} == {"split": "not in the second"}
    assert {each.name: each.state for each in compare(other, one).datasets if each.state != "equal"} == {"split": "not in the first"}


def test_documents_that_only_lie_in_other_partitions_are_said_to_be_equal(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS), made(tmp_path / "other", TEXTS, partition=100_000)
    comparison = compare(one, other)
    assert comparison.only_partitioned
    assert not comparison.changes
    result = CliRunner().invoke(app, ["diff", one.uri, other.uri])
    assert result.exit_code == 1
    assert "the documents themselves are equal, and only partitioned otherwise" in result.stdout
    changed = compare(one, made(tmp_path / "changed", {**TEXTS, "d1": "Another text."}, partition=100_000))
    assert not changed.only_partitioned


@pytest.mark.parametrize("stage", ["statistics", "verdicts/filter", "split"])
def test_documents_of_which_a_stage_says_nothing_on_one_side_are_counted(tmp_path: Path, stage: str) -> None:
    one, other = made(tmp_path / "one", TEXTS), made(tmp_path / "other", TEXTS)
    manifest = other.require(stage)
    assert len(manifest.partitions) > 1
    gone = manifest.partitions[1:]
    other.write(replace(manifest, partitions=manifest.partitions[:1]).to_json(), stage, "_manifest.json")
    missing = sum(partition.rows for partition in gone)
    assert said(compare(one, other), stage) == [("mine", "not there in the second", missing)]
    assert said(compare(other, one), stage) == [("mine", "not there in the first", missing)]
    assert "no document differs" not in CliRunner().invoke(app, ["diff", one.uri, other.uri]).stdout


def test_what_shards_are_for_is_compared(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", TEXTS), made(tmp_path / "other", TEXTS)
    for workdir, length in ((one, 64), (other, 128)):
        configuration = {"length": length, "vocab_size": 512}
        workdir.write(Manifest("shards/only", "pack only", "f", (), configuration).to_json(), "shards/only", "_manifest.json")
    (found,) = [each for each in compare(one, other).datasets if each.state != "equal"]
    assert (found.name, found.state, found.partitions, found.configuration) == ("shards/only", "differs", 0, ["length"])
    result = CliRunner().invoke(app, ["diff", one.uri, other.uri])
    assert result.exit_code == 1
    assert "differs in its configuration (length)" in result.stdout


def test_ids_and_texts_are_shown_without_their_control_characters(tmp_path: Path) -> None:
    wild = "d\x1b[31m\n\x07é"
    one, other = (
        made(tmp_path / "one", {**TEXTS, wild: "One \x1b[2J text."}),
        made(tmp_path / "other", {**TEXTS, wild: "Other \x1b[2J text."}),
    )
    result = CliRunner().invoke(app, ["diff", one.uri, other.uri])
    assert "d\\x1b[31m\\n\\x07é" in result.stdout
    assert all(line.isprintable() for line in result.stdout.split("\n"))
    named = json.loads(CliRunner().invoke(app, ["diff", one.uri, other.uri, "--json"]).stdout)
    assert named["changes"][0]["examples"] == [f"mine:{wild}"]


@pytest.mark.parametrize("rows", ['"7"', "-1", "1.5", "null", "true", "[]"])
def test_a_manifest_that_counts_no_rows_is_one_line(tmp_path: Path, rows: str) -> None:
    one, other = made(tmp_path / "one", TEXTS), made(tmp_path / "other", TEXTS)
    path = Path(other.uri, "statistics", "_manifest.json")
    path.write_text(re.sub(r'"rows": \d+', f'"rows": {rows}', path.read_text()))
    result = CliRunner().invoke(app, ["diff", one.uri, other.uri])
    assert isinstance(result.exception, CorruptData)
    assert str(result.exception).startswith(f"{path}: not a manifest (")
    assert str(result.exception).isprintable()


def test_what_is_no_folder_and_no_file_of_weights_is_one_line(tmp_path: Path) -> None:
    one = made(tmp_path / "one", TEXTS)
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: x\n")
    for place in (str(recipe), f"file://{recipe}", f"file://{tmp_path}/nowhere"):
        for order in ((one.uri, place), (place, one.uri)):
            result = CliRunner().invoke(app, ["diff", *order])
            assert isinstance(result.exception, UserError), place
            assert str(result.exception).endswith("no such folder; give the workdirs of two runs")
    Path(one.uri, "runs", "mine", "model", "model.safetensors").mkdir(parents=True)
    result = CliRunner().invoke(app, ["diff", one.uri, one.uri])
    assert isinstance(result.exception, UserError)
    assert re.search(r"runs/mine/model/model\.safetensors: cannot be read \(.*\); it should be a file of weights$", str(result.exception))


def test_a_fault_of_ours_does_not_exit_as_a_difference_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(tmp_path / "one", TEXTS)

    def fails(*_: object, **__: object) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr("jobs.diff.compare", fails)
    assert CliRunner().invoke(app, ["diff", one.uri, one.uri]).exit_code == 2


def test_what_is_no_workdir_is_one_line(tmp_path: Path) -> None:
    one = made(tmp_path / "one", TEXTS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no finished dataset"):
        compare(one, Workdir(str(tmp_path / "empty")))
    result = CliRunner().invoke(app, ["diff", one.uri, str(tmp_path / "nowhere")])
    assert isinstance(result.exception, UserError)

"""`foundry evaluate` and `foundry compare` as a user types them: results, and what is told in a line with exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.results import FOLDER
from evaluation.run import evaluate
from evaluation.sets.measured import SETS
from tests.evaluation.subjects import sample, trained
from tests.integration.small import called


def test_runs_are_evaluated_and_compared(tmp_path: Path) -> None:
    held_out = sample(tmp_path / "sample")
    places = []
    for seed in range(2):
        found = trained(tmp_path, f"run{seed}", seed=seed)
        list(evaluate(found, held_out, [SETS["mlm"]], tmp_path / f"run{seed}" / FOLDER))
        places.append(tmp_path / f"run{seed}")
    result = called("compare", *places, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "mlm, loss:" in result.stdout
    body = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [verdict["name"] for verdict in body["verdicts"]] == ["run1"]
    assert (tmp_path / "out" / "compare.html").read_text().startswith("<!doctype html>")
    again = (tmp_path / "out" / "compare.json").read_bytes()
    assert called("compare", *places, "--output", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "compare.json").read_bytes() == again


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate", "nowhere"], "nowhere: no such folder; give a run's folder, a workdir, or a folder of a model"),
        (["evaluate", "empty"], "is no model, no run and no workdir; give a folder with config.json and model.safetensors"),
        (["evaluate", "model"], "is a model without a workdir; add the recipe whose held-out documents"),
        (["evaluate", "broken"], "is no training run (its run.json cannot be read)"),
        (["evaluate", "begun"], "has no model yet; train it to its end"),
        (["evaluate", "work"], "has 0 trained runs (none that has come to its end)"),
        (["evaluate", "model", "--workdir", "work"], "has no tokenizer.json"),
        (["evaluate", "empty", "--set", "mml"], "--set mml: no set is named mml; did you mean `mlm`?"),
        (["evaluate", "empty", "--set", "title"], "--set title: a model is judged on it once it is tuned; add --tune"),
        (["evaluate", "empty", "--against", "model"], "--against: models stand beside one another once they are tuned; add --tune"),
        (["evaluate", "empty", "--tune", "--sets", "code,titel"], "--set titel: no set of items is named titel; did you mean `title`?"),
        (["compare", "begun"], "begun: has no results; make them with `foundry evaluate"),
        (["compare", "nowhere", "begun"], "nowhere: no such folder"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "model", "broken", "begun", "work/runs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / "begun" / "run.json").write_text('{"tokenizer": "t"}')
    result = called(*arguments)
    assert result.returncode == 2
    assert told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1

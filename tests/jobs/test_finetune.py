"""`foundry finetune`: from a recipe to a folder that the libraries load with equal answers; what is wrong is a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from jobs import finetune as tuning
from jobs.finetune import finetune, load_task, model_folder
from pipeline.workdir.errors import UserError
from tests.trainer.tuning.small import classes, queries, tokens_of, write_model
from tests.trainer.tuning.test_tuning import answers, pairs, tags

RECIPES = Path(__file__).parents[2] / "recipes" / "tasks"
TABLES = {"classify": classes, "pair": pairs, "tag": tags, "answer": answers, "dense": queries, "late_interaction": queries}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    write_model(folder)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proof of the engines, which takes seconds; the folder to work in is the test's own."""
    import tokenizer

    own = tokenizer.Encoder
    monkeypatch.setattr(tokenizer, "Encoder", lambda folder: own(folder, compare=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuning, "_TEXTS", ("red dog runs", "a", "the tall green tree sings", "blue bird"))


def write(kind: str, **changes: Any) -> Path:
    table = TABLES[kind]()
    Path("examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    settings = {"learning_rates": [1e-3], "epochs": 1, "batch_size": 12}
    body = {"name": kind, "task": {"kind": kind}, "data": {"path": "examples.jsonl"}, "tuning": settings, "output": "runs", **changes}
    Path("task.yaml").write_text(yaml.safe_dump(body))
    return Path("task.yaml")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_task_recipe_of_ours_is_sound(path: Path) -> None:
    assert load_task(path).name == path.stem


@pytest.mark.parametrize("kind", ["pair", "tag", "dense", "late_interaction"])
def test_a_run_has_a_summary_metrics_items_and_an_export_and_is_up_to_date_then(
    start: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind in ("dense", "late_interaction"):
        pytest.importorskip("sentence_transformers")
    run = finetune(write(kind), str(start))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"train", "validation"}
    summary = json.loads((run / "summary.json").read_text())
    assert summary["chosen"]["validation"][summary["metric"]] == max(one["validation"][summary["metric"]] for one in summary["trials"])
    proof = json.loads((run / "export" / "proof.json").read_text())
    assert len(proof) == {"tag": 1, "pair": 2}.get(kind, 3)
    assert all(value < 1e-5 for value in proof.values())
    assert list(run.glob("trials/*/outputs.parquet"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"}
    capsys.readouterr()
    finetune(Path("task.yaml"), str(start))
    assert "up to date" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"}
    finetune(Path("task.yaml"), str(start), "elsewhere")
    for path, raw in before.items():
        assert (Path("elsewhere") / path.relative_to("runs")).read_bytes() == raw, path


def test_transformers_names_the_classes_and_finds_those_that_we_do(start: Path) -> None:
    transformers = pytest.importorskip("transformers")
    run = finetune(write("classify", task={"kind": "classify", "max_length": 20}), str(start))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run / "export").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "export")
    assert (model.config.id2label, tokenizer.model_max_length) == ({0: "no", 1: "yes"}, 20)
    import pyarrow.parquet as pq

    items = pq.read_table(next(run.glob("trials/*/outputs.parquet"))).to_pylist()
    texts = [classes()["text"][item["item"]].as_py() for item in items]
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    assert [model.config.id2label[int(number)] for number in logits.argmax(1)] == [item["prediction"] for item in items]
    for name in ("AutoModelForTokenClassification", "AutoModelForQuestionAnswering"):
        kind = {"AutoModelForTokenClassification": "tag"}.get(name, "answer")
        getattr(transformers, name).from_pretrained(finetune(write(kind), str(start)) / "export")


def test_sentence_transformers_has_the_prompts_pooling_and_length_of_the_task(start: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    from model import bridge
    from trainer.tuning.encode import encode

    task = {"kind": "dense", "query_prompt": "red ", "text_prompt": "blue ", "pooling": "cls", "max_length": 10, "cut": True}
    run = finetune(write("dense", task=task), str(start))
    theirs = library.SentenceTransformer(str(run / "export"), device="cpu")
    ours: Any = bridge.load_any(run / "model")
    texts = ["dog", "cat sings on the house under the tree in short"]
    assert theirs.max_seq_length == 10
    for asked, prompt in ((theirs.encode_query, "red "), (theirs.encode_document, "blue ")):
        found = encode(ours, tokens_of(run / "export"), texts, prompt=prompt, max_length=10, cut=True)
        np.testing.assert_allclose(asked(texts), found, atol=1e-5)


def test_another_tasks_run_is_begun_from(start: Path) -> None:
    first = finetune(write("classify"), str(start))
    again = finetune(write("pair", **{"from": str(first)}))
    assert model_folder(first)[0] == first / "export"
    assert json.loads((again / "summary.json").read_text())["labels"] == ["no", "yes"]


@pytest.mark.parametrize(
    ("change", "start_from", "message"),
    [
        ({}, "nowhere", "--from nowhere: no such folder"),
        ({}, ".", "is no model: neither it nor export/ or model/ in it has a config.json"),
        ({}, None, "nothing says which model to begin with; give --from FOLDER"),
        ({"task": {"kind": "clasify"}}, "", "task.kind: there are classify, pair, .*did you mean `classify`?"),
        ({"task": {"kind": "classify", "size": 4}}, "", "task.size: is a key of kind late_interaction, not of classify"),
        ({"task": {"kind": "classify", "metric": "mrr"}}, "", "no metric of classify is named mrr"),
        ({"tuning": {"learning_rate": 1}}, "", "tuning.learning_rate: unknown key; did you mean `learning_rates`"),
        ({"tuning": {"seeds": [1, 1]}}, "", "seeds: 1 is there twice"),
        ({"data": {"path": "a", "train": "b"}}, "", "data: give either path, of all examples, or train"),
        ({"phases": []}, "", "is a recipe of pretraining, and no task's"),
    ],
)
def test_bad_recipes_and_folders_are_a_line(start: Path, change: dict[str, Any], start_from: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        finetune(write("classify", **change), str(start) if start_from == "" else start_from)
    assert "\n" not in str(error.value)


def test_a_folder_of_another_architecture_is_a_line(start: Path, tmp_path: Path) -> None:
    from model import ModelError

    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "t5"}')
    (folder / "tokenizer.json").write_bytes((start / "tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match="only 'modernbert' and 'bert' are supported"):
        finetune(write("classify"), str(folder))

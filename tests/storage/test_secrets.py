"""No secret of a place is written or told, wherever in a recipe the place stands."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pytest
import yaml

from jobs import run as stages
from jobs.explain import explain
from jobs.inspect import inspect
from jobs.recipe import load_recipe
from pipeline.report.page import write_report
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.engine import Engine, in_process
from pipeline.workdir.errors import UserError
from storage.location import Location

SECRETS = ("geheim", "verborgen", "heimlich", "heim%6Cich")
RECIPE = """
name: mine
sources:
  - {name: mine, domain: web, format: jsonl, path: "PLACE/in/*.jsonl?OPTIONS", fields: {text: body, id: key}}
filter: {}
exact: true
tokenizer: {vocab_size: 512, unused: 16}
model: {vocab_size: 512, hidden_size: 64, layers: 2, heads: 1, intermediate_size: 64}
phases:
  - {name: stable, length: 128, tokens: 8000, batch_size: 8, learning_rate: 1.0e-3, warmup_tokens: 1000}
"""
PLACE, OPTIONS = "s3://KEY:geheim@bucket", "region=eu&session_token=verborgen&X-Amz-Signature=heim%6Cich"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the object store, whatever the key."""

    def opened(location: Location) -> tuple[pa.fs.FileSystem, str]:
        assert location.secrets == ("geheim", "verborgen", "heim%6Cich"), "the true place reaches the file system"
        system = pa.fs.SubTreeFileSystem(str(tmp_path / "away"), pa.fs.LocalFileSystem())
        return system, f"{location.host}{location.path}"

    monkeypatch.setattr("storage.filesystems.opened", opened)
    monkeypatch.setenv("FOUNDRY_SECRETS", "{}")
    monkeypatch.setenv("FOUNDRY_RETRY_SECONDS", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "away" / "bucket"
    (folder / "in").mkdir(parents=True)
    words = [
        "the",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "a",
        "lazy",
        "dog",
        "while",
        "seven",
        "wizards",
        "brew",
        "strong",
        "potions",
        "in",
        "quiet",
        "towers",
    ]
    draw = random.Random(1)
    texts = [" ".join(draw.choice(words) for _ in range(120)) for _ in range(120)]
    lines = [json.dumps({"key": str(number), "body": text}) for number, text in enumerate(texts)]
    (folder / "in" / "a.jsonl").write_text("\n".join([*lines, "{broken"]))
    (folder / "items.jsonl").write_text(json.dumps({"id": "x", "text": texts[3]}))
    return folder


def recipe(tmp_path: Path, workdir: str, **more: object) -> Path:
    body = yaml.safe_load(RECIPE.replace("PLACE", PLACE).replace("OPTIONS", OPTIONS))
    path = tmp_path / "recipes" / f"{workdir}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**body, "workdir": f"{PLACE}/{workdir}?{OPTIONS}", **more}))
    return path


def everything(tmp_path: Path) -> bytes:
    """All that was written, but for the recipes."""
    return b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "recipes" not in path.parts)


@pytest.mark.slow
def test_what_is_written_and_printed_has_no_secret_of_any_place(
    bucket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def place(path: str) -> str:
        return f"{PLACE}/{path}?{OPTIONS}"

    first = load_recipe(recipe(tmp_path, "first", near={"save_index": True, "save_seen": True}))
    engine = Engine(Workdir(first.workdir), executor=in_process)
    stages.curate(first, engine)
    second = load_recipe(
        recipe(
            tmp_path,
            "second",
            exact=False,
            sources=[
                {**first.sources[0].model_dump(exclude_defaults=True), "name": "other"},
                first.sources[0].model_dump(exclude_defaults=True),
            ],
            near={"against": [place("first")], "seen": [place("first")]},
            contamination={"sets": [{"name": "items", "format": "jsonl", "path": place("items.jsonl")}]},
            training={"continue_from": place("first/runs/mine/checkpoints/step-4"), "processes": 1},
        )
    )
    with pytest.raises(UserError):  # nothing is left, since all of it was seen
        stages.curate(second, Engine(Workdir(second.workdir), executor=in_process))
    engine = stages.open_engine(first)
    engine.executor = in_process
    curated = stages.curate(first, engine)
    stages.pack(first, engine, curated, stages.build_tokenizer(first, engine, curated))
    body = stages.write_run(first.model_copy(update={"training": second.training}), engine.workdir).read_text()
    assert "s3://KEY:***@bucket/first/shards/stable?region=eu&session_token=***&X-Amz-Signature=***" in body
    write_report(engine.workdir, tmp_path / "run")
    explain(place("first"), "mine:3")
    inspect(place("first"))
    inspect(place("first/documents"))
    said = [*capsys.readouterr(), caplog.text]
    assert "***" in str(said)
    for wrong in ("path", "workdir"):
        broken = load_recipe(recipe(tmp_path, "third"))
        if wrong == "path":
            broken.sources[0].path = place("none")
        else:
            broken.workdir = place("in/a.jsonl")
        with pytest.raises(UserError) as caught:
            stages.curate(broken, Engine(Workdir(broken.workdir), executor=in_process))
        said += [str(caught.value), repr(broken), repr(engine.workdir)] if wrong == "workdir" else [str(caught.value)]
    written = everything(tmp_path)
    assert b"region=eu&session_token=***" in written
    for secret in SECRETS:
        assert secret.encode() not in written
        assert secret not in str(said)

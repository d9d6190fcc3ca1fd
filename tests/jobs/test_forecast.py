"""`foundry plan` before anything is run: its estimates against what curation really does, and the one line of each bad recipe."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.check import check
from jobs.estimate import Range
from jobs.forecast import Forecast, Nodes, forecast
from jobs.recipe import Recipe, load_recipe
from jobs.run import Curated, curate
from jobs.sample import take
from pipeline.readers import list_files, source_config
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.verdicts import totals
from storage.errors import Refused
from tests.conftest import here
from tests.integration.small import called

WORDS = ["water", "stone", "window", "garden", "letter", "morning", "river", "paper", "market", "silver", "the", "of", "and", "with", "to"]


def sentence(draw: random.Random, words: int) -> str:
    """So many words, of which every third is made up, so that no two documents are alike."""
    return " ".join("".join(draw.choices("abcdefghijklmnopqrst", k=7)) if n % 3 == 0 else draw.choice(WORDS) for n in range(words))


def lines(draw: random.Random, count: int, short: float) -> list[str]:
    """JSON Lines: 4 % are damaged; a share of the others is too short, a tenth repeats one line over and over."""
    made = []
    for number in range(count):
        if draw.random() < 0.04:
            made.append('{"id": broken')
            continue
        if draw.random() < short:
            text = sentence(draw, draw.randint(3, 8))
        elif draw.random() < 0.1:
            text = "\n".join([sentence(draw, 12)] * 30)
        else:
            text = "\n".join(sentence(draw, draw.randint(10, 20)) for _ in range(draw.randint(4, 40)))
        made.append(json.dumps({"doc": f"{number}", "body": text}))
    return made


def recipe_of(folder: Path, **changes: Any) -> Path:
    """A recipe over two made sources: 24 compressed files of very different lengths, and one large Parquet file."""
    draw = random.Random(5)
    data = folder / "data"
    data.mkdir(parents=True)
    for number in range(24):
        made = lines(draw, draw.randint(20, 150), 0.1 + 0.2 * draw.random())
        (data / f"{number:02}.jsonl.gz").write_bytes(gzip.compress("\n".join(made).encode(), mtime=0))
    rows = [json.loads(line) for line in lines(draw, 1500, 0.3) if line.endswith("}")]
    pq.write_table(pa.Table.from_pylist(rows), data / "rows.parquet", row_group_size=100)
    fields = {"text": "body", "id": "doc"}
    recipe = {
        "name": "made",
        "workdir": str(folder / "workdir"),
        "sources": [
            {"name": "lines", "domain": "web", "format": "jsonl", "path": f"{data}/*.jsonl.gz", "fields": fields},
            {"name": "rows", "domain": "web", "format": "parquet", "path": f"{data}/rows.parquet", "fields": fields},
        ],
        "filter": {"web": {"length": {"min_words": 20}, "gopher_repetition": {}}},
        "tokenizer": {"vocab_size": 1024},
        "model": {"vocab_size": 1024, "hidden_size": 64, "layers": 3, "heads": 2, "intermediate_size": 96, "max_length": 256},
        "phases": [{"name": "stable", "length": 128, "tokens": 8192, "learning_rate": 2e-3, "batch_size": 4}],
        **changes,
    }
    path = folder / "made.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Curated, Workdir]:
    """The recipe, and what curation really makes of it."""
    recipe = load_recipe(recipe_of(tmp_path_factory.mktemp("made")))
    workdir = Workdir(recipe.workdir)
    return recipe, curate(recipe, here(workdir)), workdir


def holds(estimate: Range, truth: float) -> bool:
    return estimate.low - 1e-6 <= truth <= estimate.high + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("sample_mb", [0.1, 0.3])
def test_every_estimate_has_the_truth_in_its_range(made: tuple[Recipe, Curated, Workdir], sample_mb: float) -> None:
    recipe, curated, workdir = made
    planned = forecast(recipe, sample_mb=sample_mb)
    assert not any(sample.is_all for sample in planned.samples)
    came = curated.documents.summary["sources"]
    judged = {verdict.dataset: totals(verdict.summary, by="source") for verdict in curated.verdicts}
    for source in planned.estimate.sources:
        truth = came[source.name]
        assert holds(source.documents, truth["documents"])
        assert holds(source.text, truth["bytes"])
        assert holds(source.unreadable, truth["quarantined"])
        rules = {rule: count for verdict in judged.values() for rule, count in verdict[source.name]["rules"].items()}
        assert len(rules) > 1
        for rule, count in rules.items():
            assert rule not in source.dropped or holds(source.dropped[rule], count), rule
            assert rule in source.dropped or count < 5 / source.sampled * truth["documents"], rule  # seldom unseen: exp(-5)
        split = curated.split.summary["sources"]["web"][source.name].values()
        assert holds(source.kept, sum(each["documents"] for each in split))
        assert holds(source.kept_bytes, sum(each["bytes"] for each in split))
        assert source.documents.high < 3 * source.documents.low  # and the ranges say something
    for dataset in ("documents", "statistics", "verdicts/filter", "split", "dedup/near-signatures"):
        assert holds(planned.stored[dataset], workdir.require(dataset).size), dataset


def test_of_a_sample_that_is_all_nothing_is_uncertain(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(lines(random.Random(1), 50, 0.3)))
    source = source_config(name="a", domain="web", format="jsonl", path=str(tmp_path / "a.jsonl"), fields={"text": "body"})
    sample = take(source, list_files(source, tmp_path), 1 << 20, 0, tmp_path)
    assert sample.is_all
    assert sample.items == 50
    assert [(group.by_count, group.by_size) for group in sample.groups] == [(1.0, 1.0)]


# --- bad recipes -------------------------------------------------------------------------------------------------------


def told(folder: Path, sources: list[dict[str, Any]], **changes: Any) -> list[str]:
    """What is wrong with a recipe of such sources, line by line."""
    folder.mkdir(parents=True, exist_ok=True)
    named = [{"name": f"s{number}", "domain": "web", **source} for number, source in enumerate(sources)]
    phase = {"name": "stable", "length": 128, "tokens": 8192, "learning_rate": 2e-3, "batch_size": 4}
    path = folder / "bad.yaml"
    path.write_text(yaml.safe_dump({"name": "bad", "workdir": str(folder / "workdir"), "sources": named, "phases": [phase], **changes}))
    return check(load_recipe(path), folder)[1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file of each of some formats."""
    rows = [{"id": f"d{number}", "body": f"text {number} " * 20, "kind": "a"} for number in range(30)]
    text = "\n".join(map(json.dumps, rows)) + "\n"
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "unnamed").write_text(text)
    (tmp_path / "page.html").write_text("<!doctype html><title>t</title><p>Some text of a page.")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    return tmp_path


def test_a_misspelt_field_names_the_one_that_is_there(data: Path) -> None:
    lines = told(
        data,
        [
            {"format": "jsonl", "path": "a.jsonl", "fields": {"text": "bodi"}},
            {"format": "parquet", "path": "a.parquet"},
            {"format": "jsonl", "path": "a.jsonl.gz", "fields": {"text": "body", "title": "knd"}},
            {"format": "jsonl", "path": "a.jsonl", "fields": {"text": "body", "id": "ids"}},
            {"format": "jsonl", "path": "a.jsonl", "fields": {"text": "body", "id": "id", "title": "kind", "url": "address"}},
        ],
    )
    assert lines == [
        "sources.0.fields.text: no record has a field `bodi`; the records have: body, id, kind; did you mean `body`?",
        "sources.1.fields.text: no record has a field `text`; the records have: body, id, kind; did you mean `body`?",
        "sources.2.fields.title: no record has a field `knd`; the records have: body, id, kind; did you mean `kind`?",
        "sources.3.fields.id: no record has a field `ids`; the records have: body, id, kind; did you mean `id`?",
    ]


@pytest.mark.parametrize(
    ("form", "path", "line"),
    [
        ("jsonl", "a.parquet", "they look like parquet; set `format: parquet`"),
        ("parquet", "a.jsonl", "they look like jsonl; set `format: jsonl`"),
        ("parquet", "unnamed", "they look like jsonl; set `format: jsonl`"),
        ("warc", "a.jsonl.gz", "they look like jsonl; set `format: jsonl`"),
        ("text", "a.jsonl", "the files are no text, they look like jsonl; set `format: jsonl`"),
        ("jsonl", "page.html", "they look like html; set `format: html`"),
        ("csv", "a.jsonl", "they look like jsonl; set `format: jsonl`"),
    ],
)
def test_a_format_that_does_not_fit_names_the_one_that_does(data: Path, form: str, path: str, line: str) -> None:
    (found,) = told(data, [{"format": form, "path": path}])
    assert found.startswith("sources.0.format: ")
    assert found.endswith(line)


def test_all_that_is_wrong_is_found_in_one_go_and_nothing_is_left_behind(data: Path) -> None:
    before = sorted(path.name for path in data.rglob("*"))
    lines = told(
        data,
        [
            {"format": "jsonl", "path": "missing/*.jsonl"},
            {"format": "jsonl", "path": "a.jsonl", "fields": {"text": "body"}},
            {"format": "jsonl", "path": "a.jsonl", "include": ["*.txt"], "fields": {"text": "body"}},
            {"format": "jsonl", "path": "nonsense://user:secret@host/a.jsonl"},
        ],
        workdir=str(data / "a.jsonl" / "workdir"),
        classifiers=[{"name": "good", "path": "no-model"}],
        filter={"web": {"url": {"domains": ["no-list"]}}},
        near={"against": [str(data / "no-index")], "seen": [str(data / "no-seen")]},
        contamination={
            "sets": [{"name": "exam", "format": "jsonl", "path": "exam.jsonl"}, {"name": "own", "format": "jsonl", "path": "a.jsonl"}]
        },
    )
    keys = [line.split(": ")[0] for line in lines]
    assert keys == [
        "sources.0.path",
        "sources.2.path",
        "sources.3.path",
        "workdir",
        "classifiers.0",
        "filter.web",
        "near.against.0",
        "near.seen.0",
        "contamination.sets.0.path",
        "contamination.sets.1.fields.text",
    ]
    assert not any("secret" in line or "\n" in line for line in lines)
    assert sorted(path.name for path in data.rglob("*")) == sorted([*before, "bad.yaml"])


def test_what_may_not_be_read_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root reads everything, the refusal is put in the place where files are opened."""
    from jobs import check as module

    def refused(uri: str) -> Any:
        raise Refused(f"{uri}: cannot be read", "Permission denied", "correct the permissions")

    monkeypatch.setattr(module, "open_input", refused)
    (found,) = told(data, [{"format": "jsonl", "path": "a.jsonl"}])
    assert found == f"sources.0.path: {data / 'a.jsonl'}: cannot be read (Permission denied); correct the permissions"


def test_the_command_ends_with_2_and_a_line_for_each(data: Path) -> None:
    told(data, [{"format": "jsonl", "path": str(data / "a.jsonl")}, {"format": "jsonl", "path": str(data / "b.jsonl")}])
    result = called("plan", data / "bad.yaml")
    assert result.returncode == 2
    assert [line.split(": ")[2] for line in result.stderr.splitlines()] == ["sources.0.fields.text", "sources.1.path"]
    assert not result.stdout


# --- what is shown -----------------------------------------------------------------------------------------------------


def test_the_plan_as_json_has_all_of_it_and_prices_what_it_is_told(tmp_path: Path) -> None:
    path = recipe_of(tmp_path)
    options = ("--sample-mb", "0.05", "--nodes", "10", "--cores", "4", "--node-memory", "64", "--core-price", "0.05")
    result = called("plan", path, "--json", *options)
    assert result.returncode == 0, result.stderr
    body = json.loads(result.stdout)
    curation = body["curation"]
    assert [source["name"] for source in curation["sources"]] == ["lines", "rows"]
    assert not curation["duplicates_can_be_seen"]
    assert curation["moved"]["high"] == 0  # all on this machine
    assert curation["price"]["value"] == pytest.approx(0.05 * curation["core_hours"]["value"])
    seconds = sum(stage["seconds"]["value"] for stage in curation["stages"])
    assert curation["core_hours"]["value"] == pytest.approx(seconds / 3600)
    assert curation["nodes"]["seconds"]["value"] == pytest.approx(seconds / 40)  # memory for all cores
    assert curation["largest_task"]["memory"] == max(stage["memory"] for stage in curation["stages"])
    assert body["training"]["phases"][0]["name"] == "stable"
    assert not (tmp_path / "workdir").exists()


def test_memory_bounds_how_many_tasks_run_at_a_time() -> None:
    from jobs.estimate import NOTHING, StagePlan

    hour = Range(3600.0, 3600.0, 3600.0)
    stage = StagePlan("near", hour, NOTHING, NOTHING, memory=2 << 30)
    assert Nodes(2, 16, None).seconds((stage,)).value == pytest.approx(3600 / 32)
    assert Nodes(2, 16, 10 << 30).seconds((stage,)).value == pytest.approx(3600 / 6)  # 7 GiB for tasks hold 3 on each


def test_a_mix_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    phase = {"name": "stable", "length": 128, "tokens": 8192, "learning_rate": 2e-3, "batch_size": 4}
    path = recipe_of(
        tmp_path, filter={"lines": {"length": {"min_words": 10_000}}}, phases=[{**phase, "mix": {"weights": {"lines": 1, "rows": 1}}}]
    )
    planned: Forecast = forecast(load_recipe(path), sample_mb=0.05)
    assert any("source lines: less than a tenth of its documents stays" in line for line in planned.warnings)
    assert any("phase stable" in line for line in planned.warnings)

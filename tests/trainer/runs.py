"""What a run has left in its folder, as tests compare it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.trainer.synthetic import write_held_out, write_shards


def two_splits(folder: Path) -> Path:
    """The folder, with shards to train on and to validate on."""
    write_shards(folder / "stable", 100)
    write_held_out(folder / "validation", 20, seed=5)
    return folder


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of JSON lines, which may still be written; none where there is no file."""
    if not path.is_file():
        return []
    whole = path.read_text().rsplit("\n", 1)[0]
    return [json.loads(line) for line in whole.splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The trained weights."""
    return load_file(run / "model" / "model.safetensors")


def losses(run: Path) -> list[tuple[str, int, float]]:
    """Kind, step and loss of every line of metrics."""
    return [(line["kind"], line["step"], line["loss"]) for line in lines_of(run / "metrics.jsonl")]


def steady(run: Path) -> list[dict[str, Any]]:
    """Every line of metrics, without what another start of the same run has otherwise: times, rates and memory."""
    other = {"tokens_per_second", "flops_per_second", "utilisation", "seconds", "memory"}
    return [{name: value for name, value in line.items() if name not in other} for line in lines_of(run / "metrics.jsonl")]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """To the bit."""
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name

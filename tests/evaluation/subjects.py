"""Tiny models and runs on disk, for the tests of evaluations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from evaluation.subject import Subject, of_run
from model import MaskedLM, ModernBertConfig, bridge, masked_lm
from pipeline.held_out import HeldOut, read_held_out
from tests.trainer.synthetic import INFO, run_config, write_held_out

LENGTH = 256


def sample(folder: Path, pieces: int = 40, seed: int = 5) -> HeldOut:
    """A held-out sample of pieces of up to 3 times 256 tokens."""
    from dataclasses import replace

    write_held_out(folder, pieces, seed=seed, info=replace(INFO, length=LENGTH))
    return read_held_out(folder)


def trained(folder: Path, name: str, seed: int = 0, tokens: int = 1000, model: MaskedLM | None = None) -> Subject:
    """A run's folder as training leaves it, of random weights."""
    run = folder / name
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps(run_config(folder)))
    line: dict[str, Any] = {"kind": "train", "step": 10, "phase": "stable", "tokens": tokens, "loss": 3.0, "lr": 1e-3}
    line |= {"tokens_per_second": 10.0, "flops_per_second": 1e9, "seconds": {"compute": tokens / 10, "evaluation": 1.0}}
    validation = {"kind": "validation", "step": 10, "tokens": tokens, "loss": 3.1, "accuracy": 0.2, "loss_low": 3.0, "loss_high": 3.3}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(validation) + "\n")
    if model is None:
        torch.manual_seed(seed)
        model = masked_lm(small())
    bridge.save(model, run / "model")
    return of_run(run)


def small(**changes: Any) -> ModernBertConfig:
    """A model of two layers."""
    settings = {"vocab_size": 256, "hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 48, "window": 16, "max_length": LENGTH}
    return ModernBertConfig(**{**settings, **changes})

"""Folders that transformers, sentence-transformers and PyLate load, from our models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from model.bridge import modules
from model.bridge.classes import BARE
from model.bridge.configuration import to_transformers_config
from model.bridge.proof import largest_difference
from model.errors import ModelError
from model.heads import Embedding, LateInteraction
from model.modernbert import ModernBert


def save(model: nn.Module, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` for transformers, not checked; `export` checks.

    What `Embedding` and `LateInteraction` add to their encoder is written too, in the form of sentence-transformers and PyLate. Files
    of that kind that an earlier model left in the folder are removed.
    """
    kind = type(model)
    encoder: Any = model if isinstance(model, ModernBert) else model.model
    settings = getattr(model, "settings", None)
    body = to_transformers_config(encoder.config, kind, settings if kind not in BARE else None)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    named = encoder if kind in BARE else model
    state = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in named.state_dict().items()}
    modules.remove(folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    if isinstance(model, (Embedding, LateInteraction)):
        modules.write(model, folder)


def export(model: nn.Module, folder: Path, *, tolerance: float = 1e-3) -> float:
    """Write a folder that transformers loads, and prove it: returns the largest difference of logits (or hidden states).

    Raises `ModelError`, with the folder left for inspection, where the difference is over `tolerance` or not a number.
    """
    save(model, folder)
    difference = largest_difference(model, folder)
    if not difference <= tolerance:
        raise ModelError(f"{folder}: transformers' logits differ from ours by {difference:g}, more than {tolerance:g}; the export is wrong")
    return difference


def save_sentence_transformer(model: Embedding | LateInteraction, folder: Path) -> None:
    """Write what sentence-transformers (`Embedding`) or PyLate (`LateInteraction`) loads, but for the tokenizer's files.

    Those (`tokenizer.json`, `tokenizer_config.json`) belong in the same folder: the tokenizer's exporter writes them.
    """
    save(model, folder)

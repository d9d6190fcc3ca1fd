"""What is evaluated: a run's model, or a folder with one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xxhash
from torch import Tensor

from model import ClassicBertForMaskedLM, MaskedLM, ModernBertForMaskedLM, bridge
from model.heads import mean_of
from pipeline.workdir.errors import UserError

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subject:
    """A model on disk. `tokenizer` is the fingerprint of the one whose ids it takes; `run`: its run's folder, where it has one."""

    name: str
    folder: Path
    tokenizer: str
    run: Path | None = None

    @cached_property
    def weights(self) -> str:
        """A checksum of the model: its configuration and weights."""
        digest = xxhash.xxh3_128()
        for path in sorted([self.folder / "config.json", *self.folder.glob("*.safetensors")]):
            with path.open("rb") as file:
                while block := file.read(1 << 24):
                    digest.update(block)
        return digest.hexdigest()

    def load(self) -> MaskedLM:
        """The model, ready to be asked, on a GPU if there is one. Raises `ModelError` where it cannot be read."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return bridge.load(self.folder).to(device).eval()


def of_run(run: Path) -> Subject:
    """The subject that a run has trained. Raises `UserError` where it has not come to its end."""
    try:
        body: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
        tokenizer = str(body["tokenizer"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run}: is no training run (its run.json cannot be read); give a folder `runs/NAME` of a workdir") from error
    if not (run / "model" / "model.safetensors").is_file():
        raise UserError(f"{run}: has no model yet; train it to its end with `foundry pretrain`")
    return Subject(run.name, run / "model", tokenizer, run)


@torch.inference_mode()
def masked_losses(
    model: MaskedLM, input_ids: Tensor, cu_seqlens: Tensor, max_seqlen: int, positions: Tensor, labels: Tensor
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The loss of each predicted token, and whether the likeliest one is right: float64 (predicted,) each.

    Tensors are as the model takes them.
    """
    device = next(model.parameters()).device
    logits = model(input_ids.to(device), cu_seqlens.to(device), max_seqlen, positions.to(device)).logits.float()
    wanted = labels.to(device)
    losses = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
    return losses.double().cpu().numpy(), (logits.argmax(dim=-1) == wanted).double().cpu().numpy()


@torch.inference_mode()
def vectors(model: MaskedLM, segments: list[Ints], tokens: int) -> npt.NDArray[np.float32]:
    """The mean of each segment's last hidden states: float32 (segments, hidden size). At most `tokens` tokens go through at once."""
    device = next(model.parameters()).device
    found = []
    for first, last in batches([len(ids) for ids in segments], tokens):
        part = segments[first:last]
        edges = np.concatenate([[0], np.cumsum([len(ids) for ids in part])]).astype(np.int32)
        ids, bounds = torch.from_numpy(np.concatenate(part)).to(device), torch.from_numpy(edges).to(device)
        longest = int(np.diff(edges).max())
        found.append(mean_of(_hidden(model, ids, bounds, longest), bounds).float().cpu().numpy())
    return np.concatenate(found)


def _hidden(model: MaskedLM, input_ids: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> Tensor:
    """The encoder's last hidden states, (tokens, hidden size)."""
    if isinstance(model, ModernBertForMaskedLM):
        hidden: Tensor = model.model(input_ids, cu_seqlens, max_seqlen)
        return hidden
    assert isinstance(model, ClassicBertForMaskedLM), "there are two architectures"
    lengths = cu_seqlens.diff().long()
    real = torch.arange(max_seqlen, device=input_ids.device)[None] < lengths[:, None]
    padded = input_ids.new_zeros(real.shape)
    padded[real] = input_ids
    states: Tensor = model.bert(padded, real)
    return states[real]


def batches(sizes: list[int], most: int) -> Iterator[tuple[int, int]]:
    """Consecutive runs of segments, `first .. last - 1`, of at most `most` tokens each; a longer segment is a run of its own."""
    first, total = 0, 0
    for number, size in enumerate(sizes):
        if total and total + size > most:
            yield first, number
            first, total = number, 0
        total += size
    if first < len(sizes):
        yield first, len(sizes)

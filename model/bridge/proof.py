"""Proof that a folder holds the model that was written: transformers' own answers, beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.bert import masked_lm
from model.bridge.classes import ARCHITECTURES, BARE, MASKED
from model.config import ModernBertConfig
from model.heads import MultipleChoice, SequenceClassification
from model.modernbert import ModernBert


def answers(output: Any) -> list[Tensor]:
    """The tensors of a model's output, ours or transformers', that are compared."""
    if isinstance(output, Tensor):
        return [output]
    for names in (("start_logits", "end_logits"), ("logits",), ("last_hidden_state",)):
        if all(getattr(output, name, None) is not None for name in names):
            return [getattr(output, name) for name in names]
    raise AssertionError(f"nothing to compare in {type(output).__name__}")


@torch.no_grad()
def largest_difference(model: nn.Module, folder: Path, *, seed: int = 0, lengths: Sequence[int] | None = None) -> float:
    """Largest absolute difference between our logits and those of transformers' model loaded from `folder`.

    Both get random ids in segments of `lengths` tokens (default: several, up to beyond the window), in float32 on the CPU. For a bare
    encoder, an embedding and late interaction the last hidden states are compared.
    """
    import transformers

    kind = type(model)
    encoder: Any = model if isinstance(model, ModernBert) else model.model
    config = encoder.config
    theirs = getattr(transformers, ARCHITECTURES[kind]).from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    ours: Any = ModernBert(config) if kind in BARE else masked_lm(config) if kind in MASKED else kind(config, model.settings)
    source: nn.Module = encoder if kind in BARE else model
    ours.load_state_dict({name: value.detach().cpu().float() for name, value in source.state_dict().items()})
    ours.eval()
    generator = torch.Generator().manual_seed(seed)
    longest = config.window * 3 + 5 if isinstance(config, ModernBertConfig) else config.max_length
    lengths = [min(length, config.max_length) for length in lengths or (1, 7, 64, 129, longest)]
    worst = 0.0
    ids = torch.randint(0, config.vocab_size, (sum(lengths),), generator=generator)
    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    more = {"choices": 1} if kind is MultipleChoice else {}
    found = answers(ours(ids, edges, max(lengths), **more))
    by_token = len(found[0]) == len(ids) and kind not in (SequenceClassification, MultipleChoice)
    split = [torch.split(answer, list(lengths) if by_token else 1) for answer in found]
    for place, piece in enumerate(torch.split(ids, list(lengths))):
        given, mask = piece[None], torch.ones_like(piece)[None]
        others = answers(theirs(input_ids=given[None], attention_mask=mask[None]) if more else theirs(input_ids=given, attention_mask=mask))
        for part, other in zip(split, others, strict=True):
            mine = part[place]
            difference = (mine.reshape(-1) - other.reshape(-1)).abs().max()
            worst = max(worst, float(difference)) if difference == difference else float("nan")
            if worst != worst:
                return worst
    return worst

"""Texts to vectors, unpadded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from model import Embedding, ModernBert
from model.config import ModernBertConfig
from model.heads import pooled
from trainer.tuning.passes import Passes
from trainer.tuning.texts import Cutting, Ints, TextTokens


def encode(
    model: Embedding | ModernBert,
    tokenizer: TextTokens,
    texts: Sequence[str],
    *,
    pooling: str = "mean",
    prompt: str = "",
    max_length: int | None = None,
    cut: bool = False,
    micro_batch_tokens: int = 16_384,
    precision: str = "float32",
) -> npt.NDArray[np.float32]:
    """A vector for each text: float32 (texts, hidden size), in the order of the texts.

    Texts go through the model end to end without padding, long ones first, at most `micro_batch_tokens` tokens at once (or one text);
    on the device that the model is on, with dropout off. So a vector does not depend on the texts beside it but for rounding.

    Args:
        model: an `Embedding`, which pools and normalises as it says; or a bare encoder, whose last hidden states are pooled by `pooling`
            ("cls" or "mean") and not normalised.
        tokenizer: `TextTokens(tokenizer.Encoder(folder), tokenizer.special_ids(folder))`.
        prompt: what stands before each text, as part of it.
        max_length: most tokens of a segment, `[CLS]` and `[SEP]` included; None: the model's own.
        cut: cut longer texts; otherwise they are an error.
        precision: "float32", or "bfloat16" for autocast.

    Raises: `TrainerError` where texts are too long and not to be cut, saying how many; `TokenizerError` where one is not UTF-8.
    """
    config: ModernBertConfig = model.config
    cutting = Cutting(min(max_length or config.max_length, config.max_length), cut)
    found = np.empty((len(texts), config.hidden_size), np.float32)
    if not len(texts):
        return found
    segments = tokenizer.single([prompt + text for text in texts], cutting)
    module = model if isinstance(model, Embedding) else _Pooled(model, pooling)
    passes = Passes(next(model.parameters()).device, micro_batch_tokens, precision)

    def gather(part: Ints, output: torch.Tensor) -> None:
        found[part] = output.float().cpu().numpy()

    training = model.training
    passes.all(module, segments, gather)
    model.train(training)
    return found


class _Pooled(torch.nn.Module):
    """A bare encoder, and one vector a segment of it."""

    def __init__(self, encoder: ModernBert, pooling: str) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def forward(
        self, input_ids: torch.Tensor, cu_seqlens: torch.Tensor, max_seqlen: int, dropout_keys: torch.Tensor | None = None
    ) -> torch.Tensor:
        return pooled(self.encoder, input_ids, cu_seqlens, max_seqlen, self.pooling, dropout_keys)

"""ModernBERT (arXiv 2412.13663): an unpadded, pre-norm encoder with GeGLU, rotary embeddings and alternating attention.

Tensors are (tokens, ...) from the embedding to the loss: all segments end to end, told apart by `cu_seqlens`. Parameters are
named as in transformers, so that checkpoints need no renaming.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.attention import Segments, attend, choose, prepare
from model.config import ModernBertConfig
from model.errors import ModelError
from model.init import initialise
from model.loss import cross_entropy_sum
from model.rope import rotary_tables, rotate

Rotary = tuple[Tensor, Tensor]


def _norm(config: ModernBertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=False)


class Embeddings(nn.Module):
    """Token embeddings and the norm after them."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = _norm(config)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.norm(self.tok_embeddings(input_ids))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head attention within segments, global or local."""

    def __init__(self, config: ModernBertConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.head_size = config.heads, config.head_size
        self.window = None if config.is_global(layer) else config.window
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.Wo = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.dropout = config.attention_out_dropout

    def forward(self, hidden: Tensor, segments: Segments, rotary: Rotary, kernel: str) -> Tensor:
        query, key, value = self.Wqkv(hidden).view(-1, 3, self.heads, self.head_size).unbind(dim=1)
        query, key = rotate(query, *rotary), rotate(key, *rotary)
        mixed = attend(kernel, query, key, value, segments, self.window)
        return F.dropout(self.Wo(mixed.flatten(1)), self.dropout, self.training)


class MLP(nn.Module):
    """GeGLU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.Wi = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.Wo = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        value, gate = self.Wi(hidden).chunk(2, dim=-1)
        return self.Wo(F.gelu(value) * gate)  # type: ignore[no-any-return]


class Layer(nn.Module):
    """One pre-norm block. Layer 0 has no attention norm, since the embeddings have just been normed."""

    def __init__(self, config: ModernBertConfig, layer: int) -> None:
        super().__init__()
        self.attn_norm = nn.Identity() if layer == 0 else _norm(config)
        self.attn = Attention(config, layer)
        self.mlp_norm = _norm(config)
        self.mlp = MLP(config)

    def forward(self, hidden: Tensor, segments: Segments, rotary: Rotary, kernel: str) -> Tensor:
        hidden = hidden + self.attn(self.attn_norm(hidden), segments, rotary, kernel)
        return hidden + self.mlp(self.mlp_norm(hidden))  # type: ignore[no-any-return]


class ModernBert(nn.Module):
    """The encoder: ids to the last hidden states."""

    def __init__(self, config: ModernBertConfig, *, attention: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.activation_checkpointing = False
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.layers))
        self.final_norm = _norm(config)

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> Tensor:
        """Hidden states (tokens, hidden size) of segments laid end to end; see `ModernBertForMaskedLM`."""
        config = self.config
        hidden = self.embeddings(input_ids)
        dtype = torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else hidden.dtype
        kernel = choose(self.attention, hidden.device, dtype)
        segments = prepare(kernel, cu_seqlens, max_seqlen, len(input_ids), config.window, dtype)
        wide = rotary_tables(segments.position, config.head_size, config.global_theta, dtype)
        near = rotary_tables(segments.position, config.head_size, config.local_theta, dtype)
        for number, layer in enumerate(self.layers):
            rotary = wide if config.is_global(number) else near
            if self.activation_checkpointing and self.training:
                hidden = checkpoint(layer, hidden, segments, rotary, kernel, use_reentrant=False)
            else:
                hidden = layer(hidden, segments, rotary, kernel)
        return self.final_norm(hidden)  # type: ignore[no-any-return]


class PredictionHead(nn.Module):
    """Dense, GELU, norm: what stands between the encoder and the decoder."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.norm = _norm(config)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(hidden)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class MaskedLMOutput:
    """With labels `loss`, the sum of the cross-entropies (float32, scalar); without, `logits` (positions, vocabulary)."""

    loss: Tensor | None
    logits: Tensor | None


class Decoder(nn.Module):
    """The decoder's own parameter; its matrix is the embedding's."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))


class ModernBertForMaskedLM(nn.Module):
    """ModernBERT with its masked-language-modelling head, the decoder tied to the embedding."""

    def __init__(self, config: ModernBertConfig, *, attention: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.model = ModernBert(config, attention=attention)
        self.head = PredictionHead(config)
        self.decoder = Decoder(config)
        initialise(self, config)

    def forward(
        self,
        input_ids: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        positions: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> MaskedLMOutput:
        """Predict tokens.

        Args:
            input_ids: int64 (tokens,), all segments end to end, no padding.
            cu_seqlens: int32 (segments + 1,), where segments begin and end: 0, ..., tokens; none is empty.
            max_seqlen: length of the longest segment.
            positions: int64 (n,), the tokens to predict; None: all. The head runs on these alone.
            labels: int64 (n,), the right ids there.

        Raises: `ModelError` for a segment longer than the configuration's `max_length`.
        """
        if max_seqlen > self.config.max_length:
            raise ModelError(f"a segment of {max_seqlen} tokens is longer than model.max_length {self.config.max_length}")
        hidden = self.model(input_ids, cu_seqlens, max_seqlen)
        hidden = self.head(hidden if positions is None else hidden[positions])
        weight = self.model.embeddings.tok_embeddings.weight
        if labels is not None:
            return MaskedLMOutput(cross_entropy_sum(hidden, weight, self.decoder.bias, labels), None)
        return MaskedLMOutput(None, F.linear(hidden, weight.to(hidden.dtype), self.decoder.bias.to(hidden.dtype)))

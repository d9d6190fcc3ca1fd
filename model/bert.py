"""A classic BERT (Devlin et al. 2018, arXiv 1810.04805), to ask what ModernBERT's architecture is worth on the same data.

Post-norm, absolute learnt positions, full attention, biases everywhere, GELU without a gate, and padded inside: the batch comes in
end to end as ModernBERT's does, is filled up to its longest segment for the encoder, and only the predicted tokens leave it.
Parameters have the names of transformers' BertForMaskedLM. There is no second segment type in use and no next-sentence head.

`masked_lm` makes the masked language model of either architecture.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.config import ClassicBertConfig, ModernBertConfig
from model.dropout import ATTENTION_OUT, ATTENTION_WEIGHTS, EMBEDDED, FEED_FORWARD, check_keys, dropout, layer_keys
from model.errors import ModelError
from model.loss import cross_entropies
from model.modernbert import MaskedLMOutput, ModernBertForMaskedLM, as_projected, check_bounds, take


def _group(**parts: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict(parts)


class Layer(nn.Module):
    """One post-norm block."""

    def __init__(self, config: ClassicBertConfig) -> None:
        super().__init__()
        hidden, self.heads, self.dropout = config.hidden_size, config.heads, config.dropout
        projections = {name: nn.Linear(hidden, hidden) for name in ("query", "key", "value")}
        after = _group(dense=nn.Linear(hidden, hidden), LayerNorm=nn.LayerNorm(hidden, eps=config.norm_eps))
        self.attention = nn.ModuleDict({"self": nn.ModuleDict(projections), "output": after})
        self.intermediate = _group(dense=nn.Linear(hidden, config.intermediate_size))
        self.output = _group(dense=nn.Linear(config.intermediate_size, hidden), LayerNorm=nn.LayerNorm(hidden, eps=config.norm_eps))

    def forward(self, hidden: Tensor, mask: Tensor, keys: Tensor | None = None) -> Tensor:
        """Hidden states after the block, (rows, length, hidden size).

        `mask`: bool (rows, 1, 1, length), which places are real; `keys`: int64 (rows, length), this layer's dropout keys of all
        tokens; None: torch's own dropout.
        """
        parts: Any = self.attention
        rows, length, width = hidden.shape
        query, key, value = (
            parts["self"][name](hidden).view(rows, length, self.heads, -1).transpose(1, 2) for name in ("query", "key", "value")
        )
        mixed = self._attend(query, key, value, mask, keys)
        mixed = parts["output"]["dense"](mixed.transpose(1, 2).reshape(rows, length, width))
        hidden = parts["output"]["LayerNorm"](hidden + dropout(mixed, self.dropout, self.training, keys, ATTENTION_OUT))
        inner = self.output["dense"](F.gelu(self.intermediate["dense"](hidden)))
        return self.output["LayerNorm"](  # type: ignore[no-any-return]
            hidden + dropout(inner, self.dropout, self.training, keys, FEED_FORWARD)
        )

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, keys: Tensor | None) -> Tensor:
        """Attention with dropout of its weights; all three, and what it returns, are (rows, heads, length, head size).

        torch's kernels draw by themselves which weights to drop. By keys a weight is dropped by the query's key, the head, and the
        key's place in its segment, for which all weights are made: rows x heads x length squared, as torch's own way with dropout on
        a CPU does too.
        """
        rate = self.dropout if self.training else 0.0
        if keys is None or not rate:
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        scores = (query * query.shape[-1] ** -0.5) @ key.mT
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        heads = torch.arange(self.heads, device=keys.device)[:, None]
        return dropout(weights, rate, True, keys[:, None], heads + ATTENTION_WEIGHTS) @ value


class Encoder(nn.Module):
    """Embeddings and layers, over a padded batch. `activation_checkpointing` may be set, as ModernBERT's."""

    def __init__(self, config: ClassicBertConfig) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        hidden, self.dropout = config.hidden_size, config.dropout
        self.embeddings = _group(
            word_embeddings=nn.Embedding(config.vocab_size, hidden),
            position_embeddings=nn.Embedding(config.max_length, hidden),
            token_type_embeddings=nn.Embedding(2, hidden),
            LayerNorm=nn.LayerNorm(hidden, eps=config.norm_eps),
        )
        self.encoder = _group(layer=nn.ModuleList(Layer(config) for _ in range(config.layers)))

    @property
    def layers(self) -> nn.ModuleList:
        found = self.encoder["layer"]
        assert isinstance(found, nn.ModuleList), "made above"
        return found

    def forward(self, input_ids: Tensor, real: Tensor, keys: Tensor | None = None) -> Tensor:
        """(rows, length) ids, which of them are real, and their dropout keys; hidden states (rows, length, hidden size)."""
        if not self.training:
            keys = None
        tables: Any = self.embeddings
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = tables["word_embeddings"](input_ids) + tables["position_embeddings"](places) + tables["token_type_embeddings"].weight[0]
        hidden = dropout(tables["LayerNorm"](hidden), self.dropout, self.training, layer_keys(keys, -1), EMBEDDED)
        mask = real[:, None, None, :]
        for number, layer in enumerate(self.layers):
            here = layer_keys(keys, number)
            if self.activation_checkpointing and self.training:
                hidden = checkpoint(layer, hidden, mask, here, use_reentrant=False)
            else:
                hidden = layer(hidden, mask, here)
        return hidden  # type: ignore[no-any-return]


class ClassicBertForMaskedLM(nn.Module):
    """BERT with its masked-language-modelling head; called as `ModernBertForMaskedLM` is."""

    def __init__(self, config: ClassicBertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = Encoder(config)
        transform = _group(
            dense=nn.Linear(config.hidden_size, config.hidden_size), LayerNorm=nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        )
        self.cls = _group(predictions=_group(transform=transform))
        self.cls["predictions"].register_parameter("bias", nn.Parameter(torch.zeros(config.vocab_size)))
        with torch.no_grad():  # the paper's: normal, cut at two standard deviations
            for name, parameter in self.named_parameters():
                if parameter.dim() > 1:
                    nn.init.trunc_normal_(parameter, std=config.init_std, a=-2 * config.init_std, b=2 * config.init_std)
                else:
                    nn.init.constant_(parameter, 1.0 if name.endswith("LayerNorm.weight") else 0.0)

    @property
    def model(self) -> Encoder:
        """The encoder, by the name that ModernBERT's has; its parameters' names begin with transformers' `bert`."""
        return self.bert

    def forward(
        self,
        input_ids: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        positions: Tensor | None = None,
        labels: Tensor | None = None,
        dropout_keys: Tensor | None = None,
    ) -> MaskedLMOutput:
        """Predict tokens. Arguments, result and errors are those of `ModernBertForMaskedLM.forward`."""
        check_bounds(self.config.vocab_size, self.config.max_length, input_ids, cu_seqlens, max_seqlen)
        check_keys(dropout_keys, len(input_ids))
        lengths = cu_seqlens.diff()
        real = torch.arange(max_seqlen, device=input_ids.device)[None] < lengths[:, None]
        rows = input_ids.new_zeros(real.shape).masked_scatter(real, input_ids)
        keys = None if dropout_keys is None else dropout_keys.new_zeros(real.shape).masked_scatter(real, dropout_keys)
        hidden = self.bert(rows, real, keys)[real]
        head: Any = self.cls["predictions"]
        hidden = take(hidden, positions)
        hidden = head["transform"]["LayerNorm"](F.gelu(head["transform"]["dense"](hidden)))
        weight = self.bert.embeddings["word_embeddings"].weight
        assert isinstance(weight, Tensor), "the embedding's matrix"
        if labels is not None:
            loss, losses = cross_entropies(as_projected(hidden), weight, head.bias, labels)
            return MaskedLMOutput(loss, None, len(hidden), losses)
        return MaskedLMOutput(None, F.linear(hidden, weight.to(hidden.dtype), head.bias.to(hidden.dtype)), len(hidden))


MaskedLM = ModernBertForMaskedLM | ClassicBertForMaskedLM


def masked_lm(config: ModernBertConfig | ClassicBertConfig, *, attention: str = "auto") -> MaskedLM:
    """A new masked language model of whichever architecture the configuration is of, weights from torch's global generator.

    `attention` names ModernBERT's kernel, or "auto". Raises `ModelError` where a classic BERT is given another than "auto".
    """
    if isinstance(config, ModernBertConfig):
        return ModernBertForMaskedLM(config, attention=attention)
    if attention != "auto":
        raise ModelError(f"attention: {attention!r} is a kernel of ModernBERT's; a classic BERT has one of its own, leave it `auto`")
    return ClassicBertForMaskedLM(config)

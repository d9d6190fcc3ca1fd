"""ModernBERT (arXiv 2412.13663): an unpadded, pre-norm encoder with GeGLU, rotary embeddings and alternating attention.

Tensors are (tokens, ...) from the embedding to the loss: all segments end to end, told apart by `cu_seqlens`. Parameters are
named as in transformers, so that checkpoints need no renaming.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model import geglu
from model.attention import Segments, attend, choose, prepare
from model.config import ModernBertConfig
from model.dropout import ATTENTION_OUT, EMBEDDED, FEED_FORWARD, check_keys, dropout, layer_keys
from model.errors import ModelError
from model.init import initialise
from model.loss import cross_entropies
from model.rope import Rotary, rotary_tables

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
}


def _norm(config: ModernBertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)


class Embeddings(nn.Module):
    """Token embeddings and the norm after them."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = _norm(config)
        self.dropout = config.embedding_dropout

    def forward(self, input_ids: Tensor, keys: Tensor | None = None) -> Tensor:
        return dropout(self.norm(self.tok_embeddings(input_ids)), self.dropout, self.training, keys, EMBEDDED)


class Attention(nn.Module):
    """Multi-head attention within segments, global or local."""

    def __init__(self, config: ModernBertConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.head_size = config.heads, config.head_size
        self.window = None if config.is_global(layer) else config.window
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.attention_bias)
        self.Wo = nn.Linear(config.hidden_size, config.hidden_size, bias=config.attention_bias)
        self.dropout = config.attention_out_dropout
        self.triton = False

    def forward(
        self, hidden: Tensor, segments: Segments, rotary: Rotary, kernel: str, wanted: Tensor | None, keys: Tensor | None
    ) -> Tensor:
        qkv = self.Wqkv(hidden).view(-1, 3, self.heads, self.head_size)
        mixed = attend(kernel, qkv, rotary, segments, self.window, triton=self.triton).flatten(1)
        return dropout(self.Wo(mixed if wanted is None else mixed[wanted]), self.dropout, self.training, keys, ATTENTION_OUT)


class MLP(nn.Module):
    """A gated linear unit, GeGLU by default (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.Wi = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=config.mlp_bias)
        self.Wo = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = config.mlp_dropout
        self.gelu = config.activation == "gelu"
        self.whole = self.gelu and not config.mlp_bias and not config.mlp_dropout  # as one function by hand
        self.triton = False

    def forward(self, hidden: Tensor, norm: nn.LayerNorm, keys: Tensor | None) -> Tensor:
        """Of `norm(hidden)`."""
        if self.whole and not self.triton and geglu.runs_on(hidden):
            return geglu.geglu(hidden, norm, self.Wi.weight, self.Wo.weight)
        halves = self.Wi(normed(hidden, norm, self.triton))
        if self.triton and self.gelu:
            from model import fused

            product = fused.gated(halves)
        else:
            value, gate = halves.chunk(2, dim=-1)
            product = self.activation(value) * gate
        return self.Wo(dropout(product, self.dropout, self.training, keys, FEED_FORWARD))  # type: ignore[no-any-return]


def normed(hidden: Tensor, norm: nn.Module, triton: bool) -> Tensor:
    """`norm(hidden)` for a projection; with `triton` by our kernel, already in the dtype in which the projection takes it."""
    if not triton or not isinstance(norm, nn.LayerNorm):
        return norm(hidden)  # type: ignore[no-any-return]
    from model import fused

    device = hidden.device.type
    return fused.norm(hidden, norm, torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype)


class Layer(nn.Module):
    """One pre-norm block. Layer 0 has no attention norm, since the embeddings have just been normed."""

    def __init__(self, config: ModernBertConfig, layer: int) -> None:
        super().__init__()
        self.attn_norm = nn.Identity() if layer == 0 else _norm(config)
        self.attn = Attention(config, layer)
        self.mlp_norm = _norm(config)
        self.mlp = MLP(config)
        self.triton = False

    def forward(
        self,
        hidden: Tensor,
        segments: Segments,
        rotary: Rotary,
        kernel: str,
        wanted: Tensor | None = None,
        keys: Tensor | None = None,
    ) -> Tensor:
        """Hidden states after the block: of all tokens, or of the `wanted` places alone, which still see all others.

        `keys`: int64, this layer's dropout keys of the tokens that are returned; None: torch's own dropout.
        """
        mixed = self.attn(normed(hidden, self.attn_norm, self.triton), segments, rotary, kernel, wanted, keys)
        hidden = (hidden if wanted is None else hidden[wanted]) + mixed
        return hidden + self.mlp(hidden, self.mlp_norm, keys)  # type: ignore[no-any-return]


def compile_layers(layers: nn.ModuleList) -> None:
    """Let torch.compile make one graph a kind of layer, for all lengths, in place. A graph break is an error.

    Kinds are the first, local and global, the last where not all of its tokens are wanted; in training and not; in every precision.
    """
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)  # graphs of one function, of which all have theirs
    for layer in layers:
        layer.compile(fullgraph=True, dynamic=True)


def as_projected(hidden: Tensor) -> Tensor:
    """`hidden` in the dtype in which a linear layer would take it: a GPU's autocast leaves norms in float32."""
    device = hidden.device.type
    return hidden.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else hidden


def use_fused_kernels(model: nn.Module) -> None:
    """Let a model's layers run on the Triton kernels of `model/fused.py`, in place.

    Raises: `ModelError` where Triton is not installed.
    """
    try:
        from model import fused  # noqa: F401
    except ImportError as error:
        raise ModelError(f"fused_kernels: Triton cannot be imported ({error}); it comes with torch's builds for GPUs") from error
    for module in model.modules():
        if isinstance(module, Layer | Attention | MLP):
            module.triton = True


class ModernBert(nn.Module):
    """The encoder: ids to the last hidden states.

    `attention` names a kernel, or "auto". `activation_checkpointing` may be set: layers' insides are then worked out again in
    the backward pass instead of being kept.
    """

    def __init__(self, config: ModernBertConfig, *, attention: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.activation_checkpointing = False
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.layers))
        self.final_norm = _norm(config)

    def forward(
        self,
        input_ids: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        positions: Tensor | None = None,
        dropout_keys: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states of segments laid end to end: (tokens, hidden size), or (n, hidden size) with `positions`.

        Args:
            input_ids: int64 (tokens,), all segments end to end, no padding.
            cu_seqlens: int32 (segments + 1,), where segments begin and end: 0, ..., tokens; none is empty.
            max_seqlen: length of the longest segment.
            positions: int64 (n,), places whose hidden states are wanted; None: all. Past the last attention nothing else is computed.
            dropout_keys: int64 (tokens,), a key of each token, by which alone dropout in training goes (`model/dropout.py`); None:
                torch's own dropout, from its global generator.

        Raises: `ModelError` for a segment past the configuration's `max_length` and another shape or dtype; and, on a CPU, where to
        look costs nothing, for empty segments, bounds that do not fit the ids, ids past the vocabulary, and places past the end.
        """
        config = self.config
        check_bounds(config.vocab_size, config.max_length, input_ids, cu_seqlens, max_seqlen)
        check_positions(positions, len(input_ids))
        check_keys(dropout_keys, len(input_ids))
        if not self.training:
            dropout_keys = None  # they would be folded for every layer to no end
        hidden = self.embeddings(input_ids, layer_keys(dropout_keys, -1))
        device = hidden.device
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else hidden.dtype
        kernel = choose(self.attention, device, dtype, config.head_size)
        segments = prepare(kernel, cu_seqlens, max_seqlen, len(input_ids), config.window, dtype)
        wide = rotary_tables(segments.position, config.head_size, config.global_theta)
        near = rotary_tables(segments.position, config.head_size, config.local_theta)
        for number, layer in enumerate(self.layers):
            rotary = wide if config.is_global(number) else near
            wanted = positions if number == config.layers - 1 else None
            keys = layer_keys(dropout_keys if dropout_keys is None or wanted is None else dropout_keys[wanted], number)
            if self.activation_checkpointing and self.training:
                hidden = checkpoint(layer, hidden, segments, rotary, kernel, wanted, keys, use_reentrant=False)
            else:
                hidden = layer(hidden, segments, rotary, kernel, wanted, keys)
        return self.final_norm(hidden)  # type: ignore[no-any-return]


def check_bounds(vocab_size: int, max_length: int, input_ids: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> None:
    """Refuse a batch that cannot be right. Raises `ModelError` naming the argument."""
    if max_seqlen > max_length:
        raise ModelError(f"max_seqlen: a segment of {max_seqlen} tokens is longer than model.max_length {max_length}")
    if input_ids.dim() != 1 or input_ids.dtype not in (torch.int64, torch.int32):
        raise ModelError(f"input_ids: {input_ids.dtype} {tuple(input_ids.shape)}; give int64 (tokens,), all segments end to end")
    if cu_seqlens.dim() != 1 or len(cu_seqlens) < 2 or cu_seqlens.dtype != torch.int32:
        raise ModelError(f"cu_seqlens: {cu_seqlens.dtype} {tuple(cu_seqlens.shape)}; give int32 (segments + 1,), from 0 to the last end")
    if input_ids.device.type != "cpu" or cu_seqlens.device.type != "cpu":
        return  # to look would make the host wait for the device
    if int(cu_seqlens[0]) != 0 or int(cu_seqlens[-1]) != len(input_ids):
        raise ModelError(
            f"cu_seqlens: must begin with 0 and end with the number of tokens, {len(input_ids)}; got {cu_seqlens.tolist()[:9]}"
        )
    lengths = cu_seqlens.diff()
    if int(lengths.min()) < 1:
        at = int(lengths.argmin())
        raise ModelError(f"cu_seqlens: segment {at} is empty or ends before it begins ({int(cu_seqlens[at])} to {int(cu_seqlens[at + 1])})")
    if int(lengths.max()) != max_seqlen:
        raise ModelError(f"max_seqlen: is {max_seqlen}, the longest segment has {int(lengths.max())} tokens")
    low, high = int(input_ids.min()), int(input_ids.max())
    if low < 0 or high >= vocab_size:
        raise ModelError(f"input_ids: {low if low < 0 else high} is not in the vocabulary; model.vocab_size is {vocab_size}")


def check_positions(positions: Tensor | None, tokens: int) -> None:
    """Refuse places that cannot be right. Raises `ModelError` as `ModernBert.forward` says."""
    if positions is None:
        return
    if positions.dim() != 1 or positions.dtype != torch.int64:
        raise ModelError(f"positions: {positions.dtype} {tuple(positions.shape)}; give int64 (n,), places in input_ids")
    if positions.device.type == "cpu" and len(positions):
        low, high = int(positions.min()), int(positions.max())
        if low < 0 or high >= tokens:
            raise ModelError(f"positions: {low if low < 0 else high} is not a place in input_ids; give 0 to {tokens - 1}")


def take(hidden: Tensor, positions: Tensor | None) -> Tensor:
    """The rows of `hidden` at `positions`, or all. Raises `ModelError` as `check_positions`."""
    check_positions(positions, len(hidden))
    return hidden if positions is None else hidden[positions]


class PredictionHead(nn.Module):
    """Dense, activation, norm: what stands between the encoder and a decoder or classifier."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=config.head_bias)
        self.norm = _norm(config)
        self.activation = ACTIVATIONS[config.head_activation]

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(hidden)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class MaskedLMOutput:
    """With labels `loss`, the sum of the cross-entropies of `tokens` predictions (float32, scalar), and `losses`, each of them.

    Without labels `logits`, (tokens, vocabulary).
    """

    loss: Tensor | None
    logits: Tensor | None
    tokens: int
    losses: Tensor | None = None  # float32 (tokens,), without a gradient


class Decoder(nn.Module):
    """The decoder's own parameter; its matrix is the embedding's."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.decoder_bias else None


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
        dropout_keys: Tensor | None = None,
    ) -> MaskedLMOutput:
        """Predict tokens.

        Args:
            input_ids, cu_seqlens, max_seqlen: see `ModernBert.forward`.
            positions: int64 (n,), the tokens to predict; None: all. The last block's MLP and the head run on these alone.
            labels: int64 (n,), the right ids there.
            dropout_keys: see `ModernBert.forward`.

        Raises: as `ModernBert.forward`; `ModelError` for positions or labels of another shape or dtype; and, on a CPU alone, since to
        look would make the host wait for another device, for positions past the end and labels past the vocabulary.
        """
        hidden = self.head(self.model(input_ids, cu_seqlens, max_seqlen, positions, dropout_keys))
        weight, bias = self.model.embeddings.tok_embeddings.weight, self.decoder.bias
        if labels is not None:
            loss, losses = cross_entropies(as_projected(hidden), weight, bias, labels)
            return MaskedLMOutput(loss, None, len(hidden), losses)
        logits = F.linear(hidden, weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype))
        return MaskedLMOutput(None, logits, len(hidden))

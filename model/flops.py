"""How many floating-point operations a token costs: what utilisation is measured against.

Matrix products only, a multiply-add counted as two, as PaLM counts (Chowdhery et al. 2022, arXiv 2204.02311, appendix B);
the backward pass costs twice the forward. Attention counts the keys that are really seen: no padding, no masked-out blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from model.config import ModernBertConfig


def keys_seen(lengths: Sequence[int], window: int | None) -> int:
    """Query-key pairs over segments of the given lengths; `window` None is global."""
    if window is None:
        return sum(length * length for length in lengths)
    half = window // 2
    return sum(_band(length, half) for length in lengths)


def _band(length: int, half: int) -> int:
    reach = min(half, length - 1)
    return length * (2 * reach + 1) - reach * (reach + 1)


def encoder_flops(config: ModernBertConfig, lengths: Sequence[int], wanted: int | None = None) -> int:
    """Operations of the encoder's forward pass over segments of the given lengths.

    `wanted`: how many tokens' hidden states are asked for, None: all; past the last attention only these are computed.
    """
    tokens, hidden = sum(lengths), config.hidden_size
    after = 2 * (hidden * hidden + 3 * hidden * config.intermediate_size)  # attention's output projection and the MLP
    total = tokens * config.layers * 2 * 3 * hidden * hidden + tokens * (config.layers - 1) * after
    total += (tokens if wanted is None else wanted) * after
    for layer in range(config.layers):
        pairs = keys_seen(lengths, None if config.is_global(layer) else config.window)
        total += 4 * pairs * hidden  # scores and their use, over all heads
    return total


def forward_flops(config: ModernBertConfig, lengths: Sequence[int], predicted: int) -> int:
    """Operations of a forward pass over segments of the given lengths, `predicted` tokens of which go through the head."""
    hidden = config.hidden_size
    return encoder_flops(config, lengths, predicted) + predicted * 2 * (hidden * hidden + hidden * config.vocab_size)


def training_flops(config: ModernBertConfig, lengths: Sequence[int], predicted: int) -> int:
    """Operations of a forward and a backward pass."""
    return 3 * forward_flops(config, lengths, predicted)


def parameters(config: ModernBertConfig) -> int:
    """How many parameters the masked language model has; the decoder's matrix is the embedding's and counts once."""
    hidden, inner = config.hidden_size, config.intermediate_size
    norm = hidden * (2 if config.norm_bias else 1)
    layer = 4 * hidden * hidden + 3 * hidden * inner + 2 * norm
    layer += 4 * hidden * config.attention_bias + (2 * inner + hidden) * config.mlp_bias
    head = hidden * hidden + hidden * config.head_bias + norm + config.vocab_size * config.decoder_bias
    return config.vocab_size * hidden + norm + config.layers * layer - norm + norm + head  # layer 0 has one norm less, the end one more

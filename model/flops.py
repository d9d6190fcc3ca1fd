"""How many floating-point operations a token costs: what utilisation is measured against.

Matrix products only, a multiply-add counted as two, as PaLM counts (Chowdhery et al. 2022, arXiv 2204.02311, appendix B);
the backward pass costs twice the forward. Attention counts the keys that are really seen: no padding, no masked-out blocks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from model.config import ClassicBertConfig, ModernBertConfig

# Dense bfloat16 peak of a device, FLOP/s, from its maker's data sheet (half of what that says of sparse matrices); the first whose words
# are in the device's name.
PEAKS = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H200 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "GH200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "A40": 150e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX A6000": 155e12,
    "RTX 4090": 165e12,
    "MI300X": 1307e12,
}


def bf16_peak(name: str) -> float | None:
    """FLOP/s that a device of this name (`torch.cuda.get_device_name`) promises in bfloat16; None where it is not known."""
    return next((peak for words, peak in PEAKS.items() if re.search(rf"\b{words}\b", name)), None)


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
    wide = sum(config.is_global(layer) for layer in range(config.layers))
    pairs = wide * keys_seen(lengths, None) + (config.layers - wide) * keys_seen(lengths, config.window)
    return total + 4 * pairs * hidden  # scores and their use, over all heads


def forward_flops(config: ModernBertConfig | ClassicBertConfig, lengths: Sequence[int], predicted: int) -> int:
    """Operations of a forward pass over segments of the given lengths, `predicted` tokens of which go through the head."""
    hidden = config.hidden_size
    head = predicted * 2 * (hidden * hidden + hidden * config.vocab_size)
    if isinstance(config, ModernBertConfig):
        return encoder_flops(config, lengths, predicted) + head
    matrices = 4 * hidden * hidden + 2 * hidden * config.intermediate_size  # of a layer
    return config.layers * (sum(lengths) * 2 * matrices + 4 * keys_seen(lengths, None) * hidden) + head


def training_flops(config: ModernBertConfig | ClassicBertConfig, lengths: Sequence[int], predicted: int) -> int:
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

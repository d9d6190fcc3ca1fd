"""How much memory a training step's activations take on a GPU, worked out from what the modules keep for their backward pass.

Counted are the layers as they are written, without torch.compile and `model/fused.py`, which keep less, and an attention kernel that
never has the scores in memory: those of flash-attn, varlen and flex all keep queries, keys, values, outputs and a log-sum-exp for each
head and token. The residual
stream is float32 in either precision, since autocast adds in the wider of two dtypes and layer norms are float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.config import ModernBertConfig
from model.loss import OTHERWISE

FLOAT = 4  # bytes of a float32
LONG = 8  # and of an int64, as ids, places and dropout keys are


@dataclass(frozen=True)
class Activations:
    """Bytes on one GPU. `kept`: from the forward to the backward pass; `peak`: the most at any time, `kept` included."""

    kept: int
    peak: int


def _mlp(config: ModernBertConfig, tokens: int, width: int) -> int:
    """What the second half of a layer keeps: the stream, its norm's mean and deviation, and every projection's input.

    `width`: bytes of a number in matrix products. The GLU keeps its halves, the activated one and their product.
    """
    keys = LONG * bool(config.mlp_dropout)
    return tokens * (FLOAT * config.hidden_size + 2 * FLOAT + width * config.hidden_size + 4 * width * config.intermediate_size + keys)


def _attention(config: ModernBertConfig, tokens: int, wanted: int, width: int) -> int:
    """What the first half of a layer keeps: the stream with its norm, the projection's input and output, rotated queries and keys, outputs.

    `wanted`: tokens whose outputs are gone on with, which are then gathered where they are fewer.
    """
    each = FLOAT * config.hidden_size + 2 * FLOAT + 7 * width * config.hidden_size + FLOAT * config.heads
    gathered = width * config.hidden_size if wanted < tokens else 0
    return tokens * each + wanted * (gathered + LONG * bool(config.attention_out_dropout))


def _matrices(config: ModernBertConfig) -> int:
    """Numbers in a layer's projections."""
    return 4 * config.hidden_size**2 + 3 * config.hidden_size * config.intermediate_size


def activations(config: ModernBertConfig, tokens: int, predicted: int, *, precision: str, checkpointing: bool = False) -> Activations:
    """What a micro-batch takes beside weights, gradients and the optimizer's moments.

    Args: `tokens` of it, however they are cut into sequences; `predicted` of them go through the head; `precision`: bfloat16 (autocast) or
    float32; `checkpointing`: as `training.activation_checkpointing`, layers keep their input alone.
    """
    hidden, width = config.hidden_size, 2 if precision == "bfloat16" else FLOAT
    narrowed = width < FLOAT
    full = _attention(config, tokens, tokens, width) + _mlp(config, tokens, width)
    last = _attention(config, tokens, predicted, width) + _mlp(config, predicted, width)
    # ids and keys; the embedding's output, which its norm keeps, and the norm's numbers; cosines and sines of two thetas
    before = tokens * (LONG * 2 + FLOAT * hidden + 2 * FLOAT + 2 * 2 * FLOAT * (config.head_size // 2))
    if checkpointing:
        layers = config.layers * tokens * (FLOAT * hidden + LONG)
    else:
        layers = (config.layers - 1) * full + last
        layers -= tokens * (FLOAT * hidden + 2 * FLOAT)  # the first layer has no norm: it keeps the stream once, as its projection's input
        layers += width * config.layers * _matrices(config) if narrowed else 0  # autocast's copies of the weights
    # final norm; dense layer, activation and norm, the last in float32; and the loss, whose gradients are worked out in the forward pass
    head = predicted * (2 * (FLOAT * hidden + 2 * FLOAT) + 2 * width * hidden + FLOAT * hidden + 2 * LONG)
    head += width * hidden**2 if narrowed else 0
    decoder = FLOAT * config.vocab_size * (hidden + 1)
    kept = before + layers + head + decoder
    # the loss: a chunk's logits, where they are narrow their slopes in float32 and narrowed again, and copies of the decoder's matrix
    logits = min(predicted, max(1, OTHERWISE // config.vocab_size)) * config.vocab_size * (2 * width + FLOAT if narrowed else FLOAT)
    loss = logits + (2 * width * config.vocab_size * hidden if narrowed else 0)
    # a layer's backward pass: the stream's slope, the same narrowed, and those of the GLU's halves
    slopes = tokens * (FLOAT * hidden + (width * hidden if narrowed else 0) + 2 * width * config.intermediate_size)
    copies = width * _matrices(config) if narrowed else 0
    if checkpointing:  # the last layer but one is there again; its input was kept already, and that of the last layer is gone
        again = full + copies - 2 * tokens * FLOAT * hidden
        return Activations(kept, max(kept + config.layers * copies + loss, kept - head + again + slopes))
    return Activations(kept, max(kept + loss, kept - head - last + slopes))

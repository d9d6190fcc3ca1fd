"""Longer contexts, and larger models from smaller ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from model.config import ModernBertConfig
from model.errors import ModelError
from model.modernbert import ModernBertForMaskedLM

# Base of global layers for segments of up to 8192 tokens (arXiv 2412.13663, 2.2.1).
PAPER_THETA = 160_000.0


def extend_context(model: ModernBertForMaskedLM, *, max_length: int, global_theta: float | None = None) -> None:
    """Let a model take longer segments: a larger rotary base in global layers, in place; weights stay (arXiv 2412.13663, 2.2.1).

    `global_theta`: None takes the paper's 160,000, or the model's own where that is larger.

    Raises: `ModelError` where `max_length` is not longer than it was, or `global_theta` less than it was.
    """
    config = model.config
    if max_length <= config.max_length:
        raise ModelError(f"max_length: {max_length} is not longer than the {config.max_length} that the model takes already")
    if global_theta is None:
        global_theta = max(PAPER_THETA, config.global_theta)
    elif global_theta < config.global_theta:
        raise ModelError(f"global_theta: {global_theta:g} is less than the model's {config.global_theta:g}; give as much, or leave it out")
    model.config = model.model.config = replace(config, max_length=max_length, global_theta=global_theta)


def _tiled(small: Tensor, large: Tensor, units: tuple[int, ...]) -> Tensor:
    """`small` in the middle of a tensor of `large`'s shape, going on round and round to both sides.

    `units`: an axis is shifted by a multiple of this, so that heads stay whole.
    """
    for axis, (have, want) in enumerate(zip(small.shape, large.shape, strict=True)):
        index = (torch.arange(want) - (want - have) // (2 * units[axis]) * units[axis]) % have
        small = small.index_select(axis, index.to(small.device))
    return small


def _parts(name: str) -> int:
    """Matrices that lie one on another in a fused one: query, key and value; the GLU's value and gate."""
    return 3 if ".Wqkv." in name else 2 if ".Wi." in name else 1


def layer_map(small: ModernBertConfig, large: ModernBertConfig) -> list[int]:
    """Which layer of the small model each layer of the large one is made from.

    The nearest to the same relative depth, as the reference's (`round(i * small / large)`), but of the same kind: a global layer
    from a global one and a local from a local one, of two equally near the earlier. Layer 0, which has no attention norm, is made
    from layer 0.
    """
    found = []
    for layer in range(large.layers):
        place = layer * small.layers / large.layers
        alike = [other for other in range(small.layers) if small.is_global(other) == large.is_global(layer)]
        if layer:
            alike = [other for other in alike if other] or alike
        if not alike:
            kind = "global" if large.is_global(layer) else "local"
            raise ModelError(f"tiling: layer {layer} of the large model is {kind}, and the small one has no such layer")
        found.append(min(alike, key=lambda other: (abs(other - place), other)))
    return found


@torch.no_grad()
def tile(small: ModernBertForMaskedLM, config: ModernBertConfig, *, attention: str = "auto") -> ModernBertForMaskedLM:
    """A larger model, filled from a smaller one ("centre tiling", arXiv 2412.13663, 2.2.2; after Phi).

    Every matrix and vector has the small one in its middle and goes on round and round to both sides; the parts of fused matrices
    each by themselves; layers as `layer_map` says, the final norm and the head too. Departures from the reference: it leaves the
    final norm as it was made, and takes no heed of which layers are global.

    Raises: `ModelError` where the two do not fit: another vocabulary or head size, other biases, a smaller size.
    """
    old = small.config
    for name in (
        "vocab_size",
        "head_size",
        "norm_bias",
        "attention_bias",
        "mlp_bias",
        "head_bias",
        "decoder_bias",
        "activation",
        "head_activation",
    ):
        if getattr(old, name) != getattr(config, name):
            raise ModelError(
                f"tiling: model.{name} is {getattr(config, name)}, that of the small model {getattr(old, name)}; they must be equal"
            )
    for name in ("hidden_size", "layers", "heads", "intermediate_size"):
        if getattr(old, name) > getattr(config, name):
            raise ModelError(f"tiling: model.{name} is {getattr(config, name)}, less than the small model's {getattr(old, name)}")
    large = ModernBertForMaskedLM(config, attention=attention)
    source, origin, head = small.state_dict(), layer_map(old, config), config.head_size
    for name, target in large.state_dict().items():
        words = name.split(".")
        if words[:2] == ["model", "layers"]:
            words[2] = str(origin[int(words[2])])
        given = source.get(".".join(words))
        if given is None:  # the attention norm of a layer that is made from layer 0: there is nothing to take
            continue
        parts = _parts(name)
        units = (head if ".Wqkv." in name else 1, head if name.endswith(".attn.Wo.weight") else 1)
        pieces = [_tiled(one, other, units) for one, other in zip(given.chunk(parts), target.chunk(parts), strict=True)]
        target.copy_(torch.cat(pieces))
    return large

"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864) over the whole head, in halves and not interleaved."""

from __future__ import annotations

import torch
from torch import Tensor

Rotary = tuple[Tensor, Tensor]


def rotary_tables(position: Tensor, head_size: int, theta: float) -> Rotary:
    """`(cos, sin)` of each token's angles, float32 (tokens, head size / 2)."""
    inverse = 1.0 / theta ** (torch.arange(0, head_size, 2, dtype=torch.float32, device=position.device) / head_size)
    angles = position.float()[:, None] * inverse
    return angles.cos(), angles.sin()


def rotate(heads: Tensor, rotary: Rotary) -> Tensor:
    """Turn (tokens, ..., heads, head size) by each token's angles; worked out in float32, given in `heads`' dtype."""
    cos, sin = (table.view(len(table), *[1] * (heads.dim() - 2), -1) for table in rotary)
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(heads.dtype)

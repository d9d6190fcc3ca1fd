"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864) over the whole head, in halves and not interleaved."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_tables(position: Tensor, head_size: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """`(cos, sin)` of each token's angles, (tokens, 1, head size); worked out in float32, given in `dtype`."""
    inverse = 1.0 / theta ** (torch.arange(0, head_size, 2, dtype=torch.float32, device=position.device) / head_size)
    angles = position.float()[:, None] * inverse
    angles = torch.cat([angles, angles], dim=-1)[:, None, :]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (tokens, heads, head size) by each token's angles."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin

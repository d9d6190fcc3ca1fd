"""Attention in the plainest way: all scores of a batch, masked to segment and window. For tests of other kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import AttentionKernel, Segments


def prepare(cu_seqlens: Tensor, segment: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Which keys each query sees in global and in local layers: two of bool (tokens, tokens)."""
    place = torch.arange(len(segment), device=segment.device)
    same = segment[:, None] == segment[None]
    return same, same & ((place[:, None] - place[None]).abs() <= window // 2)


def attend(query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    """Mixed values (tokens, heads, head size)."""
    everywhere, near = segments.near
    q, k, v = (part.transpose(0, 1) for part in (query, key, value))  # heads first
    mask = everywhere if window is None else near
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1)


MASKED = AttentionKernel(attend, prepare)

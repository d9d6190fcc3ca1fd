"""Attention within segments: one function, several kernels, equal in result.

A kernel gets queries, keys and values (tokens, heads, head size) of segments laid end to end, and attends within each
segment; with a window of w, token i sees i - w/2 ... i + w/2, both included. What a kernel needs to know of the segments is
worked out once a forward pass (`prepare`), not once a layer.

- `matmul`: for CPUs, where it is the fastest: batched matrix products by hand in local layers, torch's flash attention for CPUs
  in global ones (`model/matmul.py`).
- `sdpa`: torch's scaled_dot_product_attention. Runs on anything. Global layers go segment by segment; local layers cut the
  whole stream into blocks of `window` queries that see two windows of keys, so that work is linear in tokens however long or
  short the segments are.
- `flex`: torch's flex_attention over a block mask, compiled on a GPU; on a CPU it runs uncompiled, for tests of its mask.
- `varlen`: `torch.nn.attention.varlen` (CUDA, half precision).
- `flash2`, `flash3`: the flash-attn packages (CUDA, half precision; Hopper for flash3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import ModelError
from model.matmul import SHORT, band_mask, matmul_attention
from model.rope import Rotary, rotate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segments:
    """The segments of one batch, and what the chosen kernel wants to know of them."""

    cu_seqlens: Tensor  # int32 (segments + 1,)
    max_seqlen: int
    position: Tensor  # int64 (tokens,): place within the segment
    bounds: tuple[int, ...] | None = None  # sdpa: cu_seqlens as Python numbers
    near: Any = None  # matmul, sdpa, flex: mask of local layers
    wide: Any = None  # flex: mask of global layers; matmul: theirs where all segments are short


def segment_of(cu_seqlens: Tensor, tokens: int) -> Tensor:
    """Which segment each token is in: int64 (tokens,)."""
    return torch.searchsorted(cu_seqlens[1:], torch.arange(tokens, device=cu_seqlens.device, dtype=cu_seqlens.dtype), right=True)


def prepare(kernel: str, cu_seqlens: Tensor, max_seqlen: int, tokens: int, window: int, dtype: torch.dtype) -> Segments:
    """All that a forward pass needs to know of its segments."""
    segment = segment_of(cu_seqlens, tokens)
    position = torch.arange(tokens, device=cu_seqlens.device) - cu_seqlens[segment]
    if kernel == "matmul":
        wide = band_mask(segment, SHORT - 1, None) if max_seqlen <= SHORT else None
        return Segments(cu_seqlens, max_seqlen, position, None, band_mask(segment, window // 2, window // 2), wide)
    if kernel == "sdpa":
        return Segments(cu_seqlens, max_seqlen, position, tuple(cu_seqlens.tolist()), _band(segment, window, dtype))
    if kernel == "flex":
        return Segments(cu_seqlens, max_seqlen, position, None, _block_mask(segment, window), _block_mask(segment, None))
    return Segments(cu_seqlens, max_seqlen, position)


# --- matmul ----------------------------------------------------------------------------------------------------------


def _matmul(qkv: Tensor, rotary: Rotary, segments: Segments, window: int | None) -> Tensor:
    mask = segments.wide if window is None else segments.near
    mixed: Tensor = matmul_attention(qkv, *rotary, segments.cu_seqlens, mask)[0]
    return mixed


# --- sdpa ------------------------------------------------------------------------------------------------------------


def _band(segment: Tensor, window: int, dtype: torch.dtype) -> Tensor:
    """The additive mask of the blocked local attention: (blocks, 1, window, 2 window)."""
    tokens, half, device = len(segment), window // 2, segment.device
    blocks = -(-tokens // window)
    query = torch.arange(blocks * window, device=device).view(blocks, window, 1)
    key = torch.arange(-half, half + window, device=device) + torch.arange(0, blocks * window, window, device=device)[:, None]
    key = key.view(blocks, 1, 2 * window)
    of_query = segment[query.clamp(max=tokens - 1)]
    of_key = segment[key.clamp(0, tokens - 1)]
    seen = (of_query == of_key) & ((query - key).abs() <= half) & (key >= 0) & (key < tokens)
    seen |= query >= tokens  # rows past the end are thrown away, but a softmax over nothing would be NaN
    return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, float("-inf")).unsqueeze(1)


def _sdpa(query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    if window is not None and segments.max_seqlen > window // 2 + 1:
        return _blocked(query, key, value, segments.near.to(query.dtype), window)
    assert segments.bounds is not None, "prepare() made no bounds for this kernel"
    lengths = [end - begin for begin, end in zip(segments.bounds, segments.bounds[1:], strict=False)]
    outputs = [  # split, not sliced: the gradient of a slice is as large as the whole
        F.scaled_dot_product_attention(*(part.transpose(0, 1).unsqueeze(0) for part in parts)).squeeze(0).transpose(0, 1)
        for parts in zip(*(torch.split(part, lengths) for part in (query, key, value)), strict=True)
    ]
    return torch.cat(outputs)


def _blocked(query: Tensor, key: Tensor, value: Tensor, band: Tensor, window: int) -> Tensor:
    """Local attention over the whole stream: each block of `window` queries sees the keys half a window around it."""
    tokens, heads, size = query.shape
    blocks, half = band.shape[0], window // 2
    spare = blocks * window - tokens

    def neighbourhoods(part: Tensor) -> Tensor:
        padded = F.pad(part, (0, 0, 0, 0, half, half + spare))
        left = padded[: blocks * window].view(blocks, window, heads, size)
        right = padded[window:].view(blocks, window, heads, size)
        return torch.cat([left, right], dim=1).transpose(1, 2)

    queries = F.pad(query, (0, 0, 0, 0, 0, spare)).view(blocks, window, heads, size).transpose(1, 2)
    output = F.scaled_dot_product_attention(queries, neighbourhoods(key), neighbourhoods(value), attn_mask=band)
    return output.transpose(1, 2).reshape(blocks * window, heads, size)[:tokens]


# --- flex ------------------------------------------------------------------------------------------------------------


def _block_mask(segment: Tensor, window: int | None) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = segment[query] == segment[key]
        return same if window is None else same & ((query - key).abs() <= window // 2)

    return create_block_mask(seen, None, None, len(segment), len(segment), device=segment.device)


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def _flex(query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    run = _compiled_flex() if query.device.type == "cuda" and not torch.compiler.is_compiling() else flex_attention
    mask = segments.wide if window is None else segments.near
    output = run(*(part.transpose(0, 1).unsqueeze(0) for part in (query, key, value)), block_mask=mask)
    mixed: Tensor = output.squeeze(0).transpose(0, 1)
    return mixed


# --- flash -----------------------------------------------------------------------------------------------------------


def _sides(window: int | None) -> tuple[int, int]:
    """A window as flash kernels want it: tokens to the left and to the right; -1 is all."""
    return (-1, -1) if window is None else (window // 2, window // 2)


def _varlen(query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    cu, longest = segments.cu_seqlens, segments.max_seqlen
    output = varlen_attn(query, key, value, cu, cu, longest, longest, window_size=_sides(window))
    assert isinstance(output, Tensor), "asked for the output alone"
    return output


def _flash2(query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    from flash_attn import flash_attn_varlen_func

    cu, longest = segments.cu_seqlens, segments.max_seqlen
    output: Tensor = flash_attn_varlen_func(query, key, value, cu, cu, longest, longest, window_size=_sides(window))
    return output


def _flash3(query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    from flash_attn_interface import flash_attn_varlen_func

    cu, longest = segments.cu_seqlens, segments.max_seqlen
    output = flash_attn_varlen_func(query, key, value, cu, cu, longest, longest, window_size=_sides(window))
    result: Tensor = output[0] if isinstance(output, tuple) else output
    return result


# --- the choice ------------------------------------------------------------------------------------------------------

Kernel = Callable[[Tensor, Tensor, Tensor, Segments, int | None], Tensor]

# Kernels that get rotated queries and keys; `matmul` rotates as it lays its operands out.
_ROTATED: dict[str, Kernel] = {"flash3": _flash3, "flash2": _flash2, "varlen": _varlen, "flex": _flex, "sdpa": _sdpa}
KERNELS = (*_ROTATED, "matmul")
_PACKAGES = {"flash3": "flash_attn_interface", "flash2": "flash_attn", "varlen": "torch.nn.attention.varlen"}


def available(device: torch.device) -> list[str]:
    """Kernels that can run on a device, fastest first. The flash kernels need half precision."""
    if device.type != "cuda":
        return ["matmul", "sdpa", "flex"] if device.type == "cpu" else ["sdpa"]
    capability = torch.cuda.get_device_capability(device)
    found = []
    for name, package in _PACKAGES.items():
        try:
            there = find_spec(package) is not None
        except ModuleNotFoundError:
            there = False
        if there and capability >= ((9, 0) if name == "flash3" else (8, 0)) and (name != "flash3" or capability < (10, 0)):
            found.append(name)
    return [*found, "flex", "sdpa"]


@cache
def choose(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """The kernel for a name, "auto" being the fastest that can run; said in the log, once.

    Raises: `ModelError` naming what there is.
    """
    half = dtype in (torch.float16, torch.bfloat16)
    there = [kernel for kernel in available(device) if half or kernel not in _PACKAGES]
    if name == "auto":
        chosen = there[0]
    elif name not in KERNELS:
        raise ModelError(f"attention: no kernel {name}; there are: auto, {', '.join(KERNELS)}")
    elif name not in there:
        raise ModelError(f"attention: kernel {name} cannot run on {device} in {dtype}; here can run: {', '.join(there)}")
    else:
        chosen = name
    log.info("attention kernel: %s (%s, %s; asked for: %s; can run here: %s)", chosen, device, dtype, name, ", ".join(there))
    return chosen


def attend(kernel: str, qkv: Tensor, rotary: Rotary, segments: Segments, window: int | None) -> Tensor:
    """Attention within segments, queries and keys rotated.

    Args: `qkv` (tokens, 3, heads, head size); `rotary` the tables of the layer's theta; `window` None is global.
    Returns: (tokens, heads, head size).
    """
    if kernel == "matmul":
        return _matmul(qkv, rotary, segments, window)
    query, key = rotate(qkv[:, :2], rotary).unbind(1)
    return _ROTATED[kernel](query, key, qkv[:, 2], segments, window)

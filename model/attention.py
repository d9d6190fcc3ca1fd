"""Attention within segments: one function, several kernels, equal in result.

A kernel gets queries, keys and values (tokens, heads, head size) of segments laid end to end, and attends within each
segment; with a window of w, token i sees i - w/2 ... i + w/2, both included. What a kernel needs to know of the segments is
worked out once a forward pass (`prepare`), not once a layer.

- `sdpa`: torch's scaled_dot_product_attention. Runs on anything. Global layers go segment by segment; local layers cut the
  whole stream into blocks of `window` queries that see two windows of keys, so that work is linear in tokens however long or
  short the segments are.
- `varlen`: `torch.nn.attention.varlen` (CUDA, half precision).
- `flash2`, `flash3`: the flash-attn packages (CUDA, half precision; Hopper for flash3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import ModelError


@dataclass(frozen=True)
class Segments:
    """The segments of one batch. `bounds` and `band` are there for the `sdpa` kernel only."""

    cu_seqlens: Tensor  # int32 (segments + 1,)
    max_seqlen: int
    position: Tensor  # int64 (tokens,): place within the segment
    bounds: tuple[int, ...] | None  # cu_seqlens as Python numbers
    band: Tensor | None  # float (blocks, 1, window, 2 window): 0 where a query may see a key, -inf where not


def prepare(kernel: str, cu_seqlens: Tensor, max_seqlen: int, tokens: int, window: int, dtype: torch.dtype) -> Segments:
    """All that a forward pass needs to know of its segments."""
    device = cu_seqlens.device
    segment = torch.searchsorted(cu_seqlens[1:], torch.arange(tokens, device=device, dtype=cu_seqlens.dtype), right=True)
    position = torch.arange(tokens, device=device) - cu_seqlens[segment]
    if kernel != "sdpa":
        return Segments(cu_seqlens, max_seqlen, position, None, None)
    return Segments(cu_seqlens, max_seqlen, position, tuple(cu_seqlens.tolist()), _band(segment, window, dtype))


def _band(segment: Tensor, window: int, dtype: torch.dtype) -> Tensor:
    """The additive mask of the blocked local attention."""
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


# --- kernels ---------------------------------------------------------------------------------------------------------


def _sdpa(query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    if window is not None and segments.max_seqlen > window // 2 + 1:
        assert segments.band is not None, "prepare() made no band for this kernel"
        return _blocked(query, key, value, segments.band.to(query.dtype), window)
    assert segments.bounds is not None, "prepare() made no bounds for this kernel"
    outputs = []
    for begin, end in zip(segments.bounds, segments.bounds[1:], strict=False):
        q, k, v = (part[begin:end].transpose(0, 1).unsqueeze(0) for part in (query, key, value))
        outputs.append(F.scaled_dot_product_attention(q, k, v).squeeze(0).transpose(0, 1))
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


Kernel = Callable[[Tensor, Tensor, Tensor, Segments, int | None], Tensor]

KERNELS: dict[str, Kernel] = {"flash3": _flash3, "flash2": _flash2, "varlen": _varlen, "sdpa": _sdpa}
_PACKAGES = {"flash3": "flash_attn_interface", "flash2": "flash_attn", "varlen": "torch.nn.attention.varlen"}


def available(device: torch.device) -> list[str]:
    """Kernels that can run on a device, fastest first. The flash kernels need half precision."""
    if device.type != "cuda":
        return ["sdpa"]
    capability = torch.cuda.get_device_capability(device)
    found = []
    for name, package in _PACKAGES.items():
        try:
            there = find_spec(package) is not None
        except ModuleNotFoundError:
            there = False
        if there and capability >= ((9, 0) if name == "flash3" else (8, 0)):
            found.append(name)
    return [*found, "sdpa"]


def choose(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """The kernel for a name, "auto" being the fastest that can run. Raises `ModelError` naming what there is."""
    there = available(device) if dtype in (torch.float16, torch.bfloat16) else ["sdpa"]
    if name == "auto":
        return there[0]
    if name not in KERNELS:
        raise ModelError(f"attention: no kernel {name}; there are: auto, {', '.join(KERNELS)}")
    if name not in there:
        raise ModelError(f"attention: kernel {name} cannot run on {device} in {dtype}; here can run: {', '.join(there)}")
    return name


def attend(kernel: str, query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    """Attention within segments: (tokens, heads, head size) for all four; `window` None is global."""
    return KERNELS[kernel](query, key, value, segments, window)

"""Attention within segments: one function, several kernels, equal in result.

A kernel gets queries, keys and values (tokens, heads, head size) of segments laid end to end, and attends within each
segment; with a window of w, token i sees i - w/2 ... i + w/2, both included. What a kernel needs to know of the segments is
worked out once a forward pass (`prepare`), not once a layer.

- `matmul`: for CPUs, where it is the fastest: batched matrix products by hand in local layers, torch's flash attention for CPUs
  in global ones (`model/matmul.py`).
- `sdpa`: torch's scaled_dot_product_attention. Runs on anything. Global layers go segment by segment; local layers cut the
  whole stream into blocks of `window` queries that see two windows of keys, so that work is linear in tokens however long or
  short the segments are.
- `flex`: torch's flex_attention over a block mask, compiled on a GPU; on a CPU it runs uncompiled and has no backward pass: for tests
  of its mask.
- `varlen`: `torch.nn.attention.varlen` (CUDA, half precision).
- `flash2`, `flash3`, `flash4`: the flash-attn packages (CUDA, half precision; flash3 for Hopper, flash4 for Hopper and later).
"""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernel.extensions import Registry
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
    bounds: Tensor | None = None  # sdpa: cu_seqlens on the host
    near: Any = None  # matmul, sdpa, flex: mask of local layers
    wide: Any = None  # flex, matmul: mask of global layers


def segment_of(cu_seqlens: Tensor, tokens: int) -> Tensor:
    """Which segment each token is in: int64 (tokens,)."""
    return torch.searchsorted(cu_seqlens[1:], torch.arange(tokens, device=cu_seqlens.device, dtype=cu_seqlens.dtype), right=True)


def prepare(kernel: str, cu_seqlens: Tensor, max_seqlen: int, tokens: int, window: int, dtype: torch.dtype) -> Segments:
    """All that a forward pass needs to know of its segments."""
    segment = segment_of(cu_seqlens, tokens)
    position = torch.arange(tokens, device=cu_seqlens.device) - cu_seqlens[segment]
    if kernel == "matmul":
        near = band_mask(segment, window // 2, window // 2)
        wide = band_mask(segment, SHORT - 1, None) if max_seqlen <= SHORT else near  # which is then not looked at
        return Segments(cu_seqlens, max_seqlen, position, None, near, wide)
    if kernel == "sdpa":
        return Segments(cu_seqlens, max_seqlen, position, cu_seqlens.cpu(), _band(segment, window, dtype))
    if kernel == "flex":
        masks = (block_mask(cu_seqlens, segment, each) for each in (window, None))
        return Segments(cu_seqlens, max_seqlen, position, None, *masks)
    added = _added(kernel)
    known = added.prepare(cu_seqlens, segment, window) if added is not None and added.prepare is not None else None
    return Segments(cu_seqlens, max_seqlen, position, None, known)


def _added(kernel: str) -> AttentionKernel | None:
    """A kernel of an installed package; None of one that is built in."""
    found = KERNELS[kernel]
    return found if isinstance(found, AttentionKernel) else None


# --- matmul ----------------------------------------------------------------------------------------------------------


def _matmul(qkv: Tensor, rotary: Rotary, segments: Segments, window: int | None) -> Tensor:
    mask = segments.wide if window is None else segments.near
    mixed: Tensor = matmul_attention(qkv, *rotary, segments.cu_seqlens, mask, window is None)[0]
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
    if window is not None:
        return _blocked(query, key, value, segments.near.to(query.dtype), window)
    assert segments.bounds is not None, "prepare() made no bounds for this kernel"
    if torch.compiler.is_compiling():
        mixed: Tensor = segment_attention(query, key, value, segments.bounds)
        return mixed
    return _by_segment(query, key, value, segments.bounds)


def _by_segment(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor) -> Tensor:
    lengths = bounds.diff().tolist()
    outputs = [  # split, not sliced: the gradient of a slice is as large as the whole
        F.scaled_dot_product_attention(*(part.transpose(0, 1).unsqueeze(0) for part in parts)).squeeze(0).transpose(0, 1)
        for parts in zip(*(torch.split(part, lengths) for part in (query, key, value)), strict=True)
    ]
    return torch.cat(outputs)


@torch.library.custom_op("foundry::segment_attention", mutates_args=())
def segment_attention(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor) -> Tensor:
    """`_by_segment` as one operator, so that torch.compile makes one graph for all lengths.

    Args: `query`, `key`, `value` (tokens, heads, head size); `bounds` int32 (segments + 1,), on the host.
    """
    return _by_segment(query, key, value, bounds)


QUERIES = 512  # whose weights are in memory at once, in its backward pass


@torch.library.custom_op("foundry::segment_attention_backward", mutates_args=())
def segment_attention_backward(slope: Tensor, query: Tensor, key: Tensor, value: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `query`, `key` and `value`, from weights worked out again in float32."""
    scale = query.shape[-1] ** -0.5
    slopes = [torch.zeros(part.shape, dtype=torch.float32, device=part.device) for part in (query, key, value)]
    with torch.autocast(query.device.type, enabled=False):
        for begin, end in itertools.pairwise(bounds.tolist()):
            keys, values, d_keys, d_values = (part[begin:end].transpose(0, 1).float() for part in (key, value, *slopes[1:]))
            for first in range(begin, end, QUERIES):
                rows = slice(first, min(first + QUERIES, end))
                queries, over = (part[rows].transpose(0, 1).float() for part in (query, slope))
                weights = (queries @ keys.mT * scale).softmax(-1)
                d_scores = torch._softmax_backward_data(over @ values.mT, weights, -1, torch.float32).mul_(scale)
                slopes[0][rows] = (d_scores @ keys).transpose(0, 1)
                d_keys += d_scores.mT @ queries
                d_values += weights.mT @ over
    return slopes[0].to(query.dtype), slopes[1].to(key.dtype), slopes[2].to(value.dtype)


@segment_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor) -> Tensor:
    return torch.empty_like(query, memory_format=torch.contiguous_format)


@segment_attention_backward.register_fake
def _(slope: Tensor, query: Tensor, key: Tensor, value: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_query, d_key, d_value = (torch.empty_like(part, memory_format=torch.contiguous_format) for part in (query, key, value))
    return d_query, d_key, d_value


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
    return (*segment_attention_backward(slope, *ctx.saved_tensors), None)


segment_attention.register_autograd(_gradient, setup_context=_remember)


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


FLEX_BLOCK = 128


def block_mask(cu_seqlens: Tensor, segment: Tensor, window: int | None) -> Any:
    """flex_attention's block mask, worked out from the bounds alone.

    torch's own `create_block_mask` asks for every pair, which is tokens squared of memory; a block's queries see one stretch of keys,
    from its first query's first to its last query's last, so the blocks that they see follow from those.
    """
    from torch.nn.attention.flex_attention import BlockMask

    tokens, device = len(segment), segment.device
    blocks = -(-tokens // FLEX_BLOCK)
    half = tokens if window is None else window // 2
    first = torch.arange(0, blocks * FLEX_BLOCK, FLEX_BLOCK, device=device)
    end = first + FLEX_BLOCK
    last = (end - 1).clamp(max=tokens - 1)
    # keys that any of a block's queries sees, and those that all of them see
    low, high = cu_seqlens[segment[first]].long(), cu_seqlens[segment[last] + 1].long()
    one = segment[first] == segment[last]
    any_low, any_high = torch.maximum(low, first - half), torch.minimum(high, last + half + 1)
    all_low, all_high = torch.maximum(low, last - half), torch.minimum(high, first + half + 1)
    some = (first[None] < any_high[:, None]) & (end[None] > any_low[:, None])
    whole = (one & (end <= tokens))[:, None] & (first[None] >= all_low[:, None]) & (end[None] <= all_high[:, None])

    def listed(kind: Tensor) -> tuple[Tensor, Tensor]:
        """How many blocks of a kind each block of queries has, and their numbers, those first: int32 (1, 1, blocks[, blocks])."""
        order = torch.argsort(kind.int(), dim=1, descending=True, stable=True).int()
        return kind.sum(1, dtype=torch.int32)[None, None], order[None, None]

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = segment[query] == segment[key]
        return same if window is None else same & ((query - key).abs() <= half)

    return BlockMask.from_kv_blocks(
        *listed(some & ~whole), *listed(whole), BLOCK_SIZE=FLEX_BLOCK, mask_mod=seen, seq_lengths=(tokens, tokens)
    )


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def _flex(query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    if query.device.type == "cpu" and query.requires_grad and torch.is_grad_enabled():
        raise ModelError("attention: flex has no backward pass on a CPU; choose auto, matmul or sdpa")
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


def _flash4(query: Tensor, key: Tensor, value: Tensor, segments: Segments, window: int | None) -> Tensor:
    from flash_attn.cute import flash_attn_varlen_func

    cu, longest = segments.cu_seqlens, segments.max_seqlen  # a number: of a tensor its kernels would be compiled for each batch anew
    bounds = {"cu_seqlens_q": cu, "cu_seqlens_k": cu, "max_seqlen_q": longest, "max_seqlen_k": longest}
    sides = (None, None) if window is None else (window // 2, window // 2)
    output = flash_attn_varlen_func(query, key, value, **bounds, window_size=sides)
    result: Tensor = output[0] if isinstance(output, tuple) else output
    return result


# --- the choice ------------------------------------------------------------------------------------------------------

Kernel = Callable[[Tensor, Tensor, Tensor, Segments, int | None], Tensor]


@dataclass(frozen=True)
class AttentionKernel:
    """An attention kernel of an installed package.

    `attend`: queries and keys, rotated, and values, each (tokens, heads, head size); the segments; the window, None where the layer is
    global; to the mixed values, (tokens, heads, head size), with a backward pass. `prepare`: what it wants to know of a batch's
    segments, worked out once a forward pass from cu_seqlens (int32 (segments + 1,)), the number of the segment that each token is in
    (int64 (tokens,)) and the window; `attend` finds it as `segments.near`. `runs`: whether it can run on a device, in a dtype, with
    heads so wide.
    """

    attend: Kernel
    prepare: Callable[[Tensor, Tensor, int], Any] | None = None
    runs: Callable[[torch.device, torch.dtype, int], bool] = lambda device, dtype, head_size: True


# Kernels that get rotated queries and keys; `matmul` rotates as it lays its operands out. Packages' kernels are never chosen by `auto`.
_ROTATED: dict[str, Kernel] = {"flash4": _flash4, "flash3": _flash3, "flash2": _flash2, "varlen": _varlen, "flex": _flex, "sdpa": _sdpa}
KERNELS: Registry[AttentionKernel | str] = Registry("attention", AttentionKernel, {name: name for name in (*_ROTATED, "matmul")})
_FLASH = {  # kernels for CUDA in half precision: module, function
    "flash4": ("flash_attn.cute", "flash_attn_varlen_func"),
    "flash3": ("flash_attn_interface", "flash_attn_varlen_func"),
    "flash2": ("flash_attn", "flash_attn_varlen_func"),
    "varlen": ("torch.nn.attention.varlen", "varlen_attn"),
}


@cache
def _importable(kernel: str) -> bool:
    """Whether a kernel's package is there, works with this torch, and knows windows; why not is said in the log."""
    module, function = _FLASH[kernel]
    try:
        found = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            log.warning("attention kernel %s: %s is installed and cannot be imported (%s)", kernel, module, error)
        return False
    except Exception as error:  # a package built for another torch or CUDA raises what it likes
        log.warning("attention kernel %s: %s is installed and cannot be imported (%s)", kernel, module, str(error).splitlines()[:1])
        return False
    return "window_size" in inspect.signature(found).parameters


def _takes(kernel: str, head_size: int) -> bool:
    """Whether a kernel takes heads so wide."""
    if kernel in _FLASH:
        return head_size % 8 == 0 and head_size <= (128 if kernel == "flash4" else 256)
    return kernel != "flex" or head_size >= 16


def available(device: torch.device, head_size: int = 64) -> list[str]:
    """Kernels that can run on a device with heads so wide, fastest first. The flash kernels need half precision."""
    if device.type != "cuda":
        return ["matmul", "sdpa", "flex"] if device.type == "cpu" else ["sdpa"]
    capability = torch.cuda.get_device_capability(device)
    least = {"flash4": (9, 0), "flash3": (9, 0), "flash2": (8, 0), "varlen": (8, 0)}
    order = ["flash3", "flash4", "flash2", "varlen"]  # on Hopper flash3 was written for it; it does not run on what came later
    found = [kernel for kernel in order if capability >= least[kernel] and (kernel != "flash3" or capability < (10, 0))]
    return [kernel for kernel in (*filter(_importable, found), "flex", "sdpa") if _takes(kernel, head_size)]


@cache
def choose(name: str, device: torch.device, dtype: torch.dtype, head_size: int = 64) -> str:
    """The kernel for a name, "auto" being the fastest that can run; said in the log, once.

    Raises: `ModelError` naming what there is.
    """
    half = dtype in (torch.float16, torch.bfloat16)
    there = [kernel for kernel in available(device, head_size) if half or kernel not in _FLASH]
    if name == "auto":
        chosen = there[0]
    elif name not in KERNELS:
        raise ModelError(f"attention: no kernel {name}; there are: auto, {', '.join(KERNELS)}")
    elif (added := _added(name)) is not None:
        if not added.runs(device, dtype, head_size):
            raise ModelError(f"attention: kernel {name} cannot run on {device} in {dtype} with heads {head_size} wide; choose auto")
        chosen = name
    elif name not in there:
        with_heads = "" if name not in available(device) else f" with heads {head_size} wide"
        raise ModelError(f"attention: kernel {name} cannot run on {device} in {dtype}{with_heads}; here can run: {', '.join(there)}")
    else:
        chosen = name
    log.info("attention kernel: %s (%s, %s; asked for: %s; can run here: %s)", chosen, device, dtype, name, ", ".join(there))
    return chosen


def attend(kernel: str, qkv: Tensor, rotary: Rotary, segments: Segments, window: int | None, *, triton: bool = False) -> Tensor:
    """Attention within segments, queries and keys rotated.

    Args: `qkv` (tokens, 3, heads, head size); `rotary` the tables of the layer's theta; `window` None is global; `triton`: rotate by the
    kernel of `model/fused.py`.
    Returns: (tokens, heads, head size).
    """
    if kernel == "matmul":
        return _matmul(qkv, rotary, segments, window)
    if triton:
        from model import fused

        query, key, value = fused.rotated(qkv, rotary)
    else:
        query, key = rotate(qkv[:, :2], rotary).unbind(1)
        value = qkv[:, 2]
    if kernel in _ROTATED:
        return _ROTATED[kernel](query, key, value, segments, window)
    added = _added(kernel)
    assert added is not None, f"{kernel} is built in and handled above"
    return added.attend(query, key, value, segments, window)

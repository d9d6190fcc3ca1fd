"""Attention within segments on a CPU, forward and backward by hand.

Each head's queries, keys and values are laid end to end in one stream, so that a block of queries and the stretch of keys
around it are plain overlapping views, and one batched product serves all blocks of all heads at once:

- **band**: blocks of `block` queries see `reach` keys to each side; a mask, made once a forward pass, says which of those are in
  the same segment and within the window. Work is linear in tokens, however long or short the segments are.
- **dense**: a segment's queries see the whole segment, by torch's flash attention for CPUs (Dao et al. 2022, arXiv 2205.14135),
  called for each segment.

Scores are never kept: the backward pass works them out again, a few megabytes at a time, so that they stay in the cache.
Arithmetic is float32, whatever the dtype of the projections; but the dense way multiplies bfloat16 projections as such, as the
kernels of GPUs do, since CPUs with units for bfloat16 do that several times as fast; softmax and sums are float32 there too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Scores in memory at once, as numbers: 2 M float32 are 8 MB, which a shared cache holds beside the operands.
SCORES = 1 << 21
# Global layers take the band where no segment is longer than this: many small products would cost more than its waste.
SHORT = 129


def band_shape(half: int) -> tuple[int, int]:
    """`(block, reach)` of the band that covers `half` keys to each side."""
    block = 32 if half <= 32 else 64
    return block, -(-half // block) * block


def band_mask(segment: Tensor, half: int, limit: int | None) -> Tensor:
    """What each block of queries may see: float32 (blocks, block, block + 2 reach), 0 or -inf.

    Args: `segment` int (tokens,), which segment each token is in; `half` keys to each side are covered; within them, those of
    the same segment are seen, no further off than `limit` where it is given.
    """
    tokens, device = len(segment), segment.device
    block, reach = band_shape(half)
    blocks = -(-tokens // block)
    query = torch.arange(blocks * block, device=device).view(blocks, block, 1)
    key = torch.arange(-reach, block + reach, device=device) + torch.arange(0, blocks * block, block, device=device)[:, None]
    key = key.view(blocks, 1, block + 2 * reach)
    seen = (segment[query.clamp(max=tokens - 1)] == segment[key.clamp(0, tokens - 1)]) & (key >= 0) & (key < tokens)
    if limit is not None:
        seen &= (query - key).abs() <= limit
    seen |= query >= tokens  # rows past the end are thrown away, but a softmax over nothing would be NaN
    return torch.zeros(seen.shape, dtype=torch.float32, device=device).masked_fill_(~seen, float("-inf"))


class _Stream:
    """Every head's (length, size) rows laid end to end, between `reach` spare rows, so that every block has neighbours."""

    def __init__(self, flat: Tensor, heads: int, reach: int) -> None:
        self.flat, self.heads, self.reach = flat, heads, reach  # flat: (heads * length + 2 reach, size)
        self.size = flat.shape[1]

    @property
    def inner(self) -> Tensor:
        """(heads, length, size), without the spare rows."""
        return self.flat[self.reach : len(self.flat) - self.reach].view(self.heads, -1, self.size)

    def around(self, first: int, count: int, block: int) -> Tensor:
        """Blocks from `first` on, each with its neighbourhood: (count, block + 2 reach, size), overlapping views."""
        wide = block + 2 * self.reach
        return self.flat[first * block :].as_strided((count, wide, self.size), (block * self.size, self.size, 1))

    def shifted(self, first: int, count: int, block: int, at: int) -> Tensor:
        """The `at`-th block of each of those neighbourhoods: (count, block, size), not overlapping."""
        begin = (first + at) * block
        return self.flat[begin : begin + count * block].view(count, block, self.size)


def _streams(laid: Tensor, heads: int, tokens: int, reach: int) -> list[_Stream]:
    """Streams over `laid` (n, rows, size), which is to be filled; made zero where no token is."""
    streams = [_Stream(flat, heads, reach) for flat in laid]
    for stream in streams:
        stream.flat[:reach].zero_()
        stream.flat[len(stream.flat) - reach :].zero_()
        stream.inner[:, tokens:].zero_()
    return streams


def _turn(source: Tensor, target: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotate `source` into `target` (heads, tokens, size), both views; `cos` and `sin` are (tokens, size / 2)."""
    half = source.shape[-1] // 2
    first, second = source[..., :half], source[..., half:]
    torch.mul(first, cos, out=target[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=target[..., half:]).addcmul_(first, sin)


def _lay_out(qkv: Tensor, cos: Tensor, sin: Tensor, length: int, reach: int) -> Tensor:
    """Rotated queries (scaled by 1 / sqrt(size)), rotated keys, and values, as three streams: (3, rows, size)."""
    tokens, _, heads, size = qkv.shape
    laid = torch.empty(3, heads * length + 2 * reach, size, dtype=torch.float32, device=qkv.device)
    query, key, value = _streams(laid, heads, tokens, reach)
    source = qkv.permute(1, 2, 0, 3).float()
    scale = size**-0.5
    _turn(source[0], query.inner[:, :tokens], cos * scale, sin * scale)
    _turn(source[1], key.inner[:, :tokens], cos, sin)
    value.inner[:, :tokens].copy_(source[2])
    return laid


def _pieces(heads: int, blocks: int, per_block: int) -> Iterator[tuple[int, int, slice]]:
    """Runs of blocks that are worked on at once: first block and count over all heads' streams, and their part of the mask."""
    most = max(1, SCORES // per_block)
    if most >= blocks:
        together = most // blocks
        for head in range(0, heads, together):
            yield head * blocks, min(together, heads - head) * blocks, slice(None)
        return
    for head in range(heads):
        for begin in range(0, blocks, most):
            count = min(most, blocks - begin)
            yield head * blocks + begin, count, slice(begin, begin + count)


def _weights(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax of masked scores, in place; the mask is for one head, the scores for one or more."""
    count = mask.shape[0]
    scores.view(-1, count, *scores.shape[1:]).add_(mask)
    return torch.softmax(scores, -1, out=scores)


def _band_forward(query: _Stream, key: _Stream, value: _Stream, mask: Tensor) -> Tensor:
    blocks, block, width = mask.shape
    output = torch.empty_like(query.inner, memory_format=torch.contiguous_format)
    queries, outputs = (part.view(-1, block, query.size) for part in (query.inner, output))
    for first, count, part in _pieces(query.heads, blocks, block * width):
        here = slice(first, first + count)
        weights = _weights(torch.bmm(queries[here], key.around(first, count, block).mT), mask[part])
        torch.bmm(weights, value.around(first, count, block), out=outputs[here])
    return output


def _band_backward(slope: _Stream, query: _Stream, key: _Stream, value: _Stream, mask: Tensor, slopes: list[_Stream]) -> None:
    blocks, block, width = mask.shape
    d_query, d_key, d_value = slopes
    d_key.flat.zero_()
    d_value.flat.zero_()
    queries, d_outputs, d_queries = (part.inner.view(-1, block, query.size) for part in (query, slope, d_query))
    for first, count, part in _pieces(query.heads, blocks, block * width):
        here = slice(first, first + count)
        keys, values = key.around(first, count, block), value.around(first, count, block)
        weights = _weights(torch.bmm(queries[here], keys.mT), mask[part])
        d_scores = torch._softmax_backward_data(torch.bmm(d_outputs[here], values.mT), weights, -1, torch.float32)
        torch.bmm(d_scores, keys, out=d_queries[here])
        for at in range(width // block):
            columns = slice(at * block, (at + 1) * block)
            d_value.shifted(first, count, block, at).baddbmm_(weights[:, :, columns].mT, d_outputs[here])
            d_key.shifted(first, count, block, at).baddbmm_(d_scores[:, :, columns].mT, queries[here])


def _multiplied_as(dtype: torch.dtype) -> torch.dtype:
    """What the dense way multiplies projections of `dtype` as."""
    return dtype if dtype == torch.bfloat16 else torch.float32


def _dense_forward(operands: list[Tensor], bounds: list[int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Output (tokens, heads, size) of `dtype` and log-sum-exp float32 (tokens, heads) of queries, keys and values (heads, tokens, size)."""
    heads, tokens, size = operands[0].shape
    output, norms = operands[0].new_empty(tokens, heads, size, dtype=dtype), operands[0].new_empty(tokens, heads)
    for begin, end in itertools.pairwise(bounds):
        parts = (part[None, :, begin:end].to(dtype) for part in operands)
        mixed, norm = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*parts, scale=1.0)
        output[begin:end] = mixed[0].transpose(0, 1)
        norms[begin:end] = norm[0].transpose(0, 1)
    return output, norms


def _dense_backward(slope: Tensor, operands: list[Tensor], output: Tensor, norms: Tensor, bounds: list[int], slopes: list[Tensor]) -> None:
    """Fills `slopes`, three of (heads, tokens, size); `slope` and `output` are (tokens, heads, size) of the dtype that is multiplied."""
    for begin, end in itertools.pairwise(bounds):
        parts = (part[None, :, begin:end].to(slope.dtype) for part in operands)
        over, mixed, norm = (part[begin:end].transpose(0, 1).unsqueeze(0) for part in (slope, output, norms))
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(over, *parts, mixed, norm, 0.0, False, scale=1.0)
        for target, part in zip(slopes, found, strict=True):
            target[:, begin:end] = part[0]


def _geometry(tokens: int, mask: Tensor) -> tuple[int, int]:
    """Length of a head's stream, and spare rows at either end."""
    _, block, width = mask.shape
    return -(-tokens // block) * block, (width - block) // 2


def _is_dense(whole: bool, cu_seqlens: Tensor) -> bool:
    """Whether a layer goes segment by segment. Asked for at run time, so that torch.compile needs one graph for both."""
    return whole and int(cu_seqlens.diff().max()) > SHORT


@torch.library.custom_op("foundry::matmul_attention", mutates_args=())
def matmul_attention(qkv: Tensor, cos: Tensor, sin: Tensor, cu_seqlens: Tensor, mask: Tensor, whole: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Attention with rotated queries and keys: by the band that `mask` says, or over `whole` segments.

    Args: `qkv` (tokens, 3, heads, size); `cos`, `sin` float32 (tokens, size / 2); `cu_seqlens` int32 (segments + 1,); `mask` a
    `band_mask` of these segments; with `whole` it is used only if no segment is longer than `SHORT`.
    Returns: (tokens, heads, size) in `qkv`'s dtype; and for the backward pass the rotated streams and the log-sum-exps, float32.
    """
    tokens, _, heads, _ = qkv.shape
    length, reach = _geometry(tokens, mask)
    with torch.autocast(qkv.device.type, enabled=False):
        laid = _lay_out(qkv, cos, sin, length, reach)
        query, key, value = (_Stream(flat, heads, reach) for flat in laid)
        if dense := _is_dense(whole, cu_seqlens):
            rotated = [stream.inner[:, :tokens] for stream in (query, key, value)]
            mixed, norms = _dense_forward(rotated, cu_seqlens.tolist(), _multiplied_as(qkv.dtype))
        else:
            mixed, norms = _band_forward(query, key, value, mask)[:, :tokens].transpose(0, 1), laid.new_empty(tokens, heads)
        return mixed.to(qkv.dtype, memory_format=torch.contiguous_format, copy=not dense), laid, norms


@matmul_attention.register_fake
def _(qkv: Tensor, cos: Tensor, sin: Tensor, cu_seqlens: Tensor, mask: Tensor, whole: bool) -> tuple[Tensor, Tensor, Tensor]:
    tokens, _, heads, size = qkv.shape
    length, reach = _geometry(tokens, mask)
    laid = qkv.new_empty(3, heads * length + 2 * reach, size, dtype=torch.float32)
    return qkv.new_empty(tokens, heads, size), laid, laid.new_empty(tokens, heads)


@torch.library.custom_op("foundry::matmul_attention_backward", mutates_args=())
def matmul_attention_backward(
    slope: Tensor,
    output: Tensor,
    laid: Tensor,
    norms: Tensor,
    cos: Tensor,
    sin: Tensor,
    cu_seqlens: Tensor,
    mask: Tensor,
    whole: bool,
) -> Tensor:
    """Gradient of `qkv` (tokens, 3, heads, size), for that of the output (tokens, heads, size), in its dtype."""
    tokens, heads, size = slope.shape
    _, reach = _geometry(tokens, mask)
    with torch.autocast(slope.device.type, enabled=False):
        query, key, value = (_Stream(flat, heads, reach) for flat in laid)
        slopes = [_Stream(flat, heads, reach) for flat in torch.empty_like(laid)]
        d_query, d_key, d_value = (stream.inner[:, :tokens] for stream in slopes)
        if _is_dense(whole, cu_seqlens):
            rotated = [stream.inner[:, :tokens] for stream in (query, key, value)]
            given = [part.to(_multiplied_as(slope.dtype)) for part in (slope, output)]
            _dense_backward(given[0], rotated, given[1], norms, cu_seqlens.tolist(), [d_query, d_key, d_value])
        else:
            (d_output,) = _streams(torch.empty_like(laid[:1]), heads, tokens, reach)
            d_output.inner[:, :tokens].copy_(slope.transpose(0, 1))
            _band_backward(d_output, query, key, value, mask, slopes)
        d_qkv = torch.empty(tokens, 3, heads, size, dtype=torch.float32, device=slope.device)
        target, scale = d_qkv.permute(1, 2, 0, 3), size**-0.5
        _turn(d_query, target[0], cos * scale, sin * -scale)  # the turn is undone by the opposite angle
        _turn(d_key, target[1], cos, -sin)
        target[2].copy_(d_value)
        return d_qkv.to(slope.dtype)


@matmul_attention_backward.register_fake
def _(
    slope: Tensor,
    output: Tensor,
    laid: Tensor,
    norms: Tensor,
    cos: Tensor,
    sin: Tensor,
    cu_seqlens: Tensor,
    mask: Tensor,
    whole: bool,
) -> Tensor:
    tokens, heads, size = slope.shape
    return slope.new_empty(tokens, 3, heads, size)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, cos, sin, cu_seqlens, mask, ctx.whole = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output, cos, sin, cu_seqlens, mask)


def _gradient(ctx: Any, slope: Tensor, *_: Tensor | None) -> tuple[Tensor, None, None, None, None, None]:
    return matmul_attention_backward(slope, *ctx.saved_tensors, ctx.whole), None, None, None, None, None


matmul_attention.register_autograd(_gradient, setup_context=_remember)

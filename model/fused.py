"""Layer norm, rotary embeddings and the gated unit as one Triton kernel each, forward and backward: a switch of `ModernBert`.

Run one operation after another, each of them reads and writes its tensors several times: the norm in float32 and its result once more in
the autocast dtype; the halves, products and casts of the rotation; activation and product of the gated unit. Here each element is read
once and written once, and for the backward pass only the inputs are kept. torch.compile makes such kernels too, so this is for where
layers are not compiled, as under ZeRO 3.

Sums and products are float32; a result is rounded once. Nothing here is atomic, so that equal inputs give equal bits. The module is
imported where the switch is on alone, since Triton comes with torch's builds for GPUs only; its interpreter (TRITON_INTERPRET=1) runs the
kernels on a CPU, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from model.rope import Rotary

PROGRAMS = 512  # that share the rows of a norm's backward pass; each sums the scale's gradient over its own
COLUMNS = 1024  # of a gated unit, at a time

# --- layer norm ------------------------------------------------------------------------------------------------------


@triton.jit
def _norm_forward(x, scale, shift, y, means, inverses, width, eps, HAS_SHIFT: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    values = tl.load(x + row * width + column, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(values) / width
    centred = tl.where(inside, values - mean, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred) / width + eps)
    found = centred * inverse * tl.load(scale + column, mask=inside, other=0.0)
    if HAS_SHIFT:
        found += tl.load(shift + column, mask=inside, other=0.0)
    tl.store(y + row * width + column, found.to(y.dtype.element_ty), mask=inside)
    tl.store(means + row, mean)
    tl.store(inverses + row, inverse)


@triton.jit
def _norm_backward(x, scale, means, inverses, dy, dx, d_scale, d_shift, rows, width, HAS_SHIFT: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    program = tl.program_id(0).to(tl.int64)  # and so the rows' numbers
    column = tl.arange(0, BLOCK)
    inside = column < width
    scales = tl.load(scale + column, mask=inside, other=0.0)
    of_scale = tl.zeros([BLOCK], tl.float32)
    of_shift = tl.zeros([BLOCK], tl.float32)
    for row in range(program, rows, tl.num_programs(0)):
        values = tl.load(x + row * width + column, mask=inside, other=0.0).to(tl.float32)
        slope = tl.load(dy + row * width + column, mask=inside, other=0.0).to(tl.float32)
        inverse = tl.load(inverses + row)
        normed = tl.where(inside, (values - tl.load(means + row)) * inverse, 0.0)
        scaled = slope * scales
        found = inverse * (scaled - tl.sum(scaled) / width - normed * (tl.sum(scaled * normed) / width))
        tl.store(dx + row * width + column, found.to(dx.dtype.element_ty), mask=inside)
        of_scale += slope * normed
        of_shift += slope
    tl.store(d_scale + program * width + column, of_scale, mask=inside)
    if HAS_SHIFT:
        tl.store(d_shift + program * width + column, of_shift, mask=inside)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, scale: Tensor, shift: Tensor | None, eps: float, dtype: torch.dtype) -> Tensor:
        hidden = hidden.contiguous()
        rows, width = hidden.shape
        output = torch.empty_like(hidden, dtype=dtype)
        means, inverses = hidden.new_empty(2, rows, dtype=torch.float32)
        block = triton.next_power_of_2(width)
        if rows:
            _norm_forward[(rows,)](hidden, scale, shift, output, means, inverses, width, eps, HAS_SHIFT=shift is not None, BLOCK=block)
        ctx.save_for_backward(hidden, scale, means, inverses)
        ctx.shifted = shift is not None
        return output

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        hidden, scale, means, inverses = ctx.saved_tensors
        rows, width = hidden.shape
        programs = max(1, min(PROGRAMS, rows))
        d_hidden = torch.empty_like(hidden)
        d_scale = scale.new_empty(programs, width, dtype=torch.float32)
        d_shift = torch.empty_like(d_scale) if ctx.shifted else None
        block = triton.next_power_of_2(width)
        arguments = hidden, scale, means, inverses, slopes[0].contiguous(), d_hidden, d_scale, d_shift, rows, width
        _norm_backward[(programs,)](*arguments, HAS_SHIFT=ctx.shifted, BLOCK=block)
        return d_hidden, d_scale.sum(0), None if d_shift is None else d_shift.sum(0), None, None


def norm(hidden: Tensor, layer: nn.LayerNorm, dtype: torch.dtype) -> Tensor:
    """`layer(hidden)`, (rows, width), given in `dtype`: that of the projection that follows, so that nothing casts it."""
    output: Tensor = _Norm.apply(hidden, layer.weight, layer.bias, layer.eps, dtype)  # type: ignore[no-untyped-call]
    return output


# --- rotary embeddings -----------------------------------------------------------------------------------------------


@triton.jit
def _rotate(qkv, query, key, value, cos, sin, heads, half, BACK: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of one token, from `qkv` to the three others; with BACK from them, which are then gradients, to `qkv`."""
    row = tl.program_id(0).to(tl.int64)
    head, column = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (column < half)
    size = 2 * heads * half  # of one of the three
    here = head * (2 * half) + column
    angle = row * half + column
    c = tl.load(cos + angle, mask=column < half, other=0.0)
    s = tl.load(sin + angle, mask=column < half, other=0.0)
    for which in tl.static_range(3):
        whole = qkv + row * 3 * size + which * size + here
        part = (query if which == 0 else (key if which == 1 else value)) + row * size + here
        origin = part if BACK else whole
        target = whole if BACK else part
        first = tl.load(origin, mask=inside, other=0.0)
        second = tl.load(origin + half, mask=inside, other=0.0)
        if which < 2:
            turn = -s if BACK else s
            one, two = first.to(tl.float32), second.to(tl.float32)
            first = (one * c - two * turn).to(first.dtype)
            second = (two * c + one * turn).to(second.dtype)
        tl.store(target, first, mask=inside)
        tl.store(target + half, second, mask=inside)


def _run_rotation(qkv: Tensor, three: Sequence[Tensor], tables: Sequence[Tensor], *, back: bool) -> None:
    rows, _, heads, size = qkv.shape
    if rows:
        blocks = {"HEADS": triton.next_power_of_2(heads), "HALF": triton.next_power_of_2(size // 2)}
        _rotate[(rows,)](qkv, *three, *tables, heads, size // 2, BACK=back, **blocks)


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qkv, cos, sin = qkv.contiguous(), cos.contiguous(), sin.contiguous()
        three = qkv.new_empty(len(qkv), *qkv.shape[2:]), qkv.new_empty(len(qkv), *qkv.shape[2:]), qkv.new_empty(len(qkv), *qkv.shape[2:])
        _run_rotation(qkv, three, (cos, sin), back=False)
        ctx.save_for_backward(cos, sin)
        return three

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        query, key, value = (slope.contiguous() for slope in slopes)
        whole = query.new_empty(len(query), 3, *query.shape[1:])
        _run_rotation(whole, (query, key, value), ctx.saved_tensors, back=True)
        return whole, None, None


def rotated(qkv: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys, turned by each token's angles, and values, each (tokens, heads, head size).

    Args: `qkv` (tokens, 3, heads, head size); `rotary` the tables of the layer's theta.
    """
    found: tuple[Tensor, Tensor, Tensor] = _Rotation.apply(qkv, *rotary)  # type: ignore[no-untyped-call]
    return found


# --- gated unit ------------------------------------------------------------------------------------------------------


@triton.jit
def _gated_forward(halves, y, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    value = tl.load(halves + row * 2 * width + column, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(halves + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
    active = 0.5 * value * (1.0 + tl.erf(value * 0.7071067811865476))
    tl.store(y + row * width + column, (active * gate).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _gated_backward(halves, dy, d_halves, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    value = tl.load(halves + row * 2 * width + column, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(halves + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
    slope = tl.load(dy + row * width + column, mask=inside, other=0.0).to(tl.float32)
    below = 0.5 * (1.0 + tl.erf(value * 0.7071067811865476))  # the normal distribution's function
    density = 0.3989422804014327 * tl.exp(-0.5 * value * value)
    place = d_halves + row * 2 * width + column
    tl.store(place, (slope * gate * (below + value * density)).to(d_halves.dtype.element_ty), mask=inside)
    tl.store(place + width, (slope * value * below).to(d_halves.dtype.element_ty), mask=inside)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, halves: Tensor) -> Tensor:
        halves = halves.contiguous()
        rows, width = len(halves), halves.shape[1] // 2
        output = halves.new_empty(rows, width)
        if rows:
            _gated_forward[(rows, triton.cdiv(width, COLUMNS))](halves, output, width, BLOCK=COLUMNS)
        ctx.save_for_backward(halves)
        return output

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        (halves,) = ctx.saved_tensors
        rows, width = len(halves), halves.shape[1] // 2
        d_halves = torch.empty_like(halves)
        if rows:
            _gated_backward[(rows, triton.cdiv(width, COLUMNS))](halves, slopes[0].contiguous(), d_halves, width, BLOCK=COLUMNS)
        return d_halves


def gated(halves: Tensor) -> Tensor:
    """`gelu(value) * gate`, (rows, width), of the halves (rows, 2 width) of each row."""
    output: Tensor = _Gated.apply(halves)  # type: ignore[no-untyped-call]
    return output

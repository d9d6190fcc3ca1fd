"""GeGLU (Shazeer 2020, arXiv 2002.05202) of a normed input: `Wo(gelu(value) * gate)`, value and gate being the halves of
`Wi(norm(x))`.

On a CPU in float32 the norm, both projections and what is between them are one function with its backward pass by hand, some rows
at a time, so that what is between stays in the cache; only the input and the halves are kept for the backward pass, where the norm
is worked out again.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Rows at a time: halves of 2 x 1152 float32 are then 4.7 MB.
ROWS = 512


class _Geglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, scale: Tensor, shift: Tensor | None, eps: float, inward: Tensor, outward: Tensor) -> Tensor:
        size, width = [hidden.shape[1]], outward.shape[1]
        halves = hidden.new_empty(len(hidden), 2 * width)
        output = torch.empty_like(hidden)
        for x, both, y in zip(torch.split(hidden, ROWS), torch.split(halves, ROWS), torch.split(output, ROWS), strict=True):
            torch.mm(F.layer_norm(x, size, scale, shift, eps), inward.T, out=both)
            torch.mm(F.gelu(both[:, :width]).mul_(both[:, width:]), outward.T, out=y)
        ctx.eps = eps
        ctx.save_for_backward(hidden, scale, shift, inward, outward, halves)
        return output

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, Tensor, Tensor]:
        hidden, scale, shift, inward, outward, halves = ctx.saved_tensors
        size, width = [hidden.shape[1]], outward.shape[1]
        d_hidden, d_inward, d_outward = torch.empty_like(hidden), torch.zeros_like(inward), torch.zeros_like(outward)
        d_scale, d_shift = torch.zeros_like(scale), None if shift is None else torch.zeros_like(shift)
        wanted = [True, True, shift is not None]
        parts = zip(*(torch.split(whole, ROWS) for whole in (slopes[0], hidden, halves, d_hidden)), strict=True)
        for dy, x, both, dx in parts:
            value, gate = both[:, :width], both[:, width:]
            active, d_product = F.gelu(value), dy @ outward
            d_both = torch.empty_like(both)
            torch.mul(d_product, active, out=d_both[:, width:])
            d_both[:, :width] = torch.ops.aten.gelu_backward(d_product.mul_(gate), value)
            d_outward.addmm_(dy.T, active.mul_(gate))
            normed, mean, deviation = torch.native_layer_norm(x, size, scale, shift, ctx.eps)
            d_inward.addmm_(d_both.T, normed)
            found = torch.ops.aten.native_layer_norm_backward(d_both @ inward, x, size, mean, deviation, scale, shift, wanted)
            dx.copy_(found[0])
            d_scale += found[1]
            if d_shift is not None:
                d_shift += found[2]
        return d_hidden, d_scale, d_shift, None, d_inward, d_outward


def geglu(hidden: Tensor, norm: nn.LayerNorm, inward: Tensor, outward: Tensor) -> Tensor:
    """`gelu(value) * gate` of the normed input, between two projections without biases.

    Args: `hidden` (tokens, hidden size), `norm` its layer norm, `inward` (2 width, hidden size), `outward` (hidden size, width), all
    float32.
    """
    output: Tensor = _Geglu.apply(hidden, norm.weight, norm.bias, norm.eps, inward, outward)  # type: ignore[no-untyped-call]
    return output


def runs_on(hidden: Tensor) -> bool:
    """Whether `geglu` is the way for a tensor: float32 on a CPU, outside autocast and torch.compile."""
    return (
        hidden.device.type == "cpu"
        and hidden.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )

"""GeGLU (Shazeer 2020, arXiv 2002.05202): `Wo(gelu(value) * gate)`, value and gate being the halves of `Wi(x)`.

On a CPU in float32 both projections and what is between them are one function with its backward pass by hand, some rows at a
time, so that what is between stays in the cache; only the halves are kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows at a time: halves of 2 x 1152 float32 are then 4.7 MB.
ROWS = 512


class _Geglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, inward: Tensor, outward: Tensor) -> Tensor:
        width = outward.shape[1]
        halves = hidden.new_empty(len(hidden), 2 * width)
        output = torch.empty_like(hidden)
        for x, both, y in zip(torch.split(hidden, ROWS), torch.split(halves, ROWS), torch.split(output, ROWS), strict=True):
            torch.mm(x, inward.T, out=both)
            torch.mm(F.gelu(both[:, :width]).mul_(both[:, width:]), outward.T, out=y)
        ctx.save_for_backward(hidden, inward, outward, halves)
        return output

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, inward, outward, halves = ctx.saved_tensors
        width = outward.shape[1]
        d_hidden, d_inward, d_outward = torch.empty_like(hidden), torch.zeros_like(inward), torch.zeros_like(outward)
        parts = zip(*(torch.split(whole, ROWS) for whole in (slopes[0], hidden, halves, d_hidden)), strict=True)
        for dy, x, both, dx in parts:
            value, gate = both[:, :width], both[:, width:]
            active, d_product = F.gelu(value), dy @ outward
            d_both = torch.empty_like(both)
            torch.mul(d_product, active, out=d_both[:, width:])
            d_both[:, :width] = torch.ops.aten.gelu_backward(d_product.mul_(gate), value)
            d_outward.addmm_(dy.T, active.mul_(gate))
            d_inward.addmm_(d_both.T, x)
            torch.mm(d_both, inward, out=dx)
        return d_hidden, d_inward, d_outward


def geglu(hidden: Tensor, inward: Tensor, outward: Tensor) -> Tensor:
    """`gelu(value) * gate` between two projections without biases.

    Args: `hidden` (tokens, hidden size), `inward` (2 width, hidden size), `outward` (hidden size, width), all float32.
    """
    output: Tensor = _Geglu.apply(hidden, inward, outward)  # type: ignore[no-untyped-call]
    return output


def runs_on(hidden: Tensor) -> bool:
    """Whether `geglu` is the way for a tensor: float32 on a CPU, outside autocast and torch.compile."""
    return (
        hidden.device.type == "cpu"
        and hidden.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )

"""Cross-entropy over a large vocabulary, in chunks: the logits of all positions are never in memory at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Logits that are in memory at once, about (float32: 128 MB).
CHUNK_LOGITS = 1 << 25


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Loss and gradients chunk by chunk in the forward pass; the backward pass only scales them."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, needs_gradient: bool) -> Tensor:
        rows = max(1, CHUNK_LOGITS // weight.shape[0])
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if needs_gradient else None
        d_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if needs_gradient else None
        d_bias = torch.zeros(bias.shape, dtype=torch.float32, device=bias.device) if needs_gradient else None
        compute = weight.to(hidden.dtype)
        for begin in range(0, len(hidden), rows):
            part, wanted = hidden[begin : begin + rows], labels[begin : begin + rows]
            logits = (part @ compute.T).float().add_(bias.float())
            peak = logits.amax(dim=1, keepdim=True)
            picked = logits.gather(1, wanted[:, None])
            exponents = logits.sub_(peak).exp_()
            total = exponents.sum(dim=1, keepdim=True)
            loss += (total.log() + peak - picked).sum()
            if d_hidden is None or d_weight is None or d_bias is None:
                continue
            slope = exponents.div_(total)
            slope.scatter_add_(1, wanted[:, None], torch.full_like(picked, -1.0))
            d_bias += slope.sum(dim=0)
            slope_low = slope.to(hidden.dtype)
            d_hidden[begin : begin + rows] = slope_low @ compute
            if hidden.dtype == torch.float32:
                d_weight.addmm_(slope_low.T, part)
            else:
                d_weight += slope_low.T @ part
        ctx.kinds = (weight.dtype, bias.dtype)
        ctx.save_for_backward(*(part for part in (d_hidden, d_weight, d_bias) if part is not None))
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (scale,) = gradients
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        weight_kind, bias_kind = ctx.kinds
        return d_hidden * scale.to(d_hidden.dtype), (d_weight * scale).to(weight_kind), (d_bias * scale).to(bias_kind), None, None


def cross_entropy_sum(hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """Sum of cross-entropies of `hidden @ weight.T + bias` against `labels`, float32.

    Args: `hidden` (n, hidden size), `weight` (vocabulary, hidden size), `bias` (vocabulary,), `labels` int64 (n,). The
    product is taken in `hidden`'s dtype, the softmax in float32. With n = 0 the loss is 0 and gradients are zeros.
    """
    needs = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad or bias.requires_grad)
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, bias, labels, needs)  # type: ignore[no-untyped-call]
    return loss

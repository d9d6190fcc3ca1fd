"""Cross-entropy over a large vocabulary, in chunks: the logits of all positions are never in memory at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model.errors import ModelError

# Logits that are in memory at once, about (float32: 128 MB on a CPU, where more gains nothing; 256 MB elsewhere).
CHUNK_LOGITS = {"cpu": 1 << 25}
OTHERWISE = 1 << 26
# A probability below this may have lost digits, or be zero: its logarithm is taken from the logits.
TINY = 1e-30


def check_labels(labels: Tensor, shape: tuple[int, ...], classes: int, each: str, *, ignore: int | None = None, why: str = "") -> None:
    """Refuse labels that are not int64 of `shape`, or, on a CPU, not below `classes`; `ignore` marks where there is none.

    On another device the values are not looked at: the host would wait for it. `each` says in an error what has a label, `why` what
    to do about a value.
    """
    if labels.dtype != torch.int64 or labels.shape != shape:
        raise ModelError(f"labels: {labels.dtype} {tuple(labels.shape)}; give int64 {tuple(shape)}, one for each {each}")
    if labels.device.type == "cpu" and labels.numel():
        wrong = (labels < 0) | (labels >= classes)
        if ignore is not None:
            wrong &= labels != ignore
        if wrong.any():
            none = "" if ignore is None else f", or {ignore} where there is none"
            raise ModelError(f"labels: {int(labels[wrong][0])} is not one of {classes} classes; give 0 to {classes - 1}{none}{why}")


def _losses(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of each row of `logits` (n, vocabulary) against `wanted` int64 (n, 1), float32 (n, 1)."""
    return logits.float().logsumexp(1, keepdim=True) - logits.gather(1, wanted).float()


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Loss and gradients chunk by chunk in the forward pass; the backward pass only scales them."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, needs_gradient: bool) -> tuple[Tensor, Tensor]:
        rows = max(1, CHUNK_LOGITS.get(hidden.device.type, OTHERWISE) // weight.shape[0])
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        each = torch.empty(len(hidden), 1, dtype=torch.float32, device=hidden.device)
        compute, compute_bias = weight.to(hidden.dtype), bias.to(hidden.dtype)
        exact = hidden.dtype == torch.float32
        d_hidden = torch.empty_like(hidden) if needs_gradient else None
        d_weight = torch.empty(weight.shape, dtype=torch.float32, device=weight.device) if needs_gradient and len(hidden) else None
        d_bias = torch.zeros(bias.shape, dtype=torch.float32, device=bias.device) if needs_gradient else None
        on_cpu = hidden.device.type == "cpu"
        room = hidden.new_empty(min(rows, len(hidden)), weight.shape[0])  # the same memory for every chunk
        full = room if exact or not on_cpu or not needs_gradient else torch.empty_like(room, dtype=torch.float32)
        for begin in range(0, len(hidden), rows):
            part, wanted = hidden[begin : begin + rows], labels[begin : begin + rows, None]
            logits = torch.addmm(compute_bias, part, compute.T, out=room[: len(part)])
            if d_hidden is None or d_weight is None or d_bias is None:
                each[begin : begin + rows] = losses = _losses(logits, wanted)
                loss += losses.sum()
                continue
            if on_cpu:  # as few passes over the logits as there can be
                slope = full[: len(part)] if exact else full[: len(part)].copy_(logits)
                torch.softmax(slope, 1, out=slope)
                found = slope.gather(1, wanted)
                losses = found.log().neg_()
                if len(tiny := (found < TINY).nonzero()[:, 0]):
                    losses[tiny] = _losses(torch.addmm(compute_bias, part[tiny], compute.T), wanted[tiny])
            else:
                peak, picked = logits.amax(1, keepdim=True).float(), logits.gather(1, wanted).float()
                slope = torch.softmax(logits, 1, out=logits) if exact else torch.softmax(logits, 1, dtype=torch.float32)
                losses = peak - slope.amax(1, keepdim=True).log() - picked  # the largest probability is exp(peak - log of the sum)
            each[begin : begin + rows] = losses
            loss += losses.sum()
            slope.scatter_add_(1, wanted, torch.full_like(losses, -1.0))
            d_bias += slope.new_ones(len(slope)) @ slope
            low = slope.to(hidden.dtype)
            torch.mm(low, compute, out=d_hidden[begin : begin + rows])
            if exact:
                torch.mm(low.T, part, out=d_weight) if begin == 0 else d_weight.addmm_(low.T, part)
            else:
                d_weight.copy_(low.T @ part) if begin == 0 else d_weight.add_(low.T @ part)
        if needs_gradient and d_weight is None:
            d_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        ctx.kinds = (weight.dtype, bias.dtype)
        ctx.save_for_backward(*(part for part in (d_hidden, d_weight, d_bias) if part is not None))
        each = each[:, 0]
        ctx.mark_non_differentiable(each)
        return loss, each

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        scale = gradients[0]
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        weight_kind, bias_kind = ctx.kinds
        if scale.device.type != "cpu" or scale != 1:  # to look would make the host wait for another device
            d_hidden, d_weight, d_bias = d_hidden * scale.to(d_hidden.dtype), d_weight * scale, d_bias * scale
        return d_hidden, d_weight.to(weight_kind), d_bias.to(bias_kind), None, None


def cross_entropies(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropies of `hidden @ weight.T + bias` against `labels`, float32: their sum (), and each (n,), which has no gradient.

    Args: `hidden` (n, hidden size), `weight` (vocabulary, hidden size), `bias` (vocabulary,) or None, `labels` int64 (n,). The
    product is taken in `hidden`'s dtype, the softmax in float32. With n = 0 the loss is 0 and gradients are zeros.

    Raises: `ModelError` for labels of another shape or dtype, and, on a CPU alone, for labels past the vocabulary.
    """
    check_labels(labels, (len(hidden),), len(weight), "position", why="; leave out positions that have no label")
    if bias is None:
        bias = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device)
    needs = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad or bias.requires_grad)
    with torch.autocast(hidden.device.type, enabled=False):  # it chooses its own dtypes
        found: tuple[Tensor, Tensor] = _ChunkedCrossEntropy.apply(hidden, weight, bias, labels, needs)  # type: ignore[no-untyped-call]
    return found


def cross_entropy_sum(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """The sum alone of `cross_entropies`."""
    return cross_entropies(hidden, weight, bias, labels)[0]

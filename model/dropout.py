"""Dropout that is a function of keys, so that what is dropped depends on a token and its place in the network alone.

torch's dropout draws from one stream for a whole tensor: which element is dropped then depends on what else went through the model, on
the device and on the number of threads. Here every token has a key of 64 bits. `fold` makes of it a key for each layer, and of that one
for each site within the layer; element (t, c) is kept or dropped by a hash of 32 bits of token t's key there and of c. So neither the
size of a micro-batch, nor the number of processes, nor activation checkpointing, nor torch.compile changes what is dropped, and the mask
need not be stored: the backward pass works it out again.

Everything is plain torch in integers of 32 bits, which CPUs and GPUs compute alike. On a CPU it runs over a few rows at a time, so that
what is between stays in the cache: forward a quarter, with the backward pass half of the time of torch's dropout there, which draws its
numbers one by one. In compiled layers inductor makes one loop of it. A kernel of ours would need a compiler that `model`, which is torch
alone, does not have.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import ModelError

# Sites. The embedding has its own keys and one site; in a layer those of attention weights, one a head, begin with the last.
EMBEDDED = 0
ATTENTION_OUT, FEED_FORWARD, ATTENTION_WEIGHTS = 0, 1, 2

# Elements at a time on a CPU, for each of torch's threads: buffers of 3 MB that a shared cache holds, and calls that are few.
ELEMENTS = 1 << 18


def _signed(value: int, bits: int) -> int:
    """The number as one of so many bits with a sign, which is how torch has it."""
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


# SplitMix64 (Steele et al. 2014), as in kernel/hashing.py.
_GOLDEN = 0x9E3779B97F4A7C15
_SPLITMIX_FIRST, _SPLITMIX_SECOND = _signed(0xBF58476D1CE4E5B9, 64), _signed(0x94D049BB133111EB, 64)
_ALTERNATING = 0x55555555
# The 32-bit hash: a factor of Fibonacci hashing for channels, then the factors of Wellons' `lowbias32` (2018).
_CHANNEL, _FIRST, _SECOND = (_signed(factor, 32) for factor in (0x9E3779B9, 0x7FEB352D, 0x846CA68B))


def _xor_shifted(value: Tensor, by: int) -> Tensor:
    """`value ^ (value >> by)` of int64 without a sign; torch's shift repeats the sign."""
    return value ^ ((value >> by) & ((1 << (64 - by)) - 1))


def fold(keys: Tensor, number: int | Tensor) -> Tensor:
    """A new key for each key and number: int64, of the shape that both have when broadcast.

    It is the `number`-th number of the stream of the key, as `kernel.random.draw` has it, its 64 bits with a sign.
    """
    step = (number + 1) * _signed(_GOLDEN, 64) if isinstance(number, Tensor) else _signed((number + 1) * _GOLDEN, 64)
    value = _xor_shifted(keys + step, 30) * _SPLITMIX_FIRST
    value = _xor_shifted(value, 27) * _SPLITMIX_SECOND
    return _xor_shifted(value, 31)


def threshold(rate: float) -> int:
    """An element is kept where its hash, as a signed number of 32 bits, is at least this.

    It is rate * 2^32, rounded to the nearest whole number, halves to the even one, less 2^31; so the share that is dropped differs from
    `rate` by at most 2^-33.
    """
    return min(round(rate * 2**32), 2**32 - 1) - 2**31


def _drop(
    hidden: Tensor,
    keys: Tensor,
    rate: float,
    bits: Tensor | None = None,
    spare: Tensor | None = None,
    kept: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """`hidden` (n, channels) with elements dropped by `keys` (n,).

    Buffers of hidden's shape may be given: `bits` and `spare` of int32, `kept` and `out` of hidden's dtype.
    """
    # the xor keeps inductor from counting in the product itself, whose signed overflow lets a C++ compiler take anything for true
    channel = (torch.arange(hidden.shape[-1], dtype=torch.int32, device=hidden.device) ^ _ALTERNATING) * _CHANNEL
    low, high = keys.to(torch.int32)[:, None], (keys >> 32).to(torch.int32)[:, None]
    bits = torch.bitwise_xor(low, channel, out=bits).mul_(_FIRST)
    spare = torch.bitwise_right_shift(bits, 15, out=spare).bitwise_and_(0x1FFFF)  # without the sign, which torch repeats
    bits = bits.bitwise_xor_(spare).bitwise_xor_(high).mul_(_SECOND)
    kept = torch.ge(bits, threshold(rate), out=kept)
    return torch.mul(hidden, kept, out=out).mul_(1 / (1 - rate))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, keys: Tensor, rate: float) -> Tensor:
        ctx.rate = rate
        ctx.save_for_backward(keys)
        count = len(hidden)
        if hidden.device.type == "cpu":
            count = min(count, max(1, ELEMENTS * torch.get_num_threads() // max(1, hidden.shape[1])))
        result = torch.empty_like(hidden, memory_format=torch.contiguous_format)
        bits, spare = torch.empty(2, count, hidden.shape[1], dtype=torch.int32, device=hidden.device)
        kept = hidden.new_empty(bits.shape)
        for x, key, y in zip(*(torch.split(whole, max(1, count)) for whole in (hidden, keys, result)), strict=True):
            n = len(x)
            _drop(x, key, rate, bits[:n], spare[:n], kept[:n], y)
        return result

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        slope: Tensor = _Dropout.apply(slopes[0], *ctx.saved_tensors, ctx.rate)  # type: ignore[no-untyped-call]
        return slope, None, None  # dropout is linear: the slope loses the same elements and is scaled alike


def dropout(hidden: Tensor, rate: float, training: bool, keys: Tensor | None, site: int | Tensor) -> Tensor:
    """Drop a share `rate` of the elements of `hidden` in training, and divide the others by 1 - rate.

    Args:
        hidden: (..., channels), of any floating dtype, in which it is multiplied.
        rate: in [0, 1).
        training: without it `hidden` is returned as it is, as with a rate of 0.
        site: where in a layer this is; equal keys drop other elements at another site.
        keys: int64, whose shape, broadcast with that of `site`, is that of `hidden` without its channels; None: torch's own dropout,
            which draws from its global generator.
    """
    if keys is None:
        return F.dropout(hidden, rate, training)
    if not training or rate == 0:
        return hidden
    flat, keys = hidden.reshape(-1, hidden.shape[-1]), fold(keys, site).reshape(-1)
    if torch.compiler.is_compiling():
        return _drop(flat, keys, rate).view(hidden.shape)
    dropped: Tensor = _Dropout.apply(flat, keys, rate)  # type: ignore[no-untyped-call]
    return dropped.view(hidden.shape)


def layer_keys(keys: Tensor | None, layer: int) -> Tensor | None:
    """The keys of a layer, of those of the tokens; -1 is the embedding."""
    return None if keys is None else fold(keys, layer + 1)


def check_keys(keys: Tensor | None, tokens: int) -> None:
    """Refuse keys that are not one a token. Raises `ModelError`."""
    if keys is not None and (keys.shape != (tokens,) or keys.dtype != torch.int64):
        raise ModelError(f"dropout_keys: {keys.dtype} {tuple(keys.shape)}; give int64 ({tokens},), one a token")

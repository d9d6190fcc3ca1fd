"""What to look at before a long run: which keys each layer sees, what unpadding is worth, throughput over batch sizes.

What does not fit into memory is told, where the allocator says so. Linux lends a CPU's process more than there is and ends it when
that is used; nothing can be told then.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from model.attention import attend, choose, prepare
from model.config import ModernBertConfig
from model.flops import training_flops
from model.modernbert import ModernBertForMaskedLM

# What torch says, in a plain RuntimeError, where an allocation outside of CUDA's own allocator fails.
_NO_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice: a GPU's, or a CPU's."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def bounds_of(lengths: Sequence[int], device: torch.device) -> Tensor:
    """`cu_seqlens` of segments of the given lengths."""
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device=device)


@torch.no_grad()
def keys_seen_by_kernel(
    kernel: str, lengths: Sequence[int], window: int | None, head_size: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Which keys each query really sees: bool (tokens, tokens), read off the kernel itself.

    Queries and keys are zeros, so that a query weighs all it sees alike; values are unit vectors, `head_size` keys at a time, so
    that the weights come out.
    """
    tokens = sum(lengths)
    segments = prepare(kernel, bounds_of(lengths, device), max(lengths), tokens, window or 2, dtype)
    still = torch.ones(tokens, head_size // 2, device=device), torch.zeros(tokens, head_size // 2, device=device)
    columns = []
    for begin in range(0, tokens, head_size):
        qkv = torch.zeros(tokens, 3, 1, head_size, dtype=dtype, device=device)
        part = torch.arange(begin, min(begin + head_size, tokens), device=device)
        qkv[part, 2, 0, part - begin] = 1
        columns.append(attend(kernel, qkv, still, segments, window)[:, 0, : len(part)])
    return torch.cat(columns, dim=1) > 0


def keys_promised(lengths: Sequence[int], window: int | None) -> Tensor:
    """Which keys each query is to see, by the definition: the same segment, and within half a window."""
    segment = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.arange(len(segment))
    seen = segment[:, None] == segment[None]
    return seen if window is None else seen & ((place[:, None] - place[None]).abs() <= window // 2)


def picture(seen: Tensor, size: int = 32) -> list[str]:
    """A mask drawn small: a mark where any of the cell's pairs is seen."""
    edges = torch.linspace(0, len(seen), min(size, len(seen)) + 1).long().tolist()
    return [
        "".join("█" if bool(seen[top:bottom, left:right].any()) else "·" for left, right in itertools.pairwise(edges))
        for top, bottom in itertools.pairwise(edges)
    ]


@dataclass(frozen=True)
class Pattern:
    """One kind of layer: which layers are of it, the keys seen on a ragged batch, and whether they are those promised."""

    window: int | None
    layers: tuple[int, ...]
    lengths: tuple[int, ...]
    drawn: list[str]
    seen: int  # pairs
    right: bool


def patterns(
    config: ModernBertConfig, device: torch.device, *, attention: str = "auto", dtype: torch.dtype = torch.float32
) -> list[Pattern]:
    """The alternating pattern, as the kernel really computes it on projections of `dtype`."""
    kernel = choose(attention, device, dtype, config.head_size)
    half = config.window // 2
    lengths = tuple(min(length, config.max_length) for length in (3 * half, 1, half, 2 * half + 1))
    found = []
    for window in (None, config.window):
        layers = tuple(layer for layer in range(config.layers) if config.is_global(layer) == (window is None))
        if not layers:
            continue
        seen = keys_seen_by_kernel(kernel, lengths, window, config.head_size, device, dtype).cpu()
        right = bool((seen == keys_promised(lengths, window)).all())
        found.append(Pattern(window, layers, lengths, picture(seen), int(seen.sum()), right))
    return found


@dataclass(frozen=True)
class Timing:
    """A training step over segments: real tokens a second, FLOP/s, and peak memory in bytes where the device tells (else None)."""

    lengths: tuple[int, ...]
    seconds: float
    tokens_per_second: float
    flops_per_second: float
    peak_bytes: int | None


def _precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def time_step(
    model: ModernBertForMaskedLM, lengths: Sequence[int], real: int, *, repeats: int = 3, dtype: torch.dtype = torch.float32
) -> Timing:
    """Median time of a training step (30 % of the tokens to predict) after one to warm up; `real` tokens count.

    `dtype` is float32, or what autocast computes in over float32 weights.

    Raises: what the allocator raises where memory does not suffice; `out_of_memory` knows it.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    tokens = sum(lengths)
    ids = torch.randint(0, model.config.vocab_size, (tokens,), generator=generator)
    positions = torch.randperm(tokens, generator=generator)[: max(1, int(0.3 * real))].sort().values
    labels = ids[positions].to(device)
    ids, positions, bounds = ids.to(device), positions.to(device), bounds_of(lengths, device)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with _precision(device, dtype):
            loss = model(ids, bounds, max(lengths), positions, labels).loss
        assert loss is not None, "labels were given"
        (loss / len(labels)).backward()

    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for number in range(repeats + 1):
        wait()
        begin = time.perf_counter()
        step()
        wait()
        if number:
            times.append(time.perf_counter() - begin)
    seconds = statistics.median(times)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    flops = training_flops(model.config, lengths, len(labels))
    return Timing(tuple(lengths), seconds, real / seconds, flops / seconds, peak)


def _fitting(model: ModernBertForMaskedLM, lengths: Sequence[int], real: int, repeats: int, dtype: torch.dtype) -> Timing | None:
    """`time_step`, or None where memory does not suffice; what it had taken is free again."""
    try:
        return time_step(model, lengths, real, repeats=repeats, dtype=dtype)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    # Only here, past the error, which held the step's tensors, is there something to free.
    model.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


@dataclass(frozen=True)
class Unpadding:
    """The same ragged batch without padding, and with every segment filled up to the longest."""

    without: Timing
    padded: Timing

    @property
    def worth(self) -> float:
        """How many times more real tokens a second."""
        return self.without.tokens_per_second / self.padded.tokens_per_second

    @property
    def padding(self) -> float:
        """Share of the padded batch that is padding."""
        return 1 - sum(self.without.lengths) / sum(self.padded.lengths)


def ragged(length: int, count: int) -> list[int]:
    """Lengths of a ragged batch, even from a quarter of `length` up to it, the longest being `length` itself."""
    return [max(1, round(length * (0.25 + 0.75 * (number + 1) / count))) for number in range(count)]


def unpadding(
    model: ModernBertForMaskedLM, length: int, count: int, *, repeats: int = 3, dtype: torch.dtype = torch.float32
) -> Unpadding | None:
    """What unpadding is worth on `count` segments of up to `length` tokens; None where memory does not suffice for the padded ones."""
    lengths = ragged(length, count)
    real = sum(lengths)
    padded = _fitting(
        model, [length] * count, real, repeats, dtype
    )  # the larger one first: where it does not fit, there is no more to time
    if padded is None:
        return None
    without = _fitting(model, lengths, real, repeats, dtype)
    return None if without is None else Unpadding(without, padded)


def throughput(
    model: ModernBertForMaskedLM, length: int, counts: Sequence[int], *, repeats: int = 3, dtype: torch.dtype = torch.float32
) -> Iterator[Timing | None]:
    """A training step over batches of so many segments of `length` tokens each, one by one; None where memory does not suffice."""
    for count in counts:
        yield _fitting(model, [length] * count, length * count, repeats, dtype)

"""Where the time of a training goes: the wall seconds of one process, by part. What is told for a run is that of the first rank."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Literal, get_args

import torch

Part = Literal["data", "compute", "communication", "optimizer", "checkpoint", "evaluation", "other"]
PARTS: tuple[Part, ...] = get_args(Part)

# Of the object through which DeepSpeed calls torch's collective operations.
COLLECTIVES = (
    "all_gather",
    "all_gather_coalesced",
    "all_gather_into_tensor",
    "all_reduce",
    "all_reduce_coalesced",
    "broadcast",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
)


class Timing:
    """Counts seconds by part. A part within another one interrupts it: every moment belongs to one part, and what is in none is other.

    Where work is done by a GPU, the end of `compute`, of `optimizer` and of `evaluation` waits for it, or its time would be counted
    wherever it is waited for next.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._now: Part = "other"
        self._since = time.perf_counter()

    def _turn(self, part: Part) -> Part:
        """From now on it is another part; returns which it was."""
        now, before = time.perf_counter(), self._now
        self._seconds[before] += now - self._since
        self._now, self._since = part, now
        return before

    @contextmanager
    def part(self, part: Part) -> Iterator[None]:
        """What is done within belongs to `part`."""
        before = self._turn(part)
        try:
            yield
            if self._device is not None and self._device.type == "cuda" and part in ("compute", "optimizer", "evaluation"):
                torch.cuda.synchronize(self._device)
        finally:
            self._turn(before)

    def take(self) -> dict[Part, float]:
        """The seconds by part since the last call, or since this was made."""
        self._turn(self._now)
        taken, self._seconds = self._seconds, dict.fromkeys(PARTS, 0.0)
        return taken

    @contextmanager
    def collectives(self) -> Iterator[None]:
        """Within it, DeepSpeed's collective operations are `communication`: the time that their callers wait for them.

        On a CPU that is all of it. On a GPU they run beside the computation, and what the callers wait is only that it has begun.
        """
        import deepspeed.comm.comm as comm

        backend = comm.cdb
        names = [name for name in COLLECTIVES if hasattr(backend, name)]
        for name in names:
            setattr(backend, name, self._timed(getattr(backend, name)))
        try:
            yield
        finally:
            for name in names:
                delattr(backend, name)

    def _timed(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(operation)
        def call(*arguments: Any, **named: Any) -> Any:
            with self.part("communication"):
                handle = operation(*arguments, **named)
            return _Handle(handle, self) if hasattr(handle, "wait") else handle

        return call


class _Handle:
    """The handle of an operation that has been begun, which is waited for as `communication`."""

    def __init__(self, handle: Any, timing: Timing) -> None:
        self._handle, self._timing = handle, timing

    def wait(self, *arguments: Any, **named: Any) -> Any:
        with self._timing.part("communication"):
            return self._handle.wait(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)

"""What a process that computes on a CPU should have set, once."""

from __future__ import annotations

import ctypes

import torch

# glibc, malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 2**30  # blocks up to a gigabyte come from what the process has, not from the system


def prepare_process() -> None:
    """Flush denormals to zero, and keep freed memory.

    Denormals in the softmax's gradient are tens of times slower than other numbers. And glibc gives every large block back to
    the system when it is freed and asks for it again at the next step; the system then clears it page by page, by one thread,
    which takes a fifth of a training step's time. Without glibc the second is left out.
    """
    torch.set_flush_denormal(True)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)

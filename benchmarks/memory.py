"""The largest resident memory of any process of a run, sampled."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil


class PeakMemory:
    """While it is open, samples the resident memory of this process's descendants ten times a second.

    `peak`: the largest seen of any one of them, in bytes. Resident memory counts mapped files that are in memory, so it
    overstates what a process needs.
    """

    def __init__(self) -> None:
        self.peak = 0
        self.process = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.1):
            for child in me.children(recursive=True):
                try:
                    size = child.memory_info().rss
                    if size > self.peak:
                        self.peak, self.process = size, child.name()
                except psutil.Error:
                    continue

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

"""Ends a process whose training stands still: a thread with a clock of its own, and a second one that needs no Python."""

from __future__ import annotations

import faulthandler
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from trainer import faults
from trainer.errors import AGAIN

FILE = "stacks.txt"
START = 3600.0  # seconds for the first sign of life, while shards are fetched and layers compiled
LEAST, TIMES = 300.0, 20.0  # without a bound of the user's: this many seconds, and this many times the longest wait so far


class Watchdog:
    """Watches one rank. `beat` is called whenever something is done.

    Without a beat for `bound` seconds the stacks of all threads are added to the run's stacks.txt, as every other rank adds its own,
    and the process ends with the exit code on which launchers start again. None: a bound that follows what the run needs.
    """

    def __init__(self, run: Path, rank: int, bound: float | None) -> None:
        self._run, self._rank, self._fixed = run, rank, bound
        self._last = time.monotonic()
        self._longest = 0.0
        self._beats = 0
        self._over = threading.Event()
        self._stacks = open(run / FILE, "a", encoding="utf-8")  # noqa: SIM115 - a full disk must not hinder it later
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        faulthandler.cancel_dump_traceback_later()
        self._stacks.close()
        with suppress(FileNotFoundError):  # another rank may have been quicker
            if (self._run / FILE).stat().st_size == 0:
                (self._run / FILE).unlink()

    @property
    def bound(self) -> float:
        """Seconds without a beat that end the process."""
        if self._fixed is not None:
            return self._fixed if self._beats > 1 else max(self._fixed, START)
        return max(LEAST, TIMES * self._longest) if self._beats > 1 else START

    def beat(self) -> None:
        """Something was done."""
        now = time.monotonic()
        if self._beats > 1:  # the first waits are for data and compilers, and say nothing of a step
            self._longest = max(self._longest, now - self._last)
        self._beats += 1
        self._last = now

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self.bound / 10)):
            bound = self.bound
            # where no Python can run (a library holds the interpreter's lock), this ends the process somewhat later
            faulthandler.dump_traceback_later(bound * 1.5 + 10, exit=True, file=self._stacks)
            if time.monotonic() - self._last > bound:
                self._end(bound)

    def _end(self, bound: float) -> None:
        head = f"\nrank {self._rank} on {socket.gethostname()}, process {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%S %z')}: "
        text = f"nothing was done for {bound:.0f} seconds (training.hang_seconds)"
        try:
            self._stacks.write(f"{head}{text}\n")
            self._stacks.flush()
            faulthandler.dump_traceback(file=self._stacks, all_threads=True)
            where = f"where each rank stood is in {self._run / FILE}"
            faults.write(self._run, text=f"{text}; {where}", user=False, consequence=True, trace=text, code=AGAIN)
        finally:
            os._exit(AGAIN)

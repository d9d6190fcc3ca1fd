"""One run, one folder: a lock that the kernel takes back when its holder ends, however that ends."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from storage.lock import Taken, release, sign, take
from trainer.errors import TrainerError

NAME = "lock"


class Lock:
    """Holds a run's folder. Raises `TrainerError`, naming the holder, where another process trains in it."""

    def __init__(self, run: Path) -> None:
        self._handle = _taken(run)
        sign(self._handle)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Let another process have the folder."""
        if self._handle >= 0:
            release(self._handle)
            self._handle = -1


def check(run: Path) -> None:
    """Raises `TrainerError` where another process trains in this folder now. For a launcher, before it touches the folder."""
    if (run / NAME).is_file():
        release(_taken(run))


def _taken(run: Path) -> int:
    """A handle of the lock's file that holds the lock."""
    try:
        return take(run / NAME)
    except Taken as holder:
        raise TrainerError(f"{run}: {holder} trains in this folder; wait for its end, or stop it") from None

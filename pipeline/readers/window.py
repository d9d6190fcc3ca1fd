"""A stretch of a stream held in memory: read ahead, searched, and gone back to, so that reading can start again after damage."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO

BLOCK = 1 << 18


class Window:
    """Bytes of a stream by their offset, from the last `forget` on. It holds no more than what was asked for and one block."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._buffer = bytearray()
        self._base = 0  # offset of the buffer's first byte
        self._ended = False

    @classmethod
    def of(cls, stream: BinaryIO) -> Window:
        """A window on a stream, read piece by piece, so that damage costs only what comes after it."""
        return cls(getattr(stream, "read1", stream.read))

    @property
    def base(self) -> int:
        """Offset of the first byte that is still held."""
        return self._base

    @property
    def end(self) -> int:
        """Offset of the first byte that was not read yet."""
        return self._base + len(self._buffer)

    def _fill(self, end: int) -> None:
        while not self._ended and self.end < end:
            data = self._read(BLOCK)
            self._buffer += data
            self._ended = not data

    def get(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`, fewer where the stream ends before. `start` must not be forgotten."""
        self._fill(end)
        with memoryview(self._buffer) as view:
            return bytes(view[max(0, start - self._base) : max(0, end - self._base)])

    def forget(self, before: int) -> None:
        """Let go of what lies before an offset."""
        drop = min(max(0, before - self._base), len(self._buffer))
        del self._buffer[:drop]
        self._base += drop

    def skip(self, to: int) -> None:
        """Read on to an offset, as far as there is anything, and let go of what lies before."""
        self.forget(to)
        while not self._ended and self.end < to:
            self._fill(min(to, self.end + BLOCK))
            self.forget(to)

    def search(self, pattern: re.Pattern[bytes], start: int, overlap: int, limit: int | None = None) -> int | None:
        """Offset of the first match that begins at `start` or later (before `limit`), and what lies before is forgotten.

        None where there is none. No match may be longer than `overlap` bytes.
        """
        at = max(start, self._base)
        while True:
            self._fill(at + overlap + BLOCK)
            match = pattern.search(self._buffer, at - self._base)
            if match is not None and (self._ended or match.start() + overlap <= len(self._buffer)):
                found = self._base + match.start()
                return found if limit is None or found < limit else None
            if self._ended or (limit is not None and at >= limit):
                return None
            at = max(at, self.end - overlap)
            self.forget(at)

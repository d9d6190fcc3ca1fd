"""JSON lines that outlast a full disk: what cannot be written now waits in memory for the next line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


class Lines:
    """A file of JSON lines that is added to, each line whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = os.fstat(self._handle).st_size
        self._waiting = b""

    def add(self, value: dict[str, Any]) -> None:
        """Add a line. Numbers must be finite: JSON has no others."""
        self._waiting += json.dumps(value, allow_nan=False).encode() + b"\n"
        self.flush()

    def flush(self) -> bool:
        """Write what waits. Returns whether nothing waits any more."""
        if not self._waiting:
            return True
        try:
            left = self._waiting
            while left:
                left = left[os.write(self._handle, left) :]
            self._size += len(self._waiting)
            self._waiting = b""
        except OSError:
            os.ftruncate(self._handle, self._size)  # no half line
        return not self._waiting

    def close(self) -> None:
        """Close the file, and say how many lines it lacks, if any."""
        if not self.flush():
            count = self._waiting.count(b"\n")
            print(f"{self._path}: {count} lines could not be written; is the disk full?", file=sys.stderr)
        os.close(self._handle)

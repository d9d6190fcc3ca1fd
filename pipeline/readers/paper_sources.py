"""A paper's TeX files: found by their names, as TeX would find them, and opened when asked for."""

from __future__ import annotations

import io
import posixpath
import tempfile
from collections.abc import Callable, Sequence
from typing import BinaryIO, cast

ENDINGS = (".tex", ".ltx", ".latex", ".sty", ".cls", ".def", ".texi", ".txt")  # of what a paper may include
TEXTS = (".tex", ".ltx", ".latex")  # of what may be a paper


class Sources:
    """A paper's TeX files by name, opened when asked for; in a file on disk where they come from a stream."""

    def __init__(self) -> None:
        self._opens: dict[str, Callable[[], bytes]] = {}
        self._names: list[str] = []
        self._spool: BinaryIO | None = None

    @property
    def names(self) -> list[str]:
        if len(self._names) != len(self._opens):
            self._names = sorted(self._opens)
        return self._names

    def add(self, name: str, opener: Callable[[], bytes]) -> None:
        self._opens.setdefault(posixpath.normpath(name), opener)

    def keep(self, name: str, data: bytes) -> None:
        """Adds a file that is at hand now and not later."""
        if self._spool is None:
            self._spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=32 << 20))  # noqa: SIM115 - closed with the sources
        spool = self._spool
        begin = spool.seek(0, io.SEEK_END)
        spool.write(data)

        def read() -> bytes:
            spool.seek(begin)
            return spool.read(len(data))

        self.add(name, read)

    def read(self, name: str) -> bytes:
        """Its bytes. Raises what the stream raises, and `TooLarge`."""
        return self._opens[name]()

    def find(self, name: str, folder: str, endings: Sequence[str] = (".tex", "", ".ltx", ".latex")) -> str | None:
        """The file that TeX would find for a name: beside the main file, or beside the one that names it."""
        name = name.strip().strip('"').replace("\\", "/")
        for place in dict.fromkeys((folder, "")):
            for ending in endings:
                path = posixpath.normpath(posixpath.join(place, name + ending))
                if path in self._opens:
                    return path
        return None

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

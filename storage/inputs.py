"""Files that are read as streams from end to end, or here and there, as sources are: what goes wrong on the way is tried again.

Readers of formats take nearly every error for damage. So a file that cannot be read is remembered here, and whoever asked for it asks
`failure` whether what came of it is to be believed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.fs

from storage import filesystems
from storage.errors import Refused, StorageError
from storage.location import Location
from storage.retry import Patience

_LOCAL_BUFFER, _REMOTE_BUFFER = 1 << 18, 1 << 21  # bytes that are asked for at a time; each costs a request where remote
_failures: dict[str, StorageError] = {}


def open_input(uri: str, patience: Patience | None = None) -> BinaryIO:
    """A file as a buffered stream, local or remote, not decompressed. After a fault it goes on where it was.

    Raises `Unreachable` where the fault does not pass in time, `Refused` where it will not; both are remembered for `failure`.
    """
    file = _Input(uri, patience or Patience())
    return cast(BinaryIO, io.BufferedReader(file, _REMOTE_BUFFER if file.location.is_uri else _LOCAL_BUFFER))


def failure(uris: Iterable[str]) -> StorageError | None:
    """What went wrong with the first of these files that could not be read, or None."""
    return next((_failures[uri] for uri in uris if uri in _failures), None) if _failures else None


def forget(uris: Iterable[str]) -> None:
    """Forget what went wrong with these files: they are read anew."""
    for uri in uris:
        _failures.pop(uri, None)


class _Input(io.RawIOBase):
    """A file of this machine's, pyarrow's or fsspec's as Python has files. One of unknown length cannot be sought in."""

    def __init__(self, uri: str, patience: Patience) -> None:
        self.location = Location.parse(uri)
        self._uri, self._patience = uri, patience
        self._filesystem: tuple[pa.fs.FileSystem, str] | None = None
        self._file: Any = None
        self._at = 0
        self._size: int | None = None
        self._state: tuple[int | None, int | None] = (None, None)  # size and time, by which a file that is not local is known again
        self._seekable = True
        self._guarded(lambda: self._open(first=True))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if not self._seekable:
            raise io.UnsupportedOperation("seek")
        if whence == os.SEEK_END and self._size is None:
            self._size = int(self._guarded(lambda: self._opened().seek(0, os.SEEK_END)))
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size or 0}[whence]
        if base + offset < 0:
            raise OSError(22, "Invalid argument")
        self._at = base + offset
        return self._at

    def close(self) -> None:
        self._drop()
        super().close()

    def readall(self) -> bytes:
        """All that is left; Python's own would ask for 8 kB at a time."""
        parts = []
        while data := self._next(_REMOTE_BUFFER):
            parts.append(data)
        return b"".join(parts)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next(self, most: int) -> bytes:
        data: bytes = self._guarded(lambda: self._read(most))
        self._at += len(data)
        return data

    # --- the file below ------------------------------------------------------------------------------------------------

    def _read(self, most: int) -> bytes:
        file = self._opened()
        if self._seekable and file.tell() != self._at:
            file.seek(self._at)
        data: bytes = file.read(most)
        if not data and most and self.location.is_uri:
            self._check()
            if self._size is not None and self._at < self._size:
                raise OSError(f"the connection ended after {self._at} of {self._size} bytes")
        return data

    def _check(self) -> None:
        """Raises `Refused` where the file is not the one that was begun."""
        if self._state_now() != self._state:
            raise Refused(f"{self.location}: cannot be read", "it has changed since it was begun", "run the same command again")

    def _state_now(self) -> tuple[int | None, int | None]:
        assert self._filesystem is not None
        filesystem, path = self._filesystem
        if isinstance(filesystem, pa.fs.PyFileSystem):  # of fsspec's some know neither, and each would be asked anew
            return None, None
        info = filesystem.get_file_info(path)
        return info.size, info.mtime_ns

    def _opened(self) -> Any:
        if self._file is None:
            self._open(first=False)
        return self._file

    def _open(self, *, first: bool) -> None:
        if not self.location.is_uri:
            file: Any = io.FileIO(self.location.path)
            size = None  # a file may grow, and some have none
            self._seekable = file.seekable()
        else:
            if self._filesystem is None:
                self._filesystem = filesystems.opened(self.location)
            filesystem, path = self._filesystem
            if isinstance(filesystem, pa.fs.PyFileSystem) and hasattr(filesystem.handler, "fs"):
                file = filesystem.handler.fs.open(path, "rb")  # which has `size`, and may be of none
                size = getattr(file, "size", None)
                size = size() if callable(size) else size
                self._seekable = size is not None and bool(file.seekable())
            else:
                file = filesystem.open_input_file(path)
                size = file.size()
        self._file = file
        if first:
            self._size = size
            self._state = self._state_now() if self.location.is_uri else self._state
        elif self.location.is_uri:
            self._check()
        if not first and not self._seekable:
            self._pass_over(file)

    def _pass_over(self, file: Any) -> None:
        left = self._at
        while left:
            passed = len(file.read(min(left, _REMOTE_BUFFER)))
            if not passed:
                raise OSError(f"the connection ended before byte {self._at}")
            left -= passed

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(Exception):  # it is given up, whatever it says
                file.close()

    def _guarded(self, action: Any) -> Any:
        def guarded() -> Any:
            try:
                return action()
            except BaseException:
                self._drop()
                raise

        local = not self.location.is_uri
        try:
            return self._patience.again(guarded, f"{self.location}: cannot be read", self.location, local=local)
        except FileNotFoundError as error:
            gone = Refused(
                f"{self.location}: cannot be read", "it is gone since the files were listed", "put it back, or run the same command again"
            )
            _failures[self._uri] = gone
            raise gone from error
        except StorageError as error:
            _failures[self._uri] = error
            raise

"""A folder, local or remote: what lies in it is read, written whole or not at all, listed, moved and deleted, each tried again.

pyarrow's streams complete an upload when they are closed, and when they are forgotten, whatever the reason: after an exception, after
Ctrl-C. So what was begun and cannot be ended is neither closed nor forgotten, and all of a write happens in a thread, which no signal
interrupts: it is of all bytes or of none.
"""

from __future__ import annotations

import ctypes
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs

from storage.filesystems import OBJECT_STORES, open_filesystem
from storage.location import Location
from storage.retry import FIRST_SECONDS, Patience, stated

Value = TypeVar("Value")

PIECE = 8 << 20  # bytes that a stream reads and writes at a time
_RECORD = 1 << 20  # bytes that a file has less of which has no checksum elsewhere, as records and manifests
_IN_FLIGHT = 64 << 20  # bytes of an upload that are held at most: a stream sends them in the background


@dataclass(frozen=True)
class Folder:
    """A folder at a location, opened on first use. It is cheap to pickle: each process opens it by itself.

    Methods take the parts of a path in it. They raise `Refused` and `Unreachable`, whose message is one line with the place, the reason and
    what to do; `FileNotFoundError` where nothing else is said.
    """

    location: Location
    patience: Patience = field(default_factory=Patience, compare=False)

    @classmethod
    def on(cls, filesystem: pa.fs.FileSystem, root: str, location: Location, patience: Patience | None = None) -> Folder:
        """A folder on a file system that is open already."""
        folder = cls(location, patience or Patience())
        folder.__dict__["_opened"] = filesystem, root.rstrip("/")
        return folder

    @cached_property
    def _opened(self) -> tuple[pa.fs.FileSystem, str]:
        filesystem, root = open_filesystem(self.location, self.patience)
        return filesystem, root.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {"location": self.location, "patience": self.patience}

    def __str__(self) -> str:
        return str(self.location)

    @property
    def filesystem(self) -> pa.fs.FileSystem:
        """The file system that it is on."""
        return self._opened[0]

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return not self.location.is_uri or isinstance(self.filesystem, pa.fs.LocalFileSystem)

    def path(self, *parts: str) -> str:
        """The path of a file or folder in it, on its file system."""
        return "/".join([self._opened[1], *parts])

    def shown(self, *parts: str) -> str:
        """A file or folder in it, as people are told of it: without secrets."""
        return self.path(*parts) if not self.location.is_uri else str(self.location.below(*parts) if parts else self.location)

    def below(self, *parts: str) -> Folder:
        """A folder in it."""
        return Folder.on(self.filesystem, self.path(*parts), self.location.below(*parts), self.patience)

    def again(self, action: Callable[[], Value], failure: str, *parts: str) -> Value:
        """What an action returns, tried again as `Patience.again` does; `failure`: what its message says of the place."""
        return self.patience.again(action, f"{self.shown(*parts)}: {failure}", self.location, local=self.is_local)

    def reach(self) -> None:
        """Ask for the folder for the first time. What is misspelt is told soon: raises `Refused`, or `Unreachable` after some seconds."""
        first = Patience(min(stated(), FIRST_SECONDS), self.patience.wait, self.patience.clock)
        Folder(self.location, first).info()

    # --- write ---------------------------------------------------------------------------------------------------------

    def write(self, raw: bytes | pa.Buffer, *parts: str) -> None:
        """Write a file whole or not at all. On local disk it is durable afterwards."""
        self.send(lambda: [raw], *parts)

    def send(self, pieces: Callable[[], Iterable[bytes | pa.Buffer]], *parts: str) -> None:
        """Write a file whole or not at all, of pieces that are made anew for each try. What making them raises comes out as it is."""
        write = self._write_local if self.is_local else self._write_remote

        def made() -> Iterator[bytes | pa.Buffer]:
            try:
                yield from pieces()
            except Exception as error:
                raise _OfThePieces(error) from error

        try:
            self.again(lambda: _whole(lambda: write(made(), self.path(*parts))), "cannot be written", *parts)
        except _OfThePieces as error:
            raise error.error from None

    def _write_local(self, pieces: Iterable[bytes | pa.Buffer], target: str) -> None:
        folder, name = target.rsplit("/", 1)
        os.makedirs(folder, exist_ok=True)
        aside = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        try:
            with open(aside, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(aside)
            raise

    def _write_remote(self, pieces: Iterable[bytes | pa.Buffer], target: str) -> None:
        if self.filesystem.type_name in OBJECT_STORES:
            self._upload(pieces, target)
            return
        folder, _, name = target.rpartition("/")  # where a file is seen while it is written
        aside = f"{folder}/.{name}.tmp"
        self._upload(pieces, aside)
        self._move(aside, target)

    def _upload(self, pieces: Iterable[bytes | pa.Buffer], target: str) -> None:
        """Raises `OSError` where not all has arrived."""
        whole = self.filesystem.type_name in OBJECT_STORES
        if not whole:  # which need no folders
            self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        stream = self.filesystem.open_output_stream(target, compression=None)
        size = waiting = 0
        try:
            for piece in pieces:
                stream.write(piece)
                size += len(piece)
                waiting += len(piece)
                if waiting >= _IN_FLIGHT:
                    stream.flush()
                    waiting = 0
        except BaseException:
            if whole:
                _give_up(stream)
            else:
                with suppress(Exception):  # it is a file aside, and what went wrong is what is told
                    stream.close()
            raise
        try:
            stream.close()
        except BaseException:
            _give_up(stream)
            raise
        arrived = self.filesystem.get_file_info(target).size
        if arrived != size:
            raise OSError(f"{arrived} of {size} bytes have arrived")

    def _move(self, source: str, target: str) -> None:
        if self.filesystem.type_name == "hdfs":  # which moves nothing onto a file that is there
            with suppress(FileNotFoundError):
                self.filesystem.delete_file(target)
        self.filesystem.move(source, target)

    # --- read ----------------------------------------------------------------------------------------------------------

    def read(self, *parts: str) -> pa.Buffer | None:
        """The file's bytes (memory-mapped where local), or None where there is none."""
        try:
            return self.again(lambda: self._read(self.path(*parts)), "cannot be read", *parts)
        except FileNotFoundError:
            return None

    def _read(self, path: str) -> pa.Buffer:
        if self.is_local:
            if os.path.isfile(path) and os.path.getsize(path) == 0:
                return pa.py_buffer(b"")
            with pa.memory_map(path) as file:
                return file.read_buffer()
        with self.filesystem.open_input_file(path) as file:
            size = file.size()
            raw = file.read_buffer()
        if raw.size != size:
            raise OSError(f"{raw.size} of {size} bytes have arrived")
        if size < _RECORD and self.filesystem.get_file_info(path).size != size:
            raise OSError("it was written anew while it was read")  # so that there are bytes of two
        return raw

    def pieces(self, *parts: str) -> Iterator[bytes]:
        """A file from its beginning, piece by piece, not tried again: raises whatever the file system does."""
        with self.filesystem.open_input_stream(self.path(*parts), compression=None) as stream:
            while piece := stream.read(PIECE):
                yield piece

    # --- list and delete -----------------------------------------------------------------------------------------------

    def infos(self, *parts: str, recursive: bool = False) -> list[pa.fs.FileInfo]:
        """What the file system says of all files and folders in a folder, with `recursive` in those below too; none where there is none."""
        selector = pa.fs.FileSelector(self.path(*parts), allow_not_found=True, recursive=recursive)
        return self.again(lambda: list(self.filesystem.get_file_info(selector)), "cannot be listed", *parts)

    def sizes(self, *parts: str) -> dict[str, int]:
        """Name and size of every file directly in a folder; empty where there is no such folder."""
        return {info.base_name: info.size for info in self.infos(*parts) if info.type == pa.fs.FileType.File}

    def folders(self, *parts: str) -> list[str]:
        """Names of the folders directly in a folder, sorted."""
        return sorted(info.base_name for info in self.infos(*parts) if info.type == pa.fs.FileType.Directory)

    def info(self, *parts: str) -> pa.fs.FileInfo:
        """What the file system says of one place in it: whether it is a file, a folder or nothing, and its size."""
        return self.again(lambda: self.filesystem.get_file_info(self.path(*parts)), "cannot be reached", *parts)

    def delete(self, *parts: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError):
            self.again(lambda: self.filesystem.delete_file(self.path(*parts)), "cannot be deleted", *parts)

    def delete_folder(self, *parts: str) -> None:
        """Delete a folder and all in it, if it is there."""
        with suppress(FileNotFoundError):
            self.again(lambda: self.filesystem.delete_dir(self.path(*parts)), "cannot be deleted", *parts)

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        """Move a file onto another name in the folder."""

        def action() -> None:
            try:
                self._move(self.path(*source), self.path(*target))
            except FileNotFoundError:  # moved by a try whose answer was lost
                if self.filesystem.get_file_info(self.path(*target)).type != pa.fs.FileType.File:
                    raise

        self.again(action, f"cannot be moved to {'/'.join(target)}", *source)


def _give_up(stream: Any) -> None:
    """Leave an upload as it is for ever: what ends a stream completes it, and at the end of Python waits for what never comes."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))


class _OfThePieces(BaseException):
    """What the pieces of a file raised as they were made, which is no fault of the place that they are written to."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def _whole(action: Callable[[], None]) -> None:
    """Run an action in a thread, to its end, whatever signal reaches this one, which does not wait for it then."""
    failed: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            action()
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="write").start()
    done.wait()  # and no `join`: a signal within one makes Python take the thread for ended, and not wait for it at the end
    if failed:
        raise failed[0]

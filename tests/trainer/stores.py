"""A file system that goes wrong, over a folder of this machine: what stands for object storage in tests."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs

from storage.folder import Folder
from storage.location import Location
from storage.retry import Patience

Fault = Callable[[int, str, str], bool]  # given the number of the request, its name and its path


class Faulty(pa.fs.FileSystemHandler):
    """Passes requests on to a folder. `fails`: those that raise instead; `cuts`: files whose last bytes get lost without a word."""

    def __init__(self, folder: Path, fails: Fault | None = None, cuts: Fault | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._inner = pa.fs.SubTreeFileSystem(str(folder), pa.fs.LocalFileSystem())
        self._fails, self._cuts = fails, cuts
        self.requests: list[tuple[str, str]] = []

    def _ask(self, name: str, path: str) -> None:
        number = len(self.requests)
        self.requests.append((name, path))
        if self._fails is not None and self._fails(number, name, path):
            raise OSError(f"no connection for {name}")

    def get_type_name(self) -> str:
        return "faulty"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> Any:
        self._ask("info", paths[0])
        return self._inner.get_file_info(paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        self._ask("list", selector.base_dir)
        return self._inner.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        self._ask("create", path)
        self._inner.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self._ask("delete folder", path)
        self._inner.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        self._ask("delete", path)
        self._inner.delete_file(path)

    def move(self, source: str, target: str) -> None:
        self._ask("move", target)
        self._inner.move(source, target)

    def copy_file(self, source: str, target: str) -> None:
        raise NotImplementedError

    def open_input_stream(self, path: str) -> Any:
        self._ask("read", path)
        return self._inner.open_input_stream(path)

    def open_input_file(self, path: str) -> Any:
        self._ask("read", path)
        return self._inner.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self._ask("write", path)
        cut = self._cuts is not None and self._cuts(len(self.requests) - 1, "write", path)
        return pa.PythonFile(_Written(self, self._inner.open_output_stream(path), path, cut), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError


def patient() -> Patience:
    """Tries again as long as is stated, by a clock of its own, which only waits move on."""
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    return Patience(60.0, wait, lambda: now[0])


def over(handler: pa.fs.FileSystemHandler, shown: str, root: str = "") -> Folder:
    """A folder on a file system that stands for object storage; nobody waits there."""
    return Folder.on(pa.fs.PyFileSystem(handler), root, Location.parse(shown), patient())


class _Written(io.RawIOBase):
    """A file that is written. As on object storage, closing it keeps what was written before a fault."""

    def __init__(self, of: Faulty, stream: Any, path: str, cut: bool) -> None:
        self._of, self._stream, self._path, self._cut = of, stream, path, cut

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._stream.write(raw[: len(raw) // 2])
        self._of._ask("write on", self._path)
        self._stream.write(raw[len(raw) // 2 : len(raw) - self._cut])
        return len(raw)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

"""What an archive holds: its members, as the readers of tars and zips give them."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple


class Entry(NamedTuple):
    """A regular file in an archive. `path` names it for people, `name` within; `size` in bytes, as the archive says."""

    path: str
    name: str
    stream: BinaryIO
    size: int


def is_unsafe(name: str) -> bool:
    """Whether a member's name leads out of its archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts

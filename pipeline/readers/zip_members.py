"""Members of a zip, with bounds on its directory and on what all members together become."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from pipeline.readers.entries import Entry, is_unsafe
from pipeline.readers.record import Unreadable
from pipeline.readers.streams import STREAM_ERRORS, describe

_DIRECTORY_BYTES = 32 << 20  # at most; zipfile holds it, at about ten times the size


def _directory_bytes(raw: BinaryIO) -> int:
    """How long a zip says its directory is (PKWARE's APPNOTE 4.3.14 and 4.3.16), which zipfile would read into memory."""
    end = raw.seek(0, os.SEEK_END)
    raw.seek(max(0, end - (1 << 16) - 200))
    tail = raw.read()
    raw.seek(0)
    small, large = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    sizes = [int.from_bytes(tail[small + 12 : small + 16], "little")] if small >= 0 else []
    if large >= 0:
        sizes = [size for size in sizes if size != 0xFFFFFFFF] + [int.from_bytes(tail[large + 40 : large + 48], "little")]
    return max(sizes, default=0)


def entries(path: str, raw: BinaryIO, is_wanted: Callable[[str], bool], max_expansion: int) -> Iterator[Entry | Unreadable]:
    """The wanted members of a zip, in the order of its directory, and what of them cannot be read. `path` names the zip for people."""
    size = _directory_bytes(raw)
    if size > _DIRECTORY_BYTES:
        yield Unreadable(path, f"refused: a directory of {size} bytes, over {_DIRECTORY_BYTES}")
        return
    given = 0
    allowed = max(1 << 20, raw.seek(0, os.SEEK_END) * max_expansion)
    try:
        archive = zipfile.ZipFile(raw)
    except (ValueError, NotImplementedError) as error:  # names that are not in their charset; versions it does not know
        yield Unreadable(path, describe(error))
        return
    with archive:
        for entry in archive.infolist():
            inner = f"{path}!{entry.filename}"
            if not entry.filename:
                yield Unreadable(inner, "refused: an entry without a name")
                continue
            if entry.is_dir() or not is_wanted(entry.filename):
                continue
            if is_unsafe(entry.filename) or (entry.external_attr >> 16) & 0o170000 == 0o120000:
                yield Unreadable(inner, "refused: a link, or a path that leaves the archive")
                continue
            # entries may share their bytes, each of them sound, and all together a bomb
            if entry.file_size > max(1 << 20, entry.compress_size * max_expansion) or given + entry.file_size > allowed:
                yield Unreadable(inner, f"refused: expands to {entry.file_size} bytes, after {given} of others (max_expansion)")
                continue
            given += entry.file_size
            try:
                with archive.open(entry) as stream:
                    yield Entry(inner, entry.filename, cast(BinaryIO, stream), entry.file_size)
            except (NotImplementedError, RuntimeError, ValueError, *STREAM_ERRORS) as error:  # unknown method; encrypted; damaged
                yield Unreadable(inner, describe(error))

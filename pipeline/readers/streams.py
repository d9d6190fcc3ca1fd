"""Streams of bytes that anybody may have written: decompressed, bounded, and read as far as they are sound."""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyarrow as pa
import zstandard

from pipeline.readers.config import SourceConfig
from pipeline.readers.gzip_members import GzipMembers

# What a damaged stream raises as it is read.
STREAM_ERRORS = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    tarfile.TarError,
    zipfile.BadZipFile,
    pa.ArrowException,
)
# The largest that zstd can write (`--long=31`, as Pushshift's dumps of Reddit are). It is asked of the system at once and taken as data
# come, of which `max_expansion` has the bound.
_ZSTD_WINDOW = 1 << 31


@dataclass(frozen=True)
class Member:
    """One stream to read: a file, decompressed, or a file within an archive. `path` names it for people, `name` within.

    `size`: bytes of the file or the archive's member, compressed as it is. Web archives come as they are, since their compression
    tells where records begin.
    """

    path: str
    name: str
    stream: BinaryIO
    size: int = 0


class TooLarge(OSError):
    """A stream that outgrows its limit."""


class _Limited(io.RawIOBase):
    """A stream that stops a decompression bomb: at most `ratio` bytes out for each byte in, past the first megabyte."""

    def __init__(self, stream: BinaryIO, allowed: int) -> None:
        self._stream, self._allowed, self._read = stream, allowed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = read_some(self._stream, len(buffer))  # not all of it at once, so that damage costs only what comes after it
        self._read += len(data)
        if self._read > self._allowed:
            raise TooLarge(f"expands to more than {self._allowed} bytes (max_expansion)")
        buffer[: len(data)] = data
        return len(data)


def decompress(stream: BinaryIO, path: str, size: int, source: SourceConfig) -> BinaryIO:
    """The stream's contents by the ending of its path: .gz, .zst, .bz2, .xz, or a tar's short one; bounded by `max_expansion`."""
    name = path.lower()
    opened: BinaryIO
    if name.endswith((".gz", ".tgz")):
        opened = cast(BinaryIO, GzipMembers(stream))
    elif name.endswith((".zst", ".tzst")):
        opened = cast(BinaryIO, zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(stream, read_across_frames=True))
    elif name.endswith((".bz2", ".tbz2", ".tbz")):
        opened = cast(BinaryIO, bz2.BZ2File(stream))
    elif name.endswith((".xz", ".txz")):
        opened = cast(BinaryIO, lzma.LZMAFile(stream))  # noqa: SIM115 - the caller closes what it gave
    else:
        return stream
    return cast(BinaryIO, io.BufferedReader(_Limited(opened, max(1 << 20, size * source.max_expansion)), 1 << 16))


def read_all(member: Member, source: SourceConfig) -> bytes:
    """A member's bytes. Raises `TooLarge` past `max_record_bytes`."""
    return bounded(member.stream, source.max_record_bytes)


def bounded(stream: BinaryIO, limit: int) -> bytes:
    """A stream's bytes. Raises `TooLarge` past `limit`, which is a source's `max_record_bytes`."""
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"longer than max_record_bytes ({limit})")
    return data


class _Rejoined(io.RawIOBase):
    """A stream with the bytes put back that were read of it."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._head:
            data, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        else:
            data = read_some(self._rest, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def read_some(stream: BinaryIO, size: int) -> bytes:
    """At most so many bytes, as they come; none at the end. Unlike `read`, it gives what comes before damage, and raises after it."""
    read1: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    return read1(size)


def rejoin(head: bytes, rest: BinaryIO) -> BinaryIO:
    """A stream whose first bytes were read to see what it is, from its beginning again."""
    return cast(BinaryIO, io.BufferedReader(_Rejoined(head, rest), 1 << 16))


def describe(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

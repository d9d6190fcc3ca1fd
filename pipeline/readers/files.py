"""From a source's path to streams: listing, decompression and archives, with limits on all that hostile input could inflate."""

from __future__ import annotations

import bz2
import fnmatch
import glob
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.fs
import zstandard

from pipeline.dataset import fingerprint
from pipeline.errors import UserError
from pipeline.readers.config import SourceConfig
from pipeline.readers.record import Unreadable

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

TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
ZIP = (".zip", ".whl")
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


@dataclass(frozen=True)
class InputFile:
    """One file of a source. `relative` is its place in the source; `fingerprint` changes when it does (size, time).

    `parts` are files that are read with it, and that its fingerprint covers: the licences above a source file, the files of a repository.
    """

    uri: str
    relative: str
    bytes: int
    fingerprint: str
    parts: tuple[InputFile, ...] = ()


@dataclass(frozen=True)
class Member:
    """One stream to read: a file, decompressed, or a file within an archive. `path` names it for people, `name` within."""

    path: str
    name: str
    stream: BinaryIO


class TooLarge(OSError):
    """A stream that outgrows its limit."""


def list_files(source: SourceConfig, base: Path) -> list[InputFile]:
    """The files of a source, sorted by path. Raises `UserError` where there are none."""
    files = _list_uri(source.path) if "://" in source.path else _list_local(source.path, base)
    chosen = [file for file in files if is_archive(file.relative) or is_included(source, file.relative)]
    if not chosen:
        found = f"{len(files)} files there, none matches include {source.include}" if files else "nothing there"
        raise UserError(f"source {source.name}: {source.path}: {found}; correct `path` or `include`")
    return sorted(chosen, key=lambda file: file.relative)


def _list_local(path: str, base: Path) -> list[InputFile]:
    root = Path(os.path.expandvars(path)).expanduser()
    root = root if root.is_absolute() else base / root
    if root.is_dir():
        found = [(Path(folder) / name) for folder, _, names in os.walk(root) for name in names]
        return [_local_file(file, file.relative_to(root).as_posix()) for file in found if file.is_file()]
    if root.is_file():
        return [_local_file(root, root.name)]
    matches = [Path(match) for match in glob.glob(str(root), recursive=True)]
    fixed = Path(*_before_glob(root.parts))
    return [_local_file(match, match.relative_to(fixed).as_posix()) for match in matches if match.is_file()]


def _before_glob(parts: tuple[str, ...]) -> list[str]:
    kept: list[str] = []
    for part in parts:
        if glob.has_magic(part):
            break
        kept.append(part)
    return kept


def _local_file(path: Path, relative: str) -> InputFile:
    status = path.stat()
    return InputFile(str(path), relative, status.st_size, fingerprint(relative, status.st_size, status.st_mtime_ns))


def _list_uri(uri: str) -> list[InputFile]:
    try:
        filesystem, root = pa.fs.FileSystem.from_uri(uri)
        info = filesystem.get_file_info(root)
        if info.type == pa.fs.FileType.File:
            infos = [info]
        else:
            infos = filesystem.get_file_info(pa.fs.FileSelector(root, recursive=True, allow_not_found=True))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{uri}: cannot be listed ({error}); check the URI and the credentials in the environment") from error
    scheme = uri.split("://", 1)[0]
    return [
        InputFile(
            f"{scheme}://{entry.path}",
            entry.path[len(root) :].lstrip("/") or entry.base_name,
            entry.size,
            fingerprint(entry.path, entry.size, entry.mtime_ns),
        )
        for entry in infos
        if entry.type == pa.fs.FileType.File
    ]


def is_archive(path: str) -> bool:
    """Whether a path is read member by member."""
    return path.lower().endswith(TAR + ZIP)


def is_included(source: SourceConfig, path: str) -> bool:
    """Whether the source's globs choose a path."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in source.include) and not any(
        fnmatch.fnmatchcase(path, pattern) for pattern in source.exclude
    )


def open_input(uri: str) -> BinaryIO:
    """A file as a stream, local or remote, not decompressed."""
    if "://" not in uri:
        return cast(BinaryIO, io.BufferedReader(io.FileIO(uri), 1 << 18))
    filesystem, path = pa.fs.FileSystem.from_uri(uri)
    return cast(BinaryIO, filesystem.open_input_file(path))


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
    """The stream's contents by the ending of its path: .gz, .zst, .bz2, .xz; bounded by `max_expansion`."""
    name = path.lower()
    opened: BinaryIO
    if name.endswith((".gz", ".tgz")):
        opened = cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    elif name.endswith(".zst"):
        opened = cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True))
    elif name.endswith(".bz2"):
        opened = cast(BinaryIO, bz2.BZ2File(stream))
    elif name.endswith(".xz"):
        opened = cast(BinaryIO, lzma.LZMAFile(stream))  # noqa: SIM115 - the caller closes what it gave
    else:
        return stream
    return cast(BinaryIO, io.BufferedReader(_Limited(opened, max(1 << 20, size * source.max_expansion)), 1 << 16))


def members(file: InputFile, source: SourceConfig) -> Iterator[Member | Unreadable]:
    """The streams of an input file: itself, decompressed, or each regular file of an archive that the globs choose.

    Archives within archives are not opened. Members with absolute paths or `..`, links and devices are refused; they and
    whatever is damaged come out as `Unreadable`, and the rest goes on as far as the archive can be followed.
    """
    name = file.relative.lower()
    try:
        with open_input(file.uri) as raw:
            if name.endswith(ZIP):
                yield from _zip_members(file, raw, source)
            elif name.endswith(TAR):
                yield from _tar_members(file, raw, source)
            else:
                stem = PurePosixPath(file.relative)
                inner = stem.with_suffix("").as_posix() if name.endswith(COMPRESSED) else stem.as_posix()
                yield Member(file.relative, inner, decompress(raw, file.relative, file.bytes, source))
    except STREAM_ERRORS as error:
        yield Unreadable(file.relative, describe(error))


def is_unsafe(name: str) -> bool:
    """Whether a member's name leads out of its archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts


def _tar_members(file: InputFile, raw: BinaryIO, source: SourceConfig) -> Iterator[Member | Unreadable]:
    plain = decompress(raw, file.relative, file.bytes, source)
    with tarfile.open(fileobj=plain, mode="r|") as archive:
        for entry in archive:
            path = f"{file.relative}!{entry.name}"
            if entry.isdir() or not is_included(source, entry.name):
                continue
            if is_unsafe(entry.name) or not entry.isfile():
                yield Unreadable(path, "refused: a link or device" if not entry.isfile() else "refused: path leaves the archive")
                continue
            stream = archive.extractfile(entry)
            assert stream is not None, "a regular member has a stream"
            yield Member(path, entry.name, decompress(cast(BinaryIO, stream), entry.name, entry.size, source))
        # tarfile takes a damaged header for the end; what follows a real end is zeros
        rest = cast(BinaryIO, archive.fileobj)
        while block := rest.read(1 << 16):
            if block.strip(b"\0"):
                yield Unreadable(file.relative, f"damaged at byte {archive.offset} of the tar: not a header; the rest cannot be read")
                return


def _zip_members(file: InputFile, raw: BinaryIO, source: SourceConfig) -> Iterator[Member | Unreadable]:
    with zipfile.ZipFile(raw) as archive:
        for entry in archive.infolist():
            path = f"{file.relative}!{entry.filename}"
            if entry.is_dir() or not is_included(source, entry.filename):
                continue
            if is_unsafe(entry.filename) or (entry.external_attr >> 16) & 0o170000 == 0o120000:
                yield Unreadable(path, "refused: a link, or a path that leaves the archive")
                continue
            if entry.file_size > max(1 << 20, entry.compress_size * source.max_expansion):
                yield Unreadable(path, f"refused: expands to {entry.file_size} bytes (max_expansion)")
                continue
            try:
                with archive.open(entry) as stream:
                    yield Member(path, entry.filename, decompress(cast(BinaryIO, stream), entry.filename, entry.file_size, source))
            except (NotImplementedError, RuntimeError, *STREAM_ERRORS) as error:  # unknown method; encrypted; damaged
                yield Unreadable(path, describe(error))


def read_all(member: Member, source: SourceConfig) -> bytes:
    """A member's bytes. Raises `TooLarge` past `max_record_bytes`."""
    data = member.stream.read(source.max_record_bytes + 1)
    if len(data) > source.max_record_bytes:
        raise TooLarge(f"longer than max_record_bytes ({source.max_record_bytes})")
    return data


class _Rejoined(io.RawIOBase):
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

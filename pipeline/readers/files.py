"""From a source's path to streams: listing, decompression and archives, with limits on all that hostile input could inflate."""

from __future__ import annotations

import bz2
import fnmatch
import glob
import io
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.fs
import zstandard

from pipeline.readers.config import SourceConfig
from pipeline.readers.gzip_members import GzipMembers
from pipeline.readers.record import Unreadable
from pipeline.readers.window import Window
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError

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

_MAX_ARCHIVES = 2  # one within another
_ARCHIVES_ARE_DOCUMENTS = ("latex",)  # a paper's source is an archive

TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst")
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


def list_files(source: SourceConfig, base: Path) -> list[InputFile]:
    """The files of a source, sorted by path. Raises `UserError` where there are none."""
    source.check()
    files = _list_uri(source) if "://" in source.path else _list_local(source.path, base)
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


def open_filesystem(uri: str) -> tuple[pa.fs.FileSystem, str]:
    """The file system of a URI, and the path there: one of pyarrow's own, else fsspec's of that scheme (hf://, az://, memory://).

    Raises `UserError` where neither knows the scheme, the URI is wrong, or what it names cannot be reached.
    """
    try:
        return cast(tuple[pa.fs.FileSystem, str], pa.fs.FileSystem.from_uri(uri))
    except (ValueError, pa.ArrowNotImplementedError, ImportError, OSError) as own:
        import fsspec  # after pyarrow's own: it is slow to import

        try:
            filesystem, path = fsspec.core.url_to_fs(uri)
        except Exception as error:  # each of them has errors of its own
            why = error if "Unrecognized filesystem" in str(own) else own
            raise UserError(
                f"{_without_secret(uri)}: cannot be opened ({_without_secret(describe(why))}); check the URI, or install what it names"
            ) from error
        return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(filesystem)), path


def _without_secret(text: str) -> str:
    """A text with a URI, to be shown: without the password it may have."""
    return re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", text)


_QUERY = re.compile(r"\?[A-Za-z_][\w.-]*=[^\s?]*$")  # any other question mark is a glob's; linear: it stops at the next one
_WEB = ("http", "https")
_UNQUOTED = "/~!$&'()*+,;=:@"  # in the path of a URI (RFC 3986), beside letters, digits and -._


def _split_query(uri: str) -> tuple[str, str]:
    """A URI without its query, and the query with its question mark. On the web a question mark is never a glob's."""
    at = uri.find("?") if uri.startswith(tuple(f"{scheme}://" for scheme in _WEB)) else -1
    match = _QUERY.search(uri)
    at = at if at >= 0 or match is None else match.start()
    return (uri, "") if at < 0 else (uri[:at], uri[at:])


def _list_uri(source: SourceConfig) -> list[InputFile]:
    """The files of a URI; those listed below it have its authority and query, which may hold options and credentials."""
    uri, query = _split_query(source.path)
    web = uri.split("://", 1)[0] in _WEB
    steps = uri.split("/")
    fixed = next((number for number, step in enumerate(steps) if number > 2 and glob.has_magic(step)), len(steps))
    chosen = re.compile(glob_pattern("/".join(steps[fixed:]))) if fixed < len(steps) else None
    base = "/".join(steps[:fixed])
    try:
        filesystem, root = open_filesystem(base + query)
    except UserError as error:
        raise UserError(f"source {source.name}: {error}") from error
    try:
        if web and (chosen or base.endswith("/")):  # a folder there is a page that links to its files
            root = base.rstrip("/") + "/"
            files = _linked(filesystem, root)
        else:
            info = filesystem.get_file_info(root)
            if info.type == pa.fs.FileType.File:
                relative = unquote(steps[-1]) if web else info.base_name
                found = _remote_file(info, relative, base + query)
                return [found] if chosen is None else []
            files = filesystem.get_file_info(pa.fs.FileSelector(root, recursive=True, allow_not_found=True))
    except Exception as error:  # fsspec's file systems have errors of their own
        raise UserError(
            f"source {source.name}: {_without_secret(source.path)}: cannot be listed ({_without_secret(describe(error))}); check the URI, "
            "and the credentials in the environment"
        ) from error
    root = root.rstrip("/")
    own = not isinstance(filesystem, pa.fs.PyFileSystem)  # whose URIs have their paths quoted
    listed = []
    for info in files:
        below = info.path[len(root) :].lstrip("/")
        relative = unquote(below) if web else below
        if info.type == pa.fs.FileType.File and below and (chosen is None or chosen.fullmatch(relative)):
            place = f"{base.rstrip('/')}/{quote(below, safe=_UNQUOTED) if own else below}{query}"
            listed.append(_remote_file(info, relative, place))
    return listed


def _remote_file(info: pa.fs.FileInfo, relative: str, uri: str) -> InputFile:
    return InputFile(uri, relative, info.size or 0, fingerprint(info.path, info.size, info.mtime_ns))


def _linked(filesystem: pa.fs.FileSystem, root: str) -> list[pa.fs.FileInfo]:
    """The files that a folder's pages on the web link to, below it, with their sizes, for which each is asked."""
    found = filesystem.get_file_info(pa.fs.FileSelector(root, recursive=True, allow_not_found=True))
    paths = [
        info.path
        for info in found
        if info.type == pa.fs.FileType.File and info.path.startswith(root) and "?" not in info.path and not info.path.endswith("/")
    ]  # a question mark is a link that sorts the page
    return list(filesystem.get_file_info(paths))


def glob_pattern(text: str) -> str:
    """A glob of a path as a regular expression: `*` and `?` stay within a folder, `**` crosses folders. Each star may cost the
    length of a path once more; nothing else in it repeats.
    """
    known = {"**/": "(?:[^/]*/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = []
    for piece in re.split(r"(\*\*/?|\*|\?|\[!?[^\]\[/\\]+\])", text):
        characters = piece.replace("[!", "[^", 1) if re.fullmatch(r"\[!?[^\]\[/\\]+\]", piece) else None
        try:
            parts.append(known.get(piece) or re.compile(characters or re.escape(piece)).pattern)
        except re.error:  # a range that runs backwards
            parts.append(re.escape(piece))
    return "".join(parts)


def is_archive(path: str) -> bool:
    """Whether a path is read member by member."""
    return path.lower().endswith(TAR + ZIP)


def is_included(source: SourceConfig, path: str) -> bool:
    """Whether the source's globs choose a path."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in source.include) and not any(
        fnmatch.fnmatchcase(path, pattern) for pattern in source.exclude
    )


def open_input(uri: str) -> BinaryIO:
    """A file as a stream, local or remote, not decompressed. Raises `UserError` where its file system cannot be opened."""
    if "://" not in uri:
        return cast(BinaryIO, io.BufferedReader(io.FileIO(uri), 1 << 18))
    filesystem, path = open_filesystem(uri)
    if not isinstance(filesystem, pa.fs.PyFileSystem):
        return cast(BinaryIO, filesystem.open_input_file(path))
    try:
        return cast(BinaryIO, io.BufferedReader(_Foreign(filesystem.handler.fs.open(path, "rb")), 1 << 18))
    except _Foreign.KNOWN:
        raise
    except Exception as error:
        raise OSError(describe(error)) from error


class _Foreign(io.RawIOBase):
    """A file of fsspec's, whose errors (aiohttp's, botocore's) come out as an `OSError`. One of unknown length cannot be sought in."""

    KNOWN = (OSError, EOFError, MemoryError)

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return getattr(self._file, "size", 0) is not None and bool(self._file.seekable())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            data = self._file.read(len(buffer))
        except self.KNOWN:
            raise
        except Exception as error:
            raise OSError(describe(error)) from error
        buffer[: len(data)] = data
        return len(data)


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
        opened = cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True))
    elif name.endswith((".bz2", ".tbz2", ".tbz")):
        opened = cast(BinaryIO, bz2.BZ2File(stream))
    elif name.endswith((".xz", ".txz")):
        opened = cast(BinaryIO, lzma.LZMAFile(stream))  # noqa: SIM115 - the caller closes what it gave
    else:
        return stream
    return cast(BinaryIO, io.BufferedReader(_Limited(opened, max(1 << 20, size * source.max_expansion)), 1 << 16))


def members(file: InputFile, source: SourceConfig) -> Iterator[Member | Unreadable]:
    """The streams of an input file: itself, decompressed, or each regular file of an archive that the globs choose.

    An archive within an archive is opened too, one within that is not; papers' sources are not, since theirs is the unit.
    Members with absolute paths or `..`, links and devices are refused; they and whatever is damaged come out as `Unreadable`,
    and the rest is read: after damage in a tar, from the next header on.
    """
    try:
        with open_input(file.uri) as raw:
            if is_archive(file.relative):
                yield from _archive_members(file.relative, file.relative, file.bytes, raw, source, depth=1)
            else:
                yield _member(file.relative, file.relative, file.bytes, raw, source)
    except STREAM_ERRORS as error:
        yield Unreadable(file.relative, describe(error))


def _member(path: str, name: str, size: int, raw: BinaryIO, source: SourceConfig) -> Member:
    if source.format in ("warc", "wet"):
        return Member(path, name, raw, size)
    inner = name[: name.rindex(".")] if name.lower().endswith(COMPRESSED) and not is_archive(name) else name
    return Member(path, inner, decompress(raw, name, size, source), size)


def _archive_members(path: str, name: str, size: int, raw: BinaryIO, source: SourceConfig, *, depth: int) -> Iterator[Member | Unreadable]:
    """Members of an archive that is itself `depth` deep."""
    if name.lower().endswith(ZIP):
        if not raw.seekable():  # the directory is at its end
            raw = io.BytesIO(_bounded(raw, source.max_record_bytes))
        found = _zip_entries(path, raw, source)
    else:
        found = _tar_entries(path, decompress(raw, name, size, source), source)
    for item in found:
        if isinstance(item, Unreadable):
            yield item
            continue
        inner, entry, stream, entry_size = item
        try:
            if not is_archive(entry) or source.format in _ARCHIVES_ARE_DOCUMENTS:
                yield _member(inner, entry, entry_size, stream, source)
            elif depth == _MAX_ARCHIVES:
                yield Unreadable(inner, f"refused: an archive within {depth} archives")
            else:
                yield from _archive_members(inner, entry, entry_size, stream, source, depth=depth + 1)
        except STREAM_ERRORS as error:
            yield Unreadable(inner, describe(error))


def is_unsafe(name: str) -> bool:
    """Whether a member's name leads out of its archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts


def _wanted(source: SourceConfig, name: str) -> bool:
    """Whether a member is chosen: archives are, as among files, unless they are the documents."""
    return is_included(source, name) or (is_archive(name) and source.format not in _ARCHIVES_ARE_DOCUMENTS)


_Entry = tuple[str, str, BinaryIO, int]  # path for people, name, stream, size


class _Content(io.RawIOBase):
    """The content of a tar's member. A tar that ends before it does is an `EOFError`."""

    def __init__(self, window: Window, begin: int, size: int) -> None:
        self._window, self._at, self._end = window, begin, begin + size
        self.failed = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._end - self._at)
        try:
            data = self._window.get(self._at, self._at + wanted)
            if wanted and not data:
                raise EOFError(f"the tar ends {self._end - self._at} bytes before this member does")
        except STREAM_ERRORS:
            self.failed = True
            raise
        self._at += len(data)
        self._window.forget(self._at)
        buffer[: len(data)] = data
        return len(data)


_TAR_BLOCK = 512
_TAR_NAMES = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_TAR_NAME_BYTES = 1 << 20  # of one such header, at most; tarfile would read what it says into memory, and gzip makes that cheap
_NO_HEADER = (tarfile.HeaderError, ValueError, ArithmeticError)


def _pax(data: bytes) -> dict[str, str]:
    """The records of an extended header (POSIX 1003.1-2008, pax): `LENGTH KEY=VALUE\\n`, as far as they are sound."""
    found: dict[str, str] = {}
    while data:
        digits, blank, _ = data[:20].partition(b" ")
        if not blank or not digits.isdigit() or int(digits) <= len(digits) + 1:
            break
        key, _, value = data[len(digits) + 1 : int(digits)].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.removesuffix(b"\n").decode("utf-8", "replace")
        data = data[int(digits) :]
    return found


def _tar_entries(path: str, plain: BinaryIO, source: SourceConfig) -> Iterator[_Entry | Unreadable]:
    """Members of a tar, one after the other, headers read by tarfile. Where no header is, the next block that is one is looked
    for (its checksum says so), after the end too: what follows there is another archive, or nothing but zeros.
    """
    window = Window.of(plain)
    at, damaged = 0, None
    own: dict[str, str] = {}  # what extended headers say of the next member
    while True:
        window.skip(at)
        block = window.get(at, at + _TAR_BLOCK)
        if len(block) < _TAR_BLOCK:
            break
        if not block.strip(b"\0"):
            at += _TAR_BLOCK
            continue
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except _NO_HEADER:
            damaged = at if damaged is None else damaged
            at += _TAR_BLOCK
            own = {}
            continue
        if damaged is not None:
            yield Unreadable(f"{path} (byte {damaged} of the tar)", f"no header; reading goes on {at - damaged} bytes on")
            damaged = None
        begin = at + _TAR_BLOCK
        if header.type in _TAR_NAMES:
            if header.size > _TAR_NAME_BYTES:
                yield Unreadable(f"{path} (byte {at} of the tar)", f"an extended header of {header.size} bytes, over {_TAR_NAME_BYTES}")
                at = begin
                continue
            data = window.get(begin, begin + header.size)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                own["path"] = data.rstrip(b"\0").decode("utf-8", "replace")
            elif header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                own |= _pax(data)
            at = begin + -(-header.size // _TAR_BLOCK) * _TAR_BLOCK
            continue
        name = own.get("path") or header.name
        size = int(own["size"]) if own.get("size", "").isdigit() and len(own["size"]) < 19 else header.size
        sparse = header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in own)
        own = {}
        if header.type == tarfile.GNUTYPE_SPARSE:
            extended = block[482]
            while extended:
                extended = window.get(begin, begin + _TAR_BLOCK)[504:505] not in (b"", b"\0")
                begin += _TAR_BLOCK
        stored = size if header.isreg() or header.type not in tarfile.SUPPORTED_TYPES else 0
        at = begin + -(-stored // _TAR_BLOCK) * _TAR_BLOCK
        inner = f"{path}!{name}"
        if header.isdir() or not _wanted(source, name):
            continue
        if is_unsafe(name) or not header.isreg() or sparse:
            why = "path leaves the archive" if is_unsafe(name) else "a sparse file" if sparse else "a link or device"
            yield Unreadable(inner, f"refused: {why}")
            continue
        content = _Content(window, begin, size)
        yield inner, name, cast(BinaryIO, io.BufferedReader(content, 1 << 16)), size
        if content.failed:
            return  # which its reader has reported
    if damaged is not None:
        yield Unreadable(f"{path} (byte {damaged} of the tar)", "no header; the rest cannot be read")
    elif block or at > window.end:
        yield Unreadable(f"{path} (byte {window.end} of the tar)", "cut off within a member")


_ZIP_DIRECTORY_BYTES = 32 << 20  # at most; zipfile holds it, at about ten times the size


def _zip_directory_bytes(raw: BinaryIO) -> int:
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


def _zip_entries(path: str, raw: BinaryIO, source: SourceConfig) -> Iterator[_Entry | Unreadable]:
    size = _zip_directory_bytes(raw)
    if size > _ZIP_DIRECTORY_BYTES:
        yield Unreadable(path, f"refused: a directory of {size} bytes, over {_ZIP_DIRECTORY_BYTES}")
        return
    given = 0
    allowed = max(1 << 20, raw.seek(0, os.SEEK_END) * source.max_expansion)
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
            if entry.is_dir() or not _wanted(source, entry.filename):
                continue
            if is_unsafe(entry.filename) or (entry.external_attr >> 16) & 0o170000 == 0o120000:
                yield Unreadable(inner, "refused: a link, or a path that leaves the archive")
                continue
            # entries may share their bytes, each of them sound, and all together a bomb
            if entry.file_size > max(1 << 20, entry.compress_size * source.max_expansion) or given + entry.file_size > allowed:
                yield Unreadable(inner, f"refused: expands to {entry.file_size} bytes, after {given} of others (max_expansion)")
                continue
            given += entry.file_size
            try:
                with archive.open(entry) as stream:
                    yield inner, entry.filename, cast(BinaryIO, stream), entry.file_size
            except (NotImplementedError, RuntimeError, ValueError, *STREAM_ERRORS) as error:  # unknown method; encrypted; damaged
                yield Unreadable(inner, describe(error))


def read_all(member: Member, source: SourceConfig) -> bytes:
    """A member's bytes. Raises `TooLarge` past `max_record_bytes`."""
    return _bounded(member.stream, source.max_record_bytes)


def _bounded(stream: BinaryIO, limit: int) -> bytes:
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

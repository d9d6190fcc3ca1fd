"""Files behind URIs: the file systems that know them, listing below a URI, and opening."""

from __future__ import annotations

import glob
import io
import os
import re
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.fs

from pipeline.readers.streams import describe
from pipeline.workdir.errors import UserError


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


class Listed(NamedTuple):
    """A file below a URI: its own URI, its place below, and what its file system says of it."""

    uri: str
    relative: str
    info: pa.fs.FileInfo


def list_uri(path: str, source: str) -> list[Listed]:
    """The files of a URI, which may hold a glob; those listed below it have its authority and query, which may hold options and
    credentials. Raises `UserError`, naming the source, where it cannot be listed.
    """
    uri, query = _split_query(path)
    web = uri.split("://", 1)[0] in _WEB
    steps = uri.split("/")
    fixed = next((number for number, step in enumerate(steps) if number > 2 and glob.has_magic(step)), len(steps))
    chosen = re.compile(glob_pattern("/".join(steps[fixed:]))) if fixed < len(steps) else None
    base = "/".join(steps[:fixed])
    try:
        filesystem, root = open_filesystem(base + query)
    except UserError as error:
        raise UserError(f"source {source}: {error}") from error
    try:
        if web and (chosen or base.endswith("/")):  # a folder there is a page that links to its files
            root = base.rstrip("/") + "/"
            files = _linked(filesystem, root)
        else:
            info = filesystem.get_file_info(root)
            if info.type == pa.fs.FileType.File:
                relative = unquote(steps[-1]) if web else info.base_name
                return [Listed(base + query, relative, info)] if chosen is None else []
            files = filesystem.get_file_info(pa.fs.FileSelector(root, recursive=True, allow_not_found=True))
    except Exception as error:  # fsspec's file systems have errors of their own
        raise UserError(
            f"source {source}: {_without_secret(path)}: cannot be listed ({_without_secret(describe(error))}); check the URI, "
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
            listed.append(Listed(place, relative, info))
    return listed


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

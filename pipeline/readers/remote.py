"""Files behind URIs: listing below a URI, which may hold a glob."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.fs

from pipeline.workdir.errors import UserError
from storage.errors import StorageError
from storage.filesystems import open_filesystem
from storage.location import Location
from storage.retry import FIRST_SECONDS, Patience, stated

_WEB = ("http", "https")
_THREADS = 16  # of requests beside each other
_UNQUOTED = "/~!$&'()*+,;=:@"  # in the path of a URI (RFC 3986), beside letters, digits and -._


class Listed(NamedTuple):
    """A file below a URI: its own URI, its place below, and what its file system says of it."""

    uri: str
    relative: str
    info: pa.fs.FileInfo


def list_uri(path: str, source: str) -> list[Listed]:
    """The files of a URI, which may hold a glob; those listed below it have its authority and query, which may hold options and
    credentials. Raises `UserError`, naming the source, where it cannot be listed.
    """
    try:
        return _listed(Location.parse(path))
    except StorageError as error:
        raise UserError(f"source {source}: {error}") from error


def _listed(location: Location) -> list[Listed]:
    web = location.scheme in _WEB
    steps = location.path.split("/")
    fixed = next((number for number, step in enumerate(steps) if glob.has_magic(step)), len(steps))
    chosen = re.compile(glob_pattern("/".join(steps[fixed:]))) if fixed < len(steps) else None
    base = replace(location, path="/".join(steps[:fixed]))
    patience = Patience(min(stated(), FIRST_SECONDS))  # what is misspelt is told soon
    filesystem, root = open_filesystem(base, patience)

    def ask() -> tuple[str, list[pa.fs.FileInfo]]:
        if web and (chosen or base.path.endswith("/")):  # a folder there is a page that links to its files
            page = root.rstrip("/") + "/"
            return page, _linked(filesystem, page)
        info = filesystem.get_file_info(root)
        if info.type == pa.fs.FileType.File:
            return "", [info]
        return root, list(filesystem.get_file_info(pa.fs.FileSelector(root, recursive=True, allow_not_found=True)))

    root, files = patience.again(ask, f"{location}: cannot be listed", location, local=isinstance(filesystem, pa.fs.LocalFileSystem))
    if not root:
        relative = unquote(steps[-1]) if web else files[0].base_name
        return [Listed(base.uri, relative, files[0])] if chosen is None else []
    root = root.rstrip("/")
    own = not isinstance(filesystem, pa.fs.PyFileSystem)  # whose URIs have their paths quoted
    listed = []
    for info in files:
        below = info.path[len(root) :].lstrip("/")
        relative = unquote(below) if web else below
        if info.type == pa.fs.FileType.File and below and (chosen is None or chosen.fullmatch(relative)):
            listed.append(Listed(base.below(quote(below, safe=_UNQUOTED) if own else below).uri, relative, info))
    return listed


def _linked(filesystem: pa.fs.FileSystem, root: str) -> list[pa.fs.FileInfo]:
    """The files that a folder's pages on the web link to, below it, with their sizes, for which each is asked."""
    found = filesystem.get_file_info(pa.fs.FileSelector(root, recursive=True, allow_not_found=True))
    paths = [
        info.path
        for info in found
        if info.type == pa.fs.FileType.File and info.path.startswith(root) and "?" not in info.path and not info.path.endswith("/")
    ]  # a question mark is a link that sorts the page
    ask: Callable[[str], pa.fs.FileInfo] = filesystem.get_file_info
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(ask, paths))


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

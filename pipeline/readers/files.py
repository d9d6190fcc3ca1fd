"""The files of a source: those of a folder, a glob or a URI, chosen by its globs, each with a fingerprint."""

from __future__ import annotations

import fnmatch
import glob
import os
from dataclasses import dataclass, field
from pathlib import Path

from kernel.cache import expand_home
from pipeline.readers import remote
from pipeline.readers.config import SourceConfig
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError
from storage.errors import why
from storage.location import scrub

TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst")
ZIP = (".zip", ".whl")
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


@dataclass(frozen=True)
class InputFile:
    """One file of a source. `relative` is its place in the source; `fingerprint` changes when it does (size, time).

    `parts` are files that are read with it, and that its fingerprint covers: the licences above a source file, the files of a repository.
    `passed_over`: files that are not opened and are counted with it, by kind.
    """

    uri: str = field(repr=False)  # it may hold a password
    relative: str
    bytes: int
    fingerprint: str
    parts: tuple[InputFile, ...] = ()
    passed_over: tuple[tuple[str, int], ...] = ()


def list_files(source: SourceConfig, base: Path) -> list[InputFile]:
    """The files of a source, sorted by path. Raises `UserError` where there are none."""
    source.check()
    files = _list_uri(source) if "://" in source.path else _list_local(source.path, base)
    chosen = [file for file in files if is_archive(file.relative) or is_included(source, file.relative)]
    if not chosen:
        found = f"of {len(files)} files there none matches include {source.include}" if files else "there is nothing there"
        raise UserError(f"source {source.name}: {scrub(source.path)}: {found}; correct `path` or `include`")
    return sorted(chosen, key=lambda file: file.relative)


def _list_local(path: str, base: Path) -> list[InputFile]:
    root = expand_home(os.path.expandvars(path))
    root = root if root.is_absolute() else base / root
    if root.is_dir():
        found = [(Path(folder) / name) for folder, _, names in os.walk(root, onerror=_refused) for name in names]
        return [_local_file(file, file.relative_to(root).as_posix()) for file in found if file.is_file()]
    if root.is_file():
        return [_local_file(root, root.name)]
    matches = [Path(match) for match in glob.glob(str(root), recursive=True)]
    fixed = Path(*_before_glob(root.parts))
    return [_local_file(match, match.relative_to(fixed).as_posix()) for match in matches if match.is_file()]


def _refused(error: OSError) -> None:
    """A folder that cannot be listed is not an empty one."""
    raise UserError(f"{error.filename}: cannot be listed ({why(error)}); correct the permissions, or leave it out of the source's `path`")


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


def _list_uri(source: SourceConfig) -> list[InputFile]:
    listed = remote.list_uri(source.path, source.name)
    return [InputFile(uri, relative, info.size or 0, fingerprint(relative, info.size, info.mtime_ns)) for uri, relative, info in listed]


def is_archive(path: str) -> bool:
    """Whether a path is read member by member."""
    return path.lower().endswith(TAR + ZIP)


def is_included(source: SourceConfig, path: str) -> bool:
    """Whether the source's globs choose a path."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in source.include) and not any(
        fnmatch.fnmatchcase(path, pattern) for pattern in source.exclude
    )

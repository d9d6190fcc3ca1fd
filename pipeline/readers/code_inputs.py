"""The inputs of a source of code: archives, git repositories, bundles, and files with the licences that count for them."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.readers import files
from pipeline.readers.config import MOST_BYTES, SourceConfig
from pipeline.readers.data import rows
from pipeline.readers.files import InputFile, is_archive, is_included
from pipeline.readers.licenses import governed
from pipeline.readers.reuse import BESIDE
from pipeline.readers.surroundings import is_read_along
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError
from storage.location import scrub

BUNDLE = ".bundle"
CONTROL = frozenset((".git", ".hg", ".svn", "CVS", ".bzr", "_darcs", ".jj"))  # version control's own folders
_OBJECTS = re.compile(r"(?:.*/)?objects/(?:pack/[^/]+\.pack|info/alternates|[0-9a-f]{2}/[0-9a-f]{38}(?:[0-9a-f]{24})?)")
# Endings of what is never text: their bytes need not be read.
_BINARY = frozenset(ending for (_, endings) in rows("binary-endings.tsv") for ending in endings.split())


class CodeSource(SourceConfig):
    """Source trees, git repositories and bundles."""

    revision: str | None = Field(
        None,
        description="The branch, tag or commit to read. None: HEAD, whatever is checked out.",
    )
    notebooks: Literal["script", "drop"] = Field(
        "script",
        description="Jupyter notebooks as scripts, with text as comments and without outputs (The Stack v2), or left out.",
    )
    join: Literal["file", "repository"] = Field(
        "file",
        description="One document a file, or files of one repository and licence joined, those imported first (DeepSeek-Coder). "
        "Generated and vendored files are never joined.",
    )
    max_joined_bytes: int = Field(
        1 << 20, ge=1, le=MOST_BYTES, description="Most bytes of a joined document; a repository larger than that is split between files."
    )


def binary_kind(path: str) -> str:
    """What a binary file is counted as, where it is passed over."""
    name = path.rsplit("/", 1)[-1]
    return f"binary files: .{name.rsplit('.', 1)[-1].lower()[:20]}" if "." in name[1:] else "binary files: no ending"


def may_be_text(path: str) -> bool:
    """Whether a file's ending lets it be text."""
    return path.rsplit(".", 1)[-1].lower() not in _BINARY


def list_files(source: CodeSource, base: Path) -> list[InputFile]:
    """The inputs of a source of code, sorted by path: archives, git repositories (working trees and bare ones), bundles, and other
    files; of a folder's files, with the licences above each, or with `join: repository` one input for each repository.

    Raises `UserError` where there are none, and where a git repository lies on a remote file system.
    """
    everything = files.list_files(source.model_copy(update={"include": ["*"], "exclude": []}), base)
    git, plain = _git_folders(everything)
    chosen = [_repository(folder, listed, source) for folder, listed in git.items()]
    along: dict[str, list[InputFile]] = defaultdict(list)  # by the folder that they speak for, or the path
    loose = []
    passed: Counter[str] = Counter()
    paths = {file.relative for file in plain}
    speaks_for = governed(path for path in paths if is_read_along(path))
    for file in plain:
        if file.relative in speaks_for:
            own = file.relative.removesuffix(BESIDE)
            along[f"{own}{BESIDE}" if file.relative.endswith(BESIDE) and own in paths else speaks_for[file.relative]].append(file)
        if is_archive(file.relative) or file.relative.endswith(BUNDLE):
            chosen.append(file)
        elif is_included(source, file.relative):
            if may_be_text(file.relative):
                loose.append(file)
            else:
                passed[binary_kind(file.relative)] += 1
    if source.join == "repository":
        groups: dict[str, list[InputFile]] = defaultdict(list)
        for file in loose:
            groups[file.relative.split("/", 1)[0] if "/" in file.relative else ""].append(file)
        for name, grouped in groups.items():
            beside = {other.relative: other for file in grouped for other in _above(file.relative, along)}
            parts = tuple(sorted(grouped, key=lambda file: file.relative))
            keys = [part.fingerprint for part in (*parts, *beside.values())]
            # the first file stands for its repository
            chosen.append(
                replace(
                    parts[0],
                    relative=name or source.name,
                    bytes=sum(part.bytes for part in parts),
                    fingerprint=fingerprint("joined", keys),
                    parts=(*parts, *(replace(file, parts=(file,)) for file in beside.values())),
                )
            )
    else:
        for file in loose:
            beside_it = tuple(other for other in _above(file.relative, along) if other.relative != file.relative)
            keys = [file.fingerprint, *(other.fingerprint for other in beside_it)]
            chosen.append(replace(file, parts=beside_it, fingerprint=fingerprint(keys) if beside_it else file.fingerprint))
    if not chosen:
        raise UserError(
            f"source {source.name}: {scrub(source.path)}: of {len(everything)} files there none matches include {source.include}; "
            "correct `path` or `include`"
        )
    chosen.sort(key=lambda file: file.relative)
    if passed:  # counted with the first
        counts = tuple(sorted(passed.items()))
        chosen[0] = replace(chosen[0], passed_over=counts, fingerprint=fingerprint(chosen[0].fingerprint, counts))
    return chosen


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _above(path: str, legal: Mapping[str, list[InputFile]]) -> list[InputFile]:
    """The files that speak for a path: its own side file, and those in the folders above it, the whole way: which of them counts is settled
    by what they say."""
    found: list[InputFile] = list(legal.get(path + BESIDE, ()))
    folder = _parent(path)
    while True:
        found += legal.get(folder, ())
        if not folder:
            return found
        folder = _parent(folder)


def _git_folders(everything: Iterable[InputFile]) -> tuple[dict[str, list[InputFile]], list[InputFile]]:
    """Git folders by their path, each with its files; and the files that lie in no repository."""
    listed = list(everything)
    with_objects = {
        file.relative[: match.end()]
        for file in listed
        if (match := re.match(r"(?:.*/)?(?=objects/)", file.relative)) and _OBJECTS.fullmatch(file.relative)
    }
    heads = {file.relative.removesuffix("HEAD") for file in listed if file.relative == "HEAD" or file.relative.endswith("/HEAD")}
    folders = with_objects & heads  # a folder of objects with a HEAD beside it
    git: dict[str, list[InputFile]] = {folder: [] for folder in folders if "/.git/" not in f"/{folder.removesuffix('.git/')}"}
    roots = {(folder.removesuffix(".git/") if folder == ".git/" or folder.endswith("/.git/") else folder): folder for folder in git}
    plain = []
    for file in listed:
        parts = file.relative.split("/")
        prefixes = ["/".join(parts[:size]) + "/" if size else "" for size in range(len(parts) - 1, -1, -1)]
        root = next((prefix for prefix in prefixes if prefix in roots), None)
        if root is not None:
            folder = roots[root]
            if file.relative.startswith(folder):
                git[folder].append(file)
            continue
        if not CONTROL & set(parts):
            plain.append(file)
    return git, plain


def _repository(folder: str, listed: list[InputFile], source: CodeSource) -> InputFile:
    """A git folder as one input."""
    head = next(file for file in listed if file.relative == f"{folder}HEAD")
    if "://" in head.uri:
        raise UserError(
            f"source {source.name}: {scrub(head.uri)}: a git repository must lie on a local disk; copy it, or make it a bundle (git bundle)"
        )
    uri = os.path.dirname(head.uri)
    root = Path(uri).parent if os.path.basename(uri) == ".git" else Path(uri)
    relative = folder.rstrip("/").removesuffix(".git").rstrip("/") or root.name
    # objects are named by what they hold, so only what names a commit decides what is read
    inner = [file for file in listed if file.relative[len(folder) :].startswith(("HEAD", "packed-refs", "refs/"))]
    key = fingerprint("git", source.revision, [(file.relative, file.fingerprint) for file in sorted(inner, key=lambda file: file.relative)])
    objects = sum(file.bytes for file in listed if file.relative[len(folder) :].startswith("objects/"))
    return InputFile(uri, relative, objects, key)

"""Source code: folders of repositories, archives of one, git repositories and bundles; one document a file, or joined by repository.

A file's language is settled by name and content, its licence by its own tag, its repository's licence files or its package's metadata;
generated and vendored files are kept, marked in `meta` with the reason, for rules to look at. Binary files, files of no known
language and what version control keeps for itself are passed over.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from pipeline.readers import files, notebooks, repositories
from pipeline.readers.config import SourceConfig
from pipeline.readers.decode import decode, describe_bytes
from pipeline.readers.files import STREAM_ERRORS, InputFile, Member, TooLarge, describe, is_archive, is_included, members, read_all
from pipeline.readers.generated import generated, vendored
from pipeline.readers.joined import File, pieces
from pipeline.readers.languages import is_binary, language_of
from pipeline.readers.licenses import MAX_TEXT, Found, governed, is_license_file, is_metadata_file, license_of, of_directories
from pipeline.readers.record import RAW_BYTES, Record, Unreadable
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError

BUNDLE = ".bundle"
JOIN_WINDOW = 256 << 20  # bytes of one repository's files that are held, and so ordered, at once
_CONTROL = frozenset((".git", ".hg", ".svn", "CVS", ".bzr", "_darcs", ".jj"))  # version control's own folders
_OBJECTS = re.compile(r"(?:.*/)?objects/(?:pack/[^/]+\.pack|info/alternates|[0-9a-f]{2}/[0-9a-f]{38}(?:[0-9a-f]{24})?)")
_TARBALL = re.compile(r"(.+)-([0-9a-f]{40})")  # the folder in an archive of a commit, as forges make them
_POINTER = "version https://git-lfs.github.com/spec/"


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
        1 << 20, ge=1, description="Most bytes of a joined document; a repository larger than that is split between files."
    )


# --- what there is to read ---------------------------------------------------------------------------------------------


def list_files(source: CodeSource, base: Path) -> list[InputFile]:
    """The inputs of a source of code, sorted by path: archives, git repositories (working trees and bare ones), bundles, and other
    files; of a folder's files, with the licences above each, or with `join: repository` one input for each repository.

    Raises `UserError` where there are none, and where a git repository lies on a remote file system.
    """
    everything = files.list_files(source.model_copy(update={"include": ["*"], "exclude": []}), base)
    git, plain = _git_folders(everything)
    chosen = [_repository(folder, listed, source) for folder, listed in git.items()]
    legal: dict[str, list[InputFile]] = defaultdict(list)
    loose = []
    speaks_for = governed(file.relative for file in plain if is_license_file(file.relative) or is_metadata_file(file.relative))
    for file in plain:
        if file.relative in speaks_for:
            legal[speaks_for[file.relative]].append(file)
        if is_archive(file.relative) or file.relative.endswith(BUNDLE):
            chosen.append(file)
        elif _may_be_text(file.relative) and is_included(source, file.relative):
            loose.append(file)
    if source.join == "repository":
        groups: dict[str, list[InputFile]] = defaultdict(list)
        for file in loose:
            groups[file.relative.split("/", 1)[0] if "/" in file.relative else ""].append(file)
        for name, grouped in groups.items():
            beside = {legal_file.relative: legal_file for file in grouped for legal_file in _above(file.relative, legal)}
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
            beside_it = tuple(other for other in _above(file.relative, legal) if other.relative != file.relative)
            keys = [file.fingerprint, *(other.fingerprint for other in beside_it)]
            chosen.append(replace(file, parts=beside_it, fingerprint=fingerprint(keys) if beside_it else file.fingerprint))
    if not chosen:
        raise UserError(
            f"source {source.name}: {source.path}: {len(everything)} files there, none matches include {source.include}; "
            "correct `path` or `include`"
        )
    return sorted(chosen, key=lambda file: file.relative)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _above(path: str, legal: Mapping[str, list[InputFile]]) -> list[InputFile]:
    """The licence and metadata files in the folders above a path, the whole way: which one counts is settled by what they say."""
    found: list[InputFile] = []
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
        if not _CONTROL & set(parts):
            plain.append(file)
    return git, plain


def _repository(folder: str, listed: list[InputFile], source: CodeSource) -> InputFile:
    """A git folder as one input."""
    head = next(file for file in listed if file.relative == f"{folder}HEAD")
    if "://" in head.uri:
        raise UserError(
            f"source {source.name}: {head.uri}: a git repository must lie on a local disk; copy it, or make it a bundle (git bundle)"
        )
    uri = os.path.dirname(head.uri)
    root = Path(uri).parent if os.path.basename(uri) == ".git" else Path(uri)
    relative = folder.rstrip("/").removesuffix(".git").rstrip("/") or root.name
    # objects are named by what they hold, so only what names a commit decides what is read
    inner = [file for file in listed if file.relative[len(folder) :].startswith(("HEAD", "packed-refs", "refs/"))]
    key = fingerprint("git", source.revision, [(file.relative, file.fingerprint) for file in sorted(inner, key=lambda file: file.relative)])
    objects = sum(file.bytes for file in listed if file.relative[len(folder) :].startswith("objects/"))
    return InputFile(uri, relative, objects, key)


# --- a tree of files, wherever it lies ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Blob:
    """One file of a tree: its place for people, its path in the tree, its bytes."""

    location: str
    path: str
    data: bytes


@dataclass(frozen=True)
class _Tree:
    """What the files of one input share."""

    repository: str | None  # None: the first folder of each path
    revision: str | None
    licenses: Mapping[str, Found]  # by directory


def read_file(file: InputFile, source: CodeSource) -> Iterator[Record | Unreadable]:
    """Everything in one input of a source of code: records, and what could not be read."""
    with ExitStack() as stack:
        try:
            tree, blobs = _open(file, source, stack)
        except (*STREAM_ERRORS, repositories.RepositoryError) as error:
            yield Unreadable(file.relative, describe(error))
            return
        records = _records(tree, blobs, source)
        yield from _joined(records, file, source) if source.join == "repository" else records


def _open(file: InputFile, source: CodeSource, stack: ExitStack) -> tuple[_Tree, Iterator[_Blob | Unreadable]]:
    if "://" not in file.uri and Path(file.uri).is_dir():  # a git folder: the only input that is one
        objects = stack.enter_context(repositories.opened(Path(file.uri)))
        return _open_git(file, objects, source, stack)
    if file.relative.endswith(BUNDLE):
        with files.open_input(file.uri) as stream:
            objects = stack.enter_context(repositories.unbundled(stream, file.bytes))
        return _open_git(file, objects, source, stack)
    if is_archive(file.relative):
        return _Tree(None, None, _licenses_in_archive(file, source)), _in_archive(file, source)
    if source.join == "repository":
        own = [part for part in file.parts if not part.parts]
        return _Tree(None, None, _licenses_of_files(file.parts, source)), (blob for part in own for blob in _loose(part, source))
    return _Tree(None, None, _licenses_of_files((file, *file.parts), source)), _loose(file, source)


def _loose(file: InputFile, source: CodeSource) -> Iterator[_Blob | Unreadable]:
    for member in members(replace(file, parts=()), source):
        yield _bytes(member, source) if isinstance(member, Member) else member


def _bytes(member: Member, source: CodeSource) -> _Blob | Unreadable:
    try:
        return _Blob(member.path, member.name, read_all(member, source))
    except STREAM_ERRORS as error:
        return Unreadable(member.path, describe(error))


def _in_archive(file: InputFile, source: CodeSource) -> Iterator[_Blob | Unreadable]:
    for member in members(file, source):
        if isinstance(member, Unreadable):
            yield member
        elif not _CONTROL & set(PurePosixPath(member.name).parts) and _may_be_text(member.name):
            yield _bytes(member, source)


# Endings of what is never text: their bytes need not be read.
_BINARY = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "ico",
        "bmp",
        "tif",
        "tiff",
        "webp",
        "psd",
        "pdf",
        "woff",
        "woff2",
        "ttf",
        "otf",
        "eot",
        "zip",
        "gz",
        "bz2",
        "xz",
        "zst",
        "7z",
        "rar",
        "jar",
        "war",
        "class",
        "pyc",
        "pyo",
        "pyd",
        "so",
        "dll",
        "dylib",
        "exe",
        "o",
        "a",
        "lib",
        "obj",
        "bin",
        "dat",
        "npy",
        "npz",
        "mp3",
        "mp4",
        "wav",
        "ogg",
        "avi",
        "mov",
        "webm",
        "flac",
        "mo",
        "gmo",
        "pkl",
        "pickle",
        "parquet",
        "arrow",
        "feather",
        "h5",
        "hdf5",
        "db",
        "sqlite",
        "sqlite3",
        "pack",
        "idx",
        "wasm",
        "doc",
        "docx",
        "xls",
        "xlsx",
        "ppt",
        "pptx",
        "odt",
        "swf",
        "deb",
        "rpm",
        "whl",
        "egg",
        "tar",
        "tgz",
    ]
)


def _may_be_text(path: str) -> bool:
    return path.rsplit(".", 1)[-1].lower() not in _BINARY


def _licenses_in_archive(file: InputFile, source: CodeSource) -> dict[str, Found]:
    """A first pass over an archive, for its licence and metadata files; damage is reported by the second."""
    found = []
    for member in members(file, source.model_copy(update={"include": ["*"], "exclude": []})):
        if isinstance(member, Member) and (is_license_file(member.name) or is_metadata_file(member.name)):
            if _CONTROL & set(PurePosixPath(member.name).parts):
                continue
            try:
                found.append((member.name, member.stream.read(MAX_TEXT).decode("utf-8", "replace")))
            except STREAM_ERRORS:
                break
    return of_directories(found)


_read_legal: dict[tuple[str, ...], dict[str, Found]] = {}


def _licenses_of_files(listed: Iterable[InputFile], source: CodeSource) -> dict[str, Found]:
    """The licences of folders, from the files beside a source file; the files of a folder share them, so the last are remembered."""
    legal = [file for file in listed if is_license_file(file.relative) or is_metadata_file(file.relative)]
    key = tuple(file.fingerprint for file in legal)
    if key not in _read_legal:
        texts = []
        for file in legal:
            for blob in _loose(replace(file, parts=()), source):
                if isinstance(blob, _Blob):
                    texts.append((file.relative, blob.data[:MAX_TEXT].decode("utf-8", "replace")))
        if len(_read_legal) >= 64:
            _read_legal.clear()
        _read_legal[key] = of_directories(texts)
    return _read_legal[key]


def _open_git(
    file: InputFile, objects: repositories.Objects, source: CodeSource, stack: ExitStack
) -> tuple[_Tree, Iterator[_Blob | Unreadable]]:
    commit = objects.resolve(source.revision)
    contents = stack.enter_context(objects.contents())
    legal = []
    listed = []
    for entry in objects.entries(commit):
        if is_license_file(entry.path) or is_metadata_file(entry.path):
            with suppress(repositories.RepositoryError):  # reported where its text is read
                legal.append((entry.path, contents.read(entry.object, source.max_record_bytes)[:MAX_TEXT].decode("utf-8", "replace")))
        if is_included(source, entry.path) and _may_be_text(entry.path):
            listed.append(entry)
    repository = PurePosixPath(file.relative).name.removesuffix(BUNDLE).removesuffix(".git")
    return _Tree(repository, commit, of_directories(legal)), _in_git(file, listed, contents, source)


def _in_git(
    file: InputFile, listed: Iterable[repositories.Entry], contents: repositories.Contents, source: CodeSource
) -> Iterator[_Blob | Unreadable]:
    for entry in listed:
        location = f"{file.relative}!{entry.path}"
        if entry.size > source.max_record_bytes:
            yield Unreadable(location, describe(TooLarge(f"longer than max_record_bytes ({source.max_record_bytes})")))
            continue
        try:
            yield _Blob(location, entry.path, contents.read(entry.object, source.max_record_bytes))
        except repositories.RepositoryError as error:
            yield Unreadable(location, describe(error))


# --- one file to one record --------------------------------------------------------------------------------------------

# A charset that a file declares for itself (PEP 263, Emacs, Vim): those that text of its language was written in.
_CODING = re.compile(rb"(?:coding|charset|encoding)[ \t]{0,8}[:=][ \t]{0,8}[\"']?([\w.-]{2,30})")
_CHARSETS = re.compile(
    r"latin-?1|iso[-_]?8859[-_]\d{1,2}|(?:cp|windows-?)125\d|cp437|cp850|cp866|cp932|cp949|koi8-[ru]|shift[-_]?jis|sjis|euc[-_](?:jp|kr|tw)|gb2312|gbk|gb18030|big5|iso-2022-jp|macroman|mac-roman"
)


def _decode(data: bytes) -> str:
    """Text as UTF-8 or by its byte order mark, else in the charset that its first two lines declare. Raises `UnicodeDecodeError`."""
    try:
        return decode(data)
    except UnicodeDecodeError:
        match = _CODING.search(b"\n".join(data[:1000].split(b"\n", 2)[:2]))
        name = match.group(1).decode("ascii").lower().removesuffix("-unix").removesuffix("-dos") if match else ""
        if not _CHARSETS.fullmatch(name):
            raise
        try:
            return data.decode(name.replace("latin-1", "latin1"))
        except LookupError:
            pass
        raise


def _records(tree: _Tree, blobs: Iterator[_Blob | Unreadable], source: CodeSource) -> Iterator[Record | Unreadable]:
    for blob in blobs:
        if isinstance(blob, Unreadable):
            yield blob
        else:
            yield from _record(tree, blob, source)


def _record(tree: _Tree, blob: _Blob, source: CodeSource) -> Iterator[Record | Unreadable]:
    """One file's record; none where it is binary or in no language we know."""
    if is_binary(blob.data):
        return
    try:
        text = _decode(blob.data)
    except UnicodeDecodeError as error:
        if language_of(blob.path) is not None:
            yield Unreadable(f"{blob.location} (byte {error.start})", describe_bytes(error), blob.data[:RAW_BYTES])
        return
    language = language_of(blob.path, text)
    if language is None or text.startswith(_POINTER):
        return
    parts = PurePosixPath(blob.path).parts
    repository, revision, inner = tree.repository, tree.revision, blob.path
    if repository is None:
        repository = parts[0] if len(parts) > 1 else source.name
        inner = "/".join(parts[1:]) if len(parts) > 1 else blob.path
        if match := _TARBALL.fullmatch(repository):
            repository, revision = match.groups()
    license = license_of(blob.path, text, tree.licenses, source.license)
    meta: dict[str, object] = {"repository": repository, "size": len(blob.data)}
    if revision:
        meta["revision"] = revision
    if license:
        meta["license_from"] = license.origin
    if reason := generated(inner, text):
        meta["generated"] = reason
    if reason := vendored(inner):
        meta["vendored"] = reason
    if language == "Jupyter Notebook":
        if source.notebooks == "drop":
            return
        try:
            text, language = notebooks.script(text)
        except ValueError as error:
            yield Unreadable(blob.location, f"not a notebook: {describe(error)}", blob.data[:RAW_BYTES])
            return
        meta["notebook"] = True
    yield Record(blob.location, text, language=language, license=license.expression if license else None, path=blob.path, meta=meta)


# --- joined ------------------------------------------------------------------------------------------------------------


def _joined(records: Iterator[Record | Unreadable], file: InputFile, source: CodeSource) -> Iterator[Record | Unreadable]:
    """Records of files to records of repositories: files of one repository and licence together. What is generated or vendored stays
    a document of its own, marked as such; so does whatever could not be read."""
    waiting: dict[tuple[str, str], list[Record]] = defaultdict(list)
    held = number = 0
    for item in records:
        if not isinstance(item, Record) or "generated" in item.meta or "vendored" in item.meta:
            yield item
            continue
        waiting[str(item.meta["repository"]), item.license or ""].append(item)
        held += int(item.meta["size"])
        if held >= JOIN_WINDOW:
            for joined in _join(waiting, file, source, number):
                number += 1
                yield joined
            waiting.clear()
            held = 0
    yield from _join(waiting, file, source, number)


def _join(waiting: Mapping[tuple[str, str], list[Record]], file: InputFile, source: CodeSource, number: int) -> Iterator[Record]:
    for repository, license in sorted(waiting):
        group = waiting[repository, license]
        listed = [File(record.path or record.id, record.language or "", record.text) for record in group]
        for numbers, text in pieces(listed, source.max_joined_bytes):
            sizes: dict[str, int] = defaultdict(int)
            for index in numbers:
                sizes[listed[index].language] += len(listed[index].text)
            first = group[numbers[0]]
            meta: dict[str, object] = {
                "repository": repository,
                "size": len(text.encode("utf-8", "surrogatepass")),
                "files": [listed[index].path for index in numbers],
            }
            for key in ("revision", "license_from"):
                if key in first.meta:
                    meta[key] = first.meta[key]
            language = min(sizes, key=lambda name: (-sizes[name], name))
            yield Record(f"{file.relative}#{number}", text, language=language, license=license or None, path=first.path, meta=meta)
            number += 1

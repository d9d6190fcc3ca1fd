"""Source code: folders of repositories, archives of one, git repositories and bundles; one document a file, or joined by repository.

A file's language is settled by name and content, its licence by its own tag, its repository's licence files or its package's metadata;
generated and vendored files are kept, marked in `meta` with the reason, for rules to look at. What `.gitattributes` say of any of these
counts first. Binary files and files of no known language are passed over, counted by their endings; so are links and other repositories
within one. What version control keeps for itself is not looked at.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.readers import attributes, notebooks, repositories
from pipeline.readers.archives import members
from pipeline.readers.attributes import Attributes
from pipeline.readers.code_inputs import BUNDLE, CONTROL, CodeSource, binary_kind, list_files, may_be_text
from pipeline.readers.decode import decode, describe_bytes
from pipeline.readers.files import InputFile, is_archive, is_included
from pipeline.readers.generated import generated, vendored
from pipeline.readers.joined import File, pieces
from pipeline.readers.languages import ending_of, is_binary, language_of
from pipeline.readers.licenses import license_of
from pipeline.readers.package_metadata import MAX_TEXT
from pipeline.readers.record import RAW_BYTES, PassedOver, Record, Unreadable
from pipeline.readers.reuse import BESIDE
from pipeline.readers.streams import STREAM_ERRORS, Member, TooLarge, describe, read_all
from pipeline.readers.surroundings import Surroundings, is_read_along
from storage.inputs import open_input

__all__ = ["list_files", "read_file"]

JOIN_WINDOW = 256 << 20  # bytes of one repository's files that are held, and so ordered, at once
_TARBALL = re.compile(r"(.+)-([0-9a-f]{40})")  # the folder in an archive of a commit, as forges make them
_POINTER = "version https://git-lfs.github.com/spec/"


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
    surroundings: Surroundings  # what other files of the tree say of each
    passed: Mapping[str, int] = field(default_factory=dict)  # what was not even opened, by kind


def read_file(file: InputFile, source: CodeSource) -> Iterator[Record | Unreadable | PassedOver]:
    """Everything in one input of a source of code: records, what could not be read, and what was passed over."""
    for kind, count in file.passed_over:
        yield from (PassedOver(kind) for _ in range(count))
    with ExitStack() as stack:
        try:
            tree, blobs = _open(file, source, stack)
        except (*STREAM_ERRORS, repositories.RepositoryError) as error:
            yield Unreadable(file.relative, describe(error))
            return
        for kind, count in tree.passed.items():
            yield from (PassedOver(kind) for _ in range(count))
        records = _records(tree, blobs, source)
        yield from _joined(records, file, source) if source.join == "repository" else records


def _open(file: InputFile, source: CodeSource, stack: ExitStack) -> tuple[_Tree, Iterator[_Blob | Unreadable | PassedOver]]:
    if "://" not in file.uri and Path(file.uri).is_dir():  # a git folder: the only input that is one
        objects = stack.enter_context(repositories.opened(Path(file.uri)))
        return _open_git(file, objects, source, stack)
    if file.relative.endswith(BUNDLE):
        with open_input(file.uri) as stream:
            objects = stack.enter_context(repositories.unbundled(stream, file.bytes))
        return _open_git(file, objects, source, stack)
    if is_archive(file.relative):
        return _Tree(None, None, _surroundings_in_archive(file, source)), _in_archive(file, source)
    if source.join == "repository":
        own = [part for part in file.parts if not part.parts]
        return _Tree(None, None, _surroundings_of_files(file.parts, source)), (blob for part in own for blob in _loose(part, source))
    return _Tree(None, None, _surroundings_of_files((file, *file.parts), source)), _loose(file, source)


def _loose(file: InputFile, source: CodeSource) -> Iterator[_Blob | Unreadable]:
    for member in members(replace(file, parts=()), source):
        yield _bytes(member, source) if isinstance(member, Member) else member


def _bytes(member: Member, source: CodeSource) -> _Blob | Unreadable:
    try:
        return _Blob(member.path, member.name, read_all(member, source))
    except STREAM_ERRORS as error:
        return Unreadable(member.path, describe(error))


def _in_archive(file: InputFile, source: CodeSource) -> Iterator[_Blob | Unreadable | PassedOver]:
    for member in members(file, source):
        if isinstance(member, Unreadable):
            yield member
        elif not CONTROL & set(member.name.split("/")):
            yield _bytes(member, source) if may_be_text(member.name) else PassedOver(binary_kind(member.name))


def _surroundings_in_archive(file: InputFile, source: CodeSource) -> Surroundings:
    """A first pass over an archive, for what its files say of others; damage is reported by the second."""
    found = []
    for member in members(file, source.model_copy(update={"include": ["*"], "exclude": []})):
        if isinstance(member, Member) and is_read_along(member.name):
            if CONTROL & set(member.name.split("/")):
                continue
            try:
                found.append((member.name, member.stream.read(MAX_TEXT).decode("utf-8", "replace")))
            except STREAM_ERRORS:
                break
    return Surroundings.read(found)


_read_along: dict[tuple[str, ...], Surroundings] = {}


def _surroundings_of_files(listed: Iterable[InputFile], source: CodeSource) -> Surroundings:
    """What the files beside a source file say of it; the files of a folder share them, so the last are remembered."""
    along = [file for file in listed if is_read_along(file.relative)]
    beside = [file for file in along if file.relative.endswith(BESIDE)]
    shared = [file for file in along if not file.relative.endswith(BESIDE)]
    key = tuple(file.fingerprint for file in shared)
    if key not in _read_along:
        if len(_read_along) >= 64:
            _read_along.clear()
        _read_along[key] = Surroundings.read(_texts(shared, source))
    return _read_along[key].with_beside(_texts(beside, source)) if beside else _read_along[key]


def _texts(listed: Iterable[InputFile], source: CodeSource) -> list[tuple[str, str]]:
    blobs = ((file.relative, blob) for file in listed for blob in _loose(replace(file, parts=()), source))
    return [(path, blob.data[:MAX_TEXT].decode("utf-8", "replace")) for path, blob in blobs if isinstance(blob, _Blob)]


def _open_git(
    file: InputFile, objects: repositories.Objects, source: CodeSource, stack: ExitStack
) -> tuple[_Tree, Iterator[_Blob | Unreadable]]:
    commit = objects.resolve(source.revision)
    contents = stack.enter_context(objects.contents())
    along = []
    listed = []
    passed: Counter[str] = Counter()
    for entry in objects.entries(commit):
        if entry.kind != "file":
            passed[entry.kind] += 1
            continue
        if is_read_along(entry.path):
            with suppress(repositories.RepositoryError):  # reported where its text is read
                along.append((entry.path, contents.read(entry.object, source.max_record_bytes)[:MAX_TEXT].decode("utf-8", "replace")))
        if is_included(source, entry.path):
            if may_be_text(entry.path):
                listed.append(entry)
            else:
                passed[binary_kind(entry.path)] += 1
    repository = file.relative.rpartition("/")[2].removesuffix(BUNDLE).removesuffix(".git")
    return _Tree(repository, commit, Surroundings.read(along), passed), _in_git(file, listed, contents, source)


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


def _records(
    tree: _Tree, blobs: Iterator[_Blob | Unreadable | PassedOver], source: CodeSource
) -> Iterator[Record | Unreadable | PassedOver]:
    for blob in blobs:
        if isinstance(blob, Unreadable | PassedOver):
            yield blob
        else:
            yield from _record(tree, blob, source)


def _unknown_kind(path: str) -> str:
    """What a file of no known language is counted as."""
    ending = ending_of(path)
    return f"files of no known language: {f'.{ending[:20]}' if ending else 'no ending'}"


def _record(tree: _Tree, blob: _Blob, source: CodeSource) -> Iterator[Record | Unreadable | PassedOver]:
    """One file's record; passed over where it is binary or in no language we know."""
    said = tree.surroundings.attributes.of(blob.path)
    if said.binary or is_binary(blob.data):
        yield PassedOver(binary_kind(blob.path))
        return
    try:
        text = _decode(blob.data)
    except UnicodeDecodeError as error:
        if said.language is None and language_of(blob.path) is None:
            yield PassedOver(_unknown_kind(blob.path))
        else:
            yield Unreadable(f"{blob.location} (byte {error.start})", describe_bytes(error), blob.data[:RAW_BYTES])
        return
    language = said.language or language_of(blob.path, text)
    if language is None or text.startswith(_POINTER):
        yield PassedOver(_unknown_kind(blob.path) if language is None else "pointers of Git LFS")
        return
    parts = blob.path.split("/")
    repository, revision, inner = tree.repository, tree.revision, blob.path
    if repository is None:
        repository = parts[0] if len(parts) > 1 else source.name
        inner = "/".join(parts[1:]) if len(parts) > 1 else blob.path
        if match := _TARBALL.fullmatch(repository):
            repository, revision = match.groups()
    license = license_of(blob.path, text, tree.surroundings.licenses, source.license, tree.surroundings.reuse)
    meta: dict[str, object] = {"repository": repository, "size": len(blob.data)}
    if revision:
        meta["revision"] = revision
    if license:
        meta["license_from"] = license.origin
        if license.others:
            meta["license_others"] = {other.origin: other.expression for other in license.others}
    _mark(meta, said, inner, text)
    if language == "Jupyter Notebook":
        if source.notebooks == "drop":
            yield PassedOver("notebooks")
            return
        try:
            text, language = notebooks.script(text)
        except ValueError as error:
            yield Unreadable(blob.location, f"not a notebook: {describe(error)}", blob.data[:RAW_BYTES])
            return
        meta["notebook"] = True
    yield Record(blob.location, text, language=language, license=license.expression if license else None, path=blob.path, meta=meta)


def _mark(meta: dict[str, object], said: Attributes, path: str, text: str) -> None:
    """Mark a file that is generated, vendored or documentation, with the reason: its repository's own word first."""
    reasons = {
        "generated": None if said.generated is False else attributes.NAME if said.generated else generated(path, text),
        "vendored": None if said.vendored is False else attributes.NAME if said.vendored else vendored(path),
        "documentation": attributes.NAME if said.documentation else None,
    }
    meta.update({name: reason for name, reason in reasons.items() if reason})


# --- joined ------------------------------------------------------------------------------------------------------------


def _joined(
    records: Iterator[Record | Unreadable | PassedOver], file: InputFile, source: CodeSource
) -> Iterator[Record | Unreadable | PassedOver]:
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

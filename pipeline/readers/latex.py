r"""Papers in TeX, as arXiv keeps them: from archives, folders and single files to one document a paper.

What counts as one paper's sources: an archive (`.tar.gz`, `.zip`); within an archive or folder of many papers, the topmost folders that
hold a TeX file themselves; and in arXiv's bulk layout (a `.tar` of `.gz` files, each one TeX file or a tar of some) each `.gz`.
Its main files are those that no other includes and that, with what they include, have a `\documentclass`; where none has (plain TeX,
AmS-TeX), all that no other includes. Each main file is one document, but for variants: one of whose text more than half is that of a
main file before it (editions of a book, `main.tex` and `main-arxiv.tex`).

`\input` and its kin find files among the same sources only, by their names; nothing else is ever opened. Style files of the paper's own
are read for their macros.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from pipeline.readers import files
from pipeline.readers.archives import members
from pipeline.readers.config import EncodedSource
from pipeline.readers.entries import is_unsafe
from pipeline.readers.files import InputFile, is_included
from pipeline.readers.paper_sources import ENDINGS, TEXTS, Sources
from pipeline.readers.papers import documents
from pipeline.readers.record import RAW_BYTES, Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, TooLarge, describe, read_all, rejoin
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError
from storage.location import scrub

_LOOKS_LIKE_TEX = re.compile(
    rb"\\(?:document(?:class|style)|begin[ \t]{0,9}\{|input[ \t{]|section|magnification|def\\|bye\b|font\\|baselineskip)"
)


@dataclass(frozen=True)
class PaperFile(InputFile):
    """A paper in a folder: its files, by their names in it. `relative` is the folder."""

    named: tuple[tuple[str, InputFile], ...] = field(default=())


def group(found: Sequence[InputFile]) -> list[InputFile]:
    """A folder's files as papers: archives as they are, loose files by the topmost folder that holds a TeX file itself."""
    loose = [file for file in found if not files.is_archive(file.relative)]
    papers: list[InputFile] = [file for file in found if files.is_archive(file.relative)]
    single = [file for file in loose if _bare(file.relative) == file.relative and not file.relative.lower().endswith(ENDINGS)]
    compressed = [file for file in loose if _bare(file.relative) != file.relative]
    papers += compressed
    chosen = {id(file) for file in [*single, *compressed]}
    for folder, names in _by_folder([file.relative for file in loose if id(file) not in chosen]).items():
        by_name = {file.relative: file for file in loose}
        parts = tuple((name[len(folder) + 1 :] if folder else name, by_name[name]) for name in sorted(names))
        if not any(name.lower().endswith(TEXTS) for name, _ in parts):
            continue
        print_ = fingerprint(*[(name, file.fingerprint) for name, file in parts])
        papers.append(
            PaperFile("", folder or ".", sum(file.bytes for _, file in parts), print_, tuple(file for _, file in parts), named=parts)
        )
    return papers


def _bare(path: str) -> str:
    """A path without the ending of its compression."""
    return str(PurePosixPath(path).with_suffix("")) if path.lower().endswith(files.COMPRESSED) else path


def _by_folder(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by the topmost folder above them that holds a TeX file itself; names below none of those are left out."""
    homes = {posixpath.dirname(name) for name in names if name.lower().endswith(TEXTS)}
    top: dict[str, str | None] = {}

    def topmost(folder: str) -> str | None:
        if folder not in top:
            above = None if not folder else ""
            best = "" if "" in homes else None
            if above is not None and best is None:
                parts = folder.split("/")
                for end in range(1, len(parts) + 1):
                    if "/".join(parts[:end]) in homes:
                        best = "/".join(parts[:end])
                        break
            top[folder] = best
        return top[folder]

    groups: dict[str, list[str]] = {}
    for name in names:
        home = topmost(posixpath.dirname(name))
        if home is not None:
            groups.setdefault(home, []).append(name)
    return groups


def list_files(source: EncodedSource, base: Path) -> list[InputFile]:
    """The papers of a source, sorted by path: the files of a folder that belong together are one. Raises `UserError` where none is."""
    papers = group(files.list_files(_everything(source), base))
    if not papers:
        raise UserError(
            f"source {source.name}: {scrub(source.path)}: there are files, but none of them is TeX or an archive; "
            "correct `path` or `format`"
        )
    return sorted(papers, key=lambda file: file.relative)


def read_file(file: InputFile, source: EncodedSource) -> Iterator[Record | Unreadable]:
    """The papers of one input: a folder's, an archive's, or a file's own."""
    if isinstance(file, PaperFile):
        yield from _read_folder(file, source)
    elif files.is_archive(file.relative):
        yield from _read_archive(file, source)
    else:
        for member in members(file, source):
            yield from [member] if isinstance(member, Unreadable) else _guarded(member, source)


def _guarded(member: Member, source: EncodedSource) -> Iterator[Record | Unreadable]:
    try:
        yield from read(member, source)
    except STREAM_ERRORS as error:
        yield Unreadable(member.path, describe(error))


def _read_folder(file: PaperFile, source: EncodedSource) -> Iterator[Record | Unreadable]:
    sources = Sources()
    for name, part in file.named:
        sources.add(name, _opener(part, source))
    prefix = "" if file.relative == "." else file.relative + "/"
    yield from documents(sources, source, lambda name, _many: prefix + name, prefix)


def _read_archive(file: InputFile, source: EncodedSource) -> Iterator[Record | Unreadable]:
    """The papers that are archives or compressed files within the archive, one by one; then those of its loose files, by folder."""
    loose = Sources()
    try:
        for member in members(file, _everything(source)):
            if isinstance(member, Unreadable):
                if not member.location.startswith(f"{file.relative}!") or member.location.lower().endswith((*ENDINGS, ".gz")):
                    yield member
                continue
            name = member.path.rsplit("!", 1)[-1]  # with the ending of its compression
            if name.lower().endswith(files.COMPRESSED) and not _bare(name).lower().endswith(ENDINGS):
                if is_included(source, name):
                    yield from _guarded(member, source)
                continue
            try:
                _keep(loose, name, member, source)
            except STREAM_ERRORS as error:
                yield Unreadable(member.path, describe(error))
        for folder, names in sorted(_by_folder(loose.names).items()):
            yield from _read_loose(loose, folder, names, file, source)
    finally:
        loose.close()


def _keep(loose: Sources, name: str, member: Member, source: EncodedSource) -> None:
    """Keeps a member that is TeX, by its ending, or by its content where it has none."""
    if _bare(name).lower().endswith(ENDINGS):
        loose.keep(_bare(name), read_all(member, source))
    elif "." not in PurePosixPath(name).name:
        data = read_all(member, source)
        if _is_tex(data):
            loose.keep(name + ".tex", data)


def _read_loose(loose: Sources, folder: str, names: list[str], file: InputFile, source: EncodedSource) -> Iterator[Record | Unreadable]:
    """The paper of one folder within an archive."""
    paper = Sources()
    inner = folder + "/" if folder else ""
    for name in names:
        paper.add(name[len(inner) :], partial(loose.read, name))
    yield from documents(paper, source, lambda name, _many: f"{file.relative}!{inner}{name}", inner)


def _everything(source: EncodedSource) -> EncodedSource:
    """The source without its globs, which choose main files and not what they include."""
    return source.model_copy(update={"include": ["*"], "exclude": []})


def _opener(part: InputFile, source: EncodedSource) -> Callable[[], bytes]:
    def read() -> bytes:
        for member in members(part, _everything(source)):
            if isinstance(member, Unreadable):
                raise OSError(member.error)
            return read_all(member, source)
        return b""

    return read


def _is_tex(data: bytes) -> bool:
    return b"\0" not in data[:1024] and _LOOKS_LIKE_TEX.search(data[: 1 << 16]) is not None


def read(member: Member, source: EncodedSource) -> Iterator[Record | Unreadable]:
    """One stream: a TeX file, or the tar of a paper's sources that a `.gz` of arXiv's holds; other things (PDF, notes of a withdrawal)
    are passed over in arXiv's bulk layout, where nothing but the content tells them apart."""
    head = member.stream.read(1 << 10)
    if head[257:262] == b"ustar" or (len(head) > 512 and _is_old_tar(head)):
        yield from _read_tar(head, member, source)
        return
    data = head + member.stream.read(max(0, source.max_record_bytes + 1 - len(head)))
    if len(data) > source.max_record_bytes:
        raise TooLarge(f"longer than max_record_bytes ({source.max_record_bytes})")
    if b"\0" in data[:1024]:
        yield Unreadable(member.path, "not TeX: binary data", data[:RAW_BYTES])
        return
    if not data.strip() or data.startswith((b"%auto-ignore", b"%PDF")) or not (_is_tex(data) or member.name.lower().endswith(TEXTS)):
        if data.strip() and not data.startswith((b"%auto-ignore", b"%PDF", b"%!PS")):
            yield Unreadable(member.path, "not TeX: no command of LaTeX or plain TeX in its first 64 KB", data[:RAW_BYTES])
        return
    sources = Sources()
    name = PurePosixPath(member.name).name
    name = name if name.lower().endswith(TEXTS) else name + ".tex"
    sources.add(name, lambda: data)
    yield from documents(sources, source, lambda _name, _many: member.path, "", path=member.name)


def _is_old_tar(head: bytes) -> bool:
    """A tar's header by its checksum, where it has no magic."""
    try:
        stored = int(head[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return stored == sum(head[:148]) + 8 * 32 + sum(head[156:512])


def _read_tar(head: bytes, member: Member, source: EncodedSource) -> Iterator[Record | Unreadable]:
    sources = Sources()
    try:
        try:
            with tarfile.open(fileobj=rejoin(head, member.stream), mode="r|") as archive:
                for entry in archive:
                    if not entry.isfile() or is_unsafe(entry.name):
                        if not entry.isdir():
                            yield Unreadable(f"{member.path}!{entry.name}", "refused: a link, a device, or a path that leaves the archive")
                        continue
                    name = entry.name
                    if not (name.lower().endswith(ENDINGS) or "." not in PurePosixPath(name).name):
                        continue
                    stream = archive.extractfile(entry)
                    assert stream is not None, "a regular member has a stream"
                    try:
                        data = read_all(Member(name, name, cast(BinaryIO, stream)), source)
                    except TooLarge as error:
                        yield Unreadable(f"{member.path}!{name}", describe(error))
                        continue
                    if name.lower().endswith(ENDINGS):
                        sources.keep(name, data)
                    elif _is_tex(data):
                        sources.keep(name + ".tex", data)
        except STREAM_ERRORS as error:
            yield Unreadable(member.path, f"the rest cannot be read: {describe(error)}")

        def identify(name: str, many: bool) -> str:
            return f"{member.path}!{name}" if many else member.path

        yield from documents(sources, source, identify, "", path=member.name)
    finally:
        sources.close()

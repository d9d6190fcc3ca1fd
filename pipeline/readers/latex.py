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

import io
import posixpath
import re
import tarfile
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from pipeline.readers import files, tex
from pipeline.readers.config import EncodedSource
from pipeline.readers.decode import decode, describe_bytes
from pipeline.readers.files import STREAM_ERRORS, InputFile, Member, TooLarge, describe, is_included, read_all, rejoin
from pipeline.readers.record import RAW_BYTES, Record, Unreadable
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError

_ENDINGS = (".tex", ".ltx", ".latex", ".sty", ".cls", ".def", ".texi", ".txt")
_TEXTS = (".tex", ".ltx", ".latex")
# Characters of TeX in one document, with all that it includes: the engine holds up to twenty bytes for each.
_MAX_TEX = 16 << 20
_MAX_STYLE = 200_000  # bytes of a style file whose macros are read; conferences' own are longer than authors'
_MAX_SCAN = 4 << 20  # bytes of a file in which its inclusions are looked for

# Linear: each line is looked at once, up to its first comment; names are bounded.
_CLASS = re.compile(rb"^[^%\n]*?\\document(?:class|style)\b", re.MULTILINE)
_INCLUDES = re.compile(
    rb"\\(?:(?:input|include|subfile|subfileinclude|InputIfFileExists)\*?[ \t]{0,9}\{([^{}\n\\]{1,200})\}"
    rb"|input[ \t]{1,9}([^{}\s\\%]{1,200})"
    rb"|(?:sub)?(?:import|inputfrom|includefrom)\*?[ \t]{0,9}\{([^{}\n\\]{0,200})\}[ \t]{0,9}\{([^{}\n\\]{1,200})\})"
)
_COMMENT = re.compile(rb"(?<!\\)%[^\n]*")
_STYLES = re.compile(r"\\(?:usepackage|RequirePackage)[ \t]{0,9}(?:\[[^\]\n]{0,400}\])?[ \t]{0,9}\{([^{}]{1,400})\}")
_INPUTENC = re.compile(rb"\\usepackage[ \t]{0,9}\[([a-zA-Z0-9-]{1,20})\][ \t]{0,9}\{inputenc\}")
_LOOKS_LIKE_TEX = re.compile(
    rb"\\(?:document(?:class|style)|begin[ \t]{0,9}\{|input[ \t{]|section|magnification|def\\|bye\b|font\\|baselineskip)"
)
# inputenc's names, as Python's.
_CHARSETS = {
    "utf8": "utf-8", "utf8x": "utf-8", "ascii": "ascii", "latin1": "latin-1", "latin2": "iso8859-2", "latin3": "iso8859-3",
    "latin4": "iso8859-4", "latin5": "iso8859-9", "latin9": "iso8859-15", "latin10": "iso8859-16", "ansinew": "cp1252",
    "cp1252": "cp1252", "cp1250": "cp1250", "cp1251": "cp1251", "cp1257": "cp1257", "cp437": "cp437", "cp437de": "cp437",
    "cp850": "cp850", "cp852": "cp852", "cp855": "cp855", "cp858": "cp858", "cp865": "cp865", "cp866": "cp866", "applemac": "mac-roman",
    "macce": "mac-latin2", "koi8-r": "koi8-r", "koi8-ru": "koi8-u", "iso88595": "iso8859-5", "maccyr": "mac-cyrillic", "next": "latin-1",
    "decmulti": "latin-1", "applecyr": "mac-cyrillic",
}  # fmt: skip
_ARXIV = re.compile(
    r"(?:^|/)(?:arXiv[-_])?((?:(\d\d)(0[1-9]|1[0-2])\.\d{4,5}|([a-z-]{2,12})(\d\d)(0[1-9]|1[0-2])\d{3}))(v\d{1,2})?(?=[./]|$)"
)


@dataclass(frozen=True)
class PaperFile(InputFile):
    """A paper in a folder: its files, by their names in it. `relative` is the folder."""

    named: tuple[tuple[str, InputFile], ...] = field(default=())


class Sources:
    """A paper's TeX files by name, opened when asked for; in a file on disk where they come from a stream."""

    def __init__(self) -> None:
        self._opens: dict[str, Callable[[], bytes]] = {}
        self._names: list[str] = []
        self._spool: BinaryIO | None = None

    @property
    def names(self) -> list[str]:
        if len(self._names) != len(self._opens):
            self._names = sorted(self._opens)
        return self._names

    def add(self, name: str, opener: Callable[[], bytes]) -> None:
        self._opens.setdefault(posixpath.normpath(name), opener)

    def keep(self, name: str, data: bytes) -> None:
        """Adds a file that is at hand now and not later."""
        if self._spool is None:
            self._spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=32 << 20))  # noqa: SIM115 - closed with the sources
        spool = self._spool
        begin = spool.seek(0, io.SEEK_END)
        spool.write(data)

        def read() -> bytes:
            spool.seek(begin)
            return spool.read(len(data))

        self.add(name, read)

    def read(self, name: str) -> bytes:
        """Its bytes. Raises what the stream raises, and `TooLarge`."""
        return self._opens[name]()

    def find(self, name: str, folder: str, endings: Sequence[str] = (".tex", "", ".ltx", ".latex")) -> str | None:
        """The file that TeX would find for a name: beside the main file, or beside the one that names it."""
        name = name.strip().strip('"').replace("\\", "/")
        for place in dict.fromkeys((folder, "")):
            for ending in endings:
                path = posixpath.normpath(posixpath.join(place, name + ending))
                if path in self._opens:
                    return path
        return None

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()


def group(found: Sequence[InputFile]) -> list[InputFile]:
    """A folder's files as papers: archives as they are, loose files by the topmost folder that holds a TeX file itself."""
    loose = [file for file in found if not files.is_archive(file.relative)]
    papers: list[InputFile] = [file for file in found if files.is_archive(file.relative)]
    single = [file for file in loose if _bare(file.relative) == file.relative and not file.relative.lower().endswith(_ENDINGS)]
    compressed = [file for file in loose if _bare(file.relative) != file.relative]
    papers += compressed
    chosen = {id(file) for file in [*single, *compressed]}
    for folder, members in _by_folder([file.relative for file in loose if id(file) not in chosen]).items():
        by_name = {file.relative: file for file in loose}
        parts = tuple((name[len(folder) + 1 :] if folder else name, by_name[name]) for name in sorted(members))
        if not any(name.lower().endswith(_TEXTS) for name, _ in parts):
            continue
        print_ = fingerprint(*[(name, file.fingerprint) for name, file in parts])
        papers.append(PaperFile("", folder or ".", sum(file.bytes for _, file in parts), print_, named=parts))
    return papers


def _bare(path: str) -> str:
    """A path without the ending of its compression."""
    return str(PurePosixPath(path).with_suffix("")) if path.lower().endswith(files.COMPRESSED) else path


def _by_folder(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by the topmost folder above them that holds a TeX file itself; names below none of those are left out."""
    homes = {posixpath.dirname(name) for name in names if name.lower().endswith(_TEXTS)}
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
    everything = source.model_copy(update={"include": ["*"], "exclude": []})
    papers = group(files.list_files(everything, base))
    if not papers:
        raise UserError(f"source {source.name}: {source.path}: files there, none of them TeX or an archive; correct `path` or `format`")
    return sorted(papers, key=lambda file: file.relative)


def read_file(file: InputFile, source: EncodedSource) -> Iterator[Record | Unreadable]:
    """The papers of one input: a folder's, an archive's, or a file's own."""
    if isinstance(file, PaperFile):
        sources = Sources()
        for name, part in file.named:
            sources.add(name, _opener(part, source))
        prefix = "" if file.relative == "." else file.relative + "/"
        yield from _papers(sources, source, lambda name, _many: prefix + name, prefix)
        return
    everything = source.model_copy(update={"include": ["*"], "exclude": []})
    if not files.is_archive(file.relative):
        for member in files.members(file, source):
            if isinstance(member, Unreadable):
                yield member
            else:
                try:
                    yield from read(member, source)
                except STREAM_ERRORS as error:
                    yield Unreadable(member.path, describe(error))
        return
    loose = Sources()
    try:
        for member in files.members(file, everything):
            if isinstance(member, Unreadable):
                if not member.location.startswith(f"{file.relative}!") or member.location.lower().endswith((*_ENDINGS, ".gz")):
                    yield member
                continue
            try:
                name = member.path.rsplit("!", 1)[-1]  # with the ending of its compression
                if name.lower().endswith(files.COMPRESSED) and not _bare(name).lower().endswith(_ENDINGS):
                    if is_included(source, name):
                        yield from read(member, source)
                elif _bare(name).lower().endswith(_ENDINGS):
                    loose.keep(_bare(name), read_all(member, source))
                elif "." not in PurePosixPath(name).name:
                    data = read_all(member, source)
                    if _is_tex(data):
                        loose.keep(name + ".tex", data)
            except STREAM_ERRORS as error:
                yield Unreadable(member.path, describe(error))
        for folder, names in sorted(_by_folder(loose.names).items()):
            paper = Sources()
            cut = len(folder) + 1 if folder else 0
            for name in names:
                paper.add(name[cut:], lambda name=name: loose.read(name))  # type: ignore[misc]
            inner = folder + "/" if folder else ""
            place = f"{file.relative}!{inner}"
            yield from _papers(paper, source, lambda name, many, place=place: place + name, inner)  # type: ignore[misc]
    finally:
        loose.close()


def _opener(part: InputFile, source: EncodedSource) -> Callable[[], bytes]:
    def read() -> bytes:
        for member in files.members(part, source.model_copy(update={"include": ["*"], "exclude": []})):
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
    if not data.strip() or data.startswith((b"%auto-ignore", b"%PDF")) or not (_is_tex(data) or member.name.lower().endswith(_TEXTS)):
        if data.strip() and not data.startswith((b"%auto-ignore", b"%PDF", b"%!PS")):
            yield Unreadable(member.path, "not TeX: no command of LaTeX or plain TeX in its first 64 KB", data[:RAW_BYTES])
        return
    sources = Sources()
    name = PurePosixPath(member.name).name
    name = name if name.lower().endswith(_TEXTS) else name + ".tex"
    sources.add(name, lambda: data)
    yield from _papers(sources, source, lambda _name, _many: member.path, "", path=member.name)


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
                    if not entry.isfile() or files.is_unsafe(entry.name):
                        if not entry.isdir():
                            yield Unreadable(f"{member.path}!{entry.name}", "refused: a link, a device, or a path that leaves the archive")
                        continue
                    name = entry.name
                    if not (name.lower().endswith(_ENDINGS) or "." not in PurePosixPath(name).name):
                        continue
                    stream = archive.extractfile(entry)
                    assert stream is not None, "a regular member has a stream"
                    try:
                        data = read_all(Member(name, name, cast(BinaryIO, stream)), source)
                    except TooLarge as error:
                        yield Unreadable(f"{member.path}!{name}", describe(error))
                        continue
                    if name.lower().endswith(_ENDINGS):
                        sources.keep(name, data)
                    elif _is_tex(data):
                        sources.keep(name + ".tex", data)
        except STREAM_ERRORS as error:
            yield Unreadable(member.path, f"the rest cannot be read: {describe(error)}")

        def identify(name: str, many: bool) -> str:
            return f"{member.path}!{name}" if many else member.path

        yield from _papers(sources, source, identify, "", path=member.name)
    finally:
        sources.close()


def _papers(
    sources: Sources, source: EncodedSource, identify: Callable[[str, bool], str], folder: str, *, path: str | None = None
) -> Iterator[Record | Unreadable]:
    """The documents of one paper's sources. `identify` gives a main file's document its id, `folder` is where the sources are in the
    input, for the globs that choose main files; `path` is the paper's, where it is not the main file's."""
    mains, bad = _mains(sources)
    for name, why in bad.items():
        yield Unreadable(identify(name, True), why)
    if path is None:
        mains = [name for name in mains if is_included(source, folder + name)]
    for main in mains:
        try:
            yield _document(sources, main, source, identify(main, len(mains) > 1), path or folder + main)
        except UnicodeDecodeError as error:
            yield Unreadable(f"{identify(main, len(mains) > 1)} (byte {error.start})", describe_bytes(error))
        except (LookupError, *STREAM_ERRORS) as error:  # an `encoding` that Python does not know
            yield Unreadable(identify(main, len(mains) > 1), describe(error))


def _mains(sources: Sources) -> tuple[list[str], dict[str, str]]:
    """The main files, in order of name, and what could not be read."""
    children: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    has_class: set[str] = set()
    included: set[str] = set()
    bad: dict[str, str] = {}
    for name in sources.names:
        if not name.lower().endswith(_TEXTS):
            continue
        try:
            data = sources.read(name)
        except STREAM_ERRORS as error:
            bad[name] = describe(error)
            continue
        if b"\0" in data[:1024] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            bad[name] = "not TeX: binary data"
            continue
        sizes[name] = len(data)
        head = _COMMENT.sub(b"", data[:_MAX_SCAN])
        if _CLASS.search(head):
            has_class.add(name)
        found = []
        for match in _INCLUDES.finditer(head):
            wanted = (match.group(3) or b"") + (match.group(1) or match.group(2) or match.group(4))
            child = sources.find(wanted.decode("utf-8", "replace"), posixpath.dirname(name))
            if child is not None and child != name:
                found.append(child)
        children[name] = list(dict.fromkeys(found))
        included.update(found)
    roots = [name for name in children if name not in included]
    reach = {name: _reach(name, children) for name in (roots if len(roots) < 2_000 else [])}
    mains = [name for name in roots if reach.get(name, {name}) & has_class] or [name for name in children if name in has_class] or roots
    if len(mains) < 2 or len(roots) >= 2_000:
        return mains, bad
    chosen, used = [], set[str]()
    for name in mains:
        files_of = reach.get(name) or _reach(name, children)
        total = sum(sizes.get(file, 0) for file in files_of)
        again = sum(sizes.get(file, 0) for file in files_of & used)
        if 2 * again > total:
            continue
        used |= files_of
        chosen.append(name)
    return chosen, bad


def _reach(name: str, children: dict[str, list[str]]) -> set[str]:
    """A file and all that it includes, at most a few thousand."""
    seen, stack = {name}, [name]
    while stack and len(seen) < tex.MAX_INCLUDES:
        for child in children.get(stack.pop(), []):
            if child not in seen:
                seen.add(child)
                stack.append(child)
    return seen


def _charset(data: bytes) -> str | None:
    """The charset that a main file declares for its paper."""
    match = _INPUTENC.search(data[:100_000])
    return _CHARSETS.get(match.group(1).decode("ascii").lower()) if match else None


def _text(data: bytes, declared: str | None, source: EncodedSource) -> str:
    """A file's text: UTF-8 where it is that; else in the charset that the paper declares, or else the source; else Latin-1, since an
    engine without inputenc takes bytes for the letters of its font."""
    try:
        return decode(data)
    except UnicodeDecodeError:
        charset = declared if declared not in (None, "utf-8") else source.encoding
        if charset is None and declared == "utf-8":
            return data.decode("utf-8", "replace")  # some bytes of another's: TeX too would go on, with a mark in their place
        return data.decode(charset or "latin-1", "strict" if charset and charset == source.encoding else "replace")


def _document(sources: Sources, main: str, source: EncodedSource, identity: str, path: str) -> Record:
    data = sources.read(main)
    declared = _charset(data)
    text = _text(data, declared, source)
    if len(text) > _MAX_TEX:
        raise TooLarge(f"longer than {_MAX_TEX} characters of TeX")
    read = len(text)
    here = posixpath.dirname(main)
    missing: set[str] = set()

    def include(name: str) -> tuple[str, str] | None:
        found = sources.find(name, here)
        if found is None or not found.lower().endswith((*_TEXTS, ".sty", ".txt", ".def")):
            missing.add(name[:200])
            return None
        nonlocal read
        try:
            content = _text(sources.read(found), declared, source)
            if read + len(content) > _MAX_TEX:
                raise TooLarge("too much TeX in one document")
            read += len(content)
            return found, content
        except (*STREAM_ERRORS, UnicodeDecodeError):
            missing.add(name[:200])
            return None

    macros: list[str] = []
    for match in _STYLES.finditer(text[:200_000]):
        for style in match.group(1).split(","):
            found = sources.find(style, here, (".sty",))
            if found is not None and len(macros) < 50:
                content = sources.read(found)
                if len(content) <= _MAX_STYLE:
                    macros.append(_text(content, declared, source))
    document = tex.to_text(text, name=main, include=include, macros="\n\n".join(macros))
    meta: dict[str, object] = {}
    if missing:
        meta["missing"] = sorted(missing)[:50]
    if document.expansion_stopped:
        meta["expansion_stopped"] = True
    identifier = _ARXIV.search(identity)
    url = date = None
    if identifier:
        number, year, month, archive, old_year, old_month, _ = identifier.groups()
        paper = number if year else f"{archive}/{number[len(archive) :]}"
        meta["arxiv"] = paper
        url = f"https://arxiv.org/abs/{paper}"
        two = int(year or old_year)
        date = f"{(1900 if two >= 91 else 2000) + two}-{month or old_month}"
    title = unicodedata.normalize("NFC", document.title) or None
    return Record(identity, document.text, url=url, title=title, path=path, date=date, meta=meta)

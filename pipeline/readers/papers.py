"""From a paper's TeX files to its documents: which files are its main ones, in what charset they are, and what they include."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator

from pipeline.readers import tex
from pipeline.readers.config import EncodedSource
from pipeline.readers.decode import decode, describe_bytes
from pipeline.readers.files import is_included
from pipeline.readers.paper_sources import TEXTS, Sources
from pipeline.readers.record import Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, TooLarge, describe

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


def documents(
    sources: Sources, source: EncodedSource, identify: Callable[[str, bool], str], folder: str, *, path: str | None = None
) -> Iterator[Record | Unreadable]:
    """The documents of one paper's sources, and what of them could not be read.

    `identify` gives a document its id, by the name of its main file and whether the paper has several. `folder` is where the sources
    lie in the input: the source's globs choose main files by their paths there. `path` is the documents' path where it is not that of
    the main file; then no globs are asked.
    """
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
        if not name.lower().endswith(TEXTS):
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
        if found is None or not found.lower().endswith((*TEXTS, ".sty", ".txt", ".def")):
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
    return Record(identity, document.text, url=url, title=title, path=path, date=date, meta=meta, from_markup=True)

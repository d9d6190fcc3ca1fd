"""The licence of a source file: what its head declares, what REUSE files say of it, its folder's licence files or its package's metadata.

Licences are SPDX expressions, normalised by license-expression; texts are recognised by licenseclassifier, which reads them by
google/licensecheck's method (patterns that allow what licensecheck allows: names, years, line breaks, reordered words).

A file's own word counts before its folder's: an SPDX tag, else a notice in words (`notices`). Of the directories above a file the nearest
that says anything counts. Several licence files side by side are alternatives where their names carry the licences' (LICENSE-MIT,
LICENSE-APACHE: Rust's custom), else all of them apply, as do all the texts that one file holds. Where the package's own metadata names
some of them, it decides: it says how they combine and whether later versions may be chosen, and the other texts are those of what it
bundles; where it names others, both apply. What restricts a licence (the Commons Clause, uses that are forbidden) applies besides, and a
licence file of which nothing is known is `LicenseRef-unknown`, so that no list of permissive licences allows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from licenseclassifier import identify_license

from pipeline.readers import reuse
from pipeline.readers.license_expressions import UNKNOWN, combine, normalise
from pipeline.readers.notices import is_template, notice_of, restrictions_in
from pipeline.readers.package_metadata import MAX_TEXT, is_metadata_file, license_of_metadata, rank

_COVERED = 75.0  # percent of a file that known licences must cover: google/licensecheck's default
_PARTLY = 30.0  # ... where the file is named for a licence and other texts (notices, contributors) stand beside it

# Linear: after a literal a bounded run, and `_CLOSERS` sees only what `_TAG` took.
_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]{1,200})")
_FEW_WORDS = 8  # a file that is named for a licence and holds fewer is no licence's text
# Beginnings of what asks for more than the texts beside it may say: metadata that names one of them counts together with those.
_RESTRICTIVE = ("GPL", "LGPL", "AGPL", "SSPL", "BUSL", "Elastic", "PolyForm", "CC-BY-NC", "LicenseRef-")
_TAG_HEAD = 1 << 13  # characters in which a file's own tag is looked for
_CLOSERS = re.compile(r"[ \t]*(?:\*/|-->|\*\)|--\}\}|#\}|%>|\"|'|;|\|#|-\}).{0,200}$")

# Of a file's name. The two that are searched for are alternatives of literals; the run in `_SUFFIX` cannot begin what follows it twice.
_LEGAL = re.compile(r"(?:un)?licen[cs]es?|copying|copyright|mit-license|apache-license", re.IGNORECASE)
_SUFFIX = re.compile(r"(?:un)?licen[cs]e[-_.]+([\w.+-]{1,40}?)(?:\.(?:txt|md|rst|html))?", re.IGNORECASE)
_FOREIGN = re.compile(r"third|3rd|vendor|bundled|notice|other|deps|dependenc|header|template", re.IGNORECASE)
_TEXT_ENDINGS = ("", "txt", "md", "rst", "markdown", "lesser", "lib", "gpl", "lgpl", "apache", "mit", "bsd", "mpl", "apache2")


def tag_of(text: str) -> str | None:
    """The licence that a file's own SPDX tags declare, in its first 8,192 characters; several tags all apply. What a tag has that is no
    SPDX expression is `LicenseRef-unknown`."""
    if "SPDX-License-Identifier" not in text[:_TAG_HEAD]:
        return None
    written = [_CLOSERS.sub("", match.group(1)).strip(" \t,.") for match in _TAG.finditer(text[:_TAG_HEAD])]
    return combine([normalise(each) or UNKNOWN for each in written if each[:1].isalnum() or each[:1] == "("], "AND")


@lru_cache(1 << 10)
def recognise(text: str) -> tuple[str, ...]:
    """The SPDX names of the licences whose texts a licence file holds, in their order, and what restricts them; none where it is no licence
    text."""
    text = text[:MAX_TEXT]
    found = identify_license(text, _COVERED) or identify_license(text, _PARTLY)
    if not found:
        return (notice,) if (notice := notice_of(text)) else ()
    found = sorted(found, key=lambda match: match.start)
    names = [normalise(match.id) or UNKNOWN for match in found]
    # the GPL's text ends with a notice that offers later versions as an example
    examples = {name.replace("-only", "-or-later") for name in names if name.endswith("-only")}
    begins, ends = [match.start for match in found], [match.end for match in found]
    rest = " \n".join(text[end:begin] for end, begin in zip([0, *ends], [*begins, len(text)], strict=True) if begin > end)
    return tuple(dict.fromkeys([*(name for name in names if name not in examples), *restrictions_in(rest, alone=len(set(names)) == 1)]))


def of_license_file(path: str, text: str) -> tuple[str, ...]:
    """The licences of a file that is a licence by its name: those recognised, else `LicenseRef-unknown`, unless it holds nothing that a
    licence could be (a template of names and years, a list of holders)."""
    if named := reuse.license_of_name(path):
        return (named,)
    names = recognise(text)
    if names or is_template(text) or path.rpartition("/")[2].lower().startswith("copyright"):
        return names
    return (UNKNOWN,) if len(text.split()) >= _FEW_WORDS or "all rights reserved" in text.lower() else ()


def is_license_file(path: str) -> bool:
    """Whether a path is, by its name, a repository's licence: LICENSE, COPYING.LESSER, LICENCE.md, LICENSE-MIT, UNLICENSE ..."""
    name = path.rpartition("/")[2]
    match = _LEGAL.match(name)
    if match is None or _FOREIGN.search(name):
        return False
    rest = name[match.end() :]
    if match.group().lower() == "copyright" and rest not in ("", ".txt", ".md"):
        return False
    if rest[:1] not in ("", ".", "-", "_"):
        return False
    ending = rest.rsplit(".", 1)[-1].lower() if "." in rest else ""
    # `license.py` is a program, `LICENSE.APACHE` and `LICENSE-2.0.txt` are licences
    return ending in _TEXT_ENDINGS or not ending.isalnum() or ending.isdigit() or name[:7].isupper()


def _identifiers(expression: str) -> frozenset[str]:
    """The licences that an expression names; a text does not say whether later versions may be chosen, so that is left out."""
    return frozenset(
        re.sub(r"-(?:only|or-later)$", "", name) for name in re.findall(r"[A-Za-z0-9.+-]+", expression) if name not in ("AND", "OR", "WITH")
    )


@dataclass(frozen=True)
class Found:
    """A licence and where it came from: the path of the licence or metadata file, or `SPDX tag`, `header`, `source`; `others`: what was
    found elsewhere and does not count, or not alone."""

    expression: str
    origin: str
    others: tuple[Found, ...] = ()


def governed(paths: Iterable[str]) -> dict[str, str]:
    """The directory that each licence or metadata file speaks for: its own; that above `LICENSES` and `.reuse`; of a wheel's
    `.dist-info`, the wheel; where several distributions lie side by side, as where they are installed, the folder of the distribution's
    name."""
    result: dict[str, str] = {}
    installed: dict[str, dict[str, list[str]]] = {}
    for path in paths:
        parts = tuple(path.split("/")[:-1])
        folder = reuse.folder_of(path)
        result[path] = "/".join(parts) if folder is None else folder
        for index, part in enumerate(parts):
            if part.endswith((".dist-info", ".egg-info")):
                if parts[index + 1 :] in ((), ("licenses",)):
                    installed.setdefault("/".join(parts[:index]), {}).setdefault(part, []).append(path)
                break
    for where, distributions in installed.items():
        for name, members in distributions.items():
            folder = name.rsplit(".", 1)[0].split("-", 1)[0].replace("-", "_")
            for path in members:
                result[path] = where if len(distributions) == 1 else f"{where}/{folder}".lstrip("/")
    return result


def of_directories(files: Iterable[tuple[str, str]]) -> dict[str, Found]:
    """The licence of each directory that has one: from licence and metadata files, as (path, text)."""
    texts: dict[str, dict[str, tuple[str, ...]]] = {}
    declared: dict[str, dict[str, str]] = {}
    listed = sorted(files)
    speaks_for = governed(path for path, _ in listed)
    for path, text in listed:
        where = speaks_for[path]
        if is_metadata_file(path):
            if found := license_of_metadata(path, text):
                declared.setdefault(where, {})[path] = found
        elif (reuse.license_of_name(path) or is_license_file(path)) and (names := of_license_file(path, text)):
            texts.setdefault(where, {})[path] = names
    result: dict[str, Found] = {}
    for where in {*texts, *declared}:
        files_said = Found(_of_files(texts[where]), ", ".join(texts[where])) if where in texts else None
        packages = [Found(expression, path) for path, expression in sorted(declared.get(where, {}).items(), key=lambda item: rank(item[0]))]
        result[where] = _settled(files_said, packages)
    return result


def _settled(files: Found | None, packages: list[Found]) -> Found:
    """What a directory's licence files and its packages' metadata, the most exact first, come to together."""
    if files is None:
        return Found(packages[0].expression, packages[0].origin, tuple(packages[1:]))
    texts = _identifiers(files.expression)
    extra = [name for name in texts if name.startswith("LicenseRef-")]
    known = texts.difference(extra)
    for package in packages:
        names = _identifiers(package.expression)
        if names <= known or (known and known <= names):
            # what restricts the texts restricts the package, too
            expression = combine([package.expression, *sorted(extra)], "AND") or ""
            return Found(expression, files.origin, (package,))
    for package in packages:
        alike = {name.split("-")[0] for name in _identifiers(package.expression)} & {name.split("-")[0] for name in known}
        if not alike and any(name.startswith(_RESTRICTIVE) for name in _identifiers(package.expression)):
            both = combine([files.expression, package.expression], "AND") or ""
            return Found(both, f"{files.origin}, {package.origin}", (files, package))
    return files


def _of_files(files: Mapping[str, tuple[str, ...]]) -> str:
    """How the licence files of one directory combine."""
    texts = {path: names for path, names in files.items() if not reuse.license_of_name(path)}
    files = texts or files  # of REUSE's folder each text is of some files: all of them, where nothing else is there
    named = [path for path in files if _SUFFIX.fullmatch(path.rpartition("/")[2])]
    every = [name for names in files.values() for name in names]
    if any(name.startswith("LGPL-3.0") for name in every):  # the LGPL 3 is the GPL 3 and more permissions: both texts, one licence
        every = [name for name in every if not name.startswith("GPL-3.0")]
    known = [name for name in every if not name.startswith("LicenseRef-")]
    extra = [name for name in every if name.startswith("LicenseRef-")]
    if len(named) == len(files) > 1 and all(len([name for name in names if name in known]) == 1 for names in files.values()):
        return combine([either, *extra] if (either := combine(known, "OR")) else extra, "AND") or ""
    return combine(every, "AND") or ""


def license_of(
    path: str, text: str, directories: Mapping[str, Found], declared: str | None, files: reuse.Reuse = reuse.NOTHING
) -> Found | None:
    """A file's licence: what stands beside it, its own word, what REUSE.toml says; else its nearest directory's, upwards; else what the
    source declares; else None. `others` of it are what counts less."""
    folder = _of_directory(path, directories)
    own = None if is_license_file(path) or is_metadata_file(path) else _own(text)  # these are looked at whole, as their folder's
    said = files.annotation(path)
    annotated = Found(said.expression, said.origin) if said else None
    if said and said.precedence == "override":
        chosen = [annotated]
    elif beside := files.beside.get(path):
        chosen = [Found(beside, path + reuse.BESIDE)]
    elif said and own and said.precedence == "aggregate":
        chosen = [Found(combine([own.expression, said.expression], "AND") or "", f"{own.origin}, {said.origin}")]
    else:
        chosen = []
    ranked = [found for found in (*chosen, own, annotated, folder) if found is not None]
    if not ranked:
        return Found(declared, "source") if declared else None
    first = ranked[0]
    others = dict.fromkeys(Found(found.expression, found.origin) for found in (*ranked[1:], *first.others))
    return Found(first.expression, first.origin, tuple(other for other in others if other.origin != first.origin))


def _own(text: str) -> Found | None:
    """What a file says itself: its tags, else its notice in words; with tags, what restricts them besides."""
    notice = notice_of(text)
    if tag := tag_of(text):
        refs = {name for name in _identifiers(notice or "") if name.startswith("LicenseRef-") and name != UNKNOWN}
        added = sorted(refs.difference(_identifiers(tag), ["LicenseRef-public-domain"]))
        return Found(combine([tag, *added], "AND") or tag, "SPDX tag")
    return Found(notice, "header") if notice else None


def _of_directory(path: str, directories: Mapping[str, Found]) -> Found | None:
    if directories:
        parts = tuple(path.split("/")[:-1])
        for depth in range(len(parts), -1, -1):
            if found := directories.get("/".join(parts[:depth])):
                return found
    return None

"""The licence of a source file: its own SPDX tag, else the licence files of its repository, else its package's metadata.

Licences are SPDX expressions, normalised by license-expression; texts are recognised by licenseclassifier, which reads them by
google/licensecheck's method (patterns that allow what licensecheck allows: names, years, line breaks, reordered words).

Of the directories above a file the nearest that says anything counts. Several licence files side by side are alternatives where
their names carry the licences' (LICENSE-MIT, LICENSE-APACHE: Rust's custom), else all of them apply, as do all the texts that one
file holds. Where the package's own metadata names some of them, it decides: it says how they combine and whether later versions
may be chosen, and the other texts are those of what it bundles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from licenseclassifier import identify_license

from pipeline.readers.license_expressions import combine, normalise
from pipeline.readers.package_metadata import MAX_TEXT, READERS, is_metadata_file, license_of_metadata

_COVERED = 75.0  # percent of a file that known licences must cover: google/licensecheck's default
_PARTLY = 30.0  # ... where the file is named for a licence and other texts (notices, contributors) stand beside it

# Linear: after a literal a bounded run, and `_CLOSERS` sees only what `_TAG` took.
_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]{1,200})")
_TAG_HEAD = 1 << 13  # characters in which a file's own tag is looked for
_CLOSERS = re.compile(r"[ \t]*(?:\*/|-->|\*\)|--\}\}|#\}|%>|\"|'|;|\|#|-\}).{0,200}$")

# Of a file's name. The two that are searched for are alternatives of literals; the run in `_SUFFIX` cannot begin what follows it twice.
_LEGAL = re.compile(r"(?:un)?licen[cs]es?|copying|copyright|mit-license|apache-license", re.IGNORECASE)
_SUFFIX = re.compile(r"(?:un)?licen[cs]e[-_.]+([\w.+-]{1,40}?)(?:\.(?:txt|md|rst|html))?", re.IGNORECASE)
_FOREIGN = re.compile(r"third|3rd|vendor|bundled|notice|other|deps|dependenc|header|template", re.IGNORECASE)
_TEXT_ENDINGS = ("", "txt", "md", "rst", "markdown", "lesser", "lib", "gpl", "lgpl", "apache", "mit", "bsd", "mpl", "apache2")


def tag_of(text: str) -> str | None:
    """The licence that a file's own SPDX tags declare, in its first 8,192 characters; several tags all apply."""
    if "SPDX-License-Identifier" not in text[:_TAG_HEAD]:
        return None
    found = [normalise(_CLOSERS.sub("", match.group(1))) for match in _TAG.finditer(text[:_TAG_HEAD])]
    return combine([expression for expression in found if expression], "AND")


@lru_cache(1 << 10)
def recognise(text: str) -> tuple[str, ...]:
    """The SPDX names of the licences whose texts a licence file holds, in their order; none where it is no licence text."""
    text = text[:MAX_TEXT]
    found = identify_license(text, _COVERED) or identify_license(text, _PARTLY)
    names = [normalise(match.id) or match.id for match in sorted(found, key=lambda match: match.start)]
    # the GPL's text ends with a notice that offers later versions as an example
    examples = {name.replace("-only", "-or-later") for name in names if name.endswith("-only")}
    return tuple(dict.fromkeys(name for name in names if name not in examples))


def is_license_file(path: str) -> bool:
    """Whether a path is, by its name, a repository's licence: LICENSE, COPYING.LESSER, LICENCE.md, LICENSE-MIT, UNLICENSE ..."""
    name = PurePosixPath(path).name
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
    """A licence and where it came from: the path of the licence or metadata file, or `SPDX tag`, `source`."""

    expression: str
    origin: str


def governed(paths: Iterable[str]) -> dict[str, str]:
    """The directory that each licence or metadata file speaks for: its own; of a wheel's `.dist-info`, the wheel; where several
    distributions lie side by side, as where they are installed, the folder of the distribution's name."""
    result: dict[str, str] = {}
    installed: dict[str, dict[str, list[str]]] = {}
    for path in paths:
        parts = PurePosixPath(path).parts[:-1]
        result[path] = "/".join(parts)
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
        elif names := recognise(text):
            texts.setdefault(where, {})[path] = names
    result: dict[str, Found] = {}
    for where in {*texts, *declared}:
        metadata = declared.get(where, {})
        if where not in texts:
            origin, expression = min(metadata.items(), key=lambda item: _PREFERENCE[PurePosixPath(item[0]).name])
            result[where] = Found(expression, origin)
            continue
        expression = _of_files(texts[where])
        identifiers = _identifiers(expression)
        settled = [item for item in metadata.items() if _identifiers(item[1]) <= identifiers]
        if settled:
            expression = min(settled, key=lambda item: _PREFERENCE[PurePosixPath(item[0]).name])[1]
        result[where] = Found(expression, ", ".join(texts[where]))
    return result


_PREFERENCE = {name: rank for rank, name in enumerate(READERS)}


def _of_files(files: Mapping[str, tuple[str, ...]]) -> str:
    """How the licence files of one directory combine."""
    named = [path for path in files if _SUFFIX.fullmatch(PurePosixPath(path).name)]
    every = [name for names in files.values() for name in names]
    if any(name.startswith("LGPL-3.0") for name in every):  # the LGPL 3 is the GPL 3 and more permissions: both texts, one licence
        every = [name for name in every if not name.startswith("GPL-3.0")]
    if len(named) == len(files) > 1 and all(len(names) == 1 for names in files.values()):
        return combine(every, "OR") or ""
    return combine(every, "AND") or ""


def license_of(path: str, text: str, directories: Mapping[str, Found], declared: str | None) -> Found | None:
    """A file's licence: its own tag; else its nearest directory's, upwards; else what the source declares; else None."""
    if tag := tag_of(text):
        return Found(tag, "SPDX tag")
    if directories:
        parts = PurePosixPath(path).parts[:-1]
        for depth in range(len(parts), -1, -1):
            if found := directories.get("/".join(parts[:depth])):
                return found
    return Found(declared, "source") if declared else None

"""The licence of a source file: its own SPDX tag, else the licence files of its repository, else its package's metadata.

Licences are SPDX expressions, normalised by license-expression; texts are recognised by licenseclassifier, which reads them by
google/licensecheck's method (patterns that allow what licensecheck allows: names, years, line breaks, reordered words).

Of the directories above a file the nearest that says anything counts. Several licence files side by side are alternatives where
their names carry the licences' (LICENSE-MIT, LICENSE-APACHE: Rust's custom), else all of them apply, as do all the texts that one
file holds. Where the package's own metadata names some of them, it decides: it says how they combine and whether later versions
may be chosen, and the other texts are those of what it bundles.
"""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from boolean import ParseError
from license_expression import ExpressionError, get_spdx_licensing
from licenseclassifier import identify_license

from pipeline.readers.data import rows

MAX_TEXT = 1 << 18  # bytes of a licence or metadata file that are looked at; the GPL has 35,000
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

# Names that people write for licences, in small letters, where they are no SPDX names.
_COMMON = {name: license for license, name in rows("license-names.tsv")}


@lru_cache(1 << 12)
def normalise(expression: str) -> str | None:
    """An SPDX expression in its canonical form (`mit or apache-2.0` is `MIT OR Apache-2.0`, `GPL-2.0+` is `GPL-2.0-or-later`), or
    what a common name stands for; None where it is neither. `LicenseRef-` names are kept as they are."""
    text = " ".join(expression.split())[:300].strip(" .,;")
    if not text:
        return None
    if common := _COMMON.get(text.lower()):
        return common
    licensing = get_spdx_licensing()
    for attempt in (text, text.replace("/", " OR ").replace(",", " OR ").replace("|", " OR ").replace("&", " AND ")):
        try:
            parsed = licensing.parse(attempt)
        except (ExpressionError, ParseError, RecursionError):
            continue
        if parsed is None:
            return None
        unknown = licensing.unknown_license_keys(parsed)
        if all(key.startswith("LicenseRef-") for key in unknown):
            return str(parsed)
    return None


def tag_of(text: str) -> str | None:
    """The licence that a file's own SPDX tags declare, in its first 8,192 characters; several tags all apply."""
    if "SPDX-License-Identifier" not in text[:_TAG_HEAD]:
        return None
    found = [normalise(_CLOSERS.sub("", match.group(1))) for match in _TAG.finditer(text[:_TAG_HEAD])]
    return combine([expression for expression in found if expression], "AND")


def combine(expressions: Iterable[str], operator: str) -> str | None:
    """Several expressions as one, each once; None of none."""
    distinct = list(dict.fromkeys(expressions))
    if len(distinct) <= 1:
        return distinct[0] if distinct else None
    return f" {operator} ".join(f"({item})" if " AND " in item or " OR " in item else item for item in distinct)


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


_METADATA = {
    "PKG-INFO",
    "METADATA",
    "package.json",
    "Cargo.toml",
    "pyproject.toml",
    "setup.cfg",
    "pom.xml",
    "composer.json",
    "DESCRIPTION",
    "bower.json",
}


def is_metadata_file(path: str) -> bool:
    """Whether a path is a package's description that may name its licence."""
    return PurePosixPath(path).name in _METADATA


def _of_python(text: str) -> str | None:
    short = None
    classifiers = []
    for line in text.replace("\r\n", "\n").split("\n\n", 1)[0].split("\n"):
        name, _, value = line.partition(": ")
        if name == "License-Expression" and (found := normalise(value)):
            return found
        if name == "Classifier" and value.startswith("License :: "):
            classifiers.append(value.rsplit(" :: ", 1)[-1])
        elif name == "License" and 0 < len(value.strip()) <= 100:
            short = normalise(value)
    exact = [found for name in classifiers if (found := normalise(name))]
    # `BSD License` and `MIT License` are classes; the short name is the finer one where it is a licence's
    return short or combine(exact, "AND")


def _of_json(text: str) -> str | None:
    data = json.loads(text)
    if not isinstance(data, dict):
        return None
    value = data.get("license", data.get("licenses"))
    entries = value if isinstance(value, list) else [value]
    names = [entry.get("type", entry.get("name")) if isinstance(entry, dict) else entry for entry in entries[:20]]
    return combine([found for name in names if isinstance(name, str) and (found := normalise(name))], "OR")


def _of_toml(text: str) -> str | None:
    data = tomllib.loads(text)
    for path in (("project", "license"), ("package", "license"), ("tool", "poetry", "license"), ("workspace", "package", "license")):
        value: object = data
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict):
            value = value.get("text")
        if isinstance(value, str) and (found := normalise(value)):
            return found
    project = data.get("project")
    classifiers = project.get("classifiers") if isinstance(project, dict) else None
    names = [name.rsplit(" :: ", 1)[-1] for name in classifiers or () if isinstance(name, str) and name.startswith("License :: ")]
    return combine([found for name in names if (found := normalise(name))], "AND")


def _of_setup_cfg(text: str) -> str | None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    return normalise(parser.get("metadata", "license", fallback="")) if parser.has_section("metadata") else None


# Linear: after literals, runs that are bounded and end at `<` or at the line's end; of MAX_TEXT at most.
_POM = re.compile(r"<licen[cs]e>[^<]{0,200}<name>([^<]{1,200})</name>")
_R_LICENSE = re.compile(r"^License:[ \t]*([^\n]{1,100})", re.MULTILINE)


def _of_pom(text: str) -> str | None:
    return combine([found for match in _POM.finditer(text) if (found := normalise(match.group(1)))], "OR")


def _of_description(text: str) -> str | None:
    match = _R_LICENSE.search(text)
    return (
        normalise(match.group(1).split("+")[0].replace("GPL (>= 2)", "GPL-2.0-or-later").replace("GPL-3", "GPL-3.0-only"))
        if match
        else None
    )


_METADATA_READERS: Mapping[str, Callable[[str], str | None]] = {
    "PKG-INFO": _of_python,
    "METADATA": _of_python,
    "package.json": _of_json,
    "composer.json": _of_json,
    "bower.json": _of_json,
    "Cargo.toml": _of_toml,
    "pyproject.toml": _of_toml,
    "setup.cfg": _of_setup_cfg,
    "pom.xml": _of_pom,
    "DESCRIPTION": _of_description,
}


def license_of_metadata(path: str, text: str) -> str | None:
    """The licence that a package's metadata declares, by the file's name; None where it has none or cannot be parsed."""
    try:
        return _METADATA_READERS[PurePosixPath(path).name](text[:MAX_TEXT])
    except (ValueError, RecursionError, configparser.Error):  # both JSON's and TOML's errors are ValueErrors
        return None


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


_PREFERENCE = {name: rank for rank, name in enumerate(_METADATA_READERS)}


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

"""The licence that a package's own metadata declares: Python's, npm's, Cargo's, Maven's, R's, Ruby's and their kin.

What is declared and no licence that is known is `LicenseRef-unknown`; what only names the file of the licence declares none.
"""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Mapping

from pipeline.readers.license_expressions import PROPRIETARY, UNKNOWN, combine, normalise

MAX_TEXT = 1 << 18  # bytes of a licence or metadata file that are looked at; the GPL has 35,000


def _reader(path: str) -> str | None:
    """What a metadata file is read as: its name, or its ending where that is what its kind goes by."""
    name = path.rpartition("/")[2]
    if name in READERS:
        return name
    ending = f".{name.rpartition('.')[2]}"
    return ending if ending in READERS and name != ending else None


def is_metadata_file(path: str) -> bool:
    """Whether a path is a package's description that may name its licence."""
    return _reader(path) is not None


def rank(path: str) -> int:
    """The place of a metadata file's kind in the order in which they count."""
    return list(READERS).index(_reader(path) or "DESCRIPTION")


# Values that say that the licence stands in a file, or nothing.
_POINTER = re.compile(r"(?:see|file|read|refer)\b.{0,80}|unknown|none|n/?a|tbd|license\b.{0,5}(?:txt|md|rst)?|copying", re.IGNORECASE)
_OWNED = frozenset(("unlicensed", "proprietary", "proprietary license", "other/proprietary license", "commercial", "all rights reserved"))
_CLASSES = ("OSI Approved", "Freeware", "Other")  # classifiers that name no licence


def _known(value: str) -> str | None:
    """A licence that is declared, `LicenseRef-unknown` where it is none that is known; None where nothing is declared."""
    value = " ".join(value.split())[:300]
    if not value or _POINTER.fullmatch(value):
        return None
    return PROPRIETARY if value.lower() in _OWNED else normalise(value) or UNKNOWN


def _of_classifiers(classifiers: list[str]) -> str | None:
    names = [name.rsplit(" :: ", 1)[-1] for name in classifiers if name.startswith("License :: ")]
    return combine([found for name in names if name not in _CLASSES and (found := _known(name))], "AND")


def _of_python(text: str) -> str | None:
    short = None
    classifiers = []
    for line in text.replace("\r\n", "\n").split("\n\n", 1)[0].split("\n"):
        name, _, value = line.partition(": ")
        if name == "License-Expression":
            return _known(value)
        if name == "Classifier":
            classifiers.append(value.strip())
        elif name == "License" and 0 < len(value.strip()) <= 100:
            short = _known(value)
    classes = _of_classifiers(classifiers)
    # `BSD License` and `MIT License` are classes; the short name is the finer one where it is a licence's
    return classes if classes and short in (None, UNKNOWN) else short


def _of_json(text: str) -> str | None:
    data = json.loads(text)
    if not isinstance(data, dict):
        return None
    value = data.get("license", data.get("licenses"))
    entries = value if isinstance(value, list) else [value]
    names = [entry.get("type", entry.get("name")) if isinstance(entry, dict) else entry for entry in entries[:20]]
    return combine([found for name in names if isinstance(name, str) and (found := _known(name))], "OR")


def _of_toml(text: str) -> str | None:
    data = tomllib.loads(text)
    for path in (("project", "license"), ("package", "license"), ("tool", "poetry", "license"), ("workspace", "package", "license")):
        value: object = data
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict):
            value = value.get("text")
        if isinstance(value, str) and len(value) <= 100 and (found := _known(value)):
            return found
    project = data.get("project")
    classifiers = project.get("classifiers") if isinstance(project, dict) else None
    return _of_classifiers([name for name in classifiers if isinstance(name, str)]) if isinstance(classifiers, list) else None


def _of_setup_cfg(text: str) -> str | None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    if not parser.has_section("metadata"):
        return None
    short = _known(parser.get("metadata", "license", fallback="").split("\n")[0])
    classes = _of_classifiers([line.strip() for line in parser.get("metadata", "classifiers", fallback="").split("\n")])
    return classes if classes and short in (None, UNKNOWN) else short


# Linear: after literals, runs that are bounded and end at `<` or at the line's end; of MAX_TEXT at most.
_POM = re.compile(r"<licen[cs]e>[^<]{0,200}<name>([^<]{1,200})</name>")
_R_LICENSE = re.compile(r"^License:[ \t]*([^\n]{1,100})", re.MULTILINE)


_GEM_LICENSE = re.compile(r"\.licenses?[ \t]{0,20}=([^\n]{1,200})")
_QUOTED = re.compile(r"[\"']([^\"'\n]{1,60})[\"']")
_CABAL_LICENSE = re.compile(r"^license[ \t]{0,20}:[ \t]*([^\n]{1,100})", re.IGNORECASE | re.MULTILINE)


def _of_pom(text: str) -> str | None:
    return combine([found for match in _POM.finditer(text) if (found := _known(match.group(1)))], "OR")


def _of_gemspec(text: str) -> str | None:
    match = _GEM_LICENSE.search(text)
    return combine([found for name in _QUOTED.findall(match.group(1)) if (found := _known(name))], "OR") if match else None


def _of_cabal(text: str) -> str | None:
    match = _CABAL_LICENSE.search(text)
    return _known(match.group(1)) if match else None


_R_NAMES = {
    "GPL (>= 2)": "GPL-2.0-or-later",
    "GPL (>= 2.0)": "GPL-2.0-or-later",
    "GPL (>= 3)": "GPL-3.0-or-later",
    "GPL-2": "GPL-2.0-only",
    "GPL-3": "GPL-3.0-only",
    "LGPL-2": "LGPL-2.0-only",
    "LGPL-2.1": "LGPL-2.1-only",
    "LGPL-3": "LGPL-3.0-only",
    "LGPL (>= 2)": "LGPL-2.0-or-later",
    "LGPL (>= 2.1)": "LGPL-2.1-or-later",
    "LGPL (>= 3)": "LGPL-3.0-or-later",
    "AGPL-3": "AGPL-3.0-only",
    "AGPL (>= 3)": "AGPL-3.0-or-later",
    "BSD_2_clause": "BSD-2-Clause",
    "BSD_3_clause": "BSD-3-Clause",
    "Apache License (== 2.0)": "Apache-2.0",
    "Apache License (>= 2)": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
}


def _of_description(text: str) -> str | None:
    match = _R_LICENSE.search(text)
    if match is None:
        return None
    names = [part.split("+")[0].strip() for part in match.group(1).split("|")]
    return combine([found for name in names if (found := _R_NAMES.get(name) or _known(name))], "OR")


READERS: Mapping[str, Callable[[str], str | None]] = {
    "PKG-INFO": _of_python,
    "METADATA": _of_python,
    "package.json": _of_json,
    "composer.json": _of_json,
    "bower.json": _of_json,
    "Cargo.toml": _of_toml,
    "pyproject.toml": _of_toml,
    "setup.cfg": _of_setup_cfg,
    "pom.xml": _of_pom,
    ".gemspec": _of_gemspec,
    ".cabal": _of_cabal,
    "DESCRIPTION": _of_description,
}


def license_of_metadata(path: str, text: str) -> str | None:
    """The licence that a package's metadata declares, by the file's name; None where it has none or cannot be parsed."""
    try:
        return READERS[_reader(path) or ""](text[:MAX_TEXT])
    except (KeyError, ValueError, RecursionError, configparser.Error):  # both JSON's and TOML's errors are ValueErrors
        return None

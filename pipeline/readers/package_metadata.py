"""The licence that a package's own metadata declares: Python's, npm's, Cargo's, Maven's, R's and their kin."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from pipeline.readers.license_expressions import combine, normalise

MAX_TEXT = 1 << 18  # bytes of a licence or metadata file that are looked at; the GPL has 35,000


def is_metadata_file(path: str) -> bool:
    """Whether a path is a package's description that may name its licence."""
    return PurePosixPath(path).name in READERS


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
    "DESCRIPTION": _of_description,
}


def license_of_metadata(path: str, text: str) -> str | None:
    """The licence that a package's metadata declares, by the file's name; None where it has none or cannot be parsed."""
    try:
        return READERS[PurePosixPath(path).name](text[:MAX_TEXT])
    except (ValueError, RecursionError, configparser.Error):  # both JSON's and TOML's errors are ValueErrors
        return None

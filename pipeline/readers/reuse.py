"""Licences as the REUSE specification (3.3) lays them out: `REUSE.toml`, `.reuse/dep5`, `X.license` beside X, and the folder `LICENSES`.

Of a file `X.license` speaks in place of the file's own head; a table of REUSE.toml does where its precedence is `override`, together with
the head where it is `aggregate`, and where the head says nothing where it is `closest` (the default). Tables of the nearest REUSE.toml
count, of several that match a path the last. What `.reuse/dep5` says is taken together with the head. An expression that is no SPDX
expression is `LicenseRef-unknown`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.readers.license_expressions import UNKNOWN, combine, normalise

FOLDER = "LICENSES"
BESIDE = ".license"  # the ending of a file that speaks for the file of its name without it
_TOML, _DEP5 = "REUSE.toml", ".reuse/dep5"
_PRECEDENCE = ("closest", "aggregate", "override")
_MOST = 2000  # annotations of one file, and patterns of one annotation, that are looked at
_LONGEST = 500  # characters of a pattern


@dataclass(frozen=True)
class Annotation:
    """The licence of the paths that one of the patterns is of, relative to the folder of the file that says so."""

    patterns: tuple[str, ...]
    expression: str
    precedence: str
    origin: str
    crosses: bool  # `*` crosses slashes, as in dep5


@dataclass(frozen=True)
class Reuse:
    """What a tree's REUSE files say: annotations by the folder that they are of; side files by whose they are."""

    annotations: Mapping[str, tuple[Annotation, ...]] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)

    def annotation(self, path: str) -> Annotation | None:
        """The annotation that counts for a path."""
        if not self.annotations:
            return None
        parts = path.split("/")
        for depth in range(len(parts) - 1, -1, -1):
            inner = "/".join(parts[depth:])
            for annotation in reversed(self.annotations.get("/".join(parts[:depth]), ())):
                if any(is_of(pattern, inner, crosses=annotation.crosses) for pattern in annotation.patterns):
                    return annotation
        return None


NOTHING = Reuse()


def folder_of(path: str) -> str | None:
    """The folder that a REUSE file speaks for; None of a path that is none. Side files are not asked for here."""
    if not path.endswith((_TOML, _DEP5)) and f"{FOLDER}/" not in path:
        return None
    parts = path.split("/")
    if parts[-1] == _TOML:
        return "/".join(parts[:-1])
    if len(parts) > 1 and (parts[-2] == FOLDER or "/".join(parts[-2:]) == _DEP5):
        return "/".join(parts[:-2])
    return None


def license_of_name(path: str) -> str | None:
    """The licence that a file of the folder `LICENSES` is named for; None of any other path."""
    parts = path.split("/")
    if len(parts) < 2 or parts[-2] != FOLDER:
        return None
    stem = parts[-1]
    for ending in (".txt", ".md", ".rst", ".html", BESIDE):
        stem = stem.removesuffix(ending)
    return normalise(stem) or UNKNOWN


def is_of(pattern: str, path: str, *, crosses: bool = False) -> bool:
    """Whether a pattern is of a path: `*` is any characters but slashes, `**` any, `\\` takes what follows as it is; with `crosses`, `*` is
    any characters and `?` any one. In steps of the product of both lengths, whatever they hold."""
    pattern = pattern[:_LONGEST]
    if "*" not in pattern and "\\" not in pattern and not (crosses and "?" in pattern):
        return pattern == path
    tokens: list[tuple[str, bool]] = []  # a character or a run of any; whether it is a run
    at = 0
    while at < len(pattern):
        if pattern[at] == "\\" and at + 1 < len(pattern):
            tokens.append((pattern[at + 1], False))
            at += 2
        elif pattern[at] == "*":
            both = pattern.startswith("**", at)
            tokens.append(("**" if both or crosses else "*", True))
            at += 2 if both else 1
        else:
            tokens.append(("any" if crosses and pattern[at] == "?" else pattern[at], False))
            at += 1

    def past_runs(states: set[int]) -> set[int]:
        for state in sorted(states):
            while state < len(tokens) and tokens[state][1]:
                state += 1
                states.add(state)
        return states

    states = past_runs({0})
    for character in path:
        following = set()
        for state in states:
            if state < len(tokens):
                token, is_run = tokens[state]
                if is_run and (token == "**" or character != "/"):
                    following.add(state)
                elif token in ("any", character):
                    following.add(state + 1)
        states = past_runs(following)
        if not states:
            return False
    return len(tokens) in states


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(item for item in values[:_MOST] if isinstance(item, str))


def _expression(written: Iterable[str]) -> str | None:
    return combine([normalise(each) or UNKNOWN for each in written], "AND")


def _of_toml(path: str, text: str) -> list[Annotation]:
    try:
        tables = tomllib.loads(text).get("annotations", [])
    except (ValueError, RecursionError):
        return []
    found = []
    for table in tables[:_MOST] if isinstance(tables, list) else ():
        if isinstance(table, dict) and (expression := _expression(_texts(table.get("SPDX-License-Identifier")))):
            precedence = table.get("precedence")
            found.append(
                Annotation(_texts(table.get("path")), expression, precedence if precedence in _PRECEDENCE else "closest", path, False)
            )
    return found


def _of_dep5(path: str, text: str) -> list[Annotation]:
    found = []
    for stanza in text.replace("\r\n", "\n").split("\n\n")[:_MOST]:
        values: dict[str, str] = {}
        name = ""
        for line in stanza.split("\n"):
            if line[:1] in (" ", "\t"):
                values[name] = f"{values.get(name, '')} {line.strip()}" if name == "Files" else values.get(name, "")
            elif ":" in line:
                name, _, value = line.partition(":")
                values[name] = value.strip()
        patterns = tuple(values.get("Files", "").split()[:_MOST])
        if patterns and (expression := _expression([values["License"]] if values.get("License") else [])):
            found.append(Annotation(patterns, expression, "aggregate", path, True))
    return found


def read(files: Iterable[tuple[str, str]]) -> Reuse:
    """What REUSE files say: (path, text) of each; others are passed over. A REUSE.toml that cannot be parsed says nothing."""
    annotations: dict[str, list[Annotation]] = {}
    for path, text in sorted(files):
        folder = folder_of(path)
        found = _of_toml(path, text) if path.endswith(_TOML) else _of_dep5(path, text) if path.endswith(_DEP5) else []
        if folder is not None and found:
            annotations.setdefault(folder, []).extend(found)
    return Reuse({folder: tuple(found) for folder, found in annotations.items()})

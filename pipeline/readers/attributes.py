"""What `.gitattributes` files say of source files: linguist's attributes, and what git takes for no text.

Patterns are git's: without a slash they are of a name in any folder below, with one of a path from the folder of the file; `*` and `?` stop
at slashes, `**` does not. Of several lines the last that matches says what an attribute is, and of several files the nearest to the path.
Read are `linguist-vendored`, `linguist-generated`, `linguist-documentation`, `linguist-language` and the macro `binary` (or `-diff` with
`-text`, which it stands for); `-text` alone is about the ends of lines. Macros of a repository's own are not looked through.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from pipeline.readers.languages import KNOWN

NAME = ".gitattributes"
MOST_LINES = 5000  # of one file that are looked at; the longest of well-known repositories have some hundreds
_SET, _UNSET = "true", "false"
_READ = ("linguist-vendored", "linguist-generated", "linguist-documentation", "linguist-language", "text", "diff")

Values = tuple[tuple[str, str | None], ...]
Line = tuple[tuple[str, ...], bool, Values]  # the pattern's parts, whether it is anchored, what it sets


@dataclass(frozen=True)
class Attributes:
    """What is said of one path. None: nothing; `language` is a language's name as linguist writes it."""

    vendored: bool | None = None
    generated: bool | None = None
    documentation: bool | None = None
    language: str | None = None
    binary: bool = False


NOTHING = Attributes()


def _value(word: str) -> tuple[str, str | None]:
    if word.startswith("-"):
        return word[1:], _UNSET
    if word.startswith("!"):
        return word[1:], None
    name, equal, value = word.partition("=")
    return name, value if equal else _SET


def parse(text: str) -> list[Line]:
    """The lines of a file that set any attribute that is read."""
    found: list[Line] = []
    for line in text.splitlines()[:MOST_LINES]:
        words = line.split()
        if len(words) < 2 or words[0].startswith(("#", "[attr]", "!")):
            continue
        if words[0].startswith('"'):  # a pattern in quotes may hold spaces
            pattern, _, rest = line.strip()[1:].partition('"')
            words = [pattern, *rest.split()]
        values: list[tuple[str, str | None]] = []
        for word in words[1:]:
            values += [("diff", _UNSET), ("text", _UNSET)] if word == "binary" else [_value(word)]
        if kept := tuple(value for value in values if value[0] in _READ):
            anchored = "/" in words[0].rstrip("/")
            found.append((tuple(part for part in words[0].split("/") if part), anchored, kept))
    return found


def _part_matches(pattern: str, name: str) -> bool:
    """Whether one part of a path is of a pattern: `*`, `?`, `[...]`. In steps of the two lengths' product at most."""
    at = in_pattern = 0
    star = behind = -1
    while at < len(name):
        token, end = _token(pattern, in_pattern)
        if token == "*":
            star, behind, in_pattern = end, at, end
        elif token and _character_matches(token, name[at]):
            at, in_pattern = at + 1, end
        elif star >= 0:
            behind += 1
            at, in_pattern = behind, star
        else:
            return False
    return not pattern[in_pattern:].strip("*")


def _token(pattern: str, at: int) -> tuple[str, int]:
    """The piece of a pattern at a place, and where it ends; empty at its end."""
    if at >= len(pattern):
        return "", at
    if pattern[at] == "[" and (close := pattern.find("]", at + 2, at + 200)) > 0:
        return pattern[at : close + 1], close + 1
    if pattern[at] == "\\" and at + 1 < len(pattern):
        return pattern[at : at + 2], at + 2
    return pattern[at], at + 1


def _character_matches(token: str, character: str) -> bool:
    if len(token) == 1:
        return token in ("?", character)
    if token[0] == "\\":
        return token[1] == character
    inner = token[1:-1]
    negated = inner[0] in "!^"
    inner = inner[1:] if negated else inner
    found, at = False, 0
    while at < len(inner):
        if at + 2 < len(inner) and inner[at + 1] == "-":
            found |= inner[at] <= character <= inner[at + 2]
            at += 3
        else:
            found |= inner[at] == character
            at += 1
    return found != negated


def matches(parts: tuple[str, ...], anchored: bool, path: tuple[str, ...]) -> bool:
    """Whether a pattern's parts are of a path's, relative to the file that has the pattern. `**` is any number of parts."""
    if not anchored:
        return len(parts) == 1 and _part_matches(parts[0], path[-1])
    at = in_pattern = 0
    star = behind = -1
    while at < len(path):
        if in_pattern < len(parts) and parts[in_pattern] == "**":
            if in_pattern == len(parts) - 1:
                return True
            star, behind, in_pattern = in_pattern + 1, at, in_pattern + 1
        elif in_pattern < len(parts) and _part_matches(parts[in_pattern], path[at]):
            at, in_pattern = at + 1, in_pattern + 1
        elif star >= 0:
            behind += 1
            at, in_pattern = behind, star
        else:
            return False
    return in_pattern == len(parts)


@lru_cache(1 << 8)
def _by_file(files: tuple[tuple[str, str], ...]) -> dict[str, list[Line]]:
    """The lines of each folder's file."""
    return {path.rpartition("/")[0]: lines for path, text in files if (lines := parse(text))}


class AttributeFiles:
    """The `.gitattributes` of a tree: of each folder its own."""

    def __init__(self, files: Iterable[tuple[str, str]]) -> None:
        """`files`: (path, text)."""
        self._lines = _by_file(tuple(sorted(files)))

    def of(self, path: str) -> Attributes:
        """What is said of a path of the tree."""
        if not self._lines:
            return NOTHING
        values: dict[str, str | None] = {}
        parts = tuple(part for part in path.split("/") if part)
        for depth in range(len(parts)):
            for pattern, anchored, said in self._lines.get("/".join(parts[:depth]), ()):
                if matches(pattern, anchored, parts[depth:]):
                    values.update(said)
        if not values:
            return NOTHING

        def switch(name: str) -> bool | None:
            value = values.get(name)
            return None if value is None else value.lower() != _UNSET

        named = values.get("linguist-language") or ""
        return Attributes(
            switch("linguist-vendored"),
            switch("linguist-generated"),
            switch("linguist-documentation"),
            KNOWN.get(named.lower()) or KNOWN.get(named.lower().replace("-", " ")),
            values.get("text") == _UNSET and values.get("diff") == _UNSET,
        )

"""A YAML file as Python has it, and what is wrong with one in a line: where, and what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from jobs.console import printable
from pipeline.workdir.errors import UserError

_TAG = "tag:yaml.org,2002:"
_KINDS = {"int": "a number", "float": "a number", "bool": "true or false"}
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")  # a prefix of digits, then digits: linear
_MOST = 2**63 - 1
_DEEPEST, _MOST_VALUES = 100, 1_000_000
# What PyYAML raises of a value that looks like one of those and is none, such as a number of 5,000 digits.
_VALUE_ERRORS = (ValueError, OverflowError, LookupError, AttributeError, TypeError)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file: texts, numbers, true, false and null, in lists and mappings by text.

    As in YAML 1.2 and in editors that know the schema, `3e-4` is a number and `2024-01-31` a text; a number without a fraction is an
    integer. Raises `UserError` where it is no YAML, cannot be read, gives a key twice, or holds what JSON could not.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, place: str) -> Any:
    """The same of a text. `place`: where it is from, as messages name it."""
    try:
        loader = _Loader(text)
        try:
            return _Plain(place).value(loader.get_single_data(), "", 0)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{place}:{mark.line + 1}" if mark else place
        if isinstance(error, _GivenTwice):
            raise UserError(f"{where}: {error.problem}") from error
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        raise UserError(f"{where}: not YAML ({printable(why)})") from error
    except RecursionError as error:
        raise UserError(f"{place}: {_TOO_DEEP}") from error


_TOO_DEEP = "is nested too deep; write it with fewer lists and mappings in one another"


class _Plain:
    """A copy of what PyYAML made, of plain values alone. Aliases are written out, which a small file can make huge."""

    def __init__(self, path: str) -> None:
        self._path, self._values = path, 0

    def value(self, value: Any, place: str, depth: int) -> Any:
        """The copy of a value at a place. Raises `UserError` where it is no plain one."""
        self._values += 1
        if depth > _DEEPEST:
            raise UserError(f"{self._path}: {_TOO_DEEP}")
        if self._values > _MOST_VALUES:
            raise UserError(f"{self._path}: has over {_MOST_VALUES:,} values; write it with fewer aliases (`*NAME`)")
        if isinstance(value, list):
            return [self.value(inner, f"{place}.{number}", depth + 1) for number, inner in enumerate(value)]
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    shown = str(key) if isinstance(key, bool | float) or key is None else f"of type {type(key).__name__}"
                    raise self._wrong(place, f"has a key {shown}, which is not text; put it in quotes")
            return {key: self.value(inner, f"{place}.{key}", depth + 1) for key, inner in value.items()}
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not -_MOST <= value <= _MOST:
            raise self._wrong(place, f"is a number beyond {_MOST}, the largest that a recipe can have")
        if value is not None and not isinstance(value, str | int | float):
            raise self._wrong(place, f"is a {type(value).__name__}; write a text, a number, a list or a mapping")
        return value

    def _wrong(self, place: str, why: str) -> UserError:
        return UserError(printable(f"{self._path}: {place[1:]}: {why}" if place else f"{self._path}: {why}"))


class _GivenTwice(yaml.constructor.ConstructorError):
    """A key that a mapping has twice, of which PyYAML itself keeps the second."""


class _Loader(yaml.SafeLoader):
    """PyYAML's, which refuses what it would pass over, and says where what it cannot read is."""

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        self._check(node)
        return self.construct_document(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _VALUE_ERRORS as error:
            kind = _KINDS.get(node.tag.removeprefix(_TAG), f"what its tag {node.tag} says")
            value = repr(node.value if len(node.value) <= 40 else f"{node.value[:40]}...")
            raise yaml.constructor.ConstructorError(
                None, None, f"{value} is not {kind}; correct it, or put it in quotes if it is text", node.start_mark
            ) from error

    def _check(self, root: yaml.Node) -> None:
        """Raises `_GivenTwice` where a mapping has a key twice, at whatever depth. Keys that `<<` merges may be given again."""
        ahead, seen = [(root, "")], {id(root)}
        while ahead:
            node, place = ahead.pop()
            for inner, name in self._inner(node, place):
                if id(inner) not in seen:  # an alias stands for a node that there is already
                    seen.add(id(inner))
                    ahead.append((inner, f"{place}.{name}" if place else name))

    def _inner(self, node: yaml.Node, place: str) -> list[tuple[yaml.Node, str]]:
        """The nodes within a node, with their names there."""
        if isinstance(node, yaml.SequenceNode):
            return [(inner, str(number)) for number, inner in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return []
        lines: dict[Hashable, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
                continue
            value, line = self.construct_object(key), key.start_mark.line + 1
            if value in lines:
                where = printable(f"{place}.{key.value}" if place else key.value)
                lined = f"in line {line}" if lines[value] == line else f"in line {lines[value]} and in line {line}"
                raise _GivenTwice(None, None, f"{where}: is given twice, {lined}; keep one of the two", key.start_mark)
            lines[value] = line
        return [(inner, str(key.value)) for key, inner in node.value]


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))

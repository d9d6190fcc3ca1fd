"""Values of a transformers `config.json`, checked. Errors name the key."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any

from model.errors import ModelError


def refuse(name: str, value: Any, wanted: str) -> ModelError:
    """The error for a value that is not allowed."""
    return ModelError(f"config.json: {name} is {value!r}; {wanted}")


def whole(name: str, value: Any, least: int | None = None) -> int:
    """A whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise refuse(name, value, "give a whole number")
    if least is not None and value < least:
        raise refuse(name, value, f"it must be at least {least}")
    return value


def number(name: str, value: Any) -> float:
    """A finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
        raise refuse(name, value, "give a finite number")
    return float(value)


def table(name: str, value: Any) -> dict[str, Any]:
    """An object; null is an empty one."""
    if value is not None and not isinstance(value, dict):
        raise refuse(name, value, "give an object")
    return value or {}


def _like(name: str, value: Any, kind: str) -> Any:
    """A value of the type that our field has, as it is written."""
    if kind == "float":
        return number(name, value)
    if kind.startswith("int"):
        return whole(name, value)
    if not isinstance(value, {"bool": bool, "str": str}[kind]):
        raise refuse(name, value, "give true or false" if kind == "bool" else "give a string")
    return value


def of_fields(config: Any, names: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    """Values of a configuration's fields that `body` has under transformers' names (`names`: ours -> theirs)."""
    kinds = {field.name: str(field.type) for field in fields(config)}
    values = {ours: _like(theirs, body[theirs], kinds[ours]) for ours, theirs in names.items() if body.get(theirs) is not None}
    pad, vocabulary = values.get("pad_token_id"), values.get("vocab_size", config.vocab_size)
    if pad is not None and not 0 <= pad < vocabulary:
        raise refuse("pad_token_id", pad, f"it must be in the vocabulary, below vocab_size {vocabulary}")
    return values


def fixed(body: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse what our architecture fixes, where `body` has it otherwise."""
    for name, value in wanted.items():
        if body.get(name, value) != value:
            raise refuse(name, body[name], f"only {value!r} is supported")

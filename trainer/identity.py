"""The identity of a run: the values that may not change once it has begun, compared field by field.

A checkpoint keeps them beside the weights. They are all fields of `RunConfig` but those marked `MayChange`.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from trainer.config import Made, MayChange, RunConfig

_ABSENT = object()


def identity(config: RunConfig, data: Sequence[str]) -> dict[str, Any]:
    """The values of a run that may not change, as plain JSON values, in the sections of `RunConfig`.

    `data` holds the fingerprint of each phase's shards: it stands in place of the folder that they lie in.
    """
    phases = [phase.model_copy(update={"shards": fingerprint}) for phase, fingerprint in zip(config.phases, data, strict=True)]
    plain: dict[str, Any] = json.loads(json.dumps(_fixed(config.model_copy(update={"phases": phases}))))
    return plain


def _fixed(value: Any) -> Any:
    """A configuration as plain values, without the fields that may change."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        fixed = (name for name, field in fields if not any(isinstance(mark, MayChange) for mark in field.metadata))
        return {name: _fixed(getattr(value, name)) for name in fixed}
    if dataclasses.is_dataclass(value):
        return {field.name: _fixed(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_fixed(item) for item in value] if isinstance(value, list | tuple) else value


def changes(now: dict[str, Any], then: dict[str, Any], begun: int, free: type = MayChange) -> list[str]:
    """What differs between two identities: a phrase for each value, by the recipe's own keys. Empty where the run may be resumed.

    Only the first `begun` phases are compared: those that no step has been made of may change, come and go. Fields that are marked as
    `free` are not.
    """
    old, new = ({**each, "phases": each["phases"][:begun]} for each in (then, now))
    return list(_differences(new, old, "", RunConfig, free))


def _differences(now: Any, then: Any, place: str, section: Any, free: type) -> Iterator[str]:
    """A phrase for each difference between two sections at `place`; `section` is the section's model, where it has one."""
    fields = section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else {}
    for name in {**now, **then}:
        new, old = now.get(name, _ABSENT), then.get(name, _ABSENT)
        field = fields.get(name)
        if new == old or (field is not None and any(isinstance(mark, free) for mark in field.metadata)):
            continue
        inner = next(iter(typing.get_args(field.annotation)), field.annotation) if field is not None else None
        made = next((mark for mark in field.metadata if isinstance(mark, Made)), None) if field is not None else None
        where = f"{place}.{name}" if place else name
        if made is not None:
            yield f"{made.name}{f' of {place}' if place else ''} changed ({made.by})"
        elif isinstance(new, dict) and isinstance(old, dict):
            yield from _differences(new, old, where, inner, free)
        elif _sections(new) and _sections(old) and len(new) == len(old):
            for number, (one, other) in enumerate(zip(new, old, strict=True)):
                known = one.get("name") if one.get("name") == other.get("name") else None
                yield from _differences(one, other, f"{where}.{known or number}", inner, free)
        elif _sections(new) and _sections(old):
            yield f"{where} changed (there are {len(new)}, there were {len(old)})"
        elif old is _ABSENT:
            yield f"{where} is new ({_shown(new)})"
        elif new is _ABSENT:
            yield f"{where} is gone (it was {_shown(old)})"
        else:
            yield f"{where} changed ({_shown(new)}, was {_shown(old)})"


def _sections(value: Any) -> bool:
    """Whether this is a list of sections."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _shown(value: Any) -> str:
    """A value as one writes it in a recipe."""
    return value if isinstance(value, str) else json.dumps(value)

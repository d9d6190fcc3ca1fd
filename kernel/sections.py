"""Sections of a recipe whose model is chosen by a key in them, such as a source's by its `format`.

Unlike pydantic's own unions, the choices may grow by installed packages, and a key that belongs to another choice is refused with
the choices that have it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema


def hint(key: str, known: Iterable[str]) -> str:
    """What to do about a key that is not known: the nearest one, or all there are."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(names)}"


@dataclass(frozen=True, eq=False)
class Chosen:
    """In `Annotated[BASE, Chosen(...)]`: the value is checked by the model that its key `key` names, and becomes that model.

    `models`: the model for each name, looked up when a value is checked. `base`: the model whose keys most of them share. `default`: the
    name where the key is absent. `short`: whether the name alone, as text, stands for a section that has nothing but it. `beside`: a
    choice by the same names, whose keys the reference does not describe again.
    """

    key: str
    models: Mapping[str, type[BaseModel]]
    base: type[BaseModel]
    default: str | None = None
    short: bool = False
    beside: Chosen | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        base: type[BaseModel] = source

        def validate(value: Any) -> BaseModel:
            return value if isinstance(value, base) else self.validate(value)

        return core_schema.no_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        choices: list[dict[str, Any]] = []
        for model, names in by_model(self.models).items():
            tag: dict[str, Any] = {"properties": {self.key: {"enum": names}}}
            if self.default not in names:
                tag["required"] = [self.key]
            choices.append({"allOf": [handler(_defined(model)), tag]})
        if self.short:
            choices.append({"enum": list(self.models)})
        return {"anyOf": choices}

    def validate(self, value: Any) -> BaseModel:
        """The section as the model that it names. Raises `ValidationError` at the key that is wrong."""
        models = self.models
        if self.short and isinstance(value, str):
            value = {self.key: value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError("dict_type", "a section is a mapping of keys")
        name = value.get(self.key, self.default)
        if name is None:
            raise _error({self.key: "missing"}, value)
        if not isinstance(name, str) or name not in models:
            near = difflib.get_close_matches(str(name), list(models), n=1, cutoff=0.6)
            meant = f"; did you mean `{near[0]}`?" if near else ""
            raise _error({self.key: f"there are {', '.join(models)}, not {name!r}{meant}"}, value)
        model = models[name]
        wrong = {str(key): self._misplaced(str(key), name, model, models) for key in value if key not in model.model_fields}
        if wrong:
            raise _error(wrong, value)
        return model.model_validate(dict(value))

    def _misplaced(self, key: str, name: str, model: type[BaseModel], models: Mapping[str, type[BaseModel]]) -> str:
        owners = [other for other in models if key in models[other].model_fields]
        if not owners:
            return f"unknown key; {hint(key, model.model_fields)}"
        own = [field for field in model.model_fields if field not in self.base.model_fields]
        near = difflib.get_close_matches(key, own, n=1, cutoff=0.7)
        listed = ", ".join(f"`{field}`" for field in own)
        advice = f"did you mean `{near[0]}`?" if near else f"leave it out; the keys of {name} alone are {listed}" if own else "leave it out"
        *first, last = owners
        having = f"{', '.join(first)} and {last}" if first else last
        return f"is a key of {self.key} {having}, not of {name}; {advice}"


@dataclass(frozen=True, eq=False)
class Wanted:
    """In `Annotated[BASE | None, Wanted(...)]`: the section of an installed package, which is imported when a recipe has the section.

    `model`: gives the section's model.
    """

    model: Callable[[], type[BaseModel]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def validate(value: Any) -> BaseModel | None:
            return None if value is None else self.model().model_validate(value)

        return core_schema.no_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(_defined(self.model())), {"type": "null"}]}


def _defined(model: type[BaseModel]) -> core_schema.CoreSchema:
    """A model as a reference to its definition, so that a schema for editors has it once."""
    schema = model.__pydantic_core_schema__
    if schema["type"] == "definitions":
        return schema
    name = f"{model.__module__}.{model.__qualname__}:1"
    return core_schema.definitions_schema(
        core_schema.definition_reference_schema(name), [cast(core_schema.CoreSchema, {**schema, "ref": name})]
    )


def kind_of(info: FieldInfo) -> Any:
    """A field's type, with how its section is chosen or found, which pydantic keeps apart from it."""
    mark = next((part for part in info.metadata if isinstance(part, Chosen | Wanted)), None)
    return Annotated[info.annotation, mark] if mark is not None else info.annotation


def wanted(kind: Any) -> type[BaseModel] | None:
    """The model of a section of an installed package, where an annotated type is one; this imports it."""
    return next((part.model() for part in getattr(kind, "__metadata__", ()) if isinstance(part, Wanted)), None)


def chosen(kind: Any) -> Chosen | None:
    """How a section of an annotated type is chosen, if it is."""
    return next((part for part in getattr(kind, "__metadata__", ()) if isinstance(part, Chosen)), None)


def by_model(models: Mapping[str, type[BaseModel]]) -> dict[type[BaseModel], list[str]]:
    """The names that each model has."""
    found: dict[type[BaseModel], list[str]] = {}
    for name, model in models.items():
        found.setdefault(model, []).append(name)
    return found


def _error(wrong: Mapping[str, str], value: Any) -> ValidationError:
    """What is wrong, by key."""
    details = []
    for key, message in wrong.items():
        kind = message if message == "missing" else PydanticCustomError("value_error", "{message}", {"message": message})
        details.append(InitErrorDetails(type=kind, loc=(key,), input=value.get(key)))
    return ValidationError.from_exception_data("section", details)

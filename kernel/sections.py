"""Sections of a recipe whose model is chosen by a key in them, such as a source's by its `format`.

Unlike pydantic's own unions, the choices may grow by installed packages, and a key that belongs to another choice is refused with
the choices that have it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from kernel.extensions import ExtensionError, Registry, loadable

NOT_INSTALLED = "if a package adds it, install that package here"
_LONGEST = 100  # letters of a name that are compared


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one is nearest to, by the letters that were added, left out, changed or swapped; None if none is near.

    A name of which it is a whole part (`adamw` of `stable_adamw`) is near too, if there is one alone.
    """
    names = list(known)
    given = name[:_LONGEST]
    most = max(1, round(len(given) / 3))
    near = [(place, other) for place, other in enumerate(names) if abs(len(other) - len(given)) <= most]
    distances = [(_distance(given.lower(), other.lower()), place) for place, other in near]
    if distances and min(distances)[0] <= most:
        return names[min(distances)[1]]
    whole = [other for other in names if given and f"_{given}_" in f"_{other}_".replace("-", "_")]
    return whole[0] if len(whole) == 1 else None


def _distance(one: str, other: str) -> int:
    """How many letters must be added, left out, changed, or swapped with the next to make one word of the other."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, its in enumerate(other, 1):
            cost = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != its))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == its:
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]


def hint(key: str, known: Iterable[str], *, extended: bool = False) -> str:
    """What to do about a key that is not known: the nearest one, or all there are. `extended`: installed packages may add more."""
    names = list(known)
    near = nearest(key, names)
    more = f"; {NOT_INSTALLED}" if extended else ""
    return f"did you mean `{near}`?" if near else f"known here: {', '.join(names)}{more}"


def check_name(name: str, known: Collection[str], what: str, *, meant: str | None = None, listed: str | None = None) -> None:
    """Raises `ValueError`, in a line with the nearest right one, where a name is none of a closed list.

    `what`: what the names are of, as in "no language is named". `meant`: what a name that is not of the list stands for. `listed`: where
    the list is to be read, where it is too long for a message.
    """
    if name not in known:
        near = meant or nearest(name, known)
        advice = f"did you mean `{near}`?" if near else f"see {listed}" if listed else f"known here: {', '.join(sorted(known))}"
        raise ValueError(f"no {what} is named {name}; {advice}")


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
            near = nearest(name, models) if isinstance(name, str) else None
            meant = f"; did you mean `{near}`?" if near else f"; {NOT_INSTALLED}"
            raise _error({self.key: f"there are {', '.join(models)}, not {name!r}{meant}"}, value)
        if isinstance(models, Registry):
            models.check(name)
        model = models[name]
        wrong = {str(key): self._misplaced(str(key), name, model, models) for key in value if key not in model.model_fields}
        if wrong:
            raise _error(wrong, value)
        return model.model_validate(dict(value), strict=True)

    def _misplaced(self, key: str, name: str, model: type[BaseModel], models: Mapping[str, type[BaseModel]]) -> str:
        owners = [other for other, its in loadable(models) if key in its.model_fields]
        if not owners:
            return f"unknown key; {hint(key, model.model_fields)}"
        own = [field for field in model.model_fields if field not in self.base.model_fields]
        near = nearest(key, own)
        listed = ", ".join(f"`{field}`" for field in own)
        advice = f"did you mean `{near}`?" if near else f"leave it out; the keys of {name} alone are {listed}" if own else "leave it out"
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
            return None if value is None else self.model().model_validate(value, strict=True)

        return core_schema.no_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        try:
            model = self.model()
        except ExtensionError:  # told where a recipe has the section
            return {}
        return {"anyOf": [handler(_defined(model)), {"type": "null"}]}


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
    """The model of a section of an installed package, where an annotated type is one and it can be had; this imports it."""
    for part in getattr(kind, "__metadata__", ()):
        if isinstance(part, Wanted):
            with suppress(ExtensionError):
                return part.model()
    return None


def chosen(kind: Any) -> Chosen | None:
    """How a section of an annotated type is chosen, if it is."""
    return next((part for part in getattr(kind, "__metadata__", ()) if isinstance(part, Chosen)), None)


def by_model(models: Mapping[str, type[BaseModel]]) -> dict[type[BaseModel], list[str]]:
    """The names that each model has, of those that can be had."""
    found: dict[type[BaseModel], list[str]] = {}
    for name, model in loadable(models):
        found.setdefault(model, []).append(name)
    return found


def _error(wrong: Mapping[str, str], value: Any) -> ValidationError:
    """What is wrong, by key."""
    details = []
    for key, message in wrong.items():
        kind = message if message == "missing" else PydanticCustomError("value_error", "{message}", {"message": message})
        details.append(InitErrorDetails(type=kind, loc=(key,), input=value.get(key)))
    return ValidationError.from_exception_data("section", details)

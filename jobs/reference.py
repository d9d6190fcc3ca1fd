"""The recipe reference, generated from the models: `python -m jobs.reference` writes docs/recipe.md and the schemas for editors."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.finetune import TaskRecipe
from jobs.recipe import Recipe, tagged
from kernel.extensions import loadable
from kernel.sections import Chosen, chosen, kind_of, wanted
from trainer.config import MayChange, TrainingConfig

DOCS = Path(__file__).parents[1] / "docs"
_NOTHING = object()


@dataclasses.dataclass(frozen=True)
class _Field:
    name: str
    kind: Any
    default: Any
    description: str


@dataclasses.dataclass(frozen=True)
class _Section:
    """One table of the reference; `identity` tells whether it is there already."""

    description: str
    fields: tuple[_Field, ...]
    identity: Any


def _section(model: Any) -> _Section:
    return _Section(_doc(model), tuple(_fields(model)), model)


def _doc(model: Any) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _fields(model: Any) -> list[_Field]:
    """The fields of a pydantic model or a described dataclass."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [_Field(info.alias or name, kind_of(info), _default(info), _described(info)) for name, info in model.model_fields.items()]
    hints = typing.get_type_hints(model)
    return [_Field(f.name, hints[f.name], f.default, f.metadata.get("description", "")) for f in dataclasses.fields(model)]


def _described(info: FieldInfo) -> str:
    """A field's description, and whether a run that has begun may go on with another value of it."""
    return " ".join([info.description or "", *(mark.note for mark in info.metadata if isinstance(mark, MayChange))])


def _default(info: FieldInfo) -> Any:
    if info.is_required():
        return _NOTHING
    return info.get_default(call_default_factory=True)


def _choices(choice: Chosen) -> dict[str, _Section]:
    """What all choices share, and then what each has of its own, those with the same keys in one table."""
    tables: dict[tuple[str, ...], tuple[list[str], _Section]] = {}
    besides = dict(loadable(choice.beside.models)) if choice.beside is not None else {}
    for name, model in loadable(choice.models):
        beside = besides.get(name)
        known = {**(beside.model_fields if beside is not None else {}), **choice.base.model_fields}
        own = tuple(field for field in _fields(model) if field.name not in known or known[field.name].description != field.description)
        if own:
            names, _ = tables.setdefault((_doc(model), *(field.name for field in own)), ([], _Section(_doc(model), own, (choice, name))))
            names.append(name)
    of_names = {f" of {choice.key} {', '.join(names)}": section for names, section in tables.values()}
    return {"": _section(choice.base), **of_names}


def _sections(kind: Any) -> dict[str, _Section]:
    """The sections that a field holds, if it holds any: itself, optional, in a list or a mapping; or several, by what tells them apart."""
    if choice := chosen(kind):
        return _choices(choice)
    if model := wanted(kind):
        return {"": _section(model)}
    if members := tagged(kind):
        first, *others = members
        return {"": _section(members[first]), **{f": {tag}": _section(members[tag]) for tag in others}}
    for candidate in (kind, *typing.get_args(kind)):
        if (typing.get_origin(candidate) is not None or chosen(candidate)) and candidate is not kind:
            found = _sections(candidate)
            if found:
                return found
        elif isinstance(candidate, type) and (issubclass(candidate, BaseModel) or dataclasses.is_dataclass(candidate)):
            return {"": _section(candidate)}
    return {}


def _words(kind: Any) -> str:
    """A type for people."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if choice := chosen(kind):
        return "section or text" if choice.short else "section"
    if wanted(kind):
        return "section or null"
    if origin is typing.Annotated:
        return _words(arguments[0])
    if kind is type(None):
        return "null"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(argument) for argument in arguments))
    if origin is typing.Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin is list:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"mapping to {_words(arguments[1])}"
    names = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return names.get(kind, "section")


def _shown(default: Any) -> str:
    if default is _NOTHING:
        return "**required**"
    if isinstance(default, BaseModel) or dataclasses.is_dataclass(default):
        return "its defaults"
    return f"`{json.dumps(default)}`"


def reference() -> str:
    """The reference as Markdown: one table a section, in the order in which a recipe names them."""
    lines = [
        "# Recipe reference",
        "",
        "Generated by `python -m jobs.reference` from the models that check recipes. An unknown key is an error that names the",
        "nearest one. `docs/recipe.schema.json` is the same for editors, and `docs/task.schema.json` of a task's recipe",
        "([finetuning.md](finetuning.md)), whose keys come after those of pretraining.",
    ]
    lines += [*_tables("recipe", Recipe), *_tables("task recipe", TaskRecipe)]
    return "\n".join([*lines, "", *_changeable()]) + "\n"


def _tables(name: str, model: type[BaseModel]) -> list[str]:
    """One table a section, from the model of a whole file on."""
    lines: list[str] = []
    waiting: list[tuple[str, _Section]] = [(name, _section(model))]
    done: set[Any] = set()
    while waiting:
        path, section = waiting.pop(0)
        if section.identity is not None and section.identity in done:
            continue
        done.add(section.identity)
        lines += [
            "",
            f"## {path}",
            "",
            section.description,
            "",
            "| key | type | default | |",
            "|---|---|---|---|",
        ]
        for field in section.fields:
            description = " ".join(field.description.split()).replace("|", "\\|")
            lines.append(f"| `{field.name}` | {_words(field.kind)} | {_shown(field.default)} | {description} |")
            place = field.name if path == name else f"{path}.{field.name}"
            waiting += [(place + tag, inner) for tag, inner in _sections(field.kind).items()]
    return lines


def _changeable() -> list[str]:
    """Which keys a run that has begun may go on with other values of, from the marks of the fields."""
    rows = [
        "## What may change when a run is resumed",
        "",
        "Of `seed`, `model`, `phases` and `training`, and of the text and the tokenizer that a run began with. Another value of what must",
        "stay is refused by its key before the first step; give the recipe another `name` then.",
        "",
        "| key | when a run goes on |",
        "|---|---|",
        "| `seed`, `model` and all that is in it | must stay |",
        "| the tokenizer that the text was packed with | must stay |",
        "| `phases`: those that a step was made of, and their packed text | must stay |",
        "| `phases`: those that have not begun | May change, be added and be taken away. |",
    ]
    for name, field in TrainingConfig.model_fields.items():
        notes = [mark.note for mark in field.metadata if isinstance(mark, MayChange)]
        rows.append(f"| `training.{name}` | {notes[0] if notes else 'must stay'} |")
    return rows


def schema(model: type[BaseModel] = Recipe) -> str:
    """The JSON schema of a recipe, or of a task's, as editors read it."""
    return json.dumps(model.model_json_schema(), indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write both files of a source tree."""
    if not DOCS.is_dir():
        raise SystemExit(f"{DOCS}: no such folder; run this in a source tree (`foundry schema` prints the schema anywhere)")
    (DOCS / "recipe.md").write_text(reference(), encoding="utf-8")
    (DOCS / "recipe.schema.json").write_text(schema(), encoding="utf-8")
    (DOCS / "task.schema.json").write_text(schema(TaskRecipe), encoding="utf-8")


if __name__ == "__main__":
    main()

"""The recipes that come with Encoder Foundry, and what `foundry run RECIPE` takes for a recipe.

In a source tree they are the folder `recipes/` at its top; a wheel has the same files as `jobs/recipes/` (setup.py puts them there).
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.workdir.errors import UserError

_HERE = Path(__file__).parent


def recipes_folder() -> Path:
    """The folder of the recipes that come with this installation or source tree."""
    installed = _HERE / "recipes"
    return installed if installed.is_dir() else _HERE.parent / "recipes"


@cache
def names() -> tuple[str, ...]:
    """Names of those recipes: their paths below the folder, without `.yaml`."""
    folder = recipes_folder()
    return tuple(sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")))


def packaged_recipe(name: str) -> Path:
    """The file of a recipe that comes with Encoder Foundry. Raises `UserError` that names the nearest one where there is none."""
    if name in names():
        return recipes_folder() / f"{name}.yaml"
    from kernel.sections import nearest  # with pydantic, for which `foundry --version` need not wait

    near = nearest(name, names())
    hint = f"did you mean `{near}`?" if near else f"there are: {', '.join(names())}"
    raise UserError(f"{name}: no recipe of this name comes with Encoder Foundry; {hint}")


def find_recipe(given: Path) -> Path:
    """The file that a user means by a recipe: one of his own, or else a packaged one by its name, with or without `.yaml`.

    Raises `UserError` where there is neither.
    """
    if given.exists():
        return given
    name = given.as_posix().removeprefix("recipes/").removesuffix(".yaml")
    if name in names():
        return recipes_folder() / f"{name}.yaml"
    from kernel.sections import nearest  # with pydantic, for which `foundry --version` need not wait

    near = nearest(name, names())
    hint = (
        f"did you mean `{near}`, which comes with Encoder Foundry?"
        if near
        else "`foundry recipes` lists those that come with Encoder Foundry"
    )
    raise UserError(f"{given}: no such recipe; {hint}")


def summary(name: str) -> str:
    """What a packaged recipe is for, in a line: the comment that it begins with, up to a colon or question mark."""
    first = (recipes_folder() / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    return re.split(r"(?<=\?) |: ", first.lstrip("# "))[0]


def own_version() -> str:
    """The installed package's version."""
    try:
        return version("encoder-foundry")
    except PackageNotFoundError:
        return "unknown (run from a source tree that is not installed)"

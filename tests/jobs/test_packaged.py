"""What `foundry run RECIPE` takes for a recipe: a file of the user's, else one that comes with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.packaged import find_recipe, names, packaged_recipe, summary
from pipeline.workdir.errors import UserError

RECIPES = Path(__file__).parents[2] / "recipes"


def test_every_recipe_of_the_source_tree_has_a_name_and_says_what_it_is_for() -> None:
    assert set(names()) == {path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml")}
    for name in names():
        assert summary(name)


@pytest.mark.parametrize("given", ["demo", "demo.yaml", "recipes/demo.yaml", "recipes/demo"])
def test_a_packaged_recipe_is_found_from_any_folder(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(Path(given)).samefile(RECIPES / "demo.yaml")


def test_a_file_of_the_users_goes_before_a_packaged_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.yaml").write_text("name: mine\n")
    assert find_recipe(Path("demo.yaml")) == Path("demo.yaml")
    assert packaged_recipe("demo").samefile(RECIPES / "demo.yaml")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("demmo", r"^demmo: no such recipe; did you mean `demo`, which comes with Encoder Foundry\?$"),
        (
            "experiments/mine.yaml",
            r"^experiments/mine\.yaml: no such recipe; `foundry recipes` lists those that come with Encoder Foundry$",
        ),
    ],
)
def test_what_is_no_recipe_is_one_line_with_the_nearest_name(
    given: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=hint):
        find_recipe(Path(given))


def test_an_unknown_name_of_a_packaged_recipe_is_one_line_with_all_names() -> None:
    with pytest.raises(UserError, match=r"^zzz: no recipe of this name comes with Encoder Foundry; there are: bert, deduplicate, "):
        packaged_recipe("zzz")

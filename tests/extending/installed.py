"""Packages as pip leaves them in a folder, made without pip: the code, and metadata with the entry points of its pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = Path(__file__).parent / "package"


def install(name: str, groups: dict[str, dict[str, str]], folder: Path) -> None:
    """Write the metadata of a package into a folder that is to be on the path."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [line for group, points in groups.items() for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def install_examples(folder: Path) -> None:
    """The package of docs/extending.md."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copytree(PACKAGE / "foundry_examples", folder / "foundry_examples")
    install(project["name"], project["entry-points"], folder)


def python(*arguments: str | Path, installed: Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A Python that has what is installed in a folder."""
    path = os.pathsep.join([str(ROOT), str(installed)])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=cwd)

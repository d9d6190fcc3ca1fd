"""Who may import whom: the arrows of docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"kernel", "pipeline", "tokenizer", "model", "trainer", "jobs", "benchmarks", "tests"}
ALLOWED = {
    "kernel": {"kernel"},
    "model": {"model", "kernel.extensions"},  # so that installed packages may add attention kernels
    "tokenizer": {"tokenizer", "kernel"},
    "pipeline": {"pipeline", "tokenizer", "kernel"},
    "trainer": {"trainer", "model", "pipeline.shards", "kernel"},
    "jobs": {"jobs", "pipeline", "tokenizer", "model", "trainer", "kernel"},
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of all that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_along_the_arrows(package: str) -> None:
    for path in modules(package):
        for name in imported(path):
            if name.split(".")[0] in OURS:
                assert any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[package]), f"{path} imports {name}"


def test_shards_import_pyarrow_and_numpy_only() -> None:
    import sys

    outside = {name.split(".")[0] for name in imported(ROOT / "pipeline" / "shards.py")} - set(sys.stdlib_module_names)
    assert outside == {"numpy", "pyarrow"}


@pytest.mark.parametrize(
    ("library", "places"),
    [("ray", ("pipeline/workdir/engine.py", "jobs/")), ("deepspeed", ("trainer/",))],
)
def test_heavy_libraries_are_imported_in_their_places_alone(library: str, places: tuple[str, ...]) -> None:
    for package in ALLOWED:
        for path in modules(package):
            if any(name.split(".")[0] == library for name in imported(path)):
                assert path.relative_to(ROOT).as_posix().startswith(places), f"{path} imports {library}"


def test_importing_the_command_line_is_light() -> None:
    """`foundry --help` must not wait for torch, ray or transformers."""
    import subprocess
    import sys

    code = "import jobs.cli, sys; print([m for m in ('torch', 'ray', 'transformers', 'deepspeed', 'numba') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"

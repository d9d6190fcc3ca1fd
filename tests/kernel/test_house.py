"""The rules of the house for kernels, read from the sources: docs/kernels.md says why."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.compile import _ours

ROOT = Path(__file__).parents[2]
PACKAGES = ("kernel", "storage", "pipeline", "tokenizer", "model", "trainer", "evaluation", "jobs", "benchmarks")
COMPILERS = {"njit", "jit", "vectorize", "guvectorize", "generated_jit", "stencil", "cfunc"}
MOST_LINES, MOST_ARGUMENTS = 120, 12


def sources() -> Iterator[tuple[Path, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, path.read_text(encoding="utf-8")


def kernels(text: str) -> Iterator[ast.FunctionDef]:
    """The functions that `kernel` or `leaf` compiles."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            names = [ast.unparse(each.func if isinstance(each, ast.Call) else each) for each in node.decorator_list]
            if {"kernel", "leaf"} & {name.rsplit(".", 1)[-1] for name in names}:
                yield node


def comment_above(text: str, node: ast.FunctionDef) -> str:
    lines = text.splitlines()
    at = node.decorator_list[0].lineno - 2
    found: list[str] = []
    while at >= 0 and lines[at].startswith("#"):
        found.insert(0, lines[at])
        at -= 1
    return "\n".join(found)


def excesses(text: str) -> list[str]:
    """The kernels that are too long, or have too many arguments, without a reason."""
    found = []
    for node in kernels(text):
        why = comment_above(text, node)
        lines = (node.end_lineno or 0) - node.lineno + 1
        arguments = len(node.args.args) + len(node.args.posonlyargs) + len(node.args.kwonlyargs)
        if lines > MOST_LINES and "# Long: " not in why:
            found.append(f"{node.name} has {lines} lines")
        if arguments > MOST_ARGUMENTS and "# Many arguments: " not in why:
            found.append(f"{node.name} has {arguments} arguments")
    return found


def compilers(text: str) -> list[str]:
    """Where a module compiles by numba's own decorators, however it names them. Triton's kernels, for GPUs, are cached by Triton itself."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numba":
            found += [alias.name for alias in node.names if alias.name in COMPILERS]
        elif isinstance(node, ast.Attribute) and node.attr in COMPILERS and ast.unparse(node.value) != "triton":
            found.append(node.attr)
    return found


def test_no_kernel_is_long_or_has_many_arguments_without_a_reason_above_it() -> None:
    seen = 0
    for path, text in sources():
        assert not excesses(text), f"{path}: split it, hand its arguments over in a NamedTuple, or say above it why not"
        seen += len(list(kernels(text)))
    assert seen > 100


def test_kernels_are_compiled_by_kernel_compile_alone() -> None:
    for path, text in sources():
        if path != ROOT / "kernel" / "compile.py":
            assert not compilers(text), f"{path}: use kernel.compile.kernel, whose cache knows what a kernel is made of"


@pytest.mark.parametrize(
    "text",
    [
        "from numba import njit\n",
        "import numba\n@numba.njit(cache=True)\ndef f(x): return x\n",
        "import numba as nb\nf = nb.vectorize(g)\n",
    ],
)
def test_another_compiler_is_found_however_it_is_written(text: str) -> None:
    assert compilers(text)


def test_a_kernel_of_many_lines_or_arguments_is_found_and_its_reason_too() -> None:
    body = "    x = 1\n" * MOST_LINES
    many = ", ".join(f"a{number}" for number in range(MOST_ARGUMENTS + 1))
    assert excesses(f"@leaf\ndef f(x):\n{body}") == [f"f has {MOST_LINES + 1} lines"]
    assert excesses(f"@kernel(inline='always')\ndef f({many}): pass\n") == [f"f has {MOST_ARGUMENTS + 1} arguments"]
    assert not excesses(f"# Long: because.\n# Many arguments: they are.\n@leaf\ndef f({many}):\n{body}")
    assert not excesses(f"def f({many}):\n{body}")


def test_the_cache_looks_at_every_package_that_has_a_kernel_or_that_one_imports() -> None:
    packages = {path.relative_to(ROOT).parts[0] for path, text in sources() if list(kernels(text))}
    assert {"kernel", "pipeline", "tokenizer", "trainer"} <= packages
    assert packages <= _ours()
    assert set(PACKAGES) <= _ours(), "whatever of ours a kernel may import"


TRAINER = """
import numpy as np
from kernel.random import draw
from trainer.masking import mask_row
from trainer.order import rows_of
ids = np.arange(400, dtype=np.uint16)
out, positions, labels = (np.empty(400, np.int64) for _ in range(3))
count = mask_row(ids, np.uint64(7), 0.3, 0, 1000, 999, 0, np.zeros(1000, bool), out, positions, labels)
print(positions[:count].tolist(), rows_of(np.arange(40), 40, 7).tolist(), int(draw(np.uint64(7), np.uint64(0))), sep=";")
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("random.py", "(index + np.uint64(1))", "(index + np.uint64(2))", (True, False, True)),
        ("hashing.py", "(value >> np.uint64(30))", "(value >> np.uint64(29))", (True, True, True)),
    ],
)
def test_masks_and_orders_change_with_the_functions_that_they_are_made_of(
    tmp_path: Path, file: str, old: str, new: str, changed: tuple[bool, ...]
) -> None:
    for package in ("kernel", "trainer", "pipeline"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run() -> list[str]:
        done = subprocess.run([sys.executable, "-c", TRAINER], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip().split(";")

    before = run()
    assert run() == before
    path = tmp_path / "kernel" / file
    assert old in path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    after = run()
    assert tuple(one != two for one, two in zip(before, after, strict=True)) == changed


def test_an_installed_wheel_says_itself_which_packages_came_with_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "kernel", tmp_path / "kernel", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "__init__.py").write_text("")
    code = "from kernel.compile import _ours; print(*sorted(_ours()))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def ours() -> str:
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert ours().split() == ["kernel", "stranger"], "a checkout"
    (tmp_path / "encoder_foundry-1.0.dist-info").mkdir()
    (tmp_path / "encoder_foundry-1.0.dist-info" / "RECORD").write_text("kernel/compile.py,,\npipeline/shards.py,,\n")
    assert ours().split() == ["kernel", "pipeline"]

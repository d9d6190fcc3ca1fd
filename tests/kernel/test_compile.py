"""The kernels' cache: the same wherever the source lies, and made anew when anything that a kernel is made of changes."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest

import kernel
from kernel.cache import NoHome, expand_home
from kernel.compile import leaf, load64

ONE = (
    "from pipeline.two import STEP, more\nfrom kernel.compile import kernel\n\n@kernel\ndef count(value):\n    return more(value) + STEP\n"
)
TWO = "from kernel.compile import kernel\nSTEP = 10\n\n@kernel\ndef more(value):\n    return value + 1\n"
RUN = "from pipeline.one import count\nprint(count(1), sum(count.stats.cache_hits.values()), sum(count.stats.cache_misses.values()))"

HOMELESS = """
import pwd
def none(_):
    raise KeyError("no passwd entry")
pwd.getpwuid = none
"""


def project(folder: Path) -> Path:
    """The kernel package beside two modules with kernels."""
    shutil.copytree(Path(kernel.__file__).parent, folder / "kernel", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pipeline").mkdir()
    (folder / "pipeline" / "one.py").write_text(ONE)
    (folder / "pipeline" / "two.py").write_text(TWO)
    return folder


def run(folder: Path, cache: Path | None) -> list[int]:
    """What the kernel gives, and how often it was found in the cache, and not. Without a cache, there is no home folder either."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    before = ""
    if cache is None:
        for name in ("XDG_CACHE_HOME", "HOME", "NUMBA_CACHE_DIR"):
            environment.pop(name, None)
        before = HOMELESS
    done = subprocess.run([sys.executable, "-c", before + RUN], env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_a_kernel_is_compiled_once_for_all_folders_and_again_when_what_it_imports_changes(tmp_path: Path) -> None:
    first, second, cache = project(tmp_path / "first"), project(tmp_path / "second"), tmp_path / "cache"
    assert run(first, cache) == [12, 0, 1]
    assert run(first, cache) == [12, 1, 0]
    assert run(second, cache) == [12, 1, 0]
    (second / "pipeline" / "two.py").write_text(TWO.replace("value + 1", "value + 2"))
    assert run(second, cache) == [13, 0, 1], "a function that is inlined from another file"
    (second / "pipeline" / "two.py").write_text(TWO.replace("10", "20"))
    assert run(second, cache) == [22, 0, 1], "a constant of another file"
    assert run(first, cache) == [12, 1, 0]


def test_where_the_cache_cannot_be_written_kernels_are_kept_beside_the_source(tmp_path: Path) -> None:
    folder = project(tmp_path / "one")
    (tmp_path / "file").write_text("")
    assert run(folder, tmp_path / "file") == [12, 0, 1]
    assert run(folder, tmp_path / "file") == [12, 1, 0]


def test_a_leaf_makes_no_array_and_reads_bytes_alone() -> None:
    @leaf
    def makes(size):  # type: ignore[no-untyped-def]
        return np.empty(size)[0]

    @leaf
    def reads(data):  # type: ignore[no-untyped-def]
        return load64(data, 1)

    with pytest.raises(numba.core.errors.NumbaError, match="No implementation of function"):
        makes(3)
    assert reads(np.arange(9, dtype=np.uint8)) == int.from_bytes(bytes(range(1, 9)), "little")
    with pytest.raises(numba.core.errors.NumbaError):
        reads(np.arange(9, dtype=np.int64))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda raw: b"",
    "truncated": lambda raw: raw[: len(raw) // 2],
    "junk": lambda raw: b"\x80\x04junk" * 100,
    "one byte": lambda raw: raw[: len(raw) * 3 // 4] + bytes([raw[len(raw) * 3 // 4] ^ 1]) + raw[len(raw) * 3 // 4 + 1 :],
    "a pickle of something else": lambda raw: pickle.dumps(numba.__version__) + pickle.dumps(["something", "else"]),
}


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
def test_a_damaged_file_of_the_cache_is_passed_over_and_written_again(tmp_path: Path, ending: str) -> None:
    folder, cache = project(tmp_path / "one"), tmp_path / "cache"
    assert run(folder, cache) == [12, 0, 1]
    for kind, damaged in DAMAGE.items():
        (path,) = [path for path in cache.rglob(f"*{ending}") if path.name.startswith("one.count")]
        path.write_bytes(damaged(path.read_bytes()))
        assert run(folder, cache) == [12, 0, 1], kind
    assert run(folder, cache) == [12, 1, 0]


def test_a_folder_in_place_of_a_file_of_the_cache_costs_compiling_alone(tmp_path: Path) -> None:
    folder, cache = project(tmp_path / "one"), tmp_path / "cache"
    assert run(folder, cache) == [12, 0, 1]
    for path in list(cache.rglob("one.count*.nbi")):
        path.unlink()
        path.mkdir()
    assert run(folder, cache) == [12, 0, 1]


def test_without_a_home_folder_kernels_are_kept_beside_the_source_or_not_at_all(tmp_path: Path) -> None:
    folder = project(tmp_path / "one")
    assert run(folder, None) == [12, 0, 1]
    assert run(folder, None) == [12, 1, 0]
    shutil.rmtree(folder / "pipeline" / "__pycache__")
    (folder / "pipeline" / "__pycache__").write_text("")  # no folder can be made of that name
    for _ in range(2):
        assert run(folder, None) == [12, 0, 1]
    assert sorted(path.name for path in folder.iterdir()) == ["kernel", "pipeline"], "no folder that is called ~"


def test_a_home_folder_that_is_not_known_is_one_line() -> None:
    with pytest.raises(NoHome, match=r"^~no-such-user/x: there is no such home folder here; write the path out, or set HOME$"):
        expand_home("~no-such-user/x")

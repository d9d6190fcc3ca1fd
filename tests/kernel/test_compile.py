"""The kernels' cache: the same wherever the source lies, and made anew when anything that a kernel is made of changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import kernel
from kernel.compile import leaf, load64

ONE = (
    "from pipeline.two import STEP, more\nfrom kernel.compile import kernel\n\n@kernel\ndef count(value):\n    return more(value) + STEP\n"
)
TWO = "from kernel.compile import kernel\nSTEP = 10\n\n@kernel\ndef more(value):\n    return value + 1\n"
RUN = "from pipeline.one import count\nprint(count(1), sum(count.stats.cache_hits.values()), sum(count.stats.cache_misses.values()))"


def project(folder: Path) -> Path:
    """The kernel package beside two modules with kernels."""
    shutil.copytree(Path(kernel.__file__).parent, folder / "kernel", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pipeline").mkdir()
    (folder / "pipeline" / "one.py").write_text(ONE)
    (folder / "pipeline" / "two.py").write_text(TWO)
    return folder


def run(folder: Path, cache: Path) -> list[int]:
    """What the kernel gives, and how often it was found in the cache, and not."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, cwd=folder, capture_output=True, text=True, check=True)
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

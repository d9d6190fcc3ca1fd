"""The fuzzers, a number of inputs each: no reader raises, leaves its marks or hangs, whatever the bytes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.readers import SEEDS

ROOT = Path(__file__).parents[2]
RUNS = 20_000
pytestmark = pytest.mark.thorough


def fuzz(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", *arguments, "--runs", str(RUNS)]
    result = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{RUNS} runs, none broke a law" in result.stdout


@pytest.mark.parametrize("format", sorted(SEEDS))
def test_no_input_makes_a_reader_break_a_law(format: str, tmp_path: Path) -> None:
    fuzz(tmp_path, "tests.fuzz.readers", format)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed (pip install -e .[fuzz])")
def test_no_source_file_makes_what_is_done_to_it_break_a_law(tmp_path: Path) -> None:
    fuzz(tmp_path, "tests.fuzz.code")

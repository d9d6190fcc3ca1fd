"""Kernels are Python: without the compiler they give the same, so that a debugger may be used (docs/kernels.md)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

RUN = """
import pyarrow as pa
from pipeline.dedup.shingles import signatures
from pipeline.measure.stage import measure_text
texts = pa.array([
    "I don't know. U.S. firms, e.g. http://a.b/c?d=e... well-known (see f(x=1)): 3.14!\\n\\n- A list\\n- A list\\n",
    "中文字 und Größe… the end the end the end the end the end the end the end\\r\\n[12] [citation needed] lorem ipsum {",
    "", " \\n", "x" * 300, "privacy policy\\n3 likes\\nRead more...", "References\\n[1] Name (2010). $x^2$ \\\\(a\\\\)",
], pa.large_string())
print(measure_text(texts).to_pylist(), signatures(texts, 3, 16, 1)[0].tolist())
"""


def test_without_the_compiler_kernels_give_the_same() -> None:
    def run(disabled: str) -> str:
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled}
        command = [sys.executable, "-W", "ignore", "-c", RUN]
        return subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout

    assert len(run("0")) > 1000
    assert run("1") == run("0")

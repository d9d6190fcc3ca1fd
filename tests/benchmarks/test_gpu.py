"""The GPU benchmark: its arithmetic and its file, on a machine without a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.results_file import Peer, Row


def test_a_dry_run_writes_rows_of_the_agreed_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--quick", "--out", str(tmp_path / "gpu.json")]) == 0
    body = json.loads((tmp_path / "gpu.json").read_text())
    assert set(body) == {"benchmark", "machine", "versions", "rows"}
    rows = {row["name"]: row for row in body["rows"]}
    assert rows["error against transformers: sdpa"]["value"] < 1e-5
    training = rows["tiny 256 sdpa: training"]
    assert training["peer"]["name"] == "transformers sdpa"
    assert training["ratio"] == pytest.approx(training["value"] / training["peer"]["value"])
    assert "tiny 256 sdpa: inference" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "no GPU" in capsys.readouterr().err


def test_rows_are_packed_to_their_last_token() -> None:
    for row in gpu.packed_rows(20, 1024, seed=1):
        assert sum(row) == 1024
        assert min(row) >= 16


def test_a_goal_is_met_by_what_was_measured() -> None:
    assert Row("a", "u", 6.0, Peer("p", "1", 2.0), goal=3.0).to_dict()["met"] is True
    assert Row("a", "u", 5.9, Peer("p", "1", 2.0), goal=3.0).to_dict()["met"] is False
    assert Row("a", "u", 0.4, None, goal=0.5).to_dict()["met"] is False
    assert Row("a", "u", 0.4).to_dict()["met"] is None

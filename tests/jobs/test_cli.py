"""The command line: its exit codes, and that what the user got wrong shows no traceback."""

from __future__ import annotations

from pathlib import Path

from tests.integration.small import foundry


def test_help_lists_the_commands() -> None:
    said = foundry("--help").stdout
    for command in ("demo", "run", "curate", "tokenizer", "pack", "pretrain", "export", "report", "inspect", "explain"):
        assert command in said


def test_a_users_errors_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\nworkdir: w\nsuorces: []\n")
    for arguments in (["run", "nosuch.yaml"], ["run", tmp_path / "r.yaml"], ["inspect", tmp_path / "none"], ["explain", tmp_path, "id"]):
        result = foundry(*arguments)
        assert result.returncode == 2, result.stderr
        assert result.stderr.startswith("foundry: ")
        assert len(result.stderr.strip().splitlines()) == 1

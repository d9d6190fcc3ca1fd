"""The command line: its exit codes, and that what the user got wrong shows no traceback."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
from rich.text import Text
from typer.main import get_command

from jobs import summary
from jobs.cli import app
from jobs.summary import print_examples
from pipeline.workdir.dataset import Workdir
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


def test_help_is_shown_as_it_is_written() -> None:
    """Help is read as markup, where [unusedN] is a style and vanishes, and BEGIN:END:STEP has a sign in it: all must be shown as written."""
    lost = []
    pending = [get_command(app)]
    while pending:
        command = pending.pop()
        pending += getattr(command, "commands", {}).values()
        texts = [command.help, *(getattr(parameter, "help", None) for parameter in command.params)]
        lost += [text for text in texts if text and Text.from_markup(text).plain != text.replace("\\[", "[")]
    assert not lost


def test_examples_of_fates_stand_in_one_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A long name of a stage does not run into its command."""
    fates = {"kept": "web:a", "contamination": "web:b"}
    with patch.object(summary, "examples", lambda workdir: fates):
        print_examples(Workdir(str(tmp_path)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("foundry explain")[0] for line in lines] == ["kept:          ", "contamination: "]

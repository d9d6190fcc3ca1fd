"""Whole writes and reads over file systems that go wrong, and files that are read as streams through faults."""

from __future__ import annotations

import errno
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import Refused, Unreachable
from storage.folder import Folder
from storage.inputs import failure, forget, open_input
from storage.location import Location
from tests.profiles import share
from tests.trainer.stores import Faulty, over, patient

OLD, NEW = b"old" * 10, b"new" * 1000


def content(folder: Folder, *parts: str) -> bytes | None:
    raw = folder.read(*parts)
    return None if raw is None else raw.to_pybytes()


def test_whichever_request_fails_for_good_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    handler = Faulty(tmp_path / "all")
    over(handler, "x://all").write(NEW, "a", "b")
    for last in range(len(handler.requests)):
        away = tmp_path / str(last)
        over(Faulty(away), "x://y").write(OLD, "a", "b")
        with pytest.raises(Unreachable, match=r"^x://y/a/b: cannot be written \(no connection for .*; tried for \d+ s\); check"):
            over(Faulty(away, lambda number, *_, last=last: number >= last), "x://y").write(NEW, "a", "b")
        assert content(over(Faulty(away), "x://y"), "a", "b") in (OLD, NEW)
        over(Faulty(away, lambda number, *_, last=last: number == last), "x://y").write(NEW, "a", "b")
        assert content(over(Faulty(away), "x://y"), "a", "b") == NEW


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    folder = Folder(Location.parse(str(tmp_path)), patient())
    folder.write(OLD, "a", "b")

    def fails(file: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(Unreachable if code == errno.EIO else Refused, match=rf"a/b: cannot be written \({os.strerror(code)}"):
        folder.write(NEW, "a", "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert content(folder, "a", "b") == OLD


def test_a_stream_whose_source_fails_leaves_the_old_file(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield NEW
        raise RuntimeError("the source is gone")

    for folder in (Folder(Location.parse(str(tmp_path / "here")), patient()), over(Faulty(tmp_path / "away"), "x://y", "y")):
        folder.write(OLD, "a")
        with pytest.raises(RuntimeError, match="the source is gone"):
            folder.send(pieces, "a")
        assert content(folder, "a") == OLD


class Flaky(Faulty):
    """A store whose reads fail as a list of chances says, one after the other: an error, an early end, or nothing."""

    def __init__(self, folder: Path, faults: list[str]) -> None:
        super().__init__(folder)
        self.faults = faults

    def open_input_file(self, path: str) -> Any:
        raw = self._inner.open_input_file(path).read()
        faults = self.faults

        class File(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                fault = faults.pop() if faults else ""
                if fault == "error":
                    raise OSError("the connection was reset")
                return b"" if fault == "end" else super().read(size)

        return pa.PythonFile(File(raw), mode="r")


@settings(max_examples=share(0.5))
@given(
    st.lists(st.sampled_from(["error", "end", ""]), max_size=5),
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 9000)), max_size=6),
)
def test_a_stream_is_read_through_faults_as_if_there_were_none(
    tmp_path_factory: pytest.TempPathFactory, faults: list[str], jumps: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "flaky"
    folder.mkdir(exist_ok=True)
    raw = random.Random(0).randbytes(30_000)
    (folder / "x").write_bytes(raw)
    with pytest.MonkeyPatch.context() as patch:
        system = pa.fs.PyFileSystem(Flaky(folder, list(faults)))
        patch.setattr("storage.filesystems.opened", lambda location: (system, location.path.strip("/")))
        patch.setattr("storage.inputs._REMOTE_BUFFER", 4096)
        with open_input("x://h/x", patient()) as file, io.BytesIO(raw) as plain:
            for at, size in jumps:
                assert file.seek(at) == plain.seek(at)
                assert file.read(size) == plain.read(size)
            file.seek(0)
            assert file.read() == raw
            assert file.seek(-10, os.SEEK_END) == len(raw) - 10
            assert list(file) == io.BytesIO(raw[-10:]).readlines()


def test_a_stream_that_stays_cut_is_remembered_until_it_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"content")
    handler = Flaky(tmp_path, ["error"] * 1000)
    monkeypatch.setattr("storage.filesystems.opened", lambda location: (pa.fs.PyFileSystem(handler), location.path.strip("/")))
    uri = "x://key:geheim@h/x"
    with (
        open_input(uri, patient()) as file,
        pytest.raises(Unreachable, match=r"^x://key:\*\*\*@h/x: cannot be read \(the connection was reset; tried"),
    ):
        file.read()
    assert isinstance(failure(["x://other", uri]), Unreachable)
    assert failure(["x://other"]) is None
    forget([uri])
    assert failure([uri]) is None


def test_a_file_of_this_machine_that_may_not_be_read_or_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "none", "it is gone since the files were listed")):
        with pytest.raises(Refused, match=rf"^{path}: cannot be read \({reason}\); "):
            open_input(str(path), patient())
        forget([str(path)])

"""Lines of metrics and events on a disk that is full for a while."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from trainer.lines import Lines


def test_lines_wait_for_room_and_none_is_written_by_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write, room = tmp_path / "lines.jsonl", os.write, [10_000]

    def limited(handle: int, raw: bytes) -> int:
        """As a file system does that has so much room left."""
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = write(handle, raw[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", limited)
    lines = Lines(path)
    lines.add({"step": 1})
    room[0] = 7
    for step in (2, 3):
        lines.add({"step": step})
        assert path.read_text() == '{"step": 1}\n'
    room[0] = 10_000
    lines.add({"step": 4})
    lines.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4]


def test_lines_that_never_found_room_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lines = Lines(tmp_path / "lines.jsonl")
    monkeypatch.setattr(os, "write", full)
    lines.add({"step": 1})
    lines.add({"step": 2})
    lines.close()
    assert "lines.jsonl: 2 lines could not be written; is the disk full?" in capsys.readouterr().err


def test_what_json_has_no_word_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Lines(tmp_path / "lines.jsonl").add({"loss": float("nan")})

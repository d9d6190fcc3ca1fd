"""How new output takes the place of the old: never in part, wherever a run is cut off, and never nothing for something."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, fingerprint
from pipeline.workdir.engine import Engine, in_process
from pipeline.workdir.errors import UserError
from pipeline.workdir.tasks import File, Stage, Task

VALUES = {"a": "one", "b": "two", "c": "three"}
EDITED = {"a": "one", "b": "TWO!", "d": "four"}


def say(workdir: Workdir, payload: tuple[str, str]) -> Generator[File, None, Summary]:
    """Writes its word into one dataset and the word's length into another."""
    name, word = payload
    yield File("words", f"{name}.txt", word.encode(), 1)
    yield File("lengths", f"{name}.txt", str(len(word)).encode(), len(word))
    return {"letters": len(word)}


def nothing_for_something(old: Manifest, new: Manifest) -> str | None:
    return "leaves nothing where there was something" if old.rows and not new.rows else None


def stage(values: dict[str, str], index: str | None = "index.json") -> Stage:
    tasks = tuple(Task(name, fingerprint(word), (name, word)) for name, word in sorted(values.items()))
    return Stage("say", ("words", "lengths"), say, tasks, index=index, refusal=nothing_for_something)


def run(workdir: Workdir, values: dict[str, str]) -> None:
    engine = Engine(workdir, executor=in_process)
    engine.run(stage(values))
    engine.close()


class Cut(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Cutting(Workdir):
    """A workdir whose process is gone after so many changes of files."""

    left: list[int] = field(default_factory=list)

    def _spend(self) -> None:
        self.left[0] -= 1
        if self.left[0] < 0:
            raise Cut

    def write(self, raw: Any, *parts: str) -> None:
        self._spend()
        super().write(raw, *parts)

    def delete(self, *parts: str) -> None:
        self._spend()
        super().delete(*parts)

    def delete_folder(self, *parts: str) -> None:
        self._spend()
        super().delete_folder(*parts)

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        self._spend()
        super().move(source, target)


def content(folder: Path) -> dict[str, bytes]:
    """All files of a workdir, but the lock's."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"
    }


def words(workdir: Workdir) -> dict[str, str] | None:
    """What the datasets say, every checksum verified; None where one is unfinished."""
    found = [workdir.manifest("words"), workdir.manifest("lengths")]
    if any(manifest is None for manifest in found):
        return None
    first, second = ({p.name[0]: workdir.read_partition(m.dataset, p).to_pybytes().decode() for p in m.partitions} for m in found if m)
    assert {name: str(len(word)) for name, word in first.items()} == second
    return first


def cut_everywhere(folder: Path, first: dict[str, str], second: dict[str, str]) -> int:
    """Change a finished workdir, cut after 0, 1, 2 ... changes of files, and go on; returns after how many the change was whole."""
    run(Workdir(str(folder / "truth")), second)
    truth = content(folder / "truth")
    for changes in range(200):
        workdir = Workdir(str(folder / str(changes)))
        run(workdir, first)
        try:
            run(Cutting(workdir.uri, [changes]), second)
            return changes
        except Cut:
            pass
        assert words(workdir) in (first, second, None), changes
        run(workdir, second)
        assert content(Path(workdir.uri)) == truth, changes
    raise AssertionError("never whole")


def test_a_run_that_is_cut_off_anywhere_leaves_the_old_or_the_new_and_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    assert cut_everywhere(tmp_path, VALUES, EDITED) > 15


def test_a_first_run_that_is_cut_off_anywhere_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    run(Workdir(str(tmp_path / "truth")), VALUES)
    truth = content(tmp_path / "truth")
    for changes in range(100):
        workdir = Workdir(str(tmp_path / str(changes)))
        try:
            run(Cutting(workdir.uri, [changes]), VALUES)
            assert changes > 10
            return
        except Cut:
            pass
        assert words(workdir) in (VALUES, None)
        run(workdir, VALUES)
        assert content(Path(workdir.uri)) == truth, changes


def test_the_old_can_be_read_until_all_of_the_new_is_there(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    run(workdir, VALUES)
    before = content(tmp_path)

    def looking(ledger: Any, folder: str, stage: Stage, tasks: list[Task]) -> Any:
        in_process(ledger, folder, stage, tasks)
        assert words(workdir) == VALUES
        raise Cut

    with pytest.raises(Cut):
        Engine(workdir, executor=looking).run(stage(EDITED))
    assert {name: raw for name, raw in content(tmp_path).items() if "_new" not in name} == before


def test_an_edit_that_is_taken_back_costs_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    run(workdir, VALUES)
    before = content(tmp_path)
    with pytest.raises(Cut):
        run(Cutting(workdir.uri, [4]), EDITED)
    assert (tmp_path / "words" / "_new").is_dir()
    engine = Engine(workdir, executor=in_process)
    assert engine.run(stage(VALUES)).ran == 0
    engine.close()
    assert content(tmp_path) == before


def test_a_result_that_the_stage_refuses_leaves_the_old_in_place(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    run(workdir, VALUES)
    before = content(tmp_path)
    with pytest.raises(UserError, match=r"leaves nothing where there was something; .*words stays as it was"):
        run(workdir, {})
    after = content(tmp_path)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b'{"format":1}', b'{"format":1,"tasks":{"a":[]}}', b'{"format":1,"tasks":{"a":{"key":1}}}', b"\x00"]
)
def test_damaged_records_cost_work_and_nothing_else(tmp_path: Path, damage: bytes) -> None:
    workdir = Workdir(str(tmp_path))
    run(workdir, VALUES)
    before = content(tmp_path)
    (tmp_path / "words" / "_tasks.json").write_bytes(damage)
    run(workdir, VALUES)
    assert content(tmp_path) == before


def test_records_of_an_older_version_are_taken(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    run(workdir, VALUES)
    records = workdir.json("words", "_tasks.json")
    (tmp_path / "words" / "_tasks.json").unlink()
    for name, body in records["tasks"].items():
        workdir.write(json.dumps({"format": 1, **body}).encode(), "words", "_tasks", f"{name}.json")
    engine = Engine(workdir, executor=in_process)
    assert engine.run(stage(VALUES)).ran == 0
    engine.close()


def test_a_file_of_another_run_of_the_task_is_not_taken_for_its_own(tmp_path: Path) -> None:
    """An edit that is cut off after it wrote a file, and then taken back, when both files are equally long."""
    workdir = Workdir(str(tmp_path))
    with pytest.raises(Cut):
        run(Cutting(workdir.uri, [3]), VALUES)
    assert list(workdir.sizes("words", "_tasks")) == ["a.json"]
    with pytest.raises(Cut):
        run(Cutting(workdir.uri, [2]), {**VALUES, "a": "eno"})
    run(workdir, VALUES)
    assert words(workdir) == VALUES

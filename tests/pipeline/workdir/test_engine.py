"""Stages on Ray: resume, staleness, errors, and output that is a function of input."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Workdir, fingerprint, to_parquet
from pipeline.workdir.engine import Engine
from pipeline.workdir.errors import UserError
from pipeline.workdir.scheduling import StageFailed
from pipeline.workdir.tasks import File, Stage, Task, add_summaries, chunks_by_size


def double(workdir: Workdir, payload: tuple[str, int, str]) -> Generator[File, None, Summary]:
    """A stage's function: notes that it ran, and writes a table of twice its number."""
    name, value, log = payload
    with open(log, "a") as file:
        file.write(f"{name}\n")
    if value == 13:
        raise UserError("thirteen: unlucky; choose another number")
    if value == 14:
        raise ZeroDivisionError("fourteen")
    yield File("doubled", f"{name}.parquet", to_parquet(pa.table({"n": [2 * value]})), 1)
    return {"sum": {"n": 2 * value}}


def stage(values: dict[str, int], log: Path) -> Stage:
    tasks = tuple(Task(name, fingerprint(value), (name, value, str(log))) for name, value in sorted(values.items()))
    return Stage("double", ("doubled",), double, tasks, memory=64 << 20)


def test_what_is_done_is_kept_and_what_changed_is_made_again(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = engine.run(stage({"a": 1, "b": 2}, log))
    assert (first.ran, first.kept, first.summary) == (2, 0, {"sum": {"n": 6}})
    assert engine.run(stage({"a": 1, "b": 2}, log)).ran == 0
    third = engine.run(stage({"a": 1, "b": 5, "c": 3}, log))
    assert (third.ran, third.kept, third.summary) == (2, 1, {"sum": {"n": 18}})
    assert sorted(log.read_text().split()) == ["a", "b", "b", "c"]


def test_what_no_task_makes_any_more_is_cleared_away(engine: Engine, tmp_path: Path) -> None:
    engine.run(stage({"a": 1, "b": 2}, tmp_path / "log"))
    engine.workdir.write(b"left by a crash", "doubled", ".b.parquet.1234.tmp")
    engine.run(stage({"a": 1}, tmp_path / "log"))
    assert set(engine.workdir.sizes("doubled")) == {"a.parquet", "_manifest.json", "_tasks.json"}
    assert engine.workdir.folders("doubled") == []
    assert set(engine.workdir.json("doubled", "_tasks.json")["tasks"]) == {"a"}


def test_a_missing_or_cut_partition_is_made_again_with_the_same_bytes(engine: Engine, tmp_path: Path) -> None:
    engine.run(stage({"a": 1, "b": 2}, tmp_path / "log"))
    path = Path(engine.workdir.path("doubled", "b.parquet"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert engine.run(stage({"a": 1, "b": 2}, tmp_path / "log")).ran == 1
    assert path.read_bytes() == whole
    path.unlink()
    assert engine.run(stage({"a": 1, "b": 2}, tmp_path / "log")).ran == 1
    assert path.read_bytes() == whole


def test_a_users_error_in_a_task_comes_through_as_it_is(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^thirteen: unlucky; choose another number$"):
        engine.run(stage({"a": 1, "b": 13}, tmp_path / "log"))
    assert engine.workdir.manifest("doubled") is None
    assert engine.run(stage({"a": 1, "b": 12}, tmp_path / "log")).kept <= 1


def test_a_fault_names_the_stage_and_the_task(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="stage double, task b"):
        engine.run(stage({"b": 14}, tmp_path / "log"))


def test_a_stage_that_needs_more_memory_than_any_node_has_is_refused(engine: Engine, tmp_path: Path) -> None:
    tasks = (Task("a", "k", ("a", 1, str(tmp_path / "log"))),)
    with pytest.raises(UserError, match="and no node has that much"):
        engine.run(Stage("double", ("doubled",), double, tasks, memory=1 << 50))


def test_nothing_starts_ray_while_nothing_is_to_do(workdir: Workdir, tmp_path: Path) -> None:
    class NoRay(Engine):
        def _ray(self) -> None:
            raise AssertionError("Ray was started")

    assert NoRay(workdir).run(Stage("empty", ("nothing",), double, ())).ran == 0
    manifest = workdir.manifest("nothing")
    assert manifest is not None
    assert manifest.rows == 0


@given(st.lists(st.integers(0, 100)), st.integers(1, 150))
def test_chunks_hold_every_item_once_in_order_and_stay_within_the_limit(sizes: list[int], limit: int) -> None:
    runs = chunks_by_size(sizes, limit)
    assert [index for run in runs for index in run] == list(range(len(sizes)))
    for run in runs:
        assert len(run) == 1 or sum(sizes[index] for index in run) <= limit


NUMBERS = st.recursive(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)), lambda v: st.dictionaries(st.sampled_from("xyz"), v))


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xy"), st.integers(0, 9)))))
def test_summaries_add_up_in_any_order(parts: list[Summary]) -> None:
    def total(order: list[Summary]) -> Summary:
        result: Summary = {}
        for part in order:
            add_summaries(result, part)
        return result

    assert total(parts) == total(parts[::-1])
    assert sum(v for d in total(parts).values() for v in d.values()) == sum(v for p in parts for d in p.values() for v in d.values())

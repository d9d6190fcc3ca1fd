"""What is damaged is told by `inspect` and by the stage that reads it, in one line, and made again by the stage that writes it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.inspect import inspect
from jobs.sums import check_sums, sums
from pipeline.mix.tokens import local_folder
from pipeline.shards import INDEX, ShardError, ShardInfo, Shards, row_checksums, schema
from pipeline.workdir.dataset import Workdir, to_ipc
from pipeline.workdir.errors import CorruptData
from pipeline.workdir.tasks import File, Stage, Task
from tests.conftest import here

INFO = ShardInfo(32, 1000, 900, 901, 902, 903, (0, 900), ("web",), "tokenizer", "plan")


def shard(workdir: Workdir, payload: int):  # type: ignore[no-untyped-def]
    target = schema(INFO)
    lists = [[[900, 5, 901]] * payload, [[0, 3]] * payload, [[0]] * payload, [[7]] * payload]
    arrays = [pa.array(values, field.type) for values, field in zip(lists, target, strict=False)]
    arrays.append(pa.array(row_checksums(*arrays)))
    yield File("shards/first", "part-00000-000.arrow", to_ipc([pa.RecordBatch.from_arrays(arrays, schema=target)], target), payload)
    return {"tokens": 3 * payload, "slots": 32 * payload, "segments": payload}


@pytest.fixture
def stage(workdir: Workdir) -> Stage:
    made = Stage("pack first", ("shards/first",), shard, (Task("part-00000", "key", 4),), index=INDEX)
    here(workdir).run(made)
    return made


def test_a_damaged_index_is_told_and_packed_again(workdir: Workdir, stage: Stage) -> None:
    folder = Path(workdir.path("shards/first"))
    good = (folder / INDEX).read_bytes()
    inspect(str(folder))
    body = json.loads(good)
    more = json.dumps({**body, "rows": body["rows"] + 1})
    other = json.dumps({**body, "files": [{**body["files"][0], "rows": "4"}]})
    for damage in (
        good[: len(good) // 2],
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        more.encode(),
        other.encode(),
        json.dumps({"format": 1}).encode(),
    ):
        (folder / INDEX).write_bytes(damage)
        with pytest.raises(ShardError, match="index.json: is damaged .*; `foundry pack RECIPE` writes it again") as error:
            Shards(folder)
        assert "\n" not in str(error.value)
        with pytest.raises(CorruptData, match="index.json: is missing, or says other things than the manifest"):
            inspect(str(folder))
        here(workdir).run(stage)
        assert (folder / INDEX).read_bytes() == good
    (folder / INDEX).unlink()
    with pytest.raises(CorruptData, match="index.json: is missing"):
        inspect(str(folder))
    here(workdir).run(stage)
    assert len(Shards(folder)) == 4


def test_files_of_a_tokenizer_are_checked_before_they_are_read(workdir: Workdir) -> None:
    def make(workdir: Workdir, payload: None):  # type: ignore[no-untyped-def]
        yield File("tokenizer", "tokenizer.json", b"{}", 0)
        yield File("tokenizer", "report.json", b'{"a": 1}', 0)
        return {}

    here(workdir).run(Stage("tokenizer", ("tokenizer",), make, (Task("tokenizer", "key", None),)))
    folder = Path(local_folder(workdir, "tokenizer"))
    (folder / "report.json").write_bytes(b'{"a": 2}')
    with pytest.raises(CorruptData, match=r"report\.json: its bytes are not those that were written"):
        local_folder(workdir, "tokenizer")


def test_what_a_run_ends_with_is_checked_by_its_checksums(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "summary.json").write_bytes(b"{}")
    record = {"files": sums(tmp_path, [tmp_path / "model", tmp_path / "summary.json", tmp_path / "none"])}
    assert sorted(record["files"]) == ["model/model.safetensors", "summary.json"]
    assert check_sums(tmp_path, record, "again") == 2
    (tmp_path / "summary.json").write_bytes(b"[]")
    assert check_sums(tmp_path, record, "again", "model/") == 1
    with pytest.raises(CorruptData, match=r"summary\.json: its bytes .*; again"):
        check_sums(tmp_path, record, "again")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(CorruptData, match=r"model\.safetensors: is missing; again"):
        check_sums(tmp_path, record, "again")
    assert check_sums(tmp_path, {"fingerprint": "of an old version"}, "again") == check_sums(tmp_path, None, "again") == 0

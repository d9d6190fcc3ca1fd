"""Checkpoints and results on object storage: whatever goes wrong on the way, what a reader takes for whole is whole."""

from __future__ import annotations

import json
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import xxhash

from tests.trainer.stores import Fault, Faulty, over
from trainer.checkpoints import Damaged, File, Manifest, Retention, Store, Uploads
from trainer.checkpoints.store import ERRORS
from trainer.errors import TrainerError

BYTES = {"weight-00000.safetensors": b"w" * 300, "exp_avg-00000.safetensors": b"m" * 200}


def checkpoint(run: Path, step: int, validation: float | None = None, salt: bytes = b"") -> str:
    """A checkpoint of two small files in a run's folder."""
    name = f"step-{step:08d}"
    folder = run / "checkpoints" / name
    folder.mkdir(parents=True)
    files = []
    for file, raw in BYTES.items():
        raw = str(step).encode() + salt + raw
        (folder / file).write_bytes(raw)
        files.append(File(file, file.split("-")[0], ("a",), len(raw), xxhash.xxh3_128_hexdigest(raw)))
    manifest = Manifest(step, 1, step * 100, 1, 1, validation, {}, {}, {}, tuple(files))
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return name


def store(folder: Path, fails: Fault | None = None, cuts: Fault | None = None) -> tuple[Store, Faulty]:
    handler = Faulty(folder, fails, cuts)
    return Store(over(handler, "memory://store", "runs/mine")), handler


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two checkpoints."""
    run = tmp_path / "run"
    checkpoint(run, 4)
    checkpoint(run, 8)
    (run / "metrics.jsonl").write_text('{"step": 4}\n{"step": 8}\n{"st')
    (run / "events.jsonl").write_text('{"time": 2.0, "step": 4}\n')
    return run


def both(there: Store, run: Path) -> None:
    """What a training puts there: the second checkpoint after the first, of which one is kept."""
    there.put_checkpoint(run, "step-00000004")
    there.put_checkpoint(run, "step-00000008")
    there.prune(Retention(1))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_put_there_is_fetched_to_the_byte(run: Path, tmp_path: Path) -> None:
    there, _ = store(tmp_path / "away")
    both(there, run)
    assert there.names() == ["step-00000008"]
    there.fetch("step-00000008", tmp_path / "other", lines=True)
    expected = {name: raw for name, raw in contents(run).items() if "step-00000004" not in name}
    expected["metrics.jsonl"] = b'{"step": 4}\n{"step": 8}\n'  # whole lines
    assert contents(tmp_path / "other") == expected


def test_the_manifest_is_the_last_to_come_and_the_first_to_go(run: Path, tmp_path: Path) -> None:
    there, handler = store(tmp_path / "away")
    both(there, run)
    of_first = [(name, path.rpartition("/")[2]) for name, path in handler.requests if "step-00000004" in path and name[0] in "wdm"]
    assert [request for request in of_first if request[0] in ("write", "move")][-1] == ("move", "manifest.json")
    assert of_first[-2:] == [("delete", "manifest.json"), ("delete folder", "step-00000004")]


def requests(run: Path, folder: Path) -> int:
    there, handler = store(folder)
    both(there, run)
    return len(handler.requests)


def test_whenever_the_connection_goes_for_good_a_reader_finds_whole_checkpoints_alone(run: Path, tmp_path: Path) -> None:
    """And no fewer than there were: the first is there until the second is."""
    for last in range(requests(run, tmp_path / "all")):
        away = tmp_path / f"away {last}"
        broken, handler = store(away, fails=lambda number, name, path, last=last: number >= last)  # type: ignore[misc]
        with pytest.raises(ERRORS):
            both(broken, run)
        reader, _ = store(away)
        found = [reader.verify(name).step for name in reader.names()]
        whole = sum(name == "move" and path.endswith("manifest.json") for name, path in handler.requests[:last])
        assert found in ([[]], [[4]], [[4, 8], [8]])[whole]
        metrics = away / "runs" / "mine" / "metrics.jsonl"
        assert not metrics.exists() or metrics.read_bytes() == b'{"step": 4}\n{"step": 8}\n'


def test_a_request_that_fails_once_is_made_again(run: Path, tmp_path: Path) -> None:
    count = requests(run, tmp_path / "all")
    expected = contents(tmp_path / "all")
    for failing in range(count):
        there, _ = store(tmp_path / f"away {failing}", fails=lambda number, name, path, failing=failing: number == failing)  # type: ignore[misc]
        both(there, run)
        found = contents(tmp_path / f"away {failing}")
        assert {name: raw for name, raw in found.items() if not name.endswith(".tmp")} == expected


@pytest.mark.parametrize("name", [".weight-00000.safetensors.tmp", ".manifest.json.tmp", ".metrics.jsonl.tmp"])
def test_a_file_that_arrives_cut_is_sent_again_and_never_taken_for_whole(run: Path, tmp_path: Path, name: str) -> None:
    for times, error in ((1, None), (99, OSError)):
        left = [times]

        def cuts(number: int, request: str, path: str, left: list[int] = left) -> bool:
            if not path.endswith(f"step-00000008/{name}" if "metrics" not in name else name) or not left[0]:
                return False
            left[0] -= 1
            return True

        away = tmp_path / f"away {times}"
        store(away)[0].put_checkpoint(run, "step-00000004")
        there, _ = store(away, cuts=cuts)
        if error is None:
            there.put_checkpoint(run, "step-00000008")
        else:
            with pytest.raises(error, match="bytes have arrived"):
                there.put_checkpoint(run, "step-00000008")
            assert left[0] <= times - 6, "it was tried again as long as is stated"
        whole = []
        for listed in there.names():
            with suppress(Damaged):
                whole.append(there.verify(listed).step)
        assert whole == ([4, 8] if error is None else [4])
        assert (away / "runs" / "mine" / "metrics.jsonl").read_bytes() == b'{"step": 4}\n{"step": 8}\n'


def test_what_is_not_whole_here_does_not_become_a_checkpoint_there(run: Path, tmp_path: Path) -> None:
    there, _ = store(tmp_path / "away")
    (run / "checkpoints" / "step-00000008" / "weight-00000.safetensors").write_bytes(b"8" + b"x" * 300)
    with pytest.raises(Damaged, match="weight-00000.safetensors does not have its checksum"):
        there.put_checkpoint(run, "step-00000008")
    assert there.names() == []
    there.sweep()
    assert contents(tmp_path / "away") == {}


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), lambda path: path.unlink()])
@pytest.mark.parametrize("name", ["weight-00000.safetensors", "manifest.json"])
def test_what_is_damaged_there_is_not_fetched(run: Path, tmp_path: Path, damage: object, name: str) -> None:
    there, _ = store(tmp_path / "away")
    there.put_checkpoint(run, "step-00000008")
    damage(tmp_path / "away" / "runs" / "mine" / "checkpoints" / "step-00000008" / name)  # type: ignore[operator]
    with pytest.raises(Damaged):
        there.fetch("step-00000008", tmp_path / "other", lines=True)
    assert contents(tmp_path / "other") == {}


def test_the_same_checkpoints_are_kept_there_as_here(tmp_path: Path) -> None:
    run, (there, _) = tmp_path / "run", store(tmp_path / "away")
    retention = Retention(2, 2, 1000)
    manifests = []
    for step, loss in ((4, 3.0), (8, 1.0), (12, 4.0), (16, 2.0), (20, 9.0), (24, None), (28, 8.0)):
        there.put_checkpoint(run, checkpoint(run, step, loss))
        manifests.append(there.manifest(f"step-{step:08d}"))
    there.prune(retention)
    # the two newest, the two of the lowest loss, the first after 1,000 and after 2,000 tokens
    assert {int(name[5:]) for name in there.names()} == {24, 28, 8, 16, 12, 20} == retention.kept(manifests)


def test_a_step_that_is_made_again_takes_the_place_of_what_is_there(run: Path, tmp_path: Path) -> None:
    there, _ = store(tmp_path / "away")
    there.put_checkpoint(run, "step-00000008")
    shutil.rmtree(run / "checkpoints" / "step-00000008")
    checkpoint(run, 8, salt=b"other")
    there.put_checkpoint(run, "step-00000008")
    assert there.verify("step-00000008").files[0].bytes == len(b"8other") + 300


def test_results_are_put_and_fetched_and_only_what_has_changed(run: Path, tmp_path: Path) -> None:
    for name in (
        "model/config.json",
        "model/model.safetensors",
        "hf/step-00000004/config.json",
        "summary.json",
        "run.json",
        "tensorboard/e",
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    for name in (
        "lock",
        "logs/rank-0.txt",
        "faults/rank-0.json",
        ".model.tmp/config.json",
        "hf/step-00000008.tmp/config.json",
        "stacks.txt",
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("of this machine")
    there, handler = store(tmp_path / "away")
    there.put_results(run)
    written = [path.rpartition("/")[2] for name, path in handler.requests if name in ("write", "move")]
    assert written[-1] == "summary.json"
    other = tmp_path / "other"
    there.fetch_results(other)
    assert {name for name in contents(other) if name[0] != "."} == {"summary.json", "run.json", "metrics.jsonl", "events.jsonl"}
    there.fetch_results(other, "model", "hf", "tensorboard")
    assert "of this machine" not in str(contents(other))
    assert {name for name in contents(other) if name != ".put.json"} == {
        "model/config.json", "model/model.safetensors", "hf/step-00000004/config.json", "summary.json", "run.json", "tensorboard/e",
        "metrics.jsonl", "events.jsonl",
    }  # fmt: skip
    before = len(handler.requests)
    there.put_results(run)
    there.fetch_results(run)
    there.fetch_results(other, "model", "hf", "tensorboard")
    assert {name for name, _ in handler.requests[before:]} == {"list"}
    (other / "summary.json").write_text("of the other machine")
    there.put_results(other)
    there.fetch_results(run)
    assert (run / "summary.json").read_text() == "of the other machine"
    (run / "run.json").write_text("its own")
    there.fetch_results(run)
    assert (run / "run.json").read_text() == "its own"


def test_no_event_of_either_machine_is_lost(run: Path, tmp_path: Path) -> None:
    there, _ = store(tmp_path / "away")
    there.put_checkpoint(run, "step-00000008")
    other = tmp_path / "other"
    other.mkdir()
    (other / "events.jsonl").write_text('{"time": 1.0, "step": 1}\n{"time": 2.0, "step": 4}\n{"time": 3.0, "step": 9}\n')
    there.fetch("step-00000008", other, lines=True)
    assert [json.loads(line)["step"] for line in (other / "events.jsonl").read_text().splitlines()] == [1, 4, 9]


def test_where_the_store_is_slow_the_newest_checkpoint_goes_next_and_what_is_read_stays(run: Path, tmp_path: Path) -> None:
    checkpoint(run, 12)
    begun, go = threading.Event(), threading.Event()

    def slow(number: int, name: str, path: str) -> bool:
        if "step-00000004" in path and name == "create":
            begun.set()
            go.wait()
        return False

    there, _ = store(tmp_path / "away", fails=slow)
    uploads = Uploads(there, run, Retention(9))
    uploads.checkpoint(4, "step-00000004")
    begun.wait()
    uploads.checkpoint(8, "step-00000008")
    uploads.checkpoint(12, "step-00000012")
    assert uploads.spared() == {"step-00000004", "step-00000012"}
    go.set()
    uploads.finish(lambda: None)
    assert there.names() == ["step-00000004", "step-00000012"]
    assert uploads.told() == [(8, "the checkpoint of step 8 was not put into memory://store: that of step 12 was there before its turn")]
    assert uploads.spared() == set()


def test_what_cannot_be_put_there_is_told_and_the_last_checkpoint_tried_once_more_at_the_end(run: Path, tmp_path: Path) -> None:
    down = [True]
    there, _ = store(tmp_path / "away", fails=lambda number, name, path: down[0] and "step-00000008" in path)
    uploads = Uploads(there, run, Retention(9))
    uploads.checkpoint(4, "step-00000004")
    uploads.finish(lambda: None)
    uploads.checkpoint(8, "step-00000008")
    while not (told := uploads.told()):
        time.sleep(0.01)
    assert [step for step, _ in told] == [8]
    assert told[0][1].startswith("the checkpoint of step 8 could not be put into memory://store (no connection for ")
    assert uploads.spared() == {"step-00000008"}
    down[0] = False
    uploads.finish(lambda: None)
    assert (there.names(), uploads.told()) == (["step-00000004", "step-00000008"], [])


def test_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    assert str(Store.open(f"file://{tmp_path}")) == f"file://{tmp_path}"
    with pytest.raises(TrainerError) as caught:
        Store.open("nowhere://user:secret@host/run")
    assert "secret" not in str(caught.value)
    assert str(caught.value).startswith("nowhere://user:***@host/run: cannot be opened (")

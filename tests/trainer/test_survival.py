"""What real clusters do to a run: every rank acts alike, nothing that was good is lost, and what happened is said."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.inspect import inspect
from tests.trainer.runs import assert_equal, lines_of, losses, steady, two_splits, weights
from tests.trainer.synthetic import BERT, run_config
from tests.trainer.zygote import fork_ranks

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_splits(tmp_path_factory.mktemp("shards"))


class Ranks:
    """The processes of a run, without a launcher between them and the test."""

    def __init__(self, run: Path, faults: list[dict[str, Any]], processes: int = 2) -> None:
        self.run = run
        listed = run / "planned.json"
        listed.write_text(json.dumps(faults))
        self.processes = fork_ranks("tests.trainer.faulty", [str(run / "run.json"), str(listed)], processes, run)

    @property
    def said(self) -> str:
        """What the first rank printed."""
        return (self.run / "said-0.txt").read_text()

    def codes(self) -> list[int]:
        """The exit codes of all, which end by themselves."""
        return [process.wait() for process in self.processes]

    def until_step(self, step: int) -> None:
        path = self.run / "metrics.jsonl"
        while not any(line["step"] >= step for line in lines_of(path)):
            assert all(process.poll() is None for process in self.processes)
            time.sleep(0.02)


def write(shards: Path, run: Path, **training: Any) -> Path:
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({**run_config(shards, **training), "run": str(run)}))
    return run


def events(run: Path) -> list[tuple[str, int]]:
    """What happened, but that it was started."""
    return [(line["event"], line["step"]) for line in lines_of(run / "events.jsonl") if line["event"] != "start"]


def faults_of(run: Path) -> dict[int, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (run / "faults").glob("rank-*.json")]
    return {fault["rank"]: fault for fault in found}


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    run = write(shards, tmp_path_factory.mktemp("whole") / "run", log_every=3)
    assert Ranks(run, []).codes() == [0, 0]
    return run


@pytest.mark.parametrize(("stage", "offload"), [(0, None), (1, None), (3, None), (2, "cpu"), (3, "cpu")])
def test_a_step_that_is_not_finite_once_leaves_no_trace(shards: Path, tmp_path: Path, stage: int, offload: str | None) -> None:
    faults = [
        {"kind": kind, "rank": rank, "step": step, "once": True} for kind, rank, step in (("nan", 1, 3), ("inf", 0, 5), ("nan loss", 1, 7))
    ]
    good, bad = (write(shards, tmp_path / name, zero_stage=stage, offload=offload) for name in ("good", "bad"))
    assert Ranks(good, []).codes() == [0, 0]
    ranks = Ranks(bad, faults)
    assert ranks.codes() == [0, 0]
    assert events(bad) == [("again", 3), ("again", 5), ("again", 7)]
    assert "step 3: the gradient is not finite; the step is computed again" in ranks.said
    assert_equal(weights(good), weights(bad))
    assert steady(good) == steady(bad)


def test_a_step_that_is_never_finite_is_left_out_on_all_ranks(shards: Path, tmp_path: Path) -> None:
    run = write(shards, tmp_path / "run")
    assert Ranks(run, [{"kind": "nan", "rank": 1, "step": 3}]).codes() == [0, 0]
    assert events(run) == [("again", 3), ("left out", 3)]
    lines = [line for line in lines_of(run / "metrics.jsonl") if line["kind"] == "train"]
    assert [line["left_out"] for line in lines] == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert lines[2]["loss"] is None
    assert all(bool(value.isfinite().all()) for value in weights(run).values())


def test_after_steps_in_a_row_it_goes_back_and_in_the_end_says_so(shards: Path, tmp_path: Path) -> None:
    run = write(shards, tmp_path / "run", returns=1, bad_steps=2)
    assert Ranks(run, [{"kind": "nan", "rank": 0, "step": 6, "steps": 2}]).codes() == [0, 0]
    assert [event for event in events(run) if event[0] != "again"] == [("left out", 6), ("left out", 7), ("return", 7)]
    assert lines_of(run / "metrics.jsonl")[-1]["step"] == 10
    hopeless = write(shards, tmp_path / "hopeless", returns=1, bad_steps=2)
    assert Ranks(hopeless, [{"kind": "nan", "rank": 0, "step": 5, "steps": 99}]).codes() == [2, 2]
    assert faults_of(hopeless)[0]["text"].startswith("step 8: 2 steps in a row were left out again, after 1 returns to a checkpoint")
    assert sorted(path.name for path in (hopeless / "checkpoints").iterdir())[0] == "step-00000004"


def test_a_spike_beyond_the_bound_is_left_out(shards: Path, tmp_path: Path) -> None:
    run = write(shards, tmp_path / "run", spike_factor=100.0)
    body = json.loads((run / "run.json").read_text())
    body["phases"][0]["tokens"] = 30 * 16 * 64  # a median is taken of 20 steps at least
    (run / "run.json").write_text(json.dumps(body))
    assert Ranks(run, [{"kind": "spike", "rank": 1, "step": 25}]).codes() == [0, 0]
    assert events(run) == [("left out", 25)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_one_rank_makes_a_checkpoint_and_all_end_well(
    shards: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """And what goes on from it, in the middle of a line of metrics, ends as the undisturbed run did."""
    run = write(shards, tmp_path / "run", log_every=3, checkpoint_every=1000)
    ranks = Ranks(run, [{"kind": "SIGTERM", "rank": 1, "step": 5}] if number == signal.SIGTERM else [])
    if number != signal.SIGTERM:
        ranks.until_step(0)
        ranks.processes[1].send_signal(number)
    assert ranks.codes() == [0, 0]
    assert events(run)[-1][0] == "stop"
    assert not (run / "summary.json").exists()
    assert Ranks(run, []).codes() == [0, 0]
    assert_equal(weights(whole), weights(run))
    assert steady(whole) == steady(run)


@pytest.mark.parametrize("kind", ["SIGKILL", "SIGKILL in a write"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_all_and_the_next_start_goes_on(shards: Path, whole: Path, tmp_path: Path, kind: str, rank: int) -> None:
    run = write(shards, tmp_path / "run", log_every=3)
    codes = Ranks(run, [{"kind": kind, "rank": rank, "step": 6 if kind == "SIGKILL" else 8, "once": True}]).codes()
    assert codes[rank] == -9
    assert codes[1 - rank] in (75, -9)
    assert Ranks(run, []).codes() == [0, 0]
    assert not list((run / "checkpoints").glob("*.tmp"))
    assert_equal(weights(whole), weights(run))
    assert steady(whole) == steady(run)


@pytest.mark.parametrize("name", ["zero 3", "bert"])
def test_a_killed_run_goes_on_bit_for_bit(shards: Path, tmp_path: Path, name: str) -> None:
    """Twice: before the first checkpoint, and after one."""
    runs = [write(shards, tmp_path / which, zero_stage=3 if name == "zero 3" else 1, log_every=3) for which in ("whole", "killed")]
    for run in runs if name == "bert" else []:
        body = {**json.loads((run / "run.json").read_text()), "model": BERT}
        for phase in body["phases"]:
            phase.pop("global_theta", None)
        (run / "run.json").write_text(json.dumps(body))
    assert Ranks(runs[0], []).codes() == [0, 0]
    for step in (3, 6):
        assert -9 in Ranks(runs[1], [{"kind": "SIGKILL", "rank": 0, "step": step}]).codes()
    assert Ranks(runs[1], []).codes() == [0, 0]
    assert_equal(*map(weights, runs))
    assert steady(runs[0]) == steady(runs[1])


def test_a_full_disk_is_said_and_training_goes_on(shards: Path, whole: Path, tmp_path: Path) -> None:
    run = write(shards, tmp_path / "run", log_every=3)
    ranks = Ranks(run, [{"kind": "disk full", "rank": 1, "step": 4, "steps": 4}])
    assert ranks.codes() == [0, 0]
    assert "checkpoint of step 4 could not be written" in ranks.said
    assert "No space left on device" in ranks.said
    assert not list((run / "checkpoints").glob("*.tmp"))
    assert {event for event, _ in events(run)} == {"checkpoint failed"}
    assert_equal(weights(whole), weights(run))


def test_a_disk_that_stays_full_ends_in_one_line_and_the_run_can_be_gone_on_with(shards: Path, whole: Path, tmp_path: Path) -> None:
    run = write(shards, tmp_path / "run", log_every=3)
    assert Ranks(run, [{"kind": "disk full", "rank": 0, "step": 6, "steps": 99}]).codes() == [2, 2]
    assert "the checkpoint of step 10 cannot be written; make room, and start again" in faults_of(run)[0]["text"]
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000004"]
    assert Ranks(run, []).codes() == [0, 0]
    assert_equal(weights(whole), weights(run))


def test_a_store_that_is_down_is_said_and_training_goes_on(shards: Path, whole: Path, tmp_path: Path) -> None:
    run = write(shards, tmp_path / "run", log_every=3)
    (run / "run.json").write_text(json.dumps({**json.loads((run / "run.json").read_text()), "store": f"file://{tmp_path}/away"}))
    ranks = Ranks(run, [{"kind": "store", "rank": 0, "step": 4}])
    assert ranks.codes() == [0, 0]
    assert events(run) == [("upload failed", 4)]
    assert f"the checkpoint of step 4 could not be put into file://{tmp_path}/away (no connection); training goes on" in ranks.said
    assert_equal(weights(whole), weights(run))
    assert not (tmp_path / "away" / "checkpoints" / "step-00000004" / "manifest.json").exists()
    assert (tmp_path / "away" / "checkpoints" / "step-00000010" / "manifest.json").is_file()


def test_an_error_of_any_rank_reaches_all(shards: Path, tmp_path: Path) -> None:
    """What a rank cannot load is told in the same step; another error ends the others by the connection that they lose."""
    run = write(shards, tmp_path / "run")
    assert Ranks(run, [{"kind": "loader", "rank": 1, "step": 4}]).codes() == [2, 2]
    faults = faults_of(run)
    assert (faults[1]["text"], faults[1]["user"], faults[1]["consequence"]) == ("row 7: is damaged; fetch its file again", True, False)
    assert (faults[0]["text"], faults[0]["consequence"]) == ("rank 1: row 7: is damaged; fetch its file again", True)
    ours = write(shards, tmp_path / "ours")
    assert Ranks(ours, [{"kind": "error", "rank": 1, "step": 4}]).codes() == [75, 1]
    assert faults_of(ours)[1]["traceback"].rstrip().endswith("ValueError: an error of ours")
    assert faults_of(ours)[0]["consequence"]


def test_a_rank_that_stands_still_ends_the_others_with_their_stacks(shards: Path, whole: Path, tmp_path: Path) -> None:
    run = write(shards, tmp_path / "run", log_every=3, hang_seconds=5.0)
    ranks = Ranks(run, [{"kind": "SIGSTOP", "rank": 1, "step": 6, "once": True}])
    assert ranks.processes[0].wait() == 75
    ranks.processes[1].kill()
    ranks.codes()
    stacks = (run / "stacks.txt").read_text()
    assert "rank 0 on " in stacks
    assert "nothing was done for 5 seconds (training.hang_seconds)" in stacks
    assert "trainer/step.py" in stacks or "trainer/control.py" in stacks
    assert Ranks(run, []).codes() == [0, 0]
    assert_equal(weights(whole), weights(run))


def test_a_second_start_in_the_same_folder_is_refused_by_the_first(shards: Path, tmp_path: Path) -> None:
    run = write(shards, tmp_path / "run", hang_seconds=600.0)
    first = Ranks(run, [{"kind": "SIGSTOP", "rank": 1, "step": 2}])
    first.until_step(1)
    assert Ranks(run, []).codes() == [2, 2]
    assert f"process {first.processes[0].pid} on " in faults_of(run)[0]["text"]
    for process in first.processes:
        process.kill()
    first.codes()
    assert Ranks(run, []).codes() == [0, 0]


def damage_bit(folder: Path) -> None:
    path = sorted(folder.glob("exp_avg-*"))[0]
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def cut_file(folder: Path) -> None:
    path = sorted(folder.glob("weight-*"))[0]
    path.write_bytes(path.read_bytes()[:-100])


def empty_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"")


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def no_file(folder: Path) -> None:
    sorted(folder.glob("exp_avg_sq-*"))[0].unlink()


def half_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:300])


DAMAGES = (damage_bit, cut_file, empty_manifest, no_manifest, no_file, half_manifest)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(shards: Path, whole: Path, tmp_path: Path, damage: Any) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "run.json").write_text(json.dumps({**json.loads((run / "run.json").read_text()), "run": str(run)}))
    (run / "summary.json").unlink()
    shutil.rmtree(run / "model")
    damage(run / "checkpoints" / "step-00000010")
    ranks = Ranks(run, [])
    assert ranks.codes() == [0, 0]
    assert "step-00000010: this checkpoint cannot be used and is passed over (" in ranks.said
    assert "from step 8" in ranks.said
    assert_equal(weights(whole), weights(run))
    assert losses(whole) == losses(run)


def test_inspect_tells_damaged_checkpoints_from_sound_ones(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    damage_bit(run / "checkpoints" / "step-00000008")
    inspect(str(run))
    said = " ".join(capsys.readouterr().out.split())
    assert "step-00000008: damaged (exp_avg-00000.safetensors does not have its checksum)" in said
    assert "step-00000010: 10,240 tokens" in said
    assert "by 2 processes under ZeRO 1" in said


def test_where_all_checkpoints_are_damaged_one_line_says_so(shards: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "run.json").write_text(json.dumps({**json.loads((run / "run.json").read_text()), "run": str(run)}))
    (run / "summary.json").unlink()
    shutil.rmtree(run / "model")
    for folder in (run / "checkpoints").iterdir():
        damage_bit(folder)
    assert Ranks(run, []).codes() == [2, 2]
    assert (
        "none of its 2 checkpoints can be used (step-00000010: exp_avg-00000.safetensors does not have its checksum)"
        in faults_of(run)[0]["text"]
    )

"""A run of a remote workdir, as the commands see it: from a machine that has trained it, and from one that has not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pytest

from jobs import run as stages
from jobs.inspect import inspect
from jobs.packaged import packaged_recipe
from jobs.recipe import load_recipe
from jobs.summary import fetched_run, local_run, put_results, run_store
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from storage.location import Location
from tests.trainer.stores import Faulty
from tests.trainer.test_store import checkpoint

WORKDIR = Workdir("s3://bucket/work")


@pytest.fixture
def down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the storage is down: a folder that stands for it, behind whatever URI."""
    state = [False]
    monkeypatch.setenv("FOUNDRY_RETRY_SECONDS", "0")

    def opened(location: Location) -> tuple[pa.fs.FileSystem, str]:
        return pa.fs.PyFileSystem(Faulty(tmp_path / "away", lambda *_: state[0])), f"{location.host}{location.path}"

    monkeypatch.setattr("storage.filesystems.opened", opened)
    monkeypatch.setenv("FOUNDRY_SECRETS", "{}")
    WORKDIR.__dict__.pop("folder", None)  # which an earlier test's storage opened
    return state


def machine(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Become another machine; returns its folder of the run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
    return local_run(WORKDIR, "mine")


def test_what_one_machine_has_put_there_another_one_has(down: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = machine("first", tmp_path, monkeypatch)
    for name in ("model/config.json", "metrics.jsonl", "summary.json", "run.json"):
        (first / name).parent.mkdir(parents=True, exist_ok=True)
        (first / name).write_text(f"{name}\n")
    name = checkpoint(first, 8)
    put_results(WORKDIR, "mine")
    assert run_store(WORKDIR, "mine").verify(name).step == 8, "where the training could not put it there"
    second = machine("second", tmp_path, monkeypatch)
    assert second != first
    assert not second.exists()
    assert fetched_run(WORKDIR, "mine", "model") == second
    for name in ("model/config.json", "metrics.jsonl", "summary.json", "run.json"):
        assert (second / name).read_text() == f"{name}\n"
    down[0] = True
    with pytest.raises(UserError, match=r"s3://bucket/work/runs/mine: cannot be fetched \(no connection for list\); check network"):
        fetched_run(WORKDIR, "mine")
    with pytest.raises(UserError, match="s3://bucket/work/runs/mine: cannot be written"):
        put_results(WORKDIR, "mine")


def test_two_workdirs_share_no_local_folder_and_a_password_makes_no_difference(down: list[bool]) -> None:
    folders = {local_run(Workdir(f"s3://{place}"), "mine") for place in ("bucket/work", "bucket/other", "key:secret@bucket/work")}
    assert len(folders) == 3, "with a user it may be another bucket"
    assert len({local_run(Workdir(f"s3://key:{secret}@bucket/work"), "mine") for secret in ("one", "two")}) == 1


def test_inspect_tells_damaged_checkpoints_from_sound_ones_there(
    down: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = machine("first", tmp_path, monkeypatch)
    for step in (4, 8):
        run_store(WORKDIR, "mine").put_checkpoint(run, checkpoint(run, step, 1.5))
    (run / "run.json").write_text("{}")
    put_results(WORKDIR, "mine")
    there = tmp_path / "away" / "bucket" / "work" / "runs" / "mine" / "checkpoints"
    (there / "step-00000004" / "exp_avg-00000.safetensors").unlink()
    inspect("s3://bucket/work/runs/mine")
    said = " ".join(capsys.readouterr().out.split())
    assert "s3://bucket/work/runs/mine: a training run step-00000004: damaged (exp_avg-00000.safetensors is missing)" in said
    assert "step-00000008: 800 tokens, 502 B, by 1 processes under ZeRO 1, validation loss 1.5000; all checksums are right" in said


def test_a_password_is_neither_written_nor_shown_and_lent_to_the_ranks(down: list[bool], capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_recipe(packaged_recipe("demo"), {"workdir": "s3://key:geheim@bucket/work?region=x&sig=verborgen"})
    workdir = Workdir(recipe.workdir)
    assert "geheim" not in repr(workdir)
    stages.open_engine(recipe)
    place = stages.shards_place(workdir, "shards/stable")
    assert place == "s3://key:***@bucket/work/shards/stable?region=x&sig=***"
    assert Location.parse(place).uri == place, "nothing was lent"
    workdir.folder.location.lend()
    assert Location.parse(place).uri == "s3://key:geheim@bucket/work/shards/stable?region=x&sig=verborgen"
    assert "geheim" not in capsys.readouterr().out


def test_shards_and_the_run_lie_below_the_path_of_a_uri_and_not_behind_its_query(down: list[bool]) -> None:
    workdir = Workdir("s3://bucket/work?endpoint_override=host:9000")
    assert stages.shards_place(workdir, "shards/stable") == "s3://bucket/work/shards/stable?endpoint_override=host:9000"

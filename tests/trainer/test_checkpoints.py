"""Checkpoints: whole or not used, and gone on with by any world and ZeRO stage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.driver import train_all
from tests.trainer.runs import assert_equal, losses, two_splits, weights
from tests.trainer.synthetic import run_config
from trainer.checkpoints import Damaged, Manifest
from trainer.checkpoints.reading import read_manifest, verify

pytestmark = pytest.mark.long

STEPS, MIDDLE = 10, 4


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_splits(tmp_path_factory.mktemp("shards"))


def write(shards: Path, run: Path, **training: Any) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    body = {**run_config(shards, **{"keep_checkpoints": 9, **training}), "run": str(run)}
    (run / "run.json").write_text(json.dumps(body))
    return run / "run.json"


def begun(whole: Path, shards: Path, run: Path, **training: Any) -> Path:
    """A run that stands where `whole` stood after its middle step, to be gone on with."""
    path = write(shards, run, **training)
    shutil.copytree(whole / "checkpoints" / f"step-{MIDDLE:08d}", run / "checkpoints" / f"step-{MIDDLE:08d}")
    lines = (whole / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("".join(line + "\n" for line in lines if json.loads(line)["step"] <= MIDDLE))
    return path


STAGES = (1, 2, 0, 3)  # 3 last: DeepSpeed then gives the process a linear layer of its own, which rounds otherwise


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole runs of two processes under each stage, and from their middle on by other worlds, stages and micro-batches."""
    folder = tmp_path_factory.mktemp("runs")
    train_all([write(shards, folder / f"{stage}", zero_stage=stage) for stage in STAGES], folder)
    for world in (1, 2, 3):
        resumed = [
            begun(folder / f"{there}", shards, folder / f"{there} to {here} by {world}", zero_stage=here)
            for here in STAGES
            for there in STAGES
            if world == 2 or here in (there, 2)
        ]
        if world == 1:
            resumed.insert(0, begun(folder / "1", shards, folder / "smaller micro-batches", zero_stage=1, micro_batch_tokens=64))
        if world == 2:
            resumed[:0] = [
                begun(folder / f"{stage}", shards, folder / f"{stage} offloaded", zero_stage=stage, offload="cpu") for stage in (1, 2)
            ]
            resumed.append(begun(folder / "3", shards, folder / "3 offloaded", zero_stage=3, offload="cpu"))
        train_all(resumed, folder, processes=world)
    return folder


CASES = [(there, here, world) for world in (1, 2, 3) for here in STAGES for there in STAGES if world == 2 or here in (there, 2)]


@pytest.mark.parametrize(("there", "here", "world"), CASES)
def test_any_world_and_stage_goes_on(runs: Path, there: int, here: int, world: int) -> None:
    """To the bit where world and stage are the same, else equal up to rounding."""
    whole, resumed = runs / f"{there}", runs / f"{there} to {here} by {world}"
    one, other = losses(whole), losses(resumed)
    assert [line[:2] for line in one] == [line[:2] for line in other]
    for (_, _, expected), (_, _, found) in zip(one, other, strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
    if (there, world) == (here, 2):
        assert one == other
        assert_equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_run_goes_on_offloaded_and_its_checkpoints_are_the_same(runs: Path, stage: int) -> None:
    """Elementwise arithmetic is the same on the CPU, which is the device here too: to the bit, moments included."""
    whole, offloaded = runs / f"{stage}", runs / f"{stage} offloaded"
    assert losses(offloaded) == losses(whole)
    assert_equal(weights(offloaded), weights(whole))
    last = f"checkpoints/step-{STEPS:08d}"
    for file in read_manifest(whole / last).files:
        assert_equal(load_file(offloaded / last / file.name), load_file(whole / last / file.name))


def test_smaller_micro_batches_go_on(runs: Path) -> None:
    for (_, _, expected), (_, _, found) in zip(losses(runs / "1"), losses(runs / "smaller micro-batches"), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)


def test_a_checkpoint_s_files_are_safetensors_of_whole_parameters_under_their_own_names(runs: Path) -> None:
    last = runs / "3" / "checkpoints" / f"step-{STEPS:08d}"
    manifest = read_manifest(last)
    of_kind = {file.kind: load_file(last / file.name) for file in manifest.files}
    assert of_kind.keys() == {"weight", "exp_avg", "exp_avg_sq"}
    exported = weights(runs / "3")
    for name, value in of_kind["weight"].items():
        assert torch.equal(value, exported[name]), name
        assert of_kind["exp_avg"][name].shape == of_kind["exp_avg_sq"][name].shape == value.shape
    assert manifest.scalars == {"step": STEPS}
    for file in manifest.files:
        verify(last, file)


def test_every_flipped_bit_of_a_manifest_is_found(runs: Path) -> None:
    raw = bytearray((runs / "1" / "checkpoints" / f"step-{STEPS:08d}" / "manifest.json").read_bytes())
    for place in range(0, len(raw), 7):
        raw[place] ^= 1 << (place % 8)
        with pytest.raises(Damaged):
            Manifest.from_json(bytes(raw))
        raw[place] ^= 1 << (place % 8)
    Manifest.from_json(bytes(raw))

"""Whole training runs with two processes: right under every ZeRO stage, exact after every kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from jobs.launch import launch
from kernel.random import derive
from model import ClassicBertForMaskedLM, bridge, masked_lm
from pipeline.workdir.errors import UserError
from tests.trainer.reference import ReferenceStableAdamW
from tests.trainer.synthetic import BERT, run_config, write_shards
from trainer.batches import load, share
from trainer.config import RunConfig
from trainer.schedule import schedule
from trainer.train import micro_rows, open_data, set_phase


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    write_shards(folder / "stable", 100)
    write_shards(folder / "validation", 20, seed=5)
    return folder


def write(shards: Path, run: Path, *, bert: bool = False, **training: Any) -> Path:
    body = {**run_config(shards, **training), "run": str(run)}
    if bert:
        body["model"] = BERT
        for phase in body["phases"]:
            phase.pop("global_theta", None)
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.json").write_text(json.dumps(body))
    return run / "run.json"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def losses(run: Path) -> list[tuple[str, int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["kind"], line["step"], line["loss"]) for line in lines]


@pytest.fixture(scope="module")
def undisturbed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A finished run of two processes under a ZeRO stage, of ModernBERT or a classic BERT, each made once."""

    @cache
    def run(stage: int, bert: bool = False) -> Path:
        path = write(shards, tmp_path_factory.mktemp("undisturbed") / "run", bert=bert, zero_stage=stage)
        launch(path, processes=2)
        return path.parent

    return run


@pytest.fixture(scope="module")
def plain(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], tuple[dict[str, torch.Tensor], list[float]]]:
    """The same runs in plain torch on one process: weights, and the loss of every step."""
    return cache(lambda bert: trained_plainly(write(shards, tmp_path_factory.mktemp("plain"), bert=bert)))


def trained_plainly(run_json: Path) -> tuple[dict[str, torch.Tensor], list[float]]:
    config = RunConfig.model_validate_json(run_json.read_text())
    data, plan = open_data(config), schedule(list(config.phases))
    torch.manual_seed(derive(config.seed, "weights"))
    model = masked_lm(config.model).train()
    optimizer = ReferenceStableAdamW(list(model.parameters()), (0.9, 0.98), 1e-6)
    found = []
    for number in range(plan.steps):
        step = plan.step(number)
        phase = config.phases[step.phase]
        set_phase(model, config, phase)
        # two processes have four micro-batches of four rows between them, dealt in turn
        pieces = [piece for rank in range(2) for piece in share(step.first_sample, step.batch_size, rank, 2, micro_rows(config, phase))]
        batches = load(data.phases[step.phase], pieces, step.first_sample)
        predicted = sum(batch.predicted for batch in batches)
        model.zero_grad()
        total = 0.0
        for batch in batches:
            torch.manual_seed(batch.key)
            loss = model(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, batch.positions, batch.labels).loss
            (loss / predicted).backward()
            total += float(loss.detach())
        optimizer.step(step.learning_rate, phase.learning_rate, phase.weight_decay, decay_vectors=False)
        found.append(total / predicted)
    return {name: value.detach() for name, value in model.named_parameters()}, found


@pytest.mark.parametrize(("stage", "bert"), [(0, False), (1, False), (2, False), (3, False), (1, True), (3, True)])
def test_every_zero_stage_trains_as_plain_torch_does(
    undisturbed: Callable[..., Path], plain: Callable[[bool], tuple[dict[str, torch.Tensor], list[float]]], stage: int, bert: bool
) -> None:
    run = undisturbed(stage, bert)
    expected, expected_losses = plain(bert)
    found = weights(run)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=2e-3, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}")
    trained = [loss for kind, _, loss in losses(run) if kind == "train"]
    np.testing.assert_allclose(trained, expected_losses, rtol=1e-4)
    assert trained[-1] < trained[0]
    assert isinstance(bridge.load(run / "model"), ClassicBertForMaskedLM) == bert


@pytest.mark.parametrize(
    ("stage", "change"), [(1, {"precision": "bfloat16"}), (2, {"precision": "bfloat16", "activation_checkpointing": True})]
)
def test_bfloat16_trains_as_float32_does_within_its_rounding(
    shards: Path, plain: Callable[[bool], tuple[dict[str, torch.Tensor], list[float]]], tmp_path: Path, stage: int, change: dict[str, Any]
) -> None:
    path = write(shards, tmp_path / "run", zero_stage=stage, **change)
    launch(path, processes=2)
    expected, expected_losses = plain(False)
    trained = [loss for kind, _, loss in losses(path.parent) if kind == "train"]
    np.testing.assert_allclose(trained, expected_losses, rtol=5e-3)
    for name, value in weights(path.parent).items():
        assert value.dtype == torch.float32
        assert float((value - expected[name]).norm() / expected[name].norm()) < 0.05, name


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_layers_train_as_plain_ones_do(
    shards: Path, plain: Callable[[bool], tuple[dict[str, torch.Tensor], list[float]]], tmp_path: Path
) -> None:
    path = write(shards, tmp_path / "run", zero_stage=1, compile=True)
    launch(path, processes=2)
    _, expected_losses = plain(False)
    trained = [loss for kind, _, loss in losses(path.parent) if kind == "train"]
    np.testing.assert_allclose(trained, expected_losses, rtol=1e-3)


def wait_for(path: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        if path.is_file() and len(path.read_text().splitlines()) >= lines:
            return
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.01)
    raise AssertionError("training did not get going")


@pytest.mark.parametrize(("stage", "bert"), [(1, False), (3, False), (1, True)])
def test_a_killed_run_goes_on_bit_for_bit(shards: Path, undisturbed: Callable[..., Path], tmp_path: Path, stage: int, bert: bool) -> None:
    whole = undisturbed(stage, bert)
    again = write(shards, tmp_path / "killed", bert=bert, zero_stage=stage)
    code = f"from pathlib import Path; from jobs.launch import launch; launch(Path({str(again)!r}), processes=2)"
    for lines in (4, 8):  # within the first phase before a checkpoint, then after one
        process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
        wait_for(tmp_path / "killed" / "metrics.jsonl", lines, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_gone(again)
    launch(again, processes=2)
    one, other = weights(whole), weights(tmp_path / "killed")
    for name in one:
        assert torch.equal(one[name], other[name]), name
    assert losses(whole) == losses(tmp_path / "killed")
    before = (tmp_path / "killed" / "metrics.jsonl").read_bytes()
    launch(again, processes=2)
    assert (tmp_path / "killed" / "metrics.jsonl").read_bytes() == before, "a finished run started again does nothing"


def wait_gone(run_json: Path) -> None:
    """The training processes must not outlive their launcher."""
    for _ in range(1500):
        there = subprocess.run(["pgrep", "-f", str(run_json)], capture_output=True, check=False).stdout
        if not there.strip():
            return
        time.sleep(0.01)
    raise AssertionError("training processes outlived their launcher")


def test_a_run_of_other_data_or_another_model_is_not_gone_on_with(shards: Path, tmp_path: Path) -> None:
    path = write(shards, tmp_path / "run")
    launch(path, processes=1)
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "seed": 2}))
    with pytest.raises(UserError, match=r"seed changed \(2, was 1\) since this run began; give the recipe another `name`"):
        launch(path, processes=1)
    path.write_text(json.dumps(body))
    (tmp_path / "run" / "summary.json").unlink()
    with pytest.raises(UserError, match="its checkpoint is of 1 processes under ZeRO 1, this is 2"):
        launch(path, processes=2)


def test_wrong_shards_are_an_error_before_a_step_is_trained(shards: Path, tmp_path: Path) -> None:
    path = write(shards, tmp_path / "run")
    body = json.loads(path.read_text())
    body["phases"][1]["length"] = 32
    path.write_text(json.dumps(body))
    with pytest.raises(UserError, match="packed to 64 tokens, asked for 32"):
        launch(path, processes=1)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer": "other", "phases": run_config(shards)["phases"]}))
    with pytest.raises(UserError, match="another tokenizer"):
        launch(path, processes=1)


def test_remote_shards_train_to_the_same_weights(shards: Path, undisturbed: Callable[..., Path], tmp_path: Path) -> None:
    """`file://` stands for a remote store: two ranks share a cache that holds little more than one file."""
    body = json.loads(write(shards, tmp_path / "far", zero_stage=1, cache=str(tmp_path / "cache"), cache_bytes=1 << 20).read_text())
    for phase in body["phases"]:
        phase["shards"] = f"file://{phase['shards']}"
    body["validation"] = f"file://{body['validation']}"
    (tmp_path / "far" / "run.json").write_text(json.dumps(body))
    launch(tmp_path / "far" / "run.json", processes=2)
    assert list((tmp_path / "cache").glob("*.arrow"))
    one, other = weights(undisturbed(1)), weights(tmp_path / "far")
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_a_phase_with_less_data_than_a_batch_is_an_error_before_training(shards: Path, tmp_path: Path) -> None:
    path = write(shards, tmp_path / "run")
    body = json.loads(path.read_text())
    body["phases"][1]["batch_size"] = 10_000
    path.write_text(json.dumps(body))
    with pytest.raises(UserError, match=r"less than one batch of 10000; lower phases\.decay\.batch_size, or give the phase more data"):
        launch(path, processes=1)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_hostfile_trains_through_deepspeeds_launcher(shards: Path, undisturbed: Callable[..., Path], tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n")
    launch(write(shards, tmp_path / "launched", zero_stage=1), hostfile=hosts, node_rank=0)
    one, other = weights(tmp_path / "launched"), weights(undisturbed(1))
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_training_over_a_hostfile_ends_with_who_started_it(shards: Path, tmp_path: Path, number: signal.Signals) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n")
    run = write(shards, tmp_path / "run")
    code = (
        f"from pathlib import Path; from jobs.launch import launch; launch(Path({str(run)!r}), hostfile=Path({str(hosts)!r}), node_rank=0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
    wait_for(tmp_path / "run" / "metrics.jsonl", 2, process)
    process.send_signal(number)
    process.wait()
    wait_gone(run)


def test_a_training_process_without_a_launcher_is_a_world_of_one(shards: Path, tmp_path: Path) -> None:
    launch(write(shards, tmp_path / "launched"), processes=1)
    run = write(shards, tmp_path / "alone")
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    subprocess.run([sys.executable, "-m", "trainer", str(run)], cwd=Path(__file__).parents[2], env=environment, check=True)
    one, other = weights(tmp_path / "launched"), weights(tmp_path / "alone")
    for name in one:
        assert torch.equal(one[name], other[name]), name
    wrong = subprocess.run([sys.executable, "-m", "trainer"], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_a_hostfile_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such hostfile"):
        launch(tmp_path / "run.json", hostfile=tmp_path / "hosts")

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
from tests.trainer.driver import train_all
from tests.trainer.reference import ReferenceAdamW, ReferenceMuon, ReferenceStableAdamW
from tests.trainer.runs import assert_equal, losses, two_splits, weights
from tests.trainer.synthetic import BERT, run_config
from tests.trainer.zygote import ROOT
from trainer.batches import load, share
from trainer.config import RunConfig
from trainer.data import micro_rows, open_data
from trainer.schedule import schedule
from trainer.step import set_phase

pytestmark = pytest.mark.long

Plain = Callable[..., tuple[dict[str, torch.Tensor], list[float]]]  # given whether it is a classic BERT, and the optimizer's name


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_splits(tmp_path_factory.mktemp("training"))


def write(shards: Path, run: Path, *, bert: bool = False, **training: Any) -> Path:
    body = {**run_config(shards, **training), "run": str(run)}
    if bert:
        body["model"] = BERT
        for phase in body["phases"]:
            phase.pop("global_theta", None)
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.json").write_text(json.dumps(body))
    return run / "run.json"


# Runs of two processes, each its ZeRO stage, whether it is of a classic BERT, and what else is special of it.
VARIANTS: dict[str, tuple[int, bool, dict[str, Any]]] = {
    **{f"zero {stage}": (stage, False, {}) for stage in range(4)},
    "bert, zero 1": (1, True, {}),
    "bert, zero 3": (3, True, {}),
    **{f"muon, zero {stage}": (stage, False, {"optimizer": "muon"}) for stage in range(4)},
    "adamw, zero 2": (2, False, {"optimizer": "adamw"}),
    "offloaded, zero 1": (1, False, {"offload": "cpu"}),
    "offloaded, zero 2": (2, False, {"offload": "cpu"}),
    "offloaded, zero 3": (3, False, {"offload": "cpu"}),
    "bfloat16": (1, False, {"precision": "bfloat16"}),
    "bfloat16, checkpointed": (2, False, {"precision": "bfloat16", "activation_checkpointing": True}),
    **({"compiled": (1, False, {"compile": True})} if shutil.which("g++") else {}),
}
KILLED = ("zero 1",)  # through the launcher; tests/trainer/test_survival.py has others


def remote(run_json: Path, cache: Path) -> Path:
    """The same run, of shards that are read by `file://`, which stands for a remote store; the cache holds little more than one file."""
    body = json.loads(run_json.read_text())
    for phase in body["phases"]:
        phase["shards"] = f"file://{phase['shards']}"
    body["validation"] = f"file://{body['validation']}"
    body["training"] = {**body["training"], "cache": str(cache), "cache_bytes": 1 << 20}
    run_json.write_text(json.dumps(body))
    return run_json


def tiled(run_json: Path) -> Path:
    """The same run of a larger model, which predicts half of the tokens in its second phase."""
    body = json.loads(run_json.read_text())
    body["model"] |= {"hidden_size": 96, "heads": 3, "layers": 5, "intermediate_size": 64}
    body["phases"][1]["mask_rate"] = 0.6
    run_json.write_text(json.dumps(body))
    return run_json


def changed(run_json: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same run, its RUN.json changed in place."""
    body = json.loads(run_json.read_text())
    change(body)
    run_json.write_text(json.dumps(body))
    return run_json


def no_start(body: dict[str, Any]) -> None:
    body["training"]["start_from"] = "/nowhere"


def cut_phase(body: dict[str, Any]) -> None:
    body["phases"][1]["length"] = 32


def other_tokenizer(body: dict[str, Any]) -> None:
    body["tokenizer"] = "other"


def huge_batch(body: dict[str, Any]) -> None:
    body["phases"][1]["batch_size"] = 10_000


REFUSED = {
    "packed to 64 tokens, but 32 are asked for": cut_phase,
    "another tokenizer": other_tokenizer,
    "training.start_from: /nowhere: no such folder": no_start,
    "fewer than a batch of 10000; lower phases.decay.batch_size, or give the phase more data": huge_batch,
}


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs by two processes, undisturbed, all in one launch: the variants, one of remote shards, those to be refused.

    Those under ZeRO 3 come last: DeepSpeed then gives the process a linear layer of its own, which rounds otherwise.
    """
    folder = tmp_path_factory.mktemp("trained")
    runs = [write(shards, folder / name, bert=bert, zero_stage=stage, **training) for name, (stage, bert, training) in VARIANTS.items()]
    runs.append(write(shards, folder / "averaged", average=2, keep_checkpoints=9, hf_every=5, masking="spans"))
    runs.append(write(shards, folder / "begun", start_from=str(folder / "zero 1" / "model")))
    runs.append(tiled(write(shards, folder / "tiled", start_from=str(folder / "zero 1" / "model"))))
    runs.append(remote(write(shards, folder / "remote", zero_stage=1), folder / "cache"))
    runs += [changed(write(shards, folder / change.__name__), change) for change in REFUSED.values()]
    train_all(sorted(runs, key=lambda run: "zero 3" in str(run)), folder)
    return folder


@pytest.fixture(scope="module")
def resumed(shards: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A folder of runs that were killed twice each and gone on with to their end, and what `trained` had of the same runs before.

    The launch that ends them is given those finished runs, too.
    """
    folder = tmp_path_factory.mktemp("resumed")
    runs = []
    for name in KILLED:
        stage, bert, training = VARIANTS[name]
        run = write(shards, folder / name, bert=bert, zero_stage=stage, **training)
        code = f"from pathlib import Path; from jobs.launch import launch; launch(Path({str(run)!r}), processes=2)"
        for lines in (4, 8):  # within the first phase before a checkpoint, then after one
            process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
            wait_for(run.parent / "metrics.jsonl", lines, process)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            wait_gone(run)
        runs.append(run)
    before = {name: (trained / name / "metrics.jsonl").read_bytes() for name in KILLED}
    runs += [trained / name / "run.json" for name in KILLED]
    train_all(sorted(runs, key=lambda run: "zero 3" in str(run)), folder)
    return folder, before


@pytest.fixture(scope="module")
def plain(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """The same runs in plain torch on one process: weights, and the loss of every step; of a classic BERT or not, by an optimizer."""
    made = cache(lambda bert, optimizer: trained_plainly(write(shards, tmp_path_factory.mktemp("plain"), bert=bert), optimizer))
    return lambda bert, optimizer="stable_adamw": made(bert, optimizer)


def trained_plainly(run_json: Path, name: str, before: tuple[Path, int] | None = None) -> tuple[dict[str, torch.Tensor], list[float]]:
    """`before`: another run, whose rates are those of so many steps at the beginning."""
    config = RunConfig.model_validate_json(run_json.read_text())
    first = RunConfig.model_validate_json(before[0].read_text()) if before is not None else config
    data, plan = open_data(config), schedule(list(config.phases))
    torch.manual_seed(derive(config.seed, "weights"))
    model = masked_lm(config.model).train()
    optimizer: Any
    if name == "muon":
        optimizer = ReferenceMuon(list(model.named_parameters()), (0.9, 0.98), 1e-6)
    else:
        kind = {"stable_adamw": ReferenceStableAdamW, "adamw": ReferenceAdamW}[name]
        optimizer = kind(list(model.parameters()), (0.9, 0.98), 1e-6)
    found = []
    for number in range(plan.steps):
        of = first if before is not None and number < before[1] else config
        step = schedule(list(of.phases)).step(number)
        phase = of.phases[step.phase]
        set_phase(model, config, phase)
        # two processes have four micro-batches of four rows between them, dealt in turn
        pieces = [piece for rank in range(2) for piece in share(step.first_sample, step.batch_size, rank, 2, micro_rows(config, phase))]
        batches = load(data.phases[step.phase], pieces, step.first_sample)
        predicted = sum(batch.predicted for batch in batches)
        model.zero_grad()
        total = 0.0
        for batch in batches:
            loss = model(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, batch.positions, batch.labels, batch.dropout_keys).loss
            (loss / predicted).backward()
            total += float(loss.detach())
        optimizer.step(step.learning_rate, phase.learning_rate, phase.weight_decay, decay_vectors=False)
        found.append(total / predicted)
    return {name: value.detach() for name, value in model.named_parameters()}, found


@pytest.mark.parametrize("name", [name for name, (_, _, training) in VARIANTS.items() if training.keys() <= {"optimizer", "offload"}])
def test_every_zero_stage_trains_as_plain_torch_does(trained: Path, plain: Plain, name: str) -> None:
    run, bert = trained / name, VARIANTS[name][1]
    expected, expected_losses = plain(bert, VARIANTS[name][2].get("optimizer", "stable_adamw"))
    found = weights(run)
    assert found.keys() == expected.keys()
    for parameter, value in expected.items():
        if parameter.endswith("key.bias"):  # adds the same to all scores of a query, so has no gradient but rounding's, in the twin too
            assert float(torch.maximum(found[parameter].abs(), value.abs()).max()) < 1e-6
        else:
            assert float((found[parameter] - value).norm() / value.norm()) < 1e-5, parameter
    steps = [loss for kind, _, loss in losses(run) if kind == "train"]
    np.testing.assert_allclose(steps, expected_losses, rtol=1e-5)
    assert steps[-1] < steps[0]
    assert isinstance(bridge.load(run / "model"), ClassicBertForMaskedLM) == bert


@pytest.mark.parametrize("bert", [False, True])
def test_the_size_of_micro_batches_changes_rounding_alone(shards: Path, plain: Plain, tmp_path: Path, bert: bool) -> None:
    """One row at once, or eight: the same tokens are predicted, and the same activations dropped."""
    for tokens in (64, 512):
        _, found = trained_plainly(write(shards, tmp_path / str(tokens), bert=bert, micro_batch_tokens=tokens), "stable_adamw")
        np.testing.assert_allclose(found, plain(bert)[1], rtol=1e-4)


@pytest.mark.parametrize("name", ["bfloat16", "bfloat16, checkpointed"])
def test_bfloat16_trains_as_float32_does_within_its_rounding(trained: Path, plain: Plain, name: str) -> None:
    expected, expected_losses = plain(False)
    np.testing.assert_allclose([loss for kind, _, loss in losses(trained / name) if kind == "train"], expected_losses, rtol=5e-3)
    for parameter, value in weights(trained / name).items():
        assert value.dtype == torch.float32
        assert float((value - expected[parameter]).norm() / expected[parameter].norm()) < 0.05, parameter


@pytest.mark.skipif("compiled" not in VARIANTS, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_layers_train_as_plain_ones_do(trained: Path, plain: Plain) -> None:
    _, expected_losses = plain(False)
    np.testing.assert_allclose([loss for kind, _, loss in losses(trained / "compiled") if kind == "train"], expected_losses, rtol=1e-3)


def wait_for(path: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    """Until a file has that many lines; pytest's limit ends what never comes."""
    while not (path.is_file() and len(path.read_text().splitlines()) >= lines):
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.01)


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_goes_on_bit_for_bit(trained: Path, resumed: tuple[Path, dict[str, bytes]], name: str) -> None:
    assert_equal(weights(trained / name), weights(resumed[0] / name))
    assert losses(trained / name) == losses(resumed[0] / name)


@pytest.mark.parametrize("name", KILLED)
def test_a_finished_run_started_again_does_nothing(trained: Path, resumed: tuple[Path, dict[str, bytes]], name: str) -> None:
    assert (trained / name / "metrics.jsonl").read_bytes() == resumed[1][name]


def wait_gone(run_json: Path) -> None:
    """The training processes must not outlive their launcher; pytest's limit ends what never comes."""
    while subprocess.run(["pgrep", "-f", str(run_json)], capture_output=True, check=False).stdout.strip():
        time.sleep(0.01)


def test_a_run_of_other_data_or_another_model_is_not_gone_on_with(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "run" / "run.json"
    shutil.copytree(trained / "zero 1", path.parent)
    body = {**json.loads(path.read_text()), "run": str(path.parent)}
    path.write_text(json.dumps({**body, "seed": 2}))
    with pytest.raises(UserError, match=r"seed changed \(2, was 1\) since this run began; give the recipe another `name`"):
        launch(path, processes=2)
    path.write_text(json.dumps(body))
    (path.parent / "summary.json").unlink()


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_trained_on_is_an_error_before_a_step_is_trained(trained: Path, message: str) -> None:
    """Shards of another length or tokenizer, a phase of less data than a batch. That such a line is a `UserError` is seen above."""
    run = trained / REFUSED[message].__name__
    assert message in json.loads((run / "faults" / "rank-0.json").read_text())["text"]
    assert not (run / "metrics.jsonl").exists()


def test_remote_shards_train_to_the_same_weights(trained: Path) -> None:
    assert list((trained / "cache").glob("*.arrow"))
    assert_equal(weights(trained / "zero 1"), weights(trained / "remote"))


def test_a_hostfile_trains_through_deepspeeds_launcher(shards: Path, trained: Path, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n")
    launch(write(shards, tmp_path / "launched", zero_stage=1), hostfile=hosts, node_rank=0)
    assert_equal(weights(tmp_path / "launched"), weights(trained / "zero 1"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_training_over_a_hostfile_ends_with_who_started_it(shards: Path, tmp_path: Path, number: signal.Signals) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n")
    run = write(shards, tmp_path / "run")
    code = (
        f"from pathlib import Path; from jobs.launch import launch; launch(Path({str(run)!r}), hostfile=Path({str(hosts)!r}), node_rank=0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(tmp_path / "run" / "metrics.jsonl", 2, process)
    process.send_signal(number)
    process.wait()
    wait_gone(run)


def test_a_training_process_without_a_launcher_is_a_world_of_one(shards: Path, plain: Plain, tmp_path: Path) -> None:
    """And it trains as two do, but for rounding."""
    launch(write(shards, tmp_path / "launched"), processes=1)
    run = write(shards, tmp_path / "alone")
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    subprocess.run([sys.executable, "-m", "trainer", str(run)], cwd=ROOT, env=environment, check=True)
    assert_equal(weights(tmp_path / "launched"), weights(tmp_path / "alone"))
    np.testing.assert_allclose([loss for kind, _, loss in losses(run.parent) if kind == "train"], plain(False)[1], rtol=1e-4)
    wrong = subprocess.run([sys.executable, "-m", "trainer"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_a_hostfile_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such hostfile"):
        launch(tmp_path / "run.json", hostfile=tmp_path / "hosts")


def test_the_mean_of_the_last_checkpoints_is_what_a_run_ends_with(trained: Path) -> None:
    folders = sorted((trained / "averaged" / "checkpoints").glob("step-*"))
    assert [folder.name for folder in folders] == ["step-00000004", "step-00000006", "step-00000008", "step-00000010"]
    last = [load_file(folder / "weight-00000.safetensors") for folder in folders[-2:]]
    for name, value in weights(trained / "averaged").items():
        torch.testing.assert_close(value, (last[0][name] + last[1][name]) / 2)


def test_a_run_may_begin_with_another_ones_weights_or_with_a_smaller_models_tiled(trained: Path) -> None:
    first = {name: losses(trained / name)[0] for name in ("begun", "tiled", "zero 1")}
    # that of the first run's end, but for the rotary base, which is the first phase's again
    assert first["begun"][2] == pytest.approx(losses(trained / "zero 1")[-1][2], rel=1e-4)
    assert first["zero 1"][2] > first["begun"][2] + 1
    assert first["tiled"][2] != first["zero 1"][2]
    assert weights(trained / "tiled")["model.layers.4.attn.Wqkv.weight"].shape == (288, 96)


def test_a_phase_may_have_a_mask_rate_of_its_own(trained: Path) -> None:
    config = RunConfig.model_validate_json((trained / "tiled" / "run.json").read_text())
    assert [source.rate for source in open_data(config).phases] == [0.3, 0.6]


def test_folders_of_transformers_stand_beside_the_checkpoints_that_were_asked_for(trained: Path) -> None:
    """The first checkpoint of every five steps: those after the sixth and the tenth; loadable, with the rotary base of their phase."""
    folders = sorted((trained / "averaged" / "hf").iterdir())
    assert [folder.name for folder in folders] == ["step-00000006", "step-00000010"]
    for folder, theta in zip(folders, (160_000.0, 20_000.0), strict=True):
        model = bridge.load(folder)
        assert getattr(model.config, "global_theta", None) == theta
        assert_equal(
            load_file(trained / "averaged" / "checkpoints" / folder.name / "weight-00000.safetensors"), dict(model.named_parameters())
        )

"""Averages of the weights, and what else is done with checkpoints: a store for them, and other runs that continue from them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from kernel.random import derive
from model import bridge, masked_lm
from tests.trainer.driver import train_all
from tests.trainer.runs import assert_equal, lines_of, losses, two_splits, weights
from tests.trainer.synthetic import run_config
from tests.trainer.test_training import trained_plainly
from trainer.checkpoints.reading import mean_weights, read_manifest, verify
from trainer.config import RunConfig
from trainer.data import open_data
from trainer.errors import TrainerError
from trainer.schedule import schedule

pytestmark = pytest.mark.long

Weights = dict[str, torch.Tensor]

STAGES = (1, 0, 3)  # 3 last: DeepSpeed then gives the process a linear layer of its own, which rounds otherwise
HORIZON = 5000
MIDDLE = 4
EVERY_STEP: dict[str, Any] = {"checkpoint_every": 1, "keep_checkpoints": 99}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_splits(tmp_path_factory.mktemp("averages"))


def write(shards: Path, run: Path, change: Callable[[dict[str, Any]], None] | None = None, **training: Any) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    body = {**run_config(shards, **training), "run": str(run)}
    body["phases"][0].update(tokens=4 * 16 * 64, batch_warmup={"start": 4, "tokens": 3 * 16 * 64})  # nine steps of 4 to 16 sequences
    body["phases"][1].update(tokens=3 * 16 * 64, decay_tokens=3 * 16 * 64)
    if change is not None:
        change(body)
    (run / "run.json").write_text(json.dumps(body))
    return run / "run.json"


def tag(step: int) -> str:
    return f"step-{step:08d}"


def from_middle(whole: Path, shards: Path, run: Path, **training: Any) -> Path:
    """A run that stands where `whole` stood after its middle step."""
    path = write(shards, run, **training)
    shutil.copytree(whole / "checkpoints" / tag(MIDDLE), run / "checkpoints" / tag(MIDDLE))
    shutil.copy(whole / "metrics.jsonl", run)
    return path


def stored(folder: Path) -> Callable[[dict[str, Any]], None]:
    """Keep the run in a store, too."""
    return lambda body: body.update(store=f"file://{folder}")


def slower(body: dict[str, Any]) -> None:
    body["phases"][0]["learning_rate"] = 5e-4
    body["phases"][1].update(learning_rate=1e-4, weight_decay=0.1)


def seeded(body: dict[str, Any]) -> None:
    body["seed"] = 2


def short(body: dict[str, Any]) -> None:
    body["phases"][0].update(tokens=8 * 64, warmup_tokens=0)


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs: those from the beginning by two processes, then those that go on, then one that one process goes on with."""
    folder = tmp_path_factory.mktemp("runs")
    ema: dict[str, Any] = {"ema_tokens": HORIZON, "evaluate_every": 6, **EVERY_STEP}
    first = [write(shards, folder / f"ema {stage}", zero_stage=stage, **ema) for stage in STAGES]
    first.insert(0, write(shards, folder / "plain", evaluate_every=6, **EVERY_STEP))
    first.insert(0, write(shards, folder / "best", average=3, average_best=2, keep_best=2, keep_checkpoints=3, checkpoint_every=2))
    first.insert(0, write(shards, folder / "stored", stored(folder / "away"), hf_every=5, ema_tokens=HORIZON))
    train_all(first, folder)
    again = []
    for name in ("second-machine", "damaged-there"):  # with nothing on their disks
        away = folder / f"{name}-away"
        shutil.copytree(folder / "away", away)
        newest = sorted((away / "checkpoints").iterdir())[-1]
        if name == "second-machine":  # of the first one's last checkpoint not all has come
            (newest / "manifest.json").unlink()
            (away / "summary.json").unlink()
            shutil.rmtree(away / "model")
        else:
            (newest / "weight-00000.safetensors").write_bytes((newest / "weight-00000.safetensors").read_bytes()[:-1])
        again.append(write(shards, folder / name, stored(away), hf_every=5, ema_tokens=HORIZON))
    shutil.copytree(folder / "best", folder / "more")
    again.append(write(shards, folder / "more", average=2, keep_checkpoints=3, checkpoint_every=2))
    origin = str(folder / "plain" / "checkpoints" / tag(MIDDLE))
    again.append(write(shards, folder / "continued", continue_from=f"file://{origin}", evaluate_every=6))
    again.append(write(shards, folder / "slower", slower, continue_from=origin))
    again += [write(shards, folder / change.__name__, change, continue_from=origin) for change in (seeded, short)]
    again.append(write(shards, folder / "nowhere", continue_from=str(folder)))
    again += [from_middle(folder / "plain", shards, folder / "ema begins late", **ema)]
    again += [from_middle(folder / "ema 1", shards, folder / "ema ends", **EVERY_STEP)]
    again += [from_middle(folder / "ema 0", shards, folder / "ema to 3", zero_stage=3, **ema)]
    train_all(again, folder)
    train_all([from_middle(folder / "ema 1", shards, folder / "ema to 0 by 1", zero_stage=0, **ema)], folder, processes=1)
    return folder


def steps_of(run: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (run / "checkpoints").iterdir())


def of_kind(run: Path, step: int, kind: str) -> Weights:
    """All tensors of a kind of a checkpoint."""
    folder = run / "checkpoints" / tag(step)
    files = [file for file in read_manifest(folder).files if file.kind == kind]
    return {name: value for file in files for name, value in load_file(folder / file.name).items()}


def averaged(run: Path, average: Weights, first: int) -> Weights:
    """The moving average after the last step, from an average after step `first` and the weights after each later step, in float64."""
    config = RunConfig.model_validate_json((run / "run.json").read_text())
    plan = schedule(list(config.phases))
    average = {name: value.double() for name, value in average.items()}
    for number in range(first, plan.steps):
        step = plan.step(number)
        share = 1 - math.exp(-step.batch_size * config.phases[step.phase].length / HORIZON)
        for name, value in of_kind(run, number + 1, "weight").items():
            average[name] += share * (value.double() - average[name])
    return average


def initial(run: Path) -> Weights:
    config = RunConfig.model_validate_json((run / "run.json").read_text())
    torch.manual_seed(derive(config.seed, "weights"))
    return {name: value.detach() for name, value in masked_lm(config.model).named_parameters()}


def assert_near(found: Weights, expected: Weights, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value.double(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("stage", STAGES)
def test_the_moving_average_is_that_of_the_weights_of_every_step(runs: Path, stage: int) -> None:
    run = runs / f"ema {stage}"
    sizes = {line["batch_size"] for line in lines_of(run / "metrics.jsonl") if line["kind"] == "train"}
    assert len(sizes) > 1, "the batch grows"
    found = of_kind(run, steps_of(run)[-1], "ema")
    assert all(value.dtype == torch.float32 for value in found.values())
    assert_near(found, averaged(run, initial(run), 0))
    assert_equal(load_file(run / "model-ema" / "model.safetensors"), found)


def test_keeping_and_evaluating_an_average_changes_nothing_in_training(runs: Path) -> None:
    assert_equal(weights(runs / "ema 1"), weights(runs / "plain"))
    assert losses(runs / "ema 1") == losses(runs / "plain")


def validation_loss(run: Path, folder: Path) -> float:
    """The loss of a transformers folder on a run's held-out sample, in plain torch."""
    config = RunConfig.model_validate_json((run / "run.json").read_text())
    sample = open_data(config).validation
    assert sample is not None
    model = bridge.load(folder).eval()
    total = count = 0.0
    with torch.no_grad():
        for batch, _ in sample.parts(config.phases[-1].length, 200, 0, 1):
            logits = model(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, batch.positions).logits
            total += float(F.cross_entropy(logits, batch.labels, reduction="sum"))
            count += len(batch.labels)
    return total / count


@pytest.mark.parametrize("stage", STAGES)
def test_evaluations_have_the_loss_of_the_moving_average(runs: Path, stage: int) -> None:
    run = runs / f"ema {stage}"
    lines = [line for line in lines_of(run / "metrics.jsonl") if line["kind"] == "validation"]
    assert lines[0]["ema_loss"] == pytest.approx(lines[0]["loss"], rel=1e-6)
    assert lines[-1]["ema_loss"] == pytest.approx(validation_loss(run, run / "model-ema"), rel=1e-5)
    assert lines[-1]["loss"] == pytest.approx(validation_loss(run, run / "model"), rel=1e-5)
    assert lines[-1]["ema_loss"] != pytest.approx(lines[-1]["loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["ema to 3", "ema to 0 by 1"])
def test_a_moving_average_goes_on_under_any_stage_and_world(runs: Path, name: str) -> None:
    """The average of the run before its middle step, and of its own weights since; and the same up to the rounding of training."""
    run = runs / name
    before = of_kind(run, MIDDLE, "ema")
    assert_near(load_file(run / "model-ema" / "model.safetensors"), averaged(run, before, MIDDLE))
    one, other = (load_file(runs / each / "model-ema" / "model.safetensors") for each in (name, "ema 1"))
    assert_near(one, other, rtol=1e-3, atol=1e-5)


def test_a_moving_average_that_is_turned_on_begins_with_the_weights_of_then_and_one_that_is_turned_off_is_dropped(runs: Path) -> None:
    late = runs / "ema begins late"
    assert_near(load_file(late / "model-ema" / "model.safetensors"), averaged(late, of_kind(late, MIDDLE, "weight"), MIDDLE))
    off = runs / "ema ends"
    kinds = {path.name: {file.kind for file in read_manifest(path).files} for path in (off / "checkpoints").iterdir()}
    assert [name for name, those in sorted(kinds.items()) if "ema" in those] == [tag(MIDDLE)]
    assert not (off / "model-ema").exists()


def test_the_best_checkpoints_of_the_last_phase_and_the_last_one_are_averaged_and_their_mean_evaluated(runs: Path) -> None:
    run = runs / "best"
    known = {path.name: read_manifest(path) for path in (run / "checkpoints").iterdir()}
    by_step = {line["step"]: line["loss"] for line in lines_of(run / "metrics.jsonl") if line["kind"] == "validation"}
    assert all(manifest.validation == by_step[manifest.step] for manifest in known.values()), "each was evaluated"
    last = max(manifest.step for manifest in known.values())
    of_last_phase = sorted((one.validation, one.step) for one in known.values() if one.begun == 2)
    best = [step for _, step in of_last_phase[:2]]
    others = sorted((one.step for one in known.values() if one.step not in best), reverse=True)
    chosen = sorted([*best, others[0]])
    done = json.loads((run / "summary.json").read_text())
    assert (done["averaged_steps"], done["steps"]) == (chosen, last)
    each = [of_kind(run, step, "weight") for step in chosen]
    assert_near(weights(run), {name: sum(one[name].double() for one in each) / 3 for name in each[0]})  # type: ignore[misc]
    assert done["validation_average"]["loss"] == pytest.approx(validation_loss(run, run / "model"), rel=1e-5)


def test_a_run_that_has_ended_ends_again_where_another_average_is_asked_for(runs: Path) -> None:
    run = runs / "more"
    last = json.loads((run / "summary.json").read_text())["steps"]
    each = [of_kind(run, step, "weight") for step in (max(s for s in steps_of(run) if s < last), last)]
    assert_near(weights(run), {name: (each[0][name].double() + each[1][name]) / 2 for name in each[0]})
    assert losses(run) == losses(runs / "best")


def test_a_damaged_checkpoint_is_not_averaged_but_said(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "plain" / "checkpoints", run / "checkpoints")
    *_, before, damaged, emptied, last = steps_of(run)
    path = run / "checkpoints" / tag(damaged) / "weight-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    (run / "checkpoints" / tag(emptied) / "manifest.json").write_bytes(b"")
    said: list[str] = []
    found, steps = mean_weights(run, 2, 0, said.append)
    assert steps == [before, last]
    assert [line.split(":")[0] for line in said] == [str(run / "checkpoints" / tag(step)) for step in (damaged, emptied)]
    one, other = (of_kind(run, step, "weight") for step in steps)
    assert_near(found, {name: (value.double() + other[name]) / 2 for name, value in one.items()})
    assert mean_weights(run, 99, 0, said.append)[1] == [step for step in steps_of(run) if step not in (damaged, emptied)]
    assert said[-1].startswith(f"the model is the mean of {len(steps_of(run)) - 2} checkpoints, not of 99 (training.average)")
    for folder in (run / "checkpoints").iterdir():
        (folder / "manifest.json").write_bytes(b"")
    with pytest.raises(TrainerError, match="no checkpoint is whole"):
        mean_weights(run, 2, 0, said.append)


def test_a_run_that_continues_from_another_ones_checkpoint_unchanged_is_that_run(runs: Path) -> None:
    assert_equal(weights(runs / "plain"), weights(runs / "continued"))
    assert losses(runs / "plain") == losses(runs / "continued")


def test_a_run_may_continue_from_another_ones_checkpoint_with_other_rates(runs: Path) -> None:
    """As plain torch does that has the first run's rates up to there, and the second's from there on."""
    expected, expected_losses = trained_plainly(runs / "slower" / "run.json", "stable_adamw", before=(runs / "plain" / "run.json", MIDDLE))
    found = [loss for kind, _, loss in losses(runs / "slower") if kind == "train"]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected_losses), rtol=1e-4, atol=0)
    assert_near(weights(runs / "slower"), expected, rtol=2e-3, atol=2e-5)
    rates = [line["lr"] for line in lines_of(runs / "slower" / "metrics.jsonl") if line["kind"] == "train"]
    assert max(rates[:MIDDLE]) > 5e-4 >= max(rates[MIDDLE:])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("seeded", "is of another run than this recipe's: seed changed (2, was 1); only rates and lengths may differ"),
        ("short", "no step of this recipe does; give `phases` at least the tokens that they had by then"),
        ("nowhere", "no checkpoint is there; give WORKDIR/runs/NAME/checkpoints/step-N of another run"),
    ],
)
def test_what_cannot_be_continued_from_is_a_line_before_a_step_is_trained(runs: Path, name: str, message: str) -> None:
    text = json.loads((runs / name / "faults" / "rank-0.json").read_text())["text"]
    assert text.startswith("training.continue_from: ")
    assert text.endswith(message)
    assert not (runs / name / "metrics.jsonl").exists()


def test_a_run_in_a_store_has_there_what_it_has_here(runs: Path) -> None:
    here, there = runs / "stored", runs / "away"
    own = {path.relative_to(here) for path in here.rglob("*") if path.is_file()}
    of_machine = {"lock", "faults", "logs", ".put.json"}
    assert {path.relative_to(there) for path in there.rglob("*") if path.is_file()} == {
        path for path in own if path.parts[0] not in of_machine
    }
    for name in ("metrics.jsonl", "summary.json", "run.json", "model/model.safetensors", "model-ema/model.safetensors"):
        assert (there / name).read_bytes() == (here / name).read_bytes()
    assert len(list((there / "hf").iterdir())) == 2
    assert steps_of(there) == steps_of(here)


@pytest.mark.parametrize("name", ["second-machine", "damaged-there"])
def test_a_machine_with_an_empty_disk_goes_on_from_the_newest_whole_checkpoint_of_the_store(runs: Path, name: str) -> None:
    assert_equal(weights(runs / "stored"), weights(runs / name))
    assert losses(runs / "stored") == losses(runs / name)
    assert_equal(*(load_file(runs / each / "model-ema" / "model.safetensors") for each in ("stored", name)))
    last = steps_of(runs / "stored")[-1]
    for step in steps_of(runs / f"{name}-away"):
        folder = runs / f"{name}-away" / "checkpoints" / tag(step)
        for file in read_manifest(folder).files:
            verify(folder, file)
    assert steps_of(runs / f"{name}-away")[-1] == last
    assert (runs / f"{name}-away" / "summary.json").is_file()

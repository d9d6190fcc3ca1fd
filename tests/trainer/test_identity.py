"""What a begun run may not change: found field by field, and told by the recipe's own keys."""

from __future__ import annotations

import copy
import dataclasses
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from jobs.recipe import Recipe
from model import ModernBertConfig
from tests.trainer.synthetic import BERT, run_config
from trainer import checkpoints
from trainer.checkpoints import Manifest
from trainer.config import Anew, Made, MayChange, PhaseConfig, RunConfig, RunPhase, TrainingConfig
from trainer.errors import TrainerError
from trainer.identity import changes, identity

DATA = ("first", "second")


def config(**top: Any) -> RunConfig:
    return RunConfig.model_validate({**run_config(Path("w")), **top})


def changed(body: dict[str, Any], data: tuple[str, ...] = DATA, begun: int = 2) -> list[str]:
    return changes(identity(RunConfig.model_validate(body), data), identity(config(), DATA), begun)


def refusal(body: dict[str, Any], data: tuple[str, ...] = DATA) -> str:
    """What resuming the run of `config()` by another configuration is refused with."""
    found = Manifest(
        step=9, begun=2, tokens=9, world=1, stage=1, validation=None, identity=identity(config(), DATA), progress={}, scalars={}, files=()
    )
    with pytest.raises(TrainerError) as caught:
        checkpoints.check(found, identity(RunConfig.model_validate(body), data), Path("w", "run"))
    return str(caught.value)


def body(**training: Any) -> dict[str, Any]:
    return run_config(Path("w"), **training)


OTHER: dict[str, Any] = {
    "beta1": 0.8,
    "beta2": 0.9,
    "epsilon": 1e-8,
    "mask_rate": 0.15,
    "masking": "spans",
    "shuffle_rows": 4,
    "start_from": "elsewhere",
}
FREE: dict[str, Any] = {
    "zero_stage": 2,
    "offload": "cpu",
    "deepspeed": {"zero_optimization": {"overlap_comm": False}},
    "processes": 2,
    "micro_batch_tokens": 512,
    "precision": "bfloat16",
    "evaluation_mask_rate": 0.3,
    "cache_bytes": 1 << 30,
    "cache": "/cache",
    "attention": "sdpa",
    "compile": True,
    "fused_kernels": True,
    "activation_checkpointing": True,
    "checkpoint_every": 7,
    "keep_checkpoints": 3,
    "keep_best": 1,
    "average": 2,
    "average_best": 0,
    "ema_tokens": 1000,
    "continue_from": "elsewhere",
    "hf_every": 5,
    "keep_every_tokens": 1000,
    "spike_factor": 5.0,
    "bad_steps": 4,
    "returns": 4,
    "hang_seconds": 60.0,
    "evaluate_every": 7,
    "log_every": 7,
    "wandb": {"project": "encoders"},
}


def test_each_key_of_training_is_either_fixed_or_may_change_in_these_tests() -> None:
    assert OTHER.keys() | FREE.keys() | {"optimizer"} == TrainingConfig.model_fields.keys()


def test_another_optimizer_is_refused_by_its_name() -> None:
    other = config()
    another = other.training.optimizer.model_copy(update={"name": "another"})
    other = other.model_copy(update={"training": other.training.model_copy(update={"optimizer": another})})
    assert changes(identity(other, DATA), identity(config(), DATA), 2) == ["training.optimizer.name changed (another, was stable_adamw)"]


@pytest.mark.parametrize("key", OTHER)
def test_another_value_of_a_fixed_key_of_training_is_refused_by_its_name(key: str) -> None:
    old = getattr(config().training, key)
    shown = [value if isinstance(value, str) else json.dumps(value) for value in (OTHER[key], old)]
    assert refusal(body(**{key: OTHER[key]})) == (
        f"w/run: training.{key} changed ({shown[0]}, was {shown[1]}) since this run began; "
        "give the recipe another `name`, or delete that folder"
    )


@pytest.mark.parametrize("key", FREE)
def test_what_does_not_bear_on_the_weights_may_change(key: str) -> None:
    assert changed(body(**{key: FREE[key]})) == []


def test_where_things_lie_may_change() -> None:
    moved = {**body(), "run": "elsewhere", "validation": None, "store": "s3://bucket/runs/mine"}
    moved["phases"] = [{**phase, "shards": "s3://other/place"} for phase in moved["phases"]]
    assert changed(moved) == []


def test_keys_of_phases_are_named_by_the_phases_name() -> None:
    other = copy.deepcopy(body())
    other["phases"][1]["learning_rate"] = 1e-4
    other["phases"][0]["batch_warmup"] = {"start": 4, "tokens": 100}
    assert changed(other) == [
        'phases.stable.batch_warmup changed ({"start": 4, "tokens": 100}, was null)',
        "phases.decay.learning_rate changed (0.0001, was 0.003)",
    ]
    then = identity(RunConfig.model_validate(other), DATA)
    again = copy.deepcopy(other)
    again["phases"][0]["batch_warmup"]["start"] = 8
    assert changes(identity(RunConfig.model_validate(again), DATA), then, 2) == ["phases.stable.batch_warmup.start changed (8, was 4)"]


def test_phases_that_are_added_or_renamed_are_told() -> None:
    more = copy.deepcopy(body())
    more["phases"].append({**more["phases"][0], "name": "third"})
    assert changed(more, (*DATA, "third"), begun=3) == ["phases changed (there are 3, there were 2)"]
    renamed = copy.deepcopy(body())
    renamed["phases"][1]["name"] = "last"
    assert changed(renamed) == ["phases.1.name changed (last, was decay)"]


def test_phases_that_have_not_begun_may_change_come_and_go() -> None:
    other = copy.deepcopy(body())
    other["phases"][1].update(learning_rate=1e-5, tokens=9999, name="other")
    assert changed(other, ("first", "another"), begun=1) == []
    assert changed({**body(), "phases": body()["phases"][:1]}, DATA[:1], begun=1) == []
    more = {**body(), "phases": [*body()["phases"], {**body()["phases"][0], "name": "third"}]}
    assert changed(more, (*DATA, "third"), begun=2) == []
    begun = copy.deepcopy(body())
    begun["phases"][0]["learning_rate"] = 1e-5
    assert changed(begun, begun=1) == ["phases.stable.learning_rate changed (1e-05, was 0.003)"]
    assert changed({**body(), "phases": body()["phases"][1:]}, DATA[1:], begun=2) == ["phases changed (there are 1, there were 2)"]


def test_a_run_that_continues_from_another_one_may_have_other_rates_but_not_other_samples() -> None:
    rates = {"tokens": 99_999, "learning_rate": 1.0, "warmup_tokens": 7, "decay_tokens": 7, "final_factor": 0.5, "weight_decay": 0.5}
    free = {**rates, "mask_rate": 0.2, "global_theta": 5.0}
    other = copy.deepcopy(body())
    other["phases"][0].update(free)
    then, now = identity(config(), DATA), identity(RunConfig.model_validate(other), DATA)
    assert changes(now, then, 2, Anew) == []
    assert len(changes(now, then, 2)) == len(free)
    fixed = {"length": 32, "batch_size": 8, "batch_warmup": {"start": 4, "tokens": 100}, "name": "other"}
    assert {*free, *fixed, "shards"} == RunPhase.model_fields.keys()
    for key, value in fixed.items():
        other = copy.deepcopy(body())
        other["phases"][0][key] = value
        assert len(changes(identity(RunConfig.model_validate(other), DATA), then, 2, Anew)) == 1, key
    assert len(changes(identity(RunConfig.model_validate({**body(beta1=0.5), "seed": 3}), ("other", "second")), then, 2, Anew)) == 3


def test_keys_of_the_model_and_its_architecture_are_named() -> None:
    assert changed({**body(), "model": {**body()["model"], "layers": 4}}) == ["model.layers changed (4, was 3)"]
    bert = copy.deepcopy(body())
    bert["model"] = BERT
    for phase in bert["phases"]:
        phase.pop("global_theta", None)
    assert "model.architecture changed (bert, was modernbert)" in changed(bert)


def test_the_seed_is_named() -> None:
    assert changed({**body(), "seed": 2}) == ["seed changed (2, was 1)"]


def test_what_is_made_from_the_recipe_is_named_with_the_keys_that_make_it() -> None:
    assert changed({**body(), "tokenizer": "another"}) == [
        "the tokenizer changed (by the recipe's `tokenizer`, or the text that it learns from)"
    ]
    assert changed(body(), ("first", "another")) == [
        "the packed text of phases.decay changed (by its sources or rules, the mix, the tokenizer or `pack`)"
    ]


def test_of_many_changes_three_are_named_and_the_rest_counted() -> None:
    said = refusal({**body(**OTHER), "seed": 2})
    assert said.startswith("w/run: seed changed (2, was 1), training.")
    assert said.count(" changed (") == 3
    assert "(and 5 more) since this run began" in said


def test_a_field_that_a_checkpoint_does_not_know_is_refused_as_new() -> None:
    then = identity(config(), DATA)
    del then["training"]["masking"]
    then["training"]["temperature"] = 1.5
    assert changes(identity(config(), DATA), then, 2) == ["training.masking is new (tokens)", "training.temperature is gone (it was 1.5)"]


def fixed_keys(section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if not any(isinstance(mark, Made | MayChange) for mark in field.metadata):
            yield name


def test_what_is_fixed_has_the_same_place_in_a_recipe() -> None:
    """So that a message's key can be found in the recipe: a run's sections have the names and the fields of the recipe's."""
    assert set(fixed_keys(RunConfig)) <= Recipe.model_fields.keys()
    assert Recipe.model_fields["training"].annotation is TrainingConfig is RunConfig.model_fields["training"].annotation
    assert Recipe.model_fields["model"].annotation == RunConfig.model_fields["model"].annotation
    (phase,) = typing.get_args(Recipe.model_fields["phases"].annotation)
    assert issubclass(phase, PhaseConfig)
    assert set(fixed_keys(RunPhase)) == PhaseConfig.model_fields.keys()
    assert {field.name for field in dataclasses.fields(ModernBertConfig)} == ModernBertConfig().__dict__.keys()

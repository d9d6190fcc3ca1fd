"""`foundry plan`: its figures are those of the schedule, of the model, and of ZeRO's paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs import plan
from jobs.recipe import load_recipe
from model import ModernBertConfig, masked_lm
from model.memory import activations
from tests.integration.small import foundry
from trainer.schedule import schedule

RECIPES = Path(__file__).parents[2] / "recipes"


def test_steps_and_tokens_are_those_of_the_schedule() -> None:
    recipe = load_recipe(RECIPES / "demo.yaml")
    planned, own = plan.phases(recipe), schedule(list(recipe.phases))
    assert sum(phase.steps for phase in planned) == own.steps
    assert sum(phase.tokens for phase in planned) == own.tokens


def test_operations_grow_with_the_tokens_and_the_length() -> None:
    stable, extension, decay = plan.phases(load_recipe(RECIPES / "modernbert-base.yaml"))
    assert (stable.batches, extension.batches) == ((768, 4608), (576, 576))
    assert extension.flops / extension.tokens == pytest.approx(decay.flops / decay.tokens)
    assert 1.1 < (extension.flops / extension.tokens) / (stable.flops / stable.tokens) < 2.5
    assert stable.flops / stable.tokens == pytest.approx(6 * 110e6, rel=0.35)  # 6 operations a parameter outside the embedding


@pytest.mark.parametrize("name", ["demo", "bert"])
def test_parameters_are_counted_as_torch_does(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    if recipe.model.vocab_size < 60_000:
        assert plan.count(recipe) == sum(parameter.numel() for parameter in masked_lm(recipe.model).parameters())


def test_memory_is_that_of_zeros_paper_but_for_weights_of_float32() -> None:
    """7.5 B parameters over 64 processes (arXiv 1910.02054, figure 1): moments by share; here weights and gradients have 4 bytes, not 2."""
    billion = 10**9
    assert plan.state_bytes(7_500_000_000, 0, 64) / billion == pytest.approx(120)
    assert plan.state_bytes(7_500_000_000, 1, 64) / billion == pytest.approx(60 + 60 / 64, rel=1e-6)
    assert plan.state_bytes(7_500_000_000, 2, 64) / billion == pytest.approx(30 + 90 / 64, rel=1e-6)
    assert plan.state_bytes(7_500_000_000, 3, 64) / billion == pytest.approx(120 / 64, rel=1e-6)


def test_the_command_shows_hours_for_a_rate(tmp_path: Path) -> None:
    result = foundry("plan", RECIPES / "modernbert-base.yaml", "--training-only", "--processes", "8", "--rate", "312000", "--price", "2")
    assert result.returncode == 0
    out = result.stdout
    hours = 1.719e12 / (8 * 312_000) / 3600
    assert f"{hours:,.1f}" in out or f"{hours + 0.1:,.1f}" in out  # the last batch may go past the tokens
    assert "(this recipe)" in out
    of_stages = next(line for line in out.splitlines() if line.startswith("and activations of 16,384 tokens (this recipe)"))
    assert of_stages.split()[-8::2] == ["13.4", "12.3", "11.9", "11.3"]  # 11.0 of activations, 2.4 to 0.3 of the rest
    assert "longest sequence in 80 GB, in tokens, with activation_checkpointing" in out
    assert "give --rate" in foundry("plan", RECIPES / "demo.yaml", "--training-only", "--workdir", tmp_path).stdout
    run = tmp_path / "runs" / "demo"
    (run / "checkpoints" / "step-00000010").mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps({"tokens_per_second": 5000.0}))
    (run / "checkpoints" / "step-00000010" / "manifest.json").write_text(json.dumps({"world": 2}))
    assert "2,500 tokens/s each" in foundry("plan", RECIPES / "demo.yaml", "--training-only", "--workdir", tmp_path).stdout


def test_the_longest_sequence_is_the_last_that_fits() -> None:
    model, rate = ModernBertConfig.base(max_length=1 << 20), 0.3
    room = 72e9 - plan.state_bytes(149_000_000, 1, 8)
    for checkpointing in (False, True):
        tokens = plan.longest(model, room, rate, precision="bfloat16", checkpointing=checkpointing)
        needed = [
            activations(model, n, int(rate * n), precision="bfloat16", checkpointing=checkpointing).peak for n in (tokens, tokens + 1)
        ]
        assert needed[0] <= room < needed[1]
    assert plan.longest(model, 0, rate, precision="bfloat16", checkpointing=False) == 0


def test_the_micro_batch_is_at_least_one_row_of_the_phase() -> None:
    recipe = load_recipe(RECIPES / "demo.yaml")  # 4,096 tokens at once, rows of 512 and 2,048, 30 % of them predicted
    assert [plan.micro_batch(recipe, phase) for phase in recipe.phases] == [(4096, 1228)] * 3
    recipe.training.micro_batch_tokens = 700
    assert [plan.micro_batch(recipe, phase)[0] for phase in recipe.phases] == [512, 2048, 2048]
    assert isinstance(recipe.model, ModernBertConfig)
    found = plan.fullest(recipe, checkpointing=False)
    assert found == (2048, activations(recipe.model, 2048, 614, precision="float32"))

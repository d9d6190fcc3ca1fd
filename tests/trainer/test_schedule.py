"""The schedule, against the paper's shapes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import BatchWarmup, PhaseConfig
from trainer.schedule import batch_size, learning_rate, schedule


def phase(**changes: object) -> PhaseConfig:
    return PhaseConfig.model_validate({"name": "p", "length": 10, "tokens": 100_000, "batch_size": 8, "learning_rate": 1.0, **changes})


def test_base_grows_from_768_to_4608_over_50_billion_tokens() -> None:
    base = phase(length=1024, tokens=1_719_000_000_000, batch_size=4608, batch_warmup={"start": 768, "tokens": 50_000_000_000})
    assert batch_size(base, 0) == 768
    assert batch_size(base, 50_000_000_000 // 1024 + 1) == 4608
    sizes = [batch_size(base, samples) for samples in range(0, 50_000_000, 500_000)]
    assert sizes == sorted(sizes)
    assert set(sizes) == {768 * k for k in range(1, 7)}


def test_warm_up_is_linear_decay_is_one_minus_sqrt_and_between_is_constant() -> None:
    p = phase(warmup_tokens=10_000, decay_tokens=20_000, final_factor=0.001)
    assert learning_rate(p, 0) == pytest.approx(40 / 10_000)
    assert learning_rate(p, 5000 - 40) == pytest.approx(0.5)
    assert {learning_rate(p, tokens) for tokens in range(10_000, 80_001, 5000)} == {1.0}
    for share in (0.1, 0.25, 0.5, 1.0):
        assert learning_rate(p, 80_000 + int(20_000 * share)) == pytest.approx(1 - 0.999 * math.sqrt(share))


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 9), st.none() | st.integers(1, 9)), min_size=1, max_size=3))
def test_steps_cover_each_phases_samples_in_order_without_a_gap(phases: list[tuple[int, int, int | None]]) -> None:
    configs = [
        phase(
            name=f"p{index}",
            tokens=tokens,
            batch_size=size,
            batch_warmup=BatchWarmup(start=min(start, size), tokens=max(1, tokens // 2)) if start else None,
        )
        for index, (tokens, size, start) in enumerate(phases)
    ]
    plan = schedule(configs)
    expected = dict.fromkeys(range(len(configs)), 0)
    for number in range(plan.steps):
        step = plan.step(number)
        assert step.first_sample == expected[step.phase]
        assert plan.tokens_before(number) == sum(10 * done for done in expected.values())
        expected[step.phase] += step.batch_size
        assert step.last_of_phase == (expected[step.phase] * 10 >= configs[step.phase].tokens)
    assert plan.tokens == sum(10 * done for done in expected.values())
    for index, config in enumerate(configs):
        assert config.tokens <= expected[index] * 10 < config.tokens + 10 * config.batch_size
    with pytest.raises(IndexError):
        plan.step(plan.steps)


def test_a_phase_too_short_for_its_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="too short for both"):
        phase(warmup_tokens=60_000, decay_tokens=60_000)
    with pytest.raises(ValueError, match="over batch_size"):
        phase(batch_warmup={"start": 9, "tokens": 10})

"""The plan: shares, repetitions, the validation split."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset import Workdir
from pipeline.errors import UserError
from pipeline.filters import filter_stage
from pipeline.measure import measure_stage
from pipeline.mixing import MixConfig, PhaseMix, plan_phase, plan_stage, split_stage
from pipeline.random import uniform
from tests.conftest import run_task
from tests.pipeline.corpus import write_documents


def totals(**sizes: int) -> dict:
    return {"domains": {domain: {"train": {"documents": 1, "bytes": size}} for domain, size in sizes.items()}}


@given(st.lists(st.text(), unique=True, max_size=30), st.integers(0, 2**64 - 1))
def test_numbers_belong_to_ids_and_not_to_their_order(ids: list[str], seed: int) -> None:
    forward = dict(zip(ids, uniform(seed, "p", ids), strict=True))
    backward = dict(zip(ids[::-1], uniform(seed, "p", ids[::-1]), strict=True))
    assert forward == backward
    assert all(0 <= value < 1 for value in forward.values())


def test_numbers_are_uniform_and_purposes_independent() -> None:
    ids = [str(number) for number in range(100_000)]
    one, other = uniform(1, "validation", ids), uniform(1, "phase stable", ids)
    counts, _ = np.histogram(one, 50, (0, 1))
    assert ((counts - 2000) ** 2 / 2000).sum() < 90  # chi-square, 49 degrees: p = 0.0003
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.015


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 10**12), min_size=1),
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 100), min_size=1),
    st.floats(1, 10),
)
def test_shares_are_kept_and_nothing_repeats_beyond_the_cap(sizes: dict[str, int], weights: dict[str, float], cap: float) -> None:
    weights = {domain: weight for domain, weight in weights.items() if domain in sizes}
    if not weights:
        return
    plan = plan_phase("p", PhaseMix(weights=weights), MixConfig(max_repetitions=cap), totals(**sizes))
    asked = sum(domain.epochs * domain.available_bytes for domain in plan)
    for domain in plan:
        assert domain.epochs <= cap * (1 + 1e-9)
        assert domain.epochs * domain.available_bytes / asked == pytest.approx(weights[domain.domain] / sum(weights.values()))
    assert asked <= sum(sizes.values()) * (1 + 1e-9)


def test_impossible_asks_are_one_line() -> None:
    config = MixConfig(max_repetitions=2)
    with pytest.raises(UserError, match="phase p: weight for domain math, of which no document is left; there are: code, web"):
        plan_phase("p", PhaseMix(weights={"math": 1}), config, totals(web=10, code=5))
    with pytest.raises(UserError, match=r"would repeat it more than max_repetitions = 2 times; ask for at most 20 bytes"):
        plan_phase("p", PhaseMix(weights={"web": 1, "code": 1}, bytes=30), config, totals(web=100, code=5))
    with pytest.raises(UserError, match="all weights are zero"):
        plan_phase("p", PhaseMix(weights={"web": 0}), config, totals(web=10))
    with pytest.raises(UserError, match="no document is left"):
        plan_phase("p", PhaseMix(), config, totals())


def make_plan(workdir: Workdir, parts: int, mixes: dict[str, PhaseMix], documents: int = 600) -> list[dict]:
    texts = [f"document {number} " * (1 + number % 5) for number in range(documents)]
    domains = ["web" if number % 3 else "code" for number in range(documents)]
    manifest = write_documents(workdir, texts, parts, domains)
    statistics = run_task(workdir, measure_stage(manifest))["statistics"]
    verdict = run_task(workdir, filter_stage({}, statistics))["verdicts/filter"]
    config = MixConfig(validation_share=0.1)
    split = run_task(workdir, split_stage(config, 3, manifest, statistics, [verdict]))["split"]
    run_task(workdir, plan_stage(config, 3, mixes, manifest, split))
    return pa.concat_tables(table for _, table in workdir.tables("plan")).to_pylist()


def test_a_plan_does_not_depend_on_partitions_and_keeps_validation_apart(tmp_path) -> None:
    mixes = {"first": PhaseMix(weights={"web": 0.3, "code": 0.7}), "second": PhaseMix()}
    one, other = (make_plan(Workdir(str(tmp_path / str(parts))), parts, mixes) for parts in (1, 5))
    assert one == other
    held_out = [row for row in one if row["split"] == "validation"]
    assert 30 < len(held_out) < 90
    assert all(row["repeats_first"] == row["repeats_second"] == 0 for row in held_out)
    seen = {domain: sum(row["repeats_first"] for row in one if row["domain"] == domain) for domain in ("web", "code")}
    assert seen["code"] / (seen["web"] + seen["code"]) == pytest.approx(0.7, abs=0.05)
    assert {row["repeats_second"] for row in one if row["split"] == "train"} == {1}

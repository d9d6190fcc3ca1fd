"""The plan: shares, repetitions, the validation split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.random import uniform
from pipeline.dedup.near import NearConfig, near_deduplicate
from pipeline.filters.stage import filter_stage
from pipeline.measure.stage import measure_stage
from pipeline.mix.config import MixConfig, PhaseMix, group_of
from pipeline.mix.plan import make_plan, plan_phase
from pipeline.mix.quality import solve_scale, weight_of
from pipeline.mix.split import make_split
from pipeline.mix.tokens import tokenize_stage
from pipeline.mix.vocabulary import make_tokenizer
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from tests.conftest import here
from tests.pipeline.corpus import write_documents
from tokenizer import TokenizerConfig


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


NAMES = st.sampled_from(["web", "code", "wiki", "crawl", "repo"])
SIZES = st.fixed_dictionaries(
    {},
    optional={
        "web": st.dictionaries(st.sampled_from(["wiki", "crawl", "web"]), st.integers(1, 10**12), min_size=1),
        "code": st.dictionaries(st.sampled_from(["repo"]), st.integers(1, 10**12), min_size=1),
    },
)


@given(SIZES, st.dictionaries(NAMES, st.floats(0.01, 100), min_size=1), st.floats(1, 10))
def test_shares_are_kept_and_nothing_repeats_beyond_the_cap(
    sizes: dict[str, dict[str, int]], weights: dict[str, float], cap: float
) -> None:
    named = tuple(weights)
    groups: dict[str, int] = {}
    for domain, sources in sizes.items():
        for source, size in sources.items():
            group = group_of(domain, source, named)
            if group is not None:
                groups[group] = groups.get(group, 0) + size
    mix, config = PhaseMix(weights=weights), MixConfig(max_repetitions=cap)
    if not sizes or set(groups) != set(weights):
        with pytest.raises(UserError, match="no document (is )?left"):
            plan_phase("p", mix, config, sizes)
        return
    plan = plan_phase("p", mix, config, sizes)
    asked = sum(one.epochs * one.available for one in plan)
    for one in plan:
        assert one.available == groups[one.group]
        assert one.epochs <= cap * (1 + 1e-9)
        assert one.epochs * one.available / asked == pytest.approx(weights[one.group] / sum(weights.values()))
    assert asked <= sum(groups.values()) * (1 + 1e-9)


def test_a_source_that_is_named_is_taken_out_of_its_domain() -> None:
    sizes = {"web": {"wiki": 100, "crawl": 900}, "code": {"repo": 500}}
    plan = plan_phase("p", PhaseMix(weights={"wiki": 1, "web": 3}), MixConfig(), sizes)
    assert {group.group: (group.available, group.share) for group in plan} == {"wiki": (100, 0.25), "web": (900, 0.75)}
    assert group_of("web", "web", ("web",)) == "web"
    assert group_of("code", "repo", ("web",)) is None
    assert group_of("code", "repo", ()) == "code"


def test_epochs_and_temperatures() -> None:
    sizes = {"web": {"crawl": 900}, "code": {"repo": 100}}
    plan = plan_phase("p", PhaseMix(epochs={"web": 1, "code": 3}), MixConfig(), sizes)
    assert {group.group: (group.wanted, group.share) for group in plan} == {"code": (300, 0.25), "web": (900, 0.75)}
    even = plan_phase("p", PhaseMix(temperature=2), MixConfig(), sizes)
    assert {group.group: group.share for group in even} == pytest.approx({"web": 0.75, "code": 0.25})
    asis = plan_phase("p", PhaseMix(temperature=1), MixConfig(), sizes)
    assert [group.epochs for group in asis] == [1, 1]


def test_impossible_asks_are_one_line() -> None:
    config = MixConfig(max_repetitions=2)
    sizes = {"web": {"crawl": 100}, "code": {"repo": 5}}
    with pytest.raises(UserError, match="phase p: its mix asks for math, which has no document left; there are: code, crawl, repo, web"):
        plan_phase("p", PhaseMix(weights={"math": 1}), config, sizes)
    with pytest.raises(UserError, match=r"would repeat it 3 times, more than max_repetitions = 2; ask for at most 20 tokens"):
        plan_phase("p", PhaseMix(weights={"web": 1, "code": 1}, tokens=30), config, sizes)
    with pytest.raises(UserError, match=r"would repeat it 3 times, more than"):
        plan_phase("p", PhaseMix(epochs={"web": 1, "code": 3}), config, sizes)
    with pytest.raises(UserError, match="all weights are zero"):
        plan_phase("p", PhaseMix(weights={"web": 0}), config, sizes)
    with pytest.raises(UserError, match="no document is left"):
        plan_phase("p", PhaseMix(), config, {})
    with pytest.raises(UserError, match=r"trains on 1,000 tokens and a pass over its mix has 105, so code would be seen 9.52 times"):
        plan_phase("p", PhaseMix(), config, sizes, trained=1000)
    assert plan_phase("p", PhaseMix(), config, sizes, trained=210)
    for wrong in ({"weights": {"web": 1}, "temperature": 2}, {"epochs": {"web": 1}, "tokens": 5}, {"weights": {"web": -1}}):
        with pytest.raises(ValueError, match="one of|leave out|less than zero"):
            PhaseMix(**wrong)
    with pytest.raises(ValueError, match="the mix does not name it"):
        PhaseMix(weights={"web": 1}, quality={"code": {"statistic": "words"}})


TRAINED = TokenizerConfig(vocab_size=576)


def mixed(workdir: Workdir, parts: int, mixes: dict[str, PhaseMix], documents: int = 600, **config: float) -> list[dict[str, Any]]:
    """The plan of documents of two domains and three sources, with their tokens."""
    engine = here(workdir)
    texts = [f"document {number} " * (1 + number % 5) for number in range(documents)]
    domains = ["web" if number % 3 else "code" for number in range(documents)]
    sources = ["repo" if number % 3 == 0 else "wiki" if number % 3 == 1 else "crawl" for number in range(documents)]
    manifest = write_documents(workdir, texts, parts, domains, sources)
    statistics = engine.run(measure_stage(manifest)).manifests["statistics"]
    verdict = engine.run(filter_stage({}, statistics)).manifests["verdicts/filter"]
    settings = MixConfig(validation_share=0.1, **config)
    split = make_split(engine, settings, 3, manifest, statistics, [verdict])
    made = make_tokenizer(engine, TRAINED, 3, next(iter(mixes)), next(iter(mixes.values())), settings, manifest, split)
    tokens = engine.run(tokenize_stage(manifest, split, made)).manifests["tokens"]
    make_plan(engine, settings, 3, {name: (mix, None) for name, mix in mixes.items()}, manifest, statistics, split, tokens)
    rows = pa.concat_tables(table for _, table in workdir.tables("plan")).to_pylist()
    lengths = [0] * documents
    for partition, table in workdir.tables("tokens"):
        start = manifest.starts[partition.name.removesuffix(".arrow")]
        for row, ids in zip(table["row"].to_pylist(), table["ids"].to_pylist(), strict=True):
            lengths[start + row] = len(ids)
    return [{**row, "tokens": length, "source": source} for row, length, source in zip(rows, lengths, sources, strict=True)]


def test_a_plan_does_not_depend_on_partitions_and_keeps_validation_apart(tmp_path: Path) -> None:
    mixes = {"first": PhaseMix(weights={"wiki": 0.3, "code": 0.7}), "second": PhaseMix()}
    one, other = (mixed(Workdir(str(tmp_path / str(parts))), parts, mixes) for parts in (1, 5))
    assert one == other
    held_out = [row for row in one if row["split"] == "validation"]
    assert 30 < len(held_out) < 90
    assert all(row["repeats_first"] == row["repeats_second"] == 0 for row in held_out)
    seen = {name: sum(row["repeats_first"] * row["tokens"] for row in one if row["source"] == name) for name in ("wiki", "repo", "crawl")}
    assert seen["crawl"] == 0, "a source that is not named, of a domain that is not, is left out"
    assert seen["repo"] / (seen["wiki"] + seen["repo"]) == pytest.approx(0.7, abs=0.05), "shares are of tokens"
    assert {row["repeats_second"] for row in one if row["split"] == "train"} == {1}
    counts = Workdir(str(tmp_path / "1")).require("plan").summary["phases"]["first"]["code"]
    again = [row["repeats_first"] for row in one if row["source"] == "repo"]
    assert counts["seen"] == sum(again)
    assert counts["repeated"] == sum(again) - sum(times > 0 for times in again), "each repetition is counted"


def test_quality_weighs_documents_within_their_groups_share(tmp_path: Path) -> None:
    mixes = {"flat": PhaseMix(), "weighed": PhaseMix(quality={"web": {"statistic": "words", "power": 2}})}
    rows = mixed(Workdir(str(tmp_path)), 3, mixes, 3000)
    web = [row for row in rows if row["domain"] == "web" and row["split"] == "train"]
    total = {phase: sum(row[f"repeats_{phase}"] * row["tokens"] for row in web) for phase in mixes}
    assert total["weighed"] == pytest.approx(total["flat"], rel=0.05), "the group's share stays"
    by_length: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        if row["domain"] == "web" and row["split"] == "train":
            by_length.setdefault(1 + number % 5, []).append(row["repeats_weighed"])
    means = {length: np.mean(times) for length, times in by_length.items()}
    assert means[5] / means[2] == pytest.approx((5 / 2) ** 2, rel=0.25)
    assert means[4] / means[2] == pytest.approx(2**2, rel=0.25)
    assert [row["repeats_weighed"] for row in rows if row["domain"] == "code"] == [
        row["repeats_flat"] for row in rows if row["domain"] == "code"
    ]
    with pytest.raises(UserError, match=r"no statistic is named beauty; there are: .*words"):
        mixed(Workdir(str(tmp_path / "b")), 1, {"p": PhaseMix(quality={"web": {"statistic": "beauty"}})})


@given(st.dictionaries(st.integers(-300, 300), st.integers(1, 10**9), min_size=1, max_size=20), st.floats(0.01, 0.99), st.floats(1, 8))
def test_the_scale_of_a_quality_gives_the_tokens_that_are_asked_for(histogram: dict[int, int], share: float, most: float) -> None:
    wanted = sum(histogram.values()) * most * share
    scale = solve_scale(histogram, wanted, most)
    given_ = sum(count * min(most, float(weight_of(np.array([number]), scale)[0])) for number, count in histogram.items())
    assert given_ == pytest.approx(wanted, rel=1e-6)
    assert np.isnan(solve_scale(histogram, wanted / share * 1.01, most))


def test_near_duplicates_that_both_stay_are_held_out_together(workdir: Workdir) -> None:
    generator = np.random.default_rng(0)
    words = [f"w{number}" for number in range(2000)]
    texts = []
    for _ in range(120):
        chosen = list(generator.choice(words, 60))
        texts += [" ".join(chosen), " ".join([*chosen[:46], *generator.choice(words, 14)])]
    engine = here(workdir)
    documents = write_documents(workdir, texts, 4)
    statistics = engine.run(measure_stage(documents)).manifests["statistics"]
    verdicts = [engine.run(filter_stage({}, statistics)).manifests["verdicts/filter"]]
    verdicts += near_deduplicate(engine, NearConfig(threshold=0.95, bands=40, rows=2), documents, statistics, verdicts)
    make_split(engine, MixConfig(validation_share=0.3), 1, documents, statistics, verdicts)
    split = pa.concat_tables(t for _, t in workdir.tables("split"))["split"].to_pylist()
    clusters = pa.concat_tables(t for _, t in workdir.tables("verdicts/near"))["cluster"].to_pylist()
    of: dict[int, set[str]] = {}
    for cluster, kind in zip(clusters, split, strict=True):
        if cluster is not None and kind is not None:
            of.setdefault(cluster, set()).add(kind)
    assert len(of) > 100, "else this test shows nothing"
    assert all(len(kinds) == 1 for kinds in of.values())
    assert 40 < split.count("validation") < 110

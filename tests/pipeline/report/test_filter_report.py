"""What a report shows of the rules: histograms with limits, and samples of what was dropped and cut."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from pipeline.filters.c4 import C4Rules
from pipeline.filters.gopher import GopherQuality
from pipeline.filters.length import LengthRules
from pipeline.filters.limits import Bounds
from pipeline.filters.stage import Rules, filter_stage
from pipeline.measure.stage import measure_stage
from pipeline.report.histograms import EDGES, HERE, KEPT, LINEAR, OTHER, WIDTH, YEARS, Histogram, draw, histograms
from pipeline.report.samples import PER_RULE, samples
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from tests.conftest import run_task
from tests.pipeline.corpus import write_documents

LINE = "A sentence that is long enough to be one of several in this text."


@pytest.fixture
def filtered(workdir: Workdir) -> Workdir:
    texts = [" ".join([f"word{n}"] * n) for n in range(1, 41)] + ["\n".join([LINE] * 5 + ["no mark at its end"])] * 2
    documents = write_documents(workdir, texts, 3, ["web"] * 40 + ["other", "third"])
    statistics = run_task(workdir, measure_stage(documents, {"other": True}))["statistics"]
    rules = {
        "web": Rules(length=LengthRules(min_words=11, max_words=30), limits={"bytes": Bounds(max=150)}),
        "other": Rules(c4=C4Rules()),
    }
    run_task(workdir, filter_stage(rules, statistics))
    return workdir


def test_histograms_count_every_document_once_by_its_fate(filtered: Workdir) -> None:
    found = {(histogram.group, histogram.statistic): histogram for histogram in histograms(filtered)}
    words = found["web", "words"]
    assert list(words.limits) == [11, 30]
    assert words.counts.sum() == 40
    assert words.counts[HERE].sum() == 10 + 10  # shorter than 11, longer than 30
    kept = [n for n in range(11, 31) if n * len(f"word{n} ") - 1 <= 150]
    assert words.counts[KEPT].sum() == len(kept)
    assert words.counts[OTHER].sum() == 20 - len(kept)
    for n in range(1, 41):  # each value lies in its bin
        (place,) = np.flatnonzero((EDGES[:-1] < n) & (EDGES[1:] >= n))
        assert words.counts[:, place].sum() >= 1
    assert found["third", "words"].limits == ()
    assert found["third", "words"].counts.sum() == 1


def test_years_have_a_bin_each_and_are_drawn_side_by_side() -> None:
    counts = np.zeros((3, len(YEARS) - 1), np.int64)
    for year, fate in ((1961, HERE), (1969, HERE), (1970, KEPT), (1999, KEPT), (2024, KEPT)):
        counts[fate, np.searchsorted(YEARS, year) - 1] += 1
    histogram = Histogram("science", "science", "year", "of publication", counts, (1970,))
    svg = draw(histogram, "#0072b2")
    assert re.findall(r">(\d+)</text>", svg) == ["1970", "1961", "2024"]
    bars = [(float(x), fill) for x, fill in re.findall(r'<rect x="([\d.]+)"[^>]*fill="([^"]+)"', svg)]
    assert [fill for _, fill in bars] == ["#c0392b", "#0072b2", "#c0392b", "#0072b2", "#0072b2"]
    places = [x / WIDTH * 64 for x, _ in bars]  # 1961 to 2024, two in a bar, 1969 and 1970 in one
    assert places == pytest.approx([0, 8, 8, 38, 62], abs=0.1)


def test_years_of_documents_are_counted_each_in_its_own_bin(workdir: Workdir) -> None:
    documents = write_documents(workdir, [LINE] * 6, 1, dates=["1650", "1800-01-01", "May 1970", "1970-12-31", "2024", None])
    statistics = run_task(workdir, measure_stage(documents))["statistics"]
    run_task(workdir, filter_stage({"web": Rules(limits={"year": Bounds(min=1900)})}, statistics))
    (years,) = [histogram for histogram in histograms(workdir) if histogram.statistic == "year"]
    found = {int(YEARS[place] + 0.5): int(years.counts[:, place].sum()) for place in np.flatnonzero(years.counts.sum(axis=0))}
    assert found == {1800: 2, 1970: 2, 2024: 1}
    assert years.counts[HERE].sum() == 2


def test_a_plot_draws_its_limits_and_nothing_outside_of_its_frame(filtered: Workdir) -> None:
    for histogram in histograms(filtered):
        svg = draw(histogram, "#0072b2")
        assert svg.count("stroke-dasharray") == len(histogram.limits)
        for x, y, width, height in re.findall(r'<rect x="([\d.-]+)" y="([\d.-]+)" width="([\d.-]+)" height="([\d.-]+)"', svg):
            assert 0 <= float(x) <= 232 - float(width) + 1
            assert 0 <= float(y) <= 80
            assert float(height) > 0


def test_a_share_that_may_pass_one_is_drawn_up_to_one() -> None:
    counts = np.zeros((3, len(EDGES) - 1), np.int64)
    counts[KEPT, 20], counts[HERE, 100], counts[HERE, LINEAR + 30] = 90, 5, 1  # 0.1, 0.5 and about 18
    svg = draw(Histogram("web", "web", "top_4gram", "", counts, (0.16,)), "#0072b2")
    assert ">≥ 1<" in svg
    assert len(re.findall("<rect", svg)) == 3
    counts[KEPT, LINEAR + 60] = 500  # a number that is mostly larger: its own range
    assert ">≥ 1<" not in draw(Histogram("web", "web", "bytes", "", counts, (0.16,)), "#0072b2")


def test_samples_are_of_each_rule_in_each_domain_and_always_the_same(filtered: Workdir) -> None:
    found = samples(filtered)
    assert found == samples(filtered)
    by_rule: dict[tuple[str, str], list[str]] = {}
    for sample in found:
        by_rule.setdefault((sample.domain, sample.rule), []).append(sample.document)
    assert set(by_rule) == {("web", "length_words"), ("web", "limit_bytes"), ("other", "")}
    assert len(set(by_rule["web", "length_words"])) == PER_RULE
    (cut,) = [sample for sample in found if sample.rule == ""]
    assert cut.cut == "no mark at its end"
    assert cut.detail == "c4: 1 line without terminal punctuation"


def test_a_workdir_without_verdicts_has_neither(workdir: Workdir) -> None:
    assert histograms(workdir) == []
    assert samples(workdir) == []


def test_rules_of_the_recipe_can_be_read_back_from_the_manifest(filtered: Workdir) -> None:
    manifest = filtered.require("verdicts/filter")
    assert Rules.model_validate(manifest.configuration["web"]).length == LengthRules(min_words=11, max_words=30)
    assert GopherQuality().checks()[0].minimum == 50


def test_a_rule_in_a_workdir_that_no_package_here_adds_is_one_line_where_it_was_used(filtered: Workdir) -> None:
    raw = filtered.read("verdicts/filter", "_manifest.json")
    assert raw is not None
    body = json.loads(raw.to_pybytes())
    body["configuration"]["web"]["links"] = None  # as an installed package's rule is written that nobody asked for
    filtered.write(json.dumps(body).encode(), "verdicts/filter", "_manifest.json")
    assert histograms(filtered)
    body["configuration"]["web"]["links"] = {"max_links": 1}
    filtered.write(json.dumps(body).encode(), "verdicts/filter", "_manifest.json")
    with pytest.raises(UserError, match=r"filter: the rules of web have `links`, which is not known here; if a package adds it, install"):
        histograms(filtered)

"""The page on which limits are moved: its numbers against the filter's own decisions, its arithmetic, and its use in a browser."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.filters.check import decide
from pipeline.filters.code import CodeRules
from pipeline.filters.gopher import GopherQuality
from pipeline.filters.license import LicenseRules
from pipeline.filters.limits import Bounds
from pipeline.filters.repetition import GopherRepetition
from pipeline.filters.science import ScienceRules
from pipeline.filters.stage import Rules, filter_stage
from pipeline.measure.stage import measure_stage
from pipeline.report import limits
from pipeline.report.limits import limits_of, movable
from pipeline.report.page import write_report
from pipeline.workdir.dataset import Workdir
from tests.browser import browser
from tests.conftest import run_task
from tests.pipeline.corpus import write_documents

SCRIPT = Path(limits.__file__).with_name("limits.js")
WORDS = [
    "The",
    "house",
    "stood",
    "at",
    "the",
    "end",
    "of",
    "the",
    "road",
    "and",
    "nobody",
    "had",
    "lived",
    "in",
    "it",
    "for",
    "many",
    "years",
    "when",
    "the",
    "first",
    "of",
    "the",
    "storms",
    "came",
    "to",
    "it",
]
GIVEN = {
    "web": Rules(gopher_quality=GopherQuality(min_words=20, max_words=120, min_stop_words=1), limits={"letters": Bounds(min=0.5)}),
    "code": Rules(code=CodeRules(licenses=None, min_characters=150, max_longest_line=400)),
}


def text(number: int) -> str:
    draw = np.random.default_rng(number)
    words = [WORDS[place] if draw.random() > 0.05 else "#" for place in draw.integers(0, len(WORDS), int(10 ** draw.uniform(0.5, 2.3)))]
    return " ".join(words) + "\n" * int(draw.integers(0, 3)) + "1" * int(draw.integers(0, 60))


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Workdir:
    workdir = Workdir(str(tmp_path_factory.mktemp("limits") / "workdir"))
    documents = write_documents(workdir, [text(number) for number in range(300)], 4, ["web"] * 200 + ["code"] * 100)
    domains = {"web": {"documents": 200, "bytes": 1}, "code": {"documents": 100, "bytes": 1}}
    documents = replace(documents, summary={"domains": domains})  # as ingest counts, for the report
    workdir.write(documents.to_json(), "documents", "_manifest.json")
    statistics = run_task(workdir, measure_stage(documents))["statistics"]
    run_task(workdir, filter_stage(GIVEN, statistics))
    return workdir


def statistics_of(workdir: Workdir, domain: str) -> pa.Table:
    table = pa.concat_tables(part for _, part in workdir.tables("statistics"))
    return table.filter(pa.array([name == domain for name in table["domain"].to_pylist()]))


def kept_by_arrays(group: dict[str, Any], values: dict[str, float]) -> int:
    """Documents of the page's sample that are kept, by its arrays alone, where some limits have other values."""
    stays = np.frombuffer(base64.b64decode(group["fixed"]), np.uint8) == 0
    bounds = {rule["rule"]: {"minimum": rule["minimum"], "maximum": rule["maximum"]} for rule in group["rules"]}
    for limit in group["limits"]:
        for rule, end in limit["bounds"]:
            bounds[rule][end] = values.get(limit["key"], limit["value"])
    for rule in group["rules"]:
        column = np.frombuffer(base64.b64decode(rule["data"]), {"f4": "<f4", "f8": "<f8"}[rule["type"]])
        for end, fails in (("minimum", np.less), ("maximum", np.greater)):
            if bounds[rule["rule"]][end] is not None:
                stays &= ~fails(column, column.dtype.type(bounds[rule["rule"]][end]))
    return int(stays.sum())


TRIES: list[tuple[str, dict[str, float], Rules]] = [
    ("web", {}, GIVEN["web"]),
    (
        "web",
        {"gopher_quality.min_words": 60},
        Rules(gopher_quality=GopherQuality(min_words=60, max_words=120, min_stop_words=1), limits={"letters": Bounds(min=0.5)}),
    ),
    (
        "web",
        {"gopher_quality.max_words": 50, "gopher_quality.max_symbol_ratio": 0.04, "limits.letters.min": 0.8},
        Rules(
            gopher_quality=GopherQuality(min_words=20, max_words=50, min_stop_words=1, max_symbol_ratio=0.04),
            limits={"letters": Bounds(min=0.8)},
        ),
    ),
    ("code", {}, GIVEN["code"]),
    (
        "code",
        {"code.min_characters": 400, "code.min_letters": 0.6},
        Rules(code=CodeRules(min_characters=400, max_longest_line=400, min_letters=0.6)),
    ),
]


@pytest.mark.parametrize(("domain", "values", "rules"), TRIES)
def test_the_arrays_keep_what_the_filter_keeps(filtered: Workdir, domain: str, values: dict[str, float], rules: Rules) -> None:
    (group,) = [group for group in movable(filtered) if group["name"] == domain]
    verdict = decide(statistics_of(filtered, domain), rules.families())
    assert group["sample"] == group["documents"] == verdict.num_rows
    assert kept_by_arrays(group, values) == sum(verdict["keep"].to_pylist())
    if not values:
        assert group["kept"]["documents"] == sum(verdict["keep"].to_pylist())


def test_a_limit_knows_its_place_in_the_recipe_and_what_it_bounds() -> None:
    rules = Rules(
        gopher_quality=GopherQuality(), gopher_repetition=GopherRepetition(), science=ScienceRules(), limits={"year": Bounds(min=1990)}
    )
    found = {limit.key: limit for limit in limits_of(rules)}
    assert found["gopher_quality.min_words"].bounds == (("gopher_words", "minimum"),)
    assert found["gopher_quality.max_symbol_ratio"].bounds == (("gopher_hash_ratio", "maximum"), ("gopher_ellipsis_ratio", "maximum"))
    assert found["limits.year.min"].bounds == (("limit_year", "minimum"),)
    assert (found["gopher_quality.min_stop_words"].least, found["gopher_quality.min_stop_words"].most) == (0, 8)
    assert found["science.min_words"].whole
    assert not found["science.max_top_word"].whole
    assert "science.max_citations" not in found, "it has no value"
    assert "science.alphabetic_top_word" not in found, "it is no number"
    moved = [check for family in rules.families() for check in family.checks() if check.minimum is not None or check.maximum is not None]
    bounded = {(check.rule, end) for check in moved for end in ("minimum", "maximum") if getattr(check, end) is not None}
    fixed = {("science_alphabetic_top_word", "minimum")}
    assert {bound for limit in found.values() for bound in limit.bounds} == bounded - fixed


def test_documents_that_lists_and_licences_drop_stay_dropped(workdir: Workdir) -> None:
    documents = write_documents(workdir, [text(number) for number in range(40)], 2)
    statistics = run_task(workdir, measure_stage(documents))["statistics"]
    rules = Rules(license=LicenseRules(allow=["MIT"]), gopher_quality=GopherQuality(min_words=1))
    run_task(workdir, filter_stage({"web": rules}, statistics))
    (group,) = movable(workdir)
    assert kept_by_arrays(group, {"gopher_quality.min_words": 0}) == 0


def test_a_sample_is_drawn_by_a_hash_and_its_histograms_are_of_all_documents(filtered: Workdir, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {group["name"]: group for group in movable(filtered)}
    monkeypatch.setattr(limits, "SAMPLE", 50)
    one, other = movable(filtered), movable(filtered)
    assert one == other
    for group in one:
        assert group["sample"] == 50
        assert group["documents"] == whole[group["name"]]["documents"]
        for rule, same in zip(group["rules"], whole[group["name"]]["rules"], strict=True):
            assert rule["counts"] == same["counts"]
            values = np.asarray(statistics_of(filtered, group["name"])[rule["statistic"]].to_pylist(), dtype=float)
            if not rule["rule"].startswith(("code_data", "code_longest", "code_mean", "code_markup")):
                assert sum(rule["counts"]) == np.isfinite(values).sum()


def by_node(script: str) -> Any:
    """What a script prints as JSON, which has the page's functions as `page`."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    code = f"const page = require({json.dumps(str(SCRIPT))}); console.log(JSON.stringify((() => {{ {script} }})()))"
    result = subprocess.run([node, "-e", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(("domain", "values", "rules"), TRIES)
def test_the_pages_own_arithmetic_keeps_what_the_filter_keeps(
    filtered: Workdir, tmp_path: Path, domain: str, values: dict[str, float], rules: Rules
) -> None:
    (group,) = [group for group in movable(filtered) if group["name"] == domain]
    data = tmp_path / "group.json"
    data.write_text(json.dumps(group))
    found = by_node(
        f"const group = page.prepared(require({json.dumps(str(data))})); const now = group.limits.map((limit) => limit.value);"
        f"const other = {json.dumps(values)}; const then = group.limits.map((limit) => other[limit.key] ?? limit.value);"
        "const bounds = page.allowed(group, then);"
        "return {...page.estimate(group, now, then), alone: group.rules.map((rule, number) => page.alone(group, rule, bounds[number]))}"
    )
    table = statistics_of(filtered, domain)
    verdict = decide(table, rules.families())
    keep = np.array(verdict["keep"].to_pylist())
    size = np.array(table["bytes"].to_pylist())
    assert found["sampleThen"] == keep.sum()
    assert found["documents"] == pytest.approx(keep.mean())
    assert found["text"] == pytest.approx(size[keep].sum() / size.sum())
    assert (found["error"], found["textError"]) == (0, 0), "the page holds every document"
    if not values:  # where the recipe's limits lie, each by itself is exact
        for rule, share in zip(group["rules"], found["alone"], strict=True):
            (check,) = [check for family in rules.families() for check in family.checks() if check.rule == rule["rule"]]
            assert share == pytest.approx(1 - check.judge(table).failed.mean()), rule["rule"]


def test_an_estimate_from_a_sample_is_the_known_share_and_the_samples_difference(
    filtered: Workdir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SAMPLE", 80)
    (group,) = [group for group in movable(filtered) if group["name"] == "web"]
    data = tmp_path / "group.json"
    data.write_text(json.dumps(group))
    now, then = kept_by_arrays(group, {}), kept_by_arrays(group, {"gopher_quality.min_words": 60})
    found = by_node(
        f"const group = page.prepared(require({json.dumps(str(data))})); const now = group.limits.map((limit) => limit.value);"
        "return page.estimate(group, now, now.map((value, index) => group.limits[index].key === 'gopher_quality.min_words' ? 60 : value))"
    )
    gone = (now - then) / 80  # with a larger minimum documents only go
    assert found["documents"] == pytest.approx(group["kept"]["documents"] / 200 - gone)
    assert found["error"] == pytest.approx(1.96 * math.sqrt(gone * (1 - gone) / 80 * (1 - 80 / 200)))


def test_what_is_copied_is_a_part_of_a_recipe_and_a_command(filtered: Workdir, tmp_path: Path) -> None:
    import yaml

    (group,) = [group for group in movable(filtered) if group["name"] == "web"]
    data = tmp_path / "group.json"
    data.write_text(json.dumps(group))
    found = by_node(
        f"const group = page.prepared(require({json.dumps(str(data))})); const other = {{'gopher_quality.min_words': 30, 'limits.letters.min': 0.25}};"
        "const then = group.limits.map((limit) => other[limit.key] ?? limit.value); return [page.asRecipe(group, then), page.asCommand(group, then)]"
    )
    assert yaml.safe_load(found[0]) == {"filter": {"web": {"gopher_quality": {"min_words": 30}, "limits": {"letters": {"min": 0.25}}}}}
    assert re.findall(r"--set (\S+)", found[1]) == ["filter.web.gopher_quality.min_words=30", "filter.web.limits.letters.min=0.25"]


def test_a_place_on_an_axis_and_its_value_are_each_others_inverse() -> None:
    found = by_node(
        "const axes = [{low: 1, high: 1e5, logarithmic: true}, {low: 0, high: 0.3, logarithmic: false}, {low: 1960.5, high: 2024.5}];"
        "return axes.map((axis) => [0, 0.25, 1].map((place) => page.placeOf(axis, page.valueAt(axis, place, false))))"
    )
    assert np.allclose(found, [[0, 0.25, 1]] * 3, atol=0.01)


def test_in_a_browser_limits_are_moved_by_keys_and_numbers_and_nothing_is_fetched(filtered: Workdir, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    report = Path(write_report(filtered, run))
    (group,) = [group for group in movable(filtered) if group["name"] == "web"]
    with browser(tmp_path / "profile") as page:
        page.open(report)
        panel = "document.querySelector('.moves[data-group=\"web\"]')"
        control = "[...document.querySelectorAll('figure[data-group=\"web\"] .limit')].find((box) => box.innerText.includes('min_words'))"
        assert page.run(f"{panel}.querySelector('output').textContent").startswith("All limits together keep ")
        page.run(f"{control}.querySelector('[type=range]').focus()")
        for _ in range(3):
            page.press("ArrowRight", 39)
        value = page.run(f"Number({control}.querySelector('[type=number]').value)")
        assert value > 20
        share = kept_by_arrays(group, {"gopher_quality.min_words": value}) / 200
        assert f"would keep {100 * share:.1f} % of 200 documents" in page.run(f"{panel}.querySelector('output').textContent")
        assert f"min_words: {value}" in page.run(f"{panel}.querySelector('pre').textContent")
        page.run(
            f"(() => {{ const n = {control}.querySelector('[type=number]'); n.value = '100'; n.dispatchEvent(new Event('input')) }})()"
        )
        share = kept_by_arrays(group, {"gopher_quality.min_words": 100}) / 200
        assert f"would keep {100 * share:.1f} %" in page.run(f"{panel}.querySelector('output').textContent")
        lines = page.run(f"[...{control}.closest('figure').querySelectorAll('g.limits text')].map((each) => each.textContent)")
        assert lines == ["100", "120"]
        page.run(f"{panel}.querySelector('.reset').click()")
        assert page.run(f"{panel}.querySelector('output').textContent").startswith("All limits together keep ")
        unnamed = "[...document.querySelectorAll('.limit input')].filter((each) => !each.labels.length && !each.ariaLabel).length"
        assert page.run(unnamed) == 0, "every control has a name"
        assert page.errors == []
        assert page.asked == [report.resolve().as_uri()]

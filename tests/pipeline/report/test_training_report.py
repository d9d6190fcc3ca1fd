"""What a report shows of training: every number of the lines that are there, whatever version wrote them, and all that happened."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.summary import local_run, other_runs
from pipeline.measure.stage import measure_stage
from pipeline.report.curves import _mark_events, _Scale, comparison, curves, time_by_part
from pipeline.report.figures import drawing
from pipeline.report.page import write_report
from pipeline.report.runs import Run, column, read_run, thinned
from pipeline.report.training import HEADER, SHOWN_EVENTS, training
from pipeline.workdir.dataset import Workdir
from tests.conftest import run_task
from tests.pipeline.corpus import write_documents

COLOURS = {"web": "#0072b2", "code": "#e69f00"}
EVENTS = [(0, "start"), (20, "left out"), (25, "return"), (30, "stop"), (30, "start"), (40, "checkpoint failed"), (45, "moon")]


def old(steps: int) -> list[dict[str, Any]]:
    """Lines as version 0.1 wrote them: one for ten steps of 100 tokens, 500 tokens a second."""
    lines: list[dict[str, Any]] = [
        {"kind": "validation", "step": 0, "tokens": 0, "loss": 9.0, "accuracy": 0.0, "predicted_tokens": 7.0},
    ]
    for step in range(10, steps + 1, 10):
        line = {"phase": "stable" if step <= 30 else "decay", "loss": 9 - step / 20, "lr": 1e-3, "batch_size": 4, "gradient_norm": 2.0}
        rest = {"left_out": int(step == 20), "tokens": 100 * step, "tokens_per_second": 500.0}
        lines.append({"kind": "train", "step": step, **line, **rest})
    lines.append({"kind": "validation", "step": steps, "tokens": 100 * steps, "loss": 6.5, "accuracy": 0.25, "predicted_tokens": 7.0})
    return lines


def new(steps: int) -> list[dict[str, Any]]:
    """The same with all that lines have now."""
    lines = old(steps)
    for line in lines:
        both = {"web": {"loss": line["loss"] - 1, "predicted_tokens": 3}, "code": {"loss": line["loss"] + 1, "predicted_tokens": 4}}
        if line["kind"] == "train":
            seconds = {
                "data": 1.0,
                "compute": 6.0,
                "communication": 0.0,
                "optimizer": 2.0,
                "checkpoint": 0.5,
                "evaluation": 0.5,
                "other": 0.0,
            }
            norms = {name: {"embedding": 1.0, "mlp": 2.0} for name in ("gradient", "weight", "update")}
            line |= {"by_domain": both, "seconds": seconds, "norms": norms, "clipped": 0.25, "memory": 10**9 * line["step"]}
            line |= {"flops_per_second": 1e12, "utilisation": None}
        else:
            line["by_domain"] = {name: {**values, "accuracy": 0.5} for name, values in both.items()}
            line["by_domain"]["web"] |= {"loss_low": 5.1, "loss_high": 6.2}
            line["baselines"] = {"unigram": 6.8, "left": 5.2, "two_sided": 3.76}
            empty = {"loss": None, "accuracy": None, "predicted_tokens": 0}
            line["by_length"] = {"1-127": {"loss": 3.0, "accuracy": 0.5, "predicted_tokens": 7}, "8192-": empty}
    return lines


def write(folder: Path, lines: list[dict[str, Any]], events: list[tuple[int, str]] = EVENTS, end: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
    told = [{"time": 1.7e9 + step, "step": step, "event": event, "text": f"<{event}> at {step}"} for step, event in events]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in told))
    (folder / "run.json").write_text(json.dumps({"phases": [{"shards": "mock://mine/work/shards/stable"}]}))
    return folder


def test_lines_of_both_versions_are_read_and_those_that_are_none_are_counted(tmp_path: Path) -> None:
    earlier = read_run(write(tmp_path / "old", old(50)))
    assert (len(earlier.train), len(earlier.validation), len(earlier.events), earlier.unreadable) == (5, 2, 7, 0)
    cut = read_run(write(tmp_path / "new", new(50), end='{"kind": "train", "st'))
    assert (len(cut.train), cut.unreadable) == (5, 1)
    odd = read_run(write(tmp_path / "odd", old(20), end='[1]\n{"step": 3}\n\xff\n'))
    assert (len(odd.train), odd.unreadable) == (2, 3)
    assert read_run(tmp_path / "nothing") == Run("nothing", (), (), (), 0)


def test_a_run_is_summed_up_by_its_lines(tmp_path: Path) -> None:
    runs = [read_run(write(tmp_path / "old", old(50))), read_run(write(tmp_path / "new", new(50)))]
    part = training([*runs, read_run(tmp_path / "none")], "new", COLOURS)
    assert part is not None
    rows = {row[0]: dict(zip(part.header, row, strict=True)) for row in part.rows}
    assert part.header == HEADER
    shared = {
        "steps": "50",
        "tokens": "5,000",
        "training loss": "8.500 to 6.500",
        "validation loss": "9.000 to 6.500",
        "accuracy": "0.0% to 25.0%",
        "tokens/s": "500",
        "left out": "1",
    }
    assert rows["old"] == {"run": "old", **shared, "time": "10.0 s", "peak memory": ""}  # 5,000 tokens at 500 a second
    assert rows["new"] == {"run": "new", **shared, "time": "50.0 s", "peak memory": "50.0 GB"}  # five lines of ten seconds
    assert [run.name for run in part.runs] == ["new", "old"], "the recipe's own comes first"
    assert [run.open for run in part.runs] == [True, False]
    domain, length = part.runs[0].groups
    assert domain == ("domain", (("web", "5.500", "5.100 to 6.200", "50.0%", "3"), ("code", "7.500", "", "50.0%", "4")))
    assert length == ("length in tokens", (("1-127", "3.000", "", "50.0%", "7"),)), "lengths that nothing was predicted of are not shown"
    assert "unigram 6.80, left bigram 5.20, two-sided bigram 3.76" in part.runs[0].notes[0]
    assert part.runs[1].notes == (), "an earlier version's run has no such models beside it"


def test_nothing_is_shown_where_no_run_has_a_line(tmp_path: Path) -> None:
    assert training([read_run(tmp_path / "none")], "none", COLOURS) is None


def test_there_is_a_figure_for_all_that_lines_have_and_none_for_what_they_lack(tmp_path: Path) -> None:
    earlier, now = read_run(write(tmp_path / "old", old(50))), read_run(write(tmp_path / "new", new(50)))
    assert [plot.title for plot in curves(earlier, COLOURS)] == ["Loss and learning rate", "Norm of the gradient", "Speed"]
    assert [plot.title for plot in curves(now, COLOURS)] == [
        "Loss and learning rate",
        "Loss by domain",
        "Norm of the gradient",
        "Speed",
        "Where the time went",
        "Memory",
        "Updates that were clipped",
        "Size of the updates",
        "Norm of the gradient by kind",
        "Norm of the weights by kind",
    ]
    only = Run("begun", (), now.validation[:1], (), 0)  # before its first line of training
    assert [plot.title for plot in curves(only, COLOURS)] == ["Loss and learning rate", "Loss by domain"]


def test_a_figure_says_its_numbers_in_words_and_takes_its_greys_from_the_page(tmp_path: Path) -> None:
    run = read_run(write(tmp_path / "new", new(50)))
    plots = [*curves(run, COLOURS), comparison([run, run])]
    assert comparison([run, run]).svg == plots[-1].svg, "the same lines give the same bytes"
    for plot in plots:
        assert 'role="img"' in plot.svg
        assert not re.search(r'<g id=|"#1d2530|: #1d2530|: #5d6b7c|: #c9d1da', plot.svg), "two figures share no id, and no grey is fixed"
        assert "var(--soft)" in plot.svg
    labels = {plot.title: re.findall(r'aria-label="([^"]+)"', plot.svg)[0] for plot in plots}
    assert "training 8.5 at first and 6.5 at last, validation 9 at first and 6.5 at last" in labels["Loss and learning rate"]
    assert "web 8 at first and 5.5 at last; code" in labels["Loss by domain"] or "code 10 at first" in labels["Loss by domain"]
    assert "compute 60 %" in labels["Where the time went"]
    assert "all 10 at first and 50 at last" in labels["Memory"]
    assert "The last validation losses: new 6.5." in labels["Loss of all runs"]


def test_events_are_marked_at_the_tokens_of_their_steps(tmp_path: Path) -> None:
    run = read_run(write(tmp_path / "new", new(50)))
    scale = _Scale([run])
    assert (scale.unit, scale.label) == (1e3, "thousand tokens")
    with drawing(5, 3) as figure:
        axes = figure.subplots()
        _mark_events(axes, run, scale, named=True)
        marks = {
            str(line.get_label()): list(np.asarray(line.get_xdata())) for line in axes.lines if not str(line.get_label()).startswith("_")
        }
        across = sorted(float(np.asarray(line.get_xdata())[0]) for line in axes.lines if str(line.get_label()).startswith("_"))
    wanted: dict[str, list[float]] = {}
    for step, kind in EVENTS:
        wanted.setdefault(kind, []).append(step * 100 / 1e3)
    assert marks == wanted, "kinds that this version does not know are marked, too"
    assert across == sorted(step / 10 for step, kind in EVENTS if kind != "left out")


def test_steps_between_lines_have_their_share_of_the_tokens() -> None:
    lines = ({"kind": "train", "step": 10, "tokens": 100}, {"kind": "train", "step": 20, "tokens": 500})
    run = Run("ramp", lines, (), (), 0)
    assert list(run.tokens_at(np.array([0.0, 5, 10, 15, 20, 99]))) == [0, 50, 100, 300, 500, 500]


def test_shares_of_the_time_are_those_of_the_sums(tmp_path: Path) -> None:
    run = read_run(write(tmp_path / "new", new(2000)))
    plot = time_by_part(run, _Scale([run]))
    assert plot is not None
    shares = {name: float(share) for name, share in re.findall(r"(\w+) ([\d.e+]+) %", re.findall(r'aria-label="([^"]+)"', plot.svg)[0])}
    assert shares == {"data": 10, "compute": 60, "communication": 0, "optimizer": 20, "checkpoint": 5, "evaluation": 5, "other": 0}
    assert time_by_part(read_run(write(tmp_path / "old", old(50))), _Scale([run])) is None


@pytest.mark.parametrize("count", [1, 499, 500, 501, 1003, 5000])
def test_a_long_curve_is_drawn_by_the_means_of_its_stretches(count: int) -> None:
    places = np.arange(count, dtype=np.float64)
    values = np.where(places % 7 == 3, math.nan, places**2)
    x, y = thinned(places, values)
    assert len(x) == len(y) == min(count, 500)
    edges = [int(count * part / len(x)) for part in range(len(x) + 1)]
    for part in range(0, len(x), 97):
        stretch = values[edges[part] : edges[part + 1]]
        known = stretch[np.isfinite(stretch)]
        assert y[part] == pytest.approx(known.mean()) if len(known) else math.isnan(y[part])
        assert x[part] == pytest.approx(places[edges[part] : edges[part + 1]].mean())
    assert np.isnan(thinned(places, np.full(count, math.nan))[1]).all()


def test_the_page_shows_all_runs_of_its_workdir_and_escapes_what_happened(workdir: Workdir) -> None:
    run_task(workdir, measure_stage(write_documents(workdir, ["one text", "another"], 1)))
    root = Path(workdir.path("runs"))
    many = [(step, "left out") for step in range(SHOWN_EVENTS + 5)]
    write(root / "mine", new(50), end='{"cut')
    write(root / "older", old(50), many)
    path = write_report(workdir, root / "mine", other_runs(workdir, "mine"))
    html = Path(path).read_text(encoding="utf-8")
    assert html.count("<svg") == 1 + 1 + 10 + 3  # lengths, the comparison, and the figures of either run
    assert "&lt;return&gt; at 25" in html
    assert "<return>" not in html
    assert f"The last {SHOWN_EVENTS} are shown, 5 earlier ones are in" in html
    assert "1 line of metrics.jsonl and events.jsonl could not be read" in html
    assert "prefers-color-scheme: dark" in html
    assert html.index("<b>mine</b>") < html.index("<b>older</b>")


def test_runs_of_another_remote_workdir_are_not_this_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.summary.cache_folder", lambda *names: tmp_path.joinpath(*names))
    mine, similar = Workdir("mock://mine/work"), Workdir("mock://mine/wor")
    write(local_run(mine, "mine"), old(10))
    write(local_run(mine, "second"), old(10))
    assert [path.name for path in other_runs(mine, "mine")] == ["second"]
    assert other_runs(similar, "mine") == []


def test_a_column_is_nan_where_a_line_has_no_number() -> None:
    lines: list[dict[str, Any]] = [{"a": {"b": 1}}, {"a": {"b": None}}, {"a": 3}, {}]
    found = column(lines, "a", "b")
    assert found[0] == 1
    assert np.isnan(found[1:]).all()

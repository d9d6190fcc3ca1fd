"""The summary of a run: what deserves a look is told there and in report.html, with documents."""

from __future__ import annotations

from pathlib import Path

from jobs.recipe import load_recipe
from pipeline.report.alarms import alarms
from pipeline.workdir.dataset import Workdir
from tests.integration.small import called
from tests.jobs.filtered import curated, recipe


def test_what_deserves_a_look_stands_in_the_terminal_and_in_the_report_with_three_documents(tmp_path: Path) -> None:
    path = recipe(tmp_path, {"news": {"length": {"min_words": 1000}}})
    curated(path)
    workdir = Workdir(load_recipe(path).workdir)
    (alarm,) = alarms(workdir)
    assert alarm.text == "rule length_words drops 120 of 120 documents of source news in web (100%, over 90%; of the others in web 0%)"
    assert len({sample.document for sample in alarm.samples}) == 3
    result = called("report", path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(f"warning: {alarm.text}") == 1
    page = Path(workdir.path("report.html")).read_text()
    assert page.count(alarm.text) == 1
    for sample in alarm.samples:
        assert f"  {sample.document}: length_words ({sample.measured}): {' '.join(sample.text.split())[:40]}" in result.stdout
        assert sample.document in page

"""The summary of a run: what deserves a look is told there and in report.html, with documents."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from jobs.recipe import load_recipe
from pipeline.mix.split import SPLIT
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


def test_the_documents_of_each_split_are_told_in_the_terminal_and_in_the_report(tmp_path: Path) -> None:
    path = recipe(tmp_path, {}, mix={"validation_share": 0.1, "test_share": {"web": 0.3}})
    curated(path)
    workdir = Workdir(load_recipe(path).workdir)
    found: Counter[tuple[str, str]] = Counter()
    for _, table in workdir.tables(SPLIT, ["domain", "split"]):
        found.update((row["domain"], row["split"]) for row in table.to_pylist() if row["split"])
    result = called("report", path)
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.split("Split: documents")[1].splitlines()]
    assert ["domain", "train", "validation", "test"] in rows
    page = Path(workdir.path("report.html")).read_text().split("<h2>Split</h2>")[1]
    for domain in ("web", "science"):
        wanted = [found[domain, name] for name in ("train", "validation", "test")]
        (told,) = ([cell for cell in row[1:] if not cell.startswith("(")] for row in rows if row[:1] == [domain])
        assert [int(cell) for cell in told] == wanted
        assert f'<td>{domain}</td><td class="n">{wanted[0]:,} (' in page
    assert found["web", "test"] > 0

"""`foundry whatif`: what it says is what a run with the edited recipe decides, and the workdir stays as it is."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.recipe import load_recipe
from jobs.whatif import sweep_values
from pipeline.report.whatif import Tried, what_if
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from tests.integration.small import called
from tests.jobs.filtered import RULES, curated, recipe


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = recipe(tmp_path_factory.mktemp("tried"))
    curated(found)
    return found


def said(path: Path, *arguments: str) -> Any:
    result = CliRunner().invoke(app, ["whatif", str(path), "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def table(workdir: Workdir) -> list[dict[str, Any]]:
    """All documents with what was measured of them that groups go by, and the filter's verdict."""
    names = ["domain", "source", "language", "bytes"]
    statistics = pa.concat_tables(part for _, part in workdir.tables("statistics", names)).to_pylist()
    verdicts = pa.concat_tables(part for _, part in workdir.tables("verdicts/filter")).to_pylist()
    ids = pa.concat_tables(part for _, part in workdir.tables("documents", ["id", "url", "text"])).to_pylist()
    return [{**one, **other, **third} for one, other, third in zip(statistics, verdicts, ids, strict=True)]


def left(row: dict[str, Any]) -> int:
    size: int = row["bytes"]
    return size - sum(int(cut["end"] - cut["begin"]) for cut in row["cuts"] or [])


def kept(rows: list[dict[str, Any]], axis: str) -> dict[str, tuple[int, int]]:
    documents, size = Counter[str](), Counter[str]()
    for row in rows:
        if row["keep"]:
            documents[row[axis]] += 1
            size[row[axis]] += left(row)
    return {name: (documents[name], size[name]) for name in documents}


CHANGES: dict[str, dict[str, Any]] = {
    "one limit": {"filter.web.gopher_quality.min_words": 30},
    "several limits": {
        "filter.web.gopher_quality.min_words": 70,
        "filter.web.limits.characters.max": 900,
        "filter.science.length.min_words": 10,
    },
    "a rule on lines, and its cuts": {"filter.blog.c4.min_line_words": 5, "filter.blog.c4.terminal_punctuation": False},
    "a family less": {"filter.web.gopher_quality": None},
    "a family more": {"filter.web.fineweb": {}},
    "another list": {"filter.web.language.allow": ["de"], "filter.web.gopher_quality.min_stop_words": 0},
    "rules of a source in place of its domain's": {"filter.news": {"length": {"min_words": 100}}},
    "no rules": {"filter.science": None},
    "nothing": {},
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_it_says_is_what_a_run_with_the_edited_recipe_decides(path: Path, tmp_path: Path, what: str) -> None:
    changes = {key: value for key, value in CHANGES[what].items() if (key, value) != ("filter.science", None)}
    edited = recipe(tmp_path / "run", {key: rules for key, rules in RULES.items() if (what, key) != ("no rules", "science")})
    before, after = (
        table(Workdir(load_recipe(path).workdir)),
        table(curated(edited, {**changes, "workdir": str(tmp_path / "run" / "workdir")})),
    )
    if what == "no rules":  # a recipe that was edited itself
        found = said(edited, "--workdir", load_recipe(path).workdir)
        assert found["edited"] == ["science"]
    else:
        found = said(path, *(part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")))
        assert found["edited"] == []
    for axis in ("domain", "source", "language"):
        for side, rows in (("before", before), ("after", after)):
            counts = {each["name"]: (each[side]["documents"], each[side]["bytes"]) for each in found["axes"][axis]}
            assert {name: count for name, count in counts.items() if count[0]} == kept(rows, axis)
        came = Counter(row[axis] for row in before)
        assert {each["name"]: each["came"]["documents"] for each in found["axes"][axis]} == came
    for side, rows in (("before", before), ("after", after)):
        dropped = Counter(row["rule"] for row in rows if not row["keep"])
        assert {each["name"]: each[side]["documents"] for each in found["rules"] if each[side]["documents"]} == dropped
    pairs = list(zip(before, after, strict=True))
    stays = {row["id"]: row for row, now in pairs if not row["keep"] and now["keep"]}
    goes = {now["id"]: now for row, now in pairs if row["keep"] and not now["keep"]}
    assert found["stays"]["documents"] == len(stays)
    assert found["goes"]["documents"] == len(goes)
    for kind, documents in (("stays", stays), ("goes", goes)):
        shown = found["samples"][kind]
        wanted = Counter(row["rule"] for row in documents.values())
        assert Counter(each["rule"] for each in shown) == {rule: min(3, count) for rule, count in wanted.items()}
        for each in shown:
            row = documents[each["document"]]
            assert (each["rule"], each["value"], each["limit"], each["detail"]) == (row["rule"], row["value"], row["limit"], row["detail"])
            assert row["text"].startswith(each["text"])
    assert bool(stays or goes) == (what != "nothing"), "the change is one"


def test_nothing_in_the_workdir_is_changed(path: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "workdir"
    shutil.copytree(load_recipe(path).workdir, workdir)
    (tmp_path / "labels.jsonl").write_text('{"id": "news:d1", "keep": true}\n')

    def state() -> dict[str, tuple[int, bytes]]:
        return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in sorted(workdir.rglob("*")) if file.is_file()}

    def folders() -> dict[str, int]:
        return {str(folder): folder.stat().st_mtime_ns for folder in (workdir, *workdir.rglob("*")) if folder.is_dir()}

    before = state(), folders()
    common: list[str | Path] = ["whatif", path, "--workdir", workdir, "--labels", tmp_path / "labels.jsonl"]
    for more in (
        ["--set", "filter.web.gopher_quality.min_words=80"],
        ["--sweep", "filter.web.gopher_quality.min_words=10:50:10", "--out", tmp_path / "s.svg"],
    ):
        result = called(*common, *more)
        assert result.returncode == 0, result.stderr
    assert (state(), folders()) == before


def test_only_columns_that_rules_look_at_are_read_and_text_of_samples_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_recipe(path, {"filter.science.length.min_words": 30})
    workdir = Workdir(loaded.workdir)
    read: list[tuple[str, str, Any]] = []
    true = Workdir.read_table

    def watched(self: Workdir, dataset: str, partition: Any, columns: Any = None) -> pa.Table:
        read.append((dataset, partition.name, None if columns is None else set(columns)))
        return true(self, dataset, partition, columns)

    monkeypatch.setattr(Workdir, "read_table", watched)
    found = what_if(Tried(workdir, loaded.filter))
    assert found.stays.documents
    measured = [columns for dataset, name, columns in read if dataset == "statistics" and name.startswith("news")]
    assert measured
    assert all(columns <= {"domain", "source", "bytes", "language", "declared_language"} for columns in measured)
    assert any("words" in columns for dataset, name, columns in read if dataset == "statistics" and name.startswith("papers"))
    assert {name.split("-")[0] for dataset, name, _ in read if dataset == "documents"} == {"papers"}


def test_what_later_stages_know_is_told_and_the_rest_counted(path: Path) -> None:
    workdir = Workdir(load_recipe(path).workdir)
    rows = table(workdir)
    exact = pa.concat_tables(part for _, part in workdir.tables("verdicts/exact")).to_pylist()
    near = pa.concat_tables(part for _, part in workdir.tables("verdicts/near")).to_pylist()
    found = said(path, "--set", "filter.web.gopher_quality.min_words=100", "--set", "filter.science.length.min_words=20")
    edited = load_recipe(path, {"filter.web.gopher_quality.min_words": 100, "filter.science.length.min_words": 20})
    after = [row for judged in Tried(workdir, edited.filter).partitions() for row in judged.after.to_pylist()]
    goes = {n for n, (row, now) in enumerate(zip(rows, after, strict=True)) if row["keep"] and not now["keep"]}
    stays = [n for n, (row, now) in enumerate(zip(rows, after, strict=True)) if now["keep"] and not row["keep"]]
    assert found["later"]["goes"].get("exact", 0) == sum(exact[n]["keep"] is False for n in goes) > 0
    assert found["later"]["goes"].get("near", 0) == sum(near[n]["keep"] is False for n in goes)
    freed = [each for verdicts in (exact, near) for n, each in enumerate(verdicts) if each["keep"] is False and n not in goes]
    assert found["later"]["freed"] == sum(each["duplicate_of"] in goes for each in freed)

    def plain(row: dict[str, Any], cuts: Any) -> str:
        raw, at, parts = row["text"].encode(), 0, []
        for cut in cuts or []:
            parts.append(raw[at : cut["begin"]])
            at = cut["end"]
        return " ".join(b"".join([*parts, raw[at:]]).decode().split())

    known = {plain(row, row["cuts"]) for n, row in enumerate(rows) if row["keep"] and n not in goes}
    again = 0
    for n in stays:
        again += plain(rows[n], after[n]["cuts"]) in known
        known.add(plain(rows[n], after[n]["cuts"]))
    assert found["later"]["duplicates"] == again > 0
    assert found["later"]["unjudged"] == len(stays) - again


def test_a_sweep_keeps_at_each_value_what_the_filter_keeps(path: Path, tmp_path: Path) -> None:
    workdir = Workdir(load_recipe(path).workdir)
    for key, values in (
        ("filter.web.gopher_quality.min_words", [0, 25, 50, 75, 300]),
        ("filter.blog.c4.min_line_words", [0, 3, 6]),
        ("filter.web.limits.characters.max", [200, 1400.5, None]),
    ):
        name = key.split(".")[1]
        given = ",".join("null" if value is None else str(value) for value in values)
        found = said(path, "--sweep", f"{key}={given}", "--set", "filter.web.language.min_score=0.2")["sweep"]
        assert [point["value"] for point in found["points"]] == values
        for point in found["points"]:
            rules = load_recipe(path, {key: point["value"], "filter.web.language.min_score": 0.2}).filter
            counts = [0, 0]
            for judged in Tried(workdir, rules).partitions():
                _, _, would = judged.sizes
                for domain, source, keep, size in zip(
                    judged.statistics["domain"].to_pylist(), judged.statistics["source"].to_pylist(), judged.kept[1], would, strict=True
                ):
                    if (source if source in rules else domain) == name and keep:
                        counts[0] += 1
                        counts[1] += int(size)
            assert [point["kept"]["documents"], point["kept"]["bytes"]] == counts
    out = tmp_path / "sweep"
    for ending in (".svg", ".html", ".json"):
        result = called("whatif", path, "--sweep", "filter.web.gopher_quality.min_words=0:100:20", "--out", out.with_suffix(ending))
        assert result.returncode == 0, result.stderr
        text = out.with_suffix(ending).read_text()
        assert "filter.web.gopher_quality.min_words" in text
        assert not re.search(r"(?:src|href)=.https?:|url\(.?https?:|@import", text), "it needs no network"
    assert "(40 in the recipe)" in result.stdout


@pytest.mark.parametrize(
    ("text", "values"),
    [("10:30:10", [10, 20, 30]), ("0:0.3:0.1", [0, 0.1, 0.2, 0.3]), ("1:2:3", [1]), ("3, 1,2.5", [3, 1, 2.5]), ("null,1", [None, 1])],
)
def test_values_of_a_sweep(text: str, values: list[float | None]) -> None:
    assert sweep_values("--sweep", text) == values


@pytest.mark.parametrize("text", ["", "a", "1:2", "1:2:0", "2:1:1", "1:2:-1", "1:inf:1", "nan", "0:100000:1", "1:2:3:4"])
def test_values_that_are_none_are_one_line(text: str) -> None:
    if text == "":
        assert sweep_values("--sweep", text) == [None]
        return
    with pytest.raises(UserError, match="--sweep"):
        sweep_values("--sweep", text)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "filter.web.gopher_quality.min_wrds=30"], "filter.web.gopher_quality.min_wrds: unknown key; did you mean `min_words`?"),
        (["--set", "filter.web.goper_quality.min_words=30"], "filter.web.goper_quality: unknown key; did you mean `gopher_quality`?"),
        (["--set", "filter.wbe.length.min_words=30"], "filter.wbe: no domain and no source is named wbe; did you mean `web`?"),
        (
            ["--set", "filtre.web.length.min_words=30"],
            "--set filtre.web.length.min_words: the recipe has no key `filtre`; did you mean `filter`?",
        ),
        (
            ["--set", "near.threshold=0.5"],
            "near.threshold: the filter does not read this key; what can be tried lies under filter.science, filter.web",
        ),
        (["--set", "filter.web.gopher_quality.min_words=many"], "min_words: Input should be a valid integer, not 'many'"),
        (["--set", "filter.web.gopher_quality.min_words=-1"], "min_words: Input should be greater than or equal to 0, not -1"),
        (["--set", "filter.web.gopher_quality.min_words"], "is no KEY=VALUE; write --set filter.web.gopher_quality.min_words=30"),
        (["--set", "filter.web.length=["], "--set filter.web.length:1: not YAML"),
        (["--set", "filter.web.limits.wrds.min=3"], "filter.web.limits: no statistic is named wrds; did you mean `words`?"),
        (["--set", "filter.web.c4={}"], "filter.web: its rules look at lines, which have not been measured"),
        (["--sweep", "filter.web.language=1,2"], "--sweep filter.web.language: is no limit"),
        (["--sweep", "filter.web.length.min_words=1:2"], "is neither BEGIN:END:STEP nor a list of numbers"),
        (["--sweep", "filter.web.gopher_quality.min_words=1,2.5"], "min_words: Input should be a valid integer"),
        (["--out", "x.svg"], "--out x.svg: a plot is written of a --sweep, as .svg, .html or .json"),
        (["--labels", "nosuch.jsonl"], "nosuch.jsonl: cannot be read (No such file or directory)"),
    ],
)
def test_what_cannot_be_tried_is_one_line(path: Path, arguments: list[str], told: str) -> None:
    result = called("whatif", path, *arguments)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert told in result.stderr


def test_a_workdir_that_was_not_filtered_is_one_line(path: Path, tmp_path: Path) -> None:
    result = called("whatif", path, "--workdir", tmp_path / "nothing")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "is missing or unfinished" in result.stderr
    assert not (tmp_path / "nothing").exists()


def test_agreement_with_labels_counts_documents_by_verdict_and_label(path: Path, tmp_path: Path) -> None:
    rows = table(Workdir(load_recipe(path).workdir))
    labels = []
    for number, row in enumerate(rows):
        if row["source"] == "news" and number % 3 == 0:
            labels.append({"id": row["id"], "keep": number % 2 == 0})
        elif row["source"] == "papers":
            labels.append({"url": row["url"], "keep": row["keep"]})
    labels += [{"id": "news:nosuch", "keep": True}, {"url": rows[-1]["url"], "keep": not rows[-1]["keep"]}]
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps(label) + "\n" for label in labels))
    arguments = ("--labels", str(file), "--set", "filter.web.gopher_quality.min_words=100")
    found = said(path, *arguments)
    assert found["labels"] == {"documents": len(labels) - 3, "missing": 1, "contradicted": 1}
    after = [
        row
        for judged in Tried(
            Workdir(load_recipe(path).workdir), load_recipe(path, {"filter.web.gopher_quality.min_words": 100}).filter
        ).partitions()
        for row in judged.after.to_pylist()
    ]
    place = {row["id"]: n for n, row in enumerate(rows)} | {row["url"]: n for n, row in enumerate(rows)}
    said_of = [(place[label.get("id", label.get("url"))], label["keep"]) for label in labels[:-2] if label.get("url") != rows[-1]["url"]]
    for side, verdicts in enumerate((rows, after)):
        counts = Counter((bool(verdicts[n]["keep"]), keep) for n, keep in said_of)
        given = found["agreement"][side]
        assert (given["kept_rightly"], given["kept_wrongly"]) == (counts[True, True], counts[True, False])
        assert (given["dropped_wrongly"], given["dropped_rightly"]) == (counts[False, True], counts[False, False])
        assert given["precision"] == pytest.approx(counts[True, True] / (counts[True, True] + counts[True, False]))
    wrong = {rows[n]["id"] for n, keep in said_of if keep and not after[n]["keep"]}
    shown = {each["document"] for each in found["samples"]["dropped_wrongly"]}
    assert shown <= wrong
    assert len(shown) == min(3, len(wrong))
    swept = said(path, "--labels", str(file), "--sweep", "filter.web.gopher_quality.min_words=40,100")["sweep"]
    of_web = [(n, keep) for n, keep in said_of if rows[n]["source"] == "news"]
    for point, verdicts in zip(swept["points"], (rows, after), strict=True):
        assert point["agreement"]["kept_rightly"] == sum(keep and bool(verdicts[n]["keep"]) for n, keep in of_web)
        assert sum(point["agreement"].values()) == len(of_web)
    shown_to_people = called("whatif", path, *arguments)
    for words in (
        "Agreement with",
        "Cohen's kappa, 95 %",
        "Labels keep, and these rules would drop",
        "of 1 labels no document is in the workdir",
    ):
        assert words in shown_to_people.stdout


def test_people_see_the_difference_and_samples(path: Path) -> None:
    result = called("whatif", path, "--set", "filter.web.gopher_quality.min_words=30", "--examples", "1")
    assert result.returncode == 0, result.stderr
    for words in (
        "filter.web.gopher_quality.min_words: 40 -> 30",
        "Dropped by rule",
        "Kept by source",
        "Kept by language",
        "Would newly stay",
        "gopher_words (",
        "The stages after the filter are not decided again.",
        "no later stage has judged",
    ):
        assert words in result.stdout
    again = called("whatif", path, "--set", "filter.web.gopher_quality.min_words=30", "--examples", "1")
    assert again.stdout == result.stdout, "the same documents are shown every time"
    nothing = called("whatif", path)
    assert "no document is kept or dropped that was not before" in nothing.stdout

"""Lists, classifiers and the stages around them: new lists and limits re-decide without text; contents count, not paths."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash

from pipeline.filters.limits import Bounds
from pipeline.filters.stage import Rules, filter_stage
from pipeline.filters.url import UrlRules
from pipeline.measure.classifiers import ClassifierConfig
from pipeline.measure.classifiers.training import train
from pipeline.measure.stage import measure_stage
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENT_SCHEMA
from pipeline.workdir.errors import UserError
from tests.conftest import run_task
from tests.pipeline.corpus import write_documents


def write_urls(workdir: Workdir, urls: list[str | None]) -> Manifest:
    rows = [{"id": f"test:{n}", "text": "text", "domain": "web", "source": "test", "url": url} for n, url in enumerate(urls)]
    raw = to_parquet(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA))
    workdir.write(raw, "documents", "test-00000-000.parquet")
    partition = Partition("test-00000-000.parquet", len(rows), raw.size, xxhash.xxh3_128_hexdigest(raw))
    manifest = Manifest("documents", "ingest", "test", (partition,))
    workdir.write(manifest.to_json(), "documents", "_manifest.json")
    return manifest


def test_a_new_list_of_urls_decides_again_without_text(workdir: Workdir, tmp_path: Path) -> None:
    documents = write_urls(workdir, ["http://a.bad.example/x", "https://good.example/", None, "https://other.example/casino"])
    statistics = run_task(workdir, measure_stage(documents))["statistics"]
    shutil.rmtree(workdir.path("documents"))
    (tmp_path / "domains.txt").write_text("bad.example\n")
    (tmp_path / "words.txt").write_text("casino\n")
    rules = {"web": Rules(url=UrlRules(domains=["domains.txt"], hard_words=["words.txt"]))}
    stage = filter_stage(rules, statistics, tmp_path)
    run_task(workdir, stage)
    (table,) = [table for _, table in workdir.tables("verdicts/filter")]
    assert table["rule"].to_pylist() == ["url_domain", None, None, "url_hard_word"]
    assert table["detail"].to_pylist()[0] == "bad.example"
    # the same lists elsewhere are the same, other contents are not
    shutil.copytree(tmp_path, tmp_path / "moved", ignore=shutil.ignore_patterns("workdir", "moved"))
    assert [t.key for t in filter_stage(rules, statistics, tmp_path / "moved").tasks] == [t.key for t in stage.tasks]
    (tmp_path / "domains.txt").write_text("good.example\n")
    again = filter_stage(rules, statistics, tmp_path)
    assert [t.key for t in again.tasks] != [t.key for t in stage.tasks]
    run_task(workdir, again)
    (table,) = [table for _, table in workdir.tables("verdicts/filter")]
    assert table["keep"].to_pylist() == [True, False, True, False]


def test_a_list_that_is_not_there_is_named(workdir: Workdir, tmp_path: Path) -> None:
    statistics = run_task(workdir, measure_stage(write_urls(workdir, ["http://a.example"])))["statistics"]
    with pytest.raises(UserError, match=r"nosuch\.txt"):
        filter_stage({"web": Rules(url=UrlRules(domains=["nosuch.txt"]))}, statistics, tmp_path)


def test_a_classifiers_score_is_a_statistic_like_any_other(workdir: Workdir, tmp_path: Path) -> None:
    good = [f"the theorem number {n} follows from the lemma by induction over sets" for n in range(60)]
    bad = [f"buy cheap watches number {n} now with free shipping and no fees" for n in range(60)]
    for name, texts in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    train(str(tmp_path / "good.jsonl"), str(tmp_path / "bad.jsonl"), tmp_path / "model", bits=14)
    texts = ["the lemma follows by induction", "cheap watches with free shipping", "cheap watches now"]
    documents = write_documents(workdir, texts, 1, domains=["web", "web", "code"])
    classifier = ClassifierConfig(name="maths", path=str(tmp_path / "model"), domains=["web"])
    statistics = run_task(workdir, measure_stage(documents, None, [classifier]))["statistics"]
    (table,) = [table for _, table in workdir.tables("statistics")]
    scores = table["classifier_maths"].to_pylist()
    assert scores[0] > 0.5 > scores[1]
    assert scores[2] is None
    rules = Rules(limits={"classifier_maths": Bounds(min=0.5)})
    run_task(workdir, filter_stage({"web": rules, "code": rules}, statistics))
    (table,) = [table for _, table in workdir.tables("verdicts/filter")]
    assert table["rule"].to_pylist() == [None, "limit_classifier_maths", None]
    with pytest.raises(UserError, match="no statistic is named classifier_math; there are: "):
        run_task(workdir, filter_stage({"web": Rules(limits={"classifier_math": Bounds(min=0.5)})}, statistics))

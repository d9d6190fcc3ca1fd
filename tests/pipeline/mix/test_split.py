"""The split: groups are held out whole, no text stands on two sides, and tests are never trained on."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.mix.config import MixConfig
from pipeline.mix.groups import KINDS
from pipeline.mix.split import make_split, split_stage
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.documents import DOCUMENT_SCHEMA, STATISTICS
from tests.conftest import here
from tests.pipeline.corpus import write_dataset

NONE = Manifest("documents", "ingest", "none", ())


def row(**facts: Any) -> dict[str, Any]:
    return {"url": None, "title": None, "path": None, **facts, "meta": json.dumps(facts["meta"]) if "meta" in facts else None}


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("repository", {"path": "SQLAlchemy-1.4.54/lib/a.py"}, {"path": "sqlalchemy-2.1.9/lib/b.py"}),
        ("repository", {"meta": {"repository": "psf/requests"}}, {"url": "https://github.com/psf/Requests/blob/main/x.py"}),
        ("repository", {"meta": {"max_stars_repo_name": "a/b"}}, {"meta": {"repo": "https://github.com/a/b.git"}}),
        ("repository", {"path": "torch-main/x.py"}, {"path": "torch-2.0.0rc1/y.py"}),
        ("path", {"path": "lxml-6.1.3/src/a.py"}, {"path": "lxml-5.0/src/a.py"}),
        ("path", {"path": "lxml-6.1.3/a.py", "meta": {"repository": "lxml-6.1.3"}}, {"path": "a.py", "meta": {"repository": "lxml"}}),
        ("host", {"url": "https://www.Example.org/a"}, {"url": "http://example.org:8080/b?c"}),
        ("paper", {"url": "https://arxiv.org/abs/2101.00001v2"}, {"meta": {"doi": "10.48550/arXiv.2101.00001"}}),
        ("paper", {"meta": {"arxiv": "2101.00001"}}, {"url": "http://arxiv.org/pdf/2101.00001"}),
        ("paper", {"meta": {"doi": "https://doi.org/10.1371/Journal.pone.1"}}, {"meta": {"doi": "10.1371/journal.pone.1", "pmid": "7"}}),
        ("paper", {"title": "On the Origin of Species"}, {"title": "On the origin of species."}),
    ],
)
def test_one_group_by_different_facts(kind: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert KINDS[kind](row(**one)) == KINDS[kind](row(**other)) is not None


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("repository", {"path": "python-3/a"}, {"path": "python-4/a"}),  # no version has one number alone: a part of the name
        ("path", {"path": "lxml-6.1.3/src/a.py"}, {"path": "mako-6.1.3/src/a.py"}),
        ("path", {"path": "lxml-6.1.3/src/a.py"}, {"path": "lxml-6.1.3/b.py"}),
        ("host", {"url": "https://a.example.org/a"}, {"url": "https://b.example.org/a"}),
        ("paper", {"meta": {"pmid": "1"}}, {"meta": {"pmid": "11"}}),
    ],
)
def test_different_groups(kind: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert KINDS[kind](row(**one)) != KINDS[kind](row(**other))


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_not_known_is_no_group(kind: str) -> None:
    assert KINDS[kind](row()) is None
    assert KINDS[kind]({"url": "http://[", "title": "Editorial", "path": "", "meta": "[1"}) is None


def sides(corpus: list[tuple[str, str, int]], config: MixConfig, pieces: int, seed: int) -> tuple[list[str | None], dict[str, Any]]:
    """The split of documents (domain, text, number of the repository), and its summary."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(folder)
        documents = [
            {"id": f"d:{number}", "text": text, "domain": domain, "source": domain, "path": f"package{repository}-1.{number}.0/{number}.py"}
            for number, (domain, text, repository) in enumerate(corpus)
        ]
        manifest = write_dataset(workdir, "documents", pa.Table.from_pylist(documents, schema=DOCUMENT_SCHEMA), pieces)
        names = pa.array([domain for domain, _, _ in corpus])
        measured = {"domain": names, "source": names, "bytes": pa.array([len(text) for _, text, _ in corpus], pa.int64())}
        statistics = write_dataset(workdir, STATISTICS, pa.table(measured), pieces)
        split = make_split(here(workdir), config, seed, manifest, statistics, [])
        return [value for _, table in workdir.tables("split") for value in table["split"].to_pylist()], split.summary


@settings(max_examples=4, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["web", "code"]), st.sampled_from([f"text {n}" for n in range(12)]), st.integers(0, 6)),
        min_size=1,
        max_size=60,
    ),
    st.floats(0.05, 0.5),
    st.floats(0.05, 0.4),
    st.integers(0, 100),
)
def test_neither_a_text_nor_a_group_stands_on_two_sides(
    corpus: list[tuple[str, str, int]], validation: float, test: float, seed: int
) -> None:
    """Whatever the recipe leaves out: here no deduplication has been done."""
    config = MixConfig(validation_share={"web": validation, "code": 0.2}, test_share=test, hold_out_by={"code": "repository"})
    found, summary = sides(corpus, config, 1, seed)
    of_text, of_group = defaultdict(set), defaultdict(set)
    for (domain, text, repository), side in zip(corpus, found, strict=True):
        if side is not None:
            of_text[text].add(side)
            if domain == "code":
                of_group[repository].add(side)
    assert all(len(names) == 1 for names in (*of_text.values(), *of_group.values()))
    left_out = sum(counts["documents"] for sources in summary.get("left_out", {}).values() for counts in sources.values())
    assert left_out == found.count(None), "what is in no split is counted"
    assert sides(corpus, config, 4, seed)[0] == found, "however the corpus is cut"


def test_shares_are_of_their_domains_and_tests_are_apart_from_validation() -> None:
    corpus = [("web" if number % 2 else "code", f"text {number}", number) for number in range(4000)]
    found, _ = sides(corpus, MixConfig(validation_share={"web": 0.1}, test_share=0.05), 1, 3)
    count = {(domain, side): 0 for domain in ("web", "code") for side in ("train", "validation", "test")}
    for (domain, _, _), side in zip(corpus, found, strict=True):
        count[domain, str(side)] += 1
    assert count["code", "validation"] == 0
    assert 150 < count["web", "validation"] < 250
    assert 65 < count["web", "test"] < 135
    assert 65 < count["code", "test"] < 135


def test_what_is_held_out_is_checked() -> None:
    with pytest.raises(ValueError, match="leave nothing to train on"):
        MixConfig(validation_share={"web": 0.6}, test_share=0.4)
    with pytest.raises(ValueError, match="is 1; a share is 0 or more, and less than 1"):
        MixConfig(test_share=1)
    with pytest.raises(ValueError, match="make_split"):
        split_stage(MixConfig(), 0, NONE, NONE, [])

"""How a search is judged, and BM25 against its formula worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from evaluation.retrieval import bm25, evaluate_bm25, judged, ranks
from evaluation.sets.items import MAKERS
from evaluation.sets.making import ITEMS, SCHEMA
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet

TEXTS = ["the cat sat on the mat", "the dog barked at the cat", "a bird sang all day long, a bird of the trees", "dogs and cats"]


def test_ranks_count_equal_scores_against_the_right_text() -> None:
    scores = np.array([[3.0, 1.0, 2.0], [5.0, 5.0, 0.0], [0.0, 0.0, 0.0]])
    assert ranks(scores).tolist() == [1, 2, 3]


@given(st.integers(1, 6), st.integers(0, 10_000))
def test_ranks_are_those_of_sorting(count: int, seed: int) -> None:
    scores = np.random.default_rng(seed).permutation(count * count).reshape(count, count).astype(float)
    for query, rank in enumerate(ranks(scores)):
        assert sorted(scores[query], reverse=True)[rank - 1] == scores[query, query]


def test_measures_of_one_right_text() -> None:
    items = [{"id": str(place), "document": "d", "group": "d"} for place in range(4)]
    rows = judged(items, np.array([1, 2, 10, 11]))
    assert rows["ndcg"].to_pylist() == pytest.approx([1, 1 / math.log2(3), 1 / math.log2(11), 0])
    assert rows["mrr"].to_pylist() == pytest.approx([1, 0.5, 0.1, 1 / 11])
    assert rows["r1"].to_pylist() == [1, 0, 0, 0]
    assert rows["r10"].to_pylist() == [1, 1, 1, 0]


def test_bm25_is_lucenes() -> None:
    """Robertson et al. 1994 with Lucene's inverse document frequency, ln(1 + (N - n + 0.5) / (n + 0.5))."""
    pytest.importorskip("bm25s")
    queries = ["The Cat", "bird songs", "nothing known"]
    split = [[word.strip(",").lower() for word in text.split()] for text in TEXTS]
    mean = sum(map(len, split)) / len(split)
    expected = np.zeros((3, 4))
    for query, text in np.ndindex(3, 4):
        for word in queries[query].lower().split():
            frequency, of = split[text].count(word), sum(word in words for words in split)
            weight = math.log(1 + (len(split) - of + 0.5) / (of + 0.5))
            expected[query, text] += weight * frequency / (frequency + 1.5 * (1 - 0.75 + 0.75 * len(split[text]) / mean))
    assert bm25(queries, TEXTS) == pytest.approx(expected, rel=1e-5)


def test_bm25_is_judged_on_the_test_items_once(tmp_path: Path) -> None:
    pytest.importorskip("bm25s")
    workdir = Workdir(str(tmp_path))
    partitions = []
    for name in MAKERS:
        rows = [
            {
                "set": name,
                "id": f"{place}",
                "document": "d",
                "group": f"g{place}",
                "query": query,
                "text": text,
                "label": None,
                "split": split,
            }
            for place, (query, text, split) in enumerate(
                [("the cat", TEXTS[0], "test"), ("birds all day", TEXTS[2], "test"), ("dog", TEXTS[1], "train")] if name == "title" else []
            )
        ]
        raw = to_parquet(pa.Table.from_pylist(rows, schema=SCHEMA))
        workdir.write(raw, ITEMS, f"{name}.parquet")
        partitions.append(Partition(f"{name}.parquet", len(rows), raw.size, xxhash.xxh3_128_hexdigest(raw)))
    workdir.write(Manifest(ITEMS, "items", "f", tuple(partitions)).to_json(), ITEMS, "_manifest.json")
    (result,) = evaluate_bm25(workdir, tmp_path / "out", 1)
    assert result.name == "title"
    assert result.rows["rank"].to_pylist() == [1, 1], "the text to tune on is no candidate"
    before = (tmp_path / "out" / "title.parquet").stat().st_mtime_ns
    assert [again.key for again in evaluate_bm25(workdir, tmp_path / "out", 1)] == [result.key]
    assert (tmp_path / "out" / "title.parquet").stat().st_mtime_ns == before

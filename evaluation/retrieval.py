"""How a search is judged, and BM25 as the contestant that has learnt nothing.

Of an item set with queries, each test item's query is put to the texts of all test items of the set, of which its own alone is right; texts
that are equal are one. A contestant gives a score for each query and text; how it comes to them is no concern of this module.

    rank     the place of the right text, 1 the best; texts of an equal score come before it, so that who cannot tell gains nothing
    nDCG@10  1 / log2(1 + rank), 0 beyond 10 (Järvelin and Kekäläinen 2002, with one right text); MRR: 1 / rank; R@1, R@10
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evaluation import results
from evaluation.results import Metric, Result
from evaluation.sets.items import words
from evaluation.sets.making import ITEMS, items_of
from kernel.random import derive
from pipeline.workdir.dataset import Workdir, fingerprint
from pipeline.workdir.errors import UserError

VERSION = 2
AT = 10
SEARCHED = ("code", "code-unnamed", "title", "section", "abstract")  # the sets of queries and texts
METRICS = (
    Metric("nDCG@10", "ndcg", less_is_better=False),
    Metric("MRR", "mrr", less_is_better=False),
    Metric("R@1", "r1", less_is_better=False),
    Metric("R@10", "r10", less_is_better=False),
)
Scores = npt.NDArray[np.float64]


def comparable(checksum: str) -> dict[str, Any]:
    """The settings of a result that all contestants of a set share. `checksum`: of the set's items."""
    return {"version": VERSION, "items": checksum, "candidates": "all test items"}


def ranks(scores: Scores, right: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
    """The rank of the right text for each query: int64 (queries,).

    `scores`: float64 (queries, texts); `right`: int64 (queries,), the right text of each; None: text `q` is that of query `q`.
    """
    places = np.arange(len(scores))
    own = scores[places, places if right is None else right][:, None]
    found: npt.NDArray[np.int64] = (scores >= own).sum(axis=1)
    return found


def judged(items: Sequence[dict[str, Any]], found: npt.NDArray[np.int64]) -> pa.Table:
    """The result rows of items whose right texts have these ranks."""
    values = {
        "rank": found.astype(np.float64),
        "ndcg": np.where(found <= AT, 1 / np.log2(1 + found), 0.0),
        "mrr": 1 / found,
        "r1": (found == 1).astype(np.float64),
        "r10": (found <= AT).astype(np.float64),
        "weight": np.ones(len(found)),
    }
    told = {name: [item[column] for item in items] for name, column in (("item", "id"), ("document", "document"), ("group", "group"))}
    return pa.table({**told, "main": [True] * len(items), **values})


def bm25(queries: Sequence[str], texts: Sequence[str]) -> Scores:
    """BM25's scores: float64 (queries, texts). Lucene's variant with k1 1.5 and b 0.75, the defaults of bm25s, over words in small letters.

    Raises `UserError` where the package is not installed.
    """
    if find_spec("bm25s") is None:
        raise UserError("BM25: the package bm25s is not installed; run `pip install encoder-foundry[evaluate]`")
    from bm25s import BM25

    retriever = BM25(k1=1.5, b=0.75, method="lucene")
    retriever.index([words(text) for text in texts], show_progress=False)
    found = np.zeros((len(queries), len(texts)))
    for place, query in enumerate(queries):
        known = [word for word in words(query) if word in retriever.vocab_dict]
        if known:
            found[place] = retriever.get_scores(known)
    return found


def evaluate_bm25(workdir: Workdir, folder: Path, seed: int) -> Iterator[Result]:
    """BM25's results on all sets of queries and texts that have test items, made where they are not in `folder` yet."""
    made = workdir.require(ITEMS)
    for name in SEARCHED:
        partition = made.by_name[f"{name}.parquet"]
        settings = comparable(partition.checksum)
        key = fingerprint(settings, "bm25", 1.5, 0.75)
        known = results.read(folder, name)
        if known is not None and known.key == key:
            yield known
            continue
        items = items_of(workdir, name, "test").to_pylist()
        if not items:
            continue
        texts = {text: place for place, text in enumerate(dict.fromkeys(item["text"] for item in items))}
        found_scores = bm25([item["query"] for item in items], list(texts))
        rows = judged(items, ranks(found_scores, np.array([texts[item["text"]] for item in items])))
        scores = results.scores_of(rows, METRICS, (), derive(seed, name))
        found = Result(name, key, settings, {}, METRICS, rows, scores, {"candidates": float(len(texts))}, True)
        results.write(folder, found)
        yield found

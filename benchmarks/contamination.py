"""Contamination: text searched for a million n-grams of evaluation sets, beside datatrove's filter.

    python -m benchmarks.contamination [--quick] [--texts FILE.jsonl[.zst]]

Documents are real ones, of the file given (default: the demo corpus), with evaluation items planted in every fiftieth. The
items are runs of the same corpus's words in a random order, so that their 13-grams look like text and occur only where planted.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.dedup import PATCH, cut, median_seconds
from benchmarks.planted import Base, read_texts
from benchmarks.results_file import Peer, Row, show, versions, write
from pipeline.contamination.ngrams import NgramSet, find_ngrams, ngram_hashes

NGRAM = 13
ITEM_WORDS = 62  # 50 13-grams each


def make_items(base: Base, ngrams: int, seed: int) -> list[str]:
    """Evaluation items with so many n-grams in all, more or less."""
    generator = np.random.default_rng(seed)
    # a "word" between spaces may be a whole sentence, in scripts that have none: a 13-gram of its own that other texts have
    short = np.array([len(word) <= 20 for word in base.words])
    running = np.concatenate(base.documents)
    running = running[short[running]]
    items = []
    for _ in range(ngrams // (ITEM_WORDS - NGRAM + 1)):
        words = running[generator.integers(0, len(running), ITEM_WORDS)]
        items.append(b" ".join(base.words[word] for word in words).decode())
    return items


def plant(texts: list[str], items: list[str]) -> tuple[list[str], set[int]]:
    """The texts, every fiftieth with an item in its middle; and which."""
    planted = list(texts)
    places = set(range(0, len(texts), 50))
    for number, place in enumerate(sorted(places)):
        words = planted[place].split(" ")
        middle = len(words) // 2
        planted[place] = " ".join([*words[:middle], items[number % len(items)], *words[middle:]])
    return planted, places


def _datatrove(texts: Sequence[str], items: Sequence[str]) -> Callable[[], Any]:
    """Its filter with its own 13-grams of the same items, as its indexer would have saved them."""
    exec(PATCH, {})
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
    from datatrove.utils.text import ngrams, simplify_text
    from loguru import logger

    logger.remove()
    config = NGramsDecontConfig(n_grams=NGRAM)
    step = NGramsDecontFilter(tempfile.mkdtemp(), config=config)
    step._index_hashes = {}
    for item in items:  # what its indexer does, which only takes sets that lighteval downloads
        words = step.tokenizer.word_tokenize(simplify_text(item, config.norm_config))
        step._index_hashes.update(dict.fromkeys(map(step.hash_func, map(" ".join, ngrams(words, NGRAM))), "items"))
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    return lambda: [step.filter(document) for document in documents]


def main() -> None:
    """Run all, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer documents and runs; nothing is written")
    parser.add_argument("--texts", type=Path, help="JSON Lines with `text` (.zst or not); default: the demo corpus")
    options = parser.parse_args()
    times = 3 if options.quick else 5
    texts = cut(read_texts(options.texts), 8_000_000 if options.quick else 48_000_000)
    items = make_items(Base.of(texts), 1_000_000, 1)
    texts, planted = plant(texts, items)
    hashes = np.unique(np.concatenate([ngram_hashes(item, NGRAM) for item in items]))
    ngrams = NgramSet.of(hashes, np.array([NGRAM]))
    column = pa.array(texts)
    size = pc.sum(pc.binary_length(column)).as_py() / 1e6
    found = set(find_ngrams(column, ngrams).document.tolist())
    speed = size / median_seconds(lambda: find_ngrams(column, ngrams), times)
    rows = [
        Row(f"{size:.0f} MB against {len(hashes):,} 13-grams", "MB/s a core", speed, goal=50),
        Row("documents with a planted item that are found", "%", 100 * len(found & planted) / len(planted), goal=100),
        Row("documents without one that are found", "", float(len(found - planted)), goal=0, at_most=True),
    ]
    some = cut(texts, 200_000 if options.quick else 1_000_000)
    part, size = pa.array(some), sum(len(text.encode()) for text in some) / 1e6
    ours = size / median_seconds(lambda: find_ngrams(part, ngrams), 2 * times)
    theirs = size / median_seconds(_datatrove(some, items), times)
    peer = Peer("datatrove", versions("datatrove")["datatrove"], theirs)
    rows.append(Row(f"{size:.1f} MB against the same, against datatrove", "MB/s a core", ours, peer))
    show(rows)
    if not options.quick:
        print(write("contamination", rows, ("datatrove", "numba", "pyarrow")))


if __name__ == "__main__":
    main()

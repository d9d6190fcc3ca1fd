"""Train the scorer of pages (`pipeline/readers/data/page-scorer.json`), and say how good it is on pages that it was not trained on.

    python -m benchmarks.extraction_training --articles FILE.tar.zst --segments FILE.tar.zst [--documentation FILE.tar.gz ...] [--write]

A block's label is what the truth says of it: that the article or the documentation has it, that a wanted or an unwanted segment is in
it. Of the other blocks of pages with segments, which are most, the label is what other extractors make of them (trafilatura in three
settings, readability, resiliparse), and weighs little. Pages are in five parts by their sites. For the figures each part is read by a
scorer of the four others; what is written is trained on all. What words weigh is always taken from the other four parts, so that no
page is trained on with weights that its own label made.

LightGBM runs on one thread with fixed seeds, so that the same pages and versions give the same file.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import trafilatura
from lxml import html
from readability import Document
from resiliparse.extract.html2text import extract_plain_text

from benchmarks.extraction_pages import Article, Segmented, article_quality, articles, documentation, fold, segment_quality, segmented
from pipeline.readers import page_blocks as b
from pipeline.readers import page_columns as c
from pipeline.readers.html import title_of
from pipeline.readers.main_content import main_content
from pipeline.readers.page_features import COLUMNS, Features, covers
from pipeline.readers.page_scorer import Scorer
from pipeline.readers.page_tags import WordTable

FOLDS = 5
TARGET = Path(__file__).parents[1] / "pipeline" / "readers" / "data" / "page-scorer.json"
LIMIT = 0.42  # the chance from which a block is kept: where the recall of segments is about 0.95
NAMES, CUES = 400, 400  # words that are weighed, at most
# How much a label weighs: of a segment; of an article's block; of documentation's; what other extractors say.
_SEGMENT, _ARTICLE, _DOCUMENTATION, _GUESS = 5.0, 2.0, 0.5, 0.3
_GUESSED = 0.3  # share of the blocks without a label of their own that are trained on
_TREES = {
    "objective": "binary", "learning_rate": 0.09, "num_leaves": 8, "feature_fraction": 0.3, "bagging_fraction": 0.7, "bagging_freq": 1,
    "lambda_l2": 5, "min_data_in_leaf": 30, "max_bin": 63, "verbose": -1, "num_threads": 1, "seed": 0, "deterministic": True,
    "force_col_wise": True,
}  # fmt: skip
_ROUNDS = 140
_ATTRIBUTE = re.compile(rb"""\b(?:class|id|role|itemprop)\s*=\s*(?:"([^"]{0,400})|'([^']{0,400})|([^\s>"']{1,400}))""", re.IGNORECASE)
_NAME = re.compile(r"[A-Z]*[a-z]+|[A-Z]+")
_EMPTY = WordTable({})


def words(text: str) -> list[str]:
    """The words of a text, in small letters."""
    return re.findall(r"\w+", text.lower())


class Whole:
    """A text in which blocks are looked for."""

    def __init__(self, text: str) -> None:
        found = words(text)
        self._grams = {tuple(found[at : at + 4]) for at in range(max(1, len(found) - 3))}
        self._flat = f" {' '.join(found)} "
        self._lines = {" ".join(words(line)) for line in text.splitlines()}

    def has(self, block: list[str]) -> tuple[float, bool]:
        """How much of a block it has, and whether that is sure: of one of fewer than four words only where it is a line."""
        if len(block) >= 4:
            grams = [tuple(block[at : at + 4]) for at in range(len(block) - 3)]
            return float(sum(gram in self._grams for gram in grams) > len(grams) / 2), True
        flat = " ".join(block)
        if flat in self._lines:
            return 1.0, True
        return (1.0, False) if f" {flat} " in self._flat else (0.0, True)


@dataclass
class Labelled:
    """A page's blocks with their labels (0 to 1) and weights, and the words that name the elements around them."""

    page: Article | Segmented
    kind: str
    part: int
    markup: bytes
    title: bytes
    blocks: list[list[str]]
    labels: Any
    weights: Any
    names: list[frozenset[str]]
    features: Any = field(default=None)


def _texts(markup: bytes, found: b.Blocks) -> list[list[str]]:
    texts = []
    for row in found.blocks:
        parts = [markup[begin:end].decode("utf-8", "replace") for begin, end, _ in found.runs[row[c.RUN] : row[c.RUN_END]].tolist()]
        texts.append(words(unescape("".join(parts))))
    return texts


def _names(markup: bytes, found: b.Blocks) -> list[frozenset[str]]:
    """The words of the names of all elements around each block, but for those that are nearly the whole page."""
    whole = covers(found.elements, Features(found).before)
    chains: list[frozenset[str]] = [frozenset()]
    for number in range(1, len(found.elements)):
        element = found.elements[number]
        chain = chains[element[c.PARENT]]
        if not whole[number]:
            at = int(element[c.AT])
            tag = _ATTRIBUTE.finditer(markup, at, markup.find(b">", at, at + 3000))
            values = (match[1] or match[2] or match[3] or b"" for match in tag)
            chain |= {word.lower() for value in values for word in _NAME.findall(value.decode("utf-8", "replace"))}
        chains.append(chain)
    return [chains[element] for element in found.blocks[:, c.ELEMENT]]


def guesses(markup: str) -> list[tuple[float, Whole]]:
    """What other extractors find, each with the weight of its word."""
    found = []
    ways = (
        (0.3, lambda: trafilatura.extract(markup, favor_precision=True, include_comments=False)),
        (0.3, lambda: trafilatura.extract(markup, include_comments=False)),
        (0.15, lambda: trafilatura.extract(markup, favor_recall=True, include_comments=False)),
        (0.1, lambda: extract_plain_text(markup, main_content=True, preserve_formatting=True)),
        (0.15, lambda: html.fromstring(Document(markup).summary()).text_content()),
    )
    for weight, way in ways:
        text = None
        with suppress(Exception):  # what one cannot read is not what it finds
            text = way()
        found.append((weight, Whole(text or "")))
    return found


def _of_segments(page: Segmented, blocks: list[list[str]], guessed: Any) -> Any:
    """1 where a block has, or is in, a wanted segment, 0 for an unwanted one, else -1. Of several blocks that have a wanted segment whole,
    those count that other extractors keep.
    """
    labels = np.full(len(blocks), -1.0)
    flat = [f" {' '.join(block)} " for block in blocks]

    def matches(segment: str) -> list[int]:
        wanted = f" {' '.join(words(segment))} "
        return [n for n, text in enumerate(flat) if wanted.strip() and (wanted in text or (len(blocks[n]) >= 3 and text in wanted))]

    for segment in page.unwanted:
        labels[matches(segment)] = 0.0
    for segment in page.wanted:
        found = [number for number in matches(segment) if labels[number] != 0.0]
        wanted = f" {' '.join(words(segment))} "
        whole = [number for number in found if wanted in flat[number]]
        if len(found) > 1 and whole:
            best = max(guessed[number] for number in whole)
            found = [number for number in whole if guessed[number] >= best - 0.05] if best > 0.2 else whole[:1]
        labels[found] = 1.0
    return labels


def label(page: Article | Segmented, kind: str, weight: float, keep: Any) -> Labelled:
    """A page with its labels. `kind`: articles, segments, or a project; `weight`: of its blocks; `keep`: a generator that chooses among
    blocks without a label of their own.
    """
    markup = page.markup.encode("utf-8", "replace")
    title = title_of(markup)
    found = b.scan(np.frombuffer(markup, np.uint8), _EMPTY, _EMPTY, title.encode())
    blocks = _texts(markup, found)
    size = np.clip(np.sqrt(found.blocks[:, c.LENGTH] / 100), 0.3, 2)
    if isinstance(page, Article):
        body = Whole(page.body)
        judged = [body.has(block) if block else (0.0, False) for block in blocks]
        labels = np.array([value for value, _ in judged])
        weights = size * weight * np.array([1.0 if sure else 0.1 for _, sure in judged])
        if weight < 1 and len(blocks) > 100:  # a page of documentation may have thousands
            weights *= (keep.random(len(blocks)) < 100 / len(blocks)) * min(150 / 100, len(blocks) / 100)
    else:
        wholes = guesses(page.markup)
        guessed = np.array([sum(w * whole.has(block)[0] for w, whole in wholes) if block else 0.0 for block in blocks])
        labels = _of_segments(page, blocks, guessed)
        known = labels >= 0
        chosen = keep.random(len(blocks)) < _GUESSED
        weights = np.where(known, weight, _GUESS * size * np.abs(2 * guessed - 1) * chosen / _GUESSED)
        labels = np.where(known, labels, guessed)
    return Labelled(page, kind, fold(page.url, FOLDS), markup, title.encode(), blocks, labels, weights, _names(markup, found))


def weigh(pages: Iterable[list[tuple[Iterable[str], float, float]]], least: int, count: int) -> dict[str, float]:
    """What words say: the logarithm of their odds in content, over that of all words. Each page has one voice a word.

    `pages`: for each block its words, label and weight. `least`: pages that a word must be on; `count`: words that are kept.
    """
    good: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for page in pages:
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for names, value, weight in page:
            for word in names:
                sums[word][0] += weight * value
                sums[word][1] += weight
        for word, (value, weight) in sums.items():
            if weight > 0:
                good[word] += value / weight * min(1, weight)  # type: ignore[assignment]
                bad[word] += (1 - value / weight) * min(1, weight)  # type: ignore[assignment]
                seen[word] += 1
    share = sum(good.values()) / (sum(good.values()) + sum(bad.values()))
    odds = {
        word: math.log((good[word] + 3 * share) / (bad[word] + 3 * (1 - share))) - math.log(share / (1 - share))
        for word, pages_ in seen.items()
        if pages_ >= least and 1 < len(word) <= 20
    }
    best = sorted(odds, key=lambda word: (-abs(odds[word]) * math.sqrt(min(seen[word], 40)), word))[:count]
    return {word: round(odds[word], 2) for word in sorted(best)}


def weights_of(pages: list[Labelled]) -> tuple[dict[str, float], dict[str, float]]:
    """What words of names and of short texts weigh on these pages."""
    names = weigh((list(zip(page.names, page.labels, page.weights, strict=True)) for page in pages), 4, NAMES)
    short: list[list[tuple[Iterable[str], float, float]]] = []
    for page in pages:
        rows = zip(page.blocks, page.labels, page.weights, strict=True)
        short.append([({word for word in block if word.isalpha()}, y, weight) for block, y, weight in rows if len(block) <= 40])
    return names, weigh(short, 6, CUES)


def fit(pages: list[Labelled], names: dict[str, float], cues: dict[str, float]) -> dict[str, Any]:
    """A scorer for these pages, as its file has it."""
    chosen = [page.weights > 0 for page in pages]
    features = np.concatenate([page.features[some] for page, some in zip(pages, chosen, strict=True)])
    labels = np.concatenate([page.labels[some] > 0.5 for page, some in zip(pages, chosen, strict=True)])
    weights = np.concatenate([page.weights[some] for page, some in zip(pages, chosen, strict=True)])
    booster = lightgbm.train(_TREES, lightgbm.Dataset(features, labels, weight=weights), _ROUNDS)
    trees: dict[str, list[Any]] = {name: [] for name in ("roots", "column", "limit", "left", "right", "value")}

    def add(node: dict[str, Any]) -> int:
        number = len(trees["column"])
        leaf = "leaf_value" in node
        trees["column"].append(-1 if leaf else node["split_feature"])
        trees["limit"].append(0 if leaf else float(f"{node['threshold']:.6g}"))
        trees["value"].append(round(node["leaf_value"], 4) if leaf else 0)
        trees["left"].append(-1)
        trees["right"].append(-1)
        if not leaf:
            trees["left"][number], trees["right"][number] = add(node["left_child"]), add(node["right_child"])
        return number

    for tree in booster.dump_model()["tree_info"]:
        trees["roots"].append(add(tree["tree_structure"]))
    return {"limit": LIMIT, "names": names, "cues": cues, "trees": trees}


def train(pages: list[Labelled]) -> tuple[dict[str, Any], list[str]]:
    """The scorer of all pages, and each page's text by a scorer of the other parts."""
    for part in range(FOLDS):
        names, cues = map(WordTable, weights_of([page for page in pages if page.part != part]))
        for page in pages:
            if page.part == part:
                page.features = Features(b.scan(np.frombuffer(page.markup, np.uint8), names, cues, page.title)).matrix[:, :COLUMNS]
    texts = [""] * len(pages)
    for part in range(FOLDS):
        others = [page for page in pages if page.part != part]
        scorer = Scorer(fit(others, *weights_of(others)))
        for number, page in enumerate(pages):
            if page.part == part:
                texts[number] = main_content(page.markup, page.title, scorer).text
        print(f"part {part + 1} of {FOLDS}", flush=True)
    return fit(pages, *weights_of(pages)), texts


def main() -> None:
    """Train, print the figures of pages not trained on, and write the scorer where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=Path, required=True)
    parser.add_argument("--segments", type=Path, required=True)
    parser.add_argument("--documentation", type=Path, nargs="*", default=[])
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.name}")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    keep = np.random.default_rng(0)
    pages = [label(page, "articles", _ARTICLE, keep) for page in articles(options.articles)]
    pages += [label(page, "segments", _SEGMENT, keep) for page in segmented(options.segments)]
    pages += [label(page, page.url.split("/")[0], _DOCUMENTATION, keep) for path in options.documentation for page in documentation(path)]
    pages = [page for page in pages if page.blocks]
    print(f"{len(pages)} pages, {sum(int((page.weights > 0).sum()) for page in pages):,} blocks", flush=True)
    stored, texts = train(pages)
    if options.write:
        TARGET.write_text(json.dumps(stored, separators=(",", ":")) + "\n", encoding="utf-8")
    found = list(zip(pages, texts, strict=True))
    kinds: dict[str, list[tuple[Any, str]]] = defaultdict(list)
    for page, text in found:
        name = page.kind
        kinds[name].append((page.page, text))
    for name, some in kinds.items():
        judge = segment_quality if name == "segments" else article_quality
        quality = judge([page for page, _ in some], [text for _, text in some])
        empty = sum(len(text) < 50 for _, text in some)
        figures = f"precision {quality.precision:.3f}, recall {quality.recall:.3f}, F1 {quality.f1:.4f}"
        print(f"{name}: {len(some)} pages, {figures}, {empty} empty")


if __name__ == "__main__":
    main()

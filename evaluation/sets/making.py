"""Items as a dataset of the workdir: made from held-out documents, those that stand in training left out, counted and told.

Three stages. *Make*: a task makes the items of one partition: `test` ones of held-out documents, `train` and `validation` ones (to tune
on) of training documents, of keyed samples of both where there are many. *Leaks*: a task looks through the training documents of one
partition for the queries and the texts of the test items. *Items*: one task leaves out what leaks, and keeps at most `MOST_TEST` test items
a set, those of the lowest keyed numbers.

An item leaks where its query of `QUERY_WORDS` words and more stands in a training document, word for word; where a training document has
an item of the same query, however short; or where its text has a Jaccard similarity of `NEAR` and more, of 5-grams of words (of the
first `COMPARED_WORDS`), with a training document or with an item that would be made of one. Of 51 docstrings of the demo's held-out files
46 stood in training: versions and forks.

The dataset `evaluation/items` has a file a set, Parquet:

    set, id        string   `id` is the document's with the item's number in it
    document       string
    group          string   what the bootstrap draws: the document
    query, text    string   of a set with labels, `query` is empty
    label          string   null where the set has none
    split          string   train, validation or test
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evaluation.sets.items import MAKERS, words
from kernel.random import uniform
from pipeline.mix.split import SPLIT, TRAIN
from pipeline.mix.tokens import cut_texts
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, fingerprint, to_parquet
from pipeline.workdir.documents import DOCUMENTS
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage, Task

VERSION = 1
MADE, LEAKS, ITEMS = "evaluation/made", "evaluation/leaks", "evaluation/items"
MOST_TEST = 1000  # items of a set
CANDIDATES = 2 * MOST_TEST  # test items of a set that are looked for in training, which bounds the memory of that
COMPARED_WORDS = 2000  # the first ones of two texts, by which they are alike or not
MOST_DOCUMENTS = 20_000  # of the training split, and of the held-out one, that items are made of
TUNING_CHARACTERS = 4000  # of the text of an item to tune on: about 1,000 tokens
VALIDATION_SHARE = 0.1  # of the documents that items to tune on are of
QUERY_WORDS, GRAM, NEAR = 3, 5, 0.6
SCHEMA = pa.schema([(name, pa.string()) for name in ("set", "id", "document", "group", "query", "text", "label", "split")])
COLUMNS = ["id", "text", "domain", "source", "title", "language", "path"]
Item = dict[str, Any]


# --- make ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Making:
    seed: int
    held_out: str  # the split that test items are made of
    shares: dict[str, float]  # of the documents of each split


def _documents(workdir: Workdir, piece: Piece[Any], wanted: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The documents of a partition in some splits, each with its split; their texts are without what was cut."""
    split = workdir.read_table(SPLIT, piece.beside[SPLIT], ["split", "cuts"])
    rows = [row for row, kind in enumerate(split["split"].to_pylist()) if kind in wanted]
    if not rows:
        return
    table = workdir.read_table(DOCUMENTS, piece.partition, [name for name in COLUMNS if name != "text"]).take(pa.array(rows))
    texts = cut_texts(workdir, piece.partition, split["cuts"], pa.array(rows).to_numpy())
    kinds = split["split"].take(pa.array(rows))
    for kind, text, document in zip(kinds, texts, table.to_pylist(), strict=True):
        yield kind.as_py(), {**document, "text": text.as_py()}


def _items(document: dict[str, Any], split: str) -> Iterator[Item]:
    for name, maker in MAKERS.items():
        for number, pair in enumerate(maker(document)):
            told = {"set": name, "id": f"{document['id']}#{number}", "document": document["id"], "group": document["id"]}
            text = pair.text if split == "test" else pair.text[:TUNING_CHARACTERS]
            yield {**told, "query": pair.query, "text": text, "label": pair.label, "split": split}


def make_items(workdir: Workdir, piece: Piece[_Making]) -> Generator[File, None, Summary]:
    """One task: the items of one partition's documents."""
    settings, items, counts = piece.settings, [], Counter[str]()
    for kind, document in _documents(workdir, piece, (TRAIN, settings.held_out)):
        drawn, place = (float(uniform(settings.seed, purpose, [document["id"]])[0]) for purpose in ("items", "tuning split"))
        if drawn < settings.shares[kind]:
            items += list(_items(document, "test" if kind != TRAIN else "validation" if place < VALIDATION_SHARE else "train"))
    counts.update(f"{item['set']} {item['split']}" for item in items)
    yield File(MADE, piece.name, to_parquet(pa.Table.from_pylist(items, schema=SCHEMA)), len(items))
    return {"made": dict(sorted(counts.items()))}


# --- leaks -----------------------------------------------------------------------------------------------------------


def _grams(of: Sequence[str]) -> set[int]:
    """The 5-grams of the first words, as this process's hashes of them; of fewer words, all of them as one."""
    first = of[:COMPARED_WORDS]
    if len(first) < GRAM:
        return {hash(tuple(first))} if first else set()
    return set(map(hash, zip(*(first[place:] for place in range(GRAM)), strict=False)))


class _Finder:
    """Test items, to be looked for in training documents."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._queries: dict[tuple[str, ...], list[tuple[int, list[str]]]] = {}  # by their first words
        self._firsts: set[str] = set()
        self._whole: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        self._with: dict[int, list[int]] = {}
        self._sizes: list[int] = []
        for number, item in enumerate(items):
            query = words(item["query"])
            if query:
                self._whole.setdefault((item["set"], tuple(query)), []).append(number)
            if len(query) >= QUERY_WORDS:
                self._queries.setdefault(tuple(query[:QUERY_WORDS]), []).append((number, query))
                self._firsts.add(query[0])
            grams = _grams(words(item["text"]))
            self._sizes.append(len(grams))
            for gram in grams:
                self._with.setdefault(gram, []).append(number)

    def leaks(self, document: dict[str, Any]) -> dict[int, str]:
        """The items that a training document gives away, and how: `query` or `text`."""
        found = dict.fromkeys(self._standing(words(document["text"])), "query")
        texts = [document["text"]]
        for name, maker in MAKERS.items():
            for pair in maker(document):
                found.update(dict.fromkeys(self._whole.get((name, tuple(words(pair.query))), ()), "query"))
                texts.append(pair.text)
        for text in texts:
            found.update((number, "text") for number in self._near(_grams(words(text))) if number not in found)
        return found

    def _standing(self, of: list[str]) -> Iterator[int]:
        for place, word in enumerate(of):
            if word not in self._firsts:
                continue
            for number, query in self._queries.get(tuple(of[place : place + QUERY_WORDS]), ()):
                if of[place : place + len(query)] == query:
                    yield number

    def _near(self, grams: set[int]) -> Iterator[int]:
        shared = Counter(number for gram in grams for number in self._with.get(gram, ()))
        for number, count in shared.items():
            if count >= NEAR * (len(grams) + self._sizes[number] - count):
                yield number


def _by_key(items: list[Item], seed: int) -> list[Item]:
    """Items in the order in which they are taken: test items first, those of the lowest keyed numbers first."""
    keys = uniform(seed, "item", (f"{item['set']} {item['id']}" for item in items))
    order = sorted(range(len(items)), key=lambda place: (items[place]["split"] != "test", keys[place], items[place]["id"]))
    return [items[place] for place in order]


@lru_cache(maxsize=1)
def _finder(workdir: Workdir, content: str, seed: int) -> tuple[_Finder, list[Item]]:
    """The first candidates of each set, and what finds them, made once in a worker; `content` tells datasets apart."""
    found: dict[str, list[Item]] = {name: [] for name in MAKERS}
    for _, table in workdir.tables(MADE):
        for item in table.filter(pc.equal(table["split"], "test")).to_pylist():
            found[item["set"]].append(item)
    items = [item for of_set in found.values() for item in _by_key(of_set, seed)[:CANDIDATES]]
    return _Finder(items), items


def find_leaks(workdir: Workdir, piece: Piece[tuple[str, int]]) -> Generator[File, None, Summary]:
    """One task: the test items that a partition's training documents give away: set, id, why, and by which document."""
    (finder, items), rows = _finder(workdir, *piece.settings), []
    if items:
        for _, document in _documents(workdir, piece, (TRAIN,)):
            for number, why in sorted(finder.leaks(document).items()):
                rows.append({"set": items[number]["set"], "id": items[number]["id"], "why": why, "by": document["id"]})
    schema = pa.schema([(name, pa.string()) for name in ("set", "id", "why", "by")])
    yield File(LEAKS, piece.name, to_parquet(pa.Table.from_pylist(rows, schema=schema)), len(rows))
    return {"found": len(rows)}


# --- items -----------------------------------------------------------------------------------------------------------


def choose_items(workdir: Workdir, seed: int) -> Generator[File, None, Summary]:
    """One task: a file a set, without what leaks, without repeated queries, in the order of keyed numbers."""
    leaked: dict[tuple[str, str], str] = {}
    for _, table in workdir.tables(LEAKS):
        for row in table.to_pylist():
            leaked.setdefault((row["set"], row["id"]), row["why"])
    made: dict[str, list[Item]] = {name: [] for name in MAKERS}
    for _, table in workdir.tables(MADE):
        for item in table.to_pylist():
            made[item["set"]].append(item)
    summary: Summary = {"sets": {}}
    for name, items in made.items():
        kept, seen, counts = [], set(), Counter[str]()
        for item in _by_key(items, seed):
            test = item["split"] == "test"
            counts["test items made"] += test
            query = (tuple(words(item["query"])), None if item["query"] else item["id"])
            if (name, item["id"]) in leaked:
                counts[f"left out, since the {leaked[name, item['id']]} stands in training"] += 1
            elif query in seen:
                counts["left out, since the query came before"] += 1
            elif test and (counts["test"] >= MOST_TEST or counts["test items made"] > CANDIDATES):
                counts[f"left out, over {MOST_TEST:,}"] += 1
            else:
                seen.add(query)
                kept.append(item)
                counts[item["split"]] += 1
        yield File(ITEMS, f"{name}.parquet", to_parquet(pa.Table.from_pylist(kept, schema=SCHEMA)), len(kept))
        summary["sets"][name] = dict(sorted(counts.items()))
    return summary


def items_of(workdir: Workdir, name: str, *splits: str) -> pa.Table:
    """The items of a set in some splits, in `SCHEMA`: what a model is tuned on, chosen by and judged on.

    Raises `UserError` where they have not been made.
    """
    partition = workdir.require(ITEMS).by_name[f"{name}.parquet"]
    table = workdir.read_table(ITEMS, partition)
    return table.filter(pc.is_in(table["split"], pa.array(splits, pa.string())))


def make(engine: Engine, seed: int, held_out: str, documents: Manifest, split: Manifest, tokens: Manifest) -> Manifest:
    """The dataset `evaluation/items`, made where it is not up to date. `held_out`: the split that test items are made of."""
    counts = [kinds for sources in tokens.summary.get("sources", {}).values() for kinds in sources.values()]
    there = {kind: sum(kinds.get(kind, {}).get("documents", 0) for kinds in counts) for kind in (TRAIN, held_out)}
    settings = _Making(seed, held_out, {kind: min(1.0, MOST_DOCUMENTS / max(1, count)) for kind, count in there.items()})
    making = per_partition("items: make", (MADE,), make_items, documents, settings, version=VERSION, beside=(split,), memory=2 << 30)
    made = engine.run(making).manifests[MADE]
    leaking = per_partition(
        "items: leaks", (LEAKS,), find_leaks, documents, (made.content, seed), version=VERSION, beside=(split,), memory=2 << 30
    )
    leaks = engine.run(leaking).manifests[LEAKS]
    task = Task("items", fingerprint(VERSION, seed, made.content, leaks.content), seed, 1)
    described = {"held_out": held_out, "shares": settings.shares, "seed": seed}
    return engine.run(Stage("items", (ITEMS,), choose_items, (task,), described, memory=3 << 30, unit="sets")).manifests[ITEMS]

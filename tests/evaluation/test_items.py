"""Items of held-out documents, and that none of them stands in training."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from evaluation.sets.items import MAKERS, words
from evaluation.sets.making import ITEMS, make
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from tests.conftest import here

CODE = '''
import os


def sizes_of(folder):  # of files alone
    """The sizes of all files in a folder.

    Not of those below.
    """
    found = {}
    for name in os.listdir(folder):  # in any order
        found[name] = os.path.getsize("# no comment" + name)
    return found


def short(a):
    """One two three four."""
    return a


def bare(a):
    a += 1
    a += 2
    return a


def test_something(a):
    """A test of three and more words."""
    a += 1
    a += 2
    return a


class Holder:
    async def fetch(self, address):
        """Fetch what an address has."""
        answer = await self.get(address)
        if answer is None:
            return self.fetch(address)
        return answer

    def __init__(self):
        """Special methods are no items at all."""
        self.a = 1
        self.b = 2
'''


def prose(seed: int, count: int = 80) -> str:
    return " ".join(f"word{(seed * 7919 + place * place * 31) % 5003}" for place in range(count)) + "."


def document(text: str, identifier: str = "d", **more: Any) -> dict[str, Any]:
    return {"id": identifier, "text": text, "domain": "web", "source": "s", "title": None, "language": None, "path": None, **more}


def test_functions_lose_docstring_and_comments_and_nothing_else() -> None:
    found = list(MAKERS["code"](document(CODE, domain="code", language="Python")))
    assert [pair.query for pair in found] == ["The sizes of all files in a folder.", "Fetch what an address has."]
    for pair in found:
        assert pair.query not in pair.text
        tree = ast.parse(pair.text).body[0]
        assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
        assert ast.get_docstring(tree) is None
        whole = next(node for node in ast.walk(ast.parse(CODE)) if getattr(node, "name", None) == tree.name)
        assert isinstance(whole, ast.FunctionDef | ast.AsyncFunctionDef)
        assert [ast.dump(part) for part in whole.body[1:]] == [ast.dump(part) for part in tree.body], "the same statements"
    assert "in any order" not in found[0].text
    assert '"# no comment"' in found[0].text


def test_a_hidden_name_is_hidden_wherever_it_stands() -> None:
    found = list(MAKERS["code-unnamed"](document(CODE, domain="code", path="a/b.py")))
    assert [pair.text.split("(")[0] for pair in found] == ["def function", "async def function"]
    assert all(name not in pair.text for pair, name in zip(found, ("sizes_of", "fetch"), strict=True))
    assert list(MAKERS["code"](document("def broken(:", domain="code", language="Python"))) == []
    assert list(MAKERS["code"](document(CODE, domain="code", language="C", path="a.c"))) == []


def test_a_titles_words_are_taken_out_of_its_text() -> None:
    (pair,) = MAKERS["title"](document(f"Ceramic Art\n\nThe art of ceramic things. {prose(1)}", title="Ceramic art"))
    assert pair.query == "Ceramic art"
    assert not {"ceramic", "art"} & set(words(pair.text))
    assert {"the", "of", "things"} <= set(words(pair.text))
    assert list(MAKERS["title"](document("too short", title="A title"))) == []


def test_sections_go_from_heading_to_heading() -> None:
    text = f"Of Cats\n\n{prose(1)}\n\n{prose(2)}\n\nOf Dogs and Birds\n\nToo short.\n\nOf Fish\n\n{prose(3)}"
    assert [(pair.query, pair.text) for pair in MAKERS["section"](document(text))] == [
        ("Of Cats", f"{prose(1)}\n\n{prose(2)}"),
        ("Of Fish", prose(3)),
    ]


def test_a_sentence_of_the_abstract_leads_to_the_paper_without_it() -> None:
    abstract = "We look at things that are seen by few. It turns out that they are many more than one thinks. So we end with this in mind."
    (pair,) = MAKERS["abstract"](document(f"A Title\n\nAbstract\n\n{abstract}\n\nIntroduction\n\n{prose(4)}"))
    assert pair.query == "It turns out that they are many more than one thinks."
    assert pair.text == f"Introduction\n\n{prose(4)}"
    assert list(MAKERS["abstract"](document(f"A Title\n\n{prose(4)}"))) == []


@given(st.text(max_size=400), st.sampled_from(["code", "web"]))
def test_any_text_has_items_or_none(text: str, domain: str) -> None:
    for maker in MAKERS.values():
        for pair in maker(document(text, domain=domain, language="Python", title=text[:20])):
            assert pair.text


# --- leaks -------------------------------------------------------------------------------------------------------------


def made(workdir: Workdir, documents: Sequence[tuple[str | None, dict[str, Any]]]) -> tuple[Manifest, list[dict[str, Any]]]:
    """The items of documents with their splits, in partitions of two; and all rows."""
    files: dict[str, list[Partition]] = {"documents": [], "split": []}
    kinds = Counter(str(kind) for kind, _ in documents)
    for number in range(0, len(documents), 2):
        part = documents[number : number + 2]
        cuts = pa.nulls(len(part), pa.list_(pa.struct([("begin", pa.int64()), ("end", pa.int64())])))
        split = pa.table({"split": [kind for kind, _ in part], "cuts": cuts})
        for name, table in (("documents", pa.Table.from_pylist([row for _, row in part], schema=DOCUMENTS)), ("split", split)):
            raw = to_parquet(table)
            file = f"s-{number:05d}-000.parquet"
            workdir.write(raw, name, file)
            files[name].append(Partition(file, len(part), len(raw), xxhash.xxh3_128_hexdigest(raw)))
    summary = {"sources": {"web": {"s": {kind: {"documents": count, "tokens": count} for kind, count in kinds.items()}}}}
    manifests = {name: Manifest(name, "s", "f", tuple(parts)) for name, parts in files.items()}
    found = make(here(workdir), 1, "validation", manifests["documents"], manifests["split"], Manifest("tokens", "s", "f", (), {}, summary))
    return found, [row for _, table in workdir.tables(ITEMS) for row in table.to_pylist()]


DOCUMENTS = pa.schema([(name, pa.string()) for name in ("id", "text", "domain", "source", "title", "language", "path")])


def page(identifier: str, title: str, seed: int, more: str = "") -> dict[str, Any]:
    return document(f"{prose(seed)} {more}", identifier, title=title)


def test_items_that_stand_in_training_are_left_out_and_counted(workdir: Workdir) -> None:
    near = prose(5).split()
    near[40] = "another"
    documents = [
        ("validation", page("clean", "A clean title of its own", 1)),
        ("validation", page("quoted", "A title that is quoted", 2)),
        ("validation", page("near", "A title of a copied text", 5)),
        ("validation", page("short", "Cats", 6)),
        ("validation", page("mentioned", "Dogs", 7)),
        ("train", page("t1", "Something else altogether", 11, "Who reads a Title, that is quoted, knows it. And dogs.")),
        ("train", document(" ".join(near), "t2", title="Yet another one here")),
        ("train", page("t3", "Cats", 12)),
        (None, page("dropped", "A clean title of its own", 1)),
    ]
    manifest, rows = made(workdir, documents)
    test = {row["document"] for row in rows if row["set"] == "title" and row["split"] == "test"}
    assert test == {"clean", "mentioned"}
    counts = manifest.summary["sets"]["title"]
    assert counts["test items made"] == 5
    assert counts["left out, since the query stands in training"] == 2  # quoted; and of one word, the title of a training document
    assert counts["left out, since the text stands in training"] == 1
    assert counts["test"] == 2
    assert {row["document"] for row in rows if row["split"] != "test"} == {"t1", "t2", "t3"}
    topic = [row for row in rows if row["set"] == "topic" and row["split"] == "test"]
    assert {row["label"] for row in topic} == {"s"}
    assert {row["document"] for row in topic} == {"clean", "quoted", "short", "mentioned"}


def test_made_again_the_items_are_the_same_bytes(workdir: Workdir, tmp_path: Any) -> None:
    documents = [
        ("validation" if number % 3 else "train", page(f"d{number}", f"Title number {number} here", number)) for number in range(9)
    ]
    one, _ = made(workdir, documents)
    other, _ = made(Workdir(str(tmp_path / "other")), documents)
    assert one.content == other.content


@pytest.mark.parametrize("change", [0.35, 0.1])
def test_the_bound_of_likeness_is_a_jaccard_of_three_fifths(workdir: Workdir, change: float) -> None:
    """Against the sets of 5-grams themselves."""
    text = prose(20, 200).rstrip(".").split()
    other = [f"new{place}" if place >= len(text) * (1 - change) else word for place, word in enumerate(text)]
    grams = [{tuple(of[place : place + 5]) for place in range(len(of) - 4)} for of in (text, other)]
    likeness = len(grams[0] & grams[1]) / len(grams[0] | grams[1])
    _, rows = made(workdir, [("validation", document(" ".join(text), "held")), ("train", document(" ".join(other), "t"))])
    left = [row for row in rows if row["set"] == "topic" and row["split"] == "test"]
    assert bool(left) == (likeness < 0.6)

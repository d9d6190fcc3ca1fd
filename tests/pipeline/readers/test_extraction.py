"""What is found of a page by its blocks: what must stay, what must go, what is read another way; and real pages with truth."""

from __future__ import annotations

import gzip
import json
import re
import statistics
import tarfile
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.readers import page_blocks as blocks
from pipeline.readers import page_columns as c
from pipeline.readers import source_config
from pipeline.readers.html import HtmlSource, Page, to_page
from pipeline.readers.main_content import LINKED_DATA, LOOSER, main_content
from pipeline.readers.page_charset import to_text
from pipeline.readers.page_features import COLUMNS, Features
from pipeline.readers.page_scorer import scorer
from pipeline.readers.page_tags import WordTable
from pipeline.readers.page_text import cells_of_data, light_text
from tests.profiles import share
from tests.work import in_proportion

SENTENCES = (
    "The ferry to the northern islands was late again on Monday, and some forty people waited in the rain for almost an hour.",
    "A second boat had been promised for this winter, but the harbour office says that its engine is still in the yard.",
    "Those who work on the mainland now leave before six, since the early crossing is the only one that they can rely on.",
    "The council will talk about it next week, and has asked the owners to bring the numbers of the last three years.",
)
STORY = "".join(f"<p>{sentence}</p>" for sentence in SENTENCES)


def found(markup: str, **settings: Any) -> Page:
    source = cast(HtmlSource, source_config(name="test", domain="web", format="html", path="x", **settings))
    page = to_page(markup.encode(), source)
    assert not isinstance(page, str)
    return page


def whole(body: str, head: str = "") -> str:
    return f"<!doctype html><html lang=en><head><title>The late ferry</title>{head}</head><body>{body}</body></html>"


def has_story(text: str) -> bool:
    return all(sentence in text for sentence in SENTENCES)


NAMES = (
    "content-sidebar-wrap", "node--article--category-16", "section-tags", "has-metadata", "legal", "paid", "email", "hidden", "jp", "wa",
    "expandable", "print-layout", "comments", "footer", "nav", "sidebar", "related-posts", "share", "ad", "cookie", "section-info",
    "content tags-page post-tags-enabled",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("element", ["div", "article", "section", "aside"])
def test_no_name_of_a_wrapper_takes_the_page_with_it(name: str, element: str) -> None:
    page = found(whole(f'<{element} class="{name}" id="{name}"><h1>The late ferry</h1>{STORY}</{element}><footer>Imprint</footer>'))
    assert has_story(page.text)
    assert page.text.startswith("The late ferry")
    assert "Imprint" not in page.text
    assert not page.notes


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ("<figure class=highlight><pre><code>def loss(a, b):\n    return a / b\n</code></pre></figure>", "def loss(a, b):\n    return a / b"),
        ("<figure class=wp-block-table><table><tr><th>Boat</th><th>Seats</th></tr><tr><td>Tern</td><td>40</td></tr></table></figure>", "Boat\t\tSeats\nTern\t\t40"),
        ("<figure class=wp-block-pullquote><blockquote><p>We were told to wait, and so we waited.</p></blockquote></figure>", "We were told to wait, and so we waited."),
        ("<figure class=highlight><table><tr><td class=gutter><pre>1\n2</pre></td><td class=code><pre>for x in y:\n    print(x)</pre></td></tr></table></figure>", "\n\nfor x in y:\n    print(x)\n\n"),
        ("<p>On <time datetime=2024-05-05>May 5</time> the <label>chair</label> of the <abbr>HO</abbr> spoke for an hour about it, and <a href=/x>left</a>.</p>", "On May 5 the chair of the HO spoke for an hour about it, and left."),
    ],
    ids=["code", "table", "quotation", "numbered code", "inline"],
)  # fmt: skip
def test_what_a_figure_holds_and_what_stands_in_a_sentence_is_kept(inner: str, text: str) -> None:
    page = found(whole(f"<main><article><h1>The late ferry</h1>{STORY}{inner}{STORY.replace('The', 'Their')}</article></main>"))
    assert text in page.text


@pytest.mark.parametrize(
    "beside",
    [
        "<div class=cookie-consent><p>We use cookies to improve your visit. <button>Accept all cookies</button></p></div>",
        "<nav><ul><li><a href=/>Home</a><li><a href=/news>News</a><li><a href=/sport>Sport</a></ul></nav>",
        "<footer><p>Copyright 2024 The Harbour Post. All rights reserved.</p><a href=/imprint>Imprint</a></footer>",
        "<div class=share-buttons><a href=/f>Share on Facebook</a> <a href=/t>Share on Twitter</a></div>",
        "<div class=related><h3>Related articles</h3><ul><li><a href=/1>New engine for the old boat</a><li><a href=/2>A harbour for all</a></ul></div>",
    ],
    ids=["consent", "navigation", "footer", "share", "related"],
)
def test_what_is_beside_the_article_is_left_out(beside: str) -> None:
    page = found(whole(f"<div id=page><header><a href=/>The Harbour Post</a></header><article>{STORY}</article>{beside}</div>"))
    assert has_story(page.text)
    lines = [line for part in re.split("<[^>]*>", beside) if (line := unescape(part).strip())]
    assert not [line for line in lines if line in page.text]


def test_a_page_that_nests_over_256_deep_is_read() -> None:
    assert has_story(found(whole("<div>" * 20_000 + STORY + "</div>" * 20_000)).text)


def test_an_article_in_linked_data_alone_is_read_and_noted() -> None:
    data = {"@graph": [{"@type": "WebSite", "name": "x"}, {"@type": "NewsArticle", "articleBody": " ".join(SENTENCES)}]}
    head = f'<script type="application/ld+json">{json.dumps(data)}</script>'
    page = found(whole("<div id=root></div>", head))
    assert page.text == " ".join(SENTENCES)
    assert page.notes == (f"page read by the {LINKED_DATA}",)
    again = found(whole(f"<article>{STORY}</article>", head))
    assert not again.notes, "where the page has its article, the page is read"
    for broken in ("{", "[" * 100_000, '{"articleBody": 3}', '{"articleBody": "short"}'):
        assert not found(whole("<p>x</p>", f'<script type="application/ld+json">{broken}</script>')).notes


def test_where_less_than_half_is_found_the_looser_pass_is_taken_and_noted() -> None:
    """With a scorer that finds every block unlikely, but not so unlikely that a looser look would not take it."""
    by = scorer()
    strict = type(by).__new__(type(by))
    strict.__dict__.update(by.__dict__)
    strict.limit = 1.1
    page = main_content(whole(f"<article>{STORY}</article>").encode(), by=strict)
    assert page.how == LOOSER
    assert has_story(page.text)


def test_the_notes_of_pages_are_counted_by_ingest(tmp_path: Path) -> None:
    from pipeline.ingest.stage import Chunk, IngestConfig, ingest_chunk
    from pipeline.readers import list_files
    from pipeline.workdir.dataset import Workdir

    data = json.dumps({"articleBody": " ".join(SENTENCES)})
    (tmp_path / "a.html").write_text(whole("", f'<script type="application/ld+json">{data}</script>'))
    source = source_config(name="test", domain="web", format="html", path=str(tmp_path))
    task = ingest_chunk(Workdir(str(tmp_path / "w")), Chunk("a", source, tuple(list_files(source, tmp_path)), IngestConfig()))
    summaries: list[Any] = []

    def drained() -> Iterator[Any]:
        summaries.append((yield from task))

    assert len(list(drained())) == 1
    assert summaries[0]["sources"]["test"]["noted"] == {f"page read by the {LINKED_DATA}": 1}


def everything(markup: bytes) -> str:
    """All text of a page, as it is written."""
    page = np.frombuffer(markup, np.uint8)
    scanned = blocks.scan(page, WordTable({}), WordTable({}))
    if not len(scanned.blocks):
        return ""
    flat = np.zeros(len(scanned.elements), np.bool_)
    cells_of_data(scanned.elements, scanned.blocks, Features(scanned).before[:, 0].copy(), flat)
    return light_text(page, scanned, np.ones(len(scanned.blocks), np.bool_), flat)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>one<p>two<div>three</div>four", "one\n\ntwo\n\nthree\n\nfour"),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>", "  • a\n  • b\n    • c\n  • d"),
        ("<ol><li><p>a</p><p>b</p><li>c</ol>", "  1. a\n    b\n  2. c"),
        ("<table><tr><td>1<td>2<tr><td>3<td><td>4</table>x", "1\t\t2\n3\t\t\t\t4\n\nx"),
        ("<table><tr><td><div>a</table><p>b</div>c", "a\n\nb\n\nc"),
        ("<dl><dt>a<dd>b<dt>c<dd>d</dl>", "a\nb\nc\nd"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("<pre>\n  a\n\n    b</pre>c", "  a\n\n    b\n\nc"),
        ("x &amp;lt; y&nbsp;&eacute; &#x41;", "x &lt; y é A"),
        ("a<script>if (a<b) '</p>'</script>b<style>p{}</style>c<!-- d -->e", "abce"),
        ("a < b and 3<4", "a < b and 3<4"),
        ("<h2>Head<a class=headerlink href=#h>¶</a></h2>", "Head"),
        ("<a href='x>y'>z</a><b>un</b>der<i>stand</i>", "zunderstand"),
        ("<svg><title>icon</title><path d=x></svg>text", "text"),
        ("<svg/>kept<svg>never closed", "keptnever closed"),
    ],
)
def test_markup_is_written_as_light_text(markup: str, text: str) -> None:
    assert everything(markup.encode()) == text


PARTS = st.sampled_from(
    ["<p>", "</p>", "<div>", "</div>", "<li>", "<ul>", "</ul>", "<table>", "<tr>", "<td>", "</td>", "</table>", "<pre>", "</pre>", "<a href=x>",
     "</a>", "<h2>", "</h2>", "<br>", "<form>", "</form>", "<b>", "<script>", "</script>", "<!--", "-->", "<", ">", "&amp;", "wörd", "日本", " ", "\n",
     "<dd>", "<svg>", "</svg>", "<hr>", "<article class='a b'>", "</article>", "&nbsp;", "&"]
)  # fmt: skip


@settings(max_examples=share(5))
@given(st.lists(PARTS, max_size=60))
def test_no_markup_breaks_a_page_and_blocks_lie_in_their_elements(parts: list[str]) -> None:
    markup = "".join(parts).encode()
    scanned = blocks.scan(np.frombuffer(markup, np.uint8), WordTable({}), WordTable({}))
    elements, rows = scanned.elements, scanned.blocks
    assert (elements[1:, c.PARENT] < np.arange(1, len(elements))).all()
    for number, row in enumerate(rows):
        at = int(row[c.ELEMENT])
        while at >= 0:
            assert elements[at, c.FIRST] <= number < elements[at, c.END]
            at = int(elements[at, c.PARENT])
    if len(rows):
        features = Features(scanned).matrix
        assert features.shape == (len(rows), COLUMNS)
        assert np.isfinite(features).all()
    main_content(markup)
    everything(markup)


@settings(max_examples=share(3))
@given(st.lists(st.sampled_from(["word ", "more. ", "<p>", "</p>", "<div>", "</div>", "<b>", "</b>", "<i>"]), max_size=50))
def test_all_words_of_a_page_are_in_its_text_in_their_order(parts: list[str]) -> None:
    markup = "".join(parts)
    assert everything(markup.encode()).split() == re.sub("</?(?:p|div)>", " ", re.sub("</?[bi]>", "", markup)).split()


@pytest.mark.parametrize(
    "data",
    [b"<div>" * 9_000, b"<p><table><td>" + b"<div></p>" * 9_000, b"<svg>" * 9_000, b"<a>" * 9_000, b"<ul><li>x" * 9_000, b"<!--" * 9_000, b"<form></div>" * 9_000,
     b"<script>" * 9_000, b"<a b='" * 9_000, b"<td><table>" * 9_000, b"<pre><br>" * 9_000, b"<p>" + b"<br>x" * 9_000, b"<div class='" + b"aB" * 9_000],
    ids=range(13),
)  # fmt: skip
def test_the_worst_markup_takes_steps_in_proportion(data: bytes) -> None:
    in_proportion(main_content, data)


# --- real pages --------------------------------------------------------------------------------------------------------


def entries(path: Path) -> dict[str, bytes]:
    source = zstandard.ZstdDecompressor().stream_reader(path.open("rb"))
    with tarfile.open(fileobj=source, mode="r|") as archive:
        return {Path(entry.name).name: data.read() for entry in archive if (data := archive.extractfile(entry)) is not None}


def grams(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[at : at + 4]) for at in range(max(1, len(words) - 3)))


@pytest.mark.slow
def test_real_articles_are_found_as_well_as_by_trafilatura(real_data: Path) -> None:
    """4-grams of the true article found, and found ones that are true, as the articles' own benchmark counts them."""
    files = entries(real_data / "web" / "articles-with-truth.tar.zst")
    truth = json.loads(files["ground-truth.json"])

    def f1(extractor: str) -> float:
        precisions, recalls = [], []
        for name, page in truth.items():
            wanted = grams(page["articleBody"])
            text = grams(found(to_text(gzip.decompress(files[f"{name}.html.gz"])), extractor=extractor).text)
            common = (wanted & text).total()
            precisions.append(common / max(1, text.total()))
            recalls.append(common / max(1, wanted.total()))
        precision, recall = statistics.mean(precisions), statistics.mean(recalls)
        return 2 * precision * recall / (precision + recall)

    assert len(truth) == 60
    assert f1("blocks") > 0.965
    assert f1("resiliparse") > 0.91
    pytest.importorskip("trafilatura")
    assert f1("trafilatura") > 0.95


@pytest.mark.slow
def test_wanted_segments_of_real_pages_are_found_and_others_are_not(real_data: Path) -> None:
    """As trafilatura's evaluation counts them, but that white space of any kind is one space."""
    files = entries(real_data / "web" / "pages-with-segments.tar.zst")
    there = wrong = wanted = empty = 0
    for page in json.loads(files["segments.json"]).values():
        text = " ".join(found(to_text(files[page["file"]])).text.split())
        there += sum(" ".join(segment.split()) in text for segment in page["with"])
        wrong += sum(" ".join(segment.split()) in text for segment in page["without"])
        wanted += len(page["with"])
        empty += len(text) < 50
    precision, recall = there / (there + wrong), there / wanted
    assert recall > 0.95
    assert 2 * precision * recall / (precision + recall) > 0.93
    assert empty == 0

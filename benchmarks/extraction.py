"""What is found of pages with truth, and how fast: our extractors beside resiliparse, trafilatura, readability, jusText and newspaper.

    python -m benchmarks.extraction --articles FILE.tar.zst --segments FILE.tar.zst [--documentation FILE.tar.gz ...] [--quick]

Articles are scrapinghub's article-extraction-benchmark (F1 of 4-grams), segments are trafilatura's evaluation (segments that must, and
that must not, be in a page's text), documentation is what source distributions hold as HTML. Every extractor gets the same pages as text
that is decoded already, one after another in one process. The scorer that comes with the package was trained on the public pages of these
sets, so its figures here flatter it, and no goal is set by them: what it is worth on other pages `benchmarks.extraction_training` prints.
A peer that is not installed is left out, and said to be.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.extraction_pages import Article, Quality, Segmented, article_quality, articles, documentation, segment_quality, segmented
from benchmarks.results_file import Peer, Row, show, write
from pipeline.readers.html import HtmlSource, to_page

Extract = Callable[[str], str]
EMPTY = 50  # characters, under which a page counts as empty


def ours(extractor: str) -> Extract:
    """One of our own extractors."""
    source = HtmlSource.model_validate({"name": "a", "domain": "web", "format": "html", "path": "x", "extractor": extractor})

    def extract(markup: str) -> str:
        page = to_page(markup.encode("utf-8", "replace"), source)
        return page if isinstance(page, str) else page.text

    return extract


def _resiliparse() -> Extract:
    from resiliparse.extract.html2text import extract_plain_text

    return lambda markup: str(extract_plain_text(markup, main_content=True, preserve_formatting=True))


def _trafilatura(**settings: bool) -> Extract:
    import trafilatura

    return lambda markup: trafilatura.extract(markup, include_comments=False, **settings) or ""


def _readability() -> Extract:
    from lxml import html
    from readability import Document

    return lambda markup: str(html.fromstring(Document(markup).summary()).text_content())


def _justext() -> Extract:
    import justext

    words = frozenset().union(*map(justext.get_stoplist, justext.get_stoplists()))  # of all languages: the pages' are not told
    return lambda markup: "\n\n".join(part.text for part in justext.justext(markup, words) if not part.is_boilerplate)


def _newspaper() -> Extract:
    import newspaper

    def extract(markup: str) -> str:
        article = newspaper.Article("http://page.example/", fetch_images=False)  # which it would fetch from the network
        article.download(input_html=markup)
        article.parse()
        return str(article.text)

    return extract


PEERS: dict[str, tuple[str, Callable[[], Extract]]] = {
    "resiliparse": ("Resiliparse", _resiliparse),
    "trafilatura": ("trafilatura", _trafilatura),
    "trafilatura, precision": ("trafilatura", lambda: _trafilatura(favor_precision=True)),
    "readability": ("readability-lxml", _readability),
    "jusText": ("jusText", _justext),
    "newspaper": ("newspaper4k", _newspaper),
}


def _texts(extract: Extract, pages: list[str]) -> tuple[list[str], float, int]:
    """The texts of all pages, the seconds that took, and how many pages the extractor failed on; these count as empty."""
    texts, failed = [], 0
    begin = time.perf_counter()
    for page in pages:
        try:
            texts.append(extract(page))
        except Exception:
            texts.append("")
            failed += 1
    return texts, time.perf_counter() - begin, failed


def measure(extract: Extract, sets: dict[str, tuple[list[Any], Callable[[list[Any], list[str]], Quality]]]) -> dict[str, Any]:
    """Quality by set, empty pages among all, and pages a second over all of them, after some to warm up."""
    found: dict[str, Any] = {"empty": 0, "failed": 0}
    count, seconds = 0, 0.0
    for name, (pages, judge) in sets.items():
        _texts(extract, [page.markup for page in pages[:3]])
        texts, spent, failed = _texts(extract, [page.markup for page in pages])
        found[name] = judge(pages, texts)
        found["empty"] += sum(len(text.strip()) < EMPTY for text in texts)
        found["failed"] += failed
        count, seconds = count + len(pages), seconds + spent
    found["speed"] = count / seconds
    return found


def _rows(found: dict[str, dict[str, Any]], versions: dict[str, str], sets: list[str], count: int) -> list[Row]:
    mine = found["ours, blocks"]
    rows = []
    seen = "pages that the scorer was trained on"
    for other, measured in found.items():
        if other == "ours, blocks":
            continue
        for name in sets:
            peer = Peer(other, versions.get(other, ""), 100 * measured[name].f1)
            rows.append(Row(f"{name}, F1, {seen}", "%", 100 * mine[name].f1, peer))
        for part in ("precision", "recall"):
            peer = Peer(other, versions.get(other, ""), 100 * getattr(measured["segments"], part))
            rows.append(Row(f"segments, {part}, {seen}", "%", 100 * getattr(mine["segments"], part), peer))
        rows.append(Row("pages", "pages/s", mine["speed"], Peer(other, versions.get(other, ""), measured["speed"])))
    for name, measured in found.items():
        rows.append(Row(f"pages left empty, of {count}: {name}", "pages", measured["empty"]))
        if measured["failed"]:
            rows.append(Row(f"pages on which it fails, of {count}: {name}", "pages", measured["failed"]))
    return rows


def main() -> None:
    """Run all, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=Path, required=True, help="pages of news with their text")
    parser.add_argument("--segments", type=Path, required=True, help="pages with wanted and unwanted segments")
    parser.add_argument("--documentation", type=Path, nargs="*", default=[], help="source distributions with HTML documentation")
    parser.add_argument("--quick", action="store_true", help="nothing is written")
    parser.add_argument("--without", nargs="*", default=[], choices=list(PEERS), help="peers that are left out")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    sets: dict[str, tuple[list[Any], Callable[[list[Any], list[str]], Quality]]] = {}
    news: list[Article] = articles(options.articles)
    parts: list[Segmented] = segmented(options.segments)
    sets["articles"], sets["segments"] = (news, article_quality), (parts, segment_quality)
    for path in options.documentation:
        sets[f"documentation of {path.name.split('-')[0]}"] = (documentation(path), article_quality)
    found, versions = {}, {}
    for name in ("blocks", "resiliparse", "trafilatura"):
        found[f"ours, {name}"] = measure(ours(name), sets)
        print(f"measured: ours, {name}, {found[f'ours, {name}']['speed']:.1f} pages/s", flush=True)
    for name, (package, make) in PEERS.items():
        if name in options.without:
            continue
        try:
            versions[name] = version(package)
            extract = make()
        except (PackageNotFoundError, ImportError):
            print(f"{name} ({package}) is not installed, and left out")
            continue
        found[name] = measure(extract, sets)
        print(f"measured: {name}, {found[name]['speed']:.1f} pages/s", flush=True)
    rows = _rows(found, versions, list(sets), sum(len(pages) for pages, _ in sets.values()))
    show(rows)
    if not options.quick:
        print(write("extraction", rows, tuple(dict.fromkeys(package for package, _ in PEERS.values()))))


if __name__ == "__main__":
    main()

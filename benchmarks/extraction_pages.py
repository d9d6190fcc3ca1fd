"""Pages with truth, as the benchmark of extraction and the training of the scorer read them."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import statistics
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from pipeline.readers.page_charset import to_text


@dataclass(frozen=True)
class Article:
    """A page of scrapinghub's article-extraction-benchmark, and its article."""

    url: str
    markup: str
    body: str


@dataclass(frozen=True)
class Segmented:
    """A page of trafilatura's evaluation, and segments that must, and that must not, be in its text."""

    url: str
    markup: str
    wanted: list[str]
    unwanted: list[str]


def _entries(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as raw, tarfile.open(fileobj=zstandard.ZstdDecompressor().stream_reader(raw), mode="r|") as archive:
        for entry in archive:
            data = archive.extractfile(entry)
            if data is not None:
                yield entry.name, data.read()


def articles(path: Path) -> list[Article]:
    """The pages of an archive of `html/*.html.gz` and `ground-truth.json`, in the order of their names."""
    found = dict(_entries(path))
    truth = json.loads(next(data for name, data in found.items() if name.endswith("ground-truth.json")))
    pages = {Path(name).name.removesuffix(".html.gz"): gzip.decompress(data) for name, data in found.items() if name.endswith(".html.gz")}
    return [Article(truth[name].get("url") or name, to_text(pages[name]), truth[name]["articleBody"]) for name in sorted(pages)]


def segmented(path: Path) -> list[Segmented]:
    """The pages of an archive of `html/*` and `segments.json`, in the order of that file."""
    found = {Path(name).name: data for name, data in _entries(path)}
    truth = json.loads(found["segments.json"])
    return [Segmented(url, to_text(found[item["file"]]), item["with"], item["without"]) for url, item in truth.items()]


def fold(url: str, folds: int) -> int:
    """In which of so many parts of the pages a page is, by its site, so that no site is in two."""
    site = re.sub(r"^(?:\w+::|https?://)(?:www\.)?", "", url).split("/")[0].split("-")[0]
    return int(hashlib.sha256(site.encode()).hexdigest(), 16) % folds


def _grams(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[at : at + 4]) for at in range(max(1, len(words) - 3)))


@dataclass(frozen=True)
class Quality:
    """Shares of 1: precision, recall, and their harmonic mean."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def article_quality(pages: list[Article], texts: list[str]) -> Quality:
    """4-grams of words: means of the pages' precision and recall, as scrapinghub's benchmark counts them."""
    precisions, recalls = [], []
    for page, text in zip(pages, texts, strict=True):
        wanted, found = _grams(page.body), _grams(text)
        common = (wanted & found).total()
        precisions.append(common / max(1, found.total()))
        recalls.append(common / max(1, wanted.total()))
    return Quality(statistics.mean(precisions), statistics.mean(recalls))


def segment_quality(pages: list[Segmented], texts: list[str]) -> Quality:
    """Segments over all pages, as trafilatura's evaluation counts them, but that white space of any kind is one space."""
    found = wrong = lost = 0
    for page, text in zip(pages, texts, strict=True):
        flat = " ".join(text.split())
        there = sum(" ".join(segment.split()) in flat for segment in page.wanted)
        found, lost = found + there, lost + len(page.wanted) - there
        wrong += sum(" ".join(segment.split()) in flat for segment in page.unwanted)
    return Quality(found / max(1, found + wrong), found / max(1, found + lost))


# Where generators of documentation put a page's text: Sphinx's own themes, SQLAlchemy's, PyData's, docutils.
_BODIES = (
    "//div[@id='docs-body']", "//article[contains(@class,'bd-article')]", "//div[@class='body']", "//div[@role='main']",
    "//div[@class='document']",
)  # fmt: skip
_NO_TEXT = ".//a[contains(@class,'headerlink')]|.//script|.//style|.//div[contains(@class,'sidemenu')]|.//div[@id='sidemenu']"
_NO_PAGES = re.compile(r"genindex|search|_modules/|py-modindex|toctree\.html|/build/|/templates/")
_LARGEST = 400_000  # bytes of a page


def documentation(path: Path, count: int = 25) -> list[Article]:
    """Pages of a source distribution's HTML documentation, with what its generator marks as their text; `count` of them, chosen by hash."""
    from lxml import html

    project = path.name.split("-")[0].lower()
    with tarfile.open(path) as archive:
        entries = [entry for entry in archive if entry.name.endswith(".html") and "/doc" in entry.name and 0 < entry.size <= _LARGEST]
        entries = [entry for entry in entries if not _NO_PAGES.search(entry.name)]
        entries.sort(key=lambda entry: hashlib.sha256(entry.name.encode()).digest())
        found: list[Article] = []
        for entry in entries:
            data = archive.extractfile(entry)
            raw = data.read() if data is not None else b""
            tree = html.fromstring(raw, parser=html.HTMLParser(encoding="utf-8"))
            bodies = [body for place in _BODIES for body in tree.xpath(place)]
            if not bodies:
                continue
            for part in bodies[0].xpath(_NO_TEXT):
                part.drop_tree()
            for part in bodies[0].iter("p", "div", "li", "td", "th", "tr", "pre", "h1", "h2", "h3", "h4", "dt", "dd", "br"):
                part.tail = "\n" + (part.tail or "")
            found.append(Article(f"{project}/{entry.name}", to_text(raw), bodies[0].text_content()))
            if len(found) == count:
                break
    return found

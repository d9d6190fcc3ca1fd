"""HTML pages: the main content as light text, by our own reading of a page's blocks, or on request by resiliparse or trafilatura."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from html import unescape
from typing import Any, Literal, NamedTuple

from pydantic import Field
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from pipeline.readers.bounds import bounds
from pipeline.readers.config import EncodedSource
from pipeline.readers.main_content import main_content
from pipeline.readers.page_charset import charset_of, to_text, top_level_of
from pipeline.readers.page_lists import look
from pipeline.readers.record import RAW_BYTES, Record, Unreadable
from pipeline.readers.streams import Member, read_all
from pipeline.workdir.errors import UserError

# Extraction takes time in the square of the depth (10,000: 1.2 s, 20,000: 6 s). Browsers stop at 512; of a thousand real pages
# the deepest has some hundred levels.
MAX_DEPTH = 10_000
# Parsing takes time in the square of a tag's attributes (40,000: 3 s). Of 250 real pages the most that anything which looks
# like a tag (much of it script) has is 709.
MAX_ATTRIBUTES = 5_000
# What a page's tree may take, by the worst case of its markup: about 40 MB of text, or 700,000 tags. Keeps a worker under 1 GB.
MAX_TREE_BYTES = 400 << 20
# Up to this size a page cannot take more than about three seconds or 40 MB, whatever it holds, but by its depth.
_SMALL = 1 << 18

# Each of these is linear: what they repeat is bounded, or cannot hold what it ends with, nor that with which it begins.
_TITLE = re.compile(rb"<title(?:\s[^<>]{0,400})?>([^<]{0,4000})<", re.IGNORECASE)
_LANGUAGE = re.compile(rb"""<html\s[^<>]{0,2000}?(?<![\w:-])(?:xml:)?lang\s?=\s?["']?([a-z]{2,3})(?![a-z])""", re.IGNORECASE)
_HEAD = 1 << 17  # characters of a page in which its title and language are looked for
# A cell with a paragraph and nothing else; what a paragraph may hold has no cell or paragraph in it.
_CELL_OF_A_PARAGRAPH = re.compile(
    rb"(<t[dh](?:\s[^<>]{0,500})?>)\s{0,100}<p(?:\s[^<>]{0,500})?>((?:[^<]|<(?!/?(?:p|t[dhr]|div|ul|ol|table|pre|h[1-6])[\s>]))*)</p>"
    rb"(?=\s{0,100}<(?:/t[dhr]|t[dhr]|/table)[\s>])",
    re.IGNORECASE,
)


class HtmlSource(EncodedSource):
    """Web pages."""

    extractor: Literal["blocks", "resiliparse", "trafilatura"] = Field(
        "blocks",
        description="What finds a page's main content. blocks: a learnt scorer of the page's blocks, which looks again where it found "
        "little. resiliparse: rules by tags and class names. trafilatura (`[trafilatura]`, set to precision as in FineWeb): far slower.",
    )

    def check(self) -> None:
        if self.extractor == "trafilatura" and importlib.util.find_spec("trafilatura") is None:
            raise UserError(f"source {self.name}: extractor trafilatura is not installed: pip install 'encoder-foundry[trafilatura]'")


class Page(NamedTuple):
    """A page's main content, title and declared language (two or three letters), and notes as a `Record` has them."""

    text: str
    title: str | None
    language: str | None
    notes: tuple[str, ...] = ()


def _in_utf8(data: bytes, declared: str | None, fallback: str | None, domain: str | None) -> bytes:
    """A page's markup in UTF-8, as most pages are already. Nothing is raised."""
    if b"\0" not in data[:1024] and b"\x1b" not in data[:1024]:  # escapes begin the 7-bit charsets of East Asia
        markup = data.removeprefix(b"\xef\xbb\xbf")
        try:
            markup.decode("utf-8")
            return markup
        except UnicodeDecodeError:
            pass
    return to_text(data, declared, fallback, domain).encode("utf-8", "replace")


def to_page(data: bytes, source: HtmlSource, declared: str | None = None, url: str | None = None) -> Page | str:
    """A page's content, or why it cannot be read. `declared` is its charset by the HTTP header; `url` helps to guess one."""
    if b"\0" in data[:1024] and not charset_of(data, declared, source.encoding).startswith(("utf-16", "utf-32")):
        return "not a page: binary data"
    markup = _in_utf8(data, declared, source.encoding, top_level_of(url))
    if len(markup) > _SMALL:
        attributes, memory = bounds(markup)  # as decoded: a charset such as UTF-16 hides what are tags
        if attributes > MAX_ATTRIBUTES and source.extractor != "blocks":
            return f"a tag with up to {attributes} attributes, over {MAX_ATTRIBUTES}"
        if memory > MAX_TREE_BYTES:
            return f"{len(data)} bytes would take up to {memory >> 20} MB to parse, over {MAX_TREE_BYTES >> 20}"
    title = title_of(markup)
    found = _LANGUAGE.search(markup, 0, _HEAD)
    language = found[1].decode().lower() if found else None
    if source.extractor == "blocks":
        content = main_content(markup, title.encode("utf-8", "replace"))
        return Page(content.text, title or None, language, (f"page read by the {content.how}",) if content.how else ())
    text = _by_tree(markup, source.extractor)
    return f"elements nested over {MAX_DEPTH} deep" if text is None else Page(text, title or None, language)


def _by_tree(markup: bytes, extractor: str) -> str | None:
    """The main content of a page in UTF-8 by an extractor that parses it to a tree; None where that nests too deep."""
    seen = look(markup)
    if seen.opening > MAX_DEPTH and is_deeper(HTMLTree.parse(markup.decode("utf-8")), MAX_DEPTH):
        return None
    if extractor == "trafilatura":
        return _trafilatura(markup.decode("utf-8"))
    prepared = _CELL_OF_A_PARAGRAPH.sub(rb"\1\2", seen.markup) if seen.cells else seen.markup
    content: str = extract_plain_text(
        prepared.decode("utf-8"),
        main_content=True,
        preserve_formatting=True,
        list_bullets=True,
        alt_texts=False,
        links=False,
        post_meta=False,
    )
    return content.strip("\n")


def is_deeper(tree: Any, limit: int) -> bool:
    """Whether a tree's elements nest deeper than `limit`."""
    node, depth = tree.document, 0
    while node is not None:
        child = node.first_element_child
        if child is not None:
            node, depth = child, depth + 1
            if depth > limit:
                return True
            continue
        while node is not None and node.next_element_sibling is None:
            node, depth = node.parent, depth - 1
            if depth <= 0:
                return False
        node = node.next_element_sibling if node is not None else None
    return False


def title_of(markup: bytes) -> str:
    """The text of the first <title> near the begin of a page in UTF-8, or nothing."""
    found = _TITLE.search(markup, 0, _HEAD)
    return " ".join(unescape(found[1].decode("utf-8", "replace")).split()) if found else ""


def _trafilatura(markup: str) -> str:
    """The main content by trafilatura (Barbaresi 2021), set to precision as FineWeb has it, without the readers' comments."""
    try:
        import trafilatura
    except ImportError as error:
        raise UserError("extractor trafilatura is not installed: pip install 'encoder-foundry[trafilatura]'") from error
    return trafilatura.extract(markup, favor_precision=True, include_comments=False, include_tables=True) or ""


def read(member: Member, source: HtmlSource) -> Iterator[Record | Unreadable]:
    """One page, one record: headings, paragraphs, lists, tables (a row a line, cells by tabs) and code as light text;
    boilerplate (navigation, footers, bylines) left out.

    A page without main content is a record with empty text, so that its loss shows among the drops.
    """
    data = read_all(member, source)
    page = to_page(data, source)
    if isinstance(page, str):
        yield Unreadable(member.path, page, data[:RAW_BYTES])
        return
    yield Record(member.path, page.text, title=page.title, language=page.language, path=member.name, notes=page.notes, from_markup=True)

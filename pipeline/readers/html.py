"""HTML pages: the main content as light text, by resiliparse, or by trafilatura on request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5
from resiliparse.parse.html import HTMLTree

from pipeline.errors import UserError
from pipeline.readers.bounds import bounds
from pipeline.readers.config import SourceConfig
from pipeline.readers.files import Member, read_all
from pipeline.readers.record import RAW_BYTES, Record, Unreadable

# Extraction takes time in the square of the depth (5,000: 0.3 s, 20,000: 6 s). Browsers stop at 512; of a thousand real pages
# the deepest has some hundred levels.
MAX_DEPTH = 5_000
# Parsing takes time in the square of a tag's attributes (40,000: 3 s). Of 250 real pages the most that anything which looks
# like a tag (much of it script) has is 709.
MAX_ATTRIBUTES = 5_000
# What a page's tree may take, by the worst case of its markup: about 40 MB of text, or 700,000 tags. Keeps a worker under 1 GB.
MAX_TREE_BYTES = 400 << 20
# Below this size a page cannot take more than about half a second or 10 MB, whatever it holds, but by its depth.
_SMALL = 1 << 15

# resiliparse takes a list for navigation where it lies within four levels of <body>. A content list there is put that much deeper.
_NAVIGATION_LEVELS = 5
_SHALLOW_LISTS = ", ".join("body > " + "* > " * level + "ul" for level in range(_NAVIGATION_LEVELS))
_NO_CONTENT = "nav, header, footer, aside, li"  # what is in these stays where it is; a list in a list goes with the outer one
_LINKED = 0.5  # share of a list's characters that are links, over which it is navigation
_LIST_ELEMENTS = 2_000  # looked at in one list


class Page(NamedTuple):
    """A page's main content, title and declared language (two or three letters)."""

    text: str
    title: str | None
    language: str | None


def charset_of(data: bytes, declared: str | None = None) -> str:
    """The charset of a page, as the WHATWG standard ranks what says it: byte order mark, HTTP header (`declared`), the page's
    own declaration, and else what its bytes look like.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # the mapping is WHATWG's: latin-1 is read as windows-1252, which is what servers mean by it
    known = map_encoding_to_html5(declared, fallback_utf8=False) if declared else None
    return str(known or detect_encoding(data, from_html_meta=True) or "utf-8")


def to_text(data: bytes, declared: str | None = None) -> str:
    """A page's markup. Nothing is raised: what is not valid becomes U+FFFD.

    Departures from the standard: what is valid UTF-8 beyond ASCII is UTF-8, whatever it is declared as, since text in other
    charsets is not; and what is declared as UTF-8 but is mostly broken is in the charset that its bytes look like.
    """
    if not data.isascii() and b"\0" not in data[:1024]:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    charset = charset_of(data, declared)
    if charset == "utf-8":
        text = data.decode("utf-8-sig", "replace")
        broken = text.count("\ufffd")
        beyond = len(text) - len(text.encode("ascii", "ignore")) - broken
        if 4 * broken <= beyond:
            return text
        charset = str(detect_encoding(data, from_html_meta=False) or "utf-8")
    try:
        return data.decode("gb18030" if charset == "gbk" else charset, "replace").removeprefix("\ufeff")
    except LookupError:  # one of the standard's that Python does not have
        return data.decode("utf-8", "replace")


def to_page(data: bytes, source: SourceConfig, declared: str | None = None) -> Page | str:
    """A page's content, or why it cannot be read. `declared` is its charset by the HTTP header."""
    if b"\0" in data[:1024] and not charset_of(data, declared).startswith("utf-16"):
        return "not a page: binary data"
    tags = data.count(b"<")
    if len(data) > _SMALL:
        tags, attributes, memory = bounds(data)
        if attributes > MAX_ATTRIBUTES:
            return f"a tag with up to {attributes} attributes, over {MAX_ATTRIBUTES}"
        if memory > MAX_TREE_BYTES:
            return f"{len(data)} bytes with {tags} tags would take up to {memory >> 20} MB to parse, over {MAX_TREE_BYTES >> 20}"
    markup = to_text(data, source.encoding or declared)
    tree = HTMLTree.parse(markup)
    if tags > MAX_DEPTH and is_deeper(tree, MAX_DEPTH):
        return f"elements nested over {MAX_DEPTH} deep"
    root = tree.document.query_selector("html") if tree.document is not None else None
    language = (root.getattr("lang") or "") if root is not None else ""
    title = " ".join((tree.title or "").split()) or None
    if source.extractor == "trafilatura":
        text = _trafilatura(markup)
    else:
        if "<ul" in markup or "<UL" in markup:
            _sink_content_lists(tree)
        if "<td" in markup or "<TD" in markup:
            _unwrap_cells(tree)
        text = extract_plain_text(
            tree, main_content=True, preserve_formatting=True, list_bullets=True, alt_texts=False, links=False, post_meta=False
        )
    return Page(text.strip("\n"), title, language.split("-")[0].lower() or None)


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


def _linked(element: Any) -> int:
    """Characters of the links within an element (of the first so many elements in it)."""
    characters = 0
    node = element.first_element_child
    for _ in range(_LIST_ELEMENTS):
        if node is None:
            break
        child = None if node.tag == "a" else node.first_element_child
        if node.tag == "a":
            characters += len(node.text_content)
        while child is None and node != element:
            child = node.next_element_sibling
            node = node if child is not None else node.parent
        node = child
    return characters


def _sink_content_lists(tree: Any) -> None:
    """Put shallow lists of content so deep that the extractor does not take them for navigation."""
    for found in tree.document.query_selector_all(_SHALLOW_LISTS):
        if found.closest(_NO_CONTENT) is not None:
            continue
        size = len(found.text_content)
        if not size or _linked(found) > _LINKED * size:
            continue
        outer = inner = tree.create_element("div")
        for _ in range(_NAVIGATION_LEVELS):
            deeper = tree.create_element("div")
            inner.append_child(deeper)
            inner = deeper
        found.parent.insert_before(outer, found)
        inner.append_child(found)


def _unwrap_cells(tree: Any) -> None:
    """Take the paragraph out of a cell that holds nothing else, so that a table's row is one line."""
    for paragraph in tree.document.query_selector_all("td > p:only-child, th > p:only-child"):
        cell = paragraph.parent
        while paragraph.first_child is not None:
            cell.insert_before(paragraph.first_child, paragraph)
        cell.remove_child(paragraph)


def _trafilatura(markup: str) -> str:
    """The main content by trafilatura (Barbaresi 2021), set to precision as FineWeb has it, without the readers' comments."""
    try:
        import trafilatura
    except ImportError as error:
        raise UserError("extractor trafilatura is not installed: pip install 'encoder-foundry[trafilatura]'") from error
    return trafilatura.extract(markup, favor_precision=True, include_comments=False, include_tables=True) or ""


def read(member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """One page, one record: headings, paragraphs, lists, tables (a row a line, cells by tabs) and code as light text;
    boilerplate (navigation, footers, bylines) left out.

    A page without main content is a record with empty text, so that its loss shows among the drops.
    """
    data = read_all(member, source)
    page = to_page(data, source)
    if isinstance(page, str):
        yield Unreadable(member.path, page, data[:RAW_BYTES])
        return
    yield Record(member.path, page.text, title=page.title, language=page.language, path=member.name)

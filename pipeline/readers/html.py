"""HTML pages: the main content as light text, by resiliparse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

from pipeline.readers.config import SourceConfig
from pipeline.readers.files import Member, read_all
from pipeline.readers.record import RAW_BYTES, Record, Unreadable

# Extraction takes time in the square of the depth. Browsers stop at 512; tags that need no end (`<br>`, `<p>`, `<li>`) count
# here too, and of a thousand real pages the deepest counts 791.
MAX_DEPTH = 5_000


def nesting(data: bytes) -> int:
    """An upper bound of how deep a page's elements nest: start tags less end tags, at the worst place."""
    page = np.frombuffer(data, np.uint8)
    if len(page) < 2:
        return 0
    begins = np.flatnonzero(page[:-1] == ord("<"))
    following = page[begins + 1]
    steps = np.where(following == ord("/"), -1, ((following | 0x20) >= ord("a")) & ((following | 0x20) <= ord("z")))
    return int(np.cumsum(steps).max(initial=0))


def read(member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """One page, one record: headings, paragraphs and lists as light text; boilerplate (navigation, footers) left out.
    resiliparse 2.0 takes short unordered lists for navigation and leaves them out too.

    The charset is the page's own declaration, else detected (resiliparse follows the WHATWG encoding standard). A page
    without main content is a record with empty text, so that its loss shows among the drops.
    """
    data = read_all(member, source)
    if b"\0" in data[:1024] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield Unreadable(member.path, "not a page: binary data", data[:RAW_BYTES])
        return
    depth = nesting(data)
    if depth > MAX_DEPTH:
        yield Unreadable(member.path, f"elements nested up to {depth} deep, over {MAX_DEPTH}", data[:RAW_BYTES])
        return
    markup = bytes_to_str(data, detect_encoding(data, from_html_meta=True) or "utf-8")
    tree = HTMLTree.parse(markup)
    text = extract_plain_text(tree, main_content=True, preserve_formatting=True, list_bullets=True, alt_texts=False, links=False)
    root = tree.document.query_selector("html") if tree.document is not None else None
    language = root.getattr("lang") if root is not None else None
    title = " ".join((tree.title or "").split()) or None
    declared = (language or "").split("-")[0].lower() or None
    yield Record(member.path, text.strip(), title=title, language=declared, path=member.name)

"""HTML pages: the main content as light text, by resiliparse."""

from __future__ import annotations

from collections.abc import Iterator

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

from pipeline.readers.config import SourceConfig
from pipeline.readers.files import Member, read_all
from pipeline.readers.record import RAW_BYTES, Record, Unreadable


def read(member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """One page, one record: headings, paragraphs and lists as light text; boilerplate (navigation, footers) left out.

    The charset is the page's own declaration, else detected (resiliparse follows the WHATWG encoding standard). A page
    without main content is a record with empty text, so that its loss shows among the drops.
    """
    data = read_all(member, source)
    if b"\0" in data[:1024] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield Unreadable(member.path, "not a page: binary data", data[:RAW_BYTES])
        return
    markup = bytes_to_str(data, detect_encoding(data, from_html_meta=True) or "utf-8")
    tree = HTMLTree.parse(markup)
    text = extract_plain_text(tree, main_content=True, preserve_formatting=True, list_bullets=True, alt_texts=False, links=False)
    root = tree.document.query_selector("html") if tree.document is not None else None
    language = root.getattr("lang") if root is not None else None
    title = " ".join((tree.title or "").split()) or None
    declared = (language or "").split("-")[0].lower() or None
    yield Record(member.path, text.strip(), title=title, language=declared, path=member.name)

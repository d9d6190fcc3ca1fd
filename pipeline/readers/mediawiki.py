"""MediaWiki's XML dumps: one page, one document, as light text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from lxml import etree
from pydantic import Field

from pipeline.readers import wikitext
from pipeline.readers.config import SourceConfig
from pipeline.readers.elements import split
from pipeline.readers.record import RAW_BYTES, Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, describe, read_some

_HEAD = 1 << 20  # of the file, in which <siteinfo> ends


class MediawikiSource(SourceConfig):
    """An XML dump of a wiki."""

    namespaces: list[int] = Field(
        [0], min_length=1, description="Which namespaces to read; 0 are articles (the default of wikis' own tools)."
    )


def parser() -> Any:
    """An XML parser that resolves no entity of a file's own, fetches nothing, and keeps libxml2's limits on depth and size."""
    return etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, remove_comments=True, remove_pis=True)


def read(member: Member, source: MediawikiSource) -> Iterator[Record | Unreadable]:
    """A dump's pages in the chosen namespaces, streaming; redirects, and pages that are not wikitext (styles, modules), are passed over.

    Of a page with its history, the last revision in the file counts. `id` is the wiki's name in the dump and the page's number there;
    `date` is the revision's day, `url` the page's by the dump's own `base`. A page that is not XML, or is longer than
    `max_record_bytes`, is unreadable, and the next one is read.
    """
    head = b""
    failure: Exception | None = None
    try:
        while len(head) < _HEAD and b"</siteinfo>" not in head and b"<page>" not in head[-(1 << 17) :]:
            chunk = read_some(member.stream, 1 << 16)
            if not chunk:
                break
            head += chunk
    except STREAM_ERRORS as error:
        failure = error
    if b"<mediawiki" not in head[: 1 << 16] and b"<page>" not in head:
        why = f"the rest cannot be read: {describe(failure)}" if failure else "not a MediaWiki dump: no <mediawiki> in it"
        yield Unreadable(member.path, why, head[:RAW_BYTES])
        return
    site = _Site(head)
    offset = 0
    pages = split(member.stream, ("page",), source.max_record_bytes, head)
    while True:
        try:
            offset, page = next(pages)
        except StopIteration:
            break
        except STREAM_ERRORS as error:
            failure = error
            break
        if isinstance(page, int):
            yield Unreadable(f"{member.path} (byte {offset})", f"a page of {page} bytes, over max_record_bytes ({source.max_record_bytes})")
            continue
        record = _page(page, f"{member.path} (byte {offset})", member, site, source)
        if record is not None:
            yield record
    if failure is not None:
        yield Unreadable(f"{member.path} (after byte {offset})", f"the rest cannot be read: {describe(failure)}")


class _Site:
    """What <siteinfo> says: the wiki's name, language, where its pages are, and what it calls files and categories."""

    def __init__(self, head: bytes) -> None:
        def first(pattern: bytes) -> str | None:
            match = re.search(pattern, head)
            return match.group(1).decode("utf-8", "replace") if match else None

        self.name = first(rb"<dbname>([^<]{1,200})</dbname>")
        base = first(rb"<base>([^<\s]{1,500})</base>")
        self.base = base.rsplit("/", 1)[0] + "/" if base and base.count("/") > 2 else None
        self.language = first(rb'<mediawiki[^>]{0,2000}?\sxml:lang="([A-Za-z-]{2,20})"')
        names = set(wikitext.FILES)
        for _key, name in re.findall(rb'<namespace key="(6|14)"[^>]{0,200}>([^<]{1,200})</namespace>', head):
            names.add(name.decode("utf-8", "replace").lower())
        self.left_out = frozenset(names)


def _page(page: bytes, place: str, member: Member, site: _Site, source: MediawikiSource) -> Record | Unreadable | None:
    if not page.rstrip().endswith(b">") or b"</page" not in page[-80:]:
        return Unreadable(place, "a page without its end", page[:RAW_BYTES])
    try:
        root = etree.fromstring(page, parser())
    except etree.XMLSyntaxError as error:
        return Unreadable(place, f"not XML: {error.msg}", page[:RAW_BYTES])
    namespace = (root.findtext("ns") or "0").strip()
    if not re.fullmatch(r"-?[0-9]{1,9}", namespace):
        return Unreadable(place, "a page whose namespace is no number", page[:RAW_BYTES])
    if int(namespace) not in source.namespaces or root.find("redirect") is not None:
        return None
    revisions = root.findall("revision")
    title = (root.findtext("title") or "").strip()
    if not revisions or not title:
        return Unreadable(place, "a page without a revision or a title", page[:RAW_BYTES])
    revision = revisions[-1]
    if (revision.findtext("model") or "wikitext").strip() != "wikitext":
        return None
    content = revision.findtext("text") or ""
    if wikitext.is_redirect(content):
        return None
    number = (root.findtext("id") or "").strip()
    stamp = (revision.findtext("timestamp") or "").strip()
    text, unknown = wikitext.read_page(content, site.left_out)
    return Record(
        id=f"{site.name}:{number}" if site.name and number else f"{member.path}#{number or title}",
        text=f"{title}\n\n{text}" if text else "",
        url=site.base + quote(title.replace(" ", "_"), safe="/:@!$()*,;~'") if site.base else None,
        title=title,
        language=site.language,
        path=member.name,
        from_markup=True,
        left_out=unknown,
        date=stamp[:10] if re.match(r"\d{4}-\d\d-\d\d", stamp) else None,
        meta={
            name: value
            for name, value in {"page": number, "revision": (revision.findtext("id") or "").strip(), "timestamp": stamp}.items()
            if value
        },
    )

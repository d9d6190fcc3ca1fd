"""Papers in JATS (and its forerunner NLM, and PubMed's) XML: title, abstract and body as paragraphs under headings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree

from pipeline.readers.config import SourceConfig
from pipeline.readers.files import Member, read_all
from pipeline.readers.record import RAW_BYTES, Record, Unreadable

# What is not running text: references, pictures, tables' cells, notes to editors, alternatives of what is already there.
_LEFT_OUT = {
    "ref-list", "graphic", "media", "inline-graphic", "table", "table-wrap-foot", "supplementary-material", "object-id",
    "label", "permissions", "contrib-group", "aff", "fn-group", "journal-meta", "alternatives-graphic", "app-group", "glossary",
}  # fmt: skip
_BLOCKS = {"p", "title", "sec", "abstract", "body", "list", "list-item", "fig", "table-wrap", "boxed-text", "disp-quote",
           "caption", "disp-formula", "def-list", "def-item", "def", "term", "statement", "verse-group", "trans-abstract"}  # fmt: skip


def read(member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """One article, one record. Entities are not resolved and nothing is fetched; libxml2's limits on depth and size hold."""
    data = read_all(member, source)
    parser = etree.XMLParser(resolve_entities="internal", no_network=True, huge_tree=False, load_dtd=False, remove_comments=True)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        yield Unreadable(member.path, f"not XML: {error.msg}", data[:RAW_BYTES])
        return
    articles = [root] if _name(root) in ("article", "PubmedArticle") else list(root.iter("{*}article", "{*}PubmedArticle"))
    if not articles:
        yield Unreadable(member.path, f"no article: the root element is <{_name(root)}>", data[:RAW_BYTES])
    for number, article in enumerate(articles):
        yield _record(member, article, number if len(articles) > 1 else None)


def _record(member: Member, article: Any, number: int | None) -> Record:
    title = _first(article, "article-title", "ArticleTitle")
    blocks = [title] if title else []
    for part in ("abstract", "Abstract", "body"):
        for element in article.iter(f"{{*}}{part}"):
            if part != "body" and _inside(element, "body"):
                continue
            if part != "body" and element.get("abstract-type") in ("toc", "graphical", "teaser", "short"):
                continue
            if part == "abstract" and not any(_name(child) == "title" for child in element):
                blocks.append("Abstract")
            blocks.extend(_blocks(element))
    meta = {
        name: value
        for name, value in {
            "doi": _text_of(article, ".//{*}article-id[@pub-id-type='doi']"),
            "pmid": _text_of(article, ".//{*}article-id[@pub-id-type='pmid']") or _text_of(article, ".//{*}PMID"),
            "journal": _first(article, "journal-title", "Title"),
        }.items()
        if value
    }
    return Record(
        id=member.path if number is None else f"{member.path}#{number}",
        text="\n\n".join(block for block in blocks if block),
        title=title or None,
        language=article.get("{http://www.w3.org/XML/1998/namespace}lang"),
        license=_license(article),
        path=member.name,
        date=_date(article),
        meta=meta,
    )


def _name(element: Any) -> str:
    """An element's name without its namespace; comments and instructions have none."""
    return str(element.tag).rsplit("}", 1)[-1] if isinstance(element.tag, str) else ""


def _inside(element: Any, name: str) -> bool:
    return any(_name(ancestor) == name for ancestor in element.iterancestors())


def _inline(element: Any) -> str:
    """The running text of a paragraph: inline elements joined, blocks and left-out elements skipped, spaces collapsed."""
    parts: list[str] = []
    stack: list[tuple[Any, bool]] = [(element, False)]
    while stack:  # by hand, since hostile documents nest deeper than Python recurses
        node, closing = stack.pop()
        if closing:
            parts.append(node.tail or "")
            continue
        if node is not element:
            stack.append((node, True))
            name = _name(node)
            if not name or name in _LEFT_OUT or name in _BLOCKS - {"disp-formula"}:
                continue
            if name == "alternatives" or name in ("inline-formula", "disp-formula"):
                parts.append(f" {_formula(node)} ")
                continue
        parts.append(node.text or "")
        stack.extend((child, False) for child in reversed(node))
    return " ".join("".join(parts).split())


def _formula(element: Any) -> str:
    """A formula as its TeX where the paper has it, else as the characters of its MathML."""
    for tex in element.iter("{*}tex-math"):
        source = "".join(tex.itertext())
        if "\\begin{document}" in source:  # publishers wrap each formula in a whole TeX document
            source = source.split("\\begin{document}", 1)[1].split("\\end{document}", 1)[0]
        return " ".join(source.split())
    return " ".join("".join(element.itertext()).split())


def _blocks(element: Any) -> list[str]:
    """The paragraphs and headings under an element, in order."""
    blocks: list[str] = []
    stack = [element]
    while stack:
        node = stack.pop()
        name = _name(node)
        if not name or name in _LEFT_OUT:
            continue
        if name in ("p", "title", "term", "AbstractText", "disp-formula", "verse-line"):
            text = _inline(node)
            if text:
                blocks.append(text)
            stack.extend(child for child in reversed(node) if _name(child) in _BLOCKS - {"disp-formula"})
        else:
            stack.extend(reversed(node))
    return blocks


def _first(article: Any, *names: str) -> str | None:
    for name in names:
        for element in article.iter(f"{{*}}{name}"):
            if not _inside(element, "ref-list"):
                text = _inline(element)
                if text:
                    return text
    return None


def _text_of(article: Any, path: str) -> str | None:
    found = article.find(path)
    return (found.text or "").strip() or None if found is not None else None


def _license(article: Any) -> str | None:
    """The licence as SPDX-like text, from its link or its words."""
    for element in article.iter("{*}license"):
        words = " ".join(
            [
                element.get("{http://www.w3.org/1999/xlink}href") or "",
                *(link.get("{http://www.w3.org/1999/xlink}href") or "" for link in element.iter("{*}ext-link")),
                "".join(element.itertext()),
            ]
        ).lower()
        if "publicdomain/zero" in words or "cc0" in words:
            return "CC0-1.0"
        for kind in ("by-nc-nd", "by-nc-sa", "by-nc", "by-nd", "by-sa", "by"):
            if f"licenses/{kind}/" in words:
                version = words.split(f"licenses/{kind}/", 1)[1][:3]
                return f"CC-{kind.upper()}-{version}" if version[:1].isdigit() else f"CC-{kind.upper()}"
        if "creative commons attribution" in words:
            return "CC-BY"
    return None


def _date(article: Any) -> str | None:
    for element in article.iter("{*}pub-date", "{*}PubDate"):
        parts = [
            (element.findtext(f"{{*}}{name}") or element.findtext(f"{{*}}{name.title()}") or "").strip()
            for name in ("year", "month", "day")
        ]
        if parts[0].isdigit():
            numbers = [parts[0]] + [part.zfill(2) for part in parts[1:] if part.isdigit()]
            return "-".join(numbers)
    return None

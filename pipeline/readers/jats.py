"""Papers in JATS (and its forerunner NLM, and PubMed's) XML: title, abstract and body as light text under headings.

What is kept, in the paper's order: abstracts with their labels, sections, paragraphs, lists as `- ` and `1. `, quotations, tables as rows
with bars, captions of figures and tables after the paragraph that holds them, formulas as TeX (that of the publisher, else of its MathML),
citations as they stand in the sentence, appendices. Left out: references, acknowledgements, funding, conflicts of interest and other
notes (they name people and repeat themselves from paper to paper), abbreviations' lists, translated and graphical abstracts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from pipeline.readers.config import SourceConfig
from pipeline.readers.elements import split
from pipeline.readers.record import RAW_BYTES, Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, TooLarge, describe, read_some
from pipeline.readers.tables import rows_to_text

_LEFT_OUT = frozenset({
    "ref-list", "graphic", "media", "inline-graphic", "inline-supplementary-material", "supplementary-material", "object-id",
    "permissions", "contrib-group", "aff", "fn-group", "fn", "journal-meta", "glossary", "alt-text", "long-desc", "attrib", "sec-meta",
    "kwd-group", "label", "processing-instruction", "author-notes", "ack", "notes", "bio", "history", "sub-article", "response",
    "private-char", "xref-group",
})  # fmt: skip
_FLOATS = frozenset({"fig", "fig-group", "table-wrap", "table-wrap-group", "boxed-text", "floats-group", "chem-struct-wrap"})
_BREAKS = frozenset({
    "list", "disp-formula", "disp-formula-group", "disp-quote", "def-list", "verse-group", "preformat", "code", "statement", "speech",
    "table", "p", "sec",
})  # fmt: skip
# Linear: matched at the start of a text alone, in bounded runs.
_NUMBER = re.compile(r"[-−–+]?[0-9]{1,6}(?:[.,/][0-9]{1,4})?[-−–+]?\Z")
_LANGUAGES = {
    "eng": "en", "fre": "fr", "ger": "de", "spa": "es", "por": "pt", "ita": "it", "rus": "ru", "chi": "zh", "jpn": "ja", "kor": "ko",
    "pol": "pl", "dut": "nl", "tur": "tr", "hun": "hu", "cze": "cs", "swe": "sv", "nor": "no", "dan": "da", "fin": "fi", "ukr": "uk",
}  # fmt: skip
_MONTHS = {
    name: number for number, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
# Linear: what is taken after a `<` ends at the next one; looked for in the first 64 kB. The declaration is only looked for at the start.
_ROOT = re.compile(rb"<(?![?!])([A-Za-z_][\w.:-]{0,100})(?:\s[^<>]{0,20000})?>")
_DECLARED = re.compile(rb"\A\s*<\?xml[^>]{0,200}\?>")
_XLINK = "{http://www.w3.org/1999/xlink}href"
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_MAX_DEPTH = 200  # of elements that are walked as what they are; deeper ones give their words alone


def _parser() -> Any:
    return etree.XMLParser(
        resolve_entities="internal", no_network=True, huge_tree=False, load_dtd=False, remove_comments=True, remove_pis=True
    )


def read(member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """One article, one record; of a set (PubMed's files of 30,000, collections of PMC) each, streaming.

    Only entities that the file itself defines are resolved, within libxml2's bounds; nothing is fetched; its limits on depth and size
    hold. In a set, an article that is not XML or is longer than `max_record_bytes` is unreadable, and the next one is read.
    """
    head = b""
    while len(head) < 1 << 16 and (chunk := read_some(member.stream, 1 << 16)):
        head += chunk
        if _ROOT.search(head):
            break
    root = _ROOT.search(head)
    name = root.group(1).rpartition(b":")[2].decode() if root else ""
    if root is None or name in ("article", "PubmedArticle") or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield from _one(head, member, source)
        return
    declared = _DECLARED.match(head)
    opening = (declared.group() if declared else b"") + root.group()
    closing = b"</" + root.group(1) + b">"
    number, offset, failure = 0, 0, None
    parts = split(member.stream, ("article", "PubmedArticle"), source.max_record_bytes, head)
    while True:
        try:
            offset, part = next(parts)
        except StopIteration:
            break
        except STREAM_ERRORS as error:
            failure = error
            break
        place = f"{member.path}#{number}"
        number += 1
        if isinstance(part, int):
            yield Unreadable(f"{place} (byte {offset})", f"an article of {part} bytes, over max_record_bytes ({source.max_record_bytes})")
            continue
        try:
            article = etree.fromstring(opening + part + closing, _parser())[0]
        except etree.XMLSyntaxError as error:
            yield Unreadable(f"{place} (byte {offset})", f"not XML: {error.msg}", part[:RAW_BYTES])
            continue
        yield _record(member, article, place)
    if failure is not None:
        yield Unreadable(f"{member.path} (after byte {offset})", f"the rest cannot be read: {describe(failure)}")
    elif not number:
        yield Unreadable(member.path, f"no article: the root element is <{name}>", head[:RAW_BYTES])


def _one(head: bytes, member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """A file that is one article, or begins like none."""
    data = head + member.stream.read(max(0, source.max_record_bytes + 1 - len(head)))
    if len(data) > source.max_record_bytes:
        raise TooLarge(f"longer than max_record_bytes ({source.max_record_bytes})")
    try:
        root = etree.fromstring(data, _parser())
    except etree.XMLSyntaxError as error:
        yield Unreadable(member.path, f"not XML: {error.msg}", data[:RAW_BYTES])
        return
    articles = [root] if _name(root) in ("article", "PubmedArticle") else list(root.iter("{*}article", "{*}PubmedArticle"))
    if not articles:
        yield Unreadable(member.path, f"no article: the root element is <{_name(root)}>", data[:RAW_BYTES])
    for number, article in enumerate(articles):
        yield _record(member, article, f"{member.path}#{number}" if len(articles) > 1 else member.path)


def _name(element: Any) -> str:
    """An element's name without its namespace; comments and instructions have none."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _record(member: Member, article: Any, identity: str) -> Record:
    pubmed = _name(article) == "PubmedArticle"
    title = _title(article)
    blocks = [title] if title else []
    if pubmed:
        abstract = article.find(".//{*}Abstract")
        if abstract is not None:
            blocks.append("Abstract")
            blocks.extend(_labelled(part) for part in abstract.iterfind("{*}AbstractText"))
    else:
        for element in article.iterfind("{*}front/{*}article-meta/{*}abstract"):
            if element.get("abstract-type") in ("toc", "graphical", "teaser", "short", "key-points", "precis", "editor"):
                continue
            if not any(_name(child) == "title" for child in element):
                blocks.append("Abstract")
            _emit(element, blocks, 0)
        for part in ("body", "back", "floats-group"):
            for element in article.iterfind(f"{{*}}{part}"):
                if part == "back":
                    for appendix in element.iter("{*}app"):
                        _emit(appendix, blocks, 0)
                else:
                    _emit(element, blocks, 0)
        if len(blocks) <= 1:  # papers of no known build
            for element in article.iter("{*}abstract", "{*}body"):
                _emit(element, blocks, 0)
    declared = (article.get(_XML_LANG) or "").split("-")[0].lower()
    if pubmed:
        named = (article.findtext(".//{*}Language") or "").strip().lower()
        declared = _LANGUAGES.get(named, named if len(named) == 2 else "")
    date = _date(article, pubmed)
    meta = {name: value for name, value in _meta(article, pubmed).items() if value}
    if date:
        meta["year"] = int(date[:4])
    return Record(
        id=identity,
        text="\n\n".join(block for block in blocks if block),
        title=title or None,
        language=declared or None,
        license=_license(article),
        path=member.name,
        date=date,
        meta=meta,
    )


# --- text ---------------------------------------------------------------------------------------------------------------


def _emit(element: Any, blocks: list[str], depth: int) -> None:
    """An element's blocks, in order."""
    name = _name(element)
    if not name or name in _LEFT_OUT:
        return
    if depth > _MAX_DEPTH:
        blocks.append(_collapse("".join(element.itertext())))
        return
    if name == "p":
        _paragraph(element, blocks, depth)
    elif name in ("title", "subtitle", "term", "verse-line", "subject"):
        blocks.append(_inline(element))
    elif name in ("list", "def-list"):
        blocks.append("\n".join(_list(element, depth, 0)))
    elif name == "disp-formula":
        blocks.append(_formula(element, display=True))
    elif name in ("table-wrap", "fig"):
        _float(element, blocks, depth)
    elif name == "table":
        blocks.append(_table(element))
    elif name in ("preformat", "code"):
        blocks.append("".join(element.itertext()).strip("\n"))
    elif name == "alternatives":
        for child in element:
            if _name(child) in ("table", "textual-form", "disp-formula"):
                _emit(child, blocks, depth + 1)
                break
    else:
        if (element.text or "").strip() and name not in ("sec", "body", "abstract", "app"):  # text outside any paragraph
            _paragraph(element, blocks, depth)
            return
        for child in element:
            _emit(child, blocks, depth + 1)


def _paragraph(element: Any, blocks: list[str], depth: int) -> None:
    """A paragraph's text; displays and lists within it stand between its parts, figures and tables after it."""
    parts: list[str] = [element.text or ""]
    floats: list[Any] = []

    def flush() -> None:
        text = _collapse("".join(parts))
        if text:
            blocks.append(text)
        parts.clear()

    for child in element:
        name = _name(child)
        if name in _FLOATS:
            floats.append(child)
        elif name in _BREAKS:
            flush()
            _emit(child, blocks, depth + 1)
        else:
            _span(child, parts, floats, depth + 1)
        parts.append(child.tail or "")
    flush()
    for each in floats:
        _emit(each, blocks, depth + 1)


def _span(element: Any, parts: list[str], floats: list[Any], depth: int) -> None:
    """An inline element's text, without its tail."""
    name = _name(element)
    if not name or name in _LEFT_OUT:
        return
    if name in _FLOATS:
        floats.append(element)
        return
    if name in ("inline-formula", "tex-math", "math", "disp-formula"):
        parts.append(_formula(element, display=False))
        return
    if name == "break":
        parts.append(" ")
        return
    if depth > _MAX_DEPTH:
        parts.append("".join(element.itertext()))
        return
    if name in ("sup", "sub"):
        inner: list[str] = []
        _children(element, inner, floats, depth)
        text = _collapse("".join(inner))
        if name == "sup" and text:
            if any(_name(child) == "xref" and child.get("ref-type") in ("fn", "aff", "corresp", "table-fn") for child in element):
                return
            if any(_name(child) == "xref" and child.get("ref-type") == "bibr" for child in element):
                text = text if text[0] in "[(" else f"[{text}]"
            elif _NUMBER.match(text):
                text = "^" + text if len(text) == 1 else f"^{{{text}}}"
        parts.append(text)
        return
    if name == "xref" and element.get("ref-type") in ("fn", "aff", "corresp"):
        return
    _children(element, parts, floats, depth)


def _children(element: Any, parts: list[str], floats: list[Any], depth: int) -> None:
    parts.append(element.text or "")
    for child in element:
        block = _name(child) in _BREAKS
        if block:
            parts.append(" ")
        _span(child, parts, floats, depth + 1)
        if block:
            parts.append(" ")
        parts.append(child.tail or "")


def _inline(element: Any) -> str:
    parts: list[str] = []
    _children(element, parts, [], 0)
    return _collapse("".join(parts))


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _labelled(part: Any) -> str:
    """A part of PubMed's abstract: its label and text."""
    text, label = _inline(part), (part.get("Label") or "").strip()
    return f"{label}: {text}" if label and text and label.upper() != "UNLABELLED" else text


def _list(element: Any, depth: int, indent: int) -> list[str]:
    """The lines of a list. Items have marks, but where the publisher gives its own labels, those."""
    lines: list[str] = []
    ordered = (element.get("list-type") or "") in ("order", "arabic", "alpha-lower", "alpha-upper", "roman-lower", "roman-upper")
    number = 0
    for item in element:
        name = _name(item)
        if name in ("list-item", "def-item"):
            number += 1
            label = item.findtext("{*}label")
            mark = f"{number}." if ordered else "-"
            if label and label.strip() and label.strip() not in "-–—•·*○■▪□":
                mark = _collapse(label)
            blocks: list[str] = []
            nested: list[str] = []
            for child in item:
                kind = _name(child)
                if kind in ("list", "def-list") and depth < _MAX_DEPTH:
                    nested.extend(_list(child, depth + 1, min(indent + 1, 6)))
                elif kind == "p" and depth < _MAX_DEPTH:
                    for grandchild in child:
                        if _name(grandchild) in ("list", "def-list"):
                            nested.extend(_list(grandchild, depth + 1, min(indent + 1, 6)))
                            grandchild.clear(keep_tail=True)
                    _emit(child, blocks, depth + 1)
                elif kind == "def":
                    blocks.append(": " + _inline(child))
                elif kind != "label":
                    _emit(child, blocks, depth + 1)
            text = (
                " ".join(block for block in blocks if block).replace(" : ", ": ", 1)
                if name == "def-item"
                else " ".join(filter(None, blocks))
            )
            if text:
                lines.append("  " * indent + f"{mark} {text}")
            lines.extend(nested)
        elif name in ("title", "label", "list-head"):
            text = _inline(item)
            if text and name == "title":
                lines.append("  " * indent + text)
    return lines


def _float(element: Any, blocks: list[str], depth: int) -> None:
    """A figure's or table's caption, then the table's rows and notes."""
    label = _collapse(element.findtext("{*}label") or "").rstrip(".:")
    caption: list[str] = []
    for child in element.iterfind("{*}caption"):
        for part in child:
            text = _inline(part)
            if text:
                caption.append(text if text[-1] in ".?!:" else text + ".")
        if not len(child):
            caption.append(_inline(child))
    head = " ".join([*([f"{label}."] if label else []), *caption])
    rows: list[str] = []
    for table in element.iter("{*}table"):
        rows.append(_table(table))
    notes: list[str] = []
    for foot in element.iterfind("{*}table-wrap-foot"):
        for part in foot.iter("{*}p"):
            notes.append(_inline(part))
    text = "\n".join(part for part in (head if caption or rows else "", *rows, *notes) if part)
    if text:
        blocks.append(text)


def _table(table: Any) -> str:
    """Rows and cells; one that spans columns keeps the others in their places."""
    rows = []
    for row in table.iter("{*}tr"):
        cells: list[str] = []
        for cell in row:
            if _name(cell) in ("td", "th"):
                cells.append(_inline(cell))
                span = cell.get("colspan") or "1"
                if span.isdecimal() and span.isascii() and 1 < int(span[:4]) <= 50:
                    cells.extend([""] * (int(span[:4]) - 1))
        rows.append(cells)
    return rows_to_text(rows)


# --- formulas -----------------------------------------------------------------------------------------------------------


def _formula(element: Any, *, display: bool) -> str:
    """A formula as TeX between dollars where there is TeX or structured MathML; one of plain letters as they are."""
    tex = element if _name(element) == "tex-math" else next(iter(element.iter("{*}tex-math")), None)
    if tex is not None:
        source = "".join(tex.itertext())
        if "\\begin{document}" in source:  # publishers wrap each formula in a whole TeX document
            source = source.split("\\begin{document}", 1)[1].split("\\end{document}", 1)[0]
        source = _collapse(source)
        bare = (
            source[2:-2]
            if source.startswith("$$") and source.endswith("$$") and len(source) > 4
            else source.strip("$")
            if source.count("$") == 2
            else source
        )
        return (f"$${bare.strip()}$$" if display else f"${bare.strip()}$") if bare.strip() else ""
    math = element if _name(element) == "math" else next(iter(element.iter("{*}math")), None)
    if math is not None:
        body = _collapse(_mathml(math, 0))
        if body:
            return f"$${body}$$" if display else f"${body}$"
        return ""
    return _inline_formula(element)


def _inline_formula(element: Any) -> str:
    parts: list[str] = []
    _children(element, parts, [], 0)
    return _collapse("".join(parts))


_OPERATORS = {
    "−": "-", "⁢": "", "⁡": "", "⁣": "", "\u200b": "", "{": "\\{", "}": "\\}", "%": "\\%",
    "&": "\\&", "#": "\\#",
}  # fmt: skip


def _mathml(element: Any, depth: int) -> str:
    """Presentation MathML as light TeX: scripts, fractions, roots and matrices by their commands; letters and signs as they are."""
    name = _name(element)
    if depth > _MAX_DEPTH:
        return "".join(element.itertext())
    if name in ("mi", "mn", "mo", "ms"):
        text = _collapse("".join(element.itertext()))
        if name == "mo":
            text = _OPERATORS.get(text, text)
            return f" {text} " if text in ("=", "<", ">", "≤", "≥", "≈", "∼", "→", "±", "∈", "≠", "+", "-", "×", "≡", "∝") else text
        if name == "mi" and len(text) > 1 and text.isalpha() and text.isascii():
            return (
                f"\\{text} "
                if text in ("sin", "cos", "tan", "log", "ln", "exp", "max", "min", "lim", "det", "sup", "inf")
                else f"\\mathrm{{{text}}}"
            )
        return text
    if name == "mtext":
        text = "".join(element.itertext()).strip()
        return f"\\text{{{text}}}" if text else " "
    if name == "mspace":
        return " "
    if name in ("annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark"):
        return ""
    children = [_mathml(child, depth + 1) for child in element if _name(child)]
    if name not in ("mrow", "math", "mstyle", "mpadded"):  # parts of a construct, not of a line
        children = [child.strip() for child in children]
    if name in ("msub", "msup", "msubsup", "mover", "munder", "munderover", "mfrac", "mroot") and len(children) >= 2:
        first = children[0] if len(children[0]) <= 1 or (children[0].startswith("\\") and "{" not in children[0]) else f"{{{children[0]}}}"
        if name == "msub":
            return f"{first}_{_braced(children[1])}"
        if name == "msup":
            return f"{first}^{_braced(children[1])}"
        if name in ("msubsup", "munderover"):
            return f"{first}_{_braced(children[1])}" + (f"^{_braced(children[2])}" if len(children) > 2 else "")
        if name == "mover":
            accent = {
                "¯": "bar",
                "‾": "bar",
                "^": "hat",
                "ˆ": "hat",
                "˜": "tilde",
                "~": "tilde",
                "→": "vec",
                "˙": "dot",
                "¨": "ddot",
                "ˉ": "bar",
                "_": "bar",
            }.get(children[1])
            return f"\\{accent}{{{children[0]}}}" if accent else f"\\overset{{{children[1]}}}{{{children[0]}}}"
        if name == "munder":
            return f"{first}_{_braced(children[1])}"
        if name == "mroot":
            return f"\\sqrt[{children[1]}]{{{children[0]}}}"
        return f"\\frac{{{children[0]}}}{{{children[1]}}}"
    if name == "msqrt":
        return f"\\sqrt{{{''.join(children)}}}"
    if name == "mfenced":
        separator = (element.get("separators") or ",")[:1]
        return f"{element.get('open') or '('}{separator.join(children)}{element.get('close') or ')'}"
    if name == "mtr" or name == "mlabeledtr":
        return " & ".join(children)
    if name == "mtable":
        return "\\begin{matrix} " + " \\\\ ".join(children) + " \\end{matrix}" if len(children) > 1 else "".join(children)
    text = element.text or ""
    return (text.strip() if not children else "") + "".join(children)


def _braced(text: str) -> str:
    return text if len(text) == 1 else f"{{{text}}}"


# --- metadata -----------------------------------------------------------------------------------------------------------


def _title(article: Any) -> str:
    for path in (
        "{*}front/{*}article-meta/{*}title-group/{*}article-title",
        ".//{*}ArticleTitle",
        ".//{*}title-group/{*}article-title",
        ".//{*}BookTitle",
    ):
        element = article.find(path)
        if element is not None:
            text = _inline(element)
            if text:
                return text.strip("[]").rstrip() if path.endswith("ArticleTitle") else text
    return ""


def _meta(article: Any, pubmed: bool) -> dict[str, object]:
    def text(path: str) -> str:
        found = article.find(path)
        return _collapse("".join(found.itertext())) if found is not None else ""

    if pubmed:
        return {
            "doi": text(".//{*}ELocationID[@EIdType='doi']") or text("{*}PubmedData/{*}ArticleIdList/{*}ArticleId[@IdType='doi']"),
            "pmid": text(".//{*}PMID"),
            "pmcid": text("{*}PubmedData/{*}ArticleIdList/{*}ArticleId[@IdType='pmc']"),
            "journal": text(".//{*}Journal/{*}Title"),
            "keywords": [word for word in (_inline(each) for each in article.iterfind(".//{*}KeywordList/{*}Keyword")) if word],
            "article_type": text(".//{*}PublicationTypeList/{*}PublicationType"),
        }
    front = "{*}front/{*}article-meta/"
    pmcid = text(f"{front}{{*}}article-id[@pub-id-type='pmc']") or text(f"{front}{{*}}article-id[@pub-id-type='pmcid']")
    return {
        "doi": text(f"{front}{{*}}article-id[@pub-id-type='doi']"),
        "pmid": text(f"{front}{{*}}article-id[@pub-id-type='pmid']"),
        "pmcid": f"PMC{pmcid}" if pmcid.isdecimal() else pmcid,
        "journal": text("{*}front/{*}journal-meta//{*}journal-title") or text(".//{*}journal-title"),
        "keywords": [word for word in (_inline(each) for each in article.iterfind(f"{front}{{*}}kwd-group/{{*}}kwd")) if word],
        "article_type": article.get("article-type") or "",
    }


def _license(article: Any) -> str | None:
    """The licence as SPDX-like text, from its link or its words."""
    for element in article.iter("{*}license"):
        words = " ".join(
            [
                element.get(_XLINK) or "",
                *(link.get(_XLINK) or "" for link in element.iter("{*}ext-link")),
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
            for phrase, kind in (
                ("noncommercial-no", "BY-NC-ND"),
                ("noncommercial-share", "BY-NC-SA"),
                ("non-commercial", "BY-NC"),
                ("noncommercial", "BY-NC"),
            ):
                if phrase in words:
                    return f"CC-{kind}"
            return "CC-BY"
    return None


def _date(article: Any, pubmed: bool) -> str | None:
    """The day, or as much as is known of it, of the first publication: the earliest of the dates that are given."""
    found = []
    elements = article.iterfind(".//{*}PubDate") if pubmed else article.iterfind("{*}front/{*}article-meta/{*}pub-date")
    for element in elements:
        parts = [
            (element.findtext(f"{{*}}{name}") or element.findtext(f"{{*}}{name.title()}") or "").strip()
            for name in ("year", "month", "day")
        ]
        if not parts[0]:
            medline = (element.findtext("{*}MedlineDate") or "").strip()
            parts[0] = medline[:4]
        if re.fullmatch(r"[12][0-9]{3}", parts[0]):
            numbers = [parts[0]]
            month = str(_MONTHS.get(parts[1][:3].lower(), parts[1]))
            if re.fullmatch(r"0?[1-9]|1[0-2]", month):
                numbers.append(month.zfill(2))
                if re.fullmatch(r"0?[1-9]|[12][0-9]|3[01]", parts[2]):
                    numbers.append(parts[2].zfill(2))
            found.append("-".join(numbers))
    # 2019 is no earlier than 2019-03-07: what is less known comes after the end of what it could be.
    return min(found, key=lambda date: date + "-99-99"[len(date) - 4 :]) if found else None

"""The text of JATS: its elements as blocks of light text."""

from __future__ import annotations

import re
from typing import Any

from pipeline.readers.elements import name_of
from pipeline.readers.mathml import to_tex
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
MAX_DEPTH = 200  # of elements that are walked as what they are; deeper ones give their words alone


def emit(element: Any, blocks: list[str], depth: int) -> None:
    """An element's blocks, in order."""
    name = name_of(element)
    if not name or name in _LEFT_OUT:
        return
    if depth > MAX_DEPTH:
        blocks.append(collapse("".join(element.itertext())))
        return
    if name == "p":
        _paragraph(element, blocks, depth)
    elif name in ("title", "subtitle", "term", "verse-line", "subject"):
        blocks.append(inline(element))
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
            if name_of(child) in ("table", "textual-form", "disp-formula"):
                emit(child, blocks, depth + 1)
                break
    else:
        if (element.text or "").strip() and name not in ("sec", "body", "abstract", "app"):  # text outside any paragraph
            _paragraph(element, blocks, depth)
            return
        for child in element:
            emit(child, blocks, depth + 1)


def _paragraph(element: Any, blocks: list[str], depth: int) -> None:
    """A paragraph's text; displays and lists within it stand between its parts, figures and tables after it."""
    parts: list[str] = [element.text or ""]
    floats: list[Any] = []

    def flush() -> None:
        text = collapse("".join(parts))
        if text:
            blocks.append(text)
        parts.clear()

    for child in element:
        name = name_of(child)
        if name in _FLOATS:
            floats.append(child)
        elif name in _BREAKS:
            flush()
            emit(child, blocks, depth + 1)
        else:
            _span(child, parts, floats, depth + 1)
        parts.append(child.tail or "")
    flush()
    for each in floats:
        emit(each, blocks, depth + 1)


def _span(element: Any, parts: list[str], floats: list[Any], depth: int) -> None:
    """An inline element's text, without its tail."""
    name = name_of(element)
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
    if depth > MAX_DEPTH:
        parts.append("".join(element.itertext()))
        return
    if name in ("sup", "sub"):
        inner: list[str] = []
        _children(element, inner, floats, depth)
        raw = "".join(inner)
        text = collapse(raw)
        if name == "sup" and text:
            if any(name_of(child) == "xref" and child.get("ref-type") in ("fn", "aff", "corresp", "table-fn") for child in element):
                return
            if any(name_of(child) == "xref" and child.get("ref-type") == "bibr" for child in element):
                text = text if text[0] in "[(" else f"[{text}]"
            elif _NUMBER.match(text):
                text = "^" + text if len(text) == 1 else f"^{{{text}}}"
        # white space at its edges is that of the sentence (`Ca<sup>2+ </sup>ions`)
        parts.append(f"{raw[:1] if raw[:1].isspace() else ''}{text}{raw[-1:] if raw[-1:].isspace() and text else ''}")
        return
    if name == "xref" and element.get("ref-type") == "bibr" and any(name_of(child) == "sup" for child in element):
        mark = collapse("".join(element.itertext()))
        parts.append(mark if mark[:1] in ("[", "(", "") else f"[{mark}]")
        return
    if name == "xref" and element.get("ref-type") in ("fn", "aff", "corresp"):
        return
    _children(element, parts, floats, depth)


def _children(element: Any, parts: list[str], floats: list[Any], depth: int) -> None:
    parts.append(element.text or "")
    for child in element:
        block = name_of(child) in _BREAKS
        if block:
            parts.append(" ")
        _span(child, parts, floats, depth + 1)
        if block:
            parts.append(" ")
        parts.append(child.tail or "")


def inline(element: Any) -> str:
    parts: list[str] = []
    _children(element, parts, [], 0)
    return collapse("".join(parts))


def collapse(text: str) -> str:
    return " ".join(text.split())


def labelled(part: Any) -> str:
    """A part of PubMed's abstract: its label and text."""
    text, label = inline(part), (part.get("Label") or "").strip()
    return f"{label}: {text}" if label and text and label.upper() != "UNLABELLED" else text


def _list(element: Any, depth: int, indent: int) -> list[str]:
    """The lines of a list. Items have marks, but where the publisher gives its own labels, those."""
    lines: list[str] = []
    ordered = (element.get("list-type") or "") in ("order", "arabic", "alpha-lower", "alpha-upper", "roman-lower", "roman-upper")
    number = 0
    for item in element:
        name = name_of(item)
        if name in ("list-item", "def-item"):
            number += 1
            label = item.findtext("{*}label")
            mark = f"{number}." if ordered else "-"
            if label and label.strip() and label.strip() not in "-–—•·*○■▪□":
                mark = collapse(label)
            blocks: list[str] = []
            nested: list[str] = []
            for child in item:
                kind = name_of(child)
                if kind in ("list", "def-list") and depth < MAX_DEPTH:
                    nested.extend(_list(child, depth + 1, min(indent + 1, 6)))
                elif kind == "p" and depth < MAX_DEPTH:
                    for grandchild in child:
                        if name_of(grandchild) in ("list", "def-list"):
                            nested.extend(_list(grandchild, depth + 1, min(indent + 1, 6)))
                            grandchild.clear(keep_tail=True)
                    emit(child, blocks, depth + 1)
                elif kind == "def":
                    blocks.append(": " + inline(child))
                elif kind != "label":
                    emit(child, blocks, depth + 1)
            text = (
                " ".join(block for block in blocks if block).replace(" : ", ": ", 1)
                if name == "def-item"
                else " ".join(filter(None, blocks))
            )
            if text:
                lines.append("  " * indent + f"{mark} {text}")
            lines.extend(nested)
        elif name in ("title", "label", "list-head"):
            text = inline(item)
            if text and name == "title":
                lines.append("  " * indent + text)
    return lines


def _float(element: Any, blocks: list[str], depth: int) -> None:
    """A figure's or table's caption, then the table's rows and notes."""
    label = collapse(element.findtext("{*}label") or "").rstrip(".:")
    caption: list[str] = []
    for child in element.iterfind("{*}caption"):
        for part in child:
            text = inline(part)
            if text:
                caption.append(text if text[-1] in ".?!:" else text + ".")
        if not len(child):
            caption.append(inline(child))
    head = " ".join([*([f"{label}."] if label else []), *caption])
    rows: list[str] = []
    for table in element.iter("{*}table"):
        rows.append(_table(table))
    notes: list[str] = []
    for foot in element.iterfind("{*}table-wrap-foot"):
        for part in foot.iter("{*}p"):
            notes.append(inline(part))
    text = "\n".join(part for part in (head if caption or rows else "", *rows, *notes) if part)
    if text:
        blocks.append(text)


def _span_of(cell: Any, name: str) -> int:
    """How many columns or rows a cell takes; 1 where that is not said, or is more than a page has room for."""
    span = cell.get(name) or "1"
    return int(span) if span.isdecimal() and span.isascii() and len(span) < 4 and 1 < int(span) <= 50 else 1


def _table(table: Any) -> str:
    """Rows and cells; one that spans columns or rows keeps the others in their places."""
    rows = []
    held: dict[int, int] = {}  # columns that a cell of an earlier row takes, and for how many more rows
    for row in table.iter("{*}tr"):
        cells: list[str] = []
        below: dict[int, int] = {}
        for cell in row:
            if name_of(cell) not in ("td", "th"):
                continue
            while held.get(len(cells), 0):
                cells.append("")
            width, height = _span_of(cell, "colspan"), _span_of(cell, "rowspan")
            below.update(dict.fromkeys(range(len(cells), len(cells) + width), height - 1))
            cells.extend([inline(cell), *[""] * (width - 1)])
        held = {column: rest - 1 for column, rest in held.items() if rest > 1} | {column: rest for column, rest in below.items() if rest}
        rows.append(cells)
    return rows_to_text(rows)


def _formula(element: Any, *, display: bool) -> str:
    """A formula as TeX between dollars where there is TeX or structured MathML; one of plain letters as they are."""
    tex = element if name_of(element) == "tex-math" else next(iter(element.iter("{*}tex-math")), None)
    if tex is not None:
        source = "".join(tex.itertext())
        if "\\begin{document}" in source:  # publishers wrap each formula in a whole TeX document
            source = source.split("\\begin{document}", 1)[1].split("\\end{document}", 1)[0]
        source = collapse(source)
        bare = (
            source[2:-2]
            if source.startswith("$$") and source.endswith("$$") and len(source) > 4
            else source.strip("$")
            if source.count("$") == 2
            else source
        )
        return (f"$${bare.strip()}$$" if display else f"${bare.strip()}$") if bare.strip() else ""
    math = element if name_of(element) == "math" else next(iter(element.iter("{*}math")), None)
    if math is not None:
        body = collapse(to_tex(math))
        if body:
            return f"$${body}$$" if display else f"${body}$"
        return ""
    return inline(element)

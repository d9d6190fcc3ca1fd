"""The text of TEI (P5, and P4's where it is written alike): its elements as blocks of light text."""

from __future__ import annotations

import re
from typing import Any

from pipeline.readers.elements import name_of
from pipeline.readers.mathml import to_tex
from pipeline.readers.tables import rows_to_text

# What is no part of the text that its author meant: machinery, pictures, what a printer put at the page's edge, what was struck out.
_LEFT_OUT = frozenset({
    "teiHeader", "listBibl", "biblStruct", "biblFull", "graphic", "media", "binaryObject", "fw", "del", "surplus", "titlePage", "desc",
    "index",
    "standOff", "facsimile", "sourceDoc", "notatedMusic", "interp", "interpGrp", "span", "spanGrp", "link", "linkGrp", "ptr", "certainty",
    "witDetail", "listWit", "divGen", "timeline", "respStmt", "revisionDesc",
})  # fmt: skip
_BREAKS = frozenset({"lb", "pb", "cb", "gb", "milestone"})
_FLOATS = frozenset({"figure", "note", "noteGrp"})
# Elements that stand on lines of their own wherever they are.
_BLOCKS = frozenset({
    "p", "ab", "list", "item", "table", "lg", "l", "div", "sp", "stage", "eg", "egXML", "floatingText", "head", "trailer", "epigraph",
    "opener", "closer",
})  # fmt: skip
_HOLDERS = _BLOCKS | {"figure", "formula", "quote", "cit", "q", "note", "text", "body", "group", *(f"div{level}" for level in range(1, 8))}
_TOKENS = frozenset({"w", "pc", "s", "phr", "cl", "u"})
_JOINED_LEFT, _JOINED_RIGHT = ("left", "both"), ("right", "both")
# Marks in a text that is read: where a line ends, and where one ends within a word. XML has no such characters.
_LINE, _WITHIN = "\1", "\2"
_RUNS = re.compile(" ?([\1\2](?: ?[\1\2])*) ?")  # linear: of text whose spaces are single
_HYPHENS = "-¬⸗\u00ad\u2010"
_SURE_HYPHENS = "¬⸗\u00ad"
_NUMBER = re.compile(r"[-−–+]?[0-9]{1,6}(?:[.,/][0-9]{1,4})?[-−–+]?\Z")
MAX_DEPTH = 200  # of elements that are walked as what they are; deeper ones give their words alone


def emit(element: Any, blocks: list[str], depth: int = 0) -> None:
    """An element's blocks, in order."""
    name = name_of(element)
    if not name or name in _LEFT_OUT or name in _BREAKS:
        return
    if depth > MAX_DEPTH:
        blocks.append(collapse(" ".join(element.itertext())))
    elif name == "figure":
        _figure(element, blocks, depth)
    elif name == "table":
        blocks.append(_table(element))
    elif name == "list" and _holds_only(element, ("item", "label", "head")):
        blocks.append("\n".join(_list(element, depth, 0)))
    elif name == "lg" and _holds_only(element, ()):
        _verses(element, blocks, depth)
    elif name in ("eg", "egXML"):
        blocks.append("".join(element.itertext()).strip("\n"))
    elif name == "formula":
        blocks.append(_formula(element, display=True))
    elif name == "sp":
        _speech(element, blocks, depth)
    elif _is_container(element):
        for child in element:
            emit(child, blocks, depth + 1)
    else:
        _paragraph(element, blocks, depth)


def _holds_only(element: Any, names: tuple[str, ...]) -> bool:
    """Whether there are no loose words between an element's children, and these are some of `names` alone, where there are any."""
    children = [child for child in element if name_of(child)]
    loose = [element.text, *(child.tail or "" for child in element)]
    return not any((text or "").strip() for text in loose) and (not names or all(name_of(child) in names for child in children))


def _is_container(element: Any) -> bool:
    """Whether an element has blocks in it and no words beside them."""
    if (element.text or "").strip():
        return False
    children = [child for child in element if name_of(child)]
    return (
        name_of(element) not in ("p", "head", "l")
        and any(name_of(child) in _HOLDERS for child in children)
        and not any((child.tail or "").strip() for child in children)
    )


def _paragraph(element: Any, blocks: list[str], depth: int) -> None:
    """A paragraph's text; what stands on lines of its own parts it, figures and notes come after it."""
    parts: list[str] = [element.text or ""]
    floats: list[Any] = []

    def flush() -> None:
        if text := collapse("".join(parts)):
            blocks.append(text)
        parts.clear()

    for child in element:
        name = name_of(child)
        if (
            name in _BLOCKS
            or (name == "formula" and _is_display(child))
            or (name in ("quote", "q", "cit", "said") and _is_container(child))
        ):
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
    if name in _BREAKS:
        parts.append(_WITHIN if element.get("break") == "no" else _LINE)
    elif name in _FLOATS:
        floats.append(element)
    elif name == "formula":
        parts.append(_formula(element, display=False))
    elif name == "gap":
        parts.append("[…]")
    elif name == "space":
        parts.append(" ")
    elif depth > MAX_DEPTH:
        parts.append(" ".join(element.itertext()))
    elif name in ("choice", "app", "subst"):
        if (chosen := _chosen(element)) is not None:
            _span(chosen, parts, floats, depth + 1)
    elif name == "hi" and _is_raised(element):
        inner: list[str] = []
        _children(element, inner, floats, depth)
        raw = "".join(inner)
        text = collapse(raw)
        if _NUMBER.match(text):
            text = "^" + text if len(text) == 1 else f"^{{{text}}}"
        parts.append(f"{raw[:1] if raw[:1].isspace() else ''}{text}{raw[-1:] if raw[-1:].isspace() and text else ''}")
    else:
        _children(element, parts, floats, depth)
        if name in _TOKENS and _is_apart(element):
            parts.append(" ")


def _is_raised(element: Any) -> bool:
    rendition = f"{element.get('rend') or ''} {element.get('rendition') or ''}".lower()
    return "sup" in rendition and "support" not in rendition


def _is_apart(element: Any) -> bool:
    """Whether a space stands between a token, or a sentence, and the one right behind it, which its file does not write."""
    after = element.getnext()
    if element.tail or after is None or name_of(after) not in _TOKENS or name_of(after) == "pc":
        return False
    return element.get("join") not in _JOINED_RIGHT and after.get("join") not in _JOINED_LEFT and name_of(element) != "pc"


def _chosen(element: Any) -> Any | None:
    """Of several readings the one to read: what is right, regular, written out, added, or the edition's own; else the first."""
    children = [child for child in element if name_of(child)]
    for wanted in ("corr", "reg", "expan", "lem", "add"):
        for child in children:
            if name_of(child) == wanted and (len(child) or (child.text or "").strip()):
                return child
    return next((child for child in children if name_of(child) != "del"), None)


def _children(element: Any, parts: list[str], floats: list[Any], depth: int) -> None:
    parts.append(element.text or "")
    for child in element:
        block = name_of(child) in _BLOCKS
        if block:
            parts.append(" ")
        if block and name_of(child) in ("table", "list"):
            parts.append(" ".join(child.itertext()))
        else:
            _span(child, parts, floats, depth + 1)
        if block:
            parts.append(" ")
        parts.append(child.tail or "")


def inline(element: Any) -> str:
    """An element's words on one line, without notes and figures."""
    parts: list[str] = []
    _children(element, parts, [], 0)
    return collapse("".join(parts))


def collapse(text: str) -> str:
    """Text with its white space as single spaces, and the words that lines' ends cut put together.

    A hyphen at a line's end goes where the file says that no word ends there, where it is a sign for nothing else, and where small letters
    stand on both sides of it.
    """
    text = " ".join(text.split())
    if _LINE not in text and _WITHIN not in text:
        return text
    pieces = _RUNS.split(text)
    joined = pieces[0]
    for mark, after in zip(pieces[1::2], pieces[2::2], strict=True):
        cut = joined[-1:] in tuple(_HYPHENS) and joined[-2:-1].isalpha()
        if _WITHIN in mark:
            joined = (joined[:-1] if cut else joined) + after
        elif cut and (joined[-1] in _SURE_HYPHENS or (joined[-2].islower() and after[:1].islower())):
            joined = joined[:-1] + after
        else:
            joined = f"{joined}{'' if cut and after[:1].isalpha() else ' '}{after}"
    return " ".join(joined.split())


def _list(element: Any, depth: int, indent: int) -> list[str]:
    """The lines of a list; a glossary's terms stand before what they mean."""
    lines: list[str] = []
    ordered = "order" in f"{element.get('type') or ''} {element.get('rend') or ''}" and "unorder" not in (element.get("rend") or "")
    number, label = 0, ""
    for item in element:
        name = name_of(item)
        if name == "label":
            label = f"{label} {inline(item)}".strip()
        elif name == "head":
            lines.append("  " * indent + inline(item))
        elif name == "item":
            number += 1
            blocks: list[str] = []
            nested: list[str] = []
            for child in list(item.iterfind("{*}list")):
                if depth < MAX_DEPTH:
                    nested.extend(_list(child, depth + 1, min(indent + 1, 6)))
                    child.clear(keep_tail=True)
            emit(item, blocks, depth + 1)
            text = " ".join(" ".join(block.split("\n")) for block in blocks if block)
            mark = f"{number}." if ordered else "-"
            lead = f"{label}: " if label and any(letter.isalpha() for letter in label[:-1]) else ""
            if label and not lead:
                mark = label
            if text:
                lines.append("  " * indent + f"{mark} {lead}{text}")
            lines.extend(nested)
            label = ""
    if label:
        lines.append("  " * indent + label)
    return [line for line in lines if line.strip()]


def _verses(element: Any, blocks: list[str], depth: int) -> None:
    """A stanza's lines, one a line; of a poem of several each is a block."""
    lines: list[str] = []
    floats: list[Any] = []
    for child in element:
        name = name_of(child)
        if name == "l":
            parts: list[str] = []
            _children(child, parts, floats, depth)
            lines.append(collapse("".join(parts)))
        elif name:
            if lines:
                blocks.append("\n".join(lines))
                lines = []
            emit(child, blocks, depth + 1)
    if lines:
        blocks.append("\n".join(line for line in lines if line))
    for each in floats:
        emit(each, blocks, depth + 1)


def _speech(element: Any, blocks: list[str], depth: int) -> None:
    """What somebody says on a stage, with the name before it."""
    speaker = ""
    said: list[str] = []
    for child in element:
        if name_of(child) == "speaker":
            speaker = inline(child)
        else:
            emit(child, said, depth + 1)
    said = [block for block in said if block]
    if speaker:
        blocks.append(speaker)
    blocks.extend(said)


def _figure(element: Any, blocks: list[str], depth: int) -> None:
    """A figure's or table's caption, then the table's rows and the notes."""
    heads = [text for child in element if name_of(child) == "head" and (text := inline(child))]
    head = " ".join(heads)
    said = " ".join(text for child in element if name_of(child) in ("figDesc", "p", "ab") and (text := inline(child)))
    label = inline(element.find("{*}label")) if element.find("{*}label") is not None else ""
    if label and not head and not said.lower().startswith(("fig", "tab")):
        head = f"{'Table' if element.get('type') == 'table' else 'Figure'} {label}"
    head = head.rstrip(" .:")
    if said.startswith(head):
        head = ""
    caption = f"{head}. {said}" if head and said else said or (f"{head}." if head else "")
    rows = [_table(table) for table in element if name_of(table) == "table"]
    notes = [inline(note) for note in element if name_of(note) == "note"]
    text = "\n".join(part for part in (caption, *rows, *notes) if part)
    if text:
        blocks.append(text)
    for child in element:  # a figure of several, or one that holds text
        if name_of(child) in ("figure", "floatingText", "lg", "list", "formula") and depth < MAX_DEPTH:
            emit(child, blocks, depth + 1)


def _table(table: Any) -> str:
    rows: list[list[str]] = []
    held: dict[int, int] = {}
    for row in table.iter("{*}row"):
        cells: list[str] = []
        below: dict[int, int] = {}
        for cell in row.iterfind("{*}cell"):
            while held.get(len(cells), 0):
                cells.append("")
            width, height = _span_of(cell, "cols"), _span_of(cell, "rows")
            below.update(dict.fromkeys(range(len(cells), len(cells) + width), height - 1))
            cells.extend([inline(cell), *[""] * (width - 1)])
        held = {column: rest - 1 for column, rest in held.items() if rest > 1} | {column: rest for column, rest in below.items() if rest}
        rows.append(cells)
    head = table.find("{*}head")
    return "\n".join(part for part in (inline(head) if head is not None else "", rows_to_text(rows)) if part)


def _span_of(cell: Any, name: str) -> int:
    """How many columns or rows a cell takes; 1 where that is not said, or is more than a page has room for."""
    span = cell.get(name) or "1"
    return int(span) if span.isdecimal() and span.isascii() and len(span) < 4 and 1 < int(span) <= 50 else 1


def _is_display(element: Any) -> bool:
    return any(word in f"{element.get('rend') or ''} {element.get('type') or ''}".lower() for word in ("display", "block"))


def _formula(element: Any, *, display: bool) -> str:
    """A formula as TeX between dollars where it is written in TeX or MathML; one that was read off a page as its characters are."""
    mark = "$$" if display else "$"
    math = next(iter(element.iter("{*}math")), None)
    if math is not None:
        body = collapse(to_tex(math))
    elif "tex" in (element.get("notation") or "").lower():
        body = collapse("".join(element.itertext())).strip("$").strip()
    else:
        parts = [element.text or ""]
        for child in element:
            if name_of(child) != "label":
                _span(child, parts, [], 1)
            parts.append(child.tail or "")
        return collapse("".join(parts))
    return f"{mark}{body}{mark}" if body else ""

"""What s2orc-doc2json (Lo et al. 2020) takes out of a paragraph and lists beside it: formulas, references, captions and tables.

A paragraph has words such as EQUATION, FORMULA0, FIGREF1, TABREF2 and BIBREF3 in their places; `eq_spans` of the paragraph, and
`ref_entries` of the paper, say what they stand for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree, html

from pipeline.readers.tables import rows_to_text

_PLACEHOLDER = re.compile(r"\b(?:EQUATION|(FORMULA|FIGREF|TABREF|SECREF|EQREF|FOOTREF|BIBREF|INLINEFORM|DISPLAYFORM)([0-9]{1,5}))\b")
_NUMBERED = re.compile(r"(?:fig(?:ure|\.)?|tab(?:le|\.)?)\s{0,3}([0-9]{1,4}|[IVXL]{1,6})\b", re.IGNORECASE)
_KINDS = {"FIGREF": "Figure", "TABREF": "Table", "SECREF": "Section", "EQREF": "Eq.", "FORMULA": "Eq."}
_MOST_CELLS = 20_000  # of a table


def filled(part: Any, entries: dict[str, Any]) -> str:
    """A paragraph with what its placeholders stand for: formulas as TeX, `[3]` for a citation, `Figure 1`; nothing where it is not said."""
    text = part.get("text") if isinstance(part, dict) else part
    if not isinstance(text, str):
        return ""
    if not isinstance(part, dict) or _PLACEHOLDER.search(text) is None:
        return text
    spans = [span for name in ("eq_spans", "ref_spans", "cite_spans") for span in part.get(name) or [] if isinstance(span, dict)]
    formulas = [_formula(span) for span in spans if span.get("text") == "EQUATION"]
    by_text = {str(span.get("text")): span for span in spans}

    def stands_for(found: re.Match[str]) -> str:
        if found[1] is None:
            return formulas.pop(0) if formulas else ""
        span = by_text.get(found[0], {})
        entry = entries.get(found[0]) or entries.get(str(span.get("ref_id"))) or {}
        return _reference(found[1], int(found[2]), span, entry if isinstance(entry, dict) else {})

    text = _PLACEHOLDER.sub(stands_for, text)
    return re.sub(r" (?=[.,;:)](?:\s|$))", "", re.sub(r" {2,}", " ", text))


def _formula(entry: dict[str, Any]) -> str:
    tex = entry.get("latex")
    return f"${' '.join(tex.split())}$" if isinstance(tex, str) and tex.strip() else ""


def _reference(kind: str, number: int, span: dict[str, Any], entry: dict[str, Any]) -> str:
    """What one placeholder stands for."""
    if kind == "BIBREF":
        return f"[{number + 1}]"
    if formula := _formula(span) or _formula(entry):
        return formula
    given = entry.get("fig_num") or entry.get("num")
    if not given and (found := _NUMBERED.match(str(entry.get("text") or ""))):
        given = found[1]
    return f"{_KINDS[kind]} {given}" if given and kind in _KINDS else ""


def floats(entries: dict[str, Any]) -> Iterator[str]:
    """The captions of figures and tables, and the rows of tables, in the order of their names."""
    for name in sorted(entries, key=lambda name: (re.sub(r"[0-9]+", "", name), int(re.sub(r"[^0-9]+", "", name)[:9] or 0))):
        entry = entries[name]
        kind = str(entry.get("type_str") or entry.get("type") or "").lower() if isinstance(entry, dict) else ""
        if not kind.startswith(("fig", "tab")):
            continue
        caption = " ".join(str(entry.get("text") or "").split())
        number = entry.get("fig_num") or entry.get("num")
        if caption and number and not _NUMBERED.match(caption):
            caption = f"{'Figure' if kind.startswith('fig') else 'Table'} {number}. {caption}"
        rows = next((_rows(entry[key]) for key in ("content", "html") if isinstance(entry.get(key), str)), "")
        if block := "\n".join(part for part in (caption, rows) if part):
            yield block


def _rows(markup: str) -> str:
    """A table's rows, a row a line."""
    if "<" not in markup:
        return " ".join(markup.split())
    try:
        table = html.fragment_fromstring(markup, create_parent="div")
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return ""
    rows: list[list[str]] = []
    count = 0
    for row in table.iter("tr"):
        rows.append([" ".join("".join(cell.itertext()).split()) for cell in row if cell.tag in ("td", "th")])
        count += len(rows[-1])
        if count > _MOST_CELLS:
            break
    return rows_to_text(rows)

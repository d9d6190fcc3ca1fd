r"""Formulas as they begin and end: `$...$` within text; displays as `$$...$$` on lines of their own, those of several lines as
`\begin{aligned}` within; equations' numbers."""

from __future__ import annotations

import re

from pipeline.readers.tex.references import label
from pipeline.readers.tex.state import Formula, State
from pipeline.readers.tex.tokens import words
from pipeline.readers.tex.vocabulary import DISPLAYS

_UNNUMBERED = ("displaymath", "math")
_NUMBERED_BY_LINE = ("align", "eqnarray", "gather", "flalign", "alignat", "IEEEeqnarray")
_BY_LABEL = ("Equation", "")  # the number is counted where a label asks for it


def begin(state: State, name: str) -> None:
    """A formula begins; `name` as in `Formula`."""
    state.formula = Formula(name, state.page.out)
    state.page.out = []
    if name in DISPLAYS and name not in _UNNUMBERED:
        if state.numbering.has_chapters:
            state.numbering.within.setdefault("equation", "chapter")
        if name in _NUMBERED_BY_LINE:
            state.numbering.current = _BY_LABEL
        else:
            state.numbering.step("equation", "Equation")


def end(state: State) -> None:
    """The formula that is being read ends, and goes to where it began."""
    formula, page = state.formula, state.page
    assert formula is not None, "a formula ends where one began"
    text = " ".join("".join(page.out).split(" ")).strip()
    state.formula, page.out = None, formula.before
    if formula.is_inline or formula.name == "math":
        text = " ".join(text.split())
        if text:
            page.out.append(page.hold(f"${text}$") if "'" in text or "`" in text else f"${text}$")
        return
    text = re.sub(r"[ \t]{0,9}\n\s*", "\n", text)
    if text.endswith("\\\\"):
        text = text[:-200] + re.sub(r"(?:\\\\\s{0,9})+\Z", "", text[-200:])
    text = text.strip()
    if not text:
        return
    inner = DISPLAYS.get(formula.name.rstrip("*"), "")
    if inner:
        text = f"\\begin{{{inner}}}\n{text}\n\\end{{{inner}}}"
    page.out.append(f"\n{page.hold(f'$${text}$$')}\n")


def equation_label(state: State, name: str) -> None:
    r"""A `\label` within a formula: of displays with a number a line, the line that it stands in gets one."""
    label_name = words(state.tokens.argument())
    if state.numbering.current == _BY_LABEL:
        state.numbering.step("equation", "Equation")
        label(state, label_name)
        state.numbering.current = _BY_LABEL
    else:
        label(state, label_name)


def tag(state: State, name: str) -> None:
    r"""`\tag{3}` gives an equation its number."""
    state.numbering.current = ("Equation", words(state.tokens.argument()))

"""A document from its first token to its text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.readers.tex import commands, formulas, mathematics
from pipeline.readers.tex.algorithms import LINE
from pipeline.readers.tex.characters import with_ligatures
from pipeline.readers.tex.macros import Macros
from pipeline.readers.tex.page import ARGUMENT
from pipeline.readers.tex.references import resolved
from pipeline.readers.tex.state import Include, State
from pipeline.readers.tex.tokens import Tokens
from pipeline.readers.tex.vocabulary import TABLES

_PLACEHOLDER = re.compile("\0([RL])(\\d+)\0")


@dataclass
class Document:
    """A paper as text; its title is that of its first heading where it has none. `expansion_stopped`: its macros gave more than the
    budget allows, and the rest of them were dropped."""

    title: str
    text: str
    expansion_stopped: bool = False


def to_text(text: str, *, name: str = "", include: Include | None = None, macros: str = "") -> Document:
    r"""A TeX file as text. `include` finds what `\input` names; `macros` are definitions to read first (a paper's own style files)."""
    state = State(Tokens(len(text)), Macros(commands.KEPT), include)
    if macros:
        state.tokens.open("", macros)
        _run(state)
        state.page.frames[0].buffer.clear()
        state.done = False
    state.tokens.open(name, text)
    _run(state)
    title = _finish(state, state.title)
    body = _finish(state, state.early + "".join(state.page.frames[0].buffer))
    whole = "\n\n".join(block for block in (title, body) if block)
    return Document(title or _finish(state, state.first_heading), whole, state.tokens.stopped)


def _run(state: State) -> None:
    """Reads to the end of the document or of the source, and ends what is still open."""
    tokens, page, plain = state.tokens, state.page, state.macros.plain
    while not state.done:
        token = tokens.stack.pop() if tokens.stack else tokens.next()
        if token is None:
            break
        if state.formula is None:
            handler = _BY_FIRST.get(token[0])
            if handler is None:
                page.out.append(with_ligatures(token.replace("\n", " ")))
            else:
                handler(state, token)
        elif token[0] not in mathematics.SPECIAL:
            page.out.append(token)
        elif (word := plain.get(token)) is not None:
            page.out.append(word)
            if tokens.stack and word[-1] != " " and tokens.stack[-1][0].isalpha():
                page.out.append(" ")
        else:
            mathematics.read(state, token)
    if state.formula is not None:
        formulas.end(state)
    page.leave_all()
    page.paragraph()


def _line_end(state: State, token: str) -> None:
    if token.count("\n") > 1 and not token.strip():
        state.page.paragraph()
    else:
        state.page.out.append(with_ligatures(token.replace("\n", " ")))


def _cell_end(state: State, token: str) -> None:
    state.page.out.append("\2" if state.page.frames[-1].name in TABLES else " ")


def _group_end(state: State, token: str) -> None:
    """A group ends. After an argument of a command that is not known the next one is another thing, and stands apart."""
    is_argument = state.page.braces[-1:] == [ARGUMENT]
    state.page.close_brace()
    if is_argument and state.tokens.peek() == "{":
        state.tokens.next()
        state.page.braces.append(ARGUMENT)
        state.page.out.append(" ")


def _nothing(state: State, token: str) -> None:
    pass


# Tokens of text that are more than their characters, by their first one.
_BY_FIRST: dict[str, Callable[[State, str], None]] = {
    "\\": commands.command,
    "{": lambda state, token: state.page.braces.append(None),
    "}": _group_end,
    "$": formulas.begin,
    "~": lambda state, token: state.page.out.append(" "),
    "&": _cell_end,
    "\n": _line_end,
    "%": _nothing,
    "#": _nothing,
    "\0": _nothing,
}


def _finish(state: State, text: str) -> str:
    """Spaces and lines in order, then what was held back (code, displays, numbers of references) put in."""
    text = text.replace("\2", " ")
    text = re.sub(r"[ \t]{2,}|\t", " ", text)
    text = re.sub(r" \n ?|\n ", "\n", text)
    if LINE in text:  # statements of algorithms, of which those without a word are none
        text = re.sub(f"(?:\n{LINE}[\1 ]*)+(?=\n|\\Z)", "", text)
        text = re.sub(f"\n*{LINE}(\1*) *", r"\n\1", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    text = text.replace("\1", " ")

    def held(match: re.Match[str]) -> str:
        index = int(match.group(2))
        return state.page.held[index] if match.group(1) == "R" else resolved(state, index)

    if "\0" in text:
        text = _PLACEHOLDER.sub(held, text)
        if "\0" in text:  # a reference within a display
            text = _PLACEHOLDER.sub(held, text).replace("\0", "")
    # What references that are not known leave behind, as in "Theorem ()." and "see  and".
    text = re.sub(r" ?\(\s?\)", "", text)
    return re.sub(r"(?<=[^\s|]) +(?=[.,;:!?)](?:\s|$))", "", text, flags=re.MULTILINE)

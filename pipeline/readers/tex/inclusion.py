r"""`\input`, `\include` and their kin: a document's other files."""

from __future__ import annotations

from pipeline.readers.tex.state import State
from pipeline.readers.tex.tokens import BUDGET_RATE, is_blank_line, words

MAX_INCLUDES = 2_000  # files that one document may read
MAX_INCLUDE_DEPTH = 30
_LONGEST_NAME = 300

_FROM_A_FOLDER = ("import", "subimport", "inputfrom", "includefrom", "subinputfrom", "subincludefrom")  # folder and name


def include_file(state: State, name: str) -> None:
    """Reads a file before going on. One that is not found, is open already, or that the bounds forbid is passed over."""
    command = name.rstrip("*")
    tokens = state.tokens
    tokens.skip_space()
    following = tokens.peek()
    if following is None:
        return
    if command in _FROM_A_FOLDER:
        path = words(tokens.argument()) + words(tokens.argument())
    else:
        path = words(tokens.argument()) if following == "{" else _bare_name(state)
    if state.include is None or state.inclusions >= MAX_INCLUDES or len(tokens.sources) >= MAX_INCLUDE_DEPTH:
        return
    found = state.include(path) if 0 < len(path) <= _LONGEST_NAME else None
    if found is None or any(source.name == found[0] for source in tokens.sources):
        return
    file, text = found
    if file in state.included:  # the same file again is paid for, as a macro is
        if not tokens.pay(len(text)):
            return
    else:
        state.included.add(file)
        tokens.budget += BUDGET_RATE * len(text)
    state.inclusions += 1
    if command in ("subfile", "subfileinclude"):
        text = _body(text)
    if command != "input":
        state.page.paragraph()
    tokens.open(file, text if text.endswith("\n") else text + "\n")  # a line's end is a space


def _body(text: str) -> str:
    """What stands between the begin and end of a document of its own."""
    begin = text.find("\\begin{document}")
    if begin < 0:
        return text
    end = text.rfind("\\end{document}")
    return text[begin + len("\\begin{document}") : end if end > begin else len(text)]


def _bare_name(state: State) -> str:
    r"""The name in plain TeX's `\input name`, up to the next space."""
    tokens, name = state.tokens, ""
    while (token := tokens.next()) is not None:
        if token[0] in "\\{}$%&~#[]\0" or is_blank_line(token):
            tokens.stack.append(token)
            break
        head, space, rest = token.partition(" ") if " " in token else token.partition("\n")
        name += head
        if space or len(name) > _LONGEST_NAME:
            tokens.put_back(rest)
            break
    return name

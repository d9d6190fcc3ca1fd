r"""Tokens within formulas. Mathematics stays TeX, with the author's macros expanded."""

from __future__ import annotations

from pipeline.readers.tex import commands, conditionals, formulas
from pipeline.readers.tex.macros import expand
from pipeline.readers.tex.references import citation, reference
from pipeline.readers.tex.state import Formula, State
from pipeline.readers.tex.tokens import environment_of, is_environment
from pipeline.readers.tex.vocabulary import CITATIONS, REFERENCES

SPECIAL = "\\{}$%\0\n"  # first characters of the tokens that `read` is for; all others stand for themselves
_MAX_PLAIN = 100_000
_CLOSERS = {"[": "]", "(": ")"}
_WITHIN_PARAGRAPH = ("$", "(", "$$", "[", "{")  # formulas that a blank line ends


def read(state: State, token: str) -> None:
    """Reads one token of the formula that is open."""
    formula = state.formula
    assert formula is not None, "called within a formula alone"
    first = token[0]
    if first == "\\":
        _command(state, formula, token)
    elif first == "{":
        formula.depth += 1
        state.page.out.append(token)
    elif first == "}":
        _close_brace(state, formula)
    elif first == "$":
        _dollar(state, formula, token)
    elif first == "\n" and token.count("\n") > 1:
        _blank_line(state, formula, token)
    elif first not in "%\0":
        state.page.out.append(token)


def _close_brace(state: State, formula: Formula) -> None:
    formula.depth -= 1
    if formula.depth >= 0:
        state.page.out.append("}")
        return
    formulas.end(state)
    if formula.name != "{":  # whose own brace it is
        state.tokens.stack.append("}")


def _dollar(state: State, formula: Formula, token: str) -> None:
    inline = formula.name == "$"
    if formula.depth > 0 or not (inline or formula.name in (token, "$$", "(", "{")):  # within others, `$` is some package's
        state.page.out.append(token)
        return
    formulas.end(state)
    if inline and token == "$$":  # the end of one formula and the begin of another
        state.tokens.stack.append("$")


def _blank_line(state: State, formula: Formula, token: str) -> None:
    if formula.name in _WITHIN_PARAGRAPH:
        formulas.end(state)
        state.tokens.stack.append(token)
    else:
        state.page.out.append("\n")


def _command(state: State, formula: Formula, token: str) -> None:
    if is_environment(token):
        (_begin_environment if token[1] == "b" else _end_environment)(state, formula, token)
        return
    if len(token) == 2 and token[1] == _CLOSERS.get(formula.name):
        formulas.end(state)
        return
    name = token[1:].rstrip()
    macro = state.macros.by_name.get(name)
    if macro is not None:
        if not state.tokens.stopped:
            expand(state.tokens, macro, token)
        return
    handler = _HANDLERS.get(name)
    if handler is not None:
        handler(state, name)
    elif not (name.startswith("if") and conditionals.take_branch(state, name)):
        _plain(state, token, name)


def _plain(state: State, token: str, name: str) -> None:
    """A command that stands for itself."""
    out = state.page.out
    if not name[:1].isalpha():
        out.append(token if name else "\\ ")
        return
    word = "\\" + name + (" " if token[-1].isspace() else "")
    if len(state.macros.plain) < _MAX_PLAIN:
        state.macros.plain[token] = word
    out.append(word)
    stack = state.tokens.stack
    if stack and word[-1] != " " and stack[-1][0].isalpha():  # a letter would follow it directly, as it does after an expansion
        out.append(" ")


def _begin_environment(state: State, formula: Formula, token: str) -> None:
    own = state.environments.get(environment_of(token))
    if own is not None:
        expand(state.tokens, own[0], "")
    else:
        state.page.out.append(token)


def _end_environment(state: State, formula: Formula, token: str) -> None:
    name, page = environment_of(token), state.page
    if name in (formula.name, "document"):
        formulas.end(state)
        state.done = state.done or name != formula.name
    elif name in state.environments and page.open.get(name):
        frame = page.frames[-1]
        if frame.name == name and not frame.ending and not state.tokens.stopped:
            frame.ending = True  # its end's tokens come first, which end the display
            state.tokens.push([*state.environments[name][1], token])
        else:
            formulas.end(state)
            state.tokens.stack.append(token)
    else:
        page.out.append(token)


# --- commands with a way of their own within formulas -------------------------------------------------------------------


def _nothing(state: State, name: str) -> None:
    pass


def _cite(state: State, name: str) -> None:
    state.page.out.append(citation(state))


def _refer(state: State, name: str) -> None:
    state.page.out.append(reference(state, name))


def _drop_argument(state: State, name: str) -> None:
    state.tokens.argument()


def _heading(state: State, name: str) -> None:
    """A heading ends a formula that was never closed."""
    formulas.end(state)
    state.tokens.stack.append("\\" + name)


def _new_line(state: State, name: str) -> None:
    state.tokens.skip_length()
    assert state.formula is not None, "called within a formula alone"
    state.page.out.append("\\\\ " if state.formula.is_inline else "\\\\\n")


def _words(state: State, name: str) -> None:
    """A command whose argument is text."""
    state.page.out.append("\\" + name)


_GONE = (
    "nonumber", "notag", "allowdisplaybreaks", "displaybreak", "xspace", "relax", "protect", "ensuremath", "unskip", "qedhere",
    "noindent", "leavevmode", "allowbreak", "nobreak", "ignorespaces",
)  # fmt: skip
_HANDLERS: dict[str, commands.Handler] = {
    **commands.HANDLERS,
    **dict.fromkeys(("text", "mbox", "textrm", "textit", "textbf", "mathrm", "operatorname", "hbox"), _words),
    "\\": _new_line,
    **dict.fromkeys(("chapter", "section", "subsection", "section*", "subsection*"), _heading),
    **dict.fromkeys(("vspace", "vspace*", "hspace", "hspace*", "color"), _drop_argument),
    **dict.fromkeys(CITATIONS, _cite),
    **dict.fromkeys(REFERENCES, _refer),
    "tag": formulas.tag,
    "tag*": formulas.tag,
    "label": formulas.equation_label,
    **dict.fromkeys(_GONE, _nothing),
}

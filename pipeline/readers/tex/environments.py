r"""Environments: what `\begin` and `\end` do, and those that the author defines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pipeline.readers.tables import rows_to_text
from pipeline.readers.tex import formulas, structure
from pipeline.readers.tex.macros import Macro, cost_of, expand, number_of_parameters
from pipeline.readers.tex.state import State
from pipeline.readers.tex.tokens import words
from pipeline.readers.tex.vocabulary import (
    CODE,
    DISPLAYS,
    DROPPED_ENVIRONMENTS,
    ENVIRONMENT_ARGUMENTS,
    FLOATS,
    LISTS,
    PICTURES,
    TABLES,
    VERBATIM,
)

_MAX_ENVIRONMENTS = 10_000
# Listings' options, on the first line.
_OPTIONS = re.compile(r"\A\s{0,8}\[[^\]\n]{0,400}\]")
_LANGUAGE = re.compile(r"\A\s{0,8}\{[^}\n]{0,40}\}")
_WITH_OPTIONS = ("lstlisting", "Verbatim", "minted", "BVerbatim", "alltt")


def begin(state: State, name: str) -> None:
    r"""A `\begin{name}`, or what stands for one."""
    if name in state.environments:
        if state.page.enter("environment", name, state.page.out.append) is not None:
            expand(state.tokens, state.environments[name][0], "")
    elif name in _BUILT_IN:
        _BUILT_IN[name](state, name)
    elif name.rstrip("*") in DISPLAYS:
        _skip_arguments(state, name)
        formulas.begin(state, name)
    elif name in state.theorems:
        structure.begin_theorem(state, name)
    else:
        _REDEFINABLE.get(name, _begin_other)(state, name)


def end(state: State, name: str) -> None:
    r"""An `\end{name}`; one whose begin is not open is passed over. The end of an author's environment is expanded first."""
    page, tokens = state.page, state.tokens
    if name == "document":
        state.done = True
        return
    if not page.open.get(name):
        return
    frame = page.frames[-1]
    if name in state.environments and frame.name == name and frame.kind == "environment":
        after = state.environments[name][1]
        if after and not frame.ending:
            frame.ending = True  # its end's tokens come first, then this again
            tokens.push([*after, f"\\end{{{name}}}"])
            if not tokens.stopped:
                return
    page.leave_environment(name)


def new_environment(state: State, name: str) -> None:
    r"""`\newenvironment{name}[parameters][default]{begin}{end}`. Those that mean something here keep that."""
    tokens = state.tokens
    environment = words(tokens.argument())
    number = number_of_parameters(tokens)
    default = tokens.optional()
    before, after = tokens.argument(long=True), tokens.argument(long=True)
    if not environment or environment in _KEPT or environment.rstrip("*") in DISPLAYS or len(state.environments) > _MAX_ENVIRONMENTS:
        return
    if f"\\begin{{{environment}}}" in "".join(before):
        return
    state.environments[environment] = (Macro([""] * number, before, default, cost=cost_of(before)), after)
    state.theorems.pop(environment, None)


# --- environments with ways of their own --------------------------------------------------------------------------------


def _skip_arguments(state: State, name: str) -> None:
    for _ in range(ENVIRONMENT_ARGUMENTS.get(name, 0)):
        state.tokens.argument()


def _begin_document(state: State, name: str) -> None:
    state.in_body = True
    state.page.restart()


def _begin_abstract(state: State, name: str) -> None:
    state.page.paragraph()
    state.page.out.append("Abstract\n\n")
    state.page.enter("environment", name, state.page.out.append)


def _begin_keywords(state: State, name: str) -> None:
    state.page.paragraph()
    state.page.out.append("Keywords: ")
    state.page.enter("environment", name, state.page.block)


def _begin_proof(state: State, name: str) -> None:
    title = state.tokens.optional()
    state.page.paragraph()
    state.page.enter("environment", name, state.page.block)
    state.tokens.push([*(title or ["Proof"]), ". "])


def _begin_other(state: State, name: str) -> None:
    """An environment that says nothing to us: a block of text."""
    state.tokens.optional()
    _skip_arguments(state, name)
    state.page.out.append("\n\n")
    state.page.enter("environment", name, state.page.block)


def _begin_table(state: State, name: str) -> None:
    state.tokens.optional()
    for _ in range(TABLES[name]):
        state.tokens.argument()
    state.tokens.optional()
    out = state.page.out
    out.append("\n\n")
    state.page.enter("environment", name, lambda text: out.append(_table(text)))


def _table(text: str) -> str:
    body = rows_to_text([row.split("\2") for row in text.replace("\n\n", " ").split("\n")])
    return f"\n\n{body}\n\n" if body else ""


def _begin_list(state: State, name: str) -> None:
    state.tokens.optional()
    _skip_arguments(state, name)
    out = state.page.out
    blank = "\n" if any(frame.name in LISTS for frame in state.page.frames) else "\n\n"
    state.page.enter("environment", name, lambda text: out.append(blank + text.strip("\n ") + blank))


def _drop(state: State, name: str) -> None:
    """Passes over an environment of no interest, and those of its name within it."""
    tokens, depth = state.tokens, 1
    begin, end = f"\\begin{{{name}}}", f"\\end{{{name}}}"
    while (token := tokens.next()) is not None:
        if token == begin:
            depth += 1
        elif token == end:
            depth -= 1
            if not depth:
                return
        elif token == "\\end{document}":
            tokens.stack.append(token)
            return


def _begin_verbatim(state: State, name: str) -> None:
    """Code as it stands, without the options of its environment; comments and files to write are left out."""
    token = state.tokens.peek()
    if token is None or token[0] != "\0":
        return
    state.tokens.stack.pop()
    if name not in CODE:
        return
    text = token[1:]
    text = text.strip("\n") if not text.startswith(("[", "{")) else text
    if name in _WITH_OPTIONS:
        text = _OPTIONS.sub("", text)
        if name == "minted":
            text = _LANGUAGE.sub("", text)
    body = "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
    if body:
        state.page.out.append(f"\n\n{state.page.hold(body)}\n\n")


Begin = Callable[[State, str], None]


def _table_of(*rows: tuple[Iterable[str], Begin]) -> dict[str, Begin]:
    return {name: how for names, how in rows for name in names}


# How environments begin, by name. The first of two rows with one name counts.
_BUILT_IN = _table_of(
    *reversed(
        [
            (VERBATIM, _begin_verbatim),
            (DROPPED_ENVIRONMENTS, _drop),
            (["document"], _begin_document),
            (["abstract"], _begin_abstract),
            (TABLES, _begin_table),
            (LISTS, _begin_list),
            (PICTURES | FLOATS, structure.begin_float),
        ]
    )
)
_REDEFINABLE = _table_of((["keywords", "keyword", "IEEEkeywords"], _begin_keywords), (["proof"], _begin_proof))
_KEPT = _BUILT_IN.keys() | {"proof"}

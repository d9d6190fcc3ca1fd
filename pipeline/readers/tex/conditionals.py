r"""Conditionals. `\if...` are taken by the flags that the paper sets; those that ask about the engine are false. Choices between
arguments, as `\@ifnextchar`, are made by what follows."""

from __future__ import annotations

import re

from pipeline.readers.tex.state import State

_CONDITIONAL = re.compile(r"if[A-Za-z@]*\Z")
_NOT_CONDITIONALS = {
    "iff", "ifthenelse", "ifstrempty", "ifblank", "ifdef", "ifundef", "ifcsdef", "ifcsundef", "ifstrequal", "ifpackageloaded", "ifbool",
    "iftoggle", "ifnumcomp", "ifthispageodd", "ifboolexpr", "ifstar",
}  # fmt: skip


def _is_conditional(name: str) -> bool:
    return name not in _NOT_CONDITIONALS and _CONDITIONAL.match(name) is not None


def take_branch(state: State, name: str) -> bool:
    """Goes on in the branch that a conditional takes. False where the name is that of none."""
    if not _is_conditional(name):
        return False
    flag = state.flags.get(name[2:])
    if name == "ifmmode":
        flag = state.formula is not None
    if flag:
        state.branches += 1
    else:
        _skip_branch(state, stop_at_else=True)
    return True


def _skip_branch(state: State, *, stop_at_else: bool) -> None:
    depth = 0
    while (token := state.tokens.next()) is not None:
        if token[0] != "\\":
            continue
        name = token[1:].rstrip()
        if name == "fi":
            if not depth:
                return
            depth -= 1
        elif name == "else" and not depth and stop_at_else:
            state.branches += 1
            return
        elif name == "newif":
            state.tokens.next()
        elif name.startswith("if") and _is_conditional(name):
            depth += 1


def other_branch(state: State, name: str) -> None:
    r"""`\else` or `\fi` ends the branch that is being read."""
    if state.branches:
        state.branches -= 1
        if name == "else":
            _skip_branch(state, stop_at_else=False)


def new_flag(state: State, name: str) -> None:
    r"""`\newif\ifdraft` makes a flag, which `\drafttrue` sets."""
    flag = state.tokens.next() or ""
    if flag.startswith("\\if"):
        state.flags.setdefault(flag[3:].rstrip(), False)


def set_flag(state: State, name: str) -> bool:
    r"""`\drafttrue` or `\draftfalse`. False where there is no such flag."""
    flag = name.removesuffix("true").removesuffix("false")
    if not name.endswith(("true", "false")) or flag not in state.flags:
        return False
    state.flags[flag] = name.endswith("true")
    return True


# --- choices between arguments ------------------------------------------------------------------------------------------


def next_character(state: State, name: str) -> None:
    r"""`\@ifnextchar`: which of two, by what follows."""
    tokens = state.tokens
    wanted = tokens.argument()
    yes, no = tokens.argument(long=True), tokens.argument(long=True)
    tokens.skip_space()
    following = tokens.peek() or ""
    expected = wanted[0].rstrip() if wanted else ""
    is_next = following == "{" if expected == "\\bgroup" else bool(expected) and following.rstrip().startswith(expected)
    tokens.push(yes if is_next else no)


def next_star(state: State, name: str) -> None:
    r"""`\@ifstar`: the first of two where a star follows, which is passed."""
    tokens = state.tokens
    yes, no = tokens.argument(long=True), tokens.argument(long=True)
    if not (tokens.peek() or "").startswith("*"):
        tokens.push(no)
        return
    tokens.skip_star()
    tokens.push(yes)


def choose(state: State, count: int, chosen: int) -> None:
    """One of so many arguments, whatever would decide: `chosen`, from 0."""
    arguments = [state.tokens.argument(long=True) for _ in range(count)]
    state.tokens.push(["{", *arguments[chosen], "}"] if state.formula is not None else arguments[chosen])


def if_value(state: State, name: str) -> None:
    r"""xparse's `\IfValueTF` and its kin: by whether an argument was given."""
    tokens = state.tokens
    has = bool("".join(tokens.argument(long=True)).strip())
    branches = [tokens.argument(long=True)]
    if name.endswith("TF"):
        branches.append(tokens.argument(long=True))
    elif name.endswith("F"):
        branches.insert(0, [])
    index = int(has == name.startswith("IfNoValue"))
    if index < len(branches):
        tokens.push(branches[index])

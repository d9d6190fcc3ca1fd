r"""The author's macros: `\newcommand`, `\def` with undelimited or delimited parameters, `\let`, xparse's, and their expansion."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from pipeline.readers.tex.tokens import Tokens, is_blank_line

_MAX_MACROS = 100_000
_XPARSE_KINDS = "mosODdgGrRtv"  # xparse's letters for the kinds of arguments


@dataclass
class Macro:
    """A macro. `parameters` has for each of them the text that ends it, "" where it is an argument as usual."""

    parameters: list[str]
    body: list[str]
    default: list[str] | None = None  # of a first, optional parameter
    prefix: str = ""  # text that must follow the name
    kinds: str = ""  # xparse: one letter a parameter
    cost: int = 0  # characters that an expansion is charged with


class Macros:
    """The macros by their names. The names in `kept` have a meaning of their own, and are never defined anew."""

    def __init__(self, kept: Container[str]) -> None:
        self._kept = kept
        self.by_name: dict[str, Macro] = {}
        self.plain: dict[str, str] = {}  # commands of mathematics that were seen to be no macros, as they are printed

    def define(self, name: str | None, macro: Macro, *, replace: bool = True) -> None:
        """Gives a name a meaning, unless it has one that is kept, or one at all that `replace` spares."""
        if name is None or name in self._kept or (not replace and name in self.by_name):
            return
        macro.cost = cost_of(macro.body)
        if len(self.by_name) < _MAX_MACROS:
            self.by_name[name] = macro
            self.plain.clear()


def cost_of(tokens: list[str]) -> int:
    """What it costs to read tokens once more, in characters."""
    return sum(map(len, tokens)) + 1


# --- definitions --------------------------------------------------------------------------------------------------------


def defined_name(tokens: Tokens) -> str | None:
    r"""The control sequence being defined: `\x` or `{\x}`."""
    for token in tokens.argument():
        if token[0] == "\\" and len(token) > 1:
            return token[1:].rstrip() or " "
    return None


def number_of_parameters(tokens: Tokens) -> int:
    """The `[2]` of a definition; 0 where there is none."""
    count = "".join(tokens.optional() or []).strip()
    return min(int(count), 9) if count.isdecimal() and count.isascii() else 0


def new_command(tokens: Tokens, macros: Macros, *, replace: bool = True) -> None:
    r"""Reads what follows `\newcommand` and its kin."""
    name = defined_name(tokens)
    number = number_of_parameters(tokens)
    default = tokens.optional()
    macros.define(name, Macro([""] * number, tokens.argument(long=True), default), replace=replace)


def definition(tokens: Tokens, macros: Macros) -> None:
    r"""Reads what follows `\def` and its kin: the name, the text with the parameters, the body."""
    name = defined_name(tokens)
    text: list[str] = []
    while (token := tokens.next()) is not None:
        if token == "{" or len(text) > 60 or is_blank_line(token):
            break
        if token[0] != "%":
            text.append(token)
    if token != "{":
        return
    tokens.stack.append(token)
    body = tokens.argument(long=True)
    parts = re.split(r"#([1-9])", "".join(text))
    macros.define(name, Macro(parts[2::2], body, prefix=parts[0].strip()))


def let(tokens: Tokens, macros: Macros) -> None:
    r"""Reads what follows `\let`: the new name of a macro, a command or a character."""
    name = defined_name(tokens)
    tokens.skip_space()
    if tokens.stack and tokens.stack[-1].startswith("="):
        rest = tokens.stack.pop()[1:]
        if rest.strip():
            tokens.stack.append(rest)
        tokens.skip_space()
    target = tokens.next()
    if name is None or target is None or target[0] in "{}":
        return
    known = macros.by_name.get(target[1:].rstrip()) if target[0] == "\\" else None
    if known is not None:
        macros.define(name, Macro(known.parameters, known.body, known.default, known.prefix, known.kinds))
    elif target.strip() != "\\" + name:
        macros.define(name, Macro([], [target]))


def new_document_command(tokens: Tokens, macros: Macros) -> None:
    r"""Reads what follows xparse's `\NewDocumentCommand` and its kin."""
    name = defined_name(tokens)
    kinds, depth = "", 0
    for character in "".join(tokens.argument()):
        depth += (character == "{") - (character == "}")
        if not depth and character in _XPARSE_KINDS:
            kinds += character
    macros.define(name, Macro([""] * min(len(kinds), 9), tokens.argument(long=True), kinds=kinds[:9]))


# --- expansion ----------------------------------------------------------------------------------------------------------


def expand(tokens: Tokens, macro: Macro, token: str) -> None:
    """Reads a macro's arguments, and puts its body in the place of `token` and them, as far as the budget goes."""
    if not tokens.pay(macro.cost):
        return
    if macro.prefix:
        _skip_prefix(tokens, macro.prefix)
    body: list[str] | None = macro.body
    if macro.parameters:
        starred = token.rstrip().endswith("*")
        given = [_given(tokens, macro, index, delimiter.strip(), starred) for index, delimiter in enumerate(macro.parameters)]
        body = _filled(tokens, macro.body, given)
    if body is None:
        return
    tokens.stack.extend(reversed(body))


def _skip_prefix(tokens: Tokens, prefix: str) -> None:
    tokens.skip_space()
    following = tokens.peek() or ""
    if following.startswith(prefix):
        tokens.stack.pop()
        tokens.put_back(following[len(prefix) :])


def _given(tokens: Tokens, macro: Macro, index: int, delimiter: str, starred: bool) -> list[str]:
    """The argument for one parameter."""
    kind = macro.kinds[index] if macro.kinds else "m"
    if kind in "st":
        return ["*"] if starred else []
    if kind in "oOdDgG":
        return tokens.optional() or []
    if index == 0 and macro.default is not None:
        found = tokens.optional()
        return macro.default if found is None else found
    return tokens.until(delimiter) if delimiter else tokens.argument(long=True)


def _filled(tokens: Tokens, body: list[str], given: list[list[str]]) -> list[str] | None:
    """A body with the arguments in the places of its parameters; None where the budget does not reach for them."""
    filled: list[str] = []
    parts = iter(body)
    for part in parts:
        if part != "#":
            filled.append(part)
            continue
        number = next(parts, "")
        if number == "#":  # a parameter of a definition within
            filled.append("#")
            continue
        if number[:1].isdecimal() and 0 < int(number[0]) <= len(given):
            argument = given[int(number[0]) - 1]
            if not tokens.pay(cost_of(argument)):
                return None
            filled.extend(argument)
            number = number[1:]
        if number:
            filled.append(number)
    return filled

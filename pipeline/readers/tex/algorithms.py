r"""Algorithms as they are printed: a statement a line, indented, with the words that their commands stand for.

Of the packages algorithmic, algcompatible, algpseudocode and algorithm2e. Outside their environments the names mean nothing here, since
papers use them for other things; and where an author defines one anew, that counts.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.readers.tex.macros import Macro, defined_name
from pipeline.readers.tex.state import State

ENVIRONMENTS = {
    "algorithmic",
    "algorithmic*",
    "algorithm",
    "algorithm*",
    "algorithm2e",
    "algorithm2e*",
    "algpseudocode",
    "function",
    "procedure",
}
LINE, INDENT = "\3", "\1\1"  # begins a statement's line, which is none if nothing follows; a step to the right
_DEEPEST = 20

Handler = Callable[[State, str], None]


def _line(state: State, text: str = "", change: int = 0) -> None:
    """Begins a statement; `change`: how many steps to the right it is of the one before."""
    state.depth = min(max(0, state.depth + change), _DEEPEST)
    state.page.out.append(f"\n{LINE}{INDENT * state.depth}{text}")


def _then(state: State, after: str) -> None:
    """The next argument, which is a condition, followed by `after`."""
    state.tokens.optional()
    state.tokens.push([*state.tokens.argument(), *([after] if after else [])])


def _opens(before: str, after: str) -> Handler:
    """`\\IF{x}`: a line with a condition, and what follows it one step to the right."""

    def handler(state: State, name: str) -> None:
        _line(state, before)
        state.depth += 1
        if after:
            _then(state, after)

    return handler


def _closes(text: str, *, condition: bool = False, opens: bool = False) -> Handler:
    """`\\ENDIF`, `\\UNTIL{x}`, `\\ELSE`: a line one step to the left."""

    def handler(state: State, name: str) -> None:
        _line(state, text, -1)
        state.depth += opens
        if condition:
            _then(state, " then" if opens else "")

    return handler


def _says(text: str) -> Handler:
    """A command that begins a line with a word."""
    return lambda state, name: _line(state, text)


def _writes(text: str) -> Handler:
    """A command that is a word within a line."""
    return lambda state, name: state.page.out.append(text)


def _routine(word: str) -> Handler:
    """`\\Procedure{Name}{arguments}`."""

    def handler(state: State, name: str) -> None:
        _line(state, word + " ")
        state.depth += 1
        named, given = state.tokens.argument(), state.tokens.argument()
        state.tokens.push([*named, "(", *given, ")"])

    return handler


def _call(state: State, name: str) -> None:
    named, given = state.tokens.argument(), state.tokens.argument()
    state.tokens.push([*named, "(", *given, ")"])


def _comment(state: State, name: str) -> None:
    state.tokens.optional()
    out = state.page.out
    state.capture(lambda text: out.append(f" ▷ {text.strip()}") if text.strip() else None)


def _labelled(word: str) -> Handler:
    """`\\KwData{x}`: a line that begins with a label."""

    def handler(state: State, name: str) -> None:
        out = state.page.out

        def close(text: str) -> None:
            out.append(text.strip())
            _line(state)

        _line(state, word + ": ")
        state.capture(close)

    return handler


def _end_of_statement(state: State, name: str) -> None:
    _line(state)


# --- algorithm2e, whose commands have what they govern as an argument ------------------------------------------------------


def _body(state: State, after: Callable[[], None]) -> None:
    """The next argument is a block, one step to the right; then `after`."""
    state.depth += 1
    out = state.page.out

    def close(text: str) -> None:
        out.append(text)
        state.depth = max(0, state.depth - 1)
        after()

    _line(state)
    state.capture(close)


def _block(before: str, between: str, end: str) -> Handler:
    """`\\While{x}{...}` and its kin."""

    def handler(state: State, name: str) -> None:
        _line(state, before)
        state.tokens.optional()
        out = state.page.out

        def condition(text: str) -> None:
            out.append(text.strip() + between)
            _body(state, lambda: _line(state, end))

        if between:
            state.capture(condition)
        else:
            _body(state, lambda: _line(state, end))

    return handler


def _either(state: State, name: str) -> None:
    r"""`\eIf{x}{...}{...}`."""
    out = state.page.out

    def condition(text: str) -> None:
        out.append(text.strip() + " then")
        _body(state, otherwise)

    def otherwise() -> None:
        _line(state, "else")
        _body(state, lambda: _line(state, "end"))

    _line(state, "if ")
    state.capture(condition)


def _repeat(state: State, name: str) -> None:
    r"""`\Repeat{x}{...}`: the condition comes after what is repeated."""
    _line(state, "repeat")
    condition = state.tokens.argument()

    def close() -> None:
        _line(state, "until ")
        state.tokens.push([*condition, "\\;"])

    _body(state, close)


def _set_keyword(state: State, name: str) -> None:
    r"""`\SetKwInOut{Input}{input}`, `\SetKwFunction{Union}{union}`, `\SetKw{KwTo}{to}`: a command of the author's."""
    command = defined_name(state.tokens) if state.tokens.peek() != "{" else None
    if command is None:
        command = "".join(state.tokens.argument()).strip()
    text = state.tokens.argument()
    if name in ("SetKwInOut", "SetKwInput"):
        macro = Macro([""], ["\\;", *text, ": ", "#", "1", "\\;"])
    elif name in ("SetKwFunction", "SetKwProg"):
        macro = Macro([""], [*text, "(", "#", "1", ")"])
    else:
        macro = Macro([], [*text, " "])
    state.macros.define(command, macro)


def _drop(count: int) -> Handler:
    def handler(state: State, name: str) -> None:
        state.tokens.optional()
        for _ in range(count):
            state.tokens.argument()

    return handler


# algorithmic and algcompatible shout, algpseudocode does not.
_LINES: dict[str, Handler] = {
    "State": _says(""), "Statex": _says(""), "Require": _says("Require: "), "Ensure": _says("Ensure: "), "If": _opens("if ", " then"),
    "ElsIf": _closes("else if ", condition=True, opens=True), "Else": _closes("else", opens=True), "EndIf": _closes("end if"),
    "For": _opens("for ", " do"), "ForAll": _opens("for all ", " do"), "EndFor": _closes("end for"), "While": _opens("while ", " do"),
    "EndWhile": _closes("end while"), "Loop": _opens("loop", ""), "EndLoop": _closes("end loop"), "Repeat": _opens("repeat", ""),
    "Until": _closes("until ", condition=True), "Procedure": _routine("procedure"), "EndProcedure": _closes("end procedure"),
    "Function": _routine("function"), "EndFunction": _closes("end function"), "Call": _call, "Comment": _comment, "Input": _says("Input: "),
    "Output": _says("Output: "),
}  # fmt: skip
_BY_LINE = {
    **_LINES,
    **{name.upper(): handler for name, handler in _LINES.items()},
    "ELSIF": _closes("else if ", condition=True, opens=True), "FORALL": _opens("for all ", " do"), "RETURN": _says("return "),
    "PRINT": _says("print "), "Return": _writes("return "), "TRUE": _writes("true"), "FALSE": _writes("false"), "AND": _writes("and "),
    "OR": _writes("or "), "NOT": _writes("not "), "TO": _writes("to "), "XOR": _writes("xor "), "BODY": _opens("body", ""),
    "ENDBODY": _closes("end body"), "INPUTS": _opens("inputs:", ""), "ENDINPUTS": _closes(""),
}  # fmt: skip
_BY_BLOCK: dict[str, Handler] = {
    ";": _end_of_statement, "If": _block("if ", " then", "end"), "uIf": _block("if ", " then", ""), "lIf": _block("if ", " then", ""),
    "ElseIf": _block("else if ", " then", "end"), "uElseIf": _block("else if ", " then", ""), "lElseIf": _block("else if ", " then", ""),
    "Else": _block("else", "", "end"), "uElse": _block("else", "", ""), "lElse": _block("else", "", ""), "eIf": _either, "leIf": _either,
    "For": _block("for ", " do", "end"), "lFor": _block("for ", " do", ""), "ForEach": _block("for each ", " do", "end"),
    "lForEach": _block("for each ", " do", ""), "ForAll": _block("for all ", " do", "end"), "lForAll": _block("for all ", " do", ""),
    "While": _block("while ", " do", "end"), "lWhile": _block("while ", " do", ""), "Repeat": _repeat, "lRepeat": _repeat,
    "Switch": _block("switch ", "", "end"), "Case": _block("case ", "", "end"), "uCase": _block("case ", "", ""),
    "Other": _block("otherwise", "", "end"), "Begin": _block("begin", "", "end"), "Loop": _block("loop", "", "end"),
    "KwData": _labelled("Data"), "KwResult": _labelled("Result"), "KwIn": _labelled("Input"), "KwOut": _labelled("Output"),
    "KwRet": _writes("return "), "Return": _writes("return "), "KwTo": _writes("to "), "tcp": _comment, "tcc": _comment,
    "tcpy": _comment, "tccf": _comment, "tcpf": _comment, "tcw": _comment, "Comment": _comment, "BlankLine": _says(""),
    "SetKw": _set_keyword, "SetKwInOut": _set_keyword, "SetKwInput": _set_keyword, "SetKwFunction": _set_keyword,
    "SetKwProg": _set_keyword, "SetKwData": _set_keyword, "SetKwBlock": _drop(3), "SetKwFor": _drop(4), "SetKwIF": _drop(8),
    "SetKwRepeat": _drop(3), "SetKwComment": _drop(3), "SetAlgoNoLine": _drop(0), "SetAlgoCaptionSeparator": _drop(1),
    "SetAlFnt": _drop(1), "SetInd": _drop(2), "SetAlgoLined": _drop(0), "DontPrintSemicolon": _drop(0), "LinesNumbered": _drop(0),
    "SetNlSty": _drop(3), "nlset": _drop(1), "lnl": _drop(1), "nl": _drop(0),
}  # fmt: skip
NAMES = (_BY_LINE.keys() | _BY_BLOCK.keys()) - {";"}


def handler_of(state: State, name: str) -> Handler | None:
    """What a command does where it stands in an algorithm; None elsewhere, and of others."""
    if name not in _BY_LINE and name not in _BY_BLOCK:
        return None
    frame = state.page.innermost(ENVIRONMENTS)
    if frame is None or state.formula is not None:
        return None
    by_line = frame.name.startswith(("algorithmic", "algpseudocode"))
    return (_BY_LINE if by_line else _BY_BLOCK).get(name) or (_BY_BLOCK if by_line and name != ";" else {}).get(name)

r"""Commands in text: what each does, by name.

A handler is a function `(state, name)`; `name` is the command's, with the star that it may have. `HANDLERS` are found by the whole
name, `STARRED_ALIKE` by the name without its star. A command that is in neither is passed over, and its argument is text, but for
some names that say what they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pipeline.readers.tex import algorithms, conditionals, environments, formulas, macros, quantities, structure
from pipeline.readers.tex.characters import ACCENTS, CONTROL_SYMBOLS, REDEFINABLE, SYMBOLS, accent, named_accent, symbol
from pipeline.readers.tex.inclusion import include_file
from pipeline.readers.tex.macros import Macro
from pipeline.readers.tex.page import ARGUMENT
from pipeline.readers.tex.references import citation, label, reference
from pipeline.readers.tex.state import State
from pipeline.readers.tex.tokens import environment_of, is_blank_line, is_environment, words
from pipeline.readers.tex.vocabulary import (
    CITATIONS,
    DISPLAYS,
    DROPPED,
    LEADING,
    NO_TEXT,
    REFERENCES,
    SECTIONS,
    TABLE_RULES,
    TRACKED,
)

Handler = Callable[[State, str], None]

_LOOKED_PAST = 20  # groups' ends
_ENDS_A_WORD = ("footnote", "footnotemark", "begin", "end", "par", "item", "label", "index")
_ESCAPED = re.compile(r"\\([%_#~&])")  # in an address
_REGISTERS = ("skip", "dent", "idth", "eight", "ngth", "alty")  # ends of registers' names: \parskip, \textwidth ...


def command(state: State, token: str) -> None:
    """Does what a command in text asks for; `token` begins with a backslash."""
    if token[-1] == "}" and len(token) > 2:
        _braced(state, token)
        return
    name = token[1:].rstrip()
    if token.startswith("\\verb") and len(token) > 6 and not name.rstrip("*").isalpha():
        state.page.out.append(state.page.hold((token[6:] if token[5] != "*" else token[7:])[:-1]))
        return
    macro = state.macros.by_name.get(name)
    if macro is not None:
        if not state.tokens.stopped:
            macros.expand(state.tokens, macro, token)
        return
    handler = algorithms.handler_of(state, name) or HANDLERS.get(name)
    if handler is not None:
        handler(state, name)
        return
    bare = name[:-1] if name.endswith("*") and len(name) > 1 else name
    if bare is not name and (macro := state.macros.by_name.get(bare)) is not None:
        if not state.tokens.stopped:
            if not macro.kinds.startswith("s"):
                state.tokens.stack.append("*")
            macros.expand(state.tokens, macro, token)
        return
    if not name or (not name[0].isalpha() and name[0] != "@"):
        _control_symbol(state, name)
        return
    handler = STARRED_ALIKE.get(bare)
    if handler is not None:
        handler(state, name)
    else:
        _other(state, bare)


def _braced(state: State, token: str) -> None:
    r"""A token that holds its argument: a `\begin` or `\end`, or an address."""
    if is_environment(token):
        (environments.begin if token[1] == "b" else environments.end)(state, environment_of(token))
    elif not token.startswith("\\href"):  # whose text follows
        address = token[token.index("{") + 1 : -1].strip()
        state.page.out.append(state.page.hold(_ESCAPED.sub(r"\1", address)))


def _control_symbol(state: State, name: str) -> None:
    r"""A command of one character that is no letter: `\%`, `\'`, `\\`, `\[`."""
    if name in ACCENTS and (name != "=" or "tabbing" not in state.page.open):
        accent(state, ACCENTS[name])
    elif name == "\\":
        state.tokens.skip_star()
        state.tokens.skip_length()
        state.page.out.append("\n")
    elif name in ("(", "["):
        formulas.begin(state, name)
    elif name not in ("]", ")"):
        state.page.out.append(CONTROL_SYMBOLS.get(name[:1], ""))


def _other(state: State, name: str) -> None:
    """A command that is not known, where its definition is not at hand: its name may say what it is."""
    tokens = state.tokens
    if (name.startswith("if") and conditionals.take_branch(state, name)) or conditionals.set_flag(state, name):
        return
    if name.endswith("label") or name.startswith("index"):
        tokens.optional()
        tokens.argument()
        return
    following = tokens.peek()
    has_argument = following in ("{", "[")
    if has_argument and name.endswith("ref"):
        tokens.optional()
        state.page.out.append(reference(state, name))
    elif has_argument and "cite" in name:
        state.page.out.append(citation(state))
    elif has_argument:
        tokens.optional()
        if tokens.peek() == "{":  # its arguments are text, each by itself
            tokens.next()
            state.page.braces.append(ARGUMENT)
    elif following is not None and following[0] == "=" and name.endswith(_REGISTERS):
        tokens.skip_assignment()


# --- commands whose arguments are no text -------------------------------------------------------------------------------

# Whose argument may go over blank lines.
_LONG = ("author", "address", "affiliation", "AtBeginDocument", "institute", "thanks", "date", "IEEEauthorblockA")
_GLUE = ("vskip", "hskip", "vglue", "hfuzz", "hbadness")


def _drop(state: State, name: str) -> None:
    """Passes over all arguments."""
    name = name.removesuffix("*")
    tokens, count = state.tokens, DROPPED[name]
    tokens.optional()
    for _ in range(count):
        tokens.argument(long=name in _LONG)
        if count > 1 or name == "input@path":
            tokens.optional()
    if name in ("usepackage", "RequirePackage"):
        tokens.optional()


def _drop_glue(state: State, name: str) -> None:
    r"""`\vskip 3pt`: a length without braces."""
    following = state.tokens.peek()
    if following is not None and (following[0].isdigit() or following[0] in "-=."):
        state.tokens.skip_assignment()


def _drop_partial_rule(state: State, name: str) -> None:
    r"""`\cmidrule(lr){2-3}`."""
    tokens = state.tokens
    following = tokens.peek()
    if following is not None and following.startswith("(") and ")" in following[:12]:
        tokens.stack.append(tokens.stack.pop().split(")", 1)[1] or " ")
    _drop(state, name)


def _drop_leading(state: State, name: str) -> None:
    """Passes over all arguments but the last."""
    state.tokens.optional()
    for _ in range(LEADING[name.removesuffix("*")]):
        state.tokens.argument()
        state.tokens.optional()


def _drop_optional(state: State, name: str) -> None:
    state.tokens.optional()


def _nothing(state: State, name: str) -> None:
    pass


# --- commands with ways of their own ------------------------------------------------------------------------------------


def _begin(state: State, name: str) -> None:
    environments.begin(state, words(state.tokens.argument()))


def _end(state: State, name: str) -> None:
    environments.end(state, words(state.tokens.argument()))


def _begin_display(state: State, name: str) -> None:
    r"""`\equation ... \endequation`, as in `\csname equation\endcsname`."""
    formulas.begin(state, name.removesuffix("*"))


def _ensure_math(state: State, name: str) -> None:
    state.tokens.skip_space()
    if state.formula is None and state.tokens.peek() == "{":
        state.tokens.next()
        formulas.begin(state, "{")


def _label(state: State, name: str) -> None:
    label(state, words(state.tokens.argument()))


def _cite(state: State, name: str) -> None:
    state.page.out.append(citation(state))


def _refer(state: State, name: str) -> None:
    state.page.out.append(reference(state, name.removesuffix("*")))


def _refer_to_range(state: State, name: str) -> None:
    r"""cleveref's `\crefrange{from}{to}`."""
    begin, end = state.tokens.argument(), state.tokens.argument()
    state.tokens.push(["\\cref", "{", *begin, "}", "–", "\\ref", "{", *end, "}"])


def _address(state: State, name: str) -> None:
    r"""A `\url` whose argument is no token of its own."""
    address = "".join(state.tokens.argument())
    state.page.out.append(address.replace("\\%", "%").replace("\\_", "_").replace("\\#", "#").replace("\\~", "~").strip())


def _first_of_two(state: State, name: str) -> None:
    r"""`\replaced[id]{new}{old}` of the package changes, `\annote[id]{text}{note}` of trackchanges."""
    state.tokens.optional()
    conditionals.choose(state, 2, 0)


def _second_of_two(state: State, name: str) -> None:
    r"""`\change[id]{old}{new}` of the package trackchanges."""
    state.tokens.optional()
    conditionals.choose(state, 2, 1)


def _space_after(state: State, name: str) -> None:
    r"""`\xspace`: a space, unless what follows has one or is a mark that ends the word. A group that ends first is looked past."""
    tokens, closing = state.tokens, 0
    while tokens.peek() == "}" and closing < _LOOKED_PAST:
        tokens.next()
        closing += 1
    following = tokens.peek() or " "
    tokens.stack.extend(["}"] * closing)
    name = following[1:].rstrip()
    if following[0] == "\\" and name != "xspace":
        ends = not name[:1].isalpha() or name in _ENDS_A_WORD
    else:
        ends = following[0] in ",.'/?;:!~-)]}{%&" or following[0].isspace() or name == "xspace"
    if not ends:
        state.page.out.append(" ")


def _quote(state: State, name: str) -> None:
    out = state.page.out
    out.append("“")
    state.capture(lambda text: out.append(text + "”"))


def _named_command(state: State, name: str) -> None:
    r"""`\csname NAME\endcsname` is `\NAME`; of displays `\begin{NAME}`, and `\end{NAME}` where it is `endNAME`."""
    tokens, word = state.tokens, ""
    while (token := tokens.next()) is not None and len(word) < 100:
        if token.rstrip() == "\\endcsname":
            break
        if is_blank_line(token):
            tokens.stack.append(token)
            return
        word += token.strip()
    if word.startswith("end") and word[3:].rstrip("*") in DISPLAYS:
        tokens.stack.append(f"\\end{{{word[3:]}}}")
    elif word.rstrip("*") in DISPLAYS:
        tokens.stack.append(f"\\begin{{{word}}}")
    elif re.fullmatch(r"[A-Za-z@]{1,60}", word):
        tokens.stack.append("\\" + word)


def _new_command(state: State, name: str) -> None:
    macros.new_command(state.tokens, state.macros, replace=name.rstrip("*") != "providecommand")


def _declare_operator(state: State, name: str) -> None:
    command = macros.defined_name(state.tokens)
    star = "*" if name.endswith("*") else ""
    state.macros.define(command, Macro([], ["\\operatorname" + star, "{", *state.tokens.argument(), "}"]))


def _table(*rows: tuple[Iterable[str], Handler]) -> dict[str, Handler]:
    return {name: handler for names, handler in rows for name in names}


def _with_stars(*names: str) -> list[str]:
    return [*names, *(name + "*" for name in names)]


HANDLERS = _table(
    (_with_stars("newcommand", "renewcommand", "providecommand", "DeclareRobustCommand", "newrobustcmd", "renewrobustcmd"), _new_command),
    (["def", "gdef", "edef", "xdef"], lambda state, name: macros.definition(state.tokens, state.macros)),
    (["let", "futurelet"], lambda state, name: macros.let(state.tokens, state.macros)),
    (
        ["NewDocumentCommand", "RenewDocumentCommand", "ProvideDocumentCommand", "DeclareDocumentCommand", "NewExpandableDocumentCommand"],
        lambda state, name: macros.new_document_command(state.tokens, state.macros),
    ),
    (_with_stars("DeclareMathOperator"), _declare_operator),
    (_with_stars("newenvironment", "renewenvironment"), environments.new_environment),
    (_with_stars("newtheorem"), structure.new_theorem),
    (["csname"], _named_command),
    (["input", "include", "subfile", "subfileinclude", "inputfrom", "subinputfrom"], include_file),
    (_with_stars("import", "subimport"), include_file),
    (["newif"], conditionals.new_flag),
    (["else", "fi"], conditionals.other_branch),
    (["@ifnextchar"], conditionals.next_character),
    (["@ifstar"], conditionals.next_star),
    (
        ["IfNoValueTF", "IfValueTF", "IfBooleanTF", "IfNoValueF", "IfValueT", "IfBooleanT", "IfNoValueT", "IfValueF"],
        conditionals.if_value,
    ),
    (["mathchoice"], lambda state, name: conditionals.choose(state, 4, 0)),
    (["@firstoftwo"], lambda state, name: conditionals.choose(state, 2, 0)),
    (["@secondoftwo"], lambda state, name: conditionals.choose(state, 2, 1)),
    (["ifthenelse"], lambda state, name: conditionals.choose(state, 3, 2)),
    (["begin"], _begin),
    (["end"], _end),
    (["bgroup"], lambda state, name: state.tokens.stack.append("{")),
    (["egroup"], lambda state, name: state.tokens.stack.append("}")),
    (["title", "icmltitle", "Title"], structure.title),
    (["abstract"], structure.abstract),
    (["keywords", "IEEEkeywords"], structure.keywords),
    (["appendix", "appendices"], structure.appendix),
    (["footnote", "footnotetext", "endnote", "tablefootnote", "sidenote"], structure.footnote),
    (_with_stars("caption"), structure.caption),
    (["item"], structure.item),
    (["label"], _label),
    (["crefrange", "Crefrange"], _refer_to_range),
    (["ensuremath"], _ensure_math),
    (["url", "nolinkurl", "path"], _address),
    (["SI", "qty"], quantities.quantity),
    (["num", "tablenum", "complexnum"], quantities.number),
    (["si", "unit"], quantities.unit),
    (["ang"], quantities.angle),
    (["SIrange", "qtyrange", "numrange"], quantities.span),
    (["SIlist", "qtylist", "numlist", "qtyproduct", "numproduct"], quantities.enumeration),
    (["DeclareSIUnit"], quantities.declare),
    (["replaced", "chreplaced", "annote"], _first_of_two),
    (["change"], _second_of_two),
    (["enquote"], _quote),
    (["xspace"], _space_after),
    (["IEEEPARstart", "PARstart", "lettrine", "dropcap", "yinipar"], _drop_optional),  # a large first letter and the rest of its word
)
# Of two rows with one name the later counts.
STARRED_ALIKE = _table(
    (NO_TEXT, _nothing),
    (DISPLAYS, _begin_display),
    (TABLE_RULES, _drop_optional),
    (LEADING, _drop_leading),
    (DROPPED, _drop),
    (_GLUE, _drop_glue),
    (["cmidrule"], _drop_partial_rule),
    (SYMBOLS, symbol),
    (ACCENTS, named_accent),
    (REFERENCES, _refer),
    (CITATIONS, _cite),
    (SECTIONS, structure.heading),
)
KEPT = ((HANDLERS.keys() | STARRED_ALIKE.keys()) - DISPLAYS.keys()) - REDEFINABLE - TRACKED  # names that macros cannot take

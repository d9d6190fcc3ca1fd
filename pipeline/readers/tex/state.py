"""What the engine knows while it reads one document. Commands are functions `(state, name)` that read from it and write into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.readers.tex.macros import Macro, Macros
from pipeline.readers.tex.numbering import Numbering
from pipeline.readers.tex.page import Close, Page
from pipeline.readers.tex.tokens import Tokens

Include = Callable[[str], "tuple[str, str] | None"]  # a name as \input has it -> (name of the file, its text)


@dataclass(slots=True)
class Formula:
    """The mathematics that is being read. `name`: its environment, `$`, `$$`, `(`, `[`, or `{` for an argument of \\ensuremath."""

    name: str
    before: list[str]  # where text went before it, and goes on after it
    depth: int = 0  # of braces

    @property
    def is_inline(self) -> bool:
        """Whether a line's end is no line's end in it."""
        return self.name in ("$", "(", "{")


@dataclass(slots=True)
class State:
    """One document, one state."""

    tokens: Tokens
    macros: Macros
    include: Include | None = None
    included: set[str] = field(default_factory=set)  # files that were read
    inclusions: int = 0

    page: Page = field(default_factory=Page)
    formula: Formula | None = None  # None in text
    numbering: Numbering = field(default_factory=Numbering)
    labels: dict[str, tuple[str, str]] = field(default_factory=dict)  # label -> kind and number of what it stands at
    referred: list[tuple[str, str]] = field(default_factory=list)  # the references: command and labels
    cited: dict[str, int] = field(default_factory=dict)  # key -> number

    environments: dict[str, tuple[Macro, list[str]]] = field(default_factory=dict)  # the author's: their begins and ends
    theorems: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # environment -> printed name, counter
    flags: dict[str, bool] = field(default_factory=lambda: {"true": True, "false": False})
    branches: int = 0  # of conditionals that are being read
    depth: int = 0  # of the statements of an algorithm

    title: str = ""
    first_heading: str = ""
    early: str = ""  # an abstract that the preamble gives
    in_body: bool = False
    done: bool = False

    def capture(self, close: Close, *, is_heading: bool = False) -> None:
        """The next argument's text goes to `close`, and not to the page. Where frames are too deep it goes to the page."""
        tokens, page = self.tokens, self.page
        tokens.skip_space()
        token = tokens.next()
        if token is None:
            return
        if token != "{":
            tokens.stack.append(token)
        frame = page.enter("capture", "", close)
        if token == "{":
            page.braces.append(frame)
        elif frame is not None:  # an argument without braces: one token
            page.braces.append(frame)
            tokens.push([*tokens.argument(), "}"])
        if frame is not None:
            frame.is_heading = is_heading

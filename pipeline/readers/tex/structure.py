"""The parts of a paper: title, abstract, headings, notes, captions, theorems and items of lists."""

from __future__ import annotations

from pipeline.readers.tex.numbering import MAX_COUNTERS, NUMBERED_LEVELS
from pipeline.readers.tex.state import State
from pipeline.readers.tex.tokens import words
from pipeline.readers.tex.vocabulary import ENVIRONMENT_ARGUMENTS, FLOATS, LISTS, PICTURES, SECTIONS, TABLES

_MAX_THEOREMS = 10_000
_RUN_IN = 4  # the level from which on headings begin the paragraph
_DEEPEST_LIST = 6


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


# --- title, abstract, headings, notes -----------------------------------------------------------------------------------


def title(state: State, name: str) -> None:
    """The paper's title, the first of several."""
    state.tokens.optional()

    def close(text: str) -> None:
        state.title = state.title or _on_one_line(text)

    state.capture(close)


def abstract(state: State, name: str) -> None:
    r"""`\abstract{...}`; where it stands before the document begins, it is remembered for its begin."""

    def close(text: str) -> None:
        if text.strip():
            if state.in_body:
                state.page.out.append(f"\n\nAbstract\n\n{text}\n\n")
            else:
                state.page.notes.append(f"\n\nAbstract\n\n{text}\n\n")
                state.early = f"Abstract\n\n{text}\n\n"

    state.capture(close)


def keywords(state: State, name: str) -> None:
    r"""`\keywords{...}`."""
    out = state.page.out

    def close(text: str) -> None:
        if line := _on_one_line(text):
            out.append(f"\n\nKeywords: {line}\n\n")

    state.capture(close)


def heading(state: State, name: str) -> None:
    """A heading on a line of its own, or one that begins its paragraph."""
    level = SECTIONS[name.removesuffix("*")]
    state.page.leave_floats()
    state.tokens.optional()
    if level == 0:
        state.numbering.has_chapters = True
    if not name.endswith("*") and level <= NUMBERED_LEVELS:
        state.numbering.step_heading(level)

    def close(text: str) -> None:
        line = _on_one_line(text)
        if not line:
            return
        state.first_heading = state.first_heading or line
        if level >= _RUN_IN:
            state.page.out.append(f"\n\n{line}{'' if line[-1] in '.:?!' else '.'} ")
        else:
            state.page.out.append(f"\n\n{line}\n\n")

    state.page.paragraph()
    state.capture(close, is_heading=True)


def appendix(state: State, name: str) -> None:
    """From here on headings are those of an appendix."""
    state.numbering.start_appendix()


def footnote(state: State, name: str) -> None:
    """A footnote, which comes after its paragraph; one within a formula is left out."""
    state.tokens.optional()

    def close(text: str) -> None:
        if line := _on_one_line(text):
            state.page.notes.append(line)

    if state.formula is None:
        state.capture(close)
    else:
        state.tokens.argument(long=True)


# --- figures and tables -------------------------------------------------------------------------------------------------


def begin_float(state: State, name: str) -> None:
    """A figure or table begins, of which the captions are kept, and of tables and listings what they hold."""
    state.tokens.optional()
    for _ in range(ENVIRONMENT_ARGUMENTS.get(name, 0)):
        state.tokens.argument()
    page = state.page
    out = page.out

    def close(text: str) -> None:
        page.muted -= 1
        blocks = frame.captions if frame is not None else []
        if name in FLOATS and text.strip():
            blocks = [*blocks, text]
        out.append("\n\n" + "\n\n".join(blocks) + "\n\n")

    frame = page.enter("environment", name, close)
    if frame is not None:
        page.muted += 1


def caption(state: State, name: str) -> None:
    r"""A `\caption`, with the kind and number of what it is of: of the figure or table around it, else of a figure."""
    state.tokens.optional()
    page, numbering = state.page, state.numbering
    holder = page.innermost(PICTURES | FLOATS)
    kind = "figure"
    if holder is not None and holder.name in FLOATS:
        kind = "algorithm" if holder.name.startswith("algorithm") else "listing" if holder.name == "listing" else "table"
    elif holder is None and any(frame.name in TABLES for frame in page.frames):
        kind = "table"
    if numbering.has_chapters:
        numbering.within.setdefault(kind, "chapter")
    number = numbering.step(kind, kind.capitalize())

    def close(text: str) -> None:
        line = _on_one_line(text)
        if line and holder is not None:
            holder.captions.append(f"{kind.capitalize()} {number}. {line}")
        elif line:
            page.out.append(f"\n\n{kind.capitalize()} {number}. {line}\n\n")

    state.capture(close)


# --- theorems and lists -------------------------------------------------------------------------------------------------


def new_theorem(state: State, name: str) -> None:
    r"""`\newtheorem{name}[counter]{Printed name}[parent]`; with a star they are not numbered."""
    tokens = state.tokens
    environment = words(tokens.argument())
    shared = tokens.optional()
    printed = words(tokens.argument())
    parent = tokens.optional()
    if not environment:
        return
    counter: str | None = environment
    if name.endswith("*"):
        counter = None
    elif shared is not None:
        other = words(shared)
        counter = state.theorems.get(other, ("", other))[1]
    elif parent is not None and len(state.numbering.within) < MAX_COUNTERS:
        state.numbering.within[environment] = words(parent)
    if len(state.theorems) < _MAX_THEOREMS:
        state.theorems[environment] = (printed, counter)


def begin_theorem(state: State, name: str) -> None:
    """A theorem begins: its printed name, its number, and a note in parentheses."""
    printed, counter = state.theorems[name]
    note = state.tokens.optional()
    state.page.paragraph()
    number = " " + state.numbering.step(counter, printed) if counter else ""
    state.page.enter("environment", name, state.page.block)
    state.tokens.push([printed + number, *([" (", *note, ")"] if note else []), ". "])


def item(state: State, name: str) -> None:
    r"""An `\item`, with the mark of its list, or its own words in place of one."""
    tag = state.tokens.optional()
    page = state.page
    holder = page.innermost(LISTS)
    depth = sum(1 for frame in page.frames if frame.name in LISTS and frame.kind == "environment") - 1
    style = LISTS[holder.name] if holder is not None else "-"
    out = page.out
    out.append("\n" + "\1\1" * max(0, min(_DEEPEST_LIST, depth)))
    if tag is not None:
        state.tokens.skip_space()
        state.tokens.push([*tag, " "])
        if style == "":
            out.append("- ")
    elif style == "1" and holder is not None:
        holder.items += 1
        state.numbering.current = ("item", str(holder.items))
        out.append(f"{holder.items}. ")
    else:
        out.append("- ")

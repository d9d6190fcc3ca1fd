r"""Citations and references. `\cite` gets numbers in the order of first mention, `\ref` what its label's place is numbered.

A label may come after the references to it, so those are marks until the document is read: `\0L12\0` is the twelfth (from 0).
"""

from __future__ import annotations

from pipeline.readers.tex.state import State
from pipeline.readers.tex.tokens import words
from pipeline.readers.tex.vocabulary import NAMED_REFERENCES

_MAX_LABELS = 1_000_000


def label(state: State, name: str) -> None:
    """Gives the number of this place to a label, unless it has one."""
    labels = state.labels
    if name not in labels and len(labels) < _MAX_LABELS:
        labels[name] = state.numbering.current


def citation(state: State) -> str:
    r"""What a `\cite` prints: `[1, 2]`, with a short note where it has one, `[1, p. 3]`."""
    tokens = state.tokens
    first = tokens.optional()
    second = tokens.optional() if first is not None else None
    keys = [key.strip() for key in "".join(tokens.argument()).split(",")]
    numbers = sorted({state.cited.setdefault(key, len(state.cited) + 1) for key in keys if key})
    note = words(second if second is not None else first or [])
    if note and ("\\" in note or "{" in note or "$" in note or len(note) > 60):
        note = ""
    marks = ", ".join(map(str, numbers)) + (f", {note}" if note else "")
    return f"[{marks}]" if numbers else ""


def reference(state: State, name: str) -> str:
    r"""The mark of a `\ref` or its kin (`name`), for `resolved` to replace."""
    while state.tokens.optional() is not None:
        pass
    state.referred.append((name, words(state.tokens.argument())))
    return f"\0L{len(state.referred) - 1}\0"


def resolved(state: State, index: int) -> str:
    """What a reference prints: the numbers of its labels, those of which none is known left out."""
    name, keys = state.referred[index]
    texts = []
    for key in keys.split(","):
        kind, number = state.labels.get(key.strip(), ("", ""))
        if number:
            if name == "eqref":
                number = f"({number})"
            elif name in NAMED_REFERENCES and kind:
                number = f"{kind} {number}"
            texts.append(number)
    return ", ".join(texts)

"""Items for models that are tuned: a query and the text that answers it, or a text and its label, made from one document.

| set | query | text |
|---|---|---|
| code | first paragraph of a Python function's docstring | the function without docstring and comments |
| code-unnamed | the same | the same, the function's name hidden too |
| title | the document's title | its text without the title's words |
| section | a heading | the section beneath it |
| abstract | a sentence of the abstract | the paper without title and abstract |
| topic | none | the beginning of the text; the label is the document's source |

The rules of `code` are CodeSearchNet's (Husain et al. 2019): a docstring of at least 3 words, a function of at least 3 lines, no tests, no
special methods. A document that a set has no rule for has no items in it.
"""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pipeline.workdir.documents import CODE

LEAST_WORDS, LEAST_LINES = 3, 3  # of a docstring, and of a function
LEAST_TEXT = 50  # words of a text that answers a title, a heading or a sentence
MOST_CHARACTERS = 60_000  # of a text: what a model of 8,192 tokens takes is less
LONGEST_CODE = 1 << 20  # characters of a file that is parsed
_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


class Pair(NamedTuple):
    """One item, but for where it is from."""

    query: str
    text: str
    label: str | None = None


Document = Mapping[str, Any]  # a row of documents/, its text without what was cut
Maker = Callable[[Document], Iterator[Pair]]


def words(text: str) -> list[str]:
    """A text's words as they are compared: letters and digits, in small letters."""
    return [word.lower() for word in _WORD.findall(text)]


# --- code ------------------------------------------------------------------------------------------------------------


def _functions(document: Document) -> Iterator[tuple[str, str, str]]:
    """The name, docstring's first paragraph, and source without docstring and comments of each function that is an item."""
    text = document["text"]
    python = document["language"] == "Python" or str(document["path"] or "").endswith(".py")
    if document["domain"] != CODE or not python or len(text) > LONGEST_CODE:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file's own escapes are no concern of ours
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or "test" in node.name.lower() or node.name.startswith("__"):
            continue
        told = ast.get_docstring(node)
        query = " ".join(re.split(r"\n\s*\n", told.strip())[0].split()) if told else ""
        if len(words(query)) >= LEAST_WORDS and (source := _without_docstring(text, node)) is not None:
            yield node.name, query, source


def _without_docstring(text: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """A function's source without its docstring and comments; None where that is too short, or no whole lines."""
    lines = text.splitlines(keepends=True)
    docstring, last = node.body[0], node.end_lineno
    assert last is not None, "parsed from a text"
    assert docstring.end_lineno is not None, "parsed from a text"
    if docstring.lineno == node.lineno:
        return None
    kept = textwrap.dedent("".join(lines[node.lineno - 1 : docstring.lineno - 1] + lines[docstring.end_lineno : last]))
    try:
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(kept).readline) if token.type == tokenize.COMMENT]
    except (tokenize.TokenError, SyntaxError):
        return None
    rows = kept.splitlines()
    for token in tokens:
        row, column = token.start
        rows[row - 1] = rows[row - 1][:column].rstrip()
    rows = [row for row in rows if row.strip()]
    return "\n".join(rows) if len(rows) >= LEAST_LINES else None


def _code(document: Document) -> Iterator[Pair]:
    yield from (Pair(query, source) for _, query, source in _functions(document))


def _code_unnamed(document: Document) -> Iterator[Pair]:
    for name, query, source in _functions(document):
        yield Pair(query, re.sub(rf"\b{re.escape(name)}\b", "function", source))


# --- texts -----------------------------------------------------------------------------------------------------------


def _title(document: Document) -> Iterator[Pair]:
    title = " ".join(str(document["title"] or "").split())
    own = set(words(title))
    if document["domain"] == CODE or not own:
        return
    text = _WORD.sub(lambda found: "" if found[0].lower() in own else found[0], document["text"][:MOST_CHARACTERS])
    if len(words(text)) >= LEAST_TEXT:
        yield Pair(title, re.sub(r"[ \t]+", " ", text).strip())


def _is_heading(paragraph: str) -> bool:
    """Whether a paragraph is a heading: one short line that begins large or with a number, and ends without a stop."""
    line = paragraph.strip()
    return (
        "\n" not in line
        and 2 <= len(words(line)) <= 12
        and len(line) <= 80
        and (line[0].isupper() or line[0].isdigit())
        and line[-1] not in ".,;:!?"
    )


def _section(document: Document) -> Iterator[Pair]:
    if document["domain"] == CODE:
        return
    heading: str | None = None
    body: list[str] = []
    for paragraph in [*document["text"][: 4 * MOST_CHARACTERS].split("\n\n"), "The End"]:
        if not paragraph.strip():
            continue
        if not _is_heading(paragraph):
            body.append(paragraph)
            continue
        text = "\n\n".join(body)[:MOST_CHARACTERS]
        if heading is not None and len(words(text)) >= LEAST_TEXT:
            yield Pair(heading, text)
        heading, body = " ".join(paragraph.split()), []


def _abstract(document: Document) -> Iterator[Pair]:
    paragraphs = [paragraph for paragraph in document["text"].split("\n\n") if paragraph.strip()]
    place = next((place for place, paragraph in enumerate(paragraphs[:10]) if words(paragraph) == ["abstract"]), None)
    if place is None or place + 2 >= len(paragraphs):
        return
    sentences = [sentence for sentence in _SENTENCE.split(" ".join(paragraphs[place + 1].split())) if len(words(sentence)) >= 8]
    rest = "\n\n".join(paragraphs[place + 2 :])[:MOST_CHARACTERS]
    if sentences and len(words(rest)) >= LEAST_TEXT:
        yield Pair(sentences[len(sentences) // 2], rest)  # the middle one: the first says what all papers of a field say


def _topic(document: Document) -> Iterator[Pair]:
    if document["domain"] != CODE and len(words(document["text"][:MOST_CHARACTERS])) >= LEAST_TEXT:
        yield Pair("", document["text"][:4000], document["source"])


MAKERS: dict[str, Maker] = {
    "code": _code,
    "code-unnamed": _code_unnamed,
    "title": _title,
    "section": _section,
    "abstract": _abstract,
    "topic": _topic,
}

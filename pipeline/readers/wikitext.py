"""Wikitext to light text, in one pass over the page and one over its lines.

Why our own: mwparserfromhell builds a tree of Python objects (see docs/science.md for the speeds) and leaves tables, lists and headings to
its caller. Here brackets are frames on a stack of bounded depth, so that time is linear and nothing recurses, whatever the page holds:

- templates that stand for words of the sentence give these (`{{lang|fr|mot}}`, `{{convert|5|km}}`; see `wikitext_templates`), others are
  left out; so are references, categories, files with their captions, galleries, comments and magic words;
- links give their words, bold and italic marks go, headings stay as lines of their own (those without text under them go), lists are
  `- ` and `1. `, tables are rows with bars;
- `<math>` is `$...$` (`$$...$$` on lines of its own where it is a block), `<syntaxhighlight>`, `<pre>` and `<code>` keep their code.

Brackets that never close are text, and what they hold is read.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from pipeline.readers import wikitext_lines
from pipeline.readers.tables import rows_to_text
from pipeline.readers.wikitext_lines import QUOTES
from pipeline.readers.wikitext_templates import to_words

FILES = frozenset({
    "file", "image", "category", "media", "datei", "bild", "kategorie", "fichier", "catégorie", "archivo", "categoría",
})  # fmt: skip

MAX_DEPTH = 60  # of brackets; deeper ones are text

_DROPPED = (
    "ref", "gallery", "timeline", "imagemap", "score", "graph", "mapframe", "maplink", "templatedata", "style", "script", "references",
    "inputbox", "hiero", "categorytree", "noinclude", "chart", "section",
)  # fmt: skip
_HELD = ("math", "chem", "ce", "syntaxhighlight", "source", "pre", "nowiki", "code")
_NAMES = "|".join((*_DROPPED, *_HELD))
# Each alternative takes at least one character and looks at a bounded stretch, or at what it takes.
_TOKEN = re.compile(
    r"[^\[\]{}|<\n]+"
    r"|<!--"
    r"|<(?P<tag>" + _NAMES + r")\b(?P<attributes>[^<>]{0,600}?)(?P<closed>/?)>"
    r"|<br\b[^<>]{0,100}>"
    r"|</?[a-zA-Z][a-zA-Z0-9]{0,20}(?:\s[^<>]{0,1000})?/?>"
    r"|\{\{\{(?!\{)|\{\{|\}\}|\[\[|\]\]"
    r"|\n[ \t:*]{0,20}\{\||\|\}(?=\}\}(?!\}))|\|\}(?!\})"
    r"|\[(?:https?:|ftp:|mailto:|irc:)?//[^\s\]\[<>|{}]{1,2000}[ \t]?|\[mailto:[^\s\]\[<>|{}]{1,200}[ \t]?"
    r"|\n|.",
    re.IGNORECASE,
)
_REDIRECT = re.compile(r"\s*#[^\s\[:]{4,30}\s*(?::\s*)?\[\[", re.IGNORECASE)
_REDIRECT_WORDS = re.compile(
    r"\s*#(?:redirect|weiterleitung|redirection|redirección|redireccion|rinvia|redirecionamento|doorverwijzing|перенаправление|重定向|転送"
    r"|patrz|tam|przekieruj|omdirigering|ohjaus|yönlendirme|đổi|تحويل|הפניה)",
    re.IGNORECASE,
)


def is_redirect(text: str) -> bool:
    """Whether a page only sends its readers to another."""
    return bool(_REDIRECT_WORDS.match(text[:200]) and _REDIRECT.match(text[:400]))


def to_text(text: str, left_out: frozenset[str] = FILES) -> str:
    """A page's wikitext as light text. `left_out`: small-letter names of the namespaces whose links show nothing where they stand
    (files and categories, in the wiki's own language)."""
    return read_page(text, left_out)[0]


def read_page(text: str, left_out: frozenset[str] = FILES) -> tuple[str, dict[str, int]]:
    """A page's text as `to_text` gives it, and how often each template is in it that the reader does not know, by name."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace("\1", "")
    if not text.startswith("\n"):
        text = "\n" + text  # a table may begin the page
    page = _Brackets(text, left_out)
    read = wikitext_lines.to_text(page.read(), page.held)
    return read, page.unknown


# --- the first pass: everything that is in brackets or tags ---------------------------------------------------------------


class _Frame:
    __slots__ = ("current", "kind", "opener", "parts")

    def __init__(self, kind: str, opener: str) -> None:
        self.kind, self.opener = kind, opener
        self.parts: list[str] = []  # arguments that are complete
        self.current: list[str] = []


class _Brackets:
    """The first pass over a page. The brackets that are open are frames on a stack; `held` is what comes out as it is, by number."""

    __slots__ = ("_counts", "_gone", "_left_out", "_lower", "_position", "_stack", "_text", "_top", "held", "unknown")

    def __init__(self, text: str, left_out: frozenset[str]) -> None:
        self._text, self._left_out = text, left_out
        self._position = 0
        self._top = _Frame("page", "")
        self._stack = [self._top]
        self._counts = {"template": 0, "link": 0, "table": 0, "param": 0, "external": 0}
        self._lower: str | None = None  # the text in small letters, made where a tag needs it
        self._gone: set[str] = set()  # tags and comments whose end is not in the rest
        self.held: list[str] = []
        self.unknown: dict[str, int] = {}  # templates, by name

    def read(self) -> str:
        """The page without its brackets and tags."""
        text, length, scan = self._text, len(self._text), _TOKEN.match
        position = 0
        while position < length:
            match = scan(text, position)
            assert match is not None, "every character is a token of its own"
            token = match.group()
            position = match.end()
            first = token[0]
            if first not in "[]{}|<\n":
                self._top.current.append(token)
                continue
            self._position = position  # which what comes now may move
            handler = _HANDLERS.get(token) or _BY_FIRST.get(first)
            if handler is not None:
                handler(self, token)
            elif first == "<":
                self._angle(match)
            else:
                self._top.current.append(token)
            position = self._position
        while len(self._stack) > 1:
            loose = self._stack.pop()
            self._stack[-1].current.append(_loose(loose))
        return "".join(self._stack[0].current)

    # frames

    def _open(self, token: str) -> None:
        """A bracket opens. One that would be too deep is text, and of a link to elsewhere nothing."""
        kind = _OPENERS.get(token) or ("external" if token[0] == "[" else "table")
        if len(self._stack) >= MAX_DEPTH:
            if kind != "external":
                self._top.current.append(token)
            return
        if kind == "table":
            self._top.current.append("\n")
            token = "{|"
        self._top = _Frame(kind, token)
        self._stack.append(self._top)
        self._counts[kind] += 1

    def _unwind(self, kind: str) -> list[str]:
        """Ends the innermost frame of a kind, and gives its parts; the frames above it never closed, and are text."""
        stack, counts = self._stack, self._counts
        while stack[-1].kind != kind:
            loose = stack.pop()
            counts[loose.kind] -= 1
            stack[-1].current.append(_loose(loose))
        frame = stack.pop()
        counts[kind] -= 1
        frame.parts.append("".join(frame.current))
        self._top = stack[-1]
        return frame.parts

    def _is_open(self, kind: str, other: str) -> bool:
        """Whether a bracket of a kind is open, and none of the other within it: a `]]` in a template does not close a link around it."""
        return self._counts[kind] > 0 and _nearer(self._stack, kind, other)

    # tokens

    def _bar(self, token: str) -> None:
        if self._top.kind in ("template", "link", "param"):
            self._top.parts.append("".join(self._top.current))
            self._top.current = []
        else:
            self._top.current.append(token)

    def _line_end(self, token: str) -> None:
        top = self._top
        if top.kind == "external" or (top.kind == "link" and self._text.startswith("\n", self._position)):  # links do not go over lines
            self._stack.pop()
            self._counts[top.kind] -= 1
            self._top = self._stack[-1]
            self._top.current.append(_loose(top))
        self._top.current.append("\n")

    def _close_template(self, token: str) -> None:
        if self._top.kind == "param":
            parts = self._unwind("param")
            self._top.current.append(parts[1] if len(parts) > 1 else "")
            if self._text.startswith("}", self._position):
                self._position += 1
        elif self._is_open("template", "table"):
            parts = self._unwind("template")
            inside = self._is_in_sentence()
            self._top.current.append(to_words(parts, inside, self.unknown))
        else:
            self._top.current.append(token)

    def _is_in_sentence(self) -> bool:
        """Whether words stand on the line of the template that ends here: before it, or right behind it."""
        before = self._top.current[-1] if self._top.current else "\n"
        if self._top.kind != "page" or (before != "\n" and before.strip(" *#:;")):
            return True
        after = self._text[self._position : self._position + 3]
        return bool(after) and after[0] != "\n" and not after.startswith(("{{", "<!--", "<re")) and bool(after.strip())

    def _close_link(self, token: str) -> None:
        if self._is_open("link", "template"):
            parts = self._unwind("link")
            self._top.current.append(_link(parts, self._left_out))
        elif self._top.kind == "external":
            parts = self._unwind("external")
            self._top.current.append(parts[-1] + "]")
        else:
            self._top.current.append(token)

    def _close_external(self, token: str) -> None:
        if self._top.kind == "external":
            parts = self._unwind("external")
            self._top.current.append(parts[-1])
        else:
            self._top.current.append(token)

    def _close_table(self, token: str) -> None:
        if not self._is_open("table", "template"):
            self._top.current.append(token)
            return
        body = _table(self._unwind("table")[-1])
        if body and len(self._stack) == 1:
            body = "\n\n" + self._hold(body) + "\n\n"
        self._top.current.append(body)

    # tags

    def _angle(self, match: re.Match[str]) -> None:
        """A comment, a tag, or a `<` that is none."""
        token = match.group()
        if token == "<!--":
            end = -1 if token in self._gone else self._text.find("-->", self._position)
            if end < 0:
                self._gone.add(token)
            else:
                self._position = end + len("-->")
        elif match.group("tag") is None:
            self._other_tag(token)
        elif not match.group("closed"):
            self._element(match.group("tag").lower(), match.group("attributes") or "")

    def _other_tag(self, token: str) -> None:
        """A tag of which only the line's end counts, if it is one, or a `<` that begins none."""
        start = token[:3].lower()
        if start == "<br" or (token[-1] == ">" and (start in _LINE_TAGS or (start[:2] == "</" and token[2:5].lower() in _LINE_ENDS))):
            self._top.current.append("\n" if self._top.kind == "page" else " ")
        elif token[-1] != ">":
            self._top.current.append(token)

    def _element(self, tag: str, attributes: str) -> None:
        """An element that is left out or kept whole, up to its end; one that never ends is only its tag."""
        if tag in self._gone or tag == "section":
            return
        text = self._text
        if self._lower is None:
            lower = text.lower()
            self._lower = lower if len(lower) == len(text) else text
        end = self._lower.find(f"</{tag}", self._position)
        if end < 0:
            self._gone.add(tag)
            return
        content = text[self._position : end]
        close = text.find(">", end, end + 100)
        self._position = close + 1 if close >= 0 else end + 2 + len(tag)
        if tag in _HELD:
            self._top.current.append(self._keep(tag, attributes, content))

    def _hold(self, what: str) -> str:
        """A mark in the place of what must come out as it is."""
        self.held.append(what)
        return f"\0{len(self.held) - 1}\0"

    def _keep(self, tag: str, attributes: str, content: str) -> str:
        """What a tag holds, out of the second pass's reach."""
        if tag in ("math", "chem", "ce"):
            formula = " ".join(html.unescape(content).split())
            if not formula:
                return ""
            if tag != "math":
                formula = f"\\ce{{{formula}}}"
            if "block" in attributes:
                return "\n" + self._hold(f"$${formula}$$") + "\n"
            return self._hold(f"${formula}$")
        if tag == "nowiki":
            return self._hold(html.unescape(content))
        if tag == "code" or (tag in ("syntaxhighlight", "source") and "inline" in attributes):
            if tag == "code":
                content = re.sub(r"</?(?:nowiki|span|var|sub|sup)\b[^<>]{0,200}>", "", content)
            return self._hold(html.unescape(content) if tag == "code" else content)
        code = content.strip("\n")
        if tag == "pre":
            code = html.unescape(re.sub(r"</?nowiki\s{0,9}/?>", "", code))
        return "\n\n" + self._hold("\n".join(line.rstrip() for line in code.split("\n"))) + "\n\n" if code.strip() else ""


_OPENERS = {"{{": "template", "{{{": "param", "[[": "link"}
_LINE_TAGS = ("<p>", "<di", "<ta", "<tr", "<li", "<bl")
_LINE_ENDS = ("div", "p>", "tr>")
_Handler = Callable[[_Brackets, str], None]
# What tokens do: by themselves, or by their first character.
_HANDLERS: dict[str, _Handler] = {
    **dict.fromkeys(_OPENERS, _Brackets._open),
    "}}": _Brackets._close_template,
    "]]": _Brackets._close_link,
    "|}": _Brackets._close_table,
    "|": _Brackets._bar,
    "]": _Brackets._close_external,
    "\n": _Brackets._line_end,
    "[": lambda page, token: page._top.current.append(token),
}
_BY_FIRST: dict[str, _Handler] = {"\n": _Brackets._open, "[": _Brackets._open}


def _nearer(stack: list[_Frame], kind: str, other: str) -> bool:
    """Whether the innermost of two kinds of frames is the first: a `]]` in a template does not close a link around it."""
    for frame in reversed(stack):  # at most MAX_DEPTH
        if frame.kind == kind:
            return True
        if frame.kind == other:
            return False
    return False


def _loose(frame: _Frame) -> str:
    """What a bracket that never closed held, as text; of a table its rows."""
    frame.parts.append("".join(frame.current))
    if frame.kind == "table":
        return "\n" + _table(frame.parts[-1])
    return "\n" * (frame.kind == "template") + "|".join(frame.parts)


def _link(parts: list[str], left_out: frozenset[str]) -> str:
    target = parts[0].strip()
    prefix, colon, rest = target.partition(":")
    if colon and prefix:
        name = prefix.strip().replace("_", " ").lower()
        if name in left_out:
            return ""
        if (
            len(parts) == 1
            and 2 <= len(name) <= 12
            and name.replace("-", "").isalpha()
            and name.isascii()
            and name == prefix
            and rest[:1] != " "
            and len(name) < 4
        ):
            return ""  # the same page in another language
    if len(parts) > 1:
        words = parts[-1]
        if words.strip():
            return words
        return re.sub(r"\s{0,9}\([^()]{0,80}\)\Z", "", rest if colon else target)
    return target.removeprefix(":").partition("#")[0].replace("_", " ") or target.lstrip("#")


def _table(body: str) -> str:
    """A table's rows. Attributes (`style="..." |` before a cell's text) go; a caption is a line of its own."""
    rows: list[list[str]] = [[]]
    caption = ""
    lines = body.split("\n")
    for line in lines[1:]:
        line = line.strip()
        mark = line[:1]
        if line.startswith("|-"):
            rows.append([])
        elif line.startswith("|+"):
            caption = _cell(line[2:])
        elif mark in ("|", "!"):
            content = line[1:]
            if mark == "!":
                content = content.replace("!!", "||")
            rows[-1].extend(_cell(cell) for cell in content.split("||"))
        elif line and rows[-1]:
            rows[-1][-1] += " " + line.lstrip("*#:; ")
    cleaned = [[QUOTES.sub("", html.unescape(cell)) for cell in row] for row in rows]
    text = rows_to_text(cleaned)
    caption = " ".join(QUOTES.sub("", html.unescape(caption)).split())
    return "\n".join(part for part in (caption, text) if part)


def _cell(cell: str) -> str:
    before, bar, after = cell.partition("|")
    return after if bar and ("=" in before or not before.strip()) else cell

"""Wikitext to light text, in one pass over the page and one over its lines.

Why our own: mwparserfromhell builds a tree of Python objects (see docs/science.md for the speeds) and leaves tables, lists and headings to
its caller. Here brackets are frames on a stack of bounded depth, so that time is linear and nothing recurses, whatever the page holds:

- templates are left out, but for some that stand for words of the sentence (`{{lang|fr|mot}}`, `{{convert|5|km}}`; the table below);
  so are references, categories, files with their captions, galleries, comments and magic words;
- links give their words, bold and italic marks go, headings stay as lines of their own (those without text under them go), lists are
  `- ` and `1. `, tables are rows with bars;
- `<math>` is `$...$` (`$$...$$` on lines of its own where it is a block), `<syntaxhighlight>`, `<pre>` and `<code>` keep their code.

Brackets that never close are text, and what they hold is read.
"""

from __future__ import annotations

import html
import re

from pipeline.readers.tables import rows_to_text

FILES = frozenset({
    "file", "image", "category", "media", "datei", "bild", "kategorie", "fichier", "catégorie", "archivo", "categoría",
})  # fmt: skip

MAX_DEPTH = 60  # of brackets; deeper ones are text

# Templates that are words: which of their arguments to show (negative: from the last; "all" with spaces).
_WORDS: dict[str, int | str] = {
    "birth date": "day", "birth date and age": "day", "death date": "day", "death date and age": "day", "start date": "day",
    "end date": "day", "lang": 2, "langx": 2, "transl": -1, "transliteration": -1, "nowrap": 1, "nobr": 1, "nobreak": 1, "small": 1,
    "big": 1, "nihongo": 1, "math": 1, "mvar": 1, "var": 1, "em": 1, "strong": 1, "code": 1, "tt": 1, "kbd": 1, "samp": 1, "mono": 1,
    "quote": 1, "blockquote": 1, "quotation": 1, "cquote": 1, "abbr": 1, "tooltip": 1, "val": 1, "formatnum": 1, "smallcaps": 1, "sc": 1,
    "sup": 1, "sub": 1, "convert": "convert", "cvt": "convert", "ill": 1, "interlanguage link": 1, "as of": "as of", "circa": "circa",
    "c.": "circa", "frac": "frac", "sfrac": "frac", "angbr": 1, "IPA": -1, "script": 2, "unicode": 1, "vanchor": 1, "visible anchor": 1,
    "linktext": "all", "green": 1, "red": 1, "color": 2, "font color": 2, "u": 1, "underline": 1, "gap": "space", "spaces": "space",
    "snd": "dash", "spnd": "dash", "ndash": "dash", "mdash": "—", "spaced ndash": "dash", "endash": "–", "emdash": "—", "nbsp": "space",
    "!": "bar", "=": "=", "'": "'", "'s": "'s", "\"": '"', "dash": "dash", "·": "·", "dot": "·", "bull": "•", "ordinal": 1,
    "plainlist": 1, "unbulleted list": "all", "ubl": "all", "hlist": "all", "flatlist": 1, "center": 1, "date": 1, "en": 1,
    "ship": "all", "uss": "all", "hms": "all", "sc2": 1, "e": "e", "chem": "join", "chem2": 1,
}  # fmt: skip
_WORDS = {name.lower(): what for name, what in _WORDS.items()}

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
_MAGIC = re.compile(r"__[A-Z]{3,30}__")
_VARIANT = re.compile(r"-\{(?:[a-zA-Z-]{2,12}:)?([^{};|]{0,200})(?:;[^{}]{0,400})?\}-")
_QUOTES = re.compile(r"'{2,5}")
_REDIRECT = re.compile(r"\s*#[^\s\[:]{4,30}\s*(?::\s*)?\[\[", re.IGNORECASE)
_REDIRECT_WORDS = re.compile(
    r"\s*#(?:redirect|weiterleitung|redirection|redirección|redireccion|rinvia|redirecionamento|doorverwijzing|перенаправление|重定向|転送"
    r"|patrz|tam|przekieruj|omdirigering|ohjaus|yönlendirme|đổi|تحويل|הפניה)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile("\0(\\d+)\0")
# What a left-out template leaves in parentheses: `( ; born 1900)`, `()`. Bounded, since it is tried at each bracket.
_HOLLOW = re.compile(r" ?\([ ,;:/–]{0,20}\)")
_LEADING_HOLLOW = re.compile(r"\([ ,;:/]{1,20}(?=\w)")


def is_redirect(text: str) -> bool:
    """Whether a page only sends its readers to another."""
    return bool(_REDIRECT_WORDS.match(text[:200]) and _REDIRECT.match(text[:400]))


class _Frame:
    __slots__ = ("current", "kind", "opener", "parts")

    def __init__(self, kind: str, opener: str) -> None:
        self.kind, self.opener = kind, opener
        self.parts: list[str] = []  # arguments that are complete
        self.current: list[str] = []


def to_text(text: str, left_out: frozenset[str] = FILES) -> str:
    """A page's wikitext as light text. `left_out`: small-letter names of the namespaces whose links show nothing where they stand
    (files and categories, in the wiki's own language)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace("\1", "")
    held: list[str] = []
    joined = _brackets(text, left_out, held)
    return _lines(joined, held)


def _hold(held: list[str], what: str) -> str:
    held.append(what)
    return f"\0{len(held) - 1}\0"


def _brackets(text: str, left_out: frozenset[str], held: list[str]) -> str:
    """The first pass: everything that is in brackets or tags."""
    stack = [_Frame("page", "")]
    top = stack[0]
    counts = {"template": 0, "link": 0, "table": 0, "param": 0, "external": 0}
    lower: str | None = None
    gone: set[str] = set()  # tags and comments whose end is not in the rest
    if not text.startswith("\n"):
        text = "\n" + text  # a table may begin the page
    position, length = 0, len(text)
    scan = _TOKEN.match

    def open_(kind: str, opener: str) -> _Frame:
        frame = _Frame(kind, opener)
        stack.append(frame)
        counts[kind] += 1
        return frame

    def unwind(kind: str) -> _Frame:
        """Pops to the innermost frame of a kind; those above it never closed, and are text."""
        while stack[-1].kind != kind:
            loose = stack.pop()
            counts[loose.kind] -= 1
            stack[-1].current.append(_loose(loose))
        frame = stack.pop()
        counts[kind] -= 1
        frame.parts.append("".join(frame.current))
        return frame

    while position < length:
        match = scan(text, position)
        assert match is not None, "every character is a token of its own"
        token = match.group()
        position = match.end()
        first = token[0]
        if first not in "[]{}|<\n":
            top.current.append(token)
            continue
        if first == "<":
            if token == "<!--":
                end = text.find("-->", position) if "<!--" not in gone else -1
                if end < 0:
                    gone.add("<!--")
                    continue
                position = end + 3
                continue
            tag = match.group("tag")
            if tag is None:
                lowered = token[:3].lower()
                if lowered == "<br":
                    top.current.append("\n" if top.kind == "page" else " ")
                elif token[-1] != ">":
                    top.current.append(token)
                elif lowered in ("<p>", "<di", "<ta", "<tr", "<li", "<bl") or (
                    token[:2] == "</" and token[2:5].lower() in ("div", "p>", "tr>")
                ):
                    top.current.append("\n" if top.kind == "page" else " ")
                continue
            tag = tag.lower()
            if match.group("closed") or tag in gone or tag == "section":
                continue
            if lower is None:
                lower = text.lower() if len(text.lower()) == length else text
            end = lower.find(f"</{tag}", position)
            if end < 0:
                gone.add(tag)
                continue
            content = text[position:end]
            close = text.find(">", end, end + 100)
            position = close + 1 if close >= 0 else end + 2 + len(tag)
            if tag in _HELD:
                top.current.append(_keep(tag, match.group("attributes") or "", content, held))
            continue
        if first == "\n":
            if len(token) > 1:
                if len(stack) < MAX_DEPTH:
                    top.current.append("\n")
                    top = open_("table", "{|")
                else:
                    top.current.append(token)
                continue
            if top.kind == "external" or (top.kind == "link" and text.startswith("\n", position)):  # links do not go over lines
                frame = stack.pop()
                counts[frame.kind] -= 1
                top = stack[-1]
                top.current.append(_loose(frame))
            top.current.append("\n")
            continue
        if token in ("{{", "{{{", "[["):
            if len(stack) >= MAX_DEPTH:
                top.current.append(token)
            else:
                top = open_({"{{": "template", "{{{": "param", "[[": "link"}[token], token)
            continue
        if token == "}}":
            if counts["param"] and top.kind == "param":
                frame = unwind("param")
                top = stack[-1]
                top.current.append(frame.parts[1] if len(frame.parts) > 1 else "")
                if text.startswith("}", position):
                    position += 1
            elif counts["template"] and _nearer(stack, "template", "table"):
                frame = unwind("template")
                top = stack[-1]
                top.current.append(_template(frame.parts))
            else:
                top.current.append(token)
            continue
        if token == "]]":
            if counts["link"] and _nearer(stack, "link", "template"):
                frame = unwind("link")
                top = stack[-1]
                top.current.append(_link(frame.parts, left_out))
            elif top.kind == "external":
                frame = unwind("external")
                top = stack[-1]
                top.current.append(frame.parts[-1] + "]")
            else:
                top.current.append(token)
            continue
        if token == "|}":
            if counts["table"] and _nearer(stack, "table", "template"):
                frame = unwind("table")
                top = stack[-1]
                body = _table(frame.parts[-1])
                top.current.append(("\n\n" + _hold(held, body) + "\n\n" if len(stack) == 1 else body) if body else "")
                continue
            top.current.append(token)
            continue
        if token == "|":
            if top.kind in ("template", "link", "param"):
                top.parts.append("".join(top.current))
                top.current = []
            else:
                top.current.append(token)
            continue
        if first == "[" and len(token) > 1:
            if len(stack) < MAX_DEPTH:
                top = open_("external", token)
            continue
        if token == "]" and top.kind == "external":
            frame = unwind("external")
            top = stack[-1]
            top.current.append(frame.parts[-1])
            continue
        top.current.append(token)
    while len(stack) > 1:
        loose = stack.pop()
        stack[-1].current.append(_loose(loose))
    return "".join(stack[0].current)


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


def _keep(tag: str, attributes: str, content: str, held: list[str]) -> str:
    """What a tag holds, out of the second pass's reach."""
    if tag in ("math", "chem", "ce"):
        formula = " ".join(html.unescape(content).split())
        if not formula:
            return ""
        if tag != "math":
            formula = f"\\ce{{{formula}}}"
        if "block" in attributes:
            return "\n" + _hold(held, f"$${formula}$$") + "\n"
        return _hold(held, f"${formula}$")
    if tag == "nowiki":
        return _hold(held, html.unescape(content))
    if tag == "code" or (tag in ("syntaxhighlight", "source") and "inline" in attributes):
        if tag == "code":
            content = re.sub(r"</?(?:nowiki|span|var|sub|sup)\b[^<>]{0,200}>", "", content)
        return _hold(held, html.unescape(content) if tag == "code" else content)
    code = content.strip("\n")
    if tag == "pre":
        code = html.unescape(re.sub(r"</?nowiki\s{0,9}/?>", "", code))
    return "\n\n" + _hold(held, "\n".join(line.rstrip() for line in code.split("\n"))) + "\n\n" if code.strip() else ""


def _template(parts: list[str]) -> str:
    name = " ".join(parts[0].replace("_", " ").split()).lower()
    head, colon, _rest = name.partition(":")
    if colon and head in ("formatnum", "lc", "uc", "lcfirst", "ucfirst"):
        return parts[0].partition(":")[2].strip()
    what = _WORDS.get(name)
    if what is None:
        if (name.startswith("lang-") and len(parts) > 1) or (name.startswith("ipa") and len(parts) > 1):
            what = 1
        else:
            return ""
    named: dict[str, str] = {}
    values: list[str] = []
    for part in parts[1:]:
        key, equals, value = part.partition("=")
        if equals and len(key) < 30 and "<" not in key and "\0" not in key and key.strip().replace(" ", "").isalnum():
            named[key.strip()] = value.strip()
        else:
            values.append(part.strip())
    values += [named[key] for key in ("1", "2", "3", "text", "quote") if key in named]
    if isinstance(what, int):
        index = what - 1 if what > 0 else len(values) + what
        return values[index] if 0 <= index < len(values) else values[-1] if values else ""
    if what == "convert":
        return " ".join(values[:2]) if len(values) < 4 or values[1] not in ("to", "-", "–", "and", "x", "by") else " ".join(values[:4])
    if what == "as of":
        return "As of " + "-".join(values[:3]) if values else ""
    if what == "day":
        return "-".join(value.zfill(2) for value in values[:3] if value.isdecimal())
    if what == "circa":
        return "c. " + "–".join(values[:2])
    if what == "frac":
        return (
            values[0] + "/" + values[1]
            if len(values) == 2
            else f"{values[0]} {values[1]}/{values[2]}"
            if len(values) == 3
            else "1/" + "".join(values)
        )
    if what == "all":
        return ", ".join(value for value in values if value)
    if what == "join":
        return "".join(values)
    if what == "e":
        return "×10^" + "".join(values[:1])
    return {"space": " ", "dash": " – ", "bar": "|"}.get(what, what)


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
    cleaned = [[_QUOTES.sub("", html.unescape(cell)) for cell in row] for row in rows]
    text = rows_to_text(cleaned)
    caption = " ".join(_QUOTES.sub("", html.unescape(caption)).split())
    return "\n".join(part for part in (caption, text) if part)


def _cell(cell: str) -> str:
    before, bar, after = cell.partition("|")
    return after if bar and ("=" in before or not before.strip()) else cell


def _lines(text: str, held: list[str]) -> str:
    """The second pass: headings, lists, marks within lines."""
    text = _MAGIC.sub("", text)
    if "-{" in text:
        text = _VARIANT.sub(r"\1", text)
    out: list[str] = []
    pending: list[tuple[int, str]] = []  # headings whose text has not come yet
    numbers: list[int] = []  # of the ordered lists that are open, by depth
    paragraph: list[str] = []

    def flush() -> None:
        if paragraph:
            out.append("\n".join(paragraph))
            paragraph.clear()

    in_list = False
    for raw in text.split("\n"):
        line = raw.strip()
        if not line:
            flush()
            in_list = False
            numbers.clear()
            continue
        if line[0] == "=" and line[-1] == "=" and len(line) > 2:
            mark, words = _heading(line) if len(line) < 500 else (0, "")
            if words:
                flush()
                in_list = False
                numbers.clear()
                while pending and pending[-1][0] >= mark:
                    pending.pop()
                pending.append((mark, _inline(words)))
                continue
        mark = len(line) - len(line.lstrip("*#:;"))
        bullets, words = line[:mark], _inline(line[mark:])
        if not words or words in ("----", ".", ",", ";"):
            continue
        if not words.strip("-"):
            continue
        if pending:
            flush()
            out.extend(heading for _, heading in pending)
            pending.clear()
        if not bullets:
            if in_list:
                flush()
                in_list = False
                numbers.clear()
            paragraph.append(words)
            continue
        if not in_list:
            flush()
            in_list = True
        depth = min(mark, 8)
        indent = "\1\1" * (sum(1 for each in bullets[:depth] if each in "*#") - 1)
        last = bullets[-1]
        del numbers[depth:]
        if last == "#":
            numbers.extend([0] * (depth - len(numbers)))
            numbers[depth - 1] += 1
            paragraph.append(f"{indent}{numbers[depth - 1]}. {words}")
        elif last == "*":
            paragraph.append(f"{indent}- {words}")
        else:
            if last == ";":
                term, colon, definition = words.partition(" : ")
                words = f"{term}: {definition}" if colon else words
            paragraph.append(indent + words)
    flush()
    joined = "\n\n".join(out).replace("\1", " ")
    for _ in range(2):  # a formula within a table that is held
        if "\0" not in joined:
            break
        joined = _PLACEHOLDER.sub(lambda match: held[int(match.group(1))], joined)
    return joined.replace("\0", "").strip()


def _heading(line: str) -> tuple[int, str]:
    """The level and the words of a line of `== words ==`; no words where it is no heading."""
    begin, end = (min(6, len(line) - len(rest)) for rest in (line.lstrip("="), line.rstrip("=")))
    return min(begin, end), line[begin : max(begin, len(line) - end)].strip(" \t")


def _inline(line: str) -> str:
    """One line's words: entities, bold and italic, and what left-out templates leave behind."""
    if "''" in line:
        line = _QUOTES.sub("", line)
    if "&" in line:
        line = html.unescape(line).replace("\xa0", " ")  # `&#0;` gives U+FFFD, so no mark of ours can come of it
    if "(" in line:
        line = _HOLLOW.sub("", line)
        line = _LEADING_HOLLOW.sub("(", line)
    line = " ".join(line.split())
    return re.sub(r"(?<=\w) (?=[,;](?:\s|$))", "", line) if " ," in line or " ;" in line else line

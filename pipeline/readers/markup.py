"""Markdown and reStructuredText: by default as they are written, since their markup is text that readers see; without what they do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pydantic import Field

from pipeline.readers.config import EncodedSource
from pipeline.readers.record import Record, Unreadable
from pipeline.readers.streams import Member
from pipeline.readers.text import load

# All of these look at one line, and repeat nothing without a bound but what the next part cannot begin with.
_FENCE = re.compile(r"[ \t>]{0,20}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}#{1,6}(?![^ \t])")  # the mark alone: `_atx` takes the rest, in one pass
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*\Z")
_TITLE = re.compile(r"title[ \t]*[:=][ \t]*(.+)", re.IGNORECASE)
_IMAGE = re.compile(r"!\[[^\[\]]{0,500}\](?:\([^()\s]{0,1000}(?:\s[^()]{0,300})?\)|\[[^\[\]]{0,200}\])")
_LINK = re.compile(r"\[([^\[\]]{1,500})\](?:\([^()\s]{0,1000}(?:\s[^()]{0,300})?\)|\[[^\[\]]{0,200}\])")
_AUTOLINK = re.compile(r"<((?:https?|ftp|mailto):[^<>\s]{1,1000})>")
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9-]{0,30}(?:\s[^<>]{0,500})?/?>")
_CODE_SPAN = re.compile(r"(`{1,4})(?!`)([^`\n]{1,500})\1(?!`)")
_STRONG = re.compile(r"(\*\*|__)(?=\S)([^*_\n]{1,500})(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*_])([*_])(?=[^\s*_])([^*_\n]{1,500})(?<=[^\s*_])\1(?![\w*_])")
_DEFINITION = re.compile(r" {0,3}\[[^\]]{1,200}\]:[ \t]")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}\s*\Z")
_EXPLICIT = re.compile(r"\.\.(?:\s|\Z)")
_NO_COMMENT = re.compile(r"\.\.\s+(?:_[^:\n]{1,200}:|__|\[[^\]\n]{1,100}\]|\|[^|\n]{1,100}\|\s|[A-Za-z][\w.+:-]{0,60}\s?::)")
_DIRECTIVE = re.compile(r"\.\.\s+([A-Za-z][\w.+:-]{0,60})\s?::[ \t]*(.*)")
_ROLE = re.compile(r":[a-zA-Z][\w:.+-]{0,40}:`(?:~|!)?([^`<\n]{1,300}?)(?:\s{0,99}<[^`<>\n]{1,500}>)?`")
_RST_LINK = re.compile(r"`([^`<\n]{1,300}?)\s{0,99}(?:<[^`<>\n]{1,1000}>)?`__?")
_RST_CODE = re.compile(r"``([^`\n]{1,500})``")
_RST_EMPHASIS = re.compile(r"(?<![\w*])(\*\*?)(?=[^\s*])([^*\n]{1,500})(?<=[^\s*])\1(?![\w*])")
# Directives whose content is text, after their options; those of pictures and machinery go whole.
_PICTURES = {
    "image", "toctree", "contents", "raw", "include", "figure", "only", "automodule", "autoclass", "autofunction", "meta", "index",
    "sectnum", "bibliography", "currentmodule", "highlight", "plot", "graphviz", "inheritance-diagram", "role", "default-role",
}  # fmt: skip
# Directives whose first line names a language or a title of their block, and is no text.
_BLOCKS = {"code-block", "code", "sourcecode", "math", "list-table", "csv-table"}


class MarkupSource(EncodedSource):
    """Text with markup."""

    strip_markup: bool = Field(
        False, description="Leave out the markup too (heading marks, emphasis, links' addresses), not only comments."
    )


def read_markdown(member: Member, source: MarkupSource) -> Iterator[Record | Unreadable]:
    """One Markdown file. YAML and TOML front matter and HTML comments go (not in code); the title is the front matter's, else the
    first heading's. With `strip_markup` the marks go too: text, lists, tables and code stay."""
    yield from _read(member, source, _markdown)


def read_rst(member: Member, source: MarkupSource) -> Iterator[Record | Unreadable]:
    """One reStructuredText file. Comments go; the title is the first heading. With `strip_markup`, adornments, roles, links' addresses and
    directives' machinery go too: text, lists, literal blocks and the text within admonitions stay."""
    yield from _read(member, source, _rst)


def _read(member: Member, source: MarkupSource, convert: Callable[[str, bool], tuple[str, str | None]]) -> Iterator[Record | Unreadable]:
    loaded = load(member, source)
    if isinstance(loaded, Unreadable):
        yield loaded
        return
    text, title = convert(loaded.replace("\r\n", "\n").replace("\r", "\n"), source.strip_markup)
    yield Record(member.path, text, title=title, path=member.name, from_markup=True)


def _front_matter(text: str) -> tuple[str, str | None]:
    """The text after its front matter, and the title that it gives."""
    for mark in ("---", "+++"):
        if text.startswith(mark + "\n"):
            end = text.find(f"\n{mark}", len(mark))
            if 0 <= end < 100_000 and (rest := text[end + 1 + len(mark) :]).split("\n", 1)[0].strip() == "":
                head = text[len(mark) + 1 : end]
                lines = [line for line in head.split("\n") if line.strip()]
                if mark == "---" and lines and not any(":" in line for line in lines):
                    return text, None  # two rules with text between them
                title = next((match.group(1) for line in lines if (match := _TITLE.match(line))), None)
                return rest.lstrip("\n"), title.strip().strip("\"'") or None if title else None
    return text, None


def _outside_code(text: str) -> Iterator[tuple[bool, list[str]]]:
    """Runs of lines: whether they are code (a fence with its marks), and the lines."""
    fence = ""
    run: list[str] = []
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if fence:
            run.append(line)
            if match and match.group(1)[0] == fence[0] and len(match.group(1)) >= len(fence) and not line.strip(" \t>").strip(fence[0]):
                yield True, run
                fence, run = "", []
        elif match:
            if run:
                yield False, run
            fence, run = match.group(1), [line]
        else:
            run.append(line)
    if run:
        yield bool(fence), run


def _without_comments(text: str) -> str:
    """Without HTML comments; one that never ends is text."""
    if "<!--" not in text:
        return text
    parts, position = [], 0
    while (begin := text.find("<!--", position)) >= 0:
        end = text.find("-->", begin + 4)
        if end < 0:
            break
        parts.append(text[position:begin])
        position = end + 3
        if (not parts[-1] or parts[-1].endswith("\n")) and text.startswith("\n", position):  # a line of its own
            position += 1
    return "".join(parts) + text[position:]


def _markdown(text: str, strip: bool) -> tuple[str, str | None]:
    text, title = _front_matter(text)
    out: list[str] = []
    for is_code, lines in _outside_code(text):
        if is_code:
            if strip:
                last = -1 if len(lines) > 1 and _FENCE.match(lines[-1]) else len(lines)
                lines = lines[1:last]
            out.extend(lines)
            continue
        lines = _without_comments("\n".join(lines)).split("\n")
        if title is None:
            title = _first_heading(lines)
        out.extend(_strip_markdown(lines) if strip else lines)
    return "\n".join(out).strip("\n"), title


def _atx(line: str) -> str | None:
    """What a line of `# heading` says, empty where it says nothing; None where it is no heading."""
    match = _ATX.match(line)
    return line[match.end() :].strip(" \t") if match else None


def _first_heading(lines: list[str]) -> str | None:
    for index, line in enumerate(lines):
        heading = _atx(line)
        if heading:
            return _words(heading.rstrip("#").strip()) or None
        if (
            index
            and _SETEXT.match(line)
            and lines[index - 1].strip()
            and not lines[index - 1].startswith(("#", ">", "-", "*", "|", "    "))
        ):
            return _words(lines[index - 1].strip()) or None
    return None


def _words(line: str) -> str:
    """A line without its inline marks."""
    if "`" in line:
        line = _CODE_SPAN.sub(r"\2", line)
    if "](" in line or "][" in line:
        line = _IMAGE.sub("", line)
        line = _LINK.sub(r"\1", line)
    if "<" in line:
        line = _TAG.sub("", _AUTOLINK.sub(r"\1", line))
    if "*" in line or "_" in line:
        for _ in range(2):
            line = _EMPHASIS.sub(r"\2", _STRONG.sub(r"\2", line))
    if "\\" in line:
        line = _ESCAPE.sub(r"\1", line)
    return " ".join(line.split())


def _strip_markdown(lines: list[str]) -> Iterator[str]:
    for index, line in enumerate(lines):
        bare = line.strip()
        if not bare:
            yield ""
            continue
        if (
            line.startswith(("    ", "\t"))
            and (not index or not lines[index - 1].strip() or lines[index - 1].startswith(("    ", "\t")))
            and not bare.startswith(("- ", "* ", "+ "))
        ):
            yield line  # code, or a list's further paragraph: as it is
            continue
        if _SETEXT.match(line) and index and lines[index - 1].strip():
            continue
        if "|" in line and "-" in line and len(line) > 2 and not line.strip(" \t:|-"):  # the rule under a table's head
            continue
        if _DEFINITION.match(line) or re.fullmatch(r"[ \t]{0,3}(?:[-*_][ \t]*){3,200}", line):
            continue
        indent = line[: len(line) - len(line.lstrip())]
        if bare.startswith(">"):
            bare = bare.lstrip("> \t")
        heading = _atx(bare)
        if heading is not None:
            bare = heading.rstrip("#").rstrip()
        if bare.startswith("|"):
            bare = bare.strip("|").strip()
        mark = ""
        if bare[:2] in ("* ", "+ ", "- "):
            mark, bare = "- ", bare[2:].lstrip()
        words = _words(bare)
        if words:
            yield indent + mark + words


def _rst(text: str, strip: bool) -> tuple[str, str | None]:
    lines = text.split("\n")
    kept: list[str] = []
    title: str | None = None
    skipping = -1  # indentation of the comment (or directive) whose block is passed over
    for index, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        bare = line.strip()
        if skipping >= 0:
            if not bare or indent > skipping:
                continue
            skipping = -1
        if bare.startswith("..") and _EXPLICIT.match(bare):
            following = lines[index + 1] if index + 1 < len(lines) else ""
            explicit = _explicit(line, following, strip)
            if explicit is not None:
                skipping = indent if explicit.has_block else -1
                kept.extend(explicit.words)
                continue
        if title is None and index and _ADORNMENT.match(line):
            above = lines[index - 1].strip()
            if 0 < len(above) <= len(bare) + 1 and not _ADORNMENT.match(above):
                title = _rst_words(above) or None
        if not strip:
            kept.append(line)
        elif (stripped := _strip_rst(line)) is not None:
            kept.append(stripped)
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(kept)).strip("\n"), title


class _Explicit(NamedTuple):
    """What becomes of explicit markup (a line that begins with two dots): the lines that stay, and whether its block goes, too."""

    words: tuple[str, ...]
    has_block: bool


def _explicit(line: str, following: str, strip: bool) -> _Explicit | None:
    """Comments go, and with `strip` all but notes and what directives say in their first line. None: the line is text as it is."""
    bare = line.strip()
    directive = _DIRECTIVE.match(bare)
    if not _NO_COMMENT.match(bare) and not directive:
        return _Explicit((), bare != ".." or bool(following.strip()))  # two dots alone before a blank line are an empty comment
    if not strip:
        return None
    if directive is None:
        if re.match(r"\.\.\s+\[", bare):  # a footnote or citation: text
            return _Explicit((_rst_words(re.sub(r"\A\.\.\s+", "", bare)),), False)
        return _Explicit((), True)
    name, first = directive.group(1).lower(), directive.group(2)
    if name in _PICTURES:
        return _Explicit((), True)
    if first and name not in _BLOCKS:
        return _Explicit((" " * (len(line) - len(line.lstrip())) + _rst_words(first),), False)
    return _Explicit((), False)


def _strip_rst(line: str) -> str | None:
    """A line without its marks; None where it is nothing but one."""
    bare = line.strip()
    indent = len(line) - len(line.lstrip())
    if _ADORNMENT.match(line) and indent == 0:
        return None
    if indent and re.match(r"\s*:[A-Za-z][\w -]{0,40}:(?:\s|\Z)", line):  # options of a directive
        return None
    if indent >= 3 and "`" not in line:
        return line
    return " " * indent + _rst_words(bare) if bare else ""


def _rst_words(line: str) -> str:
    line = line.strip()
    if "`" in line:
        line = _RST_CODE.sub(r"\1", line)
        line = _RST_LINK.sub(r"\1", _ROLE.sub(r"\1", line))
        line = re.sub(r"`([^`\n]{1,300})`", r"\1", line)
    if "*" in line:
        line = _RST_EMPHASIS.sub(r"\2", line)
    return line.removesuffix("::") + ":" if line.endswith("::") and len(line) > 2 else "" if line == "::" else line

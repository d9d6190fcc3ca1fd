"""The second pass over a wiki's page, line by line: headings, paragraphs, lists, and marks within lines."""

from __future__ import annotations

import html
import re

_MAGIC = re.compile(r"__[A-Z]{3,30}__")
# Rules of a wiki in several variants of its language, `-{zh-hans:a; zh-hant:b}-`, with flags before a bar. Linear: no `{` within.
_VARIANT = re.compile(r"-\{([^{}]{0,2000})\}-")
_CODE = r"[a-z]{2,3}(?:-[a-z]{2,8}){0,2}"
_RULE_END = re.compile(rf"[;|]\s{{0,9}}(?=(?:[^;:|]{{0,60}}=>)?\s{{0,9}}{_CODE}\s{{0,9}}:|\Z)")
_RULE = re.compile(rf"\s{{0,9}}(?:[^;:|]{{0,60}}=>)?\s{{0,9}}{_CODE}\s{{0,9}}:(?!//)")
_FLAGS = re.compile(rf"\s{{0,9}}(?:[ATRDNHS+-]|{_CODE})?(?:\s{{0,9}};\s{{0,9}}(?:[ATRDNHS+-]|{_CODE})){{0,9}}\s{{0,9}}\Z")
_HIDDEN = frozenset("TH-")
QUOTES = re.compile(r"'{2,5}")  # of bold and italic words
_PLACEHOLDER = re.compile("\0(\\d+)\0")
# What a left-out template leaves in parentheses: `( ; born 1900)`, `()`. Bounded, since it is tried at each bracket.
_HOLLOW = re.compile(r" ?\([ ,;:/–]{0,20}\)")
_LEADING_HOLLOW = re.compile(r"\([ ,;:/]{1,20}(?=\w)")
_DEEPEST_LIST = 8


def to_text(text: str, held: list[str]) -> str:
    """A page without brackets and tags as light text. `held`: what stands in it as a mark, by number, and comes out as it is."""
    text = _MAGIC.sub("", text)
    if "-{" in text:
        for _ in range(2):  # a rule within a rule
            text = _VARIANT.sub(_variant, text)
    page = _Page()
    for line in text.split("\n"):
        page.read(line.strip())
    page.end_paragraph()
    joined = "\n\n".join(page.blocks).replace("\1", " ")
    for _ in range(2):  # a formula within a table that is held
        if "\0" not in joined:
            break
        joined = _PLACEHOLDER.sub(lambda match: held[int(match.group(1))], joined)
    return joined.replace("\0", "").strip()


def _variant(match: re.Match[str]) -> str:
    """What one rule of variants shows: its first variant; nothing of rules that hold for the title, or that only take effect elsewhere."""
    flags, bar, rules = match[1].partition("|")
    if not bar or not _FLAGS.match(flags):
        flags, rules = "", match[1]
    if not _HIDDEN.isdisjoint(flag.strip() for flag in flags.split(";")):
        return ""
    first = _RULE_END.split(rules, maxsplit=1)[0]
    begin = _RULE.match(first)
    return (first[begin.end() :] if begin else rules).strip()


class _Page:
    """The blocks of a page so far, and what is open."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self._headings: list[tuple[int, str]] = []  # whose text has not come yet, with their levels
        self._numbers: list[int] = []  # of the ordered lists that are open, by depth
        self._paragraph: list[str] = []
        self._in_list = False

    def end_paragraph(self) -> None:
        """What was read of a paragraph or list is a block."""
        if self._paragraph:
            self.blocks.append("\n".join(self._paragraph))
            self._paragraph.clear()
        self._in_list = False
        self._numbers.clear()

    def read(self, line: str) -> None:
        """The next line, without the spaces around it."""
        if not line:
            self.end_paragraph()
            return
        if line[0] == "=" and line[-1] == "=" and len(line) > 2 and self._heading(line):
            return
        depth = len(line) - len(line.lstrip("*#:;"))
        bullets, words = line[:depth], _inline(line[depth:])
        if words in (".", ",", ";") or not words.strip("-"):
            return
        self.blocks.extend(heading for _, heading in self._headings)  # where there are any, nothing is open
        self._headings.clear()
        if bullets:
            self._item(bullets, words)
            return
        if self._in_list:
            self.end_paragraph()
        self._paragraph.append(words)

    def _heading(self, line: str) -> bool:
        """Whether a line is a heading, which then waits for its text."""
        level, words = _heading(line) if len(line) < 500 else (0, "")
        if not words:
            return False
        self.end_paragraph()
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, _inline(words)))
        return True

    def _item(self, bullets: str, words: str) -> None:
        """A line of a list; `bullets` are its marks, one for each list that it is in."""
        if not self._in_list:
            self.end_paragraph()
            self._in_list = True
        depth = min(len(bullets), _DEEPEST_LIST)
        indent = "\1\1" * (sum(1 for each in bullets[:depth] if each in "*#") - 1)
        last = bullets[-1]
        del self._numbers[depth:]
        if last == "#":
            self._numbers.extend([0] * (depth - len(self._numbers)))
            self._numbers[depth - 1] += 1
            self._paragraph.append(f"{indent}{self._numbers[depth - 1]}. {words}")
        elif last == "*":
            self._paragraph.append(f"{indent}- {words}")
        else:
            if last == ";":
                term, colon, definition = words.partition(" : ")
                words = f"{term}: {definition}" if colon else words
            self._paragraph.append(indent + words)


def _heading(line: str) -> tuple[int, str]:
    """The level and the words of a line of `== words ==`; no words where it is no heading."""
    begin, end = (min(6, len(line) - len(rest)) for rest in (line.lstrip("="), line.rstrip("=")))
    return min(begin, end), line[begin : max(begin, len(line) - end)].strip(" \t")


def _inline(line: str) -> str:
    """One line's words: entities, bold and italic, and what left-out templates leave behind."""
    if "''" in line:
        line = QUOTES.sub("", line)
    if "&" in line:
        line = html.unescape(line).replace("\xa0", " ")  # `&#0;` gives U+FFFD, so no mark of ours can come of it
    if "(" in line:
        line = _HOLLOW.sub("", line)
        line = _LEADING_HOLLOW.sub("(", line)
    line = " ".join(line.split())
    return re.sub(r"(?<=\w) (?=[,;](?:\s|$))", "", line) if " ," in line or " ;" in line else line

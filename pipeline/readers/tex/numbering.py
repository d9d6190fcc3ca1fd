"""LaTeX's counters: the numbers of headings, figures, equations and theorems, as the standard classes print them."""

from __future__ import annotations

from pipeline.readers.tex.vocabulary import SECTIONS

MAX_COUNTERS = 200  # theorems' that are numbered within another; LaTeX itself has 256 registers

_HEADINGS = ("part", "chapter", "section", "subsection", "subsubsection")  # the counters of levels -1 to 3
NUMBERED_LEVELS = 3  # deeper headings have no number
_KINDS = {-1: "Part", 0: "Chapter"}


class Numbering:
    """Counters by name, and what a `\\label` at this place would get: `current`, (kind, number)."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.within: dict[str, str] = {}  # counter -> the counter that resets it
        self.current = ("", "")
        self.in_appendix = False
        self.has_chapters = False

    def _reset_within(self, parents: tuple[str, ...]) -> None:
        for counter, parent in self.within.items():
            if parent in parents and counter not in _HEADINGS:
                self.counters[counter] = 0

    def step(self, counter: str, kind: str) -> str:
        """Counts one more of something; its number."""
        self.counters[counter] = self.counters.get(counter, 0) + 1
        for other, parent in self.within.items():
            if parent == counter:
                self.counters[other] = 0
        number = self.number(counter)
        self.current = (kind, number)
        return number

    def number(self, counter: str) -> str:
        """A counter's value as LaTeX prints it: with those that it is numbered within before it."""
        parts: list[str] = []
        name: str | None = counter
        while name and len(parts) < 8:
            value = self.counters.get(name, 0)
            level = SECTIONS.get(name, 9)
            top = level == (0 if self.has_chapters else 1)
            parts.append(chr(64 + value) if self.in_appendix and top and 0 < value <= 26 else str(value))
            if level <= 1 and top:
                break
            name = self.within.get(name)
        return ".".join(reversed(parts))

    def step_heading(self, level: int) -> None:
        """Counts a heading of a level from -1 (part) to `NUMBERED_LEVELS`."""
        counter = _HEADINGS[level + 1]
        if level >= 0:
            for lower in _HEADINGS[level + 2 :]:
                self.counters[lower] = 0
        self._reset_within(_HEADINGS[level + 1 :])
        if level == 0:
            for other in ("equation", "figure", "table"):
                self.counters[other] = 0
        self.counters[counter] = self.counters.get(counter, 0) + 1
        names = _HEADINGS[1 if self.has_chapters else 2 : level + 2] if level >= 0 else ("part",)
        values = [self.counters.get(each, 0) for each in names]
        texts = [str(value) for value in values]
        if self.in_appendix and values and 0 < values[0] <= 26:
            texts[0] = chr(64 + values[0])
        self.current = ("Appendix" if self.in_appendix else _KINDS.get(level, "Section"), ".".join(texts))

    def start_appendix(self) -> None:
        """Chapters, or sections where there are none, are letters from here on."""
        self.in_appendix = True
        self.counters["chapter"] = 0
        if not self.has_chapters:
            self.counters["section"] = 0

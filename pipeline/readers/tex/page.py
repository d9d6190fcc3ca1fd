"""The page that is being written: text in frames within each other, so that what a caption or a table holds can be put elsewhere.

A frame has a buffer of its own. When it ends, its text is given to the function that was named when it was opened. Frames are a stack
of bounded depth, and those that the source never closes end with their paragraph, their environment or the document.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Literal

MAX_FRAMES = 200  # captured arguments and environments within each other; deeper ones are plain groups

Close = Callable[[str], None]


@dataclass(eq=False)
class Frame:
    """An open environment or argument. `braces` were open when it began."""

    kind: Literal["base", "environment", "capture"]
    name: str
    braces: int
    close: Close | None = None
    buffer: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)  # of a figure or table
    items: int = 0  # of a numbered list, so far
    ending: bool = False  # an author's environment whose end is being expanded
    is_heading: bool = False  # it ends with the paragraph, since its group was never closed if it does not


ARGUMENT = Frame("capture", "", 0)  # among open groups: an argument of a command that is not known


class Page:
    """The frames, and where text goes now: `out`, the buffer of the innermost frame or of a formula."""

    __slots__ = ("braces", "frames", "held", "muted", "notes", "open", "out")

    def __init__(self) -> None:
        self.frames = [Frame("base", "", 0)]
        self.out = self.frames[0].buffer
        self.open: dict[str, int] = {}  # environments that are open, by name
        self.braces: list[Frame | None] = []  # open groups: the frame that a group ends, or None
        self.muted = 0  # figures and tables that are open
        self.notes: list[str] = []  # footnotes, which come after their paragraph
        self.held: list[str] = []

    def hold(self, text: str) -> str:
        """A mark in the place of text that must come out as it is; `held` has the text by the mark's number."""
        self.held.append(text)
        return f"\0R{len(self.held) - 1}\0"

    def enter(self, kind: Literal["environment", "capture"], name: str, close: Close | None = None) -> Frame | None:
        """A frame with a buffer of its own, whose text `close` gets; None where frames are too deep for that."""
        if len(self.frames) >= MAX_FRAMES:
            return None
        frame = Frame(kind, name, len(self.braces), close)
        self.frames.append(frame)
        self.out = frame.buffer
        if kind == "environment":
            self.open[name] = self.open.get(name, 0) + 1
        return frame

    def leave(self) -> None:
        """Ends the innermost frame."""
        frame = self.frames.pop()
        self.out = self.frames[-1].buffer
        del self.braces[frame.braces :]
        if frame.kind == "environment":
            self.open[frame.name] -= 1
        if frame.close:
            frame.close("".join(frame.buffer))

    def close_brace(self) -> None:
        """A group ends, and with it the argument that it was."""
        frame = self.braces.pop() if self.braces else None
        if frame is None or frame not in self.frames:
            return
        while self.frames[-1] is not frame:
            self.leave()
        self.leave()

    def paragraph(self) -> None:
        """A paragraph ends; its footnotes follow it."""
        for index in range(len(self.frames) - 1, 0, -1):
            if self.frames[index].is_heading:
                while len(self.frames) > index:
                    self.leave()
        self.out.append("\n\n")
        if self.notes and self.frames[-1].kind != "capture" and not self.muted:
            for note in self.notes:
                self.out.append(note + "\n\n")
            self.notes = []

    def block(self, text: str) -> None:
        """Text that is followed by a blank line."""
        self.out.append(text)
        self.out.append("\n\n")

    def leave_environment(self, name: str) -> None:
        """Ends the innermost environment of that name, which is open, and all within it."""
        while self.frames[-1].name != name or self.frames[-1].kind != "environment":
            self.leave()
        self.leave()

    def leave_floats(self) -> None:
        """Ends figures and tables that were never closed; they would hide the rest of the paper."""
        while len(self.frames) > 1 and self.muted > 0:
            self.leave()

    def leave_all(self) -> None:
        """Ends every frame, at the end of the document."""
        while len(self.frames) > 1:
            self.leave()

    def restart(self) -> None:
        """Forgets what was written before the document's begin, but for titles and their like, which arguments are given to."""
        while len(self.frames) > 1:
            frame = self.frames.pop()
            if frame.kind == "environment":
                self.open[frame.name] -= 1
            if frame.kind == "capture" and frame.close:
                frame.close("".join(frame.buffer))
        self.out = self.frames[0].buffer
        self.out.clear()
        self.braces.clear()
        self.notes = []

    def innermost(self, names: Container[str]) -> Frame | None:
        """The innermost open environment that has one of those names."""
        return next((frame for frame in reversed(self.frames) if frame.kind == "environment" and frame.name in names), None)

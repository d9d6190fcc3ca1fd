"""What is printed, and as what: text for people, lines of JSON for programs (`--json`), or warnings and errors alone (`--quiet`)."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from rich.console import Console
from rich.text import Text

Mode = Literal["text", "json", "quiet"]

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def size(count: float) -> str:
    """Bytes for people: 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(count: float) -> str:
    """A count for people: 12.3 M."""
    for unit in ("", " k", " M", " G"):
        if abs(count) < 1000:
            return f"{count:.0f}" if not unit else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f} T"


def shown(place: str | Path) -> str:
    """A path as one types it here: relative to the current folder where it lies in it; a URI as it is."""
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(place)


def printable(text: str) -> str:
    """A text in one line, without what a terminal would obey: control characters as their escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def warn(text: str) -> None:
    """Print a warning, whatever else is printed; where only errors are, among them."""
    if _output.mode == "json":
        emit("warning", text=text)
    elif _output.mode == "quiet":
        print(f"warning: {text}", file=sys.stderr)
    else:
        console.print(Text.assemble(("warning", "bold red"), f": {text}"), soft_wrap=True)


def emit(kind: str, **what: Any) -> None:
    """Print a line of JSON: what happened, and the words that belong to it."""
    print(json.dumps({"kind": kind, **what}), flush=True)


def mode() -> Mode:
    """As what this command prints."""
    return _output.mode


class _Output:
    """This process's standard output, of its children too, while a command runs."""

    def __init__(self) -> None:
        self.mode: Mode = "text"
        self._true: int | None = None  # where standard output went before
        self._relay: threading.Thread | None = None

    def switch(self, mode: Mode) -> None:
        """From now on print as `mode` says."""
        if mode == self.mode:
            return
        self.restore()
        self.mode = mode
        sys.stdout.flush()
        self._true = os.dup(1)
        if mode == "json":
            end, begin = os.pipe()
            self._relay = threading.Thread(
                target=_as_json, args=(os.fdopen(end, encoding="utf-8", errors="replace"), self._true), daemon=True
            )
            self._relay.start()
        else:
            begin = os.open(os.devnull, os.O_WRONLY)
        os.dup2(begin, 1)
        os.close(begin)

    def restore(self) -> None:
        """Print as before."""
        if self._true is None:
            return
        sys.stdout.flush()
        if self._relay is not None:
            os.write(1, _LAST.encode())  # children that go on may keep the pipe open
            self._relay.join()
        os.dup2(self._true, 1)
        os.close(self._true)
        self.mode, self._true, self._relay = "text", None, None


_LAST = "\0the last line\n"


def _as_json(lines: IO[str], true: int) -> None:
    """A thread: pass on lines of JSON of ours, and all others as lines of JSON that have them as their text."""
    with lines:
        for line in lines:
            if line.endswith(_LAST):
                return
            if not line.startswith('{"kind": "'):
                line = json.dumps({"kind": "text", "text": Text.from_ansi(line.rstrip("\n")).plain}) + "\n"
            os.write(true, line.encode())


_output = _Output()
switch = _output.switch


@contextmanager
def output() -> Iterator[None]:
    """Within it a command may switch to another mode; afterwards all is as before."""
    try:
        yield
    finally:
        _output.restore()

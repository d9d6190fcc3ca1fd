"""How the command line ends before its time: what it says of going on, and the signals by which it is told to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_go_on = "run the same command again to go on"


def go_on_by(text: str) -> None:
    """Have Ctrl-C say how to go on in these words from now on."""
    global _go_on
    _go_on = text


class Ended(KeyboardInterrupt):
    """The command was told to end by a signal. The message is a line; `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def obeying_signals() -> Iterator[None]:
    """Within it Ctrl-C and SIGTERM raise `Ended`, so that a terminal is left as it was and what others wait for is given up.

    A second Ctrl-C does so at once again; a second SIGTERM is what `timeout` sends to a process and to its group.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may say what a signal does
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as a shell has what it starts in the background
            signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_IGN)
    word = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
    raise Ended(f"{word}; {_go_on}", 128 + number)


def interruption(error: BaseException) -> Ended | None:
    """The signal that an error came of, which others may have made another error of."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    if seen is None or isinstance(seen, Ended):
        return seen
    earlier = interruption(seen.__context__) if seen.__context__ is not None else None  # a second Ctrl-C, while the first was obeyed
    return earlier or Ended(f"interrupted; {_go_on}", 128 + signal.SIGINT)

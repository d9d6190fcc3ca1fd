"""Work counted in place of time: steps of the interpreter, which are as many on every machine, however slow or busy.

What a test says of a hostile text is that its cost grows as the text does and no faster. Python's share of that is counted here. Of
what runs in compiled code (kernels, parsers) no step is seen: there the whole of the worst is worked off, a megabyte as a rule, of
which a square would take hours, and pytest's limit for every test (`timeout` in pyproject.toml) ends those. Regular expressions are
looked at one by one in `tests/pipeline/test_patterns.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from tests.profiles import quick

Text = TypeVar("Text", str, bytes)
Result = TypeVar("Result")
COUNTED = 50_000  # characters of a text whose steps are counted; a square of them is 50,000 steps a character


def steps(apply: Callable[[], object]) -> int:
    """Lines and calls of Python that `apply` takes in this thread."""
    count = 0

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return line

    before = sys.gettrace()
    sys.settrace(line)
    try:
        apply()
    finally:
        sys.settrace(before)
    return count


def in_proportion(apply: Callable[[Text], Result], text: Text, *, each: int = 100, more: int = 20_000, always: bool = False) -> Result:
    """What `apply` gives for the whole text, after it was seen that its beginning takes no more steps than in proportion to it.

    Under the profile `quick` it is what the beginning gives, unless the whole is `always` wanted.

    `each`: steps a character (or byte), a few times what the dearest text takes; `more`: steps beside those, where something else has a
    bound of its own (macros of TeX).
    """
    beginning = text[:COUNTED]
    taken = steps(lambda: apply(beginning))
    assert taken <= each * len(beginning) + more, f"{taken} steps for {len(beginning)} characters"
    return apply(text if always or not quick() else beginning)

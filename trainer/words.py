"""How screens word what they show. Nothing here needs torch, so that those of the pipeline may use it, too."""

from __future__ import annotations

from typing import Any

from rich.text import Text


def fields(*pairs: tuple[str, str]) -> Text:
    """Names and values in one line."""
    return Text("   ").join(Text.assemble((f"{name} " if name else "", "dim"), value) for name, value in pairs)


def clock(seconds: float) -> str:
    """A duration for people: 3 d 04 h, 2 h 05 min, 4 min 10 s, 8 s."""
    whole = round(seconds)
    for size, name, small, small_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // small:02d} {small_name}"
    return f"{whole} s"


def within(values: dict[str, Any], digits: int = 4) -> str:
    """The interval of a loss, for people; nothing where there is none."""
    low, high = values.get("loss_low"), values.get("loss_high")
    return "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"


def compared(baselines: dict[str, float | None]) -> str:
    """The losses of the n-gram models, for people."""
    names = {"unigram": "unigram", "left": "left bigram", "two_sided": "two-sided bigram"}
    return ", ".join(f"{words} {value:.2f}" for name, words in names.items() if (value := baselines.get(name)) is not None)

"""How the report's figures look, and how one becomes a part of the page: SVG whose greys are the page's own, by day and by night."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.figure import Figure

# Colours that stay apart for the colour-blind too (Okabe and Ito 2008).
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c8c")
INK, SOFT, LINE = "#1d2530", "#5d6b7c", "#c9d1da"  # as the page has them by day; `svg` gives them the page's names
_NAMES = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--axis)"}
_STYLE = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's own font
    "svg.hashsalt": "foundry",  # the same figure gives the same bytes
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches in the report's style, to be drawn and given to `svg` within the context."""
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure, label: str) -> str:
    """A figure as SVG to be put into a page. `label` says in words what it shows, for those who do not see it."""
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])  # every figure has the same ones
    text = text.replace("font: 10.5px 'sans-serif'", "font: 10.5px system-ui, sans-serif")
    for colour, name in _NAMES.items():
        text = text.replace(colour, name)
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


# The page's greys by day and by night, for a figure that stands alone.
_GREYS = (
    "<style>:root{color-scheme:light dark;--ink:#1d2530;--soft:#5d6b7c;--axis:#c9d1da;--paper:#fff}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e2e8ef;--soft:#9aa7b6;--axis:#4a5663;--paper:#171d25}}</style>"
)


def standalone(figure: str) -> str:
    """What `svg` made, as a file of its own or part of any page: with the greys that it names."""
    begin = figure.index(">") + 1
    return f"{figure[:begin]}{_GREYS}{figure[begin:]}"

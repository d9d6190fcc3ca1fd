"""The comparison as one self-contained page: what differs, a forest plot, and the losses over tokens, operations and hours."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from jinja2 import Environment
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from evaluation.compare import Contestant, Verdict, sentences, spent
from pipeline.report.figures import INK, LINE, PALETTE, SOFT, drawing, svg
from pipeline.report.runs import Run, column

AXES = ("tokens", "floating-point operations", "hours")
COLOURS = {"better": PALETTE[2], "worse": PALETTE[5], "equivalent": PALETTE[0], "undecided": PALETTE[6]}


def forest(verdicts: Sequence[Verdict], margin: float) -> str:
    """Each difference with its interval, as a share of the reference's value, and the margin as a band: SVG."""
    rows = len(verdicts)
    with drawing(9.0, 1.1 + 0.38 * rows) as figure:
        axes = figure.subplots()
        axes.axvspan(-100 * margin, 100 * margin, color=LINE, alpha=0.35, linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, each in enumerate(verdicts):
            told = each.difference
            unit = 100 / each.scale if each.scale else 100.0
            ends = np.array([told.low, told.high]) * unit
            if np.isfinite(ends).all():
                axes.plot(ends, [place, place], color=COLOURS[each.said], linewidth=2)
            axes.plot([told.value * unit], [place], "o", color=COLOURS[each.said])
        axes.set_yticks(range(rows), [f"{each.set}, {each.metric}: {each.name}" for each in verdicts])
        axes.set_ylim(rows - 0.5, -0.5)
        axes.set_xlabel("difference from the reference, % of its loss or score")
        words = "; ".join(f"{each.set} {each.name} {each.difference.value:+.4g}, {each.said}" for each in verdicts)
        return svg(figure, f"Differences from the reference with their intervals: {words}.")


def losses(contestants: Sequence[Contestant]) -> str | None:
    """The validation losses of all runs over tokens, operations and hours: SVG; None where no run has any."""
    if not any(run.validation for each in contestants for run in each.runs):
        return None
    with drawing(10.2, 3.2) as figure:
        for number, (axes, name) in enumerate(zip(figure.subplots(1, 3, sharey=True), AXES, strict=True)):
            for place, each in enumerate(contestants):
                for turn, run in enumerate(each.runs):
                    _losses(axes, run, number, PALETTE[place % len(PALETTE)], each.name if not turn else None)
            axes.set_xlabel(name)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            if not number:
                axes.set_ylabel("validation loss")
                axes.legend(loc="best")
        words = ", ".join(each.name for each in contestants)
        return svg(figure, f"Validation losses of {words} over tokens, floating-point operations and hours of training.")


def _losses(axes: Axes, run: Run, which: int, colour: str, label: str | None) -> None:
    tokens, *_ = known = spent(run)
    values = column(run.validation, "loss")
    places = np.interp(column(run.validation, "tokens"), np.concatenate([[0.0], tokens]), np.concatenate([[0.0], known[which]]))
    some = np.isfinite(places) & np.isfinite(values)
    low, high = (column(run.validation, f"loss_{end}") for end in ("low", "high"))
    axes.fill_between(places[some], low[some], high[some], color=colour, alpha=0.12, linewidth=0)
    axes.plot(places[some], values[some], color=colour, marker="o", markersize=3.5, linewidth=1.2, label=label)


def page(contestants: Sequence[Contestant], verdicts: Sequence[Verdict], *, level: float, margin: float) -> str:
    """The page, HTML."""
    reference = contestants[0]
    rows = []
    for each in verdicts:
        told = each.difference
        rows.append(
            (
                f"{each.set}, {each.metric}",
                each.name,
                f"{told.reference:.4f}",
                f"{told.other:.4f}",
                f"{told.value:+.4f}",
                f"{told.low:+.4f} to {told.high:+.4f}",
                f"{each.p:.2g}",
                f"{told.detectable:.4f}",
                each.said,
            )
        )
    budgets = []
    for contestant in contestants:
        budget = contestant.budget
        cells = (f"{budget.tokens:,.0f}", f"{budget.operations:.3g}", f"{budget.hours:.2f}")
        budgets.append((contestant.name, str(len(contestant.runs)), *("" if cell == "nan" else cell for cell in cells)))
    template = Environment(autoescape=True).from_string(files("evaluation").joinpath("compare.html.j2").read_text(encoding="utf-8"))
    return template.render(
        reference=reference.name,
        rows=rows,
        budgets=budgets,
        sentences=list(sentences(verdicts, reference, contestants, level)),
        forest=forest(verdicts, margin),
        losses=losses(contestants),
        level=f"{level:.0%}",
        margin=f"{margin:.1%}",
        ink=INK,
        soft=SOFT,
        line=LINE,
    )

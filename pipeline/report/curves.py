"""The figures of training: each is of one run, over the tokens that it was trained on, but for the one that compares runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pipeline.report.figures import INK, LINE, PALETTE, SOFT, drawing, svg
from pipeline.report.runs import Run, Values, column, last, names, thinned

WIDE, HALF = (10.2, 4.3), (5.0, 2.7)
BASELINES = {"unigram": "unigram", "left": "left bigram", "two_sided": "two-sided bigram"}  # the n-gram models, for people
GROUPS = 60  # stretches of a run that its time is summed over
# The colours of the time's parts, those that take most of it told apart best; others get what is left.
PARTS = dict(zip(("compute", "communication", "optimizer", "checkpoint", "evaluation", "data", "other"), PALETTE, strict=True))
OFTEN = ("again", "left out")  # of which there may be hundreds: marked at the top, without a line through the figure

# The mark of an event's kind: a shape, so that it is told apart without colour, and a colour. Others are circles.
# Every other one stands a little higher, so that those that come together, as a stop and the start after it, are both seen.
MARKS = {
    "start": (">", PALETTE[2]),
    "stop": ("s", PALETTE[6]),
    "again": ("2", PALETTE[1]),
    "left out": ("x", PALETTE[5]),
    "return": ("<", PALETTE[3]),
    "checkpoint failed": ("v", PALETTE[0]),
    "folder failed": ("^", PALETTE[4]),
}


@dataclass(frozen=True)
class Plot:
    """A figure: what it is called, the SVG, and whether it takes the page's width."""

    title: str
    svg: str
    wide: bool = False


class _Scale:
    """Tokens as an axis has them: in thousands, millions, billions or trillions."""

    def __init__(self, runs: Sequence[Run]) -> None:
        most = max((float(line["tokens"]) for run in runs for line in (*run.train, *run.validation)), default=0.0)
        units = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"))
        self.unit, name = next(((size, name) for size, name in units if most >= size), (1.0, ""))
        self.label = f"{name} tokens".strip()

    def tokens(self, lines: Sequence[dict[str, Any]]) -> Values:
        return column(lines, "tokens") / self.unit

    def finish(self, axes: Axes) -> None:
        axes.set_xlim(left=0)
        axes.set_xlabel(self.label)


def colours_of(found: Sequence[str], colours: Mapping[str, str]) -> dict[str, str]:
    """A colour for each name: its own where it has one, else the next of those that are left."""
    free = [colour for colour in PALETTE if colour not in {colours.get(name) for name in found}] or list(PALETTE)
    others = [name for name in found if name not in colours]
    return {**{name: colours[name] for name in found if name in colours}, **{name: free[i % len(free)] for i, name in enumerate(others)}}


def _logarithmic(axes: Axes) -> None:
    """A logarithmic axis with a few plain numbers on it."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    axes.yaxis.set_major_locator(MaxNLocator(6) if decades < 1 else LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _line(axes: Axes, places: Values, values: Values, label: str | None, colour: str, **style: Any) -> None:
    x, y = thinned(places, values)
    axes.plot(x, y, color=colour, label=label, **{"linewidth": 1.4, **style})


def _lines_by(axes: Axes, places: Values, found: Mapping[str, Values], colours: Mapping[str, str], **style: Any) -> None:
    for name, values in found.items():
        if np.isfinite(values).any():
            _line(axes, places, values, name, colours[name], **style)


def _mark_events(axes: Axes, run: Run, scale: _Scale, *, named: bool = False) -> None:
    """Mark a run's events: a shape for each above the figure where they are `named`, and a faint line through all of it."""
    kinds = list(dict.fromkeys(str(event["event"]) for event in run.events))
    for kind in kinds:
        mark, colour = MARKS.get(kind, ("o", INK))
        height = 1.0 + 0.05 * (list(MARKS).index(kind) % 2 if kind in MARKS else 2)
        steps = np.array([event["step"] for event in run.events if event["event"] == kind], np.float64)
        places = np.unique(np.round(run.tokens_at(steps) / scale.unit, 6))
        if named:
            across = axes.get_xaxis_transform()
            axes.plot(places, np.full(len(places), height), mark, transform=across, color=colour, label=kind, clip_on=False)
        if kind not in OFTEN:
            for place in places:
                axes.axvline(place, color=colour, linewidth=0.8, alpha=0.45, zorder=0)


def _mark_phases(axes: Axes, run: Run, scale: _Scale, *, named: bool = False) -> None:
    for line, following in pairwise(run.train):
        if line.get("phase") != following.get("phase"):
            place = line["tokens"] / scale.unit
            axes.axvline(place, color=LINE, linewidth=1, linestyle="--", zorder=0)
            if named:
                where: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "fontsize": 8.5, "color": SOFT, "rotation": 90}
                axes.text(place, 0.98, f" {following.get('phase')}", va="top", ha="left", **where)


def _mark_baselines(axes: Axes, run: Run) -> None:
    """A level line for each n-gram model's loss on the tokens of the evaluations, with its name at its end."""
    for name, words in BASELINES.items():
        value = last(column(run.validation, "baselines", name))
        if value is not None:
            axes.axhline(value, color=SOFT, linewidth=0.9, linestyle=":", zorder=0)
            where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": 8.5, "color": SOFT}
            axes.text(0.995, value, words, va="bottom", ha="right", **where)


def _from_to(values: Values) -> str:
    known = values[np.isfinite(values)]
    return f"{known[0]:.4g} at first and {known[-1]:.4g} at last" if len(known) else "nothing"


def loss_and_rate(run: Run, scale: _Scale) -> Plot:
    """Loss of training and validation, and the learning rate beneath, with all events."""
    train, validation = column(run.train, "loss"), column(run.validation, "loss")
    with drawing(*WIDE) as figure:
        loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        _line(loss, scale.tokens(run.train), train, "training", PALETTE[0])
        dots = {"marker": "o", "markersize": 4, "linewidth": 1.1}
        _line(loss, scale.tokens(run.validation), validation, "validation", PALETTE[5], **dots)
        low, high = (column(run.validation, f"loss_{end}") for end in ("low", "high"))
        loss.fill_between(scale.tokens(run.validation), low, high, color=PALETTE[5], alpha=0.15, linewidth=0)
        _mark_baselines(loss, run)
        if np.isfinite(train).any() or np.isfinite(validation).any():
            _logarithmic(loss)
        loss.set_ylabel("loss")
        _line(rate, scale.tokens(run.train), column(run.train, "lr"), None, PALETTE[2])
        rate.set_ylim(bottom=0)
        rate.set_ylabel("learning rate")
        rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        for axes in (loss, rate):
            _mark_phases(axes, run, scale, named=axes is loss)
            _mark_events(axes, run, scale, named=axes is loss)
        scale.finish(rate)
        figure.legend(*loss.get_legend_handles_labels(), loc="outside upper right", ncols=9)
        words = f"training {_from_to(train)}, validation {_from_to(validation)}"
        return Plot("Loss and learning rate", svg(figure, f"Loss of {run.name} over tokens, on a logarithmic axis: {words}."), wide=True)


def _simple(run: Run, scale: _Scale, title: str, found: Mapping[str, Values], colours: Mapping[str, str], **how: Any) -> Plot | None:
    """One figure of curves over the lines of training; None where no line has any of them. `how`: unit, log."""
    known = {name: values for name, values in found.items() if np.isfinite(values).any()}
    if not known:
        return None
    with drawing(*HALF) as figure:
        axes = figure.subplots()
        _lines_by(axes, scale.tokens(run.train), known, colours)
        if how.get("log") and all((values[np.isfinite(values)] > 0).all() for values in known.values()):
            _logarithmic(axes)
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        _mark_phases(axes, run, scale)
        _mark_events(axes, run, scale)
        axes.set_ylabel(how.get("unit", ""))
        scale.finish(axes)
        if len(known) > 1:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
        words = "; ".join(f"{name} {_from_to(values)}" for name, values in known.items())
        return Plot(title, svg(figure, f"{title} of {run.name} over tokens: {words}."))


def by_domain(run: Run, scale: _Scale, colours: Mapping[str, str]) -> Plot | None:
    """Loss of each domain: in training as a thin line, in validation as dots."""
    found = sorted({*names(run.train, "by_domain"), *names(run.validation, "by_domain")})
    if not found:
        return None
    of = colours_of(found, colours)
    with drawing(*HALF) as figure:
        axes = figure.subplots()
        _lines_by(
            axes,
            scale.tokens(run.train),
            {name: column(run.train, "by_domain", name, "loss") for name in found},
            of,
            linewidth=0.9,
            alpha=0.55,
        )
        validation = {name: column(run.validation, "by_domain", name, "loss") for name in found}
        _lines_by(axes, scale.tokens(run.validation), validation, of, marker="o", markersize=4, linewidth=1.2)
        _logarithmic(axes)
        _mark_phases(axes, run, scale)
        _mark_events(axes, run, scale)
        axes.set_ylabel("loss")
        scale.finish(axes)
        handles, labels = axes.get_legend_handles_labels()
        by_name = dict(zip(labels, handles, strict=True))  # those of validation, which come last, where there are any
        axes.legend([by_name[name] for name in found if name in by_name], [name for name in found if name in by_name], loc="best")
        words = "; ".join(f"{name} {_from_to(values)}" for name, values in validation.items())
        return Plot("Loss by domain", svg(figure, f"Loss of {run.name} by domain over tokens, in validation: {words}."))


def time_by_part(run: Run, scale: _Scale) -> Plot | None:
    """Where the time went: the share of each part, over stretches of lines."""
    parts = names(run.train, "seconds")
    spent = np.array([np.nan_to_num(column(run.train, "seconds", part)) for part in parts])
    if not parts or not spent.sum():
        return None
    edges = np.unique(np.linspace(0, len(run.train), min(GROUPS, len(run.train)) + 1).astype(np.int64))
    sums = np.add.reduceat(spent, edges[:-1], axis=1)
    shares = 100 * sums / np.maximum(sums.sum(axis=0), 1e-12)
    tokens = scale.tokens(run.train)
    bounds = np.concatenate([[0.0], tokens[edges[1:] - 1]])
    total = 100 * spent.sum(axis=1) / spent.sum()
    with drawing(*HALF) as figure:
        axes = figure.subplots()
        of = colours_of(parts, PARTS)
        colours = [of[part] for part in parts]
        labels = [f"{part} {share:.2g} %" for part, share in zip(parts, total, strict=True)]
        drawn = np.concatenate([shares[:, :1], shares], axis=1)
        axes.stackplot(bounds, drawn, step="pre", colors=colours, labels=labels, linewidth=0)
        axes.set_ylim(0, 100)
        axes.set_ylabel("% of the time")
        scale.finish(axes)
        figure.legend(loc="outside right upper", reverse=True, fontsize=8.5)
        words = ", ".join(labels)
        return Plot("Where the time went", svg(figure, f"Share of the time of {run.name} by part: {words} of all of it."))


def curves(run: Run, colours: Mapping[str, str]) -> list[Plot]:
    """All figures of one run that its lines have numbers for. `colours`: those of domains."""
    scale, lines = _Scale([run]), run.train
    kinds = [kind for name in ("weight", "update", "gradient") for kind in names(lines, "norms", name)]
    of_kind = colours_of(list(dict.fromkeys(kinds)), {})
    norms = {name: {kind: column(lines, "norms", name, kind) for kind in of_kind} for name in ("weight", "update", "gradient")}
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = {kind: norms["update"][kind] / norms["weight"][kind] for kind in of_kind}
    plots = [
        loss_and_rate(run, scale),
        by_domain(run, scale, colours),
        _simple(run, scale, "Norm of the gradient", {"all": column(lines, "gradient_norm")}, {"all": PALETTE[0]}, log=True),
        _simple(run, scale, "Speed", {"all": column(lines, "tokens_per_second")}, {"all": PALETTE[2]}, unit="tokens/s"),
        _simple(run, scale, "Utilisation", {"all": 100 * column(lines, "utilisation")}, {"all": PALETTE[1]}, unit="% of the device's peak"),
        time_by_part(run, scale),
        _simple(run, scale, "Memory", {"all": column(lines, "memory") / 1e9}, {"all": PALETTE[3]}, unit="GB at most, of any process"),
        _simple(run, scale, "Updates that were clipped", {"all": 100 * column(lines, "clipped")}, {"all": PALETTE[4]}, unit="% of tensors"),
        _simple(run, scale, "Size of the updates", steps, of_kind, unit="update / weight", log=True),
        _simple(run, scale, "Norm of the gradient by kind", norms["gradient"], of_kind, log=True),
        _simple(run, scale, "Norm of the weights by kind", norms["weight"], of_kind, log=True),
    ]
    return [plot for plot in plots if plot is not None]


def comparison(runs: Sequence[Run]) -> Plot:
    """The losses of several runs side by side: training as a thin line, validation as dots."""
    scale = _Scale(runs)
    with drawing(*WIDE) as figure:
        axes = figure.subplots()
        for place, run in enumerate(runs):
            colour = PALETTE[place % len(PALETTE)]
            style = ("-", "--", ":")[place // len(PALETTE) % 3]
            _line(axes, scale.tokens(run.train), column(run.train, "loss"), None, colour, linewidth=0.9, alpha=0.6, linestyle=style)
            dots = {"marker": "o", "markersize": 4, "linestyle": style}
            _line(axes, scale.tokens(run.validation), column(run.validation, "loss"), run.name, colour, **dots)
        _logarithmic(axes)
        axes.set_ylabel("loss")
        scale.finish(axes)
        axes.legend(loc="best")
        final = {run.name: last(column(run.validation, "loss")) for run in runs}
        words = ", ".join(f"{name} {value:.4g}" for name, value in final.items() if value is not None)
        label = f"Losses of {len(runs)} runs over tokens. The last validation losses: {words or 'none'}."
        return Plot("Loss of all runs", svg(figure, label), wide=True)

"""The timeline of tasks, `timeline/STAGE.jsonl` of a workdir: read, and drawn for the report."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from pipeline.report.figures import LINE, PALETTE, SOFT, drawing, svg
from pipeline.workdir.dataset import Workdir

TIMELINE = "timeline"
AGAIN = PALETTE[5]  # the colour of what came to nothing
STAGES = tuple(colour for colour in PALETTE if colour != AGAIN)  # of stages, in turn
LANES = 40  # that are drawn
LATE = 0.1  # seconds that the word of a begin or an end may come later than another
NAMED = 0.02  # of the time: a stage that takes so much is named in the figure
Line = dict[str, Any]


def file_of(stage: str) -> str:
    """The name of a stage's file."""
    return re.sub(r"[^a-z0-9]+", "-", stage) + ".jsonl"


def read_stage(workdir: Workdir, stage: str) -> list[Line]:
    """What is known of a stage's tasks, in the order in which they ended."""
    return _read(workdir, file_of(stage))


def read_timeline(workdir: Workdir) -> list[Line]:
    """What is known of all tasks, in the order in which they began."""
    lines = [line for name in sorted(workdir.sizes(TIMELINE)) for line in _read(workdir, name)]
    return sorted(lines, key=lambda line: (line["begun"], line["stage"], line["task"]))


def _read(workdir: Workdir, name: str) -> list[Line]:
    """The lines of a file; one that is damaged is left out."""
    raw = workdir.read(TIMELINE, name)
    if raw is None:
        return []
    found = []
    for line in raw.to_pybytes().splitlines():
        try:
            entry = json.loads(line)
            times = (float(entry["begun"]), float(entry["seconds"]))
            words = all(isinstance(entry[name], str) for name in ("stage", "task", "node"))
            if words and entry["end"] in ("done", "again") and all(0 <= value < 1e12 for value in times):
                found.append(entry)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def timeline(workdir: Workdir) -> dict[str, Any] | None:
    """The figure and the table of a workdir's tasks; None where nothing is known of any."""
    lines = read_timeline(workdir)
    if not lines:
        return None
    at, breaks = squeezed(lines)
    lanes = assigned(lines)
    used = sorted(lanes, key=lambda lane: (-len(lanes[lane]), lane))[:LANES]
    nodes = {line["node"] for line in lines}
    left_away = f" Of {len(lanes)} places, the {LANES} with most tasks are drawn." if len(lanes) > LANES else ""
    return {
        "svg": _draw(lines, at, breaks, {lane: lanes[lane] for lane in sorted(used)}),
        "nodes": f"{len(nodes):,} node{'s' * (len(nodes) != 1)}",
        "left_away": left_away,
        "breaks": bool(breaks),
        "rows": _rows(lines),
    }


def squeezed(lines: Sequence[Line]) -> tuple[list[float], list[float]]:
    """Where each line begins on an axis of seconds from which long times without any task are taken out, and where those were."""
    busy, end = 0.0, lines[0]["begun"]
    for line in lines:  # in the order in which they began
        busy += max(0.0, line["begun"] + line["seconds"] - max(end, line["begun"]))
        end = max(end, line["begun"] + line["seconds"])
    longest = max(5.0, 0.05 * busy)
    at, breaks, out, end = [], [], lines[0]["begun"], lines[0]["begun"]
    for line in lines:
        if line["begun"] - end > longest:
            out += line["begun"] - end - 0.02 * busy
            breaks.append(line["begun"] - out - 0.01 * busy)
        at.append(line["begun"] - out)
        end = max(end, line["begun"] + line["seconds"])
    return at, breaks


def assigned(lines: Sequence[Line]) -> dict[tuple[str, int], list[int]]:
    """The numbers of the lines by place: a node, and which of as many rows as it ran tasks at a time."""
    free: dict[str, list[float]] = {}
    lanes: dict[tuple[str, int], list[int]] = {}
    for number, line in enumerate(lines):
        ends = free.setdefault(line["node"], [])
        place = next((row for row, end in enumerate(ends) if end <= line["begun"] + LATE), len(ends))
        if place == len(ends):
            ends.append(0.0)
        ends[place] = line["begun"] + line["seconds"]
        lanes.setdefault((line["node"], place), []).append(number)
    return lanes


def _draw(lines: Sequence[Line], at: list[float], breaks: list[float], lanes: dict[tuple[str, int], list[int]]) -> str:
    total = max(begin + line["seconds"] for begin, line in zip(at, lines, strict=True)) or 1.0
    order = list(dict.fromkeys(line["stage"] for line in lines))
    colours = {stage: STAGES[number % len(STAGES)] for number, stage in enumerate(order)}
    with drawing(10.2, 1.1 + 0.2 * len(lanes)) as figure:
        axes = figure.add_subplot()
        for row, numbers in enumerate(lanes.values()):
            for colour, of_colour in groupby(numbers, key=lambda n: colours[lines[n]["stage"]] if lines[n]["end"] == "done" else AGAIN):
                axes.broken_barh(_joined(of_colour, at, lines, total / 2000), (row - 0.42, 0.84), facecolors=colour)
        for gap in breaks:
            axes.axvline(gap, color=SOFT, linewidth=0.8, linestyle=":")
        _name_stages(axes, lines, at, total, -0.75)
        names = [node for node, _ in lanes]
        firsts = [row for row, name in enumerate(names) if row == 0 or names[row - 1] != name]
        for row in firsts[1:]:
            axes.axhline(row - 0.5, color=LINE, linewidth=0.6)
        axes.set_yticks(firsts, [names[row] for row in firsts])
        axes.set_ylim(len(lanes) - 0.4, -1.6)
        axes.set_xlim(0, total)
        axes.set_xlabel("seconds")
        axes.tick_params(axis="y", length=0)
        return svg(figure, f"{len(lines)} tasks of {len(order)} stages, each as a bar from its begin to its end, on the node where it ran.")


def _joined(numbers: Iterable[int], at: list[float], lines: Sequence[Line], least: float) -> list[tuple[float, float]]:
    """Bars from begin to end, those that stand closer than `least` seconds as one: no page is as wide as to show them apart."""
    bars: list[tuple[float, float]] = []
    for number in numbers:
        begin, width = at[number], max(lines[number]["seconds"], least / 2)
        if bars and begin - sum(bars[-1]) < least:
            bars[-1] = (bars[-1][0], max(sum(bars[-1]), begin + width) - bars[-1][0])
        else:
            bars.append((begin, width))
    return bars


def _name_stages(axes: Any, lines: Sequence[Line], at: list[float], total: float, height: float) -> None:
    """Names above where stages begin, of those that take long enough for one."""
    begins: dict[str, float] = {}
    ends: dict[str, float] = {}
    for begin, line in zip(at, lines, strict=True):
        begins.setdefault(line["stage"], begin)
        ends[line["stage"]] = max(ends.get(line["stage"], 0.0), begin + line["seconds"])
    for stage, begin in begins.items():
        width = ends[stage] - begin
        if width >= NAMED * total and width >= 0.0065 * len(stage) * total:  # as wide as its letters are
            axes.text(begin, height, stage, fontsize=9, color=SOFT)


def _rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """A row a stage: tasks, their seconds together, the usual and the longest one, memory, and how many were started again."""
    rows: list[tuple[str, ...]] = []
    for stage in dict.fromkeys(line["stage"] for line in lines):
        done = [line for line in lines if line["stage"] == stage and line["end"] == "done"]
        again = sum(line["stage"] == stage for line in lines) - len(done)
        seconds = [line["seconds"] for line in done] or [0.0]
        slowest = max(done, key=lambda line: line["seconds"], default={"task": "", "node": ""})
        memory = max((line.get("memory", 0) for line in done), default=0)
        numbers = (f"{len(done):,}", f"{sum(seconds):,.1f}", f"{statistics.median(seconds):,.2f}", f"{max(seconds):,.2f}")
        where = f"{slowest['task']} on {slowest['node']}" if done else ""
        rows.append((stage, *numbers, f"{memory / 1e6:,.0f}" if memory else "", f"{again:,}" if again else "", where))
    return rows

"""`report.html`: what came in, what went out and why, with plots, in one self-contained file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

from pipeline.contamination.verdict import REPORT
from pipeline.report.figures import INK, PALETTE, drawing, svg
from pipeline.report.funnel import Count, Funnel, funnel
from pipeline.report.histograms import Histogram, by_group, draw, histograms, scale_of
from pipeline.report.limits import movable
from pipeline.report.runs import Run, column, last, read_run
from pipeline.report.samples import Sample, samples
from pipeline.report.tasks import timeline
from pipeline.report.training import training
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.documents import STATISTICS
from pipeline.workdir.verdicts import ORDER, entries, kept, verdict_dataset


def write_report(workdir: Workdir, run: Path, others: Sequence[Path] = ()) -> str:
    """Write `report.html` into the workdir; returns its path. Raises `UserError` where nothing was ingested.

    `run`: the folder of a training run, whose metrics are shown where there are any; its name is the report's title. `others`: folders
    of other runs of the workdir, which are shown beside it.
    """
    numbers = funnel(workdir)
    colours = {domain: PALETTE[index % len(PALETTE)] for index, domain in enumerate(numbers.domains)}
    template = Environment(autoescape=True).from_string(files("pipeline.report").joinpath("report.html.j2").read_text(encoding="utf-8"))
    own = read_run(run)
    html = template.render(
        name=run.name,
        workdir=workdir.shown,
        colours=colours,
        domains=numbers.domains,
        tiles=_tiles(numbers, own),
        funnel=_funnel(numbers),
        reasons=_reasons(numbers),
        quarantined=f"{numbers.quarantined:,}" if numbers.quarantined else "",
        sources=_sources(numbers),
        warnings=numbers.warnings,
        cuts=[
            {
                "stage": stage,
                "cells": [f"{_size(counts[d].bytes)} of {counts[d].documents:,}" if d in counts else "" for d in numbers.domains],
                "total": _size(sum(count.bytes for count in counts.values())),
            }
            for stage, counts in numbers.cuts
        ],
        contamination=[
            (each.name, *(f"{n:,}" for n in (each.items, each.too_short, each.unreadable, each.ngrams, each.instructions, each.documents)))
            for each in numbers.contamination
        ],
        contaminated=_contaminated(workdir),
        histograms=[
            {
                "group": group,
                "domain": domain,
                "limited": [_plot(histogram, colours[domain]) for histogram in limited],
                "others": [_plot(histogram, colours[domain]) for histogram in others],
            }
            for group, domain, limited, others in by_group(histograms(workdir))
        ],
        limits=json.dumps(movable(workdir), separators=(",", ":")).replace("</", "<\\/"),
        script=files("pipeline.report").joinpath("limits.js").read_text(encoding="utf-8"),
        samples=_samples(samples(workdir)),
        lengths=_lengths(workdir, numbers.domains, colours),
        splits=numbers.splits,
        split=numbers.split_rows,
        mix=_mix(numbers),
        packed=[
            {
                "phase": packed.phase,
                "length": f"{packed.length:,}",
                "rows": f"{packed.rows:,}",
                "segments": f"{packed.segments:,}",
                "tokens": f"{packed.tokens:,}",
                "efficiency": f"{packed.efficiency:.2%}",
            }
            for packed in numbers.packed
        ],
        sampled=_sampled(numbers),
        timeline=timeline(workdir),
        training=training([own, *map(read_run, others)], own.name, colours),
    )
    workdir.write(html.encode(), "report.html")
    return workdir.path("report.html")


def _sampled(numbers: Funnel) -> str:
    """The held-out sample in words; nothing where there is none."""
    found = numbers.sampled
    if found is None:
        return ""
    shares = ", ".join(f"{domain} {tokens / max(1, found.tokens):.0%}" for domain, tokens in found.domains.items())
    return f"{_count(found.tokens)} tokens in {found.pieces:,} pieces of {found.documents:,} documents, {shares}"


def _plot(histogram: Histogram, colour: str) -> dict[str, Any]:
    return {"name": histogram.statistic, "words": histogram.description, "svg": draw(histogram, colour), "scale": scale_of(histogram)}


def _samples(found: list[Sample]) -> list[dict[str, Any]]:
    """Samples by rule and domain, for the template."""
    keys = list(dict.fromkeys((sample.rule, sample.domain) for sample in found))
    rows = []
    for rule, domain in keys:
        of_key = [sample for sample in found if (sample.rule, sample.domain) == (rule, domain)]
        shown = [
            {
                "document": sample.document,
                "value": sample.measured,
                "text": sample.cut if rule == "" else sample.text,
            }
            for sample in of_key
        ]
        rows.append({"rule": rule, "domain": domain, "samples": shown})
    return rows


SHOWN_CONTAMINATED = 8


def _contaminated(workdir: Workdir) -> list[dict[str, str]]:
    """The first documents of the contamination report, with the matched spans."""
    if workdir.manifest(REPORT) is None or workdir.manifest(verdict_dataset("contamination")) is None:
        return []
    rows: list[dict[str, str]] = []
    for _, table in workdir.tables(REPORT):
        rows += table.slice(0, SHOWN_CONTAMINATED - len(rows)).to_pylist()
        if len(rows) >= SHOWN_CONTAMINATED:
            break
    return rows


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _count(count: float) -> str:
    for unit in ("", " k", " M", " G"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} T"


def _tiles(numbers: Funnel, run: Run) -> list[tuple[str, str]]:
    came, left = numbers.stages[0][1], numbers.stages[-1][1]
    tiles = [
        (_count(sum(count.documents for count in came.values())), "documents in"),
        (_count(sum(count.documents for count in left.values())), "documents kept"),
        (_size(sum(count.bytes for count in left.values())), "text kept"),
    ]
    if numbers.tokens:
        tokens = sum(counts["tokens"] for counts in numbers.tokens.values())
        size = sum(counts["bytes"] for counts in numbers.tokens.values())
        tiles.append((_count(tokens), f"tokens, {size / max(1, tokens):.2f} bytes each"))
    validation = column(run.validation, "loss")
    if (final := last(validation)) is not None:
        tiles.append((f"{final:.2f}", f"validation loss, from {validation[0]:.2f}"))
    rates = column(run.train, "tokens_per_second")
    if np.isfinite(rates).any():
        tiles.append((_count(float(np.nanmedian(rates))), "tokens/s in training"))
    return tiles


def _bars(values: Iterable[tuple[str, float, str]], most: float) -> list[tuple[str, str, str]]:
    return [(domain, f"{100 * value / most:.3f}" if most else "0", title) for domain, value, title in values]


def _funnel(numbers: Funnel) -> list[dict[str, Any]]:
    most = max(sum(count.bytes for count in counts.values()) for _, counts in numbers.stages)
    rows = []
    for stage, counts in numbers.stages:
        shown = [(domain, counts.get(domain, Count(0, 0))) for domain in numbers.domains]
        rows.append(
            {
                "stage": stage,
                "bars": _bars(((d, c.bytes, f"{d}: {c.documents:,} documents, {_size(c.bytes)}") for d, c in shown), most),
                "documents": f"{sum(count.documents for count in counts.values()):,}",
                "bytes": _size(sum(count.bytes for count in counts.values())),
            }
        )
    return rows


def _reasons(numbers: Funnel) -> list[dict[str, Any]]:
    ordered = sorted(numbers.reasons, key=lambda reason: -sum(reason[2].values()))
    most = max((sum(counts.values()) for _, _, counts in ordered), default=0)
    return [
        {
            "rule": rule,
            "bars": _bars(((domain, counts.get(domain, 0), f"{domain}: {counts.get(domain, 0):,}") for domain in numbers.domains), most),
            "cells": [f"{counts[domain]:,}" if domain in counts else "" for domain in numbers.domains],
            "total": f"{sum(counts.values()):,}",
        }
        for _, rule, counts in ordered
    ]


def _sources(numbers: Funnel) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "domain": domain,
            "came": f"{came.documents:,}",
            "kept": f"{left.documents:,}",
            "bytes": _size(left.bytes),
            "share": f"{left.documents / came.documents:.0%}" if came.documents else "",
        }
        for name, (domain, came, left) in sorted(numbers.sources.items(), key=lambda item: (item[1][0], -item[1][2].bytes))
    ]


def _mix(numbers: Funnel) -> list[dict[str, Any]]:
    rows = []
    for phase, groups in numbers.mix.items():
        bars = [(group.domain, f"{100 * group.share:.3f}", f"{name}: {group.share:.1%}") for name, group in groups.items()]
        for number, (name, group) in enumerate(groups.items()):
            rows.append(
                {
                    "phase": phase if number == 0 else "",
                    "bars": bars if number == 0 else [],
                    "cells": [
                        name,
                        f"{group.share:.1%}",
                        _count(group.available),
                        f"{group.epochs:.2f} x",
                        f"{group.documents:,}",
                        f"{group.repeated:,}",
                        _count(group.tokens),
                    ],
                }
            )
    return rows


# --- plots -----------------------------------------------------------------------------------------------------------


def _lengths(workdir: Workdir, domains: tuple[str, ...], colours: dict[str, str]) -> str:
    """Histograms of words, kept and dropped, on a logarithmic axis."""
    edges = np.logspace(0, 6, 61)
    counts = {(domain, keep): np.zeros(60) for domain in domains for keep in (True, False)}
    manifests = [manifest for name in ORDER if (manifest := workdir.manifest(verdict_dataset(name))) is not None]
    for partition, table in workdir.tables(STATISTICS, ["domain", "words"]):
        keep = kept(workdir, entries(manifests, partition.name), table.num_rows)
        names = np.array(table["domain"].to_pylist(), object)
        words = np.maximum(1, table["words"].to_numpy())
        for domain in domains:
            for which in (True, False):
                chosen = words[(names == domain) & (keep == which)]
                counts[domain, which] += np.histogram(chosen, edges)[0]
    with drawing(10.2, 2.7) as figure:
        for index, domain in enumerate(domains):
            axes = figure.add_subplot(1, len(domains), index + 1)
            axes.stairs(counts[domain, True], edges, fill=True, color=colours[domain], alpha=0.9, label="kept")
            axes.stairs(counts[domain, False], edges, color=INK, linewidth=1.1, label="dropped")
            axes.set_xscale("log")
            used = np.flatnonzero(counts[domain, True] + counts[domain, False])
            if len(used):
                axes.set_xlim(edges[max(0, used[0] - 1)], edges[min(60, used[-1] + 2)])
            axes.set_title(domain)
            axes.set_xlabel("words")
            if index == 0:
                axes.set_ylabel("documents")
            axes.legend(loc="best")
        return svg(figure, f"Histograms of the words in a document, kept and dropped, of {', '.join(domains)}.")

"""The data half of `foundry plan`: checks, a sample through every stage of curation, and what that says of the whole, as tables or JSON."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from jobs.check import check
from jobs.console import console, number, size
from jobs.estimate import NOTHING, Estimate, Range, StagePlan, all_items, bytes_per_token, estimate, first_items, run
from jobs.recipe import Recipe, resolve_workdir
from jobs.run import source_base
from jobs.sample import Sample, take
from pipeline.mix.plan import plan_phase
from pipeline.workdir.errors import UserError

MOST_TEXT, ALL_TEXT = 4.0, 12.0  # MB of a sample by default: of one source, and of all
# Bytes of text a second and core, as docs/performance.md has them; the sample has no use for stages of which a part says little.
MEASURED = {"tokenizer": (28.4e6, 2 << 30), "tokenize, pack": (77.4e6, 2 << 30)}
# Datasets that have something of duplicates alone, of which a sample shows a few.
OF_DUPLICATES = ("dedup/exact-groups", "dedup/near-components", "dedup/near-groups", "dedup/near-members", "dedup/near-pairs")
_FOR_TASKS = 0.7  # share of a machine's memory that Ray gives to tasks


@dataclass(frozen=True)
class Nodes:
    """Machines to curate on. `memory`: bytes of each; None: not told."""

    count: int
    cores: int
    memory: int | None

    def at_a_time(self, stage: StagePlan) -> int:
        """How many tasks of a stage run at a time."""
        each = self.cores if self.memory is None else min(self.cores, int(_FOR_TASKS * self.memory) // stage.memory)
        return self.count * max(1, each)

    def seconds(self, stages: tuple[StagePlan, ...]) -> Range:
        """How long the stages take."""
        whole = NOTHING
        for stage in stages:
            whole = whole.plus(stage.seconds.times(1 / self.at_a_time(stage)))
        return whole


@dataclass(frozen=True)
class Forecast:
    """What the plan says of curation."""

    samples: tuple[Sample, ...]
    estimate: Estimate
    stored: dict[str, Range]
    moved: Range  # bytes over the network
    machine: Nodes
    nodes: Nodes | None
    price: float | None  # of an hour of a core
    warnings: tuple[str, ...]

    @property
    def core_hours(self) -> Range:
        """Hours of one core."""
        return self.estimate.seconds.times(1 / 3600)


class Unfit(Exception):
    """What is wrong with a recipe: `lines`, each of which stands by itself."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def this_machine() -> Nodes:
    """The machine that this process is on, within its limits."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no limit
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return Nodes(1, len(os.sched_getaffinity(0)), memory)


def forecast(
    recipe: Recipe,
    *,
    sample_mb: float | None = None,
    nodes: Nodes | None = None,
    price: float | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Forecast:
    """Check the recipe and estimate what curation takes. Raises `Unfit` where the recipe cannot be run, and `UserError` as curation does.

    `sample_mb`: text of each source in the sample, in MB; `nodes`: those to curate on, beside this machine; `price`: of an hour of a core.
    """
    base = source_base(recipe, report)
    listed, wrong = check(recipe, base)
    if wrong:
        raise Unfit(wrong)
    text = int((sample_mb or min(MOST_TEXT, ALL_TEXT / len(recipe.sources))) * 1e6)
    with tempfile.TemporaryDirectory(prefix="foundry-plan-") as folder:
        place = Path(folder)
        with _status("reading a sample of each source"):
            samples = [take(source, files, text, recipe.seed, place) for source, files in zip(recipe.sources, listed, strict=True)]
        with _status("running the sample through every stage"):
            everything = all_items(samples)
            run(recipe, base, everything, place / "first")  # all kernels and models that it needs are loaded, which is timed nowhere
            small, full = run(recipe, base, first_items(samples), place / "some"), run(recipe, base, everything, place / "all")
        with _status("counting tokens"):
            rates = bytes_per_token(full, recipe.tokenizer, samples)
        found = estimate(small, full, samples, rates, recipe.ingest.partition_bytes)
    stages = (*found.stages, *_later(recipe, found))
    found = Estimate(found.sources, stages, found.stored)
    return Forecast(
        tuple(samples),
        found,
        _stored(recipe, found),
        _moved(recipe, found, samples),
        this_machine(),
        nodes,
        price,
        _warnings(recipe, found, samples),
    )


@contextmanager
def _status(what: str) -> Iterator[None]:
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield


def _later(recipe: Recipe, found: Estimate) -> Iterator[StagePlan]:
    """The stages after curation, at rates that were measured before."""
    kept = found.all("kept_bytes")
    for name, (rate, memory) in MEASURED.items():
        most = recipe.tokenizer.sample_bytes if name == "tokenizer" else None
        share = 1.0 if most is None else min(1.0, most / max(1.0, kept.value))
        yield StagePlan(name, kept.times(Range(share / rate, share / rate / 1.5, share / rate * 2)), kept.times(share), NOTHING, memory)


def _stored(recipe: Recipe, found: Estimate) -> dict[str, Range]:
    """Bytes in the workdir by dataset: those of curation, and what tokens and shards take."""
    tokens, documents = found.all("tokens"), found.all("kept")
    width = 2 if recipe.tokenizer.vocab_size <= 1 << 16 else 4
    stored = {**found.stored, "tokens": tokens.times(width).plus(documents.times(12))}
    for phase in recipe.phases:  # one pass over its mix
        share = min(1.0, phase.mix.tokens / max(1.0, tokens.value)) if phase.mix.tokens else 1.0
        stored[f"shards/{phase.name}"] = tokens.times(width * share).plus(documents.times(8 * share))
    return stored


def _moved(recipe: Recipe, found: Estimate, samples: list[Sample]) -> Range:
    """Bytes over the network: of sources behind URIs, and all that is read and written where the workdir is one."""
    remote = float(sum(sample.bytes for sample in samples if sample.is_remote))
    moved = Range(remote, remote, remote)
    if "://" in resolve_workdir(recipe.workdir) and not recipe.workdir.startswith("file:"):
        for stage in found.stages[1:]:
            moved = moved.plus(stage.read).plus(stage.written)
    return moved


def _warnings(recipe: Recipe, found: Estimate, samples: list[Sample]) -> tuple[str, ...]:
    """What the estimate says of the recipe: a mix that cannot be had, sources of which little is left."""
    lines = [
        f"source {sample.source.name}: only the beginning of an archive was read, and its rest may be unlike it; try a larger --sample-mb"
        for sample in samples
        if any(group.is_beginning for group in sample.groups)
    ]
    available: dict[str, dict[str, int]] = {}
    for source in found.sources:
        if source.kept_bytes.value >= 1:
            trained_on = 1 - sum(recipe.mix.held_out(source.domain))
            available.setdefault(source.domain, {})[source.name] = int(source.kept_bytes.value * trained_on)
        if source.unreadable.value > source.documents.value:
            lines.append(f"source {source.name}: more than half of its records cannot be read")
        if source.kept.value * 10 < source.documents.value:
            lines.append(f"source {source.name}: less than a tenth of its documents stays")
    for phase in recipe.phases:
        try:
            plan_phase(phase.name, phase.mix, recipe.mix, available, unit="bytes")
        except UserError as error:
            lines.append(str(error))
    return tuple(lines)


# --- as tables ---------------------------------------------------------------------------------------------------------


def about(found: Range, shape: Callable[[float], str] = number) -> str:
    """An estimate for people: its value, and how far off it may be; or its range, where that is wide."""
    far = max(found.high - found.value, found.value - found.low)
    if far <= 0.004 * abs(found.value):
        return shape(found.value)
    if found.value and far < 0.5 * abs(found.value):
        return f"{shape(found.value)} ±{100 * far / abs(found.value):.0f}%"
    return f"{shape(max(0.0, found.low))} to {shape(found.high)}"


def duration(seconds: float) -> str:
    """A time for people."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def between(found: Range, shape: Callable[[float], str]) -> str:
    """A range for people."""
    low, high = shape(max(0.0, found.low)), shape(found.high)
    return low if low == high else f"{low} to {high}"


def show(planned: Forecast) -> None:
    """Print the plan of curation."""
    samples, found = planned.samples, planned.estimate
    items, text = sum(sample.items for sample in samples), sum(source.sampled_text for source in found.sources)
    whole = all(sample.is_all for sample in samples)
    share = text / max(1.0, found.all("text").value)
    what = "all of the input" if whole else f"{100 * share:.2g} % of the text; ranges are of 99 %"
    files = sum(group.files for sample in samples for group in sample.groups)
    console.print(f"sample: {items:,} records, {size(text)} of text, from {files:,} files: {what}")
    console.print()
    for table in (_read_table(planned), _kept_table(planned), _rules_table(planned)):
        console.print(table)
        console.print()
    if not whole:
        console.print(
            "Duplicates are counted only where both copies are in the sample: more will be dropped of a corpus that has some, so that "
            "documents, text and tokens kept are the most there will be."
        )
        console.print()
    console.print(_stages_table(planned))
    console.print("* at the rates of docs/performance.md, not measured here")
    console.print()
    console.print(_stored_table(planned))
    console.print(f"moved over the network: {about(planned.moved, size) if planned.moved.high else 'nothing, all is on this machine'}")
    console.print()
    _where(planned)
    for warning in planned.warnings:
        console.print(f"[bold red]warning[/bold red]: {warning}")


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", overflow="fold")
    return table


def _read_table(planned: Forecast) -> Table:
    table = _table("Read", "source", "files", "bytes", "in sample", "documents", "text", "unreadable")
    found = planned.estimate
    for source in found.sources:
        share = f"{100 * source.share:.2g}%" if source.share < 1 else "all"
        cells = (about(source.documents), about(source.text, size), _none(source.unreadable))
        table.add_row(source.name, f"{source.files:,}", size(source.bytes), share, *cells)
    files, inputs = sum(source.files for source in found.sources), sum(source.bytes for source in found.sources)
    cells = (about(found.all("documents")), about(found.all("text"), size), _none(found.all("unreadable")))
    table.add_row("all", f"{files:,}", size(inputs), "", *cells, style="bold")
    return table


def _none(found: Range) -> str:
    return about(found) if found.value else "-"


def _kept_table(planned: Forecast) -> Table:
    table = _table("Kept", "source", "dropped", "documents", "text", "tokens")
    found = planned.estimate
    for source in found.sources:
        cells = (about(source.kept), about(source.kept_bytes, size), about(source.tokens))
        table.add_row(source.name, _share(source.kept, source.documents), *cells)
    kept = found.all("kept")
    cells = (about(kept), about(found.all("kept_bytes"), size), about(found.all("tokens")))
    table.add_row("all", _share(kept, found.all("documents")), *cells, style="bold")
    return table


def _share(kept: Range, documents: Range) -> str:
    return f"{100 * (1 - kept.value / documents.value):.1f}%" if documents.value else "-"


def _rules_table(planned: Forecast) -> Table:
    table = _table("Dropped by rule", "rule", "documents", "share", "of")
    table.columns[3].justify = "left"
    found = planned.estimate
    documents = max(1.0, found.all("documents").value)
    for rule, dropped in found.rules.items():
        by_source = sorted(((source.dropped[rule].value, source.name) for source in found.sources if rule in source.dropped), reverse=True)
        named = ", ".join(f"{name} {number(count)}" for count, name in by_source[:3])
        more = f" and {len(by_source) - 3} more" if len(by_source) > 3 else ""
        table.add_row(rule, about(dropped), f"{100 * dropped.value / documents:.1f}%", named + more)
    if not found.rules:
        table.add_row("no document of the sample is dropped", "", "", "")
    return table


def _stages_table(planned: Forecast) -> Table:
    table = _table("Work, on one core of this machine", "stage", "takes", "reads", "writes", "memory a task")
    for stage in planned.estimate.stages:
        name = f"{stage.name} *" if stage.name in MEASURED else stage.name
        cells = (between(stage.seconds, duration), size(stage.read.value), size(stage.written.value), size(stage.memory))
        table.add_row(name, *cells)
    table.add_row("all", between(planned.estimate.seconds, duration), "", "", size(_largest(planned).memory), style="bold")
    return table


def _largest(planned: Forecast) -> StagePlan:
    return max(planned.estimate.stages, key=lambda stage: stage.memory)


def _stored_table(planned: Forecast) -> Table:
    table = _table("Stored in the workdir", "dataset", "bytes")
    for dataset, stored in sorted(planned.stored.items(), key=lambda entry: -entry[1].value):
        if stored.high >= 1:
            more = " or more" if dataset in OF_DUPLICATES and not all(sample.is_all for sample in planned.samples) else ""
            table.add_row(dataset, about(stored, size) + more)
    table.add_row("all", about(_all(planned.stored), size), style="bold")
    return table


def _all(parts: dict[str, Range]) -> Range:
    whole = NOTHING
    for each in parts.values():
        whole = whole.plus(each)
    return whole


def _where(planned: Forecast) -> None:
    """How long it takes where, with what memory, and what it costs."""
    largest = _largest(planned)
    for what, nodes in (("this machine", planned.machine), ("the nodes", planned.nodes)):
        if nodes is None:
            continue
        long = between(nodes.seconds(planned.estimate.stages), duration)
        each = f"{nodes.cores} core{'s' * (nodes.cores != 1)}" + (f", {size(nodes.memory)} of memory" if nodes.memory else "")
        place = f"{what} ({each})" if nodes is planned.machine else f"{nodes.count:,} node{'s' * (nodes.count != 1)} of {each}"
        console.print(f"on {place}: {long}")
        if nodes.memory is not None and largest.memory > _FOR_TASKS * nodes.memory:
            console.print(
                f"[bold red]warning[/bold red]: a task of {largest.name} asks for {size(largest.memory)}, which is more than tasks have on "
                f"{what} ({size(_FOR_TASKS * nodes.memory)}); make `ingest.partition_bytes` smaller, or use a larger machine"
            )
    if planned.price is not None:
        cost = planned.core_hours.times(planned.price)
        hours = between(planned.core_hours, lambda each: f"{each:,.2f}")
        console.print(f"price: {between(cost, lambda each: f'{each:,.2f}')} dollars ({hours} core hours at {planned.price:g})")


# --- as JSON -----------------------------------------------------------------------------------------------------------


def as_json(planned: Forecast) -> dict[str, Any]:
    """The plan of curation as plain values; estimates are `value`, `low` and `high`. Times are seconds, sizes bytes."""
    found = planned.estimate
    names = ("documents", "text", "unreadable", "kept", "kept_bytes", "tokens")
    body: dict[str, Any] = {
        "sources": [_plain(asdict(source)) for source in found.sources],
        "all": {name: _plain(found.all(name)) for name in names},
        "dropped": _plain(found.rules),
        "stages": [_plain(asdict(stage)) for stage in found.stages],
        "stored": _plain({**planned.stored, "all": _all(planned.stored)}),
        "moved": _plain(planned.moved),
        "core_hours": _plain(planned.core_hours),
        "largest_task": {"stage": _largest(planned).name, "memory": _largest(planned).memory},
        "duplicates_can_be_seen": all(sample.is_all for sample in planned.samples),
        "warnings": list(planned.warnings),
    }
    for name, nodes in (("machine", planned.machine), ("nodes", planned.nodes)):
        if nodes is not None:
            body[name] = {**asdict(nodes), "seconds": _plain(nodes.seconds(found.stages))}
    if planned.price is not None:
        body["price"] = _plain(planned.core_hours.times(planned.price))
    return body


def _plain(value: Any) -> Any:
    if isinstance(value, Range):
        return value._asdict()
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value

"""What curation will read, drop, keep, store, move and take, worked out from a sample of each source that went through its stages.

A source's numbers are the sample's, in proportion to the bytes of its files (the ratio estimator: Cochran 1977, Sampling Techniques,
chapter 6). Ranges are of 99 %: where files were left out, from how much the groups of files differ, by Student's t; where all files are
in the sample, from how much the records differ. What depends on documents meeting each other cannot be seen in a sample: duplicates are
counted as far as the sample itself has any.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.recipe import Recipe
from jobs.run import Curated, judge
from jobs.sample import Group, Item, Sample, size_of
from kernel.random import uniform
from pipeline.ingest.stage import Chunk, ingest_chunk
from pipeline.readers import Record
from pipeline.workdir.commit import Ledger, TaskRecord
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.documents import DOCUMENTS, QUARANTINE, source_of
from pipeline.workdir.engine import Engine
from pipeline.workdir.errors import UserError
from pipeline.workdir.lock import WorkdirLock
from pipeline.workdir.stages import Piece
from pipeline.workdir.tasks import Stage, Task, execute
from tokenizer import TokenizerConfig, TokenizerError
from tokenizer import train as train_tokenizer

# Student's t for a two-sided range of 99 %, by degrees of freedom from 1; from 8 groups on there are 7.
_T = (63.66, 9.92, 5.84, 4.60, 4.03, 3.71, 3.50)
_Z = 2.576
# Shares by which seconds and files may be less and more than two small runs show: tables of large partitions compress better.
_LESS, _MORE = 0.4, 0.1
_UNSEEN = 2.7  # of what the sample has c of, there may be as many more than c by the normal curve: Poisson's, at 99 %
_UNLIKE = 0.5  # share by which what was not read of archives is taken to be unlike their beginnings
_TOKENIZED = 1 << 20  # bytes of text that tokens are counted in, at most, of each source
READ = "read"  # the part of ingest that is the readers', as a stage


class Range(NamedTuple):
    """An estimate with its range of 99 %."""

    value: float
    low: float
    high: float

    def times(self, other: Range | float) -> Range:
        """The product with a number, or with another estimate, at its worst on both sides."""
        by = other if isinstance(other, Range) else Range(other, other, other)
        return Range(self.value * by.value, self.low * by.low, self.high * by.high)

    def at_most(self, other: Range) -> Range:
        """The same, where it is a part of another estimate."""
        return Range(min(self.value, other.high), min(self.low, other.high), min(self.high, other.high))

    def plus(self, other: Range) -> Range:
        """The sum with an estimate that may err in the same direction."""
        return Range(self.value + other.value, self.low + other.low, self.high + other.high)


NOTHING = Range(0.0, 0.0, 0.0)


def total(ranges: Iterable[Range]) -> Range:
    """The sum of estimates that err independently of each other."""
    known = list(ranges)
    value = sum(each.value for each in known)
    down = float(np.sqrt(sum((each.value - each.low) ** 2 for each in known)))
    up = float(np.sqrt(sum((each.high - each.value) ** 2 for each in known)))
    return Range(value, value - down, value + up)


# --- running the sample ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sampled(Chunk):
    """A task of ingest over records that were read before."""

    sampled: tuple[Item, ...] = ()

    def items(self) -> Any:
        """The records."""
        yield from self.sampled


class _Counting(Workdir):
    """A workdir that counts the bytes that are read from it and written to it."""

    @cached_property
    def moved(self) -> Counter[str]:
        return Counter()

    def read(self, *parts: str) -> pa.Buffer | None:
        raw = super().read(*parts)
        self.moved["read"] += 0 if raw is None else raw.size
        return raw

    def write(self, raw: bytes | pa.Buffer, *parts: str) -> None:
        super().write(raw, *parts)
        self.moved["written"] += raw.size if isinstance(raw, pa.Buffer) else len(raw)


@dataclass
class Cost:
    """What tasks took: seconds of CPU, bytes read from and written to the workdir."""

    seconds: float = 0.0
    read: float = 0.0
    written: float = 0.0


Place = tuple[str, str | None]  # a stage and a source; None: of all sources together


@dataclass
class Ran:
    """A sample that went through the stages of curation."""

    workdir: Workdir
    curated: Curated
    text: dict[str, int]  # bytes of each source
    costs: dict[Place, Cost] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)  # that a task of a stage asks for at most
    stored: dict[Place, float] = field(default_factory=dict)  # bytes by dataset and source


def run(recipe: Recipe, base: Path, items: dict[str, tuple[Item, ...]], folder: Path) -> Ran:
    """Curate sampled items, by source, in a workdir of their own. Raises `UserError` as curation does."""
    workdir = _Counting(str(folder))
    costs: dict[Place, Cost] = defaultdict(Cost)
    memory: dict[str, int] = {}

    def timed(ledger: Ledger, within: str, stage: Stage, tasks: list[Task]) -> dict[str, TaskRecord]:
        memory[stage.name] = max(memory.get(stage.name, 0), stage.memory)
        done = {}
        for task in tasks:
            before, begin = workdir.moved.copy(), time.process_time()
            done[task.name] = execute(ledger, within, stage.function, task)
            cost = costs[stage.name, _source_of(task)]
            cost.seconds += time.process_time() - begin
            cost.read += workdir.moved["read"] - before["read"]
            cost.written += workdir.moved["written"] - before["written"]
        return done

    engine = Engine(workdir, executor=timed)
    whole = recipe.ingest.model_copy(update={"partition_bytes": 1 << 30})  # one partition a source, whose rows are in the sample's order
    tasks = tuple(
        Task(f"{source.name}-00000", source.name, _Sampled(f"{source.name}-00000", source, (), whole, items[source.name]))
        for source in recipe.sources
        if items[source.name]
    )
    configuration = {"ingest": whole.model_dump(mode="json"), "sources": [source.model_dump(mode="json") for source in recipe.sources]}
    stage = Stage("ingest", (DOCUMENTS, QUARANTINE), ingest_chunk, tasks, configuration, memory=1 << 30)
    try:
        documents = engine.run(stage).manifests[DOCUMENTS]
        if not documents.rows:
            raise UserError("no document could be read from the sample of any source")
        curated = judge(recipe, engine, base, documents)
    finally:
        WorkdirLock(workdir).release()
    text = {name: counts["bytes"] for name, counts in documents.summary["sources"].items()}
    ran = Ran(workdir, curated, text, dict(costs), memory)
    names = {source.name for source in recipe.sources}
    for dataset in workdir.datasets():
        for partition in workdir.require(dataset).partitions:
            source = source_of(partition.name) if "-" in partition.name else None
            place = dataset, source if source in names else None
            ran.stored[place] = ran.stored.get(place, 0) + partition.bytes
    return ran


def _source_of(task: Task) -> str | None:
    if isinstance(task.payload, Chunk):
        return task.payload.source.name
    return source_of(task.payload.partition.name) if isinstance(task.payload, Piece) else None


def first_items(samples: Sequence[Sample]) -> dict[str, tuple[Item, ...]]:
    """A part of the sample, an eighth or so of each source: to load what is loaded once, and to see what a task costs besides its text."""
    chosen = {}
    for sample in samples:
        items = [item for group in sample.groups for item in group.items]
        chosen[sample.source.name] = tuple(items[:: max(1, min(8, len(items)))])
    return chosen


def all_items(samples: Sequence[Sample]) -> dict[str, tuple[Item, ...]]:
    """The whole sample by source."""
    return {sample.source.name: tuple(item for group in sample.groups for item in group.items) for sample in samples}


# --- from the sample to the whole --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourcePlan:
    """What a source will give. `dropped` and `dropped_bytes` by rule; bytes are of text."""

    name: str
    domain: str
    files: int
    bytes: int  # of its files
    sampled: int  # items
    sampled_text: int  # bytes
    share: float  # of its items that are in the sample
    documents: Range
    text: Range
    unreadable: Range
    passed: float
    dropped: dict[str, Range]
    dropped_bytes: dict[str, Range]
    kept: Range
    kept_bytes: Range
    tokens: Range


@dataclass(frozen=True)
class _Rows:
    """The items of a sample in its order: the group and the bytes of each, and columns of numbers."""

    group: npt.NDArray[np.int64]
    size: npt.NDArray[np.float64]
    columns: dict[str, npt.NDArray[np.float64]]


def _rows(ran: Ran, sample: Sample) -> tuple[_Rows, dict[str, str]]:
    """A number a column for every item of a source: whether it was read, kept, dropped by a rule, and its bytes; and the rules' columns."""
    items = [item for group in sample.groups for item in group.items]
    group = np.repeat(np.arange(len(sample.groups)), [len(each.items) for each in sample.groups])
    is_read = np.array([isinstance(item, Record) for item in items], bool)
    name, rules = sample.source.name, {}
    size, left = _column(ran, ran.curated.statistics, name, "bytes"), _column(ran, ran.curated.split, name, "bytes")
    stays = np.array([value is not None for value in _values(ran, ran.curated.split, name, "split")], bool)
    found: dict[str, npt.NDArray[np.float64]] = {"documents": np.ones(len(size)), "text": size}
    for verdict in ran.curated.verdicts:
        keep, rule = (_values(ran, verdict, name, column) for column in ("keep", "rule"))
        for each in sorted({str(why) for kept, why in zip(keep, rule, strict=True) if kept is False}):
            drops = np.array([kept is False and str(why) == each for kept, why in zip(keep, rule, strict=True)], float)
            stage = verdict.dataset.rsplit("/", 1)[-1]
            label = each if stage in ("filter", each) else f"{stage}: {each}"
            found[f"dropped {label}"], found[f"dropped bytes {label}"] = drops, drops * size
            rules[label] = label
    found["kept"], found["kept bytes"] = stays.astype(float), np.where(stays, left, 0.0)
    columns = {}
    for column, values in found.items():
        columns[column] = np.zeros(len(items))
        columns[column][is_read] = values
    return _Rows(group, np.array(list(map(size_of, items)), float), columns), rules


def _values(ran: Ran, manifest: Manifest, source: str, column: str) -> list[Any]:
    parts = [partition for partition in manifest.partitions if source_of(partition.name) == source]
    return [value for part in parts for value in ran.workdir.read_table(manifest.dataset, part, [column])[column].to_pylist()]


def _column(ran: Ran, manifest: Manifest, source: str, column: str) -> npt.NDArray[np.float64]:
    return np.array(_values(ran, manifest, source, column), float)


def _range(sample: Sample, sums: npt.NDArray[np.float64], within: float, one: float, seen: float) -> Range:
    """A sum over a source with its range. `sums`: of each group's files; `within`: the variance of their sum through what of them was
    not read or kept; `one`: by how much one item more would change it; `seen`: what there is at least.
    """
    sizes = np.array([group.bytes for group in sample.groups], float)
    scale, count = sample.bytes / max(1.0, sizes.sum()), len(sizes)
    value = scale * float(sums.sum())
    if sample.has_all_files and not within and not one:
        return Range(value, value, value)
    between, factor = 0.0, _Z
    if not sample.has_all_files and count > 1:
        residuals = sums - sums.sum() / max(1.0, sizes.sum()) * sizes
        between = scale**2 * count / (count - 1) * float((residuals**2).sum())
        factor = _T[min(count - 1, len(_T)) - 1]
    reach = factor * float(np.sqrt(max(between, scale**2 * within) + (scale * one) ** 2)) + _UNSEEN * scale * one
    reach += _UNLIKE * value * sum((1 - group.share) * group.bytes for group in sample.groups if group.is_beginning) / max(1.0, sizes.sum())
    return Range(value, max(seen, value - reach), value + reach)


def _estimated(sample: Sample, rows: _Rows, column: str) -> Range:
    """A column's sum over all items of a source."""
    values, of_bytes = rows.columns[column], column == "kept bytes" or column.startswith("dropped bytes")
    weights = np.array([group.by_size if of_bytes else group.by_count for group in sample.groups])
    sums = np.bincount(rows.group, values, len(weights)) * weights
    within = sum(
        _within(group, values[rows.group == number], rows.size[rows.group == number] if of_bytes else None)
        for number, group in enumerate(sample.groups)
    )
    # of what is rare the sample may have none, so that one more or less is always possible: of the size that a byte's item has on average
    size = float((rows.size**2).sum() / max(1.0, rows.size.sum())) if of_bytes else 1.0
    one = float(weights.max()) * size
    return _range(sample, sums, within, 0.0 if sample.is_all else one, float(values.sum()))


def _came(sample: Sample, counts: Sequence[float], items: Sequence[int], spread: float) -> Range:
    """A sum over all that was read, of which the sample keeps a part. `counts`, `items`: of each group; `spread`: of an item, squared."""
    shares = np.array([group.share for group in sample.groups])
    sums = np.array(counts, float) / shares
    within = float((np.array(items) * spread * (1 - shares) / shares**2).sum())
    is_whole = sample.has_all_files and bool((shares == 1.0).all())
    return _range(sample, sums, within, 0.0 if is_whole else float(np.sqrt(spread) / shares.min()), float(sum(counts)))


def _within(group: Group, values: npt.NDArray[np.float64], size: npt.NDArray[np.float64] | None) -> float:
    """The variance of a group's sum: of which items were kept, and of where its files were cut off. `size`: what a ratio is to."""
    count = len(values)
    if count < 2 or group.is_whole:
        return 0.0
    weight, beside = (group.by_count, np.ones(count)) if size is None else (group.by_size, size)
    drawn = max(1.0, weight * group.share)  # items or bytes that were read for each that was kept
    residuals = values - values.sum() / max(1.0, beside.sum()) * beside
    kept = weight**2 * count * float(residuals.var(ddof=1)) * (1 - 1 / drawn)
    cut = drawn * count * float(values.mean() ** 2 + values.var(ddof=1)) * (1 - group.share) / group.share**2
    return kept + cut


def source_plan(ran: Ran, sample: Sample, bytes_per_token: Range) -> SourcePlan:
    """What a source will give, by the sample that went through the stages."""
    rows, rules = _rows(ran, sample)
    kept_bytes = _estimated(sample, rows, "kept bytes")
    groups, sizes = sample.groups, rows.size[rows.columns["documents"] > 0]
    read = [group.documents for group in groups]
    documents, bad = _came(sample, read, read, 1.0), [group.unreadable for group in groups]
    unreadable = _came(sample, bad, bad, 1.0)
    changed = float(rows.columns["text"].sum() / max(1.0, sizes.sum()))  # by repair and masks
    unsure = max(0.002, 2 * abs(1 - changed)) if not sample.is_all else 0.0
    text = _came(sample, [group.text * changed for group in groups], read, float((sizes**2).mean()) if len(sizes) else 0.0)
    text = text.times(Range(1.0, 1.0 - unsure, 1.0 + unsure))
    kept = _estimated(sample, rows, "kept")
    whole = documents.value + unreadable.value
    return SourcePlan(
        sample.source.name,
        sample.source.domain,
        sample.files,
        sample.bytes,
        sample.items,
        ran.text.get(sample.source.name, 0),
        1.0 if sample.is_all else min(1.0, sample.items / max(1.0, whole)),
        documents,
        text,
        unreadable,
        sum(group.passed for group in sample.groups) * sample.bytes / max(1, sum(group.bytes for group in sample.groups)),
        {rule: _estimated(sample, rows, f"dropped {rule}") for rule in rules},
        {rule: _estimated(sample, rows, f"dropped bytes {rule}") for rule in rules},
        kept.at_most(documents),
        kept_bytes.at_most(text),
        Range(kept_bytes.value / bytes_per_token.value, kept_bytes.low / bytes_per_token.high, kept_bytes.high / bytes_per_token.low),
    )


# --- tokens ------------------------------------------------------------------------------------------------------------


def bytes_per_token(ran: Ran, config: TokenizerConfig, samples: Sequence[Sample]) -> dict[str, Range]:
    """Bytes of text for a token, by source.

    Two tokenizers are trained on the sample's documents that stay: one on half of them, which knows less than the corpus's own will, and
    one on all, which knows the sample better. The truth lies between what the two make of the other half.
    """
    texts: dict[str, list[str]] = {}
    for sample in samples:
        name = sample.source.name
        found = _values(ran, ran.curated.documents, name, "text")
        stays = _values(ran, ran.curated.split, name, "split")
        texts[name] = [text for text, split in zip(found, stays, strict=True) if split is not None and text]
    everything = [text for each in texts.values() for text in each]
    halves = uniform(0, "plan/tokens", [text[:200] + str(len(text)) for text in everything]) < 0.5
    try:
        less = train_tokenizer([text for text, first in zip(everything, halves, strict=True) if first], config)
        more = train_tokenizer(everything, config)
    except TokenizerError:  # too little text
        return {name: Range(4.0, 2.5, 6.0) for name in texts}
    rest = {text for text, first in zip(everything, halves, strict=True) if not first}
    rates = {}
    for name, own in texts.items():
        chosen, size = [], 0
        for text in own:
            if text in rest and size < _TOKENIZED:
                chosen.append(text)
                size += len(text.encode())
        if not chosen:
            rates[name] = Range(4.0, 2.5, 6.0)
            continue
        counts = [sum(len(each.ids) for each in made.encode_batch_fast(chosen, add_special_tokens=False)) for made in (more, less)]
        high, low = (size / max(1, count) for count in counts)
        rates[name] = Range(float(np.sqrt(low * high)), low * 0.97, high * 1.03)
    return rates


# --- stages ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagePlan:
    """What a stage will take. `memory`: bytes that its largest task asks for."""

    name: str
    seconds: Range
    read: Range
    written: Range
    memory: int


def _scaled(small: float, full: float, small_text: float, full_text: float, whole: Range, parts: float) -> Range:
    """What a whole source takes, of which two parts took so much: for each task the same, and for each byte more the same.

    What grows more slowly than its text, as tables that compress better the larger they are, takes less; `parts`: how many tasks there
    will be.
    """
    plain = full / max(1.0, full_text)
    slope = min(plain, max(0.0, (full - small) / (full_text - small_text))) if full_text > small_text else plain
    besides = parts * max(0.0, full - slope * full_text)
    value = slope * whole.value + besides
    low = slope * whole.low * (1 - _LESS) if small else 0.0
    return Range(value, low, (slope * whole.high + besides) * (1 + _MORE) + full)


Amounts = dict[Place, float]


def _over_sources(small: Ran, full: Ran, of_small: Amounts, of_full: Amounts, texts: dict[str, Range], part: int) -> dict[str, Range]:
    """An amount by stage or dataset, scaled source by source. `texts`: bytes of text of the whole sources; `part`: of a partition."""
    sums: dict[str, Range] = {}
    for (name, source), value in of_full.items():
        if source is None:
            whole, few, many, parts = total(texts.values()), sum(small.text.values()), sum(full.text.values()), 1.0
        else:
            whole, few, many = texts[source], small.text.get(source, 0), full.text.get(source, 0)
            parts = max(1.0, whole.value / part)
        sums[name] = sums.get(name, NOTHING).plus(_scaled(of_small.get((name, source), 0.0), value, few, many, whole, parts))
    return sums


@dataclass(frozen=True)
class Estimate:
    """What curation will take and give."""

    sources: tuple[SourcePlan, ...]
    stages: tuple[StagePlan, ...]
    stored: dict[str, Range]  # bytes by dataset

    @property
    def seconds(self) -> Range:
        """Seconds of CPU of all stages."""
        seconds = NOTHING
        for stage in self.stages:
            seconds = seconds.plus(stage.seconds)
        return seconds

    def all(self, name: str) -> Range:
        """A number of all sources together."""
        return total(getattr(source, name) for source in self.sources)

    @property
    def rules(self) -> dict[str, Range]:
        """Documents that each rule drops, most first."""
        names = {rule for source in self.sources for rule in source.dropped}
        sums = {rule: total(source.dropped[rule] for source in self.sources if rule in source.dropped) for rule in names}
        return dict(sorted(sums.items(), key=lambda entry: (-entry[1].value, entry[0])))


def estimate(small: Ran, full: Ran, samples: Sequence[Sample], rates: dict[str, Range], part: int) -> Estimate:
    """From two runs over parts of the sources, both with everything loaded, to all of the sources. `part`: bytes of a partition's text."""
    sources = tuple(source_plan(full, sample, rates[sample.source.name]) for sample in samples)
    texts = {source.name: source.text for source in sources}
    by_stage = {
        amount: _over_sources(small, full, _amounts(small, amount), _amounts(full, amount), texts, part)
        for amount in ("seconds", "read", "written")
    }
    reading = sum(_reading(sample) for sample in samples)
    inputs = float(sum(sample.bytes for sample in samples))
    stages = [StagePlan(READ, Range(reading, reading * 0.8, reading * 1.25), Range(inputs, inputs, inputs), NOTHING, full.memory["ingest"])]
    stages += [
        StagePlan(name, by_stage["seconds"][name], by_stage["read"][name], by_stage["written"][name], asked)
        for name, asked in full.memory.items()
    ]
    return Estimate(sources, tuple(stages), _over_sources(small, full, small.stored, full.stored, texts, part))


def _amounts(ran: Ran, amount: str) -> Amounts:
    return {place: getattr(cost, amount) for place, cost in ran.costs.items()}


def _reading(sample: Sample) -> float:
    """Seconds of CPU that a source's reader will take."""
    read = sum(group.read for group in sample.groups)
    return sum(group.seconds for group in sample.groups) / max(1, read) * sample.bytes

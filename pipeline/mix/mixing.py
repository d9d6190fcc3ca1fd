"""Mix: which documents train, which are held out, and how often each is seen in each phase.

The split, and the plan, lie row for row beside the documents. The split also carries the union of all verdicts' cuts, so that
what reads text after it needs no verdict. It is made before the tokenizer, which is trained on the first phase's mix (by bytes);
the plan comes after the documents are tokenised, and its shares are of tokens.

A *group* is what a mix names: a source, or a domain without the sources that are named beside it. A document of a group that is
wanted `e` times over is taken floor(e) times, and once more with probability e - floor(e), by a number keyed by (seed, phase, id).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kernel.random import uniform
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint, to_parquet
from pipeline.workdir.documents import DOCUMENTS, STATISTICS
from pipeline.workdir.engine import Engine, File, Stage, Summary, Task
from pipeline.workdir.errors import UserError
from pipeline.workdir.verdicts import VerdictEntry, checksums, cuts_of, entries, kept, verdict_dataset

VERSION = 3
SPLIT = "split"
PLAN = "plan"
WEIGHED = "weighed"
TOKENS = "tokens"
TRAIN, VALIDATION = "train", "validation"
BINS_AN_OCTAVE = 64  # of a quality's histogram: weights are known to one part in a hundred
Sizes = Mapping[str, Mapping[str, int]]  # domain -> source -> tokens or bytes that there are to train on


class MixConfig(BaseModel):
    """What is held out, and how often a document may be repeated."""

    model_config = ConfigDict(extra="forbid")

    validation_share: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="Share of the documents that are held out for validation, chosen by a number keyed by id; near-duplicates that "
        "both stay are held out together.",
    )
    max_repetitions: float = Field(
        4.0, ge=1, description="Most times that a document is seen in a phase (Muennighoff et al. 2023: up to 4 cost little)."
    )


class Quality(BaseModel):
    """Documents of a group are seen in proportion to a statistic, instead of equally often."""

    model_config = ConfigDict(extra="forbid")

    statistic: str = Field(description="A column of statistics/, such as `words`, by which long documents are preferred.")
    power: float = Field(1.0, gt=0, le=16, description="The weight is the statistic to this power; of zero or less, it is never seen.")


class PhaseMix(BaseModel):
    """The mix of one phase. Names are domains, or sources; a source that is named is taken out of its domain."""

    model_config = ConfigDict(extra="forbid")

    weights: dict[str, float] | None = Field(
        None, description="Share of the tokens for each name, in any unit; what is not named is left out. Null: as it comes."
    )
    epochs: dict[str, float] | None = Field(None, description="Instead: how many times each name is seen.")
    temperature: float | None = Field(
        None, ge=1, description="Instead: domains by their size to the power of 1 / temperature; 1 is as it comes, more evens out."
    )
    tokens: int | None = Field(
        None, ge=1, description="Tokens in one pass; null: as many as the corpus has, or as `max_repetitions` allows."
    )
    quality: dict[str, Quality] = Field(default_factory=dict, description="For each name, the statistic that its documents are weighed by.")

    @model_validator(mode="after")
    def _one_way(self) -> PhaseMix:
        if sum(way is not None for way in (self.weights, self.epochs, self.temperature)) > 1:
            raise ValueError("give one of `weights`, `epochs` and `temperature`")
        if self.epochs is not None and self.tokens is not None:
            raise ValueError("`epochs` says how much is seen already; leave out `tokens`, or give `weights` instead")
        for name, value in {**(self.weights or {}), **(self.epochs or {})}.items():
            if value < 0:
                raise ValueError(f"{name}: {value} is less than zero")
        named = self.named
        for name in self.quality:
            if named and name not in named:
                raise ValueError(f"quality.{name}: the mix does not name it; it names: {', '.join(named)}")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """What the mix names; nothing where all domains take part."""
        return tuple(self.weights or self.epochs or ())


def group_of(domain: str, source: str, named: Sequence[str]) -> str | None:
    """The group of a document, None where the mix leaves it out. A source that has a domain's name means the domain."""
    if not named:
        return domain
    if source in named and source != domain:
        return source
    return domain if domain in named else None


# --- the split -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SplitWork:
    partition: Partition
    statistics: Partition
    before: tuple[VerdictEntry, ...]
    seed: int
    validation_share: float


def _split_keys(workdir: Workdir, before: Sequence[VerdictEntry], ids: list[str]) -> list[str]:
    """What decides a document's split: its id, or the name of the component of near-duplicates that it is in."""
    for entry in before:
        if entry.dataset == verdict_dataset("near"):
            clusters = workdir.read_table(entry.dataset, entry.partition, ["cluster"])["cluster"].to_pylist()
            return [name if cluster is None else f"cluster {cluster:016x}" for name, cluster in zip(ids, clusters, strict=True)]
    return ids


def split_partition(workdir: Workdir, work: _SplitWork) -> Generator[File, None, Summary]:
    """One task: for each document of a partition `split` (train, validation, or null where dropped), its cuts, and its bytes."""
    statistics = workdir.read_table(STATISTICS, work.statistics, ["domain", "source", "bytes"])
    ids = workdir.read_table(DOCUMENTS, work.partition, ["id"])["id"].to_pylist()
    keep = kept(workdir, work.before, len(ids))
    held_out = uniform(work.seed, "validation", _split_keys(workdir, work.before, ids)) < work.validation_share
    split = np.where(held_out, VALIDATION, TRAIN).astype(object)
    cuts = cuts_of(workdir, work.before, len(ids))
    sizes = statistics["bytes"].to_numpy() - cuts.sizes
    columns = {
        "domain": statistics["domain"],
        "source": statistics["source"],
        "split": pa.array(split.tolist(), pa.string(), mask=~keep),
        "bytes": pa.array(sizes),
        "cuts": cuts.to_column(),
    }
    yield File(SPLIT, work.partition.name, to_parquet(pa.table(columns)), len(ids))
    counted = pa.table({**{name: columns[name] for name in ("domain", "source", "split", "bytes")}}).filter(pa.array(keep))
    summary: Summary = {}
    for group in counted.group_by(["domain", "source", "split"]).aggregate([("bytes", "sum"), ("bytes", "count")]).to_pylist():
        place = summary.setdefault("sources", {}).setdefault(group["domain"], {}).setdefault(group["source"], {})
        place[group["split"]] = {"documents": group["bytes_count"], "bytes": group["bytes_sum"]}
    return summary


def split_stage(config: MixConfig, seed: int, documents: Manifest, statistics: Manifest, verdicts: Sequence[Manifest]) -> Stage:
    """The stage that applies all verdicts and holds out the validation split."""
    tasks = []
    for partition in documents.partitions:
        entry = statistics.by_name[partition.name]
        parts = (partition.checksum, checksums((*verdicts, statistics), partition.name))
        key = fingerprint(VERSION, seed, config.validation_share, parts)
        work = _SplitWork(partition, entry, entries(verdicts, partition.name), seed, config.validation_share)
        tasks.append(Task(partition.name, key, work, partition.rows))
    settings = {"seed": seed, **config.model_dump(mode="json")}
    return Stage("split", (SPLIT,), split_partition, tuple(tasks), settings, memory=512 << 20, unit="documents")


def trainable(manifest: Manifest, unit: str) -> dict[str, dict[str, int]]:
    """What there is to train on: of the split by `bytes`, of the tokens by `tokens`."""
    found: dict[str, dict[str, int]] = {}
    for domain, sources in manifest.summary.get("sources", {}).items():
        for source, counts in sources.items():
            size = counts.get(TRAIN, {}).get(unit, 0)
            if size:
                found.setdefault(domain, {})[source] = size
    return found


# --- how often -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupPlan:
    """What one phase asks of one group, and what that means. Amounts are tokens, or bytes for the tokenizer."""

    group: str
    domain: str
    share: float
    available: int
    wanted: int
    epochs: float


def plan_phase(
    name: str, mix: PhaseMix, config: MixConfig, available: Sizes, *, unit: str = "tokens", trained: int | None = None
) -> list[GroupPlan]:
    """How often each group is to be seen in a phase. Raises `UserError` for a mix that the corpus cannot give.

    `trained`: how many tokens the phase trains on, in as many passes as that takes.
    """
    if not any(sources for sources in available.values()):
        raise UserError("mix: no document is left to train on; see the report for what the filters dropped")
    sizes: dict[str, int] = {}
    domain_of: dict[str, str] = {}
    for domain, sources in available.items():
        for source, size in sources.items():
            group = group_of(domain, source, mix.named)
            if group is not None:
                sizes[group] = sizes.get(group, 0) + size
                domain_of[group] = domain
    asked = mix.weights if mix.weights is not None else mix.epochs
    for group, weight in (asked or {}).items():
        if weight and group not in sizes:
            names = sorted({*available, *(source for sources in available.values() for source in sources)})
            raise UserError(f"phase {name}: asks for {group}, of which no document is left; there are: {', '.join(names)}")
    if asked is not None and not any(asked.values()):
        raise UserError(f"phase {name}: all weights are zero; give at least one name a weight")
    if mix.epochs is not None:
        wants = {group: sizes[group] * times for group, times in sorted(mix.epochs.items()) if times}
        total = sum(wants.values())
        shares = {group: want / total for group, want in wants.items()}
    else:
        power = 1 / mix.temperature if mix.temperature is not None else 1.0
        weights = mix.weights if mix.weights is not None else {group: float(size) ** power for group, size in sizes.items()}
        whole = sum(weights.values())
        shares = {group: weight / whole for group, weight in sorted(weights.items()) if weight}
        most = min(sizes[group] * config.max_repetitions / share for group, share in shares.items())
        total = float(mix.tokens) if mix.tokens is not None and unit == "tokens" else min(most, float(sum(sizes.values())))
    plans = [
        GroupPlan(group, domain_of[group], share, sizes[group], int(total * share), total * share / sizes[group])
        for group, share in shares.items()
    ]
    scarce = max(plans, key=lambda plan: plan.epochs)
    if scarce.epochs > config.max_repetitions * (1 + 1e-9):
        fair = int(total / scarce.epochs * config.max_repetitions)
        raise UserError(
            f"phase {name}: {int(total):,} {unit} with {scarce.share:.0%} {scarce.group} would repeat it {scarce.epochs:.3g} times, "
            f"more than max_repetitions = {config.max_repetitions:g}; ask for at most {fair:,} {unit}, or raise mix.max_repetitions"
        )
    passes = (trained or 0) / max(1.0, total)
    if passes * scarce.epochs > config.max_repetitions * (1 + 1e-9):
        raise UserError(
            f"phase {name}: trains on {trained:,} tokens, a pass over its mix has {int(total):,}, so {scarce.group} would be seen "
            f"{passes * scarce.epochs:.3g} times, more than max_repetitions = {config.max_repetitions:g}; train on at most "
            f"{int(total * config.max_repetitions / scarce.epochs):,}, add text, or raise mix.max_repetitions"
        )
    return plans


def repetitions(seed: int, phase: str, ids: list[str], wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """How often each document is taken that is wanted so many times over: int64 (ids,)."""
    whole = np.floor(wanted)
    again = uniform(seed, f"phase {phase}", ids) < wanted - whole
    times: npt.NDArray[np.int64] = whole.astype(np.int64) + again
    return times


# --- quality ---------------------------------------------------------------------------------------------------------


def weight_bins(statistic: npt.NDArray[np.float64], power: float) -> npt.NDArray[np.int64]:
    """The bin of each document's weight, on a logarithmic scale; the smallest int64 for a weight of zero."""
    bins = np.full(len(statistic), np.iinfo(np.int64).min)
    some = statistic > 0
    bins[some] = np.floor(BINS_AN_OCTAVE * power * np.log2(statistic[some])).astype(np.int64)
    return bins


def weight_of(bins: npt.NDArray[np.int64], scale: float) -> npt.NDArray[np.float64]:
    """scale * weight of each bin, at its middle."""
    exponents = np.maximum(bins.astype(np.float64), -60_000.0)
    return np.where(bins == np.iinfo(np.int64).min, 0.0, np.exp2((exponents + 0.5) / BINS_AN_OCTAVE + scale))


def solve_scale(histogram: Mapping[int, int], wanted: float, most: float) -> float:
    """The scale (a power of two, as its exponent) at which weights, cut at `most`, give so many tokens. NaN where none does."""
    bins, tokens = np.array(list(histogram), np.int64), np.array(list(histogram.values()), np.float64)
    if not len(bins) or tokens.sum() * most < wanted:
        return float("nan")
    low, high = -2000.0, 2000.0
    for _ in range(120):
        middle = (low + high) / 2
        if (tokens * np.minimum(weight_of(bins, middle), most)).sum() < wanted:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class _WeighWork:
    split: Partition
    statistics: Partition
    tokens: Partition
    mixes: dict[str, PhaseMix]


def _lengths(workdir: Workdir, tokens: Partition, rows: int) -> npt.NDArray[np.int64]:
    """Tokens of each document of a partition; 0 where it was dropped."""
    table = workdir.read_table(TOKENS, tokens)
    lengths = np.zeros(rows, np.int64)
    lengths[table["row"].to_numpy()] = np.asarray(pc.list_value_length(table["ids"]), dtype=np.int64)
    return lengths


def _groups(domains: list[str], sources: list[str], named: Sequence[str]) -> npt.NDArray[Any]:
    return np.array([group_of(domain, source, named) for domain, source in zip(domains, sources, strict=True)], object)


def weigh_partition(workdir: Workdir, work: _WeighWork) -> Generator[File, None, Summary]:
    """One task: for each group with a quality, a histogram of its weights, in tokens."""
    split = workdir.read_table(SPLIT, work.split, ["domain", "source", "split"])
    lengths = _lengths(workdir, work.tokens, split.num_rows)
    train = np.array([value == TRAIN for value in split["split"].to_pylist()], bool)
    domains, sources = split["domain"].to_pylist(), split["source"].to_pylist()
    summary: Summary = {}
    rows = []
    for phase, mix in work.mixes.items():
        groups = _groups(domains, sources, mix.named)
        for name, quality in mix.quality.items():
            column = workdir.read_table(STATISTICS, work.statistics, [quality.statistic])[quality.statistic]
            bins = weight_bins(np.asarray(column, dtype=np.float64), quality.power)
            chosen = train & (groups == name) & (bins > np.iinfo(np.int64).min)
            for number in np.unique(bins[chosen]):
                count = int(lengths[chosen & (bins == number)].sum())
                summary.setdefault(phase, {}).setdefault(name, {})[str(number)] = count
                rows.append({"phase": phase, "group": name, "bin": int(number), "tokens": count})
    schema = pa.schema([("phase", pa.string()), ("group", pa.string()), ("bin", pa.int64()), ("tokens", pa.int64())])
    yield File(WEIGHED, work.split.name, to_parquet(pa.Table.from_pylist(rows, schema=schema)), len(rows))
    return summary


# --- the plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wanted:
    """How often the documents of a group are wanted: equally often, or by a quality."""

    epochs: float
    statistic: str | None = None
    power: float = 1.0
    scale: float = 0.0
    most: float = 0.0


@dataclass(frozen=True)
class _PlanWork:
    partition: Partition
    split: Partition
    statistics: Partition
    tokens: Partition
    seed: int
    phases: dict[str, tuple[tuple[str, ...], dict[str, _Wanted]]]  # phase -> what its mix names, group -> how often


def phase_column(phase: str) -> str:
    """The plan's column with the number of times that each document is seen in a phase."""
    return f"repeats_{phase}"


def plan_partition(workdir: Workdir, work: _PlanWork) -> Generator[File, None, Summary]:
    """One task: split and repetitions in each phase (uint16) for each document of a partition."""
    table = workdir.read_table(SPLIT, work.split, ["domain", "source", "split"])
    ids = workdir.read_table(DOCUMENTS, work.partition, ["id"])["id"].to_pylist()
    lengths = _lengths(workdir, work.tokens, len(ids))
    train = np.array([value == TRAIN for value in table["split"].to_pylist()], bool)
    domains, sources = table["domain"].to_pylist(), table["source"].to_pylist()
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"domain": table["domain"], "split": table["split"]}
    summary: Summary = {}
    for phase, (named, wants) in work.phases.items():
        groups = _groups(domains, sources, named)
        wanted = np.zeros(len(ids))
        for group, want in wants.items():
            rows = groups == group
            wanted[rows] = want.epochs
            if want.statistic is not None:
                column = workdir.read_table(STATISTICS, work.statistics, [want.statistic])[want.statistic]
                weights = weight_of(weight_bins(np.asarray(column, dtype=np.float64), want.power), want.scale)
                wanted[rows] = np.minimum(weights, want.most)[rows]
        repeats = np.where(train, repetitions(work.seed, phase, ids, wanted), 0).astype(np.uint16)
        columns[phase_column(phase)] = pa.array(repeats)
        times = repeats.astype(np.int64)
        for group in wants:
            rows = groups == group
            seen = int(times[rows].sum())
            different = int((times[rows] > 0).sum())
            counts = {"documents": different, "seen": seen, "repeated": seen - different, "tokens": int((times * lengths)[rows].sum())}
            summary.setdefault("phases", {}).setdefault(phase, {})[group] = counts
    yield File(PLAN, work.partition.name, to_parquet(pa.table(columns)), len(ids))
    return summary


def make_plan(
    engine: Engine,
    config: MixConfig,
    seed: int,
    phases: Mapping[str, tuple[PhaseMix, int | None]],
    documents: Manifest,
    statistics: Manifest,
    split: Manifest,
    tokens: Manifest,
) -> Manifest:
    """The plan of all phases, each a mix and the tokens that it trains on. Raises `UserError` for what the corpus cannot give."""
    available = trainable(tokens, "tokens")
    plans = {name: plan_phase(name, mix, config, available, trained=trained) for name, (mix, trained) in phases.items()}
    weighed = {name: mix for name, (mix, _) in phases.items() if mix.quality}
    histograms = _weigh(engine, weighed, documents, statistics, split, tokens) if weighed else {}
    wants: dict[str, tuple[tuple[str, ...], dict[str, _Wanted]]] = {}
    for name, plan in plans.items():
        mix = phases[name][0]
        groups = {}
        for group in plan:
            quality = mix.quality.get(group.group)
            if quality is None:
                groups[group.group] = _Wanted(group.epochs)
                continue
            histogram = {int(number): count for number, count in histograms.get(name, {}).get(group.group, {}).items()}
            scale = solve_scale(histogram, group.epochs * group.available, config.max_repetitions)
            if np.isnan(scale):
                raise UserError(
                    f"phase {name}: quality.{group.group}: too few documents have a {quality.statistic} over zero to be seen at most "
                    f"{config.max_repetitions:g} times; ask for less of it, or raise mix.max_repetitions"
                )
            groups[group.group] = _Wanted(group.epochs, quality.statistic, quality.power, scale, config.max_repetitions)
        wants[name] = mix.named, groups
    tasks = []
    for partition in documents.partitions:
        part, entry, of = split.by_name[partition.name], statistics.by_name[partition.name], tokens.by_name[f"{partition.name}.arrow"]
        key = fingerprint(VERSION, seed, wants, partition.checksum, part.checksum, entry.checksum, of.checksum)
        tasks.append(Task(partition.name, key, _PlanWork(partition, part, entry, of, seed, wants), partition.rows))
    settings = {"seed": seed, "phases": [{"name": name, "groups": [asdict(group) for group in plan]} for name, plan in plans.items()]}
    stage = Stage("mix", (PLAN,), plan_partition, tuple(tasks), settings, memory=512 << 20, unit="documents")
    return engine.run(stage).manifests[PLAN]


def _weigh(
    engine: Engine, mixes: dict[str, PhaseMix], documents: Manifest, statistics: Manifest, split: Manifest, tokens: Manifest
) -> Summary:
    if statistics.partitions:
        names = engine.workdir.read_table(STATISTICS, statistics.partitions[0]).schema.names
        for phase, mix in mixes.items():
            for name, quality in mix.quality.items():
                if quality.statistic not in names:
                    raise UserError(
                        f"phase {phase}: quality.{name}: no statistic {quality.statistic}; there are: {', '.join(sorted(names))}"
                    )
    tasks = []
    for partition in documents.partitions:
        part, entry, of = split.by_name[partition.name], statistics.by_name[partition.name], tokens.by_name[f"{partition.name}.arrow"]
        key = fingerprint(VERSION, mixes, part.checksum, entry.checksum, of.checksum)
        tasks.append(Task(partition.name, key, _WeighWork(part, entry, of, mixes), partition.rows))
    stage = Stage("mix: weigh", (WEIGHED,), weigh_partition, tuple(tasks), memory=512 << 20, unit="documents")
    return engine.run(stage).manifests[WEIGHED].summary

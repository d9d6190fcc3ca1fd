"""Mix: which documents train, which are held out, and how often each is seen in each phase.

The split, and the plan, lie row for row beside the documents. The split also carries the union of all verdicts' cuts, so that
what reads text after it needs no verdict. Shares are of UTF-8 bytes of text, since the tokenizer is trained on the mix
and so comes after it. A document of a domain that is wanted `e` times over is taken floor(e) times, and once more with
probability e - floor(e), by a number keyed by (seed, phase, id).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from pipeline.dataset import Manifest, Partition, Workdir, fingerprint, to_parquet
from pipeline.documents import DOCUMENTS, STATISTICS
from pipeline.engine import File, Stage, Summary, Task
from pipeline.errors import UserError
from pipeline.random import uniform
from pipeline.verdicts import VerdictEntry, checksums, cuts_of, entries, kept

VERSION = 2
SPLIT = "split"
PLAN = "plan"
TRAIN, VALIDATION = "train", "validation"


class MixConfig(BaseModel):
    """What is held out, and how often a document may be repeated."""

    model_config = ConfigDict(extra="forbid")

    validation_share: float = Field(
        0.01, ge=0, lt=1, description="Share of the documents that are held out for validation, chosen by a number keyed by id."
    )
    max_repetitions: float = Field(
        4.0, ge=1, description="Most times that a document is seen in a phase (Muennighoff et al. 2023: up to 4 cost little)."
    )


class PhaseMix(BaseModel):
    """The mix of one phase."""

    model_config = ConfigDict(extra="forbid")

    weights: dict[str, float] | None = Field(
        None,
        description="Share of the text for each domain, in any unit; a domain that is not named is left out. Null: as it comes.",
    )
    bytes: int | None = Field(
        None, ge=1, description="Bytes of text in one pass; null: as many as the corpus has, or as `max_repetitions` allows."
    )


@dataclass(frozen=True)
class DomainPlan:
    """What one phase asks of one domain, and what that means."""

    domain: str
    share: float
    available_bytes: int
    bytes: int
    epochs: float


@dataclass(frozen=True)
class _SplitWork:
    partition: Partition
    statistics: Partition
    before: tuple[VerdictEntry, ...]
    seed: int
    validation_share: float


def split_partition(workdir: Workdir, work: _SplitWork) -> Generator[File, None, Summary]:
    """One task: for each document of a partition `split` (train, validation, or null where dropped), its cuts, and its bytes."""
    statistics = workdir.read_table(STATISTICS, work.statistics, ["domain", "bytes"])
    ids = workdir.read_table(DOCUMENTS, work.partition, ["id"])["id"].to_pylist()
    keep = kept(workdir, work.before, len(ids))
    held_out = uniform(work.seed, "validation", ids) < work.validation_share
    split = np.where(held_out, VALIDATION, TRAIN).astype(object)
    cuts = cuts_of(workdir, work.before, len(ids))
    sizes = statistics["bytes"].to_numpy() - cuts.sizes
    columns = {
        "domain": statistics["domain"],
        "split": pa.array(split.tolist(), pa.string(), mask=~keep),
        "bytes": pa.array(sizes),
        "cuts": cuts.to_column(),
    }
    yield File(SPLIT, work.partition.name, to_parquet(pa.table(columns)), len(ids))
    summary: Summary = {}
    domains = np.array(statistics["domain"].to_pylist(), object)
    for domain in sorted(set(domains)):
        for name, mask in ((TRAIN, keep & ~held_out), (VALIDATION, keep & held_out)):
            rows = mask & (domains == domain)
            counts = {"documents": int(rows.sum()), "bytes": int(sizes[rows].sum())}
            summary.setdefault("domains", {}).setdefault(domain, {})[name] = counts
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


def plan_phase(name: str, mix: PhaseMix, config: MixConfig, split: Summary) -> list[DomainPlan]:
    """How often each domain is to be seen in a phase. Raises `UserError` for a mix that the corpus cannot give."""
    available = {domain: counts[TRAIN]["bytes"] for domain, counts in split.get("domains", {}).items()}
    available = {domain: size for domain, size in available.items() if size}
    if not available:
        raise UserError("mix: no document is left to train on; see the report for what the filters dropped")
    weights = mix.weights if mix.weights is not None else {domain: float(size) for domain, size in available.items()}
    for domain, weight in weights.items():
        if weight < 0:
            raise UserError(f"phase {name}: the weight of {domain} is {weight}; weights are zero or more")
        if weight and domain not in available:
            names = ", ".join(sorted(available))
            raise UserError(f"phase {name}: weight for domain {domain}, of which no document is left; there are: {names}")
    total = sum(weights.values())
    if total <= 0:
        raise UserError(f"phase {name}: all weights are zero; give at least one domain a weight")
    shares = {domain: weight / total for domain, weight in sorted(weights.items()) if weight}
    most = min(available[domain] * config.max_repetitions / share for domain, share in shares.items())
    wanted = mix.bytes if mix.bytes is not None else min(most, sum(available.values()))
    if wanted > most * (1 + 1e-9):
        scarce = min(shares, key=lambda domain: available[domain] / shares[domain])
        raise UserError(
            f"phase {name}: {wanted} bytes with {shares[scarce]:.0%} {scarce} would repeat it more than max_repetitions = "
            f"{config.max_repetitions:g} times; ask for at most {int(most)} bytes, or raise max_repetitions"
        )
    return [
        DomainPlan(domain, share, available[domain], int(wanted * share), wanted * share / available[domain])
        for domain, share in shares.items()
    ]


@dataclass(frozen=True)
class _PlanWork:
    partition: Partition
    split: Partition
    seed: int
    epochs: dict[str, dict[str, float]]  # phase -> domain -> times over


def phase_column(phase: str) -> str:
    """The plan's column with the number of times that each document is seen in a phase."""
    return f"repeats_{phase}"


def plan_partition(workdir: Workdir, work: _PlanWork) -> Generator[File, None, Summary]:
    """One task: split and repetitions in each phase (uint16) for each document of a partition."""
    table = workdir.read_table(SPLIT, work.split, ["domain", "split", "bytes"])
    split = table["split"]
    ids = workdir.read_table(DOCUMENTS, work.partition, ["id"])["id"].to_pylist()
    domains = table["domain"].to_pylist()
    sizes = table["bytes"].to_numpy()
    train = np.array([value == TRAIN for value in split.to_pylist()], bool)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"domain": table["domain"], "split": split}
    summary: Summary = {}
    for phase, epochs in work.epochs.items():
        wanted = np.array([epochs.get(domain, 0.0) for domain in domains])
        whole = np.floor(wanted)
        again = uniform(work.seed, f"phase {phase}", ids) < wanted - whole
        repeats = np.where(train, whole + again, 0).astype(np.uint16)
        columns[phase_column(phase)] = pa.array(repeats)
        names = np.array(domains, object)
        for domain in sorted(set(domains)):
            rows = names == domain
            times = repeats[rows].astype(np.int64)
            counts = {"documents": int((times > 0).sum()), "seen": int(times.sum()), "bytes": int((times * sizes[rows]).sum())}
            summary.setdefault("phases", {}).setdefault(phase, {})[domain] = counts
    yield File(PLAN, work.partition.name, to_parquet(pa.table(columns)), len(ids))
    return summary


def plan_stage(
    config: MixConfig,
    seed: int,
    phases: dict[str, PhaseMix],
    documents: Manifest,
    split: Manifest,
) -> Stage:
    """The stage that writes the plan. Raises `UserError` for a mix that the corpus cannot give, before any work."""
    plans = {name: plan_phase(name, mix, config, split.summary) for name, mix in phases.items()}
    epochs = {name: {domain.domain: domain.epochs for domain in plan} for name, plan in plans.items()}
    tasks = []
    for partition in documents.partitions:
        part = split.by_name[partition.name]
        key = fingerprint(VERSION, seed, epochs, partition.checksum, part.checksum)
        tasks.append(Task(partition.name, key, _PlanWork(partition, part, seed, epochs), partition.rows))
    settings = {
        "seed": seed,
        "phases": [
            {
                "name": name,
                "domains": {
                    d.domain: {"share": d.share, "available": d.available_bytes, "bytes": d.bytes, "epochs": d.epochs} for d in plan
                },
            }
            for name, plan in plans.items()
        ],
    }
    return Stage("mix", (PLAN,), plan_partition, tuple(tasks), settings, memory=512 << 20, unit="documents")

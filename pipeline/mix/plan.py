"""The plan: how often each document is seen in each phase, row for row beside the documents.

It comes after the documents are tokenised, so that its shares are of tokens. A document of a group (see `config`) that is wanted `e`
times over is taken floor(e) times or once more; `draw` says which are, so that the group has the tokens that are asked of it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from pipeline.mix.config import MixConfig, PhaseMix, group_of
from pipeline.mix.draw import Drawn, Pass, Wanted, draw, times_taken
from pipeline.mix.quality import groups_of, solve_scale, weigh
from pipeline.mix.split import SPLIT, trainable
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, to_parquet
from pipeline.workdir.engine import Engine
from pipeline.workdir.errors import UserError
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File

VERSION = 4
PLAN = "plan"
Sizes = Mapping[str, Mapping[str, int]]  # domain -> source -> tokens or bytes that there are to train on


@dataclass(frozen=True)
class GroupPlan:
    """What one phase asks of one group. Amounts are tokens, or bytes for the tokenizer.

    `share`: of one pass over the mix; `available`: how much the group has to train on; `wanted`: how much of it one pass takes;
    `epochs`: the same in passes over the group.
    """

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

    `available`: what there is to train on, in `unit`. `trained`: how many tokens the phase trains on, in as many passes as that takes.
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
            raise UserError(f"phase {name}: its mix asks for {group}, which has no document left; there are: {', '.join(names)}")
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
        GroupPlan(group, domain_of[group], share, sizes[group], round(total * share), total * share / sizes[group])
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
            f"phase {name}: trains on {trained:,} tokens and a pass over its mix has {int(total):,}, so {scarce.group} would be seen "
            f"{passes * scarce.epochs:.3g} times, more than max_repetitions = {config.max_repetitions:g}; train on at most "
            f"{int(total * config.max_repetitions / scarce.epochs):,}, add text, or raise mix.max_repetitions"
        )
    return plans


@dataclass(frozen=True)
class _Plan:
    passes: Mapping[str, Pass]  # by phase
    drawn: Drawn


def phase_column(phase: str) -> str:
    """The plan's column with the number of times that each document is seen in a phase."""
    return f"repeats_{phase}"


def plan_partition(workdir: Workdir, piece: Piece[_Plan]) -> Generator[File, None, Summary]:
    """One task: split and repetitions in each phase (uint16) for each document of a partition."""
    table = workdir.read_table(SPLIT, piece.beside[SPLIT], ["domain", "source", "split"])
    domains, sources = table["domain"].to_pylist(), table["source"].to_pylist()
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"domain": table["domain"], "split": table["split"]}
    drawn = piece.settings.drawn
    summary: Summary = {}
    for phase, each in piece.settings.passes.items():
        groups = groups_of(domains, sources, each.named)
        times, sizes = times_taken(workdir, drawn, piece.beside[drawn.manifest.dataset], piece.start, groups, phase)
        columns[phase_column(phase)] = pa.array(times.astype(np.uint16))
        for group in each.groups:
            rows = groups == group
            seen = int(times[rows].sum())
            different = int((times[rows] > 0).sum())
            counts = {"documents": different, "seen": seen, "repeated": seen - different, "tokens": int((times * sizes)[rows].sum())}
            summary.setdefault("phases", {}).setdefault(phase, {})[group] = counts
    yield File(PLAN, piece.name, to_parquet(pa.table(columns)), table.num_rows)
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
    histograms = weigh(engine, weighed, documents, statistics, split, tokens) if weighed else {}
    passes: dict[str, Pass] = {}
    for name, plan in plans.items():
        mix = phases[name][0]
        groups = {}
        for group in plan:
            quality = mix.quality.get(group.group)
            if quality is None:
                groups[group.group] = Wanted(group.epochs, group.wanted)
                continue
            histogram = {int(number): count for number, count in histograms.get(name, {}).get(group.group, {}).items()}
            scale = solve_scale(histogram, group.epochs * group.available, config.max_repetitions)
            if np.isnan(scale):
                raise UserError(
                    f"phase {name}: quality.{group.group}: too few documents have `{quality.statistic}` over zero, so some would be seen "
                    f"more than {config.max_repetitions:g} times; ask for less of this group, or raise mix.max_repetitions"
                )
            groups[group.group] = Wanted(group.epochs, group.wanted, quality.statistic, quality.power, scale, config.max_repetitions)
        passes[name] = Pass(f"phase {name}", mix.named, groups)
    drawn = draw(engine, "mix", "draws", seed, passes, documents, split, (statistics, tokens), "tokens")
    settings = {
        "seed": seed,
        "split": split.content,
        "phases": [{"name": name, "groups": [asdict(group) for group in plan]} for name, plan in plans.items()],
    }
    stage = per_partition(
        "mix",
        (PLAN,),
        plan_partition,
        documents,
        _Plan(passes, drawn),
        version=VERSION,
        beside=(split, drawn.manifest),
        ordinals=drawn.by_place,
        key=(passes, drawn.last),
        configuration=settings,
        memory=512 << 20,
        unit="documents",
    )
    return engine.run(stage).manifests[PLAN]

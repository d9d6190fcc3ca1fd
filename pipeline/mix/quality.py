"""Quality: documents of a group that are wanted in proportion to a statistic.

The tokens of each weight are counted over all partitions. From these counts follows the scale of the weights at which the group has its
share of the tokens.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.mix.config import PhaseMix, group_of
from pipeline.mix.split import SPLIT, TRAIN
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import STATISTICS, TOKENS
from pipeline.workdir.engine import Engine
from pipeline.workdir.errors import UserError
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File

VERSION = 3
WEIGHED = "weighed"
BINS_AN_OCTAVE = 64  # bins for each doubling of the weight, so weights are known to one part in a hundred


def weight_bins(statistic: npt.NDArray[np.float64], power: float) -> npt.NDArray[np.int64]:
    """The bin of each document's weight, on a logarithmic scale; the smallest int64 for a weight of zero."""
    bins = np.full(len(statistic), np.iinfo(np.int64).min)
    some = statistic > 0
    bins[some] = np.floor(BINS_AN_OCTAVE * power * np.log2(statistic[some])).astype(np.int64)
    return bins


def weight_of(bins: npt.NDArray[np.int64], scale: float) -> npt.NDArray[np.float64]:
    """The scaled weight of each bin, at its middle. `scale` is the exponent of the power of two by which weights are multiplied."""
    exponents = np.maximum(bins.astype(np.float64), -60_000.0)
    return np.where(bins == np.iinfo(np.int64).min, 0.0, np.exp2((exponents + 0.5) / BINS_AN_OCTAVE + scale))


def solve_scale(histogram: Mapping[int, int], wanted: float, most: float) -> float:
    """The `scale` of `weight_of` at which weights, cut at `most`, give `wanted` tokens; NaN where none does. `histogram`: tokens by bin."""
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


def token_counts(workdir: Workdir, tokens: Partition, rows: int) -> npt.NDArray[np.int64]:
    """Tokens of each document of a partition; 0 where it was dropped."""
    table = workdir.read_table(TOKENS, tokens)
    lengths = np.zeros(rows, np.int64)
    lengths[table["row"].to_numpy()] = np.asarray(pc.list_value_length(table["ids"]), dtype=np.int64)
    return lengths


def groups_of(domains: list[str], sources: list[str], named: Sequence[str]) -> npt.NDArray[Any]:
    """The group of each document, as `group_of` has it: str or None, object (documents,)."""
    return np.array([group_of(domain, source, named) for domain, source in zip(domains, sources, strict=True)], object)


def weigh_partition(workdir: Workdir, piece: Piece[dict[str, PhaseMix]]) -> Generator[File, None, Summary]:
    """One task: for each group with a quality, a histogram of its weights, in tokens."""
    split = workdir.read_table(SPLIT, piece.beside[SPLIT], ["domain", "source", "split"])
    lengths = token_counts(workdir, piece.beside[TOKENS], split.num_rows)
    train = np.array([value == TRAIN for value in split["split"].to_pylist()], bool)
    domains, sources = split["domain"].to_pylist(), split["source"].to_pylist()
    summary: Summary = {}
    rows = []
    for phase, mix in piece.settings.items():
        groups = groups_of(domains, sources, mix.named)
        for name, quality in mix.quality.items():
            column = workdir.read_table(STATISTICS, piece.beside[STATISTICS], [quality.statistic])[quality.statistic]
            bins = weight_bins(np.asarray(column, dtype=np.float64), quality.power)
            chosen = train & (groups == name) & (bins > np.iinfo(np.int64).min)
            for number in np.unique(bins[chosen]):
                count = int(lengths[chosen & (bins == number)].sum())
                summary.setdefault(phase, {}).setdefault(name, {})[str(number)] = count
                rows.append({"phase": phase, "group": name, "bin": int(number), "tokens": count})
    schema = pa.schema([("phase", pa.string()), ("group", pa.string()), ("bin", pa.int64()), ("tokens", pa.int64())])
    yield File(WEIGHED, piece.name, to_parquet(pa.Table.from_pylist(rows, schema=schema)), len(rows))
    return summary


def weigh(
    engine: Engine, mixes: dict[str, PhaseMix], documents: Manifest, statistics: Manifest, split: Manifest, tokens: Manifest
) -> Summary:
    """For each phase and group with a quality, the tokens in each bin of weights. Raises `UserError` where there is no such statistic."""
    if statistics.partitions:
        names = engine.workdir.read_table(STATISTICS, statistics.partitions[0]).schema.names
        for phase, mix in mixes.items():
            for name, quality in mix.quality.items():
                if quality.statistic not in names:
                    raise UserError(
                        f"phase {phase}: quality.{name}: no statistic is named {quality.statistic}; there are: {', '.join(sorted(names))}"
                    )
    stage = per_partition(
        "mix: weigh",
        (WEIGHED,),
        weigh_partition,
        documents,
        mixes,
        version=VERSION,
        beside=(split, statistics, tokens),
        memory=512 << 20,
        unit="documents",
    )
    return engine.run(stage).manifests[WEIGHED].summary

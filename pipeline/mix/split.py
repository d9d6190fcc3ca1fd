"""The split: which documents train and which are held out, row for row beside them.

It applies all verdicts, and carries the union of their cuts, so that what reads text after it needs no verdict. It is made before the
tokenizer, which is trained on the first phase's mix (by bytes).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import pyarrow as pa

from kernel.random import uniform
from pipeline.mix.config import MixConfig
from pipeline.workdir.dataset import Manifest, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENTS, STATISTICS
from pipeline.workdir.engine import File, Stage, Summary
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.verdicts import VerdictEntry, cuts_of, kept, verdict_dataset

VERSION = 3
SPLIT = "split"
TRAIN, VALIDATION = "train", "validation"


def _split_keys(workdir: Workdir, before: Sequence[VerdictEntry], ids: list[str]) -> list[str]:
    """What decides a document's split: its id, or the name of the component of near-duplicates that it is in."""
    for entry in before:
        if entry.dataset == verdict_dataset("near"):
            clusters = workdir.read_table(entry.dataset, entry.partition, ["cluster"])["cluster"].to_pylist()
            return [name if cluster is None else f"cluster {cluster:016x}" for name, cluster in zip(ids, clusters, strict=True)]
    return ids


def split_partition(workdir: Workdir, piece: Piece[tuple[int, float]]) -> Generator[File, None, Summary]:
    """One task: for each document of a partition `split` (train, validation, or null where dropped), its cuts, and its bytes."""
    seed, validation_share = piece.settings
    statistics = workdir.read_table(STATISTICS, piece.beside[STATISTICS], ["domain", "source", "bytes"])
    ids = workdir.read_table(DOCUMENTS, piece.partition, ["id"])["id"].to_pylist()
    keep = kept(workdir, piece.before, len(ids))
    held_out = uniform(seed, "validation", _split_keys(workdir, piece.before, ids)) < validation_share
    split = np.where(held_out, VALIDATION, TRAIN).astype(object)
    cuts = cuts_of(workdir, piece.before, len(ids))
    sizes = statistics["bytes"].to_numpy() - cuts.sizes
    columns = {
        "domain": statistics["domain"],
        "source": statistics["source"],
        "split": pa.array(split.tolist(), pa.string(), mask=~keep),
        "bytes": pa.array(sizes),
        "cuts": cuts.to_column(),
    }
    yield File(SPLIT, piece.name, to_parquet(pa.table(columns)), len(ids))
    counted = pa.table({**{name: columns[name] for name in ("domain", "source", "split", "bytes")}}).filter(pa.array(keep))
    summary: Summary = {}
    for group in counted.group_by(["domain", "source", "split"]).aggregate([("bytes", "sum"), ("bytes", "count")]).to_pylist():
        place = summary.setdefault("sources", {}).setdefault(group["domain"], {}).setdefault(group["source"], {})
        place[group["split"]] = {"documents": group["bytes_count"], "bytes": group["bytes_sum"]}
    return summary


def split_stage(config: MixConfig, seed: int, documents: Manifest, statistics: Manifest, verdicts: Sequence[Manifest]) -> Stage:
    """The stage that applies all verdicts and holds out the validation split."""
    return per_partition(
        "split",
        (SPLIT,),
        split_partition,
        documents,
        (seed, config.validation_share),
        version=VERSION,
        beside=(statistics,),
        before=verdicts,
        configuration={"seed": seed, **config.model_dump(mode="json")},
        memory=512 << 20,
        unit="documents",
    )


def trainable(manifest: Manifest, unit: str) -> dict[str, dict[str, int]]:
    """What there is to train on: of the split by `bytes`, of the tokens by `tokens`."""
    found: dict[str, dict[str, int]] = {}
    for domain, sources in manifest.summary.get("sources", {}).items():
        for source, counts in sources.items():
            size = counts.get(TRAIN, {}).get(unit, 0)
            if size:
                found.setdefault(domain, {})[source] = size
    return found

"""The split: which documents are trained on and which are held out, row for row beside the documents.

It applies all verdicts, and carries the union of their cuts, so that what reads text after it needs no verdict. It is made before the
tokenizer, which is trained on the first phase's mix (by bytes).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from kernel.random import uniform
from pipeline.mix.config import MixConfig
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENTS, STATISTICS
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage
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
    stage = per_partition(
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
    return replace(stage, refusal=_emptied)


def _emptied(old: Manifest, new: Manifest) -> str | None:
    """Why a new split must not replace the old: nothing is left to train on."""
    if trainable(old, "bytes") and not trainable(new, "bytes"):
        return "as the recipe is now, no document would be left to train on"
    return None


def trainable(manifest: Manifest, unit: str) -> dict[str, dict[str, int]]:
    """How much text each source has to train on, by domain and source. `unit`: `bytes` for the split's manifest, `tokens` for tokens/."""
    found: dict[str, dict[str, int]] = {}
    for domain, sources in manifest.summary.get("sources", {}).items():
        for source, counts in sources.items():
            size = counts.get(TRAIN, {}).get(unit, 0)
            if size:
                found.setdefault(domain, {})[source] = size
    return found

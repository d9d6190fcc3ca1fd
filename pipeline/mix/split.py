"""The split: which documents are trained on and which are held out, row for row beside the documents.

It applies all verdicts, and carries the union of their cuts, so that what reads text after it needs no verdict. It is made before the
tokenizer, which is trained on the first phase's mix (by bytes). `sides` says how documents are held out.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.mix.config import MixConfig
from pipeline.mix.sides import NAMES, SIDES, TEST, TRAIN, VALIDATION, make_sides, sides_of
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, to_parquet
from pipeline.workdir.documents import STATISTICS
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage
from pipeline.workdir.verdicts import cuts_of, kept

__all__ = ["SPLIT", "TEST", "TRAIN", "VALIDATION", "make_split", "split_stage", "trainable"]

VERSION = 4
SPLIT = "split"


def split_partition(workdir: Workdir, piece: Piece[bool]) -> Generator[File, None, Summary]:
    """One task: for each document of a partition `split` (train, validation, test, or null where none has it), its cuts, and its bytes."""
    statistics = workdir.read_table(STATISTICS, piece.beside[STATISTICS], ["domain", "source", "bytes"])
    rows = statistics.num_rows
    keep = kept(workdir, piece.before, rows)
    sides, left_out = np.zeros(rows, np.uint8), np.zeros(rows, bool)
    if piece.settings:
        sides, left_out = sides_of(workdir, piece.beside[SIDES])
    cuts = cuts_of(workdir, piece.before, rows)
    names = [NAMES[side] if stays else None for side, stays in zip(sides.tolist(), (keep & ~left_out).tolist(), strict=True)]
    columns = {
        "domain": statistics["domain"],
        "source": statistics["source"],
        "split": pa.array(names, pa.string()),
        "bytes": pa.array(statistics["bytes"].to_numpy() - cuts.sizes),
        "cuts": cuts.to_column(),
    }
    yield File(SPLIT, piece.name, to_parquet(pa.table(columns)), rows)
    counted = pa.table({**{name: columns[name] for name in ("domain", "source", "split", "bytes")}}).filter(pa.array(keep))
    summary: Summary = {}
    for group in counted.group_by(["domain", "source", "split"]).aggregate([("bytes", "sum"), ("bytes", "count")]).to_pylist():
        counts = {"documents": group["bytes_count"], "bytes": group["bytes_sum"]}
        name = "sources" if group["split"] is not None else "left_out"
        place = summary.setdefault(name, {}).setdefault(group["domain"], {}).setdefault(group["source"], {})
        place |= {group["split"]: counts} if group["split"] is not None else counts
    return summary


def split_stage(
    config: MixConfig,
    seed: int,
    documents: Manifest,
    statistics: Manifest,
    verdicts: Sequence[Manifest],
    sides: tuple[Manifest, Manifest] | None = None,
) -> Stage:
    """The stage that applies all verdicts and holds documents out. `sides`: as `make_sides` gives them, where anything is held out."""
    if sides is None and config.holds_out:
        raise ValueError("what is held out is drawn first; call make_split")
    shared = None if sides is None else sides[1].content
    stage = per_partition(
        "split",
        (SPLIT,),
        split_partition,
        documents,
        sides is not None,
        version=VERSION,
        beside=(statistics, *(sides or ())[:1]),
        before=verdicts,
        key=shared,
        configuration={"seed": seed, **config.model_dump(mode="json")},
        memory=512 << 20,
        unit="documents",
    )
    return replace(stage, refusal=_emptied)


def make_split(
    engine: Engine, config: MixConfig, seed: int, documents: Manifest, statistics: Manifest, verdicts: Sequence[Manifest]
) -> Manifest:
    """Run all stages; returns `split`."""
    sides = make_sides(engine, config, seed, documents, verdicts) if config.holds_out else None
    return engine.run(split_stage(config, seed, documents, statistics, verdicts, sides)).manifests[SPLIT]


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

"""Contamination: text of evaluation sets in the corpus, found by n-grams of words, dropped or cut, and reported.

An index of the sets' n-grams (`index`), their matches in the documents (`match`), and the verdicts (`verdict`); `config` says what may
be asked, and what the presets are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.contamination.config import ContaminationConfig
from pipeline.contamination.index import ITEMS, NGRAMS, IndexWork, index_sets
from pipeline.contamination.match import COMMON, MATCHES, CommonWork, Looking, common_ngrams, match_partition
from pipeline.contamination.sets import prepared
from pipeline.contamination.verdict import REPORT, Judging, contamination_verdicts
from pipeline.ingest.canonical import Ingesting
from pipeline.workdir.dataset import Manifest, fingerprint
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import per_partition
from pipeline.workdir.tasks import Stage, Task
from pipeline.workdir.verdicts import verdict_dataset

VERSION = 3
_READING = 2  # of how sets are read: what an earlier version could not reach is read again


def decontaminate(
    engine: Engine,
    config: ContaminationConfig,
    ingesting: Ingesting,
    base: Path,
    documents: Manifest,
    statistics: Manifest,
    before: Sequence[Manifest],
) -> Manifest:
    """Run all stages; returns `verdicts/contamination`. `ingesting`: how the documents were ingested, as the sets' items are, too.

    Raises `UserError` where a set has no files, or none that can be read.
    """
    sets = tuple(prepared(each, base) for each in config.sets)
    inputs = [each.key for each in sets]
    work = IndexWork(sets, config.ngram, config.shortest, config.numbers, config.instruction, ingesting)
    asked = (config.ngram, config.shortest, config.numbers, config.instruction)
    task = Task("index", fingerprint((VERSION, _READING), inputs, *asked, ingesting.key), work)
    made = engine.run(Stage("contamination: index", (NGRAMS, ITEMS), index_sets, (task,), memory=2 << 30, unit="tasks")).manifests
    ngrams = made[NGRAMS]
    looking = Looking(ngrams.partitions[0], config.unit == "line", config.ngram)
    stage = per_partition("contamination: match", (MATCHES,), match_partition, documents, looking, version=VERSION, before=before)
    matches = engine.run(stage).manifests[MATCHES]
    common = ""
    if config.common is not None:
        task = Task("common", fingerprint(VERSION, matches.content, config.common), CommonWork(config.common, ngrams.rows))
        stage = Stage("contamination: common", (COMMON,), common_ngrams, (task,), memory=1 << 30, unit="tasks")
        common = engine.run(stage).manifests[COMMON].content
    settings = config.model_dump(mode="json", exclude={"sets"})
    judging = Judging(config.model_copy(update={"sets": []}), tuple(each.name for each in sets))
    name = verdict_dataset("contamination")
    stage = per_partition(
        "contamination",
        (name, REPORT),
        contamination_verdicts,
        documents,
        judging,
        version=VERSION,
        beside=(statistics, matches),
        before=before,
        ordinals=True,
        key=(settings, judging.sets, ngrams.content, made[ITEMS].content, common),
        configuration=settings,
        memory=1 << 30,
        unit="documents",
    )
    return engine.run(stage).manifests[name]

"""Measure: every number that a rule may look at, once, so that a new threshold never reads text again."""

from __future__ import annotations

from collections.abc import Generator

import pyarrow as pa

from pipeline.dataset import Manifest, Partition, Workdir, fingerprint, to_parquet
from pipeline.documents import DOCUMENTS, STATISTICS
from pipeline.engine import File, Stage, Summary, Task
from pipeline.language import detect
from pipeline.text.statistics import measure

VERSION = 2
# Columns of the documents that rules look at too, carried over so that deciding reads `statistics/` alone.
CARRIED = ("domain", "source", "license")


def measure_partition(workdir: Workdir, partition: Partition) -> Generator[File, None, Summary]:
    """One task: the statistics of one partition of documents, row for row."""
    documents = workdir.read_table(DOCUMENTS, partition, ["text", *CARRIED])
    table = measure(documents["text"])
    domains = documents["domain"].to_pylist()
    # the natural language of source code is no property of the code
    texts = ["" if domain == "code" else text for domain, text in zip(domains, documents["text"].to_pylist(), strict=True)]
    languages, scores = detect(texts)
    table = table.append_column("language", pa.array(languages, pa.string()))
    table = table.append_column("language_score", pa.array(scores))
    for name in CARRIED:
        table = table.append_column(name, documents[name])
    yield File(STATISTICS, partition.name, to_parquet(table), table.num_rows)
    return {}


def measure_stage(documents: Manifest) -> Stage:
    """The stage over all partitions of `documents/`."""
    tasks = tuple(
        Task(partition.name, fingerprint(VERSION, partition.checksum), partition, partition.bytes) for partition in documents.partitions
    )
    return Stage("measure", (STATISTICS,), measure_partition, tasks, memory=1 << 30)

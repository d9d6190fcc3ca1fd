"""Filter: rules that look at one document, decided from `statistics/` alone."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from pipeline.dataset import Manifest, Partition, Workdir, fingerprint, to_parquet
from pipeline.documents import STATISTICS, VERDICT_SCHEMA
from pipeline.engine import File, Stage, Summary, Task
from pipeline.filters.check import Check, decide
from pipeline.filters.code import CodeRules
from pipeline.filters.gopher import GopherQuality
from pipeline.filters.language import LanguageRules
from pipeline.filters.length import LengthRules
from pipeline.verdicts import tally, verdict_dataset

VERSION = 1
FILTER = verdict_dataset("filter")


class Rules(BaseModel):
    """The rules of one domain, checked in this order; a family that is not named is not applied."""

    model_config = ConfigDict(extra="forbid")

    length: LengthRules | None = Field(None, description="Length bounds.")
    language: LanguageRules | None = Field(None, description="Natural language.")
    gopher_quality: GopherQuality | None = Field(None, description="Gopher's quality rules.")
    code: CodeRules | None = Field(None, description="Rules for source code.")

    def checks(self) -> list[Check]:
        families = (self.length, self.language, self.gopher_quality, self.code)
        return [check for family in families if family is not None for check in family.checks()]


@dataclass(frozen=True)
class _Work:
    partition: Partition
    checks: dict[str, tuple[Check, ...]]  # by domain


def filter_partition(workdir: Workdir, work: _Work) -> Generator[File, None, Summary]:
    """One task: the verdicts of one partition, row for row. A domain without rules keeps everything."""
    statistics = workdir.read_table(STATISTICS, work.partition)
    domains = statistics["domain"]
    verdict = decide(statistics, ())
    for domain in sorted(set(domains.to_pylist())):
        rows = np.flatnonzero(np.asarray(pc.equal(domains, domain)))
        decided = decide(statistics.take(rows), work.checks.get(domain, ()))
        if len(rows) == statistics.num_rows:
            verdict = decided
        else:
            order = np.arange(statistics.num_rows)
            order[rows] = statistics.num_rows + np.arange(len(rows))
            verdict = pa.concat_tables([verdict, decided]).take(order)
    verdict = verdict.cast(VERDICT_SCHEMA).combine_chunks()
    yield File(FILTER, work.partition.name, to_parquet(verdict), verdict.num_rows)
    return tally(verdict, statistics)


def filter_stage(rules: dict[str, Rules], statistics: Manifest) -> Stage:
    """The stage over all partitions of `statistics/`."""
    checks = {domain: tuple(rules[domain].checks()) for domain in sorted(rules)}
    tasks = tuple(
        Task(partition.name, fingerprint(VERSION, checks, partition.checksum), _Work(partition, checks), partition.rows)
        for partition in statistics.partitions
    )
    configuration = {domain: rules[domain].model_dump(mode="json") for domain in sorted(rules)}
    return Stage("filter", (FILTER,), filter_partition, tasks, configuration, memory=512 << 20, unit="documents")

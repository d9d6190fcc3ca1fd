"""Measure: every number that a rule may look at is measured once, so that a new threshold needs no text."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kernel.utf8 import mathematical_symbols, utf8_view
from pipeline.measure import code, lines, science, statistics
from pipeline.measure.added import STATISTICS as ADDED
from pipeline.measure.added import check_columns, measure_added
from pipeline.measure.classifiers import ClassifierConfig
from pipeline.measure.classifiers import scores as classify
from pipeline.measure.language import detect
from pipeline.measure.scanner import character_classes
from pipeline.measure.statistics import measure
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import CODE, DOCUMENTS, STATISTICS, source_of
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage

VERSION = 6
# Columns of the documents that rules look at too, carried over so that deciding reads `statistics/` alone.
CARRIED = ("domain", "source", "license", "url")
# The other columns, in words.
OTHERS = {
    "language": "natural language, as fastText names it",
    "language_score": "probability of that language",
    "declared_language": "language as the source says it: en, de; Python, C",
    "year": "of publication",
    "generated": "why a file is taken for a generated one",
    "vendored": "why a file is taken for a copy of another project's",
}
# Numbers that a report draws, in their groups.
FAMILIES: dict[str, Mapping[str, str]] = {"text": statistics.COLUMNS, "code": code.COLUMNS, "science": science.COLUMNS}
# All that a limit or a weight may look at, besides classifiers' scores and what installed packages measure.
NUMBERS = frozenset(("language_score", "year", *(name for columns in FAMILIES.values() for name in columns)))

_YEAR = re.compile(r"(?<!\d)(1[5-9]\d\d|20\d\d)(?!\d)")


def measure_text(
    texts: pa.Array | pa.ChunkedArray,
    is_code: npt.NDArray[np.bool_] | None = None,
    languages: Sequence[str | None] | None = None,
    with_lines: npt.NDArray[np.bool_] | None = None,
) -> pa.Table:
    """All that kernels measure of some documents, one row each: the columns of `statistics`, `code`, `science` and `lines`.

    `is_code`, bool (documents,): which documents are programs (default: none); `languages`: the language of each program, as linguist
    names it; `with_lines`, bool (documents,): whose lines are measured (default: all). What is not measured of a document is null.
    """
    table = measure(texts)
    rows = table.num_rows
    offsets, data = utf8_view(texts)
    classes, upper = character_classes()
    programs = np.zeros(rows, bool) if is_code is None else is_code
    more = {
        **code.measure_code(offsets, data, languages or [None] * rows, programs),
        **science.measure_science(offsets, data, classes, mathematical_symbols(), ~programs),
        **lines.measure_lines(offsets, data, classes, upper, np.ones(rows, bool) if with_lines is None else with_lines),
    }
    return pa.Table.from_arrays([*table.columns, *more.values()], names=[*table.column_names, *more])


@dataclass(frozen=True)
class _Measuring:
    lines: Mapping[str, bool]  # by domain or source: whether its rules look at lines
    domains: Mapping[str, str]  # of each source, its domain
    classifiers: tuple[ClassifierConfig, ...]
    added: tuple[str, ...]  # statistics of installed packages

    def of(self, partition: Partition) -> dict[str, bool]:
        """What `lines` says of the partition's own source, so that new rules of another source do not measure it again."""
        source = source_of(partition.name)
        if source in self.domains:
            wanted = self.lines.get(source, self.lines.get(self.domains[source], False))
            return {source: True} if wanted else {}
        return dict(self.lines) if any(self.lines.values()) else {}


def measure_partition(workdir: Workdir, piece: Piece[_Measuring]) -> Generator[File, None, Summary]:
    """One task: the statistics of one partition of documents, row for row."""
    documents = workdir.read_table(DOCUMENTS, piece.partition, ["text", "language", "date", "meta", *CARRIED])
    domains, sources = documents["domain"].to_pylist(), documents["source"].to_pylist()
    is_code = np.array([domain == CODE for domain in domains], bool)
    lines_of = piece.settings.of(piece.partition)
    wanted = np.array([lines_of.get(s, lines_of.get(d, False)) for d, s in zip(domains, sources, strict=True)], bool)
    table = measure_text(documents["text"], is_code, documents["language"].to_pylist(), wanted)
    more: dict[str, pa.Array] = {}
    # the natural language of source code is no property of the code
    languages, scores = detect(pc.if_else(pa.array(is_code), pa.scalar("", documents["text"].type), documents["text"]))
    more["language"], more["language_score"] = pa.array(languages, pa.string()), pa.array(scores)
    more["declared_language"] = documents["language"]
    more["year"] = pa.array([_year(date) for date in documents["date"].to_pylist()], pa.int64())
    marks = [json.loads(meta) if meta and ('"generated"' in meta or '"vendored"' in meta) else {} for meta in documents["meta"].to_pylist()]
    for name in ("generated", "vendored"):
        more[name] = pa.array([_reason(mark.get(name)) for mark in marks], pa.string())
    for classifier in piece.settings.classifiers:
        among = np.array([classifier.domains is None or domain in classifier.domains for domain in domains], bool)
        score = np.full(len(domains), np.nan)
        score[among] = classify(documents["text"].filter(pa.array(among)), classifier)
        more[classifier.column] = pa.array(score, mask=~among)
    more |= measure_added(documents["text"], piece.settings.added)
    for name in CARRIED:
        more[name] = documents[name]
    for name, column in more.items():
        table = table.append_column(name, column)
    yield File(STATISTICS, piece.name, to_parquet(table), table.num_rows)
    return {}


def _year(date: str | None) -> int | None:
    found = _YEAR.search(date[:64]) if date else None
    return int(found.group()) if found else None


def _reason(mark: object) -> str | None:
    return (mark if isinstance(mark, str) else "said so by its source") if mark else None


def measure_stage(
    documents: Manifest,
    line_rules: Mapping[str, bool] | None = None,
    classifiers: Sequence[ClassifierConfig] = (),
    added: Sequence[str] = (),
) -> Stage:
    """The stage over all partitions of `documents/`.

    `line_rules`: by domain or source, whether its rules look at lines. `classifiers`: with absolute paths. `added`: statistics of
    installed packages, by name. Raises `UserError` where a classifier cannot be read, or a statistic's name for a number is taken.
    """
    check_columns(added, {*OTHERS, *CARRIED, *(name for family in FAMILIES.values() for name in family)})
    domains = {source["name"]: source["domain"] for source in documents.configuration.get("sources", [])}
    measuring = _Measuring(dict(sorted((line_rules or {}).items())), domains, tuple(classifiers), tuple(added))
    models = [classifier.fingerprint() for classifier in classifiers]
    versions = [(name, ADDED[name].fingerprint()) for name in added]
    configuration: dict[str, Any] = {"line_rules": dict(measuring.lines), "classifiers": [classifier.name for classifier in classifiers]}
    if added:
        configuration["added"] = {name: dict(ADDED[name].columns) for name in added}
    return per_partition(
        "measure",
        (STATISTICS,),
        measure_partition,
        documents,
        measuring,
        version=VERSION,
        key=lambda partition: (measuring.of(partition), models, *versions),
        configuration=configuration,
    )

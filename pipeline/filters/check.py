"""What rules come down to: checks of one statistic against its limits, judgements, and the first of them that drops a document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from pipeline.workdir.cuts import Cuts, all_of
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError
from pipeline.workdir.verdicts import verdict_table

Booleans = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """What one rule says of some documents: which fail, what was measured, what is allowed, and words where numbers say too little.

    `failed` is bool, `value` and `limit` float64 (documents,); these are NaN where there is no number.
    """

    rule: str
    failed: Booleans
    value: Numbers
    limit: Numbers
    detail: Sequence[str | None] | None = None


@dataclass(frozen=True)
class Judged:
    """What a family of rules says: its judgements in order, its cuts, and for each document in words what is cut, empty for nothing.

    Words that take long may be given as a function, which is called where they are wanted.
    """

    judgements: Sequence[Judgement]
    cuts: Cuts | None = None
    cut_detail: Sequence[str] | Callable[[], Sequence[str]] | None = None


@dataclass(frozen=True)
class Check:
    """Keep a document whose statistic lies in [minimum, maximum]; a statistic of text must be one of `allowed`, or null with `absent`.

    A document for which a number was not measured (null) passes. `only` and `but`: the programming languages that the check
    is for, or is not for.
    """

    rule: str
    statistic: str
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None
    absent: bool = False
    only: tuple[str, ...] | None = None
    but: tuple[str, ...] = ()

    def among(self, statistics: pa.Table) -> Booleans:
        """Which rows the check is for: bool (documents,)."""
        among = np.ones(statistics.num_rows, bool)
        if self.only is not None:
            among &= np.asarray(pc.is_in(statistics["declared_language"], value_set=pa.array(self.only, pa.string())), dtype=bool)
        if self.but:
            among &= ~np.asarray(pc.is_in(statistics["declared_language"], value_set=pa.array(self.but, pa.string())), dtype=bool)
        return among

    def judge(self, statistics: pa.Table) -> Judgement:
        """The judgement over the rows of `statistics`."""
        rows = statistics.num_rows
        if self.statistic not in statistics.column_names:
            known = ", ".join(name for name in statistics.column_names if not name.startswith("line_"))
            raise UserError(f"rule {self.rule}: no statistic is named {self.statistic}; there are: {known}")
        column = statistics[self.statistic]
        value, limit = np.full(rows, np.nan), np.full(rows, np.nan)
        detail: list[str | None] | None = None
        if self.allowed is not None or self.absent:
            if self.absent:
                failed = np.asarray(pc.is_valid(column), dtype=bool)
            else:
                failed = ~np.asarray(pc.is_in(column, value_set=pa.array(self.allowed, pa.string())), dtype=bool)
            detail = pc.if_else(pa.array(failed), pc.fill_null(column, "unknown"), pa.scalar(None, pa.string())).to_pylist()
        else:
            value = (
                column.to_numpy().astype(np.float64) if not column.null_count else np.asarray(column.cast(pa.float64()).fill_null(np.nan))
            )
            low = np.zeros(rows, bool) if self.minimum is None else value < self.minimum
            high = np.zeros(rows, bool) if self.maximum is None else value > self.maximum
            failed = low | high
            limit[low] = self.minimum
            limit[high] = self.maximum
        if self.only is not None or self.but:
            failed = failed & self.among(statistics)
        return Judgement(self.rule, failed, value, limit, detail)


def columns_of(checks: Iterable[Check]) -> frozenset[str]:
    """Names of the statistics that some checks look at."""
    found: set[str] = set()
    for check in checks:
        found |= {check.statistic} | ({"declared_language"} if check.only is not None or check.but else set())
    return frozenset(found)


class Family(BaseModel):
    """A family of rules: its limits are its fields."""

    model_config = ConfigDict(extra="forbid")

    def checks(self) -> list[Check]:
        """The rules that look at one statistic, in the order in which they are tried. A family with other rules overrides `apply`."""
        return []

    def apply(self, statistics: pa.Table) -> Judged:
        """The family's judgement over the rows of `statistics`."""
        return Judged([check.judge(statistics) for check in self.checks()])

    def columns(self) -> frozenset[str] | None:
        """Names of the statistics that `apply` looks at, so that no others are read; None: all, as where a family has an `apply` of
        its own and does not say."""
        return columns_of(self.checks()) if type(self).apply is Family.apply else None

    def fingerprint(self) -> str:
        """Changes whenever the family's decisions may: with its limits, and with the contents of files that they name."""
        return fingerprint(type(self).__name__, self.model_dump(mode="json"))

    def resolved(self, base: Path) -> Self:
        """The same with absolute paths, where the limits name files; relative ones are relative to `base`."""
        return self

    def variants(self) -> Mapping[str, Self]:
        """By natural language, the family with the limits that it has for documents in that language, where these differ."""
        return {}

    @property
    def needs_lines(self) -> bool:
        """Whether the columns of `pipeline.measure.lines` are looked at."""
        return False


def decide(statistics: pa.Table, families: Sequence[Family], *, in_words: bool = True) -> pa.Table:
    """Verdicts (`VERDICT_SCHEMA`) for the rows of `statistics`: the first rule that fails gives rule, value, limit and detail.

    What the families cut out of a document that stays is united. `in_words`: without it `detail` stays null, which saves most of the time.
    """
    rows = statistics.num_rows
    names: list[str] = []
    rule = np.full(rows, -1, np.int64)
    value, limit = np.full(rows, np.nan), np.full(rows, np.nan)
    detail = np.full(rows if in_words else 0, None, object)
    cuts: list[Cuts] = []
    cut_details: list[Sequence[str]] = []
    for family in families:
        judged = family.apply(statistics)
        for judgement in judged.judgements:
            failed = judgement.failed & (rule < 0)
            value[failed], limit[failed] = judgement.value[failed], judgement.limit[failed]
            if judgement.detail is not None and in_words:
                for row in map(int, np.flatnonzero(failed)):
                    detail[row] = judgement.detail[row]
            rule[failed] = len(names)
            names.append(judgement.rule)
        if judged.cuts is not None:
            cuts.append(judged.cuts)
            if in_words:
                words = judged.cut_detail() if callable(judged.cut_detail) else judged.cut_detail
                cut_details.append(words or [""] * rows)
    kept = rule < 0
    rules = pa.DictionaryArray.from_arrays(pa.array(rule, mask=kept), pa.array(names, pa.string()))
    columns = {
        "keep": pa.array(kept),
        "rule": rules.cast(pa.string()),
        "value": pa.array(value, from_pandas=True),
        "limit": pa.array(limit, from_pandas=True),
    }
    if cuts:
        united = all_of(cuts, rows)
        sizes = united.sizes
        for row in map(int, np.flatnonzero(kept & (sizes > 0))) if in_words else ():
            detail[row] = "; ".join(words[row] for words in cut_details if words[row])
        columns["cuts"] = pc.if_else(pa.array(kept), united.to_column(), pa.scalar(None, united.to_column().type))
    if in_words:
        columns["detail"] = pa.array(detail.tolist(), pa.string())
    return verdict_table(rows, columns)

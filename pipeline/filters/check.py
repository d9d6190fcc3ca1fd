"""A check: one statistic against its limits. Every rule of every family comes down to a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.verdicts import verdict_table


@dataclass(frozen=True)
class Check:
    """Keep a document whose statistic lies in [minimum, maximum]; for text, whose value is one of `allowed`."""

    rule: str
    statistic: str
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None


def decide(statistics: pa.Table, checks: Sequence[Check]) -> pa.Table:
    """Verdicts (`VERDICT_SCHEMA`) for the rows of `statistics`: the first check that fails gives rule, value and limit."""
    rows = statistics.num_rows
    rule = np.full(rows, -1, np.int64)
    value, limit = np.full(rows, np.nan), np.full(rows, np.nan)
    detail = np.full(rows, None, object)
    for index, check in enumerate(checks):
        column = statistics[check.statistic]
        if check.allowed is not None:
            allowed = pc.is_in(column, value_set=pa.array(check.allowed, pa.string()))
            failed = ~np.asarray(allowed, dtype=bool) & (rule < 0)
            names = column.to_pylist()
            for row in np.flatnonzero(failed):
                detail[row] = names[row] if names[row] is not None else "unknown"
        else:
            numbers = np.asarray(column, dtype=np.float64)
            low = np.zeros(rows, bool) if check.minimum is None else numbers < check.minimum
            high = np.zeros(rows, bool) if check.maximum is None else numbers > check.maximum
            failed = (low | high) & (rule < 0)
            value[failed] = numbers[failed]
            limit[failed & low] = check.minimum
            limit[failed & high] = check.maximum
        rule[failed] = index
    names_of = np.array([*(check.rule for check in checks), None], object)
    columns = {
        "keep": pa.array(rule < 0),
        "rule": pa.array(names_of[rule].tolist(), pa.string()),
        "value": pa.array(value, from_pandas=True),
        "limit": pa.array(limit, from_pandas=True),
        "detail": pa.array(detail.tolist(), pa.string()),
    }
    return verdict_table(rows, columns)

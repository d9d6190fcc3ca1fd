"""Statistics of installed packages, measured beside the built-in ones where a recipe names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from kernel.extensions import Registry, installed
from kernel.sections import NOT_INSTALLED, hint
from pipeline.workdir.errors import UserError


@dataclass(frozen=True)
class Statistic:
    """Numbers of a text.

    `columns`: the name of each number, and what it is, in words. `measure`: from a column of texts (Arrow, large_string, no nulls) to
    an array of integers or floats for each name of `columns`, an entry a text, null where there is nothing to measure; the same texts
    must always give the same numbers. `version`: a package raises it when the numbers of the same texts change, so that they are
    measured again.
    """

    columns: Mapping[str, str]
    measure: Callable[[pa.ChunkedArray], Mapping[str, Any]]
    version: int = 0

    def fingerprint(self) -> list[Any]:
        """Changes whenever the numbers may."""
        return [self.version, sorted(self.columns)]


STATISTICS: Registry[Statistic] = Registry("statistics", Statistic, {})


def _listed(schema: dict[str, Any]) -> None:
    if STATISTICS.added:
        schema["items"]["enum"] = list(STATISTICS)


class MeasureConfig(BaseModel):
    """What is measured besides the built-in statistics."""

    model_config = ConfigDict(extra="forbid")

    statistics: list[str] = Field(
        default_factory=list,
        description="Statistics of installed packages, by name; their numbers may be used in `filter`, and the report draws them."
        + installed("statistics"),
        json_schema_extra=_listed,
    )

    @field_validator("statistics")
    @classmethod
    def _are_installed(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in STATISTICS:
                known = hint(name, STATISTICS, extended=True) if STATISTICS.added else f"no installed package adds one; {NOT_INSTALLED}"
                raise ValueError(f"no statistic is named {name}; {known}")
            if names.count(name) > 1:
                raise ValueError(f"{name} is named twice; leave one out")
            STATISTICS[name]  # a package that cannot be loaded is told before anything starts
        return names


def check_columns(names: Sequence[str], taken: set[str]) -> None:
    """Raises `UserError` where two statistics measure numbers of one name, or one that is built in (`taken`)."""
    owners = dict.fromkeys(taken, "is built in")
    for name in names:
        for column in STATISTICS[name].columns:
            if column in owners or column.startswith(("line_", "classifier_")):
                why = owners.get(column, "begins as a built-in one's does")
                raise UserError(f"measure.statistics: {name}: the name of its number {column} {why}; the package must rename it")
            owners[column] = f"is {name}'s too"


def measure_added(texts: pa.ChunkedArray, names: Sequence[str]) -> dict[str, pa.Array]:
    """The numbers of the named statistics, each an array with an entry a text. Raises `UserError` where one breaks its contract."""
    found: dict[str, pa.Array] = {}
    for name in names:
        statistic = STATISTICS[name]
        measured = {column: _array(values) for column, values in statistic.measure(texts).items()}
        if set(measured) != set(statistic.columns):
            given, named = ", ".join(sorted(measured)), ", ".join(sorted(statistic.columns))
            raise UserError(f"measure.statistics: {name}: it measured {given}, but its columns are {named}; the package must mend that")
        for column in statistic.columns:
            values = measured[column]
            if len(values) != len(texts) or not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
                found_there = f"{len(values)} values of {values.type} for {len(texts)} texts"
                raise UserError(f"measure.statistics: {name}: {column} is {found_there}, not a number for each; the package must mend that")
            found[column] = values
    return found


def _array(values: Any) -> pa.Array | pa.ChunkedArray:
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)

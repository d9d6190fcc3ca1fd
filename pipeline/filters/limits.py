"""Limits on any statistic, by name: for what no family has, such as a classifier's score."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipeline.filters.check import Check, Family


class Bounds(BaseModel):
    """Bounds of one statistic."""

    model_config = ConfigDict(extra="forbid")

    min: float | None = Field(None, description="Least value.")
    max: float | None = Field(None, description="Greatest value.")


class Limits(Family):
    """A rule for each statistic that is named, `limit_NAME`."""

    bounds: dict[str, Bounds]

    def checks(self) -> list[Check]:
        return [Check(f"limit_{name}", name, bounds.min, bounds.max) for name, bounds in self.bounds.items()]

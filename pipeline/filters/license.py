"""Licence: keep what has one of the given licences, of any domain (`code` rules have the same list of their own)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.filters.check import Check, Family, Judged


class LicenseRules(Family):
    """An allow-list of licences."""

    allow: list[str] = Field(min_length=1, description="SPDX names of the licences to keep, such as CC-BY-4.0.")
    unknown: bool = Field(False, description="Keep documents whose licence is not known, too.")

    def checks(self) -> list[Check]:
        return [Check("license", "license", allowed=tuple(self.allow))]

    def apply(self, statistics: pa.Table) -> Judged:
        (judgement,) = super().apply(statistics).judgements
        if self.unknown:
            judgement.failed[pc.is_null(statistics["license"]).to_numpy()] = False
        return Judged([judgement])

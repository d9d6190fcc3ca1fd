"""Licence: keep what may be used under one of the given licences."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from pipeline.filters.check import Family, Judged, Judgement
from pipeline.filters.licenses import PERMISSIVE, check_license, is_allowed

Licenses = list[str] | Literal["permissive"]


def judge_licenses(rule: str, statistics: pa.Table, licenses: Licenses, *, unknown: bool = False) -> Judgement:
    """A document fails if it may not be used under any of the licences; with `unknown`, one whose licence is not known passes.

    A licence is an SPDX expression: of `MIT OR GPL-2.0-only` one is enough, of `MIT AND BSD-3-Clause` both are needed.
    """
    allowed = frozenset(PERMISSIVE if licenses == "permissive" else licenses)
    names = statistics["license"].to_pylist()
    verdict = {name: (unknown if name is None else is_allowed(name, allowed)) for name in set(names)}
    failed = np.array([not verdict[name] for name in names], bool)
    nothing = np.full(len(names), np.nan)
    return Judgement(rule, failed, nothing, nothing, [name if name is not None else "unknown" for name in names])


def check_licenses(licenses: Licenses | None) -> None:
    """Raises `ValueError`, in one line with the nearest right one, where a name is no SPDX expression and none that a reader gives."""
    for name in licenses if isinstance(licenses, list) else ():
        check_license(name)


class LicenseRules(Family):
    """An allow-list of licences."""

    allow: Licenses = Field(description="SPDX names of the licences to keep, such as CC-BY-4.0; or `permissive`: Blue Oak's list.")
    unknown: bool = Field(False, description="Keep documents whose licence is not known, too.")

    @field_validator("allow")
    @classmethod
    def _are_licenses(cls, allow: Licenses) -> Licenses:
        check_licenses(allow)
        return allow

    def columns(self) -> frozenset[str]:
        return frozenset({"license"})

    def apply(self, statistics: pa.Table) -> Judged:
        return Judged([judge_licenses("license", statistics, self.allow, unknown=self.unknown)])

"""Licence: keep what may be used under one of the given licences."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pyarrow as pa
from license_expression import get_spdx_licensing
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.filters.check import Family, Judged, Judgement
from pipeline.filters.licenses import PERMISSIVE, check_license, is_allowed


class LicenseFamily(BaseModel):
    """All versions of one of Creative Commons' licences."""

    model_config = ConfigDict(extra="forbid")

    family: Literal["CC-BY", "CC-BY-SA", "CC-BY-ND", "CC-BY-NC", "CC-BY-NC-SA", "CC-BY-NC-ND"] = Field(
        description="The licence without its version. CC-BY has none of the others in it."
    )
    versions: list[Literal["1.0", "2.0", "2.1", "2.5", "3.0", "4.0"]] | None = Field(
        None, min_length=1, description="Which versions, ported ones too; default: every one, also where a document does not say which."
    )

    def names(self) -> frozenset[str]:
        """The names that documents have for it."""
        pattern = re.compile(rf"{self.family}-([0-9]\.[0-9])(?:-[A-Z]{{2,3}})?")
        found = {name: match[1] for name in get_spdx_licensing().known_symbols if (match := pattern.fullmatch(name))}
        if self.versions is None:
            return frozenset({self.family, *found})
        return frozenset(name for name, version in found.items() if version in self.versions)


Licenses = list[str | LicenseFamily] | Literal["permissive"]


def names_of(licenses: Licenses) -> frozenset[str]:
    """The names that a list allows."""
    if licenses == "permissive":
        return frozenset(PERMISSIVE)
    return frozenset().union(*({each} if isinstance(each, str) else each.names() for each in licenses))


def judge_licenses(rule: str, statistics: pa.Table, licenses: Licenses, *, unknown: bool = False) -> Judgement:
    """A document fails if it may not be used under any of the licences; with `unknown`, one whose licence is not known passes.

    A licence is an SPDX expression: of `MIT OR GPL-2.0-only` one is enough, of `MIT AND BSD-3-Clause` both are needed.
    """
    allowed = names_of(licenses)
    names = statistics["license"].to_pylist()
    verdict = {name: (unknown if name is None else is_allowed(name, allowed)) for name in set(names)}
    failed = np.array([not verdict[name] for name in names], bool)
    nothing = np.full(len(names), np.nan)
    return Judgement(rule, failed, nothing, nothing, [name if name is not None else "unknown" for name in names])


def check_licenses(licenses: Licenses | None) -> None:
    """Raises `ValueError`, in one line with the nearest right one, where a name is no SPDX expression and none that a reader gives."""
    for name in licenses if isinstance(licenses, list) else ():
        if isinstance(name, str):
            check_license(name)


class LicenseRules(Family):
    """An allow-list of licences."""

    allow: Licenses = Field(
        description="SPDX names of the licences to keep, such as CC-BY-4.0, and families, as {family: CC-BY}; or `permissive`: Blue Oak's "
        "list."
    )
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

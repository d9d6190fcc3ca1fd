"""What a mix may ask for: what is held out, how often a document may be repeated, and what each phase sees.

A *group* is what a mix names: a source, or a domain without the sources that are named beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator


class MixConfig(BaseModel):
    """What is held out, and how often a document may be repeated."""

    model_config = ConfigDict(extra="forbid")

    validation_share: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="Share of the documents that are held out for validation, drawn by their ids; near-duplicates that both stay are "
        "held out together.",
    )
    max_repetitions: float = Field(
        4.0, ge=1, description="Most times that a document is seen in a phase (Muennighoff et al. 2023: up to 4 cost little)."
    )


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

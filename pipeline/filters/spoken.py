"""Families of rules whose limits depend on the natural language that was found in a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from kernel.sections import check_name
from pipeline.filters.check import Family
from pipeline.measure.languages import check_language


class SpokenFamily(Family):
    """A family with limits for all languages, and others for some, each of which replaces the one of its name.

    `OWN` has those of the project, for languages that the published limits cannot judge. They give way to what a recipe says: of a limit
    that it sets for all languages, or for that one.
    """

    OWN: ClassVar[Mapping[str, Mapping[str, float]]] = {}

    languages: dict[str, dict[str, bool | int | float]] = Field(
        default_factory=dict,
        description="Limits for documents in a language, by its code, in place of those above, as in {de: {min_words: 40}}. Languages that "
        "the published limits cannot judge have some of our own (docs/filters.md), which give way to what a recipe sets.",
    )

    @field_validator("languages")
    @classmethod
    def _are_known(cls, languages: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        limits = [name for name in cls.model_fields if name != "languages"]
        for language, own in languages.items():
            check_language(language)
            for name in own:
                try:
                    check_name(name, limits, "limit")
                    cls.model_validate({name: own[name]}, strict=True)
                except ValidationError as error:
                    raise ValueError(f"{language}.{name}: {error.errors()[0]['msg']}, not {own[name]!r}") from error
                except ValueError as error:
                    raise ValueError(f"{language}: {error}") from error
        return languages

    @model_validator(mode="after")
    def _with_our_own(self) -> Self:
        said = self.model_fields_set - {"languages"}
        found = {}
        for language in sorted({*self.OWN, *self.languages}):
            own = {name: limit for name, limit in self.OWN.get(language, {}).items() if name not in said}
            if limits := own | self.languages.get(language, {}):
                found[language] = limits
        self.languages = found
        return self

    def variants(self) -> Mapping[str, Self]:
        return {language: self.model_copy(update=limits) for language, limits in self.languages.items()}

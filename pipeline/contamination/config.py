"""Contamination: text of evaluation sets in the corpus, found by n-grams of words, dropped or cut, and reported.

Words are those of `kernel.words`: case, punctuation and spacing do not hide a copy. Nor does spelling: items are repaired and masked as
the recipe's ingest does it to documents, and both are folded (`kernel.fold`). An item of fewer words than an n-gram is looked for whole,
if it has at least `shortest`; shorter ones are counted as "too short", and not looked for.

Instructions that many items of a set share ("Answer with one of the options below ...") are no evidence, since innocent text has them. An
n-gram is taken for one where more than `instruction` of the set's items have it (of those of one column), and in any case only in more
than 5 items, and always in more than 100. Passages that have a few questions each stay evidence: SQuAD has 5 questions to a passage,
DROP 16, in thousands of items.

Presets, and where each departs from what it is named after:
- gpt3 (Brown et al. 2020, arXiv 2005.14165, appendix C): 13-grams, 8 words at the least; n-grams in more than 10 documents of
  the corpus are taken for common phrases; 200 characters on each side of a match are cut (bytes here), pieces shorter than 200
  are cut too, and a document in more than 10 pieces is dropped. GPT-3's n varies from 8 to 13 with the set; ours is 13, or the
  whole of a shorter item.
- dolma (Soldaini et al. 2024, arXiv 2402.00159, section 4): a document with a whole paragraph of 13 words or more of an
  evaluation set is dropped. Dolma compares paragraphs, by a Bloom filter; ours asks that all their 13-grams are known.
- dclm (Li et al. 2024, arXiv 2406.11794; the settings of its Bloom deduplication): a paragraph is cut if 0.8 of its 13-grams are
  known.
- datatrove (its n-gram decontamination): a document with any 12-gram is dropped. By default, datatrove looks only for n-grams of
  answers and those that cross from question to answer; ours looks for those of the fields that are named.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.contamination.sets import AnySet
from pipeline.readers import names_differ
from pipeline.readers.config import MOST_BYTES

_PRESETS: dict[str, dict[str, Any]] = {
    "gpt3": {"ngram": 13, "shortest": 8, "unit": "ngram", "action": "cut", "around": 200, "min_piece": 200, "max_pieces": 10, "common": 10},
    "dolma": {"ngram": 13, "shortest": 13, "unit": "line", "overlap": 1.0, "action": "drop"},
    "dclm": {"ngram": 13, "shortest": 13, "unit": "line", "overlap": 0.8, "action": "cut"},
    "datatrove": {"ngram": 12, "shortest": 12, "unit": "ngram", "action": "drop"},
}


class ContaminationConfig(BaseModel):
    """Which evaluation sets are looked for in the corpus, and what is done where their text is found."""

    model_config = ConfigDict(extra="forbid")

    sets: list[AnySet] = Field(min_length=1, description="The evaluation sets.")
    preset: Literal["gpt3", "dolma", "dclm", "datatrove"] | None = Field(
        None,
        description="Published settings for all that follows; a field that is given too takes precedence. Null: the defaults below.",
    )
    ngram: int = Field(13, ge=2, le=64, description="Words in an n-gram (GPT-3, Dolma: 13; datatrove: 12).")
    shortest: int = Field(
        8, ge=1, le=64, description="An item with fewer words than an n-gram is looked for whole, from this many words on."
    )
    unit: Literal["ngram", "line"] = Field(
        "ngram", description="ngram: any n-gram of a set is a match; line: a line is a match if `overlap` of its n-grams are of a set."
    )
    overlap: float = Field(1.0, gt=0, le=1, description="With `unit: line`: least share of a line's n-grams that are of a set (DCLM: 0.8).")
    action: Literal["drop", "cut"] = Field("drop", description="Drop documents with a match, or cut what matches.")
    around: int = Field(0, ge=0, le=MOST_BYTES, description="Bytes on each side of a match that are cut too (GPT-3: 200 characters).")
    min_piece: int = Field(
        0, ge=0, le=MOST_BYTES, description="Pieces that are left by cuts and have fewer bytes are cut too (GPT-3: 200 characters)."
    )
    max_pieces: int | None = Field(
        None, ge=1, description="A document that cuts leave in more pieces is dropped (GPT-3: 10); null: none is."
    )
    common: int | None = Field(
        None,
        ge=1,
        description="N-grams in more documents of the corpus than this are common phrases, and no match (GPT-3: 10); null: none.",
    )

    instruction: float | None = Field(
        0.1,
        gt=0,
        lt=1,
        description="N-grams in more than this share of a set's items (in more than 5, and at the most 100) are its instructions, and no "
        "match; null: all n-grams are looked for.",
    )
    numbers: bool = Field(False, description="Also look for n-grams of numbers alone; page numbers and counting match everywhere.")

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("preset") in _PRESETS:
            return {**_PRESETS[values["preset"]], **values}
        return values

    @field_validator("sets")
    @classmethod
    def _names_differ(cls, sets: list[AnySet]) -> list[AnySet]:
        names_differ(sets, "evaluation sets")
        return sets

    @model_validator(mode="after")
    def _agree(self) -> ContaminationConfig:
        if self.shortest > self.ngram:
            raise ValueError(f"`shortest` is {self.shortest}, but must be at most `ngram`, which is {self.ngram}")
        return self

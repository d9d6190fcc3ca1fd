"""What tokenizer to train."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class TokenizerConfig(BaseModel):
    """A byte-level BPE tokenizer; the defaults are ModernBERT's."""

    model_config = ConfigDict(extra="forbid")

    vocab_size: int = Field(50_368, ge=512, le=1 << 20, description="Entries in all, specials included; a multiple of 64 (paper: 50,368).")
    pretokenizer: Literal["modernbert", "modern"] = Field(
        "modernbert",
        description="How text is cut before merges: `modernbert` (GPT-2's pattern) or `modern` (cl100k's pattern: a leading mark goes "
        "with its letters, digits in groups of at most three, line ends with the marks before them).",
    )
    space_runs: int = Field(
        24, ge=1, le=128, description="Runs of 2 to this many spaces are tokens of their own, for code (reference: 24); 1: none."
    )
    add_prefix_space: bool = Field(
        False,
        description="Put a space before a text that starts with none, so that a first word is the same token as a later one; with "
        "the `modernbert` pre-tokenizer alone (reference: false).",
    )
    unused: int = Field(83, ge=0, description="Entries `[unused0]` ... at the end, for users to give a meaning (reference: 83).")
    min_frequency: int = Field(
        2, ge=1, description="Fewest occurrences of a pair that is merged (the default of the published byte-level trainers: 2)."
    )
    method: Literal["huggingface"] = Field("huggingface", description="Who learns the merges: the `tokenizers` library's trainer.")
    max_length: int = Field(8192, ge=8, description="`model_max_length` of the tokenizer, in tokens (paper: 8192).")
    sample_bytes: int = Field(
        1 << 30, ge=1, description="Most bytes of text to train on; documents of the mix are chosen by a number keyed by their id."
    )

    @field_validator("vocab_size")
    @classmethod
    def _multiple_of_64(cls, size: int) -> int:
        if size % 64:
            nearest = max(512, round(size / 64) * 64)
            raise ValueError(f"is {size}, not a multiple of 64 (tensor cores want that); the nearest is {nearest}")
        return size

    @model_validator(mode="after")
    def _prefix_space(self) -> Self:
        # Behind a split, the library would put the space before every piece and not before the text.
        if self.add_prefix_space and self.pretokenizer != "modernbert":
            raise ValueError(f"add_prefix_space does not go with pretokenizer `{self.pretokenizer}`; leave it out, or choose `modernbert`")
        return self

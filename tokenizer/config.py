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
        description="How text is cut before merges: `modernbert` (GPT-2's pattern) or `modern` (cl100k's pattern: a leading sign goes "
        "with its letters, digits in short groups, line ends with the signs before them).",
    )
    digits: Literal["right", "left", "one"] = Field(
        "right",
        description="With `modern`: digits in groups of at most three from the right (Singh and Strouse 2024: arithmetic gains), from "
        "the `left` (cl100k, Llama 3), or each alone, `one` (Qwen).",
    )
    marks: bool = Field(
        False,
        description="With `modern`: combining marks (\\p{M}) belong to the word whose letters they stand by, so that a word of "
        "Hindi or Thai is not cut at each vowel sign (as Qwen 3.5 does). Quick encoding needs `digits: one` with it.",
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
    method: Literal["mapreduce", "huggingface"] = Field(
        "mapreduce",
        description="Who learns the merges: `mapreduce` counts pre-tokens over all workers and merges from the counts; "
        "`huggingface` is the `tokenizers` library's trainer, in one process. The result is the same.",
    )
    min_word_count: int = Field(
        1,
        ge=1,
        description="Pre-tokens that occur less often than this in the mix are left out of training; 1: none are, the result is exact. "
        "With `mapreduce` alone.",
    )
    max_words: int = Field(
        16_000_000,
        ge=1000,
        description="Most different pre-tokens to learn from, which bounds memory (some 150 bytes each); where the mix has more, the "
        "rarest are cut at a count that the report states; so they are where they hold more than 32 bytes each. With `mapreduce` alone.",
    )
    min_token_uses: int = Field(
        0,
        ge=0,
        description="Learned tokens that the mix uses less often than this are pruned where no other token is made of them, and leave "
        "`[unusedN]` entries; with `mapreduce` alone. 0: none.",
    )
    max_length: int = Field(8192, ge=8, description="`model_max_length` of the tokenizer, in tokens (paper: 8192).")
    sample_bytes: int | None = Field(
        None, ge=1, description="Most bytes of text to train on, of documents chosen by a number keyed by their id; null: the whole mix."
    )

    @field_validator("vocab_size")
    @classmethod
    def _multiple_of_64(cls, size: int) -> int:
        if size % 64:
            nearest = max(512, round(size / 64) * 64)
            raise ValueError(f"is {size}, not a multiple of 64 (tensor cores want that); the nearest is {nearest}")
        return size

    @model_validator(mode="after")
    def _by_the_library(self) -> Self:
        if self.method == "huggingface":
            for name in ("min_word_count", "max_words", "min_token_uses"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} does not go with method `huggingface`; leave it out, or choose `mapreduce`")
        return self

    @model_validator(mode="after")
    def _prefix_space(self) -> Self:
        # Behind a split, the library would put the space before every piece and not before the text.
        if self.add_prefix_space and self.pretokenizer != "modernbert":
            raise ValueError(f"add_prefix_space does not go with pretokenizer `{self.pretokenizer}`; leave it out, or choose `modernbert`")
        if self.pretokenizer == "modernbert" and (self.digits != "right" or self.marks):
            raise ValueError("digits and marks do not go with pretokenizer `modernbert`; leave them out, or choose `modern`")
        return self

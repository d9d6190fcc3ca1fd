"""Rules for source code: line lengths and alphanumeric share of The Stack / StarCoder (Li et al. 2023, arXiv 2305.06161),
and an allow-list of licences."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipeline.filters.check import Check


class CodeRules(BaseModel):
    """Limits for source code; the defaults are StarCoder's."""

    model_config = ConfigDict(extra="forbid")

    max_longest_line: int = Field(1000, ge=1, description="Most characters in the longest line (StarCoder: 1000).")
    max_mean_line: float = Field(100, ge=1, description="Greatest mean length of a line, in characters (StarCoder: 100).")
    min_alphanumeric: float = Field(0.25, ge=0, le=1, description="Least share of letters and numbers (StarCoder: 0.25).")
    min_characters: int = Field(100, ge=0, description="Fewest characters; shorter files are mostly empty `__init__`s.")
    licenses: list[str] | None = Field(
        None, description="SPDX names of the licences to keep; a file of unknown licence is then dropped. None: any."
    )

    def checks(self) -> list[Check]:
        checks = [
            Check("code_characters", "characters", minimum=self.min_characters),
            Check("code_longest_line", "longest_line", maximum=self.max_longest_line),
            Check("code_mean_line", "mean_line", maximum=self.max_mean_line),
            Check("code_alphanumeric", "alphanumeric", minimum=self.min_alphanumeric),
        ]
        if self.licenses is not None:
            checks.insert(0, Check("code_license", "license", allowed=tuple(self.licenses)))
        return checks

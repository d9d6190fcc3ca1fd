"""Rules for source code: StarCoder's (Li et al. 2023, arXiv 2305.06161, section 3), The Stack v2's (Lozhkov et al. 2024, arXiv
2402.19173, section 2), and an allow-list of licences.

StarCoder's authors chose limits by hand for each language; The Stack v2 has one set of limits with exceptions, as is here. The limit
`min_characters` is our own. Files are recognised as generated and vendored when they are read (`meta`), as
github-linguist does.
"""

from __future__ import annotations

import pyarrow as pa
from pydantic import Field, field_validator

from pipeline.filters.check import Check, Family, Judged, columns_of
from pipeline.filters.license import Licenses, check_licenses, judge_licenses
from pipeline.measure.languages import check_code_language

# The Stack v2: of these only the longest line is limited, and generously.
LONG_LINES = ("HTML", "JSON", "Markdown", "Roff", "Roff Manpage", "SMT", "TeX", "Text", "XML")
# ... and these are data or configuration where they are long.
DATA = ("Text", "JSON", "YAML", "Web Ontology Language", "Graphviz (DOT)")
XML = ("XSLT",)  # StarCoder: an XML declaration is no reason to drop these


class CodeRules(Family):
    """Limits for source code; the defaults are those of The Stack v2 and StarCoder."""

    licenses: Licenses | None = Field(
        None,
        description="SPDX names of the licences to keep, or `permissive` (Blue Oak's list, as The Stack v2 starts from); a file of unknown "
        "licence is then dropped. Null: any.",
    )
    languages: list[str] | None = Field(
        None, min_length=1, description="Programming languages to keep, as linguist names them (Python, C, C++ ...). Null: any."
    )
    generated: bool = Field(False, description="Keep files that say they were generated, or look it (The Stack v2: no).")
    vendored: bool = Field(False, description="Keep copies of other projects' files (The Stack v2: no).")
    min_characters: int = Field(100, ge=0, description="Fewest characters (our own: shorter files are mostly empty `__init__`s).")
    max_lines: int = Field(100_000, ge=1, description="Most lines (The Stack v2: 100,000).")
    max_data_lines: int = Field(512, ge=1, description=f"Most lines of {', '.join(DATA)} (The Stack v2: 512).")
    max_longest_line: int = Field(1000, ge=1, description="Most characters in the longest line (StarCoder, The Stack v2: 1000).")
    max_mean_line: float = Field(100, ge=1, description="Greatest mean length of a line, in characters (StarCoder, The Stack v2: 100).")
    max_longest_text_line: int = Field(
        100_000, ge=1, description=f"The one limit on lines of {', '.join(LONG_LINES)} (The Stack v2: 100,000)."
    )
    min_alphanumeric: float = Field(0.25, ge=0, le=1, description="Least share of letters and numbers (StarCoder: 0.25).")
    min_letters: float = Field(0.25, ge=0, le=1, description="Least share of letters (The Stack v2: 0.25).")
    max_encoded: float = Field(0.5, ge=0, le=1, description="Greatest share of encoded data, such as base64 (The Stack v2: 0.5).")
    max_longest_encoded: int = Field(1024, ge=1, description="Most characters of encoded data in one run (The Stack v2: 1024).")
    xml: bool = Field(False, description="Keep files that begin as XML (StarCoder: no); XSLT is always kept.")
    min_markup_text: float = Field(0.2, ge=0, le=1, description="Least share of visible text in HTML (StarCoder: 0.2).")
    min_markup_text_characters: int = Field(100, ge=0, description="Least visible text in HTML, in characters (StarCoder: 100).")
    min_comments: float | None = Field(None, ge=0, le=1, description="Least share of comments (SantaCoder: 0.01). Null: any.")
    max_comments: float | None = Field(None, ge=0, le=1, description="Greatest share of comments (SantaCoder: 0.8). Null: any.")

    @field_validator("licenses")
    @classmethod
    def _are_licenses(cls, licenses: Licenses | None) -> Licenses | None:
        check_licenses(licenses)
        return licenses

    @field_validator("languages")
    @classmethod
    def _are_languages(cls, languages: list[str] | None) -> list[str] | None:
        for name in languages or ():
            check_code_language(name)
        return languages

    def checks(self) -> list[Check]:
        checks = []
        if self.languages is not None:
            checks.append(Check("code_language", "declared_language", allowed=tuple(self.languages)))
        if not self.generated:
            checks.append(Check("code_generated", "generated", absent=True))
        if not self.vendored:
            checks.append(Check("code_vendored", "vendored", absent=True))
        return [
            *checks,
            Check("code_characters", "characters", minimum=self.min_characters),
            Check("code_lines", "total_lines", maximum=self.max_lines),
            Check("code_data_lines", "total_lines", maximum=self.max_data_lines, only=DATA),
            Check("code_longest_line", "longest_line", maximum=self.max_longest_line, but=LONG_LINES),
            Check("code_mean_line", "mean_line", maximum=self.max_mean_line, but=LONG_LINES),
            Check("code_longest_text_line", "longest_line", maximum=self.max_longest_text_line, only=LONG_LINES),
            Check("code_alphanumeric", "alphanumeric", minimum=self.min_alphanumeric),
            Check("code_letters", "letters", minimum=self.min_letters),
            Check("code_encoded", "encoded", maximum=self.max_encoded),
            Check("code_longest_encoded", "longest_encoded", maximum=self.max_longest_encoded),
            *([] if self.xml else [Check("code_xml", "xml", maximum=0, but=XML)]),
            Check("code_markup_text", "markup_text", minimum=self.min_markup_text, only=("HTML",)),
            Check("code_markup_characters", "markup_text_characters", minimum=self.min_markup_text_characters, only=("HTML",)),
            *(
                []
                if self.min_comments is None and self.max_comments is None
                else [Check("code_comments", "comments", self.min_comments, self.max_comments)]
            ),
        ]

    def columns(self) -> frozenset[str]:
        return columns_of(self.checks()) | {"license"}

    def apply(self, statistics: pa.Table) -> Judged:
        judged = super().apply(statistics)
        if self.licenses is None:
            return judged
        return Judged([judge_licenses("code_license", statistics, self.licenses), *judged.judgements])

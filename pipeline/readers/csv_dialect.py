"""How a file of separated values is written, told from its first lines: what separates fields, what begins comments, what escapes quotes.

RFC 4180 knows none of it. Excel writes `sep=;` in a first line; statistics' offices and bioinformatics begin files with `#` lines; MySQL,
Hive and Spark write a backslash before a quotation mark that RFC 4180 would double.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

SAMPLE = 1 << 16
_DELIMITERS = (",", "\t", ";", "|")
_SEPARATOR = re.compile(r"\s{0,9}\"?sep=([^\"\r\n])\"?[ \t]{0,9}[\r\n]{0,2}\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """`before`: lines ahead of the first row. `comment`: what begins a line that is none; `may_be_row`: but with as many fields."""

    delimiter: str
    escape: str | None
    comment: str | None
    may_be_row: bool
    before: int


def find(sample: str, delimiter: str | None, escape: str | None, comment: str | None, *, has_columns: bool, quotes: bool) -> Dialect:
    """The dialect of a file that begins with `sample`; what is given is not looked for. `has_columns`: no line names the columns."""
    lines = sample.splitlines(keepends=True)
    lines = lines[:-1] if len(lines) > 1 and len(sample) >= SAMPLE // 4 else lines  # the last may be cut
    before = 0
    if lines and (said := _SEPARATOR.match(lines[0])):
        delimiter, before = delimiter or said[1], 1
    given = comment is not None
    marked = before
    while comment is None and marked < len(lines) and lines[marked].startswith("#"):
        marked += 1
    rest = [line for line in lines[marked:] if not (comment and line.startswith(comment))]
    delimiter = delimiter or find_delimiter("".join(rest or lines[before:]))
    if marked > before and rest:
        # `#id<tab>text` may be the line that names the columns, above rows of as many fields
        fields = len(next(_rows(rest, delimiter, None, quotes), []))
        named = [
            number
            for number in range(before, marked)
            if len(next(_rows(lines[number : number + 1], delimiter, None, quotes), [])) == fields
        ]
        is_told = lines[marked - 1][1:2] != " " or delimiter == "\t"  # `# made on a day, by X` has the fields of a row by chance
        is_header = not has_columns and named[-1:] == [marked - 1] and fields > 1 and is_told
        before = marked - is_header
        comment = "#" if marked - is_header > 0 and len(named) < marked else None
    if escape is None and quotes and any(f"\\{mark}" in sample for mark in ('"', delimiter)):
        escape = "\\" if _even(rest, delimiter, "\\", quotes) > _even(rest, delimiter, None, quotes) else None
    return Dialect(delimiter, escape, comment, not given, before)


def _rows(lines: list[str], delimiter: str, escape: str | None, quotes: bool) -> Iterator[list[str]]:
    """Rows up to the first that is none."""
    given = escaped(lines, delimiter, escape) if escape else iter(lines)
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    try:
        yield from csv.reader(given, delimiter=delimiter, escapechar=escape, quoting=quoting, strict=True)  # type: ignore[arg-type]
    except csv.Error:
        return


def _even(lines: list[str], delimiter: str, escape: str | None, quotes: bool) -> int:
    """How many rows have as many fields as the first."""
    counts = [len(row) for row in _rows(lines, delimiter, escape, quotes)]
    return counts.count(counts[0]) if counts else 0


def escaped(lines: Iterator[str] | list[str], delimiter: str, escape: str) -> Iterator[str]:
    """Lines for the csv module, which would take the backslash of `C:\\new` for an escape: it is one before a quotation mark, what
    separates fields, a line's end and itself, and a character before all others."""
    mark = re.escape(escape)
    meant = re.compile(rf'{mark}(["{mark}{re.escape(delimiter)}\r\n])|{mark}')
    for line in lines:
        yield meant.sub(lambda found: found[0] if found[1] else escape * 2, line) if escape in line else line


def find_delimiter(sample: str) -> str:
    """What separates the fields of a file's first lines: of comma, tab, semicolon and bar, the one that gives most of them the
    same number of fields, at least two; of equals, the one that gives more. A comma where none does.
    """
    lines = sample.splitlines(keepends=True)
    lines = lines[:-1] if len(lines) > 1 and len(sample) >= SAMPLE // 4 else lines  # the last may be cut

    def evenness(delimiter: str) -> tuple[float, int]:
        counts = []
        try:
            for row in csv.reader(lines, delimiter=delimiter):
                counts.append(len(row))
        except csv.Error:
            pass
        first = counts[0] if counts else 0
        return (sum(count == first for count in counts) / len(counts), first) if first > 1 else (0.0, 0)

    best = max(_DELIMITERS, key=evenness)
    return best if evenness(best)[1] else ","

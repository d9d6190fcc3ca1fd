"""CSV and TSV: one row, one record, fields mapped as in JSON."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pydantic import Field

from pipeline.readers.csv_dialect import SAMPLE, Dialect, escaped, find
from pipeline.readers.decode import Lines, describe_bytes, text_lines
from pipeline.readers.json_records import RecordsSource, to_record
from pipeline.readers.record import RAW_BYTES, PassedOver, Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, describe

# A stray quote makes all up to the next one a field. Its row is unreadable, and what followed its first line is read again;
# so often, at most, since each time may cost `max_record_bytes`.
_READ_AGAIN = 64
# What bytes that are not of the charset become, where it extends ASCII.
_ESCAPED = frozenset(map(chr, range(0xDC80, 0xDD00)))


class CsvSource(RecordsSource):
    """Comma-separated values, or values separated by something else (CSV, TSV)."""

    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="What separates fields. Default: what a first line `sep=;` says, tab in .tsv files, else found.",
    )
    quotes: bool = Field(True, description='Whether fields may be quoted with `"`; false where a quote is a quote.')
    escape: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="What takes its meaning from a quotation mark or a separator behind it (MySQL's, Hive's and Spark's backslash). "
        "Default: a backslash where the first rows can be read with it alone, else none, and quotation marks are doubled.",
    )
    comment: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="What a line begins with that is no row. Default: `#` where the file begins with such lines, of which those that have "
        "the fields of a row are rows.",
    )
    columns: list[str] | None = Field(None, min_length=1, description="The columns' names, where the first line does not give them.")


def read(member: Member, source: CsvSource) -> Iterator[Record | Unreadable | PassedOver]:
    """The first line names the columns, unless `columns` does. A row is unreadable if it is too long, has more fields than there are
    columns, is not in the charset or is not well quoted; reading goes on with the next line. One with fewer fields is noted. Comments, and
    Excel's `sep=;`, are passed over. Of columns of one name the first has it, the others `name.1` and on.
    """
    stream, sample, charset = text_lines(member.stream, (head := member.stream.read(SAMPLE)), source.encoding)
    is_tab = member.name.lower().endswith((".tsv", ".tab"))
    given = source.delimiter or ("\t" if is_tab and not sample[:8].lower().startswith("sep=") else None)
    dialect = find(sample, given, source.escape, source.comment, has_columns=source.columns is not None, quotes=source.quotes)
    del head
    lines = _Lines(stream, source.max_record_bytes, dialect, source.quotes)
    columns = source.columns
    csv.field_size_limit(source.max_record_bytes)
    while True:
        place = f"{member.path}#{lines.number + 1}"
        try:
            if dialect.before > lines.number:
                lines.skip()
                yield PassedOver("comment")
                continue
            try:
                row = lines.row()
            except (csv.Error, _TooLong) as error:
                yield Unreadable(place, f"not a row: {describe(error)}", lines.raw())
                lines.put_back()  # which reads on, and may meet what the clauses below are for
                continue
        except UnicodeDecodeError as error:
            yield Unreadable(place, f"{describe_bytes(error)}; the rest cannot be read")
            return
        except STREAM_ERRORS as error:
            yield Unreadable(place, f"the rest cannot be read: {describe(error)}")
            return
        if row is None:
            return
        if row:
            columns, item = _item(row, columns, place, charset, lines, source)
            if item is not None:
                yield item


def _item(
    row: list[str], columns: list[str] | None, place: str, charset: str, lines: _Lines, source: CsvSource
) -> tuple[list[str] | None, Record | Unreadable | PassedOver | None]:
    """The columns after a row, and what the row is; nothing where it names the columns."""
    comment = lines.dialect.comment
    if comment and row[0].startswith(comment) and lines.begins_with(comment):
        if columns is None and lines.dialect.may_be_row and lines.dialect.before == lines.number - 1:
            row = [row[0].removeprefix(comment), *row[1:]]
        elif not lines.dialect.may_be_row or len(row) != len(columns or ()):
            return columns, PassedOver("comment")
    if not _ESCAPED.isdisjoint("".join(row)):
        return columns, Unreadable(place, f"not {charset}", lines.raw())
    if columns is None:
        return _unlike([name.strip() for name in row]), None
    if len(row) > len(columns):
        return columns, Unreadable(place, f"{len(row)} fields in {len(columns)} columns", lines.raw())
    item = to_record(dict(zip(columns, row, strict=False)), place, source)
    if len(row) < len(columns) and isinstance(item, Record):
        item = replace(item, notes=("row of fewer fields than columns",))
    return columns, item


def _unlike(names: list[str]) -> list[str]:
    """Names of columns, each its own."""
    seen: Counter[str] = Counter()
    unlike = []
    for name in names:
        unlike.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return unlike


class _TooLong(ValueError):
    """A row that outgrows `max_record_bytes`."""


class _Lines:
    """Lines for the csv module, those of the current row kept. `number`: how many were read, with the current row's."""

    def __init__(self, stream: Lines, limit: int, dialect: Dialect, quotes: bool) -> None:
        self._stream, self._limit, self.dialect = stream, limit, dialect
        self._quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        self._row: list[str] = []
        self._again: list[str] = []
        self._left = _READ_AGAIN
        self._size = 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else self._stream.readline(self._limit - self._size + 1)
        if not line:
            raise StopIteration
        self._row.append(line)
        self._size += len(line)
        if self._size > self._limit:
            raise _TooLong(f"longer than max_record_bytes ({self._limit})")
        self.number += line.endswith(("\n", "\r"))
        return line

    def row(self) -> list[str] | None:
        """The next row; None at the end. Raises `csv.Error` and `_TooLong`."""
        self._row, self._size = [], 0
        delimiter, escape = self.dialect.delimiter, self.dialect.escape
        given = escaped(self, delimiter, escape) if escape else self
        return next(csv.reader(given, delimiter=delimiter, escapechar=escape, quoting=self._quoting, strict=True), None)

    def skip(self) -> None:
        """Pass a line that is no row. Raises `_TooLong`."""
        self._row, self._size = [], 0
        next(self, None)

    def begins_with(self, mark: str) -> bool:
        """Whether the current row's first line begins so, which a quoted field does not."""
        return bool(self._row) and self._row[0].startswith(mark)

    def raw(self) -> bytes:
        """The current row's first bytes, in UTF-8."""
        return "".join(self._row)[:RAW_BYTES].encode("utf-8", "replace")[:RAW_BYTES]

    def put_back(self) -> None:
        """Give what followed the current row's first line once more, a bounded number of times; pass the rest of a long line."""
        last = self._row[-1] if self._row else "\n"
        if not last.endswith(("\n", "\r")):
            while last and not last.endswith(("\n", "\r")):
                last = self._stream.readline(1 << 20)
            self.number += 1
        if self._left and len(self._row) > 1:
            self._left -= 1
            again = self._row[1:]
            if not again[-1].endswith(("\n", "\r")):
                again.pop()
            self.number -= len(again)
            self._again.extend(reversed(again))

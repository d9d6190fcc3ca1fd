"""CSV and TSV: one row, one record, fields mapped as in JSON."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from pipeline.readers.decode import describe_bytes
from pipeline.readers.json_records import RecordsSource, to_record
from pipeline.readers.record import RAW_BYTES, Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, describe, rejoin

_SAMPLE = 1 << 16
_DELIMITERS = (",", "\t", ";", "|")
# A stray quote makes all up to the next one a field. Its row is unreadable, and what followed its first line is read again;
# so often, at most, since each time may cost `max_record_bytes`.
_READ_AGAIN = 64
# What bytes that are not of the charset become, where it extends ASCII.
_ESCAPED = frozenset(map(chr, range(0xDC80, 0xDD00)))


class CsvSource(RecordsSource):
    """Comma-separated values, or values separated by something else (CSV, TSV)."""

    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="What separates fields. Default: tab in .tsv files, else found."
    )
    quotes: bool = Field(True, description='Whether fields may be quoted with `"`; false where a quote is a quote.')
    columns: list[str] | None = Field(None, min_length=1, description="The columns' names, where the first line does not give them.")


def read(member: Member, source: CsvSource) -> Iterator[Record | Unreadable]:
    """The first line names the columns, unless `columns` does. A row is unreadable if it is too long, has more or fewer fields than
    there are columns, is not in the charset or is not well quoted; reading goes on with the next line.
    """
    head = member.stream.read(_SAMPLE)
    charset = _charset(head, source)
    stream = io.TextIOWrapper(rejoin(head, member.stream), charset, errors="surrogateescape", newline="")
    delimiter = source.delimiter or (
        "\t" if member.name.lower().endswith((".tsv", ".tab")) else find_delimiter(head.decode(charset, "replace"))
    )
    lines = _Lines(stream, source.max_record_bytes)
    columns = source.columns
    csv.field_size_limit(source.max_record_bytes)
    while True:
        place = f"{member.path}#{lines.number + 1}"
        try:
            try:
                row = lines.row(delimiter, source.quotes)
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
        if not row:
            continue
        if not _ESCAPED.isdisjoint("".join(row)):
            yield Unreadable(place, f"not {charset}", lines.raw())
        elif columns is None:
            columns = [name.strip() for name in row]
        elif len(row) > len(columns):
            yield Unreadable(place, f"{len(row)} fields in {len(columns)} columns", lines.raw())
        else:
            yield to_record(dict(zip(columns, row, strict=False)), place, source)


class _TooLong(ValueError):
    """A row that outgrows `max_record_bytes`."""


class _Lines:
    """Lines for the csv module, those of the current row kept. `number`: how many were read, with the current row's."""

    def __init__(self, stream: io.TextIOWrapper, limit: int) -> None:
        self._stream, self._limit = stream, limit
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

    def row(self, delimiter: str, quotes: bool) -> list[str] | None:
        """The next row; None at the end. Raises `csv.Error` and `_TooLong`."""
        self._row, self._size = [], 0
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        return next(csv.reader(self, delimiter=delimiter, quoting=quoting, strict=True), None)

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


def _charset(head: bytes, source: CsvSource) -> str:
    for mark, charset in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if head.startswith(mark):
            return charset
    return source.encoding or "utf-8"


def find_delimiter(sample: str) -> str:
    """What separates the fields of a file's first lines: of comma, tab, semicolon and bar, the one that gives most of them the
    same number of fields, at least two; of equals, the one that gives more. A comma where none does.
    """
    lines = sample.splitlines(keepends=True)
    lines = lines[:-1] if len(lines) > 1 and len(sample) >= _SAMPLE // 4 else lines  # the last may be cut

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

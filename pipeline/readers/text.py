"""Plain text, Markdown and reStructuredText: one file, one document."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.readers.config import SourceConfig
from pipeline.readers.decode import decode
from pipeline.readers.files import Member, read_all
from pipeline.readers.record import RAW_BYTES, Record, Unreadable


def read(member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """The file as it is, in UTF-8 or as its byte order mark says."""
    data = read_all(member, source)
    try:
        text = decode(data, source.encoding)
    except UnicodeDecodeError as error:
        yield Unreadable(f"{member.path} (byte {error.start})", f"not {error.encoding.upper()}: {error.reason}", data[:RAW_BYTES])
        return
    yield Record(member.path, text, path=member.name)

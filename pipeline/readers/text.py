"""Plain text: one file, one document."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.readers.config import EncodedSource
from pipeline.readers.decode import decode, describe_bytes
from pipeline.readers.record import RAW_BYTES, Record, Unreadable
from pipeline.readers.streams import Member, read_all


def load(member: Member, source: EncodedSource) -> str | Unreadable:
    """A member's text: by its byte order mark, else in the source's `encoding`, else as UTF-8. What is not valid is not guessed at."""
    data = read_all(member, source)
    try:
        return decode(data, source.encoding)
    except UnicodeDecodeError as error:
        return Unreadable(f"{member.path} (byte {error.start})", describe_bytes(error), data[:RAW_BYTES])
    except (UnicodeError, LookupError, ValueError) as error:
        return Unreadable(member.path, f"cannot be read as {source.encoding}: {error}", data[:RAW_BYTES])


def read(member: Member, source: EncodedSource) -> Iterator[Record | Unreadable]:
    """The file as it is."""
    text = load(member, source)
    yield text if isinstance(text, Unreadable) else Record(member.path, text, path=member.name)

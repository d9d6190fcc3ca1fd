"""What the messages of an Arrow file or stream would take in memory, read from their headers before anything of them is.

A message's buffers may be compressed, each with its length before it, so that kilobytes may claim gigabytes. The layout is that of
the Arrow columnar format 1.5 (its documentation, "Serialization and Interprocess Communication"): FlatBuffers, little-endian.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from pipeline.readers.streams import TooLarge

_METADATA_BYTES = 64 << 20  # of a message or footer, at most
_CONTINUES = b"\xff\xff\xff\xff"
_DICTIONARY, _BATCH = 2, 3  # kinds of messages with a body


class _Table:
    """A table of a FlatBuffer. Anything that leads out of it raises `struct.error`."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self._place = data, place

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def _at(self, index: int) -> int | None:
        (back,) = struct.unpack_from("<i", self._data, self._place)
        vtable = self._place - back
        (size,) = struct.unpack_from("<H", self._data, vtable)
        offset = struct.unpack_from("<H", self._data, vtable + 4 + 2 * index)[0] if 4 + 2 * index < size else 0
        return self._place + offset if offset else None

    def number(self, index: int, format: str) -> int:
        at = self._at(index)
        return 0 if at is None else int(struct.unpack_from(format, self._data, at)[0])

    def table(self, index: int) -> _Table | None:
        at = self._at(index)
        return None if at is None else _Table(self._data, at + struct.unpack_from("<I", self._data, at)[0])

    def structs(self, index: int, format: str) -> list[tuple[int, ...]]:
        at = self._at(index)
        if at is None:
            return []
        at += struct.unpack_from("<I", self._data, at)[0]
        count, size = struct.unpack_from("<I", self._data, at)[0], struct.calcsize(format)
        if count * size > len(self._data):
            raise struct.error("a vector longer than its message")
        return list(struct.iter_unpack(format, self._data[at + 4 : at + 4 + count * size]))


def _body(metadata: bytes, limit: int) -> tuple[int, list[int]]:
    """How long a message's body is, and where in it the lengths of compressed buffers are. Raises `TooLarge` and `OSError`."""
    try:
        message = _Table.root(metadata)
        length, kind, header = message.number(3, "<q"), message.number(1, "<B"), message.table(2)
        if kind == _DICTIONARY and header is not None:
            header = header.table(1)
        compressed = kind in (_DICTIONARY, _BATCH) and header is not None and header.table(3) is not None
        places = [offset for offset, stored in header.structs(2, "<qq") if stored >= 8] if compressed and header is not None else []
    except struct.error as error:
        raise OSError(f"a message that is not one: {error}") from error
    _within(length, limit)
    return length, [place for place in places if 0 <= place <= length - 8]


def _within(size: int, limit: int) -> None:
    if not 0 <= size <= limit:
        raise TooLarge(f"a batch of {size} bytes, over {limit}; write smaller ones, or raise max_record_bytes")


def _expanded(body: BinaryIO, begin: int, places: list[int]) -> int:
    """The sizes that a body's compressed buffers declare for their contents; a buffer that is stored uncompressed declares -1."""
    size = 0
    for place in places:
        body.seek(begin + place)
        size += max(0, int.from_bytes(body.read(8), "little", signed=True))
    return size


def check_file(file: BinaryIO, limit: int) -> None:
    """Raises `TooLarge` where one of the file's messages would take over `limit` bytes, `OSError` where its footer is none."""
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - 10))
    tail = file.read(10)
    size = int.from_bytes(tail[:4], "little", signed=True)
    if len(tail) < 10 or tail[4:] != b"ARROW1" or not 0 < size <= min(end - 10, _METADATA_BYTES):
        raise OSError("no Arrow footer; the file is cut off or damaged")
    file.seek(end - 10 - size)
    try:
        footer = _Table.root(file.read(size))
        blocks = [block for index in (2, 3) for block in footer.structs(index, "<qi4xq")]
    except struct.error as error:
        raise OSError(f"an Arrow footer that is none: {error}") from error
    for offset, prefix, _ in blocks:
        if not 0 <= offset <= end or not 8 <= prefix <= min(end, _METADATA_BYTES):
            raise OSError("an Arrow footer that leads out of the file")
        file.seek(offset)
        metadata = file.read(prefix)
        length, places = _body(metadata[8:] if metadata.startswith(_CONTINUES) else metadata[4:], limit)
        _within(length + _expanded(file, offset + prefix, places), limit)
    file.seek(0)


class CheckedStream(io.RawIOBase):
    """An Arrow stream, each message looked at before it is given on. Reading raises `TooLarge` and `OSError`."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream, self._limit = stream, limit
        self._held = io.BytesIO()
        self._left = 0  # bytes of the current message that come after those held

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._held.read(len(buffer))
        if not data and self._left:
            data = self._stream.read(min(len(buffer), self._left))
            self._left = self._left - len(data) if data else 0
        elif not data:
            self._held = io.BytesIO(self._message())
            data = self._held.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _message(self) -> bytes:
        """The next message, without its body where that is not compressed, which is as long as it says."""
        prefix = size = self._stream.read(4)
        if prefix == _CONTINUES:
            size = self._stream.read(4)
            prefix += size
        length = int.from_bytes(size, "little", signed=True)
        if len(size) < 4 or length == 0:
            return prefix
        if not 0 < length <= _METADATA_BYTES:
            raise OSError(f"a message with a header of {length} bytes")
        metadata = self._stream.read(length)
        length, places = _body(metadata, self._limit)
        if not places:
            self._left = length
            return prefix + metadata
        body = self._stream.read(length)
        _within(length + _expanded(io.BytesIO(body), 0, places), self._limit)
        return prefix + metadata + body

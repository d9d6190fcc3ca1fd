"""The pieces into which lines are cut before they are looked at for secrets, told plainly."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.ingest.secrets import OVERLAP, PIECE


def every_piece(data: bytes, size: int = PIECE, overlap: int = OVERLAP) -> Iterator[tuple[int, int]]:
    """The pieces as the kernel cuts them, as (start, end) in bytes."""
    start = 0
    while start < len(data):
        line = data.find(b"\n", start)
        line = len(data) if line < 0 else line
        end = start + size
        while end < line and data[end] & 0xC0 == 0x80:
            end += 1
        if end >= line:
            yield start, line
            start = line + 1
            continue
        yield start, end
        start = end - overlap
        while data[start] & 0xC0 == 0x80:
            start -= 1

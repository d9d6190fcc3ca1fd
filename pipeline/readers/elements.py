"""Large XML files, element by element: each record's bytes, found without parsing, so that one that is broken costs only itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipeline.readers.streams import read_some

CHUNK = 1 << 20


def split(stream: BinaryIO, names: tuple[str, ...], limit: int, head: bytes = b"") -> Iterator[tuple[int, bytes | int]]:
    """Elements of these names as (byte offset, its bytes), in order. `head` are bytes of the stream that were read before.

    One that is longer than `limit` is skipped in pieces and gives its length instead. The elements must not nest in each other;
    where one begins before the last has ended (its end is lost), the last one's bytes go to there, and it will not parse. At most
    `limit` and one chunk are held. What the stream raises comes out after what was read before; an element that the stream's end
    cuts is given as far as it goes.
    """
    alternatives = "|".join(map(re.escape, names)).encode()
    # Linear: no repetition that could try again.
    begin = re.compile(rb"<(" + alternatives + rb")(?=[\s>/])")
    longest = max(map(len, names)) + 4
    buffer, offset, ended = head, 0, False
    while True:
        match = begin.search(buffer)
        if match is None:
            keep = buffer[-longest:]
            offset += len(buffer) - len(keep)
            chunk = read_some(stream, CHUNK)
            if not chunk:
                return
            buffer = keep + chunk
            continue
        offset += match.start()
        buffer = buffer[match.start() :]
        end_tag = re.compile(rb"</" + match.group(1) + rb"\s{0,64}>")
        position, skipped, length = 1, 0, None
        pieces = [buffer]  # joined once, so that an element over many chunks is not copied for each
        tail = buffer
        base = 0  # of `tail` in the element
        while True:
            found = end_tag.search(tail, position)
            again = begin.search(tail, position, found.start() if found else len(tail))
            if found or again:
                length = base + (again.start() if again else found.end() if found else 0)
                break
            chunk = read_some(stream, CHUNK)
            if not chunk:
                ended = True
                length = base + len(tail)
                break
            keep = tail[-(longest + 64) :] if len(tail) > longest + 64 else tail[1:] if not base and not skipped else tail
            base += len(tail) - len(keep)
            tail = keep + chunk
            position = 0
            if base + len(tail) <= limit + CHUNK:
                pieces.append(chunk)
            else:
                skipped = 1
        if length > limit:
            yield offset, length
        else:
            whole = b"".join(pieces)
            yield offset, whole[:length]
        buffer = tail[length - base :]
        offset += length
        if ended:
            return


def name_of(element: Any) -> str:
    """An element's name without its namespace; comments and instructions have none."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""

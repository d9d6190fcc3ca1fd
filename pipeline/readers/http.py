"""HTTP responses: status, type and charset from the header, and the body with its encodings undone, under a limit.

FastWARC reads the header. It would undo the encodings too, but a body of a megabyte that is a gigabyte when inflated would be
held whole, so that is done here, in pieces.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import brotli
import zstandard
from fastwarc.warc import WarcRecord, WarcRecordType
from isal import isal_zlib

HEADER_BYTES = 1 << 16  # of a header, at most; most servers allow a quarter of that
_IsalError: type[Exception] = cast(Any, isal_zlib.IsalError)  # its stub has an instance
_WINDOW = 8 << 20  # of zstd, as RFC 9659 bounds it for the web
_PIECE = 1 << 20

# Linear: the end is a fixed number of bytes, looked for in HEADER_BYTES; every run of a chunk's head is bounded, and it is only matched
# where the chunk before ends.
_END = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"[ \t\r\n]{0,4}([0-9A-Fa-f]{1,15})[ \t]{0,9}(?:;[^\n]{0,500})?\r?\n")


class Response(NamedTuple):
    """`status` is None where the status line has none; `kind` is the media type in small letters, or empty."""

    status: int | None
    kind: str
    charset: str | None
    body: bytes


def parse(content: bytes, limit: int) -> Response | str:
    """A response from its bytes, or what is wrong with it. The body has at most `limit` + 1 bytes: one more than `limit` says that it
    is longer.

    A body that is not encoded as its header says (crawlers store it decoded, and keep the header) is taken as it is. Where a body
    breaks off, what could be decoded of it is given.
    """
    end = _END.search(content, 0, HEADER_BYTES)
    begin = end.end() if end is not None else len(content)
    if end is None and len(content) >= HEADER_BYTES:
        return f"an HTTP header of over {HEADER_BYTES} bytes"
    message = WarcRecord()
    message.init_headers(WarcRecordType.response)
    message.set_bytes_content(content[:begin])
    message.is_http = True
    try:
        message.parse_http(auto_decode="none", quirks_mode=True, max_header_len=2 * HEADER_BYTES)
    except OSError as error:
        return f"not an HTTP response: {error}"
    headers = message.http_headers
    body = content[begin:]
    for name in ("Transfer-Encoding", "Content-Encoding"):
        for encoding in reversed((headers.get(name) or "").lower().split(",")[:4]):
            decoder = _DECODERS.get(encoding.strip())
            decoded = decoder(body, limit) if decoder is not None else None
            body = body if decoded is None else decoded
    return Response(headers.status_code, (message.http_content_type or "").lower(), message.http_charset, body)


def _chunked(data: bytes, limit: int) -> bytes | None:
    """RFC 9112, 7.1. None where it does not begin with a chunk."""
    parts: list[bytes] = []
    at = size = 0
    while size <= limit and (head := _CHUNK.match(data, at)) is not None:
        length = int(head[1], 16)
        if not length:
            break
        part = data[head.end() : head.end() + length]
        parts.append(part)
        size += len(part)
        at = head.end() + length
    return b"".join(parts)[: limit + 1] if parts or _CHUNK.match(data) is not None else None


def _inflate(data: bytes, limit: int, bits: int) -> bytes | None:
    """What can be inflated, of one member after the other; None where nothing can."""
    parts: list[bytes] = []
    size = 0
    inflate = isal_zlib.decompressobj(bits)
    try:
        while size <= limit:
            part = inflate.decompress(data, min(_PIECE, limit + 1 - size))
            parts.append(part)
            size += len(part)
            if inflate.eof:
                data = inflate.unused_data
                if not data.startswith(b"\x1f\x8b"):
                    break
                inflate = isal_zlib.decompressobj(bits)
            else:
                data = inflate.unconsumed_tail
                if not part and not data:
                    break
    except _IsalError:
        pass
    return b"".join(parts) if size else None


def _gzip(data: bytes, limit: int) -> bytes | None:
    return _inflate(data, limit, 16 + zlib.MAX_WBITS)


def _deflate(data: bytes, limit: int) -> bytes | None:
    """With zlib's header, as RFC 9110 has it, or without, as some servers do."""
    return _inflate(data, limit, zlib.MAX_WBITS) or _inflate(data, limit, -zlib.MAX_WBITS)


def _brotli(data: bytes, limit: int) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    decompressor = brotli.Decompressor()
    try:
        while size <= limit:
            part = decompressor.process(data, output_buffer_limit=min(_PIECE, limit + 1 - size))
            parts.append(part)
            size += len(part)
            data = b""
            if decompressor.is_finished() or (not part and decompressor.can_accept_more_data()):
                break
    except brotli.error:
        pass
    return b"".join(parts)[: limit + 1] if size else None


def _zstd(data: bytes, limit: int) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    stream = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(data, read_across_frames=True)
    try:
        while size <= limit and (part := stream.read(min(_PIECE, limit + 1 - size))):
            parts.append(part)
            size += len(part)
    except zstandard.ZstdError:
        pass
    return b"".join(parts) if size else None


_DECODERS: dict[str, Callable[[bytes, int], bytes | None]] = {
    "chunked": _chunked,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}

"""Web archives, WARC and ARC: pages become documents as in html.py, plain text as it is, all other kinds are passed over and counted.

Records are found by web_archives.py; FastWARC reads their HTTP headers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from pipeline.readers import html, http
from pipeline.readers.config import SourceConfig
from pipeline.readers.decode import decode
from pipeline.readers.media_types import PAGES, TEXTS, UNTOLD
from pipeline.readers.page_charset import to_text, top_level_of
from pipeline.readers.record import RAW_BYTES, PassedOver, Record, Unreadable
from pipeline.readers.streams import Member
from pipeline.readers.web_archives import Block, blocks

Item = Record | Unreadable | PassedOver

_LOOKS_LIKE_A_PAGE = re.compile(rb"<(?:!doctype html|html|head|body|title|meta|p|div)[\s>]", re.IGNORECASE)


class WetSource(SourceConfig):
    """Web archives' text."""

    verify_digests: bool = Field(False, description="Put records whose declared digest is not that of their content into the quarantine.")


class WarcSource(WetSource, html.HtmlSource):
    """Web archives."""

    statuses: list[int] = Field(
        [200], min_length=1, description="HTTP statuses of the responses to read; others are passed over and counted."
    )


def read(member: Member, source: WarcSource) -> Iterator[Item]:
    """Web pages and plain text of an archive, one response (or `resource` record), one record.

    `url` and `date` are the record's, `meta` has its id, payload digest and status, and what the crawler cut off. Responses
    of other statuses than `statuses`, of other types (pictures, scripts, ...) and robots.txt are passed over, by kind.
    """
    for block in blocks(member, source):
        if not isinstance(block, Block):
            yield block
            continue
        kind = block.headers.get("warc-type", "").lower()
        if block.headers.get("warc-target-uri", "").lstrip("<").startswith("metadata:"):
            yield PassedOver("crawler's own notes")
        elif kind in ("response", "resource"):
            yield _response(block, member, source)
        elif kind in ("revisit", "conversion", "continuation"):
            yield PassedOver(f"{kind} record")


def read_text(member: Member, source: WetSource) -> Iterator[Item]:
    """WET: the text that a crawl's makers extracted (`conversion` records), one record each."""
    for block in blocks(member, source):
        if not isinstance(block, Block):
            yield block
        elif block.headers.get("warc-type", "").lower() == "conversion":
            yield _conversion(block, member, source)


def _conversion(block: Block, member: Member, source: WetSource) -> Item:
    place = f"{member.path}#{block.offset}"
    if source.verify_digests and (wrong := _wrong_digest(block, block.content, block.content)):
        return Unreadable(place, wrong, block.content[:RAW_BYTES])
    kind = block.headers.get("content-type", "text/plain").split(";")[0].strip().lower()
    if kind not in TEXTS:
        return PassedOver(kind)
    try:
        text = decode(block.content)
    except UnicodeDecodeError as error:
        return Unreadable(f"{place} (byte {error.start} of its text)", f"not UTF-8: {error.reason}", block.content[:RAW_BYTES])
    return _record(block, place, text, {"languages": block.headers.get("warc-identified-content-language")})


def _record(block: Block, place: str, text: str, more: dict[str, Any], page: html.Page | None = None) -> Record:
    """A block's text, which is that of a `page` or plain, with what the archive says of it."""
    headers = block.headers
    meta = {
        "record_id": headers.get("warc-record-id", "").strip("<>"),
        "digest": headers.get("warc-payload-digest") or headers.get("warc-block-digest"),
        "truncated": headers.get("warc-truncated"),
        **more,
    }
    return Record(
        id=place,
        text=text,
        url=headers.get("warc-target-uri", "").removeprefix("<").removesuffix(">") or None,
        title=page.title if page else None,
        language=page.language if page else None,
        date=headers.get("warc-date"),
        meta={name: value for name, value in meta.items() if value},
        notes=(*(("length corrected",) if block.is_length_wrong else ()), *(page.notes if page else ())),
        from_markup=page is not None,
    )


def _response(block: Block, member: Member, source: WarcSource) -> Item:
    """A response or resource as a document; passed over, or unreadable."""
    place = f"{member.path}#{block.offset}"
    url = block.headers.get("warc-target-uri", "")
    if block.content.startswith(b"HTTP/"):
        message = http.parse(block.content, source.max_record_bytes)
        if isinstance(message, str):
            return Unreadable(place, message, block.content[:RAW_BYTES])
        status, kind, charset, body = message
        if status not in source.statuses:
            return PassedOver(f"status {status}" if status is not None else "no status")
    else:
        declared = block.headers.get("content-type", "").lower()
        kind, _, parameters = declared.partition(";")
        if kind.startswith("application/http"):
            return Unreadable(place, "not an HTTP response", block.content[:RAW_BYTES])
        status, kind, body = None, kind.strip(), block.content
        charset = parameters.partition("charset=")[2].strip(" \"'") or None
    if source.verify_digests and (wrong := _wrong_digest(block, block.content, body)):
        return Unreadable(place, wrong, block.content[:RAW_BYTES])
    if kind in UNTOLD:
        kind = block.headers.get("warc-identified-payload-type", "").lower() or kind
    if kind in UNTOLD and _LOOKS_LIKE_A_PAGE.search(body[:1024]):
        kind = "text/html"
    more = {"status": status if status != 200 else None}
    if len(body) > source.max_record_bytes:
        return Unreadable(place, f"longer than max_record_bytes ({source.max_record_bytes}) when decoded", body[:RAW_BYTES])
    if kind in PAGES:
        page = html.to_page(body, source, charset, url)
        if isinstance(page, str):
            return Unreadable(place, page, body[:RAW_BYTES])
        return _record(block, place, page.text, more, page)
    if kind in TEXTS:
        if url.split("?")[0].endswith("/robots.txt"):
            return PassedOver("robots.txt")
        if b"\0" in body[:1024] and not body.startswith((b"\xff\xfe", b"\xfe\xff")):
            return PassedOver("binary data")
        return _record(block, place, to_text(body, charset, source.encoding, top_level_of(url)), more)
    return PassedOver(kind or "no type")


def _wrong_digest(block: Block, content: bytes, body: bytes) -> str | None:
    """What is wrong with a record's digest; None where it is right, or there is none of an algorithm we know.

    The block's counts, where there is one; else the payload's, of the body as stored or decoded: writers differ in which.
    """
    for name, candidates in (("warc-block-digest", [content]), ("warc-payload-digest", [body, content.partition(b"\r\n\r\n")[2]])):
        algorithm, _, value = block.headers.get(name, "").partition(":")
        algorithm = algorithm.lower().replace("-", "")
        if algorithm in ("sha1", "sha256", "sha512", "md5"):
            found = [hashlib.new(algorithm, data, usedforsecurity=False).digest() for data in candidates]
            if _digest_bytes(value.strip(), len(found[0])) not in found:
                return f"{name} is {algorithm}:{value[:64]}, its content's is another"
            return None
    return None


def _digest_bytes(value: str, size: int) -> bytes:
    """A digest of so many bytes in base 16, 32 (WARC's custom) or 64; none where it is in none of them."""
    try:
        if len(value) == 2 * size:
            return bytes.fromhex(value)
        if len(value.rstrip("=")) == -(-size * 8 // 5):
            return base64.b32decode(value.rstrip("=").upper() + "=" * (-len(value.rstrip("=")) % 8))
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        return b""

"""Media types of what a crawler fetched: which are pages, which plain text, and which say nothing."""

from __future__ import annotations

import re

PAGES = {"text/html", "application/xhtml+xml"}
TEXTS = {"text/plain", "text/markdown", "text/x-markdown", "text/x-rst"}
UNTOLD = {"", "unknown", "application/octet-stream", "binary/octet-stream", "application/unknown", "unk", "no-type"}


def declared_type(headers: dict[str, str], content: bytes) -> str | None:
    """The media type of a record by its headers and the first bytes; None where it is no document of any kind."""
    if headers.get("warc-type") not in ("response", "resource", "conversion"):
        return None
    if not content.startswith(b"HTTP/"):
        return headers.get("content-type", "").split(";")[0].strip().lower()
    found = re.search(rb"\ncontent-type:[ \t]{0,9}([^\s;]{0,100})", content.split(b"\r\n\r\n")[0], re.IGNORECASE)
    return found[1].decode("latin-1").lower() if found else ""

"""In which charset a page is: what is said of it, by whom it is said, and what its bytes look like."""

from __future__ import annotations

import codecs
import re

from pipeline.readers.charsets import decode, detect, name_of

# What says a page's charset, where there is no header: <meta>, or its XML declaration. The tag first, so that a page of nothing but
# beginnings of tags is looked at once.
_DECLARATION = re.compile(rb"<(?:(meta)|\?xml)\s([^>]{0,1040})", re.IGNORECASE)
_META_SAYS = re.compile(rb"""charset\s{0,10}=[\s"']{0,10}([a-z0-9_:.-]{1,40})""", re.IGNORECASE)
_XML_SAYS = re.compile(rb"""encoding\s{0,10}=\s{0,10}["']([a-z0-9_:.-]{1,40})["']""", re.IGNORECASE)
_DECLARED_WITHIN = 1 << 17  # bytes of a page. WHATWG's is 1,024; pages that say it later are read so by browsers, which begin anew
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))


def _without_comments(page: bytes) -> bytes:
    """`page` without its comments; one that does not end reaches to its end."""
    first, *rest = page.split(b"<!--")
    return first + b"".join(part.partition(b"-->")[2] for part in rest)


def _said_by(page: bytes) -> str | None:
    """The charset that a page declares by itself; what it says in a comment does not count."""
    head = _without_comments(page[:_DECLARED_WITHIN])
    for tag in _DECLARATION.finditer(head):
        said = (_META_SAYS if tag[1] else _XML_SAYS).search(tag[2])
        name = name_of(said[1].decode("ascii")) if said else None
        if name is not None:
            # as it cannot be, since these bytes were found in it; browsers take windows-1252 for the second
            return {"utf-16le": "utf-8", "utf-16be": "utf-8", "x-user-defined": "windows-1252"}.get(name, name)
    return None


def _python_name(label: str | None) -> str | None:
    """The charset of a recipe's `encoding`: WHATWG's by a label of it, or one that Python alone has."""
    return (name_of(label) or codecs.lookup(label).name) if label else None


def top_level_of(url: str | None) -> str | None:
    """The top-level domain of an address, which tells which charsets a page from there is likely to be in."""
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0] if url else ""
    return host.rstrip(".>").rpartition(".")[2].lower() or None


def _mark_of(data: bytes) -> tuple[bytes, str] | None:
    return next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), None)


def charset_of(data: bytes, declared: str | None = None, fallback: str | None = None, domain: str | None = None) -> str:
    """The charset of a page, as the WHATWG standard ranks what says it: byte order mark, HTTP header (`declared`), the page's own
    declaration, then `fallback` (a recipe's `encoding`), and else what its bytes look like (from the top-level `domain`).
    """
    marked = _mark_of(data)
    said = marked[1] if marked else name_of(declared) or _said_by(data) or _python_name(fallback)
    return said or detect(data, domain)


def _doubts(text: str) -> tuple[int, int]:
    """How many characters are wrong (U+FFFD), and how many are right beyond ASCII."""
    wrong = text.count("\ufffd")
    return wrong, len(text) - len(text.encode("ascii", "ignore")) - wrong


def to_text(data: bytes, declared: str | None = None, fallback: str | None = None, domain: str | None = None) -> str:
    """A page's markup, in the charset that `charset_of` finds, without its mark. Nothing is raised: what is wrong becomes U+FFFD.

    Departures from the standard: what is nearly all valid UTF-8 beyond ASCII is UTF-8 whatever it is declared as, since text in other
    charsets is not; and what is mostly wrong in its declared charset is in the one that its bytes look like, if less is wrong in that.
    """
    marked = _mark_of(data)
    if marked:
        return decode(data[len(marked[0]) :], marked[1])
    if not data.isascii() and b"\0" not in data[:1024]:
        text = data.decode("utf-8", "replace")
        wrong, right = _doubts(text)
        if 4 * wrong <= right:
            return text
    name = charset_of(data, declared, fallback, domain)
    text = decode(data, name)
    wrong, right = _doubts(text)
    if wrong * 4 > right:
        other = detect(data, domain)
        again = decode(data, other)
        if other != name and _doubts(again)[0] < wrong:
            text = again
    return text.removeprefix("\ufeff")

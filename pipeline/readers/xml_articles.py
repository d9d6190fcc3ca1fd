"""Files of papers in XML: one whole article, or a set of them, of which one that is broken costs only itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from lxml import etree

from pipeline.readers.config import SourceConfig
from pipeline.readers.elements import name_of, split
from pipeline.readers.record import RAW_BYTES, Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, TooLarge, describe, read_some

# Linear: what is taken after a `<` ends at the next one; looked for in the first 64 kB. The declaration is only looked for at the start.
_ROOT = re.compile(rb"<(?![?!])([A-Za-z_][\w.:-]{0,100})(?:\s[^<>]{0,20000})?>")
_DECLARED = re.compile(rb"\A\s*<\?xml[^>]{0,200}\?>")

ToRecord = Callable[[Member, Any, str], Record]


def _parser() -> Any:
    return etree.XMLParser(
        resolve_entities="internal", no_network=True, huge_tree=False, load_dtd=False, remove_comments=True, remove_pis=True
    )


def articles(member: Member, source: SourceConfig, names: tuple[str, ...], what: str, record: ToRecord) -> Iterator[Record | Unreadable]:
    """One article, one record; of a set each, streaming. `names`: the elements that are an article; `what`: what to call one in errors;
    `record` makes a record of the member, the element and its id.

    Only entities that the file itself defines are resolved, within libxml2's bounds; nothing is fetched; its limits on depth and size
    hold. In a set, an article that is not XML or is longer than `max_record_bytes` is unreadable, and the next one is read.
    """
    head = b""
    while len(head) < 1 << 16 and (chunk := read_some(member.stream, 1 << 16)):
        head += chunk
        if _ROOT.search(head):
            break
    root = _ROOT.search(head)
    name = root.group(1).rpartition(b":")[2].decode() if root else ""
    if root is None or name in names or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield from _one(head, member, source, names, what, record)
        return
    declared = _DECLARED.match(head)
    opening = (declared.group() if declared else b"") + root.group()
    closing = b"</" + root.group(1) + b">"
    number, offset, failure = 0, 0, None
    parts = split(member.stream, names, source.max_record_bytes, head)
    while True:
        try:
            offset, part = next(parts)
        except StopIteration:
            break
        except STREAM_ERRORS as error:
            failure = error
            break
        place = f"{member.path}#{number}"
        number += 1
        if isinstance(part, int):
            yield Unreadable(f"{place} (byte {offset})", f"an {what} of {part} bytes, over max_record_bytes ({source.max_record_bytes})")
            continue
        try:
            article = etree.fromstring(opening + part + closing, _parser())[0]
        except etree.XMLSyntaxError as error:
            yield Unreadable(f"{place} (byte {offset})", f"not XML: {error.msg}", part[:RAW_BYTES])
            continue
        yield record(member, article, place)
    if failure is not None:
        yield Unreadable(f"{member.path} (after byte {offset})", f"the rest cannot be read: {describe(failure)}")
    elif not number:
        yield Unreadable(member.path, f"no {what}: the root element is <{name}>", head[:RAW_BYTES])


def _one(
    head: bytes, member: Member, source: SourceConfig, names: tuple[str, ...], what: str, record: ToRecord
) -> Iterator[Record | Unreadable]:
    """A file that is one article, or begins like none."""
    data = head + member.stream.read(max(0, source.max_record_bytes + 1 - len(head)))
    if len(data) > source.max_record_bytes:
        raise TooLarge(f"longer than max_record_bytes ({source.max_record_bytes})")
    try:
        root = etree.fromstring(data, _parser())
    except etree.XMLSyntaxError as error:
        yield Unreadable(member.path, f"not XML: {error.msg}", data[:RAW_BYTES])
        return
    found = [root] if name_of(root) in names else list(root.iter(*(f"{{*}}{name}" for name in names)))
    if not found:
        yield Unreadable(member.path, f"no {what}: the root element is <{name_of(root)}>", data[:RAW_BYTES])
    for number, article in enumerate(found):
        yield record(member, article, f"{member.path}#{number}" if len(found) > 1 else member.path)

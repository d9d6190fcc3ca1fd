"""Papers in S2ORC's JSON (Lo et al. 2020, arXiv 1911.02782), as grobid's converters and peS2o's forerunners write it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.readers.config import SourceConfig
from pipeline.readers.files import Member
from pipeline.readers.json_records import load
from pipeline.readers.record import Record, Unreadable


def read(member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """One paper, one record: title, abstract, then the body's paragraphs under their section headings."""
    paper = load(member, source)
    if isinstance(paper, Unreadable):
        yield paper
        return
    parse = (paper.get("pdf_parse") or paper.get("latex_parse") or paper) if isinstance(paper, dict) else None
    if not isinstance(parse, dict) or not isinstance(parse.get("body_text"), list):
        yield Unreadable(member.path, "not an S2ORC paper: no body_text")
        return
    title = str(paper.get("title") or "").strip()
    blocks = [title] if title else []
    abstract = paper.get("abstract") or parse.get("abstract")
    if abstract:
        blocks.append("Abstract")
        blocks.extend([abstract] if isinstance(abstract, str) else [_text(part) for part in abstract])
    section = None
    for part in parse["body_text"]:
        heading = part.get("section") if isinstance(part, dict) else None
        if heading and heading != section:
            blocks.append(str(heading).strip())
        section = heading
        blocks.append(_text(part))
    meta = {name: paper[name] for name in ("venue", "year", "identifiers", "s2_pdf_hash") if paper.get(name)}
    yield Record(
        id=member.path,
        text="\n\n".join(block.strip() for block in blocks if block.strip()),
        title=title or None,
        path=member.name,
        date=str(paper["year"]) if paper.get("year") else None,
        meta=meta,
    )


def _text(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""

"""Papers as JSON, in the shapes that the field has:

- S2ORC's first releases (Lo et al. 2020, arXiv 1911.02782) and what its converters from GROBID, LaTeX and JATS write (s2orc-doc2json):
  `body_text` (in `pdf_parse`, `latex_parse`, or at the top) as paragraphs with their sections;
- the Semantic Scholar datasets' `s2orc` since 2023: `content.text` (or `body.text`) with `annotations` that say where title, headings and
  paragraphs are;
- peS2o (Soldaini and Lo 2023): `id`, `text`, `source`, `version`, `created`, `added`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipeline.readers.config import EncodedSource
from pipeline.readers.json_records import load, objects, parse
from pipeline.readers.record import Record, Unreadable
from pipeline.readers.s2orc_placeholders import filled, floats
from pipeline.readers.streams import Member, rejoin

_META = (
    "venue", "journal", "identifiers", "s2_pdf_hash", "corpusid", "corpus_id", "externalids", "doi", "arxiv_id", "pmid", "pmcid",
    "source", "version", "added", "created", "mag_field_of_study", "fieldsofstudy", "s2fieldsofstudy", "isopenaccess", "openaccessinfo",
)  # fmt: skip


def read(member: Member, source: EncodedSource) -> Iterator[Record | Unreadable]:
    """One paper a line, or one (or an array of them) a file, told apart by whether the first line is a whole object.

    The text is the title, the abstract, then paragraphs under their section headings; references are left out. `meta.year` is a
    number, and `date` the day where it is known, else the year.
    """
    first = member.stream.readline(source.max_record_bytes + 1)
    stream = Member(member.path, member.name, rejoin(first, member.stream))
    bare = first.strip().removeprefix(b"\xef\xbb\xbf")
    if bare.startswith(b"{") and (bare.endswith(b"}") or len(first) > source.max_record_bytes):
        single = not first.endswith(b"\n")
        for item in objects(stream, source):
            if isinstance(item, Unreadable):
                yield item
            else:
                yield _paper(item[1], member.path if single else item[0], member)
        return
    value = load(stream, source)
    if isinstance(value, Unreadable):
        yield value
    elif isinstance(value, list):
        for index, paper in enumerate(value):
            place = f"{member.path}#{index}"
            yield (
                _paper(paper, place, member)
                if isinstance(paper, dict)
                else Unreadable(place, f"a JSON {type(paper).__name__}, not a paper")
            )
    elif isinstance(value, dict):
        yield _paper(value, member.path, member)
    else:
        yield Unreadable(member.path, f"a JSON {type(value).__name__}, not a paper")


def _paper(paper: dict[str, Any], place: str, member: Member) -> Record | Unreadable:
    content = paper.get("content") if isinstance(paper.get("content"), dict) else paper.get("body")
    if isinstance(content, dict) and isinstance(content.get("text"), str) and isinstance(content.get("annotations"), dict):
        record = _annotated(paper, content, place)
    elif isinstance(paper.get("text"), str):
        record = _flat(paper, place)
    else:
        parsed = _parsed(paper, place)
        if parsed is None:
            return Unreadable(place, "not an S2ORC paper: no body_text", json.dumps(paper, default=str).encode()[:1000])
        record = parsed
    date, year = _date(paper)
    meta = {name: paper[name] for name in _META if paper.get(name)}
    if year is not None:
        meta["year"] = year
    return replace(record, id=place, path=member.name, date=date, license=_license(paper, content), meta=meta)


def _flat(paper: dict[str, Any], place: str) -> Record:
    """peS2o: the text as it is; its first line is the title."""
    text = paper["text"].strip()
    first = text.partition("\n")[0].strip()
    title = paper["title"] if isinstance(paper.get("title"), str) else first if 0 < len(first) < 400 else None
    return Record(place, text, title=title)


def _annotated(paper: dict[str, Any], content: dict[str, Any], place: str) -> Record:
    """The datasets' format: headings and paragraphs by their places in the text."""
    text: str = content["text"]
    annotations = content["annotations"]
    found = paper.get("title") if isinstance(paper.get("title"), str) else None
    title = found or " ".join(" ".join(text[a:b] for a, b in _spans(annotations.get("title"), len(text))[:1]).split())
    blocks = [title] if title else []
    abstract = _spans(annotations.get("abstract"), len(text))
    if abstract:
        blocks.append("Abstract")
        blocks.extend(text[a:b] for a, b in abstract)
    elif isinstance(paper.get("abstract"), str):
        blocks += ["Abstract", paper["abstract"]]
    body = [(a, b) for name in ("sectionheader", "paragraph") for a, b in _spans(annotations.get(name), len(text))]
    covered = abstract
    pieces = [text[a:b] for a, b in sorted(body) if not any(c <= a and b <= d for c, d in covered[:50])]
    if not pieces and not abstract:
        return Record(place, text.strip(), title=title or None)
    blocks.extend(pieces)
    cleaned = [" ".join(block.split()) for block in blocks]
    return Record(place, "\n\n".join(block for block in cleaned if block), title=title or None)


def _spans(annotations: Any, length: int) -> list[tuple[int, int]]:
    """The places of one kind of annotation: a list, or as the datasets have it, JSON of one; in order, and within the text."""
    if isinstance(annotations, str):
        try:
            annotations = parse(annotations)
        except (ValueError, RecursionError):
            return []
    spans = []
    for each in annotations if isinstance(annotations, list) else []:
        if isinstance(each, dict):
            begin, end = each.get("start"), each.get("end")
            try:
                begin, end = int(str(begin)), int(str(end))
            except ValueError:
                continue
            if 0 <= begin < end <= length:
                spans.append((begin, end))
    return sorted(set(spans))


def _parsed(paper: dict[str, Any], place: str) -> Record | None:
    """Paragraphs with their sections, then the captions and tables that stand beside the text."""
    parse: Any = next(
        (paper[name] for name in ("pdf_parse", "latex_parse", "grobid_parse", "pdf_parses") if isinstance(paper.get(name), dict)), paper
    )
    if not isinstance(parse.get("body_text"), list):
        return None
    metadata = paper["metadata"] if isinstance(paper.get("metadata"), dict) else {}
    title = str(paper.get("title") or metadata.get("title") or parse.get("title") or "").strip()
    blocks = [title] if title else []
    entries = parse.get("ref_entries") or paper.get("ref_entries")
    entries = entries if isinstance(entries, dict) else {}
    abstract = paper.get("abstract") or parse.get("abstract")
    if abstract:
        parts = (
            [abstract] if isinstance(abstract, str) else [filled(part, entries) for part in abstract] if isinstance(abstract, list) else []
        )
        if any(part.strip() for part in parts):
            blocks.append("Abstract")
            blocks.extend(parts)
    section = ""
    for group in (parse["body_text"], parse.get("back_matter")):
        for part in group if isinstance(group, list) else []:
            heading = _heading(part.get("section")) if isinstance(part, dict) else ""
            if group is not parse["body_text"] and re.match(r"acknowl|fund|conflict|author contrib", heading, re.IGNORECASE):
                continue
            if heading and heading != section:
                blocks.append(heading)
            section = heading
            blocks.append(filled(part, entries))
    blocks.extend(floats(entries))
    return Record(place, "\n\n".join(block.strip() for block in blocks if block.strip()), title=title or None)


def _heading(section: Any) -> str:
    """A section's heading: words, or in s2orc-doc2json a list of number and words for it and each section around it."""
    if isinstance(section, list) and section:
        section = section[-1][-1] if isinstance(section[-1], list) and section[-1] else section[-1]
    return " ".join(section.split()) if isinstance(section, str) else ""


def _date(paper: dict[str, Any]) -> tuple[str | None, int | None]:
    """The day or year of a paper, and the year as a number."""
    metadata = paper["metadata"] if isinstance(paper.get("metadata"), dict) else {}
    for name in ("publicationdate", "publicationDate", "publication_date", "created", "date", "year"):
        value = paper.get(name) or metadata.get(name)
        match = re.match(r"([12][0-9]{3})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12][0-9]|3[01]))?)?(?![0-9])", str(value)[:30]) if value else None
        if match:
            return match.group(), int(match.group(1))
    return None, None


def _license(paper: dict[str, Any], content: Any) -> str | None:
    """The licence that the paper, or its open-access record, declares."""
    places: list[Any] = [
        paper,
        paper.get("openaccessinfo"),
        paper.get("source"),
        content.get("source") if isinstance(content, dict) else None,
    ]
    places += [place.get("oainfo") for place in places if isinstance(place, dict)]
    for place in places:
        if isinstance(place, dict) and isinstance(place.get("license"), str) and place["license"].strip():
            return str(place["license"]).strip()
    return None

"""Texts in TEI XML (P5): papers that GROBID read out of PDF, and editions of books, letters, plays and archives' papers.

What is kept: the title, the abstract, what stands before, in and behind the body, in its order, headings, paragraphs, lists, tables as
rows with bars, figures' captions, verses line by line, speeches with their speakers, formulas. Notes come after the paragraph that they are
in. Citations stay as they stand in the sentence. Words that are cut by a line's or a page's end
are whole. Of several readings the corrected, regular and written-out one is read (Guidelines P5, 3.5), of variants the edition's own; what
was deleted is not; a gap is `[…]`.

Left out and counted: bibliographies, acknowledgements, funding and other statements (GROBID's `div`s in `back` by their type), title
pages, running heads. Source of the format: TEI Guidelines P5 4.9; GROBID 0.8's documentation of its TEI.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipeline.readers.config import SourceConfig
from pipeline.readers.creative_commons import licenses_in
from pipeline.readers.elements import name_of
from pipeline.readers.jats import LANGUAGES, STATEMENTS, XML_LANG
from pipeline.readers.license_expressions import combine, normalise
from pipeline.readers.record import Record, Unreadable
from pipeline.readers.streams import Member
from pipeline.readers.tei_text import collapse, emit, inline
from pipeline.readers.xml_articles import articles

# Parts of `back` by the `type` that GROBID and editions give them, besides JATS' kinds of statements.
_NOT_READ = STATEMENTS | {
    "acknowledgement",
    "acknowledgment",
    "references",
    "bibliography",
    "contribution",
    "availability",
    "conflicts",
    "index",
    "toc",
}
_DAY = re.compile(r"[12][0-9]{3}(?:-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12][0-9]|3[01]))?)?")
_IDS = {"doi": "doi", "arxiv": "arxiv", "pmid": "pmid", "pmcid": "pmcid", "pmc": "pmcid", "halid": "hal", "isbn": "isbn", "issn": "issn"}
_COUNTED = ("listBibl", "titlePage", "fw", "del", "surplus", "graphic", "sourceDoc")


def read(member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """One text, one record; of a `teiCorpus` each, streaming. See `xml_articles.articles`."""
    return articles(member, source, ("TEI", "TEI.2"), "TEI text", _record)


def _record(member: Member, root: Any, identity: str) -> Record:
    header = root.find("{*}teiHeader")
    title = _title(header)
    blocks = [title] if title else []
    left_out: Counter[str] = Counter()
    for abstract in header.iterfind("{*}profileDesc/{*}abstract") if header is not None else ():
        begin = len(blocks)
        emit(abstract, blocks)
        if any(blocks[begin:]) and not any(name_of(child) == "head" for child in abstract.iter()):
            blocks.insert(begin, "Abstract")
    for text in root.iterfind("{*}text"):
        _text(text, blocks, left_out, 0)
    for element in root.iter(*(f"{{*}}{name}" for name in _COUNTED)):
        above = {name_of(each) for each in element.iterancestors()}
        if "text" in above and above.isdisjoint(_COUNTED) and not any(_is_not_read(each) for each in element.iterancestors()):
            left_out[f"<{name_of(element)}>"] += 1
    date = _date(header)
    meta = _meta(header)
    if date:
        meta["year"] = int(date[:4])
    return Record(
        id=identity,
        text="\n\n".join(block for block in blocks if block),
        title=title or None,
        language=_language(root, header),
        license=_license(header),
        path=member.name,
        date=date,
        meta=meta,
        left_out=dict(left_out),
    )


def _is_not_read(part: Any) -> bool:
    """Whether a part of `front` or `back` says something of a paper, and not what it is about."""
    return name_of(part) in ("div", "div1") and (part.get("type") or "").strip().lower().replace("_", "-") in _NOT_READ


def _text(text: Any, blocks: list[str], left_out: Counter[str], depth: int) -> None:
    """What stands before, in and behind the body, and of a group of texts each."""
    for part in text:
        name = name_of(part)
        if name in ("text", "group") and depth < 50:
            _text(part, blocks, left_out, depth + 1)
        elif name in ("front", "back"):
            for child in part:
                if _is_not_read(child):
                    left_out[f"<div {child.get('type').strip().lower()}>"] += 1
                else:
                    emit(child, blocks)
        elif name == "body":
            for child in part:
                emit(child, blocks)


# --- what the header says -----------------------------------------------------------------------------------------------


def _title(header: Any) -> str:
    if header is None:
        return ""
    titles = [
        title
        for path in ("{*}fileDesc/{*}titleStmt/{*}title", "{*}fileDesc/{*}sourceDesc//{*}analytic/{*}title")
        for title in header.iterfind(path)
    ]
    main = [title for title in titles if title.get("type") in ("main", None) and inline(title)]
    return inline(main[0]) if main else next((inline(title) for title in titles if inline(title)), "")


def _language(root: Any, header: Any) -> str | None:
    """The text's language: what it says itself, else what the header names as its only one, else that of the whole file."""
    said = next((text.get(XML_LANG) for text in root.iterfind("{*}text") if text.get(XML_LANG)), None)
    if said is None and header is not None:
        named = {element.get("ident") for element in header.iterfind("{*}profileDesc/{*}langUsage/{*}language") if element.get("ident")}
        said = named.pop() if len(named) == 1 else header.get(XML_LANG)
    code = (said or root.get(XML_LANG) or "").split("-")[0].strip().lower()
    return LANGUAGES.get(code, code) or None


def _license(header: Any) -> str | None:
    """All licences that `availability` names, by their addresses and words; None where there is one that is not known."""
    if header is None:
        return None
    found: list[str] = []
    for place in header.iterfind("{*}fileDesc/{*}publicationStmt//{*}availability"):
        licences = list(place.iter("{*}licence", "{*}license")) or [place]
        for licence in licences:
            links = [licence.get("target") or "", *(each.get("target") or "" for each in licence.iter("{*}ref", "{*}ptr"))]
            words = collapse(" ".join(licence.itertext()))
            names = licenses_in(" ".join([*links, words])) or [name for each in (*links, words) if each and (name := normalise(each))][:1]
            found.extend(names)
    return combine(list(dict.fromkeys(found)), "AND") if found else None


def _date(header: Any) -> str | None:
    """The day, or as much as is known of it, of the publication; of one that is not said, that of the source."""
    if header is None:
        return None
    for path in ("{*}fileDesc/{*}publicationStmt//{*}date", "{*}fileDesc/{*}sourceDesc//{*}date"):
        for element in header.iterfind(path):
            said = (element.get("when") or element.get("notBefore") or "".join(element.itertext())).strip()
            if match := _DAY.match(said):
                return match.group()
    return None


def _meta(header: Any) -> dict[str, object]:
    if header is None:
        return {}
    meta: dict[str, object] = {}
    for element in header.iterfind("{*}fileDesc//{*}idno"):
        name = _IDS.get((element.get("type") or "").strip().lower())
        value = collapse("".join(element.itertext()))
        if name and value:
            meta.setdefault(name, value)
    journal = header.find("{*}fileDesc/{*}sourceDesc//{*}monogr/{*}title[@level='j']")
    if journal is not None and (text := inline(journal)):
        meta["journal"] = text
    words = [word for each in header.iterfind("{*}profileDesc/{*}textClass/{*}keywords//{*}term") if (word := inline(each))]
    if words:
        meta["keywords"] = words
    return meta

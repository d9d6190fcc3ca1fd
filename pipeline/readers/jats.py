"""Papers in JATS (and its forerunner NLM, and PubMed's) XML: title, abstract and body as light text under headings.

What is kept, in the paper's order: abstracts with their labels, sections, paragraphs, lists as `- ` and `1. `, quotations, tables as rows
with bars, captions of figures and tables after the paragraph that holds them, formulas as TeX (that of the publisher, else of its MathML),
citations as they stand in the sentence, appendices. Left out: references, acknowledgements, funding, conflicts of interest and other
notes (they name people and repeat themselves from paper to paper), abbreviations' lists, abstracts that are
translated, graphical, or made for a table of contents, by editors, or for readers in a hurry.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipeline.readers.config import SourceConfig
from pipeline.readers.creative_commons import licenses_in
from pipeline.readers.elements import name_of
from pipeline.readers.jats_text import collapse, emit, inline, labelled
from pipeline.readers.license_expressions import combine
from pipeline.readers.record import Record, Unreadable
from pipeline.readers.streams import Member
from pipeline.readers.xml_articles import articles

# ISO 639-2's codes of languages, as ISO 639-1's.
LANGUAGES = {
    "eng": "en", "fre": "fr", "ger": "de", "spa": "es", "por": "pt", "ita": "it", "rus": "ru", "chi": "zh", "jpn": "ja", "kor": "ko",
    "pol": "pl", "dut": "nl", "tur": "tr", "hun": "hu", "cze": "cs", "swe": "sv", "nor": "no", "dan": "da", "fin": "fi", "ukr": "uk",
}  # fmt: skip
_MONTHS = {
    name: number for number, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
# Abstracts that are not read, by their type.
_OTHER_ABSTRACTS = frozenset({"toc", "graphical", "teaser", "short", "key-points", "precis", "editor"})
# Parts of a paper that are counted where they are left out; of `back`, all that are no content besides.
_COUNTED = ("fn", "fn-group", "ref-list", "supplementary-material", "glossary", "sub-article", "response", "trans-abstract", "author-notes")
_XLINK = "{http://www.w3.org/1999/xlink}href"
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def read(member: Member, source: SourceConfig) -> Iterator[Record | Unreadable]:
    """One article, one record; of a set (PubMed's files of 30,000, collections of PMC) each, streaming. See `xml_articles.articles`."""
    return articles(member, source, ("article", "PubmedArticle"), "article", _record)


# Kinds of sections of a paper's end that say something of it, and not what it is about (JATS' list of suggested `sec-type`s, and PMC's).
STATEMENTS = frozenset({
    "supplementary-material", "supplementary", "coi-statement", "conflict", "conflict-of-interest", "competing-interests",
    "author-contributions", "author-contribution", "contributions", "funding", "funding-information", "funding-statement",
    "financial-disclosure", "data-availability", "data-availability-statement", "availability", "ethics", "ethics-statement",
    "ethics-approval", "consent", "disclaimer", "associated-data", "acknowledgments", "acknowledgements", "ack", "publishers-note",
    "provenance",
})  # fmt: skip


def _is_content(element: Any) -> bool:
    """Whether a part of `back` is read: appendices, and sections, in which many papers have their methods, figures and tables."""
    name = name_of(element)
    if name == "sec":
        return (element.get("sec-type") or "").strip().lower().replace("_", "-") not in STATEMENTS
    return name in ("app-group", "app", "floats-group", "fig", "fig-group", "table-wrap", "table-wrap-group", "boxed-text")


def _record(member: Member, article: Any, identity: str) -> Record:
    pubmed = name_of(article) == "PubmedArticle"
    title = _title(article)
    blocks = [title] if title else []
    if pubmed:
        abstract = article.find(".//{*}Abstract")
        if abstract is not None:
            blocks.append("Abstract")
            blocks.extend(labelled(part) for part in abstract.iterfind("{*}AbstractText"))
    else:
        for element in article.iterfind("{*}front/{*}article-meta/{*}abstract"):
            if element.get("abstract-type") in _OTHER_ABSTRACTS:
                continue
            if not any(name_of(child) == "title" for child in element):
                blocks.append("Abstract")
            emit(element, blocks, 0)
        for part in ("body", "back", "floats-group"):
            for element in article.iterfind(f"{{*}}{part}"):
                for child in element if part == "back" else (element,):
                    if part != "back" or _is_content(child):
                        emit(child, blocks, 0)
        if len(blocks) <= 1:  # papers of no known build
            for element in article.iter("{*}abstract", "{*}body"):
                emit(element, blocks, 0)
    declared = (article.get(XML_LANG) or "").split("-")[0].lower()
    if pubmed:
        named = (article.findtext(".//{*}Language") or "").strip().lower()
        declared = LANGUAGES.get(named, named if len(named) == 2 else "")
    date = _date(article, pubmed)
    meta = {name: value for name, value in _meta(article, pubmed).items() if value}
    if date:
        meta["year"] = int(date[:4])
    return Record(
        id=identity,
        text="\n\n".join(block for block in blocks if block),
        title=title or None,
        language=declared or None,
        license=_license(article),
        path=member.name,
        date=date,
        meta=meta,
        left_out={} if pubmed else _left_out(article),
    )


def _left_out(article: Any) -> dict[str, int]:
    """The parts of a paper that are not in its text, by element, the outermost alone."""
    found: Counter[str] = Counter()
    seen = set()
    for element in article.iterfind("{*}back/*"):
        if name_of(element) and not _is_content(element):
            kind = (element.get("sec-type") or "").strip().lower()
            found[f"<sec {kind[:40]}>" if kind and name_of(element) == "sec" else f"<{name_of(element)}>"] += 1
            seen.add(element)
    for element in article.iterfind("{*}front/{*}article-meta/{*}abstract"):
        if (kind := element.get("abstract-type")) in _OTHER_ABSTRACTS:
            found[f"<abstract {kind}>"] += 1
    for element in article.iter(*(f"{{*}}{name}" for name in _COUNTED)):
        above = element.getparent()
        # a table's own notes are read with it, and what is in something that is left out was counted with that
        if element not in seen and above not in seen and name_of(above) not in ("table-wrap-foot", *_COUNTED):
            found[f"<{name_of(element)}>"] += 1
    return dict(found)


# --- metadata -----------------------------------------------------------------------------------------------------------


def _title(article: Any) -> str:
    for path in (
        "{*}front/{*}article-meta/{*}title-group/{*}article-title",
        ".//{*}ArticleTitle",
        ".//{*}title-group/{*}article-title",
        ".//{*}BookTitle",
    ):
        element = article.find(path)
        if element is not None:
            text = inline(element)
            if text:
                return text.strip("[]").rstrip() if path.endswith("ArticleTitle") else text
    return ""


def _meta(article: Any, pubmed: bool) -> dict[str, object]:
    def text(path: str) -> str:
        found = article.find(path)
        return collapse("".join(found.itertext())) if found is not None else ""

    if pubmed:
        return {
            "doi": text(".//{*}ELocationID[@EIdType='doi']") or text("{*}PubmedData/{*}ArticleIdList/{*}ArticleId[@IdType='doi']"),
            "pmid": text(".//{*}PMID"),
            "pmcid": text("{*}PubmedData/{*}ArticleIdList/{*}ArticleId[@IdType='pmc']"),
            "journal": text(".//{*}Journal/{*}Title"),
            "keywords": [word for word in (inline(each) for each in article.iterfind(".//{*}KeywordList/{*}Keyword")) if word],
            "article_type": text(".//{*}PublicationTypeList/{*}PublicationType"),
        }
    front = "{*}front/{*}article-meta/"
    pmcid = text(f"{front}{{*}}article-id[@pub-id-type='pmc']") or text(f"{front}{{*}}article-id[@pub-id-type='pmcid']")
    return {
        "doi": text(f"{front}{{*}}article-id[@pub-id-type='doi']"),
        "pmid": text(f"{front}{{*}}article-id[@pub-id-type='pmid']"),
        "pmcid": f"PMC{pmcid}" if pmcid.isdecimal() else pmcid,
        "journal": text("{*}front/{*}journal-meta//{*}journal-title") or text(".//{*}journal-title"),
        "keywords": [word for word in (inline(each) for each in article.iterfind(f"{front}{{*}}kwd-group/{{*}}kwd")) if word],
        "article_type": article.get("article-type") or "",
    }


def _license(article: Any) -> str | None:
    """The licence by its links, or else its words; of a paper without a <license>, by what it says of its copyright. All that are named
    apply, and of Creative Commons' each has the version that is said."""
    for path in ("{*}license", "{*}permissions"):
        texts = []
        for element in article.iter(path):
            links = [element.get(_XLINK) or "", *(link.get(_XLINK) or "" for link in element.iter("{*}ext-link", "{*}license_ref"))]
            texts.append(" ".join([*links, *element.itertext()]))
        if found := licenses_in(" ".join(texts)):
            return combine(found, "AND")
    return None


def _date(article: Any, pubmed: bool) -> str | None:
    """The day, or as much as is known of it, of the first publication: the earliest of the dates that are given."""
    found = []
    elements = article.iterfind(".//{*}PubDate") if pubmed else article.iterfind("{*}front/{*}article-meta/{*}pub-date")
    for element in elements:
        parts = [
            (element.findtext(f"{{*}}{name}") or element.findtext(f"{{*}}{name.title()}") or "").strip()
            for name in ("year", "month", "day")
        ]
        if not parts[0]:
            medline = (element.findtext("{*}MedlineDate") or "").strip()
            parts[0] = medline[:4]
        if re.fullmatch(r"[12][0-9]{3}", parts[0]):
            numbers = [parts[0]]
            month = str(_MONTHS.get(parts[1][:3].lower(), parts[1]))
            if re.fullmatch(r"0?[1-9]|1[0-2]", month):
                numbers.append(month.zfill(2))
                if re.fullmatch(r"0?[1-9]|[12][0-9]|3[01]", parts[2]):
                    numbers.append(parts[2].zfill(2))
            found.append("-".join(numbers))
    # 2019 is no earlier than 2019-03-07: what is less known comes after the end of what it could be.
    return min(found, key=lambda date: date + "-99-99"[len(date) - 4 :]) if found else None

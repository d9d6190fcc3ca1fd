"""What readers glue, lose and say of licences, beside a plain walk of the same XML.

    python -m benchmarks.reading FILE ... [--format jats|tei]

Each FILE is a paper, or an archive of papers. Counted against the source, by code that shares with the
readers the parser of XML alone:

- words glued: words of the document that are none of the source's, and are two that stand side by side there;
- letters absent: letters and digits of text nodes that the document has nowhere, by the element that is known to be left out, else by the
  element that holds them, which is what to look at;
- licences: addresses of Creative Commons in the source, beside the document's licence.

Formulas are left out of both counts, since TeX has other letters than what it sets.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from lxml import etree

from benchmarks.results_file import Row, show, write
from pipeline.readers import Record, list_files, read_file, source_config
from pipeline.readers.archives import members
from pipeline.readers.record import Unreadable

# What docs/science.md says is left out.
LEFT_OUT = {
    "jats": frozenset({
        "ref-list", "ack", "fn", "fn-group", "notes", "glossary", "supplementary-material", "bio", "author-notes", "contrib-group", "aff",
        "history",
        "permissions", "kwd-group", "funding-group", "journal-meta", "sub-article", "response", "trans-abstract", "label", "object-id",
        "counts",
        "article-categories", "custom-meta-group", "pub-date", "related-article", "article-id", "attrib", "alt-text", "long-desc",
        "inline-supplementary-material", "media", "elocation-id", "volume", "issue", "fpage", "lpage", "self-uri", "product",
        "ext-link-group",
        "conference", "alt-title", "copyright-statement", "copyright-year", "trans-title-group", "uri", "article-version-alternatives",
        "page-range", "isbn", "private-char", "processing-meta",
    }),
    "tei": frozenset({
        "listBibl", "biblStruct", "fw", "del", "sic", "orig", "abbr", "rdg", "titlePage", "fileDesc", "encodingDesc", "textClass", "label",
        "langUsage", "revisionDesc",
    }),
}  # fmt: skip
STATEMENTS = re.compile(
    r"acknowl|fund|conflict|coi|supplement|contribut|availab|ethic|references|disclos|consent|associated", re.IGNORECASE
)
FORMULAS = frozenset({"inline-formula", "disp-formula", "tex-math", "math", "formula"})
BLOCKS = frozenset({
    "p", "title", "subtitle", "sec", "td", "th", "tr", "table", "list", "list-item", "def", "term", "caption", "label", "head", "div",
    "item", "row", "cell",
    "figDesc", "figure", "note", "fig", "table-wrap", "abstract", "body", "back", "article-title", "break", "lb", "s", "l", "disp-quote",
    "xref", "ref", "fn",
    "speaker", "boxed-text", "statement", "verse-line", "quote", "attrib", "def-item", "front", "article-meta", "title-group",
    "inline-formula",
})  # fmt: skip
WORD = re.compile(r"[^\W\d_]{2,}")
ADDRESS = re.compile(r"creativecommons\.org/(?:licenses/([a-z-]+)/([0-9]\.[0-9])|publicdomain/(zero)/)", re.IGNORECASE)


@dataclass
class Counts:
    """What was found in some documents."""

    documents: int = 0
    words: int = 0
    letters: int = 0
    glued: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)  # letters, by an element that is known to be
    absent: Counter[str] = field(default_factory=Counter)  # letters, by the element that holds them
    licenses: Counter[tuple[str, str]] = field(default_factory=Counter)  # (the source's, the document's)


def name_of(element: Any) -> str:
    """An element's name, without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def letters(text: str) -> str:
    """A text's letters and digits alone."""
    return "".join(filter(str.isalnum, text))


def pieces(root: Any) -> list[tuple[Any, str]]:
    """Every piece of text in an XML tree, with the element that holds it, in order; elements that stand apart have line ends."""
    found: list[tuple[Any, str]] = []

    def walk(element: Any) -> None:
        apart = name_of(element) in BLOCKS
        found.append((element, "\n" if apart else ""))
        if name_of(element):
            found.append((element, element.text or ""))
        for child in element:
            walk(child)
        if apart:
            found.append((element, "\n"))
        if element.getparent() is not None:
            found.append((element.getparent(), element.tail or ""))

    walk(root)
    return [(holder, text) for holder, text in found if text]


def compare(root: Any, text: str, form: str, counts: Counts) -> None:
    """Count one document against its XML."""
    body = letters(text)
    said = pieces(root)
    counts.documents += 1
    source_words = WORD.findall("".join(piece for _, piece in said))
    known = set(source_words) | {word for _, piece in said for word in WORD.findall(piece)}
    pairs = {first + second for first, second in pairwise(source_words)}
    words = WORD.findall(text)
    counts.words += len(words)
    counts.glued.update(word for word in words if word not in known and word in pairs)
    for holder, piece in said:
        bare = letters(piece)
        above = [holder, *holder.iterancestors()]
        if not bare or any(name_of(each) in FORMULAS for each in above):
            continue
        counts.letters += len(bare)
        if bare in body:
            continue
        named = next((name_of(each) for each in reversed(above) if name_of(each) in LEFT_OUT[form]), None)
        parts = [each for each in above if name_of(each) in ("sec", "div")]
        stated = next((each for each in parts if STATEMENTS.search(f"{each.get('sec-type')} {each.get('type')}")), None)
        typed = next((each.get("abstract-type") for each in above if name_of(each) == "abstract"), None)
        if named or typed or stated is not None:
            counts.left_out[named or (f"abstract {typed}" if typed else f"{name_of(stated)} of a statement")] += len(bare)
        else:
            counts.absent[f"{name_of(holder.getparent()) if holder.getparent() is not None else ''}/{name_of(holder)}"] += len(bare)


def license_of(raw: bytes) -> str:
    """The one licence of Creative Commons whose address a source has; `none`, or `several`."""
    found = {
        "CC0-1.0" if zero else f"CC-{terms.upper()}-{version}" for terms, version, zero in ADDRESS.findall(raw.decode("utf-8", "replace"))
    }
    return found.pop() if len(found) == 1 else "several" if found else "none"


def measure(path: Path, form: str, counts: Counts) -> None:
    """Count the documents of a file or archive."""
    source = source_config(name="a", domain="science", format=form, path=str(path), include=["*.xml", "*.nxml"])
    for file in list_files(source, path.parent):
        records = {item.id: item for item in read_file(file, source) if isinstance(item, Record)}
        for member in members(file, source):
            if isinstance(member, Unreadable) or (record := records.get(member.path)) is None:
                continue
            raw = member.stream.read()
            parser = etree.XMLParser(resolve_entities="internal", no_network=True, load_dtd=False, remove_comments=True, remove_pis=True)
            root = etree.fromstring(raw, parser)
            compare(root, record.text, form, counts)
            counts.licenses[license_of(raw), record.license or "none"] += 1


def rows(form: str, counts: Counts) -> list[Row]:
    """The figures. A licence is wrong where the source has one address of Creative Commons and the document another licence."""
    wrong = sum(count for (theirs, ours), count in counts.licenses.items() if theirs not in ("none", "several", ours))
    share = 100 / max(1, counts.letters)
    return [
        Row(f"{form}: words glued, in {counts.documents} papers", "words", counts.glued.total(), goal=0, at_most=True),
        Row(f"{form}: letters absent, of other elements", "%", share * counts.absent.total(), goal=0.1, at_most=True),
        Row(f"{form}: letters of elements that are left out", "%", share * counts.left_out.total()),
        Row(f"{form}: licences unlike the source's address", "papers", wrong, goal=0, at_most=True),
    ]


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--format", choices=list(LEFT_OUT), default="jats")
    parser.add_argument("--quick", action="store_true", help="nothing is written")
    options = parser.parse_args()
    counts = Counts()
    for path in options.files:
        measure(path, options.format, counts)
    found_of: dict[str, Counter[Any]] = {
        "glued": counts.glued,
        "left out": counts.left_out,
        "absent": counts.absent,
        "licences": counts.licenses,
    }
    for title, counted in found_of.items():
        print(title + ":", ", ".join(f"{what} {count:,}" for what, count in counted.most_common(25)))
    found = rows(options.format, counts)
    show(found)
    if not options.quick:
        write("reading", found, ("lxml",))


if __name__ == "__main__":
    main()

"""TEI: papers as GROBID writes them, and editions; wikis' templates are in test_science.py.

What is right is what the Guidelines say that elements mean, and, of words, what a plain walk of the XML finds.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pipeline.readers import Record, Unreadable, list_files, read_file, source_config
from pipeline.readers.tei_text import emit

HEADER = """<teiHeader xml:lang="en"><fileDesc><titleStmt><title level="a" type="main">On Things</title></titleStmt><publicationStmt>
<availability><licence target="https://creativecommons.org/licenses/by-sa/4.0/"><p>Shared</p></licence></availability>
<date when="2019-05-06"/></publicationStmt><sourceDesc><biblStruct><monogr><title level="j">Journal</title></monogr><idno type="DOI">10.1/x</idno>
<idno type="arXiv">1901.00001v1</idno></biblStruct></sourceDesc></fileDesc><profileDesc><abstract><p><s>One.</s><s>Two.</s></p></abstract></profileDesc>
</teiHeader>"""
PAPER = f"""<TEI xmlns="http://www.tei-c.org/ns/1.0">{HEADER}<text xml:lang="de"><body>
<div><head n="1">Introduction</head><p>Known <ref type="bibr">[1]</ref>.<note place="foot">Aside.</note></p><formula>E = mc 2<label>(1)</label></formula>
<p>As follows:<list><item>one</item><item>two</item></list>and so on.</p></div>
<figure><head>Figure 1 :</head><label>1</label><figDesc>Figure 1: What is seen.</figDesc></figure>
<figure type="table"><head>Table 1</head><figDesc>Values.</figDesc><table><row><cell rows="2">a</cell><cell>b</cell></row><row><cell>c</cell></row></table>
</figure></body><back><div type="acknowledgement"><p>Thanks</p></div><div type="annex"><head>Annex</head><p>More.</p></div>
<div type="references"><listBibl><bibl>B</bibl></listBibl></div></back></text></TEI>"""


def read(path: Path, **keys: object) -> tuple[list[Record], list[Unreadable]]:
    source = source_config(name="t", domain="science", format="tei", path=str(path), **keys)
    items = [item for file in list_files(source, path.parent) for item in read_file(file, source)]
    return [item for item in items if isinstance(item, Record)], [item for item in items if isinstance(item, Unreadable)]


def test_a_paper_of_grobid_is_text_with_its_facts(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(PAPER, encoding="utf-8")
    (record,), bad = read(tmp_path / "a.xml")
    assert not bad
    assert record.text.split("\n\n") == [
        "On Things", "Abstract", "One. Two.", "Introduction", "Known [1].", "Aside.", "E = mc 2", "As follows:", "- one\n- two",
        "and so on.",
        "Figure 1: What is seen.", "Table 1. Values.\na | b\n | c", "Annex", "More.",
    ]  # fmt: skip
    assert (record.title, record.language, record.license, record.date) == ("On Things", "de", "CC-BY-SA-4.0", "2019-05-06")
    assert record.meta == {"doi": "10.1/x", "arxiv": "1901.00001v1", "journal": "Journal", "year": 2019}
    assert record.left_out == {"<div acknowledgement>": 1, "<div references>": 1}


def test_a_corpus_is_read_text_by_text_and_a_broken_one_costs_itself(tmp_path: Path) -> None:
    one = PAPER.replace(' xmlns="http://www.tei-c.org/ns/1.0"', "")
    corpus = f'<teiCorpus xmlns="http://www.tei-c.org/ns/1.0"><teiHeader/>{one}{one.replace("</head>", "")}{one}</teiCorpus>'
    (tmp_path / "a.xml").write_text(corpus, encoding="utf-8")
    records, bad = read(tmp_path / "a.xml")
    assert [record.id for record in records] == ["a.xml#0", "a.xml#2"]
    assert [item.location.split(" ")[0] for item in bad] == ["a.xml#1"]
    (tmp_path / "b.xml").write_text("<html><p>x</p></html>")
    assert [item.error for item in read(tmp_path / "b.xml")[1]] == ["no TEI text: the root element is <html>"]


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("Ge-<lb/>schichte", "Geschichte"),
        ("Ge<lb break='no'/>\nschichte", "Geschichte"),
        ("Wort-<fw>Kopf</fw>\n<pb n='2'/>\n<lb/>teil", "Wortteil"),
        ("Wort¬\n<lb/>Teil", "WortTeil"),
        ("Anna-<lb/>Maria", "Anna-Maria"),
        ("vom Haus<lb/>und", "vom Haus und"),
        ("1914-<lb/>1918", "1914- 1918"),
        ("<choice><sic>teh</sic><corr>the</corr></choice> <choice><orig>vnd</orig><reg>und</reg></choice>", "the und"),
        ("<choice><abbr>Dr.</abbr><expan>Doctor</expan></choice>, <abbr>Mr.</abbr>", "Doctor, Mr."),
        ("a <gap reason='illegible'/> b<supplied>c</supplied> <del>d</del><add>e</add>", "a […] bc e"),
        ("<app><lem>good</lem><rdg>bad</rdg></app> <app><rdg>first</rdg><rdg>second</rdg></app>", "good first"),
        ("<w>The</w><w>man</w><pc>,</pc> <w>he</w><w join='left'>s</w>", "The man, hes"),
        ("x<hi rend='superscript'>2</hi> and K<hi rend='super'>o</hi>nig", "x^2 and Konig"),
        ("<formula notation='TeX'>$a^2$</formula> is", "$a^2$ is"),
        ("a<note>N<!-- --></note> b", "a b\n\nN"),
    ],
)
def test_words_are_whole_and_the_right_reading_is_read(xml: str, text: str) -> None:
    blocks: list[str] = []
    emit(etree.fromstring(f"<p>{xml}</p>", etree.XMLParser(remove_comments=True)), blocks)
    assert "\n\n".join(blocks) == text


def test_verses_speeches_and_glossaries_keep_their_lines() -> None:
    blocks: list[str] = []
    xml = """<div><lg><l>One</l><l>Two<note>N</note></l></lg><sp><speaker>A.</speaker><p>Says.</p></sp>
    <list><label>term</label><item>meaning<list><item>inner</item></list></item></list><quote><p>Said</p></quote></div>"""
    emit(etree.fromstring(xml), blocks)
    assert blocks == ["One\nTwo", "N", "A.", "Says.", "- term: meaning\n  - inner", "Said"]


INLINE = st.recursive(
    st.text("abc ", min_size=1, max_size=6),
    lambda inner: st.tuples(st.sampled_from(["hi", "s", "ref", "seg", "p", "quote", "list", "item", "q", "head", "lg", "l", "ab"]), st.lists(inner, max_size=4)).map(
        lambda made: f"<{made[0]}>{''.join(made[1])}</{made[0]}>"
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.lists(INLINE, max_size=5))
def test_no_letter_of_a_text_is_lost_whatever_is_within_what(pieces: list[str]) -> None:
    root = etree.fromstring(f"<div>{''.join(pieces)}</div>")
    letters = sorted("".join(root.itertext()).replace(" ", ""))
    blocks: list[str] = []
    emit(root, blocks)
    assert sorted(letter for letter in "".join(blocks) if letter in "abc") == letters


def test_what_is_nested_beyond_bounds_keeps_its_words() -> None:
    blocks: list[str] = []
    emit(etree.fromstring("<div>" * 240 + "deep words" + "</div>" * 240), blocks)
    assert blocks == ["deep words"]

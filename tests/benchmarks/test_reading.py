"""The counters of words that are glued, of letters that are absent, and of licences."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from benchmarks.reading import Counts, compare, license_of, measure, rows

JATS = """<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta><title-group><article-title>A title of D<sub>2 </sub>receptors</article-title>
</title-group><permissions><license xlink:href="https://creativecommons.org/licenses/by-nc/4.0/"><license-p>Open</license-p></license></permissions>
<abstract><p>Short words here.</p></abstract></article-meta></front><body><sec><title>One</title><p>Ca<sup>2+ </sup>ions in <italic>E. coli</italic>
cells<xref ref-type="bibr">3</xref>.</p><table-wrap><label>Table 1</label><caption><p>Many values</p></caption><table><tr><td>left</td><td>right</td></tr></table>
</table-wrap></sec></body><back><sec><title>Methods</title><p>What was done.</p></sec><ack><p>Thanks to all</p></ack></back></article>"""
TEI = """<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt><title>Hidden header</title></titleStmt></fileDesc><profileDesc><abstract><p>
<s>First sentence.</s><s>Second one.</s></p></abstract></profileDesc></teiHeader><text><body><div><head>Head words</head><p>Some <ref>(Smith, 2000)</ref> said.</p>
<figure><head>Figure 1</head><figDesc>Things shown</figDesc></figure><list><item>alpha</item><item>beta</item></list></div></body></text></TEI>"""


def test_readers_glue_nothing_and_lose_nothing_of_what_they_should_read(tmp_path: Path) -> None:
    for form, paper in (("jats", JATS), ("tei", TEI)):
        (tmp_path / f"{form}.xml").write_text(paper, encoding="utf-8")
        counts = Counts()
        measure(tmp_path / f"{form}.xml", form, counts)
        assert counts.documents == 1
        assert not counts.glued
        assert not counts.absent
        assert [row.value for row in rows(form, counts)][::3] == [0, 0]


def test_what_is_glued_absent_or_wrongly_licensed_is_counted() -> None:
    root = etree.fromstring(JATS)
    counts = Counts()
    compare(
        root,
        "A title of D2receptors Short wordshere. One Ca2+ions in E. coli cells3. Many values left Methods What was done.",
        "jats",
        counts,
    )
    assert counts.glued == {"wordshere": 1}
    assert counts.absent == {"tr/td": 5}
    assert counts.left_out["ack"] == 11
    counts.licenses["CC-BY-4.0", "CC-BY-NC-4.0"] += 1
    assert rows("jats", counts)[-1].value == 1
    assert license_of(JATS.encode()) == "CC-BY-NC-4.0"

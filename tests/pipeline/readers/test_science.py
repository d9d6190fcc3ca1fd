"""Papers from archives, sets of articles, dumps of wikis, and light markup: real layouts, and what attacks."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import random
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from pydantic import ValidationError

from pipeline.readers import InputFile, Record, SourceConfig, Unreadable, list_files, read_file, source_config, wikitext
from pipeline.readers.data import rows
from pipeline.readers.elements import split
from pipeline.workdir.errors import UserError
from tests.profiles import share
from tests.work import in_proportion


def source(path: Path | str, format: str, **settings: Any) -> SourceConfig:
    return source_config(name="test", domain="science", format=format, path=str(path), **settings)


def read(config: SourceConfig) -> tuple[list[Record], list[Unreadable]]:
    items = [item for file in list_files(config, Path("/")) for item in read_file(file, config)]
    return [item for item in items if isinstance(item, Record)], [item for item in items if isinstance(item, Unreadable)]


def file(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def tar(files: dict[str, bytes | str], mode: str = "w", format: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode, format=format) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


def paper(text: str, title: str = "T") -> str:
    return f"\\documentclass{{article}}\\title{{{title}}}\\begin{{document}}{text}\\end{{document}}"


# --- TeX ----------------------------------------------------------------------------------------------------------------

PAPER: dict[str, bytes | str] = {
    "main.tex": paper("Start \\input{sections/one} \\include{sections/two} \\input{../../etc/passwd} \\my{x} end", "Whole"),
    "sections/one.tex": "One.",
    "sections/two.tex": "Two \\input{sections/two} \\input{main}.",
    "my.sty": "\\newcommand{\\my}[1]{(#1)}",
    "fig.pdf": b"%PDF\x00",
    "refs.bib": "@article{}",
}
PAPER["main.tex"] = str(PAPER["main.tex"]).replace("\\title", "\\usepackage{my}\\title")
WORDS = ["Whole", "Start", "One.", "Two.", "(x)", "end"]


def test_an_archive_or_folder_of_sources_is_one_document(tmp_path: Path) -> None:
    file(tmp_path, "a/2301.00001.tar.gz", tar(PAPER, "w:gz"))
    with zipfile.ZipFile(tmp_path / "a" / "b.zip", "w") as archive:
        for name, content in PAPER.items():
            archive.writestr(name, content)
    for name, content in PAPER.items():
        file(tmp_path, f"a/folder/{name}", content)
    records, bad = read(source(tmp_path / "a", "latex"))
    assert not bad
    assert [record.id for record in records] == ["2301.00001.tar.gz!main.tex", "b.zip!main.tex", "folder/main.tex"]
    assert [record.text.split() for record in records] == [WORDS] * 3
    assert records[0].url == "https://arxiv.org/abs/2301.00001"
    assert records[0].date == "2023-01"
    assert "../../etc/passwd" in records[0].meta["missing"]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_arxivs_bulk_layout_gives_a_document_for_each_gz(tmp_path: Path, format: int) -> None:
    bulk = tar(
        {
            "2301/2301.00001.gz": gzip.compress(tar(PAPER, format=format)),
            "2301/2301.00002.gz": gzip.compress(paper("Single.").encode()),
            "2301/2301.00003.pdf": b"%PDF-1.5\x00",
            "2301/2301.00004.gz": gzip.compress(b"%auto-ignore\nwithdrawn"),
            "2301/2301.00005.gz": gzip.compress(b"\x89PNG\x00\x00"),
            "2301/2301.00006.gz": gzip.compress(tar({"ms": paper("No ending."), "fig1.eps": "%!PS"}, format=format)),
            "2301/2301.00007.gz": gzip.compress(paper("Cut.").encode() * 500)[:60],
            "2301/math0512345.gz": gzip.compress(b"\\magnification 1200 Plain \\'e \\bye"),
        },
        format=format,
    )
    file(tmp_path, "arXiv_src_2301_001.tar", bulk)
    records, bad = read(source(tmp_path, "latex"))
    assert {record.id.rsplit("/", 1)[-1]: record.text.split()[-1] for record in records} == {
        "2301.00001.gz": "end", "2301.00002.gz": "Single.", "2301.00006.gz": "ending.", "math0512345.gz": "é",
    }  # fmt: skip
    assert {item.location.rsplit("/", 1)[-1] for item in bad} == {"2301.00005.gz", "2301.00007.gz"}
    assert [record.date for record in records] == ["2023-01", "2023-01", "2023-01", "2005-12"]
    assert records[-1].url == "https://arxiv.org/abs/math/0512345"


def test_a_tars_old_header_without_magic_is_known(tmp_path: Path) -> None:
    data = bytearray(tar({"main.tex": paper("Old.")}, format=tarfile.USTAR_FORMAT))
    data[257:265] = b"\0" * 8
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
    file(tmp_path, "bulk.tar", tar({"9901001.gz": gzip.compress(bytes(data))}))
    (record,), _ = read(source(tmp_path, "latex"))
    assert record.text == "T\n\nOld."


def test_main_files_are_those_that_no_other_includes_and_variants_are_one(tmp_path: Path) -> None:
    body = "Long text of the paper. " * 50
    file(tmp_path, "p/a.tex", "\\documentclass{x}\\begin{document}\\input{body}\\end{document}")
    file(tmp_path, "p/b.tex", "\\documentclass{y}\\begin{document}\\input{body} More.\\end{document}")
    file(tmp_path, "p/body.tex", body)
    file(tmp_path, "p/supplement.tex", paper("Other."))
    file(tmp_path, "p/unused.tex", "A fragment.")
    records, _ = read(source(tmp_path, "latex"))
    assert [record.id for record in records] == ["p/a.tex", "p/supplement.tex"]
    chosen, _ = read(source(tmp_path, "latex", include=["*/supplement.tex"]))
    assert [record.id for record in chosen] == ["p/supplement.tex"]


def test_a_folder_without_papers_is_an_error_that_says_so(tmp_path: Path) -> None:
    file(tmp_path, "a.pdf", "x")
    with pytest.raises(UserError, match="none of them is TeX or an archive"):
        list_files(source(tmp_path, "latex"), tmp_path)


def test_plain_tex_without_a_class_and_loops_of_inclusion_are_read(tmp_path: Path) -> None:
    file(tmp_path, "p/one.tex", "\\magnification 1200\nPlain text. \\input two \\bye")
    file(tmp_path, "p/two.tex", "Included.")
    file(tmp_path, "q/x.tex", "\\documentclass{a}\\begin{document}X \\input{y}\\end{document}")
    file(tmp_path, "q/y.tex", "\\documentclass{a}Y \\input{x}")
    records, bad = read(source(tmp_path, "latex"))
    assert not bad
    assert {record.id for record in records} == {"p/one.tex", "q/x.tex"}
    assert "Included." in records[0].text


@pytest.mark.parametrize(("name", "codec"), [("latin1", "latin-1"), ("cp1250", "cp1250"), ("koi8-r", "koi8-r"), ("applemac", "mac-roman")])
def test_a_papers_declared_charset_is_used(tmp_path: Path, name: str, codec: str) -> None:
    words = {"cp1250": "Łódź", "koi8-r": "Привет"}.get(name, "Müller é")
    file(
        tmp_path, "a.tex", f"\\documentclass{{a}}\\usepackage[{name}]{{inputenc}}\\begin{{document}}{words}\\end{{document}}".encode(codec)
    )
    (record,), _ = read(source(tmp_path / "a.tex", "latex"))
    assert record.text == words


def test_an_undeclared_charset_is_the_sources_or_latin_1(tmp_path: Path) -> None:
    path = file(tmp_path, "a.tex", paper("Łódź").encode("cp1250"))
    (record,), _ = read(source(path, "latex", encoding="cp1250"))
    assert record.text.endswith("Łódź")
    with pytest.raises(ValidationError, match="nonsense is no charset"):
        source(path, "latex", encoding="nonsense")
    file(tmp_path, "a.tex", paper("Müller").encode("latin-1"))
    (record,), _ = read(source(path, "latex"))
    assert record.text.endswith("Müller")


def test_archives_that_attack_give_the_rest(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for name in ("../up.tex", "/abs.tex", "main.tex", "big.tex"):
            data = (
                b"x" * 2_000_000
                if name == "big.tex"
                else paper("Read. \\input{/etc/passwd}\\input{../up}\\input{link}\\input{big}").encode()
            )
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("link.tex")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    file(tmp_path, "a.tar.gz", sink.getvalue())
    records, bad = read(source(tmp_path, "latex", max_record_bytes=1_000_000))
    assert [record.text for record in records] == ["T\n\nRead."]
    assert {item.location.split("!")[1] for item in bad} == {"../up.tex", "/abs.tex", "link.tex", "big.tex"}


def test_a_cut_archive_gives_the_papers_before_the_damage(tmp_path: Path) -> None:
    generator = random.Random(0)

    def words() -> str:
        return "".join(generator.choices("abcdefghijk ", k=4000))

    whole = tar({f"{number}.tex": paper(words()) for number in range(50)}, "w:gz")
    file(tmp_path, "a.tar.gz", whole[: len(whole) // 2])
    records, bad = read(source(tmp_path, "latex"))
    assert 18 < len(records) < 28
    assert {item.location.split("!")[0] for item in bad} == {"a.tar.gz"}
    nested = gzip.compress(tar({f"{number}.tex": paper(words()) for number in range(50)}))
    file(
        tmp_path,
        "a.tar.gz",
        tar({"2301.00001.gz": nested[: len(nested) // 2], "2301.00002.gz": gzip.compress(paper("After.").encode())}, "w:gz"),
    )
    records, bad = read(source(tmp_path, "latex"))
    assert 18 < len(records) < 28
    assert records[-1].text.endswith("After.")
    assert {item.location.split("!")[1].split("!")[0] for item in bad} == {"2301.00001.gz"}


BULK = tar(
    {
        "2301.00001.gz": gzip.compress(tar(PAPER), mtime=0),
        "2301.00002.gz": gzip.compress(paper("Single.").encode(), mtime=0),
        "p/main.tex": paper("\\input{one}"),
        "p/one.tex": "One.",
    }
)


@settings(max_examples=share(1.5))
@given(st.lists(st.tuples(st.integers(0, len(BULK) - 1), st.binary(min_size=1, max_size=4)), max_size=12), st.integers(0, len(BULK)))
def test_no_damage_to_a_bulk_archive_makes_the_reader_raise(changes: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(BULK)
    for at, new in changes:
        data[at : at + len(new)] = new
    with tempfile.TemporaryDirectory() as folder:
        path = file(Path(folder), "a.tar", bytes(data[:cut]))
        for item in read_file(InputFile(str(path), "a.tar", cut, "f"), source(path, "latex")):
            assert isinstance(item, Record | Unreadable)


@pytest.mark.slow
def test_a_document_of_too_much_tex_is_refused_and_its_neighbour_read(tmp_path: Path) -> None:
    file(tmp_path, "a/main.tex", paper("{" * (17 << 20)))
    file(tmp_path, "b/main.tex", paper("Before. " + "\\input{big}" * 3 + " After."))
    file(tmp_path, "b/big.tex", "x" * (9 << 20))
    (record,), (bad,) = read(source(tmp_path, "latex"))
    assert record.text.startswith("T\n\nBefore. ")
    assert record.text.endswith("After.")
    assert len(record.text) < 10 << 20
    assert record.meta["missing"] == ["big"]
    assert bad.location == "a/main.tex"


def test_a_changed_included_file_changes_the_papers_fingerprint(tmp_path: Path) -> None:
    file(tmp_path, "p/main.tex", paper("\\input{one}"))
    file(tmp_path, "p/one.tex", "One.")
    (before,) = list_files(source(tmp_path, "latex"), tmp_path)
    file(tmp_path, "p/one.tex", "Another.")
    (after,) = list_files(source(tmp_path, "latex"), tmp_path)
    assert before.fingerprint != after.fingerprint


# --- JATS ---------------------------------------------------------------------------------------------------------------

ARTICLE = """<article xmlns:mml="http://www.w3.org/1998/Math/MathML" article-type="research-article"><front><article-meta>
<article-id pub-id-type="pmc">123</article-id><title-group><article-title>On H<sub>2</sub>O</article-title></title-group>
<pub-date pub-type="ppub"><year>2019</year></pub-date><pub-date pub-type="epub"><day>7</day><month>Mar</month><year>2019</year></pub-date>
<abstract><sec><title>Aim</title><p>We aim.</p></sec></abstract><abstract abstract-type="graphical"><p>Hidden.</p></abstract>
<trans-abstract xml:lang="fr"><p>Caché.</p></trans-abstract><kwd-group><kwd>water</kwd><kwd>ice</kwd></kwd-group></article-meta></front>
<body><sec><label>1</label><title>Methods</title><p>At 10<sup>-3</sup> m<sup>2</sup> it is so<sup><xref ref-type="bibr" rid="r1">4</xref></sup>, the 1<sup>st</sup>:
<disp-formula><mml:math><mml:mfrac><mml:mi>a</mml:mi><mml:msup><mml:mi>b</mml:mi><mml:mn>2</mml:mn></mml:msup></mml:mfrac><mml:mo>=</mml:mo>
<mml:msqrt><mml:mi>x</mml:mi></mml:msqrt></mml:math></disp-formula> holds.</p>
<list list-type="order"><list-item><p>First</p><list list-type="bullet"><list-item><p>Inner</p></list-item></list></list-item><list-item><p>Second</p></list-item></list>
<table-wrap><label>Table 1</label><caption><title>Values</title></caption><table><thead><tr><th>A</th><th colspan="2">B</th><th>C</th></tr></thead>
<tbody><tr><td>1</td><td></td><td>2 <italic>x</italic></td><td>3</td></tr></tbody></table><table-wrap-foot><fn><p>A note.</p></fn></table-wrap-foot></table-wrap>
<def-list><def-item><term>DNA</term><def><p>acid</p></def></def-item></def-list></sec></body>
<back><ack><p>Thanks.</p></ack><app-group><app><title>Appendix</title><p>More.</p></app></app-group><ref-list><ref><mixed-citation>X</mixed-citation></ref></ref-list></back></article>"""


def test_jats_tables_lists_and_formulas_are_light_text(tmp_path: Path) -> None:
    file(tmp_path, "a.xml", ARTICLE)
    (record,), _ = read(source(tmp_path, "jats"))
    assert record.text.split("\n\n") == [
        "On H2O", "Abstract", "Aim", "We aim.", "Methods", "At 10^{-3} m^2 it is so[4], the 1st:", r"$$\frac{a}{b^2} = \sqrt{x}$$", "holds.",
        "1. First\n  - Inner\n2. Second", "Table 1. Values.\nA | B |  | C\n1 |  | 2 x | 3\nA note.", "- DNA: acid", "Appendix", "More.",
    ]  # fmt: skip
    assert record.date == "2019-03-07"
    assert record.meta == {"pmcid": "PMC123", "keywords": ["water", "ice"], "article_type": "research-article", "year": 2019}


def test_a_set_of_articles_streams_and_a_broken_one_costs_itself(tmp_path: Path) -> None:
    citation = (
        "<PubmedArticle><MedlineCitation><PMID>{n}</PMID><Article><Journal><Title>J</Title><JournalIssue><PubDate><MedlineDate>1998 Dec-1999 Jan"
        "</MedlineDate></PubDate></JournalIssue></Journal><ArticleTitle>[Title {n}.]</ArticleTitle><Abstract><AbstractText Label='AIM'>To <i>see</i>."
        "</AbstractText><AbstractText>And.</AbstractText></Abstract><Language>ger</Language></Article></MedlineCitation><PubmedData><ReferenceList>"
        "<Reference><ArticleIdList><ArticleId IdType='doi'>10.9/other</ArticleId></ArticleIdList></Reference></ReferenceList><ArticleIdList>"
        "<ArticleId IdType='doi'>10.1/{n}</ArticleId></ArticleIdList></PubmedData></PubmedArticle>\n"
    )
    parts = [citation.format(n=n) for n in range(2000)]
    parts[5] = parts[5].replace("</Journal>", "")
    parts[7] = parts[7].replace("</PubmedArticle>", "")
    parts[9] = parts[9].replace("And.", "x" * 3_000_000)
    whole = (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE PubmedArticleSet PUBLIC "x" "y">\n<PubmedArticleSet>'
        + "".join(parts)
        + "</PubmedArticleSet>"
    )
    file(tmp_path, "set.xml.gz", gzip.compress(whole.encode()))
    records, bad = read(source(tmp_path, "jats", max_record_bytes=1_000_000))
    assert [record.id for record in records] == [f"set.xml.gz#{n}" for n in range(2000) if n not in (5, 7, 9)]
    assert [item.location.split(" ")[0] for item in bad] == ["set.xml.gz#5", "set.xml.gz#7", "set.xml.gz#9"]
    assert records[0].text == "Title 0.\n\nAbstract\n\nAIM: To see.\n\nAnd."
    assert (records[0].language, records[0].date, records[0].meta["doi"]) == ("de", "1998", "10.1/0")
    file(tmp_path, "set.xml.gz", gzip.compress(whole.encode())[:3000])
    records, bad = read(source(tmp_path, "jats"))
    assert records[0].title == "Title 0."
    assert "rest cannot be read" in bad[-1].error


def test_a_set_in_another_charset_with_namespaces_on_its_root(tmp_path: Path) -> None:
    article = "<article><front><article-meta><title-group><article-title>Grün <x:i>a</x:i></article-title></title-group></article-meta></front></article>"
    whole = f'<?xml version="1.0" encoding="iso-8859-1"?><pmc-articleset xmlns:x="y">{article * 2}</pmc-articleset>'
    file(tmp_path, "a.xml", whole.encode("latin-1"))
    records, bad = read(source(tmp_path, "jats"))
    assert not bad
    assert [record.title for record in records] == ["Grün a"] * 2


@settings(max_examples=share(1.5))
@given(
    st.binary(max_size=60),
    st.integers(1, 40),
    st.lists(st.sampled_from([b"<a>", b"</a>", b"<ab>", b"<a ", b"x", b"<", b"</a", b">", b"yy"]), max_size=30),
)
def test_splitting_is_the_same_whatever_the_pieces_of_the_stream(head: bytes, step: int, parts: list[bytes]) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(step)

    data = head + b"".join(parts)
    whole = list(split(io.BytesIO(data), ("a",), 1000))
    assert list(split(Slow(data), ("a",), 1000)) == whole
    for offset, element in whole:
        assert isinstance(element, bytes)
        assert data[offset : offset + len(element)] == element
    assert [offset for offset, _ in whole] == sorted(offset for offset, _ in whole)


def test_real_papers_keep_their_tables_formulas_and_dates(real_data: Path) -> None:
    found: list[Record] = []
    contents: dict[tuple[str, str], bytes] = {}
    for name in ("plos-jats.tar.zst", "pubmed-jats.tar.zst"):
        raw = zstandard.ZstdDecompressor().stream_reader((real_data / "science" / name).open("rb"))
        with tarfile.open(fileobj=raw, mode="r|") as archive_file:
            for entry in archive_file:
                stream = archive_file.extractfile(entry)
                if stream is not None:
                    contents[name, entry.name] = stream.read()
    for name in ("plos-jats.tar.zst", "pubmed-jats.tar.zst"):
        records, bad = read(source(real_data / "science" / name, "jats", include=["*.xml", "*.nxml"]))
        found += records
        assert len(bad) == name.startswith("pubmed"), "one of the samples is cut off"
    assert len(found) == 53
    assert all(record.title and record.date and record.meta.get("doi") for record in found)
    assert all(int(str(record.date)[:4]) == record.meta["year"] for record in found)
    tables = formulas = 0
    for record in found:
        archive = record.id.split("!")[0]
        live = etree.fromstring(
            contents[archive, str(record.path)], etree.XMLParser(remove_comments=True, load_dtd=False, resolve_entities=False)
        )
        if any(len(row) > 1 for row in live.iter("tr")):  # three more papers have theirs in comments, beside a picture
            tables += 1
            assert " | " in record.text, record.id
        if live.find(".//{http://www.w3.org/1998/Math/MathML}math") is not None:
            formulas += 1
            assert "$" in record.text, record.id
    assert tables > 30
    assert formulas > 5
    assert sum(bool(record.license) for record in found) > 45
    for record in found:
        assert "\n\n\n" not in record.text
        assert "<" not in record.text or "</" not in record.text
        assert "References" not in record.text.split("\n\n")[-1:]


# --- S2ORC --------------------------------------------------------------------------------------------------------------


def test_s2orcs_shapes_give_the_same_paper(tmp_path: Path) -> None:
    text = "On Things\nJane Doe\nWe look.\nIntroduction\nFirst  one.\nSecond.\nMethods\nThird.\nReferences\nX 1999"

    def at(*parts: str) -> str:
        return json.dumps([{"start": text.index(part), "end": text.index(part) + len(part)} for part in parts])  # fmt: skip

    annotated = {
        "corpusid": 5, "externalids": {"doi": "10.1/x"}, "publicationdate": "2020-05-06", "content": {
            "source": {"pdfurls": ["http://x"], "oainfo": {"license": "CCBY"}}, "text": text,
            "annotations": {"title": at("On Things"), "abstract": at("We look."), "sectionheader": at("Introduction", "Methods"),
                            "paragraph": at("First  one.", "Second.", "Third."), "bibentry": at("X 1999"), "author": None}}}  # fmt: skip
    parsed = {"title": "On Things", "year": 2020, "abstract": [{"text": "We look.", "section": "Abstract"}],
              "pdf_parse": {"body_text": [{"section": "Introduction", "text": "First one."}, {"section": "Introduction", "text": "Second."},
                                          {"section": "Methods", "text": "Third."}], "bib_entries": {}}}  # fmt: skip
    expected = ["On Things", "Abstract", "We look.", "Introduction", "First one.", "Second.", "Methods", "Third."]
    file(tmp_path, "a.jsonl", json.dumps(annotated) + "\nnot json\n" + json.dumps(parsed) + "\n" + json.dumps({"x": 1}) + "\n")
    file(tmp_path, "b.json", json.dumps(parsed, indent=1))
    file(tmp_path, "c.json", json.dumps([parsed, 3]))
    records, bad = read(source(tmp_path, "s2orc"))
    assert [record.text.split("\n\n") for record in records] == [expected] * 4
    assert [record.id for record in records] == ["a.jsonl#1", "a.jsonl#3", "b.json", "c.json#0"]
    assert [(record.date, record.meta["year"]) for record in records] == [("2020-05-06", 2020)] + [("2020", 2020)] * 3
    assert records[0].license == "CCBY"
    assert [item.location.split(" ")[0] for item in bad] == ["a.jsonl#2", "a.jsonl#4", "c.json#1"]


def test_pes2o_lines_keep_text_source_and_year(tmp_path: Path) -> None:
    line = {
        "added": "2022-11-11T00:00:00Z",
        "created": "1998-02-03T00:00:00Z",
        "id": "7",
        "source": "s2ag/train",
        "text": "A title\n\nThe text.",
        "version": "v2",
    }
    file(tmp_path, "a.json.gz", gzip.compress((json.dumps(line) + "\n").encode() * 3))
    records, bad = read(source(tmp_path, "s2orc"))
    assert not bad
    assert len(records) == 3
    assert (records[0].text, records[0].title, records[0].date) == ("A title\n\nThe text.", "A title", "1998-02-03")
    assert records[0].meta["year"] == 1998
    assert records[0].meta["source"] == "s2ag/train"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just('[{"start": 1, "end": 3}]') | st.just("2020-01-02"),
    lambda children: st.lists(children, max_size=4)
    | st.dictionaries(st.sampled_from(["text", "body_text", "pdf_parse", "abstract", "title", "content", "annotations", "section", "year", "paragraph", "body",
                                       "metadata", "start", "end", "source", "oainfo", "license", "created", "back_matter"]), children, max_size=6),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=share(3))
@given(JSON)
def test_no_json_makes_the_paper_reader_raise(value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = file(Path(folder), "a.json", json.dumps(value))
        for item in read_file(InputFile(str(path), "a.json", 1, "f"), source(path, "s2orc")):
            assert isinstance(item, Record | Unreadable)


# --- MediaWiki ----------------------------------------------------------------------------------------------------------

WIKI = """{{short description|A city}}
{{Infobox settlement
| name = Gödel
| image = [[File:X.jpg|thumb|{{a|b}}]]
}}
[[File:Skyline.jpg|thumb|right|The [[skyline]] of the city ({{circa|1900}})]]
'''Gödel''' ({{IPA-de|ˈɡøːdl̩|lang}}; born {{birth date|1906|4|28}}) is a '''''city''''' in [[Austria|the Republic of Austria]]<ref>{{cite web|title=A [[b]]}}</ref> with 5&nbsp;km<sup>2</sup> and [[tree]]s, {{convert|5|km|mi}} away.<ref name="x"/> It has [http://example.org a site].

== History ==
Text with ''italic'' and <nowiki>[[not a link]]</nowiki>.<!-- hidden -->
* One {{nowrap|item A}}
* Two
** nested
# first
# second
; term : definition

=== Empty ===

=== Formula ===
The mass <math>E = mc^2</math> is
<math display="block">\\int_0^1 x\\,dx</math>
<syntaxhighlight lang="python">
def f(x):
    return {{x}}
</syntaxhighlight>

== Table ==
{| class="wikitable sortable"
|+ Caption here
! Name !! Value
|-
| style="color:red" | A || 1
|-
| rowspan=2 | B
| 2 <ref>note</ref>
|}

== References ==
{{reflist}}
[[Category:Cities]]
[[de:Gödel]]
__NOTOC__
"""


def test_wikitext_reads_as_its_page_does() -> None:
    assert (
        wikitext.to_text(WIKI)
        == """Gödel (ˈɡøːdl̩; born April 28, 1906) is a city in the Republic of Austria with 5 km2 and trees, 5 km away. It has a site.

History

Text with italic and [[not a link]].

- One item A
- Two
  - nested
1. first
2. second
term: definition

Formula

The mass $E = mc^2$ is

$$\\int_0^1 x\\,dx$$

def f(x):
    return {{x}}

Table

Caption here
Name | Value
A | 1
B | 2"""
    )


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a {{never closed [[b|c]] d", "a\nnever closed c d"),
        ("a [[never closed\n\nb", "a never closed\n\nb"),
        ("a ]] b }} c |} d", "a ]] b }} c |} d"),
        ("a {{t|{{t|{{t}}}}}} b", "a b"),
        ("{{{1|default}}} and {{{x}}}", "default and"),
        ("{{lang|fr|{{nowrap|mot [[lien|le lien]]}}}} fin", "mot le lien fin"),
        ("a<ref>b<ref>c</ref> d", "a d"),
        ("a<ref name=x />b <ref>never closed", "ab never closed"),
        ("[[:Category:X]] [[Category:X]] [[Image:a.png]] [[fr:X]]y", "Category:X y"),
        ("[[a (b)|]] [[a#b|]] [[a#b]]", "a a#b a"),
        ("&lt;b&gt; &amp;nbsp; &#0; &#x41;", "<b> &nbsp; \ufffd A"),
        ("'''b''' ''i'' '''''bi''''' it's", "b i bi it's"),
        ("{|\n|a||b\n{|\n|inner\n|}\n|-\n|c\n", "a | b inner\nc"),
        ("-{zh-hans:a;zh-hant:b}- -{c}-", "a c"),
        ("== a ==\n=== b ===\n== c ==\nd", "c\n\nd"),
        ("1 < 2 and 3 > 2 <br/> <unknown>x</unknown>", "1 < 2 and 3 > 2\nx"),
    ],
)
def test_wikitexts_hard_constructs(markup: str, text: str) -> None:
    assert wikitext.to_text(markup) == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [  # what the templates' documentation says that the page shows, but for conversions
        ("{{convert|5|to|10|km|mi}}, {{cvt|6|ft|2|in|m}}, {{convert|100|km|mi|0}}", "5 to 10 km, 6 ft 2 in, 100 km"),
        ("{{val|5.2|0.1|u=km}}, {{val|1.5e3}}, {{val|2|e=6|ul=m|up=s}}", "5.2 ± 0.1 km, 1.5×10^3, 2×10^6 m/s"),
        ("{{unité|2000|m}}, {{unité|25|km||h|-1}}, {{nombre|7|rois}}, {{M|5|u=km}}", "2000 m, 25 km⋅h^{-1}, 7 rois, 5 km"),
        (
            "{{start date|2001|1|15}}, {{birth date|df=y|2001|1|15}}, {{as of|2020|5|lc=y}}",
            "January 15, 2001, 15 January 2001, as of May 2020",
        ),
        ("{{fecha|3|5|1900}}; {{data nascita|3|5|1900}}; {{дата|3|5|1900}}", "3 de mayo de 1900; 3 maggio 1900; 3 мая 1900"),
        (
            "{{date de naissance|3|mai|1900}}, {{s-|XIX|e}}, {{-s|II|e}}, {{XIXe siècle}}",
            "3 mai 1900, XIXe siècle, IIe siècle av. J.-C., XIXe siècle",
        ),
        ("{{生年月日と年齢|1900|5|3}} {{読み仮名|漢字|かんじ}} {{仮リンク|甲|en|A}}", "1900年5月3日 漢字(かんじ) 甲"),
        ("{{US$|5 million}}, {{£|20}}, {{INRConvert|5|c}}, {{currency|10|EUR}}", "US$5 million, £20, ₹5 crore, €10"),
        ("{{lang-de|Wort|lit=word}}, {{enS|word}}, {{lang|en|2=word}}, {{iw|Имя|Слово|en|Name}}", "Wort, lit. 'word', word, word, Слово"),
        ("a {{frobnicate|one|two|x=3}} b {{Infobox q|z}}\n{{Infobox q|z}}\n\nc", "a one two b z\n\nc"),
        ("x {{plainlist|\n* a\n* b\n}}\ny", "x\n\n- a\n- b\n\ny"),
        ("-{zh-cn:a; zh-tw:b}--{A|zh-cn:c;zh-tw:d}--{T|zh:e}--{H|zh-cn:f;}--{g|h}--{sr-ec:и|sr-el:i}-", "acg|hи"),
        ("-{R|raw}- -{zh;zh-hans|x}- -{甲=>zh-cn:乙;}-", "raw x 乙"),
    ],
)
def test_templates_show_the_words_that_their_page_shows(markup: str, text: str) -> None:
    assert wikitext.to_text(markup) == text


def test_templates_that_are_not_known_are_counted_by_name() -> None:
    _, unknown = wikitext.read_page("{{Frobnicate|a}} {{frobnicate}} {{lang|en|b}} {{#expr: 1}} {{sfn|c}}")
    assert unknown == {"{{Frobnicate}}": 1, "{{frobnicate}}": 1, "{{#expr:}}": 1}


def test_each_name_of_a_template_stands_once_in_the_table_and_has_a_way() -> None:
    names = [name for _, *names in rows("wikitext-templates.tsv") for name in names]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)


WIKI_PIECES = st.sampled_from(["{{", "}}", "{{{", "}}}", "[[", "]]", "|", "\n{|", "|}", "|-", "||", "!", "<ref>", "</ref>", "<ref/>", "<math>", "</math>", "<!--", "-->",
                               "[http://x ", "]", "''", "'''''", "==", "\n", "\n== a ==\n", "*", "#", ":", ";", "File:", "lang|fr|", "convert|", "frac|", "text", " ", "&amp;", "&#0;",
                               "-{", "}-", "<", ">", "<pre>", "</pre>", "=", "1=", "__TOC__", "\x00", "<br>", "é", "<nowiki>", "</nowiki>", "(", ")", ","])  # fmt: skip


@settings(max_examples=share(4))
@given(st.lists(WIKI_PIECES, max_size=60))
def test_no_wikitext_raises_or_leaves_marks_of_ours(pieces: list[str]) -> None:
    assert not set("\0\1") & set(wikitext.to_text("".join(pieces)))


@pytest.mark.parametrize(
    "unit",
    ["{{", "[[", "\n{|", "<ref>", "<!--", "[http://x ", "{{{", "( ", "'", "=", "-{a", "<a ", "*", "{{[[", "{{a]]", "<math>", "&amp", "[[a|", "\n= a =", "<code " + "x" * 500, "| ",
     "{{a|", "\n ", "-", "<", "__A", "\n;a : "],
)  # fmt: skip
def test_hostile_wikitext_takes_time_in_proportion_to_its_length(unit: str) -> None:
    in_proportion(wikitext.to_text, unit * (1_000_000 // len(unit)))


def dump(pages: str) -> bytes:
    return f"""<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="en"><siteinfo><sitename>W</sitename><dbname>enwiki</dbname>
<base>https://en.wikipedia.org/wiki/Main_Page</base><namespaces><namespace key="6" case="first-letter">Plik</namespace></namespaces></siteinfo>
{pages}</mediawiki>""".encode()


def page(number: int, text: str, *, title: str = "", namespace: int = 0, extra: str = "") -> str:
    return f"""<page><title>{title or f"Page {number}"}</title><ns>{namespace}</ns><id>{number}</id>{extra}<revision><id>{number}9</id>
<timestamp>2024-01-02T03:04:05Z</timestamp><model>wikitext</model><text xml:space="preserve">{text}</text></revision></page>\n"""


def test_a_dump_gives_articles_with_title_date_and_address(tmp_path: Path) -> None:
    pages = [
        page(1, "'''One''' &amp;amp; [[Plik:x.png|mini|caption]] text.", title="A/B: Ö?"),
        page(2, "talk", namespace=1),
        page(3, "#REDIRECT [[A]]", extra='<redirect title="A" />'),
        page(4, "#WEITERLEITUNG [[A]]"),
        page(5, "broken &undefined; <"),
        page(6, "no end").replace("</page>", ""),
        page(7, "".join(random.Random(0).choices("abc ", k=3_000_000))),
        page(8, "# first\n# second"),
        page(9, ".a { color: red }").replace("wikitext", "sanitized-css"),
    ]
    for name, data in {"a.xml": dump("".join(pages)), "b.xml.bz2": bz2.compress(dump("".join(pages)))}.items():
        path = file(tmp_path, name, data)
        records, bad = read(source(path, "mediawiki", max_record_bytes=1_000_000))
        assert [(record.id, record.text) for record in records] == [
            ("enwiki:1", "A/B: Ö?\n\nOne & text."), ("enwiki:8", "Page 8\n\n1. first\n2. second"),
        ]  # fmt: skip
        assert records[0].url == "https://en.wikipedia.org/wiki/A/B:_%C3%96%3F"
        assert (records[0].date, records[0].language, records[0].meta["revision"]) == ("2024-01-02", "en", "19")
        assert len(bad) == 3
    talk, _ = read(source(tmp_path / "a.xml", "mediawiki", namespaces=[1], max_record_bytes=1_000_000))
    assert [record.text for record in talk] == ["Page 2\n\ntalk"]


@pytest.mark.parametrize("namespace", ["--5", "x", "9" * 5000, "\u0665"])
def test_a_page_whose_namespace_is_no_number_is_unreadable(tmp_path: Path, namespace: str) -> None:
    pages = page(1, "one").replace("<ns>0</ns>", f"<ns>{namespace}</ns>") + page(2, "two")
    records, (bad,) = read(source(file(tmp_path, "a.xml", dump(pages)), "mediawiki"))
    assert [record.text for record in records] == ["Page 2\n\ntwo"]
    assert bad.error == "a page whose namespace is no number"


def test_a_cut_dump_and_bombs_within_pages(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE page [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
    pages = "".join(
        page(number, f"Page of words {number}. " + "".join(random.Random(number).choices("abc ", k=2000))) for number in range(300)
    )
    raw = bz2.compress(dump(bomb + page(1000, "&b; &xxe;") + pages), 1)
    file(tmp_path, "a.xml.bz2", raw[: len(raw) // 2])
    records, bad = read(source(tmp_path, "mediawiki"))
    assert len(records) > 50
    assert [record.id for record in records] == [f"enwiki:{number}" for number in range(len(records))]
    assert len(bad) in (2, 3), "the page with entities, and the end"
    file(tmp_path, "a.xml.bz2", bz2.compress(b"<html>no dump</html>"))
    assert read(source(tmp_path, "mediawiki"))[1][0].error == "not a MediaWiki dump: no <mediawiki> in it"


def test_memory_stays_bounded_over_a_page_of_200_megabytes(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "a.xml"
    with path.open("wb") as sink:
        sink.write(dump("")[: -len(b"</mediawiki>")])
        sink.write(page(1, "before").encode())
        sink.write(b"<page><title>x</title><revision><text>")
        for _ in range(200):
            sink.write(b"x" * (1 << 20))
        sink.write(b"</text></revision></page>")
        sink.write(page(2, "after").encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, (bad,) = read(source(path, "mediawiki", max_record_bytes=1 << 20))
    assert [record.text for record in records] == ["Page 1\n\nbefore", "Page 2\n\nafter"]
    assert "a page of 2097152" in bad.error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


# --- light markup -------------------------------------------------------------------------------------------------------

MARKDOWN = """---
title: "The Title"
date: 2020-01-01
---
<!-- hidden
more --># Heading *one* #

Some **bold** and _light_ text with `code_span*`, a [link](http://x.org "t") and ![picture](a.png).
Second snake_case_word line \\* escaped <b>tag</b> <https://auto.org>.

* item
  1. inner

> quoted

| A | B |
|---|:-:|
| 1 | 2 |

```python
<!-- kept -->
x = "**kept**"
```

Setext
------

[ref]: http://x.org
"""


def test_markdown_keeps_its_markup_and_loses_what_readers_do_not_see(tmp_path: Path) -> None:
    file(tmp_path, "a.md", MARKDOWN)
    (record,), _ = read(source(tmp_path, "markdown"))
    assert record.title == "The Title"
    assert record.text == MARKDOWN.split("---\n", 2)[2].replace("<!-- hidden\nmore -->", "").strip("\n")
    file(tmp_path, "a.md", MARKDOWN.split("---\n", 2)[2])
    (record,), _ = read(source(tmp_path, "markdown"))
    assert record.title == "Heading one"


def test_markdown_without_its_markup(tmp_path: Path) -> None:
    file(tmp_path, "a.md", MARKDOWN)
    (record,), _ = read(source(tmp_path, "markdown", strip_markup=True))
    assert [line for line in record.text.split("\n") if line] == [
        "Heading one", "Some bold and light text with code_span*, a link and .", "Second snake_case_word line * escaped tag https://auto.org.", "- item",
        "  1. inner", "quoted", "A | B", "1 | 2", "<!-- kept -->", 'x = "**kept**"', "Setext",
    ]  # fmt: skip


RST = """.. a comment
   over lines

=========
The Title
=========

Some *light* and **bold** ``code`` and :class:`Foo <x.Foo>` and `a link <http://x>`_.

.. note:: A note
   with more.

.. image:: a.png
   :alt: hidden

.. _target:

.. code-block:: python
   :linenos:

   x = 1  # **kept**

Section
-------

Text::

    literal
"""


def test_rst_with_and_without_its_markup(tmp_path: Path) -> None:
    file(tmp_path, "a.rst", RST)
    (record,), _ = read(source(tmp_path, "rst"))
    assert record.title == "The Title"
    assert record.text == RST.split("lines\n\n", 1)[1].strip("\n")
    (record,), _ = read(source(tmp_path, "rst", strip_markup=True))
    assert [line for line in record.text.split("\n") if line.strip()] == [
        "The Title", "Some light and bold code and Foo and a link.", "A note", "   with more.", "   x = 1  # **kept**", "Section", "Text:", "    literal",
    ]  # fmt: skip


def test_text_in_the_sources_charset(tmp_path: Path) -> None:
    file(tmp_path, "a.txt", "Łódź".encode("cp1250"))
    file(tmp_path, "b.txt", "Łódź".encode("utf-8-sig"))
    records, bad = read(source(tmp_path, "text", encoding="cp1250"))
    assert [record.text for record in records] == ["Łódź", "Łódź"]
    assert not bad


MARKS = st.sampled_from(["#", "*", "_", "`", "```", "~~~", "[", "](", ")", "!", "<!--", "-->", "---", "===", "\n", "\n\n", "|", "> ", "    ", "- ", "1. ", "text", "<b>", "\\",
                         "..", ".. note::", ".. _x:", ":role:`", "`_", "::", "+++", "title: x", "é", "\t", " ", "&", "\x00"])  # fmt: skip


@settings(max_examples=share(3))
@given(st.lists(MARKS, max_size=50), st.sampled_from(["markdown", "rst"]), st.booleans())
def test_no_markup_makes_a_reader_raise(parts: list[str], format: str, strip: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = file(Path(folder), "a", "".join(parts))
        (item,) = read_file(InputFile(str(path), "a", 1, "f"), source(path, format, strip_markup=strip))
        assert isinstance(item, Record)


@pytest.mark.parametrize("format", ["markdown", "rst"])
@pytest.mark.parametrize(
    "unit", ["[", "![", "](", "*", "_a", "**a ", "`", "``a", "<a ", "<!--", "```\n", "#", "-", "|-", "\\", ":a:`", "`a <", "..\n", ".. a\n", "=\n", "a\n==\n", "> ", " ", "\n",
             "[a](b", "*a* ", ".. |a|", "1. "],
)  # fmt: skip
def test_hostile_markup_takes_time_in_proportion_to_its_length(tmp_path: Path, format: str, unit: str) -> None:
    def read(text: str) -> None:
        path = file(tmp_path, "a", text)
        list(read_file(InputFile(str(path), "a", 1, "f"), source(path, format, strip_markup=True)))

    in_proportion(read, unit * (1_000_000 // len(unit)))

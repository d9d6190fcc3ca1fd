"""Readers: real formats, bad input, and everything around bad input is read."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.readers import FORMATS, InputFile, PassedOver, Record, SourceConfig, Unreadable, list_files, read_file, source_config
from pipeline.workdir.errors import UserError
from tests.profiles import share


def source(path: Path | str, format: str, **settings: Any) -> SourceConfig:
    return source_config(name="test", domain="web", format=format, path=str(path), **settings)


def read(config: SourceConfig) -> tuple[list[Record], list[Unreadable]]:
    items = [item for file in list_files(config, Path("/")) for item in read_file(file, config)]
    return [item for item in items if isinstance(item, Record)], [item for item in items if isinstance(item, Unreadable)]


def file(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- formats -----------------------------------------------------------------------------------------------------------

PAGE = """<!doctype html><html lang="en-GB"><head><title>A  page
 of text</title><meta charset="{charset}"></head><body><nav><a href="/">Home</a> <a href="/x">Other</a></nav>
<main><h1>Heading</h1><p>The first paragraph of the page has words enough to be taken for its main content, as readers of it would.</p>
<ol><li>one thing that is said at some length in the list</li><li>another thing that is said at length, too, so that it is text</li></ol><p>Zweiter Absatz mit Umlauten: äöü. And then some more words that make it long.</p>
<pre><code>def f(x):
    return x</code></pre></main><footer>Imprint and all rights reserved</footer></body></html>"""


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252"])
def test_html_gives_the_main_content_in_the_pages_own_charset(tmp_path: Path, charset: str) -> None:
    file(tmp_path, "page.html", PAGE.format(charset=charset).encode(charset))
    (record,), bad = read(source(tmp_path, "html"))
    assert not bad
    assert record.title == "A page of text"
    assert record.language == "en"
    assert "Umlauten: äöü" in record.text
    assert "Heading" in record.text
    assert "another thing" in record.text
    assert "Imprint" not in record.text
    assert "Home" not in record.text


def test_html_of_binary_data_and_without_content(tmp_path: Path) -> None:
    file(tmp_path, "a.html", b"\x89PNG\r\n\x00\x00binary")
    file(tmp_path, "b.html", b"")
    records, bad = read(source(tmp_path, "html"))
    assert [record.text for record in records] == [""]
    assert bad[0].location == "a.html"


def test_html_nested_a_hundred_thousand_deep_is_read_or_quarantined_in_time(tmp_path: Path) -> None:
    file(tmp_path, "deep.html", b"<div>" * 100_000 + b"text" + b"</div>" * 100_000)
    records, bad = read(source(tmp_path, "html"))
    assert len(records) + len(bad) == 1


ARTICLE = """<?xml version="1.0"?><!DOCTYPE article [<!ENTITY own "expanded">]>
<article xmlns:xlink="http://www.w3.org/1999/xlink" xml:lang="en"><front><journal-meta><journal-title>Journal of Tests</journal-title>
</journal-meta><article-meta><article-id pub-id-type="doi">10.1/x</article-id><title-group><article-title>On <italic>testing</italic>
things</article-title></title-group><pub-date><day>7</day><month>3</month><year>2019</year></pub-date>
<permissions><license xlink:href="http://creativecommons.org/licenses/by/4.0/"><license-p>Free.</license-p></license></permissions>
<abstract><p>We test.</p></abstract></article-meta></front><body><sec><title>Methods</title><p>First <xref>1</xref> we
 wait<fig><caption><p>A figure.</p></caption></fig>, then <inline-formula><alternatives><tex-math>\\documentclass{x}\\begin{document}$a^2$\\end{document}</tex-math>
<mml:math xmlns:mml="m"><mml:mi>a</mml:mi></mml:math></alternatives></inline-formula> holds.</p><table-wrap><caption><p>A table.</p></caption>
<table><tr><td>cell</td></tr></table></table-wrap></sec></body><back><ref-list><ref><mixed-citation>Someone 1999</mixed-citation></ref>
</ref-list></back></article>"""


def test_jats_gives_title_abstract_and_body_without_references(tmp_path: Path) -> None:
    file(tmp_path, "a.xml", ARTICLE)
    (record,), _ = read(source(tmp_path, "jats"))
    assert record.text.split("\n\n") == [
        "On testing things", "Abstract", "We test.", "Methods", "First 1 we wait, then $a^2$ holds.", "A figure.", "A table.\ncell",
    ]  # fmt: skip
    assert (record.title, record.license, record.date, record.language) == ("On testing things", "CC-BY-4.0", "2019-03-07", "en")
    assert record.meta == {"doi": "10.1/x", "journal": "Journal of Tests", "year": 2019}


def jats(body: str, back: str = "", title: str = "A title") -> str:
    return (
        f"<article><front><article-meta><title-group><article-title>{title}</article-title></title-group></article-meta></front>"
        f"<body><sec><title>Results</title>{body}</sec></body><back>{back}</back></article>"
    )


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("D<sub>2 </sub>receptors", "D2 receptors"),
        ("Ca<sup>2+ </sup>ions", "Ca^{2+} ions"),
        ("p53<sup> -/-</sup> cells", "p53 -/- cells"),
        ("IC<sub>50</sub> of <sup>14</sup>C", "IC50 of ^{14}C"),
        ("x<sub> </sub>y", "x y"),
        ("as shown <xref ref-type='bibr' rid='b1'><sup>1</sup></xref>.", "as shown [1]."),
        ("as shown<sup><xref ref-type='bibr' rid='b1'>1</xref>,<xref ref-type='bibr' rid='b2'>2</xref></sup>.", "as shown[1,2]."),
    ],
)
def test_jats_keeps_the_space_at_the_edges_of_what_is_raised_or_lowered(tmp_path: Path, markup: str, text: str) -> None:
    """In a paragraph, a title, a caption and a cell of a table alike."""
    table = f"<table-wrap><label>Table 1</label><caption><p>{markup}</p></caption><table><tr><td>{markup}</td><td>b</td></tr></table></table-wrap>"
    file(tmp_path, "a.xml", jats(f"<p>{markup}</p>{table}", title=markup))
    (record,), _ = read(source(tmp_path, "jats"))
    caption = text if text[-1] == "." else text + "."
    assert record.text.split("\n\n") == [text, "Results", text, f"Table 1. {caption}\n{text} | b"]
    assert record.title == text


def test_jats_reads_sections_figures_and_tables_behind_the_body(tmp_path: Path) -> None:
    back = (
        "<ack><p>Thanks.</p></ack><sec><title>Methods</title><p>We grew yeast.</p></sec>"
        "<sec><title>Figures</title><fig><label>Figure 1</label><caption><p>A picture</p></caption></fig></sec>"
        "<sec sec-type='supplementary-material'><title>Supplement</title><p>Gone.</p></sec><sec sec-type='COI-statement'><p>Gone.</p></sec>"
        "<app-group><app><title>Appendix</title><p>More.</p></app></app-group><ref-list><ref><mixed-citation>Gone</mixed-citation></ref></ref-list>"
    )
    file(tmp_path, "a.xml", jats("<p>Words.</p>", back))
    (record,), _ = read(source(tmp_path, "jats"))
    assert record.text.split("\n\n")[2:] == ["Words.", "Methods", "We grew yeast.", "Figures", "Figure 1. A picture.", "Appendix", "More."]


def test_jats_keeps_columns_in_place_below_a_cell_that_spans_rows(tmp_path: Path) -> None:
    table = (
        "<table-wrap><table><tr><th rowspan='2'>a</th><th colspan='2'>b</th></tr><tr><th>c</th><th>d</th></tr>"
        "<tr><td>1</td><td rowspan='2'>2</td><td>3</td></tr><tr><td>4</td><td>5</td></tr></table></table-wrap>"
    )
    file(tmp_path, "a.xml", jats(table))
    (record,), _ = read(source(tmp_path, "jats"))
    rows = record.text.split("\n\n")[-1].split("\n")
    assert rows == ["a | b", " | c | d", "1 | 2 | 3", "4 |  | 5"]


def test_s2orc_has_formulas_references_captions_and_tables_in_place_of_their_marks(tmp_path: Path) -> None:
    part = {
        "text": "Energy is EQUATION as in FIGREF0 and TABREF1 , FORMULA2 says BIBREF4 . Not FORMULA9 .",
        "section": [["1", "Methods"], ["1.1", "Setup"]],
        "eq_spans": [{"start": 10, "end": 18, "text": "EQUATION", "latex": "E = mc^2"}],
    }
    entries = {
        "TABREF1": {"text": "Results", "type_str": "table", "num": "3", "content": "<table><tr><th>a</th><td>1 <b>x</b></td></tr></table>"},
        "FIGREF0": {"text": "Figure 2: A cat", "type_str": "figure"},
        "FORMULA2": {"latex": "x", "type": "formula"},
    }
    paper = {"title": "T", "latex_parse": {"body_text": [part], "ref_entries": entries}}
    file(tmp_path, "a.json", json.dumps(paper))
    (record,), _ = read(source(tmp_path, "s2orc"))
    assert record.text.split("\n\n") == [
        "T",
        "Setup",
        "Energy is $E = mc^2$ as in Figure 2 and Table 3, $x$ says [5]. Not.",
        "Figure 2: A cat",
        "Table 3. Results\na | 1 x",
    ]


def test_xml_that_attacks_is_refused(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE article [<!ENTITY l0 "lol">{entities}]><article><body><p>&l11;</p></body></article>'
    file(tmp_path, "bomb.xml", bomb)
    secret = file(tmp_path, "secret.txt", "password")
    file(tmp_path, "xxe.xml", f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><article><body><p>see &x;</p></body></article>')
    file(tmp_path, "deep.xml", "<article>" + "<sec>" * 100_000 + "</sec>" * 100_000 + "</article>")
    file(tmp_path, "none.xml", "<other/>")
    file(tmp_path, "ok.xml", ARTICLE)
    records, bad = read(source(tmp_path, "jats", include=["*.xml"]))
    assert all("password" not in record.text for record in records)
    assert {"bomb.xml", "deep.xml", "none.xml"} <= {item.location for item in bad}
    assert any(record.title == "On testing things" for record in records)


def test_s2orc_gives_sections_in_order(tmp_path: Path) -> None:
    paper = {
        "title": "T", "abstract": "A.", "year": 2020, "venue": "V",
        "pdf_parse": {"body_text": [{"section": "Intro", "text": "One."}, {"section": "Intro", "text": "Two."}, {"section": "End", "text": "Three."}]},
    }  # fmt: skip
    file(tmp_path, "p.json", json.dumps(paper))
    file(tmp_path, "q.json", '{"title": "no body"}')
    (record,), (bad,) = read(source(tmp_path, "s2orc"))
    assert record.text.split("\n\n") == ["T", "Abstract", "A.", "Intro", "One.", "Two.", "End", "Three."]
    assert bad.error == "not an S2ORC paper: no body_text"


def test_json_in_its_three_shapes_with_mapped_fields(tmp_path: Path) -> None:
    one = {"body": {"text": "hello"}, "name": "first", "key": 7, "extra": [1]}
    file(tmp_path, "array.json", json.dumps([one, "no object"]))
    file(tmp_path, "keyed.json", json.dumps({"a": one, "b": {"body": {}}}))
    file(tmp_path, "single.json", json.dumps(one))
    records, bad = read(source(tmp_path, "json", fields={"text": "body.text", "title": "name", "id": "key"}))
    assert [(record.id, record.text, record.title) for record in records] == [("7", "hello", "first")] * 3
    assert records[0].meta == {"extra": [1]}
    assert [(item.location, item.error) for item in bad] == [
        ("array.json#1", "a JSON str, not an object"),
        ("keyed.json#b", "no field body.text; it has: body"),
    ]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".bz2", ".xz"])
def test_json_lines_plain_and_compressed(tmp_path: Path, ending: str) -> None:
    pack: dict[str, Callable[[bytes], bytes]] = {
        "": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    }  # fmt: skip
    raw = b'{"text": "one", "id": "x"}\n\n{"text": "two"}\n{"text": "three"}'
    file(tmp_path, "a.jsonl" + ending, pack[ending](raw))
    records, bad = read(source(tmp_path, "jsonl"))
    assert not bad
    assert [record.text for record in records] == ["one", "two", "three"]
    assert [record.id for record in records] == ["x", f"a.jsonl{ending}#3", f"a.jsonl{ending}#4"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig", "shift_jis", "gb18030"])
def test_json_lines_in_any_charset(tmp_path: Path, encoding: str) -> None:
    """U+0A0A and its kin hold the byte of a line's end in UTF-16; a byte order mark tells the charset by itself."""
    words = ["one", "二つ目の文書", "" if encoding in ("shift_jis", "gb18030") else "ਊ and Ċ and 上"]
    marks = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in words)
    told = {} if encoding.startswith("utf") else {"encoding": encoding}
    file(tmp_path, "marked.jsonl", (marks + content).encode(encoding))
    records, bad = read(source(tmp_path, "jsonl", **told))
    assert not bad
    assert [record.text for record in records] == words
    if marks:
        file(tmp_path, "marked.jsonl", content.encode(encoding))
        assert [record.text for record in read(source(tmp_path, "jsonl", encoding=encoding))[0]] == words


def test_half_a_pair_of_surrogates_costs_its_line_and_a_cut_end_the_rest(tmp_path: Path) -> None:
    good, broken = '{"text": "a"}\n'.encode("utf-16-le"), '{"text": "'.encode("utf-16-le") + b"\x00\xd8" + '"}\n'.encode("utf-16-le")
    file(tmp_path, "a.jsonl", good + broken + good + b"{")
    records, bad = read(source(tmp_path, "jsonl", encoding="utf-16-le"))
    assert [record.text for record in records] == ["a", "a"]
    assert [item.error.split(":")[0] for item in bad] == ["not UTF-8", "the rest cannot be read"]


def test_zstd_with_the_largest_window_is_read(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31, enable_ldm=1, write_content_size=0)
    data = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = data.compress(b'{"text": "a"}\n' * 1000) + data.flush()
    assert zstandard.get_frame_parameters(content).window_size == 1 << 31
    file(tmp_path, "a.jsonl.zst", content)
    assert len(read(source(tmp_path, "jsonl"))[0]) == 1000


def test_bad_lines_are_quarantined_with_their_place_and_the_rest_is_read(tmp_path: Path) -> None:
    lines = [b'{"text": "good"}', b"{broken", b'{"text": "\xff\xfe"}', b"[1, 2]", b'{"other": 1}', b'{"text": 5.5}', b'{"text": "\\ud800"}']
    lines += [b'{"text": {"a": 1}}', b"[" * 100_000, b'{"text": "last"}']
    file(tmp_path, "a.jsonl", b"\n".join(lines))
    records, bad = read(source(tmp_path, "jsonl"))
    assert [record.text for record in records] == ["good", "5.5", "\ud800", "last"]
    places = [item.location for item in bad]
    assert places[0] == "a.jsonl#2 (byte 17)"
    assert places[1] == "a.jsonl#3 (byte 35)"
    assert [item.error.split(":")[0] for item in bad] == ["not JSON", "not UTF-8", "a JSON list, not an object", "no field text; it has",
        "field text is a dict, not text", "not JSON"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("unit", ['{"":0}', "[0]", "[[[0]]]", "{}", "[]", '{"a":{"b":[]}}'])
@pytest.mark.parametrize("format", ["json", "jsonl", "s2orc"])
def test_json_of_more_small_values_than_memory_holds_is_quarantined_and_the_next_is_read(tmp_path: Path, format: str, unit: str) -> None:
    import resource

    small = (f'{{"text": [{",".join([unit] * (30_000_000 // (len(unit) + 1)))}]}}', '{"id": "1", "text": "after"}')
    if format == "json":
        file(tmp_path, "a.json", small[0])
        file(tmp_path, "b.json", small[1])
    else:
        file(tmp_path, "a.jsonl", "\n".join(small))
    del small
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, (bad,) = read(source(tmp_path, format))
    assert [record.text for record in records] == ["after"]
    assert "MB to parse, over 400" in bad.error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


@pytest.mark.slow
def test_json_of_long_texts_and_of_millions_of_numbers_is_read(tmp_path: Path) -> None:
    file(tmp_path, "a.jsonl", json.dumps({"text": 'a, [b], {"c": 1}; ' * 1_400_000}))
    file(tmp_path, "b.jsonl", json.dumps({"text": "numbers", "n": [0.125] * 3_000_000}))
    records, bad = read(source(tmp_path, "jsonl"))
    assert not bad
    assert [len(record.text) for record in records] == [18 * 1_400_000, 7]


def test_a_line_of_200_megabytes_is_skipped_without_being_held(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "long.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"text": "before"}\n{"text": "')
        for _ in range(200):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n{"text": "after"}\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, (bad,) = read(source(path, "jsonl", max_record_bytes=1 << 20))
    assert [record.text for record in records] == ["before", "after"]
    assert bad.error.startswith("a line of 209715")
    assert len(bad.raw) == 1 << 16
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


@pytest.mark.parametrize("cut", [30, 200, 0.5, -9])
def test_a_truncated_gzip_gives_what_can_be_read(tmp_path: Path, cut: float) -> None:
    import random

    generator = random.Random(0)
    lines = [json.dumps({"text": "".join(generator.choices("abcdefgh", k=50))}) for _ in range(5000)]
    raw = gzip.compress("\n".join(lines).encode())
    end = int(len(raw) * cut) if isinstance(cut, float) else cut
    file(tmp_path, "a.jsonl.gz", raw[:end])
    file(tmp_path, "b.jsonl.gz", gzip.compress(b'{"text": "whole"}'))
    records, bad = read(source(tmp_path, "jsonl"))
    assert records[-1].text == "whole"
    assert [json.dumps({"text": record.text}) for record in records[:-1]] == lines[: len(records) - 1]
    assert len(bad) == 1
    assert "a.jsonl.gz" in bad[0].location
    if cut in (0.5, -9):
        assert len(records) > 2000


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_parquet_and_arrow_rows_are_records(tmp_path: Path, kind: str) -> None:
    table = pa.table({"content": ["one", None, "three"], "n": [1, 2, 3]})
    sink = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, sink)
    else:
        with (pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream)(sink, table.schema) as writer:
            writer.write_table(table)
    file(tmp_path, f"a.{kind}", sink.getvalue())
    file(tmp_path, f"b.{kind}", sink.getvalue()[:-20])
    records, bad = read(source(tmp_path, "parquet", fields={"text": "content"}))
    assert [record.text for record in records if record.id.startswith("a.")] == ["one", "three"]
    assert records[0].meta == {"n": 1}
    assert any(item.error == "no field content; it has: content, n" for item in bad)
    assert any(item.location.startswith(f"b.{kind}") for item in bad) or kind == "stream"


def test_a_parquet_file_whose_column_has_no_name_in_utf8_is_unreadable(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"named": ["one"]}), sink, store_schema=False)
    file(tmp_path, "a.parquet", sink.getvalue().replace(b"named", b"na\xf6ed"))
    records, (bad,) = read(source(tmp_path, "parquet"))
    assert not records
    assert "the rest cannot be read" in bad.error


def test_code_has_language_repository_and_licence(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "pkg-1.tar.gz", "w:gz") as archive:
        for name, text in {
            "pkg-1/PKG-INFO": "Metadata-Version: 2.1\nName: pkg\nClassifier: License :: OSI Approved :: MIT License\n\nbody",
            "pkg-1/src/a.py": "# SPDX-License-Identifier: Apache-2.0\nx = 1\n",
            "pkg-1/src/b.c": "/* do not edit: generated by hand */ int x;\n",
            "pkg-1/vendor/c.js": "let x = 1;\n",
            "pkg-1/data.bin": "\x00\x01",
            "pkg-1/Makefile": "all:\n",
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    records, bad = read(source(tmp_path / "pkg-1.tar.gz", "code"))
    assert not bad
    found = {record.path: record for record in records}
    assert {path: record.language for path, record in found.items()} == {
        "pkg-1/src/a.py": "Python", "pkg-1/src/b.c": "C", "pkg-1/vendor/c.js": "JavaScript", "pkg-1/Makefile": "Makefile",
    }  # fmt: skip
    assert found["pkg-1/src/a.py"].license == "Apache-2.0"
    assert found["pkg-1/src/b.c"].license == "MIT"
    assert found["pkg-1/src/b.c"].meta == {
        "repository": "pkg-1", "size": 44, "license_from": "pkg-1/PKG-INFO", "generated": "says so: do not edit:",
    }  # fmt: skip
    assert found["pkg-1/vendor/c.js"].meta["vendored"] == "vendor folder"


def test_text_by_its_byte_order_mark(tmp_path: Path) -> None:
    file(tmp_path, "a.txt", "grün".encode("utf-16"))
    file(tmp_path, "b.txt", "grün".encode("utf-8-sig"))
    file(tmp_path, "c.txt", "grün".encode("latin-1"))
    records, bad = read(source(tmp_path, "text"))
    assert [record.text for record in records] == ["grün", "grün"]
    assert bad[0].location == "c.txt (byte 2)"


# --- files and archives ------------------------------------------------------------------------------------------------


def test_no_files_is_an_error_that_says_what_to_correct(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    file(tmp_path, "x/a.txt", "a")
    with pytest.raises(UserError, match="source test: .*empty: there is nothing there; correct `path` or `include`"):
        list_files(source(tmp_path / "empty", "text"), tmp_path)
    with pytest.raises(UserError, match=r"of 1 files there none matches include \['\*\.md'\]"):
        list_files(source(tmp_path / "x", "text", include=["*.md"]), tmp_path)
    with pytest.raises(UserError, match="nothing there"):
        list_files(source("nosuch/*.txt", "text"), tmp_path)


def test_folders_globs_and_files_are_listed_in_order(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/1.txt", "a/3.md", "c.txt"):
        file(tmp_path, name, "x")

    def names(path: str, **settings: Any) -> list[str]:
        return [found.relative for found in list_files(source(path, "text", **settings), tmp_path)]

    assert names(".") == ["a/1.txt", "a/3.md", "b/2.txt", "c.txt"]
    assert names(".", include=["*.txt"], exclude=["b/*"]) == ["a/1.txt", "c.txt"]
    assert names("*/*.txt") == ["a/1.txt", "b/2.txt"]
    assert names("c.txt") == ["c.txt"]
    assert names(f"file://{tmp_path}/a") == ["1.txt", "3.md"]


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    path = file(tmp_path, "a.txt", "one")
    (before,) = list_files(source(path, "text"), tmp_path)
    file(tmp_path, "a.txt", "other")
    (after,) = list_files(source(path, "text"), tmp_path)
    assert before.fingerprint != after.fingerprint


def test_archives_with_members_that_attack(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for name in ("../up.txt", "/abs.txt", "good.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"text"))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../up.txt", "text")
        archive.writestr("bomb.txt", b"\0" * (50 << 20))
        archive.writestr("good.txt", "text")
    records, bad = read(source(tmp_path, "text", max_expansion=100))
    assert [record.id for record in records] == ["t.tar!good.txt", "z.zip!good.txt"]
    assert {item.location for item in bad} == {"t.tar!../up.txt", "t.tar!/abs.txt", "t.tar!link.txt", "z.zip!../up.txt", "z.zip!bomb.txt"}
    assert not (tmp_path.parent / "up.txt").exists()


@pytest.mark.slow
def test_a_gzip_bomb_stops_at_its_limit(tmp_path: Path) -> None:
    file(tmp_path, "bomb.jsonl.gz", gzip.compress(b"\n" * (200 << 20)))
    records, bad = read(source(tmp_path, "jsonl", max_expansion=10))
    assert not records
    assert "max_expansion" in bad[0].error


def test_a_damaged_tar_gives_the_members_before_the_damage(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for number in range(200):
            import random

            data = random.Random(number).randbytes(5000).hex().encode()
            entry = tarfile.TarInfo(f"{number:03d}.txt")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    raw = sink.getvalue()
    file(tmp_path, "cut.tar.gz", raw[: len(raw) // 2])
    file(tmp_path, "noise.tar.gz", raw[: len(raw) // 2] + b"noise" * 100 + raw[len(raw) // 2 :])
    records, bad = read(source(tmp_path, "text"))
    assert sum(record.id.startswith("cut") for record in records) > 90
    assert {item.location.split("!")[0] for item in bad} == {"cut.tar.gz", "noise.tar.gz"}


@pytest.mark.parametrize("format", sorted(FORMATS.built_in))
def test_a_file_that_cannot_be_read_stops_its_task_by_name_and_is_no_record_of_any_format(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk fails to give is no damage of the content: nobody knows the content. `/proc/self/mem` gives EIO at its beginning."""
    monkeypatch.setenv("FOUNDRY_RETRY_SECONDS", "0")
    name = f"a{ {'code': '.py', 'latex': '.tex', 'huggingface': '.jsonl'}.get(format, '.gz') }"
    (tmp_path / name).symlink_to("/proc/self/mem")
    config = source(tmp_path, format)
    (file,) = list_files(config, tmp_path)
    with pytest.raises(UserError, match=rf"source test: .*{name}: cannot be read .Input/output error.; check the disk, then run the same"):
        list(read_file(file, config))
    gone = InputFile(str(tmp_path / f"gone{name}"), f"gone{name}", 1, "x")
    with pytest.raises(UserError, match="it is gone since the files were listed"):
        list(read_file(gone, config))


@settings(max_examples=share(0.6))
@given(
    st.sampled_from(sorted(name for name, form in FORMATS.items() if form.read)),
    st.binary(max_size=600),
    st.sampled_from(["", ".gz", ".zst", ".tar", ".zip", ".tar.gz"]),
)
def test_no_bytes_make_a_reader_raise(format: str, raw: bytes, ending: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.py{ending}"
        path.write_bytes(raw)
        config = source(path, format)
        found = InputFile(str(path), path.name, len(raw), "f")
        for item in read_file(found, config):
            assert isinstance(item, Record | Unreadable | PassedOver)


HTML_PARTS = st.sampled_from(
    ["<p>", "</p>", "<div", ">", "<script>", "</script>", "text ", "&amp;", "&#x110000;", "<!--", "-->", "<table>", "é", "\x00"]
)


@settings(max_examples=share(1))
@given(st.lists(HTML_PARTS, max_size=40))
def test_no_markup_makes_the_page_or_paper_reader_raise(parts: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.html"
        path.write_text("".join(parts), encoding="utf-8")
        for format in ("html", "jats"):
            list(read_file(InputFile(str(path), "x.html", 1, "f"), source(path, format)))


# --- real files --------------------------------------------------------------------------------------------------------


def test_real_papers_of_several_publishers(real_data: Path) -> None:
    for name in ("plos-jats.tar.zst", "pubmed-jats.tar.zst"):
        records, bad = read(source(real_data / "science" / name, "jats", include=["*.xml", "*.nxml"]))
        assert len(records) > 5
        assert len(bad) < len(records)
        assert sum(bool(record.title) for record in records) > 0.9 * len(records)


def test_real_articles_are_extracted_about_as_well_as_published(real_data: Path) -> None:
    """Words of the true article that are found, and found words that are true, over 60 news pages."""
    import re
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        raw = zstandard.ZstdDecompressor().stream_reader((real_data / "web" / "articles-with-truth.tar.zst").open("rb"))
        with tarfile.open(fileobj=raw, mode="r|") as archive:
            archive.extractall(folder, filter="data")
        (truth_path,) = Path(folder).rglob("ground-truth.json")
        truth = json.loads(truth_path.read_text())
        records, _ = read(source(folder, "html", include=["*.html.gz"]))
    scores = []
    for record in records:
        name = Path(record.path or "").name.removesuffix(".html").removesuffix(".gz")
        wanted = set(re.findall(r"\w+", truth[name]["articleBody"].lower()))
        found = set(re.findall(r"\w+", record.text.lower()))
        common = len(wanted & found)
        scores.append(2 * common / max(1, len(wanted) + len(found)))
    assert len(scores) == 60
    assert sum(scores) / len(scores) > 0.8

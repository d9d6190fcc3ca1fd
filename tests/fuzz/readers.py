"""Fuzzing of a reader: `python -m tests.fuzz.readers FORMAT [--seconds 60 | --runs 5000] [--ending .gz] [SEED_FILE ...]`.

FORMAT is any reader's but code's (`tests.fuzz.code`), or tar, zip or gz: an archive of text. Coverage-guided by atheris where it is installed, else by blind mutation of the seeds. Whatever the bytes, a reader must give records and
unreadables, raise nothing, leave no mark of its own in a text, and end (what takes over ten minutes hangs). The first input that breaks a
law is printed and written to `fuzz-FORMAT.bin`; it then becomes a test beside the reader's others.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import random
import signal
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather


def _warc(kind: str, content: bytes, http: bytes = b"") -> bytes:
    body = (b"HTTP/1.1 200 OK\r\n" + http + b"\r\n" if kind == "response" else b"") + content
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://a/b\r\nWARC-Date: 2020-01-02T03:04:05Z\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: application/http;msgtype=response\r\n\r\n" + body + b"\r\n\r\n"


def _tar() -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in (("a.txt", b"first"), ("b/" + "c" * 120 + ".txt", b"second"), ("d.gz", gzip.compress(b"third", mtime=0))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("e")
        link.type, link.linkname = tarfile.SYMTYPE, "../a.txt"
        archive.addfile(link)
    return raw.getvalue()


def _zip() -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("a.txt", "first", zipfile.ZIP_DEFLATED)
        archive.writestr("b/../c.txt", "second", zipfile.ZIP_STORED)
        archive.writestr("d.txt", "third " * 9, zipfile.ZIP_BZIP2)
    return raw.getvalue()


def _tables() -> list[bytes]:
    """A table as Parquet, Arrow file, Arrow stream and Feather (which is compressed); the reader goes by content, not by ending."""
    texts = ["a", None, "c" * 40]
    rows = pa.table({"text": texts, "id": [1, 2, 3], "meta": [{"x": [1.5]}, None, {"x": []}]})
    shared = pa.table(
        {"text": pa.array(texts).cast(pa.string_view()), "kind": pa.array(["p", "q", "p"]).dictionary_encode(), "n": [["x"], [], None]}
    )
    found = []
    for table in (rows, shared):
        for write in (pa.ipc.new_file, pa.ipc.new_stream):
            raw = io.BytesIO()
            with write(raw, table.schema) as writer:
                writer.write_table(table, max_chunksize=2)
            found.append(raw.getvalue())
    raw = io.BytesIO()
    feather.write_feather(rows.select(["text", "id"]), raw)
    found.append(raw.getvalue())
    raw = io.BytesIO()
    pq.write_table(rows, raw, compression="none")
    return [raw.getvalue(), *found]


PAGE = (
    b"<!doctype html><html lang=en><head><meta charset=utf-8><title>T &amp; t</title><script>x</script></head><body><nav><a href=/>n</a></nav><h1>H</h1>"
    b"<p>p<br>q \xc3\xa9 <b>b</b></p><ul><li>i<li>j<ul><li>k</ul></ul><ol start=3><li>l</ol><pre><code>c\n d</code></pre><table><tr><th>h<td colspan=2>c</table>"
    b"<blockquote>z</blockquote><template>y</template><svg><p>s</svg></body></html>"
)  # fmt: skip
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE)
ENDINGS = {"csv": ".csv", "huggingface": ".jsonl", "parquet": ".parquet", "tar": ".tar", "zip": ".zip", "gz": ".gz", "html": ".html"}
ARCHIVES = ("tar", "zip", "gz")
HANGS = 600  # seconds after which an input is said never to end; no bound on speed
KERNELS = ["pipeline.readers.bounds", "pipeline.readers.page_lists"]  # numba's, which cannot be instrumented

SEEDS = {
    "warc": [
        _warc("response", PAGE, b"Content-Type: text/html; charset=utf-8\r\n"),
        _warc("response", CHUNKED, b"Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n") + _warc("request", b"x") + _warc("response", b"p"),
        gzip.compress(_warc("response", gzip.compress(PAGE, mtime=0), b"Content-Type: text/html\r\nContent-Encoding: gzip\r\n"), mtime=0),
        b"filedesc://x 0.0.0.0 20200102030405 text/plain 20\n1 0 X\nURL IP-address\n\nhttp://a/ 1.2.3.4 20200102030405 text/html 40\nHTTP/1.1 200 OK\r\nX: y\r\n\r\n<p>a</p>      \n",
    ],
    "wet": [_warc("warcinfo", b"x: y") + _warc("conversion", b"plain text\nof a page\n")],
    "html": [PAGE, PAGE.replace(b"utf-8", b"shift_jis"), b"\xff\xfe<\0p\0>\0a\0"],
    "csv": [b'id,text\n1,"a ""b""\nc"\n2,d\n', b"text;x\na;b\n"],
    "json": [b'[{"text": "a", "id": 1}, {"text": "\\ud83d\\ude00"}]', b'{"text": "a"}'],
    "jsonl": [b'{"text": "a", "id": 1}\n{"text": null}\n{"x": [1, {"y": 2e9}]}\n'],
    "huggingface": [b'{"text": "a", "id": 1}\n{"text": "b"}\n'],
    "text": [b"a\n\nb \xc3\xa9\r\n", b"\xff\xfea\0b\0"],
    "parquet": _tables(),
    "tar": [_tar()],
    "zip": [_zip()],
    "gz": [gzip.compress(b"a text", mtime=0) + gzip.compress(b" and another", mtime=0)],
    "latex": [
        rb"\documentclass{article}\newcommand{\a}[2][x]{#1 $#2$}\def\b#1.{#1}\title{T}\begin{document}\section{S}\a{y}\b z.\begin{tabular}{l}a&b\\[2pt]c"
        rb"\end{tabular}\cite[p]{k}\ref{l}\label{l}\footnote{n}\begin{align}x&=y\label{e}\\z\end{align}\verb|v|\begin{itemize}\item a\end{itemize}\end{document}",
        rb"\newif\ifx\xtrue\ifx a\else b\fi\newenvironment{e}[1]{<#1}{>}\begin{e}{q}\ensuremath{x}\end{e}\csname emph\endcsname{x}\let\c\d\'e\c{c}$$\text{$a$}$$",
    ],
    "mediawiki": [
        b"<mediawiki><siteinfo><base>http://a/b/c</base></siteinfo><page><title>T</title><ns>0</ns><id>1</id><revision><text>'''a''' {{lang|fr|b}} [[c|d]]e "
        b"&lt;ref&gt;x&lt;/ref&gt; {{{1|2}}}\n== h ==\n* l\n{| class=x\n! a !! b\n|-\n| c || d\n|}\n[[File:x|y]] [http://x z] &lt;math&gt;x&lt;/math&gt;</text></revision></page></mediawiki>",
    ],
    "tei": [
        b"<TEI><teiHeader><fileDesc><titleStmt><title>T</title></titleStmt></fileDesc></teiHeader><text xml:lang='de'><body><div><head>H</head><p>a-<lb/>b "
        b"<choice><sic>x</sic><corr>y</corr></choice><note>n</note></p><figure><head>F</head><table><row><cell rows='2'>c</cell></row></table></figure>"
        b"<list><label>l</label><item>i</item></list></div></body><back><div type='references'/></back></text></TEI>",
    ],
    "jats": [
        b"<article><front><article-meta><title-group><article-title>T</article-title></title-group><abstract><p>a</p></abstract></article-meta></front><body><sec>"
        b"<title>S</title><p>x<sup>2</sup><xref ref-type='bibr'>1</xref><list><list-item><p>i</p></list-item></list></p><table-wrap><label>1</label><table><tr><td colspan='2'>"
        b"c</td></tr></table></table-wrap><disp-formula><math><mfrac><mi>a</mi><mi>b</mi></mfrac></math></disp-formula></sec></body></article>",
        b"<PubmedArticleSet><PubmedArticle><PMID>1</PMID><ArticleTitle>T</ArticleTitle><Abstract><AbstractText Label='A'>x</AbstractText></Abstract></PubmedArticle></PubmedArticleSet>",
    ],
    "s2orc": [
        b'{"title":"T","content":{"text":"abc def","annotations":{"paragraph":"[{\\"start\\":0,\\"end\\":3}]"}},"year":2020}\n{"id":"1","text":"x","created":"2020-01-02"}\n',
        b'{"title":"T","abstract":[{"text":"a"}],"pdf_parse":{"body_text":[{"section":"S","text":"b"}]}}',
    ],
    "markdown": [b"---\ntitle: t\n---\n# H *e*\n[a](b) **c** `d`\n```x\ny\n```\n<!-- z -->\n| a |\n|---|\nS\n==\n"],
    "rst": [b"T\n===\n\n.. c\n   d\n\n.. note:: e\n   :x: y\n\n:r:`a` `b <c>`_ ``d`` *e*::\n\n    f\n"],
}  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("format")
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--runs", type=int, help="as many inputs, however long they take, in place of --seconds")
    arguments.add_argument("--ending", default="")
    arguments.add_argument("--verbose", type=int, default=0, help="1: what libFuzzer says of the coverage")
    arguments.add_argument("seeds", nargs="*", type=Path)
    options = arguments.parse_args()
    try:
        import atheris
    except ImportError:
        atheris = None
    if atheris is None:
        from pipeline import readers
    else:
        with atheris.instrument_imports(include=["pipeline.readers", "tarfile", "zipfile", "csv"], exclude=KERNELS):
            from pipeline import readers

    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / f"x{options.ending or ENDINGS.get(options.format, '')}"
    format = "text" if options.format in ARCHIVES else options.format
    strip = {"strip_markup": True} if "strip_markup" in readers.FORMATS[format].settings.model_fields else {}
    config = readers.source_config(name="fuzz", domain="fuzz", format=format, path=str(path), max_record_bytes=1 << 20, **strip)
    seeds = [*SEEDS.get(options.format, [b""]), *(seed.read_bytes() for seed in options.seeds)]

    def hangs(*_: object) -> None:
        raise AssertionError(f"takes over {HANGS} seconds")

    signal.signal(signal.SIGALRM, hangs)
    begin = time.monotonic()
    runs = 0

    def once(data: bytes) -> None:
        nonlocal runs
        runs += 1
        signal.alarm(HANGS if atheris is None else 0)
        try:
            path.write_bytes(data)
            for item in readers.read_file(readers.InputFile(str(path), path.name, len(data), "f"), config):
                if isinstance(item, readers.Record):
                    item.text.encode("utf-8", "surrogatepass")
                    if options.format in ("latex", "mediawiki"):
                        assert not set("\0\1\2") & set(item.text), "a mark of the reader's own is left in a text"
                else:
                    assert isinstance(item, readers.Unreadable | readers.PassedOver), "neither a record, nor unreadable, nor passed over"
        except BaseException:
            traceback.print_exc()
            print(f"input of {len(data)} bytes: {data[:2000]!r}")
            Path(f"fuzz-{options.format}.bin").write_bytes(data)
            print(f"{options.format}: {runs} runs, one broke a law", flush=True)
            raise SystemExit(1) from None
        signal.alarm(0)
        if runs >= options.runs if options.runs else time.monotonic() - begin > options.seconds:
            print(f"{options.format}: {runs} runs, none broke a law", flush=True)
            folder.cleanup()
            os._exit(0)  # atheris knows no other end

    if atheris is not None:
        with tempfile.TemporaryDirectory() as corpus:
            for number, seed in enumerate(seeds):
                (Path(corpus) / str(number)).write_bytes(seed)
            atheris.Setup([sys.argv[0], corpus, "-max_len=4096", f"-timeout={HANGS}", f"-verbosity={options.verbose}"], once)
            atheris.Fuzz()
    generator = random.Random(0)
    pieces = [seed[a : a + generator.randrange(1, 12)] for seed in seeds for a in range(0, len(seed), 5)]
    while True:
        data = bytearray(generator.choice(seeds))
        for _ in range(generator.randrange(1, 12)):
            at, kind = generator.randrange(len(data) + 1), generator.randrange(5)
            if kind == 0:
                del data[at : at + generator.randrange(1, 20)]
            elif kind == 1:
                data[at:at] = generator.choice(pieces) * generator.randrange(1, 4)
            elif kind == 2:
                data[at : at + 1] = bytes([generator.randrange(256)])
            elif kind == 3:
                data[at:at] = data[at : at + generator.randrange(1, 60)]
            else:
                del data[at:]
        once(bytes(data))


if __name__ == "__main__":
    main()

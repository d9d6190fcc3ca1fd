"""Web archives and pages: real archives, each kind of damage, hostile markup; and what is not damaged is read."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import random
import re
import resource
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.readers import InputFile, PassedOver, Record, Unreadable, html, list_files, read_file, source_config, warc
from pipeline.readers.bounds import bounds
from pipeline.readers.gzip_members import GzipMembers
from pipeline.readers.html import to_page
from pipeline.readers.page_charset import to_text
from pipeline.readers.page_lists import look
from pipeline.readers.streams import Member
from pipeline.readers.web_archives import Block, blocks
from pipeline.workdir.errors import UserError
from tests.profiles import share
from tests.work import in_proportion

Found = tuple[list[Record], list[Unreadable], Counter[str]]


def config(format: str, path: Path | str = "x", **settings: Any) -> Any:
    return source_config(name="test", domain="web", format=format, path=str(path), **settings)


def read(path: Path, format: str = "warc", **settings: Any) -> Found:
    source = config(format, path, **settings)
    records, bad, passed = [], [], Counter[str]()
    for file in list_files(source, Path("/")):
        for item in read_file(file, source):
            if isinstance(item, Record):
                records.append(item)
            elif isinstance(item, Unreadable):
                bad.append(item)
            else:
                passed[item.kind] += 1
    return records, bad, passed


def page(word: str) -> bytes:
    sentence = f"This is {word}, a page of its own, with a sentence that is long enough to be content. "
    return f"<html lang=en><head><title>{word}</title></head><body><p>{sentence * 3}</p></body></html>".encode()


def response(body: bytes, kind: str = "text/html", status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}\r\n".encode() + body


def record(
    content: bytes, type: str = "response", *, length: int | str | None = None, url: str = "http://a.example/", **more: str
) -> bytes:
    headers = {"WARC-Type": type, "WARC-Target-URI": url, "WARC-Date": "2024-05-18T01:58:10Z", **more}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    size = len(content) if length is None else length
    return f"WARC/1.0\r\n{lines}Content-Length: {size}\r\n\r\n".encode() + content + b"\r\n\r\n"


def titles(records: list[Record]) -> list[str | None]:
    return [record.title for record in records]


# --- web archives ------------------------------------------------------------------------------------------------------


def test_a_response_has_its_url_date_digest_and_title(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    first = record(b"software: x", "warcinfo") + record(b"GET / HTTP/1.1\r\n\r\n", "request")
    path.write_bytes(
        first + record(response(page("one")), url="<http://a.example/x y>", WARC_Record_ID="<urn:uuid:1>", WARC_Payload_Digest="sha1:X")
    )
    (one,), bad, passed = read(path)
    assert not bad
    assert not passed
    assert (one.url, one.date, one.title, one.language) == ("http://a.example/x y", "2024-05-18T01:58:10Z", "one", "en")
    assert one.meta == {"record_id": "urn:uuid:1", "digest": "sha1:X"}
    assert one.id == f"a.warc#{len(first)}"
    assert one.text.startswith("This is one, a page")


@pytest.mark.parametrize("ending", ["warc", "warc.gz", "one-member.warc.gz", "warc.zst", "dictionary.warc.zst", "no-ending"])
def test_an_archive_is_read_by_its_content_however_it_is_compressed(tmp_path: Path, ending: str) -> None:
    parts = [record(response(page(word))) for word in ("one", "two", "three")]
    compressor = zstandard.ZstdCompressor()
    dictionary = zstandard.train_dictionary(1024, [b"WARC/1.0\r\nWARC-Type: %d response\r\n" % n * 4 for n in range(1000)])
    own = zstandard.ZstdCompressor(dict_data=dictionary)
    raw = dictionary.as_bytes()
    content = {
        "warc": b"".join(parts),
        "warc.gz": b"".join(map(gzip.compress, parts)),
        "no-ending": b"".join(map(gzip.compress, parts)),
        "one-member.warc.gz": gzip.compress(b"".join(parts)),
        "warc.zst": b"".join(map(compressor.compress, parts)),
        "dictionary.warc.zst": b"\x5d\x2a\x4d\x18" + len(raw).to_bytes(4, "little") + raw + b"".join(map(own.compress, parts)),
    }[ending]
    (tmp_path / f"a.{ending}").write_bytes(content)
    records, bad, _ = read(tmp_path)
    assert not bad
    assert titles(records) == ["one", "two", "three"]


def chunked(body: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 99]), body[at : at + 99]) for at in range(0, len(body), 99)) + b"0\r\n\r\n"


def deflated(body: bytes) -> bytes:
    return zlib.compress(body)


def raw_deflated(body: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return squeeze.compress(body) + squeeze.flush()


@pytest.mark.parametrize(
    ("headers", "encode"),
    [
        ("Transfer-Encoding: chunked\r\n", chunked),
        ("Content-Encoding: gzip\r\n", gzip.compress),
        ("Content-Encoding: deflate\r\n", deflated),
        ("Content-Encoding: deflate\r\n", raw_deflated),
        ("Content-Encoding: br\r\n", brotli.compress),
        ("Content-Encoding: gzip, br\r\n", lambda body: brotli.compress(gzip.compress(body))),
        ("Content-Encoding: zstd\r\n", zstandard.ZstdCompressor().compress),
        ("Content-Encoding: x-gzip\r\n", gzip.compress),
        ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n", lambda body: chunked(gzip.compress(body))),
        ("Content-Encoding: gzip\r\n", bytes),  # stored decoded, the header kept
        ("Transfer-Encoding: chunked\r\n", bytes),
        ("Content-Encoding: nonsense\r\n", bytes),
        ("Transfer-Encoding: chunked\r\n", lambda body: chunked(body)[:-20]),  # the last chunk is cut off
    ],
)
def test_bodies_are_decoded(tmp_path: Path, headers: str, encode: Any) -> None:
    (tmp_path / "a.warc").write_bytes(record(response(encode(page("one")), more=headers)) + record(response(page("two"))))
    records, bad, _ = read(tmp_path)
    assert not bad
    assert titles(records) == ["one", "two"]
    assert "a page of its own" in records[0].text


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_decodes_to_hundreds_of_megabytes_stops_at_the_limit(tmp_path: Path, encoding: str) -> None:
    squeeze: Any = {"gzip": zlib.compressobj(9, wbits=31), "deflate": zlib.compressobj(9), "br": brotli.Compressor(quality=3),
                    "zstd": zstandard.ZstdCompressor().compressobj()}[encoding]  # fmt: skip
    push = squeeze.process if encoding == "br" else squeeze.compress
    bomb = b"".join(push(b" " * (1 << 20)) for _ in range(400)) + (squeeze.finish() if encoding == "br" else squeeze.flush())
    (tmp_path / "a.warc").write_bytes(record(response(bomb, more=f"Content-Encoding: {encoding}\r\n")) + record(response(page("two"))))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, bad, _ = read(tmp_path, max_record_bytes=4 << 20)
    assert titles(records) == ["two"]
    assert "longer than max_record_bytes (4194304) when decoded" in bad[0].error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


def test_what_is_no_page_is_passed_over_and_counted(tmp_path: Path) -> None:
    parts = [
        record(response(b"\x89PNG", "image/png")),
        record(response(page("gone"), status="404 Not Found")),
        record(response(b"User-agent: *", "text/plain"), url="http://a.example/robots.txt"),
        record(response(b"plain text, gr\xc3\xbcn", "text/plain; charset=utf-8")),
        record(b"", "revisit"),
        record(page("resource"), "resource", Content_Type="text/html"),
        record(response(page("untold"), "application/octet-stream")),
        record(b"notes", "resource", url="metadata://gnu.org/software/wget/warc/MANIFEST.txt", Content_Type="text/plain"),
        record(b"1 2", "response", url="dns:a.example", Content_Type="text/dns"),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(parts))
    records, bad, passed = read(tmp_path)
    assert not bad
    assert [item.title or item.text for item in records] == ["plain text, grün", "resource", "untold"]
    assert passed == {"image/png": 1, "status 404": 1, "robots.txt": 1, "revisit record": 1, "crawler's own notes": 1, "text/dns": 1}
    records, _, _ = read(tmp_path, statuses=[404])
    assert "gone" in titles(records)
    assert records[0].meta == {"status": 404}


def test_digests_are_verified_where_asked(tmp_path: Path) -> None:
    def digest(data: bytes) -> str:
        return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()

    body = page("body")
    parts = [
        record(response(page("block")), WARC_Block_Digest=digest(response(page("block")))),
        record(response(body), WARC_Payload_Digest=digest(body)),
        record(response(gzip.compress(body), more="Content-Encoding: gzip\r\n"), WARC_Payload_Digest=digest(body)),
        record(response(page("hex")), WARC_Block_Digest="sha256:" + hashlib.sha256(response(page("hex"))).hexdigest()),
        record(response(page("none"))),
        record(response(page("unknown")), WARC_Block_Digest="crc32:1234"),
        record(response(page("wrong")), WARC_Block_Digest=digest(b"other")),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(parts))
    records, bad, _ = read(tmp_path, verify_digests=True)
    assert titles(records) == ["block", "body", "body", "hex", "none", "unknown"]
    assert [item.error.split(" is ")[0] for item in bad] == ["warc-block-digest"]
    assert len(read(tmp_path)[0]) == 7


@pytest.mark.parametrize("length", [0, 7, 10_000, 1_000_000, 10**12, 10**30, -5, "", "many", "0x10"])
def test_a_record_with_a_wrong_length_is_quarantined_and_the_next_is_read(tmp_path: Path, length: int | str) -> None:
    parts = [
        record(response(page("one"))),
        record(response(page("two")), length=length),
        record(response(page("three"))),
        record(response(page("four"))),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(parts))
    records, bad, _ = read(tmp_path)
    assert titles(records) == ["one", "three", "four"]
    assert len(bad) == 1
    assert bad[0].location == f"a.warc (byte {len(parts[0])})"
    assert "Content-Length" in bad[0].error
    assert bad[0].raw.startswith(b"WARC/1.0")


def test_a_damaged_gzip_member_costs_its_own_record(tmp_path: Path) -> None:
    parts = [
        gzip.compress(record(response(page(str(number)) + random.Random(number).randbytes(3000).hex().encode()))) for number in range(20)
    ]
    for number in (3, 10):
        middle = len(parts[number]) // 2
        parts[number] = parts[number][:middle] + b"\xff" * 40 + parts[number][middle + 40 :]
    parts[15] = parts[15][: len(parts[15]) // 2]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(parts))
    records, bad, _ = read(tmp_path)
    assert titles(records) == [str(number) for number in range(20) if number not in (3, 10, 15)]
    assert len(bad) == 3
    start = sum(map(len, parts[:3]))
    assert f"the gzip member at byte {start} is damaged" in bad[0].error
    assert f"reading goes on at byte {start + len(parts[3])}" in bad[0].error


def test_an_archive_that_is_cut_off_says_so(tmp_path: Path) -> None:
    raw = record(response(page("one"))) + record(response(page("two")))
    (tmp_path / "a.warc").write_bytes(raw[:-60])
    (tmp_path / "b.warc.gz").write_bytes(gzip.compress(raw[: len(raw) // 2]) + gzip.compress(raw[len(raw) // 2 :])[:-30])
    records, bad, _ = read(tmp_path)
    assert titles(records) == ["one", "one"]
    assert [item.location.split(" ")[0] for item in bad] == ["a.warc", "b.warc.gz"]
    assert "is cut off; the rest cannot be read" in bad[1].error


def test_bytes_between_records_are_quarantined(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(
        b"noise\n" * 9 + record(response(page("one"))) + b"noise" * 1000 + record(response(page("two"))) + b"end"
    )
    records, bad, _ = read(tmp_path)
    assert titles(records) == ["one", "two"]
    assert [(item.error, item.raw[:5]) for item in bad] == [
        ("not a WARC record", b"noise"),
        ("not a WARC record", b"noise"),
        ("not a WARC record", b"end"),
    ]


@pytest.mark.slow
def test_a_record_of_a_gigabyte_is_passed_without_being_held(tmp_path: Path) -> None:
    size = 1 << 30
    path = tmp_path / "a.warc"
    head = response(b"")
    with path.open("wb") as file:
        file.write(record(response(page("one"))))
        file.write(record(head, length=size + len(head))[:-4])
        file.seek(size, 1)  # a hole: no bytes on the disk
        file.write(b"\r\n\r\n" + record(response(page("two"))))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, bad, _ = read(path)
    assert titles(records) == ["one", "two"]
    assert bad[0].error == f"a record of {size + len(head)} bytes, over max_record_bytes ({32 << 20})"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"


def test_wet_gives_the_text_as_it_is(tmp_path: Path) -> None:
    content = "Titel\nEin Satz mit Umlauten: äöü.\n".encode()
    parts = [record(b"x", "warcinfo"), record(content, "conversion", Content_Type="text/plain", WARC_Identified_Content_Language="deu,eng")]
    (tmp_path / "a.warc.wet.gz").write_bytes(b"".join(map(gzip.compress, [*parts, record(b"\xff\xfe\xfd", "conversion")])))
    (one,), (bad,), _ = read(tmp_path, "wet")
    assert (one.text, one.url, one.meta) == (content.decode(), "http://a.example/", {"languages": "deu,eng"})
    assert "not utf-8" in bad.error.lower() or "utf" in bad.error.lower()


def test_archives_in_a_tar_and_the_tar_goes_on(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("one", "two"):
            data = gzip.compress(record(response(page(name))))
            entry = tarfile.TarInfo(f"{name}.warc.gz")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    records, bad, _ = read(tmp_path)
    assert not bad
    assert titles(records) == ["one", "two"]


@st.composite
def damaged_archives(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """An archive of numbered pages, some of them damaged, and the numbers of those that must be read."""
    compress = draw(st.booleans())
    parts, whole = [], []
    # In bytes that are not compressed: where records end, and where damaged ones say in their own header that they do.
    borders, ends = [0], []
    for number in range(draw(st.integers(1, 8))):
        content = response(page(f"n{number}") + draw(st.binary(max_size=300)).hex().encode())
        damage = draw(st.sampled_from(["none", "none", "none", "length", "header", "member"]))
        raw = record(content)
        size = len(content)
        if damage == "length":
            less, more = st.integers(0, max(0, size - 81)), st.integers(size + 81, 10**9)  # what is nearer is a miscount
            size = draw(st.one_of(less, more))
            raw = record(content, length=size)
        elif damage == "header":
            raw = raw.replace(b"Content-Length", b"Content-Strength")
        data = gzip.compress(raw) if compress else raw
        if damage in ("length", "member"):
            ends.append(borders[-1] + raw.index(b"\r\n\r\n") + 4 + size)
        if damage == "member":
            data = data[: draw(st.integers(1, len(data) // 2))] if compress else data[: len(data) // 3] + b"\r\n"
            raw = zlib.decompressobj(31).decompress(data) if compress else data
        parts.append(data)
        borders.append(borders[-1] + len(raw))
        if damage == "none":
            whole.append(f"n{number}")
    # A damaged record that ends, by its header, where a later one does is a sound record that holds the ones between: nobody can tell.
    assume(not any(abs(end - border) <= 16 for end in ends for border in borders))
    return b"".join(parts), whole


def test_a_length_that_points_at_the_end_of_the_http_header_is_wrong() -> None:
    """What follows looks like the blank line that ends a record."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html"
    raw = record(response(page("one"))) + record(response(page("two")), length=len(head)) + record(response(page("three")))
    items = list(warc.read(Member("a", "a", io.BytesIO(raw), len(raw)), config("warc")))
    assert titles([item for item in items if isinstance(item, Record)]) == ["one", "three"]
    (bad,) = [item for item in items if isinstance(item, Unreadable)]
    assert bad.error.startswith(f"Content-Length is {len(head)}, and the next record begins")


def lines_that_end(raw: bytes, warc_end: bytes, http_end: bytes) -> bytes:
    """A record whose two headers end their lines otherwise."""
    head, _, content = raw.partition(b"\r\n\r\n")
    http_head, _, body = content.partition(b"\r\n\r\n")
    body = body.removesuffix(b"\r\n\r\n")
    content = http_head.replace(b"\r\n", http_end) + 2 * http_end + body
    head = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(content), head)
    return head.replace(b"\r\n", warc_end) + 2 * warc_end + content + 2 * warc_end


@pytest.mark.parametrize("inside", [b"", b"\r\n\r\n", b"\n\n"])
@pytest.mark.parametrize("http_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("warc_end", [b"\r\n", b"\n"])
def test_headers_whose_lines_end_in_either_way(tmp_path: Path, warc_end: bytes, http_end: bytes, inside: bytes) -> None:
    """ClueWeb09 has LF; what a page has in it changes nothing."""
    made = [record(response(page(name) + inside + b"<p>end</p>")) for name in ("one", "two", "three")]
    (tmp_path / "a.warc").write_bytes(b"".join(lines_that_end(raw, warc_end, http_end) for raw in made))
    records, bad, _ = read(tmp_path)
    assert not bad
    assert titles(records) == ["one", "two", "three"]
    assert not any(record.notes for record in records)


def test_an_empty_line_is_not_the_continuation_of_a_header() -> None:
    raw = b"WARC/1.0\nWARC-Type: response\nX-Note: a\n  folded\nContent-Length: 3\n\nabc\n\n"
    (block,) = list(blocks(Member("a", "a", io.BytesIO(raw), len(raw)), config("warc")))
    assert isinstance(block, Block)
    assert block.headers == {"warc-type": "response", "x-note": "a folded", "content-length": "3"}
    assert block.content == b"abc"


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("wrong", [-40, -7, -1, 1, 2, 3, 5, 9, 50])
def test_a_length_that_is_wrong_by_some_bytes_costs_nothing(tmp_path: Path, wrong: int, compress: bool) -> None:
    content = response(page("two"))
    parts = [record(response(page("one"))), record(content, length=len(content) + wrong), record(response(page("three")))]
    (tmp_path / "a.warc").write_bytes(b"".join(gzip.compress(part) if compress else part for part in parts))
    records, bad, _ = read(tmp_path)
    assert not bad
    assert titles(records) == ["one", "two", "three"]
    assert all(record.text.endswith("long enough to be content.") for record in records)
    assert [record.notes for record in records] == [(), ("length corrected",) if abs(wrong) > 4 or wrong < 0 else (), ()]


@settings(max_examples=share(2))
@given(damaged_archives())
def test_every_whole_record_of_a_damaged_archive_is_read(made: tuple[bytes, list[str]]) -> None:
    raw, whole = made
    member = Member("a", "a", io.BytesIO(raw), len(raw))
    items = list(warc.read(member, config("warc")))
    assert titles([item for item in items if isinstance(item, Record)]) == whole
    assert all(isinstance(item, Record | Unreadable) for item in items)


@settings(max_examples=share(3))
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"WARC/1.0\r\n", b"WARC/", b"Content-Length: 5\r\n", b"\r\n\r\n", b"\n\n", b"HTTP/1.1 200 OK\r\n",
    b"Content-Type: text/html\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\n", b"WARC-Type: response\r\n", b"\x1f\x8b\x08\x00",
    b"filedesc://a 1.1.1.1 20200101000000 text/plain 3\n", b"http://b 1.1.1.1 20200101000000 text/html 9\n", b"\x28\xb5\x2f\xfd", b"\x5d\x2a\x4d\x18", b"5\r\nabcde\r\n", gzip.compress(b"WARC/1.0\r\n")])), max_size=20))  # fmt: skip
def test_no_bytes_make_the_archive_readers_raise(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    for read_member in (warc.read, warc.read_text):
        for item in read_member(Member("a", "a", io.BytesIO(raw), len(raw)), config("warc", max_record_bytes=100, verify_digests=True)):
            assert isinstance(item, Record | Unreadable | PassedOver)


HOSTILE = {
    "marks": b"WARC/" * 200_000,
    "versions": b"WARC/1.0\r\n" * 100_000,
    "lines": b"WARC/1.0\r\nA:\r\n" * 70_000,
    "blank": b"\r\n" * 500_000,
    "arc lines": b"filedesc://a 1.1.1.1 20200101000000 text/plain 3\n" + b"http://b 1.1.1.1 20200101000000 " * 30_000,
    "arc starts": b"filedesc://a 1.1.1.1 20200101000000 text/plain 3\n" + b"aa:\n" * 250_000,
    "arc one line": b"filedesc://a 1.1.1.1 20200101000000 text/plain 3\n" + b"aa: 1.1.1.1 2020010100000 " * 40_000,
    "members": b"\x1f\x8b\x08\x00" * 250_000,
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_a_megabyte_of_the_worst_archive_takes_steps_in_proportion(kind: str) -> None:
    def read(raw: bytes) -> list[object]:
        return list(warc.read(Member("a", "a", io.BytesIO(raw), len(raw)), config("warc")))

    items = in_proportion(read, HOSTILE[kind])
    assert not any(isinstance(item, Record) for item in items)


# --- gzip --------------------------------------------------------------------------------------------------------------


@settings(max_examples=share(1))
@given(st.lists(st.binary(max_size=500), min_size=1, max_size=5), st.integers(0, 3), st.integers(1, 70))
def test_members_are_read_as_python_reads_them(parts: list[bytes], padding: int, step: int) -> None:
    raw = b"".join(map(gzip.compress, parts)) + b"\0" * padding
    stream = GzipMembers(io.BytesIO(raw))
    found = b""
    while data := stream.read(step):
        found += data
    assert found == gzip.decompress(raw)


@settings(max_examples=share(1))
@given(st.binary(min_size=30, max_size=300), st.data())
def test_any_changed_bit_of_a_member_is_noticed_or_changes_nothing(content: bytes, data: st.DataObject) -> None:
    raw = bytearray(gzip.compress(content, mtime=0))
    place = data.draw(st.integers(10, len(raw) - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = GzipMembers(io.BytesIO(bytes(raw))).read()
    except (zlib.error, EOFError):
        return
    assert found == content


# --- pages -------------------------------------------------------------------------------------------------------------

LONG = "The paragraph of the page has words enough to be taken for its main content, as readers of it would see it."


def around(markup: str) -> str:
    navigation = "<nav><ul><li><a href=/>Home</a><li><a href=/a>About</a></ul></nav>"
    side = "<ul><li><a href=/b>Other page</a></li><li><a href=/c>Another page</a></li></ul>"
    return f"<html><body>{navigation}<main>{side}<h1>Heading</h1><p>{LONG}</p>{markup}<p>{LONG}</p></main><footer>Imprint</footer></body></html>"


def extracted(markup: str, **settings: Any) -> list[str]:
    found = to_page(around(markup).encode(), config("html", **settings))
    assert not isinstance(found, str)
    lines = [line for line in found.text.replace(LONG, "@").split("\n") if line.strip()]
    assert not {"Home", "About", "Other page", "Another page", "Imprint"} & {line.strip(" •-") for line in lines}
    return lines


@pytest.mark.parametrize(
    ("markup", "lines"),
    [
        ("<ul><li>one</li><li>two</li></ul>", ["  • one", "  • two"]),
        (
            "<UL class=x>\n <LI>one thing that is said\n <LI>two things, and of these rather more, with <a href=/>a link</a></UL>",
            ["  • one thing that is said", "  • two things, and of these rather more, with a link"],
        ),
        ("<ul><li>one<ul><li>inner</li></ul></li></ul>", ["  • one", "    • inner"]),
        ("<ol><li>one</li><li>two</li></ol>", ["  1. one", "  2. two"]),
        ("<h2>Sub</h2><p>text</p>", ["Sub", "text"]),
        ("<pre>def f(x):\n    if x:\n        return 1\n</pre>", ["def f(x):", "    if x:", "        return 1"]),
        ("<pre><code><span class=k>def</span> f():\n\t<b>pass</b></code></pre>", ["def f():", "\tpass"]),
        ("<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>", ["A\t\tB", "1\t\t2"]),
        ("<table><tr><td><p>a <b>c</b></p></td><td>\n<p>2</p>\n</td></tr><tr><td>x<td>y</table>", ["a c\t\t2", "x\t\ty"]),
    ],
)
def test_lists_headings_code_and_tables_are_kept_as_light_text(markup: str, lines: list[str]) -> None:
    assert extracted(markup) == ["Heading", "@", *lines, "@"]


def test_trafilatura_extracts_on_request_and_its_absence_is_a_users_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trafilatura")
    markup = (
        "<h2>Sub</h2><ul><li>one</li><li>two</li></ul><ol><li>first</li><li>second</li></ol><pre><code>def f(x):\n    return x</code></pre>"
        "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>"
    )
    lines = extracted(markup, extractor="trafilatura")
    assert [line for line in lines if "|" not in line and "`" not in line] == [
        "Heading", "@", "Sub", "- one", "- two", "- first", "- second", "def f(x):", "    return x", "@",
    ]  # fmt: skip
    assert [[cell.strip() for cell in line.split("|") if cell.strip()] for line in lines if "|" in line and "-" not in line] == [
        ["A", "B"],
        ["1", "2"],
    ]
    whole = f"<title>The &amp; title</title>{around(markup)}".encode()
    found = to_page(whole, config("html", extractor="trafilatura"))
    assert not isinstance(found, str)
    assert found.title == "The & title"
    (tmp_path / "a.html").write_bytes(page("one"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"source test: extractor trafilatura is not installed: pip install 'encoder-foundry\[trafilatura\]'"
    ):
        list_files(config("html", tmp_path, extractor="trafilatura"), tmp_path)


GREEN = "grün und schön: "


@pytest.mark.parametrize(
    ("data", "declared", "text"),
    [
        (GREEN.encode(), None, GREEN),
        (GREEN.encode(), "iso-8859-1", GREEN),  # valid UTF-8 is UTF-8
        (GREEN.encode("latin-1"), "iso-8859-1", GREEN),
        ("“grün”".encode("windows-1252"), "latin1", "“grün”"),  # as browsers read it
        (b"<meta charset=iso-8859-2>" + "zażółć".encode("iso-8859-2"), None, "<meta charset=iso-8859-2>zażółć"),
        (b"<meta charset=iso-8859-2>" + "привет".encode("koi8-r"), "koi8-r", "<meta charset=iso-8859-2>привет"),  # HTTP before meta
        ("\ufeffgrün".encode("utf-16"), "utf-8", "grün"),  # the mark before all
        (b"\xef\xbb\xbfgr\xc3\xbcn", "latin-1", "grün"),
        ("日本語のテキスト".encode("iso-2022-jp"), "iso-2022-jp", "日本語のテキスト"),
        ("中文网页".encode("gbk"), "gb2312", "中文网页"),
        (GREEN.encode() * 20 + b"\xff", "utf-8", GREEN * 20 + "\ufffd"),  # one broken byte does not make it another charset
        ("Größe und Übermut, schön".encode("windows-1252"), "utf-8", "Größe und Übermut, schön"),  # declared wrongly
        (b"plain", "no-such-charset", "plain"),
    ],
)  # fmt: skip
def test_the_charset_is_that_of_mark_header_page_and_bytes_in_that_order(data: bytes, declared: str | None, text: str) -> None:
    assert to_text(data, declared).removeprefix("\ufeff") == text


@pytest.mark.parametrize(
    ("data", "declared", "text"),
    [
        ("привет".encode("koi8-r"), None, "привет"),  # nothing says so but the source
        ("zażółć".encode("iso-8859-2"), "iso-8859-2", "zażółć"),
        (b"<meta charset=iso-8859-2>" + "zażółć".encode("iso-8859-2"), None, "<meta charset=iso-8859-2>zażółć"),
        (b"<?xml version='1.0' encoding='iso-8859-2'?>" + "zażółć".encode("iso-8859-2"), None, "<?xml version='1.0' encoding='iso-8859-2'?>zażółć"),
        ("\ufeffgrün".encode("utf-16"), None, "grün"),
        (b"\xef\xbb\xbfgr\xc3\xbcn", None, "grün"),
        (GREEN.encode(), None, GREEN),
    ],
)  # fmt: skip
def test_a_sources_encoding_counts_where_neither_mark_nor_header_nor_page_says_any(data: bytes, declared: str | None, text: str) -> None:
    assert to_text(data, declared, "koi8-r").removeprefix("\ufeff") == text


@pytest.mark.parametrize("charset", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_page_without_a_mark_is_read_in_the_sources_wide_encoding(charset: str) -> None:
    data = around("<p>grün</p>").encode(charset)
    found = to_page(data, config("html", encoding=charset))
    assert not isinstance(found, str)
    assert "grün" in found.text
    assert to_page(data, config("html", encoding="windows-1252")) == "not a page: binary data" or charset != "utf-32-le"


def test_a_page_in_utf16_is_bounded_as_one_in_utf8() -> None:
    data = ("<p>" * 1_000_000).encode("utf-16")
    assert "MB to parse" in str(to_page(data, config("html")))


@settings(max_examples=share(3))
@given(
    st.binary(max_size=200),
    st.sampled_from(
        [None, "utf-8", "utf-16", "shift_jis", "iso-2022-jp", "x-user-defined", "gb2312", "utf-7", "hex", "replacement", "euc-kr", "big5"]
    ),
)
def test_no_bytes_make_the_charset_fail(data: bytes, declared: str | None) -> None:
    assert isinstance(to_text(data, declared), str)
    assert isinstance(to_page(data, config("html"), declared), str | tuple)


def attributes_by_hand(page: bytes, at: int) -> int:
    """How many attributes the tokenizer of the HTML standard finds, if the tag that begins before `at` is one."""
    state, count = "name of tag", 0
    for byte in page[at:]:
        char, blank = chr(byte), byte in b" \t\n\f\r"
        if char == ">" and state not in ("double", "single"):
            return count
        if state == "name of tag":
            state = "before" if blank or char == "/" else state
        elif state in ("before", "after value"):
            if not blank and char != "/":
                count += 1
            state = "before" if blank or char == "/" else "name"
        elif state == "name":
            state = "after name" if blank else "before" if char == "/" else "before value" if char == "=" else state
        elif state == "after name":
            if not blank and char not in "/=":
                count += 1
            state = state if blank else "before" if char == "/" else "before value" if char == "=" else "name"
        elif state == "before value":
            state = state if blank else {'"': "double", "'": "single"}.get(char, "unquoted")
        elif state == "unquoted":
            state = "before" if blank else state
        elif (state, char) in (("double", '"'), ("single", "'")):
            state = "after value"
    return count


@settings(max_examples=share(5))
@given(st.text(alphabet="<a/ =\"'>b\n", max_size=40))
def test_bounds_count_the_attributes_that_the_standards_tokenizer_does(text: str) -> None:
    data = text.encode()
    starts = [match.end() - 1 for match in re.finditer(rb"<(?=[a-z])|</", data)]
    counts = [attributes_by_hand(data, at + 1) for at in starts]
    assert bounds(data) == (max(counts, default=0), 600 * len(counts) + 130 * sum(counts) + 10 * len(data))


def many(count: int, pattern: str) -> bytes:
    return "".join(pattern.format(number) for number in range(count)).encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<div>" * 100_000, "nested over"),
        (b"<div></x>" * 100_000, "nested over"),
        (b'<div title="</div></div>">' * 100_000, "nested over"),
        (b"<!-- </div></div></div> --><div>" * 50_000, "nested over"),
        (b"<svg><link>" * 100_000, "nested over"),
        (b"<a" + many(100_000, ' b{}=">"') + b">", "attributes"),
        (b"<!-- \" --><a" + many(100_000, " b{}"), "attributes"),
        (b"<p>x" * 5_000_000, "to parse"),
        (b"<p a b c d e f g h i j k l m n o p q r s t u v>" * 200_000, "to parse"),
        (b"x" * (50 << 20), "to parse"),
    ],
    ids=["deep", "deep with ends of nothing", "ends in values", "ends in comments", "foreign", "attributes", "attributes after a quote", "many", "attributes of many", "long"],
)  # fmt: skip
def test_a_page_that_would_take_minutes_or_gigabytes_is_refused(data: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the content is looked for, and but for one that is deep, before anything is parsed."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the page went to the parser")

    monkeypatch.setattr(html, "extract_plain_text", refused)
    if why != "nested over":
        monkeypatch.setattr(html, "HTMLTree", SimpleNamespace(parse=refused))
    found = to_page(data, config("html", extractor="resiliparse"))
    assert isinstance(found, str)
    assert why in found


@pytest.mark.parametrize(
    "data",
    [b"<ul>" * 9_000, b"<ul><li>x</ul>" * 200_000, b"</ul>" * 200_000, b"<td><p>x" * 9_000, b"<td><p " * 150_000, b"<title>" * 9_000, b"<html " * 9_000,
     b"<html lang" * 9_000, b"<" * 1_000_000, b"<ul><a " * 9_000, b"&" * 1_000_000, b"<td><p>" + b"<b>x</b>" * 9_000, b"<html " + b"x" * 1_000_000],
    ids=range(13),
)  # fmt: skip
def test_a_megabyte_of_the_worst_markup_takes_steps_in_proportion(data: bytes) -> None:
    in_proportion(lambda page: to_page(page, config("html")), data)


@settings(max_examples=share(3))
@given(
    st.lists(
        st.sampled_from(
            ["<ul>", "</ul>", "<li>", "<a href=x>", "</a>", "text", " ", "<", ">", "<UL", "<ul/>", "<td>", "<p>", "<!--", "-->", "é"]
        ),
        max_size=30,
    )
)
def test_sinking_lists_adds_balanced_boxes_and_nothing_else(parts: list[str]) -> None:
    markup = "".join(parts).encode()
    sunk, _, opening = look(markup)
    assert opening == markup.count(b"<") - markup.count(b"</")
    assert sunk.replace(b"<div>", b"").replace(b"</div>", b"") == markup
    assert sunk.count(b"<div>") == sunk.count(b"</div>")


# --- real files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pages.warc.gz", "warc/aut-example.warc.gz", "warc/commoncrawl-whirlwind.warc.gz"])
def test_real_archives_have_the_records_that_fastwarc_finds(real_data: Path, name: str) -> None:
    from fastwarc.warc import ArchiveIterator

    path = real_data / "web" / name
    with path.open("rb") as ours, path.open("rb") as theirs:
        found = list(blocks(Member("a", "a", ours, path.stat().st_size), config("warc")))
        expected = [(item.headers["WARC-Record-ID"], item.reader.read()) for item in ArchiveIterator(theirs, parse_http=False)]
    assert all(isinstance(block, Block) for block in found)
    assert [(block.headers["warc-record-id"], block.content) for block in found if isinstance(block, Block)] == expected


@pytest.mark.slow
def test_a_real_crawl_is_the_same_as_warc_and_as_arc(real_data: Path) -> None:
    new, bad_new, passed_new = read(real_data / "web" / "warc" / "aut-example.warc.gz")
    old, bad_old, passed_old = read(real_data / "web" / "warc" / "aut-example.arc.gz")
    assert not bad_new
    assert not bad_old
    assert len(new) == 97
    assert [(item.url, item.date, item.text) for item in new] == [(item.url, item.date, item.text) for item in old]
    assert len(new) + passed_new.total() == len(old) + passed_old.total() == 299


def test_real_archives_of_every_kind_of_damage_are_read_around_it(real_data: Path) -> None:
    import tarfile

    source = zstandard.ZstdDecompressor().stream_reader((real_data / "web" / "warc-edge-cases.tar.zst").open("rb"))
    found: dict[str, tuple[int, int]] = {}
    with tarfile.open(fileobj=source, mode="r|") as archive:
        for entry in archive:
            data = archive.extractfile(entry)
            if data is None:
                continue
            raw = data.read()
            items = list(warc.read(Member("a", "a", io.BytesIO(raw), len(raw)), config("warc")))
            found[Path(entry.name).name] = (
                sum(isinstance(item, Record) for item in items),
                sum(isinstance(item, Unreadable) for item in items),
            )
    for name in ("example.warc", "example.warc.gz", "example.arc", "example.arc.gz", "example-bad-non-chunked.warc.gz", "example-iana.org-chunked.warc",
                 "example-resource.warc.gz", "example-wrong-chunks.warc.gz", "example-wget-bad-target-uri.warc.gz", "example-bad.warc.gz.bad"):  # fmt: skip
        assert found[name] == (1, 0), name
    assert found["example-trunc.warc"] == (1, 0)  # its one page lacks some bytes; where the request after it begins it ends
    assert found["bad.arc"][0] == 0
    assert found["bad.arc"][1] > 0


def test_a_file_that_is_gone_stops_its_task_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone.warc: cannot be read .it is gone since the files were listed"):
        list(read_file(InputFile(str(tmp_path / "gone.warc"), "gone.warc", 1, "x"), config("warc")))

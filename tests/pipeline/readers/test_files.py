"""Files, archives, tables and datasets: what is damaged or hostile costs itself, and what is around it is read."""

from __future__ import annotations

import bz2
import csv
import gzip
import http.server
import io
import json
import lzma
import random
import resource
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.ingest.stage import IngestConfig, ingest_stage
from pipeline.readers import FORMATS, InputFile, PassedOver, Record, SourceConfig, Unreadable, list_files, read_file, source_config
from pipeline.readers import parquet as parquet_reader
from pipeline.readers.csv_dialect import find_delimiter
from pipeline.readers.remote import glob_pattern
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from storage.location import Location
from tests.conftest import run_task
from tests.fuzz.readers import ENDINGS, SEEDS
from tests.profiles import share
from tests.work import in_proportion, steps


def config(format: str, path: Path | str = "x", **settings: Any) -> SourceConfig:
    return source_config(name="test", domain="web", format=format, path=str(path), **settings)


def read(path: Path | str, format: str = "text", **settings: Any) -> tuple[list[Record], list[Unreadable]]:
    source = config(format, path, **settings)
    items = [item for file in list_files(source, Path("/")) for item in read_file(file, source)]
    return [item for item in items if isinstance(item, Record)], [item for item in items if isinstance(item, Unreadable)]


def texts(records: list[Record]) -> list[str]:
    return [record.text for record in records]


# --- tar ---------------------------------------------------------------------------------------------------------------


def tar(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@settings(max_examples=share(0.4))
@given(st.dictionaries(st.text("abcäé/._-", min_size=1, max_size=150), st.binary(max_size=2000), max_size=6))
def test_a_tar_has_the_members_that_tarfile_finds(format: int, files: dict[str, bytes]) -> None:
    files = {name.strip("/.") or "x": data.hex().encode() for name, data in files.items()}
    try:
        raw = tar(files, format)
    except ValueError:  # a name that is too long for the old format
        return
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        expected = {entry.name: archive.extractfile(entry).read().decode() for entry in archive}  # type: ignore[union-attr]
    found, bad = read_bytes(raw, "a.tar")
    refused = {name for name in expected if ".." in name.split("/")}
    assert {record.path: record.text for record in found} == {name: text for name, text in expected.items() if name not in refused}
    assert len(bad) == len(refused)


def read_bytes(raw: bytes, name: str, format: str = "text", **settings: Any) -> tuple[list[Record], list[Unreadable]]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(raw)
        items = list(read_file(InputFile(str(path), name, len(raw), "x"), config(format, **settings)))
    assert all(isinstance(item, Record | Unreadable | PassedOver) for item in items)
    return [item for item in items if isinstance(item, Record)], [item for item in items if isinstance(item, Unreadable)]


@settings(max_examples=share(0.6))
@given(st.integers(1, 8), st.data())
def test_a_tar_is_read_on_after_a_damaged_header(count: int, data: st.DataObject) -> None:
    """One damaged header costs its own member alone."""
    raw = bytearray(tar({f"{number}.txt": b"%d" % number * 700 for number in range(count)}, tarfile.USTAR_FORMAT))
    step = 512 + len(b"0" * 700) // 512 * 512 + 512
    number = data.draw(st.integers(0, count - 1))
    at = number * step + data.draw(st.integers(0, 340))
    raw[at] ^= data.draw(st.integers(1, 255))
    records, bad = read_bytes(bytes(raw), "a.tar")
    expected = [str(other) * 700 for other in range(count) if other != number]
    assert [text for text in texts(records) if text in expected] == expected
    assert bad or len(records) == count  # a changed byte that the checksum does not see is no damage
    if len(records) < count:
        assert bad[0].location == f"a.tar (byte {number * step} of the tar)"


def test_a_tar_says_what_it_passed_over(tmp_path: Path) -> None:
    parts = tar({"a.txt": b"one"})[:1024], b"\xff" * 5120, tar({"b.txt": b"two"})
    (tmp_path / "x.tar").write_bytes(b"".join(parts))
    records, (bad,) = read(tmp_path)
    assert texts(records) == ["one", "two"]
    assert (bad.location, bad.error) == ("x.tar (byte 1024 of the tar)", "no header; reading goes on 5120 bytes on")


def test_tars_one_after_the_other_are_one(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar({"a.txt": b"one"})) + gzip.compress(tar({"b.txt": b"two"})))
    records, bad = read(tmp_path)
    assert (texts(records), bad) == (["one", "two"], [])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_claims_gigabytes_of_names_is_refused(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = kind, 3 << 30
    raw = entry.tobuf(tarfile.GNU_FORMAT) + b"\0" * (200 << 20)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(raw, 1) + gzip.compress(tar({"b.txt": b"two"})))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, (bad,) = read(tmp_path)
    assert texts(records) == ["two"]
    assert "an extended header of 3221225472 bytes" in bad.error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


def test_a_cut_off_tar_says_so(tmp_path: Path) -> None:
    raw = tar({"a.txt": b"one" * 1000, "b.txt": b"two" * 1000}, tarfile.USTAR_FORMAT)
    (tmp_path / "x.tar").write_bytes(raw[:5000])
    records, bad = read(tmp_path)
    assert texts(records) == ["one" * 1000]
    assert [item.location for item in bad] == ["x.tar!b.txt"]
    (tmp_path / "x.tar").write_bytes(raw[:5000])
    records, bad = read(tmp_path, exclude=["b.txt"])
    assert [item.error for item in bad] == ["cut off within a member"]


# --- zip ---------------------------------------------------------------------------------------------------------------


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def test_a_damaged_member_of_a_zip_costs_itself(tmp_path: Path) -> None:
    content = {f"{number}.txt": random.Random(number).randbytes(500).hex().encode() for number in range(3)}
    raw = bytearray(zipped(content))
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        at = archive.getinfo("1.txt").header_offset
    raw[at + 100 : at + 140] = b"\xff" * 40
    (tmp_path / "x.zip").write_bytes(bytes(raw))
    records, (bad,) = read(tmp_path)
    assert texts(records) == [content["0.txt"].decode(), content["2.txt"].decode()]
    assert bad.location == "x.zip!1.txt"


def test_a_zip_whose_members_share_their_bytes_is_bounded(tmp_path: Path) -> None:
    raw = bytearray(zipped({"0.txt": b" " * (10 << 20)}))
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        begin = archive.start_dir
    entry = bytes(raw[begin:-22])
    directory = b"".join(entry.replace(b"0.txt", b"%05d" % number) for number in range(500))
    end = raw[-22:]
    end[8:12] = (500).to_bytes(2, "little") * 2
    end[12:16] = len(directory).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(bytes(raw[:begin]) + directory + bytes(end))
    _, bad = read(tmp_path, max_expansion=1100)
    assert len(bad) >= 490, "so that few of the 500 members, 10 MB each, were decompressed"


def test_a_zip_with_a_directory_of_gigabytes_is_refused(tmp_path: Path) -> None:
    raw = bytearray(zipped({"0.txt": b"x"}))
    raw[-10:-6] = (0xFFFFFFF0).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(bytes(raw))
    _, (bad,) = read(tmp_path)
    assert "a directory of 4294967280 bytes" in bad.error


@pytest.mark.parametrize("inner", ["inner.tar", "inner.tar.gz", "inner.zip"])
@pytest.mark.parametrize("outer", ["outer.tar", "outer.tar.gz", "outer.zip"])
def test_an_archive_within_an_archive_is_opened_and_one_within_that_is_not(tmp_path: Path, outer: str, inner: str) -> None:
    def pack(name: str, files: dict[str, bytes]) -> bytes:
        raw = zipped(files) if name.endswith("zip") else tar(files)
        return gzip.compress(raw) if name.endswith("gz") else raw

    third = pack(inner, {"deep.txt": b"deep"})
    second = pack(inner, {"a.txt": b"one", f"again-{inner}": third, "b.md": b"left out"})
    (tmp_path / outer).write_bytes(pack(outer, {inner: second, "c.txt": b"two"}))
    records, (bad,) = read(tmp_path, include=["*.txt"])
    assert [(record.id, record.text) for record in records] == [(f"{outer}!{inner}!a.txt", "one"), (f"{outer}!c.txt", "two")]
    assert (bad.location, bad.error) == (f"{outer}!{inner}!again-{inner}", "refused: an archive within 2 archives")


def test_an_entry_without_a_name_is_refused_and_the_others_are_read() -> None:
    raw = zipped({"a.txt": b"one", "b.txt": b"two"}).replace(b"a.txt", b"\0.txt")
    (record,), (bad,) = read_bytes(raw, "x.zip")
    assert (record.id, record.text) == ("x.zip!b.txt", "two")
    assert (bad.location, bad.error) == ("x.zip!", "refused: an entry without a name")


@settings(max_examples=share(1.5))
@given(
    st.sampled_from(["tar", "zip", "tar.gz"]),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6),
    st.integers(0, 5000),
)
def test_no_damage_to_an_archive_makes_reading_raise(ending: str, changes: list[tuple[int, int]], cut: int) -> None:
    files = {"a.txt": b"one" * 300, "ä" * 60 + ".txt": b"two", "c/d.txt": b"\n" * 900}
    raw = bytearray(zipped(files) if ending == "zip" else tar(files))
    raw = bytearray(gzip.compress(bytes(raw))) if ending == "tar.gz" else raw
    for place, value in changes:
        raw[place % len(raw)] = value
    read_bytes(bytes(raw[: len(raw) - cut % len(raw)]), f"x.{ending}")


# --- charsets ----------------------------------------------------------------------------------------------------------


def test_files_in_a_charset_that_the_source_names(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("grün".encode("latin-1"))
    (tmp_path / "b.txt").write_bytes("grün".encode("utf-16"))  # a byte order mark says more
    (tmp_path / "c.txt").write_bytes(b"\xa1")  # nothing, in this charset
    records, (bad,) = read(tmp_path, encoding="windows-1257")
    assert texts(records) == ["grün", "grün"]
    assert bad.error == "not WINDOWS-1257: no character of this charset"
    with pytest.raises(ValueError, match="base64 is no charset that Python knows"):
        config("text", encoding="base64")
    with pytest.raises(ValueError, match="nonsense is no charset"):
        config("text", encoding="nonsense")


def test_lone_surrogates_and_names_that_are_not_utf8_reach_the_documents_as_replacement_characters(
    tmp_path: Path, workdir: Workdir
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text(
        '{"text": "a\\ud800b", "title": "t\\udfff", "url": "u\\ud800", "x\\ud800": "\\ud800"}\n{"x\\ud800": 1}\n'
    )
    (tmp_path / "in" / "b\udcff.jsonl").write_text('{"text": "named"}\n{')
    run_task(workdir, ingest_stage(IngestConfig(), [config("jsonl", tmp_path / "in")], tmp_path))
    manifest = workdir.manifest("documents")
    assert manifest is not None
    table = pa.concat_tables(workdir.read_table("documents", partition) for partition in manifest.partitions)
    assert table["text"].to_pylist() == ["a\ufffdb", "named"]
    assert table["title"].to_pylist() == ["t\ufffd", None]
    assert table["id"].to_pylist()[1] == "test:b\ufffd.jsonl#1"


def test_quarantine_comes_in_bounded_partitions_and_what_is_passed_over_is_counted(tmp_path: Path, workdir: Workdir) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{" * 3000 + b"\n" + b"\n".join([b"{" + b"x" * 3000] * 20) + b'\n{"text": "one"}\n')
    manifest = run_task(workdir, ingest_stage(IngestConfig(partition_bytes=20_000), [config("jsonl", tmp_path / "a.jsonl")], tmp_path))[
        "quarantine"
    ]
    assert [partition.rows for partition in manifest.partitions] == [5, 5, 5, 5, 1]
    assert manifest.summary["sources"]["test"] == {"documents": 1, "bytes": 3, "quarantined": 21, "passed_over": 0}


# --- csv ---------------------------------------------------------------------------------------------------------------

FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=20)


@settings(max_examples=share(2))
@given(
    st.lists(st.tuples(FIELD, FIELD.filter(bool)), min_size=1, max_size=8),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_rows_are_read_as_the_csv_module_wrote_them(rows: list[tuple[str, str]], delimiter: str, end: str, charset: str) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=end)
    writer.writerow(["title", "text"])
    writer.writerows(rows)
    records, bad = read_bytes(sink.getvalue().encode(charset), "a.csv", "csv", delimiter=delimiter)
    assert not bad
    assert [(record.title, record.text) for record in records] == rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_separates_fields_is_found(delimiter: str) -> None:
    rows = [["name", "text", "year"], ["a, b; c", "one | two", "1"], ['say "x"', "y,z;z", "2"]]
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter).writerows(rows)
    assert find_delimiter(sink.getvalue()) == delimiter


def test_bad_rows_are_quarantined_and_the_next_is_read(tmp_path: Path) -> None:
    lines = [
        b"id,text,n",
        b"1,one,x",
        b'2,"stray ""quote,x',
        b"3,three,x",
        b'4,"four" five,x',
        b"5,f\xfcnf,x",
        b"6,a,b,c,d",
        b"",
        b"7,seven",
        b'8,"two\nlines",x',
    ]
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines))
    records, bad = read(tmp_path, "csv")
    assert [(record.id, record.text) for record in records] == [("1", "one"), ("3", "three"), ("7", "seven"), ("8", "two\nlines")]
    assert records[0].meta == {"n": "x"}
    assert [item.error.split(":")[0] for item in bad] == ["not a row", "not a row", "not utf-8", "5 fields in 3 columns"]
    assert bad[0].location == "a.csv#3"


def test_columns_quotes_and_charset_as_given(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes('1\t"grün\n2\tblau"'.encode("latin-1"))
    records, bad = read(tmp_path, "csv", columns=["id", "body"], quotes=False, fields={"text": "body"}, encoding="latin-1")
    assert not bad
    assert [(record.id, record.text) for record in records] == [("1", '"grün'), ("2", 'blau"')]


def test_a_field_of_200_megabytes_is_passed_without_being_held(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("wb") as file:
        file.write(b'id,text\n1,"')
        for _ in range(200):
            file.write(b"x" * (1 << 20))
        file.write(b'"\n2,two\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, (bad,) = read(tmp_path, "csv", max_record_bytes=1 << 20)
    assert texts(records) == ["two"]
    assert "max_record_bytes" in bad.error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


@pytest.mark.parametrize("line", [b'"\n', b'",\n', b'"x"y\n', b'a"\n,"\n'])
def test_a_megabyte_of_stray_quotes_takes_steps_in_proportion(line: bytes) -> None:
    """Each quote that never closes may cost `max_record_bytes`, which is counted with small ones."""
    raw = b"text\n" + line * (1_000_000 // len(line))
    in_proportion(lambda part: read_bytes(part, "a.csv", "csv", max_record_bytes=5_000 if len(part) < len(raw) else 100_000), raw)


@settings(max_examples=share(2))
@given(
    st.lists(
        st.sampled_from([b"a", b",", b'"', b"\n", b"\r", b"\t", b"\xff", b"\xff\xfe", b"\x00", b"text", b";", b"\xc3\xa9"]), max_size=40
    ),
    st.booleans(),
)
@example([b"\xff\xfe"] * 2 + [b"a"] * 25 + [b"\xff\xfe"] * 3 + [b"text"] * 4, False)  # half a character, behind a row that is too long
def test_no_bytes_make_the_csv_reader_raise(parts: list[bytes], quotes: bool) -> None:
    read_bytes(b"".join(parts), "a.csv", "csv", quotes=quotes, max_record_bytes=20)


# --- Parquet and Arrow -------------------------------------------------------------------------------------------------


def arrow(table: pa.Table, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, sink, **options)
    else:
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, table.schema) as writer:
            writer.write_table(table, **options)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_an_arrow_batch_whose_offsets_lead_out_of_it_is_unreadable_and_the_others_are_read(kind: str) -> None:
    raw = arrow(pa.table({"text": ["one", "two", "three", "four"]}), kind, max_chunksize=2)
    offsets = np.array([0, 3, 6], np.int32).tobytes()
    assert raw.count(offsets) == 1
    records, (bad,) = read_bytes(raw.replace(offsets, np.array([0, 1 << 30, 2 << 29], np.int32).tobytes()), "x.arrow", "parquet")
    assert [(record.id, record.text) for record in records] == [("x.arrow#2", "three"), ("x.arrow#3", "four")]
    assert bad.location == "x.arrow#0"
    assert bad.error.startswith("a batch of 2 rows is not valid: ArrowInvalid")


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_text_that_is_not_utf8_costs_its_row_alone(kind: str, nested: bool) -> None:
    texts = pa.array([b"one", b"tw\xff", b"three"]).view(pa.string())
    table = pa.table({"text": ["one", "two", "three"], "x": [[1], [2], [3]]}) if nested else pa.table({"text": texts})
    if nested:
        table = table.append_column("list", pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), texts))
    records, (bad,) = read_bytes(arrow(table, kind), "x", "parquet")
    assert [record.id for record in records] == ["x#0", "x#2"]
    assert (bad.location, bad.error, bad.raw) == ("x#1", "not UTF-8: invalid start byte", b"tw\xff")


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_a_row_over_max_record_bytes_is_unreadable_and_the_next_is_read(kind: str) -> None:
    table = pa.table({"text": ["one", "x" * 10_000, "three"], "n": [[1], [2], [3] * 10_000]})
    records, bad = read_bytes(arrow(table, kind), "x", "parquet", max_record_bytes=5000)
    assert texts(records) == ["one"]
    assert [item.location for item in bad] == ["x#1", "x#2"]
    assert all("over max_record_bytes (5000)" in item.error for item in bad)


SHARED = {
    "text": pa.array(["a", "b" * 50, None, "é"]),
    "dictionary": pa.array(["a", "b" * 50, None, "é"]).dictionary_encode(),
    "view": pa.array(["a", "b" * 50, None, "é"]).cast(pa.string_view()),
    "runs": pa.RunEndEncodedArray.from_arrays([3, 4], ["a", "bb"]),
    "list of views": pa.array([["x"], [], None, ["y", "z"]]).cast(pa.list_(pa.string_view())),
    "list of entries": pa.ListArray.from_arrays([0, 1, 1, 2, 2], pa.array(["p", "q"]).dictionary_encode()),
    "map": pa.array([[("k", 1)], [], None, [("a", 2)]], pa.map_(pa.string(), pa.int64())),
    "struct": pa.array([{"a": 1, "b": "q"}, None, {"a": None, "b": "r"}, {}]),
    "pair": pa.array([[1, 2], None, [3, 4], [5, 6]], pa.list_(pa.int8(), 2)),
    "nothing": pa.nulls(4),
    "price": pa.array([1, 2, None, 4], pa.decimal128(5, 2)),
}


@pytest.mark.parametrize("limit", [400, 1 << 20])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_columns_of_every_layout_are_read_as_pyarrow_reads_them(kind: str, limit: int) -> None:
    table = pa.table(SHARED)
    records, (bad,) = read_bytes(arrow(table, kind), "x", "parquet", max_record_bytes=limit)
    assert bad.location == "x#2"
    assert [{"text": record.text, **record.meta} for record in records] == [row for row in table.to_pylist() if row["text"]]


def test_a_buffer_of_views_may_be_longer_than_they_are() -> None:
    views = (3).to_bytes(4, "little") + b"one" + bytes(9)
    column = pa.Array.from_buffers(pa.string_view(), 1, [None, pa.py_buffer(views + b"?")])
    assert list(parquet_reader._rows(pa.record_batch({"text": column}), 1000)) == [{"text": "one"}]


def test_list_views_which_could_share_their_items_are_not_read() -> None:
    table = pa.table({"text": ["one"], "x": pa.array([[1]], pa.list_view(pa.int8()))})
    records, (bad,) = read_bytes(arrow(table, "stream"), "x", "parquet")
    assert not records
    assert "a column of list_view" in bad.error


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_a_dictionary_that_makes_a_gigabyte_of_kilobytes_does_not_take_it(tmp_path: Path, kind: str) -> None:
    entry = pa.DictionaryArray.from_arrays(pa.array([0] * 1024, pa.int8()), pa.array(["x" * (1 << 20)]))
    (tmp_path / "x").write_bytes(arrow(pa.table({"text": entry}), kind, **({"store_schema": False} if kind == "parquet" else {})))
    source = config("parquet", tmp_path / "x")
    (file,) = list_files(source, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = 0
    for item in read_file(file, source):
        assert isinstance(item, Record)
        found += len(item.text)
    assert found == 1 << 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "kilobytes"


def test_a_list_that_repeats_an_entry_a_thousand_times_is_refused_and_the_next_row_is_read(tmp_path: Path) -> None:
    entries = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int16()), pa.array(["x" * (1 << 20)]))
    lists = pa.ListArray.from_arrays(pa.array([0, 999, 1000], pa.int32()), entries)
    pq.write_table(pa.table({"text": ["one", "two"], "list": lists}), tmp_path / "x.parquet", store_schema=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, (bad,) = read(tmp_path / "x.parquet", "parquet")
    assert texts(records) == ["two"]
    assert bad.error.startswith("a row of 10475")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


@pytest.mark.parametrize("schema", [True, False])
@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", None])
def test_lists_of_entriesare_the_same_however_they_are_read(monkeypatch: pytest.MonkeyPatch, schema: bool, encoding: str | None) -> None:
    monkeypatch.setattr("pipeline.readers.parquet._EXPANDED_BYTES", 0)
    rows = [["a", "b" * 50, None], [], None, ["é", "a"]]
    columns = {
        "text": pa.array(["1", "2", "3", "4"]),
        "list": pa.array(rows),
        "large": pa.array(rows, pa.large_list(pa.large_string())),
        "bytes": pa.array(rows, pa.list_(pa.binary())),
        "map": pa.array([[("k", "v")], [], None, [("k", None)]], pa.map_(pa.string(), pa.string())),
        "deep": pa.array([[{"a": "x", "b": ["y"]}], [], None, [{"a": None, "b": None}]]),
        "prices": pa.array([[1], [], None, [2]], pa.list_(pa.decimal128(5, 2))),
    }
    table = pa.table(columns)
    options: dict[str, Any] = {"use_dictionary": encoding is None, "store_schema": schema, "row_group_size": 2}
    if encoding:
        options["column_encoding"] = dict.fromkeys(["list.list.element", "large.list.element", "bytes.list.element"], encoding)
    records, bad = read_bytes(arrow(table, "parquet", **options), "x", "parquet")
    assert not bad
    assert [{"text": record.text, **record.meta} for record in records] == table.to_pylist()


def test_a_null_is_no_longer_than_nothing_however_long_the_dictionarys_entries_are() -> None:
    entries = pa.DictionaryArray.from_arrays(pa.array([None, 1], pa.int8()), pa.array(["x" * 10_000, "short"]))
    records, bad = read_bytes(arrow(pa.table({"text": ["one", "two"], "entry": entries}), "file"), "x", "parquet", max_record_bytes=1000)
    assert not bad
    assert [record.meta["entry"] for record in records] == [None, "short"]


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_arrow_buffers_that_would_expand_beyond_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch, kind: str, compression: str) -> None:
    monkeypatch.setattr("pipeline.readers.parquet._ARROW_BATCH_BYTES", 32 << 20)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    table = pa.table({"text": ["one"]})
    sink = io.BytesIO()
    with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    records, bad = read_bytes(sink.getvalue(), "x", "parquet")
    assert (texts(records), bad) == (["one"], [])
    sink = io.BytesIO()
    with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, table.schema, options=options) as writer:
        writer.write_table(pa.table({"text": ["x" * (40 << 20)]}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, (item,) = read_bytes(sink.getvalue(), "x", "parquet", max_record_bytes=2 << 20)
    assert not records
    assert "a batch of 4" in item.error
    assert "over 33554432; write smaller ones, or raise max_record_bytes" in item.error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "kilobytes"


def test_rows_that_take_no_bytes_are_bounded() -> None:
    table = pa.table({"x": pa.nulls(100_000_000)})
    raw = arrow(table, "stream")
    assert steps(lambda: read_bytes(raw, "x", "parquet", max_expansion=10)) < 10_000, "none of the 100,000,000 rows is looked at"
    records, bad = read_bytes(raw, "x", "parquet", max_expansion=10)
    assert not records
    assert [item.error for item in bad] == [
        f"the rest cannot be read: OSError: 100000000 rows in a file of {len(raw)} bytes (max_expansion)"
    ]


def test_a_date_that_python_does_not_have_costs_its_row_alone() -> None:
    days = pa.array([0, 2_000_000_000, 1], pa.int32()).view(pa.date32())
    records, (bad,) = read_bytes(arrow(pa.table({"text": ["one", "two", "three"], "day": days}), "file"), "x", "parquet")
    assert texts(records) == ["one", "three"]
    assert bad.location == "x#1"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
@pytest.mark.parametrize("ending", [".gz", ".tar", ".zip"])
def test_tables_compressed_or_in_archives_are_read_without_being_held(kind: str, ending: str) -> None:
    rows = [random.Random(number).randbytes(500_000).hex() for number in range(60)]
    raw = arrow(
        pa.table({"text": rows}), kind, **({"compression": "none", "row_group_size": 10} if kind == "parquet" else {"max_chunksize": 10})
    )
    packed = gzip.compress(raw, 1) if ending == ".gz" else tar({"x": raw}) if ending == ".tar" else zipped({"x": raw})
    del raw
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, bad = read_bytes(packed, f"x{ending}", "parquet")
    assert not bad
    assert texts(records) == rows
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000, "kilobytes, of which 60,000 are the texts"


# --- datasets of the Hugging Face Hub ----------------------------------------------------------------------------------


def parquet(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": list(rows)}), path)


def test_splits_by_file_and_folder_names(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "train-00000-of-00002.parquet", "one")
    parquet(tmp_path / "data" / "train-00001-of-00002.parquet", "two")
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", "three")
    parquet(tmp_path / "data" / "extra-00000-of-00001.parquet", "four")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# A dataset")
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert texts(read(tmp_path, "huggingface")[0]) == ["one", "two"]
    assert texts(read(tmp_path, "huggingface", split="test")[0]) == ["three"]
    assert texts(read(tmp_path, "huggingface", split="extra")[0]) == ["four"]
    assert sorted(texts(read(tmp_path, "huggingface", split="all")[0])) == ["four", "one", "three", "two"]
    with pytest.raises(UserError, match="no split dev; it has extra, test, train; set `split`"):
        read(tmp_path, "huggingface", split="dev")


def test_files_of_several_formats_and_no_split_are_train(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "lines"}\n{"text": "more"}\n')
    (tmp_path / "b.json").write_text('[{"text": "array"}]')
    (tmp_path / "c.json").write_text('{"text": "lines in .json"}\n{"text": "again"}\n')
    (tmp_path / "d.csv").write_text("text\ncomma\n")
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(b'{"text": "zipped"}'))
    assert texts(read(tmp_path, "huggingface")[0]) == ["lines", "more", "array", "lines in .json", "again", "comma", "zipped"]


def test_what_lies_beside_the_data_of_a_dataset_is_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / "metadata.jsonl").write_text('{"text": "two"}\n')
    for name in ("LICENSE.txt", "license", "NOTICE.txt", "requirements.txt", "config.json", "README.txt", "schema.json"):
        (tmp_path / name).write_text('{"text": "no document"}')
    assert texts(read(tmp_path, "huggingface")[0]) == ["one", "two"]


def test_the_cards_configurations_choose_the_files(tmp_path: Path) -> None:
    card = {"configs": [{"config_name": "en", "data_files": [{"split": "train", "path": ["en/*.parquet"]}, {"split": "test", "path": "en/held/**"}], "default": True},
                        {"config_name": "de", "data_files": "de/*.parquet"}]}  # fmt: skip
    (tmp_path / "README.md").write_text(f"---\n{json.dumps(card)}\n---\nText")
    parquet(tmp_path / "en" / "x.parquet", "english")
    parquet(tmp_path / "en" / "held" / "a" / "y.parquet", "held out")
    parquet(tmp_path / "de" / "z.parquet", "deutsch")
    assert texts(read(tmp_path, "huggingface")[0]) == ["english"]
    assert texts(read(tmp_path, "huggingface", split="test")[0]) == ["held out"]
    assert texts(read(tmp_path, "huggingface", subset="de")[0]) == ["deutsch"]
    with pytest.raises(UserError, match="no subset fr; it has en, de; set `subset`"):
        read(tmp_path, "huggingface", subset="fr")


def test_what_save_to_disk_writes(tmp_path: Path) -> None:
    def save(folder: Path, split: str, *rows: str) -> None:
        folder.mkdir(parents=True)
        for name in ("data-00000-of-00001.arrow", "cache-123.arrow"):
            with pa.ipc.new_stream(folder / name, pa.schema([("text", pa.string())])) as writer:
                writer.write_table(pa.table({"text": list(rows) if name.startswith("data") else ["cached"]}))
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": split}))
        (folder / "dataset_info.json").write_text("{}")

    save(tmp_path / "both" / "train", "train", "one", "two")
    save(tmp_path / "both" / "test", "test", "three")
    (tmp_path / "both" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert texts(read(tmp_path / "both", "huggingface")[0]) == ["one", "two"]
    assert texts(read(tmp_path / "both", "huggingface", split="test")[0]) == ["three"]
    save(tmp_path / "single", "train", "alone")
    assert texts(read(tmp_path / "single", "huggingface")[0]) == ["alone"]
    (tmp_path / "single" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(UserError, match="names data-00000-of-00001.arrow, which is not there; copy the whole folder"):
        read(tmp_path / "single", "huggingface")


# --- URIs --------------------------------------------------------------------------------------------------------------


# What a file of each format is called, and its content; the other formats' are the seeds of the fuzzer.
OWN_FILES = {
    "code": ("a.py", b"# A module of ours.\ndef twice(x):\n    return 2 * x\n"),
    "s2orc": ("a.jsonl", b'{"id": "p1", "text": "First paper."}\n{"id": "p2", "text": "Second paper."}\n'),
    "markdown": ("a.md", b"# Head\n\nA paragraph with `code`.\n"),
    "rst": ("a.rst", b"Head\n====\n\nA paragraph.\n"),
    "latex": ("a.tex", SEEDS["latex"][0]),
    "wet": (
        "a.wet",
        b"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a/b\r\nWARC-Date: 2020-01-02T03:04:05Z\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 10\r\n\r\nplain text\r\n\r\n",
    ),
}


@pytest.mark.parametrize("format", sorted(FORMATS.built_in))
@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
def test_a_uri_of_pyarrows_gives_what_the_plain_path_gives(tmp_path: Path, format: str, compression: str) -> None:
    name, content = OWN_FILES.get(format) or (f"a{ENDINGS.get(format, '.txt')}", SEEDS[format][0])
    if format == "code" and compression:  # a source tree's own files are not compressed
        name, content = "a.tar", tar({name: content})
    pack: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    path = tmp_path / "folder" / (name + compression)
    path.parent.mkdir()
    path.write_bytes(pack[compression](content) if compression else content)
    found = []
    for place in (path, path.parent, f"{tmp_path}/fold*/a*"):
        plain, remote = (read(start + str(place), format) for start in ("", "file://"))
        assert remote == plain
        found.append(texts(plain[0]))
    assert found[0], "something is read"
    assert found[0] == found[1] == found[2]


def test_files_are_listed_and_read_by_fsspec_where_pyarrow_does_not_know_the_scheme(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/corpus/a.txt": b"one", "/corpus/sub/b.txt.gz": gzip.compress(b"two"), "/corpus/sub/c.md": b"three"})
    memory.pipe("/corpus/d.tar", tar({"d.txt": b"four"}))
    records, bad = read("memory://corpus")
    assert (texts(records), bad) == (["one", "four", "two", "three"], [])
    assert texts(read("memory://corpus/sub/*.md")[0]) == ["three"]
    assert texts(read("memory://corpus/**/*.txt*")[0]) == ["one", "two"]
    assert texts(read("memory://corpus/a.txt")[0]) == ["one"]
    with pytest.raises(UserError, match="nothing there"):
        read("memory://nosuch")
    with pytest.raises(UserError, match="nosuch://x: cannot be opened .*; check the URI, or install what it names"):
        read("nosuch://x")


def test_globs_in_uris(tmp_path: Path) -> None:
    for name in ("a/1.txt", "b/2.txt", "b/c/3.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert texts(read(f"file://{tmp_path}/*/*.txt")[0]) == ["a/1.txt", "b/2.txt"]
    assert texts(read(f"file://{tmp_path}/**/*.txt")[0]) == ["a/1.txt", "b/2.txt", "b/c/3.txt"]
    assert texts(read(f"file://{tmp_path}/[!a]/?.txt")[0]) == ["b/2.txt"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its address on a web server of our own."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def send_head(self) -> Any:
            if self.path.startswith("/asked"):  # needs its query
                self.send_response(200 if self.path == "/asked/x.txt?key=a&b" else 403)
                self.send_header("Content-Length", "3")
                self.end_headers()
                return io.BytesIO(b"yes")
            return super().send_head()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_are_read_from_the_web(site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_RETRY_SECONDS", "0")
    pytest.importorskip("aiohttp")
    folder, address = site
    (folder / "in" / "sub").mkdir(parents=True)
    (folder / "in" / "a.txt").write_text("one")
    long = random.Random(0).randbytes(1_500_000).hex()
    (folder / "in" / "sub" / "b c.txt.gz").write_bytes(gzip.compress(long.encode(), 1))
    parquet(folder / "in" / "c.parquet", "three")
    assert texts(read(f"{address}/in/a.txt")[0]) == ["one"]
    assert texts(read(f"{address}/in/c.parquet", "parquet")[0]) == ["three"]
    records, bad = read(f"{address}/in/", include=["*.txt*"])
    assert not bad
    assert [(record.id, record.text) for record in records] == [("a.txt", "one"), ("sub/b c.txt.gz", long)]
    assert texts(read(f"{address}/in/*.txt")[0]) == ["one"]
    assert texts(read(f"{address}/asked/x.txt?key=a&b")[0]) == ["yes"]
    with pytest.raises(UserError, match="source test: .*nothing there"):
        read(f"{address}/in/none.txt")
    with pytest.raises(UserError, match=r"source test: http://u:\*\*\*@127.0.0.1:1/x: cannot be listed .*; check the URI"):
        read("http://u:secret@127.0.0.1:1/x")


def test_a_file_that_vanishes_from_the_web_stops_its_task_by_name(site: tuple[Path, str]) -> None:
    pytest.importorskip("aiohttp")
    folder, address = site
    (folder / "a.txt").write_text("one")
    source = config("text", f"{address}/a.txt")
    (file,) = list_files(source, Path("/"))
    (folder / "a.txt").unlink()
    with pytest.raises(
        UserError, match=f"source test: {address}/a.txt: cannot be read .it is gone since the files were listed.; put it back"
    ):
        list(read_file(file, source))


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("s3://bucket/p?endpoint_override=localhost:9000&scheme=http", "s3://bucket/p/sub/a%20%25b.txt?endpoint_override=localhost:9000&scheme=http"),
        ("s3://user:secret@bucket/p/*/*.txt?region=x", "s3://user:secret@bucket/p/sub/a%20%25b.txt?region=x"),
        ("hdfs://host:9000/p/", "hdfs://host:9000/p/sub/a%20%25b.txt"),
        ("s3://bucket/p/su?/*", "s3://bucket/p/sub/a%20%25b.txt"),
    ],
)  # fmt: skip
def test_a_listed_file_has_the_authority_and_the_options_of_its_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, opened: str
) -> None:
    """The object store is a folder here; what is asked of it is what counts."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a %b.txt").write_text("one")
    asked: list[str] = []

    def opening(location: Location) -> tuple[pa.fs.FileSystem, str]:
        uri = location.uri
        asked.append(uri)
        return pa.fs.LocalFileSystem(), str(tmp_path / "sub" / "a %b.txt") if uri.endswith(opened[-20:]) and "%20" in uri else str(tmp_path)

    monkeypatch.setattr("storage.filesystems.opened", opening)
    records, _ = read(uri)
    assert texts(records) == ["one"]
    assert records[0].path == "sub/a %b.txt"
    assert asked[1] == opened


def test_names_with_characters_that_uris_quote_are_read(tmp_path: Path) -> None:
    for name in ("a b.txt", "c%20d.txt", "e?f=g.txt", "h#i.txt", "ü.txt"):
        (tmp_path / name).write_text(name)
    assert sorted(texts(read(f"file://{tmp_path}")[0])) == sorted(["a b.txt", "c%20d.txt", "e?f=g.txt", "h#i.txt", "ü.txt"])


def test_a_file_system_that_cannot_be_opened_is_a_users_error_that_keeps_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        @staticmethod
        def from_uri(uri: str) -> None:
            raise OSError(f"Unable to load libjvm\nfor {uri}")

    monkeypatch.setattr("pyarrow.fs.FileSystem", Failing)
    monkeypatch.setattr("fsspec.core.url_to_fs", Failing.from_uri)
    with pytest.raises(UserError) as caught:
        read("hdfs://user:secret@host:9000/p")
    assert str(caught.value) == (
        "source test: hdfs://user:***@host:9000/p: cannot be opened (OSError: Unable to load libjvm for hdfs://user:***@host:9000/p); "
        "check the URI, or install what it names"
    )


@pytest.mark.parametrize(("ending", "pack"), [(".tbz2", bz2.compress), (".tbz", bz2.compress), (".txz", lzma.compress), (".TZST", zstandard.ZstdCompressor().compress)])  # fmt: skip
def test_a_tar_with_a_short_ending_is_an_archive(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / f"x{ending}").write_bytes(pack(tar({"a.txt": b"one", "b.txt": b"two"})))
    records, bad = read(tmp_path)
    assert (texts(records), bad) == (["one", "two"], [])


@settings(max_examples=share(2))
@given(st.text("ab/.?*[]!\\-", max_size=12), st.text("ab/.]", max_size=12))
def test_any_text_is_a_glob_and_one_without_magic_matches_itself(pattern: str, path: str) -> None:
    import re

    assert re.compile(glob_pattern(path)).fullmatch(path)
    re.compile(glob_pattern(pattern))

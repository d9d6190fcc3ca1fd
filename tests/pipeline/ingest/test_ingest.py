"""Ingest: what is written is repaired and masked, and what was done is counted and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.ingest.stage import IngestConfig, ingest_stage
from pipeline.readers import source_config
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from tests.conftest import run_task


def ingested(
    workdir: Workdir, tmp_path: Path, records: list[dict[str, Any]], config: IngestConfig, domain: str = "web"
) -> tuple[list[Any], dict[str, Any]]:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    source = source_config(name="s", domain=domain, format="jsonl", path=str(path))
    manifest = run_task(workdir, ingest_stage(config, [source], tmp_path))["documents"]
    rows = pa.concat_tables(table for _, table in workdir.tables("documents")).to_pylist()
    return rows, manifest.summary


RECORD = {
    "text": "itâ€™s jane@example.org\r\n10.0.0.1 and 8.8.8.8 \n",
    "title": "By jane@example.org",
    "authors": [{"mail": "jane@example.org"}],
}


def test_documents_are_repaired_and_masked_and_say_so(workdir: Workdir, tmp_path: Path) -> None:
    rows, summary = ingested(workdir, tmp_path, [RECORD, {"text": "plain \n"}], IngestConfig())
    assert rows[0]["text"] == "it’s |||EMAIL_ADDRESS|||\n10.0.0.1 and |||IP_ADDRESS|||\n"
    assert rows[0]["title"] == "By |||EMAIL_ADDRESS|||"
    assert json.loads(rows[0]["meta"]) == {
        "authors": [{"mail": "|||EMAIL_ADDRESS|||"}],
        "masked": {"email": 1, "ip": 1},
        "repaired": ["encoding"],
    }
    assert rows[1]["meta"] is None
    counts = summary["domains"]["web"]
    assert counts["repaired"] == {"encoding": 1, "line_ends": 1, "trailing_spaces": 2}
    assert counts["masked"] == {"email": 1, "ip": 1}


def test_entities_are_decoded_once(workdir: Workdir, tmp_path: Path) -> None:
    """A page that shows `&lt;`, as one about HTML does, keeps it; plain text with entities in it has lost its markup already."""
    (tmp_path / "page.html").write_text(
        "<title>R&amp;amp;D</title><p>Write &amp;lt; for a bracket, at R&amp;D of this company, always.</p>"
    )
    (tmp_path / "text.txt").write_text("Write &lt; for a bracket, at R&amp;D.")
    sources = [
        source_config(name=name, domain="web", format=format, path=str(tmp_path), include=[f"*.{ending}"])
        for name, format, ending in (("pages", "html", "html"), ("texts", "text", "txt"))
    ]
    run_task(workdir, ingest_stage(IngestConfig(), sources, tmp_path))
    rows = pa.concat_tables(table for _, table in workdir.tables("documents")).to_pylist()
    assert rows[0]["text"] == "Write &lt; for a bracket, at R&D of this company, always."
    assert rows[0]["title"] == "R&amp;D"
    assert rows[1]["text"] == "Write < for a bracket, at R&D."


def test_what_a_reader_had_to_set_right_is_counted(workdir: Workdir, tmp_path: Path) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>This is a page with a sentence that is long enough.</p>"
    record = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: %d\r\n\r\n" + page + b"\r\n\r\n"
    (tmp_path / "a.warc").write_bytes(record % (len(page) - 6) + record % len(page))
    source = source_config(name="s", domain="web", format="warc", path=str(tmp_path / "a.warc"))
    manifest = run_task(workdir, ingest_stage(IngestConfig(), [source], tmp_path))["documents"]
    assert manifest.summary["sources"]["s"]["noted"] == {"length corrected": 1}
    rows = pa.concat_tables(table for _, table in workdir.tables("documents")).to_pylist()
    assert [row["meta"] for row in rows] == ['{"noted": ["length corrected"]}', None]
    assert rows[0]["text"] == rows[1]["text"]


def test_code_keeps_all_but_addresses_and_control_characters(workdir: Workdir, tmp_path: Path) -> None:
    rows, summary = ingested(workdir, tmp_path, [RECORD], IngestConfig(), "code")
    assert rows[0]["text"] == "itâ€™s |||EMAIL_ADDRESS|||\n10.0.0.1 and 8.8.8.8 \n"
    assert summary["domains"]["code"]["masked"] == {"email": 1}


def test_both_can_be_switched_off_and_true_is_the_default(workdir: Workdir, tmp_path: Path) -> None:
    rows, summary = ingested(workdir, tmp_path, [RECORD], IngestConfig.model_validate({"repair": False, "personal": False}))
    assert rows[0]["text"] == RECORD["text"]
    assert set(summary["domains"]["web"]) == {"documents", "bytes", "quarantined", "passed_over"}
    assert IngestConfig.model_validate({"repair": True, "personal": True}) == IngestConfig()
    with pytest.raises(ValidationError, match="emaill"):
        IngestConfig.model_validate({"personal": {"mask": ["emaill"]}})


def test_surrogates_anywhere_in_a_record_stop_nothing(workdir: Workdir, tmp_path: Path) -> None:
    lone = {"text": "a\ud800", "title": "\udc00", "id": "\ud800", "url": "\ud801", "extra\ud800": {"x": "\udfff"}}
    for config in (IngestConfig(), IngestConfig(repair=None, personal=None)):
        (row,), _ = ingested(workdir, tmp_path, [lone], config)
        assert (row["text"], row["title"], row["id"]) == ("a\ufffd", "\ufffd", "s:\ufffd")
        assert json.loads(row["meta"]) == {"extra\ufffd": {"x": "\ufffd"}, **({"repaired": ["surrogates"]} if config.repair else {})}


def test_an_edit_of_what_changes_text_makes_the_documents_anew_and_the_size_of_chunks_alone_does_not(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    source = source_config(name="s", domain="web", format="jsonl", path=str(tmp_path / "in.jsonl"))

    def key(**settings: Any) -> str:
        return ingest_stage(IngestConfig.model_validate(settings), [source], tmp_path).tasks[0].key

    keys = [key(), key(repair=False), key(personal={"mask": ["ip"]}), key(repair={"compose": False}), key(partition_bytes=2048)]
    assert len(set(keys)) == 5
    assert key() == key(chunk_bytes=1 << 20)


def test_a_wrong_field_name_of_one_source_leaves_the_documents_of_all(workdir: Workdir, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text('{"body": "some text"}\n')

    def documents(field: str) -> list[str]:
        sources = [
            source_config(name=name, domain="web", format="jsonl", path=f"{name}.jsonl", fields={"text": "body" if name == "a" else field})
            for name in "ab"
        ]
        run_task(workdir, ingest_stage(IngestConfig(), sources, tmp_path))
        return [row["id"] for _, table in workdir.tables("documents") for row in table.to_pylist()]

    before = documents("body")
    with pytest.raises(
        UserError, match="source b had 1 documents, and as the recipe is now it has 1 records that cannot be read; .* stays"
    ):
        documents("bodi")
    assert [row["id"] for _, table in workdir.tables("documents") for row in table.to_pylist()] == before
    assert documents("body") == before

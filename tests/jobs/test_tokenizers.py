"""`foundry tokenizer report` and `encode`: their texts, the tokenizers that they find, and what is wrong with either."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import zstandard
from rich.console import Console

from jobs.tokenizers import compare, from_files, held_out, installed, table
from pipeline.filters.stage import filter_stage
from pipeline.measure.stage import measure_stage
from pipeline.mix.config import MixConfig
from pipeline.mix.split import make_split
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from tests.conftest import here
from tests.integration.small import foundry
from tests.pipeline.corpus import write_documents
from tests.tokenizer.texts import SAMPLES
from tokenizer import TokenizerConfig, train, write
from tokenizer.judge import ALL


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small tokenizers."""
    made = []
    for size in (576, 640):
        config = TokenizerConfig(vocab_size=size)
        made.append(tmp_path_factory.mktemp("tokenizers") / f"of-{size}")
        write(train(list(SAMPLES) * 9, config), config, made[-1], {"texts": "samples"})
    return made


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records))
    return path


def test_files_are_groups_and_so_are_their_languages(tmp_path: Path) -> None:
    web = lines(
        tmp_path / "web.jsonl",
        {"text": "one", "language": "en"},
        "",
        {"text": "zwei", "language": "de"},
        " \t",
        {"text": "3", "language": None},
    )
    code = tmp_path / "code.jsonl.zst"
    code.write_bytes(zstandard.compress(json.dumps({"text": "x = 1"}).encode()))
    groups, sources = from_files([web, code])
    assert groups == {
        ALL: ["one", "zwei", "3", "x = 1"],
        "web": ["one", "zwei", "3"],
        "web: en": ["one"],
        "web: de": ["zwei"],
        "code": ["x = 1"],
    }
    assert sources == ["x = 1"]
    assert from_files([web], most=2)[0][ALL] == ["one"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"text": ["a"]}', "`text` is not a string"),
        ('{"text": null}', "`text` is not a string"),
        ('{"text": "\\ud800"}', "`text` is cut in the middle of a surrogate pair"),
        ('{"text": "a", "language": "\\udfff"}', "`language` is cut in the middle of a surrogate pair"),
        ('{"text": "a", "language": ["en"]}', "`language` is not a string"),
        ('["text"]', "not a JSON object"),
        ('"text"', "not a JSON object"),
        ("3", "not a JSON object"),
        ("{}", "no `text`"),
        ('{"text": "a"', "not JSON (Expecting ',' delimiter at column 13)"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_line_that_is_wrong_is_named_with_the_remedy(tmp_path: Path, line: str, why: str) -> None:
    path = lines(tmp_path / "a.jsonl", {"text": "good \U0001f98a"}, "", line)
    with pytest.raises(UserError) as caught:
        from_files([path])
    said = str(caught.value)
    assert said.startswith(f"{path}:3: {why}")
    assert said.endswith("mend it or leave it out")
    assert "\n" not in said
    said.encode()


def test_files_that_hold_no_texts_or_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no texts in there"):
        from_files([lines(tmp_path / "empty.jsonl", "", "")])
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "na\xefve"}\n')
    (tmp_path / "no.jsonl.zst").write_bytes(b"no frame")
    for name in ("latin.jsonl", "no.jsonl.zst", "none.jsonl"):
        with pytest.raises(UserError, match=f"{name}: cannot be read"):
            from_files([tmp_path / name])


def test_only_tokenizers_are_found_among_installed_files(tmp_path: Path, folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.tokenizers.sysconfig.get_path", lambda name: str(tmp_path))
    (tmp_path / "tokenizers.dist-info").mkdir()
    (tmp_path / "tokenizers.dist-info" / "tokenizers-python.cyclonedx.json").write_text('{"bomFormat": "CycloneDX"}')
    package = tmp_path / "package" / "data"
    package.mkdir(parents=True)
    for name, body in {
        "tokenizer_config.json": '{"added_tokens": [], "model": {}}',
        "inner.json": '{"what": {"added_tokens": [], "model": {}}}',
        "list.json": '["added_tokens", "model"]',
        "broken_tokenizer.json": '{"added_tokens": [], "model": ',
        "vocab.json": '{"a": 0}',
    }.items():
        (package / name).write_text(body)
    (package / "folder_tokenizer.json").mkdir()
    with pytest.raises(UserError, match=r"no installed package ships a tokenizer; leave out --installed, or give --with FOLDER$"):
        installed()
    for name in ("tokenizer.json", "small.json"):
        shutil.copy(folders[0] / "tokenizer.json", package / name)
    assert installed() == [package / "small.json", package / "tokenizer.json"]
    assert [one.name for one in compare(installed(), {ALL: list(SAMPLES)}, [])] == ["data/small", "data"]


def test_held_out_texts_are_those_of_the_validation_split(workdir: Workdir) -> None:
    texts = [f"document {number} of words" for number in range(300)]
    domains = ["web" if number % 3 else "code" for number in range(300)]
    engine = here(workdir)
    documents = write_documents(workdir, texts, 3, domains)
    statistics = engine.run(measure_stage(documents)).manifests["statistics"]
    verdicts = [engine.run(filter_stage({}, statistics)).manifests["verdicts/filter"]]
    make_split(engine, MixConfig(validation_share=0.1), 3, documents, statistics, verdicts)
    split = [kind for _, part in workdir.tables("split") for kind in part["split"].to_pylist()]
    expected = [(domain, text) for domain, text, kind in zip(domains, texts, split, strict=True) if kind == "validation"]
    groups, code = held_out(workdir)
    assert 10 < len(expected) < 60
    assert groups[ALL] == [text for _, text in expected]
    for domain in ("code", "web"):
        assert groups[domain] == [text for name, text in expected if name == domain]
    assert code == groups["code"]
    assert len(held_out(workdir, most=1)[0][ALL]) == 2, "one of each domain"

    make_split(engine, MixConfig(validation_share=0), 3, documents, statistics, verdicts)
    with pytest.raises(UserError, match=r"no document is held out; raise mix\.validation_share, or give --texts"):
        held_out(workdir)


def test_the_table_has_a_column_for_each_tokenizer_and_a_row_for_each_group(folders: list[Path]) -> None:
    texts = list(SAMPLES)
    judged = compare(folders, {ALL: texts, "web": texts[:1], "web: [/x]": texts[:1]}, [SAMPLES[1]])
    sink = Console(file=io.StringIO(), width=160, record=True)
    sink.print(table(judged))
    head, *rows = (line.rstrip() for line in sink.export_text().splitlines())
    assert head.split() == ["of-576", "(576)", "of-640", "(640)"]
    for row, group in zip(rows, judged[0].groups, strict=False):
        assert row.startswith(f"{group} ("), "names are text, whatever they look like"
        assert [float(value) for value in row.split()[-2:]] == [
            pytest.approx(one.groups[group].bytes_per_token, abs=6e-4) for one in judged
        ]
    assert [row.split("  ")[0] for row in rows[3:]] == [
        "words a token",
        "Rényi efficiency",
        "vocabulary used",
        "single-byte fallbacks",
        "tokens of an identifier",
        "tokens of a number of 6 digits",
        "tokens of 8 spaces of indentation",
    ]
    sink.print(table(compare(folders[:1], {ALL: ["a"]}, [])))
    assert "–" in sink.export_text(), "no code, no identifiers"


def test_encode_and_report_on_the_command_line(tmp_path: Path, folders: list[Path]) -> None:
    told = foundry("tokenizer", "encode", folders[0], "naïve words")
    piped = foundry("tokenizer", "encode", folders[0], input="naïve words")
    assert told.returncode == 0, told.stderr
    assert told.stdout == piped.stdout
    shown, ids, count = told.stdout.splitlines()
    assert shown.replace("|", "").replace("·", "") == "naïve words"
    assert count.startswith(f"{len(ids.split())} tokens, ")

    texts = lines(tmp_path / "texts.jsonl", *({"text": text} for text in SAMPLES))
    output = tmp_path / "deep" / "out"
    result = foundry(
        "tokenizer", "report", "--with", folders[0], "--with", folders[1] / "tokenizer.json", "--texts", texts, "--output", output
    )
    assert result.returncode == 0, result.stderr
    assert "of-576 (576)" in result.stdout
    assert "of-640 (640)" in result.stdout
    body = json.loads((output / "comparison.json").read_text())
    assert body["about"] == "Texts of texts.jsonl."
    assert [one["groups"]["texts"]["documents"] for one in body["tokenizers"]] == [len(SAMPLES)] * 2
    assert "of-640" in (output / "comparison.html").read_text()


def test_text_that_is_not_utf8_is_one_line_and_exit_code_2(folders: list[Path]) -> None:
    def one_line(result: subprocess.CompletedProcess[str], place: str) -> None:
        assert result.returncode == 2, result.stderr
        assert result.stderr == f"foundry: tokenizer encode: {place} is not UTF-8; convert it first, for example with iconv\n"
        assert result.stdout == ""

    bad = b"na\xefve".decode(errors="surrogateescape")
    one_line(foundry("tokenizer", "encode", folders[0], bad), "the text")
    for errors in ("strict", "surrogateescape"):  # how Python reads standard input depends on the locale
        result = foundry(
            "tokenizer", "encode", folders[0], input=bad, errors="surrogateescape", env={"PYTHONIOENCODING": f"utf-8:{errors}"}
        )
        one_line(result, "standard input")

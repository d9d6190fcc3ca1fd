"""Encoding for the pipeline: the ids of `tokenizers`, whatever the engine and the shape of the input."""

from __future__ import annotations

import json
import logging
import random
import shutil
import unicodedata
from pathlib import Path

import gigatoken
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.profiles import thorough
from tests.tokenizer.texts import SAMPLES, real, shipped
from tokenizer import Encoder, TokenizerConfig, TokenizerError, train, write
from tokenizer import encode as encode_module
from tokenizer.engines import slow_encode
from tokenizer.folder import text_only
from tokenizer.scan import all_allowed

RARE = "\u0c3c"  # SIGN NUKTA of Telugu, from Unicode 14: a mark for one engine, nothing for the other
HOSTILE_SPECIALS = "[CLS] [SEP] [MASK] [PAD] [UNK] [unused0] [unused82] a[MASK]b"


def expected(folder: Path, texts: list[str]) -> list[list[int]]:
    """By `tokenizers` alone, from the file."""
    tokenizer = Tokenizer.from_str(text_only((folder / "tokenizer.json").read_text(encoding="utf-8")))
    return slow_encode(tokenizer, texts)


def test_gigatoken_does_the_work(encoder: Encoder) -> None:
    assert encoder.engine is not None
    assert all_allowed(pa.array(SAMPLES, pa.large_string()), encoder.allowed).sum() == len(SAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["code/multi-language", "science/arxiv-abstracts", "dedup/wikipedia-en"])
def test_ids_of_real_documents_are_those_of_tokenizers(folder: Path, encoder: Encoder, name: str) -> None:
    texts = real(f"{name}.jsonl.zst", 400)
    assert encoder.encode(texts).to_pylist() == expected(folder, texts)


@pytest.mark.slow
def test_ids_of_shipped_texts_are_those_of_tokenizers(folder: Path, encoder: Encoder) -> None:
    texts = [*shipped(), *SAMPLES, "", " ", "\n", HOSTILE_SPECIALS]
    assert encoder.encode(texts).to_pylist() == expected(folder, texts)


FRAGMENTS = st.one_of(
    st.text(max_size=6),
    st.text("ab1'.,\n\r\t \u00a0\u0301\u0323éß٣漢한\u1100\u1161\u11a8" + RARE, max_size=12),
    st.sampled_from(
        ["'s", "'LL", "'\u017f", "  ", " " * 25, "|||EMAIL_ADDRESS|||", "[MASK]", "[unused3]", "1234567", "\r\n\r\n", "fi", "ﬁ"]
    ),
)


@given(st.lists(st.lists(FRAGMENTS, max_size=8).map("".join), max_size=4))
def test_ids_of_any_text_are_those_of_tokenizers(folder: Path, encoder: Encoder, texts: list[str]) -> None:
    assert encoder.encode(texts).to_pylist() == slow_encode(encoder.tokenizer, texts)


@pytest.mark.slow
@pytest.mark.parametrize("every", [2, 3, 400])
def test_texts_of_both_engines_keep_their_places(folder: Path, encoder: Encoder, every: int) -> None:
    """So many of the other engine that all others go together, and so few that what lies between them goes alone."""
    size = 20 if every < 400 else 60
    texts = [f"{number} " + "some words " * (size + number % 7) + (RARE if number % every == 1 else "") for number in range(1200)]
    texts += ["", RARE, ""]
    column = pa.array(["left out", *texts], pa.large_string()).slice(1)
    assert encoder.encode(column).to_pylist() == expected(folder, texts)


@pytest.mark.slow
def test_every_code_point_comes_back(encoder: Encoder) -> None:
    scalars = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = ["\n".join(scalars[begin : begin + 4096]) for begin in range(0, len(scalars), 4096)]
    decoded = encoder.tokenizer.decode_batch(encoder.encode(texts).to_pylist())
    assert decoded == [unicodedata.normalize("NFC", text) for text in texts]


def test_special_tokens_in_a_text_are_text(folder: Path, encoder: Encoder) -> None:
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    specials = {number for number, token in whole.get_added_tokens_decoder().items() if token.content.startswith("[")}
    assert len(specials) >= 5 + 83
    for text in (HOSTILE_SPECIALS, HOSTILE_SPECIALS + RARE):  # by either engine
        ids = encoder.encode([text])[0].as_py()
        assert not specials & set(ids)
        assert encoder.tokenizer.decode(ids) == text


def test_runs_of_spaces_and_placeholders_are_tokens_of_their_own(folder: Path, encoder: Encoder) -> None:
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for word in ("  ", " " * 24, "|||EMAIL_ADDRESS|||", "|||IP_ADDRESS|||"):
        ids = encoder.encode([f"a{word}b"])[0].as_py()
        assert whole.token_to_id(word) in ids
        assert len(ids) == 3


def test_any_shape_of_input_gives_the_same_lists(encoder: Encoder) -> None:
    texts = ["plain", RARE + " rare", "", "naïve 漢字", "x" + RARE, "plain again"] * 3
    ids = encoder.encode(texts)
    assert ids.type == pa.list_(pa.field("item", pa.uint16(), nullable=False))
    assert encoder.encode(pa.array(texts)).equals(ids)
    assert encoder.encode(pa.array(texts, pa.large_string())).equals(ids)
    assert encoder.encode(pa.array(["before", *texts, "after"])[1:-1]).equals(ids)
    assert encoder.encode(pa.chunked_array([texts[:5], texts[5:5], texts[5:]], pa.string())).equals(ids)
    assert encoder.encode(pa.array([None, *texts], pa.string()))[1:].to_pylist() == ids.to_pylist()
    assert encoder.encode(pa.array([None], pa.string())).to_pylist() == [[]]
    assert len(encoder.encode([])) == len(encoder.encode(pa.chunked_array([], pa.string()))) == 0
    assert [encoder.encode([text])[0].as_py() for text in texts] == ids.to_pylist()


def test_many_threads_give_the_same_ids(folder: Path, encoder: Encoder) -> None:
    texts = [*shipped()[:20], RARE]
    assert Encoder(folder, parallel=True).encode(texts).equals(encoder.encode(texts))


def test_ids_past_65536_are_uint32(tmp_path: Path) -> None:
    config = TokenizerConfig(vocab_size=65_600)
    write(train(SAMPLES, config), config, tmp_path, {})
    ids = Encoder(tmp_path).encode(list(SAMPLES))
    assert ids.type.value_type == pa.uint32()
    assert ids.to_pylist() == expected(tmp_path, list(SAMPLES))


@pytest.mark.slow
@pytest.mark.parametrize("alphabet", ["abcdefghijklmnopqrstuvwxyz", "的一是不了人我在有他" + RARE])
def test_a_document_of_megabytes_without_a_space_is_encoded(encoder: Encoder, alphabet: str) -> None:
    size = 10_000_000 if thorough() else 2_000_000
    document = "".join(random.Random(0).choices(alphabet, k=size // len(alphabet[0].encode())))
    ids = encoder.encode([document]).flatten()
    assert encoder.tokenizer.decode(ids.to_pylist()) == document


@pytest.mark.parametrize("raw", [b"caf\xe9", b"\xe6\xbc", b"\xed\xa0\x80"])
def test_bytes_that_are_not_utf8_are_one_clear_line(encoder: Encoder, raw: bytes) -> None:
    texts = pa.array([b"fine", raw], pa.binary()).view(pa.string())
    with pytest.raises(TokenizerError, match="text 1 is not UTF-8") as error:
        encoder.encode(texts)
    assert "\n" not in str(error.value)


def test_a_lone_surrogate_is_one_clear_line(encoder: Encoder) -> None:
    with pytest.raises(TokenizerError, match="lone surrogate"):
        encoder.encode(["fine", "\ud800"])


def test_without_gigatoken_the_ids_are_the_same_and_the_log_says_so_once(
    folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "report.json").unlink()

    class Unloadable:
        @staticmethod
        def from_json(body: str) -> None:
            raise ValueError("not supported\nat all")

    monkeypatch.setattr(gigatoken, "Tokenizer", Unloadable)
    encode_module._proof.cache_clear()
    with caplog.at_level(logging.WARNING):
        slow, _ = Encoder(copy), Encoder(copy)
    assert slow.engine is None
    assert slow.encode(list(SAMPLES)).equals(encoder.encode(list(SAMPLES)))
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "ValueError: not supported at all" in warnings[0]
    encode_module._proof.cache_clear()


def test_a_proof_of_other_versions_is_made_again(folder: Path, encoder: Encoder, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    report = json.loads((copy / "report.json").read_text())
    report["fast_engine"] |= {"versions": {"gigatoken": "0.0.1"}, "usable": False}
    (copy / "report.json").write_text(json.dumps(report))
    again = Encoder(copy, parallel=True)
    assert again.engine is not None
    assert (again.allowed == encoder.allowed).all()


def test_a_report_that_is_none_of_ours_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "report.json").write_text('{"fast_engine": 3}')
    with pytest.raises(TokenizerError, match=r"report\.json: not a report of ours"):
        Encoder(copy)

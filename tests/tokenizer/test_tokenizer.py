"""The tokenizer: layout, artifact, and two engines that agree."""

from __future__ import annotations

import json
import sysconfig
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import Encoder, TokenizerConfig, TokenizerError, fingerprint, load, special_ids, train, write
from tokenizer.layout import layout, learned_size

CONFIG = TokenizerConfig(vocab_size=1024, unused=20)


def stdlib(files: int) -> list[str]:
    """Sources of Python's own library: real text that is always there."""
    return [path.read_text(encoding="utf-8", errors="ignore") for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:files]]


@pytest.fixture(scope="module", params=["modernbert", "modern"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = CONFIG.model_copy(update={"pretokenizer": request.param})
    folder = tmp_path_factory.mktemp(request.param)
    write(train(stdlib(40), config), config, folder, {"corpus": "stdlib"})
    return folder


def test_ids_are_the_references_at_full_size() -> None:
    """ModernBERT's tokenizer: 50,280 base entries, [UNK] to [MASK] at 50280 to 50284, [unused0..82] to 50367."""
    config = TokenizerConfig()
    plan = layout(config, learned_size(config))
    assert [plan.id_of(word) for word in ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")] == [50280, 50281, 50282, 50283, 50284]
    assert len(plan.unused) == 83
    assert (plan.unused[0], plan.unused[-1]) == ("[unused0]", "[unused82]")
    assert plan.words[:2] == (" " * 24, " " * 23)
    assert plan.ordinary_end == 50280


def test_the_artifact_loads_as_a_fast_tokenizer_with_everything_in_its_place(folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folder)
    ids = special_ids(folder)
    assert theirs.is_fast
    assert len(theirs) == ids.vocab_size == 1024
    assert theirs.model_max_length == 8192
    assert theirs.model_input_names == ["input_ids", "attention_mask"]
    assert [theirs.cls_token_id, theirs.sep_token_id, theirs.pad_token_id, theirs.mask_token_id] == [ids.cls, ids.sep, ids.pad, ids.mask]
    pair = theirs("one", "two")["input_ids"]
    assert pair[0] == ids.cls
    assert [index for index, number in enumerate(pair) if number == ids.sep][-1] == len(pair) - 1
    assert pair.count(ids.sep) == 2
    tokens = theirs.convert_ids_to_tokens(theirs("a [MASK] b")["input_ids"])
    assert tokens[2] == "[MASK]", "the space before [MASK] belongs to it (lstrip)"
    assert theirs.decode(theirs("def f():\n        return 1", add_special_tokens=False)["input_ids"]) == "def f():\n        return 1"


def test_runs_of_spaces_are_tokens_of_their_own(folder: Path) -> None:
    tokenizer = load(folder)
    for run in (2, 5, 24):
        assert " " * run in tokenizer.encode("x" + " " * run + "y", add_special_tokens=False).tokens


def test_every_code_point_comes_back(folder: Path) -> None:
    """Byte-level: nothing is unknown. Text comes back in NFC."""
    encoder = Encoder(folder)
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    # apart, since databases of different Unicode versions order neighbouring marks differently
    texts = [" ".join(map(chr, codes[begin : begin + 64])) for begin in range(0, len(codes), 64)]
    for text, ids in zip(texts, encoder.encode(texts).to_pylist(), strict=True):
        assert encoder.tokenizer.decode(ids, skip_special_tokens=False) == unicodedata.normalize("NFC", text)


def slow(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in encoder.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def test_the_fast_engine_is_in_use_and_equal_on_real_text(folder: Path) -> None:
    encoder = Encoder(folder)
    assert encoder.engine is not None
    texts = stdlib(120)
    assert encoder.encode(texts).to_pylist() == slow(encoder, texts)


def test_the_engines_agree_on_real_documents_of_many_kinds(folder: Path, real_data: Path) -> None:
    import io

    import zstandard

    texts = []
    for name in ("dedup/wikipedia-en.jsonl.zst", "code/multi-language.jsonl.zst", "science/arxiv-abstracts.jsonl.zst"):
        with (real_data / name).open("rb") as file:
            lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8")
            for _, line in zip(range(400), lines, strict=False):
                record = json.loads(line)
                texts.append(record.get("text") or record.get("abstract"))
    encoder = Encoder(folder)
    assert encoder.encode(texts).to_pylist() == slow(encoder, texts)


@settings(max_examples=300)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("aZ09 \n\t'.éñ漢\u0301|[]", max_size=60), max_size=6)
)
def test_the_encoder_gives_what_tokenizers_gives(texts: list[str]) -> None:
    encoder = _encoder()
    assert encoder.encode(texts).to_pylist() == slow(encoder, texts)


_made: list[Encoder] = []


def _encoder() -> Encoder:
    import tempfile

    if not _made:
        folder = Path(tempfile.mkdtemp())
        write(train(stdlib(40), CONFIG), CONFIG, folder, {})
        _made.append(Encoder(folder))
    return _made[0]


def test_special_tokens_in_a_document_are_text(folder: Path) -> None:
    encoder, ids = Encoder(folder), special_ids(folder)
    text = "before [MASK] [CLS] [SEP] [PAD] [UNK] [unused3] after"
    (encoded,) = encoder.encode([text]).to_pylist()
    assert all(ids.ordinary[0] <= number < ids.ordinary[1] for number in encoded)
    assert encoder.tokenizer.decode(encoded) == text


def test_nulls_slices_and_empty_texts_encode(folder: Path) -> None:
    encoder = Encoder(folder)
    column = pa.array(["left out", "a b", None, "", "\u0378 unassigned", "c"]).slice(1)
    encoded = encoder.encode(column)
    assert encoded.type.value_type == pa.uint16()
    assert encoded.to_pylist() == slow(encoder, ["a b", "", "", "\u0378 unassigned", "c"])
    assert encoder.encode([]).to_pylist() == []


def test_a_long_document_without_a_space_encodes(folder: Path) -> None:
    encoder = Encoder(folder)
    text = "ab" * 200_000
    (encoded,) = encoder.encode([text]).to_pylist()
    assert encoder.tokenizer.decode(encoded) == text


def test_the_same_corpus_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(train(stdlib(10), CONFIG), CONFIG, tmp_path / name, {"corpus": "stdlib"})
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


def test_a_small_corpus_still_gives_the_size_that_was_asked_for(tmp_path: Path) -> None:
    plan = write(train(["tiny"], CONFIG), CONFIG, tmp_path, {})
    assert load(tmp_path).get_vocab_size() == 1024
    assert len(plan.unused) > 20


def test_errors_are_one_line_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="no text to train on"):
        train([], CONFIG)
    with pytest.raises(TokenizerError, match=r"vocab_size 512: too small .* give at least \d+"):
        train(["text"], TokenizerConfig(vocab_size=512, unused=300))
    with pytest.raises(ValueError, match="multiple of 64"):
        TokenizerConfig(vocab_size=1000)
    with pytest.raises(TokenizerError, match="not there"):
        Encoder(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": 3}')
    with pytest.raises(TokenizerError, match="cannot be loaded"):
        special_ids(tmp_path)


def test_a_tokenizer_of_another_kind_is_refused_or_encoded_the_slow_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    other = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    other.pre_tokenizer = pre_tokenizers.Whitespace()
    other.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match=r"has no \[CLS\]"):
        special_ids(tmp_path)
    assert Encoder(tmp_path).encode(["a b c"]).to_pylist() == [[1, 2, 0]]
    assert "tokenizers" in caplog.text

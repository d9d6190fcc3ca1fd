"""The folder as its readers see it: transformers, and our own."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from tests.tokenizer.texts import SAMPLES, shipped
from tokenizer import Encoder, TokenizerConfig, TokenizerError, fingerprint, load, special_ids, train, write

transformers = pytest.importorskip("transformers")
SMALL = TokenizerConfig(vocab_size=640)


def test_transformers_loads_a_fast_tokenizer_with_the_reference_s_settings(folder: Path) -> None:
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    assert loaded.is_fast
    assert loaded.model_max_length == 8192
    assert loaded.model_input_names == ["input_ids", "attention_mask"]
    assert len(loaded) == 4096
    ids = special_ids(folder)
    assert (loaded.cls_token_id, loaded.sep_token_id, loaded.pad_token_id, loaded.mask_token_id) == (ids.cls, ids.sep, ids.pad, ids.mask)
    assert set(loaded("a", "b")) == {"input_ids", "attention_mask"}


def test_the_template_is_cls_a_sep_b_sep(folder: Path) -> None:
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    assert loaded.convert_ids_to_tokens(loaded("a").input_ids) == ["[CLS]", "a", "[SEP]"]
    assert loaded.convert_ids_to_tokens(loaded("a", "b").input_ids) == ["[CLS]", "a", "[SEP]", "b", "[SEP]"]


def test_a_mask_takes_the_space_before_it(folder: Path) -> None:
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    assert loaded("a [MASK] b").input_ids == loaded("a[MASK] b").input_ids


def test_an_unused_entry_is_one_token_wherever_a_user_writes_it(folder: Path) -> None:
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    assert loaded.convert_ids_to_tokens(loaded("x[unused7]y", add_special_tokens=False).input_ids) == ["x", "[unused7]", "y"]


def test_transformers_and_the_pipeline_give_the_same_ids(folder: Path, encoder: Encoder) -> None:
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [*SAMPLES, *shipped()[:20]]
    assert loaded(texts, add_special_tokens=False, truncation=False, verbose=False).input_ids == encoder.encode(texts).to_pylist()


def test_transformers_decodes_what_it_encoded(folder: Path) -> None:
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    for text in ("It 's here , isn't it ?", " leading", "trailing \n", "def f():\n        return 1"):
        assert loaded.decode(loaded(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.slow
def test_every_code_point_comes_back_from_transformers(folder: Path) -> None:
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    scalars = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = ["\n".join(scalars[begin : begin + 4096]) for begin in range(0, len(scalars), 4096)]
    ids = loaded(texts, add_special_tokens=False, truncation=False, verbose=False).input_ids
    assert loaded.batch_decode(ids) == [unicodedata.normalize("NFC", text) for text in texts]


def test_a_folder_saved_by_transformers_gives_the_same_ids(folder: Path, tmp_path: Path) -> None:
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    loaded.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in (*SAMPLES, "a [MASK] b"):
        assert again(text).input_ids == loaded(text).input_ids
    assert special_ids(tmp_path) == special_ids(folder)


def test_words_that_are_split_already_can_have_their_spaces_back(folder: Path) -> None:
    """By the lines that the card gives."""
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    sentence = "the function returns a value"
    spaced = loaded(" " + sentence).input_ids
    assert loaded(sentence.split(), is_split_into_words=True).input_ids != spaced
    card = (folder / "README.md").read_text()
    exec(card.split("before each word:\n\n```python\n")[1].split("```")[0], {"tokenizer": loaded})
    assert loaded(sentence.split(), is_split_into_words=True).input_ids == spaced


def test_a_tokenizer_with_prefix_space_treats_a_first_word_as_a_later_one(tmp_path: Path) -> None:
    config = TokenizerConfig(vocab_size=640, add_prefix_space=True)
    write(train(["hello hello world world"] * 3, config), config, tmp_path, {})
    encoder = Encoder(tmp_path)
    assert encoder.encode(["hello"]).equals(encoder.encode([" hello"]))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(train(SAMPLES, SMALL), SMALL, tmp_path / name, {"bytes": 7, "documents": 2})
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["README.md", "report.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")


def test_another_corpus_gives_another_fingerprint(tmp_path: Path, folder: Path) -> None:
    write(train(["other words other words"], SMALL), SMALL, tmp_path, {})
    assert fingerprint(tmp_path) != fingerprint(folder)


def test_the_report_says_what_was_made_from_what(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    assert report["made_from"] == {"texts": "what installed packages ship"}
    assert report["configuration"]["vocab_size"] == report["vocabulary"]["size"] == 4096
    assert report["fast_engine"]["versions"].keys() == {"gigatoken", "tokenizers", "unicode"}


def test_a_small_corpus_leaves_more_unused_entries_and_the_size_as_asked(tmp_path: Path) -> None:
    plan = write(train(["ab"], SMALL), SMALL, tmp_path, {})
    assert plan.learned == 256
    assert len(plan.unused) == 640 - 256 - 26 - 5
    assert special_ids(tmp_path).vocab_size == 640


def test_a_word_piece_folder_is_read_and_encoded_by_tokenizers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bert = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    bert.pre_tokenizer = pre_tokenizers.Whitespace()
    specials = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    bert.train_from_iterator(SAMPLES, trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False))
    bert.save(str(tmp_path / "tokenizer.json"))
    ids = special_ids(tmp_path)
    assert (ids.pad, ids.cls, ids.sep, ids.mask) == (0, 4, 5, 6)
    assert ids.ordinary == (7, bert.get_vocab_size())
    encoder = Encoder(tmp_path)
    assert "not a byte-level BPE" in caplog.text
    text = "The quick brown fox"
    assert encoder.encode([text]).to_pylist() == [bert.encode(text, add_special_tokens=False).ids]


def test_a_tokenizer_without_the_specials_names_what_is_missing(tmp_path: Path) -> None:
    train(SAMPLES, SMALL).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match=r"has no \[UNK\].*masked encoder"):
        special_ids(tmp_path)


def test_an_ordinary_word_behind_the_specials_keeps_its_id(tmp_path: Path) -> None:
    tokenizer = train(SAMPLES, SMALL)
    tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
    tokenizer.add_tokens(["word"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    number = tokenizer.token_to_id("word")
    assert number in Encoder(tmp_path).encode(["a word"])[0].as_py()


@pytest.mark.parametrize("body", ["", "not json", "{}", '{"model": {"type": "Nonsense"}}', "[1, 2]"])
def test_a_file_that_is_no_tokenizer_is_one_clear_line(tmp_path: Path, body: str) -> None:
    (tmp_path / "tokenizer.json").write_text(body)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: not a tokenizer that `tokenizers` can load") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_tokenizer_is_one_clear_line(tmp_path: Path) -> None:
    for read in (load, fingerprint, special_ids, Encoder):
        with pytest.raises(TokenizerError, match=r"tokenizer\.json: not there"):
            read(tmp_path)

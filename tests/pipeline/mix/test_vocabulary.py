"""The tokenizer stages: the same tokenizer from any partitions, by either method, and within bounded memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipeline.mix.vocabulary as vocabulary
from pipeline.dedup import shuffle
from pipeline.filters.stage import filter_stage
from pipeline.measure.stage import measure_stage
from pipeline.mix.config import MixConfig, PhaseMix
from pipeline.mix.split import split_stage
from pipeline.mix.vocabulary import COUNTED, cut_at, make_tokenizer
from pipeline.workdir.dataset import Workdir
from tests.conftest import here
from tests.pipeline.corpus import write_documents
from tests.tokenizer.texts import shipped
from tokenizer import TokenizerConfig, TokenizerError, train


def made(folder: Path, texts: list[str], parts: int, mix: PhaseMix | None = None, **options: object) -> Path:
    """The tokenizer folder of some documents, half of them code, cut into so many partitions."""
    engine = here(Workdir(str(folder)))
    domains = ["web" if number % 2 else "code" for number in range(len(texts))]
    manifest = write_documents(engine.workdir, texts, parts, domains, domains)
    statistics = engine.run(measure_stage(manifest)).manifests["statistics"]
    verdict = engine.run(filter_stage({}, statistics)).manifests["verdicts/filter"]
    settings = MixConfig(validation_share=0)
    split = engine.run(split_stage(settings, 3, manifest, statistics, [verdict])).manifests["split"]
    config = TokenizerConfig(**{"vocab_size": 2048, **options})
    make_tokenizer(engine, config, 3, "first", mix or PhaseMix(), settings, manifest, split)
    return folder / "tokenizer"


def body(folder: Path) -> str:
    return (folder / "tokenizer.json").read_text()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [text[:20_000] for text in shipped()[:120]]


def test_partitions_buckets_and_spilling_change_nothing(tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(tmp_path / "one", texts, 1)
    assert json.loads((one / "report.json").read_text())["made_from"]["documents"] == len(texts)
    monkeypatch.setattr(vocabulary, "SPILL", 1000)
    monkeypatch.setattr(vocabulary, "_BATCH", 50_000)
    monkeypatch.setattr(shuffle, "ROWS_IN_A_BUCKET", 1 << 10)
    other = made(tmp_path / "other", texts, 5)
    counted = Workdir(str(tmp_path / "other")).require(COUNTED)
    assert len(counted.partitions) > 10  # so it did spill
    assert len(Workdir(str(tmp_path / "other")).require("words/merged").partitions) > 4
    assert body(one) == body(other)


@pytest.mark.slow
def test_both_methods_give_the_same_tokenizer_with_the_mix_s_weights(tmp_path: Path, texts: list[str]) -> None:
    mix = PhaseMix(weights={"web": 0.8, "code": 0.2})
    ours = made(tmp_path / "ours", texts, 3, mix)
    theirs = made(tmp_path / "theirs", texts, 3, mix, method="huggingface")
    assert body(ours) == body(theirs)
    plain = made(tmp_path / "plain", texts, 3)
    assert body(ours) != body(plain)
    sizes = [json.loads((folder / "report.json").read_text())["made_from"]["bytes"] for folder in (ours, theirs)]
    assert sizes[0] == sizes[1]


def test_the_result_is_that_of_training_on_the_texts(tmp_path: Path, texts: list[str]) -> None:
    folder = made(tmp_path / "all", texts, 4)
    learnt = json.loads(train(texts, TokenizerConfig(vocab_size=2048)).to_str())["model"]
    assert json.loads(body(folder))["model"]["merges"] == learnt["merges"]


def test_rare_words_are_cut_at_a_count_that_the_report_states(tmp_path: Path, texts: list[str]) -> None:
    cut = made(tmp_path / "cut", texts, 2, min_word_count=5)
    report = json.loads((cut / "report.json").read_text())["made_from"]
    assert report["words_cut_below_count"] == 5
    assert report["learnt_from_different_words"] < report["different_words"] / 2
    assert 0.5 < report["learnt_from_words"] / report["words"] < 1
    capped = made(tmp_path / "capped", texts, 2, max_words=1000)
    report = json.loads((capped / "report.json").read_text())["made_from"]
    assert 100 < report["learnt_from_different_words"] <= 1000
    assert report["words_cut_below_count"] > 1


@given(st.dictionaries(st.integers(1, 10**12), st.integers(1, 50)), st.integers(1, 200))
def test_the_cut_leaves_as_many_words_as_fit(levels: dict[int, int], most: int) -> None:
    least = cut_at({str(level): number for level, number in levels.items()}, most)
    assert sum(number for level, number in levels.items() if level >= least) <= most
    smaller = [level for level in levels if level < least]
    if smaller:
        assert sum(number for level, number in levels.items() if level >= max(smaller)) > most
    else:
        assert least == 1


def test_documents_without_a_word_are_one_clear_line(tmp_path: Path) -> None:
    folder = made(tmp_path / "spaces", ["  ", "    "], 1)  # nothing but runs of spaces: bytes alone are learnt
    assert json.loads((folder / "report.json").read_text())["vocabulary"]["learned"] == 256
    with pytest.raises(TokenizerError, match="too small"):
        made(tmp_path / "small", ["text"], 1, vocab_size=512, unused=300)

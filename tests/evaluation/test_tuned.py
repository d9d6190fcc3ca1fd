"""Models tuned for sets of items: what is planted is found, all contestants answer the same items, and what is done is done once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import xxhash

import evaluation.tuned as tuned
from evaluation.compare import check_comparable, compare, read_contestant
from evaluation.results import FOLDER
from evaluation.retrieval import evaluate_bm25
from evaluation.sets.items import MAKERS
from evaluation.sets.making import ITEMS, SCHEMA
from evaluation.subject import Subject
from evaluation.tuned import LEAST, Tunable, choose, of_subject, random_of, tune_on, tuned_sets
from model import ClassicBertConfig, ModelError, bridge, masked_lm
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.errors import UserError
from tests.integration.small import called
from tests.trainer.tuning.small import WORDS, quick, sentences, write_model
from tokenizer import Encoder

COUNTS = {"train": 60, "validation": 10, "test": 24}
GRID = quick(learning_rates=[3e-3], seeds=[0, 1], epochs=1)


def row(name: str, number: int, split: str, text: str, query: str = "", label: str | None = None) -> dict[str, Any]:
    told = {"set": name, "id": f"{split}{number}", "document": f"{split}{number // 2}", "group": f"{split}{number // 2}"}
    return {**told, "query": query, "text": text, "label": label, "split": split}


def plant(workdir: Workdir, rows: list[dict[str, Any]]) -> None:
    """Items as they are made, of these rows."""
    partitions = []
    for name in MAKERS:
        own = [row for row in rows if row["set"] == name]
        raw = to_parquet(pa.Table.from_pylist(own, schema=SCHEMA))
        workdir.write(raw, ITEMS, f"{name}.parquet")
        partitions.append(Partition(f"{name}.parquet", len(own), raw.size, xxhash.xxh3_128_hexdigest(raw)))
    workdir.write(Manifest(ITEMS, "items", "f", tuple(partitions)).to_json(), ITEMS, "_manifest.json")


def planted() -> list[dict[str, Any]]:
    """Titles that are words of their texts; topics that one word tells; sections too few to say anything."""
    texts, found, number = sentences(sum(COUNTS.values()), 3), [], 0
    for split, count in COUNTS.items():
        for place in range(count):
            text, number = texts[number], number + 1
            found.append(row("title", place, split, text, query=" ".join(dict.fromkeys(text.split()))))
            label = WORDS[place % 2]
            said = f"{label} {text}".replace(WORDS[1 - place % 2], "dog")
            found.append(row("topic", place, split, said, label="unknown" if split == "test" and place == 5 else label))
    return [*found, *(row("section", place, "test", texts[place], query=texts[place]) for place in range(3))]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, since the models are so small that others only wait; and no proof of the tokenizer's engines, which takes seconds."""
    monkeypatch.setattr(tuned, "Encoder", partial(Encoder, compare=False))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with planted items, and a model beside it."""
    folder = tmp_path_factory.mktemp("tuned")
    plant(Workdir(str(folder)), planted())
    write_model(folder / "model")
    return folder


def contestant(place: Path, results: Path) -> Tunable:
    return of_subject(Subject("model", place / "model", "t"), place / "model", results)


def test_a_tuned_model_finds_what_is_planted_and_all_answer_the_same_items(place: Path, tmp_path: Path) -> None:
    """Model, random weights and BM25 are compared item by item."""
    pytest.importorskip("bm25s")
    workdir = Workdir(str(place))
    chosen = choose(workdir, "title")
    assert chosen.counts == COUNTS
    model = contestant(place, tmp_path / "run" / FOLDER)
    random = random_of(model, tmp_path / "random")
    found = {each.name: tune_on(chosen, each, 1, grid=GRID) for each in (model, random)}
    list(evaluate_bm25(workdir, tmp_path / "bm25", 1))
    wanted = [item["id"] for item in chosen.items if item["split"] == "test"]
    for result in found.values():
        assert result.rows["item"].to_pylist() == wanted
        scores = {score.metric: score for score in result.scores}
        assert list(scores) == ["nDCG@10", "MRR", "R@1", "R@10"]
        chance = 10 / len(wanted)
        assert scores["R@10"].score > 1.5 * chance
        assert scores["nDCG@10"].score == pytest.approx(sum(result.rows["ndcg"].to_pylist()) / len(wanted))
        assert not {value * 2 for value in result.rows["r1"].to_pylist()} - {0, 1, 2}, "the mean over two seeds"
    assert not (model.folder / "tuning" / "title").exists()
    contestants = [read_contestant(str(tmp_path / name)) for name in ("run", "random", "bm25")]
    sets = check_comparable(contestants)
    assert sets == ["title"]
    assert [each.name for each in compare(contestants, sets)] == ["random", "bm25"]


def test_a_set_is_tuned_once_and_again_only_where_something_changed(place: Path, tmp_path: Path) -> None:
    """Killed after some trials, it ends with the same bytes."""
    chosen = choose(Workdir(str(place)), "topic")
    told: list[str] = []
    once = quick(learning_rates=[1e-2], epochs=1)
    files = {}
    for name in ("whole", "killed"):
        model = contestant(place, tmp_path / name)
        if name == "killed":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("evaluation.results.write", _killed)
                with pytest.raises(KeyboardInterrupt):
                    tune_on(chosen, model, 1, grid=once)
            assert list((tmp_path / name / "tuning" / "topic").rglob("result.json"))
        tune_on(chosen, model, 1, grid=once, said=told.append)
        files[name] = {path.name: path.read_bytes() for path in (tmp_path / name).glob("topic.*")}
    assert files["whole"] == files["killed"]
    tune_on(chosen, model, 1, grid=once, said=told.append)
    assert told[-1] == "topic, model: up to date"
    tune_on(chosen, model, 1, grid=quick(learning_rates=[2e-2], epochs=1), said=told.append)
    assert "tuning" in told[-1]


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_labels_that_no_training_item_has_are_counted_and_what_is_told_by_a_word_is_learnt(place: Path, tmp_path: Path) -> None:
    chosen = choose(Workdir(str(place)), "topic")
    assert chosen.passed_over == {"test items of a label that no training item has": 1}
    result = tune_on(chosen, contestant(place, tmp_path), 1, grid=quick(learning_rates=[1e-9, 1e-2], epochs=6))
    assert result.numbers["learning_rate"] == 1e-2, "the other learns nothing"
    assert result.rows.num_rows == COUNTS["test"] - 1
    (score,) = result.scores
    assert (score.metric, score.items) == ("accuracy", COUNTS["test"] - 1)
    assert score.score > 0.8


def test_what_is_too_little_says_so(place: Path) -> None:
    workdir = Workdir(str(place))
    assert choose(workdir, "section").lacking == "0 train items of 32, 0 validation items of 8, 3 test items of 20"
    assert choose(workdir, "title").lacking == ""
    items = [row("topic", number, split, f"text {number}", label="one") for split in LEAST for number in range(40)]
    alone = Workdir(str(place / "alone"))
    plant(alone, items)
    assert choose(alone, "topic").lacking == "one label alone"


def test_budgets_of_tuning_that_differ_are_refused(place: Path, tmp_path: Path) -> None:
    chosen = choose(Workdir(str(place)), "topic")
    for name, rate in (("one", 1e-2), ("other", 2e-2)):
        tune_on(chosen, contestant(place, tmp_path / name / FOLDER), 1, grid=quick(learning_rates=[rate], epochs=1))
    contestants = [read_contestant(str(tmp_path / name)) for name in ("one", "other")]
    with pytest.raises(UserError, match="set topic: one and other have different budgets of tuning"):
        check_comparable(contestants)


def test_names_of_sets_and_models_that_cannot_be_tuned(place: Path, tmp_path: Path) -> None:
    assert tuned_sets(["title", "code", "title"]) == ["title", "code"]
    assert tuned_sets([]) == list(MAKERS)
    with pytest.raises(UserError, match="--set titel: .*did you mean `title`"):
        tuned_sets(["titel"])
    bridge.save(masked_lm(ClassicBertConfig(vocab_size=64, hidden_size=16, layers=1, heads=2, intermediate_size=16)), tmp_path / "bert")
    with pytest.raises(ModelError, match="is no ModernBERT, and no other architecture can be tuned"):
        of_subject(Subject("m", tmp_path / "bert", "t"), tmp_path, tmp_path)
    with pytest.raises(ModelError, match="config.json"):
        of_subject(Subject("m", tmp_path / "nowhere", "t"), tmp_path, tmp_path)


def test_the_command_shows_contestants_beside_one_another(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the making of items, which has tests of its own."""
    pytest.importorskip("bm25s")
    monkeypatch.setattr("jobs.evaluate._items", lambda _: (None, 1))
    monkeypatch.setattr(tuned, "tune_on", partial(tune_on, grid=quick(learning_rates=[1e-2], epochs=1)))
    arguments = ("evaluate", place / "model", "--workdir", place, "--tune", "--sets", "title,section")
    result = called(*arguments)
    assert result.returncode == 0, result.stderr
    for told in ("title: 24 test items", "nDCG@10", "MRR", "R@1", "R@10", "95 % interval", "model ", "random ", "bm25 "):
        assert told in result.stdout
    assert "section          skipped, since it has 0 train items of 32" in result.stdout
    assert "skipped: 1 of 2 sets" in result.stdout
    again = called(*arguments)
    assert again.stdout.count("up to date") == 2
    assert "tuning," not in again.stdout
    twin = called(*arguments, "--against", place / "model")
    assert twin.returncode == 2
    assert "--against: two contestants are named model; give one of the folders another name" in twin.stderr

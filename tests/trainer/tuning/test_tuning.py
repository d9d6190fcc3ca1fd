"""Tuning: gradients are those of the whole batch, duplicates are no negatives, a killed run ends with the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F

from model import Embedding, ModernBertConfig, ModernBertForMaskedLM, bridge
from model.heads import late_interaction_scores
from tests.trainer.tuning.small import classes, encoder, queries, quick, sentences, splits, tokens_of
from trainer.errors import TrainerError
from trainer.tuning import trial as trials
from trainer.tuning.config import (
    AnswerConfig,
    ClassifyConfig,
    DenseConfig,
    LateInteractionConfig,
    PairConfig,
    RegressConfig,
    TagConfig,
    TaskConfig,
)
from trainer.tuning.contrastive import Late
from trainer.tuning.encode import encode
from trainer.tuning.passes import Passes
from trainer.tuning.tasks import make
from trainer.tuning.texts import Cutting, Ragged
from trainer.tuning.tune import Tuned, tune

CPU = torch.device("cpu")


def tags(count: int = 30) -> pa.Table:
    words = [text.split() for text in sentences(count, 2)]
    labels = [["B-ANIMAL" if word in ("dog", "cat", "horse", "bird") else "O" for word in each] for each in words]
    return pa.table({"words": words, "labels": labels, "split": splits(count)})


def answers(count: int = 30) -> pa.Table:
    texts = sentences(count, 3)
    found = [text.split()[-1] for text in texts]
    starts = [len(text) - len(answer) for text, answer in zip(texts, found, strict=True)]
    return pa.table({"query": ["last word"] * count, "text": texts, "answer": found, "start": starts, "split": splits(count)})


def numbers(count: int = 30) -> pa.Table:
    texts = sentences(count, 4)
    return pa.table({"text": texts, "label": [float(len(text.split())) for text in texts], "split": splits(count)})


def pairs(count: int = 30) -> pa.Table:
    table = classes(count)
    return table.append_column("query", table["text"])


TABLES: dict[str, tuple[TaskConfig, pa.Table]] = {
    "classify": (ClassifyConfig(dropout=0.1), classes(30)),
    "pair": (PairConfig(pooling="cls"), pairs()),
    "regress": (RegressConfig(), numbers()),
    "tag": (TagConfig(dropout=0.1), tags()),
    "answer": (AnswerConfig(), answers()),
    "dense": (DenseConfig(), queries(30)),
    "late_interaction": (LateInteractionConfig(size=8, both_ways=True), queries(30)),
}
TASK = pytest.mark.parametrize("kind", TABLES)


def gradients(start: Path, kind: str, budget: int, *, training: bool = True) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one batch, through micro-batches of so many tokens."""
    config, table = TABLES[kind]
    task = make(config)
    task.check(table)
    data = task.data(table, "train", tokens_of(start), Cutting(64, False), ())
    torch.manual_seed(0)
    module = task.module(start).train(training)
    loss = task.learn(module, data, np.arange(10, dtype=np.int64), 40, Passes(CPU, budget, key=7))
    return loss, {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


@TASK
def test_gradients_do_not_depend_on_the_micro_batches_dropout_included(start: Path, kind: str) -> None:
    whole, wanted = gradients(start, kind, 10**6)
    for budget in (1, 40):
        loss, found = gradients(start, kind, budget)
        assert loss == pytest.approx(whole, abs=1e-5)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-6, msg=name)
    assert gradients(start, kind, 10**6, training=False)[0] != whole, "that dropout was on"


def plain_loss(table: pa.Table, model: Embedding, start: Path) -> torch.Tensor:
    """The loss by its definition: one text at a time, one query at a time."""
    tokens = tokens_of(start)

    def vector(text: str) -> torch.Tensor:
        ids = torch.from_numpy(tokens.single([text], Cutting(64, False)).values)
        found: torch.Tensor = model(ids, torch.tensor([0, len(ids)], dtype=torch.int32), len(ids))[0]
        return found

    rows = table.to_pylist()
    answered = {(row["query"], row["text"]) for row in rows}
    every = [row["text"] for row in rows] + [text for row in rows for text in row.get("negatives", [])]
    losses = []
    for place, row in enumerate(rows):
        against = [text for other, text in enumerate(every) if other == place or (row["query"], text) not in answered]
        right = sum(other < place and (row["query"], every[other]) not in answered for other in range(place))
        scores = torch.stack([vector(row["query"]) @ vector(text) / 0.05 for text in against])
        losses.append(F.cross_entropy(scores[None], torch.tensor([right])))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("budget", [20, 10**6])
def test_the_contrastive_loss_is_its_definition_and_known_answers_are_no_negatives(start: Path, budget: int) -> None:
    table = pa.table(
        {
            "query": ["red dog", "red dog", "blue cat", "tall tree", "green"],
            "text": ["a dog", "a red dog", "a cat", "a dog", "green house"],
            "negatives": [["a bird"], [], ["a horse", "a cat"], [], ["a red dog"]],
            "split": ["train"] * 5,
        }
    )
    task: Any = make(DenseConfig())
    data = task.data(table, "train", tokens_of(start), Cutting(64, False), ())
    module: Any = task.module(start).eval()
    loss = task.learn(module, data, np.arange(5, dtype=np.int64), 0, Passes(CPU, budget))
    found = {name: value.grad.clone() for name, value in module.named_parameters()}
    module.zero_grad()
    wanted = plain_loss(table, module, start)
    wanted.backward()
    assert loss == pytest.approx(float(wanted.detach()), abs=1e-5)
    for name, value in module.named_parameters():
        torch.testing.assert_close(found[name], value.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_late_interactions_similarity_is_the_models_own() -> None:
    generator = torch.Generator().manual_seed(0)
    bounds, edges = np.array([0, 2, 5]), np.array([0, 4, 5, 9])
    one, other = torch.randn(5, 8, generator=generator), torch.randn(9, 8, generator=generator)
    found = Late(LateInteractionConfig()).similar(one, bounds, other, edges)
    wanted = late_interaction_scores(one, torch.from_numpy(bounds), other, torch.from_numpy(edges))
    torch.testing.assert_close(found, wanted)


def same(one: Tuned, other: Tuned) -> None:
    assert len(one.tried) == len(other.tried)
    assert one.best == other.best
    for a, b in zip(one.tried, other.tried, strict=True):
        assert (a.step, a.steps, a.validation, a.test) == (b.step, b.steps, b.validation, b.test)
        assert a.outputs.equals(b.outputs)
    mine = one.model.state_dict()
    assert all(torch.equal(value, mine[name]) for name, value in other.model.state_dict().items())


@TASK
def test_every_task_gives_each_test_item_a_score_and_the_same_result_again(start: Path, kind: str) -> None:
    config, table = TABLES[kind]
    first, again = (tune(start, tokens_of(start), config, table, quick(epochs=1)) for _ in range(2))
    same(first, again)
    outputs = first.chosen.outputs
    asked = [row for row, split in enumerate(table["split"].to_pylist()) if split == "test"]
    if "query" in table.column_names and kind in ("dense", "late_interaction"):  # an item is a query, of the first row that has it
        rows = table["query"].to_pylist()
        asked = list({rows[row]: row for row in reversed(asked)}.values())[::-1]
    assert outputs["item"].to_pylist() == asked
    assert outputs["score"].null_count == 0
    assert set(first.chosen.test) >= set(config.metrics)


def test_what_is_easy_is_learnt(start: Path) -> None:
    found = tune(start, tokens_of(start), ClassifyConfig(), classes(200), quick(epochs=10, patience=None))
    assert found.chosen.test["accuracy"] > 0.9


def test_a_grid_chooses_the_rate_by_the_mean_of_its_seeds_and_then_the_best_seed(start: Path) -> None:
    found = tune(start, tokens_of(start), ClassifyConfig(), classes(), quick(learning_rates=[1e-6, 3e-3, 1e-3], seeds=[0, 1, 2]))
    assert [(one.learning_rate, one.seed) for one in found.tried] == [(rate, seed) for rate in (1e-6, 3e-3, 1e-3) for seed in (0, 1, 2)]
    means = {rate: np.mean([one.validation["accuracy"] for one in found.tried if one.learning_rate == rate]) for rate in (1e-6, 3e-3, 1e-3)}
    assert means[found.chosen.learning_rate] == max(means.values())
    assert found.chosen.validation["accuracy"] == max(one.validation["accuracy"] for one in found.seeds)
    assert len(found.seeds) == 3


def test_training_stops_where_validation_gets_no_better_and_has_the_best_weights(start: Path) -> None:
    lines: list[dict[str, Any]] = []
    settings = quick(epochs=40, patience=2, evaluate_every=3)
    found = tune(start, tokens_of(start), ClassifyConfig(), classes(), settings, tell=lines.append)
    values = [(line["step"], line["accuracy"]) for line in lines if line["kind"] == "validation"]
    best = max(value for _, value in values)
    assert found.chosen.step == next(step for step, value in values if value == best)
    assert found.chosen.validation["accuracy"] == best
    assert found.chosen.steps == min(120, found.chosen.step + 2 * 3)


@pytest.mark.parametrize("kind", ["classify", "tag", "dense"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(start: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, table = TABLES[kind]
    settings = quick(epochs=3, batch_size=7, checkpoint_every=2, seeds=[0, 1])
    tune(start, tokens_of(start), config, table, settings, folder=tmp_path / "whole")

    class Killed(Exception):
        pass

    save, saved = trials.Trial.save, [0]

    def dying(trial: trials.Trial) -> None:
        save(trial)
        saved[0] += 1
        if saved[0] in (2, 5):
            raise Killed

    monkeypatch.setattr(trials.Trial, "save", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            tune(start, tokens_of(start), config, table, settings, folder=tmp_path / "killed")
    lines: list[dict[str, Any]] = []
    tune(start, tokens_of(start), config, table, settings, folder=tmp_path / "killed", tell=lines.append)
    files = [path.relative_to(tmp_path / "whole") for path in sorted((tmp_path / "whole").rglob("*")) if path.is_file()]
    assert {"result.json", "best.safetensors", "outputs.parquet"} == {path.name for path in files}
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
    assert len({(line["seed"], line["kind"], line["step"]) for line in lines}) == len(lines), "that each line is told once"


def test_a_trial_of_other_examples_is_not_taken_for_this_one(start: Path, tmp_path: Path) -> None:
    tune(start, tokens_of(start), ClassifyConfig(), classes(30), quick(), folder=tmp_path)
    fresh = tune(start, tokens_of(start), ClassifyConfig(), classes(40), quick())
    same(tune(start, tokens_of(start), ClassifyConfig(), classes(40), quick(), folder=tmp_path), fresh)
    path = next(tmp_path.rglob("result.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "identity": "other"}))
    same(tune(start, tokens_of(start), ClassifyConfig(), classes(40), quick(), folder=tmp_path), fresh)


def test_tuning_begins_with_an_encoder_in_memory_or_with_random_weights_too(start: Path) -> None:
    own: Any = bridge.load(start)
    given = tune(own.model, tokens_of(start), DenseConfig(), queries(), quick())
    same(given, tune(start, tokens_of(start), DenseConfig(), queries(), quick()))
    drawn = tune(own.config, tokens_of(start), DenseConfig(), queries(), quick(seeds=[0, 1]))
    assert drawn.tried[0].test != drawn.tried[1].test or not drawn.tried[0].outputs.equals(drawn.tried[1].outputs)


def test_another_tasks_model_gives_its_encoder_and_head_but_not_its_classes(start: Path, tmp_path: Path) -> None:
    three = classes().set_column(1, "label", pa.array(["abc"[row % 3] for row in range(60)]))
    first = tune(start, tokens_of(start), ClassifyConfig(), three, quick(epochs=1))
    bridge.save(first.model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == {"0": "a", "1": "b", "2": "c"}
    task: Any = make(ClassifyConfig())
    task.check(classes())
    module: Any = task.module(tmp_path)
    assert torch.equal(module.head.dense.weight, first.model.get_parameter("head.dense.weight"))
    assert module.classifier.weight.shape == (2, 32)
    assert module.settings.names == ("no", "yes")


def test_the_answer_is_the_best_span_of_so_many_tokens_or_none(start: Path) -> None:
    task: Any = make(AnswerConfig(longest_answer=3))
    data = task.data(answers(5), "train", tokens_of(start), Cutting(64, False), ())
    random = np.random.default_rng(0)
    for item in range(len(data)):
        begin, end = random.normal(size=(2, int(data.segments.lengths[item])))
        shift, length = int(data.more["questions"][item]) + 2, int(data.more["kept"][item])
        spans = {(a, b): begin[shift + a] + end[shift + b] for a in range(length) for b in range(a, min(a + 3, length))}
        (a, b), best = max(spans.items(), key=lambda pair: pair[1])
        at = data.more["begins"].bounds[item]
        wanted = data.more["texts"][item][data.more["begins"].values[at + a] : data.more["ends"].values[at + b]].strip()
        assert task._span(data, item, begin, end) == (wanted if best > begin[0] + end[0] else "")
        begin[0] = 100
        assert task._span(data, item, begin, end) == ""


def test_encoding_is_one_text_at_a_time_whatever_is_beside_it(start: Path) -> None:
    model: Any = bridge.load_as(start, Embedding)
    tokens, texts = tokens_of(start), sentences(20)
    found = encode(model, tokens, texts, prompt="red ", micro_batch_tokens=30)
    assert found.dtype == np.float32
    assert found.shape == (20, 32)
    alone = np.concatenate([encode(model, tokens, [f"red {text}"]) for text in texts])
    np.testing.assert_allclose(found, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    bare = encode(model.model, tokens, texts)
    np.testing.assert_allclose(bare / np.linalg.norm(bare, axis=1, keepdims=True), encode(model, tokens, texts), atol=1e-6)
    assert encode(model, tokens, []).shape == (0, 32)
    with pytest.raises(TrainerError, match="1 of 1 texts are longer than the 64 tokens"):
        encode(model, tokens, ["dog " * 100])
    assert encode(model, tokens, ["dog " * 100], cut=True).shape == (1, 32)


def test_words_given_apart_are_found_again_at_their_first_token(start: Path) -> None:
    table = pa.table({"words": [["redgreen", "dog", "x"]], "labels": [["A", "B", "A"]], "split": ["train"]})
    task: Any = make(TagConfig(labels=["A", "B"]))
    task.labels = ("A", "B")
    tokens = tokens_of(start)
    data = task.data(table, "train", tokens, Cutting(64, False), ())
    pieces = [tokens.encoder.tokenizer.id_to_token(int(number)) for number in data.segments.values]
    labelled = {pieces[place]: int(label) for place, label in enumerate(data.more["targets"]) if label >= 0}
    assert list(labelled.values()) == [0, 1, 0]
    assert [piece.startswith("Ġ") for piece in labelled] == [False, True, True]


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


@pytest.mark.parametrize(
    ("config", "table", "message"),
    [
        (ClassifyConfig(), classes().drop(["label"]), "there is no column label; there are: text, split"),
        (ClassifyConfig(), with_column(classes(), "label", ["yes"] * 60), "all training examples have the label 'yes'; there is nothing"),
        (ClassifyConfig(labels=["yes", "no"]), with_column(classes(), "label", ["yes", "no", "maybe"] * 20), "20 labels are none of task"),
        (ClassifyConfig(), with_column(classes(), "label", [None, *["yes", "no"] * 29, "no"]), "1 of 60 rows have no label"),
        (ClassifyConfig(), with_column(classes(), "split", ["train"] * 60), "none is of the split validation; give some"),
        (ClassifyConfig(), classes().slice(0, 0), "none is of the split train"),
        (ClassifyConfig(), with_column(classes(), "split", ["dev"] * 60), "split: 'dev' is none; there are: train, validation, test"),
        (ClassifyConfig(), with_column(classes(), "text", list(range(60))), "column text is of int64; give texts"),
        (ClassifyConfig(max_length=100), classes(), "task.max_length: 100 is more than the 64 tokens that the model takes"),
        (RegressConfig(), classes(), "a label is no number"),
        (RegressConfig(), with_column(numbers(), "label", [1.0] * 30), "all training examples have the label 1; there is nothing to learn"),
        (TagConfig(), with_column(tags(), "labels", [["O"]] * 30), "row 0 has . words and 1 labels"),
        (AnswerConfig(), with_column(answers(), "start", [0] * 30), "does not stand at character 0 of its text"),
        (DenseConfig(), queries().append_column("label", pa.array([0] * 60)), "a label is not above 0"),
    ],
)
def test_bad_examples_are_a_line(start: Path, config: TaskConfig, table: pa.Table, message: str) -> None:
    with pytest.raises(TrainerError, match=message) as error:
        tune(start, tokens_of(start), config, table, quick())
    assert "\n" not in str(error.value)


def test_the_rate_rises_and_falls_in_straight_lines() -> None:
    rates = [trials.rate_at(step, 100, 1.0, quick(warmup=0.1, final_factor=0.2)) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 0.5) / 10 for step in range(10)])
    assert np.diff(rates[10:]) == pytest.approx(np.full(89, -0.8 / 90))
    assert min(rates[10:]) > 0.2


def test_an_empty_micro_batch_is_never_made() -> None:
    assert len(Ragged.of([[1, 2]]).take(np.zeros(0, np.int64))) == 0


def test_random_weights_of_a_configuration_are_taken(start: Path) -> None:
    own = encoder(start)
    assert isinstance(own.config, ModernBertConfig)
    assert isinstance(bridge.load(start), ModernBertForMaskedLM)

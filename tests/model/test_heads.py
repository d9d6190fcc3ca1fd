"""Heads, tiling, context extension and the classic BERT, against transformers and plain definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from model import (
    ClassicBertConfig,
    ClassicBertForMaskedLM,
    Embedding,
    HeadConfig,
    LateInteraction,
    ModelError,
    ModernBert,
    ModernBertConfig,
    ModernBertForMaskedLM,
    MultipleChoice,
    QuestionAnswering,
    SequenceClassification,
    TokenClassification,
    bridge,
    masked_lm,
)
from model.extension import extend_context, layer_map, tile
from model.heads import late_interaction_scores, mean_of, pooled

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "layers": 4,
    "heads": 4,
    "intermediate_size": 96,
    "window": 16,
    "max_length": 2048,
    "attention_out_dropout": 0.0,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "pad_token_id": 0,
}
CLASSIC: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "layers": 2,
    "heads": 4,
    "intermediate_size": 128,
    "max_length": 200,
    "dropout": 0.0,
}
LENGTHS = [1, 30, 7, 130]


def lively(model: torch.nn.Module, seed: int = 1) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def batch(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor, int]:
    ids = torch.randint(3, 320, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    return ids, torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32), max(lengths)


def padded(ids: torch.Tensor, lengths: list[int], fill: int = 0) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(ids.split(lengths), batch_first=True, padding_value=fill)


def twin(model: torch.nn.Module, folder: Path) -> Any:
    import transformers

    bridge.save(model, folder)
    name = bridge.ARCHITECTURES[type(model)]
    return getattr(transformers, name).from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def same_gradients(ours: torch.nn.Module, theirs: torch.nn.Module, blind: str = "none") -> None:
    """Every gradient within 1e-3, relative. `blind`: a softmax adds this parameter to all alike, so its gradient is 0 but for rounding."""
    others = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        other = others[name].grad
        if parameter.grad is None or other is None:
            assert all(one is None or float(one.abs().max()) == 0 for one in (parameter.grad, other)), name
            continue
        if name.endswith(blind):
            assert max(float(parameter.grad.abs().max()), float(other.abs().max())) < 1e-6, name
            continue
        assert float((parameter.grad - other).norm() / other.norm().clamp(min=1e-6)) < 1e-3, name


def labels_for(head: HeadConfig) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    if head.problem == "multi_label_classification":
        return torch.randint(0, 2, (len(LENGTHS), head.labels), generator=generator).float()
    if head.labels == 1:
        return torch.randn(len(LENGTHS), generator=generator)
    return torch.randint(0, head.labels, (len(LENGTHS),), generator=generator)


@pytest.mark.parametrize(
    "head",
    [HeadConfig(3), HeadConfig(3, "mean"), HeadConfig(1), HeadConfig(4, "mean", problem="multi_label_classification")],
    ids=["cls", "mean", "regression", "many"],
)
def test_sequence_classification_is_that_of_transformers(tmp_path: Path, head: HeadConfig) -> None:
    model = lively(SequenceClassification(ModernBertConfig(**SMALL), head))
    theirs = twin(model, tmp_path)
    ids, edges, longest = batch(LENGTHS)
    labels = labels_for(head)
    ours = model(ids, edges, longest, labels)
    mask = padded(torch.ones_like(ids), LENGTHS)
    other = theirs(input_ids=padded(ids, LENGTHS), attention_mask=mask, labels=labels)
    torch.testing.assert_close(ours.logits, other.logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.loss, other.loss, rtol=1e-4, atol=1e-5)
    ours.loss.backward()
    other.loss.backward()
    same_gradients(model, theirs)


def test_token_classification_is_that_of_transformers(tmp_path: Path) -> None:
    model = lively(TokenClassification(ModernBertConfig(**SMALL), HeadConfig(5)))
    theirs = twin(model, tmp_path)
    ids, edges, longest = batch(LENGTHS)
    labels = torch.where(ids % 3 == 0, -100, ids % 5)
    ours = model(ids, edges, longest, labels)
    mask = padded(torch.ones_like(ids), LENGTHS)
    other = theirs(input_ids=padded(ids, LENGTHS), attention_mask=mask, labels=padded(labels, LENGTHS, -100))
    torch.testing.assert_close(ours.logits, other.logits[mask.bool()], rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.loss, other.loss, rtol=1e-4, atol=1e-5)
    ours.loss.backward()
    other.loss.backward()
    same_gradients(model, theirs)


def test_question_answering_is_that_of_transformers_segment_by_segment(tmp_path: Path) -> None:
    """transformers' softmax runs over padding too, so each of its segments is given alone; the loss is their mean."""
    model = lively(QuestionAnswering(ModernBertConfig(**SMALL)))
    theirs = twin(model, tmp_path)
    ids, edges, longest = batch(LENGTHS)
    start, end = torch.tensor([0, 3, 2, 100]), torch.tensor([0, 29, 4, 500])  # 500 is past its segment: it counts for nothing
    ours = model(ids, edges, longest, start, end)
    begins, ends = [], []
    for number, (piece, mine) in enumerate(zip(ids.split(LENGTHS), ours.start_logits.split(LENGTHS), strict=True)):
        other = theirs(input_ids=piece[None], attention_mask=torch.ones_like(piece)[None])
        torch.testing.assert_close(mine, other.start_logits[0], rtol=0, atol=1e-4)
        begins.append(F.cross_entropy(other.start_logits, start[number : number + 1]))
        if end[number] < len(piece):
            ends.append(F.cross_entropy(other.end_logits, end[number : number + 1]))
    loss = (torch.stack(begins).mean() + torch.stack(ends).mean()) / 2
    torch.testing.assert_close(ours.loss, loss, rtol=1e-4, atol=1e-5)
    ours.loss.backward()
    loss.backward()
    same_gradients(model, theirs, "classifier.bias")


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_multiple_choice_is_that_of_transformers(tmp_path: Path, pooling: str) -> None:
    model = lively(MultipleChoice(ModernBertConfig(**SMALL), HeadConfig(1, pooling)))
    theirs = twin(model, tmp_path)
    ids, edges, longest = batch(LENGTHS)
    labels = torch.tensor([1, 0])
    ours = model(ids, edges, longest, 2, labels)
    shape = (2, 2, longest)
    mask = padded(torch.ones_like(ids), LENGTHS).view(shape)
    other = theirs(input_ids=padded(ids, LENGTHS).view(shape), attention_mask=mask, labels=labels)
    torch.testing.assert_close(ours.logits, other.logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.loss, other.loss, rtol=1e-4, atol=1e-5)
    ours.loss.backward()
    other.loss.backward()
    same_gradients(model, theirs, "classifier.bias")
    with pytest.raises(ModelError, match="4 segments are not so many questions of 3 choices"):
        model(ids, edges, longest, 3)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_an_embedding_is_the_pooled_encoder_and_has_length_one(tmp_path: Path, pooling: str) -> None:
    model = lively(Embedding(ModernBertConfig(**SMALL), pooling=pooling))
    theirs = twin(model, tmp_path)
    ids, edges, longest = batch(LENGTHS)
    ours = model(ids, edges, longest)
    for vector, piece in zip(ours, ids.split(LENGTHS), strict=True):
        hidden = theirs(input_ids=piece[None], attention_mask=torch.ones_like(piece)[None]).last_hidden_state[0]
        one = hidden[0] if pooling == "cls" else hidden.mean(0)
        torch.testing.assert_close(vector, one / one.norm(), rtol=0, atol=1e-5)


def test_late_interaction_scores_are_the_sums_of_best_matches() -> None:
    model = lively(LateInteraction(ModernBertConfig(**SMALL), size=16)).eval()
    ids, edges, longest = batch(LENGTHS)
    vectors = model(ids, edges, longest)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(ids)))
    scores = late_interaction_scores(vectors, edges, vectors, edges)
    parts = vectors.split(LENGTHS)
    for row, query in enumerate(parts):
        for column, document in enumerate(parts):
            best = sum(float(max(one @ other for other in document)) for one in query) if len(query) * len(document) < 900 else None
            if best is not None:
                assert float(scores[row, column]) == pytest.approx(best, abs=1e-3)
        assert float(scores[row, row]) == pytest.approx(len(query), abs=1e-3)  # each token matches itself best


@pytest.mark.parametrize(
    ("kind", "head", "labels", "message"),
    [
        (
            SequenceClassification,
            HeadConfig(3),
            torch.tensor([0, 1]),
            r"labels: torch\.int64 \(2,\); give int64 \(4,\), one for each segment",
        ),
        (SequenceClassification, HeadConfig(3), torch.tensor([0, 1, 3, 0]), "labels: 3 is not one of 3 classes"),
        (SequenceClassification, HeadConfig(1), torch.zeros(2), r"labels: \(2,\); give \(4, 1\)"),
        (SequenceClassification, HeadConfig(2, problem="regression"), torch.zeros(2, 4), r"labels: \(2, 4\); give \(4, 2\)"),
        (SequenceClassification, HeadConfig(2), torch.zeros(3, 2), r"labels: \(3, 2\); give \(4, 2\)"),
        (SequenceClassification, HeadConfig(2, problem="multi_label_classification"), torch.ones(4, 2).long(), "give floats"),
        (TokenClassification, HeadConfig(5), torch.zeros(9).long(), "one for each token"),
        (TokenClassification, HeadConfig(5), torch.full((168,), -1), "labels: -1 is not one of 5 classes; give 0 to 4, or -100"),
    ],
)
def test_labels_of_heads_that_cannot_be_right_are_refused(kind: Any, head: HeadConfig, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        kind(ModernBertConfig(**SMALL), head)(*batch(LENGTHS), labels)


def test_labels_of_choices_and_answers_that_cannot_be_right_are_refused() -> None:
    choice, answer = (kind(ModernBertConfig(**SMALL)).eval() for kind in (MultipleChoice, QuestionAnswering))
    given, places = batch(LENGTHS), torch.tensor([0, 1, 2, 3])
    with pytest.raises(ModelError, match=r"give int64 \(2,\), one for each question"):
        choice(*given, 2, torch.tensor([0]))
    with pytest.raises(ModelError, match="labels: 2 is not one of 2 classes"):
        choice(*given, 2, torch.tensor([0, 2]))
    with pytest.raises(ModelError, match=r"start_positions: torch\.int64 \(3,\)"):
        answer(*given, places[:3], places)
    with pytest.raises(ModelError, match="end_positions: -1 is no place"):
        answer(*given, places, places - 1)
    with pytest.raises(ModelError, match="end_positions: not given"):
        answer(*given, places)
    past = answer(*given, places, torch.tensor([500, 1, 2, 3])).loss
    torch.testing.assert_close(answer(*given, places, torch.tensor([-100, 1, 2, 3])).loss, past)


def test_pooling_is_per_segment() -> None:
    edges = torch.tensor([0, 1, 6], dtype=torch.int32)
    assert mean_of(torch.arange(12.0).view(6, 2), edges).tolist() == [[0.0, 1.0], [6.0, 7.0]]
    encoder = lively(ModernBert(ModernBertConfig(**SMALL))).eval()
    given = torch.arange(6), edges, 5
    torch.testing.assert_close(pooled(encoder, *given, "cls"), encoder(*given)[[0, 1]])
    torch.testing.assert_close(pooled(encoder, *given, "mean"), mean_of(encoder(*given), edges))


@pytest.mark.parametrize(
    "kind", [ModernBertForMaskedLM, SequenceClassification, TokenClassification, QuestionAnswering, MultipleChoice, ModernBert, Embedding]
)
def test_every_class_is_exported_with_proof_and_comes_back(tmp_path: Path, kind: Any) -> None:
    model = lively(kind(ModernBertConfig(**SMALL)))
    assert bridge.export(model, tmp_path) < 1e-4
    again = bridge.load_as(tmp_path, kind)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    assert type(bridge.load_any(tmp_path)) is kind


@pytest.mark.parametrize("whole", [True, False], ids=["export", "sentence_transformer"])
def test_an_embedding_comes_back_with_its_settings(tmp_path: Path, whole: bool) -> None:
    given = batch(LENGTHS)
    for pooling, unit in (("cls", False), ("mean", False), ("cls", True)):
        model = lively(Embedding(ModernBertConfig(**SMALL), pooling=pooling, unit=unit)).eval()
        bridge.export(model, tmp_path) if whole else bridge.save_sentence_transformer(model, tmp_path)
        again = bridge.load_as(tmp_path, Embedding)
        torch.testing.assert_close(again(*given), model(*given), rtol=0, atol=0)
    assert isinstance(changed := bridge.load_as(tmp_path, Embedding, HeadConfig(pooling="mean")), Embedding)
    assert (changed.settings.pooling, changed.unit) == ("mean", True)


def test_any_model_is_of_the_class_that_the_modules_say(tmp_path: Path) -> None:
    given = batch(LENGTHS)
    for model in (Embedding(ModernBertConfig(**SMALL), pooling="cls", unit=False), LateInteraction(ModernBertConfig(**SMALL), size=16)):
        bridge.save(lively(model).eval(), tmp_path)
        again = bridge.load_any(tmp_path)
        assert type(again) is type(model)
        torch.testing.assert_close(again(*given), model(*given), rtol=0, atol=0)
    path = tmp_path / "modules.json"
    modules = json.loads(path.read_text())
    path.write_text(json.dumps([*modules, {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]))
    with pytest.raises(
        ModelError, match=r"modules\.json: late interaction has one module, Dense, after its encoder, and this has Dense, Normalize"
    ):
        bridge.load_any(tmp_path)
    path.write_text(json.dumps([*modules, {"path": "2_Pooling", "type": "sentence_transformers.models.Pooling"}]))
    with pytest.raises(ModelError, match=r"modules\.json: Dense is not supported in an embedding; only Pooling and Normalize"):
        bridge.load_any(tmp_path)
    path.write_text(json.dumps(modules[:1]))
    assert type(bridge.load_any(tmp_path)) is ModernBert


@pytest.mark.parametrize("kind", [ModernBert, ModernBertForMaskedLM, SequenceClassification, ClassicBertForMaskedLM])
def test_a_model_saved_over_an_embedding_leaves_none_of_it_and_all_else(tmp_path: Path, kind: Any) -> None:
    model = kind(ClassicBertConfig(**CLASSIC) if kind is ClassicBertForMaskedLM else ModernBertConfig(**SMALL))
    others = [tmp_path / name for name in ("tokenizer.json", "1_Pooling/notes.txt", "3_Dense/config.json")]
    for before in (Embedding(ModernBertConfig(**SMALL)), LateInteraction(ModernBertConfig(**SMALL), size=16)):
        bridge.save(before, tmp_path)
        for other in others:
            other.parent.mkdir(exist_ok=True)
            other.write_text("{}")
        modules = json.loads((tmp_path / "modules.json").read_text())
        (tmp_path / "modules.json").write_text(json.dumps([*modules, {"path": "3_Dense", "type": "Dense"}]))
        bridge.save(model, tmp_path)
        left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
        assert left == {"config.json", "model.safetensors", "tokenizer.json", "1_Pooling/notes.txt", "3_Dense/config.json"}
        assert type(bridge.load_any(tmp_path)) is kind


def test_a_folder_with_modules_that_cannot_be_read_loses_the_file_that_names_them_alone(tmp_path: Path) -> None:
    bridge.save(Embedding(ModernBertConfig(**SMALL)), tmp_path)
    (tmp_path / "modules.json").write_text("{")
    bridge.save(ModernBert(ModernBertConfig(**SMALL)), tmp_path)
    assert not (tmp_path / "modules.json").exists()
    assert (tmp_path / "1_Pooling" / "config.json").exists()


@pytest.mark.parametrize("whole", [True, False], ids=["export", "sentence_transformer"])
def test_late_interaction_comes_back_with_its_projection(tmp_path: Path, whole: bool) -> None:
    model = lively(LateInteraction(ModernBertConfig(**SMALL), size=16)).eval()
    bridge.export(model, tmp_path) if whole else bridge.save_sentence_transformer(model, tmp_path)
    again = bridge.load_as(tmp_path, LateInteraction)
    torch.testing.assert_close(again(*batch(LENGTHS)), model(*batch(LENGTHS)), rtol=0, atol=0)
    assert bridge.load_as(tmp_path, LateInteraction, size=8)(*batch(LENGTHS)).shape == (168, 8)
    (tmp_path / "1_Dense" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="1_Dense.*cannot be read.*`size` for a new one"):
        bridge.load_as(tmp_path, LateInteraction)


def test_a_projection_that_a_folder_lacks_is_new_only_when_asked_for(tmp_path: Path) -> None:
    model = lively(ModernBertForMaskedLM(ModernBertConfig(**SMALL)))
    bridge.save(model, tmp_path)
    with pytest.raises(ModelError, match="this has nothing; give `size` for a new projection"):
        bridge.load_as(tmp_path, LateInteraction)
    assert bridge.load_as(tmp_path, LateInteraction, size=8)(*batch(LENGTHS)).shape == (168, 8)
    with pytest.raises(ModelError, match="size: Embedding has no projection"):
        bridge.load_as(tmp_path, Embedding, size=8)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"pooling_mode": "max"}, r"1_Pooling.config\.json: pooling_mode is \['max'\]"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, r"pooling_mode is \['cls_token', 'mean_tokens'\]"),
        ({"pooling_mode": "cls"}, None),
    ],
)
def test_pooling_is_read_as_sentence_transformers_writes_it(tmp_path: Path, body: dict[str, Any], message: str | None) -> None:
    bridge.save(Embedding(ModernBertConfig(**SMALL)), tmp_path)
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(body))
    if message is None:
        again: Any = bridge.load_as(tmp_path, Embedding)
        assert (again.settings.pooling, again.unit) == ("cls", True)
        return
    with pytest.raises(ModelError, match=message):
        bridge.load_as(tmp_path, Embedding)


def test_an_embedding_with_modules_of_other_kinds_is_refused(tmp_path: Path) -> None:
    bridge.save(Embedding(ModernBertConfig(**SMALL)), tmp_path)
    path = tmp_path / "modules.json"
    more = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    path.write_text(json.dumps([*json.loads(path.read_text()), more]))
    with pytest.raises(ModelError, match="Dense is not supported in an embedding"):
        bridge.load_as(tmp_path, Embedding)


@pytest.mark.parametrize(
    "change",
    [
        {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "head_bias": True},
        {"decoder_bias": False},
        {"activation": "silu", "head_activation": "gelu_pytorch_tanh"},
        {"global_every": None, "global_layers": (1, 2)},
        {"global_every": None, "global_layers": ()},
        {"global_every": 1, "global_theta": 5e4, "local_theta": 2e4, "window": 32, "norm_eps": 1e-6},
    ],
    ids=["biases", "no decoder bias", "activations", "pattern", "all local", "numbers"],
)
def test_free_configurations_are_those_of_transformers(tmp_path: Path, change: dict[str, Any]) -> None:
    from model.flops import parameters

    config = ModernBertConfig(**{**SMALL, **change})
    model = lively(ModernBertForMaskedLM(config))
    assert parameters(config) == sum(parameter.numel() for parameter in model.parameters())
    assert bridge.export(model, tmp_path) < 1e-4
    again = bridge.load(tmp_path).config
    assert isinstance(again, ModernBertConfig)
    assert [again.is_global(layer) for layer in range(4)] == [config.is_global(layer) for layer in range(4)]


def test_a_masked_language_model_gives_its_encoder_to_a_classifier(tmp_path: Path) -> None:
    model = lively(ModernBertForMaskedLM(ModernBertConfig(**SMALL)))
    bridge.save(model, tmp_path)
    tuned = bridge.load_as(tmp_path, SequenceClassification, HeadConfig(7))
    assert tuned.state_dict()["classifier.weight"].shape == (7, 64)
    for name, value in tuned.state_dict().items():
        if not name.startswith("classifier"):
            torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=0)
    bridge.save(model.model, tmp_path)
    with pytest.raises(ModelError, match=r"lacks decoder\.bias, head\.dense\.weight"):
        bridge.load_as(tmp_path, ModernBertForMaskedLM)


@pytest.mark.parametrize("labels", [5, 7])
def test_a_classifier_gives_another_task_all_but_its_last_layer(tmp_path: Path, labels: int) -> None:
    model = lively(TokenClassification(ModernBertConfig(**SMALL), HeadConfig(5)))
    bridge.save(model, tmp_path)
    other = bridge.load_as(tmp_path, SequenceClassification, HeadConfig(labels)).state_dict()
    assert other["classifier.weight"].shape == (labels, 64)
    assert not torch.equal(other["classifier.weight"][:5], model.classifier.weight)
    assert torch.equal(other["head.dense.weight"], model.head.dense.weight)
    assert bridge.load_as(tmp_path, QuestionAnswering).state_dict()["classifier.weight"].shape == (2, 64)
    with pytest.raises(ModelError, match=r"classifier\.(weight|bias) is \(5,.* says \(6,"):
        bridge.load_as(tmp_path, TokenClassification, HeadConfig(6))


def test_a_checkpoint_in_several_files_loads(tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    model = lively(ModernBertForMaskedLM(ModernBertConfig(**SMALL)))
    bridge.save(model, tmp_path / "one")
    AutoModelForMaskedLM.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "many", max_shard_size="100KB")
    assert not (tmp_path / "many" / "model.safetensors").exists()
    again = bridge.load(tmp_path / "many")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_an_index_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(bridge.to_transformers_config(ModernBertConfig(**SMALL))))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../secret"}}))
    with pytest.raises(ModelError, match="outside its folder"):
        bridge.load(tmp_path)


def word_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "all", "that", "glitters", "gold"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_sentence_transformers_loads_an_embedding_with_equal_vectors(tmp_path: Path, pooling: str) -> None:
    library = pytest.importorskip("sentence_transformers")
    model = lively(Embedding(ModernBertConfig(**SMALL), pooling=pooling)).eval()
    bridge.save_sentence_transformer(model, tmp_path)
    word_tokenizer(tmp_path)
    theirs = library.SentenceTransformer(str(tmp_path), device="cpu").encode(["all that glitters", "gold"])
    ids = torch.tensor([1, 5, 6, 7, 2, 1, 8, 2])
    with torch.no_grad():
        ours = model(ids, torch.tensor([0, 5, 8], dtype=torch.int32), 5)
    torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=0, atol=1e-5)


def test_pylate_loads_late_interaction_with_equal_vectors(tmp_path: Path) -> None:
    models = pytest.importorskip("pylate.models")
    model = lively(LateInteraction(ModernBertConfig(**SMALL), size=16)).eval()
    bridge.save_sentence_transformer(model, tmp_path)
    word_tokenizer(tmp_path)
    theirs = models.ColBERT(str(tmp_path), device="cpu", document_prefix="", query_prefix="").encode(["all that glitters"], is_query=False)
    with torch.no_grad():
        ours = model(torch.tensor([1, 5, 6, 7, 2]), torch.tensor([0, 5], dtype=torch.int32), 5)
    torch.testing.assert_close(torch.as_tensor(theirs[0]), ours, rtol=0, atol=1e-5)


# --- longer and larger ---------------------------------------------------------------------------------------------------


def test_a_longer_context_has_a_larger_base_and_the_same_weights() -> None:
    model = ModernBertForMaskedLM(ModernBertConfig(**{**SMALL, "max_length": 100, "global_theta": 10_000.0})).eval()
    ids, edges, longest = batch([50, 200])
    with pytest.raises(ModelError, match="longer than model.max_length 100"):
        model(ids, edges, longest)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    extend_context(model, max_length=2048)
    assert model(ids, edges, longest).logits.shape == (250, 320)
    assert (model.config.global_theta, model.config.local_theta) == (160_000.0, 10_000.0)
    assert all(bool((value == before[name]).all()) for name, value in model.state_dict().items())
    for length in (10, 2048):
        with pytest.raises(ModelError, match=f"max_length: {length} is not longer than the 2048"):
            extend_context(model, max_length=length)


def test_a_longer_context_never_has_a_smaller_base() -> None:
    model = ModernBertForMaskedLM(ModernBertConfig(**{**SMALL, "max_length": 100, "global_theta": 1e6}))
    with pytest.raises(ModelError, match=r"global_theta: 160000 is less than the model's 1e\+06"):
        extend_context(model, max_length=200, global_theta=160_000.0)
    extend_context(model, max_length=200)
    assert (model.config.max_length, model.config.global_theta) == (200, 1e6)
    extend_context(model, max_length=300, global_theta=2e6)
    assert model.config.global_theta == 2e6


def test_large_layers_come_from_base_layers_of_the_same_kind_near_the_same_depth() -> None:
    base, large = ModernBertConfig.base(), ModernBertConfig.large()
    origin = layer_map(base, large)
    assert origin[0] == 0
    for layer, other in enumerate(origin):
        assert base.is_global(other) == large.is_global(layer)
        assert abs(other - layer * 22 / 28) <= 1.5
    assert set(origin) == set(range(22))  # every base layer is used
    assert origin == sorted(origin) or max(a - b for a, b in zip(origin, origin[1:], strict=False)) <= 2  # never far back


def test_tiling_puts_the_small_model_in_the_middle_and_wraps() -> None:
    small = lively(ModernBertForMaskedLM(ModernBertConfig(**SMALL)))
    config = ModernBertConfig(**{**SMALL, "hidden_size": 112, "heads": 7, "layers": 6, "intermediate_size": 160})
    large = tile(small, config)
    origin = layer_map(small.config, config)
    old, new = small.state_dict(), large.state_dict()

    def slow(matrix: torch.Tensor, rows: int, columns: int, top: int, left: int) -> torch.Tensor:
        have = matrix.shape
        return torch.tensor([[float(matrix[(i - top) % have[0], (j - left) % have[1]]) for j in range(columns)] for i in range(rows)])

    # 48 more in the residual stream: 24 to each side; 3 more heads of 16: one whole head before; 64 more in the GLU: 32
    for layer in (1, 5):
        was, now = f"model.layers.{origin[layer]}.", f"model.layers.{layer}."
        for one, other in zip(old[f"{was}attn.Wqkv.weight"].chunk(3), new[f"{now}attn.Wqkv.weight"].chunk(3), strict=True):
            torch.testing.assert_close(other, slow(one, 112, 112, 16, 24), rtol=0, atol=0)
        torch.testing.assert_close(new[f"{now}attn.Wo.weight"], slow(old[f"{was}attn.Wo.weight"], 112, 112, 24, 16), rtol=0, atol=0)
        for one, other in zip(old[f"{was}mlp.Wi.weight"].chunk(2), new[f"{now}mlp.Wi.weight"].chunk(2), strict=True):
            torch.testing.assert_close(other, slow(one, 160, 112, 32, 24), rtol=0, atol=0)
    torch.testing.assert_close(new["model.final_norm.weight"][24:88], old["model.final_norm.weight"], rtol=0, atol=0)
    torch.testing.assert_close(new["model.embeddings.tok_embeddings.weight"][:, 24:88], old["model.embeddings.tok_embeddings.weight"])
    torch.testing.assert_close(new["decoder.bias"], old["decoder.bias"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"vocab_size": 640}, "vocab_size"), ({"heads": 2}, "head_size"), ({"layers": 2}, "layers is 2"), ({"mlp_bias": True}, "mlp_bias")],
)
def test_models_that_do_not_fit_are_not_tiled(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        tile(ModernBertForMaskedLM(ModernBertConfig(**SMALL)), ModernBertConfig(**{**SMALL, **change}))


# --- the classic BERT ----------------------------------------------------------------------------------------------------


def test_the_classic_bert_is_that_of_transformers(tmp_path: Path) -> None:
    model = lively(masked_lm(ClassicBertConfig(**CLASSIC)))
    theirs = twin(model, tmp_path)
    assert type(theirs).__name__ == "BertForMaskedLM"
    assert sum(parameter.numel() for parameter in model.parameters()) == theirs.num_parameters()
    ids, edges, longest = batch(LENGTHS)
    positions = torch.arange(0, len(ids), 3)
    mask = padded(torch.ones_like(ids), LENGTHS)
    flat = torch.full_like(ids, -100)
    flat[positions] = ids[positions]
    other = theirs(input_ids=padded(ids, LENGTHS), attention_mask=mask, labels=padded(flat, LENGTHS, -100))
    torch.testing.assert_close(model(ids, edges, longest).logits, other.logits[mask.bool()], rtol=0, atol=1e-4)
    loss = model(ids, edges, longest, positions, ids[positions]).loss / len(positions)
    torch.testing.assert_close(loss, other.loss, rtol=1e-4, atol=1e-5)
    loss.backward()
    other.loss.backward()
    same_gradients(model, theirs, "self.key.bias")


def test_the_classic_bert_is_exported_with_proof_and_comes_back(tmp_path: Path) -> None:
    config = ClassicBertConfig(**{**CLASSIC, "dropout": 0.1, "norm_eps": 1e-6, "cls_token_id": 1, "sep_token_id": 2, "pad_token_id": 0})
    model = lively(ClassicBertForMaskedLM(config))
    assert bridge.export(model, tmp_path) < 1e-4
    for again in (bridge.load(tmp_path), bridge.load_any(tmp_path), bridge.load_as(tmp_path, ClassicBertForMaskedLM)):
        assert isinstance(again, ClassicBertForMaskedLM)
        assert again.config == config
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(ModelError, match=r"config\.json: model_type is 'bert'; SequenceClassification is made from 'modernbert' alone"):
        bridge.load_as(tmp_path, SequenceClassification)
    with pytest.raises(ModelError, match="attention: 'matmul' is a kernel of ModernBERT's"):
        bridge.load(tmp_path, attention="matmul")
    bridge.save(ModernBertForMaskedLM(ModernBertConfig(**SMALL)), tmp_path)
    with pytest.raises(ModelError, match="model_type is 'modernbert'; ClassicBertForMaskedLM is made from 'bert' alone"):
        bridge.load_as(tmp_path, ClassicBertForMaskedLM)


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "BertForPreTraining"])
def test_folders_of_transformers_give_a_classic_bert_without_what_it_has_no_use_of(tmp_path: Path, kind: str) -> None:
    """As transformers writes them, and as the first folders were: gamma and beta, copies of tied parameters, a buffer."""
    import transformers
    from safetensors.torch import load_file, save_file

    config = transformers.BertConfig(vocab_size=320, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
    lively(getattr(transformers, kind)(config)).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    model = bridge.load(tmp_path)
    assert isinstance(model, ClassicBertForMaskedLM)
    assert bridge.largest_difference(model, tmp_path) < 1e-4
    old = {name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): value for name, value in load_file(path).items()}
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].clone()
    old["cls.predictions.decoder.bias"] = old["cls.predictions.bias"].clone()
    old["bert.embeddings.position_ids"] = torch.arange(512)[None]
    old["bert.pooler.dense.weight"], old["cls.seq_relationship.bias"] = torch.zeros(64, 64), torch.zeros(2)
    save_file(old, path, metadata={"format": "pt"})
    again = bridge.load(tmp_path).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
    save_file({name: value for name, value in old.items() if name != "cls.predictions.bias"} | {"classifier.bias": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"lacks cls\.predictions\.bias \(1 in all\)"):
        bridge.load(tmp_path)


@pytest.mark.parametrize(
    ("config", "copy", "first"),
    [
        (ModernBertConfig(**SMALL), "decoder.weight", "model.embeddings.tok_embeddings.weight"),
        (ClassicBertConfig(**CLASSIC), "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
        (ClassicBertConfig(**CLASSIC), "cls.predictions.decoder.bias", "cls.predictions.bias"),
    ],
)
def test_a_decoder_that_is_not_tied_is_refused_and_one_that_is_is_not(
    tmp_path: Path, config: ModernBertConfig | ClassicBertConfig, copy: str, first: str
) -> None:
    """Whether a folder's configuration calls it tied or not: what counts is whether the two are equal."""
    from safetensors.torch import load_file, save_file

    bridge.save(masked_lm(config), tmp_path)
    path = tmp_path / "model.safetensors"
    stored = load_file(path)
    save_file({**stored, copy: stored[first].clone()}, path, metadata={"format": "pt"})
    bridge.load(tmp_path)
    save_file({**stored, copy: stored[first] + 1e-6}, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"{copy} is not equal to {first}; the decoder of this model is not tied"):
        bridge.load(tmp_path)
    if isinstance(config, ModernBertConfig):
        bridge.load_as(tmp_path, SequenceClassification)  # has no decoder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'; only 'gelu' is supported"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'; only 'absolute'"),
        ({"type_vocab_size": 1}, "type_vocab_size is 1; only 2"),
        ({"is_decoder": True}, "is_decoder is True; only False"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False; only True"),
        ({"attention_probs_dropout_prob": 0.2}, r"attention_probs_dropout_prob is 0\.2; only hidden_dropout_prob's 0 is supported"),
        ({"attention_probs_dropout_prob": "x"}, "attention_probs_dropout_prob is 'x'; give a finite number"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers is '2'; give a whole number"),
        ({"layer_norm_eps": None, "num_attention_heads": 5}, r"model\.hidden_size 64 is not divisible by model\.heads 5"),
        ({"pad_token_id": 320}, "pad_token_id is 320; it must be in the vocabulary, below vocab_size 320"),
    ],
)
def test_what_a_classic_bert_does_not_do_is_named(change: dict[str, Any], message: str) -> None:
    body = bridge.to_transformers_config(ClassicBertConfig(**CLASSIC))
    with pytest.raises(ModelError, match=message):
        bridge.from_transformers_config({**body, **change})


def test_a_classic_configuration_of_few_words_has_transformers_defaults() -> None:
    from transformers import BertConfig

    theirs = BertConfig()
    ours = bridge.from_transformers_config({"model_type": "bert"})
    for name, value in bridge.to_transformers_config(ours).items():
        if not name.endswith("token_id") and name not in ("architectures", "dtype", "position_embedding_type"):
            assert getattr(theirs, name) == value, name


def test_activation_checkpointing_of_the_classic_bert_runs_layers_again_and_changes_no_gradient() -> None:
    model = lively(ClassicBertForMaskedLM(ClassicBertConfig(**{**CLASSIC, "dropout": 0.1}))).train()
    runs: list[int] = []
    model.model.encoder["layer"][0].register_forward_pre_hook(lambda *_: runs.append(1))
    ids, edges, longest = batch(LENGTHS)
    gradients = []
    for flag in (False, True):
        model.model.activation_checkpointing = flag
        model.zero_grad()
        torch.manual_seed(5)
        model(ids, edges, longest, torch.arange(9), ids[:9]).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert len(runs) == 1 + 2
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_the_classic_bert_does_not_see_other_segments() -> None:
    model = lively(ClassicBertForMaskedLM(ClassicBertConfig(**CLASSIC))).eval()
    ids, edges, longest = batch(LENGTHS)
    together = model(ids, edges, longest).logits.split(LENGTHS)
    for piece, logits in zip(ids.split(LENGTHS), together, strict=True):
        alone = model(piece, torch.tensor([0, len(piece)], dtype=torch.int32), len(piece)).logits
        torch.testing.assert_close(logits, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("ids", "edges", "longest", "message"),
    [
        ([1, 2, 400], [0, 3], 3, "input_ids: 400 is not in the vocabulary"),
        ([1, -2, 4], [0, 3], 3, "input_ids: -2 is not in the vocabulary"),
        ([1, 2, 4], [0, 1, 1, 3], 2, "segment 1 is empty"),
        ([1, 2, 4], [0, 2, 1, 3], 2, "segment 1 is empty or ends before"),
        ([1, 2, 4], [0, 2], 2, "end with the number of tokens, 3"),
        ([1, 2, 4], [0, 3], 2, "max_seqlen: is 2, the longest segment has 3"),
        ([], [0], 0, "cu_seqlens"),
    ],
)
def test_batches_that_cannot_be_right_are_refused(ids: list[int], edges: list[int], longest: int, message: str) -> None:
    given = torch.tensor(ids, dtype=torch.int64), torch.tensor(edges, dtype=torch.int32), longest
    for model in (ModernBertForMaskedLM(ModernBertConfig(**SMALL)), ClassicBertForMaskedLM(ClassicBertConfig(vocab_size=320, layers=1))):
        with pytest.raises(ModelError, match=message):
            model(*given)

"""Sets that need no tuning, and runs compared on them: against plain sums, and against models that were made to differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from evaluation.compare import check_comparable, compare, read_contestant, sentences
from evaluation.page import page
from evaluation.results import FOLDER, read
from evaluation.run import chosen_sets, evaluate
from evaluation.sets.measured import PREDICTED, SETS, Asked, effective_rank, windows
from evaluation.subject import Subject
from model import ClassicBertConfig, masked_lm
from pipeline.held_out import HeldOut
from pipeline.workdir.errors import UserError
from tests.evaluation.subjects import LENGTH, sample, small, trained
from trainer.validation import Validation


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> HeldOut:
    return sample(tmp_path_factory.mktemp("held") / "sample")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory, held_out: HeldOut) -> Subject:
    """A run that was evaluated on all sets."""
    found = trained(tmp_path_factory.mktemp("runs"), "one")
    list(evaluate(found, held_out, list(SETS.values()), found.folder.parent / FOLDER))
    return found


def rows(subject: Subject, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(subject.folder.parent / FOLDER / f"{name}.parquet").to_pylist()
    return found


def test_masked_tokens_are_judged_piece_by_piece_at_each_length(subject: Subject, held_out: HeldOut) -> None:
    """Against one segment at a time in plain torch."""
    model, validation = subject.load(), Validation(held_out, 0.15)
    found = {(row["item"], row["length"]): row for row in rows(subject, "mlm")}
    assert {length for _, length in found} == {128, LENGTH}
    for length in (128, LENGTH):
        expected: dict[str, np.ndarray] = {}
        segments = held_out.segments(length)
        for number, (batch, _) in enumerate(validation.parts(length, 1, 0, 1)):
            piece = segments.piece[number]
            name = f"{held_out.names[piece]}#{held_out.place[piece]}"
            with torch.no_grad():
                logits = model(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, batch.positions).logits
            losses = F.cross_entropy(logits, batch.labels, reduction="none")
            own = [losses.double().sum().item(), (logits.argmax(1) == batch.labels).sum().item(), len(losses)]
            expected[name] = expected.get(name, np.zeros(3)) + own
        for name, (loss, right, count) in expected.items():
            if count:
                row = found[name, length]
                assert (row["right"], row["weight"]) == (right, count)
                assert row["loss"] == pytest.approx(loss, rel=1e-4)
    assert [row["main"] for row in found.values()] == [length == LENGTH for _, length in found]


def test_windows_are_about_the_same_tokens_and_lie_within_their_pieces(held_out: HeldOut) -> None:
    items, short = windows(held_out, LENGTH)
    assert len(items) + short <= held_out.pieces
    assert {item.reach for item in items} == {64, 128, 256}
    sizes = np.diff(held_out.first)
    for item in items:
        assert len(set(item.chosen.tolist())) == PREDICTED
        first, last = held_out.first[item.piece], held_out.first[item.piece + 1]
        for width in (64, 128, 256):
            if width <= item.reach:
                begin = item.centre - (width - 1) // 2
                assert first <= begin <= item.chosen[0]
                assert item.chosen[-1] < begin + width - 2 <= last
        assert item.reach == LENGTH or 2 * item.reach - 2 > sizes[item.piece]
    assert short == (sizes < 62).sum()


def test_context_predicts_the_same_tokens_at_every_width(subject: Subject, held_out: HeldOut) -> None:
    """Each window by hand; the gain is that over the narrowest."""
    model, info = subject.load(), held_out.info
    found = {(row["item"], row["length"]): row for row in rows(subject, "context")}
    for item in windows(held_out, LENGTH)[0][:8]:
        name = f"{held_out.names[item.piece]}#{held_out.place[item.piece]}"
        for width in (width for width in (64, 128, 256) if width <= item.reach):
            begin = item.centre - (width - 1) // 2
            ids = [info.cls, *held_out.ids[begin : begin + width - 2].tolist(), info.sep]
            places = [place - begin + 1 for place in item.chosen.tolist()]
            truth = [ids[place] for place in places]
            for place in places:
                ids[place] = info.mask
            with torch.no_grad():
                edges = torch.tensor([0, width], dtype=torch.int32)
                logits = model(torch.tensor(ids), edges, width, torch.tensor(places)).logits
            row = found[name, width]
            assert row["loss"] == pytest.approx(F.cross_entropy(logits, torch.tensor(truth), reduction="sum").item(), rel=1e-4)
            assert row["gain"] == pytest.approx(found[name, 64]["loss"] - row["loss"])
            assert row["main"] == (width == item.reach)


def test_a_model_without_global_layers_gains_nothing_from_far_context(tmp_path: Path, held_out: HeldOut) -> None:
    """Two layers that see 8 tokens to each side reach 16 tokens; the predicted ones lie within 31 of the middle of 62 and more."""
    torch.manual_seed(0)
    found = trained(tmp_path, "local", model=masked_lm(small(global_every=None, global_layers=())))
    result = next(evaluate(found, held_out, [SETS["context"]], tmp_path / "out"))
    gains = [abs(row["gain"]) for row in result.rows.to_pylist() if row["length"] == LENGTH]
    assert np.median(gains) < 0.2  # what stands at the edge of the narrowest window sees more in a wider one
    everywhere = trained(tmp_path, "global", model=masked_lm(small(global_every=1)))
    wide = next(evaluate(everywhere, held_out, [SETS["context"]], tmp_path / "other"))
    assert np.mean([abs(row["gain"]) for row in wide.rows.to_pylist() if row["length"] == LENGTH]) > 2 * np.mean(gains)


def test_shape_is_that_of_the_vectors(subject: Subject, held_out: HeldOut) -> None:
    random = np.random.default_rng(0)
    assert effective_rank(np.ones((5, 3))) == 0
    assert effective_rank(random.normal(size=(5000, 20))) == pytest.approx(20, rel=0.01)
    narrow = random.normal(size=(500, 1)) * np.ones(20) + 1e-9 * random.normal(size=(500, 20))
    assert effective_rank(narrow) == pytest.approx(1, abs=1e-3)
    from evaluation.subject import vectors

    asked = Asked(held_out, LENGTH, 500)
    texts = [
        np.concatenate([[251], held_out.ids[a : min(b, a + LENGTH - 2)], [252]])
        for a, b in zip(held_out.first, held_out.first[1:], strict=False)
    ]
    found = vectors(subject.load(), texts, asked.tokens)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    cosines = unit @ unit.T
    expected = (cosines.sum(axis=1) - 1) / (len(unit) - 1)
    assert [row["cosine"] for row in rows(subject, "shape")] == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_classic_bert_is_evaluated_alike(tmp_path: Path, held_out: HeldOut) -> None:
    config = ClassicBertConfig(vocab_size=256, hidden_size=32, layers=2, heads=2, intermediate_size=48, max_length=LENGTH)
    found = trained(tmp_path, "bert", model=masked_lm(config))
    results = list(evaluate(found, held_out, list(SETS.values()), tmp_path / "out"))
    assert [result.name for result in results] == ["mlm", "context", "shape"]


def test_results_are_made_once_and_made_again_are_the_same_bytes(subject: Subject, held_out: HeldOut, tmp_path: Path) -> None:
    folder = subject.folder.parent / FOLDER
    said: list[str] = []
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    list(evaluate(subject, held_out, list(SETS.values()), folder, said=said.append))
    assert [line.split() for line in said] == [[name, "up", "to", "date"] for name in SETS]
    list(evaluate(subject, held_out, list(SETS.values()), tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    (tmp_path / "mlm.parquet").write_bytes(b"cut")  # as a full disk or a hand may leave it
    assert read(tmp_path, "mlm") is None
    list(evaluate(subject, held_out, [SETS["mlm"]], tmp_path))
    assert (tmp_path / "mlm.parquet").read_bytes() == kept["mlm.parquet"]


def test_what_cannot_be_evaluated_is_told_in_a_line(subject: Subject, held_out: HeldOut, tmp_path: Path) -> None:
    from dataclasses import replace

    for wrong, match in (
        ((replace(subject, tokenizer="another"), held_out), "another tokenizer"),
        ((subject, replace(held_out, document=held_out.document[:0])), "is empty; raise mix.validation_share"),
    ):
        with pytest.raises(UserError, match=match):
            list(evaluate(*wrong, [SETS["mlm"]], tmp_path))
    with pytest.raises(UserError, match=r"^--set mml: no set is named mml; did you mean `mlm`\?$"):
        chosen_sets(["mml"])
    short = sample(tmp_path / "short", 3, seed=1)
    few = replace(short, first=np.array([0, 5, 9, 12]), ids=short.ids[:12])
    with pytest.raises(UserError, match=r"^set context: has no item"):
        list(evaluate(subject, few, [SETS["context"]], tmp_path))


# --- compare -----------------------------------------------------------------------------------------------------------


def evaluated(folder: Path, name: str, held_out: HeldOut, **how: Any) -> Path:
    found = trained(folder, name, **how)
    run = found.folder.parent
    list(evaluate(found, held_out, [SETS["mlm"], SETS["shape"]], run / FOLDER))
    return run


def test_a_model_that_knows_the_unigram_frequencies_is_better_and_a_twin_is_equivalent(tmp_path: Path, held_out: HeldOut) -> None:
    torch.manual_seed(1)
    knowing: Any = masked_lm(small())
    with torch.no_grad():  # it rules out what no text has
        knowing.decoder.bias[250:] = -9.0
    places = [
        str(evaluated(tmp_path, "random", held_out, seed=1)),
        str(evaluated(tmp_path, "twin", held_out, seed=1)),
        str(evaluated(tmp_path, "knowing", held_out, model=knowing)),
    ]
    contestants = [read_contestant(place) for place in places]
    sets = check_comparable(contestants)
    assert sets == ["mlm"], "shape is no score"
    verdicts = compare(contestants, sets)
    assert [(each.name, each.said) for each in verdicts] == [("twin", "equivalent"), ("knowing", "better")]
    told = " ".join(sentences(verdicts, contestants[0], contestants, 0.99))
    assert "knowing is better than random" in told
    assert "not for their recipes under other seeds" in told
    html = page(contestants, verdicts, level=0.99, margin=0.01)
    assert html.count("<svg") == 2
    assert not any(f"{what}=" in html for what in ("src", " href", "action")), "it is whole by itself"
    assert [(each.name, each.said) for each in compare([contestants[2], contestants[0]], sets)] == [("random", "worse")]


def test_what_cannot_be_compared_is_refused_by_name(tmp_path: Path, held_out: HeldOut) -> None:
    one = str(evaluated(tmp_path, "one", held_out))
    long = str(evaluated(tmp_path, "long", held_out, tokens=5000))
    others = str(evaluated(tmp_path, "others", sample(tmp_path / "sample", seed=9)))
    shorter = evaluated(tmp_path, "shorter", held_out)
    body = json.loads((shorter / FOLDER / "mlm.json").read_text())
    body["settings"]["lengths"] = [128]
    (shorter / FOLDER / "mlm.json").write_text(json.dumps(body))
    bare = trained(tmp_path, "bare").folder.parent
    for places, match in (
        ([one, long], r"^budgets differ: one was trained on 1,000 tokens .*, long on 5,000 .*; add --any-budget"),
        ([one, others], r"^set mlm: one and others have different items"),
        ([one, str(shorter)], r"^set mlm: one and shorter have different lengths \(\[128, 256\] and \[128\]\)"),
        ([one, one], r"two contestants are named one"),
        ([one], r"at least two runs"),
        ([one, str(bare)], r"bare: has no results; make them with `foundry evaluate"),
        ([one, "nowhere"], r"^nowhere: no such folder"),
    ):
        with pytest.raises(UserError, match=match) as raised:
            check_comparable([read_contestant(place) for place in places])
        assert "\n" not in str(raised.value)
    assert check_comparable([read_contestant(one), read_contestant(long)], any_budget=True) == ["mlm"]
    (shorter / FOLDER / "mlm.parquet").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"mlm.json: is damaged, or of another version; make it again with `foundry evaluate`"):
        read_contestant(str(shorter))


def test_runs_under_several_seeds_are_one_contestant(tmp_path: Path, held_out: HeldOut) -> None:
    runs = [str(evaluated(tmp_path, f"run{seed}", held_out, seed=seed)) for seed in range(4)]
    contestants = [read_contestant(f"a={runs[0]},{runs[1]}"), read_contestant(f"b={runs[2]},{runs[3]}")]
    assert [(each.name, len(each.runs)) for each in contestants] == [("a", 2), ("b", 2)]
    (verdict,) = compare(contestants, check_comparable(contestants))
    scores = [next(score.score for score in results["mlm"].scores if score.by == "") for each in contestants for results in each.results]
    assert verdict.difference.value == pytest.approx(np.mean(scores[2:]) - np.mean(scores[:2]))
    assert not any("other seeds" in line for line in sentences([verdict], contestants[0], contestants, 0.99))

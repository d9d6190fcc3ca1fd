"""What is seen of a run while it trains: its lines of metrics against a plain training, the screen, and the boards."""

from __future__ import annotations

import json
import math
import random
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from kernel.random import derive
from model import ClassicBertConfig, masked_lm
from model.flops import bf16_peak, forward_flops
from tests.trainer.driver import train_all
from tests.trainer.reference import ReferenceStableAdamW
from tests.trainer.runs import lines_of, steady
from tests.trainer.synthetic import INFO, run_config, write_held_out, write_shards
from tests.trainer.test_survival import Ranks
from trainer import timing
from trainer.boards import Wandb
from trainer.config import RunConfig
from trainer.data import open_data
from trainer.errors import TrainerError
from trainer.groups import LENGTHS, Groups
from trainer.metrics import Metrics
from trainer.norms import KINDS, kind_of
from trainer.optimizer import AdamW, StableAdamW
from trainer.schedule import schedule
from trainer.screen import Screen, large, sparks
from trainer.step import set_phase
from trainer.words import clock

pytestmark = pytest.mark.long

STAGES = range(4)
LOG_EVERY = 3
BATCH, LENGTH = 8, 160  # rows, and tokens of each
PIECES = 12  # held out
# Of which kind each parameter of a layer is, by hand.
BY_HAND = {
    "model.embeddings.tok_embeddings.weight": "embedding",
    "model.embeddings.norm.weight": "norm",
    "model.layers.1.attn_norm.weight": "norm",
    "model.layers.0.attn.Wqkv.weight": "attention",
    "model.layers.0.attn.Wo.weight": "attention",
    "model.layers.0.mlp_norm.weight": "norm",
    "model.layers.0.mlp.Wi.weight": "mlp",
    "model.layers.0.mlp.Wo.weight": "mlp",
    "model.final_norm.weight": "norm",
    "head.dense.weight": "head",
    "head.norm.weight": "norm",
    "decoder.bias": "head",
    "bert.embeddings.position_embeddings.weight": "embedding",
    "bert.embeddings.LayerNorm.bias": "norm",
    "bert.encoder.layer.0.attention.self.query.weight": "attention",
    "bert.encoder.layer.0.attention.output.LayerNorm.weight": "norm",
    "bert.encoder.layer.0.intermediate.dense.weight": "mlp",
    "bert.encoder.layer.0.output.dense.bias": "mlp",
    "cls.predictions.transform.dense.weight": "head",
    "cls.predictions.bias": "head",
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With segments of two classes of length, and held-out pieces of these and of another domain."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder / "stable", 100, info=replace(INFO, length=LENGTH))
    write_held_out(folder / "validation", PIECES, seed=5, info=replace(INFO, length=LENGTH, domains=("code", "science", "web")))
    return folder


def write(shards: Path, run: Path, **training: Any) -> Path:
    run.mkdir(parents=True)
    body = {**run_config(shards, log_every=LOG_EVERY, **{"micro_batch_tokens": 2 * LENGTH, **training}), "run": str(run)}
    body["model"]["max_length"] = LENGTH
    for phase in body["phases"]:
        phase |= {"length": LENGTH, "tokens": phase["tokens"] // (16 * 64) * BATCH * LENGTH, "batch_size": BATCH}
    (run / "run.json").write_text(json.dumps(body))
    return run


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes under each stage, all in one launch."""
    folder = tmp_path_factory.mktemp("trained")
    runs = [write(shards, folder / str(stage), zero_stage=stage) for stage in STAGES]
    train_all([run / "run.json" for run in runs], folder)
    return folder


def per_token(model: Any, source: Any, samples: Any) -> Any:
    """(loss, whether it is right, domain, length of its segment) of each predicted token of some samples, one row at a time."""
    for sample in samples:
        row = source.shards[int(source.rows(np.array([sample]))[0])]
        batch = source.micro_batch(np.array([sample]))
        keys = batch.dropout_keys if model.training else None
        logits = model(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, batch.positions, None, keys).logits
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        right = (logits.argmax(1) == batch.labels).tolist()
        for number, place in enumerate(batch.positions.tolist()):
            segment = next(number for number, end in enumerate(row.cu_seqlens[1:]) if place < end)
            length = int(row.cu_seqlens[segment + 1] - row.cu_seqlens[segment])
            yield losses[number], right[number], source.shards.info.domains[row.domain[segment]], length


def of_sample(model: Any, validation: Any, length: int) -> Any:
    """(loss, whether it is right, domain, length, source) of each predicted token of the held-out sample, one segment at a time."""
    segments = validation.held_out.segments(length)
    for number, (batch, _) in enumerate(validation.parts(length, 1, 0, 1)):
        piece = segments.piece[number]
        logits = model(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, batch.positions, None, None).logits
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        for loss, right in zip(losses, (logits.argmax(1) == batch.labels).tolist(), strict=True):
            yield loss, right, validation.held_out.domain[piece], batch.tokens, validation.held_out.source[piece]


def class_of(length: int) -> str:
    return (
        "1-127"
        if length < 128
        else "128-511"
        if length < 512
        else "512-2047"
        if length < 2048
        else "2048-8191"
        if length < 8192
        else "8192-"
    )


def means(tokens: list[Any]) -> dict[str, dict[str, Any]]:
    """The tables of a line by brute force."""
    found: dict[str, dict[str, Any]] = {"by_domain": defaultdict(list), "by_length": defaultdict(list), "by_source": defaultdict(list)}
    for loss, right, domain, length, *source in tokens:
        for name in source:
            found["by_source"][name].append((float(loss), right))
        found["by_domain"][domain].append((float(loss), right))
        found["by_length"][class_of(length)].append((float(loss), right))
    return {
        table: {
            name: {
                "loss": float(np.mean([one for one, _ in those])),
                "accuracy": float(np.mean([one for _, one in those])),
                "predicted_tokens": len(those),
            }
            for name, those in groups.items()
        }
        for table, groups in found.items()
    }


@pytest.fixture(scope="module")
def plain(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The lines that the same training in plain torch comes to, one row at a time and with whole weights."""
    run = write(shards, tmp_path_factory.mktemp("plain") / "run")
    config = RunConfig.model_validate_json((run / "run.json").read_text())
    data, plan = open_data(config), schedule(list(config.phases))
    torch.manual_seed(derive(config.seed, "weights"))
    model: Any = masked_lm(config.model).train()
    parameters = dict(model.named_parameters())
    optimizer = ReferenceStableAdamW(list(parameters.values()), (0.9, 0.98), 1e-6)
    lines = []

    def validate(step: int) -> None:
        assert data.validation is not None
        with torch.no_grad():
            lines.append({"kind": "validation", "step": step, **means(list(of_sample(model.eval(), data.validation, LENGTH)))})
        model.train()

    set_phase(model, config, config.phases[0])
    validate(0)
    tokens: list[Any] = []
    clipped = updates = 0
    for number in range(plan.steps):
        step = plan.step(number)
        phase = config.phases[step.phase]
        set_phase(model, config, phase)
        found = list(per_token(model, data.phases[step.phase], range(step.first_sample, step.first_sample + step.batch_size)))
        model.zero_grad()
        torch.stack([loss for loss, *_ in found]).mean().backward()
        tokens += [(loss.detach(), *others) for loss, *others in found]
        before = {name: value.detach().clone() for name, value in parameters.items()}
        gradients = {name: value.grad.clone() for name, value in parameters.items() if value.grad is not None}
        optimizer.step(step.learning_rate, phase.learning_rate, phase.weight_decay, decay_vectors=False)
        for index, gradient in enumerate(gradients.values()):
            corrected = optimizer.v[index] / (1 - 0.98**optimizer.t)
            clipped += float((gradient.double().square() / corrected.clamp(min=1e-12)).mean()) > 1 + 2e-6
            updates += 1
        if (number + 1) % LOG_EVERY and not step.last_of_phase:
            continue
        weights = {name: value.detach() for name, value in parameters.items()}
        moved = {name: value - before[name] for name, value in weights.items()}
        norms = {
            of: {
                kind: math.sqrt(sum(float(value.double().square().sum()) for name, value in those.items() if kind_of(name) == kind))
                for kind in KINDS
            }
            for of, those in (("gradient", gradients), ("weight", weights), ("update", moved))
        }
        lines.append({"kind": "train", "step": number + 1, "clipped": clipped / updates, "norms": norms, **means(tokens)})
        tokens, clipped, updates = [], 0, 0
    validate(plan.steps)
    return lines


def assert_close(found: Any, expected: Any, place: str = "") -> None:
    """The numbers of nested sections, up to rounding; counts to the unit."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for name, value in expected.items():
            assert_close(found[name], value, f"{place}/{name}")
    elif isinstance(expected, int):
        assert found == expected, place
    else:
        assert found == pytest.approx(expected, rel=2e-3, abs=1e-7), place


@pytest.mark.parametrize("stage", STAGES)
def test_losses_by_domain_and_length_and_norms_are_those_of_a_plain_training(
    trained: Path, plain: list[dict[str, Any]], stage: int
) -> None:
    lines = lines_of(trained / str(stage) / "metrics.jsonl")
    assert [(line["kind"], line["step"]) for line in lines] == [(line["kind"], line["step"]) for line in plain]
    for line, expected in zip(lines, plain, strict=True):
        names = ("by_domain", "by_length", "by_source")
        if line["kind"] == "train":
            names = ("by_domain", "by_length", "norms", "clipped")  # type: ignore[assignment]
            for table in ("by_domain", "by_length"):
                for values in expected[table].values():
                    values.pop("accuracy", None)  # of evaluations alone
        seen = {name: line[name] for name in names}
        if line["kind"] == "validation":
            seen = {
                table: {group: {k: v for k, v in of.items() if not k.endswith(("_low", "_high"))} for group, of in seen[table].items()}
                for table in names
            }
        assert_close(seen, {name: expected[name] for name in names}, f"step {line['step']}")


@pytest.mark.parametrize("name", ["0", "3"])
def test_a_line_adds_up(trained: Path, name: str) -> None:
    """Each token is of one domain and one class of length; every second is of one part; the whole gradient is that of all kinds."""
    for line in lines_of(trained / name / "metrics.jsonl"):
        predicted = {sum(values["predicted_tokens"] for values in line[table].values()) for table in ("by_domain", "by_length")}
        assert len(predicted) == 1
        for table in ("by_domain", "by_length"):
            total = sum(values["loss"] * values["predicted_tokens"] for values in line[table].values())
            assert total / predicted.copy().pop() == pytest.approx(line["loss"])
        if line["kind"] == "train":
            assert line["seconds"].keys() == set(timing.PARTS)
            assert min(line["seconds"].values()) >= 0
            assert line["memory"] > 1 << 20
            assert line["utilisation"] is None  # of a CPU no peak is known
            trained_for = sum(line["seconds"].values()) - line["seconds"]["evaluation"]
            steps = (line["step"] - 1) % LOG_EVERY + 1 if line["step"] < 10 else 1
            assert line["tokens_per_second"] * trained_for == pytest.approx(steps * BATCH * LENGTH)


def test_what_was_not_written_yet_is_gone_on_with_after_a_stop(shards: Path, trained: Path, tmp_path: Path) -> None:
    """In the middle of a line. And each start is an event."""
    run = write(shards, tmp_path / "run", checkpoint_every=1000)
    assert Ranks(run, [{"kind": "SIGTERM", "rank": 1, "step": 5}]).codes() == [0, 0]
    assert Ranks(run, []).codes() == [0, 0]
    assert steady(run) == steady(trained / "1")
    events = lines_of(run / "events.jsonl")
    assert [(event["event"], event["step"]) for event in events] == [("start", 0), ("stop", 5), ("start", 5)]
    assert [event["text"] for event in events if event["event"] == "start"] == [
        "from the first step, 10 steps in all, by 2 processes under ZeRO 1",
        "from the checkpoint of step 5, 10 steps in all, by 2 processes under ZeRO 1",
    ]


def test_tensorboard_has_every_number_of_every_line(trained: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(trained / "1" / "tensorboard"))
    board.Reload()
    for line in lines_of(trained / "1" / "metrics.jsonl"):
        for tag, value in (
            (f"{line['kind']}/loss", line["loss"]),
            (f"{line['kind']}/by_domain/web/loss", line["by_domain"]["web"]["loss"]),
            *([("train/norms/update/mlp", line["norms"]["update"]["mlp"])] if line["kind"] == "train" else []),
        ):
            assert [one.value for one in board.Scalars(tag) if one.step == line["step"]] == [pytest.approx(value, rel=1e-6)]


def test_an_optimizer_that_does_not_clip_has_no_share_of_clipped_updates() -> None:
    for kind, expected in ((StableAdamW, (1, 2)), (AdamW, None)):
        large, small = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
        optimizer = kind([{"params": [large, small]}], lr=0.1)
        for gradients in ((1.0, 1.0), (9.0, 0.5)):  # the first ratio of a gradient to its own second moment is 1
            before = optimizer.clipping()
            large.grad, small.grad = (torch.full((3,), gradient) for gradient in gradients)
            optimizer.step()
        now = optimizer.clipping()
        assert (None if now is None or before is None else (now[0] - before[0], now[1] - before[1])) == expected


def test_the_kind_of_a_parameter_is_told_from_its_name() -> None:
    assert {name: kind_of(name) for name in BY_HAND} == BY_HAND


def test_segments_are_grouped_by_domain_and_by_length() -> None:
    groups = Groups(("web", "code"))
    lengths = [1, 127, 128, 511, 512, 2047, 2048, 8191, 8192, 100_000]
    found = groups.of_segments(np.arange(10) % 2, np.array(lengths, np.int32))
    assert found[0].tolist() == [0, 1] * 5
    assert [LENGTHS[number - 2] for number in found[1]] == [class_of(length) for length in lengths]


def test_sums_over_groups_are_those_of_a_loop() -> None:
    random_ = random.Random(0)
    groups = Groups(("web", "code", "science"))
    tokens = [(random_.random(), random_.randrange(3), 3 + random_.randrange(5)) for _ in range(500)]
    expected = [sum(value for value, *own in tokens if number in own) for number in range(groups.size)]
    found = groups.sums(torch.tensor([value for value, *_ in tokens]), torch.tensor([own for _, *own in tokens]).T)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert groups.total(expected) == pytest.approx(sum(value for value, *_ in tokens))
    assert groups.sums(torch.empty(0), torch.empty(2, 0, dtype=torch.int64)).tolist() == [0.0] * groups.size
    assert groups.tables([0, 2, 0, 0, 2, 0, 0, 0], loss=expected)["by_domain"] == {"code": {"loss": expected[1] / 2, "predicted_tokens": 2}}


def test_every_moment_is_of_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    clocked = timing.Timing()
    now[0] = 1
    with clocked.part("compute"):
        now[0] = 3
        with clocked.part("communication"):
            now[0] = 7
        now[0] = 15
        with suppress(ValueError), clocked.part("optimizer"):
            now[0] = 31
            raise ValueError("of an error, too")
    now[0] = 63
    assert clocked.take() == dict.fromkeys(timing.PARTS, 0) | {"other": 33, "compute": 10, "communication": 4, "optimizer": 16}
    assert sum(clocked.take().values()) == 0


def test_operations_of_a_classic_bert_are_those_that_torch_counts() -> None:
    config = ClassicBertConfig(vocab_size=128, hidden_size=32, layers=2, heads=2, intermediate_size=48, max_length=64)
    model = masked_lm(config).eval()
    ids, places = torch.arange(40) % 128, torch.arange(0, 40, 4)
    with FlopCounterMode(display=False) as counted, torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(ids, torch.tensor([0, 40], dtype=torch.int32), 40, places)
    assert forward_flops(config, [40], len(places)) == counted.get_total_flops()


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA RTX A4000", None),
        ("Tesla T4", None),
    ],
)
def test_the_peak_of_a_device_is_told_by_the_words_of_its_name(name: str, peak: float | None) -> None:
    assert bf16_peak(name) == peak


# The screen.

LINE = {
    "kind": "train",
    "step": 500,
    "phase": "stable",
    "loss": 3.5,
    "lr": 8e-4,
    "batch_size": 96,
    "gradient_norm": 0.25,
    "clipped": 0.125,
    "tokens_per_second": 1000.0,
    "flops_per_second": 3.12e14,
    "utilisation": 0.41,
    "memory": 2_500_000_000,
    "seconds": {
        "data": 1.0,
        "compute": 70.0,
        "communication": 9.0,
        "optimizer": 10.0,
        "checkpoint": 5.0,
        "evaluation": 4.999,
        "other": 0.001,
    },
    "by_domain": {"web": {"loss": 3.6}, "code": {"loss": 3.1}},
}


def shown(screen: Screen, width: int = 120) -> str:
    console = Console(record=True, width=width, file=StringIO())
    console.print(screen)
    return console.export_text()


def test_the_screen_shows_what_the_last_lines_say() -> None:
    screen = Screen("demo", 1000, 1_000_000, done=510, done_tokens=510_000, phase="stable")
    assert "still to come" in shown(screen)
    screen.add_trained(LINE)
    for words in (
        "51.0%",
        "step 510 of 1,000",
        "8 min 10 s left",
        "3.5000",
        "web 3.600   code 3.100   in training",
        "8.00e-04",
        "updates clipped 12.5%",
        "1,000 tokens/s",
        "312 TFLOP/s",
        "utilisation 41.0%",
        "2.50 GB",
        "compute 70%",
    ):
        assert words in shown(screen), words
    assert "other" not in shown(screen)
    screen.add_validated({"step": 0, "loss": 9.0, "accuracy": 0.0, "by_domain": {"web": {"loss": 9.0}}})
    screen.add_validated({"step": 500, "loss": 4.0, "accuracy": 0.31, "by_domain": {"web": {"loss": 4.1}}})
    screen.events.update({"start": 3, "stop": 2, "left out": 2})
    for words in (
        "4.0000  accuracy 31.0%  after step 500  (9.0000 after step 0)",
        "web 4.100   in validation",
        "steps left out 2   restarts 2",
    ):
        assert words in shown(screen), words
    assert max(map(len, shown(screen, 60).splitlines())) == 60
    screen.add_trained({**LINE, "loss": None, "gradient_norm": None, "clipped": None, "utilisation": None, "by_domain": {}})
    assert "steps left out" in shown(screen)
    screen.recall([{**LINE, "loss": 5.0}, LINE, {**screen.validations[-1], "kind": "validation"}])
    assert "3.5000  █▁" in shown(screen)
    assert "4.0000  accuracy 31.0%  after step 500 " in shown(screen)


def test_small_bars_follow_the_values() -> None:
    assert sparks([], 5) == ""
    assert sparks([1.0], 5) == "▁"
    assert sparks([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparks([0, 0, 7, 7], 2) == "▁█"
    assert [clock(seconds) for seconds in (8, 250, 7500, 273_600)] == ["8 s", "4 min 10 s", "2 h 05 min", "3 d 04 h"]
    assert [large(value) for value in (12, 3.12e14, 9.89e17)] == ["12 ", "312 T", "989 P"]


# Weights & Biases, by a stand-in that writes down what it is asked for.


class FakeWandb:
    """Answers as the package does, as far as the trainer uses it; `broken`: what of it raises."""

    Settings = SimpleNamespace

    def __init__(self, broken: str = "") -> None:
        self.broken, self.calls = broken, []  # type: ignore[var-annotated]

    def _call(self, name: str, arguments: dict[str, Any]) -> None:
        self.calls.append((name, arguments))
        if name == self.broken:
            raise ConnectionError("no network\nat all")

    def init(self, **arguments: Any) -> FakeWandb:
        self._call("init", arguments)
        return self

    def define_metric(self, name: str, *, step_metric: str) -> None:
        self._call("define_metric", {"name": name, "step_metric": step_metric})

    def log(self, values: dict[str, float]) -> None:
        self._call("log", values)

    def finish(self, *, exit_code: int) -> None:
        self._call("finish", {"exit_code": exit_code})


def start(folder: Path, package: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """One start of a run that writes two lines; returns what failed, after which steps."""
    monkeypatch.setitem(sys.modules, "wandb", package)
    run = folder / "run"
    run.mkdir(exist_ok=True)
    body = {**run_config(folder, wandb={"project": "encoders", "mode": "offline"}), "run": str(run)}
    config = RunConfig.model_validate(body)
    assert config.training.wandb is not None
    failed: list[tuple[int, str]] = []
    with Wandb(config.training.wandb, config, lambda step, text: failed.append((step, text))) as board:
        metrics = Metrics(run, 0, board)
        for step in (10, 20):
            metrics.write("train", step, loss=float(step), phase="stable", norms={"weight": {"mlp": 2.0}}, clipped=None)
        metrics.close()
    return failed


def test_wandb_gets_every_number_and_a_resumed_run_goes_on_as_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = [FakeWandb(), FakeWandb()]
    assert [start(tmp_path, package, monkeypatch) for package in packages] == [[], []]
    for package in packages:
        assert [name for name, _ in package.calls] == ["init", "define_metric", "log", "log", "finish"]
        assert [values for name, values in package.calls if name == "log"] == [
            {"train/loss": float(step), "train/norms/weight/mlp": 2.0, "step": step} for step in (10, 20)
        ]
        assert package.calls[-1][1] == {"exit_code": 0}
    first, second = (package.calls[0][1] for package in packages)
    assert first["id"] == second["id"]
    assert (first["project"], first["entity"], first["name"], first["mode"], first["resume"]) == (
        "encoders",
        None,
        "run",
        "offline",
        "allow",
    )
    assert first["config"]["seed"] == 1


@pytest.mark.parametrize(("broken", "step"), [("init", 0), ("log", 10), ("finish", 20)])
def test_wandb_never_stops_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, step: int) -> None:
    package = FakeWandb(broken)
    text = "W&B (training.wandb) failed and gets no more of this start: no network at all"
    assert start(tmp_path, package, monkeypatch) == [(step, text)]
    assert package.calls[-1][0] == broken, "after that it is asked for nothing"
    assert [line["step"] for line in lines_of(tmp_path / "run" / "metrics.jsonl")] == [10, 20]


def test_without_the_package_the_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        TrainerError, match=r"^training.wandb: the package wandb is not installed; run `pip install wandb`, or leave the key out$"
    ):
        start(tmp_path, None, monkeypatch)

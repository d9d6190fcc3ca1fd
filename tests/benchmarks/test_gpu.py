"""The GPU benchmark: its arithmetic and its file, on a machine without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import model.attention
from benchmarks import gpu
from benchmarks.results_file import Peer, Row

CPU = torch.device("cpu")
WORK = gpu.Work.of("tiny", gpu.TINY, 64, 256)
MORE_THAN_THERE_IS = 2**46


def dry_run(folder: Path, *arguments: str) -> int:
    return gpu.main(["--device", "cpu", "--quick", "--out", str(folder / "gpu.json"), *arguments])


def rows_in(folder: Path) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads((folder / "gpu.json").read_text())["rows"]}


@pytest.fixture
def small_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "works", lambda *_: ([WORK], []))
    monkeypatch.setattr(gpu, "available", lambda _: ["matmul", "sdpa"])


@pytest.mark.slow
def test_a_dry_run_writes_rows_of_the_agreed_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry_run(tmp_path, "--profile", str(tmp_path / "profile.txt")) == 0
    assert set(json.loads((tmp_path / "gpu.json").read_text())) == {"benchmark", "machine", "versions", "rows"}
    rows = rows_in(tmp_path)
    error = rows["error against transformers: sdpa"]
    assert error["value"] < 1e-5
    assert (error["at_most"], error["goal"], error["met"]) == (True, 1e-4, True)
    training = rows["tiny 256 sdpa: training"]
    assert training["peer"]["name"].startswith("transformers sdpa")
    assert training["ratio"] == pytest.approx(training["value"] / training["peer"]["value"])
    theirs = rows[f"tiny 256 {training['peer']['name']}: training"]
    assert (theirs["value"], theirs["peer"]) == (training["peer"]["value"], None)
    said = capsys.readouterr()
    assert "tiny 256 sdpa: inference" in said.out
    assert "tiny 256 flex: left out, ModelError: attention: flex has no backward pass" in said.err
    assert said.err.count("bf16 peak not known") == 1
    assert not [name for name in rows if "utilisation" in name or "memory" in name]  # neither is known of a CPU
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    head, columns, *kernels = (tmp_path / "profile.txt").read_text().splitlines()
    assert head.startswith("tiny 256 matmul: a training step takes ")
    assert columns.split() == ["ms", "share", "calls", "kernel"]
    assert len(kernels) == 25
    times = [float(line.split()[0]) for line in kernels]
    assert times == sorted(times, reverse=True)


@pytest.mark.slow
@pytest.mark.usefixtures("small_works")
def test_a_run_that_is_killed_keeps_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def timed(*_: Any) -> gpu.Figure:
        begun.append(sorted(rows_in(tmp_path)))
        if len(begun) == 4:
            raise KeyboardInterrupt
        return gpu.Figure(1.0, None)

    monkeypatch.setattr(gpu, "timed", timed)
    with pytest.raises(KeyboardInterrupt):
        dry_run(tmp_path)
    error, ours = "error against transformers: matmul", "tiny 64 matmul"
    assert begun[:3] == [[error], [error, f"{ours}: training"], [error, f"{ours}: inference", f"{ours}: training"]]
    rows = rows_in(tmp_path)  # killed while it measured transformers' inference
    assert len(rows) == 4
    assert rows[f"{ours}: training"]["peer"]["value"] == 256
    assert rows[f"{ours}: inference"]["peer"] is None


@pytest.mark.slow
@pytest.mark.usefixtures("small_works")
def test_a_kernel_that_does_not_equal_transformers_is_loud_and_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "check_equality", lambda kernel, _: {"matmul": 0.5, "sdpa": 1e-7}[kernel])
    assert dry_run(tmp_path) == 1
    rows = rows_in(tmp_path)
    assert rows["error against transformers: matmul"]["met"] is False
    assert "tiny 64 sdpa: training" in rows
    assert not [name for name in rows if name.startswith("tiny 64 matmul")]
    said = capsys.readouterr()
    assert "matmul: NOT EQUAL to transformers, relative error 0.5, at most 0.0001 allowed; not measured" in said.err
    assert said.err.endswith("benchmarks.gpu: NOT EQUAL to transformers: matmul\n")
    assert "NOT MET" in said.out


@pytest.mark.slow
@pytest.mark.usefixtures("small_works")
def test_a_kernel_that_raises_is_said_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = model.attention.attend

    def attend(kernel: str, *rest: Any, **named: Any) -> torch.Tensor:
        if kernel == "matmul":
            raise RuntimeError("no kernel image is available\nfor this device")
        return real(kernel, *rest, **named)

    monkeypatch.setattr("model.modernbert.attend", attend)
    assert dry_run(tmp_path) == 0
    assert "tiny 64 sdpa: training" in rows_in(tmp_path)
    assert not [name for name in rows_in(tmp_path) if "matmul" in name]
    line = "matmul: left out, equality with transformers could not be checked, RuntimeError: no kernel image is available\n"
    assert line in capsys.readouterr().err
    monkeypatch.setattr(gpu, "available", lambda _: ["matmul"])
    assert dry_run(tmp_path) == 1
    assert "no kernel could be measured" in capsys.readouterr().err


def test_logits_that_are_not_numbers_are_an_infinite_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = model.attention.attend
    monkeypatch.setattr("model.modernbert.attend", lambda *all_, **named: real(*all_, **named) * float("nan"))
    error = gpu.check_equality("sdpa", CPU)
    assert error == float("inf")
    results = gpu.Results(tmp_path / "gpu.json", CPU, "transformers sdpa")
    assert not results.add_error("sdpa", error)
    assert "Infinity" not in (tmp_path / "gpu.json").read_text()
    assert rows_in(tmp_path)["error against transformers: sdpa"]["met"] is False


def test_segments_are_split_longest_first_and_pad_little() -> None:
    assert gpu.split([3, 9, 1, 8], 36, padded=True) == [[1, 3, 0, 2]]
    assert gpu.split([3, 9, 1, 8], 18, padded=True) == [[1, 3], [0, 2]]
    assert gpu.split([3, 9, 1, 8], 12, padded=False) == [[1], [3, 0, 2]]
    assert gpu.split([3, 9, 1, 8], 1, padded=True) == [[1], [3], [0], [2]]


def test_micro_batches_of_transformers_give_the_loss_and_gradients_of_one_batch() -> None:
    batch = gpu.make_batch(WORK.config, list(WORK.segments), CPU)
    twin = gpu.transformers_twin(gpu.fresh(WORK, "sdpa", CPU), CPU).train()

    def step(most: int) -> tuple[int, float, dict[str, torch.Tensor]]:
        parts = gpu.their_batches(batch, WORK.segments, most, "sdpa")
        loss = gpu.training_step(twin, gpu.their_losses(twin, parts), CPU)()
        return len(parts), float(loss), {name: parameter.grad.clone() for name, parameter in twin.named_parameters()}

    count, loss, gradients = step(10**6)
    assert count == 1
    assert loss == pytest.approx(float(twin(**gpu.padded_batch(batch, list(WORK.segments))).loss), rel=1e-5)
    for most, least in ((100, 3), (1, len(WORK.segments))):  # the second has segments in which nothing is predicted
        count, again, others = step(most)
        assert count >= least
        assert again == pytest.approx(loss, rel=1e-5)
        for name, gradient in gradients.items():
            assert torch.allclose(others[name], gradient, rtol=1e-3, atol=1e-6), name


def test_for_flash_a_micro_batch_is_one_row_whose_positions_restart() -> None:
    batch = gpu.make_batch(gpu.TINY, [2, 4, 3], CPU)
    first, second = gpu.their_batches(batch, [2, 4, 3], 5, "flash_attention_2")
    ids = batch["input_ids"]
    assert first["input_ids"].tolist() == [ids[2:6].tolist()]
    assert second["input_ids"].tolist() == [[*ids[6:9].tolist(), *ids[:2].tolist()]]
    assert second["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert sum(int((part["labels"] != -100).sum()) for part in (first, second)) == len(batch["labels"])
    assert "attention_mask" not in first


@pytest.mark.slow
def test_transformers_gets_micro_batches_where_its_batch_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    make, sizes = gpu.transformers_twin, set()

    def room_for_100_tokens(_: Any, __: Any, given: dict[str, torch.Tensor]) -> None:
        if given["input_ids"].numel() > 100:
            torch.empty(MORE_THAN_THERE_IS)
        sizes.add(given["input_ids"].numel())

    def twin(*arguments: Any) -> Any:
        found = make(*arguments)
        found.model.register_forward_pre_hook(room_for_100_tokens, with_kwargs=True)
        return found

    monkeypatch.setattr(gpu, "transformers_twin", twin)
    training, inference = gpu.theirs(WORK, CPU, 1)
    assert min(training.micro_batches, inference.micro_batches) >= 256 / 100
    assert max(sizes) <= 100
    results = gpu.Results(Path(), CPU, "transformers sdpa", figures={(WORK, "transformers sdpa"): {"training": training}})
    assert results.rows()[0].name == f"tiny 64 transformers sdpa in {training.micro_batches} micro-batches: training"


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    monkeypatch.setattr(gpu, "free", lambda _: None)
    monkeypatch.setattr(gpu, "available", lambda _: ["varlen", "flex"])
    monkeypatch.setattr(gpu, "check_equality", lambda *_: 0.005)


def test_what_has_a_goal_is_measured_first_and_then_transformers_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_gpu(monkeypatch, "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(gpu, "best_backend", lambda _: "sdpa")
    order = []

    def ours(work: gpu.Work, kernel: str, *_: Any) -> gpu.Figures:
        order.append(f"{work.name} {kernel}")
        yield gpu.Figure(work.flops("training") / (0.45 * 989e12), 20.0)
        yield gpu.Figure(work.flops("inference") / (0.6 * 989e12), 5.0)

    def theirs(work: gpu.Work, *_: Any) -> gpu.Figures:
        order.append(f"{work.name} transformers")
        yield gpu.Figure(work.flops("training") / (0.15 * 989e12), 60.0, 4)
        yield gpu.Figure(work.flops("inference") / (0.2 * 989e12), 10.0)

    monkeypatch.setattr(gpu, "ours", ours)
    monkeypatch.setattr(gpu, "theirs", theirs)
    assert gpu.main(["--out", str(tmp_path / "gpu.json")]) == 0
    near = ["base 1024", "large 1024"]
    far = ["base 8192", "large 8192"]
    fast = [f"{work} {who}" for works in (near, far) for who in ("varlen", "transformers") for work in works]
    assert order == [*fast, *(f"{work} flex" for work in [*near, *far])]
    rows = rows_in(tmp_path)
    base, large = (rows[f"{work} varlen: utilisation"] for work in near)
    assert (base["value"], base["goal"], base["peer"], base["met"]) == (pytest.approx(0.45), 0.40, None, True)
    assert (large["goal"], large["met"]) == (0.50, False)
    other = rows["base 1024 flex: utilisation"]
    theirs_named = "transformers sdpa in 4 micro-batches"
    assert (other["goal"], other["peer"]["name"], other["ratio"]) == (None, theirs_named, pytest.approx(3.0))
    assert rows[f"base 1024 {theirs_named}: utilisation"]["value"] == pytest.approx(0.15)
    assert rows["base 1024 varlen: inference utilisation"]["value"] == pytest.approx(0.6)
    assert rows["base 1024 transformers sdpa: inference utilisation"]["value"] == pytest.approx(0.2)
    assert rows["base 1024 varlen: peak memory"]["ratio"] == pytest.approx(3.0)  # the smaller is the better
    assert rows["base 1024 varlen: inference peak memory"]["ratio"] == pytest.approx(2.0)
    assert rows["base 1024 varlen: training"]["ratio"] == pytest.approx(3.0)


def test_a_run_without_time_measures_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_gpu(monkeypatch, "Unheard-of 1")
    assert gpu.main(["--quick", "--minutes", "0", "--out", str(tmp_path / "gpu.json")]) == 1
    said = capsys.readouterr().err
    assert said.count("Unheard-of 1: bf16 peak not known, utilisation left out\n") == 1
    assert "base 1024 varlen: training left out, no time\n" in said
    assert "flex: left out, no time\n" in said


@pytest.mark.parametrize(("name", "peak"), [("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA T4", None)])
def test_the_peak_is_the_devices_own(monkeypatch: pytest.MonkeyPatch, name: str, peak: float | None) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert gpu.bf16_peak(torch.device("cuda")) == peak


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "no GPU" in capsys.readouterr().err


def test_rows_are_packed_to_their_last_token() -> None:
    for row in gpu.packed_rows(20, 1024, seed=1):
        assert sum(row) == 1024
        assert min(row) >= 16


def test_a_goal_is_met_by_what_was_measured() -> None:
    assert Row("a", "u", 6.0, Peer("p", "1", 2.0), goal=3.0).to_dict()["met"] is True
    assert Row("a", "u", 5.9, Peer("p", "1", 2.0), goal=3.0).to_dict()["met"] is False
    assert Row("a", "u", 0.4, None, goal=0.5).to_dict()["met"] is False
    assert Row("a", "u", 0.4).to_dict()["met"] is None

"""`foundry model check`: masks read off the kernels, the worth of unpadding, throughput."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import model.check
from jobs.cli import app
from model import ModelError, ModernBertConfig, ModernBertForMaskedLM
from model.check import Timing, keys_promised, keys_seen_by_kernel, out_of_memory, patterns, picture, ragged, throughput, unpadding
from tests.profiles import share

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "layers": 4,
    "heads": 4,
    "intermediate_size": 96,
    "window": 16,
    "max_length": 512,
}
CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@settings(max_examples=share(0.25))
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.sampled_from([None, 2, 16, 64]), st.sampled_from(["matmul", "sdpa"]))
def test_kernels_see_the_keys_of_their_segment_and_window_and_no_others(lengths: list[int], window: int | None, kernel: str) -> None:
    seen = keys_seen_by_kernel(kernel, lengths, window, 16, CPU, torch.float32)
    assert bool((seen == keys_promised(lengths, window)).all())


def test_the_alternating_pattern_is_told_by_layer_and_pairs() -> None:
    wide, near = patterns(ModernBertConfig(**SMALL), CPU)
    assert (wide.layers, near.layers) == ((0, 3), (1, 2))
    assert wide.right
    assert near.right
    assert wide.seen == 24**2 + 1 + 8**2 + 17**2
    assert near.seen == sum(abs(i - j) <= 8 for n in (24, 1, 8, 17) for i in range(n) for j in range(n))
    (only,) = patterns(ModernBertConfig(**{**SMALL, "global_every": 1}), CPU)
    assert only.layers == (0, 1, 2, 3)


def test_a_mask_is_drawn_small() -> None:
    assert picture(keys_promised([2, 1], None)) == ["██·", "██·", "··█"]
    assert {len(line) for line in picture(keys_promised([300], 16))} == {32}


def test_the_worth_of_unpadding_counts_real_tokens() -> None:
    torch.manual_seed(0)
    found = unpadding(ModernBertForMaskedLM(ModernBertConfig(**SMALL)), 64, 4, repeats=1)
    assert found is not None
    assert found.without.lengths == (28, 40, 52, 64) == tuple(ragged(64, 4))
    assert found.padded.lengths == (64,) * 4
    assert found.padding == pytest.approx(1 - 184 / 256)
    assert found.worth == found.without.tokens_per_second / found.padded.tokens_per_second


def test_throughput_is_timed_for_every_batch_size() -> None:
    model = ModernBertForMaskedLM(ModernBertConfig(**SMALL))
    timings = list(throughput(model, 16, [1, 3], repeats=1))
    assert [timing.lengths for timing in timings if timing is not None] == [(16,), (16, 16, 16)]
    assert all(timing.tokens_per_second == sum(timing.lengths) / timing.seconds for timing in timings if timing is not None)


MORE_THAN_THERE_IS = 2**46


def test_a_memory_that_does_not_suffice_is_known_by_the_allocators_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(MORE_THAN_THERE_IS)
    assert out_of_memory(caught.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))


@pytest.fixture
def small_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModernBertConfig, "base", classmethod(lambda cls: cls(**SMALL)))


@pytest.fixture
def room_for_100_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps over more than 100 tokens ask the allocator for more than there is."""
    real = model.check.time_step

    def time_step(model: ModernBertForMaskedLM, lengths: Sequence[int], *arguments: Any, **named: Any) -> Timing:
        if sum(lengths) > 100:
            torch.empty(MORE_THAN_THERE_IS)
        return real(model, lengths, *arguments, **named)

    monkeypatch.setattr(model.check, "time_step", time_step)


@pytest.mark.usefixtures("room_for_100_tokens")
def test_what_does_not_fit_is_left_out_and_the_rest_is_timed() -> None:
    model = ModernBertForMaskedLM(ModernBertConfig(**SMALL))
    assert [timing is None for timing in throughput(model, 50, [1, 3, 2], repeats=1)] == [False, True, False]
    assert unpadding(model, 50, 3, repeats=1) is None
    assert unpadding(model, 50, 2, repeats=1) is not None


def test_another_error_of_a_step_is_not_taken_for_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_step(*_: Any, **__: Any) -> Timing:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(model.check, "time_step", time_step)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        unpadding(ModernBertForMaskedLM(ModernBertConfig(**SMALL)), 50, 2)


@pytest.mark.usefixtures("small_base")
def test_the_command_shows_masks_unpadding_and_throughput() -> None:
    result = CliRunner().invoke(app, ["model", "check", "--device", "cpu", "--length", "64", "--batches", "1,4", "--repeats", "1"])
    assert result.exit_code == 0, result.output
    text = result.output
    assert "4 layers of 64, 4 heads, 0.2 M parameters; float32, kernel matmul on cpu" in text
    assert "global: layers 0, 3\n    930 pairs seen, as promised" in text
    assert "local, 8 tokens to each side: layers 1, 2\n" in text
    assert len([line for line in text.splitlines() if re.fullmatch(r"  [█·]{32}   [█·]{32}", line)]) == 32

    def numbers(pattern: str) -> list[float]:
        found = re.search(pattern, text)
        assert found, (pattern, text)
        return [float(value.replace(",", "")) for value in found.groups()]

    (without,) = numbers(r"without padding +([\d,]+) real tokens/s")
    share, padded = numbers(r"filled up, (\d+)% padding +([\d,]+) real tokens/s")
    (worth,) = numbers(r"worth +([\d.]+) times")
    assert share == 28  # 28, 40, 52 and 64 tokens of 4 x 64
    # Printed to a hundredth and to whole tokens a second: the ratio can be no more exact than these roundings, on a machine of any speed.
    assert (without - 0.5) / (padded + 0.5) - 0.005 <= worth <= (without + 0.5) / (padded - 0.5) + 0.005
    for count in (1, 4):
        seconds, rate = numbers(rf"\n +{count} +{64 * count} +([\d.]+) +([\d,]+) +[\d.]+ [kMG]\n")
        # The first is printed to a thousandth of a second, the second to a whole one: neither can be more exact than that.
        assert 64 * count / (seconds + 0.0005) - 0.5 <= rate
        assert seconds < 0.0005 or rate <= 64 * count / (seconds - 0.0005) + 0.5
    assert re.search(r"\nchecked in \d+ s\n", text)


@pytest.mark.usefixtures("small_base")
def test_the_command_checks_what_the_recipe_would_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its precision and kernel, unless others are asked for."""
    recipe = tmp_path / "recipe.yaml"
    body = yaml.safe_load((ROOT / "recipes" / "demo.yaml").read_text(encoding="utf-8"))
    body["model"] = {**SMALL, "vocab_size": body["model"]["vocab_size"], "max_length": body["model"].get("max_length", 8192)}
    body["training"] = {**body["training"], "precision": "bfloat16", "attention": "sdpa"}
    recipe.write_text(yaml.safe_dump(body), encoding="utf-8")
    dtypes = []
    real = ModernBertForMaskedLM.forward

    def forward(self: ModernBertForMaskedLM, *arguments: Any) -> Any:
        dtypes.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        return real(self, *arguments)

    monkeypatch.setattr(ModernBertForMaskedLM, "forward", forward)
    command = ["model", "check", str(recipe), "--device", "cpu", "--length", "20", "--batches", "1", "--repeats", "1"]
    for more, words, dtype in (
        ([], "bfloat16, kernel sdpa on cpu", torch.bfloat16),
        (["--precision", "float32", "--attention", "auto"], "float32, kernel matmul on cpu", torch.float32),
    ):
        dtypes.clear()
        result = CliRunner().invoke(app, [*command, *more])
        assert result.exit_code == 0, result.output
        assert words in result.output
        assert set(dtypes) == {dtype}


@pytest.mark.usefixtures("small_base", "room_for_100_tokens")
def test_the_command_says_what_does_not_fit_and_goes_on() -> None:
    result = CliRunner().invoke(app, ["model", "check", "--device", "cpu", "--length", "50", "--batches", "3,1", "--repeats", "1"])
    assert result.exit_code == 0, result.output
    assert "3 segments of up to 50 tokens do not fit into memory; try a smaller --length or --batches\n" in result.output
    assert re.search(r"\n +3 +150   out of memory\n +1 +50 +[\d.]+ ", result.output)


@pytest.mark.usefixtures("small_base")
def test_a_model_that_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModernBertForMaskedLM, "to", lambda *_: torch.empty(MORE_THAN_THERE_IS))
    result = CliRunner().invoke(app, ["model", "check", "--device", "cpu"])
    assert isinstance(result.exception, ModelError)
    assert str(result.exception) == "the model does not fit into the memory of cpu; free some, or check a smaller one"


def test_the_command_refuses_what_cannot_be_in_one_line() -> None:
    for arguments, words in (
        (["--size", "huge"], "there are base, large"),
        (["--device", "abacus"], "--device"),
        (["--device", "meta"], "give cpu, cuda or cuda:N"),
        (["--batches", "1,x"], "--batches"),
        (["--batches", "0"], "at least 1"),
        (["--precision", "float16"], "--precision float16: there are float32, bfloat16"),
        (["--device", "cpu", "--length", "9000"], "longer than model.max_length 8192"),
    ):
        result = CliRunner().invoke(app, ["model", "check", *arguments])
        assert isinstance(result.exception, ModelError)
        assert words in str(result.exception)
        assert "\n" not in str(result.exception)

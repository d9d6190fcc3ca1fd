"""ModernBERT against transformers on the same random weights, and against the paper's numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model import ClassicBertConfig, ModelError, ModernBertConfig, ModernBertForMaskedLM, bridge
from model.flops import encoder_flops, forward_flops, keys_seen, parameters
from model.loss import cross_entropies

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "layers": 5,
    "heads": 4,
    "intermediate_size": 96,
    "window": 16,
    "max_length": 512,
    "attention_out_dropout": 0.0,
}


def batch(config: ModernBertConfig, lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, int]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, config.vocab_size, (sum(lengths),), generator=generator)
    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    return ids, edges, max(lengths)


def lively(model: ModernBertForMaskedLM, seed: int = 1) -> ModernBertForMaskedLM:
    """Weights large enough that every part of the model matters to its output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.08, generator=generator)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def gradients_of(model: ModernBertForMaskedLM) -> list[torch.Tensor]:
    """A copy of every parameter's gradient, of which none is missing."""
    found = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None for gradient in found)
    return [gradient.clone() for gradient in found if gradient is not None]


def twin(model: ModernBertForMaskedLM, folder: Path, attention: str = "eager") -> Any:
    """transformers' model of the same weights. Its plain attention keeps every layer's matrix of all pairs; "sdpa" does not."""
    from transformers import AutoModelForMaskedLM

    bridge.save(model, folder)
    return AutoModelForMaskedLM.from_pretrained(folder, attn_implementation=attention, dtype=torch.float32)


@pytest.mark.parametrize("lengths", [[1], [2, 1, 3], [8, 9, 10, 17, 64], [200, 1, 33, 129, 500]])
def test_logits_and_gradients_are_those_of_transformers(tmp_path: Path, lengths: list[int]) -> None:
    model = lively(ModernBertForMaskedLM(ModernBertConfig(**SMALL)))
    theirs = twin(model, tmp_path).eval()
    model.eval()
    ids, edges, longest = batch(model.config, lengths)
    labels = ids.roll(1)
    logits = model(ids, edges, longest).logits
    assert logits is not None
    model(ids, edges, longest, torch.arange(len(ids)), labels).loss.backward()
    total = torch.zeros(())
    for begin, end in zip(edges, edges[1:], strict=False):
        one = theirs(input_ids=ids[None, begin:end], attention_mask=torch.ones(1, int(end - begin), dtype=torch.long)).logits[0]
        assert float((one - logits[begin:end]).detach().abs().max()) < 1e-4
        total = total + torch.nn.functional.cross_entropy(one, labels[begin:end], reduction="sum")
    total.backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in model.named_parameters():
        other = gradients[name].grad
        assert float((parameter.grad - other).norm() / other.norm().clamp(min=1e-6)) < 1e-3, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "lengths"),
    [
        ("base", [300, 1, 130]),
        pytest.param("base", [2048, 1, 300], marks=pytest.mark.thorough),
        pytest.param("large", [2048, 1, 300], marks=pytest.mark.thorough),
    ],
    ids=str,
)
def test_published_sizes_are_those_of_transformers_forward_and_backward(tmp_path: Path, size: str, lengths: list[int]) -> None:
    """On a ragged batch; one forward and backward pass of the real thing."""
    make = {"base": ModernBertConfig.base, "large": ModernBertConfig.large}[size]
    config = make(cls_token_id=50281, sep_token_id=50282, pad_token_id=50283, attention_out_dropout=0.0)
    torch.manual_seed(0)
    model = ModernBertForMaskedLM(config)
    theirs = twin(model, tmp_path, "sdpa" if (size, max(lengths)) == ("large", 2048) else "eager").eval()  # 18 GB would be kept
    ids, edges, longest = batch(config, lengths)
    positions = torch.arange(0, len(ids), 29)
    model(ids, edges, longest, positions, ids[positions]).loss.backward()
    with torch.no_grad():
        logits = model(ids, edges, longest, positions).logits
    assert logits is not None
    worst, begin = 0.0, 0
    for length in lengths:
        wanted = positions[(positions >= begin) & (positions < begin + length)] - begin
        if not len(wanted):  # a segment of which the head saw no token
            begin += length
            continue
        piece = ids[None, begin : begin + length]
        hidden = theirs.model(input_ids=piece, attention_mask=torch.ones_like(piece))[0][0]
        other = theirs.decoder(theirs.head(hidden[wanted]))
        mine = logits[(positions >= begin) & (positions < begin + length)]
        worst = max(worst, float((other - mine).abs().max()))
        torch.nn.functional.cross_entropy(other, piece[0][wanted], reduction="sum").backward()
        begin += length
    assert worst < 1e-4
    gradients = dict(theirs.named_parameters())
    for name, parameter in model.named_parameters():
        other = gradients[name].grad
        assert float((parameter.grad - other).norm() / other.norm()) < 1e-3, name


@pytest.mark.slow
def test_a_small_model_is_that_of_transformers_up_to_8192(tmp_path: Path) -> None:
    config = ModernBertConfig(**{**SMALL, "layers": 4, "window": 128, "max_length": 8192})
    model = lively(ModernBertForMaskedLM(config)).eval()
    assert bridge.export(model, tmp_path) < 1e-4
    assert bridge.largest_difference(model, tmp_path, lengths=[8192, 1, 777]) < 1e-4


def test_initial_loss_is_that_of_a_uniform_guess() -> None:
    config = ModernBertConfig(**{**SMALL, "vocab_size": 50_368, "max_length": 2048})
    torch.manual_seed(0)
    ids, edges, longest = batch(config, [1000, 2000])
    positions = torch.arange(0, 3000, 3)
    loss = ModernBertForMaskedLM(config).eval()(ids, edges, longest, positions, ids[positions]).loss
    assert float(loss) / len(positions) == pytest.approx(math.log(50_368), rel=0.01)


def test_parameters_are_counted_as_the_paper_does() -> None:
    """149 and 395 million (arXiv 2412.13663, section 2.1)."""
    assert round(parameters(ModernBertConfig.base()) / 1e6) in (149, 150)
    assert round(parameters(ModernBertConfig.large()) / 1e6) in (395, 396)
    small = ModernBertConfig(**SMALL)
    assert parameters(small) == sum(parameter.numel() for parameter in ModernBertForMaskedLM(small).parameters())


def test_initial_weights_have_the_published_spread() -> None:
    torch.manual_seed(0)
    model = ModernBertForMaskedLM(ModernBertConfig(**{**SMALL, "hidden_size": 256, "intermediate_size": 512}))
    cut = 0.8796  # standard deviation of a unit normal cut at two
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            assert set(parameter.unique().tolist()) == ({0.0} if name.endswith("bias") else {1.0})
            continue
        std = 0.02 / math.sqrt(2 * 5) if name.endswith("Wo.weight") else 0.02
        assert float(parameter.std()) == pytest.approx(cut * std, rel=0.03), name
        assert float(parameter.abs().max()) <= 2 * std


def test_layers_are_global_and_local_in_turn_and_the_first_has_no_norm() -> None:
    base = ModernBertConfig.base()
    assert [layer for layer in range(base.layers) if base.is_global(layer)] == [0, 3, 6, 9, 12, 15, 18, 21]
    assert sum(ModernBertConfig.large().is_global(layer) for layer in range(28)) == 10
    names = dict(ModernBertForMaskedLM(ModernBertConfig(**SMALL)).named_parameters())
    assert "model.layers.0.attn_norm.weight" not in names
    assert "model.layers.1.attn_norm.weight" in names


class _AsOnAGpu(torch.nn.LayerNorm):
    """A norm that autocast leaves in float32."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            return super().forward(hidden.float())


@pytest.mark.parametrize(
    "config", [ModernBertConfig(**SMALL), ClassicBertConfig(vocab_size=50, hidden_size=16, layers=1, heads=2, intermediate_size=16)]
)
def test_under_a_gpus_autocast_the_vocabulary_is_multiplied_in_half_precision(
    config: ModernBertConfig | ClassicBertConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model import bert, masked_lm, modernbert

    taken: list[torch.dtype] = []

    def watched(hidden: torch.Tensor, *given: Any) -> Any:
        taken.append(hidden.dtype)
        return cross_entropies(hidden, *given)

    monkeypatch.setattr(modernbert, "cross_entropies", watched)
    monkeypatch.setattr(bert, "cross_entropies", watched)
    model = masked_lm(config)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.LayerNorm):
                parent.add_module(name, _AsOnAGpu(child.normalized_shape, child.eps, bias=child.bias is not None))
    ids, edges, places = torch.randint(0, 50, (12,)), torch.tensor([0, 5, 12], dtype=torch.int32), torch.arange(4)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            model(ids, edges, 7, places, ids[:4]).loss.backward()
    assert taken == [torch.float32, torch.bfloat16]


def rounding_of_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """How far float32 may be from the truth, whatever the processor: of the loss, and of each element of the three gradients.

    By the standard model of rounding (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1): a sum of k products, in
    any order and with or without fused steps, is off by at most k * u / (1 - k * u) times the sum of their sizes, u = 2^-24. A logit
    that is off by d changes each probability by a factor of at most exp(2 d); the exponent's own rounding is one of the size of the
    row's spread. The arguments are float64; all are bounded from above.
    """
    unit = 2.0**-24

    def gamma(terms: int) -> float:
        return terms * unit / (1 - terms * unit)

    logits = hidden @ weight.T + bias
    off = (gamma(hidden.shape[1] + 2) * (hidden.abs() @ weight.T.abs() + bias.abs())).amax(1, keepdim=True)
    off = off + unit * (logits.amax(1, keepdim=True) - logits.amin(1, keepdim=True)) + gamma(len(weight) + 8)
    chances = logits.softmax(1)
    slope = chances - torch.nn.functional.one_hot(labels, len(weight))
    of_slope = chances * torch.expm1(2 * off) + unit * slope.abs() + 1e-30
    rows, classes = gamma(len(hidden) + 2), gamma(len(weight) + 2)
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return [
        (2 * off).sum() + rows * loss.abs().sum(),
        of_slope @ weight.abs() + classes * (slope.abs() + of_slope) @ weight.abs(),
        of_slope.T @ hidden.abs() + rows * (slope.abs() + of_slope).T @ hidden.abs(),
        of_slope.sum(0) + rows * (slope.abs() + of_slope).sum(0),
    ]


@pytest.mark.parametrize("size", [1.0, 60.0])  # the larger gives probabilities that float32 cannot hold
def test_chunked_loss_and_gradients_are_those_of_plain_cross_entropy(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both against float64, within what float32 can give on any processor."""
    from model import loss as module

    monkeypatch.setattr(module, "CHUNK_LOGITS", {"cpu": 7 * 50})
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(shape, generator=generator) for shape in ((23, 16), (50, 16), (50,)))
    hidden *= size
    labels = torch.randint(0, 50, (23,), generator=generator)

    def plainly(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(hidden @ weight.T + bias, labels, reduction="sum")

    def found(dtype: torch.dtype, function: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        leaves = [tensor.to(dtype).clone().requires_grad_() for tensor in (hidden, weight, bias)]
        loss = function(*leaves, labels)
        return [loss.detach(), *torch.autograd.grad(3 * loss, leaves)]

    if size > 1:
        assert float(torch.softmax(hidden @ weight.T + bias, 1).gather(1, labels[:, None]).min()) == 0
    truth = found(torch.float64, plainly)
    bounds = rounding_of_cross_entropy(hidden.double(), weight.double(), bias.double(), labels)
    for function in (module.cross_entropy_sum, plainly):
        for value, exact, bound, scale in zip(found(torch.float32, function), truth, bounds, (1, 3, 3, 3), strict=True):
            assert bool(((value.double() - exact).abs() <= scale * bound).all())


def test_the_loss_is_the_same_under_autocast() -> None:
    from model.loss import cross_entropy_sum

    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(shape, generator=generator, requires_grad=True) for shape in ((23, 16), (50, 16), (50,)))
    labels = torch.randint(0, 50, (23,), generator=generator)
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = cross_entropy_sum(60 * hidden, weight, bias, labels)
        found.append([loss, *torch.autograd.grad(loss, (hidden, weight, bias))])
    for plain, cast in zip(*found, strict=True):
        torch.testing.assert_close(cast, plain, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_loss_of_half_precision_is_within_its_rounding(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64 on the same rounded inputs: logits are rounded once more, probabilities are not."""
    from model import loss as module

    monkeypatch.setattr(module, "CHUNK_LOGITS", {"cpu": 7 * 50})
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 16, generator=generator).to(dtype)
    weight, bias = torch.randn(50, 16, generator=generator), torch.randn(50, generator=generator)
    labels = torch.randint(0, 50, (23,), generator=generator)
    ours = [tensor.clone().requires_grad_() for tensor in (hidden, weight, bias)]
    plain = [tensor.to(dtype).double().requires_grad_() for tensor in (hidden, weight, bias)]
    loss = module.cross_entropy_sum(ours[0], ours[1], ours[2], labels)
    other = torch.nn.functional.cross_entropy(plain[0] @ plain[1].T + plain[2], labels, reduction="sum")
    loss.backward()
    other.backward()
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(other), rel=1e-2)
    for mine, theirs in zip(ours, plain, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert mine.grad.dtype == mine.dtype
        assert float((mine.grad.double() - theirs.grad).norm() / theirs.grad.norm()) < (1e-2 if dtype == torch.bfloat16 else 2e-3)


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
def test_autocast_to_bfloat16_is_the_float32_model_within_its_rounding(kernel: str) -> None:
    """Forward, loss and gradients, as the trainer's `precision: bfloat16` runs them, over float32 weights."""
    model = ModernBertForMaskedLM(ModernBertConfig(**SMALL), attention=kernel)
    ids, edges, longest = batch(model.config, [200, 1, 33, 129])
    positions = torch.arange(0, len(ids), 3)
    found = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = model(ids, edges, longest, positions, ids[positions]).loss
        assert loss is not None
        assert loss.dtype == torch.float32
        loss.backward()
        found.append((float(loss.detach()), dict(zip(dict(model.named_parameters()), gradients_of(model), strict=True))))
    (plain, slopes), (half, half_slopes) = found
    assert half == pytest.approx(plain, rel=1e-3)
    for name, slope in slopes.items():
        assert half_slopes[name].dtype == torch.float32
        assert float((half_slopes[name] - slope).norm() / slope.norm()) < 0.1, name


def test_nothing_to_predict_is_no_loss_and_no_gradient() -> None:
    model = ModernBertForMaskedLM(ModernBertConfig(**SMALL))
    ids, edges, longest = batch(model.config, [10])
    none = torch.empty(0, dtype=torch.int64)
    loss = model(ids, edges, longest, none, none).loss
    assert float(loss) == 0
    loss.backward()
    assert all(float(parameter.grad.abs().sum()) == 0 for parameter in model.parameters() if parameter.grad is not None)


def test_tokens_that_are_not_asked_for_change_nothing_of_those_that_are() -> None:
    model = lively(ModernBertForMaskedLM(ModernBertConfig(**SMALL)))
    ids, edges, longest = batch(model.config, [40, 1, 30])
    for positions in (torch.tensor([70, 3, 3, 41]), torch.arange(71), torch.empty(0, dtype=torch.int64)):
        found = []
        for hidden in (model.model(ids, edges, longest)[positions], model.model(ids, edges, longest, positions)):
            model.zero_grad()
            hidden.square().sum().backward()
            found.append([hidden, *(parameter.grad for parameter in model.model.parameters())])
        for all_of_them, asked in zip(*found, strict=True):
            torch.testing.assert_close(asked, all_of_them, rtol=1e-4, atol=1e-4)
    output = model(ids, edges, longest, torch.tensor([3, 50]), torch.tensor([7, 7]))
    assert output.tokens == 2


def test_activation_checkpointing_changes_nothing() -> None:
    model = lively(ModernBertForMaskedLM(ModernBertConfig(**{**SMALL, "attention_out_dropout": 0.1}))).train()
    ids, edges, longest = batch(model.config, [40, 30])
    gradients = []
    for flag in (False, True):
        model.model.activation_checkpointing = flag
        model.zero_grad()
        torch.manual_seed(5)
        model(ids, edges, longest, torch.arange(70), ids).loss.backward()
        gradients.append(gradients_of(model))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_flops_count_what_is_computed_and_no_padding() -> None:
    assert keys_seen([5, 3], None) == 34
    for length in (1, 2, 7, 20):
        seen = sum(abs(i - j) <= 4 for i in range(length) for j in range(length))
        assert keys_seen([length], 8) == seen
    config = ModernBertConfig(**SMALL)
    one, two = (forward_flops(config, [100] * count, 30 * count) for count in (1, 2))
    assert two == 2 * one
    assert forward_flops(config, [50, 50], 30) < one


def test_flops_of_the_published_models_are_these() -> None:
    """Worked out by hand for one segment of 1024 tokens, 307 of them predicted.

    Base: 22 x 1024 x 2 x (4 x 768^2 + 3 x 768 x 1152) for the projections; 4 x 768 a pair, with 1024^2 pairs in 8 layers and
    1024 x 129 - 64 x 65 in 14; 307 x 2 x (768^2 + 768 x 50,368) for the head and decoder; less the last layer's output projection and
    MLP, 768^2 + 3 x 768 x 1152, on the 717 tokens that are not predicted. Large likewise.
    """
    base = 22 * 1024 * 2 * 5_013_504 + 4 * 768 * (8 * 1_048_576 + 14 * 127_936) + 307 * 2 * 39_272_448
    large = 28 * 1024 * 2 * 12_255_232 + 4 * 1024 * (10 * 1_048_576 + 18 * 127_936) + 307 * 2 * 52_625_408
    assert encoder_flops(ModernBertConfig.base(), [1024]) == base - 307 * 2 * 39_272_448
    base -= 717 * 2 * 3_244_032
    large -= 717 * 2 * 9_109_504
    assert forward_flops(ModernBertConfig.base(), [1024], 307) == base == 276_621_852_672
    assert forward_flops(ModernBertConfig.large(), [1024], 307) == large == 774_395_133_952


def test_matrix_products_that_run_are_those_that_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own counter over a whole forward pass by the matmul kernel: its band is at most half as wide again as the window."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    from model.matmul import matmul_attention

    monkeypatch.setattr("model.attention.matmul_attention", matmul_attention._init_fn)  # the counter does not look into operators
    config = ModernBertConfig(**{**SMALL, "window": 128, "attention_out_dropout": 0.0})
    model = ModernBertForMaskedLM(config).eval()
    counts = []
    for lengths in ([256, 200], [256, 200] * 2):
        ids, edges, longest = batch(config, lengths)
        flash = {
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda query, key, value, **_: sdpa_flop_count(query, key, value)
        }
        with FlopCounterMode(display=False, custom_mapping=flash) as counter, torch.no_grad():
            model(ids, edges, longest, torch.arange(10))
        counts.append(counter.get_total_flops())
    assert forward_flops(config, [256, 200], 10) <= counts[0] * 1.001
    assert counts[0] < 1.3 * forward_flops(config, [256, 200], 10)
    assert counts[1] < 2.01 * counts[0]  # twice the tokens, twice the work


def test_dropout_is_drawn_in_training_alone_and_keeps_the_mean() -> None:
    config = ModernBertConfig(**{**SMALL, "attention_out_dropout": 0.1, "embedding_dropout": 0.2, "mlp_dropout": 0.3})
    model = lively(ModernBertForMaskedLM(config))
    ids, edges, longest = batch(config, [40, 20])
    model.eval()
    still = model(ids, edges, longest).logits
    torch.testing.assert_close(model(ids, edges, longest).logits, still, rtol=0, atol=0)
    model.train()
    torch.manual_seed(0)
    first, second = model(ids, edges, longest).logits, model(ids, edges, longest).logits
    assert not torch.allclose(first, second)
    attention: Any = model.model.layers[1].attn
    hidden = torch.ones(1, 64)
    attention.Wo.weight.data.copy_(torch.eye(64))
    dropped = torch.nn.functional.dropout(attention.Wo(hidden.expand(20_000, -1)), attention.dropout, True)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("bias", [False, True])
def test_geglu_by_hand_is_the_plain_one_forward_and_backward(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    """Both against float64, within the rounding of their sums: terms that a value goes through, of the size of the largest."""
    from model import geglu as module

    monkeypatch.setattr(module, "ROWS", 7)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator) for shape in ((23, 16), (40, 16), (16, 20))]
    parts = [torch.randn(16, generator=generator) * 0.3 + 1 - number for number in range(1 + bias)]
    slope = torch.randn(23, 16, generator=generator)

    def plainly(hidden: torch.Tensor, norm: torch.nn.LayerNorm, into: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        value, gate = (norm(hidden) @ into.T).chunk(2, dim=-1)
        result: torch.Tensor = (torch.nn.functional.gelu(value) * gate) @ out.T
        return result

    def found(dtype: torch.dtype, function: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        leaves = [tensor.to(dtype).clone().requires_grad_() for tensor in inputs]
        norm = torch.nn.LayerNorm(16, bias=bias, dtype=dtype)
        for parameter, part in zip(norm.parameters(), parts, strict=True):
            parameter.data.copy_(part)
        output = function(leaves[0], norm, *leaves[1:])
        return [output.detach(), *torch.autograd.grad(output, [*leaves, *norm.parameters()], slope.to(dtype))]

    terms = 16 + 16 + 20 + 23
    for exact, *values in zip(
        found(torch.float64, plainly), *(found(torch.float32, each) for each in (module.geglu, plainly)), strict=True
    ):
        for value in values:
            assert float((value.double() - exact).abs().max()) <= terms * 2.0**-24 * float(exact.abs().max())


# --- the bridge --------------------------------------------------------------------------------------------------------


def test_an_export_comes_back_as_it_was(tmp_path: Path) -> None:
    model = lively(ModernBertForMaskedLM(ModernBertConfig(**{**SMALL, "global_every": 2, "global_theta": 5e4})))
    assert bridge.export(model, tmp_path) < 1e-4
    again = bridge.load(tmp_path)
    assert again.config == ModernBertConfig(**{**SMALL, "global_every": 2, "global_theta": 5e4, "attention_out_dropout": 0.1})
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_a_wrong_export_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference's exporter could write a theta of -1, and nobody noticed."""
    right = bridge.to_transformers_config

    def wrong(config: ModernBertConfig, *more: Any) -> dict[str, Any]:
        body = right(config, *more)
        body["rope_parameters"]["sliding_attention"]["rope_theta"] = 100.0
        return body

    monkeypatch.setattr("model.bridge.writing.to_transformers_config", wrong)
    with pytest.raises(ModelError, match="differ from ours"):
        bridge.export(lively(ModernBertForMaskedLM(ModernBertConfig(**SMALL))), tmp_path)


def test_a_folder_written_by_transformers_loads(tmp_path: Path) -> None:
    from transformers import ModernBertConfig as TheirConfig
    from transformers import ModernBertForMaskedLM as TheirModel

    torch.manual_seed(0)
    config = TheirConfig(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, local_attention=16,
        pad_token_id=0, cls_token_id=1, bos_token_id=1, sep_token_id=2, eos_token_id=2, max_position_embeddings=512,
    )  # fmt: skip
    TheirModel(config).save_pretrained(tmp_path)
    assert bridge.largest_difference(bridge.load(tmp_path), tmp_path) < 1e-4


def test_an_older_configuration_is_understood() -> None:
    body = {"model_type": "modernbert", "num_hidden_layers": 6, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
            "local_rope_theta": 10000.0, "hidden_size": 64, "num_attention_heads": 4}  # fmt: skip
    config = bridge.from_transformers_config(body)
    assert isinstance(config, ModernBertConfig)
    assert (config.layers, config.global_every, config.global_theta, config.local_theta) == (6, 3, 160_000.0, 10_000.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta'; only 'modernbert' and 'bert' are supported"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        (
            {"layer_types": ["sliding_attention", "full_attention"] * 2},
            "layer_types and global_attn_every_n_layers .3. contradict each other",
        ),
        ({"layer_types": ["full_attention"] * 3}, "layer_types must name 4 layers"),
        ({"layer_types": ["full_attention", "causal", "x", "y"]}, "layer_types must name 4 layers"),
        ({"rope_parameters": {"sliding_attention": {"rope_theta": -1.0}}}, r"local_theta is -1"),
        ({"hidden_activation": "mish"}, r"model\.activation is 'mish'"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 1.0}}}, "rope_type is 'yarn'"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, r"rope_parameters\.rope_type is 'linear'"),
        ({"rope_parameters": {"rope_theta": 5.0}}, r"rope_parameters\.rope_theta is 5.0; give it in full_attention and"),
        ({"rope_parameters": 3}, "rope_parameters is 3; give an object"),
        ({"rope_parameters": {"full_attention": {"rope_theta": "x"}}}, r"full_attention\.rope_theta is 'x'; give a finite number"),
        ({"rope_parameters": None, "global_rope_theta": math.inf}, "global_rope_theta is inf"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, r"rope_scaling\.type is 'linear'"),
        ({"rope_scaling": {"factor": 2.0}}, r"rope_scaling\.factor is 2.0"),
        ({"layer_types": None, "global_attn_every_n_layers": 0}, "global_attn_every_n_layers is 0; it must be at least 1"),
        ({"global_attn_every_n_layers": 0}, "global_attn_every_n_layers is 0"),
        ({"global_attn_every_n_layers": "x"}, "global_attn_every_n_layers is 'x'; give a whole number"),
        ({"layer_types": 4}, "layer_types is 4; give a list"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; it must be at least 1"),
        ({"hidden_size": "64"}, "hidden_size is '64'; give a whole number"),
        ({"vocab_size": True}, "vocab_size is True"),
        ({"norm_eps": "x"}, "norm_eps is 'x'; give a finite number"),
        ({"norm_bias": "yes"}, "norm_bias is 'yes'; give true or false"),
        ({"hidden_activation": 1}, "hidden_activation is 1; give a string"),
        ({"attention_dropout": 0.1}, "attention_dropout is 0.1; only 0 is supported"),
        ({"pad_token_id": 320}, "pad_token_id is 320; it must be in the vocabulary, below vocab_size 320"),
    ],
)
def test_what_we_do_not_do_is_named(change: dict[str, Any], message: str) -> None:
    body = bridge.to_transformers_config(ModernBertConfig(**{**SMALL, "layers": 4}))
    with pytest.raises(ModelError, match=message):
        bridge.from_transformers_config({**body, **change})


def test_damaged_checkpoints_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(ModelError, match="not there"):
        bridge.load(tmp_path)
    bridge.save(ModernBertForMaskedLM(ModernBertConfig(**SMALL)), tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    save_file({name: value for name, value in state.items() if name != "head.dense.weight"}, path)
    with pytest.raises(ModelError, match=r"lacks head\.dense\.weight \(1 in all\)"):
        bridge.load(tmp_path)
    save_file({**state, "extra": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="has unknown extra"):
        bridge.load(tmp_path)
    save_file({**state, "decoder.bias": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match=r"decoder\.bias is \(3,\)"):
        bridge.load(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        bridge.load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 65}))
    with pytest.raises(ModelError, match="not divisible"):
        bridge.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, r"model\.hidden_size 64 is not divisible by model\.heads 5"),
        ({"layers": 0}, r"model\.layers is 0"),
        ({"window": 15}, r"model\.window is 15"),
        ({"attention_out_dropout": 1.0}, "attention_out_dropout"),
        ({"local_theta": -1.0}, r"model\.local_theta is -1"),
        ({"global_theta": math.inf}, r"model\.global_theta is inf"),
        ({"heads": 64}, "even width"),
        ({"global_layers": (1,)}, "set global_every to null"),
        ({"global_every": None}, "global_every is None"),
        ({"global_every": None, "global_layers": (0, 9)}, "names layer 9; there are 5"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModernBertConfig(**{**SMALL, **change})


def test_a_segment_past_the_limit_is_refused() -> None:
    model = ModernBertForMaskedLM(ModernBertConfig(**SMALL))
    with pytest.raises(ModelError, match=r"600 tokens is longer than model\.max_length 512"):
        model(*batch(model.config, [600]))


LABELS: list[tuple[torch.Tensor | None, torch.Tensor, str]] = [
    (None, torch.zeros(9, dtype=torch.int64), r"labels: torch\.int64 \(9,\); give int64 \(10,\)"),
    (torch.arange(3), torch.zeros(2, dtype=torch.int64), r"labels: torch\.int64 \(2,\); give int64 \(3,\)"),
    (torch.arange(3), torch.zeros(3, 1, dtype=torch.int64), r"labels: torch\.int64 \(3, 1\)"),
    (torch.arange(3), torch.zeros(3, dtype=torch.int32), r"labels: torch\.int32"),
    (torch.arange(3), torch.tensor([0, 400, 1]), "labels: 400 is not one of 320 classes"),
    (torch.arange(3), torch.tensor([0, -100, 1]), "labels: -100 is not one of .* leave out positions"),
    (torch.tensor([0, 10]), torch.zeros(2, dtype=torch.int64), "positions: 10 is not a place in input_ids; give 0 to 9"),
    (torch.tensor([0, -1]), torch.zeros(2, dtype=torch.int64), "positions: -1 is not a place"),
    (torch.tensor([0.0]), torch.zeros(1, dtype=torch.int64), r"positions: torch\.float32"),
]


@pytest.mark.parametrize("classic", [False, True], ids=["modern", "classic"])
@pytest.mark.parametrize(("positions", "labels", "message"), LABELS)
def test_labels_that_cannot_be_right_are_refused(positions: torch.Tensor | None, labels: torch.Tensor, message: str, classic: bool) -> None:
    from model import ClassicBertConfig, ClassicBertForMaskedLM

    sizes = {name: SMALL[name] for name in ("vocab_size", "hidden_size", "layers", "heads", "intermediate_size", "max_length")}
    model = ClassicBertForMaskedLM(ClassicBertConfig(**sizes)) if classic else ModernBertForMaskedLM(ModernBertConfig(**SMALL))
    ids, edges, longest = batch(ModernBertConfig(**SMALL), [10])
    with pytest.raises(ModelError, match=message):
        model(ids, edges, longest, positions, labels)


@pytest.mark.parametrize("device", ["cpu", "meta"])  # on "meta", as on a GPU, values cannot be looked at
def test_shapes_and_dtypes_of_a_batch_are_checked_on_every_device(device: str) -> None:
    from model.modernbert import check_bounds

    ids, edges = torch.zeros(4, dtype=torch.int64, device=device), torch.zeros(2, dtype=torch.int32, device=device)
    for wrong in (ids[None], ids.float()):
        with pytest.raises(ModelError, match="input_ids: torch"):
            check_bounds(8, 8, wrong, edges, 4)
    for bad in (edges[None], edges[:1], edges.long()):
        with pytest.raises(ModelError, match="cu_seqlens: torch"):
            check_bounds(8, 8, ids, bad, 4)
    if device == "meta":
        check_bounds(8, 8, ids, edges, 4)

"""Dropout by keys: against a twin in numpy's unsigned numbers, as a source of chance, and in both models whatever they are given at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kernel.random import draw
from model import ClassicBertConfig, ClassicBertForMaskedLM, ModelError, ModernBertConfig, ModernBertForMaskedLM
from model import dropout as module
from model.bert import Layer as ClassicLayer
from model.dropout import dropout, fold, threshold


def keys_of(count: int, seed: int = 0) -> Tensor:
    return fold(torch.full((count,), seed, dtype=torch.int64), torch.arange(count))


def kept_plainly(keys: Tensor, channels: int, rate: float, site: int) -> npt.NDArray[np.bool_]:
    """Which elements are kept: bool (keys, channels), in unsigned arithmetic."""
    found = np.array([draw(np.uint64(key), np.uint64(site)) for key in keys.numpy().view(np.uint64)], np.uint64)
    low, high = (found & np.uint64(0xFFFFFFFF)).astype(np.uint32), (found >> np.uint64(32)).astype(np.uint32)
    of_channel = (np.arange(channels, dtype=np.uint32) ^ np.uint32(0x55555555)) * np.uint32(0x9E3779B9)
    bits = (low[:, None] ^ of_channel) * np.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> np.uint32(15)) ^ high[:, None]) * np.uint32(0x846CA68B)
    signed = bits.view(np.int32).astype(np.int64)
    return np.asarray(signed + 2**31 >= np.rint(rate * 2**32))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.integers(0, 2**40))
def test_keys_are_folded_as_kernels_draw(keys: list[int], number: int) -> None:
    expected = [int(np.uint64(draw(np.uint64(key % 2**64), np.uint64(number))).view(np.int64)) for key in keys]
    assert fold(torch.tensor(keys), number).tolist() == expected
    assert fold(torch.tensor(keys), torch.tensor(number)).tolist() == expected


@given(
    rows=st.integers(0, 40),
    channels=st.integers(1, 150),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
    rate=st.floats(0.001, 0.999),
    site=st.integers(0, 40),
    at_once=st.integers(1, 2000),
)
def test_what_is_dropped_is_what_the_plain_twin_drops(
    rows: int, channels: int, dtype: torch.dtype, rate: float, site: int, at_once: int
) -> None:
    """To the bit, and the gradient as well; in pieces of any size."""
    keys = keys_of(rows, site)
    hidden = torch.randn(rows, channels, generator=torch.Generator().manual_seed(rows)).to(dtype).requires_grad_()
    kept = torch.from_numpy(kept_plainly(keys, channels, rate, site))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ELEMENTS", at_once)
        found = dropout(hidden, rate, True, keys, site)
        slope = torch.randn(rows, channels, generator=torch.Generator().manual_seed(1)).to(dtype)
        found.backward(slope)
    scale = 1 / (1 - rate)
    assert found.dtype == dtype
    assert torch.equal(found, hidden.detach() * scale * kept)
    assert hidden.grad is not None
    assert torch.equal(hidden.grad, slope * scale * kept)


def test_the_gradient_is_that_of_finite_differences_and_has_one_itself() -> None:
    hidden = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    run = lambda hidden: dropout(hidden, 0.3, True, keys_of(5), 1)  # noqa: E731
    assert torch.autograd.gradcheck(run, hidden)
    assert torch.autograd.gradgradcheck(run, hidden)


def test_keys_and_sites_are_broadcast_and_layouts_do_not_matter() -> None:
    keys = keys_of(12).view(3, 4)
    hidden = torch.randn(3, 4, 2, 9).transpose(1, 2)  # rows, heads, length, channels
    found = dropout(hidden, 0.4, True, keys[:, None], torch.tensor([[5], [9]]))
    for head, site in enumerate((5, 9)):
        assert torch.equal(found[:, head], dropout(hidden[:, head], 0.4, True, keys, site))


def test_without_training_or_a_rate_nothing_is_dropped_and_without_keys_it_is_torchs() -> None:
    hidden = torch.randn(4, 6)
    assert dropout(hidden, 0.5, False, keys_of(4), 0) is hidden
    assert dropout(hidden, 0.0, True, keys_of(4), 0) is hidden
    assert torch.equal(dropout(hidden, 0.5, False, None, 0), hidden)
    torch.manual_seed(3)
    expected = torch.nn.functional.dropout(hidden, 0.5, True)
    torch.manual_seed(3)
    assert torch.equal(dropout(hidden, 0.5, True, None, 0), expected)


@pytest.mark.parametrize(
    ("rate", "least"), [(0.5, 0), (0.25, -(2**30)), (2**-33, -(2**31)), (1.5 * 2**-32, 2 - 2**31), (1 - 2**-40, 2**31 - 1)]
)
def test_the_threshold_is_the_nearest_whole_number(rate: float, least: int) -> None:
    assert threshold(rate) == least


# --- as chance -------------------------------------------------------------------------------------------------------


def deviations(keys: Tensor, channels: int, rate: float, site: int) -> npt.NDArray[np.float64]:
    """Of each element: whether it is dropped, less the mean, over the standard deviation."""
    dropped = dropout(torch.ones(len(keys), channels), rate, True, keys, site).numpy() == 0
    return np.asarray((dropped - rate) / np.sqrt(rate * (1 - rate)), np.float64)


def z(sample: npt.NDArray[np.float64]) -> float:
    """The sum of numbers of mean 0 and deviation 1 in units of the deviation of such a sum."""
    return float(sample.sum() / np.sqrt(sample.size))


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_elements_are_dropped_like_independent_coins(rate: float) -> None:
    """The share, and correlations between neighbours of every kind, within five deviations of what coins would do."""
    tokens, channels = 2048, 768
    # keys as the loader makes them: streams of neighbouring samples, by the place in the row
    samples = [fold(fold(torch.full((tokens,), 17), sample), torch.arange(tokens)) for sample in (0, 1, 2**32)]
    found = deviations(samples[0], channels, rate, 0)
    assert abs(z(found)) < 5
    assert np.abs(found.sum(0) / np.sqrt(tokens)).max() < 5.5, "channels"
    assert np.abs(found.sum(1) / np.sqrt(channels)).max() < 6.5, "tokens; of rate 0.02 the binomial's upper tail is a long one"
    for step in (1, 2, 64, 256, 512):
        assert abs(z(found[:, step:] * found[:, :-step])) < 5, "channels"
        assert abs(z(found[step:] * found[:-step])) < 5, "tokens"
    for sample in samples[1:]:
        assert abs(z(found * deviations(sample, channels, rate, 0))) < 5, "samples"
    for site in (1, 2, 3, 64):
        assert abs(z(found * deviations(samples[0], channels, rate, site))) < 5, "sites"
    layers = [deviations(fold(samples[0], layer), channels, rate, 0) for layer in (0, 1, 2)]
    assert max(abs(z(one * other)) for one, other in ((layers[0], layers[1]), (layers[1], layers[2]), (found, layers[0]))) < 5, "layers"


def test_no_two_channels_go_together() -> None:
    """All pairs of 768 channels over 32,768 tokens: as spread as normal deviates are."""
    tokens, channels = 1 << 15, 768
    found = deviations(keys_of(tokens), channels, 0.1, 0).astype(np.float32)
    pairs = (found.T @ found / np.sqrt(tokens))[np.triu_indices(channels, 1)]
    assert np.abs(pairs).max() < 7  # of 294,528 normal deviates the largest is about 4.6; products of coins have longer tails
    assert float(pairs.std()) == pytest.approx(1, abs=0.01)


# --- in the models ---------------------------------------------------------------------------------------------------

MODERN: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "layers": 4,
    "heads": 4,
    "intermediate_size": 96,
    "window": 16,
    "max_length": 256,
    "attention_out_dropout": 0.1,
    "embedding_dropout": 0.2,
    "mlp_dropout": 0.3,
}
CLASSIC: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "layers": 3,
    "heads": 4,
    "intermediate_size": 128,
    "max_length": 256,
    "dropout": 0.2,
}
LENGTHS = [1, 30, 7, 64]


def lively(model: torch.nn.Module) -> Any:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.08)
    return model


def make(name: str) -> Any:
    """In training, in float64, for which ModernBERT takes torch's attention: our own for CPUs is float32 inside."""
    if name == "bert":
        return lively(ClassicBertForMaskedLM(ClassicBertConfig(**CLASSIC)).double()).train()
    return lively(ModernBertForMaskedLM(ModernBertConfig(**MODERN), attention="sdpa").double()).train()


def bounds(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32)


def run(model: Any, lengths: list[int], ids: Tensor, wanted: Tensor, keys: Tensor | None) -> tuple[float, list[Tensor]]:
    """The sum of the losses at the `wanted` (bool) tokens, and the gradients."""
    places = wanted.nonzero()[:, 0]
    model.zero_grad()
    loss = model(ids, bounds(lengths), max(lengths), places, (ids[places] + 7) % 320, keys).loss
    loss.backward()
    return float(loss.detach()), [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def example() -> tuple[Tensor, Tensor, Tensor]:
    """Ids, which tokens are wanted, keys."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 320, (sum(LENGTHS),), generator=generator)
    return ids, torch.rand(len(ids), generator=generator) < 0.4, keys_of(len(ids), 5)


@pytest.mark.parametrize("name", ["modernbert", "bert"])
def test_rows_lose_the_same_whether_alone_or_together(name: str) -> None:
    """The sums of losses and gradients of a micro-batch are those of its rows one by one, within the loss's float32."""
    model = make(name)
    ids, wanted, keys = example()
    loss, gradients = run(model, LENGTHS, ids, wanted, keys)
    parts = [
        run(model, [len(each)], each, chosen, key)
        for each, chosen, key in zip(ids.split(LENGTHS), wanted.split(LENGTHS), keys.split(LENGTHS), strict=True)
    ]
    assert loss == pytest.approx(sum(part for part, _ in parts), rel=1e-6)
    for number, whole in enumerate(gradients):
        summed = torch.stack([found[number] for _, found in parts]).sum(0)
        torch.testing.assert_close(summed, whole, rtol=1e-4, atol=1e-5)
    other, _ = run(model, LENGTHS, ids, wanted, keys_of(len(ids), 6))
    assert abs(other - loss) > 5e-5 * loss, "that keys matter"


@pytest.mark.parametrize("name", ["modernbert", "bert"])
def test_torchs_generator_has_no_part_in_it_and_checkpointing_changes_nothing(name: str) -> None:
    model = make(name)
    ids, wanted, keys = example()
    before = torch.get_rng_state()
    loss, gradients = run(model, LENGTHS, ids, wanted, keys)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(11)
    model.model.activation_checkpointing = True
    again, others = run(model, LENGTHS, ids, wanted, keys)
    assert again == loss
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["modernbert", "bert"])
def test_layers_compile_whole_with_keys(name: str) -> None:
    """Without a graph break, and to what they are uncompiled; the graphs are run as they are traced."""
    torch._dynamo.reset()
    model = make(name)
    ids, wanted, keys = example()
    loss, gradients = run(model, LENGTHS, ids, wanted, keys)
    graphs: list[int] = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(len(inputs))
        return graph

    for layer in model.model.layers:
        layer.compile(fullgraph=True, dynamic=True, backend=count)
    again, others = run(model, LENGTHS, ids, wanted, keys)
    made = len(graphs)
    assert made <= 4, "one graph a kind of layer: first, local, last"
    assert again == pytest.approx(loss, rel=1e-6)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)  # torch's attention is float32 in a compiled layer's backward pass
    run(model, LENGTHS[1:], ids[1:], wanted[1:], keys[1:])
    assert len(graphs) == made, "no other graph for other lengths"


@pytest.mark.parametrize("name", ["modernbert", "bert"])
def test_evaluation_drops_nothing(name: str) -> None:
    model = make(name).eval()
    ids, _, keys = example()
    plain = model(ids, bounds(LENGTHS), max(LENGTHS)).logits
    assert torch.equal(model(ids, bounds(LENGTHS), max(LENGTHS), dropout_keys=keys).logits, plain)


def test_the_classic_berts_attention_by_keys_is_torchs_where_nothing_is_dropped() -> None:
    layer = ClassicLayer(ClassicBertConfig(**{**CLASSIC, "dropout": 1e-12})).train()
    query, key, value = (torch.randn(2, 4, 9, 16) for _ in range(3))
    mask = torch.ones(2, 1, 1, 9, dtype=torch.bool)
    mask[1, ..., 5:] = False
    by_keys = layer._attend(query, key, value, mask, keys_of(18).view(2, 9))
    torch.testing.assert_close(by_keys, layer.eval()._attend(query, key, value, mask, None))


@pytest.mark.parametrize("name", ["modernbert", "bert"])
@pytest.mark.parametrize("keys", [torch.zeros(3, dtype=torch.int64), torch.zeros(102, dtype=torch.int32), torch.zeros(102, 1).long()])
def test_keys_that_cannot_be_right_are_refused(name: str, keys: Tensor) -> None:
    ids, _, _ = example()
    with pytest.raises(ModelError, match="dropout_keys: .* one a token"):
        make(name)(ids, bounds(LENGTHS), max(LENGTHS), dropout_keys=keys)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_drops_what_a_cpu_drops(compiled: bool) -> None:
    hidden, keys = torch.randn(300, 96), keys_of(300)
    run = torch.compile(dropout, fullgraph=True, dynamic=True) if compiled else dropout
    for dtype in (torch.float32, torch.bfloat16):
        given = hidden.to(dtype)
        assert torch.equal(run(given.cuda(), 0.1, True, keys.cuda(), 1).cpu(), dropout(given, 0.1, True, keys, 1))

"""The Triton kernels, run by Triton's interpreter on a CPU, are what their names say: in float64, and in a whole model.

Where Triton is not installed these are skipped; `make triton` installs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import ModelError, ModernBertConfig, ModernBertForMaskedLM
from model.modernbert import use_fused_kernels
from model.rope import rotary_tables, rotate

DTYPES = [torch.float32, torch.bfloat16]
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # the interpreter cuts to bfloat16, where a GPU rounds: twice the error


@pytest.fixture(scope="module")
def fused() -> Iterator[ModuleType]:
    """The module, its kernels interpreted where there is no GPU."""
    if torch.cuda.is_available():
        pytest.importorskip("triton", reason="Triton is not installed")
    elif not os.environ.get("TRITON_INTERPRET"):
        os.environ["TRITON_INTERPRET"] = "1"  # which is read where a kernel is defined
    pytest.importorskip("triton", reason="Triton is not installed; `make triton` installs it")
    from model import fused

    yield fused
    sys.modules.pop("model.fused", None)
    if not torch.cuda.is_available():
        del os.environ["TRITON_INTERPRET"]


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def near(found: Tensor, truth: Tensor, dtype: torch.dtype) -> None:
    """Within one rounding of the truth's own size."""
    truth = truth.detach().double()
    torch.testing.assert_close(found.detach().double(), truth, rtol=ROUNDING[dtype], atol=ROUNDING[dtype] * float(truth.abs().max()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(1, 4), (3, 16), (7, 100), (530, 48)])
def test_norm(fused: Any, rows: int, width: int, shift: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(rows)
    layer = nn.LayerNorm(width, eps=1e-5, bias=shift, device=DEVICE)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    hidden = (torch.randn(rows, width, device=DEVICE) * 3 + 1).to(dtype).requires_grad_()
    slope = torch.randn(rows, width, device=DEVICE).to(dtype)
    output = fused.norm(hidden, layer, dtype)
    output.backward(slope)
    exact = nn.LayerNorm(width, eps=1e-5, bias=shift, device=DEVICE).double()
    exact.load_state_dict(layer.state_dict())
    twin = hidden.detach().double().requires_grad_()
    truth = exact(twin)
    truth.backward(slope.double())
    assert output.dtype == dtype
    assert hidden.grad is not None
    assert twin.grad is not None
    near(output, truth, dtype)
    near(hidden.grad, twin.grad, dtype)
    for mine, other in zip(layer.parameters(), exact.parameters(), strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        near(mine.grad, other.grad, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (5, 7), (3, 1024), (2, 1500)])
def test_gated_unit(fused: Any, rows: int, width: int, dtype: torch.dtype) -> None:
    torch.manual_seed(width)
    halves = (torch.randn(rows, 2 * width, device=DEVICE) * 2).to(dtype).requires_grad_()
    slope = torch.randn(rows, width, device=DEVICE).to(dtype)
    output = fused.gated(halves)
    output.backward(slope)
    twin = halves.detach().double().requires_grad_()
    value, gate = twin.chunk(2, dim=-1)
    truth = F.gelu(value) * gate
    truth.backward(slope.double())
    assert output.dtype == dtype
    assert halves.grad is not None
    assert twin.grad is not None
    near(output, truth, dtype)
    near(halves.grad, twin.grad, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "heads", "size"), [(1, 1, 2), (9, 3, 24), (4, 12, 64)])
def test_rotation(fused: Any, rows: int, heads: int, size: int, dtype: torch.dtype) -> None:
    torch.manual_seed(size)
    qkv = torch.randn(rows, 3, heads, size, device=DEVICE).to(dtype).requires_grad_()
    rotary = rotary_tables(torch.arange(rows, device=DEVICE) * 37, size, 10_000.0)
    slopes = [torch.randn(rows, heads, size, device=DEVICE).to(dtype) for _ in range(3)]
    found = fused.rotated(qkv, rotary)
    torch.autograd.backward(list(found), slopes)
    twin = qkv.detach().clone().requires_grad_()
    expected = [*rotate(twin[:, :2], rotary).unbind(1), twin[:, 2]]
    torch.autograd.backward(expected, slopes)
    assert qkv.grad is not None
    assert twin.grad is not None
    for one, other in zip([*found, qkv.grad], [*expected, twin.grad], strict=True):
        near(one, other, dtype)


def test_no_rows_at_all(fused: Any) -> None:
    layer = nn.LayerNorm(8, device=DEVICE)
    for output in (
        fused.norm(torch.empty(0, 8, device=DEVICE, requires_grad=True), layer, torch.float32),
        fused.gated(torch.empty(0, 8, device=DEVICE, requires_grad=True)),
        fused.rotated(torch.empty(0, 3, 2, 4, device=DEVICE, requires_grad=True), (torch.empty(0, 2, device=DEVICE),) * 2)[0],
    ):
        assert len(output) == 0
        output.sum().backward()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_model_is_the_same_with_them(fused: Any, bias: bool, checkpointing: bool) -> None:
    config = ModernBertConfig(
        vocab_size=50, hidden_size=32, layers=3, heads=2, intermediate_size=48, window=8, mlp_bias=bias, norm_bias=bias, attention_bias=bias
    )
    torch.manual_seed(1)
    edges = torch.tensor([0, 5, 17, 40], dtype=torch.int32, device=DEVICE)
    ids, keys = torch.randint(50, (40,), device=DEVICE), torch.randint(1 << 60, (40,), device=DEVICE)
    places = torch.arange(0, 40, 3, device=DEVICE)
    labels = torch.randint(50, (len(places),), device=DEVICE)
    losses, gradients = [], []
    for switched in (False, True):
        torch.manual_seed(2)
        model = ModernBertForMaskedLM(config, attention="sdpa").to(DEVICE).train()
        model.model.activation_checkpointing = checkpointing
        if switched:
            use_fused_kernels(model)
        loss = model(ids, edges, 23, places, labels, keys).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-5)


def test_without_triton_the_switch_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "model.fused", raising=False)
    monkeypatch.delattr("model.fused", raising=False)
    with pytest.raises(ModelError, match=r"^fused_kernels: Triton cannot be imported \("):
        use_fused_kernels(nn.Linear(1, 1))

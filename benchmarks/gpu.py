"""ModernBERT on a GPU: equality with transformers, tokens/s, FLOP utilisation and peak memory of a packed training step.

    python -m benchmarks.gpu [--quick] [--no-compile] [--minutes 8] [--out FILE]

Needs torch, numpy, transformers and our `model/` alone. For every attention kernel that is there, at base and large size, at
1024 and 8192 tokens, layers compiled; transformers with its best backend that is there (flash-attn 2, else sdpa) beside it on the
same weights and rows. The reference trained at 312 k (base) and 142 k (large) tokens/s on one H100 at 1024 (from the hours in
arXiv 2412.13663). What does not fit into the time or the memory is said, and left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.results_file import Peer, Row, write
from model import ModernBertConfig, ModernBertForMaskedLM
from model.attention import available
from model.bridge import to_transformers_config
from model.flops import training_flops

# Dense bf16 peak of a device, FLOP/s, from its data sheet.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12, "B200": 2250e12}
# Utilisation promised on one H100 at 1024 tokens.
GOALS = {("base", 1024): 0.40, ("large", 1024): 0.50}
TINY = ModernBertConfig(vocab_size=512, hidden_size=64, layers=3, heads=2, intermediate_size=96, window=16, max_length=256)


def packed_rows(rows: int, length: int, seed: int) -> list[list[int]]:
    """Segment lengths of packed rows: heavy-tailed documents, cut to fill each row to its last token."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(rows):
        left, segments = length, []
        while left:
            size = min(left, max(16, int(torch.exp(torch.randn((), generator=generator) * 1.1 + 5.5))))
            segments.append(left if left - size < 16 else size)
            left -= segments[-1]
        found.append(segments)
    return found


def make_batch(config: ModernBertConfig, lengths: list[int], device: torch.device) -> dict[str, Any]:
    """Random ids with 30 % of them to predict."""
    generator = torch.Generator().manual_seed(0)
    tokens = sum(lengths)
    ids = torch.randint(0, config.vocab_size, (tokens,), generator=generator)
    positions = torch.randperm(tokens, generator=generator)[: int(0.3 * tokens)].sort().values
    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    return {
        "input_ids": ids.to(device),
        "cu_seqlens": edges.to(device),
        "max_seqlen": max(lengths),
        "positions": positions.to(device),
        "labels": ids[positions].to(device),
    }


def padded_batch(batch: dict[str, Any], segments: list[int]) -> dict[str, torch.Tensor]:
    """The same batch as transformers wants it: a row a segment, padded to the longest."""
    longest, device = max(segments), batch["input_ids"].device
    ids = torch.zeros(len(segments), longest, dtype=torch.int64, device=device)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    flat = torch.full((sum(segments),), -100, dtype=torch.int64, device=device)
    flat[batch["positions"]] = batch["labels"]
    at = 0
    for row, size in enumerate(segments):
        ids[row, :size], mask[row, :size], labels[row, :size] = batch["input_ids"][at : at + size], 1, flat[at : at + size]
        at += size
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(step: Callable[[], None], device: torch.device, repeats: int) -> float:
    """Median time of a step after two to warm up."""
    times = []
    for number in range(repeats + 2):
        synchronize(device)
        begin = time.perf_counter()
        step()
        synchronize(device)
        if number >= 2:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def peak_gigabytes(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0


def best_backend(device: torch.device) -> str:
    """The fastest attention that transformers can run here."""
    if device.type == "cuda" and find_spec("flash_attn") is not None:
        return "flash_attention_2"
    return "sdpa"


def transformers_twin(model: ModernBertForMaskedLM, device: torch.device, backend: str = "sdpa") -> Any:
    """transformers' model of the same weights, predicting masked positions alone."""
    from transformers import ModernBertConfig as TheirConfig
    from transformers import ModernBertForMaskedLM as TheirModel

    body = {name: value for name, value in to_transformers_config(model.config).items() if name not in ("architectures", "model_type")}
    config = TheirConfig(**{**body, "pad_token_id": 0, "sparse_prediction": True})
    config._attn_implementation = backend
    theirs = TheirModel(config)
    theirs.load_state_dict(model.state_dict(), strict=False)
    theirs.tie_weights()
    return theirs.to(device)


def check_equality(kernel: str, device: torch.device) -> float:
    """Largest relative error of our bf16 logits against transformers' in float32, on ragged segments."""
    torch.manual_seed(0)
    config = replace(TINY, hidden_size=256, heads=4, window=128, max_length=1024, vocab_size=1024)
    model = ModernBertForMaskedLM(config, attention=kernel).to(device).eval()
    theirs = transformers_twin(model, device).eval()
    lengths = [1, 129, 700, 64, 333]
    batch = make_batch(config, lengths, device)
    half = device.type == "cuda"
    worst = 0.0
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        logits = model(batch["input_ids"], batch["cu_seqlens"], batch["max_seqlen"]).logits.float().split(lengths)
    with torch.no_grad():
        for ids, ours in zip(batch["input_ids"].split(lengths), logits, strict=True):
            other = theirs(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]).logits[0]
            worst = max(worst, float((ours - other).norm() / other.norm()))
    return worst


def training_step(model: torch.nn.Module, run: Callable[[], torch.Tensor], device: torch.device) -> Callable[[], None]:
    """Forward, loss and backward under bf16 autocast."""

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = run()
        loss.backward()

    return step


def compile_layers(model: ModernBertForMaskedLM) -> None:
    """Every layer as one compiled graph for all lengths; layers of one kind share it."""
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 64
    for layer in model.model.layers:
        layer.compile(fullgraph=True, dynamic=True)


def measure(
    name: str, config: ModernBertConfig, length: int, tokens: int, device: torch.device, repeats: int, compiled: bool, until: float
) -> list[Row]:
    """Rows of figures for one size and length: every kernel of ours, and transformers. Kernels after `until` are left out."""
    rows = packed_rows(max(1, tokens // length), length, seed=0)
    segments = [size for row in rows for size in row]
    batch = make_batch(config, segments, device)
    flops = training_flops(config, segments, len(batch["labels"]))
    peak = next((value for key, value in PEAKS.items() if device.type == "cuda" and key in torch.cuda.get_device_name(device)), None)
    found: list[Row] = []
    torch.manual_seed(0)
    start = ModernBertForMaskedLM(config).to(device).train()
    theirs = transformers_rates(start, batch, segments, device, repeats)
    who = f"transformers {best_backend(device)}"
    training_peer, inference_peer = (Peer(who, _version("transformers"), rate) if rate else None for rate in theirs)
    for kernel in available(device):
        label = f"{name} {length} {kernel}"
        if time.perf_counter() > until:
            print(f"{label}: left out, no time", file=sys.stderr)
            continue
        model = ModernBertForMaskedLM(config, attention=kernel).to(device).train()
        model.load_state_dict(start.state_dict())
        if compiled and kernel != "matmul":  # whose inside is not compiled anyway
            compile_layers(model)
        try:
            found += measure_kernel(
                label, model, batch, sum(segments), flops, device, repeats, peak, GOALS.get((name, length)), training_peer, inference_peer
            )
        except (torch.OutOfMemoryError, RuntimeError) as error:
            print(f"{label}: left out, {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
        del model
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return found


def measure_kernel(
    label: str,
    model: ModernBertForMaskedLM,
    batch: dict[str, Any],
    tokens: int,
    flops: int,
    device: torch.device,
    repeats: int,
    peak: float | None,
    goal: float | None,
    training_peer: Peer | None,
    inference_peer: Peer | None,
) -> list[Row]:
    """Training and inference of one kernel."""

    def run() -> torch.Tensor:
        loss: torch.Tensor = model(**batch).loss / len(batch["labels"])
        return loss

    @torch.no_grad()
    def infer() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            model.model(batch["input_ids"], batch["cu_seqlens"], batch["max_seqlen"])

    step = training_step(model, run, device)
    step()  # compiles
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = median_seconds(step, device, repeats)
    found = [Row(f"{label}: training", "tokens/s", tokens / seconds, training_peer)]
    if peak:
        found.append(Row(f"{label}: utilisation", "share of bf16 peak", flops / seconds / peak, None, goal))
    found.append(Row(f"{label}: peak memory", "GB", peak_gigabytes(device)))
    model.zero_grad(set_to_none=True)
    model.eval()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found.append(Row(f"{label}: inference", "tokens/s", tokens / median_seconds(infer, device, repeats), inference_peer))
    found.append(Row(f"{label}: inference peak memory", "GB", peak_gigabytes(device)))
    return found


def transformers_rates(
    model: ModernBertForMaskedLM, batch: dict[str, Any], segments: list[int], device: torch.device, repeats: int
) -> tuple[float | None, float | None]:
    """Real tokens/s of transformers, training and inference, on the same segments; None where its memory does not suffice.

    With sdpa the batch is padded; with flash-attn it is one row, whose restarting positions tell transformers the segments.
    """
    backend = best_backend(device)
    theirs = transformers_twin(model, device, backend).train()
    if backend == "sdpa":
        given: dict[str, torch.Tensor] = padded_batch(batch, segments)
    else:
        labels = torch.full_like(batch["input_ids"], -100)
        labels[batch["positions"]] = batch["labels"]
        places = torch.cat([torch.arange(size) for size in segments]).to(device)
        given = {"input_ids": batch["input_ids"][None], "position_ids": places[None], "labels": labels[None]}

    def run() -> torch.Tensor:
        loss: torch.Tensor = theirs(**given).loss
        return loss

    @torch.no_grad()
    def infer() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            theirs.model(**{name: value for name, value in given.items() if name != "labels"})

    rates: list[float | None] = []
    for training in (True, False):
        theirs.zero_grad(set_to_none=True)
        theirs.train(training)
        try:
            rates.append(sum(segments) / median_seconds(training_step(theirs, run, device) if training else infer, device, repeats))
        except torch.OutOfMemoryError as error:
            print(f"transformers {backend}: left out, {str(error).splitlines()[0]}", file=sys.stderr)
            rates.append(None)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return rates[0], rates[1]


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="base at 1024 alone, few repeats")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a dry run of a tiny model")
    parser.add_argument("--no-compile", action="store_true", help="layers as they are, uncompiled")
    parser.add_argument("--minutes", type=float, default=8.0, help="kernels that would begin later than this are left out")
    parser.add_argument("--out", type=Path, help="where to write the JSON (default: benchmarks/results/gpu.json)")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu: no GPU that torch can use here; `--device cpu --quick` tries the code with a tiny model", file=sys.stderr)
        return 2
    until = time.perf_counter() + 60 * options.minutes * 0.9
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    rows = [Row(f"error against transformers: {kernel}", "relative", check_equality(kernel, device)) for kernel in available(device)]
    repeats = 3 if options.quick else 5
    compiled = not options.no_compile
    if device.type == "cpu":
        rows += measure("tiny", TINY, 256, 1024, device, repeats, False, until)
    else:
        sizes = {"base": ModernBertConfig.base()} if options.quick else {"base": ModernBertConfig.base(), "large": ModernBertConfig.large()}
        for size, config in sizes.items():
            for length in (1024,) if options.quick else (1024, 8192):
                rows += measure(size, config, length, 65_536 if size == "base" else 32_768, device, repeats, compiled, until)
    for row in rows:
        ratio = f"  {row.ratio:.2f} x {row.peer.name}" if row.ratio and row.peer else ""
        print(f"{row.name:<44} {row.value:>14,.4g} {row.unit}{ratio}")
    path = write("gpu", rows, ("torch", "transformers", "numpy", "flash-attn", "triton"), gpu=name, path=options.out)
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""ModernBERT trained on a GPU from packed shards: what a step takes, and how long it waits for its data.

    python -m benchmarks.gpu_training SHARDS [SHARDS ...] [--steps 100] [--size base|large] [--tokens 32768] [--device cuda] [--out FILE]

Each folder of shards, such as `WORKDIR/shards/stable` and one packed at 8192, is trained on for so many steps by one process: our loader,
masks and StableAdamW, in plain torch without DeepSpeed, which need not be installed. Three ways to run the layers are measured one after
the other: compiled, by the fused kernels of `model/fused.py`, and as they are. The share of the time that a step waits for the loader is
that of the compiled ones, the fastest, whose goal is 1 %. Ten more steps at the start are left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu import TINY, free, in_a_line, say, synchronize
from benchmarks.results_file import RESULTS, Row, show, write
from model import ModernBertConfig, ModernBertForMaskedLM
from model.check import out_of_memory
from model.flops import bf16_peak, training_flops
from model.modernbert import compile_layers, use_fused_kernels
from pipeline.shards import Shards
from trainer.batches import MicroBatch, Source, ahead, load, share
from trainer.optimizer import StableAdamW, parameter_groups

WAYS = ("compiled", "fused", "plain")
WARM = 10
WAIT = 0.01  # the goal: of the time of all steps


def steps(source: Source, rows: int, count: int) -> Iterator[list[MicroBatch]]:
    """So many steps of one micro-batch each, made one ahead on a thread, as in training."""

    def jobs() -> Iterator[Callable[[], list[MicroBatch]]]:
        for number in range(count):
            first = number * rows % (len(source.shards) - rows + 1)
            yield partial(load, source, share(first, rows, 0, 1, rows), first)

    return ahead(jobs())


def prepared(config: ModernBertConfig, way: str, device: torch.device) -> ModernBertForMaskedLM:
    """A model in training, its layers run in one of the ways."""
    torch.manual_seed(0)
    with device:
        model = ModernBertForMaskedLM(config).train()
    if way == "compiled":
        torch._dynamo.reset()
        compile_layers(model.model.layers)
    elif way == "fused":
        use_fused_kernels(model)
    return model


def measure(config: ModernBertConfig, way: str, source: Source, rows: int, count: int, device: torch.device) -> dict[str, float]:
    """Train, and return tokens a second, the share of time waited, the share of the peak, and gigabytes at most."""
    model = prepared(config, way, device)
    optimizer = StableAdamW(parameter_groups(model, 1e-5), lr=1e-4)
    feed = steps(source, rows, WARM + count)
    waited = tokens = flops = 0.0
    begin = time.perf_counter()
    for number in range(WARM + count):
        if number == WARM:
            synchronize(device)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            waited = tokens = flops = 0.0
            begin = time.perf_counter()
        before = time.perf_counter()
        (batch,) = next(feed)
        waited += time.perf_counter() - before
        lengths = batch.cu_seqlens.diff().tolist()
        tokens += batch.tokens
        flops += training_flops(config, lengths, batch.predicted)
        given = [part.to(device, non_blocking=True) for part in (batch.input_ids, batch.cu_seqlens)]
        rest = [part.to(device, non_blocking=True) for part in (batch.positions, batch.labels, batch.dropout_keys)]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(*given, batch.max_seqlen, *rest).loss / max(1, batch.predicted)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    synchronize(device)
    seconds = time.perf_counter() - begin
    found = {"tokens/s": tokens / seconds, "wait": waited / seconds, "flops": flops / seconds}
    if device.type == "cuda":
        found["GB"] = torch.cuda.max_memory_allocated(device) / 1e9
    return found


def rows_of(label: str, way: str, found: dict[str, float], peak: float | None) -> Iterator[Row]:
    """The figures of one way as rows; the goal of waiting is the fastest way's."""
    yield Row(f"{label} {way}: training", "tokens/s", found["tokens/s"])
    yield Row(f"{label} {way}: waiting for data", "share of time", found["wait"], None, WAIT if way == "compiled" else None, at_most=True)
    if peak is not None:
        yield Row(f"{label} {way}: utilisation", "share of bf16 peak", found["flops"] / peak)
    if "GB" in found:
        yield Row(f"{label} {way}: peak memory", "GB", found["GB"], at_most=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="+", type=Path, help="folders of shards")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--size", choices=["base", "large", "tiny"], default="base")
    parser.add_argument("--tokens", type=int, default=32_768, help="of a step")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the code")
    parser.add_argument("--out", type=Path, help="where to write the JSON (default: benchmarks/results/gpu_training.json)")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        say("benchmarks.gpu_training: no GPU that torch can use here; `--device cpu --size tiny --steps 5` tries the code")
        return 2
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    peak = bf16_peak(name) if name is not None else None
    rows: list[Row] = []
    for folder in options.shards:
        shards = Shards(folder)
        sizes = {"base": ModernBertConfig.base(), "large": ModernBertConfig.large(), "tiny": TINY}
        config = replace(sizes[options.size], vocab_size=shards.info.vocab_size, max_length=max(8192, shards.info.length))
        source = Source(shards, seed=1, rate=0.3)
        count = max(1, options.tokens // shards.info.length)
        for way in WAYS if device.type == "cuda" else ("plain",):
            label = f"{options.size} {shards.info.length}"
            try:
                rows += rows_of(label, way, measure(config, way, source, count, options.steps, device), peak)
            except Exception as error:
                if not out_of_memory(error) and way != "fused":
                    raise
                say(f"{label} {way}: left out, {in_a_line(error)}")
            free(device)
    show(rows)
    path = options.out or RESULTS / "gpu_training.json"
    write("gpu_training", rows, ("torch", "triton", "numpy", "pyarrow", "numba", "flash-attn"), gpu=name, path=path)
    print(f"written: {path}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

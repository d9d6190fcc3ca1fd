"""ModernBERT on a CPU: a training step (forward, loss, backward; two threads) beside transformers' sdpa.

    python -m benchmarks.model [--quick] [--size small|base]

Same weights, same ragged batch of real tokens, 30 % of them to predict, vocabulary 50,368. transformers pads the batch to its
longest sequence and runs at its best there: sdpa, `sparse_prediction=True`, denormals flushed as for ours; and once more, in a row
of its own, with freed memory kept as our trainer keeps it (`model.cpu`). All is float32, which the goals are for, and then once
more under autocast to bfloat16, which CPUs with units for it multiply several times as fast. Each runs in a process of its own,
and they take turns, so that a busy machine slows all. A step's peak memory is its process's, less what torch, the weights and the
batch took before the first step. The rate of this machine's own matrix product (2048 cubed) is taken beside every step.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import statistics
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.gpu import make_batch, padded_batch, transformers_twin
from benchmarks.results_file import RESULTS, Peer, Row, show, versions, write
from model import ModernBertConfig, ModernBertForMaskedLM
from model.cpu import prepare_process
from model.flops import training_flops

SIZES = {
    "small": ModernBertConfig(hidden_size=384, layers=6, heads=6, intermediate_size=576, attention_out_dropout=0.0),
    "base": ModernBertConfig.base(attention_out_dropout=0.0),
}
GOALS = {512: 2.5, 1024: 2.5, 8192: 4.0}
THREADS = 2


def ragged(length: int, tokens: int) -> list[int]:
    """Lengths around `length` (a standard deviation of a quarter of it) of about `tokens` in all; one of 8192 where that is the limit."""
    generator = torch.Generator().manual_seed(0)
    if length >= tokens:
        return [length]
    return [max(1, int(length * (1 + 0.25 * float(torch.randn((), generator=generator))))) for _ in range(tokens // length)]


class _Peak:
    """Largest resident memory of this process while it is open, in bytes; looked at every millisecond."""

    def __enter__(self) -> _Peak:
        self._process, self._open = psutil.Process(), True
        self.bytes = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while self._open:
            self.bytes = max(self.bytes, self._process.memory_info().rss)
            time.sleep(0.001)

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._thread.join()


def matmul_rate(dtype: torch.dtype) -> float:
    """FLOP/s of a product of two 2048 x 2048 matrices of `dtype`, the best of three."""
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begin)
    return 2 * 2048**3 / best


def _worker(who: str, size: str, lengths: list[int], dtype: torch.dtype, pipe: Connection) -> None:
    """One model in its own process: a step for every message, answered by seconds, matmul rate and loss; or by peak bytes."""
    torch.set_num_threads(THREADS)
    if who == "transformers":
        torch.set_flush_denormal(True)
    else:
        prepare_process()
    torch.manual_seed(0)
    config = SIZES[size]
    model: Any = ModernBertForMaskedLM(config).train()
    batch = make_batch(config, lengths, torch.device("cpu"))
    if who != "ours":
        model = transformers_twin(model, torch.device("cpu")).train()
        batch = padded_batch(batch, lengths)
    predicted = int(0.3 * sum(lengths))
    matmul_rate(dtype)
    gc.collect()
    before = psutil.Process().memory_info().rss

    def step() -> float:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(**batch).loss / (predicted if who == "ours" else 1)
        loss.backward()
        return float(loss.detach())

    while (asked := pipe.recv()) != "end":
        if asked == "memory":
            with _Peak() as peak:
                step()
            pipe.send(peak.bytes - before)
            continue
        rate = matmul_rate(dtype)
        begin = time.perf_counter()
        loss = step()
        seconds = time.perf_counter() - begin
        pipe.send((seconds, max(rate, matmul_rate(dtype)), loss))


def measure(size: str, length: int, tokens: int, repeats: int, dtype: torch.dtype) -> list[Row]:
    """Rows for one size, length and precision: speed, memory, and share of the machine's matrix product."""
    lengths = ragged(length, tokens)
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    workers = []
    for who in ("ours", "transformers", *(("transformers, memory kept",) if size == "small" else ())):  # base takes 10 GB, and 10 more
        here, there = context.Pipe()
        worker = context.Process(target=_worker, args=(who, size, lengths, dtype, there), daemon=True)
        worker.start()
        there.close()  # so that a worker that dies ends the run, which would else wait for its answer
        pipes[who] = here
        workers.append(worker)
    found: dict[str, list[tuple[float, float, float]]] = {who: [] for who in pipes}
    for number in range(repeats + 1):
        for who, pipe in pipes.items():
            pipe.send("step")
            answer = pipe.recv()
            if number:  # the first is to warm up
                found[who].append(answer)
    memory = {}
    for who, pipe in pipes.items():
        pipe.send("memory")  # in a step of its own, since to look takes time
        memory[who] = pipe.recv() / 1e6
        pipe.send("end")
    for worker in workers:
        worker.join()
    ours, theirs = found["ours"], found["transformers"]
    exact = dtype == torch.float32
    if abs(ours[0][2] - theirs[0][2]) > (1e-3 if exact else 1e-2):
        raise SystemExit(f"benchmarks.model: the losses differ, {ours[0][2]} and {theirs[0][2]}; nothing was measured")
    real = sum(lengths)
    rates = {who: real / statistics.median(answer[0] for answer in answers) for who, answers in found.items()}
    version = versions("transformers")["transformers"]
    flops = training_flops(SIZES[size], lengths, int(0.3 * real))
    shares = [flops / answer[0] / answer[1] for answer in ours]
    name = f"{size}, {len(lengths)} x about {length}" if len(lengths) > 1 else f"{size}, 1 x {length}"
    if not exact:
        name += ", bfloat16"
    kept = rates.get("transformers, memory kept")
    both_keep = Row(f"{name}: training step, memory kept by both", "tokens/s", rates["ours"], Peer("transformers sdpa", version, kept or 0))
    peer = Peer("transformers sdpa", version, rates["transformers"])
    return [
        Row(f"{name}: training step", "tokens/s", rates["ours"], peer, GOALS[length] if exact else None),
        *([both_keep] if kept else []),
        Row(
            f"{name}: peak memory of a step", "MB", memory["ours"],
            Peer("transformers sdpa", version, memory["transformers"]), 2.0 if exact else None, at_most=True,
        ),
        Row(
            f"{name}: share of the matrix product's rate", "share", statistics.median(shares),
            None, 0.6 if exact and length == 512 else None,
        ),
        Row(f"{name}: matrix product", "GFLOP/s", statistics.median(answer[1] for answers in found.values() for answer in answers) / 1e9),
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer tokens and repeats")
    parser.add_argument(
        "--size", choices=[*SIZES, "both"], default="both", help="small: 6 layers of 384; base: 22 of 768 (24 GB of memory)"
    )
    parser.add_argument("--out", type=Path, help="where to write the JSON (default: benchmarks/results/model.json)")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    for size in SIZES if options.size == "both" else [options.size]:
        for length in GOALS:
            if size == "base" and length == 8192:
                continue  # transformers' step of base takes minutes there
            tokens = 4096 if options.quick or size == "base" else 8192
            if length > tokens:
                tokens = length
            for dtype in (torch.float32, torch.bfloat16):
                found = measure(size, length, tokens, 3 if options.quick or size == "base" else 5, dtype)
                print(json.dumps([row.to_dict() for row in found]), file=sys.stderr)
                rows += found
    show(rows)
    target = options.out or RESULTS / "model.json"
    before = json.loads(target.read_text(encoding="utf-8"))["rows"] if target.is_file() else []
    others = [row for row in before if options.size not in ("both", row["name"].split(",")[0])]  # of the size that was not run
    print(f"written: {write('model', rows, ('torch', 'transformers'), path=target, others=others)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the training loop costs beside the bare step, ZeRO beside torch's DDP, and how long a checkpoint stops training.

    python -m benchmarks.trainer [--quick] [--only memory]

The bare step is the same model's forward, backward and StableAdamW over the same micro-batches, in a plain loop of one process. Ours is
`trainer.train` as a recipe runs it: loader, control word, guard, metrics (a line every 10 steps) and checkpoints (every 10 steps). DDP is
torch's own over two processes with the same optimizer, against ZeRO 1 and 2 over two. Each runs in processes of its own with one or two
threads, in turns, so that a busy machine slows all; the figures are medians over all steps after the first five. The checkpoint is that
of ModernBERT-base (150 M parameters) under ZeRO 1 in two processes, with the optimizer's two moments: 1.8 GB.

The part `memory` (results/trainer-memory.json) has the bytes of weights, gradients and moments of the same model that one of two
processes holds under each stage, the most after any micro-batch, beside what `foundry plan` says: distinct storages of float32 that are
reachable, without DeepSpeed's buckets.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.results_file import Peer, Row, show, versions, write
from tests.trainer.synthetic import INFO, write_shards

SMALL = {"vocab_size": 2048, "hidden_size": 384, "layers": 6, "heads": 6, "intermediate_size": 576, "max_length": 1024}
BASE = {"vocab_size": 50_368}
LENGTH = 1024
LEFT = 5  # first steps that are not counted: memory is taken and kernels are loaded


def config(folder: Path, name: str, model: dict[str, Any], *, batch: int, steps: int, **training: Any) -> Path:
    """A RUN.json of one phase at a constant rate."""
    phase = {"name": "stable", "length": LENGTH, "tokens": steps * batch * LENGTH, "batch_size": batch, "learning_rate": 1e-4}
    shared = {"precision": "float32", "micro_batch_tokens": 2048, "evaluate_every": 10_000, "checkpoint_every": 10, **training}
    body = {
        "run": str(folder / name),
        "seed": 1,
        "model": model,
        "tokenizer": "tokenizer",
        "phases": [{**phase, "shards": str(folder / "stable")}],
        "validation": None,
        "training": shared,
    }
    (folder / name).mkdir()
    path = folder / name / "run.json"
    path.write_text(json.dumps(body))
    return path


def run(kind: str, path: Path, processes: int) -> dict[str, Any]:
    """Run a kind of loop in processes of its own; the first one's figures."""
    from trainer.environment import free_port

    port, result = str(free_port()), path.with_name("figures.json")
    running = []
    for rank in range(processes):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "LOCAL_SIZE": processes}
        environment = {**os.environ, **{name: str(value) for name, value in place.items()}}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": str(2 // processes)}
        command = [sys.executable, "-m", "benchmarks.trainer", "--worker", kind, str(path), str(result)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(f"{kind}: {said[-2000:]}")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def worker(kind: str, path: Path, result: Path) -> None:
    """In a process of its own: train by a kind of loop, and write the figures."""
    from trainer.config import RunConfig
    from trainer.engine import join_world

    settings = RunConfig.model_validate_json(path.read_text())
    world = join_world()
    kinds: dict[str, Callable[..., dict[str, Any]]] = {
        "ours": ours,
        "memory": memory,
        "bare": partial(plainly, ddp=False),
        "ddp": partial(plainly, ddp=True),
    }
    figures = kinds[kind](settings, world)
    figures["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if world.is_first:
        result.write_text(json.dumps(figures))
    os._exit(0)


def ours(settings: Any, world: Any) -> dict[str, Any]:
    """The product's loop."""
    from trainer import checkpoints as writing
    from trainer import train as training

    checkpoints: Any = writing  # whose parts are timed
    train: Any = training
    begun: list[float] = []
    pauses: list[float] = []
    written: list[float] = []
    rates, begin, collect = train.Trainee.set_rates, checkpoints.Writer.begin, checkpoints.Writer.collect

    def set_rates(self: Any, *values: float) -> None:
        begun.append(time.perf_counter())
        rates(self, *values)

    def timed_begin(self: Any, *values: Any) -> None:
        pauses.append(begin(self, *values))

    def timed_collect(self: Any) -> Any:
        outcome = collect(self)
        written.append(outcome.seconds)
        return outcome

    train.Trainee.set_rates = set_rates
    checkpoints.Writer.begin = timed_begin
    checkpoints.Writer.collect = timed_collect
    train.train(settings, world)
    return {"steps": [one - other for one, other in zip(begun[1:], begun, strict=False)], "pauses": pauses, "written": written}


def memory(settings: Any, world: Any) -> dict[str, Any]:
    """What this process holds in its second step."""
    from model import masked_lm
    from tests.trainer.engine_worker import accumulate, state_bytes
    from trainer.engine import build

    trainee = build(masked_lm(settings.model), settings.training, world)
    trainee.engine.train()
    accumulate(settings, trainee, world)
    trainee.set_rates(1e-4, 1e-4, 0.0)
    trainee.step()
    held: list[int] = []
    accumulate(settings, trainee, world, lambda: held.append(state_bytes(trainee, set())))
    parameters = sum(getattr(one, "ds_numel", one.numel()) for one in trainee.model.parameters())
    return {"bytes": max(held), "parameters": parameters}


def measure_memory(folder: Path, *, quick: bool) -> None:
    """The bytes of the state under each stage, beside what the plan says: the ratio of the two.

    They are written into `results/trainer-memory.json`, so that each file has the machine on which all of it was measured.
    """
    from jobs.plan import state_bytes
    from model import ModernBertConfig

    base = ModernBertConfig.base()
    embedding = base.vocab_size * base.hidden_size
    rows = []
    for stage in range(4):
        path = config(folder, f"memory-{stage}", BASE, batch=4, steps=1, zero_stage=stage, micro_batch_tokens=LENGTH)
        found = run("memory", path, 2)
        expected = state_bytes(found["parameters"], stage, 2, largest=embedding)
        name = f"150 M parameters, ZeRO {stage}, two processes: {found['bytes'] / 1e9:.3f} GB of state held, of what the plan says"
        rows.append(Row(name, "ratio", found["bytes"] / expected, goal=1.05, at_most=True))
        print(f"ZeRO {stage}: {found['bytes']:,} bytes, {expected:,} by the plan", flush=True)
    show(rows)
    if not quick:
        write("trainer-memory", rows, ("torch", "deepspeed", "numpy"))


def plainly(settings: Any, world: Any, *, ddp: bool) -> dict[str, Any]:
    """A plain loop over the same micro-batches, in one process or under torch's DDP."""
    import torch

    from kernel.random import derive
    from model import masked_lm
    from trainer.batches import load, share
    from trainer.data import micro_rows, open_data
    from trainer.engine import LossModule
    from trainer.optimizer import StableAdamW, parameter_groups
    from trainer.schedule import schedule

    torch.manual_seed(derive(settings.seed, "weights"))
    module: Any = LossModule(masked_lm(settings.model)).train()
    groups = parameter_groups(module, settings.phases[0].weight_decay)
    if ddp:
        module = torch.nn.parallel.DistributedDataParallel(module)
    optimizer = StableAdamW(groups, lr=1e-4)
    data, plan = open_data(settings), schedule(list(settings.phases))
    batches = []
    for number in range(plan.steps):
        step = plan.step(number)
        shares = share(step.first_sample, step.batch_size, world.rank, world.size, micro_rows(settings, settings.phases[0]))
        batches.append(load(data.phases[0], shares, step.first_sample))
    seconds = []
    for micro_batches in batches:
        begin = time.perf_counter()
        scale = 1 / sum(batch.predicted for batch in micro_batches)
        for at, batch in enumerate(micro_batches, start=1):
            inputs = (batch.input_ids, batch.cu_seqlens, batch.max_seqlen, batch.positions, batch.labels, batch.dropout_keys)
            if ddp and at < len(micro_batches):
                with module.no_sync():
                    (module(*inputs)[0] * scale).backward()
            else:
                (module(*inputs)[0] * scale).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begin)
    return {"steps": seconds}


def median(figures: list[dict[str, Any]]) -> float:
    """Seconds of a step: the median over all steps that count of all turns."""
    return float(statistics.median(second for one in figures for second in one["steps"][LEFT:]))


def main() -> None:
    """Measure, print and write `results/trainer.json` and `results/trainer-memory.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps, and nothing is written")
    parser.add_argument("--worker", nargs=3, metavar=("KIND", "RUN", "RESULT"), help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["memory"], help="measure this part alone")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker[0], Path(options.worker[1]), Path(options.worker[2]))
    folder = Path(tempfile.mkdtemp(prefix="trainer-"))
    write_shards(folder / "stable", 200, info=replace(INFO, length=LENGTH))
    if options.only:
        measure_memory(folder, quick=options.quick)
        return
    turns, steps = (1, 15) if options.quick else (2, 20)
    kinds = {
        "bare": ("bare", 1, {}),
        "ours": ("ours", 1, {"zero_stage": 0}),
        "DDP": ("ddp", 2, {}),
        "ZeRO 1": ("ours", 2, {"zero_stage": 1, "checkpoint_every": 1000}),
        "ZeRO 2": ("ours", 2, {"zero_stage": 2, "checkpoint_every": 1000}),
    }
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    for turn in range(turns):
        for name, (kind, processes, training) in kinds.items():
            path = config(folder, f"{name}-{turn}", SMALL, batch=4, steps=steps, **training)
            figures[name].append(run(kind, path, processes))
            print(f"{name}: {median(figures[name][-1:]):.3f} s a step", flush=True)
    large = config(
        folder, "base", BASE, batch=2, steps=3 if options.quick else 6, zero_stage=1, micro_batch_tokens=LENGTH, checkpoint_every=1
    )
    base = run("ours", large, 2)
    seconds = {name: median(found) for name, found in figures.items()}
    mean = {name: statistics.mean(second for one in figures[name] for second in one["steps"][LEFT:]) for name in ("bare", "ours")}
    torch_version = versions("torch")["torch"]
    ddp = Peer("torch DDP", torch_version, seconds["DDP"])
    stops = "checkpoint of 150 M parameters: training stops"
    rows = [
        Row("a step of ours beside the bare one, medians", "ratio", seconds["ours"] / seconds["bare"], goal=1.03, at_most=True),
        Row("the same, means: with the steps beside checkpoints", "ratio", mean["ours"] / mean["bare"], goal=1.03, at_most=True),
        Row("ZeRO 1 beside DDP, two processes", "s a step", seconds["ZeRO 1"], ddp, 1 / 1.1, at_most=True),
        Row("ZeRO 2 beside DDP, two processes", "s a step", seconds["ZeRO 2"], ddp, 1 / 1.1, at_most=True),
        Row(f"{stops}, the first", "s", base["pauses"][0], at_most=True),
        Row(f"{stops}, later ones, median", "s", statistics.median(base["pauses"][1:]), goal=1.0, at_most=True),
        Row("the same checkpoint: on disk after", "s", statistics.median(base["written"]), at_most=True),
        Row("150 M parameters, ZeRO 1, micro-batch 1 of 1024: peak of a rank", "GB", base["peak_bytes"] / 1e9, goal=12.0, at_most=True),
    ]
    show(rows)
    if not options.quick:
        write("trainer", rows, ("torch", "deepspeed", "numpy"))
    measure_memory(folder, quick=options.quick)


if __name__ == "__main__":
    main()

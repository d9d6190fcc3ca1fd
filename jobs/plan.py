"""The training half of `foundry plan`: what training will take before it is begun: steps, tokens, memory, hours and money."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from jobs.console import console, number, size
from jobs.recipe import Recipe
from model import ModernBertConfig, masked_lm
from model.config import ClassicBertConfig
from model.flops import parameters, training_flops
from model.memory import Activations, activations
from pipeline.workdir.dataset import Workdir
from trainer.config import PhaseConfig
from trainer.schedule import schedule


@dataclass(frozen=True)
class PhasePlan:
    """What one phase takes."""

    name: str
    steps: int
    tokens: int
    batches: tuple[int, int]  # sequences in the first and in the last
    flops: int  # of all its steps


def phases(recipe: Recipe) -> list[PhasePlan]:
    """The phases of a recipe, by the trainer's own schedule. Rows are taken to be full, each one segment."""
    plan = schedule(list(recipe.phases))
    found = []
    for phase, starts in zip(plan.phases, plan.starts, strict=True):
        steps = len(starts) - 1
        tokens = int(starts[-1]) * phase.length
        batches = int(starts[1] - starts[0]), int(starts[-1] - starts[-2])
        found.append(PhasePlan(phase.name, steps, tokens, batches, int(starts[-1]) * _flops(recipe, phase)))
    return found


def _predicted(recipe: Recipe, phase: PhaseConfig, tokens: int) -> int:
    """How many of a phase's tokens are predicted."""
    return int((phase.mask_rate if phase.mask_rate is not None else recipe.training.mask_rate) * tokens)


def _flops(recipe: Recipe, phase: PhaseConfig) -> int:
    """Operations of one sequence's step; those of a classic BERT are taken to be as many as of a ModernBERT of the same sizes."""
    model = recipe.model
    if isinstance(model, ClassicBertConfig):
        shape = {name: getattr(model, name) for name in ("vocab_size", "hidden_size", "layers", "heads", "intermediate_size")}
        model = ModernBertConfig(**shape, max_length=max(model.max_length, phase.length), global_every=1)
    return training_flops(model, [phase.length], _predicted(recipe, phase, phase.length))


def count(recipe: Recipe) -> int:
    """Parameters of the model."""
    if isinstance(recipe.model, ModernBertConfig):
        return parameters(recipe.model)
    return sum(parameter.numel() for parameter in masked_lm(recipe.model).parameters())


def state_bytes(total: int, stage: int, processes: int, *, largest: int = 0) -> int:
    """Bytes of weights, gradients and the optimizer's two moments on one process, all float32, under a stage of ZeRO.

    Of `total` elements each process holds them in full or by share (Rajbhandari et al. 2020, arXiv 1910.02054, section 3, for weights of
    float32, which need no copy in float32 beside them). Under stage 2 it holds the gradient of a parameter whole of which it has a part:
    `largest`, the elements of the largest one, the embedding, stands for all that are split. Buckets, through which gradients go while
    they are reduced, and activations come on top.
    """
    whole, shared = {0: (4 + 4 + 8, 0), 1: (4 + 4, 8), 2: (4, 4 + 8), 3: (0, 4 + 4 + 8)}[stage]
    split = 4 * (largest - largest // processes) if stage == 2 else 0
    return total * whole + total * shared // processes + split


FREE = 0.1  # share of a GPU's memory that is left to CUDA, to buffers of communication, and to what no allocation fits into


def micro_batch(recipe: Recipe, phase: PhaseConfig) -> tuple[int, int]:
    """Tokens that go through the model at once on one process, and how many of them are predicted. Rows are taken to be full."""
    tokens = max(1, recipe.training.micro_batch_tokens // phase.length) * phase.length
    return tokens, _predicted(recipe, phase, tokens)


def fullest(recipe: Recipe, *, checkpointing: bool) -> tuple[int, Activations] | None:
    """The micro-batch of all phases that takes the most memory: its tokens and its activations. None of a classic BERT."""
    model, precision = recipe.model, recipe.training.precision
    if not isinstance(model, ModernBertConfig):
        return None
    found = [micro_batch(recipe, phase) for phase in recipe.phases]
    each = [(tokens, activations(model, tokens, n, precision=precision, checkpointing=checkpointing)) for tokens, n in found]
    return max(each, key=lambda one: one[1].peak)


def longest(model: ModernBertConfig, room: float, rate: float, *, precision: str, checkpointing: bool) -> int:
    """Tokens of the longest sequence whose activations fit into so many bytes, a share `rate` of it predicted; 0 where none does."""

    def fits(tokens: int) -> bool:
        return activations(model, tokens, int(rate * tokens), precision=precision, checkpointing=checkpointing).peak <= room

    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def measured(run: Path) -> float | None:
    """Tokens a second of a run that has ended, if it has."""
    summary = Workdir(str(run)).json("summary.json")
    rate = summary.get("tokens_per_second") if isinstance(summary, dict) else None
    return float(rate) if rate else None


def processes_of(run: Path) -> int | None:
    """How many processes wrote a run's last checkpoint."""
    for folder in sorted((run / "checkpoints").glob("step-*"), reverse=True):
        try:
            return int(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["world"])
        except (OSError, ValueError, KeyError):
            continue
    return None


def show(recipe: Recipe, *, processes: int, rate: float | None, price: float | None, source: str, memory: float) -> None:
    """Print the plan.

    `rate`: tokens a second of one process in the first phase, from `source`; `price`: of an hour of a process; `memory`: GB of a GPU.
    """
    planned = phases(recipe)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("phase", "steps", "tokens", "length", "batch", "operations", "hours"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    speed = rate * processes * planned[0].flops / planned[0].tokens if rate else None  # operations a second
    for phase, config in zip(planned, recipe.phases, strict=True):
        first, last = phase.batches
        hours = f"{phase.flops / speed / 3600:,.1f}" if speed else "?"
        batch = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        table.add_row(phase.name, f"{phase.steps:,}", number(phase.tokens), f"{config.length:,}", batch, f"{phase.flops:.1e}", hours)
    flops, tokens = sum(phase.flops for phase in planned), sum(phase.tokens for phase in planned)
    total = f"{flops / speed / 3600:,.1f}" if speed else "?"
    table.add_row("all", f"{sum(phase.steps for phase in planned):,}", number(tokens), "", "", f"{flops:.1e}", total, style="bold")
    console.print(table)
    if speed is None:
        console.print("hours: give --rate, the tokens a second of one process (`foundry model check` measures it)")
    else:
        cost = f", {flops / speed / 3600 * processes * price:,.0f} at {price:g} an hour each" if price is not None else ""
        console.print(f"hours on {processes} processes at {rate:,.0f} tokens/s each ({source}), other lengths by their operations{cost}")
    console.print()
    console.print(_memory(recipe, processes, memory))
    training = recipe.training
    checkpoint, kept = size((16 if training.ema_tokens else 12) * count(recipe)), training.keep_checkpoints + training.keep_best
    console.print(f"a checkpoint has {checkpoint}, of which {kept} are kept, and one more while it is written")


def as_json(recipe: Recipe, *, processes: int, rate: float | None, price: float | None) -> dict[str, Any]:
    """The plan of training as plain values; `rate` and `price` as of `show`. Hours and price are null where no rate is known."""
    planned = phases(recipe)
    speed = rate * processes * planned[0].flops / planned[0].tokens if rate else None
    hours = sum(phase.flops for phase in planned) / speed / 3600 if speed else None
    return {
        "phases": [asdict(phase) for phase in planned],
        "parameters": count(recipe),
        "processes": processes,
        "hours": hours,
        "price": hours * processes * price if hours is not None and price is not None else None,
    }


def _memory(recipe: Recipe, processes: int, memory: float) -> Table:
    """Memory of each process by the stage of ZeRO, with and without activations, and the longest sequences that a GPU holds."""
    training, model, total = recipe.training, recipe.model, count(recipe)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{number(total)} parameters on each of {processes} process{'' if processes == 1 else 'es'}")
    for stage in range(4):
        table.add_column(f"ZeRO {stage}" + (" (this recipe)" if stage == training.zero_stage else ""), justify="right")
    embedding = model.vocab_size * model.hidden_size
    states = [state_bytes(total, stage, processes, largest=embedding) for stage in range(4)]
    table.add_row("weights, gradients and two moments", *map(size, states))
    for checkpointing in (False, True):
        found = fullest(recipe, checkpointing=checkpointing)
        if found is not None:
            how = " with activation_checkpointing" if checkpointing else ""
            how += " (this recipe)" if checkpointing == training.activation_checkpointing else ""
            table.add_row(f"and activations of {found[0]:,} tokens{how}", *(size(state + found[1].peak) for state in states))
    if not isinstance(model, ModernBertConfig):
        return table
    rate = max(_predicted(recipe, phase, 1_000_000) / 1_000_000 for phase in recipe.phases)
    for checkpointing in (False, True):
        room = [memory * 1e9 * (1 - FREE) - state for state in states]
        fitting = [longest(model, each, rate, precision=training.precision, checkpointing=checkpointing) for each in room]
        how = ", with activation_checkpointing" if checkpointing else ""
        table.add_row(f"longest sequence in {memory:g} GB, in tokens{how}", *(f"{tokens:,}" for tokens in fitting))
    return table

"""The training loop: phases of steps, each a batch of samples that is a function of the step alone."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import MaskedLM, ModernBertConfig, ModernBertForMaskedLM, bridge, masked_lm
from model.attention import choose
from pipeline.shards import Shards
from trainer import checkpoint
from trainer.batches import MicroBatch, Source, ahead, load, share
from trainer.cache import Cached
from trainer.config import RunConfig, RunPhase, TrainingConfig
from trainer.engine import Trainee, World, build, full_state
from trainer.errors import TrainerError
from trainer.keyed import derive
from trainer.metrics import Metrics, read_metrics
from trainer.progress import Progress
from trainer.schedule import Schedule, schedule


@dataclass(frozen=True)
class Data:
    """What a run reads: a source for each phase, and one for validation."""

    phases: tuple[Source, ...]
    validation: Source | None


def place_of(shards: str, settings: TrainingConfig) -> str | Cached:
    """Where a phase's shards are read: their own folder, or a cache of a remote one."""
    if "://" not in shards:
        return shards
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "encoder-foundry" / "shards"
    return Cached(shards, Path(settings.cache) if settings.cache else home, limit=settings.cache_bytes)


def open_data(config: RunConfig) -> Data:
    """Open all shards before anything else. Raises `ShardError` for any that is not what the run wants."""
    settings = config.training
    phases = tuple(
        Source(
            Shards(place_of(phase.shards, settings), length=phase.length, tokenizer=config.tokenizer),
            seed=derive(config.seed, "phase", phase.name),
            rate=settings.mask_rate,
            masking=settings.masking,
            block=settings.shuffle_rows,
        )
        for phase in config.phases
    )
    validation = None
    if config.validation is not None:
        seed = derive(config.seed, "validation")
        shards = Shards(place_of(config.validation, settings), tokenizer=config.tokenizer)
        validation = Source(shards, seed=seed, rate=settings.evaluation_mask_rate, shuffled=False)
    for source, phase in zip(phases, config.phases, strict=True):
        size = source.shards.bytes
        if isinstance(source.shards.place, Cached) and settings.shuffle_rows is None and size > settings.cache_bytes:
            raise TrainerError(
                f"{source.shards.place}: {size} bytes, the cache holds {settings.cache_bytes}; raise training.cache_bytes, or set "
                "training.shuffle_rows, so that only some files are wanted at a time"
            )
        least = phase.batch_warmup.start if phase.batch_warmup is not None else phase.batch_size
        if len(source.shards) < least:
            raise TrainerError(
                f"{source.shards.place}: {len(source.shards)} rows, less than one batch of {least}; lower phases.{phase.name}.batch_size, "
                "or give the phase more data"
            )
    for source in (*phases, *([validation] if validation else [])):
        if source.shards.info.vocab_size > config.model.vocab_size:
            raise TrainerError(
                f"{source.shards.place}: has {source.shards.info.vocab_size} words, model.vocab_size is {config.model.vocab_size}; "
                "make the model's at least as large"
            )
    return Data(phases, validation)


def identity(config: RunConfig, data: Data) -> dict[str, Any]:
    """What a checkpoint must have been made from to be gone on with."""
    phases = [phase.model_dump(mode="json", exclude={"shards"}) for phase in config.phases]
    shared = config.training
    optimisation: list[Any] = [shared.beta1, shared.beta2, shared.epsilon, shared.mask_rate, shared.micro_batch_tokens, shared.precision]
    optimisation += [shared.masking, shared.shuffle_rows]
    body = {
        "model": config.model.__dict__,
        "phases": phases,
        "seed": config.seed,
        "optimizer": optimisation,
        "data": [source.shards.fingerprint for source in data.phases],
        "tokenizer": config.tokenizer,
    }
    plain: dict[str, Any] = json.loads(json.dumps(body, sort_keys=True))
    return plain


def micro_rows(config: RunConfig, phase: RunPhase) -> int:
    """Sequences that go through the model at once."""
    return max(1, config.training.micro_batch_tokens // phase.length)


def batches(config: RunConfig, data: Data, plan: Schedule, world: World, first: int) -> Iterator[list[MicroBatch]]:
    """This rank's micro-batches of every step from `first` on, made one step ahead."""

    def jobs() -> Iterator[Callable[[], list[MicroBatch]]]:
        for number in range(first, plan.steps):
            step = plan.step(number)
            rows = micro_rows(config, config.phases[step.phase])
            shares = share(step.first_sample, step.batch_size, world.rank, world.size, rows)
            if number + 1 < plan.steps:  # begin to fetch the step after this one
                following = plan.step(number + 1)
                rows = micro_rows(config, config.phases[following.phase])
                coming = share(following.first_sample, following.batch_size, world.rank, world.size, rows)
                data.phases[following.phase].ahead(np.concatenate(coming))
            yield partial(load, data.phases[step.phase], shares, step.first_sample)

    return ahead(jobs())


def forward(trainee: Trainee, batch: MicroBatch, world: World, *, labels: bool) -> Tensor:
    """The model on one micro-batch: the loss, or the logits."""
    device = world.device
    result: Tensor = trainee.engine(
        batch.input_ids.to(device, non_blocking=True),
        batch.cu_seqlens.to(device, non_blocking=True),
        batch.max_seqlen,
        batch.positions.to(device, non_blocking=True),
        batch.labels.to(device, non_blocking=True) if labels else None,
    )
    return result


def train_step(trainee: Trainee, micro_batches: list[MicroBatch], world: World) -> tuple[Tensor, Tensor]:
    """One optimizer step. Returns this rank's summed loss, and how many words all ranks predicted.

    Every predicted word of the whole batch weighs the same: DeepSpeed takes the mean of the ranks' gradients, so each loss is
    multiplied by ranks / words.
    """
    words = world.sum(torch.tensor([sum(batch.predicted for batch in micro_batches)], dtype=torch.float64, device=world.device))
    scale = world.size / max(1.0, float(words))
    total = torch.zeros((), dtype=torch.float32, device=world.device)
    for number, batch in enumerate(micro_batches):
        torch.manual_seed(batch.key)
        trainee.engine.set_gradient_accumulation_boundary(number == len(micro_batches) - 1)
        loss = forward(trainee, batch, world, labels=True)
        trainee.engine.backward(loss * scale, scale_wrt_gas=False)
        trainee.engine.step()
        total += loss.detach()
    return total, words


@torch.no_grad()
def evaluate(trainee: Trainee, source: Source, config: RunConfig, world: World) -> dict[str, float]:
    """Loss and accuracy on the first rows of the validation split, under masks that never change."""
    rows = min(len(source.shards), config.training.evaluation_rows)
    size = max(1, config.training.micro_batch_tokens // source.shards.info.length)
    sums = torch.zeros(3, dtype=torch.float64, device=world.device)
    trainee.engine.eval()
    for batch in load(source, share(0, rows, world.rank, world.size, size), 0):
        logits = forward(trainee, batch, world, labels=False).float()
        wanted = batch.labels.to(world.device)
        sums[0] += F.cross_entropy(logits, wanted, reduction="sum")
        sums[1] += (logits.argmax(dim=-1) == wanted).sum()
        sums[2] += len(wanted)
    trainee.engine.train()
    world.sum(sums)
    loss, right, words = sums.tolist()
    return {"loss": loss / max(1.0, words), "accuracy": right / max(1.0, words), "words": words}


def set_phase(model: MaskedLM, config: RunConfig, phase: RunPhase) -> None:
    """What changes in the model from phase to phase: the rotary base of ModernBERT's global layers."""
    if isinstance(model, ModernBertForMaskedLM) and isinstance(config.model, ModernBertConfig):
        theta = phase.global_theta if phase.global_theta is not None else config.model.global_theta
        model.config = model.model.config = replace(config.model, global_theta=theta)


def train(config: RunConfig, world: World) -> None:
    """Train, or go on training, until the last step is done; then write the model and a summary."""
    run = config.run
    data = open_data(config)
    plan = schedule(list(config.phases))
    own = identity(config, data)
    found = checkpoint.latest(run)
    if found is not None:
        checkpoint.check(found, own, run, world, config.training.zero_stage)
        if found.step >= plan.steps and (run / "summary.json").is_file():
            return
    torch.manual_seed(derive(config.seed, "weights"))
    model = masked_lm(config.model, attention=config.training.attention)
    precision = torch.bfloat16 if config.training.precision == "bfloat16" else torch.float32
    kernel = "sdpa, padded"
    if isinstance(config.model, ModernBertConfig):
        kernel = choose(config.training.attention, world.device, precision, config.model.head_size)
    trainee = build(model, config.training, world)
    done = 0
    if found is not None:
        checkpoint.load(trainee, run, found)
        done = found.step
    metrics = Metrics(run, done) if world.is_first else None
    progress = Progress(plan, done, world, kernel)
    try:
        _loop(config, data, plan, trainee, world, metrics, progress, done, own)
    finally:
        progress.close()
        if metrics is not None:
            metrics.close()
    _finish(config, plan, trainee, world)


def _loop(
    config: RunConfig,
    data: Data,
    plan: Schedule,
    trainee: Trainee,
    world: World,
    metrics: Metrics | None,
    progress: Progress,
    done: int,
    own: dict[str, Any],
) -> None:
    settings = config.training

    def validate(steps: int) -> None:
        if data.validation is None:
            return
        values = evaluate(trainee, data.validation, config, world)
        progress.validated(values)
        if metrics is not None:
            metrics.write("validation", steps, tokens=plan.tokens_before(steps), **values)

    trainee.engine.train()
    if done < plan.steps:
        set_phase(trainee.model, config, config.phases[plan.step(done).phase])
    if done == 0:
        validate(0)
    loss = torch.zeros((), device=world.device)
    words = torch.zeros(1, dtype=torch.float64, device=world.device)
    tokens, begin = 0, time.perf_counter()
    for number, micro_batches in enumerate(batches(config, data, plan, world, done), start=done):
        step = plan.step(number)
        phase = config.phases[step.phase]
        set_phase(trainee.model, config, phase)
        trainee.set_rates(step.learning_rate, phase.learning_rate, phase.weight_decay)
        step_loss, step_words = train_step(trainee, micro_batches, world)
        loss += step_loss
        words += step_words
        tokens += step.batch_size * phase.length
        steps = number + 1
        if steps % settings.log_every == 0 or step.last_of_phase:
            mean = float(world.sum(loss)) / max(1.0, float(words))
            seconds = time.perf_counter() - begin
            values = {"loss": mean, "lr": step.learning_rate, "batch_size": step.batch_size, "tokens": plan.tokens_before(steps)}
            progress.trained(steps, mean, tokens / seconds)
            if metrics is not None:
                metrics.write("train", steps, phase=phase.name, **values, tokens_per_second=tokens / seconds)
            loss.zero_()
            words.zero_()
            tokens, begin = 0, time.perf_counter()
        if steps % settings.evaluate_every == 0 or steps == plan.steps:
            validate(steps)
            begin = time.perf_counter()
        if steps % settings.checkpoint_every == 0 or step.last_of_phase:
            here = checkpoint.Checkpoint(steps, world.size, settings.zero_stage, own)
            checkpoint.save(trainee, config.run, here, world, settings.keep_checkpoints)
            begin = time.perf_counter() if tokens == 0 else begin


def _finish(config: RunConfig, plan: Schedule, trainee: Trainee, world: World) -> None:
    """Write the trained weights as a transformers folder, and what came of the run."""
    set_phase(trainee.model, config, config.phases[-1])
    state = full_state(trainee)
    if world.is_first:
        model = masked_lm(trainee.model.config)
        model.load_state_dict(state)
        aside, target = config.run / ".model.tmp", config.run / "model"
        shutil.rmtree(aside, ignore_errors=True)
        bridge.save(model, aside)
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
        checkpoint.write_json(config.run / "summary.json", summary(config.run, plan))
    world.barrier()


def summary(run: Path, plan: Schedule) -> dict[str, Any]:
    """What came of a run, from its metrics: validation before and after, tokens, the median rate."""
    lines = read_metrics(run)
    validation = [line for line in lines if line["kind"] == "validation"]
    rates = [line["tokens_per_second"] for line in lines if line["kind"] == "train"]
    return {
        "steps": plan.steps,
        "tokens": plan.tokens,
        "tokens_per_second": float(np.median(rates)) if rates else None,
        "validation_before": validation[0] if validation else None,
        "validation_after": validation[-1] if validation else None,
    }

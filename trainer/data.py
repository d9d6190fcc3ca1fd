"""What a run reads: the shards of its phases, and from them each rank's micro-batches of every step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kernel.random import derive
from pipeline.held_out import read_held_out
from pipeline.shards import Shards
from trainer import identity as identities
from trainer.batches import MicroBatch, Source, ahead, load, share
from trainer.cache import Cached
from trainer.config import RunConfig, RunPhase, TrainingConfig
from trainer.engine import World
from trainer.errors import TrainerError
from trainer.groups import Groups
from trainer.schedule import Schedule
from trainer.validation import Validation


@dataclass(frozen=True)
class Data:
    """What a run reads: a source for each phase, and the held-out sample; and the groups by which it tells losses apart in training."""

    phases: tuple[Source, ...]
    validation: Validation | None
    groups: Groups


def place_of(shards: str, settings: TrainingConfig) -> str | Cached:
    """Where shards are read from: their own folder, or a local cache where the folder is remote."""
    if "://" not in shards:
        return shards
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "encoder-foundry" / "shards"
    return Cached(shards, Path(settings.cache) if settings.cache else home, limit=settings.cache_bytes)


def open_data(config: RunConfig) -> Data:
    """Open and check all shards of a run.

    Raises `ShardError` where shards are unfinished, damaged, or made for another length or tokenizer, and `TrainerError` where they
    are too few, too large for the cache, or of a larger vocabulary than the model's.
    """
    settings = config.training
    shards = [Shards(place_of(phase.shards, settings), length=phase.length, tokenizer=config.tokenizer) for phase in config.phases]
    held_out = read_held_out(place_of(config.validation, settings), tokenizer=config.tokenizer) if config.validation is not None else None
    groups = Groups(tuple(dict.fromkeys(domain for each in shards for domain in each.info.domains)))
    phases = tuple(
        Source(
            of_phase,
            seed=derive(config.seed, "phase", phase.name),
            rate=phase.mask_rate if phase.mask_rate is not None else settings.mask_rate,
            masking=settings.masking,
            block=settings.shuffle_rows,
            groups=groups,
        )
        for phase, of_phase in zip(config.phases, shards, strict=True)
    )
    validation = Validation(held_out, settings.evaluation_mask_rate) if held_out is not None else None
    for source, phase in zip(phases, config.phases, strict=True):
        size = source.shards.bytes
        if isinstance(source.shards.place, Cached) and settings.shuffle_rows is None and size > settings.cache_bytes:
            raise TrainerError(
                f"{source.shards.place}: has {size} bytes, but the cache holds only {settings.cache_bytes}; raise training.cache_bytes, or "
                "set training.shuffle_rows, so that only some files are needed at a time"
            )
        least = phase.batch_warmup.start if phase.batch_warmup is not None else phase.batch_size
        if len(source.shards) < least:
            raise TrainerError(
                f"{source.shards.place}: has {len(source.shards)} rows, fewer than a batch of {least}; "
                f"lower phases.{phase.name}.batch_size, or give the phase more data"
            )
    read = [(str(each.place), each.info) for each in shards] + ([(str(config.validation), held_out.info)] if held_out is not None else [])
    for place, info in read:
        if info.vocab_size > config.model.vocab_size:
            raise TrainerError(
                f"{place}: has a vocabulary of {info.vocab_size}, but model.vocab_size is only "
                f"{config.model.vocab_size}; make it at least as large"
            )
    return Data(phases, validation, groups)


def identity(config: RunConfig, data: Data) -> dict[str, Any]:
    """The values that may not change for a checkpoint of the run to be loaded."""
    return identities.identity(config, [source.shards.fingerprint for source in data.phases])


def micro_rows(config: RunConfig, phase: RunPhase) -> int:
    """Rows that go through the model at once."""
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

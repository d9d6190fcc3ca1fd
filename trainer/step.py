"""What one step does with the model: gradients of a batch, the optimizer's step, or an evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model import ClassicBertConfig, MaskedLM, ModernBertConfig, ModernBertForMaskedLM
from model.flops import training_flops
from trainer import averages
from trainer.batches import MicroBatch
from trainer.config import RunConfig, RunPhase
from trainer.engine import Trainee, World
from trainer.job import Job
from trainer.norms import measured_step
from trainer.validation import Validation


def forward(trainee: Trainee, batch: MicroBatch, world: World, *, labels: bool) -> Any:
    """Run the model on one micro-batch: with `labels` the losses' sum () and each (predicted,), else the logits (predicted, vocabulary)."""
    device = world.device
    return trainee.engine(
        batch.input_ids.to(device, non_blocking=True),
        batch.cu_seqlens.to(device, non_blocking=True),
        batch.max_seqlen,
        batch.positions.to(device, non_blocking=True),
        batch.labels.to(device, non_blocking=True) if labels else None,
        batch.dropout_keys.to(device, non_blocking=True) if trainee.model.training else None,
    )


def gradients(job: Job, trainee: Trainee, micro_batches: list[MicroBatch], predicted: float) -> Tensor:
    """Accumulate the gradients of the mean loss over the tokens that all ranks predict; returns this rank's tally (`Groups.tally`).

    Every predicted token of the whole batch weighs the same: DeepSpeed takes the mean of the ranks' gradients, so each loss is
    multiplied by ranks / predicted tokens.
    """
    groups, device = job.data.groups, job.world.device
    scale = job.world.size / max(1.0, predicted)
    sums = torch.zeros(groups.size, dtype=torch.float64, device=device)
    counts = torch.zeros(groups.size, dtype=torch.int64)
    operations = 0
    with job.timing.part("compute"):
        for number, batch in enumerate(micro_batches, start=1):
            loss, losses = forward(trainee, batch, job.world, labels=True)
            trainee.accumulate(loss * scale, last=number == len(micro_batches))
            sums += groups.sums(losses, batch.groups.to(device, non_blocking=True))
            counts += torch.bincount(batch.groups.flatten(), minlength=groups.size)
            if batch.predicted:  # else it only keeps the rank in step with the others
                operations += training_flops(job.config.model, batch.cu_seqlens.diff().tolist(), batch.predicted)
            job.watchdog.beat()
    return groups.tally(sums, counts, operations)


def update(job: Job, trainee: Trainee, tokens: int, *, measured: bool) -> Tensor | None:
    """Let the optimizer step, which was one of so many tokens; returns what `measured_step` does, where it is to be measured."""
    squares = None
    with job.timing.part("optimizer"):
        if measured:
            squares = measured_step(trainee)
        else:
            trainee.step()
        if job.config.training.ema_tokens is not None:
            averages.update(trainee, tokens, job.config.training.ema_tokens)
    return squares


@torch.no_grad()
def evaluate(job: Job, trainee: Trainee, validation: Validation, length: int) -> dict[str, Any]:
    """Loss, accuracy and number of predicted tokens on the held-out sample cut to a length, with intervals (`Validation.values`)."""
    world = job.world
    sums = torch.zeros(len(validation.held_out.segments(length).piece), 3, dtype=torch.float64)
    trainee.engine.eval()
    for batch, segments in validation.parts(length, job.config.training.micro_batch_tokens, world.rank, world.size):
        logits = forward(trainee, batch, world, labels=False).float()
        wanted = batch.labels.to(world.device)
        losses = F.cross_entropy(logits, wanted, reduction="none")
        values = torch.stack([losses, (logits.argmax(dim=-1) == wanted).float(), torch.ones_like(losses)], dim=1)
        sums.index_add_(0, torch.from_numpy(segments), values.double().cpu())  # on the CPU, which adds in the same order each time
        job.watchdog.beat()
    trainee.engine.train()
    return validation.values(length, world.sum(sums.to(world.device)).cpu().numpy())


def lengths_at(job: Job, steps: int) -> list[int]:
    """The lengths that an evaluation after so many steps is at: that of the phase of the last step; at the end also those of the others."""
    phases, plan = job.config.phases, job.plan
    own = phases[plan.step(max(0, steps - 1)).phase].length
    return [own, *sorted({phase.length for phase in phases} - {own})] if steps == plan.steps else [own]


def of_phase(model: ModernBertConfig | ClassicBertConfig, phase: RunPhase) -> ModernBertConfig | ClassicBertConfig:
    """The model's configuration as it is in a phase: what changes is the rotary base of ModernBERT's global layers."""
    if not isinstance(model, ModernBertConfig):
        return model
    return replace(model, global_theta=phase.global_theta if phase.global_theta is not None else model.global_theta)


def set_phase(model: MaskedLM, config: RunConfig, phase: RunPhase) -> None:
    """Set what changes in the model from phase to phase."""
    made = of_phase(config.model, phase)
    if isinstance(model, ModernBertForMaskedLM) and isinstance(made, ModernBertConfig):
        model.config = model.model.config = made

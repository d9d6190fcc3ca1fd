"""What is measured of a run while it trains: lines of metrics, and the evaluations."""

from __future__ import annotations

import math
import resource
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from model.flops import bf16_peak
from trainer.averages import averaged
from trainer.checkpoints import Found
from trainer.config import RunPhase
from trainer.control import Word
from trainer.engine import Trainee
from trainer.groups import LENGTHS
from trainer.job import Job
from trainer.metrics import Metrics, read_metrics
from trainer.norms import KINDS, OF, table
from trainer.schedule import Step
from trainer.step import evaluate, lengths_at
from trainer.validation import MEANS


class Log:
    """The lines of one stretch of training. What the next line has so far goes into checkpoints, so that a resumed run writes the same."""

    def __init__(self, job: Job, trainee: Trainee, found: Found | None, first: int) -> None:
        self._job, self._trainee = job, trainee
        resume = found.manifest.step if found is not None else 0
        self._metrics = Metrics(job.config.run, resume, job.wandb) if job.world.is_first else None
        job.progress.recall(read_metrics(job.config.run) if job.world.is_first else [])
        self._validated: tuple[int, float | None] | None = (found.manifest.step, found.manifest.validation) if found is not None else None
        self._peak = bf16_peak(torch.cuda.get_device_name(job.world.device)) if job.world.device.type == "cuda" else None
        self._begin_line()
        if found is not None and found.manifest.step == first:
            self.restore(found.manifest.progress["line"])
        job.timing.take()

    def _begin_line(self) -> None:
        groups = self._job.data.groups
        self._losses, self._predicted = [0.0] * groups.size, [0.0] * groups.size
        self._loss = self._norms = 0.0
        self._steps = self._left_out = 0
        self._clipping = (0, 0)  # of steps before this start
        self._clipping_before = self._clipping_now()
        self._squares: Tensor | None = None
        self._tokens, self._operations = 0, 0.0  # of this start alone, as the time is

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._metrics is not None:
            self._metrics.close()

    def _clipping_now(self) -> tuple[int, int] | None:
        """How many updates the optimizer has clipped in this start, and of how many; None where it does not clip."""
        told = getattr(self._trainee.optimizer, "clipping", None)  # an installed package's optimizer need not tell
        found: tuple[int, int] | None = told() if told is not None else None
        return found

    def _clipping_of_line(self) -> tuple[int, int] | None:
        now, before = self._clipping_now(), self._clipping_before
        if now is None or before is None:
            return None
        return self._clipping[0] + now[0] - before[0], self._clipping[1] + now[1] - before[1]

    def state(self) -> dict[str, Any]:
        """What the next line has so far."""
        return {
            "loss": self._loss,
            "norms": self._norms,
            "steps": self._steps,
            "left_out": self._left_out,
            "clipping": self._clipping_of_line(),
            "domains": self._job.data.groups.domains,
            "losses": self._losses,
            "predicted": self._predicted,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's `state`."""
        self._loss, self._norms = state["loss"], state["norms"]
        self._steps, self._left_out = state["steps"], state["left_out"]
        self._clipping = tuple(state["clipping"] or (0, 0))
        names = [*self._job.data.groups.domains, *LENGTHS]  # other phases may have brought other domains since
        for number, name in enumerate([*state["domains"], *LENGTHS]):
            if not state["predicted"][number]:
                continue
            at = names.index(name, 0 if number < len(state["domains"]) else len(names) - len(LENGTHS))
            self._losses[at], self._predicted[at] = state["losses"][number], state["predicted"][number]

    def due(self, step: Step) -> bool:
        """Whether a line is due after a step."""
        return (step.number + 1) % self._job.config.training.log_every == 0 or step.last_of_phase

    def used(self, word: Word, squares: Tensor | None) -> None:
        """A step was made: its control word, and what `measured_step` has returned of it, where a line is due."""
        size = self._job.data.groups.size
        losses, predicted = word.tally[2 : 2 + size], word.tally[2 + size :]
        self._losses = [one + more for one, more in zip(self._losses, losses, strict=True)]
        self._predicted = [one + more for one, more in zip(self._predicted, predicted, strict=True)]
        self._loss += word.loss
        self._norms += math.sqrt(word.square)
        self._steps += 1
        self._squares = squares
        self._operations += word.tally[1]

    def left_out(self, word: Word) -> None:
        """A step was left out."""
        self._left_out += 1
        self._squares = None
        self._operations += word.tally[1]

    def write(self, step: Step, phase: RunPhase) -> None:
        """After a step: write a line where one is due."""
        job, steps = self._job, step.number + 1
        self._tokens += step.batch_size * phase.length
        job.progress.stepped(steps)
        if not self.due(step):
            return
        norms, memory = self._over_ranks()
        seconds = job.timing.take()
        if self._metrics is not None:
            trained = sum(seconds.values()) - seconds["evaluation"]  # rates are those of training
            speed = self._operations / trained
            groups, clipping = job.data.groups, self._clipping_of_line()
            predicted = groups.total(self._predicted)
            values = {
                "loss": self._loss / predicted if predicted else None,
                "lr": step.learning_rate,
                "batch_size": step.batch_size,
                "gradient_norm": self._norms / self._steps if self._steps else None,
                "left_out": self._left_out,
                "clipped": clipping[0] / clipping[1] if clipping is not None and clipping[1] else None,
                "tokens": job.plan.tokens_before(steps),
                "tokens_per_second": self._tokens / trained,
                "flops_per_second": speed,
                "utilisation": speed / (self._peak * job.world.size) if self._peak is not None else None,
                "memory": memory,
                "seconds": seconds,
                "norms": norms,
                **groups.tables(self._predicted, loss=self._losses),
            }
            job.progress.trained(self._metrics.write("train", steps, phase=phase.name, **values))
        self._begin_line()

    def validation(self, steps: int) -> float | None:
        """The loss on the held-out sample after so many steps, where it was taken then."""
        return self._validated[1] if self._validated is not None and self._validated[0] == steps else None

    def _over_ranks(self) -> tuple[dict[str, dict[str, float]] | None, int]:
        """The norms of the line's last step, None where it was left out, and the largest peak memory of a rank, by one sum over all."""
        world = self._job.world
        values = torch.zeros(len(OF) * len(KINDS) + world.size, dtype=torch.float64)
        if self._squares is not None:
            values[: -world.size] = self._squares.flatten()
        values[world.rank - world.size] = peak_bytes(world.device)
        with self._job.timing.part("communication"):
            sums = world.sum(values.to(world.device)).tolist()
        return table(sums[: -world.size]) if self._squares is not None else None, int(max(sums[-world.size :]))

    def validate(self, steps: int) -> None:
        """Evaluate on the held-out sample, and write a line: at the length of the phase, and at the end at those of all phases."""
        if self._job.data.validation is None or (self._validated is not None and self._validated[0] == steps):
            return
        job, trainee, sample = self._job, self._trainee, self._job.data.validation
        own, *others = lengths_at(job, steps)
        with job.timing.part("evaluation"):
            values = evaluate(job, trainee, sample, own)
            self._validated = steps, values["loss"]
            if others:
                found = {own: values, **{length: evaluate(job, trainee, sample, length) for length in others}}
                values = {**values, "at_length": {str(length): {name: found[length][name] for name in MEANS} for length in sorted(found)}}
            if trainee.ema:
                with averaged(trainee, job.world):
                    values["ema_loss"] = evaluate(job, trainee, sample, own)["loss"]
            values["baselines"] = sample.baselines()
        if self._metrics is not None:
            line = self._metrics.write("validation", steps, tokens=self._job.plan.tokens_before(steps), **values)
            self._job.progress.validated(line)


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has had at once: of a GPU what torch has allocated, else what was resident, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux tells kilobytes

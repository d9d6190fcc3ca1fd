"""When checkpoints are made, and what is done where one cannot be written."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType

from safetensors.torch import load_file

from model import bridge, masked_lm
from trainer import checkpoints
from trainer.checkpoints import Manifest, Outcome, Retention, Writer
from trainer.config import TrainingConfig
from trainer.control import Word
from trainer.engine import Trainee
from trainer.errors import TrainerError
from trainer.guard import Guard
from trainer.job import Job
from trainer.log import Log
from trainer.schedule import Step
from trainer.step import of_phase


def retention(settings: TrainingConfig) -> Retention:
    """Which checkpoints a recipe keeps."""
    return Retention(settings.keep_checkpoints, settings.keep_best, settings.keep_every_tokens)


class Saver:
    """The checkpoints of one stretch of training. Its methods are called by all ranks at the same steps."""

    def __init__(self, job: Job, guard: Guard, log: Log, saved: int | None) -> None:
        """`saved`: the step of the checkpoint that is on disk already, if that is where training stands."""
        settings = job.config.training
        self._job, self._guard, self._log = job, guard, log
        spared = job.uploads.spared if job.uploads is not None else set
        self._writer = Writer(job.config.run, job.world, retention(settings), beside=self._beside, spared=spared)
        self._every = settings.checkpoint_every
        self._again: int | None = None  # the step after which a checkpoint that failed is tried again
        self._saved = saved  # the last step of which a checkpoint is on disk

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()

    @property
    def ready(self) -> bool:
        """Whether this rank's part of a checkpoint is done."""
        return self._writer.ready

    def after(self, trainee: Trainee, step: Step, word: Word) -> None:
        """After a step: hear how a checkpoint has ended, and begin one where one is due."""
        steps = step.number + 1
        if word.saved:
            self._collect(steps)
        self._hear()
        regular = steps % self._every == 0 or step.last_of_phase
        if regular and self._job.config.training.keep_best:
            self._log.validate(steps)
        if regular or word.stopped or (self._again is not None and steps >= self._again):
            self._begin(trainee, steps)

    def finish(self, trainee: Trainee, steps: int) -> None:
        """Have the checkpoint of the last step on disk. Raises `TrainerError` where it cannot be written after two tries."""
        for _ in range(2):
            if self._writer.busy:
                self._collect(steps)
            if self._saved == steps:
                return
            self._begin(trainee, steps)
        outcome = self._collect(steps)
        if outcome.error is not None:
            raise TrainerError(f"{outcome.error}: the checkpoint of step {steps} cannot be written; make room, and start again")

    def _begin(self, trainee: Trainee, steps: int) -> None:
        if self._writer.busy:
            self._collect(steps)
        if self._saved == steps:
            return
        job, plan = self._job, self._job.plan
        head = Manifest(
            step=steps,
            begun=plan.step(steps - 1).phase + 1,
            tokens=plan.tokens_before(steps),
            world=job.world.size,
            stage=trainee.stage,
            validation=self._log.validation(steps),
            identity=job.identity,
            progress={"line": self._log.state(), "guard": self._guard.state()},
            scalars=checkpoints.scalars(trainee),
            files=(),
        )
        with job.timing.part("checkpoint"):
            self._writer.begin(trainee, head)
        self._again = None
        job.watchdog.beat()

    def _beside(self, checkpoint: Path, head: Manifest) -> None:
        """In the writer's thread: what else is made of a whole checkpoint."""
        uploads = self._job.uploads
        if uploads is not None:
            uploads.checkpoint(head.step, checkpoint.name)
        made = self._folder_of_transformers(checkpoint, head)
        if uploads is not None and made:
            uploads.results(head.step)

    def _hear(self) -> None:
        """Tell what could not be put into the store."""
        for step, text in self._job.uploads.told() if self._job.uploads is not None else ():
            self._job.event(step, "upload failed", text)

    def _folder_of_transformers(self, checkpoint: Path, head: Manifest) -> bool:
        """Write the weights of a checkpoint as transformers reads them, where a folder is due; returns whether one was."""
        config, every = self._job.config, self._job.config.training.hf_every
        folder = config.run / "hf"
        known = [int(path.name.removeprefix("step-")) for path in folder.glob("step-*") if not path.suffix]
        if every is None or head.step // every <= max((step // every for step in known if step <= head.step), default=0):
            return False
        model = masked_lm(of_phase(config.model, config.phases[head.begun - 1]))
        for path in sorted(checkpoint.glob(f"{checkpoints.WEIGHT}-*.safetensors")):
            model.load_state_dict(load_file(path), strict=False)
        target = folder / checkpoint.name
        aside = target.with_suffix(".tmp")
        shutil.rmtree(aside, ignore_errors=True)
        bridge.save(model, aside)
        aside.rename(target)
        return True

    def _collect(self, steps: int) -> Outcome:
        with self._job.timing.part("checkpoint"):
            outcome = self._writer.collect()
        self._job.watchdog.beat()
        if outcome.beside is not None:
            text = f"the transformers folder of step {outcome.step} could not be written ({outcome.beside})"
            self._job.event(steps, "folder failed", text)
        if outcome.error is None:
            self._saved = outcome.step
        else:
            self._again = steps + max(1, self._every // 10)
            text = f"the checkpoint of step {outcome.step} could not be written ({outcome.error}); training goes on and tries again"
            self._job.event(steps, "checkpoint failed", text)
        return outcome

"""Where lines of metrics are drawn: TensorBoard, and Weights & Biases where the recipe asks for it. Neither can stop a training."""

from __future__ import annotations

import importlib
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from trainer.config import RunConfig, WandbConfig
from trainer.errors import TrainerError

ID_FILE = "wandb.json"  # in the run's folder: by which id W&B knows the run


def scalars(values: dict[str, Any], place: str) -> Iterator[tuple[str, float]]:
    """All numbers of a line of metrics, those of its sections too, each by a name of the form `place/section/name`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{place}/{name}")
        elif isinstance(value, int | float):
            yield f"{place}/{name}", value


class TensorBoard:
    """The files in `tensorboard/`, of a run that is at step `resume`: what was written for later steps is hidden."""

    def __init__(self, run: Path, resume: int) -> None:
        self._writer: SummaryWriter | None = SummaryWriter(str(run / "tensorboard"), purge_step=resume + 1 if resume else None)

    def add(self, kind: str, step: int, line: dict[str, Any]) -> None:
        """Draw all numbers of a line but its step."""
        try:
            for name, value in scalars({name: value for name, value in line.items() if name != "step"}, kind):
                if self._writer is not None:
                    self._writer.add_scalar(name, value, step)
        except OSError:  # its thread has met a full disk, and takes no more; metrics.jsonl has it all
            self._writer = None

    def close(self) -> None:
        """Close the files."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()


class Wandb:
    """A run of W&B, which every start of the training goes on with: its id is kept in the run's folder.

    `failed` is called once, with a line, where W&B fails; from then on nothing is sent. Raises `TrainerError` where the package is not
    installed.
    """

    def __init__(self, asked: WandbConfig, config: RunConfig, failed: Callable[[int, str], None]) -> None:
        self._failed, self._step = failed, 0
        self._run: Any = None  # where W&B has begun and has not failed
        try:
            wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise TrainerError(
                "training.wandb: the package wandb is not installed; run `pip install wandb`, or leave the key out"
            ) from error
        self._try(lambda: self._begin(wandb, asked, config))

    def _begin(self, wandb: Any, asked: WandbConfig, config: RunConfig) -> None:
        kept = config.run / ID_FILE
        if not kept.is_file():
            kept.write_text(json.dumps({"id": secrets.token_hex(8)}), encoding="utf-8")
        run = wandb.init(
            project=asked.project,
            entity=asked.entity,
            name=asked.name if asked.name is not None else config.run.name,
            mode=asked.mode,
            id=json.loads(kept.read_text(encoding="utf-8"))["id"],
            resume="allow",
            dir=str(config.run),
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(console="off", silent=True),  # the terminal is ours
        )
        run.define_metric("*", step_metric="step")  # W&B's own count would drop what a resumed run makes again
        self._run = run

    def add(self, kind: str, step: int, line: dict[str, Any]) -> None:
        """Send all numbers of a line."""
        self._step = step
        if self._run is not None:
            found = dict(scalars({name: value for name, value in line.items() if name != "step"}, kind))
            self._try(lambda: self._run.log({**found, "step": step}))

    def __enter__(self) -> Wandb:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the run, which waits until all is sent."""
        run, self._run = self._run, None
        if run is not None:
            self._try(lambda: run.finish(exit_code=0 if error is None else 1))

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # of any kind: a training does not end for it
            self._run = None
            said = " ".join(str(error).split()) or type(error).__name__
            self._failed(self._step, f"W&B (training.wandb) failed and gets no more of this start: {said}")

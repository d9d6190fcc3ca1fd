"""Checkpoints: all that a run is, in DeepSpeed's format, so that it goes on exactly where it was.

A checkpoint is a folder `checkpoints/step-N`. `latest.json` is moved into place after every rank has written its part, so it
never names one that is not whole. Order, masks and dropout are functions of the sample's number, so the step is all of the
random state there is.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.engine import Trainee, World
from trainer.errors import TrainerError

LATEST = "latest.json"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands. `identity` is what it was made from: model, schedule, data."""

    step: int  # steps done
    world: int
    stage: int
    identity: dict[str, Any]

    @property
    def tag(self) -> str:
        return f"step-{self.step:08d}"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    aside = path.with_name(f".{path.name}.tmp")
    with open(aside, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def latest(run: Path) -> Checkpoint | None:
    """The run's last whole checkpoint, or None."""
    path = run / "checkpoints" / LATEST
    return Checkpoint(**json.loads(path.read_text())) if path.is_file() else None


def save(trainee: Trainee, run: Path, checkpoint: Checkpoint, world: World, keep: int) -> None:
    """Write a checkpoint, make it the latest, and delete all but the last `keep`."""
    folder = run / "checkpoints"
    trainee.engine.save_checkpoint(str(folder), tag=checkpoint.tag, client_state={"step": checkpoint.step}, save_latest=False)
    world.barrier()
    if world.is_first:
        write_json(folder / LATEST, checkpoint.__dict__)
        for old in sorted(path for path in folder.glob("step-*") if path.name <= checkpoint.tag)[:-keep]:
            shutil.rmtree(old)
    world.barrier()


def check(found: Checkpoint, identity: dict[str, Any], run: Path, world: World, stage: int) -> None:
    """Whether a checkpoint is of this run. Raises `TrainerError` naming what has changed."""
    for name, value in identity.items():
        if found.identity.get(name) != value:
            raise TrainerError(
                f"{run}: was trained with another {name} than the recipe now has; give the recipe another `name`, or delete that folder"
            )
    if stage and (found.world, found.stage) != (world.size, stage):
        raise TrainerError(
            f"{run}: its checkpoint is of {found.world} processes under ZeRO {found.stage}, this is {world.size} under ZeRO {stage}; "
            "resume with the same"
        )


def load(trainee: Trainee, run: Path, found: Checkpoint) -> None:
    """Load a checkpoint's weights and optimizer state. Raises `TrainerError` where its files are not there."""
    path, _ = trainee.engine.load_checkpoint(str(run / "checkpoints"), tag=found.tag, load_lr_scheduler_states=False)
    if path is None:
        raise TrainerError(f"{run / 'checkpoints' / found.tag}: cannot be loaded; delete {LATEST} beside it to start over")
    trainee.link()

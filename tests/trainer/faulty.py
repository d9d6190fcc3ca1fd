"""A training process that something goes wrong in: `python -m tests.trainer.faulty RUN.json FAULTS.json`.

The second file is a list of faults, each with `kind`, `rank` and `step`, and whether it happens `once` (its mark is left beside the file)
or in every try. They are put in from outside, so that the product has no place for them.
"""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from trainer import __main__ as process
from trainer import train
from trainer.checkpoints import Store, store, writing
from trainer.errors import TrainerError

loop: Any = train  # whose parts are replaced


class Faults:
    """The faults of this rank."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rank = int(os.environ.get("RANK", "0"))
        listed: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        self._faults = [(number, fault) for number, fault in enumerate(listed) if fault["rank"] in (rank, None)]

    def due(self, kind: str, step: int) -> dict[str, Any] | None:
        """The fault of this kind that is due at this step."""
        for number, fault in self._faults:
            if fault["kind"] != kind or not fault["step"] <= step < fault["step"] + fault.get("steps", 1):
                continue
            if fault.get("once"):
                mark = self._path.with_name(f"{self._path.name}.{number}.{os.environ.get('RANK', '0')}")
                if mark.exists():
                    continue
                mark.touch()
            return fault
        return None


def install(faults: Faults) -> None:
    """Put the faults into the training loop of this process."""
    gradients, load = loop.gradients, loop.Feed.look
    place = {"step": 0}

    def faulty_gradients(job: Any, trainee: Any, micro_batches: Any, predicted: float) -> Any:
        step = place["step"]
        for name in ("SIGKILL", "SIGTERM", "SIGSTOP"):
            if faults.due(name, step):
                os.kill(os.getpid(), signal.Signals[name])
        loss = gradients(job, trainee, micro_batches, predicted)
        for kind, value in (("nan", math.nan), ("inf", math.inf), ("spike", 1e6)):
            if faults.due(kind, step):
                put(trainee, value)
        if faults.due("nan loss", step):
            loss = torch.full_like(loss, math.nan)
        if faults.due("error", step):
            raise ValueError("an error of ours")
        return loss

    def faulty_look(feed: Any) -> int:
        predicted: int = load(feed)
        if faults.due("loader", place["step"] + 1):
            feed.error = TrainerError("row 7: is damaged; fetch its file again")
        return predicted

    rates = loop.Trainee.set_rates

    def counted_rates(trainee: Any, *values: Any) -> None:
        place["step"] += 1
        rates(trainee, *values)

    write = writing.write_tensors

    def faulty_write(folder: Path, task: Any, tensors: Any) -> Any:
        step = int(folder.name.removesuffix(".tmp").removeprefix("step-"))
        if faults.due("disk full", step):
            (folder / task.name).write_bytes(b"begun")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if faults.due("SIGKILL in a write", step):
            (folder / task.name).write_bytes(b"begun")
            os.kill(os.getpid(), signal.SIGKILL)
        return write(folder, task, tensors)

    stretch = loop._stretch

    def counted_stretch(job: Any, found: Any, first: int, guard: Any) -> Any:
        place["step"] = first
        return stretch(job, found, first, guard)

    vars(loop).update(gradients=faulty_gradients, _stretch=counted_stretch)
    vars(writing).update(write_tensors=faulty_write)
    loop.Feed.look = faulty_look
    loop.Trainee.set_rates = counted_rates


def install_in_store(faults: Faults) -> None:
    """Put the faults into what the checkpoints are put into."""
    send = Store._send

    def faulty_send(there: Store, pieces: Any, name: str) -> Any:
        if name.startswith("checkpoints/") and faults.due("store", int(name.split("/")[1].removeprefix("step-"))):
            raise OSError("no connection")
        return send(there, pieces, name)

    vars(store).update(FIRST_WAIT=0.0)
    Store._send = faulty_send  # type: ignore[method-assign, assignment]


def put(trainee: Any, value: float) -> None:
    """Put a value into one gradient that this rank holds."""
    if trainee.stage == 0:
        gradient = next(parameter.grad for parameter in trainee.model.parameters() if parameter.grad is not None)
    elif not trainee.engine.optimizer.averaged_gradients.get(0):  # offloaded: they are in the slices
        gradient = trainee.slices[0].tensor.grad
    else:
        gradient = next(one for one in trainee.engine.optimizer.averaged_gradients[0] if one is not None)
    gradient.view(-1)[0] = value


if __name__ == "__main__":
    planned = Faults(Path(sys.argv.pop()))
    install(planned)
    install_in_store(planned)
    code = process.main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

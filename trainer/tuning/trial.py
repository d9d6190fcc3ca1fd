"""One trial: a learning rate and a seed, trained until validation gets no better; and its checkpoint, from which it goes on exactly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kernel.random import derive
from trainer.optimizer import parameter_groups
from trainer.order import rows_of
from trainer.tuning.config import TuningConfig
from trainer.tuning.passes import Passes
from trainer.tuning.tasks import Data, Start, Task
from trainer.tuning.texts import Ints

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class State:
    """Where a trial stands, and what it has seen, as plain JSON values; weights and moments are kept by torch."""

    step: int = 0  # steps done
    best: float | None = None  # the chosen metric
    best_step: int = 0
    best_scores: dict[str, float] = field(default_factory=dict)
    waited: int = 0  # validations since the best one
    ended: bool = False
    losses: list[float] = field(default_factory=list)  # since the last line of metrics
    lines: list[dict[str, Any]] = field(default_factory=list)  # of metrics


def rate_at(step: int, steps: int, peak: float, settings: TuningConfig) -> float:
    """Learning rate of a step, from 0 on: a rise from 0 through the share `warmup`, then a straight line to `final_factor` of the peak."""
    warm = settings.warmup * steps
    if step + 0.5 < warm:
        return peak * (step + 0.5) / warm
    return peak * (1 - (1 - settings.final_factor) * (step - warm) / max(1.0, steps - warm)) if step > warm else peak


class Trial:
    """A model that is being tuned. Everything that it does is a function of its task, data, settings, rate and seed."""

    def __init__(
        self,
        task: Task[Any],
        start: Start,
        settings: TuningConfig,
        rate: float,
        seed: int,
        passes: Passes,
        place: Path | None,
        identity: str,
    ) -> None:
        self.task, self.settings, self.rate, self.seed = task, settings, rate, seed
        self.place, self.identity = place, identity
        key = derive(seed, "dropout")
        self.passes = Passes(passes.device, passes.budget, passes.precision, key - (1 << 64) if key >> 63 else key)
        torch.manual_seed(derive(seed, "head"))
        self.module: nn.Module = task.module(start).to(passes.device)
        self.optimizer = settings.optimizer.make(parameter_groups(self.module, settings.weight_decay), settings)
        self.state = State()
        self.kept: dict[str, Tensor] = {}

    def steps(self, items: int) -> int:
        """Steps of so many training items, were it not stopped early."""
        return max(1, -(-round(items * self.settings.epochs) // self.settings.batch_size))

    def batch(self, step: int, items: int) -> tuple[Ints, int]:
        """The items of a step, and the number of its first sample. The order is keyed by seed and epoch."""
        first = step * self.settings.batch_size
        end = min(first + self.settings.batch_size, max(1, round(items * self.settings.epochs)))
        return rows_of(np.arange(first, end, dtype=np.int64), items, derive(self.seed, "order")), first

    def train(self, train: Data, validation: Data, tell: Callable[[dict[str, Any]], None]) -> None:
        """Train to the end, or until validation has been no better for a while; `module` then has the best weights."""
        settings, state, steps = self.settings, self.state, self.steps(len(train))
        every = settings.evaluate_every or max(1, -(-len(train) // settings.batch_size))
        while state.step < steps and not state.ended:
            batch, first = self.batch(state.step, len(train))
            rate = rate_at(state.step, steps, self.rate, settings)
            for group in self.optimizer.param_groups:
                group.update(lr=rate, max_lr=self.rate)
            self.module.train()
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.task.learn(self.module, train, batch, first, self.passes)
            state.losses.append(loss)
            state.step += 1
            if np.isfinite(loss):
                self.optimizer.step()
            else:
                state.ended = True  # it comes to nothing; what validation has chosen so far stands
            if state.step % settings.log_every == 0 or state.step == steps or state.ended:
                self._line(tell, "train", loss=float(np.mean(state.losses)), learning_rate=rate)
                state.losses.clear()
            if state.step % every == 0 or state.step == steps or state.ended:
                self._validate(validation, tell)
            if self.place is not None and state.step % settings.checkpoint_every == 0:
                self.save()
        if self.kept:
            self.module.load_state_dict(self.kept)

    def _validate(self, validation: Data, tell: Callable[[dict[str, Any]], None]) -> None:
        state, settings = self.state, self.settings
        scores = self.task.scores(self.task.outputs(self.module, validation, self.passes))
        value = scores[self.task.config.chosen_metric]
        if np.isfinite(value) and (state.best is None or value > state.best):
            state.best, state.best_step, state.best_scores, state.waited = value, state.step, scores, 0
            self.kept = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.module.state_dict().items()}
        else:
            state.waited += 1
            state.ended = state.ended or (settings.patience is not None and state.waited >= settings.patience)
        self._line(tell, "validation", **scores)

    def _line(self, tell: Callable[[dict[str, Any]], None], kind: str, **values: float) -> None:
        finite = {name: value if np.isfinite(value) else None for name, value in values.items()}
        line = {"kind": kind, "learning_rate_peak": self.rate, "seed": self.seed, "step": self.state.step, **finite}
        self.state.lines.append(line)
        tell(line)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        assert self.place is not None, "asked for with a folder alone"
        tensors = {f"weight.{name}": tensor for name, tensor in self.module.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.kept.items()}
        for number, entry in self.optimizer.state_dict()["state"].items():
            tensors |= {f"state.{number}.{name}": tensor for name, tensor in entry.items()}
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write(
            self.place / CHECKPOINT,
            lambda path: save_file(whole, path, metadata={"identity": self.identity, "state": json.dumps(vars(self.state))}),
        )

    def restore(self) -> bool:
        """Go on from the checkpoint, where there is a whole one of this very trial."""
        path = self.place / CHECKPOINT if self.place is not None else None
        if path is None or not path.is_file():
            return False
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                if about.get("identity") != self.identity:
                    return False
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError):
            return False  # cut short by a crash of the machine: the trial begins anew
        self.state = State(**json.loads(about["state"]))
        of: dict[str, dict[str, Tensor]] = {"weight": {}, "best": {}}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "state":
                number, _, what = rest.partition(".")
                moments.setdefault(int(number), {})[what] = tensor
            else:
                of[kind][rest] = tensor
        self.module.load_state_dict(of["weight"])
        self.kept = of["best"]
        body = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**body, "state": moments})
        return True


def write(path: Path, how: Callable[[Path], Any]) -> None:
    """Write a file, whole or not at all."""
    aside = path.with_name(f".{path.name}.tmp")
    how(aside)
    os.replace(aside, path)

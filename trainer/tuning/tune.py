"""A grid of trials, of which validation chooses: the entry to tuning for all who have examples in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model import ModernBert
from trainer.errors import TrainerError
from trainer.tuning.config import TaskConfig, TuningConfig
from trainer.tuning.passes import Passes
from trainer.tuning.tasks import SPLITS, Data, Start, Task, make
from trainer.tuning.texts import Cutting, TextTokens
from trainer.tuning.trial import CHECKPOINT, Trial, write

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Tried:
    """What came of a learning rate with a seed, at the step that validation chose."""

    learning_rate: float
    seed: int
    step: int  # after which the weights were best on validation
    steps: int  # that were made
    validation: dict[str, float]
    test: dict[str, float]  # empty where there are no test examples
    outputs: pa.Table  # a row a test item: `item` int64, its row in the examples, and what the task says of it; `score` is larger is better


@dataclass(frozen=True)
class Tuned:
    """What came of a grid. `best` is the place in `tried` of the model; the rate is the best in the mean over its seeds."""

    tried: tuple[Tried, ...]
    best: int
    metric: str
    model: nn.Module  # with the chosen weights, for evaluation
    task: Task[Any]
    counts: dict[str, dict[str, int]]  # by split: items, texts, texts over the longest, tokens of the longest text

    @property
    def chosen(self) -> Tried:
        """The trial that the model is of."""
        return self.tried[self.best]

    @property
    def seeds(self) -> tuple[Tried, ...]:
        """All seeds of the chosen learning rate."""
        return tuple(one for one in self.tried if one.learning_rate == self.chosen.learning_rate)


def tune(
    start: Start,
    tokens: TextTokens,
    task: TaskConfig,
    examples: pa.Table,
    settings: TuningConfig | None = None,
    *,
    candidates: Sequence[str] = (),
    folder: Path | None = None,
    tell: Tell | None = None,
    device: torch.device | None = None,
) -> Tuned:
    """Tune a model for a task with every learning rate and seed of a grid; choose on validation; report every test item.

    The result is a function of the arguments alone (on one machine, with one number of threads): order, dropout and new layers are keyed
    by the seed. Where `folder` is given, trials leave checkpoints there, and the same call goes on where a killed one stopped and ends
    with the same bytes.

    Args:
        start: a folder of a ModernBERT (transformers', sentence-transformers' or ours, of any head); a `ModernBert`, whose weights are
            copied; or a `ModernBertConfig`, for random weights by each seed.
        tokens: the tokenizer of that model, `TextTokens(tokenizer.Encoder(folder), tokenizer.special_ids(folder))`.
        task: what is learnt; `trainer.tuning.config.TASKS` has the configurations by their keys.
        examples: a table with a column `split` (train, validation, and test or none) and the task's own: `text` and `label` (classify,
            regress); `query`, `text`, `label` (pair, regress); `words`, `labels` (tag); `query`, `text`, `answer`, `start` (answer);
            `query`, `text` and perhaps `label`, a grade above 0, and `negatives`, a list (dense, late_interaction).
        settings: rates, seeds, epochs, batch and so on; None: the defaults.
        candidates: retrieval ranks the texts of a split's examples among one another and these.
        tell: gets each line of metrics as it is made.
        device: None: the first GPU, or the CPU.

    Raises: `TrainerError`, one line, for examples that lack a column, a split or a second class, for labels that are none, and for texts
    that are longer than the model takes where `task.cut` is false; `ModelError` for a folder that has no model of ours.
    """
    settings = settings or TuningConfig()
    made = make(task)
    made.check(examples)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    longest = _longest(made, start, task)
    data: dict[str, Data] = {}
    counts: dict[str, dict[str, int]] = {}
    present = set(examples["split"].to_pylist())
    for split in SPLITS:
        if split in present:
            cutting = Cutting(longest, task.cut)
            data[split] = made.data(examples, split, tokens, cutting, candidates)
            counts[split] = {"items": len(data[split]), "texts": cutting.seen, "over": cutting.over, "longest": cutting.most}
    passes = Passes(device, settings.micro_batch_tokens, settings.precision)
    identity = _identity(start, task, settings, data) if folder is not None else ""
    tried: list[Tried] = []
    winner: tuple[float, int, dict[str, Tensor]] | None = None  # mean of the rate's seeds, place, weights
    for rate in settings.learning_rates:
        best_seed: tuple[float, int, dict[str, Tensor]] | None = None
        for seed in settings.seeds:
            place = folder / "trials" / f"rate-{rate:g}-seed-{seed}" if folder is not None else None
            one, weights = _try(made, start, settings, rate, seed, passes, place, identity, data, tell or _silent)
            value = _value(one, task.chosen_metric)
            if best_seed is None or value > best_seed[0]:
                best_seed = value, len(tried), weights
            tried.append(one)
        assert best_seed is not None, "there are seeds"
        mean = float(np.mean([_value(one, task.chosen_metric) for one in tried[-len(settings.seeds) :]]))
        if winner is None or mean > winner[0]:
            winner = mean, *best_seed[1:]
    assert winner is not None, "there are rates"
    if winner[0] == -np.inf:
        raise TrainerError("tuning.learning_rates: the loss was not finite with any of them; lower them")
    model = made.module(start)
    model.load_state_dict(winner[2])
    return Tuned(tuple(tried), winner[1], task.chosen_metric, model.eval(), made, counts)


def _silent(line: dict[str, Any]) -> None:
    pass


def _value(one: Tried, metric: str) -> float:
    """What validation says; a trial that came to nothing is worse than all others."""
    return one.validation.get(metric, -np.inf)


def _longest(task: Task[Any], start: Start, config: TaskConfig) -> int:
    """Tokens of the longest segment that is taken. Raises `TrainerError` where the task wants more than the model takes."""
    module: Any = start if isinstance(start, ModernBert) else None
    if module is not None:
        most = module.config.max_length
    elif isinstance(start, Path):
        module = task.module(start)  # that a folder is no model is told before anything else
        most = module.config.max_length
    else:
        most = start.max_length
    if config.max_length is not None and config.max_length > most:
        raise TrainerError(f"task.max_length: {config.max_length:,} is more than the {most:,} tokens that the model takes; lower it")
    return int(config.max_length or most)


def _try(
    task: Task[Any],
    start: Start,
    settings: TuningConfig,
    rate: float,
    seed: int,
    passes: Passes,
    place: Path | None,
    identity: str,
    data: dict[str, Data],
    tell: Tell,
) -> tuple[Tried, dict[str, Tensor]]:
    """One trial, made or taken from its folder; and its best weights."""
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
        if (done := _done(place, identity)) is not None:
            for line in done[2]:
                tell(line)
            return done[0], done[1]
    trial = Trial(task, start, settings, rate, seed, passes, place, identity)
    if trial.restore():
        for line in trial.state.lines:
            tell(line)
    trial.train(data["train"], data["validation"], tell)
    outputs, test = pa.table({"item": pa.array([], pa.int64())}), {}
    if "test" in data:
        found = task.outputs(trial.module, data["test"], passes)
        test = task.scores(found)
        outputs = pa.table({"item": data["test"].items, **found})
    state = trial.state
    one = Tried(rate, seed, state.best_step, state.step, state.best_scores, test, outputs)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in trial.module.state_dict().items()}
    if place is not None:
        write(place / "outputs.parquet", lambda path: pq.write_table(outputs, path))
        write(place / "best.safetensors", lambda path: save_file(weights, path))
        body = {"identity": identity, "tried": _plain(one), "lines": state.lines}
        write(place / "result.json", lambda path: path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8"))
        (place / CHECKPOINT).unlink(missing_ok=True)
    return one, weights


def _plain(one: Tried) -> dict[str, Any]:
    """A trial without its items, as JSON has it."""
    return {name: value for name, value in vars(one).items() if name != "outputs"}


def _done(place: Path, identity: str) -> tuple[Tried, dict[str, Tensor], list[dict[str, Any]]] | None:
    """A trial that has ended, from its folder; None where there is none of the same task, data and settings."""
    try:
        body = json.loads((place / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if body.get("identity") != identity or not (place / "best.safetensors").is_file():
        return None
    one = Tried(**body["tried"], outputs=pq.read_table(place / "outputs.parquet"))
    return one, load_file(place / "best.safetensors"), body["lines"]


def _identity(start: Start, task: TaskConfig, settings: TuningConfig, data: dict[str, Data]) -> str:
    """A fingerprint of all that a trial's result is a function of. What only says how often something is written is left out."""
    about = hashlib.blake2b(digest_size=16)
    free = {"checkpoint_every", "learning_rates", "seeds"}
    about.update(json.dumps([task.model_dump(), settings.model_dump(exclude=free)], sort_keys=True).encode())
    if isinstance(start, Path):
        for path in sorted(path for name in ("config.json", "*.safetensors", "1_Dense/*.safetensors") for path in start.glob(name)):
            with path.open("rb") as file:
                about.update(hashlib.file_digest(file, "blake2b").digest())
    elif isinstance(start, ModernBert):
        for name, tensor in start.state_dict().items():
            about.update(name.encode() + tensor.detach().cpu().float().contiguous().numpy().tobytes())
    else:
        about.update(repr(start).encode())
    for split, part in data.items():
        about.update(split.encode() + part.segments.values.tobytes() + part.segments.bounds.tobytes() + part.items.tobytes())
        for name, value in sorted(part.more.items()):
            about.update(name.encode())
            if isinstance(value, np.ndarray):
                about.update(value.tobytes())
            elif hasattr(value, "values") and hasattr(value, "bounds"):
                about.update(value.values.tobytes() + value.bounds.tobytes())
            else:
                about.update(repr(value).encode())
    return about.hexdigest()

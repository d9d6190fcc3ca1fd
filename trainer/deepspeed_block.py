"""`training.deepspeed` of a recipe: keys of DeepSpeed's own JSON configuration, merged over those that the trainer sets, and checked.

What is checked is what DeepSpeed itself says. Its sections that are pydantic models forbid unknown keys and check values; of all others
a key is known if DeepSpeed looks at it, which `Watched` notes while DeepSpeed reads the configuration.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from trainer.errors import TrainerError

PLACE = "training.deepspeed"

# Keys that another value of would make training another one than the recipe says, and what is to be set in their place.
OWNED = {
    "train_batch_size": "set `batch_size` of the phase",
    "train_micro_batch_size_per_gpu": "set training.micro_batch_tokens",
    "gradient_accumulation_steps": "set training.micro_batch_tokens",
    "managed_gradient_accumulation": "the trainer accumulates gradients itself; set training.micro_batch_tokens",
    "optimizer": "set training.optimizer",
    "scheduler": "set `learning_rate`, `warmup_tokens` and `decay_tokens` of the phase",
    "gradient_clipping": "training.optimizer clips; choose it",
    "gradient_allreduce_op": "every predicted token weighs the same; leave it out",
    "bf16": "set training.precision",
    "bfloat16": "set training.precision",
    "fp16": "set training.precision",
    "amp": "set training.precision",
    "torch_autocast": "set training.precision",
    "data_types": "set training.precision",
    "compile": "set training.compile",
    "activation_checkpointing": "set training.activation_checkpointing",
    "zero_allow_untested_optimizer": "the trainer sets it; leave it out",
    "zero_force_ds_cpu_optimizer": "the trainer sets it; leave it out",
    "sequence_parallel_size": "the trainer divides batches alone; leave it out",
    "tensor_parallel": "the trainer divides batches alone; leave it out",
    "expert_parallel": "the trainer divides batches alone; leave it out",
    "pipeline": "the trainer divides batches alone; leave it out",
    "hybrid_engine": "it is for generating text; leave it out",
    "data_efficiency": "the trainer chooses the samples; leave it out",
    "compression_training": "it changes the model; leave it out",
    "weight_quantization": "it changes the model; leave it out",
    "checkpoint": "the trainer writes checkpoints of its own; set training.checkpoint_every",
    "zero_optimization.stage": "set training.zero_stage",
    "zero_optimization.compute_grad_norm": "the trainer takes the norm; leave it out",
    "zero_optimization.round_robin_gradients": "DeepSpeed then does not say which weights a rank steps; leave it out",
    "zero_optimization.zenflow": "its steps are other than the optimizer's; leave it out",
    "zero_optimization.offload_optimizer.ratio": "all is offloaded or nothing; leave it out",
    "zero_optimization.offload_optimizer.super_offload": "its optimizer is its own; leave it out",
}


class Watched(dict[str, Any]):
    """A section of a configuration that notes which keys it was asked for, and whether it was read as a whole."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__({key: Watched(value) if isinstance(value, dict) else value for key, value in values.items()})
        self.asked: set[str] = set()
        self.whole = False

    def __copy__(self) -> Watched:
        return self

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __iter__(self) -> Iterator[str]:
        self.whole = True
        return super().__iter__()

    def keys(self) -> Any:
        return _Keys(self)

    def items(self) -> Any:
        self.whole = True
        return super().items()


class _Keys:
    """Keys of a watched section: to look for one among them is to ask for it."""

    def __init__(self, section: Watched) -> None:
        self.section = section

    def __contains__(self, key: object) -> bool:
        return key in self.section

    def __iter__(self) -> Iterator[str]:
        return iter(self.section)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, section by section."""
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        result[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def check(block: Mapping[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """`base`, the trainer's configuration, with the block merged over it.

    Raises `TrainerError`, one line that names the recipe's own key, where DeepSpeed does not know a key or refuses a value, and where the
    key is the trainer's.
    """
    _not_owned(block, "")
    for key, value in block.items():  # each alone, so that an error is that of its section
        _check_section(key, value, base)
    whole = merged(base, block)
    _read(whole, "")
    return whole


def _not_owned(section: Mapping[str, Any], place: str) -> None:
    for key, value in section.items():
        where = f"{place}{key}"
        if where in OWNED:
            raise TrainerError(f"{PLACE}.{where}: is not for this block to set; {OWNED[where]}")
        if key == "device" and value == "nvme":
            raise TrainerError(
                f"{PLACE}.{where}: nvme keeps weights and moments in files of DeepSpeed's, of which no checkpoint can be made; use cpu"
            )
        if isinstance(value, dict):
            _not_owned(value, f"{where}.")


def _check_section(key: str, value: Any, base: dict[str, Any]) -> None:
    if isinstance(base.get(key), dict) and not isinstance(value, dict):
        raise TrainerError(f"{PLACE}.{key}: should be a section of keys, not {value!r}")
    watched = _read(merged(base, {key: value}), key)
    if key not in watched.asked:
        raise TrainerError(_unknown(key, watched.asked))
    _all_known(watched.get(key), key, value)


def _all_known(section: Any, place: str, given: Any) -> None:
    """Raise where a key was given that DeepSpeed never asked for; sections that it read as a whole it has checked itself."""
    if not isinstance(section, Watched) or section.whole or not isinstance(given, dict):
        return
    for key, value in given.items():
        if key not in section.asked:
            raise TrainerError(_unknown(f"{place}.{key}", section.asked))
        _all_known(dict.get(section, key), f"{place}.{key}", value)


def _unknown(where: str, known: Any) -> str:
    """The line for a key that is not known, with the nearest of those that are."""
    near = difflib.get_close_matches(where.rsplit(".", 1)[-1], [str(key) for key in known], 1)
    return f"{PLACE}.{where}: is no key of DeepSpeed's; " + (f"did you mean {near[0]}?" if near else "leave it out")


def _read(config: dict[str, Any], place: str) -> Watched:
    """Let DeepSpeed read a configuration. Raises its error as a line with the recipe's key."""
    from deepspeed.runtime.config import DeepSpeedConfig

    watched = Watched(config)
    try:
        DeepSpeedConfig(watched)
    except ValidationError as error:
        raise TrainerError(_of_model(error, place)) from error
    except Exception as error:  # of many kinds, assertions among them: whatever DeepSpeed says of what the user wrote
        where = f"{PLACE}.{place}" if place else PLACE
        said = " ".join(str(error).split()) or type(error).__name__
        raise TrainerError(f"{where}: {said}") from error
    return watched


def _of_model(error: ValidationError, place: str) -> str:
    """The line for the first error of one of DeepSpeed's pydantic models."""
    first = error.errors()[0]
    loc = [str(part) for part in first["loc"]]
    where = ".".join(loc if not place or loc[:1] == [place] else [place, *loc])  # a model of several sections names its own
    if first["type"] == "extra_forbidden":
        return _unknown(where, _keys(error.title, loc[:-1]))
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    given = "" if isinstance(first["input"], dict) or first["type"] in ("value_error", "assertion_error") else f", not {first['input']!r}"
    return f"{PLACE}.{where}: {message}{given}"


def _keys(title: str, inside: list[str]) -> list[str]:
    """The keys of the model of DeepSpeed's that has this name, or of the one within it at a place: names and aliases."""
    from deepspeed.runtime.config_utils import DeepSpeedConfigModel

    known = {model.__name__: model for model in _subclasses(DeepSpeedConfigModel)}
    model: Any = known.get(title)
    for part in inside:
        field = next((field for name, field in model.model_fields.items() if part in (name, field.alias)), None) if model else None
        shown = str(field.annotation) if field is not None else ""
        model = next((one for name, one in known.items() if f"{name}]" in shown or f"{name}'" in shown), None)
    return [name for key, field in model.model_fields.items() for name in (key, field.alias) if name] if model else []


def _subclasses(model: Any) -> Iterator[Any]:
    subclasses: list[Any] = model.__subclasses__()
    for one in subclasses:
        yield one
        yield from _subclasses(one)

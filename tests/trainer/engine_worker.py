"""A rank that makes one step's gradients under every ZeRO stage: `tests.trainer.engine_worker RUN.json FOLDER`, and says what it holds.

Of each case the rank leaves FOLDER/CASE-R.pt: its parts of the gradients by parameter, the norm of all of them as the trainer takes it
and as DeepSpeed does, and the bytes of weights, gradients and moments.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kernel.random import derive
from model import masked_lm
from trainer.batches import load, share
from trainer.config import RunConfig
from trainer.data import micro_rows, open_data
from trainer.engine import Trainee, World, build, join_world
from trainer.step import forward

# Stages, and whether the optimizer is offloaded. ZeRO 3 comes last: DeepSpeed then gives the process a linear layer of its own.
CASES = {"0": (0, None), "1": (1, None), "2": (2, None), "1 offloaded": (1, "cpu"), "2 offloaded": (2, "cpu"), "3": (3, None)}


def accumulate(config: RunConfig, trainee: Trainee, world: World, after: Callable[[], None] = lambda: None) -> None:
    """The gradients of the first batch; `after` is called after each of its micro-batches."""
    phase = config.phases[0]
    data = open_data(config).phases[0]
    shares = [share(0, phase.batch_size, rank, world.size, micro_rows(config, phase)) for rank in range(world.size)]
    predicted = sum(batch.predicted for pieces in shares for batch in load(data, pieces, 0))
    batches = load(data, shares[world.rank], 0)
    for number, batch in enumerate(batches, start=1):
        loss, each = forward(trainee, batch, world, labels=True)
        trainee.accumulate(loss * (world.size / predicted), last=number == len(batches))
        del loss, each
        after()


def gradients(trainee: Trainee) -> dict[str, tuple[int, torch.Tensor]]:
    """This rank's parts of the gradients: where each begins in the flattened parameter, and its elements."""
    found = {}
    for number, one in enumerate(trainee.slices):
        if trainee.stage == 0:
            assert one.tensor.grad is not None
            found[one.parameters[0].name] = 0, one.tensor.grad.reshape(-1).clone()
            continue
        averaged = trainee.engine.optimizer.averaged_gradients.get(number)
        flat = one.tensor.grad if averaged is None else torch.cat([gradient.reshape(-1) for gradient in averaged])
        assert flat is not None
        for part in one.parts:
            found[one.parameters[part.slot].name] = part.start, flat.narrow(0, part.at, part.length).clone()
    return found


def their_norm(trainee: Trainee, world: World) -> float:
    """The norm of all gradients by DeepSpeed's own method, which the trainer has put out of its step."""
    from deepspeed.runtime.utils import combine_grad_norm_groups

    zero = trainee.engine.optimizer
    if trainee.stage == 0:
        return float(world.sum(trainee.square()).sqrt())
    if trainee.stage == 3:
        return float(combine_grad_norm_groups(type(zero)._get_norm_groups(zero)))
    return float(type(zero).scaled_global_norm(zero))


def storages() -> dict[int, int]:
    """Bytes of each distinct storage of float32 of this process, by its address."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)]
    tensors += [one.grad for one in tensors if one.is_leaf and one.grad is not None]
    return {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors if one.dtype == torch.float32}


def state_bytes(trainee: Trainee, before: set[int]) -> int:
    """Bytes of the state that this process holds. DeepSpeed's buckets, through which gradients go while they are reduced, do not count."""
    buckets = set()
    for bucket in getattr(trainee.engine.optimizer, "ipg_buckets", {}).values():
        buffers = bucket.buffer if isinstance(bucket.buffer, list) else [bucket.buffer]
        buckets |= {one.untyped_storage().data_ptr() for one in buffers if one is not None}
    return sum(size for place, size in storages().items() if place not in before | buckets)


def case(name: str, config: RunConfig, world: World, folder: Path) -> None:
    """One case: what the rank leaves of it."""
    torch.manual_seed(derive(config.seed, "weights"))
    before = set(storages())  # what other cases have left
    trainee = build(masked_lm(config.model), config.training, world)
    trainee.engine.train()
    accumulate(config, trainee, world)
    result: dict[str, Any] = {"gradients": gradients(trainee), "theirs": their_norm(trainee, world)}
    result["ours"] = float(world.sum(trainee.square()).sqrt())
    result["parameters"] = sum(getattr(one, "ds_numel", one.numel()) for one in trainee.model.parameters())
    torch.save(result, folder / f"{name}-{world.rank}.pt")
    del result["gradients"]
    trainee.set_rates(1e-3, 1e-3, 0.0)
    trainee.step()
    held: list[int] = []
    accumulate(config, trainee, world, lambda: held.append(state_bytes(trainee, before)))
    (folder / f"{name}-{world.rank}.json").write_text(json.dumps({**result, "bytes": held}), encoding="utf-8")


def main() -> None:
    path, folder = map(Path, sys.argv[1:3])
    world = join_world()
    for name, (stage, offload) in CASES.items():
        config = RunConfig.model_validate_json(path.read_text(encoding="utf-8"))
        # small models too are sharded whole under stage 3
        block = {"zero_optimization": {"stage3_param_persistence_threshold": 0}} if stage == 3 else None
        config.training = config.training.model_copy(update={"zero_stage": stage, "offload": offload, "deepspeed": block})
        case(name, config, world, folder)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)

"""The DeepSpeed engine around the model, and the process group around all ranks."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model import MaskedLM
from model.cpu import prepare_process
from trainer.config import TrainingConfig
from trainer.optimizer import StableAdamW, parameter_groups, zero_fragments


@dataclass(frozen=True)
class World:
    """This rank among all."""

    rank: int
    size: int
    local_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


def quiet_deepspeed() -> None:
    """Keep DeepSpeed's log to errors (its warnings tell of what we chose), and keep it from compiling extensions.

    Its shared-memory all-reduce for CPUs would need a C++ compiler on the user's machine; gloo's does the same.
    """
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    for handler in logger.handlers:
        handler.setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def join_world() -> World:
    """Join the process group that torchrun or DeepSpeed's launcher describes in the environment."""
    import deepspeed

    quiet_deepspeed()
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("LOCAL_SIZE", "1")))
    os.environ.setdefault("LOCAL_SIZE", str(local_size))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_size))
        prepare_process()
    deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", verbose=False)
    return World(dist.get_rank(), dist.get_world_size(), local_size, device)


class LossModule(nn.Module):
    """The model as DeepSpeed drives it: a batch in, the sum of the losses out; without labels, logits."""

    def __init__(self, model: MaskedLM) -> None:
        super().__init__()
        self.inner = model

    def forward(self, input_ids: Tensor, cu_seqlens: Tensor, max_seqlen: int, positions: Tensor, labels: Tensor | None) -> Tensor:
        output = self.inner(input_ids, cu_seqlens, max_seqlen, positions, labels)
        result: Tensor = output.logits if labels is None else output.loss
        return result


@dataclass
class Trainee:
    """A model under training: DeepSpeed's engine, and the optimizer it drives."""

    engine: Any
    optimizer: StableAdamW
    module: LossModule
    stage: int

    @property
    def model(self) -> MaskedLM:
        return self.module.inner

    def link(self) -> None:
        """Tell the optimizer what DeepSpeed's flat slices hold; after initialisation and after loading."""
        if self.stage:
            self.optimizer.set_fragments(zero_fragments(self.engine.optimizer, self.stage, None if self.world == 1 else dist.group.WORLD))

    @property
    def world(self) -> int:
        return int(self.engine.world_size)

    def set_rates(self, lr: float, max_lr: float, weight_decay: float) -> None:
        """The learning rate and weight decay of the next step."""
        for group, decays in zip(self.optimizer.param_groups, (True, False), strict=True):
            group["lr"], group["max_lr"] = lr, max_lr
            group["weight_decay"] = weight_decay if decays else 0.0


def deepspeed_config(config: TrainingConfig, world: World) -> dict[str, Any]:
    """DeepSpeed's configuration: what it is to shard. Batches, rates and clipping are ours."""
    body: dict[str, Any] = {
        "train_batch_size": world.size,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "gradient_clipping": 0.0,  # by default DeepSpeed clips to 1; StableAdamW clips updates instead
        "steps_per_print": 1 << 60,
        "wall_clock_breakdown": False,
    }
    if config.precision == "bfloat16":
        body["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return body


def build(model: MaskedLM, config: TrainingConfig, world: World) -> Trainee:
    """Wrap a freshly made model in a DeepSpeed engine with StableAdamW."""
    import deepspeed

    model.model.activation_checkpointing = config.activation_checkpointing
    module = LossModule(model)
    module.to(world.device)
    optimizer = StableAdamW(parameter_groups(module, 0.0), lr=1.0, betas=(config.beta1, config.beta2), eps=config.epsilon)
    engine, _, _, _ = deepspeed.initialize(model=module, optimizer=optimizer, config=deepspeed_config(config, world))
    trainee = Trainee(engine, optimizer, module, config.zero_stage)
    trainee.link()
    return trainee


def full_state(trainee: Trainee) -> dict[str, Tensor]:
    """All weights, whole, in float32 on the CPU; on every rank, gathered one parameter at a time under ZeRO 3."""
    state: dict[str, Tensor] = {}
    for name, parameter in trainee.model.named_parameters():
        if trainee.stage == 3:
            import deepspeed

            with deepspeed.zero.GatheredParameters([parameter]):
                state[name] = parameter.detach().to("cpu", torch.float32).clone()
        else:
            state[name] = parameter.detach().to("cpu", torch.float32).clone()
    return state

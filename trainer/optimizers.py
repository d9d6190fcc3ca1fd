"""The optimizers that a recipe can name, and the interface that an optimizer has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from kernel.extensions import Registry
from kernel.sections import Chosen

if TYPE_CHECKING:
    import torch


class Shared(Protocol):
    """What an optimizer may take from the recipe's `training` section, beside its own keys."""

    @property
    def beta1(self) -> float: ...
    @property
    def beta2(self) -> float: ...
    @property
    def epsilon(self) -> float: ...


class OptimizerConfig(BaseModel):
    """The base of all optimizers' configurations: a name, and the optimizer's own keys. A package adds an optimizer by a subclass."""

    model_config = ConfigDict(extra="forbid")

    # The stages of ZeRO under which the optimizer's steps are those that it would make on whole parameters. ZeRO hands it flat slices
    # of the parameters' elements, so an optimizer whose step looks at each element alone is right under all of them: (0, 1, 2, 3).
    # One that looks at a parameter as a whole (a norm, a matrix) is right under 0 alone, unless it has a method
    # `set_slices(slices, group, sharded)`, which is told what the slices hold (`trainer.slices.Slice`).
    zero_stages: ClassVar[tuple[int, ...]] = (0,)

    name: str = Field(description="Which optimizer.")

    def make(self, groups: list[dict[str, Any]], training: Shared) -> torch.optim.Optimizer:
        """The optimizer over these groups of parameters.

        `groups`: of `kind` block, the matrices within the model's blocks; matrix, all others; and vector. Before each step every group
        is given `lr`, the rate of the step, `max_lr`, the phase's peak, and `weight_decay`, which is 0 for vectors and means that a
        parameter is multiplied by 1 - lr / max_lr * weight_decay. All of its state must be in `state_dict()`, so that a resumed run
        gives the same weights.
        """
        raise NotImplementedError


class StableAdamWConfig(OptimizerConfig):
    """StableAdamW, with training's `beta1`, `beta2` and `epsilon`."""

    zero_stages: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)

    name: str = Field("stable_adamw", description="Which optimizer.")

    def make(self, groups: list[dict[str, Any]], training: Shared) -> torch.optim.Optimizer:
        from trainer.optimizer import StableAdamW  # torch takes seconds to import, and a recipe needs none

        return StableAdamW(groups, lr=1.0, betas=(training.beta1, training.beta2), eps=training.epsilon)


class AdamWConfig(OptimizerConfig):
    """AdamW, with training's `beta1`, `beta2` and `epsilon`. Gradients and updates are not clipped."""

    zero_stages: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)

    name: str = Field("adamw", description="Which optimizer.")

    def make(self, groups: list[dict[str, Any]], training: Shared) -> torch.optim.Optimizer:
        from trainer.optimizer import AdamW

        return AdamW(groups, lr=1.0, betas=(training.beta1, training.beta2), eps=training.epsilon)


class MuonConfig(OptimizerConfig):
    """Muon for the matrices within the blocks; AdamW, with training's `beta1`, `beta2` and `epsilon`, for all else."""

    zero_stages: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)

    name: str = Field("muon", description="Which optimizer.")
    momentum: float = Field(0.95, ge=0, lt=1, description="Momentum of the matrices' gradients, Nesterov's.")
    iterations: int = Field(5, ge=1, le=20, description="Iterations that make a matrix orthogonal.")
    scale: float = Field(
        0.2,
        gt=0,
        description="An orthogonal matrix is multiplied by this and by the root of its longer side; with 0.2 its elements are as large as "
        "AdamW's updates, so that one learning rate serves both.",
    )

    def make(self, groups: list[dict[str, Any]], training: Shared) -> torch.optim.Optimizer:
        from trainer.muon import Muon

        betas = training.beta1, training.beta2
        return Muon(groups, betas=betas, eps=training.epsilon, momentum=self.momentum, iterations=self.iterations, scale=self.scale)


OPTIMIZERS: Registry[type[OptimizerConfig]] = Registry(
    "optimizers", OptimizerConfig, {"stable_adamw": StableAdamWConfig, "adamw": AdamWConfig, "muon": MuonConfig}
)


AnyOptimizer = Annotated[OptimizerConfig, Chosen("name", OPTIMIZERS, OptimizerConfig, short=True)]

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
    # `set_fragments(fragments)`, which is told what the slices hold (`trainer.optimizer.Fragments`).
    zero_stages: ClassVar[tuple[int, ...]] = (0,)

    name: str = Field(description="Which optimizer.")

    def make(self, groups: list[dict[str, Any]], training: Shared) -> torch.optim.Optimizer:
        """The optimizer over these groups of parameters.

        `groups`: two, the matrices and the vectors. Before each step every group is given `lr`, the rate of the step, `max_lr`, the
        phase's peak, and `weight_decay`, which is 0 for vectors and means that a parameter is multiplied by
        1 - lr / max_lr * weight_decay. All of its state must be in `state_dict()`, so that a resumed run gives the same weights.
        """
        raise NotImplementedError


class StableAdamWConfig(OptimizerConfig):
    """StableAdamW, with training's `beta1`, `beta2` and `epsilon`."""

    zero_stages: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)

    name: str = Field("stable_adamw", description="Which optimizer.")

    def make(self, groups: list[dict[str, Any]], training: Shared) -> torch.optim.Optimizer:
        from trainer.optimizer import StableAdamW  # torch takes seconds to import, and a recipe needs none

        return StableAdamW(groups, lr=1.0, betas=(training.beta1, training.beta2), eps=training.epsilon)


OPTIMIZERS: Registry[type[OptimizerConfig]] = Registry("optimizers", OptimizerConfig, {"stable_adamw": StableAdamWConfig})


AnyOptimizer = Annotated[OptimizerConfig, Chosen("name", OPTIMIZERS, OptimizerConfig, short=True)]

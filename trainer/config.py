"""How a model is trained. Defaults are ModernBERT-base's (arXiv 2412.13663, section 2.2 and table 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from model import ClassicBertConfig, ModernBertConfig
from trainer.masking import Masking


def _architecture(section: Any) -> str:
    """Which architecture a model's section is of; one that names none is ModernBERT's."""
    absent = ModernBertConfig.architecture
    return str(section.get("architecture", absent) if isinstance(section, dict) else getattr(section, "architecture", absent))


ModelConfig = Annotated[
    Annotated[ModernBertConfig, Tag("modernbert")] | Annotated[ClassicBertConfig, Tag("bert")], Discriminator(_architecture)
]


class BatchWarmup(BaseModel):
    """A batch that grows: evenly in steps of `start` sequences from `start` to the phase's `batch_size`."""

    model_config = ConfigDict(extra="forbid")

    start: int = Field(768, ge=1, description="Sequences in the first batch (base: 768).")
    tokens: int = Field(50_000_000_000, ge=1, description="Tokens over which the batch grows (base: 50 billion).")


class PhaseConfig(BaseModel):
    """One phase of training."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the phase: small letters, digits, `-`, `_`.")
    length: int = Field(1024, ge=8, description="Tokens in a sequence (paper: 1024, then 8192).")
    tokens: int = Field(1_719_000_000_000, ge=1, description="Tokens to train on (paper: 1.719 T, 250 B, 50 B).")
    batch_size: int = Field(4608, ge=1, description="Sequences in a batch, over all ranks (base: 4608, then 576).")
    batch_warmup: BatchWarmup | None = Field(None, description="A batch that grows at the start of the phase; null: none.")
    learning_rate: float = Field(8e-4, gt=0, description="Peak learning rate (base: 8e-4, then 3e-4).")
    warmup_tokens: int = Field(0, ge=0, description="Tokens of linear warm-up from 0 (base, first phase: 3 billion).")
    decay_tokens: int = Field(0, ge=0, description="Tokens of 1 - sqrt decay at the end of the phase (paper, last phase: all 50 billion).")
    final_factor: float = Field(0.001, ge=0, le=1, description="What the decay ends at, as a share of the peak (reference: 0.001).")
    weight_decay: float = Field(1e-5, ge=0, description="Fully decoupled: scaled by lr / peak lr, not by lr (base: 1e-5).")
    global_theta: float | None = Field(
        None, gt=0, description="Rotary base of global layers in this phase; null: the model's (paper: 10,000 first, then 160,000)."
    )

    @model_validator(mode="after")
    def _fits(self) -> PhaseConfig:
        if self.warmup_tokens + self.decay_tokens > self.tokens:
            raise ValueError(f"warmup_tokens + decay_tokens is over tokens ({self.tokens}); the phase is too short for both")
        if self.batch_warmup is not None and self.batch_warmup.start > self.batch_size:
            raise ValueError(f"batch_warmup.start {self.batch_warmup.start} is over batch_size {self.batch_size}")
        return self


class TrainingConfig(BaseModel):
    """What all phases share."""

    model_config = ConfigDict(extra="forbid")

    zero_stage: Literal[0, 1, 2, 3] = Field(
        1, description="DeepSpeed ZeRO: what is sharded over ranks (1: optimizer, 2: gradients, 3: weights)."
    )
    processes: int | None = Field(None, ge=1, description="Processes on this machine; null: one a GPU, or two on a CPU.")
    micro_batch_tokens: int = Field(
        16_384,
        ge=1,
        description="Tokens that go through the model at once on one rank, at least one sequence; the rest is accumulated.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "bfloat16",
        description="Autocast to bfloat16 over float32 weights (paper), or all in float32 (quicker on CPUs without units for "
        "bfloat16, such as AMX; `foundry model check --precision` tells).",
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="StableAdamW's first beta (paper: 0.9).")
    beta2: float = Field(0.98, ge=0, lt=1, description="StableAdamW's second beta (paper: 0.98).")
    epsilon: float = Field(1e-6, gt=0, description="StableAdamW's epsilon (paper: 1e-6).")
    mask_rate: float = Field(0.3, gt=0, lt=1, description="Share of the words to predict in training (paper: 0.3).")
    evaluation_mask_rate: float = Field(0.15, gt=0, lt=1, description="The same in evaluation (reference: 0.15).")
    masking: Masking = Field(
        "tokens", description="What is chosen to be predicted at once: tokens (paper), whole words, or spans (SpanBERT's lengths)."
    )
    shuffle_rows: int | None = Field(
        None,
        ge=1,
        description="Shuffle blocks of so many consecutive rows, and the rows within them, instead of all rows at once (null): for "
        "remote shards that the cache cannot hold.",
    )
    cache_bytes: int = Field(
        200_000_000_000, ge=1 << 20, description="Bytes of remote shards that are kept on local disk, at most; shared by a host's ranks."
    )
    cache: str | None = Field(None, description="Folder for them; null: `$XDG_CACHE_HOME/encoder-foundry/shards` (~/.cache by default).")
    attention: str = Field("auto", description="ModernBERT's attention kernel: auto, flash3, flash2, varlen, flex, sdpa or matmul.")
    compile: bool = Field(
        False,
        description="Compile the layers by torch.compile, one graph a kind of layer: for GPUs. Not with ZeRO 3.",
    )
    activation_checkpointing: bool = Field(False, description="Work activations out again in the backward pass, to save memory.")
    checkpoint_every: int = Field(1000, ge=1, description="Steps between checkpoints; phases end with one too.")
    keep_checkpoints: int = Field(2, ge=1, description="How many of the latest checkpoints are kept.")
    evaluate_every: int = Field(1000, ge=1, description="Steps between evaluations; the run begins and ends with one too.")
    evaluation_rows: int = Field(4096, ge=1, description="Rows of the validation split that are evaluated, at most.")
    log_every: int = Field(10, ge=1, description="Steps between lines of metrics.")

    @model_validator(mode="after")
    def _compiles(self) -> TrainingConfig:
        if self.compile and self.zero_stage == 3:
            raise ValueError("compile: not with zero_stage 3, whose hooks cannot be compiled; take zero_stage 2, or no compile")
        return self


class RunPhase(PhaseConfig):
    """A phase with the folder of its shards."""

    shards: str  # a folder, or a URI


class RunConfig(BaseModel):
    """All that a training process needs, as `jobs` writes it."""

    model_config = ConfigDict(extra="forbid")

    run: Path
    seed: int
    model: ModelConfig
    tokenizer: str  # fingerprint
    phases: list[RunPhase] = Field(min_length=1)
    validation: str | None
    training: TrainingConfig

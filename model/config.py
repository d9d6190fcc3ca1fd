"""The architecture as numbers: ModernBERT's (arXiv 2412.13663, table 4 and section 2.1), and a classic BERT's (arXiv 1810.04805)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from model.errors import ModelError

# transformers' names of the activation functions that there are.
ACTIVATIONS = ("gelu", "gelu_pytorch_tanh", "silu", "relu")
POOLINGS = ("cls", "mean")


def _described(default: Any, description: str) -> Any:
    return field(default=default, metadata={"description": description})


def _check(config: ModernBertConfig | ClassicBertConfig, dropouts: tuple[str, ...], positive: tuple[str, ...]) -> None:
    """What must hold of the numbers of either architecture. Raises `ModelError` naming the field."""
    for name in ("vocab_size", "hidden_size", "layers", "heads", "intermediate_size", "max_length"):
        if getattr(config, name) < 1:
            raise ModelError(f"model.{name} is {getattr(config, name)}; it must be at least 1")
    if config.hidden_size % config.heads:
        raise ModelError(f"model.hidden_size {config.hidden_size} is not divisible by model.heads {config.heads}")
    for name in dropouts:
        if not 0 <= getattr(config, name) < 1:
            raise ModelError(f"model.{name} is {getattr(config, name)}; it must be in [0, 1)")
    for name in positive:
        if not 0 < getattr(config, name) < float("inf"):
            raise ModelError(f"model.{name} is {getattr(config, name)}; it must be positive and finite")


@dataclass(frozen=True)
class ModernBertConfig:
    """A ModernBERT of any size. Raises `ModelError` where the numbers contradict one another."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    vocab_size: int = _described(50_368, "Entries of the vocabulary, a multiple of 64 (paper: 50,368).")
    hidden_size: int = _described(768, "Width of the residual stream (base: 768, large: 1024).")
    layers: int = _described(22, "Number of layers (base: 22, large: 28).")
    heads: int = _described(12, "Attention heads (base: 12, large: 16; 64 wide each).")
    intermediate_size: int = _described(1152, "Width of the GeGLU (base: 1152, large: 2624); its input projection is twice that.")
    max_length: int = _described(8192, "Longest segment, in tokens (paper: 8192).")
    global_every: int | None = _described(3, "Layers 0, n, 2n ... attend globally, the others locally (paper: 3); null with global_layers.")
    global_layers: tuple[int, ...] | None = _described(
        None, "Numbers of the layers that attend globally, where they are not every n-th; global_every must then be null."
    )
    window: int = _described(128, "Local attention sees window / 2 tokens to each side, both ends included (paper: 128).")
    global_theta: float = _described(160_000.0, "Base of the rotary embedding in global layers (paper: 10,000, then 160,000).")
    local_theta: float = _described(10_000.0, "Base of the rotary embedding in local layers (paper: 10,000).")
    activation: str = _described("gelu", f"What the GLU applies: {', '.join(ACTIVATIONS)} (paper: gelu).")
    head_activation: str = _described("gelu", "What the dense layer of a head applies, of the same (paper: gelu).")
    norm_eps: float = _described(1e-5, "Epsilon of the layer norms (paper: 1e-5).")
    norm_bias: bool = _described(False, "Layer norms have a bias (paper: none).")
    attention_bias: bool = _described(False, "Attention's projections have biases (paper: none).")
    mlp_bias: bool = _described(False, "The GLU's projections have biases (paper: none).")
    head_bias: bool = _described(False, "The dense layer of a head has a bias (paper: none).")
    decoder_bias: bool = _described(True, "The decoder of the masked-language-modelling head has a bias (paper: yes).")
    attention_out_dropout: float = _described(0.1, "Dropout after attention's output projection, in training (paper, table 3: 0.1).")
    embedding_dropout: float = _described(0.0, "Dropout after the embedding's norm, in training (paper: 0).")
    mlp_dropout: float = _described(0.0, "Dropout before the GLU's output projection, in training (paper: 0).")
    init_std: float = _described(0.02, "Standard deviation of the initial weights (paper: 0.02).")
    cls_token_id: int | None = _described(None, "Id of `[CLS]`, for exports; null: the tokenizer's.")
    sep_token_id: int | None = _described(None, "Id of `[SEP]`, for exports; null: the tokenizer's.")
    pad_token_id: int | None = _described(None, "Id of `[PAD]`, for exports; null: the tokenizer's.")
    architecture: Literal["modernbert"] = _described("modernbert", "What is trained: modernbert, or bert, which has keys of its own.")

    def __post_init__(self) -> None:
        dropouts = ("attention_out_dropout", "embedding_dropout", "mlp_dropout")
        _check(self, dropouts, ("global_theta", "local_theta", "norm_eps", "init_std"))
        if self.head_size % 2:
            raise ModelError(f"model: heads are {self.head_size} wide (hidden_size / heads); rotary embeddings need an even width")
        if self.window < 2 or self.window % 2:
            raise ModelError(f"model.window is {self.window}; it must be even, half to each side")
        for name in ("activation", "head_activation"):
            if getattr(self, name) not in ACTIVATIONS:
                raise ModelError(f"model.{name} is {getattr(self, name)!r}; there are: {', '.join(ACTIVATIONS)}")
        self._check_pattern()

    def _check_pattern(self) -> None:
        if self.global_layers is None:
            if self.global_every is None or self.global_every < 1:
                raise ModelError(f"model.global_every is {self.global_every}; it must be at least 1, or give model.global_layers")
            return
        if self.global_every is not None:
            raise ModelError("model: global_layers and global_every both say which layers are global; set global_every to null")
        object.__setattr__(self, "global_layers", tuple(sorted(set(self.global_layers))))
        for layer in self.global_layers:
            if not 0 <= layer < self.layers:
                raise ModelError(f"model.global_layers names layer {layer}; there are {self.layers}, from 0 on")

    @classmethod
    def base(cls, **changes: Any) -> ModernBertConfig:
        """ModernBERT-base, 149 million parameters."""
        return replace(cls(), **changes)

    @classmethod
    def large(cls, **changes: Any) -> ModernBertConfig:
        """ModernBERT-large, 395 million parameters."""
        large = cls(hidden_size=1024, layers=28, heads=16, intermediate_size=2624)
        return replace(large, **changes)

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads

    def is_global(self, layer: int) -> bool:
        """Whether a layer attends to its whole segment."""
        if self.global_layers is not None:
            return layer in self.global_layers
        assert self.global_every is not None, "checked when made"
        return layer % self.global_every == 0


@dataclass(frozen=True)
class ClassicBertConfig:
    """A classic BERT of any size, by default BERT-base's. Raises `ModelError` where the numbers contradict one another."""

    # `required`: a section without `architecture` is ModernBERT's, to editors that check it by the schema too
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "json_schema_extra": {"required": ["architecture"]}}

    vocab_size: int = _described(50_368, "Entries of the vocabulary, a multiple of 64 (ModernBERT: 50,368).")
    hidden_size: int = _described(768, "Width of the residual stream (base: 768, large: 1024).")
    layers: int = _described(12, "Number of layers (base: 12, large: 24).")
    heads: int = _described(12, "Attention heads (base: 12, large: 16; 64 wide each).")
    intermediate_size: int = _described(3072, "Width between the two projections of the feed-forward part (base: 3072, large: 4096).")
    max_length: int = _described(512, "Longest segment, in tokens: so many positions are learnt (paper: 512).")
    norm_eps: float = _described(1e-12, "Epsilon of the layer norms (reference: 1e-12).")
    dropout: float = _described(0.1, "Dropout everywhere, in training: embeddings, attention, both parts of a layer (paper: 0.1).")
    init_std: float = _described(0.02, "Standard deviation of the initial weights (reference: 0.02).")
    cls_token_id: int | None = _described(None, "Id of `[CLS]`, for exports; null: the tokenizer's.")
    sep_token_id: int | None = _described(None, "Id of `[SEP]`, for exports; null: the tokenizer's.")
    pad_token_id: int | None = _described(None, "Id of `[PAD]`, for exports; null: the tokenizer's.")
    architecture: Literal["bert"] = _described("bert", "To be given: a section without it is ModernBERT's.")

    def __post_init__(self) -> None:
        _check(self, ("dropout",), ("norm_eps", "init_std"))

"""The bridge's half for a classic BERT: its configuration, both ways, and the names of weights that other folders have."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from model.config import ClassicBertConfig
from model.values import fixed, number, of_fields, refuse

# Ours -> transformers'.
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_length": "max_position_embeddings",
    "norm_eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "init_std": "initializer_range",
    "cls_token_id": "cls_token_id",
    "sep_token_id": "sep_token_id",
    "pad_token_id": "pad_token_id",
}
# What our architecture fixes, and transformers makes a choice of.
_FIXED: dict[str, Any] = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
# Of no use to the encoder and its masked language model: pooling and next-sentence head, a buffer, copies of tied parameters.
# Copies of tied parameters, and the names under which we take them.
COPIES = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_LEFT = ("bert.pooler.", "cls.seq_relationship.", "bert.embeddings.position_ids", "cls.predictions.decoder.")


def to_config(config: ClassicBertConfig) -> dict[str, Any]:
    """The `config.json` of a transformers folder."""
    return {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        **_FIXED,
        "attention_probs_dropout_prob": config.dropout,
        "bos_token_id": config.cls_token_id,
        "eos_token_id": config.sep_token_id,
        "dtype": "float32",
    }


def from_config(body: dict[str, Any]) -> ClassicBertConfig:
    """Our configuration for a `config.json` of model_type bert. Raises `ModelError` naming what we do not do."""
    fixed(body, _FIXED)
    body = {"vocab_size": 30_522} | body  # transformers' default, which is not ours
    values = of_fields(ClassicBertConfig, _FIELDS, body)
    hidden = values.get("dropout", ClassicBertConfig.dropout)
    name = "attention_probs_dropout_prob"
    if (within := body.get(name)) is not None and number(name, within) != hidden:
        raise refuse(name, within, f"only hidden_dropout_prob's {hidden:g} is supported; one dropout serves both")
    return ClassicBertConfig(**values)


def weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A folder's weights by our names, without what a masked language model has no use of.

    The first folders call the norms' parameters gamma and beta.
    """
    renamed = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): state[name] for name in state
    }
    return {name: value for name, value in renamed.items() if not name.startswith(_LEFT)}

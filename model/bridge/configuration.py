"""`config.json`, to and from transformers."""

from __future__ import annotations

from typing import Any

from torch import nn

from model.bridge import classic
from model.bridge.classes import ARCHITECTURES
from model.config import ClassicBertConfig, ModernBertConfig
from model.errors import ModelError
from model.heads import HeadConfig, MultipleChoice, QuestionAnswering
from model.modernbert import ModernBertForMaskedLM
from model.values import fixed, number, of_fields, refuse, table, whole

# Ours -> transformers', where a field is simply a value under another name.
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_length": "max_position_embeddings",
    "window": "local_attention",
    "activation": "hidden_activation",
    "head_activation": "classifier_activation",
    "norm_eps": "norm_eps",
    "norm_bias": "norm_bias",
    "attention_bias": "attention_bias",
    "mlp_bias": "mlp_bias",
    "head_bias": "classifier_bias",
    "decoder_bias": "decoder_bias",
    "embedding_dropout": "embedding_dropout",
    "mlp_dropout": "mlp_dropout",
    "init_std": "initializer_range",
    "cls_token_id": "cls_token_id",
    "sep_token_id": "sep_token_id",
    "pad_token_id": "pad_token_id",
}
# What our architecture fixes, and transformers makes a choice of.
_FIXED: dict[str, Any] = {"tie_word_embeddings": True}
_KINDS = {True: "full_attention", False: "sliding_attention"}


def to_transformers_config(
    config: ModernBertConfig | ClassicBertConfig, kind: type[nn.Module] = ModernBertForMaskedLM, head: HeadConfig | None = None
) -> dict[str, Any]:
    """The `config.json` of a transformers folder."""
    if isinstance(config, ClassicBertConfig):
        return classic.to_config(config)
    body: dict[str, Any] = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    thetas = {True: config.global_theta, False: config.local_theta}
    found = {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": "modernbert",
        **body,
        **_FIXED,
        "bos_token_id": config.cls_token_id,
        "eos_token_id": config.sep_token_id,
        "attention_dropout": 0.0,
        "layer_types": [_KINDS[config.is_global(layer)] for layer in range(config.layers)],
        "rope_parameters": {_KINDS[wide]: {"rope_type": "default", "rope_theta": theta} for wide, theta in thetas.items()},
        # the thetas as transformers before version 5 and other readers of these folders know them
        "global_rope_theta": config.global_theta,
        "local_rope_theta": config.local_theta,
        "dtype": "float32",
    }
    if config.global_every is not None:
        found["global_attn_every_n_layers"] = config.global_every
    if head is not None:
        found["classifier_pooling"], found["classifier_dropout"] = head.pooling, head.dropout
        if head.problem is not None:
            found["problem_type"] = head.problem
        if kind is not MultipleChoice:
            names = head.names or [f"LABEL_{number}" for number in range(head.labels)]
            found["id2label"] = {str(number): name for number, name in enumerate(names)}
            found["label2id"] = {name: number for number, name in enumerate(names)}
    return found


def _plain_rotary(name: str, rope: dict[str, Any]) -> None:
    """Refuse rotary embeddings that are stretched in some way."""
    for key in ("rope_type", "type"):
        if rope.get(key) not in (None, "default"):
            raise refuse(f"{name}.{key}", rope[key], "only 'default' is supported")


def from_transformers_config(body: dict[str, Any]) -> ModernBertConfig | ClassicBertConfig:
    """Our configuration for a transformers `config.json`, of any version. Raises `ModelError` naming what we do not do."""
    if body.get("model_type") == "bert":
        return classic.from_config(body)
    if body.get("model_type") != "modernbert":
        raise refuse("model_type", body.get("model_type"), "only 'modernbert' and 'bert' are supported")
    fixed(body, _FIXED)
    values = of_fields(ModernBertConfig, _FIELDS, body)
    if (dropout := body.get("attention_dropout")) is not None and number("attention_dropout", dropout) != 0:
        raise refuse("attention_dropout", dropout, "only 0 is supported; dropout is after attention, not in it")
    values |= _pattern(body, whole("num_hidden_layers", values.get("layers", ModernBertConfig.layers), 1))
    scaling, rope = table("rope_scaling", body.get("rope_scaling")), table("rope_parameters", body.get("rope_parameters"))
    _plain_rotary("rope_scaling", scaling)
    _plain_rotary("rope_parameters", rope)
    if flat := (scaling.keys() - {"rope_type", "type"}):
        raise refuse(f"rope_scaling.{min(flat)}", scaling[min(flat)], "scaling is not supported; remove rope_scaling")
    if flat := (rope.keys() - {"rope_type", "type", *_KINDS.values()}):
        raise refuse(f"rope_parameters.{min(flat)}", rope[min(flat)], f"give it in {' and in '.join(_KINDS.values())}")
    for ours, kind, old in (("global_theta", True, "global_rope_theta"), ("local_theta", False, "local_rope_theta")):
        where = f"rope_parameters.{_KINDS[kind]}"
        entry = table(where, rope.get(_KINDS[kind]))
        _plain_rotary(where, entry)
        theta, name = entry.get("rope_theta"), f"{where}.rope_theta"
        if theta is None:
            theta, name = body.get(old), old
        if theta is None and ours == "local_theta" and "local_rope_theta" in body:
            theta = values.get("global_theta")  # version 4 wrote null where local layers have the global base
        if theta is not None:
            values[ours] = number(name, theta)
    return ModernBertConfig(**values)


def _pattern(body: dict[str, Any], layers: int) -> dict[str, Any]:
    """Which layers are global. Version 5 writes `layer_types`, version 4 a number; where both are there they must agree."""
    types, every = body.get("layer_types"), body.get("global_attn_every_n_layers")
    if every is not None:
        whole("global_attn_every_n_layers", every, 1)
    if not types:
        return {"global_every": 3 if every is None else every}
    if not isinstance(types, list) or not all(isinstance(kind, str) for kind in types):
        raise refuse("layer_types", types, "give a list of strings")
    if len(types) != layers or set(types) - set(_KINDS.values()):
        raise ModelError(f"config.json: layer_types must name {layers} layers, each {' or '.join(_KINDS.values())}")
    wide = [layer for layer, kind in enumerate(types) if kind == _KINDS[True]]
    if every is not None and wide != list(range(0, layers, every)):
        raise ModelError(f"config.json: layer_types and global_attn_every_n_layers ({every}) contradict each other; remove the wrong one")
    step = every if every is not None else wide[1] if len(wide) > 1 else layers
    if wide == list(range(0, layers, step)):
        return {"global_every": step}
    return {"global_every": None, "global_layers": tuple(wide)}


def head_config(body: dict[str, Any], kind: type[nn.Module], own: bool) -> HeadConfig:
    """What `config.json` says of the head; `own`: it is of this class, and not another task's."""
    names = body.get("id2label")
    labels = len(table("id2label", names)) if names else whole("num_labels", body.get("num_labels", 2), 1)
    if kind is MultipleChoice:
        labels = 1
    elif kind is QuestionAnswering and not own:
        labels = 2
    called = [str(name) for name in table("id2label", names).values()] if names and own and kind is not MultipleChoice else []
    known = called != [f"LABEL_{number}" for number in range(labels)] and len(set(called)) == labels
    dropout = body.get("classifier_dropout")
    return HeadConfig(
        labels,
        body.get("classifier_pooling") or "cls",
        0.0 if dropout is None else number("classifier_dropout", dropout),
        body.get("problem_type") if own else None,
        tuple(called) if known else None,
    )

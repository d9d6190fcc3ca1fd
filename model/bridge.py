"""The bridge to transformers: configuration and weights, both ways, in one place. Safetensors only.

Parameters have transformers' names already; what differs is the configuration, and that transformers stores the tied
decoder once, under the embedding's name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.config import ModernBertConfig
from model.errors import ModelError
from model.modernbert import ModernBertForMaskedLM

TIED = "decoder.weight"
# Ours -> transformers', where a field is simply a number under another name.
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_length": "max_position_embeddings",
    "window": "local_attention",
    "norm_eps": "norm_eps",
    "init_std": "initializer_range",
    "cls_token_id": "cls_token_id",
    "sep_token_id": "sep_token_id",
    "pad_token_id": "pad_token_id",
}
# What our architecture fixes, and transformers makes a choice of.
_FIXED: dict[str, Any] = {
    "hidden_activation": "gelu",
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "decoder_bias": True,
    "tie_word_embeddings": True,
}
_KINDS = {True: "full_attention", False: "sliding_attention"}


def to_transformers_config(config: ModernBertConfig) -> dict[str, Any]:
    """The `config.json` of a transformers folder."""
    body: dict[str, Any] = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    thetas = {True: config.global_theta, False: config.local_theta}
    return {
        "architectures": ["ModernBertForMaskedLM"],
        "model_type": "modernbert",
        **body,
        **_FIXED,
        "bos_token_id": config.cls_token_id,
        "eos_token_id": config.sep_token_id,
        "attention_dropout": 0.0,
        "embedding_dropout": 0.0,
        "mlp_dropout": 0.0,
        "layer_types": [_KINDS[config.is_global(layer)] for layer in range(config.layers)],
        "rope_parameters": {_KINDS[kind]: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()},
        # the same two, as transformers before version 5 and other readers of these folders know them
        "global_attn_every_n_layers": config.global_every,
        "global_rope_theta": config.global_theta,
        "local_rope_theta": config.local_theta,
        "dtype": "float32",
    }


def from_transformers_config(body: dict[str, Any]) -> ModernBertConfig:
    """Our configuration for a transformers `config.json`, of any version. Raises `ModelError` naming what we do not do."""
    if body.get("model_type") != "modernbert":
        raise ModelError(f"config.json: model_type is {body.get('model_type')!r}, not 'modernbert'")
    for name, value in _FIXED.items():
        if body.get(name, value) != value:
            raise ModelError(f"config.json: {name} is {body[name]!r}; only {value!r} is supported")
    values = {ours: body[theirs] for ours, theirs in _FIELDS.items() if body.get(theirs) is not None}
    layers = values.get("layers", ModernBertConfig.layers)
    values["global_every"] = _global_every(body, layers)
    rope = body.get("rope_parameters") or {}
    for ours, kind, old in (("global_theta", True, "global_rope_theta"), ("local_theta", False, "local_rope_theta")):
        entry = rope.get(_KINDS[kind]) or {}
        if entry.get("rope_type", "default") != "default":
            raise ModelError(
                f"config.json: rope_parameters.{_KINDS[kind]}.rope_type is {entry['rope_type']!r}; only 'default' is supported"
            )
        theta = entry.get("rope_theta", body.get(old))
        if theta is not None:
            values[ours] = float(theta)
    return ModernBertConfig(**values)


def _global_every(body: dict[str, Any], layers: int) -> int:
    types = body.get("layer_types")
    if not types:
        return int(body.get("global_attn_every_n_layers", 3))
    wide = [index for index, kind in enumerate(types) if kind == _KINDS[True]]
    every = wide[1] if len(wide) > 1 else layers
    if len(types) != layers or wide != list(range(0, layers, every)):
        raise ModelError("config.json: layer_types is not 'every n-th layer global, from layer 0'; such a pattern is not supported")
    return every


def save(model: ModernBertForMaskedLM, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` for transformers, not checked; `export` checks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(to_transformers_config(model.config), indent=2) + "\n", encoding="utf-8")
    state = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def load(folder: Path, *, attention: str = "auto") -> ModernBertForMaskedLM:
    """A model from a transformers folder. Raises `ModelError` naming missing, extra or misshapen weights."""
    try:
        config = from_transformers_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        state: dict[str, Tensor] = load_file(folder / "model.safetensors")
    except FileNotFoundError as error:
        raise ModelError(
            f"{error.filename or folder / 'model.safetensors'}: not there; give a folder with config.json and model.safetensors"
        ) from error
    except (json.JSONDecodeError, SafetensorError, OSError) as error:
        raise ModelError(f"{folder}: cannot be read ({error})") from error
    state.pop(TIED, None)  # older versions store the tied matrix twice
    model = ModernBertForMaskedLM(config, attention=attention)
    expected = model.state_dict()
    for what, names in (("lacks", expected.keys() - state.keys()), ("has unknown", state.keys() - expected.keys())):
        if names:
            raise ModelError(f"{folder / 'model.safetensors'}: {what} {', '.join(sorted(names)[:5])} ({len(names)} in all)")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise ModelError(
                f"{folder / 'model.safetensors'}: {name} is {tuple(value.shape)}, the configuration says {tuple(expected[name].shape)}"
            )
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def largest_difference(model: ModernBertForMaskedLM, folder: Path, *, seed: int = 0) -> float:
    """Largest absolute difference between our logits and those of transformers' model loaded from `folder`.

    On random ids in segments of several lengths, float32, on the CPU.
    """
    from transformers import AutoModelForMaskedLM

    theirs: Any = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    ours = ModernBertForMaskedLM(model.config, attention="sdpa").eval()
    ours.load_state_dict({name: value.detach().cpu().float() for name, value in model.state_dict().items()})
    generator = torch.Generator().manual_seed(seed)
    lengths = [min(length, model.config.max_length) for length in (1, 7, 64, 129, model.config.window * 3 + 5)]
    pieces = [torch.randint(0, model.config.vocab_size, (length,), generator=generator) for length in lengths]
    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    logits = ours(torch.cat(pieces), edges, max(lengths)).logits
    assert logits is not None, "no labels were given"
    worst = 0.0
    for piece, part in zip(pieces, logits.split(lengths), strict=True):
        other = theirs(input_ids=piece[None], attention_mask=torch.ones_like(piece)[None]).logits[0]
        worst = max(worst, float((other - part).abs().max()))
    return worst


def export(model: ModernBertForMaskedLM, folder: Path, *, tolerance: float = 1e-3) -> float:
    """Write a folder that transformers loads, and prove it: returns the largest difference of logits.

    Raises `ModelError`, with the folder left for inspection, where the difference is over `tolerance` or not a number.
    """
    save(model, folder)
    difference = largest_difference(model, folder)
    if not difference <= tolerance:
        raise ModelError(f"{folder}: transformers' logits differ from ours by {difference:g}, more than {tolerance:g}; the export is wrong")
    return difference

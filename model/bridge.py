"""The bridge to transformers: configuration and weights, both ways, in one place. Safetensors only.

Parameters have transformers' names already; what differs is the configuration, that transformers stores the tied decoder once,
under the embedding's name, and that its bare encoder has no `model.` before its names. A classic BERT's half is in
`bridge_bert.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model import bridge_bert
from model.bert import ClassicBertForMaskedLM, MaskedLM, masked_lm
from model.config import POOLINGS, ClassicBertConfig, ModernBertConfig
from model.errors import ModelError
from model.heads import (
    Embedding,
    HeadConfig,
    LateInteraction,
    MultipleChoice,
    QuestionAnswering,
    SequenceClassification,
    TokenClassification,
)
from model.modernbert import ModernBert, ModernBertForMaskedLM
from model.values import fixed, number, of_fields, refuse, table, whole

TIED = "decoder.weight"
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

# transformers' class for each of ours; the bare encoder is also what embeddings and late interaction are made of.
ARCHITECTURES: dict[type[nn.Module], str] = {
    ModernBertForMaskedLM: "ModernBertForMaskedLM",
    SequenceClassification: "ModernBertForSequenceClassification",
    TokenClassification: "ModernBertForTokenClassification",
    QuestionAnswering: "ModernBertForQuestionAnswering",
    MultipleChoice: "ModernBertForMultipleChoice",
    ModernBert: "ModernBertModel",
    Embedding: "ModernBertModel",
    LateInteraction: "ModernBertModel",
    ClassicBertForMaskedLM: "BertForMaskedLM",
}
_BARE = (ModernBert, Embedding, LateInteraction)
_MASKED = (ModernBertForMaskedLM, ClassicBertForMaskedLM)
_POOLING, _DENSE, _NORMALIZE = "1_Pooling", "1_Dense", "2_Normalize"
_IDENTITY = "torch.nn.modules.linear.Identity"
# What an embedding or late interaction adds to a folder: files, by the folder that `modules.json` names them in.
_MODULE_FILES = {_POOLING: ("config.json",), _DENSE: ("config.json", "model.safetensors"), _NORMALIZE: ()}


# --- configuration -----------------------------------------------------------------------------------------------------


def to_transformers_config(
    config: ModernBertConfig | ClassicBertConfig, kind: type[nn.Module] = ModernBertForMaskedLM, head: HeadConfig | None = None
) -> dict[str, Any]:
    """The `config.json` of a transformers folder."""
    if isinstance(config, ClassicBertConfig):
        return bridge_bert.to_config(config)
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
            found["id2label"] = {str(number): f"LABEL_{number}" for number in range(head.labels)}
            found["label2id"] = {f"LABEL_{number}": number for number in range(head.labels)}
    return found


def _plain_rotary(name: str, rope: dict[str, Any]) -> None:
    """Refuse rotary embeddings that are stretched in some way."""
    for key in ("rope_type", "type"):
        if rope.get(key) not in (None, "default"):
            raise refuse(f"{name}.{key}", rope[key], "only 'default' is supported")


def from_transformers_config(body: dict[str, Any]) -> ModernBertConfig | ClassicBertConfig:
    """Our configuration for a transformers `config.json`, of any version. Raises `ModelError` naming what we do not do."""
    if body.get("model_type") == "bert":
        return bridge_bert.from_config(body)
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


def _head_config(body: dict[str, Any], kind: type[nn.Module], own: bool) -> HeadConfig:
    """What `config.json` says of the head; `own`: it is of this class, and not another task's."""
    names = body.get("id2label")
    labels = len(table("id2label", names)) if names else whole("num_labels", body.get("num_labels", 2), 1)
    if kind is MultipleChoice:
        labels = 1
    elif kind is QuestionAnswering and not own:
        labels = 2
    dropout = body.get("classifier_dropout")
    return HeadConfig(
        labels,
        body.get("classifier_pooling") or "cls",
        0.0 if dropout is None else number("classifier_dropout", dropout),
        body.get("problem_type") if own else None,
    )


# --- writing -------------------------------------------------------------------------------------------------------------


def save(model: nn.Module, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` for transformers, not checked; `export` checks.

    Of `Embedding` and `LateInteraction` what they add to the encoder is written too, as sentence-transformers and PyLate have it; what
    an earlier one added to the folder is removed.
    """
    kind = type(model)
    encoder: Any = model if isinstance(model, ModernBert) else model.model
    settings = getattr(model, "settings", None)
    body = to_transformers_config(encoder.config, kind, settings if kind not in _BARE else None)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    named = encoder if kind in _BARE else model
    state = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in named.state_dict().items()}
    _remove_modules(folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    if isinstance(model, (Embedding, LateInteraction)):
        _write_modules(model, folder)


def export(model: nn.Module, folder: Path, *, tolerance: float = 1e-3) -> float:
    """Write a folder that transformers loads, and prove it: returns the largest difference of logits (or hidden states).

    Raises `ModelError`, with the folder left for inspection, where the difference is over `tolerance` or not a number.
    """
    save(model, folder)
    difference = largest_difference(model, folder)
    if not difference <= tolerance:
        raise ModelError(f"{folder}: transformers' logits differ from ours by {difference:g}, more than {tolerance:g}; the export is wrong")
    return difference


def save_sentence_transformer(model: Embedding | LateInteraction, folder: Path) -> None:
    """Write what sentence-transformers (`Embedding`) or PyLate (`LateInteraction`) loads, but for the tokenizer's files.

    Those (`tokenizer.json`, `tokenizer_config.json`) belong in the same folder: the tokenizer's exporter writes them.
    """
    save(model, folder)


def _remove_modules(folder: Path) -> None:
    """Remove what `_write_modules` wrote, which readers would take for this model's: known files in known folders, nothing else."""
    path = folder / "modules.json"
    if not path.is_file():
        return
    try:
        named = {place for _, place in _modules(folder)}
    except ModelError:  # damaged: it names nothing, and nothing will read it
        named = set()
    for place in named & _MODULE_FILES.keys():
        for name in _MODULE_FILES[place]:
            (folder / place / name).unlink(missing_ok=True)
        with suppress(OSError):  # not there, or not empty
            (folder / place).rmdir()
    (folder / "sentence_bert_config.json").unlink(missing_ok=True)
    path.unlink()


def _write_modules(model: Embedding | LateInteraction, folder: Path) -> None:
    """`modules.json` and the folders it names: pooling and unit length, or the projection."""
    size = model.config.hidden_size
    modules = [("", "sentence_transformers.models.Transformer")]
    body: dict[str, Any]
    if isinstance(model, Embedding):
        modules.append((_POOLING, "sentence_transformers.models.Pooling"))
        pooling = model.settings.pooling
        body = {
            "word_embedding_dimension": size,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "include_prompt": True,
        }
        if model.unit:
            modules.append((_NORMALIZE, "sentence_transformers.models.Normalize"))
    else:
        modules.append((_DENSE, "pylate.models.Dense.Dense"))
        body = {"in_features": size, "out_features": model.linear.out_features, "bias": False}
        body["activation_function"] = _IDENTITY
    for name, _ in modules[1:]:
        (folder / name).mkdir(exist_ok=True)
    (folder / modules[1][0] / "config.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    if isinstance(model, LateInteraction):
        weight = model.linear.weight.detach().to("cpu", torch.float32).contiguous()
        save_file({"linear.weight": weight}, folder / _DENSE / "model.safetensors", metadata={"format": "pt"})
    entries = [{"idx": number, "name": str(number), "path": path, "type": kind} for number, (path, kind) in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    settings = {"max_seq_length": model.config.max_length, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


# --- reading -------------------------------------------------------------------------------------------------------------


def _read(folder: Path) -> tuple[dict[str, Any], ModernBertConfig | ClassicBertConfig, dict[str, Tensor]]:
    """`config.json`, what it says, and all weights, in float32; of one file or, by its index, of several."""
    index = folder / "model.safetensors.index.json"
    try:
        body = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(body, dict):
            raise ModelError(f"{folder / 'config.json'}: must be a JSON object")
        config = from_transformers_config(body)
        files = ["model.safetensors"]
        if index.is_file() and not (folder / files[0]).is_file():
            files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if any(Path(name).name != name for name in files):
            raise ModelError(f"{index}: names files outside its folder")
        state = {name: value.float() for file in files for name, value in load_file(folder / file).items()}
    except FileNotFoundError as error:
        raise ModelError(
            f"{error.filename or folder / 'model.safetensors'}: not there; give a folder with config.json and model.safetensors"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError, OSError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{folder}: cannot be read ({error})") from error
    return body, config, state


def _object(path: Path) -> Any:
    """A JSON file beside the model's. Raises `ModelError` where it is not there or cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); save the model again") from error


def _modules(folder: Path) -> list[tuple[str, str]]:
    """What `modules.json` puts after the encoder, (class without its modules' names, folder); nothing where there is no such file."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        found = [(str(entry["type"]).rsplit(".", 1)[-1], str(entry["path"])) for entry in _object(path)]
    except (TypeError, KeyError) as error:
        raise ModelError(f"{path}: must be a list of objects with type and path") from error
    for kind, place in found:
        if place and Path(place).name != place:
            raise ModelError(f"{path}: {kind} is in {place!r}, outside its folder")
    return [(kind, place) for kind, place in found if kind != "Transformer"]


def _pooling(folder: Path) -> dict[str, Any]:
    """`Embedding`'s settings that the folder has. Raises `ModelError` for what would give other vectors than it says."""
    modules = dict(_modules(folder))
    if "Pooling" not in modules:  # another class's folder, or the bare encoder's
        return {}
    if strange := modules.keys() - {"Pooling", "Normalize"}:
        raise ModelError(f"{folder / 'modules.json'}: {sorted(strange)[0]} is not supported in an embedding; only Pooling and Normalize")
    path = folder / modules["Pooling"] / "config.json"
    body = _object(path)
    if not isinstance(body, dict):
        raise ModelError(f"{path}: must be a JSON object")
    modes = body.get("pooling_mode")  # version 6 of sentence-transformers writes one field, those before one for each way
    if modes is None:
        modes = [name.removeprefix("pooling_mode_") for name, value in body.items() if name.startswith("pooling_mode_") and value is True]
    names = {"cls": "cls", "cls_token": "cls", "mean": "mean", "mean_tokens": "mean"}
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in names:
        raise ModelError(f"{path}: pooling_mode is {modes}; one of {', '.join(POOLINGS)} is supported")
    return {"pooling": names[modes[0]], "unit": "Normalize" in modules}


def _projection(folder: Path, hidden_size: int) -> Tensor:
    """The weight of late interaction's projection. Raises `ModelError` where the folder has none, or one that we do not do."""
    modules = dict(_modules(folder))
    if set(modules) != {"Dense"}:
        has = ", ".join(modules) or "nothing"
        raise ModelError(f"{folder / 'modules.json'}: late interaction is one Dense, this has {has}; for a new projection give `size`")
    place = folder / modules["Dense"]
    body = _object(place / "config.json")
    for name, wanted in (("bias", False), ("activation_function", _IDENTITY), ("in_features", hidden_size), ("use_residual", False)):
        if not isinstance(body, dict) or body.get(name, wanted) != wanted:
            found = body.get(name) if isinstance(body, dict) else body
            raise ModelError(f"{place / 'config.json'}: {name} is {found!r}; only {wanted!r} is supported")
    path = place / "model.safetensors"
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); give the projection, or `size` for a new one") from error
    weight = state.get("linear.weight")
    if set(state) != {"linear.weight"} or weight is None or weight.dim() != 2 or weight.shape[1] != hidden_size:
        raise ModelError(f"{path}: must have linear.weight (size, {hidden_size}) alone; has {', '.join(sorted(state))}")
    return weight.float()


def load(folder: Path, *, attention: str = "auto") -> MaskedLM:
    """A masked language model, ModernBERT's or a classic BERT's, from a transformers folder.

    Raises `ModelError` naming missing, extra or misshapen weights.
    """
    body, config, state = _read(folder)
    kind = ClassicBertForMaskedLM if isinstance(config, ClassicBertConfig) else ModernBertForMaskedLM
    model = _build(folder, body, config, state, kind, None, None, attention)
    assert isinstance(model, _MASKED), "asked for one"
    return model


def load_any(folder: Path, *, attention: str = "auto") -> nn.Module:
    """The model of whatever class the folder's `architectures` names: with a head, or the bare encoder.

    A bare encoder with a `modules.json` is what that says: an `Embedding` where it has a Pooling, a `LateInteraction` where it has others.
    Raises `ModelError` for a class or modules that we do not have, and as `load`.
    """
    body, config, state = _read(folder)
    names = body.get("architectures") or []
    kind = next((kind for kind, name in ARCHITECTURES.items() if name in names), None)
    if kind is None:
        raise ModelError(
            f"{folder / 'config.json'}: architectures is {names}; known are {', '.join(dict.fromkeys(ARCHITECTURES.values()))}"
        )
    if kind in _BARE and (modules := dict(_modules(folder))):
        kind = Embedding if "Pooling" in modules else LateInteraction
    return _build(folder, body, config, state, kind, None, None, attention)


def load_as(
    folder: Path, kind: type[nn.Module], head: HeadConfig | None = None, *, size: int | None = None, attention: str = "auto"
) -> nn.Module:
    """A model of a given class. From a folder of another class it gets what the two share; a classifier is then new.

    An `Embedding` gets the folder's pooling and unit length (`head.pooling` instead, if given; mean and unit where neither says), a
    `LateInteraction` the folder's projection, or with `size` a new one of so many numbers.
    """
    if size is not None and kind is not LateInteraction:
        raise ModelError(f"size: {kind.__name__} has no projection; leave it out")
    body, config, state = _read(folder)
    return _build(folder, body, config, state, kind, head, size, attention)


def _build(
    folder: Path,
    body: dict[str, Any],
    config: ModernBertConfig | ClassicBertConfig,
    state: dict[str, Tensor],
    kind: type[nn.Module],
    head: HeadConfig | None,
    size: int | None,
    attention: str,
) -> nn.Module:
    classic = isinstance(config, ClassicBertConfig)
    if classic != (kind is ClassicBertForMaskedLM):
        wanted = "modernbert" if classic else "bert"
        raise ModelError(f"{folder / 'config.json'}: model_type is {body['model_type']!r}; {kind.__name__} is made from {wanted!r} alone")
    own = ARCHITECTURES[kind] in (body.get("architectures") or [ARCHITECTURES[kind]])
    if classic:
        state = bridge_bert.weights(state)
    state.pop(TIED, None)  # older versions store the tied matrix twice
    if "model.final_norm.weight" not in state and "final_norm.weight" in state:  # the bare encoder
        state = {name if name.startswith(("head.", "decoder.", "classifier.")) else f"model.{name}": value for name, value in state.items()}
    made: Any = kind
    model: nn.Module
    if kind in _MASKED:
        model = masked_lm(config, attention=attention)
    elif kind is Embedding:
        settings = _pooling(folder) | ({"pooling": head.pooling} if head else {})
        model = made(config, **settings, attention=attention)
    elif kind is LateInteraction:
        if size is None:
            state["linear.weight"] = _projection(folder, config.hidden_size)
        model = made(config, size=size or len(state["linear.weight"]), attention=attention)
    elif kind is ModernBert:
        model = nn.Module()
        model.model = made(config, attention=attention)
    else:
        model = made(config, head or _head_config(body, kind, own), attention=attention)
    expected = model.state_dict()
    lacks = expected.keys() - state.keys()
    unknown = state.keys() - expected.keys()
    if not own or kind in _BARE:  # heads are left behind, and a classifier is new: another task's would say nothing here
        lacks = {name for name in lacks if not name.startswith(("classifier.", "linear."))}
        unknown = {name for name in unknown if not name.startswith(("head.", "decoder.", "classifier."))}
        if kind in _BARE or not own:
            state = {name: value for name, value in state.items() if name in expected and (own or not name.startswith("classifier."))}
    for what, names in (("lacks", lacks), ("has unknown", unknown)):
        if names:
            raise ModelError(f"{folder / 'model.safetensors'}: {what} {', '.join(sorted(names)[:5])} ({len(names)} in all)")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise ModelError(
                f"{folder / 'model.safetensors'}: {name} is {tuple(value.shape)}, the configuration says {tuple(expected[name].shape)}"
            )
    model.load_state_dict(state, strict=False)
    result: Any = model.model if kind is ModernBert else model
    return result.eval()  # type: ignore[no-any-return]


# --- proof ---------------------------------------------------------------------------------------------------------------


def answers(output: Any) -> list[Tensor]:
    """The tensors of a model's output, ours or transformers', that are compared."""
    if isinstance(output, Tensor):
        return [output]
    for names in (("start_logits", "end_logits"), ("logits",), ("last_hidden_state",)):
        if all(getattr(output, name, None) is not None for name in names):
            return [getattr(output, name) for name in names]
    raise AssertionError(f"nothing to compare in {type(output).__name__}")


@torch.no_grad()
def largest_difference(model: nn.Module, folder: Path, *, seed: int = 0, lengths: Sequence[int] | None = None) -> float:
    """Largest absolute difference between our logits and those of transformers' model loaded from `folder`.

    On random ids in segments of several lengths, float32, on the CPU. Of a bare encoder, an embedding or late interaction the last
    hidden states are compared.
    """
    import transformers

    kind = type(model)
    encoder: Any = model if isinstance(model, ModernBert) else model.model
    config = encoder.config
    theirs = getattr(transformers, ARCHITECTURES[kind]).from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    ours: Any = ModernBert(config) if kind in _BARE else masked_lm(config) if kind in _MASKED else kind(config, model.settings)
    source: nn.Module = encoder if kind in _BARE else model
    ours.load_state_dict({name: value.detach().cpu().float() for name, value in source.state_dict().items()})
    ours.eval()
    generator = torch.Generator().manual_seed(seed)
    longest = config.window * 3 + 5 if isinstance(config, ModernBertConfig) else config.max_length
    lengths = [min(length, config.max_length) for length in lengths or (1, 7, 64, 129, longest)]
    worst = 0.0
    ids = torch.randint(0, config.vocab_size, (sum(lengths),), generator=generator)
    edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    more = {"choices": 1} if kind is MultipleChoice else {}
    found = answers(ours(ids, edges, max(lengths), **more))
    by_token = len(found[0]) == len(ids) and kind not in (SequenceClassification, MultipleChoice)
    split = [torch.split(answer, list(lengths) if by_token else 1) for answer in found]
    for place, piece in enumerate(torch.split(ids, list(lengths))):
        given, mask = piece[None], torch.ones_like(piece)[None]
        others = answers(theirs(input_ids=given[None], attention_mask=mask[None]) if more else theirs(input_ids=given, attention_mask=mask))
        for part, other in zip(split, others, strict=True):
            mine = part[place]
            difference = (mine.reshape(-1) - other.reshape(-1)).abs().max()
            worst = max(worst, float(difference)) if difference == difference else float("nan")
            if worst != worst:
                return worst
    return worst

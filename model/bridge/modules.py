"""What sentence-transformers and PyLate add to a folder: `modules.json`, and the folders that it names.

An embedding adds its pooling and unit length, late interaction its projection.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.config import POOLINGS
from model.errors import ModelError
from model.heads import Embedding, LateInteraction

_POOLING, _DENSE, _NORMALIZE = "1_Pooling", "1_Dense", "2_Normalize"
_IDENTITY = "torch.nn.modules.linear.Identity"
# What an embedding or late interaction adds to a folder: files, by the folder that `modules.json` names them in.
_MODULE_FILES = {_POOLING: ("config.json",), _DENSE: ("config.json", "model.safetensors"), _NORMALIZE: ()}


# --- writing -----------------------------------------------------------------------------------------------------------


def remove(folder: Path) -> None:
    """Remove what `write` wrote, which readers would take for this model's: known files in known folders, nothing else."""
    path = folder / "modules.json"
    if not path.is_file():
        return
    try:
        named = {place for _, place in listed(folder)}
    except ModelError:  # damaged: it names nothing, and nothing will read it
        named = set()
    for place in named & _MODULE_FILES.keys():
        for name in _MODULE_FILES[place]:
            (folder / place / name).unlink(missing_ok=True)
        with suppress(OSError):  # not there, or not empty
            (folder / place).rmdir()
    (folder / "sentence_bert_config.json").unlink(missing_ok=True)
    path.unlink()


def write(model: Embedding | LateInteraction, folder: Path) -> None:
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


# --- reading -----------------------------------------------------------------------------------------------------------


def _object(path: Path) -> Any:
    """A JSON file beside the model's. Raises `ModelError` where it is not there or cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); save the model again") from error


def listed(folder: Path) -> list[tuple[str, str]]:
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


def pooling(folder: Path) -> dict[str, Any]:
    """`Embedding`'s settings that the folder has. Raises `ModelError` for what would give other vectors than it says."""
    modules = dict(listed(folder))
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


def projection(folder: Path, hidden_size: int) -> Tensor:
    """The weight of late interaction's projection. Raises `ModelError` where the folder has none, or one that we do not do."""
    modules = dict(listed(folder))
    if set(modules) != {"Dense"}:
        has = ", ".join(modules) or "nothing"
        raise ModelError(
            f"{folder / 'modules.json'}: late interaction has one module, Dense, after its encoder, and this has {has}; "
            "give `size` for a new projection"
        )
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

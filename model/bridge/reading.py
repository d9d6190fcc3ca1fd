"""Our models, from folders of transformers, sentence-transformers and PyLate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from model.bert import ClassicBertForMaskedLM, MaskedLM, masked_lm
from model.bridge import classic, modules
from model.bridge.classes import ARCHITECTURES, BARE, MASKED
from model.bridge.configuration import from_transformers_config, head_config
from model.config import ClassicBertConfig, ModernBertConfig
from model.errors import ModelError
from model.heads import Embedding, HeadConfig, LateInteraction
from model.modernbert import ModernBert, ModernBertForMaskedLM

TIED = "decoder.weight"


@dataclass(frozen=True)
class _Folder:
    """A folder's `config.json`, what it says, and all weights by name, in float32."""

    path: Path
    body: dict[str, Any]
    config: ModernBertConfig | ClassicBertConfig
    weights: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> _Folder:
        """Reads a folder whose weights are in one file or, by its index, in several. Raises `ModelError`."""
        index = path / "model.safetensors.index.json"
        try:
            body = json.loads((path / "config.json").read_text(encoding="utf-8"))
            if not isinstance(body, dict):
                raise ModelError(f"{path / 'config.json'}: must be a JSON object")
            config = from_transformers_config(body)
            files = ["model.safetensors"]
            if index.is_file() and not (path / files[0]).is_file():
                files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            if any(Path(name).name != name for name in files):
                raise ModelError(f"{index}: names files outside its folder")
            weights = {name: value.float() for file in files for name, value in load_file(path / file).items()}
        except FileNotFoundError as error:
            raise ModelError(
                f"{error.filename or path / 'model.safetensors'}: not there; give a folder with config.json and model.safetensors"
            ) from error
        except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError, OSError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{path}: cannot be read ({error})") from error
        return cls(path, body, config, weights)

    def is_of(self, kind: type[nn.Module]) -> bool:
        """Whether the folder was written from that class, and not for another task."""
        return ARCHITECTURES[kind] in (self.body.get("architectures") or [ARCHITECTURES[kind]])


def load(folder: Path, *, attention: str = "auto") -> MaskedLM:
    """A masked language model, ModernBERT's or a classic BERT's, from a transformers folder.

    Raises `ModelError` naming missing, extra or misshapen weights.
    """
    found = _Folder.read(folder)
    kind = ClassicBertForMaskedLM if isinstance(found.config, ClassicBertConfig) else ModernBertForMaskedLM
    model = _build(found, kind, None, None, attention)
    assert isinstance(model, MASKED), "asked for one"
    return model


def load_any(folder: Path, *, attention: str = "auto") -> nn.Module:
    """The model of whatever class the folder's `architectures` names: with a head, or the bare encoder.

    A bare encoder with a `modules.json` is what that says: an `Embedding` where it has a Pooling, a `LateInteraction` where it has others.
    Raises `ModelError` for a class or modules that we do not have, and as `load`.
    """
    found = _Folder.read(folder)
    names = found.body.get("architectures") or []
    kind = next((kind for kind, name in ARCHITECTURES.items() if name in names), None)
    if kind is None:
        raise ModelError(
            f"{folder / 'config.json'}: architectures is {names}; known are {', '.join(dict.fromkeys(ARCHITECTURES.values()))}"
        )
    if kind in BARE and (named := dict(modules.listed(folder))):
        kind = Embedding if "Pooling" in named else LateInteraction
    return _build(found, kind, None, None, attention)


def load_as(
    folder: Path,
    kind: type[nn.Module],
    head: HeadConfig | None = None,
    *,
    size: int | None = None,
    attention: str = "auto",
    anew: bool = False,
) -> nn.Module:
    """A model of a given class. From a folder of another class it gets what the two share; a classifier is then new.

    An `Embedding` gets the folder's pooling and unit length (`head.pooling` instead, if given; mean and unit where neither says), a
    `LateInteraction` the folder's projection, or with `size` a new one of so many numbers. `anew`: the classifier is new even where the
    folder is of this class, as for another task's labels.
    """
    if size is not None and kind is not LateInteraction:
        raise ModelError(f"size: {kind.__name__} has no projection; leave it out")
    return _build(_Folder.read(folder), kind, head, size, attention, anew=anew)


def _build(
    found: _Folder, kind: type[nn.Module], head: HeadConfig | None, size: int | None, attention: str, *, anew: bool = False
) -> nn.Module:
    """A model of a class with the folder's weights, ready for evaluation."""
    is_classic = isinstance(found.config, ClassicBertConfig)
    if is_classic != (kind is ClassicBertForMaskedLM):
        wanted = "modernbert" if is_classic else "bert"
        raise ModelError(
            f"{found.path / 'config.json'}: model_type is {found.body['model_type']!r}; {kind.__name__} is made from {wanted!r} alone"
        )
    if kind in MASKED:
        _refuse_untied(found)
    weights = _with_our_names(found)
    if kind is LateInteraction and size is None:
        weights["linear.weight"] = modules.projection(found.path, found.config.hidden_size)
        size = len(weights["linear.weight"])
    model = _new(found, kind, head, size, attention)
    own = found.is_of(kind) and not anew
    expected = model.state_dict()
    lacks = expected.keys() - weights.keys()
    unknown = weights.keys() - expected.keys()
    if not own or kind in BARE:  # heads are left behind, and a classifier is new: another task's would say nothing here
        lacks = {name for name in lacks if not name.startswith(("classifier.", "linear."))}
        unknown = {name for name in unknown if not name.startswith(("head.", "decoder.", "classifier."))}
        weights = {name: value for name, value in weights.items() if name in expected and (own or not name.startswith("classifier."))}
    _refuse(found.path / "model.safetensors", lacks, unknown, weights, expected)
    model.load_state_dict(weights, strict=False)
    result: Any = model.model if kind is ModernBert else model
    return result.eval()  # type: ignore[no-any-return]


def _refuse_untied(found: _Folder) -> None:
    """Raises `ModelError` where a parameter of which a folder has two copies differs between them: ours is one, and the logits others."""
    copies = classic.COPIES if isinstance(found.config, ClassicBertConfig) else {TIED: "model.embeddings.tok_embeddings.weight"}
    for copy, first in copies.items():
        one, other = found.weights.get(copy), found.weights.get(first)
        if one is not None and other is not None and not torch.equal(one, other.to(one.dtype)):
            raise ModelError(
                f"{found.path / 'model.safetensors'}: {copy} is not equal to {first}; the decoder of this model is not tied to its "
                "embedding, and ours always is, so its predictions would be others"
            )


def _with_our_names(found: _Folder) -> dict[str, Tensor]:
    """A folder's weights by our names."""
    weights = classic.weights(found.weights) if isinstance(found.config, ClassicBertConfig) else dict(found.weights)
    weights.pop(TIED, None)  # older versions store the tied matrix twice
    if "model.final_norm.weight" not in weights and "final_norm.weight" in weights:  # the bare encoder
        heads = ("head.", "decoder.", "classifier.")
        return {name if name.startswith(heads) else f"model.{name}": value for name, value in weights.items()}
    return weights


def _new(found: _Folder, kind: type[nn.Module], head: HeadConfig | None, size: int | None, attention: str) -> nn.Module:
    """A model of a class as the folder's configuration has it, with new weights; a bare encoder within a module, as `model`."""
    made: Any = kind
    if kind in MASKED:
        return masked_lm(found.config, attention=attention)
    if kind is Embedding:
        settings = modules.pooling(found.path) | ({"pooling": head.pooling} if head else {})
        return made(found.config, **settings, attention=attention)  # type: ignore[no-any-return]
    if kind is LateInteraction:
        return made(found.config, size=size, attention=attention)  # type: ignore[no-any-return]
    if kind is ModernBert:
        model = nn.Module()
        model.model = made(found.config, attention=attention)
        return model
    return made(found.config, head or head_config(found.body, kind, found.is_of(kind)), attention=attention)  # type: ignore[no-any-return]


def _refuse(path: Path, lacks: set[str], unknown: set[str], weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raises `ModelError` where weights are missing, unknown, or of another shape than the configuration's."""
    for what, names in (("lacks", lacks), ("has unknown", unknown)):
        if names:
            raise ModelError(f"{path}: {what} {', '.join(sorted(names)[:5])} ({len(names)} in all)")
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            raise ModelError(f"{path}: {name} is {tuple(value.shape)}, the configuration says {tuple(expected[name].shape)}")

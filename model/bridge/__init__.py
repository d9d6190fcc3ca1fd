"""The bridge to transformers: configuration and weights, both ways, in one place. Safetensors only.

Parameters have transformers' names already; what differs is the configuration, that transformers stores the tied decoder once,
under the embedding's name, and that its bare encoder has no `model.` before its names. A classic BERT's half is in
`classic.py`.
"""

from __future__ import annotations

from model.bridge.classes import ARCHITECTURES
from model.bridge.configuration import from_transformers_config, to_transformers_config
from model.bridge.proof import answers, largest_difference
from model.bridge.reading import TIED, load, load_any, load_as
from model.bridge.writing import export, save, save_sentence_transformer

__all__ = [
    "ARCHITECTURES",
    "TIED",
    "answers",
    "export",
    "from_transformers_config",
    "largest_difference",
    "load",
    "load_any",
    "load_as",
    "save",
    "save_sentence_transformer",
    "to_transformers_config",
]

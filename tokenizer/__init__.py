"""Train, inspect, export and run a byte-level BPE tokenizer."""

from tokenizer.artifact import SpecialIds, fingerprint, load, special_ids, write
from tokenizer.config import TokenizerConfig
from tokenizer.encode import Encoder
from tokenizer.errors import TokenizerError
from tokenizer.layout import Layout
from tokenizer.train import train

__all__ = [
    "Encoder",
    "Layout",
    "SpecialIds",
    "TokenizerConfig",
    "TokenizerError",
    "fingerprint",
    "load",
    "special_ids",
    "train",
    "write",
]

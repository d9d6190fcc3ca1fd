"""Train, judge, extend, export and run a byte-level BPE tokenizer."""

from tokenizer.artifact import write
from tokenizer.breaks import CONTINUES_WORD, break_flags
from tokenizer.config import TokenizerConfig
from tokenizer.encode import Encoder
from tokenizer.errors import TokenizerError
from tokenizer.extend import extend
from tokenizer.folder import SpecialIds, fingerprint, load, special_ids
from tokenizer.inspect import Statistics, measure
from tokenizer.layout import Layout
from tokenizer.train import train
from tokenizer.words import write_words

__all__ = [
    "CONTINUES_WORD",
    "Encoder",
    "Layout",
    "SpecialIds",
    "Statistics",
    "TokenizerConfig",
    "TokenizerError",
    "break_flags",
    "extend",
    "fingerprint",
    "load",
    "measure",
    "special_ids",
    "train",
    "write",
    "write_words",
]

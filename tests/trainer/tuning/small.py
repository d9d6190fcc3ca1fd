"""A tokenizer and an encoder that take no time, and examples that can be learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from model import ModernBert, ModernBertConfig, ModernBertForMaskedLM, bridge
from tokenizer import Encoder, special_ids
from tokenizer.folder import ROLES, dump
from trainer.tuning.config import TuningConfig
from trainer.tuning.texts import TextTokens

WORDS = [
    "red",
    "blue",
    "green",
    "yellow",
    "round",
    "square",
    "tall",
    "short",
    "dog",
    "cat",
    "horse",
    "bird",
    "runs",
    "sleeps",
    "eats",
    "sings",
    "in",
    "on",
    "under",
    "over",
    "house",
    "tree",
]


def write_tokenizer(folder: Path) -> TextTokens:
    """A byte-level tokenizer with our special entries."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    tokenizer.add_special_tokens(list(ROLES.values()))
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, "model_input_names": ["input_ids", "attention_mask"]}
    dump(folder / "tokenizer_config.json", {**settings, **ROLES})
    return tokens_of(folder)


def tokens_of(folder: Path) -> TextTokens:
    """The tokenizer of a folder, without a proof of its engines, which takes seconds."""
    return TextTokens(Encoder(folder, compare=False), special_ids(folder))


def config(folder: Path, **changes: Any) -> ModernBertConfig:
    """A ModernBERT for the tokenizer of a folder."""
    ids = special_ids(folder)
    numbers = {
        "vocab_size": ids.vocab_size,
        "hidden_size": 32,
        "layers": 3,
        "heads": 2,
        "intermediate_size": 48,
        "window": 8,
        "max_length": 64,
    }
    return ModernBertConfig(**{**numbers, "cls_token_id": ids.cls, "sep_token_id": ids.sep, "pad_token_id": ids.pad, **changes})


def write_model(folder: Path, **changes: Any) -> TextTokens:
    """A folder with a model of random weights and its tokenizer."""
    tokens = write_tokenizer(folder)
    torch.manual_seed(0)
    bridge.save(ModernBertForMaskedLM(config(folder, **changes)), folder)
    return tokens


def encoder(folder: Path, **changes: Any) -> ModernBert:
    """An encoder of random weights."""
    torch.manual_seed(0)
    return ModernBert(config(folder, **changes))


def sentences(count: int, seed: int = 0) -> list[str]:
    """Different sentences of two to nine words."""
    random = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(random.choice(WORDS, int(random.integers(2, 10))))] = None
    return list(found)


def splits(count: int) -> list[str]:
    """Six of ten to train, two to choose, two to report."""
    return [("train", "train", "train", "validation", "test")[number % 5] for number in range(count)]


def classes(count: int = 60) -> pa.Table:
    """Whether a sentence has the word `red`: what a bag of words tells."""
    plain = [text.replace("red", "blue") for text in sentences(count)]
    texts = [f"red {text}" if number % 2 else text for number, text in enumerate(plain)]
    return pa.table({"text": texts, "label": ["yes" if number % 2 else "no" for number in range(count)], "split": splits(count)})


def queries(count: int = 60) -> pa.Table:
    """Each query is two words of its text."""
    texts = sentences(count, 1)
    return pa.table({"query": [" ".join(text.split()[:2]) for text in texts], "text": texts, "split": splits(count)})


def quick(**changes: Any) -> TuningConfig:
    """Settings for few steps."""
    body = {"learning_rates": [3e-3], "epochs": 2, "batch_size": 12, "log_every": 1, "warmup": 0.1, **changes}
    return TuningConfig(**body)

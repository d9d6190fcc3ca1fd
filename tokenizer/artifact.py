"""The artifact: a Hugging Face tokenizer folder that `AutoTokenizer` loads, with a report of how it was made and checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from tokenizer.config import TokenizerConfig
from tokenizer.engines import differences, fast_engine
from tokenizer.errors import TokenizerError
from tokenizer.layout import Layout, layout

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "report.json", "README.md")
_ROLES = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}


@dataclass(frozen=True)
class SpecialIds:
    """What the pipeline and the model need to know of a vocabulary."""

    vocab_size: int
    cls: int
    sep: int
    pad: int
    mask: int
    ordinary: tuple[int, int]  # half-open range of ids that are ordinary words


def assemble(trained: Tokenizer, config: TokenizerConfig) -> tuple[Tokenizer, Layout]:
    """The trained tokenizer with all added entries in their places, and the template `[CLS] A [SEP] B [SEP]`."""
    plan = layout(config, trained.get_vocab_size())
    tokenizer = Tokenizer.from_str(trained.to_str())
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in plan.words])
    tokenizer.add_special_tokens([AddedToken(word, lstrip=word == "[MASK]", normalized=False, special=True) for word in plan.specials])
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in plan.unused])
    cls, sep = plan.id_of("[CLS]"), plan.id_of("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    if tokenizer.get_vocab_size() != config.vocab_size or tokenizer.token_to_id("[CLS]") != cls:
        raise TokenizerError(
            f"tokenizer: {tokenizer.get_vocab_size()} entries where {config.vocab_size} were planned: the corpus taught a word that is "
            "also an added entry; clean the corpus of it"
        )
    return tokenizer, plan


def text_only(tokenizer_json: str) -> str:
    """A tokenizer.json for text from outside: `[MASK]` and its kin in a document are text there, never specials."""
    body: dict[str, Any] = json.loads(tokenizer_json)
    specials = set(_ROLES.values())
    body["added_tokens"] = [
        token for token in body["added_tokens"] if token["content"] not in specials and not token["content"].startswith("[unused")
    ]
    body["post_processor"] = None
    return json.dumps(body, ensure_ascii=False)


def write(trained: Tokenizer, config: TokenizerConfig, folder: Path, made_from: dict[str, Any]) -> Layout:
    """Write the folder: the tokenizer, its configuration, a card, and a report with the proof of the engines' equality.

    `made_from` goes into the report and the card (fingerprints, sizes). The same tokenizer gives the same bytes.
    """
    tokenizer, plan = assemble(trained, config)
    folder.mkdir(parents=True, exist_ok=True)
    body = tokenizer.to_str(pretty=True)
    (folder / "tokenizer.json").write_text(body, encoding="utf-8")
    _dump(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.max_length,
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            "add_prefix_space": False,
            **_ROLES,
        },
    )
    _dump(
        folder / "special_tokens_map.json",
        {
            role: {"content": word, "lstrip": word == "[MASK]", "normalized": False, "rstrip": False, "single_word": False}
            for role, word in _ROLES.items()
        },
    )
    engine, why = fast_engine(text_only(body))
    different = differences(Tokenizer.from_str(text_only(body)), engine) if engine is not None else []
    report = {
        "configuration": config.model_dump(mode="json"),
        "made_from": made_from,
        "vocabulary": {
            "size": config.vocab_size,
            "learned": plan.learned,
            "space_runs_and_placeholders": len(plan.words),
            "specials": {word: plan.id_of(word) for word in plan.specials},
            "unused": len(plan.unused),
        },
        "fast_engine": {"usable": engine is not None, "why_not": why, "different_code_points": different},
    }
    _dump(folder / "report.json", report)
    (folder / "README.md").write_text(_card(config, plan, made_from), encoding="utf-8")
    return plan


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def _card(config: TokenizerConfig, plan: Layout, made_from: dict[str, Any]) -> str:
    lines = [
        "# Tokenizer",
        "",
        f"Byte-level BPE, {config.vocab_size:,} entries, pre-tokenizer `{config.pretokenizer}`, NFC. Trained by Encoder Foundry.",
        "",
        "| ids | what |",
        "|---|---|",
        f"| 0 to {plan.learned - 1} | bytes and merges |",
        f"| {plan.learned} to {plan.ordinary_end - 1} | runs of spaces, placeholders for personal data |",
        f"| {plan.ordinary_end} to {plan.ordinary_end + len(plan.specials) - 1} | {', '.join(f'`{word}`' for word in plan.specials)} |",
    ]
    if plan.unused:
        first = plan.ordinary_end + len(plan.specials)
        lines.append(f"| {first} to {config.vocab_size - 1} | `[unused0]` to `{plan.unused[-1]}` |")
    lines += ["", "Made from:", "", *(f"- {name}: {value}" for name, value in sorted(made_from.items())), ""]
    return "\n".join(lines)


def special_ids(folder: Path) -> SpecialIds:
    """The special ids of a tokenizer folder. Raises `TokenizerError` where it is not one that we can use."""
    tokenizer = load(folder)
    ids: dict[str, int] = {}
    for word in _ROLES.values():
        number = tokenizer.token_to_id(word)
        if number is not None:
            ids[word] = number
        else:
            raise TokenizerError(f"{folder}: has no {word}; it is not a tokenizer for a masked encoder, train one or choose another")
    size = tokenizer.get_vocab_size()
    return SpecialIds(size, ids["[CLS]"], ids["[SEP]"], ids["[PAD]"], ids["[MASK]"], (0, ids["[UNK]"]))


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a folder. Raises `TokenizerError`."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise TokenizerError(f"{path}: not there; give a folder made by `foundry tokenizer` or any with a tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise TokenizerError(f"{path}: cannot be loaded ({' '.join(str(error).split())})") from error


def fingerprint(folder: Path) -> str:
    """A fingerprint of the ids that a tokenizer folder gives: of its tokenizer.json."""
    return hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()[:32]

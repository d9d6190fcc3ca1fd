"""The artifact: a Hugging Face tokenizer folder that `AutoTokenizer` loads, with a report of how it was made and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Tokenizer, processors

from tokenizer.card import card
from tokenizer.config import TokenizerConfig
from tokenizer.errors import TokenizerError
from tokenizer.folder import ROLES, dump, text_only
from tokenizer.layout import Layout, layout
from tokenizer.proof import prove


def assemble(trained: Tokenizer, config: TokenizerConfig) -> tuple[Tokenizer, Layout]:
    """The trained tokenizer with all added entries in their places, and the template `[CLS] A [SEP] B [SEP]`.

    Raises `TokenizerError` where an added entry is among the learned ones already.
    """
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


def hardly_used(trained: Tokenizer, uses: npt.NDArray[np.int64]) -> dict[str, Any]:
    """For a report: how many merged tokens the text that was trained on uses less often than 1, 10 and 100 times, and the rarest.

    Most of them are parts of longer tokens, which a vocabulary needs to make those.
    """
    merged = uses[256:]
    rarest = 256 + np.argsort(merged, kind="stable")[:50]
    return {
        "fewer_uses_than": {str(bound): int((merged < bound).sum()) for bound in (1, 10, 100)},
        "rarest": {trained.decode([int(number)]): int(uses[number]) for number in rarest},
    }


def write(
    trained: Tokenizer, config: TokenizerConfig, folder: Path, made_from: dict[str, Any], uses: npt.NDArray[np.int64] | None = None
) -> Layout:
    """Write the folder: the tokenizer, its configuration, a card, and a report with the proof of the engines' equality.

    `made_from` goes into the report and the card (fingerprints, sizes). The same tokenizer gives the same bytes, under the
    same versions of the engines. `uses`: how often the text uses each learned token, if known. Raises `TokenizerError` as `assemble` does.
    """
    tokenizer, plan = assemble(trained, config)
    folder.mkdir(parents=True, exist_ok=True)
    body = tokenizer.to_str(pretty=True)
    (folder / "tokenizer.json").write_text(body, encoding="utf-8")
    dump(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.max_length,
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            "add_prefix_space": config.add_prefix_space,
            **ROLES,
        },
    )
    dump(
        folder / "special_tokens_map.json",
        {
            role: {"content": word, "lstrip": word == "[MASK]", "normalized": False, "rstrip": False, "single_word": False}
            for role, word in ROLES.items()
        },
    )
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
        "hardly_used": None if uses is None else hardly_used(trained, uses),
        "fast_engine": prove(text_only(body), parallel=True).to_json(),
    }
    dump(folder / "report.json", report)
    (folder / "README.md").write_text(card(config, plan, made_from), encoding="utf-8")
    return plan

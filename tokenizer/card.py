"""The README card of a tokenizer folder: what it is, how it was made, how to use what is not obvious."""

from __future__ import annotations

from typing import Any

from tokenizer.config import TokenizerConfig
from tokenizer.layout import Layout

_USE = """## Use

```python
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("this-folder")
tokenizer("a text", "and another")  # [CLS] a text [SEP] and another [SEP]
```

The `[unusedN]` entries are for tokens of your own: give one a meaning by writing it in your text, its embedding is there to
be trained and the size of the model does not change.
"""

_PREFIX = """
Input that is split into words already (`is_split_into_words=True`, named entities) has no spaces left to see; let the
tokenizer put one before each word:

```python
{how}
```

A model that `foundry export` wrote has such a tokenizer beside its own, and so has a tokenizer that `foundry tokenizer extend` wrote:
`AutoTokenizer.from_pretrained("that-folder", subfolder="words")`.
"""
_HOW = {
    "modernbert": "tokenizer.backend_tokenizer.pre_tokenizer.add_prefix_space = True",
    "modern": "from tokenizers.normalizers import NFC, Prepend, Sequence\n\n"
    'tokenizer.backend_tokenizer.normalizer = Sequence([NFC(), Prepend(" ")])',
}


def card(config: TokenizerConfig, layout: Layout, made_from: dict[str, Any]) -> str:
    """The card as Markdown. `made_from` is listed as it is."""
    specials_end = layout.ordinary_end + len(layout.specials)
    lines = [
        "# Tokenizer",
        "",
        f"Byte-level BPE, {config.vocab_size:,} entries, pre-tokenizer `{config.pretokenizer}`, NFC. Trained by Encoder Foundry.",
        "",
        "| ids | what |",
        "|---|---|",
        f"| 0 to {layout.learned - 1} | bytes and merges |",
        f"| {layout.learned} to {layout.ordinary_end - 1} | runs of spaces, placeholders for personal data |",
        f"| {layout.ordinary_end} to {specials_end - 1} | {', '.join(f'`{word}`' for word in layout.specials)} |",
    ]
    if layout.unused:
        lines.append(f"| {specials_end} to {config.vocab_size - 1} | `{layout.unused[0]}` to `{layout.unused[-1]}` |")
    lines += ["", _USE + _PREFIX.format(how=_HOW[config.pretokenizer])]
    lines += ["## Made from", "", *(f"- {name}: {value}" for name, value in sorted(made_from.items())), ""]
    return "\n".join(lines)
